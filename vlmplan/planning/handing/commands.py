"""What does the command of a plan say? (plan, runtime) -> what is served and the flags with their values, or a refusal.

A plan is a file that anybody may have written, or spoilt, and what stacks are told is run. So nothing is passed on but
what ``recommend`` writes: the runtime's own program, the plan's model or its published checkpoint, flags that are known
here with values of their kind. Every stack reads a plan by this module alone.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping

from vlmplan.cost import MOST_REPLICAS
from vlmplan.errors import InputError, check_range, printable
from vlmplan.hardware import SERVING, Engine
from vlmplan.planning.handing.handover import MOST_GPUS, converted, quantised
from vlmplan.planning.plan import Plan
from vlmplan.records import dataclass

_LONGEST = 400  # characters of a value
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?", re.ASCII)
_IN_REQUESTS = re.compile(r'in each request: "image_url": \{"\w+": [0-9]{1,9}\}', re.ASCII)


def _pattern(text: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(text, value, re.ASCII) is not None


def _is_object(value: str) -> bool:
    """Whether it is an object of JSON, of plain words and finite numbers."""
    if len(value) > _LONGEST or not re.fullmatch(r'[\w {}":,.\[\]-]+', value, re.ASCII):
        return False
    try:
        found = json.loads(value)
        json.dumps(found, allow_nan=False)
    except ValueError:
        return False
    return isinstance(found, dict)


_WHOLE = _pattern("[1-9][0-9]{0,8}")
# Every flag that ``recommend`` writes, with what tells its values; None of a switch. Those of a runtime's ``Command``,
# of ``ModelSpec.serving`` in the catalogue, and of the settings of visual tokens (``models/settings.py``).
FLAGS: Mapping[Engine, Mapping[str, Callable[[str], bool] | None]] = {
    Engine.VLLM: {
        "--dtype": _pattern("bfloat16|float16|float32"),
        "--quantization": _pattern("fp8"),
        "--max-model-len": _WHOLE,
        "--gpu-memory-utilization": _pattern(r"0\.[0-9]{1,2}|1"),
        "--max-num-seqs": _WHOLE,
        "--limit-mm-per-prompt": _is_object,
        "--tensor-parallel-size": _WHOLE,
        "--pipeline-parallel-size": _WHOLE,
        "--nnodes": _pattern("2"),
        "--master-addr": _pattern("HEAD_ADDRESS"),
        "--node-rank": _pattern("[01]"),
        "--headless": None,
        "--tokenizer-mode": _pattern("mistral"),
        "--trust-remote-code": None,
        "--max-num-batched-tokens": _WHOLE,
        "--config-format": _pattern("hf"),
        "--mm-processor-kwargs": _is_object,
    },
    Engine.LLAMA_CPP: {"-c": _WHOLE, "-np": _WHOLE, "--image-max-tokens": _WHOLE},
    Engine.SGLANG: {"--mm-process-config": _is_object},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A plan's command: all its ``words``, what is ``served``, and flags as they stand there; None of a switch."""

    words: tuple[str, ...]
    served: str
    flags: Mapping[str, str | None]


def command_of(plan: Plan, line: str) -> Said:
    """Return what ``line``, the command of ``plan``, says. Raises InputError for what ``recommend`` does not write."""
    runtime, where = plan.runtime, "choice.deploy.command"
    words = _split(line, where)
    for start in _starts(plan):
        if words[: len(start)] == start:
            flags = _flags(words[len(start) :], SERVING[runtime].engine, where)
            break
    else:
        raise InputError(
            f"{where}: found '{_short(line)}', expected {runtime}'s own program with the plan's model, as recommend "
            "writes it"
        )
    _check_gpus(plan, flags)
    return Said(words=tuple(words), served=start[2], flags=flags)


