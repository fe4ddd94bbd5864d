"""Which runtimes serve, where, and in what? One row a runtime, which all other code asks."""

import enum
from collections.abc import Mapping
from dataclasses import field

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

    @property
    def dtype(self) -> str | None:
        """What torch and the engines call it; None where it is a way of quantising."""
        return _DTYPES.get(self)


_DTYPES = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
WEIGHT_ONLY = (Precision.INT8, Precision.INT4)  # stored so, multiplied in the base precision


class Runtime(enum.StrEnum):
    """What serves, and is priced: ``--runtime``. What is known of each is its row of ``SERVING``."""

    VLLM = "vllm"
    TENSORRT_LLM = "tensorrt-llm"
    TRANSFORMERS = "transformers"
    ONNXRUNTIME = "onnxruntime"
    LLAMA_CPP = "llama.cpp"

    @property
    def called(self) -> tuple[str, ...]:
        """What people call it besides."""
        return SERVING[self].called


class Engine(enum.StrEnum):
    """An engine whose argument for the number of visual tokens is known, and of which models say that it serves them.

    A runtime's row says which of these it is. The others are not priced: plans only name what sets V in them.
    """

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"
    OPENVINO = "openvino"


class Runs(enum.StrEnum):
    """What a runtime runs, and so how it is measured: PyTorch's modules or our graphs here, or a server beside."""

    MODULES = "modules"
    GRAPHS = "graphs"
    SERVER = "server"


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
class Command:
    """The line that serves a model over HTTP, in parts; one that an engine has no flag for is empty.

    ``dtype`` is said of what ``Precision.dtype`` names, ``precisions`` of what the engine quantises itself. Parts are
    filled in: ``{tokens}`` of the longest request, ``{fraction}`` of a GPU's memory, ``{requests}`` at once,
    ``{images}`` a request, ``{gpus}`` of a group. Of two machines, ``machines`` holds what each is told, the head
    first; a ``pipeline`` has a stage on each, but for types that are ``without_pipeline``. ``memory_fraction`` is the
    engine's own default.

    An engine with a file format of its own has its name of each precision in ``stored``, is served ``from_files`` where
    nobody published them; ``making`` converts a whole checkpoint to 16 bits and ``quantising`` these to fewer:
    ``{name}`` of the files, ``{type}`` of that table, ``{whole}`` that of 16 bits. With
    ``shares_context`` the requests in flight share the tokens that ``context`` grants.
    """

    serve: str
    dtype: str = ""
    precisions: Mapping[Precision, str] = field(default_factory=dict)
    context: str = ""
    memory: str = ""
    together: str = ""
    images: str = ""
    tensor: str = ""
    pipeline: str = ""
    machines: tuple[str, ...] = ()
    without_pipeline: tuple[str, ...] = ()
    memory_fraction: float
    stored: Mapping[Precision, str] = field(default_factory=dict)
    from_files: str = ""
    making: tuple[str, ...] = ()
    quantising: str = ""
    shares_context: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is known of one runtime.

    ``title`` is its makers' name for it, ``called`` what people call it besides. ``runs`` says what it runs.
    It is the usual one of the kinds of device that are ``usual_for``, of ``usual_vendors`` and of systems on a chip
    with less than ``usual_below_bytes`` to share, else the first of the
    table that serves there.

    ``usual`` is what checkpoints run as, first what is preferred, ``usual_on_processors`` the same on CPUs;
    ``widens_on_processors``, where 16 bits are multiplied in 32 there. ``methods`` are the quantised checkpoints that
    it reads, ``method_precisions`` what else runs beside some of them. What overflows in fp16 with ``like`` does with
    it, too; ``refuses_fp16`` is why it does not run in fp16 a model whose LLM was said not to be for it.
    ``marlin`` devices multiply fp8 weights in 16 bits; one that ``takes_share`` of a GPU's memory is told how much, in
    hundredths of the whole.

    ``exported`` are the precisions of the exports that vlmplan makes for it; without any it serves checkpoints as
    published, and the catalogue says which where it is an ``engine``. ``offered`` are quantised ones that are tried
    unasked, and ``stored_bits`` what a weight of its format takes, scales in, where that is not
    ``cost.op.WEIGHT_BYTES``; the head is stored so, too. ``modules`` have to be here to measure it in this
    process, and ``libraries`` are those whose versions change its times. ``command`` serves; ``load`` is the line of a
    program where no command does.
    """

    title: str
    called: tuple[str, ...] = ()
    runs: Runs = Runs.SERVER
    usual_for: tuple[str, ...] = ()
    usual_vendors: tuple[str, ...] = ()
    usual_below_bytes: float = 0.0
    usual: tuple[Precision, ...] = (Precision.BF16, Precision.FP16, Precision.FP32)
    usual_on_processors: tuple[Precision, ...] = (Precision.BF16, Precision.FP16, Precision.FP32)
    widens_on_processors: bool = False
    only_vendor: str | None = None
    without_vendor: str | None = None
    methods: tuple[str, ...] = ()
    method_precisions: Mapping[str, Precision] = field(default_factory=dict)
    unfit: tuple[Unfit, ...] = ()
    like: Runtime | None = None
    refuses_fp16: str | None = None
    marlin: tuple[str, ...] = ()
    takes_share: bool = False
    engine: Engine | None = None
    exported: tuple[Precision, ...] = ()
    offered: tuple[Precision, ...] = ()
    stored_bits: Mapping[Precision, float] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    command: Command | None = None
    load: str | None = None

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
# ONNX Runtime runs fp16 on GPUs and has no 16-bit products on CPUs. Flags are those of vLLM 0.33
# (``facts/engine_settings.csv`` and docs/howto/tokens.md say what was read or tried), its types without pipeline stages
# those of its list of models. AWQ's products in transformers are fp16 (5.23, quantizer_awq.py, ``update_dtype``).
# llama.cpp's flags and file types are those of its docs/multimodal.md, tools/server and tools/llama-bench (read
# 2026-11-28): ``-hf repository:type``; requests in flight share ``-c`` (its issue 11681). Bits a weight are what its
# tools/quantize/README.md measures on Llama 3.1 8B: Q4_K_M 4.8944, Q8_0 8.5008; Q5_K_M (5.7036) and Q6_K (6.5633) lie
# between and are not priced. That Macs run it unasked rests on published times of two Apple GPUs
# (``facts/published_latency.csv``); of transformers on them there are none. That systems on a chip with 8 GB do: vLLM
# finds too little left of them (jetson-containers issues 795, 800 and 1568), where llama.cpp and Ollama serve.
SERVING: Mapping[Runtime, Serving] = {
    Runtime.VLLM: Serving(
        title="vLLM",
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
                devices=("CDNA 2", "CDNA 3", "RDNA 3", "RDNA 3.5", "RDNA 4"),
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
        refuses_fp16=(
            "its LLM is of a kind that vllm refuses for numerical instability (vllm/config/model.py, vLLM issue 28857)"
        ),
        marlin=("Turing", "Ampere"),
        takes_share=True,
        engine=Engine.VLLM,
        command=Command(
            serve="vllm serve {model}",
            dtype="--dtype {dtype}",
            precisions={Precision.FP8: "--quantization fp8"},
            context="--max-model-len {tokens}",
            memory="--gpu-memory-utilization {fraction:g}",
            together="--max-num-seqs {requests}",
            images="--limit-mm-per-prompt '{{\"image\": {images}}}'",
            tensor="--tensor-parallel-size {gpus}",
            pipeline="--pipeline-parallel-size 2",
            machines=("--nnodes 2 --master-addr HEAD_ADDRESS --node-rank 0",
                      "--nnodes 2 --master-addr HEAD_ADDRESS --node-rank 1 --headless"),
            without_pipeline=("minicpmv", "minicpmv4_6", "idefics3", "smolvlm", "ovis2_5"),
            memory_fraction=0.92,
        ),
    ),
    Runtime.TRANSFORMERS: Serving(
        title="transformers",
        called=("hf", "huggingface", "torch", "pytorch"),
        runs=Runs.MODULES,
        methods=("awq", "gptq", "auto-round", "compressed-tensors", "fp8", "fbgemm_fp8", "eetq", "bitsandbytes",
                 "mxfp4", "mxfp8", "nvfp4", "quanto", "hqq", "torchao", "quark"),
        unfit=(
            Unfit(
                devices=("Volta", "Turing", "Ampere"),
                methods=("fp8", "fbgemm_fp8"),
                why="transformers turns fp8 back into bf16 below compute capability 8.9 (quantizer_finegrained_fp8.py)",
            ),
        ),
        method_precisions={"awq": Precision.FP16},
        modules=("torch", "transformers"),
        libraries=("torch", "transformers"),
        load='AutoModelForImageTextToText.from_pretrained("{model}", dtype="{dtype}")',
    ),
    Runtime.TENSORRT_LLM: Serving(
        title="TensorRT-LLM",
        called=("trt", "trtllm"),
        only_vendor="NVIDIA",
        methods=("modelopt", "fp8", "awq", "gptq", "mxfp4"),
    ),
    Runtime.ONNXRUNTIME: Serving(
        title="ONNX Runtime",
        called=("onnx", "ort"),
        runs=Runs.GRAPHS,
        usual_for=("cpu",),
        usual=(Precision.FP16, Precision.FP32, Precision.BF16),
        usual_on_processors=(Precision.FP32, Precision.BF16, Precision.FP16),
        widens_on_processors=True,
        exported=(Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4),
        modules=("onnxruntime", "transformers"),
        libraries=("onnxruntime", "onnxruntime-gpu", "onnx-ir"),
    ),
    Runtime.LLAMA_CPP: Serving(
        title="llama.cpp",
        called=("llamacpp", "llama-cpp", "llama-server", "ggml", "gguf"),
        usual_vendors=("Apple",),
        usual_below_bytes=12 * 2**30,
        methods=("gguf",),
        usual=(Precision.FP16, Precision.BF16, Precision.FP32),
        usual_on_processors=(Precision.FP16, Precision.BF16, Precision.FP32),
        offered=(Precision.INT8, Precision.INT4),
        stored_bits={Precision.INT8: 8.5008, Precision.INT4: 4.8944},
        engine=Engine.LLAMA_CPP,
        command=Command(
            serve="llama-server -hf {model} --port 8000",
            context="-c {tokens}",
            together="-np {requests}",
            memory_fraction=1.0,
            stored={Precision.INT4: "Q4_K_M", Precision.INT8: "Q8_0", Precision.FP16: "F16", Precision.BF16: "BF16",
                    Precision.FP32: "F32"},
            from_files="llama-server -m {name}-{type}.gguf --mmproj mmproj-{name}.gguf --port 8000",
            making=(
                "hf download {model} --local-dir {name}",
                "python convert_hf_to_gguf.py {name} --outtype {outtype} --outfile {name}-{whole}.gguf",
                "python convert_hf_to_gguf.py {name} --mmproj --outfile mmproj-{name}.gguf",
            ),
            quantising="llama-quantize {name}-{whole}.gguf {name}-{type}.gguf {type}",
            shares_context=True,
        ),
    ),
}  # fmt: skip
