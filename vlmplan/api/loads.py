"""Which load is meant? A rate or a trace, replicas and percentiles in words -> the load that is asked for."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmplan.cost import LEAST_RATE_PER_S, MOST_RATE_PER_S, MOST_REPLICAS, LoadAsked, PercentileLimit, Timed
from vlmplan.errors import InputError
from vlmplan.inventory import Budget
from vlmplan.units import parse_rate, parse_seconds

if TYPE_CHECKING:
    from vlmplan.cost import Estimate, Machine, Request, Service
    from vlmplan.inventory import RequestLog

# Percentiles by the name of their option: p95 is of the latency.
_PERCENTILE = re.compile(r"(?:(ttft|tpot|latency)[-_])?p(50|95|99)")
_STEADY = re.compile(r"\s*[-+]?[0-9.].*")


def _rate_per_s(text: str) -> float:
    try:
        found = parse_rate(text)
    except InputError as error:
        raise InputError(f"--rate: {error}; or give a file of arrival times") from None
    if not LEAST_RATE_PER_S <= found <= MOST_RATE_PER_S:
        raise InputError(f"--rate: found '{text}', expected {LEAST_RATE_PER_S:g}/s to {MOST_RATE_PER_S:,.0f}/s")
    return found


def _limits(percentiles: Mapping[str, str]) -> tuple[PercentileLimit, ...]:
    """The limits by name, such as ``p95`` or ``ttft-p99``. Raises InputError."""
    found = []
    for name, text in percentiles.items():
        match = _PERCENTILE.fullmatch(name)
        if match is None:
            raise InputError(f"percentiles: found '{name[:40]}', expected p50, p95 or p99, or such as ttft-p99")
        try:
            limit_s = parse_seconds(str(text))
        except InputError as error:
            raise InputError(f"--{name.replace('_', '-')}: {error}") from None
        found.append(PercentileLimit(of=Timed(match[1] or Timed.LATENCY), percent=int(match[2]), limit_s=limit_s))
    return tuple(found)


def load_asked(words: Mapping[str, Any]) -> LoadAsked | None:
    """Return the load that ``rate``, ``replicas`` and ``percentiles`` say; None without a rate. Raises InputError."""
    rate, replicas, percentiles = words.get("rate"), words.get("replicas"), words.get("percentiles") or {}
    if rate is None:
        for name, value in (("--replicas", replicas), (f"--{next(iter(percentiles), '')}", percentiles or None)):
            if value is not None:
                raise InputError(f"{name}: found it without --rate, which says how many requests come; give both")
        return None
    if replicas is not None and not 1 <= replicas <= MOST_REPLICAS:
        raise InputError(f"--replicas: found {replicas}, expected 1 to {MOST_REPLICAS}")
    workload_alone = words.get("concurrency") or words.get("batch")
    if workload_alone and workload_alone > 1:
        raise InputError("--rate: found --concurrency or --batch beside it; how many are in flight comes of the rate")
    text, limits = str(rate), _limits(percentiles)
    if _STEADY.fullmatch(text) and not Path(text).is_file():
        return LoadAsked(rate_per_s=_rate_per_s(text), replicas=replicas, limits=limits)
    from vlmplan.serving import arrivals_of

    traced = LoadAsked(rate_per_s=LEAST_RATE_PER_S, trace=text, replicas=replicas, limits=limits)
    return replace(traced, rate_per_s=arrivals_of(traced)[0].rate_per_s)


def alone(load: LoadAsked | None, budget: Budget | None) -> Budget | None:
    """Return the budget with what percentiles ask of a request alone, where no plain limit is shorter."""
    if load is None or not load.limits:
        return budget
    times = {f"{of.value}_s": load.least_s(of) for of in Timed}
    stated = {name: getattr(budget, name) if budget else None for name in times}
    least = {
        name: min((value for value in (times[name], stated[name]) if value is not None), default=None) for name in times
    }
    return Budget(**least) if budget is None else replace(budget, **least)


def _service(
    request: "Request", ready: "Machine", load: LoadAsked, level: float, log: "RequestLog | None"
) -> "Service":
    """What a load does to one configuration, of requests as large as those of a log where there is one."""
    from vlmplan.serving import Load, Replicas, arrivals_of, service, sizes_of

    arrivals, in_turn = arrivals_of(load, log)
    sizes = None if log is None else lambda one: sizes_of(log, one, ready)
    whole = Load(asked=load, arrivals=arrivals, sizes=sizes, in_turn=in_turn)
    return service(Replicas(request, ready, ready.hardware.usable_bytes(ready.runtime), whole), request.gpus, level)


def with_service(
    found: "Estimate", request: "Request", ready: "Machine", load: LoadAsked | None, log: "RequestLog | None"
) -> "Estimate":
    """Return an estimate with what a load does; one that cannot be run bears none."""
    if load is None or found.obstacles:
        return found
    return replace(found, service=_service(request, ready, load, found.interval_level_fraction, log))
