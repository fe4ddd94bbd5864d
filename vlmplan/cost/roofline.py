"""How long does one operator take? A device with the calibrations in force for a runtime and a precision.

(operator, machine) -> seconds. Time lies between the maximum of compute and memory time (perfect overlap) and their
sum, and only grows with tokens and widths. Left out: tile staircases of real kernels, which are in the calibration's
residual.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vlmplan.cost.op import Op, Request
from vlmplan.errors import InputError
from vlmplan.hardware import (
    SERVING,
    WEIGHT_ONLY,
    Basis,
    Calibration,
    Efficiency,
    HardwareProfile,
    Kind,
    Precision,
    Runtime,
)
from vlmplan.records import dataclass

_SIXTEEN_BIT = (Precision.BF16, Precision.FP16)
# Weight-only kernels unpack before they multiply; no measurement of them is shipped, nor of integer or fp32 kernels, so
# the interval says so: a factor of e^0.25 = 1.28 either way at one standard deviation.
UNMEASURED_LINEAR_LOG_SD = 0.25
# Typical efficiencies are those of data-centre GPUs; on another kind of device they are a guess: a wider interval. That
# their memories are read as well as those of GPUs do the published steps of Jetsons show, so only kernels before the
# first token are less sure there; of a CPU's typical rates nothing is known.
_UNMEASURED_KIND_LOG_SD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a class of operators reaches on a device: the datasheet's rates times the fractions fitted."""

    flops_per_s: float
    bytes_per_s: float
    efficiency: Efficiency


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A device with the calibrations in force: ``quantised`` for the LLM's linear layers, ``base`` for all else."""

    hardware: HardwareProfile
    runtime: Runtime
    precision: Precision
    base_precision: Precision
    base: Calibration
    quantised: Calibration
    model_log_sd: float
    first_log_sd: float
    unmeasured_linear: bool
    rates_by_class: Mapping[tuple[Kind, bool], Rates]
    warnings: tuple[str, ...] = ()

    @property
    def basis(self) -> Basis:
        """The weaker of the two calibrations' bases."""
        return min(self.base.basis, self.quantised.basis, key=list(Basis).index)

    @property
    def as_used(self) -> HardwareProfile:
        """The device with just the calibrations in force: what a plan embeds, and can be priced on again."""
        in_force = (self.base,) if self.quantised is self.base else (self.base, self.quantised)
        return replace(self.hardware, calibration=in_force)

    def as_run(self, request: Request) -> Request:
        """Return the request as stored here: all that is not quantised at the base precision.

        An export's weights are as vlmplan writes them, its head quantised too; other engines keep that whole, but for
        those with a format of their own.
        """
        serving = SERVING[self.runtime]
        exported = bool(serving.exported) and request.precision in WEIGHT_ONLY
        bits = serving.stored_bits.get(request.precision)
        own_bytes = None if bits is None else bits / 8
        return replace(request, base_precision=self.base_precision, exported=exported, stored_weight_bytes=own_bytes)

    def calibration(self, quantised: bool) -> Calibration:
        """Return the calibration of the LLM's ``quantised`` linear layers, or of all else."""
        return self.quantised if quantised else self.base

    def rates(self, op: Op) -> Rates:
        """Return the rates that hold for ``op``. Raises InputError for several GPUs without a known interconnect."""
        rates = self.rates_by_class.get((op.kind, op.quantised))
        if rates is None:
            raise InputError(
                f"{self.hardware.name}: no interconnect is known; expected --gpus 1, or interconnect_bytes_per_s in "
                "its profile"
            )
        return rates


def _alike(precision: Precision) -> tuple[Precision, ...]:
    """The precisions whose calibrations serve ``precision``: bf16 and fp16 run alike."""
    return _SIXTEEN_BIT if precision in _SIXTEEN_BIT else (precision,)


def _own(hardware: HardwareProfile, runtime: Runtime, precision: Precision) -> Calibration | None:
    """Return the device's best calibration of ``runtime`` at ``precision``."""
    own = [c for c in hardware.calibration if c.runtime is runtime and c.precision in _alike(precision)]
    return max(own, key=lambda c: (list(Basis).index(c.basis), c.precision is precision), default=None)


