"""What do people call an option or a command that has another name here? A word of other tools -> what to type.

The words are those of vLLM's, TensorRT-LLM's, transformers' and llama.cpp's command lines, of load generators, and of
people who tried vlmplan.
"""

import warnings
from collections.abc import Callable, Collection, Sequence

from vlmplan.accuracy import CALLED, TASKS
from vlmplan.errors import Assumed, InputError, meant
from vlmplan.inventory import catalogue

# An option: what is to be known of it, and what else it is called.
_OPTIONS: dict[str, tuple[str, str]] = {
    "--precision": (
        "bf16, fp16, fp8, int8, int8-w8a8 or int4",
        "dtype torch-dtype quantization quantize quantise quant bits weight-dtype load-in-4bit load-in-8bit awq gptq",
    ),
    "--hardware": (
        "a device; several with commas; --gpus says how many of one",
        "gpu device devices gpu-type gpu-name accelerator machine instance instance-type chip card cpu system compare",
    ),
    "--gpus": (
        "GPUs that share each layer",
        "tp tp-size tensor-parallel tensor-parallel-size num-gpus n-gpus ngpus gpu-count world-size pp "
        "pipeline-parallel-size",
    ),
    "--output-tokens": (
        "tokens generated",
        "max-tokens max-new-tokens max-output-tokens new-tokens osl output-len output-length random-output-len "
        "completion-tokens gen-len n-predict",
    ),
    "--text-tokens": (
        "tokens of the prompt without those of the image",
        "prompt prompt-tokens prompt-len prompt-length input-tokens input-len isl random-input-len question-tokens",
    ),
    "--batch": ("run side by side; --concurrency says how many are in flight", "batch-size bs"),
    "--concurrency": (
        "requests in flight",
        "max-num-seqs max-concurrency users clients parallel streams num-requests max-batch-size",
    ),
    "--rate": ("requests that come, such as --rate 20/s", "request-rate rps qps requests-per-second arrival-rate load"),
    "--replicas": ("servers that share --rate", "num-replicas n-replicas instances servers data-parallel-size dp"),
    "--p95": ("latency of 95 in 100 under --rate, such as --p95 2s", "p90 percentile latency-p95 p95-latency e2e-p95"),
    "--image": (
        "width x height, such as --image 1024x768",
        "resolution image-size img-size image-resolution size pixels max-pixels width height",
    ),
    "--images": ("in a request", "num-images n-images image-count frames num-frames limit-mm-per-prompt"),
    "--visual-tokens": ("of one image", "image-tokens vision-tokens visual-token num-visual-tokens max-image-tokens"),
    "--memory": (
        "of one GPU, such as --memory 20GiB",
        "vram gpu-memory gpu-memory-utilization ram max-memory memory-limit mem",
    ),
    "--runtime": ("the engine", "engine backend framework server serving inference-engine"),
    "--latency": (
        "a whole answer, such as --latency 300ms",
        "max-latency latency-ms slo deadline e2e e2e-latency time max-time timeout",
    ),
    "--ttft": ("the first token, such as --ttft 150ms", "max-ttft ttft-ms first-token time-to-first-token"),
    "--tpot": (
        "each further token, such as --tpot 20ms",
        "itl max-tpot max-itl inter-token-latency token-latency time-per-output-token",
    ),
    "--max-error": ("wrong answers, such as --max-error 30%", "accuracy min-accuracy error quality min-quality"),
    "--price": (
        "what an hour costs, such as --price l4=0.7",
        "cost max-cost max-price price-per-hour hour-price hourly usd",
    ),
    "--minimise": (
        "error, cost, latency, memory or size",
        "objective optimize optimise optimize-for goal sort sort-by",
    ),
    "--license": ("a glob, such as 'apache*'", "licence licenses licences"),
    "--released-after": ("a date", "since released newer-than release-date"),
    "--max-params": ("such as 8B", "params parameters max-size model-size"),
    "--task": ("'vlmplan catalogue tasks' lists them", "benchmark dataset use-case usecase domain eval tasks"),
    "--workload": ("'vlmplan catalogue workloads' lists them", "scenario preset usage request"),
    "--requests": ("a file of them", "log logs trace traffic requests-file"),
    "--model": ("a name or a folder", "model-name model-id model-path hf-model repo checkpoint"),
    "--checkpoint": ("a folder or a hub id", "model-name model-id model-path hf-model repo"),
    "--out": ("a file", "output output-file save write file o"),
    "--json": ("as a document", "format output-format"),
    "--verbose": ("all of it", "details detail full long all"),
}
# What no option of a command says, and what does.
_ELSEWHERE = {
    "visual-tokens": "recommend chooses their number; 'vlmplan estimate --visual-tokens N' prices one",
    "image-tokens": "recommend chooses their number; 'vlmplan estimate --visual-tokens N' prices one",
    "budget": "limits are --latency, --ttft, --tpot, --flops, --memory and --max-error; what an hour costs is --price",
    "max-model-len": "the context is what --text-tokens, --images and --output-tokens need",
    "context": "the context is what --text-tokens, --images and --output-tokens need",
    "context-length": "the context is what --text-tokens, --images and --output-tokens need",
    "ctx-size": "the context is what --text-tokens, --images and --output-tokens need",
    "workload": "recommend, estimate and tokens take a workload; what profile measures holds for any request",
    "list": "'vlmplan catalogue hardware' lists devices, 'vlmplan catalogue models' models",
}
# Engines that nothing is priced for.
_UNPRICED = "sglang ollama lmstudio lmdeploy tgi mlx mlx-vlm openvino ktransformers"
# Commands that people type, and what does it.
_COMMANDS = {
    "recommend": "plan choose advise advice suggest search select find pick optimize optimise",
    "estimate": "price cost predict simulate latency calc calculate",
    "tokens": "count tokenize token visual-tokens",
    "catalogue": "catalog list ls models devices hardware gpus laws tasks workloads show info",
    "doctor": "env check status diagnose system install version",
    "profile": "benchmark bench measure calibrate",
    "export": "convert quantize quantise compile onnx",
    "validate": "verify test prove compare-export",
    "run": "chat generate infer inference ask serve",
    "evaluate": "eval score",
    "train": "finetune fine-tune tune sft",
    "explore": "ui web gui dashboard app",
    "page": "report html plot",
    "demo": "example quickstart tour start init",
}


