"""Hugging Face configs of both transformers spellings become the same model; anything else is refused in one line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import LLAMA_2_7B, QWEN2_HALF_B, machine_of
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmplan.cost.stored import model_from_config, read_model_config
from vlmplan.cost.totals import cost, operators, request_of
from vlmplan.document import from_plain, plain
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import ImageRule, ModelSpec, Workload
from vlmplan.models.visual_tokens import native_visual_tokens

Config = dict[str, Any]
# As published with the checkpoints: what equals the class's default is left out.
LLAVA_15: Config = {
    "model_type": "llava",
    "image_token_index": 32000,
    "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064},
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
    "vision_feature_layer": -2,
}
QWEN2_VL_2B_V4: Config = {
    "model_type": "qwen2_vl",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "hidden_size": 1536,
        "patch_size": 14,
    },
}
QWEN25_VL_7B_V4: Config = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "patch_size": 14,
    },
}
ONEVISION_HALF_B: Config = {
    "model_type": "llava_onevision",
    "tie_word_embeddings": True,
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 152000,
        "use_sliding_window": False,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "image_size": 384,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "num_hidden_layers": 26,
        "patch_size": 14,
        "vision_use_head": False,
    },
    "vision_feature_layer": -1,
}
# huggingface.co/allenai/Molmo-7B-D-0924 at 819ed11 (read on 29 November 2026): the width counts gate and up together.
MOLMO_7B_D: Config = {
    "architectures": ["MolmoForCausalLM"],
    "attention_layer_norm": False,
    "clip_qkv": None,
    "embedding_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 37888,
    "layer_norm_type": "rms",
    "max_position_embeddings": 4096,
    "model_type": "molmo",
    "norm_after": False,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "qkv_bias": True,
    "tie_word_embeddings": False,
    "vocab_size": 152064,
    "weight_tying": False,
}
# The same of Molmo-7B-O-0924 and Molmo-72B-0924.
MOLMO_7B_O = MOLMO_7B_D | {
    "attention_layer_norm": True,
    "embedding_size": 100352,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "norm_after": True,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": None,
    "qkv_bias": False,
    "vocab_size": 100278,
}
MOLMO_72B = MOLMO_7B_D | {
    "hidden_size": 8192,
    "intermediate_size": 59136,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
}
# huggingface.co/LiquidAI/LFM2-VL-450M: the decoder's first layout, without intermediate_size.
LFM2_VL_450M: Config = {
    "model_type": "lfm2_vl",
    "downsample_factor": 2,
    "projector_hidden_size": 2560,
    "text_config": {
        "model_type": "lfm2",
        "block_auto_adjust_ff_dim": True,
        "block_ff_dim": 6656,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "conv_L_cache": 3,
        "conv_bias": False,
        "full_attn_idxs": [2, 5, 8, 10, 12, 14],
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "vocab_size": 65536,
    },
    "vision_config": {
        "model_type": "siglip2_vision_model",
        "hidden_size": 768,
        "image_size": 512,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "num_patches": 256,
        "patch_size": 16,
        "vision_use_head": False,
    },
}


def _nested(config: Config) -> Config:
    """The transformers-5 spelling: text fields under ``text_config``."""
    top = {"model_type", "vision_config"}
    text = {key: value for key, value in config.items() if key not in top} | {
        "model_type": f"{config['model_type']}_text"
    }
    return {key: config[key] for key in top} | {"text_config": text}


def _params(model: ModelSpec) -> int:
    tokens = native_visual_tokens(model, (1024, 768))
    return sum(op.params for op in operators(request_of(model, Workload(text_tokens=9), tokens, Precision.BF16)))


@pytest.mark.parametrize(
    ("config", "shipped"),
    [
        (LLAVA_15, "llava-hf/llava-1.5-7b-hf"),
        (LLAVA_15 | {"model_type": "llava_next"}, "llava-hf/llava-v1.6-vicuna-7b-hf"),
        (ONEVISION_HALF_B, "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"),
        (QWEN2_VL_2B_V4, "Qwen/Qwen2-VL-2B-Instruct"),
        (_nested(QWEN2_VL_2B_V4), "Qwen/Qwen2-VL-2B-Instruct"),
        (QWEN25_VL_7B_V4, "Qwen/Qwen2.5-VL-7B-Instruct"),
        (_nested(QWEN25_VL_7B_V4), "Qwen/Qwen2.5-VL-7B-Instruct"),
        (MOLMO_7B_D, "allenai/Molmo-7B-D-0924"),
        (MOLMO_7B_O, "allenai/Molmo-7B-O-0924"),
        (MOLMO_72B, "allenai/Molmo-72B-0924"),
        (LFM2_VL_450M, "LiquidAI/LFM2-VL-450M"),
    ],
)
def test_configs_equal_the_catalogue(config: Config, shipped: str) -> None:
    read, known = model_from_config(config, "config.json", "x"), catalogue.model(shipped)
    assert _params(read) == (known.published_params or _params(known))
    assert (read.vision, read.projector) == (known.vision, known.projector)
    assert native_visual_tokens(read, (1024, 768)) == native_visual_tokens(known, (1024, 768))


@pytest.mark.parametrize(("kind", "expected"), [("LlamaConfig", LLAMA_2_7B), ("Qwen2Config", QWEN2_HALF_B)])
def test_text_configs_as_transformers_writes_them(tmp_path: Path, kind: str, expected: Any) -> None:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, kind)(
        hidden_size=expected.hidden,
        intermediate_size=expected.intermediate,
        num_hidden_layers=expected.layers,
        num_attention_heads=expected.heads,
        num_key_value_heads=expected.kv_heads,
        vocab_size=expected.vocabulary,
        tie_word_embeddings=expected.tied_embeddings,
    )
    config.save_pretrained(tmp_path)
    for path in (tmp_path, tmp_path / "config.json"):
        llm = read_model_config(path).llm
        assert (llm.layers, llm.hidden, llm.kv_heads, llm.head_dim) == (
            expected.layers,
            expected.hidden,
            expected.kv_heads,
            expected.head_dim,
        )
        assert (llm.tied_embeddings, llm.qkv_bias) == (expected.tied_embeddings, expected.qkv_bias)


def test_class_defaults_are_those_of_transformers() -> None:
    """A config that names nothing but its type has its class's dimensions."""
    transformers = pytest.importorskip("transformers")
    for kind in ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2"):
        full = model_from_config(transformers.AutoConfig.for_model(kind).to_dict(), "config.json", "x").llm
        bare = model_from_config({"model_type": kind}, "config.json", "x").llm
        assert (bare.layers, bare.hidden, bare.heads, bare.kv_heads, bare.head_dim) == (
            full.layers,
            full.hidden,
            full.heads,
            full.kv_heads,
            full.head_dim,
        ), kind
        assert (bare.intermediate, bare.vocabulary, bare.tied_embeddings, bare.experts) == (
            full.intermediate,
            full.vocabulary,
            full.tied_embeddings,
            full.experts,
        ), kind


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not read; expected one of aya_vision, cohere2, deepseek_v2"),
        ({"model_type": ["llava"]}, "model_type"),
        ({"text_config": []}, "text_config: expected a table"),
        ({"text_config": {"model_type": "rwkv"}}, "model_type 'rwkv' is not read"),
        (
            {"text_config": {"model_type": "llama", "hidden_size": 0}},
            "hidden_size: expected a whole number from 1 to 1000000000, found 0",
        ),
        (
            {"text_config": {"model_type": "llama", "num_hidden_layers": "32"}},
            "num_hidden_layers: expected a whole number .* found '32'",
        ),
        ({"text_config": {"model_type": "llama", "num_key_value_heads": 5}}, "expected a multiple of kv_heads = 5"),
        (
            {"text_config": {"model_type": "llama", "intermediate_size": [1, 2]}},
            "intermediate_size: expected a whole number",
        ),
        ({"vision_config": {"model_type": "clip_vision_model", "patch_size": 0}}, "patch"),
        ({"vision_feature_layer": "last"}, "vision_feature_layer"),
    ],
)
def test_bad_configs(change: Config, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_from_config(LLAVA_15 | change, "config.json", "x")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gemma4_text", "num_kv_shared_layers": 50}, "all layers have shares_kv"),
        ({"model_type": "internvl", "downsample_ratio": 1e-320}, "downsample_ratio: expected a number from 1/64 to 1"),
        ({"model_type": "internvl", "downsample_ratio": True}, "downsample_ratio"),
        ({"model_type": "gpt_oss", "moe_intermediate_size": []}, "moe_intermediate_size: expected a whole number"),
        ({"model_type": "mllama", "vision_config": {"max_num_tiles": 100000}}, "max_num_tiles.* from 1 to 64"),
        ({"model_type": "mllama", "text_config": {"cross_attention_layers": [3, 3]}}, "every layer once"),
        ({"model_type": "smolvlm", "scale_factor": 10**6}, "scale_factor: expected a whole number from 1 to 64"),
        ({"model_type": "deepseek_v3", "first_k_dense_replace": 1000}, "dense_layers: expected 0 to 61, found 1000"),
        ({"model_type": "deepseek_v3", "kv_lora_rank": None}, "config.json.kv_lora_rank: expected a whole number"),
        ({"model_type": "qwen3_vl", "vision_config": {"deepstack_visual_indexes": "junk"}}, "deepstack_visual_indexes"),
        ({"model_type": "qwen2_5_vl", "vision_config": {"fullatt_block_indexes": [None]}}, "fullatt_block_indexes"),
        ({"model_type": "llama", "attention_bias": []}, "attention_bias: expected true or false"),
        ({"model_type": "qwen3_5_text", "layer_types": ["full_attention"]}, "layer_types: expected a list of 32"),
        ({"model_type": "llava", "multimodal_projector_bias": "junk"}, "multimodal_projector_bias: expected true"),
    ],
)
def test_bad_keys_of_some_types(config: Config, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model_from_config(config, "config.json", "x")
    assert str(caught.value).startswith("config.json")


def test_what_is_null_is_absent() -> None:
    left_out = model_from_config({"model_type": "llava"}, "config.json", "x")
    assert model_from_config({"model_type": "llava", "vision_feature_layer": None}, "config.json", "x") == left_out
    biased = {"model_type": "llama", "expert_bias": True}  # a key of another type's experts
    assert model_from_config(biased, "config.json", "x").llm.experts == 0


def test_a_larger_merge_makes_larger_tokens() -> None:
    config = {"model_type": "qwen2_vl", "vision_config": {"spatial_merge_size": 4}}
    found = model_from_config(config, "config.json", "x")
    assert found.image is not None
    assert found.projector is not None
    assert (found.image.view_size, found.projector.merge) == (56, 16)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("LFM2-VL-1.6B", {"view_size": 7}, "tokens_per_view: expected 1 to 49, found 256"),
        ("Kimi-VL-A3B-Instruct", {"view_size": 1}, "view_size: expected 2 to"),
        ("Qwen2.5-VL-7B-Instruct", {"least_tokens": 10**9}, "least_tokens"),
        ("Qwen2.5-VL-7B-Instruct", {"least_tokens": 20000}, "least_tokens: expected at most 16384"),
        ("Qwen2.5-VL-7B-Instruct", {"setting": "{tokens:300000000}"}, "expected at most {tokens}"),
        ("Qwen2.5-VL-7B-Instruct", {"setting": "{tokens.__class__}"}, "expected at most {tokens}"),
        ("Qwen2.5-VL-7B-Instruct", {"setting": "{tokens"}, "expected at most {tokens}"),
        ("gemma-4-E2B", {"default_max_tokens": 0}, "default_max_tokens: missing"),
        ("Molmo-7B-D-0924", {"patches_per_side": 10**9}, "patches_per_side: expected 9 to"),
    ],
)
def test_bad_image_rules(name: str, change: Config, message: str) -> None:
    rule = plain(catalogue.model(name).image)
    with pytest.raises(InputError, match=message):
        from_plain(ImageRule, rule | change, "image")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: expected 1 to 200 printable characters"),
        ({"name": "a" * 400}, "name: expected 1 to 200"),
        ({"name": "a\x1b[31m"}, "name: expected 1 to 200 printable"),
        ({"license": ""}, "license"),
        ({"release_date": "yesterday"}, "release_date: expected a date"),
        ({"published_params": -5}, "published_params: expected 1 to"),
        ({"nominal_llm_params_b": -7.0}, "nominal_llm_params_b: expected 0.001 to"),
    ],
)
def test_bad_models(change: Config, message: str) -> None:
    spec = plain(catalogue.model("Qwen2.5-VL-7B-Instruct"))
    with pytest.raises(InputError, match=message):
        from_plain(ModelSpec, spec | change, "model")


