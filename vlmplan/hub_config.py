"""Which model does a Hugging Face ``config.json`` describe? Tables of aliases and class defaults, no code per type.

config.json (transformers 4 or 5 spelling) -> ModelSpec. A config leaves out what equals its class's default, so the
defaults are part of the format; they are those of transformers' configuration classes. A text-only config is valid.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmplan.document import from_plain, read_plain
from vlmplan.errors import InputError, nearest
from vlmplan.model import Decoder, ImageRule, ModelSpec, Projector, Rule, VisionTower

Plain = Mapping[str, Any]

_TEXT_ALIASES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "kv_heads": ("num_key_value_heads", "n_kv_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size", "padded_vocab_size"),
    "tied_embeddings": ("tie_word_embeddings",),
    "sliding_window": ("sliding_window",),
    "max_context_tokens": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "moe_top_k"),
    "expert_intermediate": ("moe_intermediate_size",),
    "shared_expert_intermediate": ("shared_expert_intermediate_size",),
}
_VISION_ALIASES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "depth"),
    "hidden": ("embed_dim", "hidden_size"),
    "heads": ("num_attention_heads", "num_heads"),
    "intermediate": ("intermediate_size",),
    "patch": ("patch_size", "spatial_patch_size"),
    "temporal_patch": ("temporal_patch_size",),
    "image_size": ("image_size",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A text ``model_type``: what its class defaults to, and what its layers have that llama's do not."""

    defaults: Plain
    traits: Plain = field(default_factory=dict)


