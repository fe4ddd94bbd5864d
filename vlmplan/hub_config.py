"""Which model does a Hugging Face ``config.json`` describe?

config.json (transformers 4 or 5 spelling) -> ModelSpec, by the tables of ``hub_tables.py`` and no code per type. A
text-only config is valid.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmplan.document import from_plain, read_plain
from vlmplan.errors import InputError, nearest
from vlmplan.hub_tables import (
    NATIVE_RESOLUTION,
    TEXT_ALIASES,
    TEXT_SYNONYMS,
    TEXT_TYPES,
    VISION_ALIASES,
    VISION_TRAITS,
    VLM_TYPES,
    Plain,
    TextType,
    VlmType,
)
from vlmplan.model import Decoder, ImageRule, ModelSpec, Projector, Rule, VisionTower


def _table(config: Plain, key: str, where: str) -> Plain:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}.{key}: expected a table, found {value!r:.40}")
    return value


def _whole(value: Any, where: str, least: int = 1) -> int:
    """Check a width or a count: a whole number from ``least`` to a thousand million."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise InputError(f"{where}: expected a whole number from {least} to 1000000000, found {value!r:.40}")
    return value


def _read(config: Plain, aliases: Mapping[str, tuple[str, ...]], defaults: Plain, where: str) -> dict[str, Any]:
    """Read what ``aliases`` name, null meaning absent; a wrong value is named as the file spells it."""
    found = dict(defaults)
    for name, spellings in aliases.items():
        for spelling in (one for one in spellings if config.get(one) is not None):
            value = config[spelling]
            if name == "tied_embeddings":
                if not isinstance(value, bool):
                    raise InputError(f"{where}.{spelling}: expected true or false, found {value!r:.40}")
            else:
                _whole(value, f"{where}.{spelling}", least=0 if "expert" in name else 1)
            found[name] = value
            break
    return found


