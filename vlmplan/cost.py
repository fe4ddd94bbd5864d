"""What does a request cost? Folds over the operator list: parameters, FLOPs, memory, seconds, intervals, knees.

(operators, machine) -> seconds part by part. ``ttft_s = overhead_s + vision_s + compressor_s + prefill_s``; ``tpot_s``
is the mean over tokens 2 to n; ``latency_s = ttft_s + (n - 1) * tpot_s``. Left out: queueing, speculative
decoding, the network, host work that the runtime's overhead does not already hold.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vlmplan.errors import InputError
from vlmplan.hardware import Basis, Calibration, Efficiency, HardwareProfile, Kind, Precision, Runtime, interval
from vlmplan.llm import prefill
from vlmplan.model import Compressor, ModelSpec, Rule, Workload
from vlmplan.op import Op, Part, Request
from vlmplan.operators import kv_cache_bytes, operators, peak_activation_bytes
from vlmplan.visual_tokens import visual_input

KNEE_TOLERANCE = 0.05  # tokens are free while they add at most this share (design: the knee)
KNEE_SEARCH_TOKENS = 2**15
_SIXTEEN_BIT = (Precision.BF16, Precision.FP16)
# Weight-only kernels unpack before they multiply; no measurement of them is shipped, so the interval says so: a factor
# of e^0.25 = 1.28 either way at one standard deviation.
_UNMEASURED_WEIGHT_ONLY_LOG_SD = 0.25


# Typical efficiencies are those of data-centre GPUs; on another kind of device they are a guess, and the interval says so.
_UNMEASURED_KIND_LOG_SD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A device with the calibrations in force: ``quantised`` for the LLM's linear layers, ``base`` for all else."""

    hardware: HardwareProfile
    runtime: Runtime
    precision: Precision
    base: Calibration
    quantised: Calibration
    compute_precision: Precision
    base_precision: Precision
    model_log_sd: float
    warnings: tuple[str, ...] = ()

    @property
    def basis(self) -> Basis:
        """The weaker of the two calibrations' bases."""
        return min(self.base.basis, self.quantised.basis, key=list(Basis).index)

    def rates(self, op: Op) -> tuple[float, float, Efficiency]:
        """Return (FLOP/s, bytes/s, efficiency) that hold for ``op``. Raises InputError without an interconnect."""
        calibration = self.quantised if op.quantised else self.base
        precision = self.compute_precision if op.quantised else self.base_precision
        bandwidth = self.hardware.bandwidth_bytes_per_s
        if op.kind is Kind.ALL_REDUCE:
            if self.hardware.interconnect_bytes_per_s is None:
                raise InputError(f"{self.hardware.name}: no interconnect is known; expected --gpus 1, or "
                                 "interconnect_bytes_per_s in its profile")
            bandwidth = self.hardware.interconnect_bytes_per_s
        return self.hardware.peak_flops_per_s[precision], bandwidth, calibration.operators[op.kind]


def _calibration(
    hardware: HardwareProfile, typical: Iterable[Calibration], runtime: Runtime, precision: Precision
) -> Calibration | None:
    """The best calibration of ``runtime`` at ``precision``; bf16 and fp16 run alike and stand in for each other."""
    alike = _SIXTEEN_BIT if precision in _SIXTEEN_BIT else (precision,)
    own = [c for c in hardware.calibration if c.runtime is runtime and c.precision in alike]
    own.sort(key=lambda c: (list(Basis).index(c.basis), c.precision is precision))
    if own:
        return own[-1]
    return next((c for c in typical if c.runtime is runtime and c.precision in alike), None)


