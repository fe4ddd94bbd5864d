"""Moondream 2 and its first version: SigLIP, two layers."""

from typing import Any

from vlmplan.models.family import Architecture, Family, Places
from vlmplan.models.image_rules import square_rule
from vlmplan.models.keys import Plain
from vlmplan.models.processor import Processor
from vlmplan.models.projectors import H, built
from vlmplan.models.tower import VisionTower
from vlmplan.models.towers import SO400M


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
