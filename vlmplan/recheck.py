"""Does a plan still hold? What was asked is asked again, of today's profiles, laws and catalogue.

(plan, other hardware or task) -> :class:`Recheck`: the plan's choice priced and judged anew, what would be chosen now,
and which inputs are not what they were.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from vlmplan import catalogue
from vlmplan.ask import query
from vlmplan.catalogue import Shelf
from vlmplan.document import Document, digest
from vlmplan.errors import Infeasible, InputError
from vlmplan.hardware import HardwareProfile
from vlmplan.machine import machine
from vlmplan.plan import Choice, Outline, Plan, Query, outline, recommend, within_memory
from vlmplan.search import Budget, Candidate, candidates, shortfalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck(Document):
    """What became of a plan: ``before`` as it says, ``priced_now`` the same choice by today's inputs, ``chosen_now``.

    It ``holds`` when its choice keeps the budget and is still the choice. ``changed`` names inputs that are not what
    they were, ``faults`` why the plan does not hold.
    """

    SCHEMA: ClassVar[str] = "vlmplan.recheck/1"

    holds: bool
    hardware: str
    budget: Budget
    before: Outline
    priced_now: Outline | None
    chosen_now: Outline | None
    changed: tuple[str, ...]
    faults: tuple[str, ...]

    def __post_init__(self) -> None:
        """The verdict is that of the faults."""
        if self.holds is bool(self.faults):
            raise InputError(f"holds: found {self.holds}, the faults say {not self.faults}")


def _device(plan: Plan, named: str | None) -> HardwareProfile:
    """The profile named, or the plan's own device as it is known today; the plan's copy where it is not known here."""
    if named is not None:
        return catalogue.hardware(named)
    if plan.asked is not None and plan.asked.hardware.endswith(".toml"):
        return catalogue.hardware(plan.asked.hardware) if Path(plan.asked.hardware).exists() else plan.hardware
    shipped = plan.hardware.name in catalogue.names(Shelf.HARDWARE)
    return catalogue.hardware(plan.hardware.name) if shipped else plan.hardware


def ask_again(plan: Plan, hardware: str | None, task: str | None) -> Query:
    """Return what the plan was asked, with another ``hardware`` or ``task`` where given. Raises InputError."""
    if plan.asked is None:
        raise InputError("--check: the plan does not say what was asked (an older vlmplan made it); make it again")
    asked = replace(
        plan.asked, hardware=hardware or plan.asked.hardware, task=task or plan.asked.task, runtime=plan.runtime
    )
    return query(asked, plan.workload, plan.budget, _device(plan, hardware))


def _of(choice: Choice) -> Outline:
    """The plan's choice in one line."""
    return Outline(
        model=choice.model,
        precision=choice.precision,
        visual_tokens=choice.visual_tokens,
        gpus=choice.gpus,
        predicted_error=choice.predicted_error,
        ttft_s=choice.ttft_s,
        latency_s=choice.latency_s,
        memory_bytes=choice.memory_bytes.total,
    )


def _priced(choice: Choice, asked: Query) -> Candidate | None:
    """The plan's choice by today's inputs; None where it is no candidate any more."""
    models = tuple(model for model in asked.space.models if model.name == choice.model)
    if choice.precision not in asked.space.precisions:
        return None
    ready = machine(asked.hardware, asked.typical, asked.runtime, choice.precision)
    space = replace(asked.space, models=models, precisions=(choice.precision,))
    found = candidates(space, {choice.precision: ready}, asked.judge)
    wanted = (choice.visual_tokens, choice.compressor, choice.gpus)
    same = [one for one in found if (one.visual.visual_tokens, one.visual.compressor, one.request.gpus) == wanted]
    return same[0] if same else None


def _changed(before: Plan, now: Plan | None, priced: Candidate | None) -> tuple[str, ...]:
    found = []
    if now is not None and digest(now.hardware) != digest(before.hardware):
        found.append(f"the profile of {now.hardware.name}")
    if now is not None and now.error_source.sha256 != before.error_source.sha256:
        found.append(f"what the error rests on ({now.error_source.name})")
    if priced is not None and digest(priced.model) != digest(before.model):
        found.append(f"the profile of {before.model.name}")
    return tuple(found)


def recheck(plan: Plan, asked: Query) -> Recheck:
    """Ask again; a plan that nothing meets any more does not hold. Raises InputError."""
    priced, now, faults = _priced(plan.choice, asked), None, []
    name = f"{plan.choice.model} at {plan.choice.visual_tokens} visual tokens, {plan.choice.precision}"
    if priced is None:
        faults.append(f"{name}: no candidate any more")
    elif missed := shortfalls(priced, within_memory(plan.budget, asked.hardware)):
        faults.append(f"{name}: {'; '.join(missed)}")
    try:
        now = recommend(asked)
    except Infeasible as error:
        faults.append(str(error))
    chosen = None if now is None else _of(now.choice)
    if now is not None and _key(now.choice) != _key(plan.choice):
        faults.append(
            f"the choice is now {now.choice.model} at {now.choice.visual_tokens} visual tokens, {now.choice.precision}"
        )
    return Recheck(
        holds=not faults,
        hardware=asked.hardware.name,
        budget=plan.budget,
        before=_of(plan.choice),
        priced_now=None if priced is None else outline(priced),
        chosen_now=chosen,
        changed=_changed(plan, now, priced),
        faults=tuple(faults),
    )


def _key(choice: Choice) -> tuple[object, ...]:
    """What is deployed, whatever it costs."""
    return (choice.model, choice.precision, choice.visual_tokens, choice.compressor, choice.gpus)
