"""How does PyTorch run LFM2-VL? Features of its views, pooled where an export pools them, and a cache of zeros."""

from typing import Any


def view_features(model: Any, pooled: int, pixels: Any, mask: Any, shapes: Any) -> Any:
    """``[views, patches, numbers of a patch] -> [tokens, LLM width]``, by transformers' tower and projector.

    ``mask [views, patches]`` says what is no padding, ``shapes [views, 2]`` are rows and columns of patches. Squares of
    ``pooled`` x ``pooled`` tokens become their mean.
    """
    import torch

    found = model.get_image_features(pixels, spatial_shapes=shapes, pixel_attention_mask=mask).pooler_output
    if pooled == 1:
        return torch.cat(tuple(found))
    means = []
    for tokens, (rows, columns) in zip(found, (shapes // model.config.downsample_factor).tolist(), strict=True):
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
