"""Molmo and Molmo2: overlapping crops, each token attends to its four patches."""

import math
from typing import Any

from vlmplan.errors import InputError, unexpected
from vlmplan.hardware import Engine
from vlmplan.models.configs.family import Architecture, Family, Places, Tie
from vlmplan.models.configs.image_rules import MOST_TILES, Made, tower_side, view_side, views_rule
from vlmplan.models.configs.keys import Plain, count_of, nested
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import Made as Maker
from vlmplan.models.configs.text_types import TextType
from vlmplan.models.configs.towers import CLIP_LARGE, SO400M, TowerType
from vlmplan.models.settings import Settings, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, Resampler, VisionTower


def _attention_pooled(v_levels: int, *, as_llm: bool = False) -> Maker:
    """Molmo: each token attends to its four patches, of two of the tower's layers; a gated MLP.

    ``as_llm``: the MLP is as wide as the LLM's where no table says otherwise, and two vectors mark what is padding.
    """

    def made(config: Plain, tower: VisionTower, h: int) -> Projector:
        v, wide = tower.hidden, v_levels * tower.hidden
        resampler = Resampler(
            queries=1, input_width=wide, query_width=wide, attention_width=v, kv_width=v, output_width=v, region=4,
            bias=True,
        )  # fmt: skip
        usual = max(1, count_of(config, "intermediate_size", 37888) // 2) if as_llm else 18944
        width = count_of(nested(config, "adapter_config"), "intermediate_size", usual)
        return Projector(
            widths=(v,), gated_intermediate=width, gated_output=h, resampler=resampler,
            extra_params=2 * wide if as_llm else 0,
        )  # fmt: skip

    return made


def _overlap_rule(unasked: int, tokens: int) -> Made:
    """Molmo and Molmo2: overlapping crops, pooled 2 x 2."""

    def made(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        side = view_side(tower, read, "base_image_input_size", "size")
        for key in ("base_image_input_size", "size", "image_patch_size", "patch_size"):
            read.value(key)
        where, margins = read.value("overlap_margins")
        margins = [4, 4] if margins is None else margins
        if not isinstance(margins, list | tuple) or not all(type(m) is int and 0 <= m < 32 for m in margins):
            raise unexpected(where, "two numbers of patches", margins)
        where, pooled = read.value("pooling_size")
        if pooled is not None and pooled != [2, 2]:
            raise InputError(f"{where}: {pooled!r:.40} is not read; expected [2, 2]")
        across, down = (read.count(f"image_token_length_{axis}", math.isqrt(tokens)) for axis in "wh")
        patches = side // tower.patch
        low = across * down if side == tower_side(tower) else math.ceil(patches / 2) ** 2
        return views_rule(
            side, Rule.OVERLAP, low, read.count("max_crops", unasked, MOST_TILES), patches_per_side=patches,
            overlap_patches=sum(margins),
        )  # fmt: skip

    return made


_TOWERS = {
    "molmo2": TowerType(defaults=SO400M | {"layers": 25, "image_size": 378}, traits={"post_norm": False}),
}
# The decoder of the first Molmo by its own code (modeling_molmo.py, and vllm's molmo.py): the MLP's width counts gate
# and up, the embedding is wider than the vocabulary and has 128 more rows for what marks an image.
_TEXTS = {
    "molmo_text": TextType(
        defaults={
            "vocabulary": 50304, "hidden": 4096, "intermediate": 11008, "layers": 32, "heads": 32,
            "tied_embeddings": False,
        },
        keys={"additional_vocab_size": 128},
        aliases={"vocabulary": ("embedding_size", "vocab_size")},
        gate_counted=True,
    ),
}  # fmt: skip
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="molmo",
            classes=("Molmo", "MOLMo"),
            tower="clip_vision_model",
            vision_defaults=CLIP_LARGE | {"layers": 23},
            traits={"post_norm": False},
            text="molmo_text",
            text_key="",
            projector=_attention_pooled(2, as_llm=True),
            image=_overlap_rule(12, 144),
            settings=Settings(setting="processor max_crops={views}"),
            places=Places(
                tower=("vision_backbone.image_vit.transformer.resblocks",),
                projector=("vision_backbone.image_projector.w1",),
            ),
        ),
        Architecture(
            model_type="molmo2",
            tied_by=Tie.NEVER,
            classes=("Molmo2",),
            tower="molmo2",
            towers=("molmo2_vision",),
            text="molmo2_text",
            projector=_attention_pooled(2),
            image=_overlap_rule(8, 196),
            settings=processor_argument('"max_crops": {views}', Engine.VLLM),
            places=Places(
                tower=("vision_tower.layers", "vision_backbone.image_vit.transformer.resblocks"),
                projector=("multi_modal_projector.image_projector.gate_proj", "vision_backbone.image_projector.w1"),
            ),
        ),
    ),
    towers=_TOWERS,
    texts=_TEXTS,
)