_LLAMA = {
    "vocabulary": 32000,
    "hidden": 4096,
    "intermediate": 11008,
    "layers": 32,
    "heads": 32,
    "tied_embeddings": False,
}
_QWEN2 = _LLAMA | {"vocabulary": 151936, "intermediate": 22016}
_QWEN3_MOE = {
    "vocabulary": 151936,
    "hidden": 2048,
    "intermediate": 6144,
    "layers": 24,
    "heads": 32,
    "kv_heads": 4,
    "head_dim": 128,
    "tied_embeddings": False,
    "experts": 128,
    "experts_per_token": 8,
    "expert_intermediate": 768,
}
TEXT_TYPES: dict[str, _Text] = {
    "llama": _Text(defaults=_LLAMA),
    "mistral": _Text(defaults=_LLAMA | {"intermediate": 14336, "kv_heads": 8}),
    "qwen2": _Text(defaults=_QWEN2, traits={"qkv_bias": True}),
    "qwen3": _Text(defaults=_QWEN2 | {"head_dim": 128}, traits={"qk_norm": True}),
    "qwen3_moe": _Text(defaults=_QWEN3_MOE, traits={"qk_norm": True}),
    "gemma": _Text(
        defaults={
            "vocabulary": 256000,
            "hidden": 3072,
            "intermediate": 24576,
            "layers": 28,
            "heads": 16,
            "kv_heads": 16,
            "head_dim": 256,
            "tied_embeddings": True,
        },
    ),
    "gemma2": _Text(
        defaults={
            "vocabulary": 256000,
            "hidden": 2304,
            "intermediate": 9216,
            "layers": 26,
            "heads": 8,
            "kv_heads": 4,
            "head_dim": 256,
            "tied_embeddings": True,
            "sliding_window": 4096,
        },
        traits={"norms_per_layer": 4},
    ),
}
# The decoder inside a vision type, where its nested config carries a name of its own.
_TEXT_SYNONYMS = {"qwen2_vl_text": "qwen2", "qwen2_vl": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen2_5_vl": "qwen2"}
_QWEN2_VL_TEXT = {"hidden": 8192, "intermediate": 29568, "layers": 80, "heads": 64, "kv_heads": 8, "vocabulary": 152064}

_CLIP = {"layers": 12, "hidden": 768, "heads": 12, "intermediate": 3072, "patch": 32, "image_size": 224}
_QWEN2_VIT = {"layers": 32, "hidden": 1280, "heads": 16, "intermediate": 5120, "patch": 14, "temporal_patch": 2}
VISION_TRAITS: dict[str, Plain] = {
    "clip": {"class_token": True, "patch_bias": False, "pre_norm": True},
    "siglip": {},
    "qwen2_vl": {"patch_bias": False, "post_norm": False},
    "qwen2_5_vl": {"patch_bias": False, "post_norm": False, "norm_bias": False, "gated_mlp": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vlm:
    """A vision-language ``model_type``: its tower's defaults by the tower's own type, and how images enter."""

    towers: Mapping[str, tuple[str, Plain]]
    rule: Rule
    feature_layer: int = -1
    max_views: int = 1
    max_side_views: int = 1
    newline: bool = False
    text: str = "llama"
    text_defaults: Plain = field(default_factory=dict)
    exportable: bool = False


_LLAVA_TOWERS = {
    "clip_vision_model": ("clip", _CLIP),
    "siglip_vision_model": ("siglip", _CLIP | {"patch": 16}),
    # transformers fills these in when a LLaVA config has no vision_config at all.
    "": ("clip", {"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14, "image_size": 336}),
}
VLM_TYPES: dict[str, _Vlm] = {
    "llava": _Vlm(towers=_LLAVA_TOWERS, rule=Rule.FIXED, feature_layer=-2, exportable=True),
    "llava_next": _Vlm(
        towers=_LLAVA_TOWERS,
        rule=Rule.ANYRES,
        feature_layer=-2,
        max_views=4,
        max_side_views=3,
        newline=True,
        exportable=True,
    ),
    "llava_onevision": _Vlm(
        towers=_LLAVA_TOWERS,
        rule=Rule.ANYRES,
        max_views=36,
        max_side_views=6,
        newline=True,
        text="qwen2",
        exportable=True,
    ),
    "qwen2_vl": _Vlm(towers={"": ("qwen2_vl", _QWEN2_VIT)}, rule=Rule.AREA, text="qwen2", text_defaults=_QWEN2_VL_TEXT),
    "qwen2_5_vl": _Vlm(
        towers={"": ("qwen2_5_vl", _QWEN2_VIT | {"intermediate": 3420})},
        rule=Rule.AREA,
        text="qwen2",
        text_defaults=_QWEN2_VL_TEXT,
    ),
}


def _table(config: Plain, key: str, where: str) -> Plain:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}.{key}: expected a table, found {value!r:.40}")
    return value


def _read(config: Plain, aliases: Mapping[str, tuple[str, ...]], defaults: Plain) -> dict[str, Any]:
    found = dict(defaults)
    for name, spellings in aliases.items():
        for spelling in spellings:
            if config.get(spelling) is not None:
                found[name] = config[spelling]
                break
    return found


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise InputError(f"{where}: expected a whole number above 0, found {value!r:.40}")
    return value


def _decoder(config: Plain, text: _Text, defaults: Plain, where: str) -> Decoder:
    found = _read(config, _TEXT_ALIASES, {**text.defaults, **defaults})
    hidden, heads = (_whole(found[name], f"{where}.{name}") for name in ("hidden", "heads"))
    found.setdefault("kv_heads", heads)
    found.setdefault("head_dim", max(1, hidden // heads))
    if isinstance(found.get("intermediate"), list):
        raise InputError(
            f"{where}.intermediate_size: expected one width, found a list; layers of different width are unknown"
        )
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
        layers = _whole(found["layers"], f"{where}.layers")
        found["sliding_window"] = window
        if isinstance(kinds, list):
            found["sliding_layers"] = sum(kind == "sliding_attention" for kind in kinds)
        else:
            found["sliding_layers"] = layers // 2 if alternating else layers
    return from_plain(Decoder, found, where)


def _tower(config: Plain, kind: str, vlm: _Vlm, vision: Plain, where: str) -> VisionTower:
    found: dict[str, Any] = dict(VISION_TRAITS[kind]) | dict(vision)
    sizes = {name: _whole(found[name], f"{where}.{name}") for name in ("layers", "hidden", "patch")}
    asked = config.get("vision_feature_layer", vlm.feature_layer)
    features = asked if isinstance(asked, list) else [asked]
    if not features or not all(isinstance(layer, int) for layer in features):
        raise InputError(
            f"{where}: vision_feature_layer: expected a layer number or a list of them, found {asked!r:.40}"
        )
    used = max(layer if layer >= 0 else sizes["layers"] + 1 + layer for layer in features)
    found["layers_used"] = used
    own = _table(config, "vision_config", where)
    if "mlp_ratio" in own and "intermediate_size" not in own:
        found["intermediate"] = int(own["mlp_ratio"] * sizes["hidden"])
    if vlm.rule is not Rule.AREA:
        side = _whole(found["image_size"], f"{where}.image_size") // sizes["patch"]
        found["positions"] = side * side + (1 if found.get("class_token") else 0)
    if "window_size" in own:
        found["window_patches"] = (_whole(own["window_size"], f"{where}.window_size") // sizes["patch"]) ** 2
        found["full_attention_layers"] = len(own.get("fullatt_block_indexes", ()))
    elif kind == "qwen2_5_vl":
        found |= {"window_patches": 64, "full_attention_layers": 4}
    return from_plain(VisionTower, found, where)


def _native_resolution(
    vision_config: Plain, tower: VisionTower, llm: Decoder, where: str
) -> tuple[Projector, ImageRule]:
    """Qwen2-VL and its successors: squares of patches are merged, the image keeps its shape."""
    merge = _whole(vision_config.get("spatial_merge_size", 2), f"{where}.vision_config.spatial_merge_size")
    joined = tower.hidden * merge**2
    norms = tower.hidden * (2 if tower.norm_bias else 1)
    image = ImageRule(
        rule=Rule.AREA,
        view_size=tower.patch * merge,
        tokens_per_view=1,
        trained_min_visual_tokens=64,  # the least with published scores; the processor goes down to 4
        trained_max_visual_tokens=16384,
        setting="processor max_pixels={pixels}",
        engine="--mm-processor-kwargs '{{\"max_pixels\": {pixels}}}'",
    )
    return Projector(widths=(joined, joined, llm.hidden), merge=merge**2, norm_params=norms), image


def _views(config: Plain, vlm: _Vlm, tower: VisionTower, llm: Decoder, where: str) -> tuple[Projector, ImageRule]:
    """LLaVA and its successors: views of one size, each patch a token."""
    if tower.image_size is None:
        raise InputError(f"{where}.vision_config.image_size: missing")
    tokens = (tower.image_size // tower.patch) ** 2
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


def _vlm_parts(config: Plain, vlm: _Vlm, llm: Decoder, where: str) -> dict[str, Any]:
    """The tower, the projector and the image rule of a vision-language config."""
    vision_config = _table(config, "vision_config", where)
    named = str(vision_config.get("model_type", ""))
    kind, defaults = vlm.towers.get(named) or vlm.towers.get("") or next(iter(vlm.towers.values()))
    vision = _read(vision_config, _VISION_ALIASES, defaults)
    if kind == "qwen2_5_vl":  # its hidden_size is the tower's own, not the LLM's as in qwen2_vl
        vision["hidden"] = vision_config.get("hidden_size", defaults["hidden"])
    tower = _tower(config, kind, vlm, vision, f"{where}.vision_config")
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
    text_type = _TEXT_SYNONYMS.get(named, named)
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
    file = path / "config.json" if path.is_dir() else path
    config = read_plain(file)
    return model_from_config(config, file.name, file.resolve().parent.name or "model")
