"""What does a request cost? Folds over the operator list: parameters, FLOPs, memory, seconds and their intervals.

(request, machine) -> seconds part by part. ``ttft_s = preprocess_s + overhead_s + vision_s + compressor_s +
prefill_s``; ``tpot_s`` is the mean over tokens 2 to n; ``latency_s = ttft_s + (n - 1) * tpot_s``. With c requests in
flight (continuous batching) a step decodes c of them, and a new one waits for half a step and for the c - 1 others'
prefills; the wait is in ``overhead_s``. Left out: requests waiting for a place, speculative decoding, the network, host
work that neither the runtime's overhead nor ``preprocess_s`` holds.

The list has the operators of the vision tower, the compressor with its projector, the LLM's prefill and its mean decode
step. Left out of it: sampling, tokenising, decoding the image file, moving data to the device.
"""

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from vlmplan.cost.attention import Pass, cache_bytes
from vlmplan.cost.llm import decode, llm_pass, prefill
from vlmplan.cost.op import WEIGHT_BYTES, Op, Request
from vlmplan.cost.roofline import Machine, exposed_s, op_seconds
from vlmplan.cost.uncertainty import Seconds, Spent, Spread, extrapolation_log_sd, spread
from vlmplan.cost.vision import compressor, vision
from vlmplan.hardware import Kind, Part, Precision, Preprocess
from vlmplan.models import Compressor, ModelSpec, Quantisation, Workload, layer_groups, operator_key, visual_input
from vlmplan.records import dataclass


def operators(request: Request) -> tuple[Op, ...]:
    """Return every operator of the request; decode is the mean step of tokens 2 to n."""
    return _stored(request, (*vision(request), *compressor(request), *prefill(request), *decode(request)))


def front_operators(request: Request) -> tuple[Op, ...]:
    """Return the operators before the LLM's own pass: vision tower, compressor, projector."""
    return _stored(request, (*vision(request), *compressor(request)))


def pass_operators(request: Request, step: Pass) -> tuple[Op, ...]:
    """Return the LLM's operators of one pass over any number of new tokens."""
    return _stored(request, tuple(llm_pass(request, step)))


