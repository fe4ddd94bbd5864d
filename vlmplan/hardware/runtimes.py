"""Which runtimes serve, where, and in what? One row a runtime, which all other code asks."""

import enum
from collections.abc import Mapping

from vlmplan.records import dataclass

# What the driver keeps for a process on a GPU: "Process 14960 has 618.00 MiB memory in use" beside the one that trains
# (PyTorch's message on a B300, stored GitHub file 66068615294).
CONTEXT_BYTES = 618 * 2**20


class Precision(enum.StrEnum):
    """How the LLM's linear weights are stored and multiplied.

    ``int8`` and ``int4`` are weight-only (products in 16 bit); ``fp8`` and ``int8-w8a8`` multiply at 8 bit.
    """

    __hash__ = str.__hash__  # that of enum.Enum is a function in Python, and costs are folded by this
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT8_W8A8 = "int8-w8a8"
    INT4 = "int4"


class Runtime(enum.StrEnum):
    """The engine that serves."""

    VLLM = "vllm"
    TENSORRT_LLM = "tensorrt-llm"
    TRANSFORMERS = "transformers"
    ONNXRUNTIME = "onnxruntime"


class Provider(enum.StrEnum):
    """Where ONNX Runtime runs."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """What a runtime does not run on some ``devices``, by architecture: ``methods`` of quantisation, ``precisions``."""

    devices: tuple[str, ...]
    methods: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is known of one runtime.

    ``usual`` is what checkpoints run as, first what is preferred, ``usual_on_processors`` the same on CPUs. ``methods``
    are the quantised checkpoints that it reads. ``exported`` are the precisions of the exports that vlmplan makes for
    it; without any it serves checkpoints as published, and ``lists_models`` where the catalogue says which.
    ``libraries`` are what ``profile`` measures it by in this process; without any, a server of it is measured.
    ``marlin`` devices multiply fp8 weights in 16 bits; one that ``takes_share`` of a GPU's memory is told how much, in
    hundredths of the whole.
    """

    usual: tuple[Precision, ...] = (Precision.BF16, Precision.FP16, Precision.FP32)
    usual_on_processors: tuple[Precision, ...] = (Precision.BF16, Precision.FP16, Precision.FP32)
    only_vendor: str | None = None
    without_vendor: str | None = None
    methods: tuple[str, ...] = ()
    unfit: tuple[Unfit, ...] = ()
    exported: tuple[Precision, ...] = ()
    libraries: tuple[str, ...] = ()
    marlin: tuple[str, ...] = ()
    takes_share: bool = False
    lists_models: bool = False

    def usual_on(self, kind: str) -> tuple[Precision, ...]:
        """What checkpoints run as on a kind of device, first what is preferred."""
        return self.usual_on_processors if kind == "cpu" else self.usual

    def refuses_vendor(self, vendor: str) -> bool:
        """Whether it does not serve on a vendor's devices."""
        return vendor == self.without_vendor or self.only_vendor not in (None, vendor)


# Methods: vLLM 0.32, docs/features/quantization; transformers 5.23, quantizers/auto.py; TensorRT-LLM 1.4,
# features/quantization, where the last names Model Optimizer's own checkpoints, AWQ and GPTQ, and DeepSeek's fp8.
# vLLM takes a share of the whole memory, in hundredths, that must be free once its context is on the device. On NVIDIA
# GPUs without fp8 products it has Marlin's kernels (docs/features/quantization, FP8 W8A8: Turing and Ampere).
# ONNX Runtime runs fp16 on GPUs and has no 16-bit products on CPUs.
SERVING: Mapping[Runtime, Serving] = {
    Runtime.VLLM: Serving(
        without_vendor="Apple",
        methods=("awq", "gptq", "auto-round", "compressed-tensors", "fp8", "fbgemm_fp8", "bitsandbytes", "mxfp4",
                 "torchao", "modelopt", "quark"),
        unfit=(
            Unfit(
                devices=("Volta",),
                methods=("awq", "compressed-tensors", "modelopt", "fp8", "fbgemm_fp8", "quark"),
                why="vllm has no kernels of it before Turing (docs/features/quantization, supported hardware)",
            ),
            Unfit(
                devices=("CDNA 3",),
                methods=("bitsandbytes",),
                why="vllm refuses it on AMD GPUs (vllm/platforms/rocm.py, supported_quantization)",
            ),
            Unfit(
                devices=("Xe2-HPG",),
                methods=("bitsandbytes", "torchao", "fbgemm_fp8", "quark"),
                why="vllm refuses it on Intel GPUs (vllm/platforms/xpu.py, supported_quantization)",
            ),
            Unfit(
                devices=("Volta", "Turing"),
                methods=("mxfp4",),
                why="vllm needs compute capability 8.0 for it (vLLM issue 23203)",
            ),
            Unfit(
                devices=("Blackwell", "Blackwell Ultra"),
                precisions=(Precision.INT8_W8A8,),
                why="vllm has no kernels of it for Blackwell (docs/features/quantization, INT8 W8A8)",
            ),
        ),
        marlin=("Turing", "Ampere"),
        takes_share=True,
        lists_models=True,
    ),
    Runtime.TRANSFORMERS: Serving(
        methods=("awq", "gptq", "auto-round", "compressed-tensors", "fp8", "fbgemm_fp8", "eetq", "bitsandbytes",
                 "mxfp4", "mxfp8", "nvfp4", "quanto", "hqq", "torchao", "quark"),
        unfit=(
            Unfit(
                devices=("Volta", "Turing", "Ampere"),
                methods=("fp8", "fbgemm_fp8"),
                why="transformers turns fp8 back into bf16 below compute capability 8.9 (quantizer_finegrained_fp8.py)",
            ),
        ),
        libraries=("torch", "transformers"),
    ),
    Runtime.TENSORRT_LLM: Serving(only_vendor="NVIDIA", methods=("modelopt", "fp8", "awq", "gptq", "mxfp4")),
    Runtime.ONNXRUNTIME: Serving(
        usual=(Precision.FP16, Precision.FP32, Precision.BF16),
        usual_on_processors=(Precision.FP32, Precision.BF16, Precision.FP16),
        exported=(Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4),
        libraries=("onnxruntime", "onnxruntime-gpu", "onnx-ir"),
    ),
}  # fmt: skip
