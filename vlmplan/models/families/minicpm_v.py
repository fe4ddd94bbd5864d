"""MiniCPM-V: slices in the image's shape, 64 queries each; 4.6 joins patches twice."""

from typing import Any

from vlmplan.hardware import Engine
from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import MOST_TILES, views_rule
from vlmplan.models.configs.keys import Plain, count_of, nested
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.towers import CLIP, SO400M, TowerType
from vlmplan.models.settings import processor_argument
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, Resampler, VisionTower

_SLICES = processor_argument(
    '"max_slice_nums": {views}', Engine.VLLM, Engine.OPENVINO, transformers="processor max_slice_nums={views}"
)


def _merge_layer(__: Plain, found: dict[str, Any], _: str) -> dict[str, Any]:
    """MiniCPM-V 4.6: four patches become one inside the tower."""
    return {"extra_params": 10 * found["hidden"], "merge_intermediate": 4 * found["intermediate"]}


def _queried(config: Plain, __: VisionTower, h: int) -> Projector:
    """MiniCPM-V: 64 queries a slice (2.5: 96) attend to its patches once; a matrix."""
    queries = count_of(config, "query_num", 64)
    resampler = Resampler(
        queries=queries, input_width=h, query_width=h, attention_width=h, kv_width=h, output_width=h, projected=True,
        bias=True,
    )  # fmt: skip
    return Projector(widths=(h, h), bias=False, resampler=resampler, norm_params=6 * h, extra_params=queries * h)


def _twice_merged(_: Plain, tower: VisionTower, h: int) -> Projector:
    """MiniCPM-V 4.6: a second merge of four, behind the tower's own."""
    joined = 4 * tower.hidden
    return Projector(widths=(joined, joined, h), merge=4, norm_params=2 * joined)


def _slices_rule(config: Plain, _: VisionTower, read: Processor) -> dict[str, Any]:
    """MiniCPM-V: slices, each of as many tokens as the resampler has queries."""
    own = nested(config, "slice_config")
    for key in ("patch_size", "image_size"):
        read.value(key)
    size = read.count("scale_resolution", count_of(own, "scale_resolution", 448), 65_536)
    slices = read.count("max_slice_nums", count_of(own, "max_slice_nums", 9), MOST_TILES)
    tokens = count_of(config, "query_num", 64)
    tokens = read.count("image_feature_size", tokens) if read.has("image_feature_size") else tokens
    if not read.on("slice_mode", default=True):
        slices = 1
    return views_rule(size, Rule.SLICES, tokens, slices)


def _merged_slices_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """MiniCPM-V 4.6: slices in their own shape, patches joined twice or once."""
    mode = read.word("downsample_mode", "16x", ("16x", "4x"))
    step = tower.patch * (2 if mode == "4x" else 4)
    read.value("patch_size")
    found = _slices_rule(config, tower, read)
    return {**found, "tokens_per_view": (found["view_size"] // step) ** 2, "edge_step": step}


_TOWERS = {
    "minicpmv4_6_vision": TowerType(
        defaults=CLIP | {"patch": 16},
        special=_merge_layer,
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="minicpmv",
            classes=("MiniCPMV",),
            tower="siglip_vision_model",
            towers=("siglip",),
            vision_defaults=SO400M | {"image_size": 980},
            text="qwen2",
            text_key="",
            versions={  # vllm's minicpmv.py takes what says none for 2.0 or 2.5
                "": "llama", "2.0": "llama", "2": "llama", "2.5": "llama", "2.6": "qwen2", "4.0": "llama",
                "4": "llama", "4.5": "qwen3",
            },
            projector=_queried,
            image=_slices_rule,
            settings=_SLICES,
            places=Places(tower=("vpm.encoder.layers",), projector=("resampler.kv_proj", "resampler.attn.out_proj")),
        ),
        Architecture(
            model_type="minicpmv4_6",
            classes=("MiniCPMV4_6",),
            tower="minicpmv4_6_vision",
            traits={"merge_layer": 7},
            text="qwen3_5_text",
            projector=_twice_merged,
            image=_merged_slices_rule,
            settings=processor_argument('"max_slice_nums": {views}, "downsample_mode": "16x"', Engine.VLLM),
            places=Places(
                tower=("vision_tower.encoder.layers",),
                projector=("merger.mlp.0.linear_1",),
                named={
                    "merge qkv": "vit_merger.self_attn.q_proj",
                    "merge output": "vit_merger.self_attn.out_proj",
                    "merge up": "vit_merger.linear_1",
                    "merge down": "vit_merger.linear_2",
                },
            ),
        ),
    ),
    towers=_TOWERS,
)  # fmt: skip
