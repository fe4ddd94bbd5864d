"""Moondream 2 and its first version: SigLIP, two layers."""

from typing import Any

from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import square_rule
from vlmplan.models.configs.keys import Plain
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, built
from vlmplan.models.configs.towers import SO400M
from vlmplan.models.tower import VisionTower


def _moondream(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    return {**square_rule(config, tower, read), "max_views": 13}


FAMILY = Family(
    architectures=(
        Architecture(
            model_type="moondream1",
            classes=("Moondream",),
            tower="siglip_vision_model",
            vision_defaults=SO400M | {"image_size": 378},
            text="phi",
            projector=built(widths=((2, "v"), 8192, H)),
            image=_moondream,
            settings=None,
            places=Places(
                tower=("vision_encoder.encoder.model.visual.blocks",), projector=("vision_encoder.projection.mlp.fc1",)
            ),
        ),
    ),
)
