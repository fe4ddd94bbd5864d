"""What is Gemma 3's and PaliGemma's own? How patches become tokens, and what of a configuration is exported.

Gemma 3 pools its patches to a number of tokens that its configuration has; PaliGemma keeps all of them.
"""

import copy
import math
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models import ARCHITECTURES

MARKED_TYPES = ("gemma3",)  # whose images see themselves whole, and so are marked in embeddings
POOLED_TYPES = tuple(kind for kind, known in ARCHITECTURES.items() if known.exported_texts and not known.tiled)
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")  # those whose frequencies do not follow the length of the text


def pooled_side(config: Any) -> int:
    """Return how many patches of a side the model itself averages to a token: 1 where it averages none."""
    tokens = getattr(config, "mm_tokens_per_image", None)
    if tokens is None:
        return 1
    tower = config.vision_config
    return int(max(1, (tower.image_size // tower.patch_size) // max(1, math.isqrt(max(0, tokens)))))


def activation_of(text: Any) -> Any:
    """Return the activation of an LLM's MLP, by either of its names."""
    return getattr(text, "hidden_activation", None) or text.hidden_act


def _rope_types(text: Any) -> set[str]:
    """Every kind of rotary positions: one for all layers, or one for each kind of layer."""
    given = getattr(text, "rope_parameters", None) or {}
    tables = [one for one in given.values() if isinstance(one, dict)] or [given]
    return {str(one.get("rope_type", "default")) for one in tables}


def gemma_limits(config: Any) -> tuple[tuple[str, Any, tuple[Any, ...]], ...]:
    """Return what is exported of these configurations: keys, what they hold, what they may."""
    text, tower = config.text_config, config.vision_config
    ropes = [("text_config.rope_parameters.rope_type", kind, _ROPE_TYPES) for kind in sorted(_rope_types(text))]
    return (
        ("text_config.model_type", text.model_type, ARCHITECTURES[config.model_type].exported_texts),
        ("vision_config.model_type", tower.model_type, ("siglip_vision_model",)),
        ("text_config.hidden_activation", activation_of(text), ("gelu_pytorch_tanh",)),
        *ropes,
    )


def check_gemma(config: Any, folder: Path) -> Any:
    """Return a configuration whose image token has an embedding, whose patches pool, and whose text looks back.

    Raises InputError for another.
    """
    text, tower, tokens = config.text_config, config.vision_config, getattr(config, "mm_tokens_per_image", None)
    if not 0 <= config.image_token_index < text.vocab_size:
        raise InputError(
            f"{folder}: image_token_index is {config.image_token_index}, expected one of the {text.vocab_size} tokens "
            "of text_config.vocab_size"
        )
    if config.model_type in MARKED_TYPES and getattr(text, "use_bidirectional_attention", False):
        raise InputError(f"{folder}: text_config.use_bidirectional_attention is on; vlmplan exports LLMs that generate")
    side = tower.image_size // tower.patch_size
    if tokens is not None and (tokens < 1 or math.isqrt(tokens) ** 2 != tokens or side % math.isqrt(tokens)):
        raise InputError(
            f"{folder}: mm_tokens_per_image is {tokens!r}, expected the square of a divisor of the tower's {side} "
            "patches of a side"
        )
    return config


def pooled_config(config: Any, visual_tokens: int) -> Any:
    """Return the configuration of a model that makes ``visual_tokens``; of one that pools nothing itself as it is."""
    pooled = copy.deepcopy(config)
    if getattr(config, "mm_tokens_per_image", None) is not None:
        pooled.mm_tokens_per_image = visual_tokens
    return pooled
