"""What an engine refuses or breaks in: by architecture, method and device, for shipped models and files alike."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quantised import GEMMA3, GPT_OSS, INTERNVL, LLAVA, QWEN25, read
from test_cli import run
from test_plan import WORK, ask
from test_quantisation import AWQ, FP8, GPTQ, INT4, INT8, compressed

from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import SERVING, Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.budget import Budget
from vlmplan.models.families import ARCHITECTURES, TEXTS
from vlmplan.models.refusals import precision_for, refusal

ASKED = ("--text-tokens", "50", "--output-tokens", "32")


def gemma2(kind: str) -> dict[str, Any]:
    """A PaliGemma with an LLM of ``kind``."""
    text = {"model_type": kind, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 257216}  # fmt: skip
    vision = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "image_size": 224,
              "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}  # fmt: skip
    return {"model_type": "paligemma", "text_config": text, "vision_config": vision}


GLM4 = {"model_type": "glm4", "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 151552}  # fmt: skip


def estimate_of(path: Path, config: Any, *more: str) -> tuple[int, str, str]:
    file = path / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return run("estimate", "--model", str(file), "--visual-tokens", "256", *ASKED, *more)


def test_fp16_that_vllm_refuses_is_an_error_that_names_what_works(tmp_path: Path) -> None:
    """A T4 has no bf16, and vLLM does not take Gemma 3 in fp16: fp32 is what is left."""
    code, out, err = estimate_of(tmp_path, GEMMA3, "--hardware", "t4")
    assert (code, out) == (2, "")
    assert "does not run in fp16: vllm refuses it for numerical instability" in err
    assert "vLLM issue 28857" in err
    assert "expected --precision fp32, or a device with bf16" in err
    assert len(err.strip().splitlines()) == 1
    assert estimate_of(tmp_path, GEMMA3, "--hardware", "v100-sxm2-32gb", "--precision", "fp32")[0] == 0
    assert estimate_of(tmp_path, GEMMA3, "--hardware", "l4")[0] == 0
    assert (
        "expected --precision bf16 or fp32"
        in estimate_of(tmp_path, GEMMA3, "--hardware", "l4", "--precision", "fp16")[2]
    )
    shipped = run("estimate", "--model", "gemma-3-4b", "--hardware", "t4", "--visual-tokens", "256", *ASKED)
    assert (shipped[0], shipped[2].replace("google/gemma-3-4b-it", "it")) == (2, err.replace(tmp_path.name, "it"))


def test_recommend_says_why_nothing_is_left_and_whom_it_left_out() -> None:
    with pytest.raises(InputError, match=r"no candidate left: google/gemma-3-4b-it does not run in fp16: vllm refuses"):
        ask(Budget(latency_s=60), hardware="t4", model="gemma-3-4b")
    plan = ask(Budget(latency_s=60), hardware="v100-sxm2-32gb")
    note = next(one for one in plan.left_out if "does not run in fp16 on v100-sxm2-32gb" in one)
    assert "google/gemma-3-4b-it" in note
    assert plan.choice.precision is Precision.FP16
    both = ask(Budget(latency_s=60), hardware="v100-sxm2-32gb", model="gemma-3-4b", precisions="fp16,fp32")
    assert both.choice.precision is Precision.FP32


@pytest.mark.parametrize(
    ("config", "runtime", "refused"),
    [
        (GEMMA3, Runtime.VLLM, True),
        (GEMMA3, Runtime.TRANSFORMERS, True),
        (GEMMA3, Runtime.TENSORRT_LLM, False),
        (GEMMA3["text_config"], Runtime.VLLM, True),
        (gemma2("gemma2"), Runtime.VLLM, True),
        (gemma2("gemma2"), Runtime.TRANSFORMERS, False),
        (gemma2("gemma"), Runtime.VLLM, False),
        ({**LLAVA, "text_config": gemma2("gemma2")["text_config"]}, Runtime.VLLM, True),
        (GLM4, Runtime.VLLM, True),
        (QWEN25, Runtime.VLLM, False),
        (LLAVA, Runtime.VLLM, False),
        (INTERNVL, Runtime.VLLM, False),
    ],
)
def test_fp16_by_architecture_and_engine(config: Any, runtime: Runtime, refused: bool) -> None:
    model, device = read(config), catalogue.hardware("a100-80gb-sxm")
    assert (refusal(model, Precision.FP16, device, runtime) is not None) == refused
    assert refusal(model, Precision.BF16, device, runtime) is None
    assert refusal(model, Precision.FP32, device, runtime) is None


def test_files_and_shipped_models_agree() -> None:
    """What the table says of an architecture is what the shipped models of it have, too."""
    device = catalogue.hardware("a100-80gb-sxm")
    by_family = {
        model.family: refusal(model, Precision.FP16, device, Runtime.VLLM) is not None for model in catalogue.models()
    }
    assert {family for family, refused in by_family.items() if refused} == {"Gemma 3", "PaliGemma 2"}


def test_weight_only_formats_multiply_in_what_may_be_refused() -> None:
    """An int4 Gemma 3 multiplies in fp16 on a T4, which vLLM refuses as well; on an L4 in bf16."""
    model = read(GEMMA3, compressed(INT4, ignore=("lm_head", "re:vision_tower.*")))
    why = refusal(model, Precision.INT4, catalogue.hardware("t4"), Runtime.VLLM)
    assert "in fp16, in which int4 multiplies on t4" in (why or "")
    assert refusal(model, Precision.INT4, catalogue.hardware("l4"), Runtime.VLLM) is None
    awq = read(GEMMA3, {**AWQ, "modules_to_not_convert": ["vision_tower"]})
    assert refusal(awq, Precision.INT4, catalogue.hardware("l4"), Runtime.VLLM) is None
    why = refusal(awq, Precision.INT4, catalogue.hardware("l4"), Runtime.TRANSFORMERS)
    assert "answers are empty (transformers issue 36822)" in (why or "")


@pytest.mark.parametrize(
    ("table", "device", "runtime", "why"),
    [
        (AWQ, "a10", Runtime.VLLM, None),
        (AWQ, "t4", Runtime.VLLM, None),
        (AWQ, "v100-sxm2-32gb", Runtime.VLLM, "awq does not run on v100-sxm2-32gb: vllm has no kernels of it before"),
        (GPTQ, "v100-sxm2-32gb", Runtime.VLLM, None),
        (AWQ, "instinct-mi300x", Runtime.VLLM, None),
        ({"load_in_4bit": True}, "instinct-mi300x", Runtime.VLLM, "refuses it on AMD GPUs"),
        ({"load_in_4bit": True}, "intel-arc-b580", Runtime.VLLM, "refuses it on Intel GPUs"),
        (AWQ, "a10", Runtime.TRANSFORMERS, None),
        (AWQ, "a10", Runtime.ONNXRUNTIME, "quantised .awq., and vlmplan exports and quantises whole ones"),
        ({"quant_method": "fp8"}, "a100-80gb-sxm", Runtime.VLLM, None),
        ({"quant_method": "fp8"}, "l4", Runtime.TRANSFORMERS, None),
        ({"quant_method": "fp8"}, "a100-80gb-sxm", Runtime.TRANSFORMERS, "turns fp8 back into bf16"),
        ({"quant_method": "fp8"}, "a100-80gb-sxm", Runtime.TENSORRT_LLM, "has no fp8 peak"),
        (compressed(INT8, {"num_bits": 8}), "l4", Runtime.VLLM, None),
        (compressed(INT8, {"num_bits": 8}), "b200-sxm", Runtime.VLLM, "no kernels of it for Blackwell"),
        (compressed(FP8, {"num_bits": 8}), "instinct-mi300x", Runtime.VLLM, None),
        ({"quant_method": "hqq"}, "l4", Runtime.VLLM, "vllm does not read hqq checkpoints; expected --runtime transf"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "l4", Runtime.TRANSFORMERS, "--runtime vllm or tensorrt"),
        ({"bits": 4, "group_size": 64}, "l4", Runtime.VLLM, "not read mlx checkpoints; .* no --runtime reads"),
        ({"load_in_4bit": True}, "apple-m4-max", Runtime.TRANSFORMERS, None),
    ],
)  # fmt: skip
def test_methods_by_engine_and_device(table: Any, device: str, runtime: Runtime, why: str | None) -> None:
    model, hardware = read(QWEN25, table), catalogue.hardware(device)
    if why is None:
        assert model.quantisation is not None
        assert precision_for(model, None, hardware, runtime) is model.quantisation.precision
    else:
        with pytest.raises(InputError, match=why):
            precision_for(model, None, hardware, runtime)


def test_gpt_oss_needs_ampere() -> None:
    model = read(GPT_OSS, {"quant_method": "mxfp4"})
    assert "compute capability 8.0" in (refusal(model, Precision.INT4, catalogue.hardware("t4"), Runtime.VLLM) or "")
    assert refusal(model, Precision.INT4, catalogue.hardware("a100-80gb-sxm"), Runtime.VLLM) is None


def test_onnxruntime_runs_what_is_exported() -> None:
    device = catalogue.hardware("l4")
    for precision in (Precision.FP8, Precision.INT8_W8A8, Precision.BF16):
        with pytest.raises(InputError, match=f"what vlmplan exports, .* not {precision}; expected --precision fp16"):
            precision_for(read(LLAVA), precision, device, Runtime.ONNXRUNTIME)
    assert precision_for(read(LLAVA), Precision.INT4, device, Runtime.ONNXRUNTIME) is Precision.INT4
    with pytest.raises(InputError, match="no candidate left: onnxruntime runs what vlmplan exports"):
        ask(Budget(latency_s=60), WORK, hardware="l4", precisions="fp8", runtime=Runtime.ONNXRUNTIME)


def test_a_profile_may_say_that_fp16_overflows() -> None:
    """A user's own profile of an architecture that the table does not have."""
    model = replace(read(LLAVA), fp16=False)
    assert "of a kind that vllm refuses" in (
        refusal(model, Precision.FP16, catalogue.hardware("l4"), Runtime.VLLM) or ""
    )


