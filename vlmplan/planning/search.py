"""Which configurations are there, and which keep the budget? models -> candidates, priced and judged -> feasible.

A candidate is model x precision x visual tokens x GPUs. It is feasible when every time keeps its limit with the
confidence asked for, and the error by the upper end of its interval. Settings that show fewer pixels, or leave fewer
tokens, than any study has tried are candidates only where that is asked for. Left out: fractions of a GPU, pipelines
over several models.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from typing import Any

from vlmplan.accuracy import Judge
from vlmplan.cost import Cost, Machine, Request, active_llm_params, cost, paper_prefill_flops
from vlmplan.errors import Infeasible
from vlmplan.hardware import Engine, Precision
from vlmplan.intervals import Interval
from vlmplan.inventory import Budget
from vlmplan.models import (
    SHAPE_KEEPING,
    Compressor,
    ModelSpec,
    Route,
    Rule,
    VisualInput,
    Workload,
    one_view,
    options,
    refused_shape,
    runnable,
    settable,
    visual_input,
)
from vlmplan.records import dataclass
from vlmplan.units import format_bytes, format_flops, format_percent, format_seconds

WIDEN = "raise the budget, or widen --precision, --gpus or --models"  # what to do where nothing is feasible
DRAWS = 200  # of a candidate's error
SELECTED_TOKENS = (32, 64, 128, 192)
HOPELESS = 3.0  # times the budget; such a candidate is no runner-up worth showing


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One priced and judged configuration. ``upper_*`` are what the budget is held to.

    A time is below its own with the confidence asked for; the error's is drawn when it is asked for. Under a load,
    so many ``replicas`` bear ``rate_per_s``; else both are 0.
    """

    request: Request
    visual: VisualInput
    predicted_error: float
    cost: Cost
    budget_flops: float
    upper_latency_s: float
    upper_ttft_s: float
    upper_tpot_s: float
    error_end: Callable[[], float] = field(repr=False, compare=False)
    route: Route
    replicas: int = 0
    rate_per_s: float = 0.0

    @property
    def upper_error(self) -> float:
        """The upper end of the error's interval."""
        return self.error_end()

    @property
    def model(self) -> ModelSpec:
        """The model."""
        return self.request.model

    @property
    def gpu_s(self) -> float:
        """Seconds of a GPU a request: one after another without a load, idle time counted under one."""
        if self.replicas:
            return self.request.gpus * self.replicas / self.rate_per_s
        return self.request.gpus / self.cost.requests_per_s

    @property
    def label(self) -> str:
        """A name for messages: the model, its tokens, and the precision."""
        return f"{self.model.name} at {self.visual.visual_tokens} visual tokens, {self.request.precision}"

    @property
    def order(self) -> tuple[int, float, float, str]:
        """The order among equals: fewer GPUs, then faster, then better, then by name."""
        return (self.request.gpus, self.cost.latency_s, self.predicted_error, self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What may be chosen from."""

    models: tuple[ModelSpec, ...]
    precisions: tuple[Precision, ...]
    workload: Workload
    gpus: int = 1
    confidence: float = 0.9
    allow_untrained: bool = False
    paper_flops: bool = False
    engine: Engine | None = None
    route: Route = Route.ENGINE

    @property
    def flop_rule(self) -> str:
        """What a limit of FLOPs counts: the whole request, or the paper's 2 N (Q + V)."""
        return "paper" if self.paper_flops else "full"


def _pooled_inputs(model: ModelSpec, workload: Workload) -> Iterator[VisualInput]:
    """Average pooling of one view to the squares its grid allows: what ``--allow-untrained`` adds to fixed rules."""
    rule = model.image
    if rule is None or rule.rule in (*SHAPE_KEEPING, Rule.COMPRESSED):
        return
    side = math.isqrt(rule.tokens_per_view)
    for part in range(1, side):
        if side % part == 0:
            yield visual_input(model, workload.image, part * part, Compressor.AVERAGE_POOL)


def _selected_inputs(model: ModelSpec, workload: Workload) -> Iterator[VisualInput]:
    """What an export of one view may keep of it without training, at the numbers of tokens that most studies have."""
    rule = model.image
    kinds = [kind for kind in Compressor if model.exports_selection(kind)]
    for tokens in SELECTED_TOKENS:
        if rule is not None and tokens < rule.tokens_per_view:
            yield from (visual_input(model, workload.image, tokens, kind) for kind in kinds)


def _inputs(model: ModelSpec, space: Space, judge: Judge) -> list[VisualInput]:
    """What may be made of the image, fewest tokens first; what nobody tried, only where that is asked for."""
    if model.image is None or refused_shape(*space.workload.image, model.image):
        return []
    reachable = options(model, space.workload.image)
    whole = space.route is Route.EXPORT and model.exports_tiles
    if space.route is Route.EXPORT and not whole:
        reachable = (one_view(model, space.workload.image),)
    least = 1 if space.allow_untrained else min(model.image.trained_min_visual_tokens, reachable[-1].visual_tokens)
    kept = [option for option in reachable if option.visual_tokens >= least]
    if space.engine is not None:
        kept = [option for option in kept if settable(option, space.engine, reachable[-1].visual_tokens)]
    if space.route is Route.EXPORT:
        kept += _selected_inputs(model, space.workload)
    if space.allow_untrained and not whole:
        kept += _pooled_inputs(model, space.workload)
    if not space.allow_untrained:
        kept = [option for option in kept if not judge.unstudied(model, option)]
    return sorted(kept, key=lambda option: option.visual_tokens)


def _runnable(model: ModelSpec, machines: Iterable[Machine]) -> Iterator[Precision]:
    """The precisions of the machines that their runtime runs ``model`` in."""
    for one in machines:
        yield from runnable(model, (one.precision,), one.hardware, one.runtime)


def _ladders(space: Space, machines: Mapping[Precision, Machine], judge: Judge) -> Iterator[Iterator[Request]]:
    """For every model, precision and number of GPUs: its requests, fewest visual tokens first."""
    degrees = [degree for degree in (1, 2, 4, 8, 16) if degree <= space.gpus]

    def ladder(model: ModelSpec, precision: Precision, gpus: int, inputs: list[VisualInput]) -> Iterator[Request]:
        for visual in inputs:
            request = Request(model=model, workload=space.workload, visual=visual, precision=precision, gpus=gpus)
            if request.fits_context:
                yield request

    for model in space.models:
        inputs = _inputs(model, space, judge)
        for precision in _runnable(model, [machines[one] for one in space.precisions]):
            for gpus in (degree for degree in degrees if model.llm.heads % degree == 0):
                yield ladder(model, precision, gpus, inputs)


def error_interval(draws: Iterable[float], predicted: float, level: float) -> Interval:
    """Return the central interval of a predicted error that holds ``level`` of its draws, and the prediction."""
    ordered = sorted(draws)
    cut = min(len(ordered) - 1, round((1 - level) / 2 * len(ordered)))
    return (min(ordered[cut], predicted), max(ordered[-1 - cut], predicted))


def _error_end(judge: Judge, level: float) -> Callable[[Request, VisualInput, float], float]:
    """What draws the upper end of a predicted error, on one GPU or several only once."""
    known: dict[tuple[str, int, Precision], float] = {}  # models share what is made of an image

    def end(request: Request, visual: VisualInput, predicted: float) -> float:
        key = (request.model.name, id(visual), request.precision)
        if key not in known:
            draws = judge.draws(request.model, visual, request.precision, count=DRAWS)
            known[key] = error_interval(draws, predicted, level)[1]
        return known[key]

    return end


def _candidate(
    request: Request,
    visual: VisualInput,
    space: Space,
    machine: Machine,
    judge: Judge,
    error_end: Callable[[Request, VisualInput, float], float],
) -> Candidate:
    """Price and judge one configuration."""
    model, priced = request.model, cost(request, machine)
    flops, sure = priced.flops.total / space.workload.batch, space.confidence
    if space.paper_flops:
        nominal = (model.nominal_llm_params_b or 0.0) * 1e9 or active_llm_params(model)
        flops = paper_prefill_flops(nominal, space.workload, visual.visual_tokens)
    error = judge.error(model, visual, request.precision)
    return Candidate(
        request=request,
        visual=visual,
        predicted_error=error,
        cost=priced,
        budget_flops=flops,
        upper_latency_s=priced.latency_spread.upper(priced.latency_s, sure),
        upper_ttft_s=priced.ttft_spread.upper(priced.ttft_s, sure),
        upper_tpot_s=priced.tpot_spread.upper(priced.tpot_s, sure) if priced.tpot_s else 0.0,
        error_end=lambda: error_end(request, visual, error),
        route=space.route,
    )


class Kept:
    """The candidates of the last question, for the next one if it differs in its limits alone."""

    def __init__(self) -> None:
        self._asked: Any = None
        self._known: dict[tuple[Any, ...], Candidate] = {}

    def of(self, space: Space, machines: Mapping[Precision, Machine], judge: Judge) -> dict[tuple[Any, ...], Candidate]:
        """Return what is known of this space on these machines by this judge; nothing where one of them is another."""
        asked = (space, dict(machines), judge.source)
        if self._asked != asked:
            self._asked, self._known = asked, {}
        return self._known


_KEPT: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def keeping(kept: Kept) -> Iterator[None]:
    """Price no candidate twice while questions differ in their limits alone."""
    before = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(before)


def candidates(
    space: Space, machines: dict[Precision, Machine], judge: Judge, budget: Budget | None = None
) -> tuple[Candidate, ...]:
    """Price and judge every configuration of ``space`` on the machine of its precision.

    Where a model misses ``budget`` more than ``HOPELESS`` times with some tokens, more of them are not tried: no time,
    no FLOPs and no memory fall with V. The error does, and stops nobody.
    """
    priced, error_end, kept = [], _error_end(judge, space.confidence), _KEPT.get()
    known = {} if kept is None else kept.of(space, machines, judge)
    for ladder in _ladders(space, machines, judge):
        for request in ladder:
            visual = request.visual
            if visual is None:
                continue
            key: tuple[Any, ...] = (request.model.name, request.precision, request.gpus)
            key += (visual.visual_tokens, visual.compressor, visual.setting)
            if (one := known.get(key)) is None:
                one = _candidate(request, visual, space, machines[request.precision], judge, error_end)
                known[key] = one
            priced.append(one)
            if budget is not None and _overrun_but_error(one, budget) > HOPELESS:
                break
    return tuple(priced)


def _too_long(model: ModelSpec, work: Workload) -> str | None:
    """How a request exceeds a model's context even with the fewest visual tokens; None where it does not."""
    longest, fewest = model.llm.max_context_tokens, options(model, work.image)[0].visual_tokens
    needs = work.text_tokens + work.output_tokens + work.images * fewest
    if longest is None or needs <= longest:
        return None
    return f"its context of {longest} tokens does not hold the request, which takes at least {needs}"


def _too_many_frames(space: Space, judge: Judge) -> str | None:
    """That a video's frames are more than any context holds, with the model that comes nearest; else None."""
    images, over = space.workload.images, dict[float, tuple[int, str, int]]()
    text = space.workload.text_tokens + space.workload.output_tokens
    for model in space.models:
        context, inputs = model.llm.max_context_tokens, _inputs(model, space, judge)
        if context is None or not inputs:
            return None
        over[(text + images * inputs[0].visual_tokens) / context] = (inputs[0].visual_tokens, model.name, context)
    if min(over) <= 1:
        return None
    each, name, context = over[min(over)]
    return (
        f"no candidate left: {images} frames are at least {images * each:,} visual tokens of {name}, whose context "
        f"holds {context:,}; give fewer: at most --frames {max(1, (context - text) // each)}"
    )


def why_none(space: Space, judge: Judge) -> str:
    """Return why nothing is left to choose from."""
    image = space.workload.image
    refused = [refused_shape(*image, model.image) for model in space.models if model.image]
    if refused and all(refused):
        return f"no candidate left: {refused[0]}"
    for model in space.models:
        if model.image is None or refused_shape(*image, model.image):
            continue
        visual = options(model, image)[-1]
        if (unstudied := judge.unstudied(model, visual)) and not space.allow_untrained:
            return (
                f"no candidate left: an image of {image[0]} x {image[1]} shows too little for any answer that studies "
                f"bear out ({unstudied[0]}); give a larger --image, or --allow-untrained for a guess"
            )
    if judge.source.of_videos and (held := _too_many_frames(space, judge)):
        return held
    if len(space.models) == 1 and (too_long := _too_long(space.models[0], space.workload)):
        return f"no candidate left: {too_long}"
    return "no candidate left: no model has a context long enough, or heads that --gpus divides"


def shortfalls(candidate: Candidate, budget: Budget) -> tuple[str, ...]:
    """Say which limits the candidate misses, with both figures; empty when it is feasible."""
    values = (
        candidate.upper_latency_s,
        candidate.upper_ttft_s,
        candidate.upper_tpot_s,
        candidate.budget_flops,
        candidate.cost.memory_bytes.total,
        0.0 if budget.error_fraction is None else candidate.upper_error,
    )
    return tuple(
        f"{name} up to {show(value)} exceeds {show(limit)}"
        if show(value) != show(limit)
        else f"{name} up to just above {show(limit)}"
        for (name, limit, show), value in zip(budget.limits, values, strict=True)
        if limit is not None and value > limit
    )


def _other_ratios(candidate: Candidate, budget: Budget) -> list[float]:
    """The ratios of what is neither a time nor an error to its limit."""
    ratios = []
    if budget.flops is not None:
        ratios.append(candidate.budget_flops / budget.flops)
    if budget.memory_bytes is not None:
        ratios.append(candidate.cost.memory_bytes.total / budget.memory_bytes)
    return ratios


def _overrun_but_error(candidate: Candidate, budget: Budget) -> float:
    """The largest ratio of a time's upper end, FLOPs or memory to its limit; 0 without one."""
    return max(_time_ratios(candidate, budget) + _other_ratios(candidate, budget), default=0.0)


def _time_ratios(candidate: Candidate, budget: Budget) -> list[float]:
    """The ratios of the times' upper ends to their limits."""
    times = (
        (candidate.upper_latency_s, budget.latency_s),
        (candidate.upper_ttft_s, budget.ttft_s),
        (candidate.upper_tpot_s, budget.tpot_s),
    )
    return [upper_s / limit_s for upper_s, limit_s in times if limit_s is not None]


def times_needed(candidates: Iterable[Candidate], budget: Budget) -> float | None:
    """Return the factor by which all limits of time have to grow for one candidate; None where none keeps the others.

    Of the error, which is drawn only for what keeps the times, the prediction itself has to keep its limit.
    """
    most = math.inf if budget.error_fraction is None else budget.error_fraction
    return min(
        (
            max(_time_ratios(one, budget), default=1.0)
            for one in candidates
            if max(_other_ratios(one, budget), default=0.0) <= 1 and one.predicted_error <= most
        ),
        default=None,
    )


def overrun(candidate: Candidate, budget: Budget) -> float:
    """Return the largest ratio of a figure to its limit: at most 1 when feasible.

    Times and the error are upper ends of their intervals; the error's is drawn only for what keeps the other limits,
    and may keep its own.
    """
    others = _overrun_but_error(candidate, budget)
    if budget.error_fraction is None:
        return others
    least = candidate.predicted_error
    drawn = others <= 1 and least <= budget.error_fraction
    return max(others, (candidate.upper_error if drawn else least) / budget.error_fraction)


def overrun_at(candidate: Candidate, budget: Budget) -> Callable[[float, float], float]:
    """Return what gives the same of times so many standard deviations from their medians, and of an error."""
    priced = candidate.cost
    times = [
        (median_s, spread, limit_s)
        for median_s, spread, limit_s in (
            (priced.latency_s, priced.latency_spread, budget.latency_s),
            (priced.ttft_s, priced.ttft_spread, budget.ttft_s),
            (priced.tpot_s or 0.0, priced.tpot_spread, budget.tpot_s),
        )
        if limit_s is not None
    ]
    others, limit = _other_ratios(candidate, budget), budget.error_fraction

    def at(z: float, error: float) -> float:
        ratios = [median_s * spread.factor(z) / limit_s for median_s, spread, limit_s in times]
        return max([*ratios, *others, *([error / limit] if limit is not None else [])], default=0.0)

    return at


def feasible(candidates: Iterable[Candidate], budget: Budget) -> tuple[Candidate, ...]:
    """Return the candidates that keep every limit."""
    return tuple(candidate for candidate in candidates if overrun(candidate, budget) <= 1)


def infeasible(
    candidates: tuple[Candidate, ...],
    budget: Budget,
    where: str,
    ways: Callable[[], Sequence[Any]] = tuple,
    limits: Budget | None = None,
) -> Infeasible:
    """Return the error for a budget that nothing meets, naming the fastest, the smallest and the least wrong.

    Beside other devices it names what comes nearest to the ``limits``: the budget, and what the device holds.
    """
    fastest = min(candidates, key=lambda candidate: candidate.upper_latency_s)
    smallest = min(candidates, key=lambda candidate: candidate.cost.memory_bytes.total)
    stated = (
        ("a latency of", budget.latency_s, format_seconds),
        ("a TTFT of", budget.ttft_s, format_seconds),
        ("a TPOT of", budget.tpot_s, format_seconds),
        ("", budget.flops, format_flops),
        ("", budget.memory_bytes, format_bytes),
        ("an error of", budget.error_fraction, format_percent),
    )
    asked = " and ".join(f"{name} {show(value)}".strip() for name, value, show in stated if value is not None)
    told = (
        f"the fastest needs up to {format_seconds(fastest.upper_latency_s)} (TTFT "
        f"{format_seconds(fastest.upper_ttft_s)}, {format_flops(fastest.budget_flops)}; {fastest.label}), the smallest "
        f"{format_bytes(smallest.cost.memory_bytes.total)} ({smallest.label})"
    )
    if budget.error_fraction is not None:
        best = min(candidates, key=lambda candidate: candidate.predicted_error)
        told += f", the best that was tried has an error of up to {format_percent(best.upper_error)} ({best.label})"
    limits = limits or budget
    nearest = min(candidates, key=lambda candidate: (overrun(candidate, limits), candidate.predicted_error))
    brief = f"nearest is {nearest.label}: {'; '.join(shortfalls(nearest, limits))}"
    whole = f"no plan meets {asked} on {where}: {told}; {WIDEN}"
    return Infeasible(whole, brief, ways, times_needed(candidates, limits), nearest)
