"""Which LFM2-VL checkpoints are drawn, and how does PyTorch run them? As transformers' classes do.

A transformers configuration -> sizes of its views; what cannot be drawn is named. Squares of patches stand for other
families' tiles: a token each. A model -> features of its views, pooled where an export pools them; a cache of zeros.
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


def view_features(model: Any, pooled: int, pixels: Any, mask: Any, shapes: Any) -> Any:
    """``[views, patches, numbers of a patch] -> [tokens, LLM width]``, by transformers' tower and projector.

    ``mask [views, patches]`` says what is no padding, ``shapes [views, 2]`` are rows and columns of patches. Squares of
    ``pooled`` x ``pooled`` tokens become their mean.
    """
    import torch

    features = model.get_image_features(pixels, spatial_shapes=shapes, pixel_attention_mask=mask).pooler_output
    if pooled == 1:
        return torch.cat(tuple(features))
    means = []
    for tokens, (rows, columns) in zip(features, (shapes // model.config.downsample_factor).tolist(), strict=True):
        squares = tokens.unflatten(0, (rows // pooled, pooled, columns // pooled, pooled))
        means.append(squares.mean(dim=(1, 3)).flatten(0, 1))
    return torch.cat(means)


def hybrid_zeros(text: Any, head_dim: int, batch: int, tokens: int, like: Any) -> Any:
    """Return a cache of ``tokens`` zeros, on the device and in the precision of the tensor ``like``.

    Of short convolutions it is what they keep.
    """
    import torch
    from transformers import DynamicCache

    cache, kernel = DynamicCache(config=text), text.conv_L_cache
    for layer, kind in enumerate(text.layer_types):
        if kind == "conv":
            kept = torch.zeros((batch, text.hidden_size, kernel), dtype=like.dtype, device=like.device)
            cache.update_conv_state(kept, layer, conv_kernel_size=kernel)
            continue
        shape = (batch, text.num_key_value_heads, tokens, head_dim)
        keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
        cache.update(keys, keys.clone(), layer)
    return cache
