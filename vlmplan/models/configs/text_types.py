"""Which decoders are read? What their classes default to, what their layers have that llama's do not, their own keys.

A config leaves out what equals its class's default, so the defaults are part of the format; they are those of
transformers' configuration classes, and a test compares. Adding a type that many models have is adding a row; one that
came with a family stands in the family's file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlmplan.hardware import Runtime
from vlmplan.models.configs.keys import Plain

TEXT_ALIASES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "kv_heads": ("num_key_value_heads", "n_kv_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size", "padded_vocab_size"),
    "tied_embeddings": ("tie_word_embeddings",),
    "sliding_window": ("sliding_window", "attention_chunk_size"),
    "max_context_tokens": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "moe_top_k", "top_k_experts", "moe_k"),
    "expert_intermediate": ("moe_intermediate_size",),
    "shared_expert_intermediate": ("shared_expert_intermediate_size",),
    "dense_layers": ("first_k_dense_replace",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """A runtime that does not run a type in fp16, and why; ``always``, whatever a model's ``fp16`` says."""

    runtime: Runtime
    why: str
    always: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TextType:
    """A text ``model_type``: what its class defaults to, what its layers have that llama's do not, further keys.

    ``pattern`` is the kind of layer of all but every n-th, which has full attention, where a config lists none.
    ``keys`` are defaults of keys that only some types have (``layers.py`` reads those). ``names`` mean the same type.
    ``joined`` are modules that checkpoints hold for several projections of an operator. ``overflows`` says which
    runtimes do not run it in fp16. ``exportable``: ``vlmplan export`` draws its graph. ``aliases`` are keys that do not
    mean here what they mean elsewhere; with ``gate_counted`` the MLP's width in a file counts gate and up together.
    """

    defaults: Plain
    traits: Plain = field(default_factory=dict)
    pattern: tuple[str, int] | None = None
    keys: Plain = field(default_factory=dict)
    names: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gate_counted: bool = False
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overflows: tuple[Overflow, ...] = ()
    exportable: bool = False


