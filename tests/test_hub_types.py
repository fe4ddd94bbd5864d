"""Every type that is read has the parameters of its class in transformers, to the last one."""

import json
from typing import Any

import pytest

from vlmplan.cost.operator_list import operators
from vlmplan.cost.totals import request_of
from vlmplan.hardware.profile import Precision
from vlmplan.models.reading import model_from_config
from vlmplan.models.spec import ModelSpec, Workload
from vlmplan.models.text_types import TEXT_TYPES
from vlmplan.models.vlm_types import VLM_TYPES

Plain = dict[str, Any]
TEXT: Plain = {
    "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
}  # fmt: skip
VISION: Plain = {
    "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4, "patch_size": 14,
    "image_size": 56,
}  # fmt: skip
DEPTH: Plain = {"hidden_size": 96, "intermediate_size": 160, "depth": 4, "num_heads": 4, "patch_size": 16}
MOE: Plain = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
DELTA: Plain = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 24,
}  # fmt: skip
SIGLIP: Plain = {"model_type": "siglip_vision_model", **VISION, "vision_use_head": False}
# A vision-language type: its class's arguments for a small model. Sizes are odd on purpose.
VLMS: dict[str, Plain] = {
    "llava": {"text_config": {"model_type": "llama", **TEXT}, "vision_config": {"model_type": "clip_vision_model",
                                                                                **VISION}},
    "llava_next": {"text_config": {"model_type": "mistral", **TEXT}, "vision_config": {
        "model_type": "clip_vision_model", **VISION}},
    "llava_onevision": {"text_config": {"model_type": "qwen2", **TEXT}, "vision_config": SIGLIP},
    "qwen2_vl": {"text_config": TEXT, "vision_config": {"embed_dim": 96, "depth": 4, "num_heads": 4, "mlp_ratio": 4,
                                                        "hidden_size": 128}},
    "qwen2_5_vl": {"text_config": TEXT, "vision_config": {**DEPTH, "patch_size": 14, "out_hidden_size": 128,
                                                          "fullatt_block_indexes": [1]}},
    "qwen3_vl": {"text_config": TEXT, "vision_config": {**DEPTH, "out_hidden_size": 128,
                                                        "deepstack_visual_indexes": [1, 2]}},
    "qwen3_vl_moe": {"text_config": {**TEXT, **MOE}, "vision_config": {**DEPTH, "out_hidden_size": 128,
                                                                       "deepstack_visual_indexes": [1, 2]}},
    "qwen3_5": {"text_config": {**TEXT, **DELTA}, "vision_config": {**DEPTH, "out_hidden_size": 128}},
    "qwen3_5_moe": {"text_config": {**TEXT, **DELTA, **MOE, "shared_expert_intermediate_size": 48},
                    "vision_config": {**DEPTH, "out_hidden_size": 128}},
    "internvl": {"text_config": {"model_type": "qwen2", **TEXT}, "vision_config": VISION},
    "smolvlm": {"text_config": {"model_type": "llama", **TEXT}, "vision_config": VISION, "scale_factor": 2},
    "idefics3": {"text_config": {"model_type": "llama", **TEXT}, "vision_config": VISION, "scale_factor": 2},
    "idefics2": {"text_config": {"model_type": "mistral", **TEXT}, "vision_config": VISION},
    "paligemma": {"text_config": {"model_type": "gemma", **TEXT}, "vision_config": SIGLIP, "projection_dim": 128},
    "gemma3": {"text_config": TEXT, "vision_config": SIGLIP, "mm_tokens_per_image": 4},
    "gemma4": {"text_config": {**TEXT, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 16,
                                 "vocab_size_per_layer_input": 512},
               "vision_config": {"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
                                 "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 24}},
    "mllama": {"text_config": {**TEXT, "cross_attention_layers": [1, 4], "pad_token_id": 0}, "vision_config": {
        "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3, "num_global_layers": 2,
        "attention_heads": 4, "patch_size": 14, "image_size": 56, "intermediate_layers_indices": [0, 1, 1, 2, 2],
        "vision_output_dim": 576}},
    "llama4": {"text_config": {**TEXT, "num_local_experts": 4}, "vision_config": {
        **VISION, "intermediate_size": 384, "vision_output_dim": 4096}},
    "mistral3": {"text_config": {"model_type": "mistral", **TEXT}, "vision_config": {
        "model_type": "pixtral", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
        "num_attention_heads": 4, "patch_size": 14, "image_size": 56}},
    "lighton_ocr": {"text_config": {"model_type": "qwen3", **TEXT}, "vision_config": {
        "model_type": "pixtral", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
        "num_attention_heads": 4, "patch_size": 14, "image_size": 56}},
    "lfm2_vl": {"text_config": {"model_type": "lfm2", "hidden_size": 128, "intermediate_size": 320,
                                "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
                                "full_attn_idxs": [2, 5]},
                "vision_config": {"model_type": "siglip2_vision_model", **VISION, "num_patches": 256,
                                  "vision_use_head": False}},
    "glm4v": {"text_config": {**TEXT, "head_dim": None}, "vision_config": {
        "hidden_size": 96, "intermediate_size": 224, "depth": 3, "num_heads": 4, "out_hidden_size": 128,
        "image_size": 56}},
    "glm4v_moe": {"text_config": {**TEXT, "n_routed_experts": 8, "num_experts_per_tok": 2,
                                  "moe_intermediate_size": 64},
                  "vision_config": {"hidden_size": 96, "intermediate_size": 224, "depth": 3, "num_heads": 4,
                                    "out_hidden_size": 128, "image_size": 56}},
    "ovis2": {"text_config": {"model_type": "qwen2", **TEXT}, "hidden_size": 128, "vocab_size": 512,
              "vision_config": {**VISION, "vocab_size": 300, "hidden_stride": 2}},
    "molmo2": {"text_config": TEXT, "adapter_config": {
        "hidden_size": 96, "intermediate_size": 200, "text_hidden_size": 128, "vision_feature_layer": [-1, -2],
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 24},
               "vision_config": {**VISION, "image_size": [140, 140], "num_key_value_heads": 4, "head_dim": 24}},
    "minicpmv4_6": {"text_config": {"model_type": "qwen3_5_text", **TEXT, **DELTA, "tie_word_embeddings": True},
                    "vision_config": {**VISION, "num_hidden_layers": 9}},
}  # fmt: skip
# Read, but their class is not transformers' own, needs another package or is not a model of images and text alone.
WITHOUT_CLASS = {
    "internvl_chat", "phi3_v", "phi4mm", "phi4_multimodal", "minicpmv", "pixtral", "molmo", "perception_lm", "ovis2_5",
    "kimi_vl", "deepseek_vl_v2", "ernie4_5_vl_moe", "moondream1", "llava_onevision1_5",
}  # fmt: skip


def _params(model: ModelSpec) -> int:
    request = request_of(model, Workload(text_tokens=9), 0, Precision.BF16)
    return sum(op.params for op in operators(request))


def _of_class(config: Any, auto: str) -> int:
    import torch
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, auto).from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


# What decides how many layers have experts, beyond a number of first ones.
MIXTURES: dict[str, tuple[str, Plain]] = {
    "every second layer": ("llama4_text", {"num_local_experts": 4, "interleave_moe_layer_step": 2,
                                           "intermediate_size_mlp": 480}),
    "layers by name": ("llama4_text", {"num_local_experts": 4, "moe_layers": [1, 4], "intermediate_size_mlp": 480}),
    "sparse steps": ("qwen3_moe", {**MOE, "decoder_sparse_step": 2}),
    "dense ones by name": ("qwen3_moe", {**MOE, "mlp_only_layers": [0, 3, 5]}),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXTURES)
def test_layers_with_experts_are_those_that_the_config_says(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    kind, more = MIXTURES[name]
    config = transformers.AutoConfig.for_model(kind, **TEXT, **more)
    model = model_from_config(json.loads(config.to_json_string(use_diff=False)), "config.json", "small")
    assert _params(model) == _of_class(config, "AutoModelForCausalLM")


@pytest.mark.parametrize("kind", VLMS)
def test_vision_language_types_have_the_parameters_of_their_class(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(kind, **VLMS[kind])
    spelled = json.loads(config.to_json_string(use_diff=False))
    for found in (spelled, json.loads(config.to_json_string(use_diff=True))):
        model = model_from_config(found, "config.json", "small")
        buffers = (model.llm.layers - model.llm.dense_layers) * model.llm.experts if kind == "glm4v_moe" else 0
        assert _params(model) - buffers == _of_class(config, "AutoModelForImageTextToText")


def test_every_vision_language_type_is_tried() -> None:
    assert {*VLMS, *WITHOUT_CLASS} == {*VLM_TYPES}


TEXTS: dict[str, Plain] = {
    "internlm3": {}, "phi3": {"head_dim": None, "pad_token_id": 0}, "gemma3_text": {},
    "glm4": {"pad_token_id": 0}, "olmo2": {"head_dim": None},
    "olmo3": {"head_dim": None}, "olmoe": {"head_dim": None, "num_experts": 8, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "deepseek_v3": {"kv_lora_rank": 24, "q_lora_rank": 40, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
                    "v_head_dim": 20, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
                    "first_k_dense_replace": 1, "num_key_value_heads": 4, "n_group": 1, "topk_group": 1},
    "deepseek_v2": {"kv_lora_rank": 24, "q_lora_rank": None, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
                    "v_head_dim": 20, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
                    "first_k_dense_replace": 1, "num_key_value_heads": 4},
    "glm4_moe": {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    "llama4_text": {"num_local_experts": 4}, "qwen3_5_text": DELTA, "lfm2": {"head_dim": None},
    "phi": {"head_dim": None, "num_key_value_heads": 4},
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_text_types_have_the_parameters_of_their_class(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    fields = {key: value for key, value in {**TEXT, **TEXTS[kind]}.items() if value is not None or key == "q_lora_rank"}
    config = transformers.AutoConfig.for_model(kind, **fields)
    model = model_from_config(json.loads(config.to_json_string(use_diff=False)), "config.json", "small")
    scored = kind in ("deepseek_v3", "glm4_moe")  # a buffer in transformers, a tensor in the file
    buffers = (model.llm.layers - model.llm.dense_layers) * model.llm.experts if scored else 0
    assert _params(model) - buffers == _of_class(config, "AutoModelForCausalLM")


def test_every_text_type_is_tried() -> None:
    elsewhere = {"llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2"}  # test_operators
    inside = {
        "gemma4_text",
        "glm4v_moe_text",
        "qwen3_5_moe_text",
        "mllama_text_model",
        "molmo2_text",
        "ernie4_5_moe",
    }  # a type above
    assert {*TEXTS, *elsewhere, *inside, "internlm2"} == {*TEXT_TYPES}
