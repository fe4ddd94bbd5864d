"""InternVL as published (``internvl_chat``) and in transformers: tiles of 448 pixels, pixel unshuffle."""

from typing import Any

from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.configs.family import LINEAR, Architecture, Family, Places
from vlmplan.models.configs.image_rules import MOST_TILES, grid_tokens, tiles_rule, tower_side, views_rule
from vlmplan.models.configs.keys import Plain, count_of, downsampling, switch
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.towers import TowerType
from vlmplan.models.settings import Settings, processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, VisionTower


def _internvit(own: Plain, fields: dict[str, Any], where: str) -> dict[str, Any]:
    """InternViT-6B norms queries and keys, and has no bias there; the output's bias stays."""
    normed = any(switch(own, key, where, default=False) for key in ("use_qk_norm", "qk_normalization"))
    rms = own.get("norm_type") == "rms_norm"
    bias = switch(own, "attention_bias", where, default=switch(own, "qkv_bias", where, default=False))
    spared = 0 if bias else fields["layers"] * fields["hidden"]
    return {"qk_norm": normed, "norm_bias": not rms, "attention_bias": bias, "extra_params": spared}


def _shuffled(config: Plain, tower: VisionTower, h: int) -> Projector:
    """InternVL: pixel unshuffle, a norm, two layers."""
    side = downsampling(config)
    joined = tower.hidden * side**2
    return Projector(widths=(joined, h, h), merge=side**2, norm_params=2 * joined)


def _internvl_chat_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """InternVL as published: the config has the limits; the file beside it is CLIP's and says nothing of them."""
    side = count_of(config, "force_image_size", tower_side(tower), 65_536)
    for key in ("size", "crop_size"):
        read.value(key)
    most = read.count("max_dynamic_patch", 12, MOST_TILES)
    least = read.count("min_dynamic_patch", 1, MOST_TILES)
    if least > most:
        raise InputError(f"{read.value('min_dynamic_patch')[0]}: found {least}, expected at most {most}")
    if not read.on("dynamic_image_size", default=True):
        least = most = 1
    thumbnail = read.on("use_thumbnail", default=True)
    tokens = grid_tokens(side, tower.patch, downsampling(config))
    return views_rule(side, Rule.TILES, tokens, most, min_views=least, thumbnail=thumbnail)


_TOWERS = {
    "internvl_vision": TowerType(
        defaults={"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14, "image_size": 448},
        traits={"class_token": True, "layer_scale": True, "post_norm": False},
        special=_internvit,
        classes=("InternVision",),
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="internvl_chat",
            classes=("InternVLChat",),
            tower="internvl_vision",
            towers=("intern_vit_6b", "intern_vit_300m"),
            text="internlm2",
            text_key="llm_config",
            exportable=True,
            tiled=True,
            projector=_shuffled,
            image=_internvl_chat_rule,
            settings=Settings(
                setting="load_image max_num={views}, of the model card",
                engines={
                    Engine.VLLM: "--mm-processor-kwargs '{{\"max_dynamic_patch\": {views}}}'",
                    Engine.SGLANG: 'in each request: "image_url": {{"max_dynamic_patch": {views}}}',
                },
            ),
            places=Places(tower=("vision_model.encoder.layers",), projector=("mlp1.1", "mlp1.3"), fused=True),
        ),
        Architecture(
            model_type="internvl",
            synonyms=("internvl_chat_hf",),
            classes=("InternVL",),
            tower="internvl_vision",
            text="qwen2",
            tied=True,
            exportable=True,
            tiled=True,
            projector=_shuffled,
            image=lambda config, tower, read: tiles_rule(tower, read, downsampling(config)),
            settings=processor_argument('"crop_to_patches": true, "max_patches": {views}', Engine.VLLM),
            places=Places(
                tower=("vision_tower.encoder.layer", "vision_model.encoder.layers"), projector=(*LINEAR, "mlp1.1")
            ),
        ),
    ),
    towers=_TOWERS,
)
