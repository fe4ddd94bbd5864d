"""Quantised checkpoints: read by method, priced by the bytes of every module, refused where --precision differs."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import machine_of
from families import PARTS
from quantised import DEEPSEEK, GEMMA3, GPT_OSS, INTERNVL, LLAVA, QWEN3, QWEN25, read
from test_cli import run

from vlmplan.cost.op import Request
from vlmplan.cost.stored import _linear_keys, model_from_config, read_model_config
from vlmplan.cost.totals import cost, operators, request_of
from vlmplan.document import from_plain, plain
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.quantisation import Quantisation
from vlmplan.models.quantised.layouts import layer_kinds
from vlmplan.models.quantised.modules import modules_of, patterns
from vlmplan.models.spec import ModelSpec, Workload

AWQ = {
    "quant_method": "awq",
    "bits": 4,
    "group_size": 128,
    "version": "gemm",
    "zero_point": True,
    "modules_to_not_convert": ["visual"],
}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
LLM = {"llm qkv", "llm output", "llm gate_up", "llm down"}
TOWER = {"vision qkv", "vision output", "vision mlp up", "vision mlp down"}
MLA = {"llm queries", "llm latent down", "llm latent up", "llm output", "llm gate_up", "llm down"}
MOE = {"llm shared gate_up", "llm shared down", "llm expert gate_up", "llm expert down"}
INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
NVFP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
QWEN3_TOWER = [
    f"model.visual.blocks.{layer}.{name}"
    for layer in range(27)
    for name in ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
]


def compressed(weights: Any, inputs: Any = None, ignore: tuple[str, ...] = ("lm_head",), **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": [*ignore], **more}


def weights_gib(model: ModelSpec) -> float:
    precision = (model.quantisation.precision if model.quantisation else None) or Precision.BF16
    request = Request(
        model=model,
        workload=Workload(text_tokens=1),
        visual=None,
        precision=precision,
        base_precision=Precision.BF16,
    )
    return sum(op.resident_bytes for op in operators(request)) / 2**30


def stored(config: dict[str, Any], table: Any) -> Quantisation:
    found = read(config, table).quantisation
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "table", "published_gib", "most"),
    [
        # vLLM, "model weights take 6.46 GiB" for Qwen2.5-VL-7B-Instruct-GPTQ-Int4.
        (QWEN25, GPTQ, 6.46, 0.01),
        (QWEN25, AWQ, 6.46, 0.01),
        # Qwen3-VL-8B w4a16, llm-compressor issue 2025: "Model loading took 7.1940 GiB", 0.375 of it the buffers that
        # vLLM 0.11 keeps for three feature layers of 16384 tokens.
        (QWEN3, compressed(INT4, ignore=("re:.*lm_head", "re:visual.*")), 7.194 - 0.375, 0.02),
        # gpt-oss-20b and 120b, the size of the checkpoint in their model card, arXiv 2508.10925.
        (GPT_OSS, {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, 12.8, 0.003),
        ({**GPT_OSS, "num_hidden_layers": 36, "num_local_experts": 128}, {"quant_method": "mxfp4"}, 60.8, 0.003),
    ],
)
def test_weights_take_what_engines_report(config: Any, table: Any, published_gib: float, most: float) -> None:
    assert weights_gib(read(config, table)) == pytest.approx(published_gib, rel=most)


@pytest.mark.parametrize(
    ("config", "table", "precision", "operators_stored"),
    [
        (QWEN25, AWQ, "int4", LLM),
        (INTERNVL, {**AWQ, "modules_to_not_convert": None}, "int4", LLM),
        (QWEN25, GPTQ, "int4", LLM),
        (QWEN25, {**GPTQ, "bits": 8}, "int8", LLM),
        (QWEN25, {**GPTQ, "lm_head": True}, "int4", {*LLM, "llm head"}),
        (QWEN3, compressed(INT4, ignore=("lm_head", "re:.*visual.*")), "int4", LLM),
        (QWEN3, compressed(INT4, ignore=("lm_head", "re:model.visual.*")), "int4", LLM),
        (QWEN3, compressed(INT4, ignore=("re:^(?!.*language_model).*",)), "int4", LLM),
        (LLAVA, compressed(INT4, ignore=("lm_head", "re:.*vision.*")), "int4", {*LLM, "projector"}),
        (LLAVA, compressed(INT8, {"num_bits": 8}, ("lm_head", "vision_tower")), "int8-w8a8", {*LLM, "projector"}),
        (LLAVA, compressed(INT8, None, ("lm_head", "vision_tower", "multi_modal_projector")), "int8", LLM),
        (QWEN3, compressed(FP8, {"num_bits": 8, "dynamic": True}, ("lm_head", *QWEN3_TOWER)), "fp8",
         {*LLM, "projector"}),
        (LLAVA, compressed(FP8, {"num_bits": 8, "dynamic": False}), "fp8", {*LLM, *TOWER, "projector"}),
        (LLAVA, compressed(NVFP4, {"num_bits": 4}, ("lm_head", "re:.*vision_tower.*")), "int4", {*LLM, "projector"}),
        (QWEN25, {"quant_method": "fp8", "modules_to_not_convert": ["visual", "lm_head"]}, "fp8", LLM),
        (QWEN25, {"quant_method": "fp8", "ignored_layers": ["visual"], "weight_block_size": [128, 128]}, "fp8", LLM),
        (DEEPSEEK, {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}, "fp8", MLA | MOE),
        (QWEN25, {"load_in_4bit": True, "llm_int8_skip_modules": ["visual", "lm_head"]}, "int4", LLM),
        (LLAVA, {"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", {*LLM, *TOWER, "projector"}),
        (GPT_OSS, {"quant_method": "mxfp4"}, "int4", {"llm expert gate_up", "llm expert down"}),
        (LLAVA, {"quant_method": "quanto", "weights": "int4", "modules_to_not_convert": ["lm_head", "vision_tower"]},
         "int4", {*LLM, "projector"}),
        (LLAVA, {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}},
                 "skip_modules": ["lm_head", "vision_tower", "multi_modal_projector"]}, "int4", LLM),
        (LLAVA, {"quant_method": "torchao", "modules_to_not_convert": ["vision_tower"], "quant_type": {"default": {
            "_type": "Float8DynamicActivationFloat8WeightConfig", "_data": {}}}}, "fp8", {*LLM, "projector"}),
        (LLAVA, {"quant_method": "torchao", "quant_type": "int8_weight_only"}, "int8", {*LLM, *TOWER, "projector"}),
        (LLAVA, {"quant_method": "torchao", "modules_to_not_convert": ["vision_tower", "multi_modal_projector"],
                 "quant_type": {"default": {"_type": "ModuleFqnToConfig", "_data": {"module_fqn_to_config": {
                     "_default": {"_type": "Int8DynamicActivationIntxWeightConfig", "_data": {
                         "weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
                         "weight_granularity": {"_type": "PerGroup", "_data": {"group_size": 32}}}},
                     "model.language_model.embed_tokens": None}}}}}, "int4", LLM),
        (INTERNVL, {"quant_method": "modelopt", "ignore": ["vision_model*", "mlp1*", "lm_head"], "config_groups": {
            "group_0": {"weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8}}}},
         "fp8", LLM),
        (INTERNVL, {"quant_method": "modelopt", "quant_algo": "FP8",
                    "exclude_modules": ["vision_model*", "mlp1*", "lm_head"]}, "fp8", LLM),
        (LLAVA, {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.vision_tower*"]},
         "int4", {*LLM, "projector"}),
        (QWEN25, {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}, "int4", LLM),
        (QWEN25, {"quant_method": "quark", "exclude": ["lm_head", "re:visual.*"], "global_quant_config": {
            "weight": {"dtype": "fp8_e4m3"}, "input_tensors": {"dtype": "fp8_e4m3"}}}, "fp8", LLM),
        (GEMMA3, compressed(INT4, ignore=("lm_head", "re:vision_tower.*", "re:multi_modal_projector.*")), "int4", LLM),
    ],
)  # fmt: skip
def test_methods_and_what_they_leave_out(config: Any, table: Any, precision: str, operators_stored: set[str]) -> None:
    found = stored(config, table)
    assert (found.precision, set(found.weight_bytes)) == (precision, operators_stored)


def test_the_head_and_a_part_that_only_looks_alike() -> None:
    """Patterns meant for a tower's MLP do not touch the LLM's, nor those of projections a tower that has none such."""
    table = compressed(INT4, ignore=("re:.*mlp.fc.*", "lm_head"))
    assert set(stored(LLAVA, table).weight_bytes) == {*LLM, "vision qkv", "vision output", "projector"}
    only = {"targets": [r"re:.*\.(gate|up|down)_proj$"], "weights": INT4}
    table = {"quant_method": "compressed-tensors", "config_groups": {"group_0": only}}
    assert set(stored(LLAVA, table).weight_bytes) == {"llm gate_up", "llm down"}


def test_bytes_of_a_weight_by_hand() -> None:
    """4 bits, and a scale in 16 bits a group; a zero point in 4 where not symmetric; an fp32 scale a block."""
    assert stored(QWEN25, GPTQ).weight_bytes["llm down"] == 0.5 + 2 / 128
    assert stored(QWEN25, AWQ).weight_bytes["llm down"] == 0.5 + 2.5 / 128
    assert stored(QWEN25, {**GPTQ, "group_size": -1}).weight_bytes["llm down"] == 0.5
    blocks = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    assert stored(QWEN25, blocks).weight_bytes["llm down"] == 1 + 4 / 128**2
    experts = stored(DEEPSEEK, {**blocks, "expert_dtype": "fp4", "scale_fmt": "ue8m0"}).weight_bytes
    assert experts["llm expert down"] == 0.5 + 1 / 32
    assert experts["llm shared down"] == experts["llm down"] == 1 + 1 / 128**2
    once = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    assert stored(LLAVA, once).weight_bytes["llm down"] == 0.5 + 4 / 64
    twice = {**once, "bnb_4bit_use_double_quant": True}
    assert stored(LLAVA, twice).weight_bytes["llm down"] == 0.5 + (1 + 4 / 256) / 64
    assert stored(LLAVA, compressed(NVFP4)).weight_bytes["llm down"] == 0.5 + 1 / 16


def test_layers_left_out_count_one_by_one() -> None:
    """Two of 28 layers whole: 26 in 4 bits, 2 in 16; GPTQModel's dynamic sets 8 bits for others."""
    skipped = {**AWQ, "modules_to_not_convert": ["visual", "model.layers.0", "model.layers.27.mlp.down_proj"]}
    found = stored(QWEN25, skipped).weight_bytes
    four = 0.5 + 2.5 / 128
    assert found["llm qkv"] == pytest.approx((27 * four + 2) / 28)
    assert found["llm down"] == pytest.approx((26 * four + 2 * 2) / 28)
    dynamic = {r"-:.*layers\.2\..*": {}, r"+:.*\.[01]\..*down.*": {"bits": 8, "group_size": 64}}
    found = stored(QWEN25, {**GPTQ, "dynamic": dynamic}).weight_bytes
    assert found["llm qkv"] == pytest.approx((27 * (0.5 + 2 / 128) + 2) / 28)
    assert found["llm down"] == pytest.approx((25 * (0.5 + 2 / 128) + 2 + 2 * (1 + 2 / 64)) / 28)


