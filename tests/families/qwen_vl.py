"""How qwen-vl is tried against transformers: a small model, and how its processor counts."""

from part import DELTA, DEPTH, MOE, QWEN2, TEXT, Part
from processors import area

_QWEN3 = {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 16777216}}
PARTS = {
    "qwen2_vl": Part(
        config={"text_config": TEXT, "vision_config": {"embed_dim": 96, "depth": 4, "num_heads": 4, "mlp_ratio": 4,
                                                        "hidden_size": 128}},
        count=area("qwen2_vl", "Qwen2VL", QWEN2),
        settings=[
        {"min_pixels": 200704, "max_pixels": 401408},
        {"min_pixels": 3136, "max_pixels": 1003520},
        {"size": {"shortest_edge": 3136, "longest_edge": 600000}},
        {"size": {"shortest_edge": 100000, "longest_edge": 12845056}},
        {"min_pixels": 50000, "size": {"shortest_edge": 3136, "longest_edge": 401408}},
        {"min_pixels": 1000000, "max_pixels": 1000001},
    ],
    ),
    "qwen2_5_vl": Part(
        config={"text_config": TEXT, "vision_config": {**DEPTH, "patch_size": 14, "out_hidden_size": 128,
                                                          "fullatt_block_indexes": [1]}},
        count=area("qwen2_vl", "Qwen2VL", QWEN2),
        settings=[
        {"min_pixels": 4 * 784, "max_pixels": 99999},
        {"min_pixels": 262144, "max_pixels": 1310720},
        {"max_pixels": 313600, "min_pixels": 3136},
        {"size": {"shortest_edge": 7777, "longest_edge": 777777}},
        {"size": {"shortest_edge": 501760, "longest_edge": 1003520}, "min_pixels": 3136},
    ],
    ),
    "qwen3_vl": Part(
        config={"text_config": TEXT, "vision_config": {**DEPTH, "out_hidden_size": 128,
                                                        "deepstack_visual_indexes": [1, 2]}},
        count=area("qwen2_vl", "Qwen2VL", _QWEN3),
        settings=[
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 1048576}},
        {"patch_size": 16, "size": {"shortest_edge": 1024, "longest_edge": 262144}},
        {"patch_size": 16, "size": {"shortest_edge": 300000, "longest_edge": 16777216}},
        {"patch_size": 16, "min_pixels": 4096, "max_pixels": 1000000},
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 123456}},
    ],
    ),
    "qwen3_vl_moe": Part(
        config={"text_config": {**TEXT, **MOE}, "vision_config": {**DEPTH, "out_hidden_size": 128,
                                                                       "deepstack_visual_indexes": [1, 2]}},
        count=area("qwen2_vl", "Qwen2VL", _QWEN3),
        settings=[
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": high}}
        for high in (65536, 99999, 262144, 1048576, 8388608)
    ],
    ),
    "qwen3_5": Part(
        config={"text_config": {**TEXT, **DELTA}, "vision_config": {**DEPTH, "out_hidden_size": 128}},
        count=area("qwen2_vl", "Qwen2VL", _QWEN3),
        settings=[
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": high}}
        for high in (65536, 70000, 524288, 1048577, 4194304)
    ],
    ),
    "qwen3_5_moe": Part(
        config={"text_config": {**TEXT, **DELTA, **MOE, "shared_expert_intermediate_size": 48},
                    "vision_config": {**DEPTH, "out_hidden_size": 128}},
        count=area("qwen2_vl", "Qwen2VL", _QWEN3),
        settings=[
        {"patch_size": 16, "size": {"shortest_edge": low, "longest_edge": 16777216}}
        for low in (1024, 40000, 65536, 262144, 1048576)
    ],
    ),
}  # fmt: skip
