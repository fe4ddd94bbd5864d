"""Is a config's ``model_type`` the whole truth? Its ``architectures`` and its nested names may say otherwise.

A checkpoint with parts of its own often borrows the type of the model that it was made from: DeepSeek-OCR says
``deepseek_vl_v2``, LightOnOCR ``mistral3``, Mono-InternVL ``internvl_chat``. What borrows is read as what it is where
that is known, or refused by its name.
"""

import re
from collections.abc import Iterable
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.keys import nested
from vlmplan.models.text_types import TEXT_SYNONYMS, TEXT_TYPES, TOWERS, Plain
from vlmplan.models.vlm_types import BORROWED, VLM_SYNONYMS, VLM_TYPES, VlmType

# What the name of a class ends in, whatever its parts.
_TASKS = re.compile(
    r"(_?For(ConditionalGeneration|CausalLM|Vision2Seq|ImageTextToText|VisionTextToText)|ForCausalLMVL|Model|LMHeadModel)$"
)
# Keys of the code that LLaVA was first published with, and of all models with a tower.
_OLD_KEYS = ("mm_vision_tower", "mm_projector_type", "mm_hidden_size")
_TOWER_KEYS = (*_OLD_KEYS, "vision_tower", "vision_config", "visual", "vision_tower_config")


def _stems(config: Plain, where: str) -> list[str]:
    """The names in ``architectures`` less their task. Raises InputError for what is no list of names."""
    named = config.get("architectures")
    if named is None:
        return []
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise InputError(f"{where}.architectures: expected a list of class names, found {named!r:.60}")
    return [_TASKS.sub("", one) for one in named]


def _plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("text")


def _known(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def kind_of(config: Plain, where: str) -> Any:
    """Return the type that a config is read as: its ``model_type``, or what its class is known to be.

    Raises InputError, naming the class, where that has other parts than the type.
    """
    kind = config.get("model_type")
    kind = VLM_SYNONYMS.get(kind, kind) if isinstance(kind, str) else kind
    stems = _stems(config, where)
    for stem in stems:
        if stem in BORROWED:
            return BORROWED[stem]
    if not isinstance(kind, str):
        return kind
    vlm = VLM_TYPES.get(kind)
    if vlm is not None and stems and not set(stems) & set(vlm.classes):
        raise InputError(
            f"{where}.architectures: '{config['architectures'][0]}' is not read; it borrows model_type '{kind}', "
            f"which means {_known(vlm.classes)}"
        )
    keys = _TOWER_KEYS if kind in TEXT_TYPES else _OLD_KEYS
    if found := [key for key in keys if config.get(key)]:
        named = f"'{config['architectures'][0]}'" if stems else "a model"
        raise InputError(
            f"{where}: {named} with '{found[0]}' is not read; under model_type '{kind}' expected "
            + ("a text model, or " if kind in TEXT_TYPES else "")
            + "a vision-language model in transformers' layout (text_config and vision_config)"
        )
    if kind in TEXT_TYPES and stems and not any(_is_type(stem, kind) for stem in stems):
        raise InputError(
            f"{where}.architectures: '{config['architectures'][0]}' is not read; it borrows model_type '{kind}'"
        )
    return kind


def _is_type(stem: str, kind: str) -> bool:
    """Whether a class is named after a text type, whatever its head."""
    own = [_plain_name(name) for name in (kind, *(old for old, new in TEXT_SYNONYMS.items() if new == kind))]
    return any(_plain_name(stem).startswith(name) or name.startswith(_plain_name(stem)) for name in own)


def check_text(inner: Plain, named: str, vlm: VlmType, where: str) -> None:
    """Raise InputError where the LLM's own class is neither its type's nor the whole model's."""
    stems = _stems(inner, where)
    own = {_plain_name(name) for name in (named, *(old for old, new in TEXT_SYNONYMS.items() if new == named))}
    if stems and not any(_plain_name(stem) in own or stem in vlm.classes for stem in stems):
        raise InputError(
            f"{where}.architectures: '{inner['architectures'][0]}' is not read; it borrows model_type "
            f"'{inner.get('model_type', named)}'"
        )


def check_tower(own: Plain, kind: str, vlm: VlmType, where: str) -> None:
    """Raise InputError, naming it, for a tower that is none of those the type comes with."""
    usual = (vlm.tower, *vlm.towers)
    known = [*TOWERS, *usual, f"{vlm.tower}_vision", f"{kind}_vision", kind]
    for key, allowed, said in (("model_type", known, usual), ("model_name", vlm.tower_names, vlm.tower_names)):
        named = own.get(key)
        if named is not None and allowed and named not in [*allowed]:
            raise InputError(f"{where}.{key}: {named!r:.60} is not read; expected {_known(said)}")
    for stem in _stems(own, where):
        if stem not in _TOWER_CLASSES and stem not in vlm.classes:
            raise InputError(f"{where}.architectures: '{own['architectures'][0]}' is not read as a tower of {kind}")


_TOWER_CLASSES = {
    "CLIPVision", "Siglip", "SiglipVision", "SigLIP", "Siglip2Vision", "InternVision", "PixtralVision", "Pixtral",
    "Idefics2Vision", "Idefics3Vision", "SmolVLMVision", "MllamaVision", "Llama4Vision", "MoonVitPretrained",
    "CLIPVisionModelWithProjection",
}  # fmt: skip


def inner_text(config: Plain, vlm: VlmType, where: str) -> Plain:
    """Return the table of the LLM in a vision-language config: nested, or all that is not a table at its top."""
    inner = nested(config, vlm.text_key or "text_config", where)
    return inner or {key: value for key, value in config.items() if not isinstance(value, dict)}
