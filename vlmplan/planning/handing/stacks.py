"""What do serving stacks that exist take for a plan? (plan, stack) -> a file's text, how to apply it, what to mind.

Nothing here serves. A stack is told what the plan decided and nothing else: the flags of the plan's own command, the
replicas of its load, its GPUs and their kind. Configurations are JSON, which is YAML too (YAML 1.2, section 1.3): helm,
kubectl and ``serve`` read it, and no library has to write it. Adding a stack is a row of ``STACKS``.

Layouts: vLLM production-stack 0.1.12 (helm/values.schema.json, templates/deployment-vllm-multi.yaml, commit a6c01db);
KServe 0.20 (LLMInferenceService v1alpha2, config/llmisvcconfig/config-llm-template.yaml, commit aaac4e2); Ray 2.60
(ray/llm/_internal/serve/core/configs/llm_config.py); SGLang 0.5.23 (docs/advanced_features/server_arguments.md, and
launch_server.py of sglang-router 0.3.2); all read 2026-11-29. ``facts/stacks`` holds their schemas, which
``tools/stack_schemas.py`` takes out of them, and ``tests/test_stacks.py`` holds to them what is written.
"""

import enum
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from vlmplan import inert
from vlmplan.errors import InputError
from vlmplan.hardware import Engine, HardwareProfile, Runtime
from vlmplan.inventory import catalogue
from vlmplan.models import Route, native_visual_tokens
from vlmplan.planning.handing.commands import Said, command_of, making_of, replicas_of, setting_of
from vlmplan.planning.handing.handover import MOST_GPUS
from vlmplan.planning.plan import Plan
from vlmplan.records import dataclass
from vlmplan.units import counted

VLLM_IMAGE, VLLM_TAG = "vllm/vllm-openai", "v0.33.0"  # whose flags the plan's command has (hardware/runtimes.py)
_PORT, _SGLANG_PORT = 8000, 30000
_OF_MACHINES = ("nnodes", "master-addr", "node-rank", "headless")  # flags that a stack sets by itself
# Of the host: the chart does not install without them, and a plan has none. vLLM's image cache is 4 GiB unasked.
_CACHE_BYTES, _OWN_BYTES = 4 * 2**30, 4 * 2**30
_LEAST_SHARE = 0.01  # of the memory, as SGLang is told it
_LONGEST_NAME = 30  # characters: the chart puts two words before and behind, and a host's name has 63
# ``ray.util.accelerators``, 2.60, of NVIDIA; the longer first where one begins another.
_RAY_TYPES = (
    "RTX-PRO-6000", "GB300", "GB200", "A100", "A10G", "B200", "B300", "H100", "H200", "L40S", "V100", "L4", "T4",
)  # fmt: skip


class Stack(enum.StrEnum):
    """What serves on several GPUs or machines, by the name of ``--to``."""

    PRODUCTION_STACK = "production-stack"
    KSERVE = "kserve"
    RAY_SERVE = "ray-serve"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """The ``text`` of a file that a stack takes, ``apply``, the line that hands it over, ``notes``: what to mind."""

    stack: Stack
    text: str
    apply: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What every stack is told: a plan, what its command says, and replicas."""

    plan: Plan
    said: Said
    replicas: int

    @property
    def model(self) -> str:
        """What is served: the first word that ``vllm serve`` takes."""
        return self.said.served

    @property
    def flags(self) -> Mapping[str, str | None]:
        """The command's flags without their dashes, each with its value; None of a switch."""
        return {flag[2:]: value for flag, value in self.said.flags.items() if flag[2:] not in _OF_MACHINES}

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.plan.choice.gpus

    @property
    def name(self) -> str:
        """The model's name as Kubernetes lets one be: small letters, digits, dashes."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.plan.choice.model.rpartition("/")[2].lower())
        return plain[:_LONGEST_NAME].strip("-") or "model"

    def arguments(self, without: tuple[str, ...] = ()) -> list[str]:
        """The engine's arguments, but for some."""
        arguments: list[str] = []
        for flag, value in self.flags.items():
            if flag not in without:
                arguments += [f"--{flag}"] if value is None else [f"--{flag}", value]
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """A stack: its makers' name for it, the runtime whose plans it takes, how its file is written, and what applies it.

    ``spans`` says whether one replica may lie on several machines, ``vendors`` whose GPUs it can name.
    """

    title: str
    runtime: Runtime
    write: Callable[[Told], str]
    apply: str
    file: str
    spans: bool = False
    vendors: tuple[str, ...] = ()
    notes: Callable[[Told], tuple[str, ...]] = lambda _: ()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _whole(value: str | None) -> Any:
    """What a flag's text says: true of a switch, a number or an object where it is one."""
    if value is None:
        return True
    try:
        return json.loads(value)
    except ValueError:
        return value


