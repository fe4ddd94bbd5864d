"""What can this machine do? Trials measured, and the hardware profile that explains them.

(setup, trials) -> a measurements file, then a :class:`HardwareProfile` whose calibrations are fitted on it by the same
operator list that plans are priced with. All trials are gone through several times: a shared machine's speed changes from
minute to minute, and how much it does is part of the interval.
"""

import math
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vlmplan.calibrate import Fitted, Free, Observation, Quantity, fit
from vlmplan.document import check_destination
from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware import Basis, Calibration, Efficiency, HardwareProfile, Kind, Part, Precision, Runtime
from vlmplan.machine import machine
from vlmplan.measure import measure
from vlmplan.onnx.cases import cases
from vlmplan.onnx.check_profile import Verdict, measure_cases, verdict
from vlmplan.onnx.here import Setup, probe
from vlmplan.onnx.rig import Rig, rig, runner_of
from vlmplan.onnx.store import Store, Timed
from vlmplan.onnx.trials import Effort, Trial, sweep

PASSES = {Effort.QUICK: 2, Effort.DEFAULT: 3}
REPEATS = 3
DRIFT_FRACTION = 0.1  # a change of speed from pass to pass that is worth a warning
KEPT_MEMORY_BYTES = 12 * 2**30  # with so much memory all networks stay loaded from pass to pass
RESERVE_BYTES = 2**30  # for the process, the libraries and workspaces: an assumption, as in typical.toml
_LEAST_LOG_SD = 0.03
_SCRATCH = "vlmplan-profile-"

Tell = Callable[[str, int, int], None]  # what is done, runs done, runs in all


def _rates(kind: Kind, *fields: str, prior: float = 1.0) -> tuple[Free, ...]:
    return tuple(Free(kind=kind, field=name, prior_log_sd=prior, least=1.0 if "pads" in name else 1e-7)
                 for name in fields)  # fmt: skip


_LINEAR = _rates(Kind.LINEAR, "compute_fraction", "memory_fraction", "latency_s", "overlap", "compute_pads.0")
FREE = (
    *_LINEAR,
    *_rates(Kind.PREFILL_ATTENTION, "compute_fraction", "memory_fraction"),
    *_rates(Kind.DECODE_ATTENTION, "compute_fraction", "memory_fraction"),
    *_rates(Kind.VISION_ATTENTION, "compute_fraction", "memory_fraction"),
    *_rates(Kind.ELEMENTWISE, "memory_fraction"),
    Free(field="overhead_per_call_s", prior_log_sd=1.0),
    Free(field="overhead_per_layer_s", prior_log_sd=1.0),
)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for graphs; what killed runs left behind is removed first. Raises Unavailable for a full disk."""
    for old in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        owner = old.name.removeprefix(_SCRATCH).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as folder:
            yield Path(folder)
    except OSError as error:
        raise Unavailable(
            f"{tempfile.gettempdir()}: graphs to measure cannot be written ({error.strerror or error}); free some space "
            "or set TMPDIR"
        ) from None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def run_trials(rig: Rig, trials: Sequence[Trial], store: Store, passes: int, tell: Tell) -> None:
    """Measure what the store does not have yet: every group once a pass, its trials interleaved."""
    keep = (store.setup.memory_bytes or 0) >= KEPT_MEMORY_BYTES
    total, done = passes * len(trials) * (REPEATS + 1), 0
    groups = list(dict.fromkeys(trial.group for trial in trials))
    for number, group in ((number, group) for number in range(passes) for group in groups):
        mine = [trial for trial in trials if trial.group == group]
        missing = [trial for trial in mine if not store.known(trial.name, number)]
        done += (len(mine) - len(missing)) * (REPEATS + 1)
        if not missing:
            continue
        what = f"pass {number + 1} of {passes}, {group}"
        tell(what, done, total)
        runners = {trial.name: runner_of(rig.model(trial.network), trial) for trial in missing}

        def step(what: str = what) -> None:
            nonlocal done
            done += 1
            tell(what, done, total)

        found = measure(runners, REPEATS, tell=step)
        store.add(
            [
                Timed(name=name, part=part, round=number, samples_s=samples.samples_s)
                for name, parts in found.items()
                for part, samples in parts.items()
            ]
        )
        if not keep:
            rig.release()
    rig.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repeated:
    """A trial's time: the mean of its passes' medians in log space, and what each pass was off from that."""

    seconds: float
    off: tuple[float, ...]

    @property
    def log_sd(self) -> float:
        """How unsure the mean is."""
        passes = len(self.off)
        return math.sqrt(sum(one**2 for one in self.off) / max(1, passes - 1) / passes)


def _repeated(store: Store) -> dict[str, _Repeated]:
    """Every trial's time over the passes, by name."""
    logs: dict[str, list[float]] = {}
    for one in sorted(store.timed, key=lambda timed: timed.round):
        logs.setdefault(one.name, []).append(math.log(one.samples.median_s))
    means = {name: sum(values) / len(values) for name, values in logs.items()}
    return {
        name: _Repeated(seconds=math.exp(means[name]), off=tuple(value - means[name] for value in values))
        for name, values in logs.items()
    }


