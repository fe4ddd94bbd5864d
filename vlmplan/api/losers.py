"""Why was a model not chosen, and what would make it the choice? The words of ``recommend`` -> the reason, and changes.

No change is named that was not asked: each is put to all models, and said to win only where the model is chosen.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from vlmplan.accuracy import ScalingLaw
from vlmplan.api.asking import Asking, read_question
from vlmplan.api.given import File, completed, named, spec, this_machine
from vlmplan.api.plans import recommend
from vlmplan.errors import Infeasible, InputError, NoCandidate
from vlmplan.hardware import HardwareProfile
from vlmplan.models import ModelSpec
from vlmplan.planning import because, kept_out_by, own_limits, to_try
from vlmplan.units import counted, format_percent, format_seconds

if TYPE_CHECKING:
    from vlmplan.hardware import Prices
    from vlmplan.planning import Barrier, Change, Plan, WhyNot

LIMITS = ("latency", "ttft", "tpot", "flops", "memory", "max_error")
_NUMBERS = ("gpus", "output_tokens", "concurrency")  # words that are numbers in Python
MOST_WINS = 2  # that are named
MOST_TRIED = 6  # each is a question of its own


@contextmanager
def _quiet() -> Iterator[None]:
    """What is assumed was said when it was asked first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with(asked: Mapping[str, Any], options: Mapping[str, str | None]) -> dict[str, Any]:
    """The question with other options; limits said in words take the place of a budget."""
    words = {flag.removeprefix("--").replace("-", "_"): value for flag, value in options.items()}
    numbers = {name: int(value) for name, value in words.items() if name in _NUMBERS and value is not None}
    return {**asked, **({"budget": None} if set(words) & set(LIMITS) else {}), **words, **numbers}


def _told(plan: "Plan") -> str:
    """What a plan chose, in a few words."""
    choice = plan.choice
    return (
        f"{counted(choice.visual_tokens, 'visual token')}, {choice.precision}: "
        f"{format_percent(choice.predicted_error)} wrong, {format_seconds(choice.latency_s)} an answer"
    )


def _tried(why: "WhyNot", changes: "Iterable[Change]", other: File | ModelSpec, asked: Mapping[str, Any]) -> "WhyNot":
    """Ask with each change until enough make the model the choice; of others note the first that lets it in."""
    wins, otherwise = [], None
    for _, change in zip(range(MOST_TRIED), changes, strict=False):
        words = _with(asked, change.options)
        try:
            plan = recommend(**words)
            if plan.choice.model == why.model:
                wins.append(replace(change, brings=_told(plan)))
            elif otherwise is None and recommend(**{**words, "model": other, "models": None}):
                otherwise = replace(change, brings=f"{plan.choice.model} at {_told(plan)}")
        except (Infeasible, InputError):
            continue
        if len(wins) == MOST_WINS:
            break
    return replace(why, wins=tuple(wins), otherwise=None if wins else otherwise)


def _alone(plan: "Plan", other: File | ModelSpec, asked: Mapping[str, Any]) -> "Plan | Infeasible | NoCandidate":
    """What the model comes to when nothing else is asked within the same limits."""
    try:
        return recommend(
            **{**asked, **dict.fromkeys(LIMITS), "model": other, "models": None, "budget": own_limits(plan)}
        )
    except (Infeasible, NoCandidate) as error:
        return error


def why_not(
    *,
    other: File | ModelSpec,
    hardware: File | HardwareProfile | None = None,
    task: File | ScalingLaw | None = None,
    price: "File | Prices | None" = None,
    **asked: Unpack[Asking],
) -> "WhyNot":
    """Say why a model is not what ``recommend`` chooses, and what would make it the choice.

    Args:
        other: The model: a name, a part of one, a path, or the specification.
        hardware: As for ``recommend``.
        task: As for ``recommend``.
        price: As for ``recommend``.
        **asked: Everything else, by the names and with the defaults of ``recommend``.

    Returns:
        ``reason``, which ends the sentence "it was not chosen because"; ``at_best``, the model's own figures where it
        can be priced, times in seconds, memory in bytes; ``wins``, changes of one option each with which it is the
        choice; the ``plan`` that was chosen instead.

    Raises:
        InputError: For what cannot be asked, and a model that is not known.
        Infeasible: Where nothing meets the budget.

    Example:
        >>> import vlmplan
        >>> found = vlmplan.why_not(other="InternVL3_5-2B", hardware="l4", latency="300ms", task="reasoning")
        >>> found.reason.partition(":")[0]
        'it is too slow'
    """
    model, words = spec(other), completed(asked, Asking, recommend)
    device: str | HardwareProfile = this_machine() if hardware is None else named(hardware)
    words |= {"hardware": device, "task": task, "price": price}
    plan = recommend(**words)
    with _quiet():
        barrier = _barrier(plan, model, task, words)
        alone = plan if barrier or plan.choice.model == model.name else _alone(plan, other, words)
        why = because(plan, model, barrier, alone)
        if words["model"] is not None:  # no change makes another than that the choice
            return why
        assumed = all(words[name] is None for name in (*LIMITS, "budget"))
        return _tried(why, to_try(why, barrier, alone, assumed=assumed), other, words)


def _barrier(
    plan: "Plan", model: ModelSpec, task: File | ScalingLaw | None, words: Mapping[str, Any]
) -> "Barrier | None":
    """What keeps the model out before it is priced; nothing does where another single model was asked for."""
    if words["model"] is not None:
        return None
    said = {name: value for name, value in words.items() if name in Asking.__annotations__}
    question = read_question(task, Asking(**said))  # type: ignore[typeddict-item]
    return kept_out_by(question.asked, plan.workload, plan.runtime, question.law, model)