def _check_gpus(plan: Plan, flags: Mapping[str, str | None]) -> None:
    """Raise InputError where the numbers that a stack is told cannot be, or contradict the command."""
    choice = plan.choice
    check_range("choice.gpus", choice.gpus, 1, 2 * MOST_GPUS)
    tensor = int(flags.get("--tensor-parallel-size") or 1)
    if tensor != choice.gpus:
        raise InputError(f"choice.deploy.command: found --tensor-parallel-size {tensor}, expected {choice.gpus} GPUs")
    for name in ("weights", "activations", "reserve"):
        check_range(f"choice.memory_bytes.{name}", getattr(choice.memory_bytes, name), 0, 1e15)


def _starts(plan: Plan) -> list[list[str]]:
    """With what the command of a plan begins: a line for each thing that may be served. Raises InputError."""
    choice, deploy, command = plan.choice, plan.choice.deploy, SERVING[plan.runtime].command
    if choice.model != plan.model.name or choice.model.startswith("-"):
        raise InputError(f"choice.model: found '{_short(choice.model)}', expected the plan's '{plan.model.name}'")
    if command is None or deploy is None:
        return []
    named = [choice.model]
    if deploy.checkpoint is not None:
        if _HUB_NAME.fullmatch(deploy.checkpoint) is None:
            raise InputError(
                f"choice.deploy.checkpoint: expected a name of the hub, found '{_short(deploy.checkpoint)}'"
            )
        named = [deploy.checkpoint]
    ready = quantised(choice.model, choice.precision)
    if ready is not None and deploy.make == ready[1]:
        named = [ready[0]]
    words = shlex.split(command.serve)
    starts = [[name if word == "{model}" else word for word in words] for name in named]
    if choice.precision in command.stored:
        starts.append(shlex.split(converted(choice.model, choice.precision, command)[0]))
    return starts


def making_of(plan: Plan) -> str | None:
    """Return the line that makes the checkpoint of a plan. Raises InputError for another than ``recommend`` writes."""
    choice, command = plan.choice, SERVING[plan.runtime].command
    made = choice.deploy.make if choice.deploy else None
    ready = quantised(choice.model, choice.precision)
    own = [ready[1]] if ready else []
    if command is not None and choice.precision in command.stored:
        own.append(converted(choice.model, choice.precision, command)[1])
    if made and made not in own:
        raise InputError(f"choice.deploy.make: found '{_short(made)}', expected a line as recommend writes it")
    return made


def setting_of(plan: Plan, engine: Engine) -> str | None:
    """Return what sets visual tokens in another engine than the plan's; None where nothing is known to.

    Raises InputError for another than ``recommend`` writes.
    """
    setting = plan.choice.deploy.settings.get(engine) if plan.choice.deploy else None
    where = f"choice.deploy.settings.{engine}"
    if setting is None or _IN_REQUESTS.fullmatch(setting):
        return setting
    _flags(_split(setting, where), engine, where)
    return setting


def replicas_of(plan: Plan) -> int:
    """Return the replicas of a plan's load, else one. Raises InputError for a number that cannot be."""
    if plan.service is None:
        return 1
    check_range("service.replicas", plan.service.replicas, 1, MOST_REPLICAS)
    return plan.service.replicas


def _short(text: str) -> str:
    return printable(text[:60])


def _split(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"{where}: found '{_short(line)}', which no shell reads ({error})") from None


def _flags(words: list[str], engine: Engine | None, where: str) -> dict[str, str | None]:
    """Flags and their values. Raises InputError for one that is unknown, said twice, or whose value is not its kind."""
    known = FLAGS[engine] if engine else {}
    flags: dict[str, str | None] = {}
    rest = iter(words)
    for word in rest:
        if word not in known or word in flags:
            raise InputError(
                f"{where}: found '{_short(word)}', expected each once of {', '.join(known)}: add others to what is "
                "written"
            )
        check, flags[word] = known[word], None
        if check is not None:
            value = next(rest, "")
            if not check(value):
                raise InputError(f"{where}: found {word} '{_short(value)}', expected a value as recommend writes it")
            flags[word] = value
    return flags
