"""Does a plan still hold? What was asked is asked again, of today's profiles, laws and catalogue.

(plan, other hardware or task) -> :class:`Recheck`: the plan's choice priced and judged anew, what would be chosen now,
and which inputs are not what they were.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from vlmplan import inert
from vlmplan.accuracy import ScalingLaw
from vlmplan.cost import machine
from vlmplan.document import Document, digest
from vlmplan.errors import Infeasible, InputError, NoCandidate
from vlmplan.hardware import HardwareProfile
from vlmplan.inventory import Budget, Shelf, asked_as, catalogue, is_path
from vlmplan.models import Compressor, ModelSpec
from vlmplan.planning.options import Asked
from vlmplan.planning.plan import Choice, Plan, Query, recommend
from vlmplan.planning.question import asked_task, query
from vlmplan.planning.search import Candidate, candidates, shortfalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of the plan's choice, in the unit its name says: planned, now, at most now, and its limit."""

    name: str
    planned: float | None
    now: float | None
    most: float | None
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck(Document):
    """What became of a plan. It ``holds`` when its choice keeps the budget and is still the choice.

    ``changed`` names inputs that are not what they were, ``notes`` what was asked of a copy in the plan because it is
    not here any more, ``faults`` why the plan does not hold.
    """

    SCHEMA: ClassVar[str] = "vlmplan.recheck/1"

    holds: bool
    hardware: str
    choice: str
    chosen_now: str | None
    figures: tuple[Figure, ...]
    changed: tuple[str, ...]
    notes: tuple[str, ...]
    faults: tuple[str, ...]

    def __post_init__(self) -> None:
        """The verdict is that of the faults."""
        if self.holds is bool(self.faults):
            raise InputError(f"holds: found {self.holds}, the faults say {not self.faults}")


def _label(choice: Choice) -> str:
    """What is deployed, whatever it costs."""
    gpus = f", on {choice.gpus} GPUs" if choice.gpus > 1 else ""
    by = "" if choice.compressor is Compressor.NONE else f" by {choice.compressor}"
    return f"{choice.model} at {choice.visual_tokens} visual tokens{by}, {choice.precision}{gpus}"


def _device(plan: Plan, typed: str) -> tuple[HardwareProfile, str | None]:
    """The plan's own device as it is known today, or the plan's copy of it, and then a note."""
    if not is_path(typed) and plan.hardware.name in catalogue.names(Shelf.HARDWARE):
        return catalogue.listed(plan.hardware.name), None
    if is_path(typed) and os.path.exists(typed):  # noqa: PTH110 - an impossible path is one that does not exist
        profile = catalogue.hardware(typed)
        if profile.name == plan.hardware.name:
            return profile, None
    return plan.hardware, f"the profile of {plan.hardware.name} is the plan's own copy: {typed} is not here"


def _own_model(plan: Plan, asked: Asked) -> tuple[ModelSpec | None, str | None]:
    """The plan's copy of a model that was asked for by a path which is not here any more, and then a note.

    A path need not look like one (``runs/mine``): what is not of the catalogue was read from a file or a folder.
    """
    typed = asked.model or asked.models
    if typed is None or os.path.exists(typed):  # noqa: PTH110 - as above
        return None, None
    if not is_path(typed) and (plan.model.name in catalogue.names(Shelf.MODELS) or set(typed) & set("*?[")):
        return None, None
    return plan.model, f"the dimensions of {plan.model.name} are the plan's own copy: {typed} is not here"


def _beside(text: str | None, folder: Path | None, by_path: bool = False) -> str | None:
    """A relative path as it is meant: from here, else from the plan's folder; what is neither as it stands.

    ``by_path`` says that the text is one even where it does not look so.
    """
    if text is None or folder is None or not (by_path or is_path(text)) or os.path.exists(text):  # noqa: PTH110
        return text
    there = os.path.join(folder, text)  # noqa: PTH118 - as above
    return there if os.path.exists(there) else text  # noqa: PTH110 - as above


def _budget(plan: Plan) -> Budget:
    """The budget as asked: the device's memory, where that stands in for a limit, is not the user's."""
    asked = plan.budget
    others = (asked.latency_s, asked.ttft_s, asked.tpot_s, asked.flops, asked.error_fraction)
    limits = (plan.hardware.usable_bytes(plan.runtime), plan.hardware.memory_bytes)  # the latter of older plans
    if asked.memory_bytes not in limits or not any(others):
        return asked
    return replace(asked, memory_bytes=None)


def _without_log(plan: Plan) -> str | None:
    """What is said of a load of logged requests, whose sizes a plan does not hold."""
    if plan.service is None or not plan.service.sizes:
        return None
    return "the load is asked again of requests that are alike: the plan does not hold the sizes of the logged ones"


def _asked_again(
    plan: Plan, hardware: str | HardwareProfile | None, task: str | ScalingLaw | None, folder: Path | None
) -> tuple[Query, tuple[str, ...]]:
    """What the plan was asked, with another ``hardware`` or ``task`` where given; and notes. Raises InputError."""
    if plan.asked is None:
        raise InputError("--check: the plan does not say what was asked (an older vlmplan made it); make it again")
    typed = _beside(plan.asked.hardware, folder) or plan.asked.hardware
    own_model = plan.model.name not in catalogue.names(Shelf.MODELS)
    asked = replace(
        plan.asked,
        hardware=asked_as(Shelf.HARDWARE, hardware) if hardware else typed,
        task=asked_task(task) if task else _beside(plan.asked.task, folder) or plan.asked.task,
        model=_beside(plan.asked.model, folder, own_model),
        models=_beside(plan.asked.models, folder, own_model),
        runtime=plan.runtime,
    )
    other = catalogue.hardware(hardware) if hardware and isinstance(hardware, str) else hardware
    device, missing = (other, None) if isinstance(other, HardwareProfile) else _device(plan, typed)
    own, gone = _own_model(plan, asked)
    notes = tuple(note for note in (missing, gone, _without_log(plan)) if note is not None)
    law = task if isinstance(task, ScalingLaw) else None
    return query(asked, plan.workload, _budget(plan), device, own, law), notes


