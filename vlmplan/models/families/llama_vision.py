"""Llama 3.2 Vision (layers that look at the image) and Llama 4 (tiles on a canvas)."""

from typing import Any

from vlmplan.errors import unexpected
from vlmplan.models.configs.family import LINEAR, Architecture, Family, Places, Tie
from vlmplan.models.configs.image_rules import MOST_TILES, grid_tokens, view_side, views_rule
from vlmplan.models.configs.keys import Plain, nested, whole
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, built
from vlmplan.models.configs.towers import TowerType
from vlmplan.models.settings import SERVERS, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import VisionTower


def _global_layers(own: Plain, found: dict[str, Any], where: str) -> dict[str, Any]:
    """Llama 3.2 Vision: layers over all tiles, gated, behind the others; tables of tiles' places."""
    tiles = whole(own.get("max_num_tiles", 4), f"{where}.max_num_tiles", 1, 64)
    ratios = 1 + sum(1 for i in range(1, tiles + 1) for j in range(1, tiles + 1) if i * j <= tiles)
    more = whole(own.get("num_global_layers", 8), f"{where}.num_global_layers", 0)
    return {
        "extra_params": ratios * tiles * found["hidden"] * (found["positions"] + 2) + 3 + 2 * more,
        "layers": found["layers"] + (more if "num_hidden_layers" in own else 0),
    }


def _cross_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Llama 3.2 Vision."""
    side = view_side(tower, read, "size")
    return views_rule(
        side, Rule.CROSS, grid_tokens(side, tower.patch) + 1, read.count("max_image_tiles", 4, MOST_TILES)
    )


def _canvas_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Llama 4."""
    ratio = nested(config, "vision_config").get("pixel_shuffle_ratio")
    if ratio is not None and ratio != 0.5:
        raise unexpected("config.json.vision_config.pixel_shuffle_ratio", "0.5", ratio)
    side = view_side(tower, read, "size")
    read.value("pixel_shuffle_ratio")
    read.value("patch_size")
    tokens, tiles = grid_tokens(side, tower.patch, 2), read.count("max_patches", 16, MOST_TILES)
    largest = read.on("resize_to_max_canvas", default=False)
    return views_rule(
        side, Rule.CANVAS, tokens, tiles, largest_canvas=largest,
        trained_max_visual_tokens=max(2500, tokens * (tiles + 1)),
    )  # fmt: skip


_TOWERS = {
    "mllama_vision_model": TowerType(
        defaults={"layers": 40, "hidden": 1280, "heads": 16, "intermediate": 5120, "patch": 14, "image_size": 448},
        traits={
            "class_token": True,
            "pre_norm": True,
            "patch_bias": False,
            "attention_bias": False,
            "joint_views": True,
        },
        special=_global_layers,
        classes=("MllamaVision",),
    ),
    "llama4_vision_model": TowerType(
        defaults={"layers": 34, "hidden": 768, "heads": 16, "intermediate": 5632, "patch": 14, "image_size": 448},
        traits={"class_token": True, "pre_norm": True, "patch_bias": False},
        classes=("Llama4Vision",),
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="mllama",
            tied_by=Tie.NEVER,
            classes=("Mllama",),
            text_alone=("MllamaForCausalLM",),
            tower="mllama_vision_model",
            text="mllama_text_model",
            text_names=("mllama",),
            projector=built(widths=((6, "v"), H)),
            image=_cross_rule,
            settings=processor_argument('"max_image_tiles": {views}'),
            places=Places(
                tower=("vision_model.transformer.layers", "vision_model.global_transformer.layers"),
                projector=("multi_modal_projector",),
            ),
        ),
        Architecture(
            model_type="llama4",
            tied_by=Tie.TEXT,
            classes=("Llama4",),
            text_alone=("Llama4ForCausalLM",),
            tower="llama4_vision_model",
            text="llama4_text",
            projector=built(widths=((4, "v"), 4096, 4096, H), bias=False, merge=4),
            image=_canvas_rule,
            settings=processor_argument('"max_patches": {views}', *SERVERS),
            places=Places(
                tower=("vision_model.model.layers",), projector=(*LINEAR, "vision_model.vision_adapter.mlp.fc1")
            ),
        ),
    ),
    towers=_TOWERS,
)