def drift_log_sd(repeated: Sequence[_Repeated]) -> float:
    """Return how much the machine's speed changes from pass to pass: what all trials of a pass have in common."""
    passes = max((len(one.off) for one in repeated), default=0)
    if passes < 2:
        return 0.0
    shared = [statistics.median(one.off[number] for one in repeated if len(one.off) > number)
              for number in range(passes)]  # fmt: skip
    return math.sqrt(sum(one**2 for one in shared) / (passes - 1))


def restlessness(store: Store) -> tuple[str, ...]:
    """Return what to mind about the machine: noise within a pass, and changes between them."""
    noisy = [one.name for one in store.timed if one.samples.noisy]
    found = []
    if len(noisy) > len(store.timed) / 10:
        found.append(
            f"a restless machine: {len(noisy)} of {len(store.timed)} measurements spread by more than a fifth; close "
            "other work and measure again for narrower intervals"
        )
    drift = drift_log_sd(list(_repeated(store).values()))
    if drift > DRIFT_FRACTION:
        found.append(f"the machine's speed changed by {drift:.0%} from pass to pass; the intervals hold that")
    return tuple(found)


def _start(setup: Setup, precision: Precision) -> Calibration:
    """Where the fit begins: rough guesses that the measurements correct."""
    compute, memory, launch = (0.8, 0.8, 5e-6)

    def guess(compute: float, memory: float) -> Efficiency:
        return Efficiency(
            compute_fraction=compute, memory_fraction=memory, latency_s=launch, overlap=1.8, log_sd=0.3
        )  # fmt: skip

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
        operators=kinds | {Kind.LINEAR: guess(compute, memory)},
        source=source,
        versions=setup.versions,
        threads=setup.threads,
        date=setup.date,
    )


def observations(trials: Sequence[Trial], store: Store) -> dict[Precision, list[Observation]]:
    """Return what was measured, by precision, in the order of the trials."""
    by_name = _repeated(store)
    found: dict[Precision, list[Observation]] = {}
    for trial in trials:
        timed = by_name.get(trial.name)
        if timed is not None:
            one = Observation(
                request=trial.request,
                quantity=trial.quantity,
                measured_s=timed.seconds,
                noise_log_sd=timed.log_sd,
                group=trial.group,
            )
            found.setdefault(trial.network.precision, []).append(one)
    return found


_PART_OF = {
    Quantity.VISION: (Part.VISION, Part.COMPRESSOR),
    Quantity.PREFILL: (Part.PREFILL,),
    Quantity.TPOT: (Part.DECODE,),
}


