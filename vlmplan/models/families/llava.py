"""LLaVA, LLaVA-NeXT, LLaVA-OneVision and 1.5: CLIP, SigLIP or RICE, two layers over every patch."""

import math
import re
from typing import Any

from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.configs.family import USUAL, Architecture, Family, Tie
from vlmplan.models.configs.image_rules import (
    MOST_TILES,
    fixed,
    grid_tokens,
    qwen_rule,
    selected_extra,
    view_side,
    views_rule,
)
from vlmplan.models.configs.keys import Plain
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import merger, mlp
from vlmplan.models.configs.towers import CLIP_LARGE, SO400M, TowerType
from vlmplan.models.settings import AREA, Settings, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import VisionTower

_PINPOINTS_NEXT = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
_GRIDS = "image_grid_pinpoints of at most {views} tiles, in processor and model config"


def _llava(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    side = view_side(tower, read, "crop_size", "size")
    size = read.value("size")[1]
    for key in ("crop_size", "image_seq_length"):
        read.value(key)
    if not read.on("do_center_crop", default=True) and isinstance(size, dict) and "shortest_edge" in size:
        read.note(
            f"{read.value('do_center_crop')[0]} is false: images keep their shape, and the tower takes squares; "
            f"counted as squares of {side} pixels"
        )
    return fixed(side, max(1, grid_tokens(side, _patch(tower, read)) + selected_extra(tower, read, "default")))


def _patch(tower: VisionTower, read: Processor) -> int:
    """The side of a patch by which the processor counts: its own where it says one, as exports with fewer tokens do."""
    patch = read.count("patch_size", tower.patch, 65_536)
    if patch != tower.patch:
        read.note(f"{read.value('patch_size')[0]} is {patch}, by which prompts are made; the tower's is {tower.patch}")
    return patch


def _beyond_patches(tower: VisionTower, read: Processor, default: str) -> int:
    """Tokens of a view beyond its patches. Raises InputError where a patch would be taken away for a class token."""
    extra = selected_extra(tower, read, default)
    if extra < 0:
        where, found = read.value("vision_feature_select_strategy")
        raise InputError(
            f"{where}: {found or default!r} leaves a class token out, and the tower has none; expected 'full'"
        )
    return extra


def _anyres_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LLaVA-NeXT: the best fitting of a list of grids, and the whole image."""
    side = view_side(tower, read, "size", "crop_size")
    read.value("size")
    crop = read.side("crop_size", side, "height", "shortest_edge", "width")
    if crop != side and read.on("do_center_crop", default=True):
        read.note(f"{read.value('crop_size')[0]} is {crop}, to which views of {side} pixels are cropped; not counted")
    unasked = tuple((side * high // 336, side * wide // 336) for high, wide in _PINPOINTS_NEXT)
    return _pinpoints(tower, read, side, unasked) | {"base_extra_tokens": _beyond_patches(tower, read, "default")}


def _onevision_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LLaVA-OneVision: the same, pooled beyond so many tiles."""
    side = view_side(tower, read, "size")
    read.value("crop_size")
    where, limit = read.value("vision_aspect_ratio")
    limit = "anyres_max_9" if limit is None else limit
    most = re.fullmatch(r"anyres_max_(\d{1,2})", limit) if isinstance(limit, str) else None
    if most is None or not 1 <= int(most[1]) <= MOST_TILES:
        raise InputError(f"{where}: {limit!r:.40} is not read; expected anyres_max_ and a number to {MOST_TILES}")
    own, said = grid_tokens(side, tower.patch), read.count("num_image_tokens", grid_tokens(side, tower.patch))
    if said != own:
        read.note(f"{read.value('num_image_tokens')[0]} is {said}; counted by {own}, which the tower makes of a view")
    sides = range(1, 7)
    found = _pinpoints(tower, read, side, tuple((side * i, side * j) for i in sides for j in sides))
    extra = _beyond_patches(tower, read, "full")
    return found | {"base_extra_tokens": extra, "pooled_beyond_views": int(most[1])}


def _pinpoints(tower: VisionTower, read: Processor, side: int, unasked: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """The rule of a list of resolutions, (height, width) in pixels of whole views."""
    where, points = read.grids("image_grid_pinpoints", unasked)
    if odd := [f"{high}x{wide}" for high, wide in points if high < side or wide < side]:
        raise InputError(f"{where}: expected at least one view of {side} pixels a side, found {odd[0]}")
    grids = tuple((wide // side, high // side) for high, wide in points)
    if any(high % side or wide % side for high, wide in points):
        read.note(f"{where}: not all are multiples of {side} pixels; counted as the whole views they hold")
    if max(max(grid) for grid in grids) > MOST_TILES:
        raise InputError(f"{where}: expected at most {MOST_TILES} views a side, found {max(max(g) for g in grids)}")
    tokens, tiles = grid_tokens(side, _patch(tower, read)), [columns * rows for columns, rows in grids]
    edge = math.isqrt(min(max(tiles), 9) * tokens)
    return views_rule(
        side, Rule.ANYRES, tokens, max(tiles), min_views=min(tiles), grids=grids,
        trained_min_visual_tokens=2 * tokens, trained_max_visual_tokens=tokens + edge * (edge + 1),
    )  # fmt: skip


_TOWERS = {
    "mlcd_vision_model": TowerType(
        defaults={"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14},
        traits={"class_token": True, "patch_bias": False, "pre_norm": True, "positions": 0},
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="llava",
            siglip_head=True,
            tied_by=Tie.EITHER,
            classes=("Llava",),
            tower="clip_vision_model",
            vision_defaults=CLIP_LARGE,
            feature_layer=-2,
            text="llama",
            exportable=True,
            projector=mlp,
            image=_llava,
            settings=None,
            places=USUAL,
            by_tower={"pixtral": "pixtral"},
        ),
        Architecture(
            model_type="llava_next",
            siglip_head=True,
            classes=("LlavaNext",),
            tower="clip_vision_model",
            vision_defaults=CLIP_LARGE,
            feature_layer=-2,
            text="llama",
            exportable=True,
            newline=True,
            projector=mlp,
            image=_anyres_rule,
            settings=Settings(
                setting=_GRIDS,
                engines={Engine.OPENVINO: "preprocessor_config.json: image_grid_pinpoints of {views} tiles"},
            ),
            places=USUAL,
        ),
        Architecture(
            model_type="llava_onevision",
            tied_by=Tie.EITHER,
            classes=("LlavaOnevision",),
            tower="siglip_vision_model",
            vision_defaults=SO400M | {"layers": 26, "image_size": 384},
            text="qwen2",
            exportable=True,
            newline=True,
            projector=mlp,
            image=_onevision_rule,
            settings=Settings(setting=_GRIDS),
            places=USUAL,
        ),
        Architecture(
            model_type="llava_onevision1_5",
            synonyms=("llavaonevision1_5",),
            classes=("LLaVAOneVision1_5_", "LLaVAOneVision1_5"),
            tower="mlcd_vision_model",
            towers=("rice_vit",),
            traits={"post_norm": False},
            text="qwen3",
            projector=merger,
            image=qwen_rule(4),
            settings=processor_argument(AREA),
            places=USUAL,
        ),
    ),
    towers=_TOWERS,
)
