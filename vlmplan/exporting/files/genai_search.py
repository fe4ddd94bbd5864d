"""How does onnxruntime-genai generate? ``search`` of ``genai_config.json``, by what a checkpoint's ``generate`` does.

Every number that counts is written, so that its own defaults never do; what it has no key for and would change answers
is refused by name. So are beams: its 0.18 has them, and with a graph of embeddings ends in an error. Keys as it reads
them (src/config.cpp of https://github.com/microsoft/onnxruntime-genai, read 2026-11-29), defaults as transformers 5
fills them in (``GenerationConfig._get_default_generation_params``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.document import read_plain
from vlmplan.errors import InputError, printable
from vlmplan.exporting.files.generation import GENERATION_FILE, generation_keys

GENAI_CONFIG = "genai_config.json"
_HELD: dict[str, bool | int | float] = {
    "do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0, "min_length": 0,
    "no_repeat_ngram_size": 0, "num_beams": 1,
}  # fmt: skip
# How an answer is computed, with what a batch is filled, or which of several beams is taken: not the answer of one.
_INERT = {
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight", "assistant_lookbehind",
    "bos_token_id", "cache_config", "cache_implementation", "compile_config", "continuous_batching_config",
    "decoder_start_token_id", "disable_compile", "early_stopping", "is_assistant", "length_penalty", "low_memory",
    "max_cache_len",
    "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule", "output_attentions",
    "output_hidden_states", "output_logits", "output_scores", "pad_token_id", "prefill_chunk_size",
    "prompt_lookup_num_tokens", "return_dict_in_generate", "speculation_type", "target_lookbehind", "use_cache",
    "use_mtp",
}  # fmt: skip
_SAMPLING = {"min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff"}  # nothing where no token is drawn
_ONE = {"typical_p", "encoder_repetition_penalty", "num_beam_groups", "num_return_sequences", "guidance_scale"}
_TOKENS = {"forced_bos_token_id", "forced_eos_token_id"}  # where 0 is a token


def _neutral(key: str, value: Any) -> bool:
    """Whether a setting changes no answer."""
    if value is None:
        return True
    if key in _ONE:
        return bool(value == 1)
    return key not in _TOKENS and not value


def without_equal(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change answers and that onnxruntime-genai has no key for."""
    known = {"eos_token_id", "max_length", *_HELD}
    drawn = told.get("do_sample") is True
    others = generation_keys() - known - _INERT - (set() if drawn else _SAMPLING)
    return {key: told[key] for key in sorted(others) if not _neutral(key, told.get(key))}


def heeded(told: Mapping[str, Any], vocabulary: int, context: int) -> dict[str, Any]:
    """Return all that onnxruntime-genai has of what ``generate`` goes by, defaults filled in as transformers does.

    ``vocabulary`` and ``context`` are tokens, the most that ``top_k`` and ``max_length`` may be.
    """
    filled = {key: default if told.get(key) is None else told[key] for key, default in _HELD.items()}
    filled["max_length"] = context if told.get("max_length") is None else told["max_length"]
    for key, value in filled.items():
        whole = isinstance(_HELD.get(key, 0), bool) == isinstance(value, bool)
        if not whole or not isinstance(value, int | float):
            raise InputError(
                f"--layout genai: {key} of {GENERATION_FILE}: onnxruntime-genai cannot read "
                f"{printable(repr(value))}; take it out"
            )
    return filled | {"top_k": min(filled["top_k"], vocabulary), "max_length": min(filled["max_length"], context)}


def search(checkpoint: Checkpoint, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``search`` of ``genai_config.json``. Raises InputError, by name, for what onnxruntime-genai has not."""
    where = f"--layout genai: {checkpoint.folder}"
    if lost := without_equal(told):
        shown = ", ".join(f"{key} {printable(str(value)[:40])}" for key, value in lost.items())
        raise InputError(
            f"{where}: its generate goes by {shown}, which onnxruntime-genai has no setting for; take it out of "
            f"{GENERATION_FILE} to export without"
        )
    held = heeded(told, checkpoint.text.vocab_size, checkpoint.text.max_position_embeddings)
    if held["num_beams"] != 1:
        raise InputError(
            f"{where}: its generate has num_beams {held['num_beams']}, and onnxruntime-genai 0.18 runs no model with "
            f"images by more than 1; take it out of {GENERATION_FILE} to export without"
        )
    return held | {"past_present_share_buffer": False}


def genai_generation(folder: Path) -> dict[str, Any]:
    """Return what an export's ``genai_config.json`` says of how to generate, in transformers' words."""
    said = read_plain(folder / GENAI_CONFIG)
    held = {key: value for key, value in said["search"].items() if key != "past_present_share_buffer"}
    return held | {"eos_token_id": said["model"]["eos_token_id"]}


def due_generation(checkpoint: Checkpoint, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``genai_config.json`` has to say of how to generate, and what it cannot say."""
    held = heeded(told, checkpoint.text.vocab_size, checkpoint.text.max_position_embeddings)
    return held | without_equal(told) | {"eos_token_id": told.get("eos_token_id")}
