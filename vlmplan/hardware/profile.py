"""What can a machine do? Memory, bandwidth, peaks, and what a runtime reaches of them.

A :class:`HardwareProfile` is one device. A :class:`Calibration` says how much of its datasheet one runtime
reaches at one precision, per class of operator, with the residuals that the fit left. Rates are per device,
in bytes/s and FLOP/s (a multiply-add is two FLOPs, dense peaks).
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_range
from vlmplan.hardware.runtimes import CONTEXT_BYTES, SERVING, Precision, Runtime
from vlmplan.records import dataclass


class Basis(enum.StrEnum):
    """What a calibration rests on, weakest first."""

    DATASHEET = "datasheet"
    KERNELS = "kernels"
    MEASURED = "measured"


class Part(enum.StrEnum):
    """Where in a request an operator runs."""

    __hash__ = str.__hash__  # that of enum.Enum is a function in Python, and costs are folded by this
    VISION = "vision"
    COMPRESSOR = "compressor"
    PREFILL = "prefill"
    DECODE = "decode"


class Kind(enum.StrEnum):
    """The classes of operators whose efficiency is told apart."""

    __hash__ = str.__hash__  # that of enum.Enum is a function in Python, and costs are folded by this
    LINEAR = "linear"
    PREFILL_ATTENTION = "prefill-attention"
    DECODE_ATTENTION = "decode-attention"
    VISION_ATTENTION = "vision-attention"
    NORM = "norm"
    ELEMENTWISE = "elementwise"
    ALL_REDUCE = "all-reduce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Time of one operator: ``latency + (compute^p + memory^p)^(1/p)``, p = ``overlap`` >= 1.

    p = 1 is the sum of the two times (no overlap), p = infinity their maximum (perfect overlap). A pad is what a
    dimension is short of filling the machine: compute time is ``flops * prod(1 + pad_i / shape_i)`` over the
    rate reached, memory time likewise. So the efficiency depends on tokens and shape, and time only grows with them.
    """

    compute_fraction: float
    memory_fraction: float
    latency_s: float
    overlap: float
    compute_pads: tuple[float, ...] = ()
    memory_pads: tuple[float, ...] = ()
    log_sd: float
    median_error_fraction: float | None = None

    def __post_init__(self) -> None:
        """Reject what would make a time zero, negative, undefined or absurd."""
        check_range("compute_fraction", self.compute_fraction, 1e-6, 1e12)
        check_range("memory_fraction", self.memory_fraction, 1e-6, 1e12)
        check_range("latency_s", self.latency_s, 0, 10)
        check_range("overlap", self.overlap, 1, 100)
        check_range("log_sd", self.log_sd, 0, 5)
        for pad in (*self.compute_pads, *self.memory_pads):
            check_range("pads", pad, 0, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """What the host spends on an image before the vision tower has it: decoded, resized, made patches, and moved.

    ``sent_px_s`` seconds for every pixel of the image as it is sent, ``seen_px_s`` for every pixel that the tower sees;
    ``log_sd`` of their sum.
    """

    sent_px_s: float
    seen_px_s: float
    log_sd: float
    source: str

    def __post_init__(self) -> None:
        """Seconds and spread are in range."""
        check_range("preprocess.sent_px_s", self.sent_px_s, 0, 1)
        check_range("preprocess.seen_px_s", self.seen_px_s, 0, 1)
        check_range("preprocess.log_sd", self.log_sd, 0, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one runtime reaches at one precision on one device (or, in ``typical.toml``, on a kind of device).

    Overhead is per request, per call of the model and per layer, and runs beside the kernels as far as
    ``overhead_overlap`` says: a part takes ``(kernels^p + overhead^p)^(1/p)``, p = 1 being the sum (a captured graph)
    and a large p the longer of the two (an eager framework that launches ahead). Where parts were measured,
    ``part_log_sd`` is what their predictions were off by on measurements left out, and tells the interval;
    ``measured_range`` is the least and the most of each of ``Request.sizes`` that was measured. Elsewhere the interval
    holds by how much one stack (version, driver, host, flags) differs from another: ``first_log_sd`` of the kernels
    before the first token, ``step_log_sd`` of a step's, ``overhead_log_sd`` of a call's overhead, ``request_log_sd`` of
    a request's, and ``model_log_sd`` of the whole.
    """

    runtime: Runtime
    precision: Precision
    basis: Basis
    overhead_per_layer_s: float
    overhead_per_call_s: float
    overhead_per_request_s: float = 0.0
    overhead_overlap: float = 1.0
    overhead_log_sd: float
    request_log_sd: float = 0.0
    first_log_sd: float = 0.0
    step_log_sd: float = 0.0
    model_log_sd: float
    preprocess: Preprocess | None = None
    part_log_sd: Mapping[Part, float] = field(default_factory=dict)
    measured_range: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reserve_bytes: int
    operators: Mapping[Kind, Efficiency]
    source: str
    versions: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    date: str | None = None

    def __post_init__(self) -> None:
        """Every class of operator needs an efficiency, and overheads are in range."""
        missing = [kind.value for kind in Kind if kind not in self.operators]
        if missing:
            raise InputError(f"operators: missing {', '.join(missing)}")
        check_range("overhead_per_layer_s", self.overhead_per_layer_s, 0, 10)
        check_range("overhead_per_call_s", self.overhead_per_call_s, 0, 100)
        check_range("overhead_per_request_s", self.overhead_per_request_s, 0, 100)
        check_range("overhead_overlap", self.overhead_overlap, 1, 100)
        for name in ("overhead_log_sd", "request_log_sd", "first_log_sd", "step_log_sd"):
            check_range(name, getattr(self, name), 0, 5)
        for part, log_sd in self.part_log_sd.items():
            check_range(f"part_log_sd.{part}", log_sd, 0, 5)
        for name, (low, high) in self.measured_range.items():
            if not 0 <= low <= high:
                raise InputError(f"measured_range.{name}: expected two sizes in order, found {low} and {high}")
        check_range("model_log_sd", self.model_log_sd, 0, 5)
        check_range("reserve_bytes", self.reserve_bytes, 0, 1e15)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareProfile(Document):
    """One device. ``peak_flops_per_s`` holds dense peaks; an absent precision is one the device does not run.

    ``shared_memory_bytes`` is of memory that the processor shares: sizes, each with what a GPU's programs get of it.
    ``memory_is_most`` says that ``memory_bytes`` is the most that is sold: an owner's may be less.
    """

    SCHEMA: ClassVar[str] = "vlmplan.hardware/1"

    name: str
    title: str
    vendor: str
    kind: str
    architecture: str
    memory_bytes: int | None = None
    shared_memory_bytes: tuple[tuple[int, int], ...] | None = None
    memory_is_most: bool | None = None
    bandwidth_bytes_per_s: float
    interconnect: str | None = None
    interconnect_bytes_per_s: float | None = None
    peak_flops_per_s: Mapping[Precision, float]
    confidence: str
    sources: tuple[str, ...]
    notes: str | None = None
    calibration: tuple[Calibration, ...] = ()

    def __post_init__(self) -> None:
        """Physical quantities are in a range that devices have had or may have, and at least one peak is known."""
        check_range("memory_bytes", self.memory_bytes, 1e6, 1e16)
        for whole, part in self.shared_memory_bytes or ():
            if not 0 < part <= whole:
                raise InputError(f"shared_memory_bytes: expected a size and a part of it, found {whole} and {part}")
        check_range("bandwidth_bytes_per_s", self.bandwidth_bytes_per_s, 1e6, 1e16)
        check_range("interconnect_bytes_per_s", self.interconnect_bytes_per_s, 1e3, 1e16)
        for precision, peak in self.peak_flops_per_s.items():
            check_range(f"peak_flops_per_s.{precision}", peak, 1e6, 1e20)
        if self.default_precision(self.default_runtime) is None:
            raise InputError("peak_flops_per_s: expected at least one of bf16, fp16 and fp32")

    def default_precision(self, runtime: Runtime) -> Precision | None:
        """What checkpoints run as here, of what the runtime prefers; None where no such peak is known."""
        usual = SERVING[runtime].usual_on(self.kind)
        return next((precision for precision in usual if precision in self.peak_flops_per_s), None)

    @property
    def default_runtime(self) -> Runtime:
        """Return the usual one for the device's kind, vendor or size, else the first that serves on its vendor's."""
        usual = [
            one for one, serving in SERVING.items()
            if self.kind in serving.usual_for or self.vendor in serving.usual_vendors
            or (self.kind == "soc" and (self.memory_bytes or math.inf) < serving.usual_below_bytes)
        ]  # fmt: skip
        return usual[0] if usual else next(one for one in SERVING if not SERVING[one].refuses_vendor(self.vendor))

    def usable_bytes(self, runtime: Runtime) -> float | None:
        """Return how much of the memory an engine may fill; None where the memory is not known.

        Of memory that the processor shares, what its system leaves. A share of a GPU's whole, in hundredths, must be
        free once the engine's context is on the device.
        """
        if self.memory_bytes is None or self.kind == "cpu":
            return self.memory_bytes
        left = self.gpu_fraction
        if not SERVING[runtime].takes_share:
            return left * self.memory_bytes
        return math.floor(100 * (left - CONTEXT_BYTES / self.memory_bytes)) / 100 * self.memory_bytes

    @property
    def gpu_fraction(self) -> float:
        """What share of the memory a GPU's programs get: all of their own, between the sizes known of a shared one."""
        known = sorted((whole, part / whole) for whole, part in self.shared_memory_bytes or ())
        size = self.memory_bytes
        if not known or size is None:
            return 1.0
        below = max((one for one in known if one[0] <= size), default=known[0])
        above = min((one for one in known if one[0] >= size), default=known[-1])
        if above[0] <= below[0]:
            return below[1]
        return below[1] + (above[1] - below[1]) * (size - below[0]) / (above[0] - below[0])

    def check_runtime(self, runtime: Runtime) -> None:
        """Raise InputError for a runtime that does not serve on this device."""
        serving = SERVING[runtime]
        if not serving.refuses_vendor(self.vendor):
            return
        if serving.only_vendor is not None:
            raise InputError(
                f"{runtime} serves {serving.only_vendor} GPUs; {self.name} is {self.vendor}'s; "
                "expected another --runtime"
            )
        others = [one.value for one, served in SERVING.items() if not served.refuses_vendor(self.vendor)]
        raise InputError(f"{runtime} does not serve on {self.name}; expected --runtime {' or '.join(others)}")

    def compute_precision(self, precision: Precision, runtime: Runtime) -> Precision:
        """Return the precision the products are made in: weight-only formats multiply in the runtime's default.

        So does fp8 where the runtime has none but Marlin's kernels. Raises InputError when the device does not run it.
        """
        usual = self.default_precision(runtime)
        if precision is Precision.FP8 and self.architecture in SERVING[runtime].marlin and usual is not None:
            return usual
        wanted = {
            Precision.INT8_W8A8: Precision.INT8,
            Precision.INT8: usual,
            Precision.INT4: usual,
        }.get(precision, precision)
        if wanted is None or wanted not in self.peak_flops_per_s:
            runs = ", ".join(self.peak_flops_per_s)
            raise InputError(f"{self.name} has no {precision} peak; its profile lists {runs}")
        return wanted
