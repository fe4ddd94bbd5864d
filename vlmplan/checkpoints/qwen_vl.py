"""Which Qwen2-VL and Qwen2.5-VL checkpoints are drawn? Their towers and positions as transformers' classes have them.

A transformers configuration -> the side of a square of patches that becomes a token, the axis of position that each
rotary frequency follows; what cannot be drawn is named. Squares stand for other families' tiles: a token each.
"""

from pathlib import Path
from typing import Any

from vlmplan.errors import InputError

_TEXTS = ("qwen2_vl_text", "qwen2_5_vl_text")
_SECTIONS = (16, 24, 24)  # frequencies that follow time, height and width, where no configuration says
_MOST = 64  # patches of a side that are joined, or frames


def patch_width(tower: Any) -> int:
    """Return the numbers of a patch: channels x frames x side x side."""
    return int(tower.in_channels * tower.temporal_patch_size * tower.patch_size**2)


def square_side(tower: Any) -> int:
    """Return the side, in pixels, of the square that becomes a token."""
    return int(tower.patch_size * tower.spatial_merge_size)


def tower_width(tower: Any) -> int:
    """Return the width of the tower's layers: Qwen2-VL calls the LLM's ``hidden_size``."""
    return int(getattr(tower, "embed_dim", tower.hidden_size))


def window_side(tower: Any) -> int | None:
    """Return the side of a window in squares; None where every layer sees the whole image."""
    window = getattr(tower, "window_size", None)
    return None if window is None else int(window // tower.spatial_merge_size // tower.patch_size)


def position_axes(text: Any) -> tuple[int, ...] | None:
    """Return which of time, height and width (0, 1, 2) each rotary frequency follows; None for plain positions."""
    if text.model_type not in _TEXTS:
        return None
    sections = text.rope_parameters.get("mrope_section", _SECTIONS)
    return tuple(number % 3 for number, count in enumerate(sections) for _ in range(count))


def check_grids(config: Any, folder: Path) -> None:
    """Raise InputError for a tower or positions that no graph is drawn of."""
    tower, text = config.vision_config, config.text_config
    out = getattr(tower, "out_hidden_size", tower.hidden_size)
    for key in ("patch_size", "spatial_merge_size", "temporal_patch_size", "in_channels"):
        if type(value := getattr(tower, key)) is not int or not 1 <= value <= _MOST:
            raise InputError(f"{folder}: vision_config.{key} is {value!r}, expected a whole number from 1 to {_MOST}")
    if out != text.hidden_size:
        raise InputError(f"{folder}: the tower makes tokens of width {out}, the LLM's are {text.hidden_size} wide")
    if (width := tower_width(tower)) % (4 * tower.num_heads):
        raise InputError(f"{folder}: the tower's width is {width}, expected a multiple of 4 x {tower.num_heads} heads")
    if (side := window_side(tower)) is not None and side < 1:
        raise InputError(
            f"{folder}: vision_config.window_size is {tower.window_size}, smaller than a square of patches"
        )
    sections, due = text.rope_parameters.get("mrope_section", _SECTIONS), text.hidden_size // text.num_attention_heads
    if not _counts(sections) or sum(sections) != due // 2:
        raise InputError(
            f"{folder}: mrope_section is {sections!r:.60}, expected three numbers, {due // 2} in all: half a head"
        )


def _counts(sections: Any) -> bool:
    """Whether these are three whole numbers."""
    return (
        isinstance(sections, list | tuple)
        and len(sections) == 3
        and all(type(count) is int and count >= 0 for count in sections)
    )
