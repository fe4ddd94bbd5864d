"""What do llama.cpp's own kernels reach of a device's rates? Fitted on published ``llama-bench`` times.

Its kernels unpack blocks as they multiply, and nobody published times of single ones; so the fractions of the peak and
of the bandwidth that linear layers reach are fitted on whole prefills and steps (``facts/published_latency.csv``), of
16 bits, Q8_0 and Q4_K_M apart, with what a call costs besides. Devices of all kinds together, every source counting
alike; the spread is that of sources left out. All other operators are as pooled over the GPUs measured.
Run: ``PYTHONPATH=. python tools/fit_llama_cpp.py`` prints the fit and every source left out of it.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from fit_overhead import model_of, published_rows, workload_of
from numpy.typing import NDArray
from scipy.optimize import least_squares

from vlmplan.cost.op import Request
from vlmplan.cost.roofline import machine
from vlmplan.cost.totals import cost, request_of
from vlmplan.hardware.profile import Calibration, Efficiency, Kind
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.measuring.observation import Quantity, predicted

Floats = NDArray[np.float64]
# 16 bits and the two that are offered beside them.
PRECISIONS = (Precision.FP16, Precision.INT8, Precision.INT4)
# Where the fit begins and is held weakly to: what 16-bit kernels of GPUs reach, and a tenth of a millisecond a call.
_START = np.log([0.75, 0.8, 0.6, 0.75, 0.6, 0.65, 1e-4])
_HELD = 0.1
_ROBUST_LOG = 0.3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One published time of llama.cpp."""

    source: str
    hardware: str
    request: Request
    quantity: Quantity
    measured_s: float


@functools.cache
def points() -> tuple[Point, ...]:
    """All published times of llama.cpp."""
    found = []
    for row in published_rows():
        if row["runtime"] != Runtime.LLAMA_CPP:
            continue
        request = request_of(model_of(row["model"]), workload_of(row), 0, Precision(row["precision"]))
        found += [
            Point(source=row["source"], hardware=row["hardware"], request=request, quantity=quantity,
                  measured_s=float(text) / 1e3)
            for quantity in (Quantity.TTFT, Quantity.TPOT)
            if (text := row[f"{quantity}_ms"])
        ]  # fmt: skip
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Fractions (compute, memory) of linear layers by precision, what a call costs, and the spread of sources left out.

    ``spread`` is of log time: before the first token, of a step.
    """

    fractions: dict[Precision, tuple[float, float]]
    call_s: float
    spread: tuple[float, float] = (0.0, 0.0)

    def calibrations(self, base: Calibration) -> tuple[Calibration, ...]:
        """Return ``base`` with what linear layers reach, once a precision."""
        return tuple(self._of(base, precision) for precision in PRECISIONS)

    def _of(self, base: Calibration, precision: Precision) -> Calibration:
        compute, memory = self.fractions[precision]
        linear = replace(
            base.operators[Kind.LINEAR], compute_fraction=compute, memory_fraction=memory, compute_pads=(),
            memory_pads=(), median_error_fraction=None,
        )  # fmt: skip
        operators: dict[Kind, Efficiency] = {**base.operators, Kind.LINEAR: linear}
        return replace(
            base, precision=precision, operators=operators, overhead_per_call_s=self.call_s, overhead_per_layer_s=0.0
        )


def _reached(logs: Floats) -> Reached:
    values = [float(value) for value in np.exp(logs)]
    pairs = zip(values[0:6:2], values[1:6:2], strict=True)
    return Reached(fractions=dict(zip(PRECISIONS, pairs, strict=True)), call_s=values[6])


def predict_s(point: Point, reached: Reached, base: Calibration) -> float:
    """Return the time that a fit gives a point."""
    hardware = replace(catalogue.hardware(point.hardware), calibration=())
    ready = machine(hardware, reached.calibrations(base), Runtime.LLAMA_CPP, point.request.precision)
    return predicted(point.quantity, cost(point.request, ready))[0]


def _logs_off(found: Sequence[Point], reached: Reached, base: Calibration) -> Floats:
    return np.array([math.log(one.measured_s / predict_s(one, reached, base)) for one in found])


def _fit(found: Sequence[Point], base: Calibration, start: Floats = _START) -> Floats:
    """Fit logarithms on some points; a source counts alike however many rows it has."""
    sources = [one.source for one in found]
    weight = np.sqrt([1 / sources.count(source) for source in sources])

    def off(logs: Floats) -> Floats:
        errors = _logs_off(found, _reached(logs), base) / _ROBUST_LOG
        robust = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
        return np.concatenate([weight * robust, _HELD * (logs - _START) / _ROBUST_LOG])

    return np.asarray(least_squares(off, start, diff_step=1e-3, xtol=1e-3, ftol=1e-3, max_nfev=12).x)


def left_out(base: Calibration, whole: Floats) -> list[tuple[Point, float]]:
    """Return every point beside its log error by a fit without its source, which begins at the ``whole`` fit."""
    found = []
    for source in dict.fromkeys(one.source for one in points()):
        reached = _reached(_fit([one for one in points() if one.source != source], base, whole))
        mine = [one for one in points() if one.source == source]
        found += list(zip(mine, map(float, _logs_off(mine, reached, base)), strict=True))
    return found


def fit(base: Calibration) -> Reached:
    """Fit on all points, with the spread of sources left out: its root mean square, every source counting alike."""
    whole = _fit(points(), base)
    residuals = left_out(base, whole)

    def spread(quantity: Quantity) -> float:
        by_source: dict[str, list[float]] = {}
        for one, off in residuals:
            if one.quantity is quantity:
                by_source.setdefault(one.source, []).append(off**2)
        return math.sqrt(float(np.mean([np.mean(each) for each in by_source.values()])))

    return replace(_reached(whole), spread=(spread(Quantity.TTFT), spread(Quantity.TPOT)))


def why() -> str:
    """What the calibrations rest on, in a line."""
    sources = {one.source for one in points()}
    return (
        f"linear layers and calls: {len(points())} published llama-bench times of {len(sources)} sources "
        "(facts/published_latency.csv), all devices together, the spread that of sources left out "
        "(tools/fit_llama_cpp.py)"
    )


def main() -> None:
    """Print the fit and its errors, by source left out."""
    from make_hardware import calibration

    base = calibration(Runtime.LLAMA_CPP, Precision.FP16, None)
    print(fit(base))
    for one, off in left_out(base, _fit(points(), base)):
        name = one.request.model.name
        print(f"{one.source[:36]:36} {one.hardware:24} {name:22} {one.request.precision:5} {one.quantity:5} {off:+.2f}")
    print(why())


if __name__ == "__main__":
    main()