_UNSTABLE = (
    Overflow(
        runtime=Runtime.VLLM,
        why="vllm refuses it for numerical instability (vllm/config/model.py; vLLM issue 28857)",
    ),
)
GEMMA2_OVERFLOWS = (
    *_UNSTABLE,
    Overflow(
        runtime=Runtime.ONNXRUNTIME,
        why="vllm refuses it for numerical instability (vLLM issue 28857), and exports compute all of it in fp16",
    ),
)
GEMMA3_OVERFLOWS = (
    *_UNSTABLE,
    Overflow(
        runtime=Runtime.ONNXRUNTIME,
        why="its activations overflow and answers are empty (transformers issue 36822)",
    ),
    Overflow(
        runtime=Runtime.TRANSFORMERS,
        why="its activations overflow and answers are empty (transformers issue 36822)",
    ),
)
_GATE_UP = {"gate_up": ("mlp.gate_up_proj",)}
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
    "vocabulary": 151936, "hidden": 2048, "intermediate": 6144, "layers": 24, "heads": 32, "kv_heads": 4,
    "head_dim": 128, "tied_embeddings": False, "experts": 128, "experts_per_token": 8, "expert_intermediate": 768,
}  # fmt: skip
_GEMMA = {
    "vocabulary": 256000, "hidden": 3072, "intermediate": 24576, "layers": 28, "heads": 16, "kv_heads": 16,
    "head_dim": 256, "tied_embeddings": True,
}  # fmt: skip
_GEMMA2 = _GEMMA | {
    "hidden": 2304, "intermediate": 9216, "layers": 26, "heads": 8, "kv_heads": 4, "sliding_window": 4096,
}  # fmt: skip
_QWEN35 = {
    "vocabulary": 248320, "hidden": 4096, "intermediate": 12288, "layers": 32, "heads": 16, "kv_heads": 4,
    "head_dim": 256, "tied_embeddings": False,
}  # fmt: skip
_QWEN35_MOE = _QWEN35 | {
    "hidden": 2048, "intermediate": 0, "layers": 40, "kv_heads": 2, "experts": 256, "experts_per_token": 8,
    "expert_intermediate": 512, "shared_expert_intermediate": 512,
}  # fmt: skip
_DELTA_NET = {
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32,
}  # fmt: skip
_LATENT = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip
_GLM4 = {
    "vocabulary": 151552, "hidden": 4096, "intermediate": 13696, "layers": 40, "heads": 32, "kv_heads": 2,
    "tied_embeddings": False,
}  # fmt: skip
_GLM4_MOE = _GLM4 | {
    "vocabulary": 151424, "intermediate": 10944, "layers": 46, "heads": 96, "kv_heads": 8, "experts": 128,
    "experts_per_token": 8, "expert_intermediate": 1408, "dense_layers": 1,
}  # fmt: skip
_GLM4_MOE_KEYS = {"n_shared_experts": 1, "expert_score_bias": 1}
_PHI3 = _LLAMA | {"vocabulary": 32064, "hidden": 3072, "intermediate": 8192}
SHARED_TEXTS: Mapping[str, TextType] = {
    "llama": TextType(defaults=_LLAMA, names=("minicpm", "granite"), exportable=True),
    "mistral": TextType(defaults=_LLAMA | {"intermediate": 14336, "kv_heads": 8}, exportable=True),
    "internlm2": TextType(defaults=_LLAMA | {"vocabulary": 103168}),
    "internlm3": TextType(
        defaults=_LLAMA | {"vocabulary": 128512, "intermediate": 10240, "layers": 48, "kv_heads": 2, "head_dim": 128}
    ),
    "phi3": TextType(defaults=_PHI3, joined={"qkv": ("self_attn.qkv_proj",), **_GATE_UP}),
    "phi": TextType(
        defaults=_LLAMA
        | {"vocabulary": 51200, "hidden": 2048, "intermediate": 8192, "layers": 24},
        traits={"gated_mlp": False, "qkv_bias": True, "output_bias": True, "mlp_bias": True, "head_bias": True,
                "norm_bias": True, "norms_per_layer": 1},
    ),
    "qwen2": TextType(defaults=_QWEN2, traits={"qkv_bias": True}, exportable=True),
    "qwen3": TextType(defaults=_QWEN2 | {"head_dim": 128}, traits={"qk_norm": True}, exportable=True),
    "qwen3_moe": TextType(defaults=_QWEN3_MOE, traits={"qk_norm": True}),
    "qwen3_5_text": TextType(
        defaults=_QWEN35,
        traits={"qk_norm": True, "attention_gate": True},
        pattern=("linear_attention", 4),
        keys=_DELTA_NET,
    ),
    "qwen3_5_moe_text": TextType(
        defaults=_QWEN35_MOE,
        traits={"qk_norm": True, "attention_gate": True},
        pattern=("linear_attention", 4),
        keys=_DELTA_NET | {"shared_expert_gate": 1},
    ),
    "gemma": TextType(defaults=_GEMMA),
    "gemma2": TextType(
        defaults=_GEMMA2,
        traits={"norms_per_layer": 4},
        pattern=("sliding_attention", 2),
        overflows=GEMMA2_OVERFLOWS,
    ),
    "gemma3_text": TextType(
        defaults=_GEMMA2 | {"vocabulary": 262208},
        traits={"norms_per_layer": 4, "qk_norm": True},
        pattern=("sliding_attention", 6),
        overflows=GEMMA3_OVERFLOWS,
    ),
    "gemma4_text": TextType(
        defaults=_GEMMA2 | {"vocabulary": 262144, "layers": 30, "sliding_window": 512},
        traits={"norms_per_layer": 4, "qk_norm": True},
        pattern=("sliding_attention", 6),
        keys={"global_head_dim": 512, "hidden_size_per_layer_input": 256},
    ),
    "lfm2": TextType(
        defaults=_LLAMA
        | {"vocabulary": 65536, "hidden": 2560, "intermediate": 12288, "kv_heads": 8, "tied_embeddings": True},
        traits={"qk_norm": True},
        keys={"conv_L_cache": 3, "block_auto_adjust_ff_dim": True, "block_multiple_of": 256,
              "block_ffn_dim_multiplier": 1.0},
        aliases={"intermediate": ("block_ff_dim", "intermediate_size"),
                 "tied_embeddings": ("tie_embedding", "tie_word_embeddings")},
        joined={"output": ("self_attn.out_proj",)},
    ),
    "glm4": TextType(
        defaults=_GLM4,
        traits={"qkv_bias": True, "output_bias": False, "norms_per_layer": 4},
        joined=_GATE_UP,
        overflows=_UNSTABLE,
    ),
    "glm4_moe": TextType(defaults=_GLM4_MOE, traits={"output_bias": False}, keys=_GLM4_MOE_KEYS),
    "glm4v_moe_text": TextType(
        defaults=_GLM4_MOE, traits={"qkv_bias": True, "output_bias": False}, keys=_GLM4_MOE_KEYS
    ),
    "deepseek_v2": TextType(
        defaults=_LLAMA | {"vocabulary": 102400, "experts": 64, "experts_per_token": 6, "expert_intermediate": 1407},
        keys=_LATENT | {"n_shared_experts": 2},
    ),
    "deepseek_v3": TextType(
        defaults=_LLAMA
        | {"vocabulary": 129280, "hidden": 7168, "intermediate": 18432, "layers": 61, "heads": 128, "experts": 256,
           "experts_per_token": 8, "expert_intermediate": 2048, "dense_layers": 3},
        keys=_LATENT | {"n_shared_experts": 1, "expert_score_bias": 1},
    ),
    "gpt_oss": TextType(
        defaults=_LLAMA
        | {"vocabulary": 201088, "hidden": 2880, "intermediate": 2880, "layers": 36, "heads": 64, "kv_heads": 8,
           "head_dim": 64, "sliding_window": 128, "experts": 128, "experts_per_token": 4},
        traits={"qkv_bias": True, "output_bias": True},
        pattern=("sliding_attention", 2),
        keys={"attention_sinks": 1, "expert_bias": 1},
    ),
    "mllama_text_model": TextType(
        defaults=_LLAMA | {"vocabulary": 128256, "intermediate": 14336, "layers": 40, "kv_heads": 8},
        keys={"cross_attention_layers": (3, 8, 13, 18, 23, 28, 33, 38), "extra_embedding_rows": 8},
    ),
    "llama4_text": TextType(
        defaults=_LLAMA
        | {"vocabulary": 202048, "hidden": 5120, "intermediate": 8192, "layers": 48, "heads": 40, "kv_heads": 8,
           "head_dim": 128, "sliding_window": 8192, "experts": 16, "experts_per_token": 1},
        pattern=("chunked_attention", 4),
        keys={"shared_experts_as_wide": 1, "intermediate_size_mlp": 16384},
    ),
    "ernie4_5_moe": TextType(
        defaults=_LLAMA
        | {"vocabulary": 103424, "hidden": 2560, "intermediate": 12288, "layers": 28, "heads": 20, "kv_heads": 4,
           "tied_embeddings": True, "experts": 64, "experts_per_token": 6, "dense_layers": 1},
        keys={"n_shared_experts": 2, "moe_intermediate_size": (1536, 512), "expert_score_bias": 1},
    ),
    "olmo2": TextType(defaults=_LLAMA | {"vocabulary": 50304}, keys={"qk_norm_over_all_heads": 1}),
    "olmo3": TextType(
        defaults=_LLAMA | {"vocabulary": 50304, "sliding_window": 4096},
        pattern=("sliding_attention", 4),
        keys={"qk_norm_over_all_heads": 1},
    ),
    "olmoe": TextType(
        defaults=_LLAMA
        | {"vocabulary": 50304, "hidden": 2048, "intermediate": 2048, "layers": 16, "heads": 16, "experts": 64,
           "experts_per_token": 8},
        keys={"qk_norm_over_all_heads": 1},
    ),
    "molmo2_text": TextType(
        defaults=_LLAMA
        | {"vocabulary": 151936, "intermediate": 12288, "layers": 36, "kv_heads": 8, "head_dim": 128},
        traits={"qk_norm": True},
        keys={"additional_vocab_size": 128},
    ),
}  # fmt: skip