def machine(hardware: HardwareProfile, typical: Iterable[Calibration], runtime: Runtime, precision: Precision) -> Machine:
    """Choose the calibrations for ``runtime`` at ``precision``; ``typical`` serves devices nobody measured.

    Raises InputError when the device does not run the precision.
    """
    compute = hardware.compute_precision(precision)
    base_precision = precision if precision is Precision.FP32 else hardware.default_precisions[0]
    typical = tuple(typical)
    base = _calibration(hardware, typical, runtime, base_precision)
    if base is None:
        raise InputError(f"no calibration for runtime {runtime} at {base_precision}; expected one in {hardware.name} or typical")
    quantised = base if compute is base_precision else _calibration(hardware, typical, runtime, compute) or base
    warnings, model_log_sd = [], base.model_log_sd
    if base.basis is Basis.DATASHEET:
        if hardware.kind != "gpu":
            model_log_sd = math.hypot(model_log_sd, _UNMEASURED_KIND_LOG_SD)
        warnings.append(f"{hardware.name} with {runtime}: datasheet peaks and typical efficiencies, not measured; "
                        "hence the wide intervals")
    if hardware.confidence == "low":
        warnings.append(f"{hardware.name}: its datasheet figures are themselves uncertain ({hardware.sources[0]})")
    return Machine(hardware=hardware, runtime=runtime, precision=precision, base=base, quantised=quantised,
                   compute_precision=compute, base_precision=base_precision,
                   model_log_sd=model_log_sd, warnings=tuple(warnings))


def op_seconds(op: Op, rates: tuple[float, float, Efficiency]) -> float:
    """Return latency + (compute^p + memory^p)^(1/p), times as many kernels: between perfect overlap and none."""
    peak_flops_per_s, bandwidth_bytes_per_s, efficiency = rates
    compute_s = op.flops / op.shards / (peak_flops_per_s * efficiency.compute_fraction)
    memory_s = (op.weight_bytes + op.moved_bytes) / (bandwidth_bytes_per_s * efficiency.memory_fraction)
    for pad, size in zip(efficiency.compute_pads, op.shape, strict=False):
        compute_s *= 1 + pad / size
    for pad, size in zip(efficiency.memory_pads, op.shape, strict=False):
        memory_s *= 1 + pad / size
    longer_s, shorter_s = max(compute_s, memory_s), min(compute_s, memory_s)
    if longer_s == 0:
        return op.count * efficiency.latency_s
    overlapped_s = longer_s * (1 + (shorter_s / longer_s) ** efficiency.overlap) ** (1 / efficiency.overlap)
    return op.count * efficiency.latency_s + overlapped_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Parameters by part."""

    llm: int
    vision: int
    compressor: int
    projector: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """FLOPs of the whole request by part; decode is all its steps."""

    vision: float
    compressor: float
    prefill: float
    decode: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBytes:
    """Bytes on one GPU at the last token."""

    weights: float
    kv_cache: float
    activations: float
    reserve: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The price of one request; times are of the whole batch. ``sd`` fields are of the logarithm of a time."""

    overhead_s: float
    vision_s: float
    compressor_s: float
    prefill_s: float
    tpot_s: float | None
    output_tokens: int
    ttft_log_sd: float
    tpot_log_sd: float
    latency_log_sd: float
    params: Params
    flops: Flops
    memory_bytes: MemoryBytes
    seconds_by_op: tuple[tuple[Part, str, float], ...]

    @property
    def ttft_s(self) -> float:
        """Time to the first token."""
        return self.overhead_s + self.vision_s + self.compressor_s + self.prefill_s

    @property
    def latency_s(self) -> float:
        """Time to the last token."""
        return self.ttft_s + (self.output_tokens - 1) * (self.tpot_s or 0.0)

    def ttft_interval_s(self, level: float) -> tuple[float, float]:
        """Central interval of the TTFT that holds ``level``."""
        return interval(self.ttft_s, self.ttft_log_sd, level)

    def tpot_interval_s(self, level: float) -> tuple[float, float] | None:
        """Central interval of the time per output token; None when only one token is made."""
        return None if self.tpot_s is None else interval(self.tpot_s, self.tpot_log_sd, level)

    def latency_interval_s(self, level: float) -> tuple[float, float]:
        """Central interval of the latency that holds ``level``."""
        return interval(self.latency_s, self.latency_log_sd, level)


