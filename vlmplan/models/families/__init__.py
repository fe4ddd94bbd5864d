"""Which vision-language types are read? One file a family, listed here; every table follows from the list.

A new family is a new file with a ``FAMILY`` and its name in ``_FILES``.
"""

from collections.abc import Mapping
from importlib import import_module

from vlmplan.models.configs.family import Architecture, Family
from vlmplan.models.configs.text_types import SHARED_TEXTS, Overflow, TextType
from vlmplan.models.configs.towers import SHARED_TOWERS, TowerType

_FILES = (
    "aya_vision",
    "deepseek_vl",
    "ernie_vl",
    "gemma",
    "glm_v",
    "internvl",
    "kimi_vl",
    "lfm2_vl",
    "llama_vision",
    "llava",
    "minicpm_v",
    "molmo",
    "moondream",
    "ovis",
    "paddleocr_vl",
    "paligemma",
    "perception_lm",
    "phi_vision",
    "pixtral",
    "qwen_vl",
    "smolvlm",
)
FAMILIES: Mapping[str, Family] = {name: import_module(f"{__name__}.{name}").FAMILY for name in _FILES}
ARCHITECTURES: Mapping[str, Architecture] = {
    one.model_type: one for family in FAMILIES.values() for one in family.architectures
}
TOWERS: Mapping[str, TowerType] = {
    **SHARED_TOWERS,
    **{name: tower for family in FAMILIES.values() for name, tower in family.towers.items()},
}
TEXTS: Mapping[str, TextType] = {
    **SHARED_TEXTS,
    **{name: text for family in FAMILIES.values() for name, text in family.texts.items()},
}
# Types that are served under another name; classes that borrow another's type; the decoder inside a vision type, where
# its nested config has a name of its own.
SYNONYMS: Mapping[str, str] = {name: one.model_type for one in ARCHITECTURES.values() for name in one.synonyms}
BORROWED: Mapping[str, str] = {name: one.model_type for one in ARCHITECTURES.values() for name in one.borrows}
TEXT_NAMES: Mapping[str, str] = {
    **{name: kind for kind, text in TEXTS.items() for name in text.names},
    **{name: one.text for one in ARCHITECTURES.values() for name in one.text_names},
}


def overflows(model_type: str) -> tuple[Overflow, ...]:
    """Return who does not run a type, of a vision-language model or of an LLM, in fp16."""
    known = ARCHITECTURES.get(model_type) or TEXTS.get(model_type)
    return known.overflows if known else ()


def joined_modules(model_type: str) -> Mapping[str, tuple[str, ...]]:
    """Return the LLM's modules that hold several projections of an operator."""
    known = ARCHITECTURES.get(model_type)
    text = TEXTS.get(known.text if known else model_type)
    return text.joined if text else {}