def part_log_sd(measured: Sequence[Observation], fitted: Fitted, drift: Mapping[Quantity, float]) -> dict[Part, float]:
    """Return what each part's predictions were off by on groups left out, and the machine's drift with it.

    The largest tenth of the errors is held to the rest, so that one disturbed measurement does not widen all intervals.
    """
    found = {}
    for quantity, parts in _PART_OF.items():
        errors = sorted(
            abs(error)
            for one, error in zip(measured, fitted.left_out, strict=True)
            if one.quantity is quantity
        )  # fmt: skip
        if errors:
            most = errors[min(len(errors) - 1, math.ceil(0.9 * len(errors)) - 1)]
            spread = math.sqrt(sum(min(error, most) ** 2 for error in errors) / len(errors))
            found |= dict.fromkeys(parts, round(max(_LEAST_LOG_SD, math.hypot(spread, drift[quantity])), 4))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A finished profile: the document, and how well it explains what it was fitted on."""

    hardware: HardwareProfile
    errors: dict[str, tuple[int, float, float]]  # by precision and quantity: count, median in-sample, median left out
    warnings: tuple[str, ...]


def profile(setup: Setup, trials: Sequence[Trial], store: Store) -> Profiled:
    """Fit the measurements. Raises InputError where none of the base precision are there."""
    measured = observations(trials, store)
    base_precision = trials[0].network.precision
    if base_precision not in measured:
        raise InputError(f"{store.path}: holds no measurement at {base_precision}; measure again with --fresh")
    drift = {
        quantity: drift_log_sd([one for name, one in _repeated(store).items() if f", {quantity}, " in name])
        for quantity in _PART_OF
    }
    bare = _device(setup, base_precision)
    calibrations: list[Calibration] = []
    errors: dict[str, tuple[int, float, float]] = {}
    for precision, found in measured.items():
        start = _start(setup, precision) if not calibrations else replace(calibrations[0], precision=precision)
        ready = machine(replace(bare, calibration=(*calibrations, start)), (), setup.runtime, precision)
        fitted = fit(found, ready, FREE if not calibrations else _LINEAR)
        done = fitted.quantised if calibrations else fitted.base
        spreads = part_log_sd(found, fitted, drift)
        if calibrations:  # the vision encoder is not quantised
            spreads = {part: calibrations[0].part_log_sd[part] for part in calibrations[0].part_log_sd} | spreads
        calibrations.append(_rounded(replace(done, precision=precision, part_log_sd=spreads)))
        errors |= _errors(precision, found, fitted)
    warnings = restlessness(store)
    return Profiled(
        hardware=replace(bare, calibration=tuple(calibrations), notes="; ".join(warnings) or None),
        errors=errors,
        warnings=warnings,
    )


def _errors(precision: Precision, found: Sequence[Observation], fitted: Fitted) -> dict[str, tuple[int, float, float]]:
    table = {}
    for quantity in _PART_OF:
        rows = [
            (abs(math.expm1(inside)), abs(math.expm1(outside)))
            for one, inside, outside in zip(found, fitted.in_sample, fitted.left_out, strict=True)
            if one.quantity is quantity
        ]
        if rows:
            middle = len(rows) // 2
            inside, outside = (sorted(column)[middle] for column in zip(*rows, strict=True))
            table[f"{precision} {quantity}"] = (len(rows), inside, outside)
    return table


def _rounded(found: Calibration) -> Calibration:
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
        found,
        overhead_per_call_s=short(found.overhead_per_call_s),
        overhead_per_layer_s=short(found.overhead_per_layer_s),
        operators={kind: one(efficiency) for kind, efficiency in found.operators.items()},
    )


def _device(setup: Setup, base: Precision) -> HardwareProfile:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to measure, and where to: ``out`` is the profile; measurements go beside it."""

    setup: Setup
    effort: Effort
    precisions: tuple[Precision, ...]
    out: Path
    fresh: bool = False

    def beside(self, what: str) -> Path:
        """Return the file beside the profile that holds ``what``."""
        return self.out.with_suffix(f".{what}.jsonl")


def precisions_of(setup: Setup) -> tuple[Precision, ...]:
    """Return what a runtime can be measured at here, the base precision first."""
    if setup.runtime is Runtime.ONNXRUNTIME:
        return (setup.base_precision, Precision.INT8, Precision.INT4)
    return (setup.base_precision,)


def profile_here(order: Order, tell: Tell) -> Profiled:
    """Measure what is not measured yet, and fit. Raises InputError or Unavailable; what was measured stays."""
    path = order.beside("measurements")
    check_destination(order.out)
    check_destination(path)
    anew = order.fresh or not path.exists()
    setup = order.setup
    if anew:
        tell("probing", 0, 1)
        peaks, bandwidth = probe(setup)
        setup = replace(setup, peak_flops_per_s=peaks, bandwidth_bytes_per_s=bandwidth)
    store = Store(path, setup, anew)
    trials = sweep(order.effort, order.precisions, setup.base_precision, setup.cache_bytes)
    with scratch_folder() as scratch:
        machine_here = rig(setup, scratch)
        run_trials(machine_here, trials, store, PASSES[order.effort], tell)
    return profile(store.setup, trials, store)


def check_here(order: Order, hardware: HardwareProfile, tell: Tell) -> Verdict:
    """Measure requests that the profile never saw, and hold its predictions against them."""
    path = order.beside("check")
    check_destination(path)
    store = Store(path, order.setup, order.fresh or not path.exists())
    asked = cases(order.setup.base_precision, order.setup.cache_bytes)
    with scratch_folder() as scratch:
        measure_cases(rig(order.setup, scratch), asked, store, tell)
    return verdict(hardware, asked, store)
