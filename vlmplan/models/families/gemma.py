"""Gemma 3 and 4: one view pooled to 256 tokens and perhaps crops; or a budget of tokens."""

from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.configs.family import CLIP_LAYERS, Architecture, Family, Places
from vlmplan.models.configs.image_rules import MOST_TILES, fixed, view_side
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of, whole
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, V, built
from vlmplan.models.configs.text_types import GEMMA3_OVERFLOWS
from vlmplan.models.configs.towers import CLIP, NO_BIAS, SO400M, TowerType
from vlmplan.models.settings import ALL, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, VisionTower


def _head_norms(own: Plain, found: dict[str, Any], where: str) -> dict[str, Any]:
    """Gemma 4: queries and keys are normed head by head."""
    return {"extra_params": found["layers"] * 2 * whole(own.get("head_dim", 64), f"{where}.head_dim")}


def _pooled(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Gemma 3: patches averaged to 256 tokens, a norm, a matrix."""
    tokens = count_of(config, "mm_tokens_per_image", 256)
    patches = max(1, (tower.image_size or 896) // tower.patch) ** 2
    merge = max(1, patches // tokens)
    return Projector(widths=(tower.hidden, h), bias=False, merge=merge, norm_params=tower.hidden)


def _gemma3(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    side = view_side(tower, read, "size")
    tokens = count_of(config, "mm_tokens_per_image", 256)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    if not read.on("do_pan_and_scan", default=False):
        for key in ("pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate"):
            read.value(key)
        return fixed(side, tokens)
    read.note(
        f"{read.value('do_pan_and_scan')[0]} is true: counted with its crops, as vLLM makes them; transformers' "
        "processor makes none unless a call asks for them"
    )
    return {
        **fixed(side, tokens),
        "rule": Rule.PAN_SCAN,
        "max_views": 1 + read.count("pan_and_scan_max_num_crops", 4, MOST_TILES - 1),
        "edge_step": read.count("pan_and_scan_min_crop_size", 256, 65_536),
        "crop_aspect_fraction": read.number("pan_and_scan_min_ratio_to_activate", 1.2, 1.0, 1000.0),
    }


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


_TOWERS = {
    "gemma4_vision": TowerType(
        defaults=CLIP | {"layers": 16, "patch": 16},
        traits=NO_BIAS
        | {"gated_mlp": True, "norms_per_layer": 4, "patch_bias": False, "post_norm": False, "positions": 20480},
        special=_head_norms,
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="gemma3",
            classes=("Gemma3",),
            text_alone=("Gemma3ForCausalLM",),
            tower="siglip_vision_model",
            vision_defaults=SO400M | {"image_size": 896},
            text="gemma3_text",
            text_names=("gemma3",),
            tied=True,
            exportable=True,
            exported_texts=("gemma3_text",),
            projector=_pooled,
            image=_gemma3,
            settings=None,
            places=Places(tower=CLIP_LAYERS, projector=()),
            overflows=GEMMA3_OVERFLOWS,
        ),
        Architecture(
            model_type="gemma4",
            classes=("Gemma4",),
            text_alone=("Gemma4ForCausalLM",),
            tower="gemma4_vision",
            text="gemma4_text",
            tied=True,
            projector=built(widths=(V, H), bias=False, merge=9),
            image=_budget,
            settings=processor_argument('"max_soft_tokens": {tokens}', *ALL),
            places=Places(tower=("vision_tower.encoder.layers",), projector=("embed_vision.embedding_projection",)),
        ),
    ),
    towers=_TOWERS,
)
