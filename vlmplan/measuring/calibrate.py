"""What must be true of the machine if this is what was measured? Observed times -> a calibration that explains them.

(device, a calibration to start from, observations) -> the calibration whose prediction of every observed time is
nearest, by robust least squares on the logarithm of time over the same operator list that is priced. Each coefficient
is held to where it starts by how unsure it was (a Gaussian prior on its logarithm), so five observations already help
and two hundred decide. The error that remains is told by leaving groups of observations out, one group at a time.

Of a plan's two figures, TTFT and TPOT, two factors are mended: compute rates are scaled until the TTFT is met, memory
rates and overheads until the TPOT is. The shapes of the efficiencies stay as they were, so other models and lengths are
mended only as far as those are right. ``profile`` measures them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlmplan.cost import Machine, cost, machine, request_of
from vlmplan.errors import InputError
from vlmplan.hardware import Basis, Calibration, Efficiency, HardwareProfile, Kind
from vlmplan.measuring.observation import Observation, columns, kernel_seconds, overlapped_seconds
from vlmplan.measuring.timing import Samples
from vlmplan.planning import Plan

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
        classes = {(kind, quantised and self.two) for kind, quantised in self.ops.classes}
        return [*sorted(classes, key=str), (None, False)]

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
    coefficients = _solved(model, measured, noise, error)
    in_sample = np.log(model.seconds(coefficients) / measured)
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
    base, quantised = (_with(machine.calibration(apart), apart, model, coefficients) for apart in (False, True))
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


_ROUNDS = 60
_LEAST_FACTOR, _MOST_FACTOR = 1e-3, 1e3
_LOG_SD = 0.15  # of an operator class whose level was measured, but not its shape


def _scaled(calibration: Calibration, compute: float, memory: float, model_log_sd: float, source: str) -> Calibration:
    """The calibration with times ``compute`` and ``memory`` times as long."""

    def slower(one: Efficiency) -> Efficiency:
        return replace(
            one,
            compute_fraction=one.compute_fraction / compute,
            memory_fraction=one.memory_fraction / memory,
            latency_s=one.latency_s * memory,
            log_sd=min(one.log_sd, _LOG_SD),
        )

    return replace(
        calibration,
        basis=Basis.MEASURED,
        overhead_per_layer_s=calibration.overhead_per_layer_s * memory,
        overhead_per_call_s=calibration.overhead_per_call_s * memory,
        overhead_log_sd=min(calibration.overhead_log_sd, _LOG_SD),
        request_log_sd=min(calibration.request_log_sd, _LOG_SD),
        first_log_sd=0.0,
        step_log_sd=0.0,
        model_log_sd=model_log_sd,
        operators={kind: slower(one) for kind, one in calibration.operators.items()},
        source=source,
    )


def recalibrated(plan: Plan, ttft: Samples, tpot: Samples | None) -> HardwareProfile:
    """Return the profile whose prediction of the plan's own request is nearest to the medians measured.

    Both are met where they can be: prefill reads at least the weights that a decode step reads. Raises InputError where
    no scaling helps.
    """
    choice, ttft_s = plan.choice, ttft.median_s
    tpot_s = None if tpot is None else tpot.median_s
    noise = max(samples.median_log_sd for samples in (ttft, tpot) if samples is not None)
    log_sd = math.hypot(_LOG_SD, noise)
    request = request_of(plan.model, plan.workload, choice.visual_tokens, choice.precision, choice.compressor)
    source = (
        f"vlmplan validate: {choice.model}, {choice.visual_tokens} visual tokens, {choice.precision}: TTFT "
        f"{ttft_s:.4g} s" + ("" if tpot_s is None else f", TPOT {tpot_s:.4g} s") + "; rates scaled to meet them"
    )

    base, *others = plan.hardware.calibration
    label = machine(plan.hardware, (), plan.runtime, choice.precision).base_precision
    calibrations = (replace(base, precision=label), *others)  # a stand-in becomes what it was measured as

    def profile(compute: float, memory: float) -> HardwareProfile:
        scaled = tuple(_scaled(one, compute, memory, log_sd, source) for one in calibrations)
        return replace(
            plan.hardware,
            name=f"{plan.hardware.name}-recalibrated",
            title=f"{plan.hardware.title}, recalibrated by vlmplan validate",
            confidence="medium",
            calibration=scaled,
        )

    def ratios(compute: float, memory: float) -> tuple[float, float]:
        """How many times longer TTFT and TPOT were than this profile predicts."""
        predicted = cost(request, machine(profile(compute, memory), (), plan.runtime, choice.precision))
        first = ttft_s / (predicted.ttft_s - predicted.preprocess_s)  # the runner is given images that are ready
        return first, first if tpot_s is None or predicted.tpot_s is None else tpot_s / predicted.tpot_s

    return profile(*_best_factors(ratios, plan.hardware.name))


def _best_factors(ratios: Callable[[float, float], tuple[float, float]], name: str) -> tuple[float, float]:
    """The factors on compute and memory times that bring both ratios nearest to 1. Raises InputError if none helps."""
    compute = memory = 1.0
    tried: dict[tuple[float, float], float] = {}
    for _ in range(_ROUNDS):
        more_compute, more_memory = ratios(compute, memory)
        tried[compute, memory] = max(abs(math.log(more_compute)), abs(math.log(more_memory)))
        compute = min(max(compute * more_compute, _LEAST_FACTOR), _MOST_FACTOR)
        memory = min(max(memory * more_memory, _LEAST_FACTOR), _MOST_FACTOR)
    best = min(tried, key=tried.__getitem__)
    if best == (1.0, 1.0) and tried[best] > _LOG_SD:
        raise InputError(f"no scaling of {name}'s rates brings its prediction nearer to what was measured")
    return best
