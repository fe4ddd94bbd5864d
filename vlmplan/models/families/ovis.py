"""Ovis2 and 2.5: patches become shares of a visual vocabulary, and those its embeddings."""

from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import MOST_TILES, area_rule, grid_tokens, view_side, views_rule
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of, nested
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import Made as Maker
from vlmplan.models.configs.towers import NO_BIAS, SO400M, TowerType
from vlmplan.models.settings import Settings, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, VisionTower


def _tokenised(words: int) -> Maker:
    """Ovis: patches become shares of a visual vocabulary, and those its embeddings."""

    def made(config: Plain, tower: VisionTower, h: int) -> Projector:
        table = count_of(nested(config, "vision_config"), "vocab_size", 65536)
        entries = table - words
        return Projector(
            widths=(4 * tower.hidden, entries, h), bias=False, merge=4, norm_params=2 * entries, extra_params=words * h
        )

    return made


def _ovis25(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    return area_rule(tower, read, least=196, most=2352)


def _cover_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Ovis2: the fewest tiles that keep the pixels; places of tiles are marked."""
    side = view_side(tower, read, "size")
    read.value("min_patches")  # the covering grid has no least
    stride = count_of(nested(config, "vision_config"), "hidden_stride", 2, MOST_MERGED)
    tokens = grid_tokens(side, tower.patch, stride)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    if not read.on("use_covering_area_grid", default=True):
        raise InputError(f"{read.value('use_covering_area_grid')[0]}: false is not read; expected true")
    tiles = read.count("max_patches", 9, MOST_TILES)
    cut = read.on("crop_to_patches", default=True)
    return views_rule(side, Rule.COVER, tokens, tiles if cut else 1)


_TOWERS = {
    "ovis2": TowerType(
        defaults={"layers": 24, "hidden": 1024, "heads": 8, "intermediate": 2816, "patch": 14, "image_size": 224},
        traits=NO_BIAS | {"gated_mlp": True, "pre_norm": True},
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="ovis2",
            classes=("Ovis2",),
            tower="ovis2",
            towers=("ovis2_vision",),
            text="qwen2",
            tied=True,
            projector=_tokenised(5),
            image=_cover_rule,
            settings=processor_argument('"crop_to_patches": true, "max_patches": {views}'),
            places=Places(
                tower=("vision_tower.transformer.encoder.layers", "visual_tokenizer.backbone.trunk.blocks"),
                projector=("vision_tower.head_linear", "visual_tokenizer.head.0"),
            ),
        ),
        Architecture(
            model_type="ovis2_5",
            classes=("Ovis2_5",),
            tower="siglip2_vision_model",
            towers=("siglip2_navit",),
            vision_key="vit_config",
            vision_defaults=SO400M | {"patch": 16, "image_size": 512},
            traits={"positions": 1024},
            text="qwen3",
            text_key="llm_config",
            projector=_tokenised(4),
            image=_ovis25,
            settings=Settings(setting="processor max_pixels={pixels}"),
            places=Places(
                tower=("visual_tokenizer.vit.vision_model.encoder.layers",), projector=("visual_tokenizer.head.0",)
            ),
        ),
    ),
    towers=_TOWERS,
)
