"""What a family's file in ``tests/families`` says of each of its types, and what these files share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from processors import Counted, Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``config``: its class's arguments for a small model, sizes odd on purpose; None ``without`` such a class.

    ``count``: settings -> (width, height) -> tokens, as its processor counts; None ``uncounted`` for a reason: its
    processor is not transformers', and ``test_visual_tokens`` tries what it says. ``settings`` are what a processor's
    file may say that its first checkpoint's does not, at least five; they stand in the config itself with ``bare``.
    ``like`` is a config of the type where its defaults are not those of its checkpoints. ``scored``: scores of experts
    are tensors in the file, and buffers in transformers.
    """

    config: Plain | None
    count: Callable[[Plain], Counted] | None
    settings: list[Plain]
    without: str = ""
    uncounted: str = ""
    like: Plain = field(default_factory=dict)
    bare: bool = False
    scored: bool = False


TEXT: Plain = {
    "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
}  # fmt: skip
VISION: Plain = {
    "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4, "patch_size": 14,
    "image_size": 56,
}  # fmt: skip
DEPTH: Plain = {"hidden_size": 96, "intermediate_size": 160, "depth": 4, "num_heads": 4, "patch_size": 16}
MOE: Plain = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
DELTA: Plain = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 24,
}  # fmt: skip
SIGLIP: Plain = {"model_type": "siglip_vision_model", **VISION, "vision_use_head": False}
QWEN2: Plain = {"min_pixels": 3136, "max_pixels": 12845056}  # of the file beside the checkpoints


def square(side: int) -> Plain:
    """A processor's size, spelled out."""
    return {"height": side, "width": side}


def grids(side: int, *pairs: tuple[int, int]) -> list[list[int]]:
    """Resolutions of so many rows and columns."""
    return [[side * rows, side * columns] for rows, columns in pairs]
