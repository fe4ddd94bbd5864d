"""What is the least change that would make it feasible? One of each kind, of a question that nothing answers.

(question, its candidates, all over the budget) -> changes, each enough alone: a larger limit, fewer tokens out or
requests in flight, another precision, more GPUs, another device. Every change is priced before it is named; only the
models nearest to the budget are, so that the answer takes no longer than the question.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vlmplan.cost import Machine, machine
from vlmplan.hardware import SERVING, Calibration, HardwareProfile, Precision, Runtime
from vlmplan.inventory import Budget, catalogue
from vlmplan.models import Route, Workload, runnable
from vlmplan.planning.search import Candidate, Space, feasible, overrun
from vlmplan.units import BYTES_TYPED, FLOPS_TYPED, PERCENT_TYPED, SECONDS_TYPED, at_least, format_percent

MODELS_TRIED = 3  # those that miss the budget by the least
_SMALLER = (Precision.FP8, Precision.INT8_W8A8, Precision.INT8, Precision.INT4)  # the least loss first
_LIMITS: tuple[tuple[str, str, str, tuple[tuple[str, float], ...], Callable[[Candidate], float]], ...] = (
    ("latency_s", "--latency", "latency", SECONDS_TYPED, lambda one: one.upper_latency_s),
    ("ttft_s", "--ttft", "time to the first token", SECONDS_TYPED, lambda one: one.upper_ttft_s),
    ("tpot_s", "--tpot", "time for each further token", SECONDS_TYPED, lambda one: one.upper_tpot_s),
    ("flops", "--flops", "compute", FLOPS_TYPED, lambda one: one.budget_flops),
    ("memory_bytes", "--memory", "memory", BYTES_TYPED, lambda one: float(one.cost.memory_bytes.total)),
    ("error_fraction", "--max-error", "wrong answers", PERCENT_TYPED, lambda one: one.upper_error),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that is enough alone: the options to give, or to leave out; in words what it is and what it brings."""

    options: Mapping[str, str | None]
    what: str
    brings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A question that nothing answers: where, of what, within which limits, and all candidates, each over them.

    ``stated`` are the user's own limits, ``limits`` those with what the runtime may fill of the device's memory, which
    ``within`` says of any device. Runtime and precisions are the user's own where they were ``given``.
    ``enough`` keep all limits but one; ``frames`` are those of a video.
    """

    hardware: HardwareProfile
    typical: tuple[Calibration, ...]
    runtime: Runtime
    runtime_given: bool
    precisions_given: bool
    stated: Budget
    limits: Budget
    within: Callable[[HardwareProfile, Runtime], Budget]
    space: Space
    search: Callable[[Space, dict[Precision, Machine], Budget], tuple[Candidate, ...]]
    tried: tuple[Candidate, ...]
    enough: tuple[Candidate, ...] = ()
    frames: int | None = None

    def nearest(self) -> tuple[Candidate, ...]:
        """The best try of each of the models that miss the limits by the least, those that miss but one of them first.

        Where the error is limited, also of the least wrong.
        """
        ways = [list(self.enough), sorted(self.tried, key=lambda one: overrun(one, self.limits))]
        if self.limits.error_fraction is not None:
            ways.append(sorted(self.tried, key=lambda one: one.predicted_error))
        best: dict[str, Candidate] = {}
        for tried in ways:
            names = list(dict.fromkeys(one.model.name for one in tried))[:MODELS_TRIED]
            for one in tried:
                if one.model.name in names:
                    best.setdefault(one.model.name, one)
        return tuple(best.values())


def _brings(one: Candidate) -> str:
    """What one would get then."""
    return f"{one.label}, {format_percent(one.predicted_error)} wrong"


def _best(candidates: Iterable[Candidate], limits: Budget) -> Candidate | None:
    """The least wrong of those that keep the limits."""
    within = feasible(candidates, limits)
    return min(within, key=lambda one: (one.predicted_error, one.order), default=None)


def _more(what: str, limit: float, least: float) -> str:
    """By how much a limit grows."""
    ratio = least / limit
    if what == "wrong answers":
        return f"{100 * (least - limit):.1f} points more {what}"
    if ratio >= 2:
        return f"{ratio:,.0f} times the {what}" if ratio >= 100 else f"{ratio:.2g} times the {what}"
    return f"{max(1, round(100 * (ratio - 1)))} % more {what}"


def _without(missed: Missed, field: str) -> tuple[Candidate, ...]:
    """What keeps the limits but for one.

    With a limit of the error they are sought again: of what was far too slow only the fewest tokens were tried, which
    are the most wrong.
    """
    names = [name for name, *_ in _LIMITS if name != field and getattr(missed.limits, name) is not None]
    if not names:
        return missed.tried
    rest, tried = Budget(**{name: getattr(missed.limits, name) for name in names}), missed.tried
    if rest.error_fraction is not None:
        ready = {one: machine(missed.hardware, missed.typical, missed.runtime, one) for one in missed.space.precisions}
        tried = missed.search(missed.space, ready, rest)
    return feasible(tried, rest)


def _larger_limits(missed: Missed) -> Iterator[tuple[Change, Candidate]]:
    """Each limit of the user's alone, as large as it has to be."""
    for field, option, what, typed, value in _LIMITS:
        limit = getattr(missed.stated, field)
        if limit is None:
            continue
        rest, most = _without(missed, field), None
        if field == "error_fraction":  # drawing them all would take long
            rest, most = tuple(sorted(rest, key=lambda one: one.predicted_error)[:MODELS_TRIED]), 1.0
        elif field == "memory_bytes":
            most = missed.hardware.usable_bytes(missed.runtime)
        least = min(rest, key=value, default=None)
        if least is not None and value(least) > limit and (most is None or value(least) <= most):
            larger = {option: at_least(value(least), typed)}
            yield Change(options=larger, what=_more(what, limit, value(least)), brings=_brings(least)), least


