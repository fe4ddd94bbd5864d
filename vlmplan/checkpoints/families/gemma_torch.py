"""How does PyTorch run Gemma 3 and PaliGemma? Their image features, embeddings and steps, as exports have them.

Gemma 3's embeddings have a channel more, which tells an image from text (``graphs/gemma.py`` says why).
"""

from typing import Any

from vlmplan.checkpoints.families.gemma import MARKED_TYPES


def pooled_features(model: Any, compressor: Any, pixels: Any) -> Any:
    """``[batch, 3, size, size] -> [batch, visual tokens, LLM width (+ 1)]``, by transformers' tower and projector."""
    from vlmplan.checkpoints.torch_compressors import Features

    if model.config.model_type in MARKED_TYPES:
        return as_marked(model, projected_tokens(model, pixels))
    patches = model.model.vision_tower(pixels).last_hidden_state
    return model.model.multi_modal_projector(compressor(Features(patches=patches)))


def projected_tokens(model: Any, pixels: Any) -> Any:
    """``[batch, 3, size, size] -> [batch, all tokens, LLM width]``, by transformers' tower and projector."""
    if model.config.model_type in MARKED_TYPES:
        return model.get_image_features(pixels).pooler_output
    return model.model.multi_modal_projector(model.model.vision_tower(pixels).last_hidden_state)


def as_marked(model: Any, features: Any) -> Any:
    """Image features with the channel that tells Gemma 3 an image from text."""
    import torch

    if model.config.model_type not in MARKED_TYPES:
        return features
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)


def embedded(model: Any, input_ids: Any) -> Any:
    """``[batch, tokens] -> [batch, tokens, LLM width (+ 1)]``."""
    import torch

    embeds = model.get_input_embeddings()(input_ids)
    if model.config.model_type not in MARKED_TYPES:
        return embeds
    return torch.cat([embeds, torch.zeros_like(embeds[..., :1])], dim=-1)


def prompted_step(model: Any, embeds: Any, mask: Any, cache: Any | None) -> tuple[Any, Any]:
    """One call of transformers' own class: (last token's logits ``[batch, vocabulary]``, the cache).

    It is told the types of the tokens of a prompt: Gemma 3's images are 1, PaliGemma's prefix is 0.
    """
    import torch

    marked, width = model.config.model_type in MARKED_TYPES, model.config.text_config.hidden_size
    kinds = None
    if cache is None:
        kinds = torch.zeros(embeds.shape[:2], dtype=torch.int64, device=embeds.device)
        if marked:
            kinds = (embeds[..., width] > 0.5).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
    output = model(
        inputs_embeds=embeds[..., :width],
        attention_mask=mask,
        position_ids=positions if marked else positions + 1,  # PaliGemma's count from 1
        token_type_ids=kinds,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1], output.past_key_values