class _Spread:
    """Seconds by source of error: errors of one class of operators go together, those of different classes do not."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.seconds: defaultdict[tuple[Kind | None, bool], float] = defaultdict(float)

    def add(self, kind: Kind | None, quantised: bool, seconds: float) -> None:
        self.seconds[kind, quantised] += seconds

    def log_sd(self) -> float:
        """The standard deviation of the logarithm of the summed time."""
        total_s = sum(self.seconds.values())
        variance = self.machine.model_log_sd**2
        weight_only = self.machine.precision in (Precision.INT8, Precision.INT4)
        for (kind, quantised), seconds in self.seconds.items():
            calibration = self.machine.quantised if quantised else self.machine.base
            sd = calibration.overhead_log_sd if kind is None else calibration.operators[kind].log_sd
            if quantised and weight_only:
                sd = math.hypot(sd, _UNMEASURED_WEIGHT_ONLY_LOG_SD)
            variance += (sd * seconds / total_s) ** 2
        return math.sqrt(variance)


def _layers(request: Request) -> tuple[int, int]:
    """(layers run before the first token, layers of one decode step), which is what runtime overhead grows with."""
    model, visual = request.model, request.visual
    first = decode = model.llm.layers
    if model.vision and visual and not request.workload.cached_images:
        first += model.vision.layers_used or sum(stage.blocks for stage in model.vision.stages)
    if visual and visual.compressor is Compressor.QUECC and request.workload.uncached_text_tokens:
        first += model.llm.layers
    return first, decode


def _params(ops: tuple[Op, ...]) -> Params:
    def total(select: Callable[[Op], bool]) -> int:
        return sum(op.params for op in ops if select(op))

    projector = total(lambda op: op.part is Part.COMPRESSOR and op.name.startswith("projector"))
    return Params(
        llm=total(lambda op: op.part is Part.PREFILL),
        vision=total(lambda op: op.part is Part.VISION),
        compressor=total(lambda op: op.part is Part.COMPRESSOR) - projector,
        projector=projector,
        total=total(lambda op: True),  # noqa: ARG005
    )


def _flops(ops: tuple[Op, ...], steps: int) -> Flops:
    by_part = {part: sum(op.flops for op in ops if op.part is part) for part in Part}
    by_part[Part.DECODE] *= steps
    return Flops(**{part.value: flops for part, flops in by_part.items()}, total=sum(by_part.values()))


def _memory_bytes(request: Request, ops: tuple[Op, ...], reserve: float) -> MemoryBytes:
    weights = sum(op.resident_bytes for op in ops)
    kv_cache, activations = kv_cache_bytes(request), peak_activation_bytes(ops)
    return MemoryBytes(weights=weights, kv_cache=kv_cache, activations=activations, reserve=reserve,
                       total=weights + kv_cache + activations + reserve)


def cost(request: Request, machine: Machine) -> Cost:
    """Price ``request`` on ``machine``. Raises InputError when several GPUs have no known interconnect."""
    ops = operators(request)
    steps = request.workload.output_tokens - 1
    first, step, both = _Spread(machine), _Spread(machine), _Spread(machine)
    by_part: defaultdict[Part, float] = defaultdict(float)
    by_op = []
    for op in ops:
        seconds = op_seconds(op, machine.rates(op))
        decode = op.part is Part.DECODE
        (step if decode else first).add(op.kind, op.quantised, seconds)
        both.add(op.kind, op.quantised, seconds * (steps if decode else 1))
        by_part[op.part] += seconds
        by_op.append((op.part, op.name, seconds))
    layers_first, layers_step = _layers(request)
    base = machine.base
    overhead_s, step_overhead_s = (
        base.overhead_per_call_s + base.overhead_per_layer_s * layers for layers in (layers_first, layers_step)
    )
    first.add(None, False, overhead_s)
    step.add(None, False, step_overhead_s)
    both.add(None, False, overhead_s + steps * step_overhead_s)
    return Cost(
        overhead_s=overhead_s, vision_s=by_part[Part.VISION], compressor_s=by_part[Part.COMPRESSOR],
        prefill_s=by_part[Part.PREFILL], tpot_s=by_part[Part.DECODE] + step_overhead_s if steps else None,
        output_tokens=request.workload.output_tokens, ttft_log_sd=first.log_sd(), tpot_log_sd=step.log_sd() if steps else 0.0,
        latency_log_sd=both.log_sd(), params=_params(ops), flops=_flops(ops, steps),
        memory_bytes=_memory_bytes(request, ops, float(base.reserve_bytes)), seconds_by_op=tuple(by_op),
    )


def request_of(
    model: ModelSpec, workload: Workload, visual_tokens: int, precision: Precision,
    compressor: Compressor = Compressor.NONE, gpus: int = 1,
) -> Request:
    """Build a request for exactly ``visual_tokens`` an image; 0 means no image at all, as for a text-only model."""
    visual = visual_input(model, workload.image, visual_tokens, compressor) if visual_tokens else None
    return Request(model=model, workload=workload, visual=visual, precision=precision, gpus=gpus)


def paper_prefill_flops(llm_params: float, workload: Workload, visual_tokens: int) -> float:
    """Return 2 * N * (Q + V), the rule of arXiv 2411.03312: the LLM's prefill only, without attention's own products."""
    tokens = workload.uncached_text_tokens + visual_tokens * workload.images
    return 2.0 * llm_params * tokens * workload.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Knees:
    """The most visual tokens an image whose LLM prefill, or whole TTFT, is at most 5 % above that of one."""

    knee_prefill_visual_tokens: int | None
    knee_ttft_visual_tokens: int | None


def _last_below(limit_s: float, seconds: Callable[[int], float], most: int) -> int:
    """Bisect for the largest V in 1 to ``most`` with seconds(V) <= limit_s; seconds must not fall with V."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds(middle) <= limit_s else (low, middle - 1)
    return low


