"""What is chosen for many users? Candidates that keep the budget alone -> those that bear a rate, on how many replicas.

A bound of each candidate's replicas comes of what one bears at most; only what would be chosen is simulated, and chosen
again with the number found, until the choice is one that was simulated. Rates are requests a second.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vlmplan.cost import LoadAsked, Machine, PercentileLimit, Service, Timed, one_sided
from vlmplan.errors import Infeasible
from vlmplan.hardware import Precision
from vlmplan.intervals import quantile
from vlmplan.inventory import Budget, RequestLog
from vlmplan.planning.options import Asked
from vlmplan.planning.search import Candidate
from vlmplan.units import counted

if TYPE_CHECKING:
    from vlmplan.serving import Replicas

_BATCHED = (
    "come at random, or as the trace has them, to the replicas in turn; each batches continuously with chunked "
    "prefill, preempts nobody, and makes one request's images ready after the other's; no prefix is cached"
)
UNDER_LOAD = f"requests are alike and {_BATCHED}"
LOGGED_UNDER_LOAD = f"requests are as large as the logged ones and {_BATCHED}"


PLAIN_PERCENT = 95  # what a limit of time without a percentile is of, under a load


def limits_under_load(load: LoadAsked, budget: Budget) -> LoadAsked:
    """Return the load with a limit of each time: where no percentile has one, the budget's holds for 95 of 100."""
    plain = {Timed.LATENCY: budget.latency_s, Timed.TTFT: budget.ttft_s, Timed.TPOT: budget.tpot_s}
    stated = {limit.of for limit in load.limits}
    more = tuple(
        PercentileLimit(of=of, percent=PLAIN_PERCENT, limit_s=limit_s)
        for of, limit_s in plain.items()
        if limit_s is not None and of not in stated
    )
    return replace(load, limits=(*load.limits, *more))


def bears_not(replicas: int) -> str:
    """Return that so many replicas do not bear."""
    return f"{counted(replicas, 'replica')} {'does' if replicas == 1 else 'do'} not bear"


class Loaded:
    """A load that candidates are held to on one device."""

    def __init__(
        self,
        load: LoadAsked,
        budget: Budget,
        machines: Mapping[Precision, Machine],
        level: float,
        log: RequestLog | None,
    ) -> None:
        """Read the trace, if there is one. Raises InputError."""
        from vlmplan.serving import arrivals_of

        self.asked, self._machines, self._level = limits_under_load(load, budget), machines, level
        self._memory_bytes, self._log = budget.memory_bytes, log
        self._arrivals, self._in_turn = arrivals_of(load, log)
        self._known: dict[int, Replicas] = {}

    @property
    def _sure(self) -> float:
        """Standard deviations out that limits are kept at."""
        return quantile(one_sided(self._level))

    def _one(self, candidate: Candidate) -> "Replicas":
        """What replicas of a candidate do; copies of it share that."""
        key = id(candidate.cost)
        if key not in self._known:
            from vlmplan.serving import Load, Replicas, sizes_of

            ready, log = self._machines[candidate.request.precision], self._log
            load = Load(
                asked=self.asked,
                arrivals=self._arrivals,
                sizes=None if log is None else lambda request: sizes_of(log, request, ready, candidate.route),
                in_turn=self._in_turn,
            )
            self._known[key] = Replicas(candidate.request, ready, self._memory_bytes, load)
        return self._known[key]

    def _at_least(self, candidate: Candidate) -> Candidate:
        """The candidate with the fewest replicas that can bear the rate at all, or those asked for.

        By requests as planned: of sizes of their own, which are priced of what would be chosen alone, it is no bound
        but where to begin.
        """
        capacity_per_s = self._one(candidate).alike_per_s(self._sure)
        rate_per_s = self._arrivals.rate_per_s
        least = max(1, self.asked.replicas or 0, math.ceil(rate_per_s / capacity_per_s))
        return replace(candidate, replicas=least, rate_per_s=rate_per_s)

    def settled(
        self,
        candidates: tuple[Candidate, ...],
        within: tuple[Candidate, ...],
        choose: Callable[[list[Candidate]], Candidate],
    ) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
        """Return all candidates, and those that may bear the rate, the one that is chosen by simulation.

        Raises Infeasible where the replicas asked for bear it with none.
        """
        most = self.asked.replicas
        left = {id(one.cost): self._at_least(one) for one in within}
        out: dict[int, Candidate] = {}
        simulated: set[int] = set()
        while True:
            for key in [key for key, one in left.items() if most is not None and one.replicas > most]:
                out[key] = left.pop(key)
            if not left:
                raise self._overloaded(out.values())
            choice = choose(list(left.values()))
            key = id(choice.cost)
            if key in simulated:
                break
            simulated.add(key)
            least = self._one(choice).least(self._sure)
            if least is None:
                out[key] = replace(left.pop(key), replicas=0)
            else:
                left[key] = replace(choice, replicas=max(least, most or 0))
        known = out | left
        return tuple(known.get(id(one.cost), one) for one in candidates), tuple(left.values())

    def _overloaded(self, out: Iterable[Candidate]) -> Infeasible:
        """The error where nothing bears the rate, with what comes nearest."""
        rate = f"{self._arrivals.rate_per_s:.4g} requests a second"
        bearing = [one for one in out if one.replicas]
        if not bearing:
            from vlmplan.serving import MOST_SPARE

            return Infeasible(
                f"no number of replicas, up to {MOST_SPARE} times what bears it, keeps the limits at {rate}: requests "
                "that meet another break them; raise the limits, or give --replicas"
            )
        nearest = min(bearing, key=lambda one: (one.replicas, one.predicted_error))
        least = nearest.replicas
        brief = f"{bears_not(self.asked.replicas or 0)} {rate}: {nearest.label} needs at least {least}"
        return Infeasible(
            f"{brief}; give --replicas {least} or more, none for the least that hold, or a lower --rate", brief
        )

    def service(self, choice: Candidate) -> Service:
        """Return what the load does to the choice."""
        from vlmplan.serving import service

        one = self._one(choice)
        return service(one, choice.request.gpus, self._level)


def load_of(
    asked: Asked | None, budget: Budget, machines: Mapping[Precision, Machine], log: RequestLog | None
) -> Loaded | None:
    """Return the load that was asked for, of requests as large as those of ``log``; None without one."""
    if asked is None or asked.load is None:
        return None
    return Loaded(asked.load, budget, machines, asked.confidence, log)


def settled(
    loaded: Loaded | None,
    candidates: tuple[Candidate, ...],
    within: tuple[Candidate, ...],
    choose: Callable[[list[Candidate]], Candidate],
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Return all candidates, and those that may be chosen: without a load they are as they were."""
    return (candidates, within) if loaded is None else loaded.settled(candidates, within, choose)


def served(loaded: Loaded | None, choice: Candidate) -> Service | None:
    """Return what the load does to the choice; None without one."""
    return None if loaded is None else loaded.service(choice)
