"""How does each vision-language type turn an image into tokens? Its image rule, by ``model_type``.

(config, tower, processor) -> ImageRule. The processor's files beside a config decide, then the config's own keys, then
what the type does unasked: the settings shipped with its checkpoints, or else its processor class's in transformers. A
test counts tokens with the latter, at these settings and at others.
"""

from collections.abc import Mapping
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.keys import MOST_MERGED, count_of, merge_side
from vlmplan.models.processor import Processor
from vlmplan.models.settings import NO_SETTING, SETTINGS
from vlmplan.models.spec import ImageRule, Rule
from vlmplan.models.text_types import Plain
from vlmplan.models.tiles import (
    MOST_TILES,
    Made,
    adaptive_rule,
    anyres_rule,
    canvas_rule,
    cover_rule,
    cross_rule,
    dynamic_hd_rule,
    fitted_rule,
    fixed,
    grid_tokens,
    hd_rule,
    internvl_chat_rule,
    internvl_rule,
    joined_rule,
    merged_slices_rule,
    onevision_rule,
    overlap_rule,
    quarters_rule,
    selected_extra,
    slices_rule,
    split_rule,
    view_side,
)
from vlmplan.models.tower import VisionTower

# The least visual tokens with published scores: Qwen2-VL-7B at a fixed image token count (token_ablation.csv). The
# processors themselves go down to 4.
LEAST_SCORED_TOKENS = 64
_QWEN_ASPECT = 200  # smart_resize of Qwen2-VL and its copies in transformers refuse longer images