def _on_such_gpus(hardware: HardwareProfile) -> list[dict[str, Any]]:
    """The nodes that have this GPU, by the label of NVIDIA's feature discovery; none where it reports no name of it.

    The label is the driver's name with dashes for blanks (k8s-device-plugin, docs/gpu-feature-discovery).
    """
    names = [one.replace(" ", "-") for one in catalogue.reported_as(hardware.name)]
    if not names or hardware.kind != "gpu":
        return []
    return [{"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": names}]}]


_CHART_KEYS = {
    "max-model-len": "maxModelLen", "dtype": "dtype", "tensor-parallel-size": "tensorParallelSize",
    "max-num-seqs": "maxNumSeqs", "gpu-memory-utilization": "gpuMemoryUtilization",
}  # fmt: skip


def _production_stack(told: Told) -> str:
    """Values of the chart. It turns prefix caching off where it is not told, which vLLM has on."""
    stated: dict[str, Any] = {
        key: _whole(told.flags[flag]) for flag, key in _CHART_KEYS.items() if told.flags.get(flag) is not None
    }
    extra = told.arguments(without=tuple(flag for flag, key in _CHART_KEYS.items() if key in stated))
    weights_bytes = told.gpus * told.plan.choice.memory_bytes.weights
    model = {
        "name": told.name,
        "repository": VLLM_IMAGE,
        "tag": VLLM_TAG,
        "modelURL": told.model,
        "replicaCount": told.replicas,
        "requestCPU": told.gpus + 2,
        "requestMemory": f"{math.ceil((weights_bytes + _CACHE_BYTES + _OWN_BYTES) / 2**30)}Gi",
        "requestGPU": told.gpus,
        "vllmConfig": {"enablePrefixCaching": True, **stated, **({"extraArgs": extra} if extra else {})},
    }
    if nodes := _on_such_gpus(told.plan.hardware):
        model["nodeSelectorTerms"] = nodes
    return _json({"servingEngineSpec": {"modelSpec": [model]}, "routerSpec": {"routingLogic": "roundrobin"}})


def _kserve(told: Told) -> str:
    """An LLMInferenceService. Its container runs ``vllm serve`` with what VLLM_ADDITIONAL_ARGS holds, by a shell."""
    arguments = told.arguments(without=("tensor-parallel-size",))
    gpus = {"nvidia.com/gpu": str(told.gpus)}
    container = {
        "name": "main",
        "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": shlex.join(arguments)}],
        "resources": {"limits": gpus, "requests": gpus},
    }
    template: dict[str, Any] = {"containers": [container]}
    if nodes := _on_such_gpus(told.plan.hardware):
        only = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": nodes}}
        template["affinity"] = {"nodeAffinity": only}
    spec = {
        "model": {"uri": f"hf://{told.model}", "name": told.plan.choice.model},
        "replicas": told.replicas,
        **({"parallelism": {"tensor": told.gpus}} if told.gpus > 1 else {}),
        "router": {"gateway": {}, "route": {}, "scheduler": {}},
        "template": template,
    }
    return _json({
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": told.name},
        "spec": spec,
    })  # fmt: skip


def _ray_type(hardware: HardwareProfile) -> str | None:
    """Ray's name of a GPU; None of one that it has none for."""
    title = hardware.title.replace(" ", "-").upper()
    return next((one for one in _RAY_TYPES if one in title), None) if hardware.vendor == "NVIDIA" else None


def _ray_serve(told: Told) -> str:
    """A configuration of Ray Serve with one LLMConfig, whose engine's arguments are vLLM's with underscores."""
    kind, at_once = _ray_type(told.plan.hardware), told.flags.get("max-num-seqs")
    config = {
        "model_loading_config": {"model_id": told.plan.choice.model, "model_source": told.model},
        **({"accelerator_type": kind} if kind else {}),
        "engine_kwargs": {flag.replace("-", "_"): _whole(value) for flag, value in told.flags.items()},
        "deployment_config": {
            "num_replicas": told.replicas,
            **({"max_ongoing_requests": int(at_once)} if at_once else {}),
        },
    }
    application = {
        "name": told.name,
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [config]},
    }
    return _json({"applications": [application]})