def option_here(wrong: str, flags: Collection[str]) -> str | None:
    """Return what to say of an option that is not there, of a command with such ``flags``; None where nothing is known.

    ``flags`` are all of them where no command was called yet.
    """
    word = wrong.lstrip("-").replace("_", "-").casefold()
    called = [flag for flag, (_, names) in _OPTIONS.items() if word in names.split() and flag in flags]
    if called:
        return f"; here it is {called[0]} ({_OPTIONS[called[0]][0]})"
    return f"; {_ELSEWHERE[word]}" if word in _ELSEWHERE else None


def engine_here(wrong: str) -> str | None:
    """Return what to say of an engine that no times are predicted for; None where it is none that is known."""
    if wrong.casefold() not in _UNPRICED.split():
        return None
    return (
        f"no times of {wrong} are predicted: plan for vllm, llama.cpp or transformers, and -v says how sglang and "
        "openvino are told the plan's visual tokens"
    )


def all_options() -> Collection[str]:
    """Return the options that have other names, of whatever command."""
    return _OPTIONS


def _named_by(words: Sequence[str], find: Callable[[str], object]) -> bool:
    """Whether each of some words names something."""
    try:
        return bool(words) and all(find(word) for word in words)
    except InputError:
        return False


def option_of(word: str) -> str | None:
    """Return the option that a word is a value of: a workload's name, a task's, a device's or a model's; else None."""
    if word in catalogue.names(catalogue.Shelf.WORKLOADS):
        return "--workload"
    if word.casefold() in {*TASKS, *CALLED}:
        return "--task"
    with warnings.catch_warnings(action="ignore", category=Assumed):
        if _named_by([word], lambda one: catalogue.devices(one, None)):
            return "--hardware"
        known = _named_by([word], lambda one: catalogue.resolve(catalogue.Shelf.MODELS, one))  # and no hub is asked
        return "--model" if known else None


def _comparing(words: Sequence[str]) -> str:
    """What compares devices, or two models."""
    with warnings.catch_warnings(action="ignore", category=Assumed):  # which of some alike a word is taken for
        return _compared(words)


def _compared(words: Sequence[str]) -> str:
    if _named_by(words, lambda word: catalogue.devices(word, None)):
        return f"devices are compared by: vlmplan recommend --hardware {','.join(words)}"
    if len(words) == 2 and _named_by(words, catalogue.model):
        return f"two models are compared by: vlmplan recommend --hardware DEVICE --model {words[0]} --why {words[1]}"
    return (
        "devices are compared by: vlmplan recommend --hardware l4,a100-80gb-sxm; two models by: vlmplan recommend "
        "--hardware DEVICE --model ONE --why OTHER"
    )


def command_here(wrong: str, words: Sequence[str], commands: Collection[str]) -> str:
    """Return what to say of a command that is not there, called with some ``words``; "" where nothing is known."""
    word = wrong.casefold()
    if word in {"compare", "diff", "vs"}:
        return f"; {_comparing([one for one in words if not one.startswith('-') and one != 'vs'])}"
    if word == "help":
        return "; 'vlmplan --help' lists commands, 'vlmplan COMMAND --help' options"
    if word in {"version", "upgrade"}:
        return "; did you mean --version?"
    if word == "why":
        return f"; did you mean recommend --why {' '.join(words) or 'MODEL'}?"
    if option := option_of(wrong):
        return f"; did you mean recommend {option} {' '.join([wrong, *words])}?"
    called = next((name for name, names in _COMMANDS.items() if word in names.split()), None) or meant(word, commands)
    return f"; did you mean {called}?" if called else ""