def _llava(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    side = view_side(tower, read, "crop_size", "size")
    for key in ("crop_size", "size", "patch_size", "image_seq_length"):
        read.value(key)
    return fixed(side, max(1, grid_tokens(side, tower.patch) + selected_extra(tower, read, "default")))


def _siglip(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """PaliGemma, moondream: all patches of one view."""
    side = view_side(tower, read, "size", "crop_size")
    tokens = read.count("image_seq_length", grid_tokens(side, tower.patch)) if read.has("image_seq_length") else 0
    return fixed(side, tokens or grid_tokens(side, tower.patch))


def _moondream(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    return {**_siglip(config, tower, read), "max_views": 13}


def _gemma3(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    side = view_side(tower, read, "size")
    tokens = count_of(config, "mm_tokens_per_image", 256)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    if not read.on("do_pan_and_scan", default=False):
        for key in ("pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate"):
            read.value(key)
        return fixed(side, tokens)
    return {
        **fixed(side, tokens),
        "rule": Rule.PAN_SCAN,
        "max_views": 1 + read.count("pan_and_scan_max_num_crops", 4, MOST_TILES - 1),
        "edge_step": read.count("pan_and_scan_min_crop_size", 256, 65_536),
        "crop_aspect_fraction": read.number("pan_and_scan_min_ratio_to_activate", 1.2, 1.0, 1000.0),
    }


def _area(
    tower: VisionTower, read: Processor, rule: Rule = Rule.AREA, *, least: int = 4, most: int, **more: Any
) -> dict[str, Any]:
    """``merge`` by ``merge`` patches make a token, a square of the image; limits in tokens, unless a file has pixels.

    ``frames`` is how often an image counts against the limits (GLM-4V: twice).
    """
    merge, frames = more.get("merge", 2), more.get("frames", 1)
    side = read.count("merge_size", merge, MOST_MERGED) * tower.patch
    if side != merge * tower.patch:
        raise InputError(f"{read.value('merge_size')[0]}: found {side // tower.patch}, the model joins {merge}")
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    low, high = read.limits("size", frames * least * side**2, frames * most * side**2)
    low, high = max(1, -(-low // frames)), max(side**2, high // frames)
    unasked = {} if high == most * side**2 else {"default_max_tokens": high // side**2}
    return {
        "rule": rule,
        "view_size": side,
        "tokens_per_view": 1,
        "least_tokens": min(-(-low // side**2), high // side**2),
        "least_pixels": low if low % side**2 else 0,
        "default_max_pixels": high if high % side**2 else 0,
        "most_aspect": 0 if rule is Rule.PADDED else _QWEN_ASPECT,
        "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
        "trained_max_visual_tokens": max(most, high // side**2),
        **unasked,
    }


def _qwen(least: int) -> Made:
    def made(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        return _area(tower, read, least=least, most=16384, merge=merge_side(config))

    return made


def _kimi(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Kimi-VL: a limit of patches; four make a token."""
    merged = read.side("merge_kernel_size", 2, "height")
    if merged != 2:
        raise InputError(f"{read.value('merge_kernel_size')[0]}: found {merged}, expected 2")
    patches = read.count("in_token_limit", 4096, 4_000_000)
    read.value("pad_input")
    found = _area(tower, read, Rule.PADDED, most=1024)
    pixels = patches * tower.patch**2
    whole = {} if patches == 4096 else {"default_max_tokens": max(1, patches // 4)}
    return {**found, **whole, "default_max_pixels": pixels if patches % 4 else 0}


def _rows(merge_unasked: int, unasked: int, steps: int, *, ends: bool = True) -> Made:
    """Pixtral and Mistral Small: a break or end token a row; LightOnOCR: none."""

    def made(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        merge = read.count("spatial_merge_size", merge_unasked, MOST_MERGED)
        if merge != (own := count_of(config, "spatial_merge_size", merge_unasked, MOST_MERGED)):
            raise InputError(f"{read.value('spatial_merge_size')[0]}: found {merge}, the model joins {own}")
        patch = read.side("patch_size", tower.patch, "height")
        if patch not in (tower.patch, merge * tower.patch):
            raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
        side, edge = merge * tower.patch, read.side("size", unasked, "longest_edge")
        step = unasked // steps
        return {
            "rule": Rule.ROWS,
            "view_size": side,
            "tokens_per_view": 1,
            "max_side_views": min(MOST_TILES, max(steps, edge // step)),
            "edge_step": step,
            "default_edge": 0 if edge == unasked else edge,
            "row_ends": ends,
            "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
            "trained_max_visual_tokens": (max(edge, unasked) // side) * (max(edge, unasked) // side + 1),
        }

    return made


def _budget(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Gemma 4: a budget of tokens, one of five."""
    pooled = read.count("pooling_kernel_size", 3, MOST_MERGED)
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    read.value("image_seq_length")
    return {
        "rule": Rule.BUDGET,
        "view_size": pooled * tower.patch,
        "tokens_per_view": 1,
        "default_max_tokens": read.count("max_soft_tokens", 280, 1_000_000),
        "trained_min_visual_tokens": 64,  # what a square image makes of the least budget, 70
        "trained_max_visual_tokens": 1120,
    }


def _ovis25(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    return _area(tower, read, least=196, most=2352)


_IMAGES: Mapping[str, Made] = {
    "llava": _llava,
    "llava_next": anyres_rule,
    "llava_onevision": onevision_rule,
    "llava_onevision1_5": _qwen(4),
    "qwen2_vl": _qwen(4),
    "qwen2_5_vl": _qwen(4),
    "qwen3_vl": _qwen(64),
    "qwen3_vl_moe": _qwen(64),
    "qwen3_5": _qwen(64),
    "qwen3_5_moe": _qwen(64),
    "internvl_chat": internvl_chat_rule,
    "internvl": internvl_rule,
    "smolvlm": split_rule,
    "idefics3": split_rule,
    "idefics2": quarters_rule,
    "paligemma": _siglip,
    "gemma3": _gemma3,
    "gemma4": _budget,
    "phi3_v": hd_rule,
    "phi4mm": dynamic_hd_rule,
    "phi4_multimodal": dynamic_hd_rule,
    "minicpmv": slices_rule,
    "minicpmv4_6": merged_slices_rule,
    "mllama": cross_rule,
    "llama4": canvas_rule,
    "pixtral": _rows(1, 1024, 8),
    "mistral3": _rows(2, 1540, 11),
    "lighton_ocr": _rows(2, 1540, 11, ends=False),
    "molmo": overlap_rule(12, 144),
    "molmo2": overlap_rule(8, 196),
    "lfm2_vl": adaptive_rule,
    "perception_lm": fitted_rule,
    "ovis2": cover_rule,
    "ovis2_5": _ovis25,
    "kimi_vl": _kimi,
    "glm4v": lambda _, tower, read: _area(tower, read, least=8, most=7500, frames=2),
    "glm4v_moe": lambda _, tower, read: _area(tower, read, least=8, most=7500, frames=2),
    "deepseek_vl_v2": joined_rule,
    "ernie4_5_vl_moe": lambda _, tower, read: _area(tower, read, most=6177),
    "moondream1": _moondream,
}


def image_rule(kind: str, config: Plain, tower: VisionTower, read: Processor) -> ImageRule:
    """Return the rule of a vision-language type; what it leaves out follows from the tokens of a view.

    Raises InputError for what no processor means.
    """
    found = _IMAGES[kind](config, tower, read)
    found.setdefault("trained_min_visual_tokens", found["tokens_per_view"])
    views = found.get("max_views", 1)
    most = found["tokens_per_view"] * (1 if found["rule"] is Rule.FIXED else views + (views > 1))
    found.setdefault("trained_max_visual_tokens", max(most, found["trained_min_visual_tokens"]))
    settings = NO_SETTING if found["rule"] is Rule.FIXED else SETTINGS.get(kind, NO_SETTING)
    return ImageRule(**found, setting=settings.setting, engines=settings.engines)