def _stored(request: Request, ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """The operators with the bytes that their weights have in the checkpoint."""
    stored = request.model.quantisation
    return ops if stored is None else tuple(_as_stored(op, request, stored) for op in ops)


def _as_stored(op: Op, request: Request, stored: Quantisation) -> Op:
    """The operator with the bytes that its weights have in the checkpoint, whatever its part has elsewhere."""
    if op.kind is not Kind.LINEAR:
        return op
    base = request.activation_bytes
    size = stored.weight_bytes.get(operator_key(op.part, op.name))
    drawn = WEIGHT_BYTES[request.precision] if op.quantised else base
    factor = (base if size is None else size) / drawn
    return replace(
        op,
        weight_bytes=op.weight_bytes * factor,
        resident_bytes=op.resident_bytes * factor,
        quantised=size is not None,
    )


def kv_cache_bytes(request: Request) -> float:
    """Return the KV cache at the last token, on one GPU: prompt and output of all requests in flight."""
    groups = layer_groups(request.model.llm)
    return request.workload.decoded_together * sum(cache_bytes(request, group) for group in groups)


PARTS = tuple(Part)


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
    """The price of one request; times are of the whole batch, and medians; ``spread`` fields say how they spread."""

    preprocess_s: float
    overhead_s: float
    vision_s: float
    compressor_s: float
    prefill_s: float
    tpot_s: float | None
    output_tokens: int
    requests: int
    kv_cache_request_bytes: float
    ttft_spread: Spread
    tpot_spread: Spread
    latency_spread: Spread
    params: Params
    flops: Flops
    memory_bytes: MemoryBytes
    seconds_by_op: tuple[tuple[Part, str, float], ...]

    @property
    def ttft_s(self) -> float:
        """Time to the first token."""
        return self.preprocess_s + self.overhead_s + self.vision_s + self.compressor_s + self.prefill_s

    @property
    def latency_s(self) -> float:
        """Time to the last token."""
        return self.ttft_s + (self.output_tokens - 1) * (self.tpot_s or 0.0)

    @property
    def requests_per_s(self) -> float:
        """Requests finished in a second, all those in flight together."""
        return self.requests / self.latency_s

    def most_requests(self, memory_bytes: float | None) -> int | None:
        """Return how many requests the memory holds the KV cache of, beside all else; None where nothing limits it."""
        if memory_bytes is None or not self.kv_cache_request_bytes:
            return None
        left_bytes = memory_bytes - (self.memory_bytes.total - self.memory_bytes.kv_cache)
        return max(0, int(left_bytes // self.kv_cache_request_bytes))

    def ttft_interval_s(self, level: float) -> tuple[float, float]:
        """Central interval of the TTFT that holds ``level``."""
        return self.ttft_spread.interval(self.ttft_s, level)

    def tpot_interval_s(self, level: float) -> tuple[float, float] | None:
        """Central interval of the time per output token; None when only one token is made."""
        return None if self.tpot_s is None else self.tpot_spread.interval(self.tpot_s, level)

    def latency_interval_s(self, level: float) -> tuple[float, float]:
        """Central interval of the latency that holds ``level``."""
        return self.latency_spread.interval(self.latency_s, level)


# Kernels that an eager layer launches: about 17 in CLIP's (norms, four projections, attention, MLP, residuals) and 38
# in Llama's (norms in pieces, rotary embedding, cache, gated MLP), counted in transformers 5's modules.
VISION_LAYER_SHARE = 17 / 38


def overhead_layers(request: Request) -> tuple[float, int]:
    """(layers before the LLM's own pass, layers of that pass), which is what runtime overhead grows with.

    In layers of an LLM: one of a vision tower launches ``VISION_LAYER_SHARE`` of its kernels.
    """
    model, visual, before = request.model, request.visual, 0.0
    if model.vision and visual and not request.workload.cached_images:
        layers = model.vision.layers_used or sum(stage.blocks for stage in model.vision.stages)
        before += VISION_LAYER_SHARE * layers
    if visual and visual.compressor.reads_question and request.workload.uncached_text_tokens:
        before += model.llm.layers
    return before, model.llm.layers


class _Totals:
    """One walk over the operators: seconds, FLOPs, parameters and bytes, by part."""

    def __init__(self, ops: tuple[Op, ...], machine: Machine) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.flops = dict.fromkeys(PARTS, 0.0)
        self.params = dict.fromkeys(PARTS, 0)
        self.projector_params = 0
        self.weight_bytes = self.activation_bytes = 0.0
        self.first: Seconds = defaultdict(float)
        self.step: Seconds = defaultdict(float)
        self.seconds_by_op = []
        for op in ops:
            part, name, params, seconds = op.part, op.name, op.params, op_seconds(op, machine.rates(op))
            self.seconds[part] += seconds
            self.seconds_by_op.append((part, name, seconds))
            self.flops[part] += op.flops
            self.params[part] += params
            self.weight_bytes += op.resident_bytes
            (self.step if part is Part.DECODE else self.first)[op.kind, op.quantised] += seconds
            if part is Part.COMPRESSOR and name.startswith("projector"):
                self.projector_params += params
            if part is not Part.DECODE and op.count:
                # What the widest single kernel reads and writes is the least a runtime must hold at once.
                self.activation_bytes = max(self.activation_bytes, op.moved_bytes / op.count)


def preprocess_s(request: Request, rates: Preprocess | None) -> float:
    """Seconds that the host spends on a request's images, one after the other, before the tower has them.

    A cached image takes none: an engine knows it by an id. Without ``rates`` images are given ready for the tower.
    """
    visual, workload = request.visual, request.workload
    if rates is None or visual is None or workload.cached_images:
        return 0.0
    sent_px, seen_px = workload.image[0] * workload.image[1], visual.views * visual.pixels_per_view
    return workload.batch * workload.images * (sent_px * rates.sent_px_s + seen_px * rates.seen_px_s)


def _spent(request: Request, machine: Machine, totals: _Totals) -> tuple[Spent, Spent]:
    """Where the time to the first token goes, and that of a decode step."""
    base, seconds = machine.base, totals.seconds
    layers_before, layers = overhead_layers(request)
    overlap, call_s = base.overhead_overlap, base.overhead_per_call_s + base.overhead_per_layer_s * layers
    front_s = exposed_s(
        seconds[Part.VISION] + seconds[Part.COMPRESSOR], base.overhead_per_layer_s * layers_before, overlap
    )
    prefill_s, step_s = (exposed_s(seconds[part], call_s, overlap) for part in (Part.PREFILL, Part.DECODE))
    first = Spent(
        by_class=totals.first,
        by_part={
            Part.VISION: seconds[Part.VISION] + front_s,
            Part.COMPRESSOR: seconds[Part.COMPRESSOR],
            Part.PREFILL: seconds[Part.PREFILL] + prefill_s + base.overhead_per_request_s,
        },
        first_kernels_s=seconds[Part.VISION] + seconds[Part.COMPRESSOR] + seconds[Part.PREFILL],
        overhead_s=front_s + prefill_s + base.overhead_per_request_s,
        request_s=base.overhead_per_request_s,
        preprocess_s=preprocess_s(request, base.preprocess),
    )
    decode = {Part.DECODE: seconds[Part.DECODE] + step_s}
    return first, Spent(by_class=totals.step, by_part=decode, step_kernels_s=seconds[Part.DECODE], overhead_s=step_s)


def _sum(*terms: tuple[Spent, float]) -> Spent:
    """Where the time of several goes, each taken so many times."""
    by_class: Seconds = defaultdict(float)
    by_part: defaultdict[Part, float] = defaultdict(float)
    for spent, times in terms:
        for key, seconds in spent.by_class.items():
            by_class[key] += times * seconds
        for part, seconds in spent.by_part.items():
            by_part[part] += times * seconds
    return Spent(
        by_class=by_class,
        by_part=by_part,
        first_kernels_s=sum(times * spent.first_kernels_s for spent, times in terms),
        step_kernels_s=sum(times * spent.step_kernels_s for spent, times in terms),
        overhead_s=sum(times * spent.overhead_s for spent, times in terms),
        request_s=sum(times * spent.request_s for spent, times in terms),
        preprocess_s=sum(times * spent.preprocess_s for spent, times in terms),
    )


def _waited(first: Spent, workload: Workload) -> Spent:
    """The time to the first token with ``workload.concurrency`` requests in flight, but for the step they break into.

    A request finds all others before their first token, however much is generated: with one token out a device that
    serves one after another cannot do better, and with more it is so wherever clients come at once. The overhead of a
    request and the work on its images are spent beside the device and keep nobody else waiting. Left out: clients that
    come one by one meet others that decode; then part of the wait falls on later tokens, and the latency is the same.
    """
    others = workload.concurrency - 1
    if not others:
        return first
    on_device = replace(
        first,
        overhead_s=first.overhead_s - first.request_s,
        request_s=0.0,
        preprocess_s=0.0,
        by_part={**first.by_part, Part.PREFILL: first.by_part[Part.PREFILL] - first.request_s},
    )
    return _sum((first, 1), (on_device, others))


def cost(request: Request, machine: Machine) -> Cost:
    """Price ``request`` on ``machine``. Raises InputError when several GPUs have no known interconnect."""
    request = machine.as_run(request)
    steps = request.workload.output_tokens - 1
    totals, further = _Totals(operators(request), machine), extrapolation_log_sd(request, machine)
    seconds, params, flops = totals.seconds, totals.params, totals.flops
    alone, step = _spent(request, machine, totals)
    waited = _waited(alone, request.workload)
    # Half of a step is as unsure as the rest: no output's length makes the first token surer.
    first = _sum((waited, 1), (step, 0.5 if steps and request.workload.concurrency > 1 else 0))
    flops[Part.DECODE] *= steps / request.workload.concurrency
    kv_cache, reserve = kv_cache_bytes(request), float(machine.base.reserve_bytes)
    return Cost(
        preprocess_s=alone.preprocess_s,
        overhead_s=alone.overhead_s + (first.total_s - alone.total_s),
        vision_s=seconds[Part.VISION],
        compressor_s=seconds[Part.COMPRESSOR],
        prefill_s=seconds[Part.PREFILL],
        tpot_s=step.total_s if steps else None,
        output_tokens=request.workload.output_tokens,
        requests=request.workload.decoded_together,
        kv_cache_request_bytes=kv_cache / request.workload.decoded_together,
        ttft_spread=spread(waited, machine, further),
        tpot_spread=spread(step, machine, further) if steps else Spread(log_sd=0.0),
        latency_spread=spread(_sum((first, 1), (step, steps)), machine, further),
        params=Params(
            llm=params[Part.PREFILL],
            vision=params[Part.VISION],
            compressor=params[Part.COMPRESSOR] - totals.projector_params,
            projector=totals.projector_params,
            total=sum(params.values()),
        ),
        flops=Flops(**{part.value: flops[part] for part in PARTS}, total=sum(flops.values())),
        memory_bytes=MemoryBytes(
            weights=totals.weight_bytes,
            kv_cache=kv_cache,
            activations=totals.activation_bytes,
            reserve=reserve,
            total=totals.weight_bytes + kv_cache + totals.activation_bytes + reserve,
        ),
        seconds_by_op=tuple(totals.seconds_by_op),
    )


def request_of(
    model: ModelSpec,
    workload: Workload,
    visual_tokens: int,
    precision: Precision,
    compressor: Compressor = Compressor.NONE,
    gpus: int = 1,
) -> Request:
    """Build a request for exactly ``visual_tokens`` an image; 0 means no image at all, as for a text-only model."""
    visual = visual_input(model, workload.image, visual_tokens, compressor) if visual_tokens else None
    return Request(model=model, workload=workload, visual=visual, precision=precision, gpus=gpus)


def paper_prefill_flops(llm_params: float, workload: Workload, visual_tokens: int) -> float:
    """Return 2 * N * (Q + V), the rule of arXiv 2411.03312: one request's prefill without attention itself."""
    tokens = workload.uncached_text_tokens + visual_tokens * workload.images
    return 2.0 * llm_params * tokens


def total_params(model: ModelSpec) -> int:
    """Return all parameters that are loaded, of the tower, the projector and the LLM."""
    request = Request(model=model, workload=Workload(text_tokens=1), visual=None, precision=Precision.BF16)
    return sum(op.params for op in operators(request))


@functools.lru_cache(maxsize=1024)
def total_llm_params(model: ModelSpec) -> int:
    """Return the LLM's parameters, embeddings included, all experts and none of the tables of single layers.

    Those (Gemma's E models) are looked up, not multiplied; the models' names do not count them either.
    """
    request = Request(model=model, workload=Workload(text_tokens=1), visual=None, precision=Precision.BF16)
    llm = model.llm
    return sum(op.params for op in prefill(request)) - llm.vocabulary * llm.layers * llm.per_layer_embedding


def active_llm_params(model: ModelSpec) -> int:
    """Return the LLM's parameters that one token touches, embeddings included: the N of the scaling laws."""
    llm = model.llm
    idle = (llm.experts - llm.experts_per_token) * llm.expert_intermediate * 3
    if llm.vision_expert_intermediate:  # a text token touches none of these, nor of their routers
        idle += llm.experts * (llm.vision_expert_intermediate * 3 + 1)
    return total_llm_params(model) - (llm.layers - llm.dense_layers) * idle * llm.hidden


def by_part_and_op(priced: Cost) -> Mapping[Part, tuple[tuple[str, float], ...]]:
    """Return the seconds of each part's operators, longest first: what ``--explain`` draws."""

    def rows(part: Part) -> Iterator[tuple[str, float]]:
        summed: defaultdict[str, float] = defaultdict(float)
        for where, name, seconds in priced.seconds_by_op:
            if where is part and seconds:
                summed[name] += seconds
        yield from sorted(summed.items(), key=lambda row: -row[1])

    return {part: tuple(rows(part)) for part in Part}