def test_every_row_of_the_tables_has_a_source() -> None:
    unfit = [row.why for serving in SERVING.values() for row in serving.unfit]
    overflows = [row.why for one in ARCHITECTURES.values() for row in one.overflows]
    whys = [*unfit, *overflows, *(row.why for one in TEXTS.values() for row in one.overflows)]
    assert len(unfit) > 4
    assert len(whys) > len(unfit) + 4
    for why in whys:
        assert any(source in why for source in ("issue", "docs/", ".py"))


def test_bf16_begins_with_ampere() -> None:
    """NVIDIA's GPUs multiply bf16 from Ampere on, Jetsons too, and none before; so a Gemma 3 runs on an Orin."""
    devices = [catalogue.hardware(name) for name in catalogue.names(catalogue.Shelf.HARDWARE)]
    nvidia = [device for device in devices if device.vendor == "NVIDIA"]
    without = {device.architecture for device in nvidia if Precision.BF16 not in device.peak_flops_per_s}
    assert without == {"Volta", "Turing"}
    orin = catalogue.hardware("jetson-agx-orin-64gb")
    assert precision_for(read(GEMMA3), None, orin, Runtime.VLLM) is Precision.BF16
    with pytest.raises(InputError, match="t4 has no bf16 peak; its profile lists fp32, fp16, int8"):
        precision_for(read(LLAVA), Precision.BF16, catalogue.hardware("t4"), Runtime.VLLM)
