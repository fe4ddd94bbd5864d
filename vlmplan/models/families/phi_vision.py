"""Phi-3-vision, Phi-3.5-vision and Phi-4-multimodal: crops on a grid, newlines a row."""

import math
from typing import Any

from vlmplan.hardware import Engine
from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import MOST_TILES, grid_tokens, tower_side, view_side, views_rule
from vlmplan.models.configs.keys import Plain
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, V, built
from vlmplan.models.configs.towers import CLIP_LARGE, SO400M
from vlmplan.models.settings import processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import VisionTower


def _unasked(views: int, most: int) -> dict[str, int]:
    """The views a processor makes unasked, where they are not the most it was made for."""
    return {"max_views": max(views, most), **({} if views >= most else {"default_max_views": views})}


def _hd_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Phi-3-vision: four crops unasked, as Phi-3.5's file says and vLLM counts; sixteen are its most."""
    for key in ("num_img_tokens", "size", "crop_size"):
        read.value(key)
    crops = read.count("num_crops", 4, MOST_TILES)
    return views_rule(tower_side(tower), Rule.HD, 144, 16, trained_min_visual_tokens=313) | _unasked(crops, 16)


def _dynamic_hd_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Phi-4-multimodal."""
    side = view_side(tower, read, "size", "crop_size")
    for key in ("patch_size", "num_img_tokens"):
        read.value(key)
    tokens, crops = grid_tokens(side, tower.patch, 2), read.count("dynamic_hd", 36, MOST_TILES)
    return views_rule(side, Rule.DYNAMIC_HD, tokens, crops, trained_min_visual_tokens=tokens + 1 + math.isqrt(tokens))


_PLACES = Places(
    tower=("embed_tokens_extend.image_embed.img_processor.encoder.layers",),
    projector=("embed_tokens_extend.image_embed.img_projection.0", "embed_tokens_extend.image_embed.img_projection_up"),
)
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="phi3_v",
            classes=("Phi3V",),
            tower="clip_vision_model",
            vision_key="img_processor",
            vision_defaults=CLIP_LARGE,
            feature_layer=-2,
            text="phi3",
            text_names=("phi3_v",),
            text_key="",
            projector=built(widths=((4, "v"), H, H), merge=4, extra_params=2 * 4096),
            image=_hd_rule,
            settings=processor_argument(
                '"num_crops": {views}', Engine.OPENVINO, transformers="processor num_crops={views}"
            ),
            places=Places(
                tower=("vision_embed_tokens.img_processor.vision_model.encoder.layers",),
                projector=("vision_embed_tokens.img_projection.0",),
            ),
        ),
        Architecture(
            model_type="phi4mm",
            classes=("Phi4MM",),
            tower="siglip_vision_model",
            vision_key="img_processor",
            vision_defaults=SO400M | {"image_size": 448},
            feature_layer=-2,
            text="phi3",
            text_names=("phi4mm",),
            text_key="",
            projector=built(widths=(V, H, H), merge=4, extra_params=2 * 1152),
            image=_dynamic_hd_rule,
            settings=processor_argument('"dynamic_hd": {views}', Engine.VLLM),
            places=_PLACES,
        ),
        Architecture(
            model_type="phi4_multimodal",
            classes=("Phi4Multimodal",),
            tower="siglip_vision_model",
            towers=("phi4_multimodal_vision",),
            vision_defaults=SO400M | {"image_size": 448},
            feature_layer=-2,
            text="phi3",
            text_names=("phi4_multimodal",),
            text_key="",
            text_defaults={"vocabulary": 200064, "kv_heads": 8},
            projector=built(widths=(V, H, H), merge=4, extra_params=2 * 1152),
            image=_dynamic_hd_rule,
            settings=processor_argument('"dynamic_hd": {views}'),
            places=_PLACES,
        ),
    ),
)