def _all_limits(missed: Missed) -> Iterator[Change]:
    """All limits of the user's together, where no one alone is enough."""
    given = [(field, option, typed) for field, option, _, typed, _ in _LIMITS if getattr(missed.stated, field)]
    within = missed.hardware.usable_bytes(missed.runtime)
    fit = [one for one in missed.tried if within is None or one.cost.memory_bytes.total <= within]
    least = min(fit, key=lambda one: overrun(one, missed.stated), default=None)
    if least is None or len(given) < 2:
        return
    factor = overrun(least, missed.stated)
    if missed.stated.error_fraction is not None:
        factor = max(factor, least.upper_error / missed.stated.error_fraction)
        if factor * missed.stated.error_fraction > 1:
            return
    yield Change(
        options={option: at_least(factor * getattr(missed.stated, field), typed) for field, option, typed in given},
        what=f"every limit {100 * (factor - 1):.0f} % larger"
        if factor < 2
        else f"every limit {factor:.2g} times as large",
        brings=_brings(least),
    )


def _fewest(least: int, most: int, enough: Callable[[int], bool]) -> int | None:
    """The largest number from ``least`` to below ``most`` that is enough; None where not even the least is."""
    if not enough(least):
        return None
    while most - least > 1:
        middle = (least + most) // 2
        if enough(middle):
            least = middle
        else:
            most = middle
    return least


def _fewest_of(missed: Missed, near: Candidate, field: str, most: int) -> tuple[int, Candidate] | None:
    """The largest number below ``most`` of what a workload's ``field`` counts with which a model keeps the limits."""
    known: dict[int, Candidate | None] = {}
    work = missed.space.workload

    def enough(count: int) -> bool:
        smaller = replace(work, output_tokens=count) if field == "output_tokens" else replace(work, concurrency=count)
        known[count] = _same(missed, near, smaller)
        return known[count] is not None

    count = _fewest(1, most, enough) if most > 1 else None
    kept = None if count is None else known[count]
    return None if count is None or kept is None else (count, kept)


def _smaller_requests(missed: Missed) -> Iterator[Change]:
    """Fewer tokens out, or fewer requests in flight."""
    for field, option, what in (
        ("output_tokens", "--output-tokens", "tokens out"),
        ("concurrency", "--concurrency", "requests in flight"),
    ):
        most = getattr(missed.space.workload, field)
        answering = [one for one in missed.nearest() if field != "output_tokens" or not one.model.thinks]
        tried = [fewest for near in answering if (fewest := _fewest_of(missed, near, field, most)) is not None]
        if tried:
            count, kept = max(tried, key=lambda one: (one[0], -one[1].predicted_error))
            yield Change(options={option: str(count)}, what=f"{count} {what} instead of {most}", brings=_brings(kept))


def _fewer_frames(missed: Missed) -> Iterator[Change]:
    """Half as many frames of a video, or a quarter, and so on: judged by what is lost with them."""
    frames = (missed.frames or 1) // 2
    while frames >= 1:
        work = replace(missed.space.workload, images=frames)
        kept = [one for near in missed.nearest() if (one := _same(missed, near, work)) is not None]
        if kept:
            best = min(kept, key=lambda one: (one.predicted_error, one.order))
            options = {"--frames": str(frames), "--images": None}
            yield Change(options=options, what=f"{frames} frames instead of {missed.frames}", brings=_brings(best))
            return
        frames //= 2


def _same(missed: Missed, near: Candidate, work: Workload) -> Candidate | None:
    """A candidate's model with another workload, where any of its settings then keeps the limits."""
    precision = near.request.precision
    space = replace(missed.space, models=(near.model,), precisions=(precision,), workload=work, gpus=near.request.gpus)
    ready = {precision: machine(missed.hardware, missed.typical, missed.runtime, precision)}
    return _best(missed.search(space, ready, missed.limits), missed.limits)