def _sglang_parts(told: Told) -> list[str]:
    """SGLang's arguments by its own names. Its share of the memory holds weights and cache alone, vLLM's all."""
    plan, flags = told.plan, told.flags
    choice, memory_bytes = plan.choice, plan.hardware.memory_bytes
    parts = ["--model-path", told.model]
    for flag, theirs in (("dtype", "dtype"), ("quantization", "quantization"), ("max-model-len", "context-length")):
        if value := flags.get(flag):
            parts += [f"--{theirs}", value]
    fraction = flags.get("gpu-memory-utilization")
    if fraction and memory_bytes:
        beside = choice.memory_bytes.activations + choice.memory_bytes.reserve
        share = float(fraction) - beside / memory_bytes
        if share < _LEAST_SHARE:
            raise InputError(
                f"choice.memory_bytes: activations and reserve leave {100 * share:.3g} % of the memory, expected a "
                "plan whose weights and cache find room"
            )
        parts += ["--mem-fraction-static", f"{math.floor(100 * share) / 100:g}"]
    if at_once := flags.get("max-num-seqs"):
        parts += ["--max-running-requests", at_once]
    if limit := flags.get("limit-mm-per-prompt"):
        parts += ["--limit-mm-data-per-request", limit]
    parts += ["--trust-remote-code"] if "trust-remote-code" in flags else []
    setting = _sglang_setting(plan)
    parts += shlex.split(setting) if setting.startswith("--") else []
    return [*parts, *(["--tp-size", str(told.gpus)] if told.gpus > 1 else [])]


def _sglang_setting(plan: Plan) -> str:
    """What sets V in SGLang; empty where it is the model's own. Raises InputError where nothing is known to."""
    choice, setting = plan.choice, setting_of(plan, Engine.SGLANG)
    if setting is None and choice.visual_tokens != native_visual_tokens(plan.model, plan.workload.image):
        raise InputError(
            f"--to sglang: no setting of SGLang is known that gives {choice.model} {choice.visual_tokens} visual "
            "tokens; give another --to"
        )
    return setting or ""


def _sglang(told: Told) -> str:
    """A line with a router where one machine holds all replicas; else one a machine, and the router's."""
    parts, at = _sglang_parts(told), ["--host", "0.0.0.0", "--port", str(_SGLANG_PORT)]
    single = ["python", "-m", "sglang.launch_server", *parts, *at]
    if told.replicas == 1:
        return f"{shlex.join(single)}\n"
    if told.replicas * told.gpus <= MOST_GPUS:
        whole = ["python", "-m", "sglang_router.launch_server", *parts, "--dp-size", str(told.replicas)]
        return f"{shlex.join([*whole, '--router-policy', 'round_robin', *at])}\n"
    workers = [f"http://HOST_{number}:{_SGLANG_PORT}" for number in range(1, told.replicas + 1)]
    router = ["python", "-m", "sglang_router.launch_router", "--policy", "round_robin", "--worker-urls", *workers]
    return (
        f"# on each of {counted(told.replicas, 'machine')}, HOST_1 to HOST_{told.replicas}, or beside others with "
        "--base-gpu-id and a --port of its own\n"
        f"{shlex.join(single)}\n# before them\n{shlex.join([*router, *at])}\n"
    )


def _beside(told: Told) -> int:
    """How many replicas of llama.cpp one machine holds: as many as it has GPUs, where each can be given its own."""
    hardware = told.plan.hardware
    return min(told.replicas, MOST_GPUS) if hardware.vendor == "NVIDIA" and hardware.kind == "gpu" else 1


def _llama_cpp(told: Told) -> str:
    """One line a replica of a machine, each with a port and a GPU of its own."""
    lines, beside = [], _beside(told)
    for number in range(beside):
        words, at = list(told.said.words), told.said.words.index("--port") + 1
        words[at : at + 1] = [str(_PORT + number), "--host", "0.0.0.0"]
        own, on = (f"CUDA_VISIBLE_DEVICES={number} ", " &") if beside > 1 else ("", "")
        lines.append(f"{own}{shlex.join(words)}{on}\n")
    return "".join([*lines, *(["wait\n"] if beside > 1 else [])])


def _of_cluster(told: Told) -> tuple[str, ...]:
    """What to mind on Kubernetes."""
    hardware = told.plan.hardware
    if nodes := _on_such_gpus(hardware):
        names = " or ".join(nodes[0]["matchExpressions"][0]["values"])
        return (f"nodes are those that NVIDIA's feature discovery labels nvidia.com/gpu.product {names}",)
    return (f"no label of nodes with {hardware.name} is known: that they are such is left to you",)


def _of_chart(told: Told) -> tuple[str, ...]:
    return (
        f"image {VLLM_IMAGE}:{VLLM_TAG}, whose flags these are; CPUs (vLLM's processes) and memory (weights, its image "
        "cache and 4 GiB) are what the chart needs told, and no plan's",
        *_of_cluster(told),
    )


def _of_kserve(told: Told) -> tuple[str, ...]:
    return (
        "the image is that of KServe's own configuration; whether its vLLM knows the model, see there",
        *_of_cluster(told),
    )


def _of_ray(told: Told) -> tuple[str, ...]:
    if _ray_type(told.plan.hardware) is None:
        return (f"Ray has no name for {told.plan.hardware.name}: no accelerator_type is set",)
    return ()


