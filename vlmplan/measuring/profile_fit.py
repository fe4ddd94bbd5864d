"""Which profile explains the measurements? A store of times -> a hardware profile with intervals.

The base precision's calibration is fitted on everything that was measured at it; quantised ones then differ in their
linear layers alone. Intervals come from errors on widths and towers left out, and from how much the machine's speed
changes from minute to minute.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlmplan.cost import machine
from vlmplan.errors import InputError
from vlmplan.hardware import Basis, Calibration, Efficiency, HardwareProfile, Kind, Part, Precision, Setup
from vlmplan.measuring.calibrate import Fitted, Free, fit
from vlmplan.measuring.images import preprocess_of
from vlmplan.measuring.observation import Observation, Quantity, measured_range
from vlmplan.measuring.timing import Store
from vlmplan.measuring.trials import Trial

DRIFT_FRACTION = 0.1  # a change of speed that is worth a warning
RESERVE_BYTES = 2**30  # for the process, the libraries and workspaces: an assumption, as in typical.toml
_LEAST_LOG_SD = 0.03


def _rates(kind: Kind, *fields: str, prior: float = 1.0) -> tuple[Free, ...]:
    return tuple(Free(kind=kind, field=name, prior_log_sd=prior, least=1.0 if "pads" in name else 1e-7)
                 for name in fields)  # fmt: skip


_LINEAR = _rates(Kind.LINEAR, "compute_fraction", "memory_fraction", "latency_s", "overlap", "compute_pads.0")
FREE = (
    *_LINEAR,
    *_rates(Kind.PREFILL_ATTENTION, "compute_fraction", "memory_fraction"),
    *_rates(Kind.DECODE_ATTENTION, "compute_fraction", "memory_fraction"),
    *_rates(Kind.VISION_ATTENTION, "compute_fraction", "memory_fraction"),
    *_rates(Kind.NORM, "memory_fraction"),
    *_rates(Kind.ELEMENTWISE, "memory_fraction"),
    Free(field="overhead_per_call_s", prior_log_sd=1.0),
    Free(field="overhead_per_layer_s", prior_log_sd=1.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A trial's time: the mean of its passes' medians in log space, and what each pass was off from that."""

    mean_s: float
    off: tuple[float, ...]

    @property
    def log_sd(self) -> float:
        """How unsure the mean is."""
        passes = len(self.off)
        return math.sqrt(sum(one**2 for one in self.off) / max(1, passes - 1) / passes)


def repeated(store: Store) -> dict[str, Repeated]:
    """Every trial's time over the passes, by name."""
    logs: dict[str, list[float]] = {}
    for one in sorted(store.timed, key=lambda timed: timed.round):
        logs.setdefault(one.name, []).append(math.log(one.samples.median_s))
    means = {name: sum(values) / len(values) for name, values in logs.items()}
    return {
        name: Repeated(mean_s=math.exp(means[name]), off=tuple(value - means[name] for value in values))
        for name, values in logs.items()
    }


def drift_log_sd(store: Store, trials: Sequence[Trial], quantity: Quantity | None = None) -> float:
    """Return how much the machine's speed changes from minute to minute.

    It is what trials measured together (a group, in one pass) have in common: the median of what they are off from
    their own means, root mean square over groups and passes; and once more for those means, of as few passes each.
    """
    times = repeated(store)
    blocks: dict[str, list[Repeated]] = {}
    for trial in trials:
        if trial.name in times and quantity in (None, trial.quantity):
            blocks.setdefault(trial.group, []).append(times[trial.name])
    squares, free, share = 0.0, 0, 0.0
    for block in blocks.values():
        passes = min(len(one.off) for one in block)
        shared = [statistics.median(one.off[number] for one in block) for number in range(passes)]
        squares, free, share = squares + sum(one**2 for one in shared), free + passes - 1, max(share, 1 / passes)
    return math.sqrt((1 + share) * squares / free) if free > 0 else 0.0


