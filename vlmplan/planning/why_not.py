"""Why was that model not chosen, and what would make it the choice?

(the plan, and what keeps the model out, misses the limits, or is its own best plan) -> the reason as a sentence, the
model's figures, and options worth trying. Whether they are enough is for who asks again with them.
"""

from collections.abc import Iterator
from dataclasses import replace

from vlmplan.cost import Service
from vlmplan.errors import Infeasible, NoCandidate
from vlmplan.hardware import Precision
from vlmplan.intervals import Interval
from vlmplan.inventory import Budget, Preference
from vlmplan.models import ModelSpec
from vlmplan.planning.left_out import Barrier, Flags
from vlmplan.planning.options import Objective
from vlmplan.planning.plan import Choice, Plan, within_memory
from vlmplan.planning.remedies import Change, typed
from vlmplan.planning.search import Candidate
from vlmplan.records import dataclass
from vlmplan.units import (
    BYTES_TYPED,
    PERCENT_TYPED,
    SECONDS_TYPED,
    at_least,
    counted,
    format_bytes,
    format_count,
    format_flops,
    format_percent,
    format_seconds,
)

_LEAST_POINTS = 0.05  # below it a difference of error shows as none
_NOTHING_LEFT = "no candidate left: "  # how a message begins of which the reason is the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBest:
    """A model at what comes nearest to being the choice; the error's interval only where it keeps the limits.

    ``service`` is what a load does to it, where one was asked about and it keeps the limits.
    """

    visual_tokens: int
    precision: Precision
    gpus: int
    predicted_error: float
    error_interval: Interval | None
    latency_s: float
    latency_interval_s: Interval
    memory_bytes: float
    service: Service | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """Why a model is not the choice of a plan.

    ``reason`` ends the sentence "it was not chosen because"; of the choice itself, "it was chosen for". ``wins`` are
    changes that make it the choice, each asked again and answered so; ``otherwise`` is one that it keeps the limits
    with, and another is chosen.
    """

    model: str
    plan: Plan
    reason: str
    at_best: AtBest | None = None
    wins: tuple[Change, ...] = ()
    otherwise: Change | None = None

    @property
    def is_choice(self) -> bool:
        """Whether the model is the choice."""
        return self.model == self.plan.choice.model


def _beyond(value: float, limit: float) -> str:
    """By how much a figure is over its limit."""
    ratio = value / limit
    if ratio >= 2:
        return f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"
    return f"{100 * (ratio - 1):.0f} % over" if ratio >= 1.01 else "just over"


def _too_much(candidate: Candidate, plan: Plan) -> Iterator[str]:
    """Why a candidate misses the limits, the device's own memory first."""
    held, limits = plan.hardware.usable_bytes(plan.runtime), within_memory(plan.budget, plan.hardware, plan.runtime)
    needs, most = candidate.cost.memory_bytes.total, limits.memory_bytes
    if most is not None and needs > most:
        whose = f"{plan.hardware.name} can give" if most == held else "limit"
        beyond = f"{_beyond(needs, most)} the {format_bytes(most)} {'that ' if most == held else ''}{whose}"
        yield f"it does not fit the memory: it needs {format_bytes(needs)}, {beyond}"
    slow = [
        f"{what} takes up to {format_seconds(value_s)}, {_beyond(value_s, limit_s)} the limit of "
        f"{format_seconds(limit_s)}"
        for what, value_s, limit_s in (
            ("an answer", candidate.upper_latency_s, limits.latency_s),
            ("its first token", candidate.upper_ttft_s, limits.ttft_s),
            ("each further token", candidate.upper_tpot_s, limits.tpot_s),
        )
        if limit_s is not None and value_s > limit_s
    ]
    if slow:
        yield f"it is too slow: {', and '.join(slow)}"
    if limits.flops is not None and candidate.budget_flops > limits.flops:
        beyond = f"{_beyond(candidate.budget_flops, limits.flops)} the limit of {format_flops(limits.flops)}"
        yield f"it computes too much: {format_flops(candidate.budget_flops)} a request, {beyond}"
    if limits.error_fraction is not None and candidate.upper_error > limits.error_fraction:
        yield (
            f"it errs too often: up to {format_percent(candidate.upper_error)} of its answers are wrong, and the limit "
            f"is {format_percent(limits.error_fraction)}"
        )