def _calibration(
    hardware: HardwareProfile, typical: Iterable[Calibration], runtime: Runtime, precision: Precision
) -> Calibration | None:
    """Return the best calibration of ``runtime`` at ``precision``, the device's own before the typical one.

    Where nothing fits, the typical 16-bit calibration stands in: fp32 and integer kernels were not measured.
    """
    own = _own(hardware, runtime, precision)
    if own is not None:
        return own
    alike = _alike(precision)
    usual = [c for c in (*typical, *hardware.calibration) if c.runtime is runtime]
    fitting = [c for c in usual if c.precision in alike] or [c for c in usual if c.precision in _SIXTEEN_BIT]
    return fitting[0] if fitting else None


def _typical_weight_only(typical: Iterable[Calibration], runtime: Runtime, precision: Precision) -> Calibration | None:
    """The typical calibration of a runtime's own kernels that unpack weights; None where nobody timed any."""
    if precision not in WEIGHT_ONLY:
        return None
    return next((one for one in typical if (one.runtime, one.precision) == (runtime, precision)), None)


def machine(
    hardware: HardwareProfile, typical: Iterable[Calibration], runtime: Runtime, precision: Precision
) -> Machine:
    """Choose the calibrations for ``runtime`` at ``precision``; ``typical`` serves devices nobody measured.

    Raises InputError when the device does not run the precision.
    """
    hardware.check_runtime(runtime)
    compute = hardware.compute_precision(precision, runtime)
    base_precision = precision
    if precision not in (Precision.FP32, *_SIXTEEN_BIT):
        base_precision = hardware.default_precision(runtime) or compute
    typical = tuple(typical)
    base = _calibration(hardware, typical, runtime, base_precision)
    if base is None:
        raise InputError(
            f"no calibration for runtime {runtime} at {base_precision}; expected one in {hardware.name} or typical"
        )
    quantised, stand_in = _own(hardware, runtime, precision), False
    if precision is base_precision:
        quantised, stand_in = base, _stands_in(base, compute)
    elif quantised is None:
        told = _typical_weight_only(typical, runtime, precision)
        weight_only = compute is base_precision
        borrowed = None if weight_only else _calibration(hardware, typical, runtime, precision)
        quantised = told or borrowed or base
        stand_in = told is None and (weight_only or _stands_in(quantised, compute))
    model_log_sd, first_log_sd = _kind_log_sds(hardware, base)
    return Machine(
        hardware=hardware,
        runtime=runtime,
        precision=precision,
        base_precision=base_precision,
        base=base,
        quantised=quantised,
        model_log_sd=model_log_sd,
        first_log_sd=first_log_sd,
        rates_by_class=_rates(hardware, {False: base, True: quantised}, {False: base_precision, True: compute}),
        unmeasured_linear=stand_in,
        warnings=(
            *_warnings(hardware, runtime, (base, quantised), stand_in),
            *_widened_warnings(hardware, runtime, base_precision),
            *_fp8_warnings(hardware, precision, compute),
        ),
    )


def _kind_log_sds(hardware: HardwareProfile, base: Calibration) -> tuple[float, float]:
    """The spread of the whole and of kernels before the first token, wider on devices that are not GPUs."""
    whole, first = base.model_log_sd, base.first_log_sd
    if base.basis is Basis.DATASHEET and hardware.kind == "cpu":
        whole = math.hypot(whole, _UNMEASURED_KIND_LOG_SD)
    elif base.basis is Basis.DATASHEET and hardware.kind != "gpu":
        first = math.hypot(first, _UNMEASURED_KIND_LOG_SD)
    return whole, first


def _stands_in(calibration: Calibration, precision: Precision) -> bool:
    """Tell whether a calibration is of another precision than the one it is used for."""
    return calibration.precision is not precision and not {calibration.precision, precision} <= set(_SIXTEEN_BIT)


