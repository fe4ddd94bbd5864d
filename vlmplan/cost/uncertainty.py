"""How sure is a time? Its spread, from what the parts of the machine's calibration are off by.

(where a time went, machine) -> the standard deviation of its logarithm, and what of a request lies beyond what was
measured.
"""

import math
from collections import defaultdict
from collections.abc import Mapping

from vlmplan.cost.op import Request
from vlmplan.cost.roofline import UNMEASURED_LINEAR_LOG_SD, Machine
from vlmplan.hardware import Kind, Part
from vlmplan.records import dataclass

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


def log_sd(spent: Spent, machine: Machine) -> float:
    """Return the spread of the logarithm of a summed time.

    Where the runtime's parts were measured, by their errors; else by classes of operators: errors of one class go
    together, those of different classes do not.
    """
    total_s, base = spent.total_s, machine.base
    image_s = base.preprocess.log_sd * spent.preprocess_s if base.preprocess else 0.0
    squares = 0.0
    if machine.unmeasured_linear:
        quantised_s = sum(one_s**2 for (_, quantised), one_s in spent.by_class.items() if quantised)
        squares += UNMEASURED_LINEAR_LOG_SD**2 * quantised_s
    measured = machine.quantised.part_log_sd or base.part_log_sd
    if measured:
        squares += image_s**2
        squares += sum((measured.get(part, 0.0) * one_s) ** 2 for part, one_s in spent.by_part.items())
        return math.sqrt(squares) / total_s
    # A host that is slow with requests is slow with their images.
    squares += (base.request_log_sd * spent.request_s + image_s) ** 2
    squares += (machine.model_log_sd * total_s) ** 2
    squares += (base.overhead_log_sd * (spent.overhead_s - spent.request_s)) ** 2
    squares += (machine.first_log_sd * spent.first_kernels_s) ** 2 + (base.step_log_sd * spent.step_kernels_s) ** 2
    deviation_s: defaultdict[tuple[Kind, bool], float] = defaultdict(float)
    for (kind, quantised), part_s in spent.by_class.items():
        apart = quantised and machine.quantised is not machine.base
        deviation_s[kind, apart] += machine.calibration(quantised).operators[kind].log_sd * part_s
    return math.sqrt(squares + sum(one_s**2 for one_s in deviation_s.values())) / total_s


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
