"""How does one serve the choice, and check that it keeps its promise?

(candidate, runtime, device, memory limit) -> the commands: on the GPUs of the plan, on twice as many, on two machines,
and the line that compares with the plan. Flags are those of the runtime's ``Command``; other engines' settings of V are
listed beside.
"""

import math
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from vlmplan import inert
from vlmplan.hardware import SERVING, Command, Engine, HardwareProfile, Precision, Runs, Runtime
from vlmplan.models import Route, native_visual_tokens, published, settable
from vlmplan.planning.search import Candidate
from vlmplan.records import dataclass

MEMORY_FRACTION = 0.92  # of engines that have no default of their own
LEAST_CONTEXT_TOKENS = 2048
PLAN_FILE = "PLAN.json"  # what commands call the plan: it does not know where it is written
LOG_SLACK = 1.05  # of the longest request that was logged: markers about an image, a longer template
CONTEXT_SLACK, CONTEXT_STEP = 2, 256  # of a request that stands for others, which differ; where memory holds them
SHARED_MEMORY_SLACK = 1.2  # of what a plan needs where the device's memory is the system's, too
MOST_GPUS = 8  # of one machine
# AutoRound's names for them, and the layout that vLLM reads (auto-round 0.16.1: schemes.py, cli/parser.py,
# export/formats/backends/llm_compressor.py). Towers and projectors stay whole unless it is told otherwise.
_SCHEMES = {
    Precision.INT4: ("W4A16", "auto_round"),
    Precision.INT8: ("W8A16", "auto_round"),
    Precision.INT8_W8A8: ("INT8", "llm_compressor"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """What one request takes at most: tokens at its end, and pictures.

    Under a load ``requests`` are let in at once, and ``busy`` are there at once but for rare moments.
    """

    context_tokens: int = 0
    images: int = 0
    requests: int = 0
    busy: int = 0


NOTHING_LOGGED = Most()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Commands that realise a plan; None where no command does.

    ``command`` runs on the plan's GPUs, ``more_gpus`` on twice as many of one machine, ``two_machines`` on as many in
    each of two, first on the head. The engine may take ``memory_fraction`` of a GPU, and a request has
    ``context_tokens`` at most. ``settings`` sets V in other engines. ``check`` compares what is served with what was
    promised. ``checkpoint`` is the published quantised one that is served; where none is known, ``make`` is the line
    that makes one.
    """

    command: str | None = None
    more_gpus: str | None = None
    two_machines: tuple[str, ...] = ()
    memory_fraction: float | None = None
    context_tokens: int
    settings: Mapping[Engine, str] = field(default_factory=dict)
    check: str | None = None
    checkpoint: str | None = None
    make: str | None = None


def _export(candidate: Candidate, context_tokens: int) -> Deploy:
    """An export reads the plan from the file it was written to."""
    name = candidate.model.name
    folder = inert.argument(f"{name.rpartition('/')[2]}-{candidate.visual.visual_tokens}")
    return Deploy(
        command=f"vlmplan export {PLAN_FILE} --checkpoint {inert.argument(name)} --out {folder}",
        context_tokens=context_tokens,
        check=f"vlmplan validate {folder} --plan {PLAN_FILE} --checkpoint {inert.argument(name)}",
    )


def _train(candidate: Candidate, context_tokens: int) -> Deploy:
    """Training reads the plan from the file it was written to; what it makes is exported by the same plan."""
    made = f"{candidate.model.name.rpartition('/')[2]}-{candidate.visual.visual_tokens}"
    folder = inert.argument(made)
    return Deploy(
        command=f"vlmplan train {PLAN_FILE} --data DATA.json --images IMAGES --out {folder} --bf16",
        context_tokens=context_tokens,
        check=f"vlmplan export {PLAN_FILE} --checkpoint {folder} --out {inert.argument(f'{made}-onnx')}",
    )


def _memory_fraction(
    candidate: Candidate, runtime: Runtime, hardware: HardwareProfile, limit_bytes: float | None
) -> float | None:
    """The engine's default share of a GPU, less where the plan was given less, more where it needs more."""
    whole, usable_bytes, command = hardware.memory_bytes, hardware.usable_bytes(runtime), SERVING[runtime].command
    if not whole or not usable_bytes:
        return None
    most, needed = round(usable_bytes / whole, 2), candidate.cost.memory_bytes.total / whole
    if hardware.kind == "soc":
        return min(most, math.ceil(100 * SHARED_MEMORY_SLACK * needed) / 100)
    usual = command.memory_fraction if command else MEMORY_FRACTION
    asked = min(usual, limit_bytes / whole if limit_bytes else 1.0)
    return min(most, math.ceil(100 * max(asked, needed)) / 100)


def quantised(model: str, precision: Precision) -> tuple[str, str] | None:
    """Return what stands for a checkpoint of ``model`` that has to be made, and the line that makes it, by AutoRound.

    None where it has no name for the precision.
    """
    if precision not in _SCHEMES:
        return None
    scheme, layout = _SCHEMES[precision]
    name = f"{str(precision).replace('-', '_').upper()}_CHECKPOINT"
    line = f"auto-round --model {inert.argument(model)} --scheme {scheme} --format {layout}"
    return name, f"{line} --output_dir {name}"


def converted(name: str, precision: Precision, command: Command) -> tuple[str, str]:
    """Return the line that serves files of an engine's own format, and the line that makes them of a checkpoint.

    ``name`` is the model's, ``precision`` one that the engine has in ``stored``.
    """
    whole = command.stored[precision if precision.dtype else Precision.FP16]
    words = {
        "model": inert.argument(name),
        "name": inert.argument(name.rpartition("/")[2]),
        "type": command.stored[precision],
        "whole": whole,
        "outtype": whole.lower(),
    }
    lines = [*command.making, *([] if precision.dtype else [command.quantising])]
    return command.from_files.format(**words), " && ".join(line.format(**words) for line in lines)


def _quantised(candidate: Candidate) -> tuple[str, str]:
    made = quantised(candidate.model.name, candidate.request.precision)
    assert made is not None  # else no flag of an engine, and no candidate
    return made


def _precision_flag(command: Command, precision: Precision) -> str | None:
    """What tells the engine a precision that it makes of a whole checkpoint; None where it makes none."""
    if precision.dtype is not None:
        return command.dtype.format(dtype=precision.dtype)
    return command.precisions.get(precision)


def _stored(
    candidate: Candidate, runtime: Runtime, command: Command, hardware: HardwareProfile
) -> tuple[str, str | None, str | None]:
    """(what is served, the flag for its precision, the published quantised checkpoint where that is it)."""
    model, precision = candidate.model, candidate.request.precision
    name = inert.argument(model.name)
    if model.quantisation is not None:  # which engines read from the checkpoint
        return name, None, None
    sixteen = None if Precision.BF16 in hardware.peak_flops_per_s else _precision_flag(command, Precision.FP16)
    if (ready := published(model, precision, hardware, runtime)) is not None:
        return inert.argument(ready.checkpoint), sixteen, ready.checkpoint
    if (flag := _precision_flag(command, precision)) is not None:
        return name, flag, None
    if command.stored:
        return name, None, None
    return _quantised(candidate)[0], sixteen, None


def _served(
    candidate: Candidate, engine: Engine, command: Command, fraction: float | None, most: Most,
    stored: tuple[str, str | None, str | None],
) -> list[str] | None:  # fmt: skip
    """The parts of an engine's command but for how it is spread over GPUs; None where it cannot be served so."""
    request, model = candidate.request, candidate.model
    native_tokens = native_visual_tokens(model, request.workload.image)
    if engine not in model.serving or not settable(candidate.visual, engine, native_tokens):
        return None
    if request.gpus > 1 and not command.tensor:
        return None
    name, dtype, published_id = stored
    workload = request.workload
    own_files = command.stored and published_id is None
    serve = converted(model.name, request.precision, command)[0] if own_files else command.serve.format(model=name)
    together = max(workload.decoded_together, most.requests)
    slots = together if command.shares_context else 1
    parts = [serve, dtype, command.context.format(tokens=slots * most.context_tokens)]
    if fraction is not None:
        parts.append(command.memory.format(fraction=fraction))
    if together > 1:
        parts.append(command.together.format(requests=together))
    if workload.images > 1:
        parts.append(command.images.format(images=max(workload.images, most.images)))
    return [part for part in (*parts, model.serving[engine], candidate.visual.engines.get(engine)) if part]


def _two_machines(served: list[str], command: Command, candidate: Candidate) -> tuple[str, ...]:
    """Over two machines: a pipeline of two stages, or one tensor-parallel group where the engine has none."""
    gpus = candidate.request.gpus
    if gpus > MOST_GPUS:  # the plan's own GPUs already fill two
        spread = [command.tensor.format(gpus=gpus)]
    elif command.pipeline and candidate.model.architecture not in command.without_pipeline:
        spread = [command.tensor.format(gpus=gpus), command.pipeline]
    elif candidate.model.llm.heads % (2 * gpus) == 0:
        spread = [command.tensor.format(gpus=2 * gpus)]
    else:
        return ()
    return tuple(" ".join((*served, *spread, each)) for each in command.machines)


def _context_tokens(candidate: Candidate, share_bytes: float | None, logged_tokens: int) -> int:
    """The longest request that is let in: more than was planned for, as far as memory and the model's context go."""
    request, memory = candidate.request, candidate.cost.memory_bytes
    planned = request.context_tokens
    least = math.ceil(LOG_SLACK * max(planned, logged_tokens))
    wanted = max(LEAST_CONTEXT_TOKENS, CONTEXT_STEP * math.ceil(CONTEXT_SLACK * planned / CONTEXT_STEP), least)
    if share_bytes is not None and memory.kv_cache > 0:  # an engine does not start where one request cannot be held
        left_bytes = share_bytes - (memory.total - memory.kv_cache)
        held = int(left_bytes / memory.kv_cache * planned * request.workload.decoded_together)
        wanted = max(min(wanted, held), math.ceil(LOG_SLACK * planned))
    longest = request.model.llm.max_context_tokens
    return wanted if longest is None else min(wanted, longest)


def _shared(candidate: Candidate, share_bytes: float, most: Most) -> Most:
    """Of an engine that takes the cache of all slots at its start: slots for who is there at once, and tokens of each.

    As many slots as the memory holds of requests as planned; what is left of it makes their contexts longer.
    """
    request, memory = candidate.request, candidate.cost.memory_bytes
    if not memory.kv_cache:
        return replace(most, requests=most.busy)
    token_bytes = memory.kv_cache / (request.context_tokens * request.workload.decoded_together)
    tokens = int((share_bytes - (memory.total - memory.kv_cache)) / token_bytes)
    slots = max(1, min(most.busy, tokens // math.ceil(LOG_SLACK * request.context_tokens)))
    return replace(most, requests=slots, context_tokens=min(most.context_tokens, tokens // slots))


def hand_over(
    candidate: Candidate,
    runtime: Runtime,
    hardware: HardwareProfile,
    limit_bytes: float | None = None,
    logged: Most = NOTHING_LOGGED,
) -> Deploy:
    """Return what is handed over for ``candidate`` on ``hardware``.

    ``limit_bytes`` is the plan's memory budget, ``logged`` what requests take at most, of a log or under a load.
    """
    fraction = _memory_fraction(candidate, runtime, hardware, limit_bytes)
    share_bytes = fraction * hardware.memory_bytes if fraction and hardware.memory_bytes else None
    context_tokens = _context_tokens(candidate, share_bytes, logged.context_tokens)
    if candidate.route is Route.EXPORT:
        return _export(candidate, context_tokens)
    if candidate.route is Route.TRAIN:
        return _train(candidate, context_tokens)
    serving = SERVING[runtime]
    engine = serving.engine
    by_hand = Deploy(
        context_tokens=context_tokens,
        memory_fraction=fraction,
        settings={one: text for one, text in candidate.visual.engines.items() if one is not engine},
        check=_check(candidate, runtime, hardware),
    )
    if serving.command is None or engine is None:
        return by_hand
    stored = _stored(candidate, runtime, serving.command, hardware)
    most = replace(logged, context_tokens=context_tokens)
    if serving.command.shares_context and share_bytes is not None and logged.busy:
        most = _shared(candidate, share_bytes, most)
        by_hand = replace(by_hand, context_tokens=most.context_tokens)
    served = _served(candidate, engine, serving.command, fraction, most, stored)
    if served is None:
        return by_hand
    spread = _spread(served, serving.command, candidate, hardware)
    made = _quantised(candidate)[1] if stored[0].endswith("_CHECKPOINT") else None
    if serving.command.stored and stored[2] is None:
        made = converted(candidate.model.name, candidate.request.precision, serving.command)[1]
    return replace(by_hand, **spread, checkpoint=stored[2], make=made)


def _check(candidate: Candidate, runtime: Runtime, hardware: HardwareProfile) -> str:
    """The line that compares with the plan: in this process where the runtime runs modules on CUDA, else a server."""
    if SERVING[runtime].runs is Runs.MODULES and hardware.vendor != "Apple":
        return f"vlmplan profile --runtime {runtime} --device cuda:0 --check"
    return (
        f"vlmplan profile --endpoint http://localhost:8000/v1 --hardware {inert.argument(hardware.name)} "
        f"--runtime {runtime} --model {inert.argument(candidate.model.name)} --precision {candidate.request.precision}"
    )


def _spread(served: list[str], command: Command, candidate: Candidate, hardware: HardwareProfile) -> Mapping[str, Any]:
    """The commands on the plan's GPUs, on twice as many, and on two machines, by the fields of ``Deploy``."""
    gpus, line = candidate.request.gpus, " ".join(served)
    doubled = 2 * gpus
    joined = hardware.interconnect_bytes_per_s and candidate.model.llm.heads % doubled == 0 and doubled <= MOST_GPUS
    own = f" {command.tensor.format(gpus=gpus)}" if gpus > 1 else ""
    return {
        "command": line + own if gpus <= MOST_GPUS else None,
        "more_gpus": f"{line} {command.tensor.format(gpus=doubled)}" if joined and command.tensor else None,
        "two_machines": _two_machines(served, command, candidate) if hardware.kind == "gpu" else (),
    }
