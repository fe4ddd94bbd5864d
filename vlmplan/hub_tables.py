"""How do Hugging Face configs spell a model's dimensions? Tables of aliases, class defaults and what each type has.

A config leaves out what equals its class's default, so the defaults are part of the format; they are those of
transformers' configuration classes, and a test compares. Adding a type is adding a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlmplan.model import Rule

Plain = Mapping[str, Any]

TEXT_ALIASES: dict[str, tuple[str, ...]] = {
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
VISION_ALIASES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "depth"),
    "hidden": ("embed_dim", "hidden_size"),
    "heads": ("num_attention_heads", "num_heads"),
    "intermediate": ("intermediate_size",),
    "patch": ("patch_size", "spatial_patch_size"),
    "temporal_patch": ("temporal_patch_size",),
    "image_size": ("image_size",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextType:
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
TEXT_TYPES: dict[str, TextType] = {
    "llama": TextType(defaults=_LLAMA),
    "mistral": TextType(defaults=_LLAMA | {"intermediate": 14336, "kv_heads": 8}),
    "qwen2": TextType(defaults=_QWEN2, traits={"qkv_bias": True}),
    "qwen3": TextType(defaults=_QWEN2 | {"head_dim": 128}, traits={"qk_norm": True}),
    "qwen3_moe": TextType(defaults=_QWEN3_MOE, traits={"qk_norm": True}),
    "gemma": TextType(
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
    "gemma2": TextType(
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
TEXT_SYNONYMS = {"qwen2_vl_text": "qwen2", "qwen2_vl": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen2_5_vl": "qwen2"}
_QWEN2_VL_TEXT = {"hidden": 8192, "intermediate": 29568, "layers": 80, "heads": 64, "kv_heads": 8, "vocabulary": 152064}

_CLIP = {"layers": 12, "hidden": 768, "heads": 12, "intermediate": 3072, "patch": 32, "image_size": 224}
_QWEN2_VIT = {"layers": 32, "hidden": 1280, "heads": 16, "intermediate": 5120, "patch": 14, "temporal_patch": 2}
# How Qwen2-VL and its successors make tokens. 64 is the least with published scores (Qwen2-VL-7B at a fixed image token
# count, token_ablation.csv); the processor itself goes down to 4.
NATIVE_RESOLUTION: dict[str, Any] = {
    "tokens_per_view": 1,
    "trained_min_visual_tokens": 64,
    "trained_max_visual_tokens": 16384,
    "setting": "processor max_pixels={pixels}",
    "engine": "--mm-processor-kwargs '{{\"max_pixels\": {pixels}}}'",
}
VISION_TRAITS: dict[str, Plain] = {
    "clip": {"class_token": True, "patch_bias": False, "pre_norm": True},
    "siglip": {},
    "qwen2_vl": {"patch_bias": False, "post_norm": False},
    "qwen2_5_vl": {"patch_bias": False, "post_norm": False, "norm_bias": False, "gated_mlp": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmType:
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
VLM_TYPES: dict[str, VlmType] = {
    "llava": VlmType(towers=_LLAVA_TOWERS, rule=Rule.FIXED, feature_layer=-2, exportable=True),
    "llava_next": VlmType(
        towers=_LLAVA_TOWERS,
        rule=Rule.ANYRES,
        feature_layer=-2,
        max_views=4,
        max_side_views=3,
        newline=True,
        exportable=True,
    ),
    "llava_onevision": VlmType(
        towers=_LLAVA_TOWERS,
        rule=Rule.ANYRES,
        max_views=36,
        max_side_views=6,
        newline=True,
        text="qwen2",
        exportable=True,
    ),
    "qwen2_vl": VlmType(
        towers={"": ("qwen2_vl", _QWEN2_VIT)}, rule=Rule.AREA, text="qwen2", text_defaults=_QWEN2_VL_TEXT
    ),
    "qwen2_5_vl": VlmType(
        towers={"": ("qwen2_5_vl", _QWEN2_VIT | {"intermediate": 3420})},
        rule=Rule.AREA,
        text="qwen2",
        text_defaults=_QWEN2_VL_TEXT,
    ),
}
