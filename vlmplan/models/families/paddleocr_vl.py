"""PaddleOCR-VL: SigLIP that takes any size, squares of patches joined by two layers, ERNIE-4.5-0.3B."""

from typing import Any

from vlmplan.hardware import Engine
from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import area_rule
from vlmplan.models.configs.keys import Plain, merge_side
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import merger
from vlmplan.models.configs.text_types import TextType
from vlmplan.models.configs.towers import SO400M, TowerType
from vlmplan.models.settings import AREA, processor_argument
from vlmplan.models.tower import VisionTower


def _area(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Limits of the file beside the checkpoint, huggingface.co/PaddlePaddle/PaddleOCR-VL: 147384 to 2822400 pixels."""
    return area_rule(tower, read, least_pixels=147_384, most=3600, merge=merge_side(config))


FAMILY = Family(
    architectures=(
        Architecture(
            model_type="paddleocr_vl",
            classes=("PaddleOCRVL",),
            tower="paddleocr_vl_vision",
            text="ernie4_5",
            text_names=("paddleocr_vl_text",),
            tied=True,
            projector=merger,
            image=_area,
            settings=processor_argument(AREA, Engine.VLLM),
            places=Places(
                tower=("visual.vision_model.encoder.layers",),
                projector=("projector.linear_1", "projector.linear_2", "mlp_AR.linear_1"),
            ),
        ),
    ),
    towers={
        "paddleocr_vl_vision": TowerType(defaults=SO400M | {"image_size": 384}, classes=("PaddleOCRVision",)),
    },
    texts={
        "ernie4_5": TextType(
            defaults={"vocabulary": 103424, "hidden": 1024, "intermediate": 3072, "layers": 18, "heads": 16,
                      "kv_heads": 2, "head_dim": 128, "tied_embeddings": True},
        ),
    },
)  # fmt: skip
