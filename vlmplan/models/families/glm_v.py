"""GLM-4V: any size, a strided convolution joins four patches; an image counts as two frames."""

from vlmplan.hardware import Engine
from vlmplan.models.configs.family import Architecture, Family, Places, Tie
from vlmplan.models.configs.image_rules import area_rule
from vlmplan.models.configs.keys import Plain, count_of, nested
from vlmplan.models.configs.towers import NO_BIAS, TowerType
from vlmplan.models.settings import processor_argument
from vlmplan.models.tower import Projector, VisionTower

_AREA_GLM = '"size": {{"shortest_edge": {double_least_pixels}, "longest_edge": {double_pixels}}}'


def _gated_merger(config: Plain, tower: VisionTower, h: int) -> Projector:
    """GLM-4V: a strided convolution joins four patches; a layer without bias, a norm, a gated MLP."""
    vision = nested(config, "vision_config")
    return Projector(
        widths=(4 * tower.hidden, h, h), merge=4, gated_intermediate=count_of(vision, "intermediate_size", 13696),
        gated_output=h, norm_params=2 * h - h,  # the second of ``widths`` has no bias
    )  # fmt: skip


_TOWERS = {
    "glm4v_vision": TowerType(
        defaults={
            "layers": 24,
            "hidden": 1536,
            "heads": 12,
            "intermediate": 4096,
            "patch": 14,
            "temporal_patch": 2,
            "image_size": 336,
        },
        traits=NO_BIAS | {"gated_mlp": True, "pre_norm": True},
        aliases={"intermediate": ("out_hidden_size",)},  # its intermediate_size is the merger's
    ),
}
_PLACES = Places(
    tower=("visual.blocks",), projector=("visual.merger.mlp.0", "visual.merger.linear_fc1", "visual.merger.proj")
)
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="glm4v",
            tied_by=Tie.EITHER,
            classes=("Glm4v",),
            tower="glm4v_vision",
            text="glm4",
            text_names=("glm4v_text",),
            projector=_gated_merger,
            image=lambda _, tower, read: area_rule(tower, read, least=8, most=7500, frames=2),
            settings=processor_argument(_AREA_GLM, Engine.VLLM, Engine.SGLANG, Engine.LLAMA_CPP),
            places=_PLACES,
        ),
        Architecture(
            model_type="glm4v_moe",
            tied_by=Tie.EITHER,
            classes=("Glm4vMoe",),
            tower="glm4v_vision",
            towers=("glm4v_moe_vision",),
            text="glm4v_moe_text",
            projector=_gated_merger,
            image=lambda _, tower, read: area_rule(tower, read, least=8, most=7500, frames=2),
            settings=processor_argument(_AREA_GLM, Engine.VLLM, Engine.SGLANG, Engine.LLAMA_CPP),
            places=_PLACES,
        ),
    ),
    towers=_TOWERS,
)
