"""Every type that is read has the parameters of its class in transformers, to the last one."""

import json
from typing import Any

import pytest
from families import PARTS
from part import DELTA, MOE, TEXT

from vlmplan.cost.stored import model_from_config
from vlmplan.cost.totals import operators, request_of
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.families import ARCHITECTURES, FAMILIES
from vlmplan.models.families import TEXTS as TEXT_TYPES
from vlmplan.models.spec import ModelSpec, Workload

Plain = dict[str, Any]


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


@pytest.mark.parametrize("kind", [kind for kind, part in PARTS.items() if part.config is not None])
def test_vision_language_types_have_the_parameters_of_their_class(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(kind, **(PARTS[kind].config or {}))
    spelled = json.loads(config.to_json_string(use_diff=False))
    for found in (spelled, json.loads(config.to_json_string(use_diff=True))):
        model = model_from_config(found, "config.json", "small")
        buffers = (model.llm.layers - model.llm.dense_layers) * model.llm.experts if PARTS[kind].scored else 0
        assert _params(model) - buffers == _of_class(config, "AutoModelForImageTextToText")


# PaddleOCR-VL's class writes that its text is tied, of checkpoints that are not, and then reads them as tied.
TWICE_TOLD = sorted(kind for kind, part in PARTS.items() if part.config is not None and kind != "paddleocr_vl")


@pytest.mark.parametrize("kind", TWICE_TOLD)
def test_a_head_is_tied_as_its_class_reads_two_tables(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    spelled = json.loads(transformers.AutoConfig.for_model(kind, **(PARTS[kind].config or {})).to_json_string(False))
    inner, scored = ARCHITECTURES[kind].text_key, PARTS[kind].scored
    if not isinstance(spelled.get(inner), dict):
        pytest.skip("one table")
    for outer, text in ((False, True), (True, False)):
        told = {**spelled, "tie_word_embeddings": outer, inner: {**spelled[inner], "tie_word_embeddings": text}}
        config = transformers.AutoConfig.for_model(kind).from_dict(json.loads(json.dumps(told)))
        model = model_from_config(told, "config.json", "small")
        buffers = (model.llm.layers - model.llm.dense_layers) * model.llm.experts if scored else 0
        assert _params(model) - buffers == _of_class(config, "AutoModelForImageTextToText"), (outer, text)


def test_every_vision_language_type_is_tried() -> None:
    assert {*PARTS} == {*ARCHITECTURES}
    assert all((part.config is None) == bool(part.without) for part in PARTS.values())


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


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"block_ff_dim": 640},
        {"block_ffn_dim_multiplier": 1.3},
        {"block_ffn_dim_multiplier": 2, "block_multiple_of": 8},
        {"block_auto_adjust_ff_dim": False, "block_ff_dim": 700},
        {"conv_bias": True},
        {"tie_embedding": False},
        {"tie_embedding": False, "tie_word_embeddings": True},
    ],
)
def test_the_keys_of_lfm2_mean_what_its_class_makes_of_them(change: Plain) -> None:
    transformers = pytest.importorskip("transformers")
    own = {**TEXT, **TEXTS["lfm2"], "num_hidden_layers": 3, "full_attn_idxs": [1], **change}
    own = {key: value for key, value in own.items() if value is not None}
    model = model_from_config({"model_type": "lfm2", **own}, "config.json", "small")
    assert _params(model) == _of_class(transformers.AutoConfig.for_model("lfm2", **own), "AutoModelForCausalLM")


def test_every_text_type_is_tried() -> None:
    elsewhere = {"llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2"}  # test_operators
    inside = {"gemma4_text", "glm4v_moe_text", "qwen3_5_moe_text", "mllama_text_model", "molmo2_text", "ernie4_5_moe"}
    of_families = {name for family in FAMILIES.values() for name in family.texts}  # in a type above, as those
    assert {*TEXTS, *elsewhere, *inside, *of_families, "internlm2"} == {*TEXT_TYPES}
