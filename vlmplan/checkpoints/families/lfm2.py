"""Which LFM2-VL checkpoints are drawn? Their towers, projectors and decoders as transformers' classes have them.

A transformers configuration -> sizes of its views; what cannot be drawn is named. Squares of patches stand for other
families' tiles: a token each.
"""

import math
from pathlib import Path
from typing import Any

from vlmplan.checkpoints.attention import rope_type
from vlmplan.errors import InputError
from vlmplan.models import ARCHITECTURES

_MOST = 64  # patches of a side that are joined, tokens that a convolution sees
_MOST_PATCH = 4096  # pixels of a side


def view_patch_width(tower: Any) -> int:
    """Return the numbers of a patch: side x side x channels."""
    return int(tower.num_channels * tower.patch_size**2)


def position_side(tower: Any) -> int:
    """Return the patches on a side of the square whose positions were trained."""
    return math.isqrt(tower.num_patches)


def view_square(config: Any) -> int:
    """Return the side, in pixels, of the square that becomes a token."""
    return int(config.vision_config.patch_size * config.downsample_factor)


def view_limits(config: Any, rope_types: tuple[str, ...]) -> tuple[tuple[str, Any, tuple[Any, ...]], ...]:
    """Return what is exported of these configurations: keys, what they hold, what they may."""
    text, tower = config.text_config, config.vision_config
    kinds = ("conv", "full_attention")
    layers = [("text_config.layer_types", kind, kinds) for kind in sorted(set(text.layer_types))]
    return (
        ("text_config.model_type", text.model_type, ARCHITECTURES[config.model_type].exported_texts),
        ("vision_config.model_type", tower.model_type, ("siglip2_vision_model",)),
        ("text_config.rope_parameters.rope_type", rope_type(text), rope_types),
        *layers,
    )


def check_counts(config: Any, folder: Path) -> None:
    """Raise InputError for numbers that no graph is drawn of."""
    text, tower = config.text_config, config.vision_config
    counts = (
        ("downsample_factor", config.downsample_factor, _MOST),
        ("vision_config.patch_size", tower.patch_size, _MOST_PATCH),
        ("vision_config.num_channels", tower.num_channels, _MOST),
        ("text_config.conv_L_cache", text.conv_L_cache, _MOST),
    )
    for key, value, most in counts:
        if type(value) is not int or not 1 <= value <= most:
            raise InputError(f"{folder}: {key} is {value!r}, expected a whole number from 1 to {most}")
    if type(tower.num_patches) is not int or tower.num_patches < 1 or position_side(tower) ** 2 != tower.num_patches:
        raise InputError(f"{folder}: vision_config.num_patches is {tower.num_patches!r}, expected a square")
    if not 0 <= config.image_token_id < text.vocab_size:
        raise InputError(
            f"{folder}: image_token_id is {config.image_token_id}, expected one of the {text.vocab_size} tokens of "
            "text_config.vocab_size"
        )
