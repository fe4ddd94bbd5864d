"""What does one configuration cost? The Estimate document.

(request, machine, interval level) -> times with intervals, parameters, FLOPs, memory, knees, sources and warnings.
"""

from typing import Any, ClassVar

from vlmplan.cost.knee import Knees, knees
from vlmplan.cost.op import Request
from vlmplan.cost.roofline import Machine
from vlmplan.cost.service import Service
from vlmplan.cost.totals import Cost, Flops, MemoryBytes, Params, cost
from vlmplan.cost.uncertainty import beyond
from vlmplan.document import Document, digest
from vlmplan.hardware import SERVING, Basis, Precision, Runtime
from vlmplan.intervals import Interval
from vlmplan.models import Compressor, Quantisation, Workload
from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareName:
    """A device by name and by the digest of its profile."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(Document):
    """The cost of one configuration; see ``totals.py`` for what each part holds.

    ``obstacles`` say why it cannot be run as asked, whatever it would cost.
    """

    SCHEMA: ClassVar[str] = "vlmplan.estimate/1"

    model: str
    hardware: HardwareName
    runtime: Runtime
    precision: Precision
    quantisation: Quantisation | None = None
    basis: Basis
    interval_level_fraction: float
    gpus: int
    visual_tokens: int
    compressor: Compressor
    workload: Workload
    ttft_s: float
    ttft_interval_s: Interval
    tpot_s: float | None
    tpot_interval_s: Interval | None
    latency_s: float
    latency_interval_s: Interval
    preprocess_s: float = 0.0
    overhead_s: float
    vision_s: float
    compressor_s: float
    prefill_s: float
    params: Params
    flops: Flops
    memory_bytes: MemoryBytes
    knee_prefill_visual_tokens: int | None
    knee_ttft_visual_tokens: int | None
    requests_per_s: float
    most_requests: int | None
    sources: tuple[str, ...]
    warnings: tuple[str, ...]
    obstacles: tuple[str, ...] = ()
    service: Service | None = None


def estimate(request: Request, ready: Machine, level: float) -> Estimate:
    """Price one configuration with intervals that hold ``level`` (0 to 1)."""
    priced = cost(request, ready)
    obstacles = _obstacles(request, ready, priced)
    warnings = [*ready.warnings, *obstacles, *context_warnings(request)]
    engine = SERVING[ready.runtime].engine
    if engine is not None and request.model.serving and engine not in request.model.serving:
        warnings.append(f"{ready.runtime} is not known to serve {request.model.name}; it is priced as if it did")
    if ready.hardware.memory_bytes is None:
        warnings.append(
            f"the memory of {ready.hardware.name} is not known; whether {request.model.name} fits was not checked"
        )
    if request.visual and not request.visual.as_published:
        warnings.append(
            f"{request.model.name} was not trained for {request.visual_tokens} visual tokens by "
            f"{request.visual.compressor}; the time is right, the quality is not promised"
        )
    if request.model.quantisation is not None:
        warnings += request.model.quantisation.warnings
    warnings += range_warnings(request, ready)
    return Estimate(
        model=request.model.name,
        hardware=HardwareName(name=ready.hardware.name, sha256=digest(ready.hardware)),
        runtime=ready.runtime,
        precision=request.precision,
        quantisation=request.model.quantisation,
        basis=ready.basis,
        interval_level_fraction=level,
        gpus=request.gpus,
        visual_tokens=request.visual_tokens,
        compressor=request.visual.compressor if request.visual else Compressor.NONE,
        workload=request.workload,
        sources=(*ready.hardware.sources, ready.base.source),
        warnings=tuple(warnings),
        obstacles=obstacles,
        **cost_fields(priced, knees(request, ready), level, ready.hardware.usable_bytes(ready.runtime)),
    )


def range_warnings(request: Request, ready: Machine) -> tuple[str, ...]:
    """Say where the request goes beyond what the device was measured at, and what of the model was not understood."""
    return request.model.cautions + tuple(
        f"{name} {size} lies outside what was measured on {ready.hardware.name} ({low} to {high}); hence the wider "
        "interval"
        for name, (size, (low, high)) in beyond(request, ready).items()
    )


def cost_fields(priced: Cost, knees: Knees, level: float, memory_bytes: float | None) -> dict[str, Any]:
    """The cost fields that an estimate and a choice have in common, with intervals that hold ``level``."""
    names = ("ttft_s", "tpot_s", "latency_s", "preprocess_s", "overhead_s", "vision_s", "compressor_s", "prefill_s",
             "params", "flops", "memory_bytes", "requests_per_s")  # fmt: skip
    return {name: getattr(priced, name) for name in names} | {
        "ttft_interval_s": priced.ttft_interval_s(level),
        "tpot_interval_s": priced.tpot_interval_s(level),
        "latency_interval_s": priced.latency_interval_s(level),
        "knee_prefill_visual_tokens": knees.knee_prefill_visual_tokens,
        "knee_ttft_visual_tokens": knees.knee_ttft_visual_tokens,
        "most_requests": priced.most_requests(memory_bytes),
    }


def context_warnings(request: Request) -> tuple[str, ...]:
    """Say where nobody knows how long a context the model has: whether the request fits it was not checked."""
    if request.model.llm.max_context_tokens is not None:
        return ()
    return (
        f"the context of {request.model.name} is not known; whether its {request.context_tokens} tokens fit was not "
        "checked",
    )


def _obstacles(request: Request, ready: Machine, priced: Cost) -> tuple[str, ...]:
    """Why the configuration cannot be run as asked: its memory, its context."""
    obstacles, hardware = [], ready.hardware
    usable_bytes, wanted_bytes = hardware.usable_bytes(ready.runtime), priced.memory_bytes.total
    if usable_bytes is not None and hardware.memory_bytes is not None and wanted_bytes > usable_bytes:
        of = (
            f", of which {ready.runtime} can fill {usable_bytes / 2**30:.1f}"
            if usable_bytes < hardware.memory_bytes
            else ""
        )
        obstacles.append(
            f"does not fit: {wanted_bytes / 2**30:.1f} GiB wanted, {hardware.name} has "
            f"{hardware.memory_bytes / 2**30:.1f} GiB{of}"
        )
    if not request.fits_context:
        obstacles.append(
            f"prompt and output take {request.context_tokens} tokens; "
            f"the model's context holds {request.model.llm.max_context_tokens}"
        )
    return tuple(obstacles)