def test_one_projection_of_three_counts_by_its_width() -> None:
    """28 query heads, 4 of keys and 4 of values: values left whole are 4 / 36 of the operator."""
    found = stored(QWEN25, compressed(INT4, ignore=("lm_head", "re:.*v_proj", "re:.*visual.*"))).weight_bytes["llm qkv"]
    assert found == pytest.approx((32 * (0.5 + 2 / 128) + 4 * 2) / 36)


def test_a_table_inside_a_part_means_that_part() -> None:
    fp8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    text = {**QWEN3, "text_config": {**QWEN3["text_config"], "quantization_config": fp8}}
    found = read(text).quantisation
    assert found is not None
    assert (found.precision, set(found.weight_bytes)) == (Precision.FP8, LLM)
    assert found.kept == ("vision", "projector", "head")
    vision = {**QWEN3, "vision_config": {**QWEN3["vision_config"], "quantization_config": fp8}}
    found = read(vision).quantisation
    assert found is not None
    assert (found.precision, set(found.weight_bytes), found.kept) == (None, TOWER, ("LLM", "projector"))


def test_the_file_beside_config_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN25), encoding="utf-8")
    assert read_model_config(tmp_path).quantisation is None
    beside = {"quant_algo": "FP8", "kv_cache_quant_algo": None, "exclude_modules": ["lm_head", "visual*"]}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": beside}), encoding="utf-8")
    for path in (tmp_path, tmp_path / "config.json"):
        found = read_model_config(path).quantisation
        assert found is not None
        assert (found.method, found.precision, set(found.weight_bytes)) == ("modelopt", Precision.FP8, LLM)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"quant_method": "aqlm"}, "quant_method: 'aqlm' is not read; expected one of awq, gptq"),
        ({"bitss": 4}, "quant_method: None is not read"),
        ({**GPTQ, "bits": "four"}, "bits: expected a whole number from 1 to 32, found 'four'"),
        ({**GPTQ, "group_size": -7}, "group_size: expected a whole number"),
        ({**GPTQ, "dynamic": {"-:*visual": {}}}, "'\\*visual' is no regular expression"),
        ({**AWQ, "modules_to_not_convert": 3}, "modules_to_not_convert: expected a list of names, found 3"),
        (compressed(INT4, ignore=("re:(",)), "is no regular expression"),
        (compressed(INT4, ignore=("re:(.*)*(.*)*(.*)*(.*)*$x",)), "may take for ever; expected few repeats"),
        (compressed(INT4, ignore=("re:" + "(.|.)" * 60 + "x",)), "may take for ever"),
        (compressed(INT4, ignore=("re:" + "a?" * 60 + "x",)), "may take for ever"),
        (compressed(INT4, ignore=tuple(f"re:.*a.*{n}.*x" for n in range(9))), "may take for ever"),
        (compressed(INT4, ignore=("re:" + "a" * 5000,)), "an expression of 5000 characters, expected at most 4096"),
        ({**GPTQ, "dynamic": {f"-:.*a.*{n}.*x": {} for n in range(9)}}, r"dynamic: .* may take for ever"),
        (compressed(INT4, format="marlin-24"), r"sparse weights \(marlin-24\) are not priced"),
        ({"quant_method": "compressed-tensors"}, "config_groups: missing"),
        ({"quant_method": "bitsandbytes"}, "neither load_in_4bit nor load_in_8bit"),
        ({"quant_method": "quanto", "weights": "int3"}, "weights: expected one of int8, float8, int4, int2"),
        ({"quant_method": "torchao", "quant_type": "int5"}, "quant_type 'int5' is not read"),
        ({"quant_method": "modelopt", "quant_algo": "FP5"}, "quant_algo: 'FP5' is not read"),
        ({"quant_method": "fp8", "weight_block_size": 128}, "weight_block_size: expected two sizes"),
        ("awq", "quantization_config: expected a table, found 'awq'"),
        ([4], "quantization_config: expected a table"),
    ],
)
def test_what_is_not_understood_is_named_and_refused(table: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(QWEN25, table)


def test_no_table_or_an_empty_one_is_a_whole_checkpoint() -> None:
    assert read(QWEN25).quantisation is None
    assert read(QWEN25, {}).quantisation is None
    assert read(QWEN25, {**GPTQ, "bits": 16}).quantisation is None


def test_estimate_prices_what_is_stored(tmp_path: Path) -> None:
    """AWQ of Qwen2.5-VL-7B on an A10: about 6.5 GiB and 11 ms a token, not 15.4 GiB and 31 ms."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**QWEN25, "quantization_config": AWQ}), encoding="utf-8")
    asked = ["estimate", "--model", str(path), "--hardware", "a10", "--visual-tokens", "1008", "--text-tokens", "50",
             "--output-tokens", "32"]  # fmt: skip
    code, out, _ = run(*asked, "--json")
    found = json.loads(out)
    assert (code, found["precision"], found["quantisation"]["method"]) == (0, "int4", "awq")
    assert found["memory_bytes"]["weights"] / 2**30 == pytest.approx(6.46, rel=0.01)
    assert found["tpot_s"] == pytest.approx(0.011, rel=0.05)
    assert "4 bits in groups of 128; not quantised: vision, projector, head" in " ".join(run(*asked)[1].split())
    assert run(*asked, "--precision", "int4", "--json")[1] == out
    for other in ("bf16", "fp16", "int8", "fp8"):
        code, out, err = run(*asked, "--precision", other)
        assert (code, out) == (2, "")
        assert f"found {other}, but" in err
        assert "is stored in int4 (awq, 4 bits in groups of 128); expected int4" in err
        assert len(err.strip().splitlines()) == 1


def test_what_is_left_whole_is_priced_whole() -> None:
    """The tower's and the head's bytes stay; the LLM's layers shrink to what the groups hold."""
    whole, four = (
        {
            (op.part, op.name): op
            for op in operators(
                Request(model=read(QWEN25, table), workload=Workload(text_tokens=9), visual=None, precision=precision)
            )
        }
        for table, precision in ((None, Precision.BF16), (AWQ, Precision.INT4))
    )
    for key, op in whole.items():
        ratio = four[key].resident_bytes / op.resident_bytes if op.resident_bytes else None
        if ratio is not None:
            smaller = key[0] == "prefill" and f"llm {key[1]}" in LLM
            assert ratio == pytest.approx((0.5 + 2.5 / 128) / 2 if smaller else 1)
            assert four[key].quantised == (smaller and op.kind == "linear")
        assert four[key].flops == op.flops


def test_a_quantised_tower_is_smaller_and_priced_by_the_kernels_of_its_precision() -> None:
    """fp8 everywhere against fp8 in the LLM alone: the tower's times and bytes change, the LLM's do not."""
    ready = machine_of("h100-sxm", precision=Precision.FP8)
    table = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    every, some = (
        cost(request_of(read(QWEN25, one), Workload(text_tokens=50, output_tokens=8), 999, Precision.FP8), ready)
        for one in (table, {**table, "modules_to_not_convert": ["visual"]})
    )
    assert every.vision_s != some.vision_s
    assert every.memory_bytes.weights < some.memory_bytes.weights
    assert every.prefill_s == some.prefill_s
    assert every.params == some.params


def test_a_cache_in_eight_bits_is_said_not_to_be_priced() -> None:
    table = compressed(FP8, {"num_bits": 8}, kv_cache_scheme={"num_bits": 8, "type": "float"})
    assert "wants its KV cache in 8 bits; it is priced in 16 bits" in stored(LLAVA, table).warnings[0]
    table = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    assert "wants its KV cache in fp8" in stored(LLAVA, table).warnings[0]
    assert stored(QWEN25, AWQ).warnings == ()


def test_documents_hold_it() -> None:
    model = read(QWEN25, AWQ)
    assert from_plain(ModelSpec, plain(model), "model") == model
    assert hash(model) == hash(read(QWEN25, AWQ))


# Gemma 4's towers have a module more inside each projection, Llama 3.2 Vision's two stacks count anew.
OTHERWISE = {"gemma4", "mllama"}
SMALL = {kind: part.config for kind, part in PARTS.items() if part.config and kind not in OTHERWISE}
KINDS = (*SMALL, "ernie4_5_vl_moe", "gpt_oss", "deepseek_v3", "glm4", "phi3")


@pytest.mark.parametrize("kind", KINDS)
def test_modules_have_the_names_they_have_in_transformers(kind: str) -> None:
    """Every module that an operator stands for is one of the class's own, by one of its names."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = CONFIG_MAPPING[kind](**SMALL.get(kind, {}))
        seen = type(config) in AutoModelForImageTextToText._model_mapping
        with torch.device("meta"):
            built = (AutoModelForImageTextToText if seen else AutoModelForCausalLM).from_config(config)
    names = {name for name, _ in built.named_modules()}
    names |= {name.removesuffix(".weight") for name, _ in built.named_parameters()}
    table = config.to_dict()
    spec = model_from_config(table, "config.json", kind)
    kinds = layer_kinds(table, spec.llm.layers, "config.json")
    for key in _linear_keys(spec).keys() - {"llm router", "vision patches"}:
        modules = modules_of(spec, key, kinds)
        assert modules or (kind, key) == ("gemma3", "projector")
        for module in modules:
            if key.startswith(("resampler", "projector gate_up", "projector down")):
                continue  # these stand under the projector's name
            assert names & set(module.full), (key, module.full)


@pytest.mark.parametrize(
    ("listed", "meant", "not_meant"),
    [
        ("visual", "visual.blocks.3.attn.qkv", "layers.3.mlp.up_proj"),
        ("vision", "vision_tower.encoder.layers.3.mlp.fc1", "multi_modal_projector.linear_1"),
        ("model.layers.3", "layers.3.mlp.up_proj", "layers.31.mlp.up_proj"),
        ("model.layers.3", "layers.3.mlp.up_proj", "vision_tower.encoder.layers.3.mlp.fc1"),
        ("language_model.model.layers.3.mlp", "layers.3.mlp.up_proj", "layers.3.self_attn.q_proj"),
        ("model.layers.*.self_attn", "layers.3.self_attn.q_proj", "layers.3.mlp.up_proj"),
        ("re:.*self_attn.*", "layers.3.self_attn.q_proj", "layers.3.mlp.up_proj"),
        ("mlp.gate", "layers.3.mlp.gate", "layers.3.mlp.gate_proj"),
        ("language_model", "layers.3.mlp.up_proj", "visual.blocks.3.attn.qkv"),
        ("Llama4TextAttention", "layers.3.self_attn.q_proj", "layers.3.mlp.up_proj"),
        ("Llama4VisionModel", "vision_model.model.layers.3.mlp.fc1", "layers.3.mlp.up_proj"),
        ("out_proj", "vpm.encoder.layers.3.self_attn.out_proj", "layers.3.self_attn.o_proj"),
    ],
)
def test_lists_mean_modules_and_no_others(listed: str, meant: str, not_meant: str) -> None:
    from vlmplan.models.quantised.modules import Module

    def module(name: str) -> Module:
        of_llm = name.startswith("layers.")
        return Module(short=(name,), full=(f"model.{name}" if of_llm else name,), of_llm=of_llm)

    found = patterns([listed], "config.json")
    assert found.match(module(meant))
    assert not found.match(module(not_meant))


@pytest.mark.parametrize(
    "listed",
    [
        "re:.*self_attn.*(q|k|v)_proj.*",
        r"re:model\.layers\.(0|1|2|[3-9]|1[0-9])\.mlp\.(gate|up)_proj$",
        r"re:^(?!.*(lm_head|visual)).*\.linear_?.*",
        "re:.*layers.*self_attn.*o_proj.*",
    ],
)
def test_expressions_of_real_uploads_are_matched(listed: str) -> None:
    assert patterns([listed] * 3, "config.json").some or patterns([listed], "config.json").every


def test_a_plan_for_a_quantised_checkpoint_serves_it_as_it_is(tmp_path: Path) -> None:
    """No --dtype, no placeholder: vLLM reads from the checkpoint how it is quantised."""
    from test_plan import ask

    from vlmplan.inventory.budget import Budget

    folder = tmp_path / "Qwen2.5-VL-7B-Instruct-AWQ"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**QWEN25, "quantization_config": AWQ}), encoding="utf-8")
    law = str(Path(__file__).parents[1] / "profiles" / "laws" / "mmbench.toml")
    plan = ask(Budget(latency_s=60), hardware="a10", model=str(folder), task=law)
    assert plan.choice.precision is Precision.INT4
    assert plan.choice.deploy is not None
    assert (plan.choice.deploy.command or "").startswith("vllm serve Qwen2.5-VL-7B-Instruct-AWQ --max-model-len ")
    assert not any("needs an int4 checkpoint" in warning for warning in plan.warnings)
    assert any("weights are as the checkpoint stores them: awq" in one for one in plan.assumptions)
    asked = ("recommend", "--model", str(folder), "--hardware", "a10", "--task", law, "--latency", "60s")
    shown = " ".join(run(*asked, "-v")[1].split())
    assert "Stored as awq, 4 bits in groups of 128; not quantised: vision, projector, head." in shown
    with pytest.raises(InputError, match=r"--precision: found bf16, but .* is stored in int4"):
        ask(Budget(latency_s=60), hardware="a10", model=str(folder), task=law, precisions="bf16")


def test_export_says_that_a_checkpoint_is_quantised(tmp_path: Path) -> None:
    from vlmplan.checkpoints.checkpoint import read_config

    (tmp_path / "config.json").write_text(json.dumps({**LLAVA, "quantization_config": AWQ}), encoding="utf-8")
    with pytest.raises(InputError, match="found weights quantised by awq; vlmplan exports and quantises whole ones"):
        read_config(tmp_path)
