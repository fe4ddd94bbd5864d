"""Where do a checkpoint's answers end, and what else does its ``generate`` go by? As transformers derives it.

A folder's ``generation_config.json`` says all, or where there is none ``config.json``: at its top, and where that is
silent in ``text_config``. Clients derive otherwise each (transformers.js takes ``text_config`` first), so that an
export always has the file, and its ``config.json`` says nothing of how to generate but its special tokens.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import Checkpoint, quiet_transformers
from vlmplan.document import read_plain
from vlmplan.errors import InputError, one_line

GENERATION_FILE = "generation_config.json"
_OWN_WORDS = {"transformers_version", "_from_model_config"}  # decide nothing
# Of a configuration's keys that are named as one of generation is: what the model says of itself.
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
_MODELS_TOO = {*_SPECIAL, "use_cache", "output_attentions", "output_hidden_states"}


def generation_keys() -> frozenset[str]:
    """Return the names of all that ``generate`` goes by. Imports transformers."""
    return frozenset(quiet_transformers().GenerationConfig().to_dict()) - _OWN_WORDS


def generation_settings(folder: Path, config: Any | None = None) -> dict[str, Any]:
    """Return what ``generate`` of a folder goes by, as far as something says.

    A ``config`` is what is derived from where the folder has no file for it, instead of its ``config.json``. Raises
    InputError for what transformers cannot use.
    """
    if (path := folder / GENERATION_FILE).is_file():
        return read_plain(path)
    if config is None:
        config = read_plain(folder / "config.json")
    try:
        settings = quiet_transformers().GenerationConfig.from_model_config(config).to_diff_dict()
    except Exception as error:  # values of any kind raise what they like
        raise InputError(f"{folder}/config.json: how to generate cannot be read ({one_line(error)})") from None
    return {key: value for key, value in settings.items() if key not in _OWN_WORDS}


def ending_tokens(settings: Mapping[str, Any]) -> frozenset[int]:
    """Return the tokens that end an answer: one, a list, or none."""
    given = settings.get("eos_token_id")
    listed = given if isinstance(given, list) else [given]
    return frozenset(token for token in listed if isinstance(token, int))


def checkpoint_generation(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint's ``generate`` goes by; of the first format what its configuration stands for says."""
    return generation_settings(checkpoint.folder, checkpoint.config if checkpoint.first_format else None)


def model_alone(config: dict[str, Any], *, endless: bool = False) -> dict[str, Any]:
    """Return a configuration without what ``generate`` goes by, at its top and in ``text_config``.

    Of an ``endless`` checkpoint, whose ``generate`` ends at no token, without ``eos_token_id`` too: transformers.js
    would end there.
    """
    dropped = generation_keys() - _MODELS_TOO | ({"eos_token_id"} if endless else set())
    kept = {key: value for key, value in config.items() if key not in dropped}
    inner = kept.get("text_config")
    if isinstance(inner, dict):
        kept["text_config"] = {key: value for key, value in inner.items() if key not in dropped}
    return kept


def special_tokens(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return which tokens begin, end and fill texts by the top of a checkpoint's ``config.json``, as far as it says."""
    said = read_plain(checkpoint.folder / "config.json")
    return {key: said[key] for key in _SPECIAL if said.get(key) is not None}
