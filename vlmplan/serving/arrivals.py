"""When do requests come? A rate, or a trace of times -> the arrivals at one of several replicas, in seconds.

Requests go to the replicas in turn. Of a Poisson process every n-th arrival comes after the sum of n exponential gaps,
a gamma variable, so that one replica stands for all of them; a trace is dealt out.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random

from vlmplan.cost import LoadAsked
from vlmplan.document import read_text
from vlmplan.errors import InputError
from vlmplan.inventory import TIMES, RequestLog, read_requests
from vlmplan.records import dataclass

MOST_TRACED = 1_000_000
LARGEST_TRACE_BYTES = 2**26
LONGEST_GAP_SHARE = 0.5  # of a trace's span: what has a longer pause is two traces, and no load


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """A Poisson process of ``rate_per_s``, or the times of a trace, whose mean rate it then is."""

    rate_per_s: float
    times_s: tuple[float, ...] = ()

    def at_replica(self, replica: int, replicas: int, count: int, seed: int) -> list[float]:
        """Return when requests come to one of ``replicas``, in seconds: ``count`` of them, or all of the trace's."""
        if self.times_s:
            return list(self.times_s[replica::replicas])
        random, now_s, arrivals_s = Random(f"{seed} {replica}"), 0.0, list[float]()
        for _ in range(count):
            now_s += random.gammavariate(replicas, 1 / self.rate_per_s)
            arrivals_s.append(now_s)
        return arrivals_s


def _time(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{where}: expected the time of an arrival in seconds from 0 on, found '{text[:40]}'")
    return value


def read_trace(path: Path) -> Arrivals:
    """Read a file of arrival times, one a line, in seconds.

    Raises InputError for what is no time, for times that go back, and for a trace with a pause of half its length.
    """
    try:
        lines = read_text(path, LARGEST_TRACE_BYTES).splitlines()
    except InputError as error:
        raise InputError(
            f"{error}; expected a rate (20/s), or a file of arrival times in seconds, one a line"
        ) from None
    times_s: list[float] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        now_s = _time(line.strip(), f"{path} line {number}")
        if times_s and now_s < times_s[-1]:
            raise InputError(
                f"{path} line {number}: found {now_s:g} s after {times_s[-1]:g} s, expected times in order; "
                "sort the file"
            )
        times_s.append(now_s)
    return _checked(path, times_s)


def _checked(path: Path, times_s: Sequence[float]) -> Arrivals:
    """The trace from its first arrival on. Raises InputError where it says no rate."""
    if not 10 <= len(times_s) <= MOST_TRACED:
        raise InputError(f"{path}: found {len(times_s)} arrival times, expected 10 to {MOST_TRACED}")
    span_s = times_s[-1] - times_s[0]
    if span_s <= 0:
        raise InputError(f"{path}: all {len(times_s)} requests come at one moment; expected some time between them")
    gap_s, at_s = max((b - a, a) for a, b in itertools.pairwise(times_s))
    if gap_s > LONGEST_GAP_SHARE * span_s:
        raise InputError(
            f"{path}: nothing comes for {gap_s:g} s after {at_s:g} s, of {span_s:g} s in all; expected a trace without "
            "a pause of half its length; give the busy part"
        )
    rate_per_s = (len(times_s) - 1) / span_s
    return Arrivals(rate_per_s=rate_per_s, times_s=tuple(one - times_s[0] for one in times_s))


def arrivals_of(load: LoadAsked, log: RequestLog | None = None) -> tuple[Arrivals, bool]:
    """Return when requests come, and whether they are those of ``log``, each at its own time. Raises InputError."""
    if load.trace is None:
        return Arrivals(rate_per_s=load.rate_per_s), False
    path = Path(load.trace)
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return read_trace(path), False
    read = read_requests(path)
    if not read.timed:
        raise InputError(f"--rate: not every request in {path} says when it came ({' or '.join(TIMES)}); give a rate")
    times_s = [one.time_s for one in read.requests if one.time_s is not None]
    return _checked(path, times_s), log is not None and log.requests == read.requests
