"""Which model does a Hugging Face ``config.json`` describe?

config.json (transformers 4 or 5 spelling) -> ModelSpec, by the tables of ``hub_tables.py`` and ``hub_vlms.py`` and no
code per type. A text-only config is valid.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlmplan.document import from_plain, read_plain
from vlmplan.errors import InputError, nearest, printable
from vlmplan.models.architecture import check_text, check_tower, inner_text, kind_of
from vlmplan.models.decoder import Decoder
from vlmplan.models.image_rules import image_rule
from vlmplan.models.keys import nested, switch, whole
from vlmplan.models.layers import layer_fields
from vlmplan.models.processor import FILES, Processor, read_processor
from vlmplan.models.projectors import PROJECTORS
from vlmplan.models.spec import ModelSpec
from vlmplan.models.stored import as_stored, with_file_beside
from vlmplan.models.text_types import TEXT_ALIASES, TEXT_SYNONYMS, TEXT_TYPES, TOWERS, VISION_ALIASES, Plain, TextType
from vlmplan.models.tower import VisionTower
from vlmplan.models.vlm_types import VLM_TYPES, VlmType


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
                    raise InputError(f"{where}.{spelling}: expected true or false, found {value!r:.40}")
            elif (
                name != "expert_intermediate" or not isinstance(value, list) or not value
            ):  # ERNIE's are checked with its experts
                whole(value, f"{where}.{spelling}", least=0 if "expert" in name or name == "dense_layers" else 1)
            found[name] = value
            break
    return found


def _decoder(config: Plain, text: TextType, defaults: Plain, where: str) -> Decoder:
    found = {"norms_per_layer": 2, **_read(config, TEXT_ALIASES, {**text.defaults, **defaults}, where)}
    found.setdefault("kv_heads", found["heads"])
    found.setdefault("head_dim", max(1, found["hidden"] // found["heads"]))
    found |= text.traits
    for trait, spelling in (
        ("qkv_bias", "attention_bias"),
        ("output_bias", "attention_bias"),
        ("mlp_bias", "mlp_bias"),
    ):
        if switch(config, spelling, where, default=False) and trait not in text.traits:
            found[trait] = True
    return from_plain(Decoder, layer_fields(config, text, found, where), where)


def _layers_used(config: Plain, vlm: VlmType, layers: int, where: str) -> int:
    """The tower runs up to the last layer that ``vision_feature_layer`` reads; -1 is its end."""
    asked = config.get("vision_feature_layer")
    asked = vlm.feature_layer if asked is None else asked
    features = asked if isinstance(asked, list) else [asked]
    if not features or not all(type(layer) is int and -layers <= layer <= layers for layer in features):
        raise InputError(
            f"{where}.vision_feature_layer: expected a layer from {-layers} to {layers} or a list, found {asked!r:.40}"
        )
    return max([1, *(int(layer) if layer >= 0 else layers + 1 + int(layer) for layer in features)])


def _windows(own: Plain, patch: int, layers: int, where: str) -> dict[str, int]:
    """Qwen2.5-VL: all but some layers attend within windows."""
    blocks = own.get("fullatt_block_indexes", (7, 15, 23, 31))
    if not isinstance(blocks, list | tuple) or not all(type(i) is int and 0 <= i < layers for i in blocks):
        raise InputError(f"{where}.fullatt_block_indexes: expected a list of layers, found {blocks!r:.40}")
    window = whole(own.get("window_size", 112), f"{where}.window_size")
    return {"window_patches": max(1, window // patch) ** 2, "full_attention_layers": len(set(blocks))}


def _special(kind: str, own: Plain, found: dict[str, Any], where: str) -> dict[str, Any]:
    """What a tower's own keys say beyond its dimensions."""
    hidden, layers = found["hidden"], found["layers"]
    if kind == "qwen2_5_vl":
        return _windows(own, found["patch"], layers, where)
    if kind == "internvl_vision":
        normed = any(switch(own, key, where, default=False) for key in ("use_qk_norm", "qk_normalization"))
        rms = own.get("norm_type") == "rms_norm"
        bias = switch(own, "attention_bias", where, default=switch(own, "qkv_bias", where, default=False))
        spared = 0 if bias else layers * hidden  # the output's bias stays
        return {"qk_norm": normed, "norm_bias": not rms, "attention_bias": bias, "extra_params": spared}
    if kind == "gemma4_vision":
        head_dim = whole(own.get("head_dim", 64), f"{where}.head_dim")
        return {"extra_params": layers * 2 * head_dim}
    if kind == "mllama_vision_model":
        tiles, patches = whole(own.get("max_num_tiles", 4), f"{where}.max_num_tiles", 1, 64), found["positions"]
        ratios = 1 + sum(1 for i in range(1, tiles + 1) for j in range(1, tiles + 1) if i * j <= tiles)
        globals_ = whole(own.get("num_global_layers", 8), f"{where}.num_global_layers", 0)
        return {"extra_params": ratios * tiles * hidden * (patches + 2) + 3 + 2 * globals_}
    if kind == "minicpmv4_6_vision":
        return {"extra_params": 2 * hidden + 8 * hidden, "merge_intermediate": 4 * found["intermediate"]}
    if kind == "perception_encoder":
        scaled = own.get("init_values") is not None
        return {"layer_scale": scaled}
    return {}


