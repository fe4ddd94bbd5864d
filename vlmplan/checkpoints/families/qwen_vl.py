"""Which Qwen2-VL, Qwen2.5-VL and Qwen3-VL checkpoints are drawn, and how does PyTorch run DeepStack?

Towers and positions are as in transformers' classes. A configuration -> the side of a square of patches that becomes a
token, the axis of position that each rotary frequency follows; what cannot be drawn is named. Squares stand for other
families' tiles: a token each.

DeepStack is Qwen3-VL's: features of some of the tower's layers go into the LLM's first layers. An export has them
beside image features and embeddings, LLM width after LLM width (``graphs/qwen_vl.py`` says why); transformers' classes
take them apart. Models without DeepStack pass through as they are.
"""

from pathlib import Path
from typing import Any

from vlmplan.errors import InputError

# Frequencies that follow time, height and width, where no configuration says.
_SECTIONS = {"qwen2_vl_text": (16, 24, 24), "qwen2_5_vl_text": (16, 24, 24), "qwen3_vl_text": (24, 20, 20)}
_INTERLEAVED = ("qwen3_vl_text",)  # which take turns, in place of three runs
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
    if text.model_type not in _SECTIONS:
        return None
    sections = _sections(text)
    if text.model_type not in _INTERLEAVED:
        return tuple(number % 3 for number, count in enumerate(sections) for _ in range(count))
    axes = [0] * sum(sections)
    for axis in (1, 2):
        turns = range(axis, min(3 * sections[axis], len(axes)), 3)
        axes[axis : 3 * sections[axis] : 3] = [axis] * len(turns)
    return tuple(axes)


def _sections(text: Any) -> Any:
    """How many frequencies follow time, height and width."""
    return text.rope_parameters.get("mrope_section", _SECTIONS[text.model_type])


def stacked_layers(tower: Any) -> tuple[int, ...]:
    """Return the tower's layers, each merger's, whose features go into the LLM's first (DeepStack); often none."""
    return tuple(getattr(tower, "deepstack_visual_indexes", ()))


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
    _check_stacked(tower, text, folder)
    sections = _sections(text)
    due = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if not _counts(sections) or sum(sections) != due // 2:
        raise InputError(
            f"{folder}: mrope_section is {sections!r:.60}, expected three numbers, {due // 2} in all: half a head"
        )


def _check_stacked(tower: Any, text: Any, folder: Path) -> None:
    """Raise InputError for layers of DeepStack, or a table of positions, that transformers' class makes little of."""
    layers = stacked_layers(tower)
    if len(set(layers)) < len(layers) or not all(0 <= layer < tower.depth for layer in layers):
        raise InputError(
            f"{folder}: vision_config.deepstack_visual_indexes is {list(layers)!r:.60}, expected layers of the tower's "
            f"{tower.depth}, each once, counted from 0"
        )
    if len(layers) > text.num_hidden_layers:
        raise InputError(
            f"{folder}: vision_config.deepstack_visual_indexes has {len(layers)} layers, the LLM that takes them "
            f"{text.num_hidden_layers}"
        )
    if (places := getattr(tower, "num_position_embeddings", 1)) < 1:
        raise InputError(f"{folder}: vision_config.num_position_embeddings is {places!r:.40}, expected 1 or more")


def _counts(sections: Any) -> bool:
    """Whether these are three whole numbers."""
    return (
        isinstance(sections, list | tuple)
        and len(sections) == 3
        and all(type(count) is int and count >= 0 for count in sections)
    )


def wide_features(output: Any) -> Any:
    """``[tokens, LLM width x (1 + layers)]`` of what transformers' ``get_image_features`` makes of patches."""
    import torch

    layers = [output.pooler_output, *(getattr(output, "deepstack_features", None) or [])]
    return torch.cat([torch.cat(tuple(images)) for images in layers], dim=-1)


def wide_embeds(embeds: Any, layers: int) -> Any:
    """``[batch, tokens, LLM width] -> [batch, tokens, LLM width x (1 + layers)]``: text has no features."""
    import torch

    return torch.nn.functional.pad(embeds, (0, embeds.shape[-1] * layers))


def apart(embeds: Any, layers: int) -> dict[str, Any]:
    """Return what transformers' LLM is given for wide embeddings; every place counts as an image's, text adds zeros."""
    import torch

    own, *features = embeds.tensor_split(1 + layers, dim=-1)
    if not layers:
        return {"inputs_embeds": own}
    seen = torch.ones(own.shape[:2], dtype=torch.bool, device=own.device)
    return {
        "inputs_embeds": own,
        "visual_pos_masks": seen,
        "deepstack_visual_embeds": [one.flatten(0, 1) for one in features],
    }