def test_a_list_is_no_config(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps([LLAVA_15]), encoding="utf-8")
    with pytest.raises(InputError, match="expected a table of keys, found a list"):
        read_model_config(file)


JUNK: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
)
KEYS = sorted(
    {
        key
        for config in (LLAVA_15, QWEN25_VL_7B_V4, ONEVISION_HALF_B)
        for part in (config, config["vision_config"], config.get("text_config", {}))
        for key in part
    }
    | {
        "head_dim",
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "sliding_window",
        "layer_types",
        "attention_bias",
        "mlp_bias",
        "fullatt_block_indexes",
        "window_size",
        "mlp_ratio",
        "spatial_merge_size",
        "multimodal_projector_bias",
    }
)


@settings(max_examples=600)
@given(
    st.sampled_from([LLAVA_15, QWEN2_VL_2B_V4, QWEN25_VL_7B_V4, ONEVISION_HALF_B, {"model_type": "qwen3_moe"}]),
    st.sampled_from(["top", "vision_config", "text_config"]),
    st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=3),
)
def test_any_junk_is_an_input_error_or_a_price(config: Config, part: str, junk: Config) -> None:
    """Whatever stands in a config: it is refused in our words, or priced in finite seconds."""
    broken = config | junk if part == "top" else config | {part: dict(config.get(part, {})) | junk}
    try:
        model = model_from_config(broken, "config.json", "x")
        tokens = native_visual_tokens(model, (640, 480))
        found = cost(
            request_of(model, Workload(text_tokens=9, output_tokens=3), tokens, Precision.BF16), machine_of("l4")
        )
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert 0 < found.latency_s < math.inf
        assert 0 < found.memory_bytes.total < math.inf