def _points(own: Choice, choice: Choice) -> float:
    """How many more of 100 answers are wrong."""
    return 100 * (own.predicted_error - choice.predicted_error)


def _pace(own: Choice, choice: Choice) -> tuple[str, bool]:
    """By how much one is slower or faster, and whether it is slower."""
    slower_s = own.latency_s - choice.latency_s
    return f"{format_seconds(abs(slower_s))} {'slower' if slower_s > 0 else 'faster'}", slower_s > 0


def _replicas(own: Plan, plan: Plan) -> str:
    """On how many replicas a model bears the rate, where the choice takes another number."""
    if own.service is None or plan.service is None or own.service.replicas == plan.service.replicas:
        return ""
    return f"; it bears the rate on {counted(own.service.replicas, 'replica')} instead of {plan.service.replicas}"


def _by_error(alone: Plan, plan: Plan) -> str:
    """Why a model lost that keeps the limits, where the least error is asked for."""
    own, choice, preference = alone.choice, plan.choice, plan.preference
    points, (pace, slower) = _points(own, choice), _pace(own, choice)
    shares = f"{format_percent(own.predicted_error)} against {format_percent(choice.predicted_error)}"
    if points >= _LEAST_POINTS:
        also = f", and is {pace}, too" if slower else f"; being {pace} does not make up for that"
        return f"it answers {points:.1f} more of 100 wrong ({shares}){also}"
    cost = f"it is {pace}" if own.gpus <= choice.gpus else f"it takes {own.gpus} GPUs instead of {choice.gpus}"
    if points > -_LEAST_POINTS:
        return f"it errs as often as the choice, and {cost}"
    paid = -points <= 100 * preference.price_error + 1e-9
    worth = f"less than --prefer {preference} pays for speed" if paid else "too few to be sure of"
    return f"{cost}, for {-points:.1f} fewer of 100 wrong ({shares}), {worth}"


def _objective(plan: Plan, objective: Objective) -> tuple[float, str]:
    """A plan's figure of another objective than the error, and how it is written; replicas cost idle or not."""
    one, service = plan.choice, plan.service
    busy_s = 1 / one.requests_per_s if service is None else service.replicas / service.asked.rate_per_s
    gpu_s, memory_bytes = one.gpus * busy_s, one.gpus * one.memory_bytes.total
    return {
        Objective.COST: (gpu_s, f"{format_seconds(gpu_s)} of a GPU"),
        Objective.LATENCY: (one.latency_s, format_seconds(one.latency_s)),
        Objective.MEMORY: (memory_bytes, format_bytes(memory_bytes)),
        Objective.SIZE: (float(one.params.total), format_count(one.params.total)),
    }[objective]


def _by_objective(alone: Plan, plan: Plan) -> str:
    """Why a model lost that keeps the limits, where something else than the error is to be least."""
    (mine, shown), (least, of_choice) = _objective(alone, plan.objective), _objective(plan, plan.objective)
    points = _points(alone.choice, plan.choice)
    if mine > least:
        also = f", and answers {points:.1f} more of 100 wrong" if points >= _LEAST_POINTS else ""
        return f"it has {mine / least:.3g} times the {plan.objective.words}: {shown} against {of_choice}{also}"
    return f"it is alike in {plan.objective.words} ({shown}) and answers {points:.1f} more of 100 wrong"


def _own_figures(alone: Plan) -> AtBest:
    own = alone.choice
    return AtBest(
        visual_tokens=own.visual_tokens, precision=own.precision, gpus=own.gpus, predicted_error=own.predicted_error,
        error_interval=own.error_interval, latency_s=own.latency_s, latency_interval_s=own.latency_interval_s,
        memory_bytes=own.memory_bytes.total, service=alone.service,
    )  # fmt: skip


def _nearest_figures(one: Candidate, level: float) -> AtBest:
    return AtBest(
        visual_tokens=one.visual.visual_tokens, precision=one.request.precision, gpus=one.request.gpus,
        predicted_error=one.predicted_error, error_interval=None, latency_s=one.cost.latency_s,
        latency_interval_s=one.cost.latency_interval_s(level), memory_bytes=one.cost.memory_bytes.total,
    )  # fmt: skip