def _priced(choice: Choice, asked: Query) -> Candidate | None:
    """The plan's choice by today's inputs; None where it is no candidate any more."""
    models = tuple(model for model in asked.space.models if model.name == choice.model)
    if choice.precision not in asked.space.precisions:
        return None
    ready = machine(asked.hardware, asked.typical, asked.runtime, choice.precision)
    space = replace(asked.space, models=models, precisions=(choice.precision,))
    priced = candidates(space, {choice.precision: ready}, asked.judge)
    wanted = (choice.visual_tokens, choice.compressor, choice.gpus)
    same = [one for one in priced if (one.visual.visual_tokens, one.visual.compressor, one.request.gpus) == wanted]
    return same[0] if same else None


def _changed(plan: Plan, asked: Query) -> tuple[str, ...]:
    """Inputs of the plan's choice that are not what they were."""
    changed = []
    try:
        used = machine(asked.hardware, asked.typical, asked.runtime, plan.choice.precision).as_used
        same = digest(used) == digest(plan.hardware)
    except InputError:  # the device no longer runs that precision
        same = False
    if not same:
        changed.append(f"the profile of {asked.hardware.name}")
    if asked.judge.source.sha256 != plan.error_source.sha256:
        changed.append(f"what the error rests on ({asked.judge.source.name})")
    known = next((model for model in asked.space.models if model.name == plan.model.name), None)
    if known is not None and digest(known) != digest(plan.model):
        changed.append(f"the profile of {plan.model.name}")
    return tuple(changed)


def _figures(plan: Plan, now: Candidate | None, limits: Budget) -> tuple[Figure, ...]:
    """The figures that a budget can limit, and the error."""
    choice, nothing = plan.choice, (None, None, None, None, None, None)
    today: Sequence[float | None] = nothing
    most: Sequence[float | None] = nothing
    if now is not None:
        cost, flops, memory_bytes = now.cost, now.budget_flops, now.cost.memory_bytes.total
        today = (cost.ttft_s, cost.tpot_s, cost.latency_s, flops, memory_bytes, now.predicted_error)
        most = (now.upper_ttft_s, now.upper_tpot_s, now.upper_latency_s, flops, memory_bytes, now.upper_error)
    planned = (
        choice.ttft_s, choice.tpot_s, choice.latency_s, choice.budget_flops, choice.memory_bytes.total,
        choice.predicted_error,
    )  # fmt: skip
    bounds = (
        limits.ttft_s, limits.tpot_s, limits.latency_s, limits.flops, limits.memory_bytes, limits.error_fraction,
    )  # fmt: skip
    names = ("ttft_s", "tpot_s", "latency_s", "flops", "memory_bytes", "predicted_error")
    return tuple(
        Figure(name=name, planned=then, now=here, most=upper, limit=limit)
        for name, then, here, upper, limit in zip(names, planned, today, most, bounds, strict=True)
        if then is not None
    )


def recheck(
    plan: Plan,
    hardware: str | HardwareProfile | None = None,
    task: str | ScalingLaw | None = None,
    folder: Path | None = None,
) -> Recheck:
    """Ask again, with another ``hardware`` or ``task`` where given. Raises InputError for what cannot be asked.

    Relative paths are looked for here, then in the plan's ``folder``.
    """
    try:
        asked, notes = _asked_again(plan, hardware, task, folder)
    except NoCandidate as error:
        return Recheck(
            holds=False, hardware=plan.hardware.name, choice=_label(plan.choice), chosen_now=None,
            figures=_figures(plan, None, plan.budget), changed=(), notes=(), faults=(str(error),),
        )  # fmt: skip
    priced, now, faults, limits = _priced(plan.choice, asked), None, [], asked.limits
    if priced is None:
        faults.append(f"{_label(plan.choice)}: no candidate any more")
    elif missed := shortfalls(priced, limits):
        faults.append(f"{_label(plan.choice)}: {'; '.join(missed)}")
    try:
        now = recommend(asked)
    except (Infeasible, NoCandidate) as error:
        faults.append(str(error))
    if now is not None and _label(now.choice) != _label(plan.choice):
        faults.append(f"the choice is now {_label(now.choice)}")
    return Recheck(
        holds=not faults,
        hardware=asked.hardware.name,
        choice=_label(plan.choice),
        chosen_now=None if now is None else _label(now.choice),
        figures=_figures(plan, priced, limits),
        changed=_changed(plan, asked),
        notes=notes,
        faults=tuple(faults),
    )


def recheck_markdown(recheck: Recheck) -> str:
    """Return a few lines for a CI job's summary page."""
    verdict = "the plan holds" if recheck.holds else "the plan does not hold"
    lines = [
        f"### vlmplan recommend --check: {verdict}",
        "",
        inert.markdown(f"{recheck.choice}, on {recheck.hardware}."),
        "",
    ]
    said = [
        *recheck.faults,
        f"changed since the plan was made: {'; '.join(recheck.changed) or 'no input of its choice'}",
        *recheck.notes,
    ]
    return "\n".join([*lines, *(f"- {inert.markdown(one)}" for one in said), ""])
