"""What is asked of which devices? Words -> a question: names and switches, the workload, limits, the load.

Limits that nobody states are those of a name or of the usual case, as wide as they must be.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from vlmplan.accuracy import ScalingLaw, about_videos
from vlmplan.api.given import (
    File,
    LoadWords,
    Words,
    check_confidence,
    must_be_one_of,
    named,
    one_of,
    quantity,
    tell,
    within,
)
from vlmplan.api.workloads import Described, alone, described, load_asked
from vlmplan.errors import Infeasible, InputError
from vlmplan.hardware import HardwareProfile, Runtime
from vlmplan.inventory import Budget, Preference, Shelf
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec, Workload
from vlmplan.planning import INTERACTIVE, Asked, CandidateSet, FlopRule, Objective, asked_task, typed
from vlmplan.records import dataclass
from vlmplan.units import parse_bytes, parse_flops, parse_params, parse_percent, parse_seconds

if TYPE_CHECKING:
    from vlmplan.hardware import Prices
    from vlmplan.inventory import NamedWorkload, RequestLog
    from vlmplan.planning import Plan

USUAL_LIMITS = Budget(ttft_s=INTERACTIVE.ttft_s, tpot_s=INTERACTIVE.tpot_s)
_READS = "that reads such text "
_TIMES = ("ttft_s", "tpot_s", "latency_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedLimits:
    """Limits that a name or nobody set: by what, why, and how many times they may grow where nothing keeps them."""

    budget: Budget
    by: str
    whose: str
    why: str = ""
    most_ratio: float = INTERACTIVE.most_ratio

    def wider(self, times: float, stated: Budget | None) -> Budget:
        """The times so many times as wide; limits of memory and compute that are stated take the place of these."""
        scaled = self.budget.scaled(times)
        others = {name: value for one in (self.budget, stated) if one for name, value in _others(one).items()}
        return replace(self.budget, **{name: getattr(scaled, name) for name in _TIMES}, **others)

    def tell(self, times: float, *, to_read: bool = False) -> None:
        """Say which limits were assumed, and where nothing keeps them, or nothing ``to_read`` small text by."""
        shown = (f"{option} {limit}" for option, limit in typed(self.wider(times, None)).items())
        why = self.why if times == 1 else f"{times:g} times {self.whose}, which nothing {_READS * to_read}keeps"
        tell(f"{self.by} {' '.join(shown)}{f', {why}' if why else ''}")


def grown(needed: float, most: float) -> float:
    """How many times an assumed limit grows where the fastest needs ``needed`` times it; two digits.

    Up to twice what it needs, so that a better model than the fastest has room, and nothing jumps where none is needed.
    """
    times = needed * min(INTERACTIVE.slack_ratio, needed)
    digit = 10.0 ** (math.floor(math.log10(times)) - 1)
    return min(most, round(math.ceil(round(times / digit, 6)) * digit, 6))


def _others(budget: Budget) -> dict[str, float]:
    """The limits that are none of time."""
    limits = {name: getattr(budget, name) for name in ("flops", "memory_bytes", "error_fraction")}
    return {name: value for name, value in limits.items() if value is not None}


def assumed_limits(stated: Budget | None, asked: Described, whole: bool) -> AssumedLimits | None:
    """The limits of the named workload, or of the usual case; None where times are stated, or the ``whole`` budget."""
    named = asked.named
    if whole:
        return None
    if named is None or named.budget is None:
        why = INTERACTIVE.why
        usual = AssumedLimits(budget=USUAL_LIMITS, by="assumed", whose="the usual", why=why)
        return usual if stated is None else None
    if stated is not None and any((stated.latency_s, stated.ttft_s, stated.tpot_s)):
        return None
    most_ratio = 1.0 if asked.own else INTERACTIVE.most_ratio
    return AssumedLimits(budget=named.budget, by=f"workload {named.name}:", whose="its own", most_ratio=most_ratio)


class Asking(Words, LoadWords, total=False):
    """What ``recommend`` takes beside the device, the task and prices; the same for several devices."""

    latency: str | None
    ttft: str | None
    tpot: str | None
    flops: str | None
    memory: str | None
    max_error: str | None
    budget: Budget | None
    workload: "File | NamedWorkload | Workload | None"
    requests: "File | RequestLog | None"
    runtime: str | None
    precision: str | None
    candidates: str
    models: File | None
    model: File | ModelSpec | None
    family: str | None
    license: str | None
    max_params: str | None
    released_after: str | None
    gpus: int
    confidence: float
    allow_untrained: bool
    minimise: str
    prefer: str | None
    flop_rule: str


_WIDER = (2.0, 4.0, 8.0, 16.0)  # times that limits nobody set give way, where what fits them cannot read


def _is_read(plan: "Plan") -> bool:
    """Whether no text of the request is too small for the choice."""
    from vlmplan.accuracy import TOO_SMALL

    return not any(line.startswith(TOO_SMALL) for line in plan.warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that is asked but the device: names and switches, and the documents given in place of names."""

    asked: Asked
    described: Described
    budget: Budget | None
    assumed: AssumedLimits | None
    model: ModelSpec | None
    law: ScalingLaw | None

    def limits(self, times: float = 1.0) -> Budget:
        """The limits stated, and those assumed so many times as wide."""
        if self.assumed is None:
            return self.budget or USUAL_LIMITS
        return self.assumed.wider(times, self.budget)

    def plan(self, device: str | HardwareProfile, prices: "Prices | None") -> "Plan":
        """Ask one device; assumed limits grow with what the fastest needs, so that its speed decides less.

        Raises Infeasible.
        """
        if self.assumed is None:
            return self.within(self.limits(), device, prices)
        times = 1.0
        while True:
            try:
                plan = self.within(self.limits(times), device, prices)
            except Infeasible as error:
                if error.times is None or times >= self.assumed.most_ratio:
                    self.assumed.tell(times)
                    raise
                times = grown(times * error.times, self.assumed.most_ratio)
            else:
                wider, plan = self._legible(times, plan, device, prices)
                self.assumed.tell(wider, to_read=wider > times)
                return plan

    def _legible(
        self, times: float, plan: "Plan", device: str | HardwareProfile, prices: "Prices | None"
    ) -> "tuple[float, Plan]":
        """The plan, or one within wider assumed limits where its text is too small to be read, and theirs is not."""
        if self.assumed is None or self.assumed.most_ratio <= 1 or _is_read(plan):
            return times, plan
        for more in _WIDER:
            wider = self.within(self.limits(times * more), device, prices)
            if _is_read(wider):
                return times * more, wider
        return times, plan

    def within(self, budget: Budget, device: str | HardwareProfile, prices: "Prices | None") -> "Plan":
        """Ask one device within limits as they are. Raises Infeasible."""
        from vlmplan.planning import query
        from vlmplan.planning import recommend as find

        asked = replace(self.asked, hardware=shelves.asked_as(Shelf.HARDWARE, device))
        profile = device if isinstance(device, HardwareProfile) else None
        work = self.described
        meant = query(asked, work.workload, budget, profile, self.model, self.law)
        return find(replace(meant, log=work.log), prices)