def _decoder(config: Plain, text: TextType, defaults: Plain, where: str) -> Decoder:
    found = _read(config, TEXT_ALIASES, {**text.defaults, **defaults}, where)
    found.setdefault("kv_heads", found["heads"])
    found.setdefault("head_dim", max(1, found["hidden"] // found["heads"]))
    found |= text.traits
    for trait, spelling in (
        ("qkv_bias", "attention_bias"),
        ("output_bias", "attention_bias"),
        ("mlp_bias", "mlp_bias"),
    ):
        if config.get(spelling) and not text.traits.get(trait):
            found[trait] = config[spelling]
    window = found.pop("sliding_window", None)
    if window is not None and config.get("use_sliding_window", True):
        kinds = config.get("layer_types")
        alternating = "gemma" in str(config.get("model_type", "")) or "norms_per_layer" in text.traits
        layers = found["layers"]
        found["sliding_window"] = window
        if isinstance(kinds, list):
            found["sliding_layers"] = sum(kind == "sliding_attention" for kind in kinds)
        else:
            found["sliding_layers"] = layers // 2 if alternating else layers
    return from_plain(Decoder, found, where)


def _layers_used(config: Plain, vlm: VlmType, layers: int, where: str) -> int:
    """The tower runs up to the last layer that ``vision_feature_layer`` reads; -1 is its end."""
    asked = config.get("vision_feature_layer", vlm.feature_layer)
    features = asked if isinstance(asked, list) else [asked]
    if not features or not all(type(layer) is int and -layers <= layer <= layers for layer in features):
        raise InputError(
            f"{where}.vision_feature_layer: expected a layer from {-layers} to {layers} or a list, found {asked!r:.40}"
        )
    return max([1, *(int(layer) if layer >= 0 else layers + 1 + int(layer) for layer in features)])


def _tower(config: Plain, kind: str, vlm: VlmType, vision: dict[str, Any], where: str) -> VisionTower:
    own, inside = _table(config, "vision_config", where), f"{where}.vision_config"
    found = {**VISION_TRAITS[kind], **vision, "layers_used": _layers_used(config, vlm, vision["layers"], where)}
    if "mlp_ratio" in own and "intermediate_size" not in own:
        ratio = own["mlp_ratio"]
        if type(ratio) not in (int, float) or not 0 < ratio <= 100:
            raise InputError(f"{inside}.mlp_ratio: expected a number from 0 to 100, found {ratio!r:.40}")
        found["intermediate"] = max(1, int(ratio * vision["hidden"]))
    if vlm.rule is not Rule.AREA:
        found["positions"] = (vision["image_size"] // vision["patch"]) ** 2 + (1 if found.get("class_token") else 0)
    if kind == "qwen2_5_vl":
        blocks = own.get("fullatt_block_indexes", (7, 15, 23, 31))
        if not isinstance(blocks, list | tuple) or len(blocks) > vision["layers"]:
            raise InputError(f"{inside}.fullatt_block_indexes: expected a list of layers, found {blocks!r:.40}")
        window = _whole(own.get("window_size", 112), f"{inside}.window_size")
        found |= {"window_patches": (window // vision["patch"]) ** 2, "full_attention_layers": len(blocks)}
    return from_plain(VisionTower, found, inside)


def _native_resolution(
    vision_config: Plain, tower: VisionTower, llm: Decoder, where: str
) -> tuple[Projector, ImageRule]:
    """Qwen2-VL and its successors: squares of patches are merged, the image keeps its shape."""
    merge = _whole(vision_config.get("spatial_merge_size", 2), f"{where}.vision_config.spatial_merge_size")
    joined = tower.hidden * merge**2
    norms = tower.hidden * (2 if tower.norm_bias else 1)
    image = ImageRule(rule=Rule.AREA, view_size=tower.patch * merge, **NATIVE_RESOLUTION)
    return Projector(widths=(joined, joined, llm.hidden), merge=merge**2, norm_params=norms), image


def _views(config: Plain, vlm: VlmType, tower: VisionTower, llm: Decoder, where: str) -> tuple[Projector, ImageRule]:
    """LLaVA and its successors: views of one size, each patch a token."""
    if tower.image_size is None:
        raise InputError(f"{where}.vision_config.image_size: missing")
    tokens = max(1, tower.image_size // tower.patch) ** 2
    projector = Projector(
        widths=(tower.hidden, llm.hidden, llm.hidden),
        bias=bool(config.get("multimodal_projector_bias", True)),
        extra_params=llm.hidden if vlm.newline else 0,
    )
    image = ImageRule(
        rule=vlm.rule,
        view_size=tower.image_size,
        tokens_per_view=tokens,
        trained_min_visual_tokens=tokens,
        trained_max_visual_tokens=tokens * (1 + vlm.max_views),
        max_views=vlm.max_views,
        max_side_views=vlm.max_side_views,
        setting="none" if vlm.rule is Rule.FIXED else "image_grid_pinpoints of at most {views} tiles",
    )
    return projector, image


def _vlm_parts(config: Plain, vlm: VlmType, llm: Decoder, where: str) -> dict[str, Any]:
    """The tower, the projector and the image rule of a vision-language config."""
    vision_config = _table(config, "vision_config", where)
    named = str(vision_config.get("model_type", ""))
    kind, defaults = vlm.towers.get(named) or vlm.towers.get("") or next(iter(vlm.towers.values()))
    vision = _read(vision_config, VISION_ALIASES, defaults, f"{where}.vision_config")
    if kind == "qwen2_5_vl":  # its hidden_size is the tower's own, not the LLM's as in qwen2_vl
        vision["hidden"] = _whole(
            vision_config.get("hidden_size", defaults["hidden"]), f"{where}.vision_config.hidden_size"
        )
    tower = _tower(config, kind, vlm, vision, where)
    if vlm.rule is Rule.AREA:
        projector, image = _native_resolution(vision_config, tower, llm, where)
    else:
        projector, image = _views(config, vlm, tower, llm, where)
    return {"vision": tower, "projector": projector, "image": image}


def model_from_config(config: Plain, where: str, name: str) -> ModelSpec:
    """Build a model from the table in a ``config.json``. Raises InputError naming the key or the unknown type."""
    kind = config.get("model_type")
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
    text_config = _table(config, "text_config", where) or {k: v for k, v in config.items() if not isinstance(v, dict)}
    named = str(text_config.get("model_type", vlm.text))
    text_type = TEXT_SYNONYMS.get(named, named)
    if text_type not in TEXT_TYPES:
        raise InputError(
            f"{where}.text_config: model_type '{named}' is not read; expected one of {', '.join(TEXT_TYPES)}"
        )
    if "tie_word_embeddings" in config and "tie_word_embeddings" not in text_config:
        text_config = {**text_config, "tie_word_embeddings": config["tie_word_embeddings"]}
    llm = _decoder(text_config, TEXT_TYPES[text_type], vlm.text_defaults, f"{where}.text_config")
    return ModelSpec(
        name=name,
        family=kind,
        architecture=kind,
        llm=llm,
        exportable=vlm.exportable,
        sources=(f"{where}",),
        **_vlm_parts(config, vlm, llm, where),
    )


def read_model_config(path: Path) -> ModelSpec:
    """Read a ``config.json`` or a checkpoint directory that holds one. Raises InputError."""
    file = path / "config.json" if os.path.isdir(path) else path  # noqa: PTH112 - False rather than PermissionError
    config = read_plain(file)
    return model_from_config(config, file.name, file.resolve().parent.name or "model")