def _of_sglang(told: Told) -> tuple[str, ...]:
    plan, setting = told.plan, _sglang_setting(told.plan)
    notes = [
        f"times were predicted for vLLM; SGLang's are its own, and whether it serves {plan.choice.model} is not known"
    ]
    if setting and not setting.startswith("--"):
        notes.append(f"visual tokens are set {setting}")
    return tuple(notes)


def _of_llama_cpp(told: Told) -> tuple[str, ...]:
    notes = []
    if told.replicas > 1:
        notes.append("llama.cpp has nothing that shares requests out: put a balancer such as nginx before its servers")
    if told.replicas > (beside := _beside(told)):
        notes.append(
            f"this is one machine, {beside} of {counted(told.replicas, 'replica')}; run the same on the others"
        )
    return tuple(notes)


# One row a stack.
STACKS: Mapping[Stack, Takes] = {
    Stack.PRODUCTION_STACK: Takes(
        title="vLLM production-stack, a Helm chart",
        runtime=Runtime.VLLM,
        write=_production_stack,
        file="values.json",
        apply="helm install vllm vllm/vllm-stack -f {file}",
        vendors=("NVIDIA",),
        notes=_of_chart,
    ),
    Stack.KSERVE: Takes(
        title="KServe, an LLMInferenceService",
        runtime=Runtime.VLLM,
        write=_kserve,
        file="service.json",
        apply="kubectl apply -f {file}",
        vendors=("NVIDIA",),
        notes=_of_kserve,
    ),
    Stack.RAY_SERVE: Takes(
        title="Ray Serve, an LLMConfig",
        runtime=Runtime.VLLM,
        write=_ray_serve,
        file="serve.json",
        apply="serve run {file}",
        spans=True,
        notes=_of_ray,
    ),
    Stack.SGLANG: Takes(
        title="SGLang, commands",
        runtime=Runtime.VLLM,
        write=_sglang,
        file="serve.sh",
        apply="sh {file}",
        notes=_of_sglang,
    ),
    Stack.LLAMA_CPP: Takes(
        title="llama.cpp's server, commands",
        runtime=Runtime.LLAMA_CPP,
        write=_llama_cpp,
        file="serve.sh",
        apply="sh {file}",
        notes=_of_llama_cpp,
    ),
}


def _check(plan: Plan, stack: Stack) -> str:
    """Return the plan's command. Raises InputError where the stack cannot take it."""
    takes, choice = STACKS[stack], plan.choice
    if plan.runtime is not takes.runtime:
        fit = ", ".join(one for one, row in STACKS.items() if row.runtime is plan.runtime)
        raise InputError(
            f"--to {stack}: found a plan for {plan.runtime}, expected one for {takes.runtime}; "
            + (f"give --to {fit}, or plan" if fit else "plan")
            + f" with --runtime {takes.runtime}"
        )
    if choice.route is not Route.ENGINE:
        raise InputError(
            f"--to {stack}: the plan says to {choice.route} {choice.model}, which no stack serves as published"
        )
    if takes.vendors and plan.hardware.vendor not in takes.vendors:
        known = " or ".join(takes.vendors)
        raise InputError(
            f"--to {stack}: found {plan.hardware.name}; what a cluster calls it is known of {known}'s GPUs only"
        )
    line = choice.deploy.command if choice.deploy else None
    if choice.gpus > MOST_GPUS and not takes.spans:
        raise InputError(
            f"--to {stack}: a replica has {choice.gpus} GPUs, more than a machine; give --to {Stack.RAY_SERVE}, or the "
            "plan's own commands for two machines"
        )
    if line is None and choice.deploy and choice.deploy.two_machines:
        line = choice.deploy.two_machines[0]
    if line is None:
        raise InputError(f"--to {stack}: the plan has no command, as no flag of {plan.runtime} sets it up")
    return line


def hand_over_to(plan: Plan, stack: Stack, file: str | None = None) -> HandedOver:
    """Return what ``stack`` takes for ``plan``, its replicas those of the plan's load, else one.

    ``file`` is where the text will lie. Raises InputError where the stack cannot take the plan, and for one that says
    what ``recommend`` does not write.
    """
    line, takes = _check(plan, stack), STACKS[stack]
    told = Told(plan=plan, said=command_of(plan, line), replicas=replicas_of(plan))
    notes = list(takes.notes(told))
    if plan.service is None:
        notes.append("one replica: the plan was asked without --rate")
    if make := making_of(plan):
        notes.insert(0, f"make the checkpoint first, where every replica finds it: {make}")
    return HandedOver(
        stack=stack,
        text=takes.write(told),
        apply=takes.apply.format(file=inert.argument(file or takes.file)),
        notes=tuple(notes),
    )