def _usual_task(task: File | ScalingLaw | None, work: Described) -> File | ScalingLaw:
    """The task, or that of the named workload, or the usual case's."""
    named = work.named
    if task is not None:
        return task
    if named is not None and named.task is not None:
        return named.task
    silent = "" if work.log is None else f": {work.log.name} says none"
    tell(f"assumed --task {INTERACTIVE.task}{silent} ('vlmplan catalogue tasks' lists all)")
    return INTERACTIVE.task


def _usual_workload(task: File | ScalingLaw | None, words: Asking) -> "File | NamedWorkload | Workload | None":
    """The workload of the words; of a question about videos that says no number of frames, a clip."""
    silent = all(words[name] is None for name in ("workload", "requests", "images"))
    return "video" if silent and about_videos(task) else words["workload"]


def _preference(given: str | None, named: "NamedWorkload | None") -> Preference:
    """What error speed is worth, by word, by the named workload, or in balance."""
    if given is not None:
        return must_be_one_of(Preference, given, "--prefer")
    if named is not None and named.prefer is not None:
        return named.prefer
    return Preference.BALANCED


def _budget(words: Asking) -> Budget | None:
    """The limits that words say, or the budget given; None where there are none."""
    given = words.get("budget")
    latency, ttft, tpot = words.get("latency"), words.get("ttft"), words.get("tpot")
    flops, memory, max_error = words.get("flops"), words.get("memory"), words.get("max_error")
    if given is not None:
        if any(limit is not None for limit in (latency, ttft, tpot, flops, memory, max_error)):
            raise InputError("budget: found limits beside it, which it says itself; give one of them")
        return given
    if not any((latency, ttft, tpot, flops, memory, max_error)):
        return None
    return Budget(
        latency_s=quantity(parse_seconds, latency),
        ttft_s=quantity(parse_seconds, ttft),
        tpot_s=quantity(parse_seconds, tpot),
        flops=quantity(parse_flops, flops),
        memory_bytes=quantity(parse_bytes, memory),
        error_fraction=quantity(parse_percent, max_error),
    )


