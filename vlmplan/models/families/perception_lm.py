"""Perception LM: the grid an image fits in, and a thumbnail."""

from typing import Any

from vlmplan.models.configs.family import USUAL, Architecture, Family
from vlmplan.models.configs.image_rules import MOST_TILES, fixed, grid_tokens, tower_side, views_rule
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, V, built
from vlmplan.models.configs.towers import TowerType
from vlmplan.models.settings import Settings
from vlmplan.models.spec import Rule
from vlmplan.models.tower import VisionTower


def _scaled_layers(own: Plain, __: dict[str, Any], _: str) -> dict[str, Any]:
    """Some sizes scale what a layer adds."""
    return {"layer_scale": own.get("init_values") is not None}


def _fitted_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Perception LM: the grid an image fits in, and a thumbnail; or that alone."""
    joined = read.count("pooling_ratio", count_of(config, "projector_pooling_ratio", 2, MOST_MERGED), MOST_MERGED)
    side = read.count("tile_size", tower_side(tower), 65_536)
    for key in ("size", "patch_size"):
        read.value(key)
    tokens, tiles = grid_tokens(side, tower.patch, joined), read.count("max_num_tiles", 36, MOST_TILES)
    if read.word("vision_input_type", "thumb+tile", ("thumb+tile", "vanilla")) == "vanilla":
        return fixed(side, tokens)
    return views_rule(side, Rule.FITTED, tokens, tiles)


_TOWERS = {
    "perception_encoder": TowerType(
        defaults={"layers": 23, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14, "image_size": 448},
        traits={"pre_norm": True, "patch_bias": False, "post_norm": False},
        special=_scaled_layers,
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="perception_lm",
            classes=("PerceptionLM",),
            tower="perception_encoder",
            towers=("timm_wrapper",),
            text="llama",
            projector=built(widths=(V, H, H), merge=4),
            image=_fitted_rule,
            settings=Settings(setting="image processor max_num_tiles={views}, when it is loaded"),
            places=USUAL,
        ),
    ),
    towers=_TOWERS,
)