def restlessness(store: Store, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return what to mind about the machine: noise within a pass, and changes between them."""
    noisy = [one.name for one in store.timed if one.samples.noisy]
    notes = []
    if len(noisy) > len(store.timed) / 10:
        notes.append(
            f"a restless machine: {len(noisy)} of {len(store.timed)} measurements spread by more than a fifth; close "
            "other work and measure again for narrower intervals"
        )
    drift = drift_log_sd(store, trials)
    if drift > DRIFT_FRACTION:
        notes.append(f"the machine's speed changes by {drift:.0%} from minute to minute; the intervals hold that")
    return tuple(notes)


def starting_calibration(setup: Setup, precision: Precision) -> Calibration:
    """Where the fit begins: rough guesses that the measurements correct."""

    def guess(compute: float, memory: float) -> Efficiency:
        return Efficiency(compute_fraction=compute, memory_fraction=memory, latency_s=5e-6, overlap=1.8, log_sd=0.3)

    kinds = {kind: guess(0.4, 0.5) for kind in Kind}
    source = f"vlmplan profile on {setup.title}, {setup.threads} threads, {setup.runtime}, {setup.date}"
    return Calibration(
        runtime=setup.runtime,
        precision=precision,
        basis=Basis.MEASURED,
        overhead_per_layer_s=3e-5,
        overhead_per_call_s=2e-4,
        overhead_log_sd=0.3,
        model_log_sd=0.05,
        reserve_bytes=RESERVE_BYTES,
        operators=kinds | {Kind.LINEAR: guess(0.8, 0.8)},
        source=source,
        versions=setup.versions,
        threads=setup.threads,
        date=setup.date,
    )


def observations(trials: Sequence[Trial], store: Store) -> dict[Precision, list[Observation]]:
    """Return what was measured, by precision, in the order of the trials."""
    by_name = repeated(store)
    by_precision: dict[Precision, list[Observation]] = {}
    for trial in trials:
        timed = by_name.get(trial.name)
        if timed is not None:
            one = Observation(
                request=trial.request,
                quantity=trial.quantity,
                measured_s=timed.mean_s,
                noise_log_sd=timed.log_sd,
                group=trial.group,
            )
            by_precision.setdefault(trial.network.precision, []).append(one)
    return by_precision


_PART_OF = {
    Quantity.VISION: (Part.VISION, Part.COMPRESSOR),
    Quantity.PREFILL: (Part.PREFILL,),
    Quantity.TPOT: (Part.DECODE,),
}


def part_log_sd(measured: Sequence[Observation], fitted: Fitted, drift: Mapping[Quantity, float]) -> dict[Part, float]:
    """Return how wrong each part's predictions are likely to be: the fit's error, and the machine's drift with it.

    A width between two that were measured is known better than one left out and not as well as one fitted on: the mean
    of both errors. The largest tenth is held to the rest, so that one disturbed measurement does not widen all
    intervals.
    """
    spreads: dict[Part, float] = {}
    for quantity, parts in _PART_OF.items():
        rows = _pairs(quantity, measured, fitted)
        if rows:
            inside, outside = (_spread(column) for column in zip(*rows, strict=True))
            spread = (inside + outside) / 2
            spreads |= dict.fromkeys(parts, round(max(_LEAST_LOG_SD, math.hypot(spread, drift[quantity])), 4))
    return spreads


def _pairs(quantity: Quantity, measured: Sequence[Observation], fitted: Fitted) -> list[tuple[float, float]]:
    """The errors of one quantity's measurements, in-sample and left out."""
    errors = zip(measured, fitted.in_sample, fitted.left_out, strict=True)
    return [(inside, outside) for one, inside, outside in errors if one.quantity is quantity]


def _spread(errors: Sequence[float]) -> float:
    """Root mean square, the largest tenth held to the rest."""
    sizes = sorted(map(abs, errors))
    most = sizes[math.ceil(0.9 * len(sizes)) - 1]
    return math.sqrt(sum(min(size, most) ** 2 for size in sizes) / len(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A finished profile: the document, where it belongs, and how well it explains what it was fitted on."""

    hardware: HardwareProfile
    out: Path
    errors: dict[str, tuple[int, float, float]]  # by precision and quantity: count, median in-sample, median left out
    warnings: tuple[str, ...]


def profile(setup: Setup, trials: Sequence[Trial], store: Store, out: Path) -> Profiled:
    """Fit the measurements. Raises InputError where none of the base precision are there."""
    measured = observations(trials, store)
    base_precision = trials[0].network.precision
    if base_precision not in measured:
        raise InputError(f"{store.path}: holds no measurement at {base_precision}; measure again with --fresh")
    drift = {quantity: drift_log_sd(store, trials, quantity) for quantity in _PART_OF}
    bare = _device(setup)
    calibrations: list[Calibration] = []
    errors: dict[str, tuple[int, float, float]] = {}
    for precision, times in measured.items():
        start = starting_calibration(setup, precision)
        if calibrations:
            start = replace(calibrations[0], precision=precision)
        ready = machine(replace(bare, calibration=(*calibrations, start)), (), setup.runtime, precision)
        fitted = fit(times, ready, FREE if not calibrations else _LINEAR, fixed_base=bool(calibrations))
        done = fitted.quantised if calibrations else fitted.base
        spreads = part_log_sd(times, fitted, drift)
        if calibrations:  # the vision encoder is not quantised
            spreads = {part: calibrations[0].part_log_sd[part] for part in calibrations[0].part_log_sd} | spreads
        reached = measured_range(times)
        done = replace(done, precision=precision, part_log_sd=spreads, measured_range=reached)
        calibrations.append(_rounded(done))
        errors |= _errors(precision, times, fitted)
    warnings = restlessness(store, trials)
    images = preprocess_of(store)
    return Profiled(
        hardware=replace(
            bare,
            calibration=tuple(replace(one, preprocess=images) for one in calibrations),
            notes="; ".join(warnings) or None,
        ),
        out=out,
        errors=errors,
        warnings=warnings,
    )


def _errors(precision: Precision, times: Sequence[Observation], fitted: Fitted) -> dict[str, tuple[int, float, float]]:
    table = {}
    for quantity in _PART_OF:
        rows = _pairs(quantity, times, fitted)
        if rows:
            middle = len(rows) // 2
            sizes = ([abs(math.expm1(error)) for error in column] for column in zip(*rows, strict=True))
            inside, outside = (sorted(column)[middle] for column in sizes)
            table[f"{precision} {quantity}"] = (len(rows), inside, outside)
    return table


def _rounded(calibration: Calibration) -> Calibration:
    """Coefficients to four digits: more would be noise."""

    def short(value: float) -> float:
        return float(f"{value:.4g}")

    def one(efficiency: Efficiency) -> Efficiency:
        return replace(
            efficiency,
            compute_fraction=short(efficiency.compute_fraction),
            memory_fraction=short(efficiency.memory_fraction),
            latency_s=short(efficiency.latency_s),
            overlap=short(efficiency.overlap),
            compute_pads=tuple(short(pad) for pad in efficiency.compute_pads if pad),
        )

    return replace(
        calibration,
        overhead_per_call_s=short(calibration.overhead_per_call_s),
        overhead_per_layer_s=short(calibration.overhead_per_layer_s),
        operators={kind: one(efficiency) for kind, efficiency in calibration.operators.items()},
    )


def _device(setup: Setup) -> HardwareProfile:
    """The device without calibrations: rates are what the probe reached."""
    probed = f"peak and bandwidth: a torch matrix product and a sum over memory, measured on {setup.date}"
    return HardwareProfile(
        name=setup.name,
        title=f"{setup.title}, {setup.threads} threads",
        vendor=setup.vendor,
        kind="gpu" if setup.on_gpu else "cpu",
        architecture="unknown",
        memory_bytes=setup.memory_bytes,
        bandwidth_bytes_per_s=float(f"{setup.bandwidth_bytes_per_s:.4g}"),
        peak_flops_per_s={kind: float(f"{rate:.4g}") for kind, rate in setup.peak_flops_per_s.items()},
        confidence="high",
        sources=(probed,),
    )
