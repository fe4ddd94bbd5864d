"""How does PyTorch run Qwen3-VL's DeepStack? Features of some of the tower's layers go into the LLM's first layers.

An export has them beside image features and embeddings, LLM width after LLM width (``graphs/qwen_vl.py`` says why);
transformers' classes take them apart. Models without DeepStack pass through as they are.
"""

from typing import Any


def wide_features(found: Any) -> Any:
    """``[tokens, LLM width x (1 + layers)]`` of what transformers' ``get_image_features`` makes of patches."""
    import torch

    layers = [found.pooler_output, *(getattr(found, "deepstack_features", None) or [])]
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