def knees(request: Request, machine: Machine) -> Knees:
    """Find both knees for the request's model, precision, batch and text; None for a model without vision."""
    model, visual = request.model, request.visual
    if model.image is None or visual is None:
        return Knees(knee_prefill_visual_tokens=None, knee_ttft_visual_tokens=None)
    per_token = model.image.view_size**2 if model.image.rule is Rule.AREA and visual.compressor is Compressor.NONE else 0
    first_only = replace(request.workload, output_tokens=1)

    def priced(tokens: int) -> Cost:
        pixels = tokens * per_token or visual.pixels_per_view
        varied = replace(visual, visual_tokens=tokens, pixels_per_view=pixels)
        return cost(replace(request, visual=varied, workload=first_only), machine)

    def knee(seconds: Callable[[Cost], float]) -> int:
        limit_s = seconds(priced(1)) * (1 + KNEE_TOLERANCE)
        return _last_below(limit_s, lambda tokens: seconds(priced(tokens)), KNEE_SEARCH_TOKENS)

    return Knees(
        knee_prefill_visual_tokens=knee(lambda found: found.prefill_s),
        knee_ttft_visual_tokens=knee(lambda found: found.ttft_s),
    )


def active_llm_params(model: ModelSpec) -> int:
    """Return the LLM's parameters that one token touches, embeddings included: the N of the scaling laws."""
    request = Request(model=model, workload=Workload(text_tokens=1), visual=None, precision=Precision.BF16)
    llm, params = model.llm, sum(op.params for op in prefill(request))
    idle_experts = (llm.layers - llm.dense_layers) * (llm.experts - llm.experts_per_token)
    return params - idle_experts * 3 * llm.hidden * llm.expert_intermediate


def by_part_and_op(found: Cost) -> Mapping[Part, tuple[tuple[str, float], ...]]:
    """Return the seconds of each part's operators, longest first: what ``--explain`` draws."""

    def rows(part: Part) -> Iterator[tuple[str, float]]:
        summed: defaultdict[str, float] = defaultdict(float)
        for where, name, seconds in found.seconds_by_op:
            if where is part and seconds:
                summed[name] += seconds
        yield from sorted(summed.items(), key=lambda row: -row[1])

    return {part: tuple(rows(part)) for part in Part}