def _with_error(budget: Budget | None, objective: Objective, *, assumed: bool) -> Budget | None:
    """The budget, in which another objective than the error needs a limit of it, unless that will be ``assumed``."""
    if not assumed and objective is not Objective.ERROR and (budget is None or budget.error_fraction is None):
        raise InputError(
            f"--minimise {objective}: found no --max-error; what has the least {objective} of all answers worst; say "
            "how many may be wrong, such as --max-error 30%"
        )
    return budget


def read_question(task: File | ScalingLaw | None, words: Asking) -> Question:
    """Read the words. Raises InputError."""
    check_confidence(words["confidence"])
    within("--gpus", words["gpus"], 1, 16)
    load = load_asked(words)
    silent = [name for name, given in (("task", task), ("prefer", words["prefer"])) if given is None]
    work = described({**words, "workload": _usual_workload(task, words)}, silent)
    budget = alone(load, _budget(words))
    model: str | ModelSpec | None = named(words["model"])
    law: str | ScalingLaw = named(_usual_task(task, work))
    asked = Asked(
        hardware="",
        task=asked_task(law),
        runtime=one_of(Runtime, words["runtime"], "--runtime"),
        precisions=words["precision"],
        paper=must_be_one_of(CandidateSet, words["candidates"], "--candidates") is CandidateSet.PAPER,
        models=named(words["models"]),
        model=None if model is None else shelves.asked_as(Shelf.MODELS, model),
        family=words["family"],
        license=words["license"],
        max_params=quantity(parse_params, words["max_params"]),
        released_after=words["released_after"],
        gpus=words["gpus"],
        confidence=words["confidence"],
        allow_untrained=words["allow_untrained"],
        paper_flops=must_be_one_of(FlopRule, words["flop_rule"], "--flop-rule") is FlopRule.PAPER,
        prefer=_preference(words["prefer"], work.named),
        minimise=must_be_one_of(Objective, words["minimise"], "--minimise"),
        load=load,
    )
    return Question(
        asked=asked,
        described=work,
        budget=_with_error(budget, asked.minimise, assumed=_cheapest_service(asked)),
        assumed=assumed_limits(budget, work, words.get("budget") is not None),
        model=None if isinstance(model, str) else model,
        law=None if isinstance(law, str) else law,
    )


_AS_GOOD_ERROR = 0.05  # how much more than the best may be wrong where the cheapest service is asked for, and no limit


def _cheapest_service(asked: Asked) -> bool:
    """Whether the cheapest service is asked for: then a limit of the error is assumed where none is given."""
    return asked.load is not None and asked.minimise is Objective.COST


def as_good(question: Question, devices: Iterable[str | HardwareProfile]) -> Question:
    """Return the question with a limit of the error, where the cheapest service is asked for without one.

    Five points above what the best of the ``devices`` answers wrong, its interval's upper end. Raises what each of them
    does where none has an answer.
    """
    budget = question.budget
    if not _cheapest_service(question.asked) or (budget is not None and budget.error_fraction is not None):
        return question
    best = replace(question, asked=replace(question.asked, minimise=Objective.ERROR, load=None))
    ends, refused = [], []
    for device in devices:
        try:
            choice = best.within(best.limits(), device, None).choice
        except (Infeasible, InputError) as error:
            refused.append(error)
        else:
            ends.append((choice.error_interval or (0.0, choice.predicted_error))[1])
    if not ends:
        return question if question.assumed is not None else _raised(refused[0])
    limit = min(1.0, math.ceil(100 * (min(ends) + _AS_GOOD_ERROR)) / 100)
    tell(f"assumed --max-error {limit:.0%}: five points above the best that keeps the limits")
    limited = Budget(error_fraction=limit) if budget is None else replace(budget, error_fraction=limit)
    return replace(question, budget=limited)


def _raised(error: Exception) -> Question:
    raise error
