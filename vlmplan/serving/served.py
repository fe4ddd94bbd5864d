"""How many replicas does a rate take, and what do requests see there? A priced request and a load -> ``Service``.

The least number of replicas is searched for by simulation, at times as long as the confidence asks for. What the
prices are unsure by flows into all: a simulation is repeated with times at the ends of their intervals. The knee of the
load curve is where rate over mean latency is highest (Kleinrock, Power and deterministic rules of thumb for
probabilistic problems in computer communications, ICC 1979). Seeds are fixed: same question, same answer.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from vlmplan.cost import (
    BEYOND_S,
    MOST_REPLICAS,
    Cost,
    FewerTokens,
    LoadAsked,
    LoadPoint,
    Machine,
    PercentileLimit,
    Percentiles,
    Request,
    Service,
    Timed,
    cost,
    one_sided,
    with_tokens,
)
from vlmplan.intervals import quantile
from vlmplan.records import dataclass
from vlmplan.serving.arrivals import Arrivals
from vlmplan.serving.engine import Engine, Size, Times, engine, mixed, step_limits, times_at
from vlmplan.serving.simulate import Served, serve

SEED = 0
REQUESTS = 10_000  # of the figures that are shown
TRIED = 3_000  # of each number of replicas that is tried, of each end of an interval, and of a point of the curve
_CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)  # of the capacity
_FULL = 0.98  # of the capacity: above it a queue of ten thousand requests does not end
MOST_SPARE = 4  # times as many as bear the rate: what keeps a limit only where requests never meet is no plan


def at_percent(ordered: Sequence[float], percent: int) -> float:
    """Return the least value of a sorted list that ``percent`` of 100 do not exceed; 0 of an empty one."""
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)] if ordered else 0.0


Sizes = Callable[[Request], tuple[Size, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes: what is asked of it, when, and what each request brings where they are not alike.

    ``sizes`` are those of a configuration; where they are ``in_turn`` the n-th is that of the n-th arrival, else each
    arrival has any.
    """

    asked: LoadAsked
    arrivals: Arrivals
    sizes: Sizes | None = None
    in_turn: bool = False


