"""Which precisions does an engine refuse, or break in, and why? One table by architecture, method, engine and device.

(model, precision, device, runtime) -> the reason in one line, or None. What a device has no peak of it does not run at
all (bf16 on NVIDIA GPUs before Ampere).
"""

from collections.abc import Iterable, Iterator

from vlmplan.errors import InputError
from vlmplan.hardware import HardwareProfile, Precision, Runtime
from vlmplan.models.spec import ModelSpec
from vlmplan.records import dataclass


def _fp16_refused(model: ModelSpec, runtime: Runtime) -> str | None:
    """Why a runtime does not run the model in fp16.

    Mended since, and so not in the families' files: Qwen2.5-VL (vLLM PR 13968), Gemma 4's towers (vLLM issue 40290,
    from 0.22 on).
    """
    from vlmplan.models.families import overflows  # planning in bf16 needs none of them

    known = overflows(model.architecture)
    for row in known:
        if row.runtime is runtime and (row.always or not model.fp16):
            return row.why
    if not model.fp16 and not known and runtime is Runtime.VLLM:
        return (
            "its LLM is of a kind that vllm refuses for numerical instability (vllm/config/model.py, vLLM issue 28857)"
        )
    return None


# Methods that a runtime reads; others are refused by name. vLLM 0.32, docs/features/quantization; transformers 5.23,
# quantizers/auto.py; TensorRT-LLM 1.4, features/quantization. The last names Model Optimizer's own checkpoints, AWQ and
# GPTQ, and DeepSeek's fp8.
_VLLM = ("awq", "gptq", "auto-round", "compressed-tensors", "fp8", "fbgemm_fp8", "bitsandbytes", "mxfp4", "torchao",
         "modelopt", "quark")  # fmt: skip
_TRANSFORMERS = ("awq", "gptq", "auto-round", "compressed-tensors", "fp8", "fbgemm_fp8", "eetq", "bitsandbytes",
                 "mxfp4", "mxfp8", "nvfp4", "quanto", "hqq", "torchao", "quark")  # fmt: skip
METHODS_READ = {
    Runtime.VLLM: _VLLM,
    Runtime.TRANSFORMERS: _TRANSFORMERS,
    Runtime.TENSORRT_LLM: ("modelopt", "fp8", "awq", "gptq", "mxfp4"),
    Runtime.ONNXRUNTIME: (),
}


EXPORTED = (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4)  # by vlmplan, for ONNX Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Devices, by architecture, that a runtime does not run a method on; an empty ``methods`` means any."""

    runtime: Runtime
    devices: tuple[str, ...]
    methods: tuple[str, ...]
    why: str


UNFIT = (
    Unfit(
        runtime=Runtime.VLLM,
        devices=("Volta",),
        methods=("awq", "compressed-tensors", "modelopt", "fp8", "fbgemm_fp8", "quark"),
        why="vllm has no kernels of it before Turing (docs/features/quantization, supported hardware)",
    ),
    Unfit(
        runtime=Runtime.VLLM,
        devices=("CDNA 3",),
        methods=("bitsandbytes",),
        why="vllm refuses it on AMD GPUs (vllm/platforms/rocm.py, supported_quantization)",
    ),
    Unfit(
        runtime=Runtime.VLLM,
        devices=("Xe2-HPG",),
        methods=("bitsandbytes", "torchao", "fbgemm_fp8", "quark"),
        why="vllm refuses it on Intel GPUs (vllm/platforms/xpu.py, supported_quantization)",
    ),
    Unfit(
        runtime=Runtime.VLLM,
        devices=("Volta", "Turing"),
        methods=("mxfp4",),
        why="vllm needs compute capability 8.0 for it (vLLM issue 23203)",
    ),
    Unfit(
        runtime=Runtime.TRANSFORMERS,
        devices=("Volta", "Turing", "Ampere"),
        methods=("fp8", "fbgemm_fp8"),
        why="transformers turns fp8 back into bf16 below compute capability 8.9 (quantizer_finegrained_fp8.py)",
    ),
)


