"""Aya Vision: SigLIP tiles of 364 pixels, pixel shuffle and a gated MLP before an LLM of Cohere's."""

from typing import Any

from vlmplan.models.configs.family import USUAL, Architecture, Family
from vlmplan.models.configs.image_rules import tiles_rule
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.text_types import TextType
from vlmplan.models.configs.towers import SO400M
from vlmplan.models.settings import processor_argument
from vlmplan.models.tower import Projector, VisionTower


def _gated(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Squares of patches are joined, a norm, a gated MLP whose two matrices have biases."""
    side = count_of(config, "downsample_factor", 2, MOST_MERGED)
    joined, width = tower.hidden * side**2, count_of(config, "alignment_intermediate_size", h)
    return Projector(
        widths=(joined,),
        merge=side**2,
        gated_intermediate=width // 2,
        gated_output=h,
        norm_params=2 * joined,
        extra_params=width + h,
    )


def _tiles(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Tokens of the tiles; the words that number them are text."""
    for key in ("img_size", "patch_size", "downsample_factor"):  # the processor's patches are joined ones
        read.value(key)
    return tiles_rule(tower, read, count_of(config, "downsample_factor", 2, MOST_MERGED))


FAMILY = Family(
    architectures=(
        Architecture(
            model_type="aya_vision",
            classes=("AyaVision",),
            tower="siglip_vision_model",
            vision_defaults=SO400M | {"layers": 26, "heads": 14, "image_size": 384},
            text="cohere2",
            tied=True,
            projector=_gated,
            image=_tiles,
            settings=processor_argument('"max_patches": {views}'),
            places=USUAL,
        ),
    ),
    texts={
        "cohere2": TextType(
            defaults={"vocabulary": 256000, "hidden": 8192, "intermediate": 22528, "layers": 40, "heads": 64,
                      "tied_embeddings": True, "sliding_window": 4096},
            traits={"norms_per_layer": 1},  # attention and MLP stand side by side
            pattern=("sliding_attention", 4),
        ),
    },
)  # fmt: skip
