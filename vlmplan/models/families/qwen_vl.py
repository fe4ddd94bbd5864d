"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5: towers that take any size, squares of patches joined by a merger."""

from dataclasses import replace
from typing import Any

from vlmplan.errors import InputError, unexpected
from vlmplan.models.configs.family import Architecture, Family, Places, Tie
from vlmplan.models.configs.image_rules import qwen_rule
from vlmplan.models.configs.keys import Plain, nested, whole
from vlmplan.models.configs.projectors import merger
from vlmplan.models.configs.towers import SO400M, TowerType
from vlmplan.models.settings import AREA, qwen_area
from vlmplan.models.tower import Projector, VisionTower

_QWEN2_VL_TEXT = {"hidden": 8192, "intermediate": 29568, "layers": 80, "heads": 64, "kv_heads": 8, "vocabulary": 152064}
_QWEN2_VIT = {"layers": 32, "hidden": 1280, "heads": 16, "intermediate": 5120, "patch": 14, "temporal_patch": 2}
_QWEN3_VIT = SO400M | {"patch": 16, "temporal_patch": 2}


def _windows(own: Plain, found: dict[str, Any], where: str) -> dict[str, int]:
    """Qwen2.5-VL: all but some layers attend within windows."""
    layers, patch = found["layers"], found["patch"]
    blocks = own.get("fullatt_block_indexes", (7, 15, 23, 31))
    if not isinstance(blocks, list | tuple) or not all(type(i) is int and 0 <= i < layers for i in blocks):
        raise unexpected(f"{where}.fullatt_block_indexes", "a list of layers", blocks)
    window = whole(own.get("window_size", 112), f"{where}.window_size")
    return {"window_patches": max(1, window // patch) ** 2, "full_attention_layers": len(set(blocks))}


def _deepstack(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Qwen3-VL: a merger for the sequence and one for each of the LLM's layers that get features of earlier ones."""
    plain, v = merger(config, tower, h), tower.hidden
    stacked = nested(config, "vision_config").get("deepstack_visual_indexes")
    stacked = (5, 11, 17) if stacked is None else stacked
    if not isinstance(stacked, list | tuple) or not all(type(i) is int and 0 <= i < tower.layers for i in stacked):
        raise InputError(
            f"vision_config.deepstack_visual_indexes: expected a list of layers below {tower.layers}, "
            f"found {stacked!r:.40}"
        )
    more = len(stacked)
    return Projector(
        widths=plain.widths,
        merge=plain.merge,
        copies=1 + more,
        norm_params=2 * v + more * 2 * plain.merge * v,
    )


_TOWERS = {
    "qwen2_vl": TowerType(defaults=_QWEN2_VIT, traits={"patch_bias": False, "post_norm": False, "positions": 0}),
    "qwen2_5_vl": TowerType(
        defaults=_QWEN2_VIT | {"intermediate": 3420},
        traits={"patch_bias": False, "post_norm": False, "norm_bias": False, "gated_mlp": True, "positions": 0},
        special=_windows,
        aliases={"hidden": ("hidden_size",)},  # the tower's own, not the LLM's as in qwen2_vl
    ),
    "qwen3_vl": TowerType(defaults=_QWEN3_VIT, traits={"post_norm": False, "positions": 2304}),
}
_PLACES = Places(
    tower=("visual.blocks",), projector=("visual.merger.mlp.0", "visual.merger.linear_fc1", "visual.merger.proj")
)
_QWEN2_VL = Architecture(
    model_type="qwen2_vl",
    tied_by=Tie.EITHER,
    classes=("Qwen2VL",),
    tower="qwen2_vl",
    towers=("qwen2_vl_vision",),
    text="qwen2",
    text_names=("qwen2_vl_text", "qwen2_vl"),
    text_defaults=_QWEN2_VL_TEXT,
    exportable=True,
    tiled=True,
    gridded=True,
    projector=merger,
    image=qwen_rule(4),
    settings=qwen_area(AREA),
    places=_PLACES,
)
_QWEN3_VL = Architecture(
    model_type="qwen3_vl",
    classes=("Qwen3VL",),
    tower="qwen3_vl",
    towers=("qwen3_vl_vision",),
    text="qwen3",
    text_names=("qwen3_vl_text",),
    text_defaults={"hidden": 4096, "kv_heads": 32},
    exportable=True,
    tiled=True,
    gridded=True,
    projector=_deepstack,
    image=qwen_rule(64),
    settings=qwen_area(AREA),
    places=_PLACES,
)
_QWEN3_5 = Architecture(
    model_type="qwen3_5",
    classes=("Qwen3_5",),
    text_alone=("Qwen3_5ForCausalLM",),
    tower="qwen3_vl",
    towers=("qwen3_5", "qwen3_5_vision"),
    text="qwen3_5_text",
    projector=merger,
    image=qwen_rule(64),
    settings=qwen_area(AREA),
    places=_PLACES,
)
FAMILY = Family(
    architectures=(
        _QWEN2_VL,
        replace(
            _QWEN2_VL,
            model_type="qwen2_5_vl",
            classes=("Qwen2_5_VL",),
            tower="qwen2_5_vl",
            towers=("qwen2_5_vl_vision",),
            text_names=("qwen2_5_vl_text", "qwen2_5_vl"),
        ),
        _QWEN3_VL,
        replace(
            _QWEN3_VL,
            model_type="qwen3_vl_moe",
            classes=("Qwen3VLMoe",),
            towers=("qwen3_vl_moe", "qwen3_vl_moe_vision"),
            text="qwen3_moe",
            text_names=("qwen3_vl_moe_text",),
            text_defaults={"experts": 60, "experts_per_token": 4},
            exportable=False,
            tiled=False,
            gridded=False,
        ),
        _QWEN3_5,
        replace(
            _QWEN3_5,
            model_type="qwen3_5_moe",
            classes=("Qwen3_5Moe",),
            text_alone=("Qwen3_5MoeForCausalLM",),
            towers=("qwen3_5_moe", "qwen3_5_moe_vision"),
            text="qwen3_5_moe_text",
        ),
    ),
    towers=_TOWERS,
)
