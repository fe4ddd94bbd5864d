"""Pixtral, Mistral Small 3.1 and LightOnOCR: any size up to an edge, a token at each row's end."""

from typing import Any

from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.configs.family import LINEAR, Architecture, Family, Places
from vlmplan.models.configs.image_rules import LEAST_SCORED_TOKENS, MOST_TILES, Made
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import mlp
from vlmplan.models.configs.towers import NO_BIAS, TowerType
from vlmplan.models.settings import EDGE, Settings, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, VisionTower


def _patch_merger(_: Plain, tower: VisionTower, h: int) -> Projector:
    """Mistral Small 3.1: a norm, four patches to one by a matrix, two layers."""
    v = tower.hidden
    return Projector(widths=(4 * v, v, h, h), bias=False, merge=4, norm_params=v)


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


_TOWERS = {
    "pixtral": TowerType(
        defaults={"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 16, "image_size": 1024},
        traits=NO_BIAS | {"gated_mlp": True, "patch_bias": False, "pre_norm": True, "post_norm": False, "positions": 0},
        classes=("PixtralVision", "Pixtral"),
    ),
}
_LAYERS = ("vision_tower.transformer.layers", "vision_encoder.transformer.layers")
_PLACES = Places(tower=_LAYERS, projector=(*LINEAR, "vision_language_adapter.w_in"))
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="pixtral",
            classes=("Pixtral",),
            tower="pixtral",
            text="mistral",
            projector=mlp,
            image=_rows(1, 1024, 8),
            settings=processor_argument(EDGE, Engine.SGLANG, Engine.LLAMA_CPP),
            places=_PLACES,
        ),
        Architecture(
            model_type="mistral3",
            classes=("Mistral3",),
            tower="pixtral",
            vision_defaults={"patch": 14, "image_size": 1540},
            text="mistral",
            exportable=True,
            tiled=True,
            gridded=True,
            tied=True,
            projector=_patch_merger,
            image=_rows(2, 1540, 11),
            settings=Settings(
                setting=processor_argument(EDGE).setting,
                engines={
                    **processor_argument(EDGE, Engine.SGLANG, Engine.LLAMA_CPP).engines,
                    Engine.VLLM: '--config-format hf --mm-processor-kwargs \'{{"size": {{"longest_edge": {edge}}}}}\'',
                },
            ),
            places=_PLACES,
        ),
        Architecture(
            model_type="lighton_ocr",
            classes=("LightOnOcr", "LightOnOCR"),
            tower="pixtral",
            vision_defaults={"patch": 14, "image_size": 1540},
            text="qwen3",
            tied=True,
            projector=_patch_merger,
            image=_rows(2, 1540, 11, ends=False),
            settings=None,
            places=Places(tower=_LAYERS, projector=("vision_projection.linear_1", "vision_projection.linear_2")),
            borrows=("LightOnOCR", "LightOnOcr"),
        ),
    ),
    towers=_TOWERS,
)
