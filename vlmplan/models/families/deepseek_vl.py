"""DeepSeek-VL2: the best fitting grid of tiles, a newline a row."""

import math
from typing import Any

from vlmplan.errors import InputError, unexpected
from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import tower_side, views_rule
from vlmplan.models.configs.keys import MOST_MERGED, Plain
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, built
from vlmplan.models.configs.towers import SO400M
from vlmplan.models.settings import Settings
from vlmplan.models.spec import Rule
from vlmplan.models.tower import VisionTower


def _joined_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """DeepSeek-VL2: as LLaVA-NeXT's, with a newline a row; patches are joined in squares."""
    merge = read.count("downsample_ratio", 2, MOST_MERGED)
    side = tower_side(tower)
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    where, points = read.grids("candidate_resolutions", ())
    if any(high % side or wide % side for high, wide in points):
        raise unexpected(where, f"multiples of the tower's {side} pixels", list(points), 60)
    grids = tuple((wide // side, high // side) for high, wide in points)
    tokens = math.ceil(side // tower.patch / merge) ** 2
    most = max((columns * rows for columns, rows in grids), default=9)
    return views_rule(side, Rule.JOINED, tokens, most, max_side_views=1 if grids else 9, grids=grids)


FAMILY = Family(
    architectures=(
        Architecture(
            model_type="deepseek_vl_v2",
            classes=("DeepseekVLV2",),
            tower="siglip_vision_model",
            towers=("vision",),
            tower_names=("siglip_so400m_patch14_384",),
            vision_defaults=SO400M | {"image_size": 384},
            text="deepseek_v2",
            text_names=("deepseek_vl_v2",),
            text_key="language_config",
            projector=built(widths=((4, "v"), H, H), merge=4),
            image=_joined_rule,
            settings=Settings(setting="candidate_resolutions of at most {views} tiles"),
            places=Places(tower=("vision.blocks",), projector=("projector.layers.0",)),
        ),
    ),
)
