"""Which model does a Hugging Face ``config.json`` describe?

config.json (transformers 4 or 5 spelling) -> ModelSpec, by the records of ``families/`` and no code per type. A
text-only config is valid. A checkpoint with parts of its own often borrows the type of the model that it was made from:
DeepSeek-OCR says ``deepseek_vl_v2``, LightOnOCR ``mistral3``, Mono-InternVL ``internvl_chat``. What borrows is read as
what it is where that is known, or refused by its name.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlmplan.document import from_plain, read_plain
from vlmplan.errors import InputError, nearest, printable, unexpected
from vlmplan.models.configs.family import Architecture
from vlmplan.models.configs.image_rules import image_rule
from vlmplan.models.configs.keys import Plain, nested, switch, whole
from vlmplan.models.configs.layers import layer_fields
from vlmplan.models.configs.processor import FILES, Processor, read_processor
from vlmplan.models.configs.text_types import TEXT_ALIASES, TextType
from vlmplan.models.configs.towers import VISION_ALIASES, TowerType
from vlmplan.models.configs.unread import not_read
from vlmplan.models.decoder import Decoder
from vlmplan.models.families import ARCHITECTURES, BORROWED, SYNONYMS, TEXT_NAMES, TEXTS, TOWERS, overflows
from vlmplan.models.quantised.layouts import TEXT_KEYS, with_file_beside
from vlmplan.models.spec import ModelSpec
from vlmplan.models.tower import VisionTower

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
        raise unexpected(f"{where}.architectures", "a list of class names", named, 60)
    return [_TASKS.sub("", one) for one in named]


def _plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("text")


def _known(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _kind_of(config: Plain, where: str) -> Any:
    """Return the type that a config is read as: its ``model_type``, or what its class is known to be.

    Raises InputError, naming the class, where that has other parts than the type.
    """
    kind = config.get("model_type")
    kind = SYNONYMS.get(kind, kind) if isinstance(kind, str) else kind
    stems = _stems(config, where)
    for stem in stems:
        if stem in BORROWED:
            return BORROWED[stem]
    if not isinstance(kind, str):
        return kind
    vlm = ARCHITECTURES.get(kind)
    if vlm is not None and stems and not set(stems) & set(vlm.classes):
        raise InputError(
            f"{where}.architectures: '{config['architectures'][0]}' is not read; it borrows model_type '{kind}', "
            f"which means {_known(vlm.classes)}"
        )
    keys = _TOWER_KEYS if kind in TEXTS else _OLD_KEYS
    if found := [key for key in keys if config.get(key)]:
        named = f"'{config['architectures'][0]}'" if stems else "a model"
        raise InputError(
            f"{where}: {named} with '{found[0]}' is not read; under model_type '{kind}' expected "
            + ("a text model, or " if kind in TEXTS else "")
            + "a vision-language model in transformers' layout (text_config and vision_config)"
        )
    if kind in TEXTS and stems and not any(_is_type(stem, kind) for stem in stems):
        raise InputError(
            f"{where}.architectures: '{config['architectures'][0]}' is not read; it borrows model_type '{kind}'"
        )
    return kind


def _is_type(stem: str, kind: str) -> bool:
    """Whether a class is named after a text type, whatever its head."""
    own = [_plain_name(name) for name in (kind, *(old for old, new in TEXT_NAMES.items() if new == kind))]
    return any(_plain_name(stem).startswith(name) or name.startswith(_plain_name(stem)) for name in own)


def _check_text(inner: Plain, named: str, vlm: Architecture, where: str) -> None:
    """Raise InputError where the LLM's own class is neither its type's nor the whole model's."""
    stems = _stems(inner, where)
    own = {_plain_name(name) for name in (named, *(old for old, new in TEXT_NAMES.items() if new == named))}
    if stems and not any(_plain_name(stem) in own or stem in (*vlm.classes, *vlm.text_classes) for stem in stems):
        raise InputError(
            f"{where}.architectures: '{inner['architectures'][0]}' is not read; it borrows model_type "
            f"'{inner.get('model_type', named)}'"
        )


