"""How sure is a time? Its spread, from what the parts of the machine's calibration are off by.

(where a time went, machine) -> its spread about the median: a log-normal whole, and shares that spread by themselves;
and what of a request lies beyond what was measured.
"""

import math
from collections import defaultdict
from collections.abc import Mapping

from vlmplan.cost.op import Request
from vlmplan.cost.roofline import UNMEASURED_LINEAR_LOG_SD, Machine
from vlmplan.hardware import Kind, Part
from vlmplan.intervals import quantile
from vlmplan.records import dataclass


def one_sided(confidence: float) -> float:
    """Return the level of the central interval whose upper end a time is below with ``confidence``."""
    return round(2 * confidence - 1, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a time spreads about its median: log-normally as a whole, and by shares of it that spread by themselves.

    ``log_sd`` is of the whole; ``apart`` are shares of the median with the log standard deviation of each: they can be
    many times as long, and no shorter than nothing, while the rest stays.
    """

    log_sd: float
    apart: tuple[tuple[float, float], ...] = ()

    def factor(self, z: float) -> float:
        """Return the ratio to the median, ``z`` standard deviations from it."""
        if not self.apart:
            return math.exp(z * self.log_sd)
        squares = 0.0
        for share, log_sd in self.apart:
            squares += (share * math.expm1(z * log_sd)) ** 2
        alone = math.log1p(math.copysign(math.sqrt(squares), z))
        return math.exp(math.copysign(math.hypot(z * self.log_sd, alone), z))

    def upper(self, median: float, confidence: float) -> float:
        """Return what the time is below with ``confidence`` (0.5 to 1)."""
        return median * self.factor(quantile(one_sided(confidence)))

    def interval(self, median: float, level: float) -> tuple[float, float]:
        """Return the central interval that holds ``level`` (0 to 1)."""
        z = quantile(level)
        return (median * self.factor(-z), median * self.factor(z))

    @property
    def usual_log_sd(self) -> float:
        """The log standard deviation of a log-normal as wide as this one's central 90 %."""
        z = quantile(0.9)
        return math.log(self.factor(z) / self.factor(-z)) / (2 * z)


Seconds = defaultdict[tuple[Kind, bool], float]  # by class of operator, and whether it is quantised


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where a summed time went.

    Kernels by class, those before the first token and those of steps; by part with its exposed overhead; overhead, of
    which that of a request; and the host's work on images.
    """

    by_class: Seconds
    by_part: Mapping[Part, float]
    first_kernels_s: float = 0.0
    step_kernels_s: float = 0.0
    overhead_s: float
    request_s: float = 0.0
    preprocess_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.overhead_s + self.preprocess_s + sum(self.by_class.values())


def spread(spent: Spent, machine: Machine, further_log_sd: float = 0.0) -> Spread:
    """Return the spread of a summed time.

    Where the runtime's parts were measured, by their errors; else by classes of operators (errors of one class go
    together, those of different classes do not) and by what one stack differs from another. What the host adds to a
    request and what it spends on images spread by themselves.
    ``further_log_sd`` is of the whole.
    """
    total_s, base = spent.total_s, machine.base
    squares = (further_log_sd * total_s) ** 2
    if machine.unmeasured_linear:
        quantised_s = sum(one_s**2 for (_, quantised), one_s in spent.by_class.items() if quantised)
        squares += UNMEASURED_LINEAR_LOG_SD**2 * quantised_s
    request_s, image_s = spent.request_s, spent.preprocess_s
    measured = machine.quantised.part_log_sd or base.part_log_sd
    if measured:  # the overhead of a request with the prefill
        request_s = 0.0
        squares += sum((measured.get(part, 0.0) * one_s) ** 2 for part, one_s in spent.by_part.items())
    else:
        squares += _stack_squares(spent, machine)
    image_log_sd = base.preprocess.log_sd if base.preprocess else 0.0
    hosts = ((request_s / total_s, base.request_log_sd), (image_s / total_s, image_log_sd))
    return Spread(log_sd=math.sqrt(squares) / total_s, apart=tuple(one for one in hosts if all(one)))


def _stack_squares(spent: Spent, machine: Machine) -> float:
    """Squared deviations in seconds of what was not measured whole, but for what the host adds to a request."""
    base = machine.base
    call_s = spent.overhead_s - spent.request_s
    deviation_s: defaultdict[tuple[Kind, bool], float] = defaultdict(float)
    for (kind, quantised), part_s in spent.by_class.items():
        apart = quantised and machine.quantised is not machine.base
        deviation_s[kind, apart] += machine.calibration(quantised).operators[kind].log_sd * part_s
    apart_s = (
        machine.model_log_sd * spent.total_s,
        base.overhead_log_sd * call_s,
        machine.first_log_sd * spent.first_kernels_s,
        base.step_log_sd * spent.step_kernels_s,
    )
    return sum(one_s**2 for one_s in (*apart_s, *deviation_s.values()))


# How much less sure a prediction is for every factor of e beyond what was measured: an assumption.
EXTRAPOLATION_LOG_SD = 0.05


def beyond(request: Request, machine: Machine) -> dict[str, tuple[int, tuple[int, int]]]:
    """Return the sizes of the request that lie outside what was measured, each with the range."""
    known = machine.base.measured_range
    return {
        name: (size, known[name])
        for name, size in request.sizes.items()
        if name in known and not known[name][0] <= size <= known[name][1]
    }


def extrapolation_log_sd(request: Request, machine: Machine) -> float:
    """The spread that comes of going beyond what was measured."""
    steps = (abs(math.log(size / (low if size < low else high)))
             for size, (low, high) in beyond(request, machine).values() if size and low)  # fmt: skip
    return EXTRAPOLATION_LOG_SD * sum(steps)