def _method_refused(model: ModelSpec, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Why a runtime does not run a quantised checkpoint here."""
    stored = model.quantisation
    if stored is None:
        return None
    if runtime is Runtime.ONNXRUNTIME:
        return (
            f"the checkpoint is quantised ({stored.method}), and vlmplan exports and quantises whole ones for "
            "onnxruntime; give the checkpoint it was made from"
        )
    if stored.method not in METHODS_READ[runtime]:
        by = [one.value for one, methods in METHODS_READ.items() if stored.method in methods]
        reads = f"--runtime {' or '.join(by)}" if by else "the checkpoint it was made from: no --runtime reads it"
        return f"{runtime} does not read {stored.method} checkpoints; expected {reads}"
    for row in UNFIT:
        if row.runtime is runtime and hardware.architecture in row.devices and stored.method in row.methods:
            return f"{stored.method} does not run on {hardware.name}: {row.why}"
    return None


def _without_kernels(precision: Precision, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Why a runtime has no kernels of a precision here, though the device may have a peak of it."""
    if runtime is Runtime.ONNXRUNTIME and precision not in EXPORTED:
        return f"onnxruntime runs what vlmplan exports, which is {', '.join(EXPORTED)}, not {precision}"
    if (
        runtime is Runtime.VLLM
        and precision is Precision.INT8_W8A8
        and hardware.vendor == "NVIDIA"
        and hardware.architecture.startswith("Blackwell")
    ):
        return f"vllm has no int8-w8a8 kernels for Blackwell, {hardware.name} (its docs, INT8 W8A8)"
    return None


def _sixteen(model: ModelSpec, precision: Precision, hardware: HardwareProfile, runtime: Runtime) -> Precision:
    """The precision of what is not quantised, and of weight-only products: AWQ's in transformers is fp16.

    transformers 5.23, quantizer_awq.py, ``update_dtype``.
    """
    if model.quantisation and model.quantisation.method == "awq" and runtime is Runtime.TRANSFORMERS:
        return Precision.FP16
    if precision in (Precision.FP32, Precision.BF16, Precision.FP16):
        return precision
    return hardware.default_precision(runtime) or precision


def refusal(model: ModelSpec, precision: Precision, hardware: HardwareProfile, runtime: Runtime) -> str | None:
    """Return why ``runtime`` does not run ``model`` at ``precision`` on ``hardware``; None where it does."""
    if found := _method_refused(model, hardware, runtime) or _without_kernels(precision, hardware, runtime):
        return found
    try:
        hardware.compute_precision(precision, runtime)
    except InputError as error:
        return str(error)
    sixteen = _sixteen(model, precision, hardware, runtime)
    if sixteen is Precision.FP16 and (why := _fp16_refused(model, runtime)):
        beside = "" if precision is Precision.FP16 else f", in which {precision} multiplies on {hardware.name}"
        return f"{model.name} does not run in fp16{beside}: {why}"
    return None


def _working(model: ModelSpec, hardware: HardwareProfile, runtime: Runtime) -> Iterator[Precision]:
    """The precisions of whole checkpoints that do run."""
    for precision in (Precision.BF16, Precision.FP16, Precision.FP32):
        if refusal(model, precision, hardware, runtime) is None:
            yield precision


def with_what_works(why: str, model: ModelSpec, hardware: HardwareProfile, runtime: Runtime) -> str:
    """Return a reason with what to do about it, where it does not say so itself."""
    if any(said in why for said in ("expected ", "give ", "its profile lists")):
        return why
    works = [] if model.quantisation else list(_working(model, hardware, runtime))
    hint = f"--precision {' or '.join(works)}" if works else "another --hardware or --runtime"
    if " in fp16" in why and Precision.BF16 not in hardware.peak_flops_per_s:
        hint = f"{hint}, or a device with bf16" if works else "a device with bf16"
    return f"{why}; expected {hint}"


def own_precision(model: ModelSpec) -> Precision | None:
    """Return the precision that a quantised checkpoint has and nothing changes."""
    return model.quantisation.precision if model.quantisation else None


def check_own(model: ModelSpec, asked: Precision | None) -> None:
    """Raise InputError for a precision that a quantised checkpoint does not have."""
    own = own_precision(model)
    if model.quantisation and own and asked not in (None, own):
        raise InputError(
            f"--precision: found {asked}, but {model.name} is stored in {own} ({model.quantisation.title}); expected "
            f"{own} or no --precision, or the checkpoint before it was quantised"
        )


def precision_for(model: ModelSpec, asked: Precision | None, hardware: HardwareProfile, runtime: Runtime) -> Precision:
    """Return the precision to price: as asked, as stored, or the device's usual. Raises InputError if refused."""
    hardware.check_runtime(runtime)
    check_own(model, asked)
    chosen = asked or own_precision(model) or hardware.default_precision(runtime) or Precision.FP32
    if why := refusal(model, chosen, hardware, runtime):
        raise InputError(with_what_works(why, model, hardware, runtime))
    return chosen


def runnable(
    model: ModelSpec, precisions: Iterable[Precision], hardware: HardwareProfile, runtime: Runtime
) -> tuple[Precision, ...]:
    """The ``precisions`` that the runtime runs ``model`` in: a quantised checkpoint has its own and no other."""
    own = own_precision(model)
    return tuple(p for p in precisions if own in (None, p) and refusal(model, p, hardware, runtime) is None)