def own_limits(plan: Plan) -> Budget:
    """Return the limits of a plan without that of the memory where it is only what the device has."""
    budget = plan.budget
    if budget.memory_bytes != plan.hardware.usable_bytes(plan.runtime):
        return budget
    others = (budget.latency_s, budget.ttft_s, budget.tpot_s, budget.flops, budget.error_fraction)
    return budget if all(limit is None for limit in others) else replace(budget, memory_bytes=None)


def because(plan: Plan, model: ModelSpec, barrier: Barrier | None, alone: "Plan | Infeasible | NoCandidate") -> WhyNot:
    """Return why ``model`` is not the choice, without changes; ``alone`` is what asking for it alone came to."""
    name = model.name
    if name == plan.choice.model:
        return WhyNot(model=name, plan=plan, reason=plan.chosen_because)
    if barrier is not None:
        return WhyNot(model=name, plan=plan, reason=barrier.of_one(model))
    if isinstance(alone, NoCandidate):
        reason = str(alone).removeprefix(_NOTHING_LEFT)
        return WhyNot(model=name, plan=plan, reason=reason.replace(f"{name} does", "it does", 1))
    if isinstance(alone, Infeasible) and alone.nearest is None:  # it keeps the limits alone, and not under the load
        return WhyNot(model=name, plan=plan, reason=f"it does not bear the load: {alone.brief}")
    if isinstance(alone, Infeasible):
        return WhyNot(
            model=name,
            plan=plan,
            reason="; and ".join(_too_much(alone.nearest, plan)),
            at_best=_nearest_figures(alone.nearest, plan.interval_level_fraction),
        )
    explain = _by_error if plan.objective is Objective.ERROR else _by_objective
    reason = explain(alone, plan) + _replicas(alone, plan)
    return WhyNot(model=name, plan=plan, reason=reason, at_best=_own_figures(alone))


def to_try(
    why: WhyNot, barrier: Barrier | None, alone: "Plan | Infeasible | NoCandidate", *, assumed: bool
) -> Iterator[Change]:
    """Yield changes that may make the model the choice, the likeliest first.

    Where limits were ``assumed``, one that changes comes with the others, which would not be assumed then.
    """
    if why.is_choice:
        return
    limits = typed(own_limits(why.plan)) if assumed else {}
    if barrier is not None:
        for options in barrier.lets_in:
            yield Change(options=options, what=_words(options), brings="")
    elif isinstance(alone, Infeasible):
        for change in alone.changes:
            beside = limits if set(change.options) & set(limits) else {}
            yield Change(options={**beside, **change.options}, what=change.what, brings="")
    elif not isinstance(alone, NoCandidate):
        for options in _tighter(alone.choice, why.plan):
            beside = limits if not set(options) & {"--prefer", "--minimise"} else {}
            yield Change(options={**beside, **options}, what=_words(options), brings="")


def _words(options: Flags) -> str:
    """Options as words."""
    return ", ".join(f"without {flag}" if value is None else f"{flag} {value}" for flag, value in options.items())


def _tighter(own: Choice, plan: Plan) -> Iterator[Flags]:
    """What a model gains by that keeps the limits: another preference, or limits that the choice breaks."""
    choice, by_error = plan.choice, plan.objective is Objective.ERROR
    points = _points(own, choice)
    if by_error and points <= 0 and plan.preference is not Preference.ACCURACY:
        yield {"--prefer": str(Preference.ACCURACY)}
    if by_error and 0 < points <= 100 * Preference.SPEED.price_error and plan.preference is not Preference.SPEED:
        yield {"--prefer": str(Preference.SPEED)}
    if own.latency_interval_s[1] < choice.latency_interval_s[1]:
        yield {"--latency": at_least(own.latency_interval_s[1], SECONDS_TYPED)}
    if own.ttft_interval_s[1] < choice.ttft_interval_s[1]:
        yield {"--ttft": at_least(own.ttft_interval_s[1], SECONDS_TYPED)}
    if own.memory_bytes.total < choice.memory_bytes.total:
        yield {"--memory": at_least(own.memory_bytes.total, BYTES_TYPED)}
    if not by_error and points < 0 and own.error_interval is not None:
        yield {"--max-error": at_least(own.error_interval[1], PERCENT_TYPED)}