def _tower(config: Plain, outer: str, vlm: VlmType, where: str) -> tuple[VisionTower, str]:
    """The tower, and its type."""
    own, inside = nested(config, vlm.vision_key, where), f"{where}.{vlm.vision_key}"
    check_tower(own, outer, vlm, inside)
    own = {**own, **nested(own, "model_args", inside)}
    own = {key: value for key, value in own.items() if value is not None}
    named = str(own.get("model_type", ""))
    kind = named if named in TOWERS else vlm.tower
    defaults = {**TOWERS[kind].defaults, **vlm.vision_defaults} if kind == vlm.tower else TOWERS[kind].defaults
    if named in TOWERS and vlm.tower == kind and own.keys() - {"model_type"} and "clip" in kind:
        defaults = TOWERS[kind].defaults  # a CLIP table leaves out what equals CLIP's own defaults
    vision = _read(own, VISION_ALIASES, defaults, inside)
    if kind == "qwen2_5_vl":  # its hidden_size is the tower's own, not the LLM's as in qwen2_vl
        vision["hidden"] = whole(own.get("hidden_size", defaults["hidden"]), f"{inside}.hidden_size")
    if kind == "glm4v_vision":  # its intermediate_size is the merger's
        vision["intermediate"] = whole(
            own.get("out_hidden_size", defaults["intermediate"]), f"{inside}.out_hidden_size"
        )
    if kind == "mllama_vision_model" and "num_hidden_layers" in own:
        vision["layers"] += whole(own.get("num_global_layers", 8), f"{inside}.num_global_layers", 0)
    if "mlp_ratio" in own and "intermediate_size" not in own:
        ratio = own["mlp_ratio"]
        if type(ratio) not in (int, float) or not 0 < ratio <= 100:
            raise InputError(f"{inside}.mlp_ratio: expected a number from 0 to 100, found {ratio!r:.40}")
        vision["intermediate"] = max(1, int(ratio * vision["hidden"]))
    found = {**TOWERS[kind].traits, **vlm.traits, **vision}
    found["layers_used"] = _layers_used(config, vlm, vision["layers"], where)
    if "positions" not in found and "image_size" in vision:
        found["positions"] = (vision["image_size"] // vision["patch"]) ** 2 + bool(found.get("class_token"))
    found |= _special(kind, own, found, inside)
    return from_plain(VisionTower, found, inside), kind


def _vlm_parts(
    config: Plain, kind: str, vlm: VlmType, llm: Decoder, where: str, processor: Processor
) -> dict[str, Any]:
    """The tower, the projector and the image rule of a vision-language config."""
    tower, named = _tower(config, kind, vlm, where)
    if vlm.newline:
        tower = replace(tower, extra_params=tower.extra_params + llm.hidden)
    kind = "pixtral" if named == "pixtral" and kind == "llava" else kind
    projector = PROJECTORS[kind](config, tower, llm.hidden)
    return {"vision": tower, "projector": projector, "image": image_rule(kind, config, tower, processor)}


def _text_type(config: Plain, kind: str, vlm: VlmType, where: str) -> tuple[Plain, TextType]:
    """The table of the LLM inside a vision-language config, and its type."""
    text_config = inner_text(config, vlm, where)
    named = str(text_config.get("model_type", vlm.text))
    usual = vlm.versions.get(str(config.get("version")), vlm.text)
    named = usual if named == kind else TEXT_SYNONYMS.get(named, named)
    if named not in TEXT_TYPES:
        raise InputError(
            f"{where}.{vlm.text_key}: model_type '{named}' is not read; expected one of {', '.join(TEXT_TYPES)}"
        )
    if text_config.get("model_type") not in (None, kind, config.get("model_type")):
        check_text(text_config, named, vlm, f"{where}.{vlm.text_key}")
    # The outer model ties its head, whatever the inner table says; where neither says, its class decides.
    tied = config.get("tie_word_embeddings", text_config.get("tie_word_embeddings", vlm.tied))
    text_config = text_config if tied is None else {**text_config, "tie_word_embeddings": tied}
    return text_config, TEXT_TYPES[named]


def _model(config: Plain, where: str, name: str, files: Mapping[str, Plain]) -> ModelSpec:
    kind = kind_of(config, where)
    if kind is None:
        keys = ", ".join(sorted(map(str, config))[:8])
        raise InputError(f"{where}: found no model_type (its keys: {keys or 'none'}); expected a model's config.json")
    if not isinstance(kind, str) or kind not in {**TEXT_TYPES, **VLM_TYPES}:
        known = sorted({**TEXT_TYPES, **VLM_TYPES})
        close = nearest(str(kind), known)
        raise InputError(
            f"{where}: model_type {kind!r} is not read; expected one of {', '.join(known)}"
            + (f" (nearest: {close})" if close else "")
        )
    vlm = VLM_TYPES.get(kind)
    if vlm is None:
        llm = _decoder(config, TEXT_TYPES[kind], {}, where)
        return ModelSpec(name=name, family=kind, architecture=kind, llm=llm, sources=(f"{where}",))
    text_config, text_type = _text_type(config, kind, vlm, where)
    llm = _decoder(text_config, text_type, vlm.text_defaults, f"{where}.{vlm.text_key or 'text'}")
    processor = Processor(files, config)
    parts = _vlm_parts(config, kind, vlm, llm, where, processor)
    return ModelSpec(
        name=name,
        family=kind,
        architecture=kind,
        llm=llm,
        exportable=vlm.exportable,
        sources=(where, *files),
        cautions=processor.warnings(),
        **parts,
    )


def model_from_config(config: Plain, where: str, name: str, files: Mapping[str, Plain] | None = None) -> ModelSpec:
    """Build a model from the table in a ``config.json``, and the processor's ``files`` beside it by their name.

    Raises InputError naming the key or the unknown type.
    """
    try:
        return as_stored(_model(config, where, name, files or {}), config, where)
    except InputError as error:
        if str(error).startswith((where, *FILES)):
            raise
        raise InputError(f"{where}: {error}") from None  # it names the dimension that came out wrong


def read_model_config(path: Path) -> ModelSpec:
    """Read a ``config.json``, or a checkpoint directory that holds one and its processor's files. Raises InputError."""
    whole_folder = os.path.isdir(path)  # noqa: PTH112 - False rather than PermissionError
    file = path / "config.json" if whole_folder else path
    config = with_file_beside(read_plain(file), file.parent)
    files = read_processor(path) if whole_folder else {}
    return model_from_config(config, file.name, printable(file.resolve().parent.name) or "model", files)