class Replicas:
    """One configuration under a load: what each number of replicas does."""

    def __init__(self, request: Request, machine: Machine, memory_bytes: float | None, load: Load) -> None:
        """Price the request alone; steps, and requests of other sizes, are priced as they are needed."""
        self.asked, self.arrivals, self._load = load.asked, load.arrivals, load
        self._request, self._machine, self._memory_bytes = request, machine, memory_bytes
        self.priced = cost(request, machine)
        self._alike = engine(request, machine, self.priced, memory_bytes)
        self._times = functools.cache(self._times_of)
        self.capacity_per_s = functools.cache(self._capacity_per_s)

    @functools.cached_property
    def engine(self) -> Engine:
        """One replica at its medians."""
        return self._mixed(self._alike, self._request, self.priced)

    def _mixed(self, alike: Engine, request: Request, priced: Cost) -> Engine:
        """A replica with the load's own sizes, where it has some."""
        sizes = self._load.sizes(request) if self._load.sizes is not None else ()
        if not sizes:
            return alike
        return mixed(alike, sizes, priced, self._memory_bytes, step_limits(self._machine.hardware)[1])

    def alike_per_s(self, z: float) -> float:
        """Return what one replica bears of requests as planned, without pricing those of other sizes."""
        return self._alike.at(self._times_of(Timed.LATENCY, z)).capacity_per_s()

    def _sizes(self, one: Engine, replica: int, replicas: int, count: int) -> list[Size] | None:
        """What each request to a replica brings; None where all are alike."""
        if not one.mix:
            return None
        if self._load.in_turn:
            return [one.mix[at % len(one.mix)] for at in range(replica, replica + count * replicas, replicas)]
        return Random(f"{SEED} sizes {replica}").choices(one.mix, k=count)

    def _times_of(self, of: Timed, z: float) -> Times:
        priced, host_s = self.priced, self._alike.host_s
        match of:
            case Timed.TTFT:
                return times_at(priced.ttft_spread, priced.ttft_s, host_s, z)
            case Timed.TPOT:
                return times_at(priced.tpot_spread, priced.tpot_s or 0.0, 0.0, z)
            case Timed.LATENCY:
                return times_at(priced.latency_spread, priced.latency_s, host_s, z)

    def _engine(self, of: Timed, z: float) -> Engine:
        return self.engine if z == 0 else self.engine.at(self._times(of, z))

    def _capacity_per_s(self, of: Timed, z: float) -> float:
        return self._engine(of, z).capacity_per_s()

    def bears(self, replicas: int, of: Timed = Timed.LATENCY, z: float = 0.0) -> bool:
        """Whether so many replicas bear the rate where times are ``z`` standard deviations out."""
        return self.arrivals.rate_per_s / replicas <= _FULL * self.capacity_per_s(of, z)

    def served(self, replicas: int, requests: int, of: Timed = Timed.LATENCY, z: float = 0.0) -> Served:
        """Simulate one of the replicas, or all of them where a trace is dealt out."""
        one = self._engine(of, z)
        count = replicas if self.arrivals.times_s else 1
        simulated = [
            serve(one, arrivals_s, self._sizes(one, replica, replicas, len(arrivals_s)))
            for replica in range(count)
            if (arrivals_s := self.arrivals.at_replica(replica, replicas, requests, SEED))
        ]
        return simulated[0] if len(simulated) == 1 else _together(simulated)

    def keeps(self, replicas: int, z: float) -> bool:
        """Whether so many replicas bear the rate and keep every limit at times ``z`` standard deviations out."""
        for of in dict.fromkeys(limit.of for limit in self.asked.limits):
            if not self.bears(replicas, of, z):
                return False
            served = self.served(replicas, TRIED, of, z)
            if not all(_kept(served, limit) for limit in self.asked.limits if limit.of is of):
                return False
        return self.bears(replicas, Timed.LATENCY, z)

    def least(self, z: float) -> int | None:
        """Return the fewest replicas that keep the limits at times ``z`` standard deviations out; None: none do.

        More than :data:`MOST_SPARE` times as many as bear the rate are tried only up to those that were asked for.
        """
        rate_per_s, capacity_per_s = self.arrivals.rate_per_s, self.capacity_per_s(Timed.LATENCY, z)
        least = max(1, math.ceil(rate_per_s / (_FULL * capacity_per_s)))
        if not self.asked.limits:
            return least
        step, most, end = 1, least, min(max(MOST_SPARE * least, self.asked.replicas or 0), MOST_REPLICAS)
        while not self.keeps(most, z):
            if most >= end:
                return None  # a request that meets another does not keep them, or one alone
            least, most, step = most + 1, min(end, most + step), 2 * step
        while least < most:
            middle = (least + most) // 2
            least, most = (least, middle) if self.keeps(middle, z) else (middle + 1, most)
        return most

    def curve(self) -> tuple[tuple[LoadPoint, ...], float]:
        """Return what one replica does at growing rates, and the rate at the knee."""
        capacity_per_s, points, power = self.capacity_per_s(Timed.LATENCY, 0.0), [], []
        for share in _CURVE:
            rate_per_s = share * capacity_per_s
            times_s = Arrivals(rate_per_s=rate_per_s).at_replica(0, 1, TRIED, SEED)
            served = serve(self.engine, times_s, self._sizes(self.engine, 0, 1, TRIED))
            power.append((rate_per_s * len(served.latency_s) / sum(served.latency_s), rate_per_s))
            points.append(
                LoadPoint(
                    rate_per_s=rate_per_s,
                    utilisation_fraction=share,
                    batch_in_flight=served.in_flight_ratio,
                    ttft_p95_s=at_percent(served.ttft_s, 95),
                    latency_p50_s=at_percent(served.latency_s, 50),
                    latency_p95_s=at_percent(served.latency_s, 95),
                )
            )
        return tuple(points), max(power)[1]

    def fewer_tokens(self) -> tuple[FewerTokens, ...]:
        """Return what one replica bears with a half, a quarter and an eighth of the visual tokens an image."""
        request, visual = self._request, self._request.visual
        if visual is None:
            return ()
        reduced = []
        for count in dict.fromkeys(max(1, visual.visual_tokens // part) for part in (2, 4, 8)):
            fewer = with_tokens(request, visual, count)
            priced = cost(fewer, self._machine)
            one = self._mixed(engine(fewer, self._machine, priced, self._memory_bytes), fewer, priced)
            reduced.append(FewerTokens(visual_tokens=count, capacity_per_s=one.capacity_per_s()))
        return tuple(one for one in reduced if one.visual_tokens < visual.visual_tokens)


def _together(served: Sequence[Served]) -> Served:
    """What requests saw at several replicas, as of one; means over these."""
    count = len(served)
    return Served(
        ttft_s=tuple(sorted(time_s for one in served for time_s in one.ttft_s)),
        tpot_s=tuple(sorted(time_s for one in served for time_s in one.tpot_s)),
        latency_s=tuple(sorted(time_s for one in served for time_s in one.latency_s)),
        in_flight_ratio=sum(one.in_flight_ratio for one in served) / count,
        busy_fraction=sum(one.busy_fraction for one in served) / count,
        span_s=max(one.span_s for one in served),
    )


def _of(served: Served, of: Timed) -> tuple[float, ...]:
    return {Timed.TTFT: served.ttft_s, Timed.TPOT: served.tpot_s, Timed.LATENCY: served.latency_s}[of]


def _kept(served: Served, limit: PercentileLimit) -> bool:
    return at_percent(_of(served, limit.of), limit.percent) <= limit.limit_s


def _kept_fraction(served: Served, limits: Sequence[PercentileLimit]) -> float:
    """The share of requests that keep the limits: of each time that has one, the least share."""
    shares = [1.0]
    for limit in limits:
        times_s = _of(served, limit.of)
        if times_s:
            shares.append(sum(time_s <= limit.limit_s for time_s in times_s) / len(times_s))
    return min(shares)


def _percentiles(one: Replicas, replicas: int, median: Served, level: float, of: Timed) -> Percentiles:
    """The percentiles of a time by the medians, and the 95th at the ends of the interval."""
    ends = []
    for z in (-quantile(level), quantile(level)):
        if one.bears(replicas, of, z):
            ends.append(at_percent(_of(one.served(replicas, TRIED, of, z), of), 95))
        else:
            ends.append(BEYOND_S)
    times_s = _of(median, of)
    return Percentiles(
        p50_s=at_percent(times_s, 50),
        p95_s=at_percent(times_s, 95),
        p99_s=at_percent(times_s, 99),
        p95_interval_s=(min(ends[0], at_percent(times_s, 95)), max(ends[1], at_percent(times_s, 95))),
    )


def service(one: Replicas, gpus: int, level: float, *, whole: bool = True) -> Service:
    """Return what the load does: on the replicas asked for, or on as few as keep the limits.

    ``level`` (0 to 1) is what intervals hold, and with which limits are kept. Without ``whole`` there is no curve.
    """
    asked, sure = one.asked, quantile(one_sided(level))
    least, by_median = one.least(sure), one.least(0.0)
    replicas = asked.replicas or (1 if not asked.limits else least or by_median or 1)
    capacity_per_s, rate_per_s = one.capacity_per_s(Timed.LATENCY, 0.0), one.arrivals.rate_per_s
    ends = tuple(one.capacity_per_s(Timed.LATENCY, z) for z in (quantile(level), -quantile(level)))
    points, knee_rate_per_s = one.curve() if whole else ((), 0.0)
    service = Service(
        asked=asked,
        requests=len(one.arrivals.times_s) or REQUESTS,
        sizes=len(one.engine.mix),
        seed=SEED,
        replicas=replicas,
        least_replicas=least,
        median_replicas=by_median,
        gpu_rate_per_s=rate_per_s / (replicas * gpus),
        capacity_per_s=capacity_per_s,
        capacity_interval_per_s=(ends[0], ends[1]),
        by_host=capacity_per_s == one.engine.host_per_s(),
        utilisation_fraction=rate_per_s / replicas / capacity_per_s,
        slots=one.engine.slots,
        knee_rate_per_s=knee_rate_per_s,
        curve=points,
        fewer_tokens=one.fewer_tokens() if whole else (),
    )
    return _seen(service, one, level) if one.bears(replicas) else service


def _seen(service: Service, one: Replicas, level: float) -> Service:
    """With what requests see on replicas that bear the rate."""
    median = one.served(service.replicas, REQUESTS)
    percentiles = functools.partial(_percentiles, one, service.replicas, median, level)
    return replace(
        service,
        batch_in_flight=median.in_flight_ratio,
        kept_fraction=_kept_fraction(median, service.asked.limits),
        ttft=percentiles(Timed.TTFT),
        tpot=percentiles(Timed.TPOT) if median.tpot_s else None,
        latency=percentiles(Timed.LATENCY),
    )