def _check_tower(own: Plain, vlm: Architecture, where: str) -> None:
    """Raise InputError, naming it, for a tower that is none of those the type comes with."""
    kind, usual = vlm.model_type, (vlm.tower, *vlm.towers)
    known = [*TOWERS, *usual, f"{vlm.tower}_vision", f"{kind}_vision", kind]
    for key, allowed, said in (("model_type", known, usual), ("model_name", vlm.tower_names, vlm.tower_names)):
        named = own.get(key)
        if named is not None and allowed and named not in [*allowed]:
            raise InputError(f"{where}.{key}: {named!r:.60} is not read; expected {_known(said)}")
    classes = {name for tower in TOWERS.values() for name in tower.classes}
    for stem in _stems(own, where):
        if stem not in classes and stem not in vlm.classes:
            raise InputError(f"{where}.architectures: '{own['architectures'][0]}' is not read as a tower of {kind}")


def _inner_text(config: Plain, vlm: Architecture, where: str) -> Plain:
    """Return the table of the LLM in a vision-language config: nested, or all that is not a table at its top."""
    inner = nested(config, vlm.text_key or "text_config", where)
    return inner or {key: value for key, value in config.items() if not isinstance(value, dict)}


def _single(value: Any) -> Any:
    """A size that is written as the list of its two equal sides, or whatever it is."""
    square = isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]
    return value[0] if square else value


def _read(config: Plain, aliases: Mapping[str, tuple[str, ...]], defaults: Plain, where: str) -> dict[str, Any]:
    """Read what ``aliases`` name, null meaning absent; a wrong value is named as the file spells it."""
    found = dict(defaults)
    for name, spellings in aliases.items():
        for spelling in (one for one in spellings if config.get(one) is not None):
            value = _single(config[spelling])
            if name == "tied_embeddings":
                if not isinstance(value, bool):
                    raise unexpected(f"{where}.{spelling}", "true or false", value)
            elif (
                name != "expert_intermediate" or not isinstance(value, list) or not value
            ):  # ERNIE's are checked with its experts
                whole(value, f"{where}.{spelling}", least=0 if "expert" in name or name == "dense_layers" else 1)
            found[name] = value
            break
    return found


