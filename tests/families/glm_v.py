"""How glm-v is tried against transformers: a small model, and how its processor counts."""

from part import TEXT, Part
from processors import area

PARTS = {
    "glm4v": Part(
        config={"text_config": {**TEXT, "head_dim": None}, "vision_config": {
        "hidden_size": 96, "intermediate_size": 224, "depth": 3, "num_heads": 4, "out_hidden_size": 128,
        "image_size": 56}},
        count=area("glm4v", "Glm4v", {}),
        settings=[
        {"size": {"shortest_edge": 12544, "longest_edge": 2 * 784 * 500}},
        {"size": {"shortest_edge": 12544, "longest_edge": 2 * 784 * 100}},
        {"size": {"shortest_edge": 2 * 784 * 600, "longest_edge": 9633792}},
        {"size": {"shortest_edge": 50000, "longest_edge": 500000}},
        {"size": {"shortest_edge": 12544, "longest_edge": 9633792}},
    ],
    ),
    "glm4v_moe": Part(
        config={"text_config": {**TEXT, "n_routed_experts": 8, "num_experts_per_tok": 2,
                                  "moe_intermediate_size": 64},
                  "vision_config": {"hidden_size": 96, "intermediate_size": 224, "depth": 3, "num_heads": 4,
                                    "out_hidden_size": 128, "image_size": 56}},
        scored=True,
        count=area("glm4v", "Glm4v", {}),
        settings=[
        {"size": {"shortest_edge": low, "longest_edge": 9633792}} for low in (12544, 50000, 100352, 401408, 1605632)
    ],
    ),
}  # fmt: skip
