"""ERNIE-4.5-VL: any size, four patches joined in space and in time."""

from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import area_rule
from vlmplan.models.configs.keys import Plain
from vlmplan.models.configs.towers import TowerType
from vlmplan.models.settings import AREA, SERVERS, processor_argument
from vlmplan.models.tower import Projector, VisionTower


def _resampled(_: Plain, tower: VisionTower, h: int) -> Projector:
    """ERNIE-4.5-VL: four patches joined, two layers in space and two in time, a matrix and two norms."""
    joined = 4 * tower.hidden
    return Projector(
        widths=(joined, joined, joined, joined, joined, h), merge=4, norm_params=4 * joined + h,
        extra_params=joined * joined,
    )  # fmt: skip


_TOWERS = {
    "ernie4_5_vl_moe_vision": TowerType(
        defaults={"layers": 32, "hidden": 1280, "heads": 16, "intermediate": 5120, "patch": 14},
        traits={"patch_bias": False, "positions": 0},
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="ernie4_5_vl_moe",
            synonyms=("ernie4_5_moe_vl",),
            classes=("Ernie4_5_VLMoe",),
            tower="ernie4_5_vl_moe_vision",
            towers=("DFNRope_vision_transformer",),
            text="ernie4_5_moe",
            text_names=("ernie4_5_vl_moe_text",),
            tied=True,
            projector=_resampled,
            image=lambda _, tower, read: area_rule(tower, read, most=6177),
            settings=processor_argument(AREA, *SERVERS),
            places=Places(tower=("vision_model.blocks", "vision_tower.blocks"), projector=("resampler_model.mlp",)),
        ),
    ),
    towers=_TOWERS,
)
