"""How kimi-vl is tried against transformers: a small model, and how its processor counts."""

from part import Part

PARTS = {
    "kimi_vl": Part(
        config=None,
        without="its class is not transformers' own",
        count=None,
        uncounted="its processor is not transformers'",
        settings=[],
    ),
}  # fmt: skip