def _another_precision(missed: Missed) -> Iterator[Change]:
    """The first smaller precision, those of least loss before others, in which something keeps the limits."""
    models = tuple(one.model for one in missed.nearest() if one.model.quantisation is None)
    for precision in _SMALLER:
        if precision in missed.space.precisions or missed.space.route is Route.TRAIN:
            continue
        runs = tuple(one for one in models if runnable(one, (precision,), missed.hardware, missed.runtime))
        if not runs:
            continue
        ready = {precision: machine(missed.hardware, missed.typical, missed.runtime, precision)}
        space = replace(missed.space, models=runs, precisions=(precision,))
        if (kept := _best(missed.search(space, ready, missed.limits), missed.limits)) is not None:
            yield Change(options={"--precision": str(precision)}, what=f"in {precision}", brings=_brings(kept))
            return


def _more_gpus(missed: Missed) -> Iterator[Change]:
    """As many GPUs as it takes."""
    if missed.hardware.kind != "gpu" or not missed.hardware.interconnect_bytes_per_s:
        return
    ready = {one: machine(missed.hardware, missed.typical, missed.runtime, one) for one in missed.space.precisions}
    models = tuple(one.model for one in missed.nearest())
    for gpus in (degree for degree in (2, 4, 8) if degree > missed.space.gpus):
        space = replace(missed.space, models=models, gpus=gpus)
        if (kept := _best(missed.search(space, ready, missed.limits), missed.limits)) is not None:
            yield Change(options={"--gpus": str(gpus)}, what=f"{gpus} GPUs", brings=_brings(kept))
            return


def _larger_devices(missed: Missed) -> list[HardwareProfile]:
    """Devices that read memory faster or hold more, the slowest first: of the same kind, or GPUs for a processor."""
    own = missed.hardware
    known = [catalogue.listed(name) for name in catalogue.names(catalogue.Shelf.HARDWARE) if name != own.name]
    kinds = {own.kind} if own.kind != "cpu" or missed.runtime_given else {"cpu", "gpu"}
    alike = [one for one in known if one.kind in kinds and one.memory_bytes is not None]
    if missed.runtime_given:
        alike = [one for one in alike if not SERVING[missed.runtime].refuses_vendor(one.vendor)]
    larger = [
        one
        for one in alike
        if one.bandwidth_bytes_per_s > own.bandwidth_bytes_per_s or (one.memory_bytes or 0) > (own.memory_bytes or 0)
    ]
    return sorted(larger, key=lambda one: (one.bandwidth_bytes_per_s, one.memory_bytes or 0, one.name))


def _on(missed: Missed, device: HardwareProfile) -> Candidate | None:
    """The best of the nearest models on another device, with the same engine; else with one whose models are listed."""
    runtime = missed.runtime if missed.runtime_given else device.default_runtime
    models, space = tuple(one.model for one in missed.nearest()), missed.space
    if runtime is not missed.runtime:
        engine = SERVING[runtime].engine
        if engine is None or space.route is Route.TRAIN:
            return None
        models = tuple(one for one in models if engine in one.serving)
        space = replace(space, engine=engine, route=Route.ENGINE)
    usual = device.default_precision(runtime)
    tried = space.precisions if missed.precisions_given else tuple(one for one in (usual,) if one)
    precisions = tuple(p for p in tried if any(runnable(one, (p,), device, runtime) for one in models))
    if not precisions:
        return None
    limits = missed.within(device, runtime)
    ready = {one: machine(device, missed.typical, runtime, one) for one in precisions}
    return _best(missed.search(replace(space, models=models, precisions=precisions), ready, limits), limits)


def _another_device(missed: Missed) -> Iterator[Change]:
    """The slowest device that is fast enough, or nearly: they are halved, as if a faster one could always do more."""
    devices = _larger_devices(missed)
    low, high, kept = 0, len(devices), None
    while low < high:
        middle = (low + high) // 2
        if (one := _on(missed, devices[middle])) is not None:
            high, kept = middle, one
        else:
            low = middle + 1
    if kept is not None:
        device = devices[high]
        yield Change(options={"--hardware": device.name}, what=device.title, brings=_brings(kept))


def typed(budget: Budget) -> dict[str, str]:
    """Return the limits of a budget as options that say them."""
    values = ((option, getattr(budget, field), units) for field, option, _, units, _ in _LIMITS)
    return {option: at_least(value, units) for option, value, units in values if value is not None}


def changes(missed: Missed) -> tuple[Change, ...]:
    """Return one change of each kind that is enough alone, the user's own limits first."""
    larger = [*_larger_limits(missed)]
    missed = replace(missed, enough=tuple(candidate for _, candidate in larger))
    changes = [change for change, _ in larger] or [*_all_limits(missed)]
    for kind in (_smaller_requests, _fewer_frames, _another_precision, _more_gpus, _another_device):
        changes += kind(missed)
    return tuple(changes)
