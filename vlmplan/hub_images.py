"""How does each vision-language type turn an image into tokens? Its image rule, by ``model_type``.

(config, tower) -> ImageRule. Limits are those of the preprocessor settings shipped with the checkpoints, or else of the
processor class in transformers; a test counts tokens with the latter.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from vlmplan.hub_keys import MOST_MERGED, count_of, downsampling, merge_side
from vlmplan.hub_settings import NO_SETTING, SETTINGS
from vlmplan.hub_tables import Plain
from vlmplan.model import ImageRule, Rule
from vlmplan.tower import VisionTower

# The least visual tokens with published scores: Qwen2-VL-7B at a fixed image token count (token_ablation.csv). The
# processors themselves go down to 4.
LEAST_SCORED_TOKENS = 64
Made = Callable[[Plain, VisionTower], dict[str, Any]]


def _grid(tower: VisionTower, merge: int = 1) -> int:
    """Tokens of one view: patches of a side, ``merge`` of which are joined."""
    return max(1, (tower.image_size or tower.patch) // tower.patch // merge) ** 2


def _fixed(tower: VisionTower, tokens: int, **more: Any) -> dict[str, Any]:
    return {"rule": Rule.FIXED, "view_size": tower.image_size or tower.patch, "tokens_per_view": tokens, **more}


def _area(tower: VisionTower, rule: Rule = Rule.AREA, *, least: int = 4, most: int, merge: int = 2) -> dict[str, Any]:
    """``merge`` by ``merge`` patches make a token, which is a square of the image."""
    return {
        "rule": rule,
        "view_size": merge * tower.patch,
        "tokens_per_view": 1,
        "least_tokens": least,
        "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
        "trained_max_visual_tokens": most,
    }


def _views(tower: VisionTower, rule: Rule, tokens: int, most: int, **more: Any) -> dict[str, Any]:
    size = tower.image_size or tower.patch
    return {"rule": rule, "view_size": size, "tokens_per_view": tokens, "max_views": most, **more}


def _anyres(tower: VisionTower, most: int, side: int) -> dict[str, Any]:
    tokens = _grid(tower)
    edge = math.isqrt(min(most, 9) * tokens)
    trained = {"trained_min_visual_tokens": 2 * tokens, "trained_max_visual_tokens": tokens + edge * (edge + 1)}
    return _views(tower, Rule.ANYRES, tokens, most, max_side_views=side, **trained)


def _split(config: Plain, tower: VisionTower) -> dict[str, Any]:
    joined = count_of(config, "scale_factor", 2, MOST_MERGED)
    size = tower.image_size or tower.patch
    return _views(tower, Rule.SPLIT, _grid(tower, joined), 17, max_side_views=4, edge_step=size)


def _rows(tower: VisionTower, merge: int, edge: int, steps: int) -> dict[str, Any]:
    side = merge * tower.patch
    return {
        "rule": Rule.ROWS,
        "view_size": side,
        "tokens_per_view": 1,
        "max_side_views": steps,
        "edge_step": edge // steps,
        "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
        "trained_max_visual_tokens": (edge // side) * (edge // side + 1),
    }


def _budget(tower: VisionTower) -> dict[str, Any]:
    return {
        "rule": Rule.BUDGET,
        "view_size": 3 * tower.patch,
        "tokens_per_view": 1,
        "default_max_tokens": 280,
        "trained_min_visual_tokens": 64,  # what a square image makes of the least budget, 70
        "trained_max_visual_tokens": 1120,
    }


def _internvl(config: Plain, tower: VisionTower) -> dict[str, Any]:
    return _views(tower, Rule.TILES, _grid(tower, downsampling(config)), 12)


_MINICPM = {"rule": Rule.SLICES, "view_size": 448, "tokens_per_view": 64, "max_views": 9}
_IMAGES: Mapping[str, Made] = {
    "llava": lambda _, tower: _fixed(tower, _grid(tower)),
    "llava_next": lambda _, tower: _anyres(tower, 4, 3),
    "llava_onevision": lambda _, tower: _anyres(tower, 36, 6),
    "llava_onevision1_5": lambda config, tower: _area(tower, merge=merge_side(config), most=16384),
    "qwen2_vl": lambda config, tower: _area(tower, merge=merge_side(config), most=16384),
    "qwen2_5_vl": lambda config, tower: _area(tower, merge=merge_side(config), most=16384),
    "qwen3_vl": lambda config, tower: _area(tower, merge=merge_side(config), least=64, most=16384),
    "qwen3_vl_moe": lambda config, tower: _area(tower, merge=merge_side(config), least=64, most=16384),
    "qwen3_5": lambda config, tower: _area(tower, merge=merge_side(config), least=64, most=16384),
    "qwen3_5_moe": lambda config, tower: _area(tower, merge=merge_side(config), least=64, most=16384),
    "internvl_chat": _internvl,
    "internvl": _internvl,
    "smolvlm": _split,
    "idefics3": _split,
    "idefics2": lambda _, tower: _views(tower, Rule.VIEWS, 64, 5),
    "paligemma": lambda _, tower: _fixed(tower, _grid(tower)),
    "gemma3": lambda _, tower: _fixed(tower, 256),
    "gemma4": lambda _, tower: _budget(tower),
    "phi3_v": lambda _, tower: _views(tower, Rule.HD, 144, 16, trained_min_visual_tokens=313),
    "phi4mm": lambda _, tower: _views(tower, Rule.DYNAMIC_HD, 256, 36, trained_min_visual_tokens=273),
    "phi4_multimodal": lambda _, tower: _views(tower, Rule.DYNAMIC_HD, 256, 36, trained_min_visual_tokens=273),
    "minicpmv": lambda _, __: dict(_MINICPM),
    "minicpmv4_6": lambda _, __: dict(_MINICPM),
    "mllama": lambda _, tower: _views(tower, Rule.CROSS, _grid(tower) + 1, 4),
    "llama4": lambda _, tower: _views(tower, Rule.CANVAS, _grid(tower, 2), 16, trained_max_visual_tokens=2500),
    "pixtral": lambda _, tower: _rows(tower, 1, 1024, 8),
    "mistral3": lambda _, tower: _rows(tower, 2, 1540, 11),
    "molmo": lambda _, tower: _views(tower, Rule.OVERLAP, 144, 12, patches_per_side=24),
    "molmo2": lambda _, tower: _views(tower, Rule.OVERLAP, 196, 8, patches_per_side=27),
    "lfm2_vl": lambda _, __: {
        "rule": Rule.ADAPTIVE, "view_size": 512, "tokens_per_view": 256, "max_views": 10, "least_tokens": 64,
        "trained_min_visual_tokens": 64, "trained_max_visual_tokens": 11 * 256,
    },
    "perception_lm": lambda _, tower: _views(tower, Rule.FITTED, _grid(tower, 2), 36),
    "ovis2": lambda _, tower: _views(tower, Rule.COVER, _grid(tower, 2), 9),
    "ovis2_5": lambda _, tower: _area(tower, least=196, most=2352),
    "kimi_vl": lambda _, tower: _area(tower, Rule.PADDED, most=1024),
    "glm4v": lambda _, tower: _area(tower, least=8, most=7500),
    "glm4v_moe": lambda _, tower: _area(tower, least=8, most=7500),
    "deepseek_vl_v2": lambda _, tower: _views(tower, Rule.JOINED, 196, 9, max_side_views=9),
    "ernie4_5_vl_moe": lambda _, tower: _area(tower, most=6177),
    "moondream1": lambda _, tower: _fixed(tower, _grid(tower), max_views=13),
    "llava_qwen2": lambda _, tower: _fixed(tower, 256),
}  # fmt: skip


def image_rule(kind: str, config: Plain, tower: VisionTower) -> ImageRule:
    """Return the rule of a vision-language type; what it leaves out follows from the tokens of a view."""
    found = _IMAGES[kind](config, tower)
    found.setdefault("trained_min_visual_tokens", found["tokens_per_view"])
    views = found.get("max_views", 1)
    most = found["tokens_per_view"] * (1 if found["rule"] is Rule.FIXED else views + (views > 1))
    found.setdefault("trained_max_visual_tokens", max(most, found["trained_min_visual_tokens"]))
    settings = SETTINGS.get(kind, NO_SETTING)
    return ImageRule(**found, setting=settings.setting, engines=settings.engines)
