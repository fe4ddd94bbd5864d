"""Which attention does a text model ask for that transformers itself heeds by halves? What is not exported."""

from pathlib import Path
from typing import Any

from vlmplan.errors import InputError


def rope_type(text: Any) -> str:
    """Return how a text model's rotary frequencies are made."""
    return str((getattr(text, "rope_parameters", None) or {}).get("rope_type", "default"))


def check_attention(text: Any, folder: Path) -> None:
    """Raise InputError for windows and rotary widths that transformers itself heeds by halves, or cannot run."""
    kinds = getattr(text, "layer_types", None)
    if text.model_type == "llama" and "sliding_attention" in (kinds or ()):
        raise InputError(
            f"{folder}: text_config.layer_types has sliding_attention, which transformers' llama heeds token by token "
            "and not in a whole prompt; expected full_attention"
        )
    if "sliding_attention" in (kinds or ()) and not getattr(text, "sliding_window", None):
        raise InputError(
            f"{folder}: text_config.layer_types has sliding_attention, and there is no window (sliding_window, which "
            "use_sliding_window may switch off); expected full_attention"
        )
    for key in ("sliding_window", "attention_chunk_size"):
        heeded = key == "sliding_window" and text.model_type != "llama"
        if (width := getattr(text, key, None)) and not kinds and not heeded:
            raise InputError(
                f"{folder}: text_config.{key} is {width!r}, which transformers' {text.model_type} heeds token by token "
                "and not in a whole prompt; expected none, or layer_types of full_attention"
            )
    rotary = getattr(text, "rope_parameters", None) or {}
    share = rotary.get("partial_rotary_factor", 1.0)
    if share != 1.0 and rope_type(text) != "default":
        raise InputError(
            f"{folder}: text_config.rope_parameters.partial_rotary_factor is {share!r}, of which transformers' "
            f"{text.model_type} turns all the same; expected 1"
        )