def _warnings(
    hardware: HardwareProfile, runtime: Runtime, used: tuple[Calibration, Calibration], stand_in: bool
) -> tuple[str, ...]:
    """What to mind about times on this device."""
    warnings = []
    if Basis.DATASHEET in {calibration.basis for calibration in used}:
        warnings.append(
            f"{hardware.name} with {runtime}: the device's peaks and typical efficiencies, not measured requests; "
            "hence the wide intervals"
        )
    if stand_in:
        warnings.append("no kernels of this precision were measured; 16-bit ones stand in, less surely")
    if hardware.confidence == "low":
        sources = "; ".join(hardware.sources) or "no source"
        warnings.append(f"{hardware.name}: its peaks are themselves uncertain ({sources})")
    return tuple(warnings)


def _widened_warnings(hardware: HardwareProfile, runtime: Runtime, base_precision: Precision) -> tuple[str, ...]:
    """What to mind about sixteen bits where products are made in more."""
    serving = SERVING[runtime]
    if hardware.kind == "cpu" and serving.widens_on_processors and base_precision in _SIXTEEN_BIT:
        return (f"{serving.title} has no 16-bit kernels on CPUs and computes in fp32: expect it slower",)
    return ()


def _fp8_warnings(hardware: HardwareProfile, precision: Precision, compute: Precision) -> tuple[str, ...]:
    """What to mind about fp8 where only its weights are."""
    if precision is Precision.FP8 and compute is not Precision.FP8:
        return (f"{hardware.name} has no fp8 products: fp8 weights are multiplied in {compute} (Marlin kernels)",)
    return ()


def _rates(
    hardware: HardwareProfile, calibrations: Mapping[bool, Calibration], precisions: Mapping[bool, Precision]
) -> dict[tuple[Kind, bool], Rates]:
    """Rates by class of operator and whether it is quantised; none for all-reduce without an interconnect."""
    rates = {}
    for quantised, calibration in calibrations.items():
        for kind, efficiency in calibration.operators.items():
            link = hardware.interconnect_bytes_per_s
            bandwidth = hardware.bandwidth_bytes_per_s if kind is not Kind.ALL_REDUCE else link
            if bandwidth is not None:
                rates[kind, quantised] = Rates(
                    flops_per_s=hardware.peak_flops_per_s[precisions[quantised]] * efficiency.compute_fraction,
                    bytes_per_s=bandwidth * efficiency.memory_fraction,
                    efficiency=efficiency,
                )
    return rates


def op_seconds(op: Op, rates: Rates) -> float:
    """Return latency + (compute^p + memory^p)^(1/p), times as many kernels: between perfect overlap and none."""
    efficiency = rates.efficiency
    compute_s = op.flops / op.shards / rates.flops_per_s
    memory_s = (op.weight_bytes + op.moved_bytes) / rates.bytes_per_s
    if efficiency.compute_pads or efficiency.memory_pads:
        for pad, size in zip(efficiency.compute_pads, op.shape, strict=False):
            compute_s *= 1 + pad / size
        for pad, size in zip(efficiency.memory_pads, op.shape, strict=False):
            memory_s *= 1 + pad / size
    return op.count * efficiency.latency_s + _overlapped_s(compute_s, memory_s, efficiency.overlap)


def _overlapped_s(first_s: float, second_s: float, overlap: float) -> float:
    """Return (first^p + second^p)^(1/p), p being the overlap: of two things at once, from their sum to the longer."""
    longer_s, shorter_s = (first_s, second_s) if first_s > second_s else (second_s, first_s)
    if shorter_s > 0:
        longer_s *= math.pow(1 + math.pow(shorter_s / longer_s, overlap), 1 / overlap)
    return longer_s


def exposed_s(kernels_s: float, overhead_s: float, overlap: float) -> float:
    """Return how much longer ``kernels_s`` take for the host's work beside them: all of it for an overlap of 1."""
    return overhead_s if overlap == 1 else _overlapped_s(kernels_s, overhead_s, overlap) - kernels_s
