"""How ernie-vl is tried against transformers: a small model, and how its processor counts."""

from part import Part
from processors import area

PARTS = {
    "ernie4_5_vl_moe": Part(
        config=None,
        without='its class makes more of videos',
        count=area("ernie4_5_vl_moe", "Ernie4_5_VLMoe", {}),
        settings=[
        {"size": {"shortest_edge": 3136, "longest_edge": high}} for high in (100000, 501760, 784 * 1000, 2000000)
    ] + [{"size": {"shortest_edge": 400000, "longest_edge": 784 * 6177}}],
    ),
}  # fmt: skip