def _decoder(config: Plain, text: TextType, defaults: Plain, where: str) -> Decoder:
    found = {
        "norms_per_layer": 2,
        **_read(config, {**TEXT_ALIASES, **text.aliases}, {**text.defaults, **defaults}, where),
    }
    if text.gate_counted:
        found["intermediate"] //= 2
    found.setdefault("kv_heads", found["heads"])
    found.setdefault("head_dim", max(1, found["hidden"] // found["heads"]))
    found |= text.traits
    for trait, spelling in (
        ("qkv_bias", "attention_bias"),
        ("qkv_bias", "qkv_bias"),
        ("output_bias", "attention_bias"),
        ("mlp_bias", "mlp_bias"),
    ):
        if switch(config, spelling, where, default=False) and trait not in text.traits:
            found[trait] = True
    if found.get("experts") and not found.get("experts_per_token"):
        keys = " or ".join(TEXT_ALIASES["experts_per_token"])
        raise InputError(f"{where}: found {found['experts']} experts, and not how many a token takes ({keys})")
    return from_plain(Decoder, layer_fields(config, text, found, where), where)


def _layers_used(config: Plain, vlm: Architecture, layers: int, where: str) -> int:
    """The tower runs up to the last layer that ``vision_feature_layer`` reads; -1 is its end."""
    asked = config.get("vision_feature_layer")
    asked = vlm.feature_layer if asked is None else asked
    features = asked if isinstance(asked, list) else [asked]
    if not features or not all(type(layer) is int and -layers <= layer <= layers for layer in features):
        raise unexpected(f"{where}.vision_feature_layer", f"a layer from {-layers} to {layers} or a list", asked)
    return max([1, *(int(layer) if layer >= 0 else layers + 1 + int(layer) for layer in features)])


def _mlp_width(own: Plain, hidden: int, where: str) -> dict[str, int]:
    """The tower's inner width where a ratio stands for it."""
    if "mlp_ratio" not in own or "intermediate_size" in own:
        return {}
    ratio = own["mlp_ratio"]
    if type(ratio) not in (int, float) or not 0 < ratio <= 100:
        raise unexpected(f"{where}.mlp_ratio", "a number from 0 to 100", ratio)
    return {"intermediate": max(1, int(ratio * hidden))}


def _tower_defaults(own: Plain, named: str, known: TowerType, vlm: Architecture) -> Plain:
    """What a tower's table leaves out: its class's defaults, or those of the model around it."""
    usual = TOWERS.get(named, known) is TOWERS[vlm.tower]
    alone = named in TOWERS and known.own_defaults and own.keys() - {"model_type"}
    return {**known.defaults, **vlm.vision_defaults} if usual and not alone else known.defaults


def _head_params(hidden: int, intermediate: int) -> int:
    """SigLIP's pooling head: a query that attends to all patches, a norm and an MLP, with biases."""
    return 4 * hidden**2 + 7 * hidden + 2 * hidden * intermediate + intermediate + hidden


def _tower(config: Plain, vlm: Architecture, where: str) -> tuple[VisionTower, str]:
    """The tower, and its type."""
    own, inside = nested(config, vlm.vision_key, where), f"{where}.{vlm.vision_key}"
    _check_tower(own, vlm, inside)
    own = {**own, **nested(own, "model_args", inside)}
    own = {key: value for key, value in own.items() if value is not None}
    named = str(own.get("model_type", ""))
    kind = named if named in TOWERS else vlm.tower
    known = TOWERS[kind]
    defaults = _tower_defaults(own, named, known, vlm)
    vision = _read(own, {**VISION_ALIASES, **known.aliases}, defaults, inside)
    found = {**known.traits, **vlm.traits, **vision, **_mlp_width(own, vision["hidden"], inside)}
    if "positions" not in found and "image_size" in vision:
        found["positions"] = (vision["image_size"] // vision["patch"]) ** 2 + bool(found.get("class_token"))
    found |= known.special(own, found, inside) if known.special else {}
    if "siglip" in kind and switch(own, "vision_use_head", inside, default=vlm.siglip_head and "siglip" in named):
        found["extra_params"] = found.get("extra_params", 0) + _head_params(found["hidden"], found["intermediate"])
    found["layers_used"] = _layers_used(config, vlm, found["layers"], where)
    return from_plain(VisionTower, found, inside), kind


def _vlm_parts(config: Plain, vlm: Architecture, llm: Decoder, where: str, processor: Processor) -> dict[str, Any]:
    """The tower, the projector and the image rule of a vision-language config."""
    tower, named = _tower(config, vlm, where)
    if vlm.newline:
        tower = replace(tower, extra_params=tower.extra_params + llm.hidden)
    built = ARCHITECTURES[vlm.by_tower.get(named, vlm.model_type)]
    projector = built.projector(config, tower, llm.hidden)
    image = image_rule(built.image(config, tower, processor), built.settings)
    return {"vision": tower, "projector": projector, "image": image}


def _by_version(config: Plain, vlm: Architecture, where: str) -> str:
    """The LLM's type where its fields stand at the top: the usual one, or what the file's ``version`` has."""
    version = config.get("version")
    version = "" if version is None else str(version)
    if vlm.versions and version not in vlm.versions:
        known = _known(one for one in vlm.versions if one)
        raise InputError(f"{where}.version: {version!r:.40} of {vlm.model_type} is not read; expected one of {known}")
    return vlm.versions.get(version, vlm.text)


def _text_type(config: Plain, vlm: Architecture, where: str) -> tuple[Plain, TextType]:
    """The table of the LLM inside a vision-language config, and its type."""
    text_config = _inner_text(config, vlm, where)
    named = str(text_config.get("model_type") or vlm.text)
    named = _by_version(config, vlm, where) if named == vlm.model_type else TEXT_NAMES.get(named, named)
    if named not in TEXTS:
        raise InputError(
            f"{where}.{vlm.text_key}: model_type '{named}' is not read; expected one of {', '.join(TEXTS)}"
        )
    if text_config.get("model_type") not in (None, vlm.model_type, config.get("model_type")):
        _check_text(text_config, named, vlm, f"{where}.{vlm.text_key}")
    outer, inner = config.get("tie_word_embeddings"), text_config.get("tie_word_embeddings")
    tied = vlm.tied_by.tied(outer, inner, vlm.tied)
    text_config = text_config if tied is None else {**text_config, "tie_word_embeddings": tied}
    return text_config, TEXTS[named]


def _exportable(vlm: Architecture, text_type: TextType) -> bool:
    """Whether ``vlmplan export`` draws the graphs of such an LLM in such a model."""
    drawn = [TEXTS[name] for name in vlm.exported_texts]
    return vlm.exportable and (any(text_type is one for one in drawn) if drawn else text_type.exportable)


def _model(config: Plain, where: str, name: str, files: Mapping[str, Plain]) -> ModelSpec:
    kind = _kind_of(config, where)
    if kind is None:
        keys = ", ".join(sorted(map(str, config))[:8])
        raise InputError(f"{where}: found no model_type (its keys: {keys or 'none'}); expected a model's config.json")
    if not isinstance(kind, str) or kind not in {**TEXTS, **ARCHITECTURES}:
        known = sorted({**TEXTS, **ARCHITECTURES})
        close = nearest(str(kind), known)
        raise InputError(
            f"{where}: model_type {kind!r} is not read; expected one of {', '.join(known)}"
            + (f" (nearest: {close})" if close else "")
        )
    vlm = ARCHITECTURES.get(kind)
    if vlm is None:
        llm = _decoder(config, TEXTS[kind], {}, where)
        return ModelSpec(name=name, family=kind, architecture=kind, llm=llm, sources=(f"{where}",))
    text_config, text_type = _text_type(config, vlm, where)
    llm = _decoder(text_config, text_type, vlm.text_defaults, f"{where}.{vlm.text_key or 'text'}")
    if set(vlm.text_alone) & set(config.get("architectures") or ()):
        return ModelSpec(name=name, family=vlm.text, architecture=vlm.text, llm=llm, sources=(where,))
    processor = Processor(files, config)
    parts = _vlm_parts(config, vlm, llm, where, processor)
    return ModelSpec(
        name=name,
        family=kind,
        architecture=kind,
        llm=llm,
        exportable=_exportable(vlm, text_type),
        sources=(where, *files),
        cautions=(*processor.warnings(), *not_read(config, text_config, vlm, llm, parts["vision"])),
        **parts,
    )


def _overflows(config: Plain, where: str) -> bool:
    """Whether the model or its LLM is of a type that overflows in fp16."""
    types = {str(config.get("model_type")), *(str(nested(config, key, where).get("model_type")) for key in TEXT_KEYS)}
    return any(row.always for kind in types for row in overflows(kind))


def described(config: Plain, where: str, name: str, files: Mapping[str, Plain]) -> ModelSpec:
    """Return the model of a ``config.json`` and the processor's ``files``, its weights as if whole."""
    return replace(_model(config, where, name, files), fp16=not _overflows(config, where))


@contextmanager
def named(where: str) -> Iterator[None]:
    """Let an InputError say which file it is about, where it names but the dimension that came out wrong."""
    try:
        yield
    except InputError as error:
        if str(error).startswith((where, *FILES)):
            raise
        raise InputError(f"{where}: {error}") from None


def config_of(path: Path) -> tuple[Plain, str, str, Mapping[str, Plain]]:
    """Return the table of a ``config.json``, or of the folder that holds one; its name, the model's, what lies beside.

    Raises InputError.
    """
    whole_folder = os.path.isdir(path)  # noqa: PTH112 - False rather than PermissionError
    file = path / "config.json" if whole_folder else path
    config = with_file_beside(read_plain(file), file.parent)
    files = read_processor(path) if whole_folder else {}
    return config, file.name, printable(file.resolve().parent.name) or "model", files
