"""What must be true of the machine if this is what was measured? Observed times -> a calibration that explains them.

(device, a calibration to start from, observations) -> the calibration whose prediction of every observed time is
nearest, by robust least squares on the logarithm of time over the same operator list that is priced. Each coefficient
is held to where it starts by how unsure it was (a Gaussian prior on its logarithm), so five observations already help
and two hundred decide. The error that remains is told by leaving groups of observations out, one group at a time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlmplan.cost import Machine
from vlmplan.errors import InputError
from vlmplan.hardware import Basis, Calibration, Efficiency, Kind
from vlmplan.measuring.observation import Observation, columns, kernel_seconds, overlapped_seconds

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """A coefficient to fit: of a class of operators, or of the overhead (``kind`` None).

    ``field`` is one of :class:`Efficiency`'s, ``compute_pads.0`` to ``.2`` a single pad, ``overhead_per_call_s`` and
    its like, or ``PREPROCESS``. ``prior_log_sd`` is how far its logarithm may be from the start; ``least`` what a start
    of zero is taken for.
    """

    field: str
    prior_log_sd: float
    kind: Kind | None = None
    least: float = 1e-7


_OVERHEADS = ("overhead_per_request_s", "overhead_per_call_s", "overhead_per_layer_s")
PREPROCESS = "preprocess"  # how many times longer images take than the calibration says
Key = tuple[Kind | None, bool, str]  # class, whether the quantised layers' calibration is meant, field


class _Model:
    """Predicted times as a function of the free coefficients' values in log space."""

    def __init__(
        self, observations: Sequence[Observation], machine: Machine, free: Sequence[Free], fixed_base: bool
    ) -> None:
        self.machine, self.ops = machine, columns(observations, machine)
        self.two = machine.quantised is not machine.base
        self.keys: list[Key] = []
        self.sd: list[float] = []
        self.start: list[float] = []
        for kind, quantised in self._classes():
            if fixed_base and not quantised:
                continue
            for one in (one for one in free if one.kind is kind):
                self.keys.append((kind, quantised, one.field))
                self.sd.append(one.prior_log_sd)
                self.start.append(self._encoded(one.field, self._get(self.keys[-1]), one.least))

    def _classes(self) -> list[tuple[Kind | None, bool]]:
        """The classes that occur, and the overhead; the quantised ones apart only where their calibration is."""
        found = {(kind, quantised and self.two) for kind, quantised in self.ops.classes}
        return [*sorted(found, key=str), (None, False)]

    def _get(self, key: Key) -> float:
        kind, quantised, field = key
        calibration = self.machine.calibration(quantised)
        if kind is None:
            return 1.0 if field == PREPROCESS else float(getattr(calibration, field))
        name, _, index = field.partition(".")
        value = getattr(calibration.operators[kind], name)
        if not index:
            return float(value)
        return float(value[int(index)]) if int(index) < len(value) else 0.0

    @staticmethod
    def _encoded(field: str, value: float, least: float) -> float:
        """Logarithm of a coefficient; the overlap's of what it is above 1."""
        return math.log(max(value - 1, 1e-2) if field == "overlap" else max(value, least))

    def values(self, logs: "Array") -> dict[Key, float]:
        """Coefficients by key."""
        return {
            key: math.exp(log) + (key[2] == "overlap") for key, log in zip(self.keys, map(float, logs), strict=True)
        }

    def efficiency(self, kind: Kind, quantised: bool, values: Mapping[Key, float]) -> Efficiency:
        """A class's coefficients, the free ones from ``values``."""
        old = self.machine.calibration(quantised).operators[kind]
        changed: dict[str, Any] = {}
        for (owner, apart, field), value in values.items():
            if owner is kind and apart is (quantised and self.two):
                name, _, index = field.partition(".")
                if index:
                    pads = [*changed.get(name, getattr(old, name)), 0.0, 0.0, 0.0][:3]
                    pads[int(index)] = value
                    changed[name] = tuple(pads)
                else:
                    changed[name] = value
        return replace(old, **changed)

    def kernels(self, values: Mapping[Key, float], index: int) -> "Array":
        """Seconds of the operators of one class, by observation and call."""
        import numpy as np

        ops = self.ops
        mine = ops.kind == index
        one = self.efficiency(*ops.classes[index], values)
        seconds = kernel_seconds(ops.compute_s[mine], ops.memory_s[mine], ops.shape[mine], one, ops.kernels[mine])
        summed: Array = np.bincount(ops.owner[mine], weights=seconds, minlength=ops.times.size).astype(float)
        return summed.reshape(ops.times.shape)

    def seconds(self, logs: "Array") -> "Array":
        """Predicted seconds of every observation."""
        import numpy as np

        values, ops = self.values(logs), self.ops
        kernels = np.sum([self.kernels(values, index) for index in range(len(ops.classes))], axis=0)
        request, call, layer = (
            values.get((None, False, field), self._get((None, False, field))) for field in _OVERHEADS
        )
        overhead = call * np.array([0.0, 1.0, 1.0]) + layer * ops.layers
        both = overlapped_seconds(kernels, overhead, self.machine.base.overhead_overlap)
        images_s = values.get((None, False, PREPROCESS), 1.0) * ops.preprocess_s
        return np.asarray((both * ops.times).sum(axis=1) + request * ops.requests + images_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit found. Errors are log(predicted / measured), one an observation.

    ``left_out`` are those of predictions by a fit without the observation's group.
    """

    base: Calibration
    quantised: Calibration
    in_sample: tuple[float, ...]
    left_out: tuple[float, ...]


_LEAST_LOG_SD = 0.02  # no model of a machine is surer of a single time than this
LEAST_PART_LOG_SD = 0.03  # nor is an interval ever narrower, whatever the errors seen
_ROBUST = 2.0  # residuals beyond this many standard deviations count less than squared


def _solved(model: _Model, measured_s: "Array", noise: "Array", error_log_sd: float) -> "Array":
    """Maximum a posteriori coefficients: errors and departures from the start, each over its standard deviation."""
    import numpy as np
    from scipy.optimize import least_squares

    start, sd = np.array(model.start), np.array(model.sd)
    logs = np.log(measured_s)
    best = start
    for _ in range(3):
        scale = np.hypot(noise, error_log_sd)

        def residuals(values: "Array", scale: "Array" = scale) -> "Array":
            off = (np.log(model.seconds(values)) - logs) / scale
            robust = np.sign(off) * np.sqrt(2 * _ROBUST**2 * (np.sqrt(1 + (off / _ROBUST) ** 2) - 1))
            return np.concatenate([robust, (values - start) / sd])

        best = least_squares(residuals, best, method="trf", x_scale=sd, max_nfev=60).x
        off = np.abs(np.log(model.seconds(best)) - logs)
        if len(off) > 2 * len(start):  # enough to say how well the form fits
            error_log_sd = max(_LEAST_LOG_SD, 1.48 * float(np.median(off)))
    return np.asarray(best)


def fit(
    observations: Sequence[Observation], machine: Machine, free: Sequence[Free], fixed_base: bool = False
) -> Fitted:
    """Fit the ``free`` coefficients of ``machine``'s calibrations, or of the quantised one alone (``fixed_base``).

    Raises InputError where there is nothing to fit to.
    """
    import numpy as np

    if not observations:
        raise InputError("found no measurement to fit to; expected at least one")
    measured = np.array([one.measured_s for one in observations])
    noise = np.array([one.noise_log_sd for one in observations])
    error = max(_LEAST_LOG_SD, machine.model_log_sd, machine.base.step_log_sd)
    model = _Model(observations, machine, free, fixed_base)
    found = _solved(model, measured, noise, error)
    in_sample = np.log(model.seconds(found) / measured)
    left_out = in_sample.copy()
    groups = [one.group for one in observations]
    for group in dict.fromkeys(groups):
        out = np.array([one == group for one in groups])
        if out.all():  # nothing is left to fit on: what was predicted before
            left_out = np.log(model.seconds(np.array(model.start)) / measured)
        else:
            rest = _Model(
                [one for one, gone in zip(observations, out, strict=True) if not gone], machine, free, fixed_base
            )
            logs = dict(zip(rest.keys, _solved(rest, measured[~out], noise[~out], error), strict=True))
            there = np.array([logs.get(key, start) for key, start in zip(model.keys, model.start, strict=True)])
            left_out[out] = np.log(model.seconds(there)[out] / measured[out])
    base, quantised = (_with(machine.calibration(apart), apart, model, found) for apart in (False, True))
    return Fitted(
        base=base,
        quantised=quantised if model.two else base,
        in_sample=tuple(map(float, in_sample)),
        left_out=tuple(map(float, left_out)),
    )


def _with(old: Calibration, quantised: bool, model: _Model, logs: "Array") -> Calibration:
    """A calibration with the coefficients found."""
    values = model.values(logs)
    operators = {kind: model.efficiency(kind, quantised, values) for kind in old.operators}
    overheads: dict[str, Any] = {
        field: value for (kind, apart, field), value in values.items() if kind is None and not apart
    }
    factor = overheads.pop(PREPROCESS, None)
    if factor is not None and old.preprocess is not None:
        sent_px_s, seen_px_s = factor * old.preprocess.sent_px_s, factor * old.preprocess.seen_px_s
        overheads[PREPROCESS] = replace(old.preprocess, sent_px_s=sent_px_s, seen_px_s=seen_px_s)
    return replace(old, basis=Basis.MEASURED, operators=operators, **overheads)
