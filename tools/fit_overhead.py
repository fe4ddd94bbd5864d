"""Fit what a stack adds to its kernels on published times of single requests, and by how much stacks differ.

Medians: overhead per request, per call and per layer of each runtime, and how many times longer than measured here
(``facts/preprocess.csv``) servers take to make an image ready. Spreads: of kernels before the first token, of a step's,
of a call's overhead, and of what a host adds to a request. Sources: ``facts/e2e`` (Argonne LLM-Inference-Bench, BSD-3)
and ``facts/published_latency.csv``, whose rows name theirs. All GPUs together: what sources disagree by is versions and
hosts more than devices. Every source counts alike however many rows it has, and every error is of a fit without its
source. ``latency_coverage.py`` judges the intervals.
"""

import csv
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

import numpy as np
from measure_preprocess import measured_here
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize

from facts import FACTS, number, rows
from vlmplan.cost.op import Request
from vlmplan.cost.roofline import Machine, exposed_s, machine
from vlmplan.cost.totals import cost, overhead_layers, preprocess_s, request_of
from vlmplan.cost.uncertainty import Spread
from vlmplan.errors import InputError
from vlmplan.hardware.profile import Calibration
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.intervals import quantile
from vlmplan.inventory import catalogue
from vlmplan.measuring.observation import Quantity, predicted
from vlmplan.models import native_visual_tokens
from vlmplan.models.decoder import Decoder
from vlmplan.models.spec import Compressor, ModelSpec, Workload

ARGONNE = "Argonne LLM-Inference-Bench"
PUBLISHED = FACTS / "published_latency.csv"
# The A100 of Argonne's runs has, by its implied bandwidth, 40 GB .
ARGONNE_GPUS = {"a100": "a100-40gb-sxm", "h100": "h100-sxm"}
ARGONNE_ENGINES = {"argonne-vLLM": Runtime.VLLM, "argonne-TensorRT-LLM": Runtime.TENSORRT_LLM}


def decoder(layers: int, hidden: int, heads: int, kv: int, mlp: int, words: int, **other: object) -> Decoder:
    """Return a decoder of a llama's shape by its dimensions."""
    given = {"head_dim": 128, "tied_embeddings": False} | other
    return Decoder(
        layers=layers, hidden=hidden, heads=heads, kv_heads=kv, intermediate=mlp, vocabulary=words, **given  # type: ignore[arg-type]
    )  # fmt: skip


# Dimensions from the models' own config.json files on the hub.
MODELS = {
    "Llama-2-7B": decoder(32, 4096, 32, 32, 11008, 32000),
    "Llama-2-13B": decoder(40, 5120, 40, 40, 13824, 32000),
    "Llama-2-70B": decoder(80, 8192, 64, 8, 28672, 32000),
    "Mistral-7B": decoder(32, 4096, 32, 8, 14336, 32000),
    "Llama-3-8B": decoder(32, 4096, 32, 8, 14336, 128256),
    "Qwen2.5-0.5B": decoder(24, 896, 14, 2, 4864, 151936, tied_embeddings=True, head_dim=64, qkv_bias=True),
    "Qwen2.5-1.5B": decoder(28, 1536, 12, 2, 8960, 151936, tied_embeddings=True, qkv_bias=True),
    "Qwen2.5-7B": decoder(28, 3584, 28, 4, 18944, 152064, qkv_bias=True),
    "Qwen2.5-14B": decoder(48, 5120, 40, 8, 13824, 152064, qkv_bias=True),
    "Qwen2.5-32B": decoder(64, 5120, 40, 8, 27648, 152064, qkv_bias=True),
    "Qwen3-1.7B": decoder(28, 2048, 16, 8, 6144, 151936, tied_embeddings=True, qk_norm=True),
    "Qwen3-8B": decoder(36, 4096, 32, 8, 12288, 151936, qk_norm=True),
    "Llama-3-70B": decoder(80, 8192, 64, 8, 28672, 128256),
    "Llama-3.1-405B": decoder(126, 16384, 128, 8, 53248, 128256),
    "CodeLlama-34B": decoder(48, 8192, 64, 8, 22016, 32000),
    "Llama-3.2-1B": decoder(16, 2048, 32, 8, 8192, 128256, tied_embeddings=True, head_dim=64),
    "Llama-3.2-3B": decoder(28, 3072, 24, 8, 8192, 128256, tied_embeddings=True),
    "TinyLlama-1.1B": decoder(22, 2048, 32, 4, 5632, 32000, head_dim=64),
    "Qwen3-0.6B": decoder(28, 1024, 16, 8, 3072, 151936, tied_embeddings=True, qk_norm=True),
    "Qwen3-4B": decoder(36, 2560, 32, 8, 9728, 151936, tied_embeddings=True, qk_norm=True),
}
_ARGONNE_MODELS = {"Llama-2-7b": "Llama-2-7B", "Qwen2-7B": "Qwen2.5-7B"}
# LLaVA-1.5-7B on an A100 with transformers: compressor, visual tokens, TTFT (arXiv 2411.03312). The length
# of the question is not stated; 50 tokens are taken.
LLAVA = "LLaVA-1.5-7B TTFT on an A100 (vlmplan's design notes)"
LLAVA_TTFT_S = ((Compressor.NONE, 576, 0.067), (Compressor.TOKEN_PACKER, 16, 0.038), (Compressor.QUECC, 16, 0.063))


# An engine that is not priced goes by its nearest.
NEAREST = {"sglang": Runtime.VLLM, "tensorrt-edge-llm": Runtime.TENSORRT_LLM}
# What their servers make images ready with: transformers' processors on torchvision.
SERVER_BACKEND = "torchvision"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One published time, and the kernels that are in it. ``served``: timed by a client over HTTP."""

    source: str
    engine: str
    runtime: Runtime
    hardware: str
    model: str
    precision: Precision
    quantity: Quantity
    measured_s: float
    kernels_s: tuple[float, float, float]  # of the vision encoder, the prefill, a step
    layers: tuple[float, int]  # run before the LLM, of the LLM
    steps: int
    served: bool
    image: bool
    preprocess_s: float  # for its images, as measured here
    kernels_log_sd: float

    @property
    def kind(self) -> str:
        """The quantity, and whether an image is part of it."""
        return f"{self.quantity}, image" if self.image else f"{self.quantity}"


MachineOf = Callable[[str, Runtime, Precision], Machine]


def runtime_of(engine: str) -> Runtime:
    """Return the runtime that prices an engine."""
    return Runtime(engine) if engine in set(Runtime) else NEAREST[engine]


def model_of(name: str) -> ModelSpec:
    """Return a text model by its dimensions, or the catalogue's."""
    if name in MODELS:
        return ModelSpec(name=name, family="text", architecture="llama", llm=MODELS[name])
    return catalogue.model(name)


def _priced(request: Request, ready: Machine, quantity: Quantity, measured_ms: str, **other: Any) -> Point:
    """A time beside the kernels that are in it."""
    priced = cost(request, ready)
    return Point(
        runtime=ready.runtime,
        hardware=ready.hardware.name,
        precision=request.precision,
        quantity=quantity,
        measured_s=float(measured_ms) / 1e3,
        kernels_s=(priced.vision_s + priced.compressor_s, priced.prefill_s, priced.tpot_s or 0.0),
        layers=overhead_layers(request),
        steps=request.workload.output_tokens - 1,
        image=request.visual is not None and quantity is not Quantity.TPOT,
        preprocess_s=preprocess_s(request, measured_here(SERVER_BACKEND)),
        kernels_log_sd=predicted(quantity, priced)[1].log_sd,
        **other,
    )


def _llava_points(machine_of: MachineOf) -> list[Point]:
    """Times of a model given pixels that are ready."""
    ready = machine_of("a100-80gb-sxm", Runtime.TRANSFORMERS, Precision.BF16)
    spec, workload = catalogue.model("llava-hf/llava-1.5-7b-hf"), Workload(text_tokens=50, image=(336, 336))
    found = []
    for compressor, tokens, measured_s in LLAVA_TTFT_S:
        request = request_of(spec, workload, tokens, Precision.BF16, compressor)
        name = f"{spec.name} {compressor}"
        one = _priced(request, ready, Quantity.TTFT, f"{1e3 * measured_s}", source=LLAVA, engine="transformers",
                      model=name, served=False)  # fmt: skip
        found.append(replace(one, preprocess_s=0.0))
    return found


def workload_of(row: dict[str, str]) -> Workload:
    """Return what a row asked for; a prompt of no words still has its template's."""
    text, out = max(1, int(row["text_tokens"])), int(row["output_tokens"])
    if row.get("images", "0") == "0":
        return Workload(text_tokens=text, output_tokens=out)
    size = (int(row["image_width_px"]), int(row["image_height_px"]))
    return Workload(text_tokens=text, output_tokens=out, images=int(row["images"]), image=size)


def _points(row: dict[str, str], machine_of: MachineOf) -> list[Point]:
    """The times of a row; of a whole latency only where neither of its parts is given."""
    runtime, precision = runtime_of(row["runtime"]), Precision(row["precision"])
    try:
        ready = machine_of(row["hardware"], runtime, precision)
    except (InputError, KeyError):
        return []  # a device or a precision that is not in the catalogue
    spec, workload = model_of(row["model"]), workload_of(row)
    tokens = native_visual_tokens(spec, workload.image) if row.get("images", "0") != "0" else 0
    request = request_of(spec, workload, tokens, precision, gpus=int(row.get("tensor_parallel") or 1))
    parts = row.get("ttft_ms") or row.get("tpot_ms")
    return [
        _priced(request, ready, quantity, text, source=row["source"], engine=str(row["runtime"]), model=row["model"],
                served=row["client"] == "http")
        for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY)
        if (text := row.get(f"{quantity}_ms") or "") and not (quantity is Quantity.LATENCY and parts)
    ]  # fmt: skip


def argonne_rows() -> list[dict[str, str]]:
    """Argonne's whole-request times in the columns of ``published_latency.csv``."""
    return [
        {
            "source": ARGONNE,
            "runtime": ARGONNE_ENGINES[row["src"]],
            "hardware": ARGONNE_GPUS[row["gpu"]],
            "model": _ARGONNE_MODELS.get(row["model"], row["model"]),
            "precision": Precision.FP16,
            "text_tokens": row["isl"],
            "output_tokens": row["isl"],
            "latency_ms": row["ms"],
            "client": "offline",
        }
        for row in rows("e2e/llm_inference_bench_batch1.csv")
        if row["src"] in ARGONNE_ENGINES and row["tp"] == "1"
    ]


def published_rows() -> list[dict[str, str]]:
    """The collected figures."""
    with PUBLISHED.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where a predicted time goes: kernels before the first token, a step's, a call's overhead, a request's, images."""

    first_s: float
    step_s: float
    call_s: float
    request_s: float
    image_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.first_s + self.step_s + self.call_s + self.request_s + self.image_s


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What a runtime adds. ``overlap`` is how far it runs beside the kernels (1: not at all)."""

    per_request_s: float
    per_call_s: float
    per_layer_s: float
    overlap: float

    def parts(self, point: Point, preprocess_factor: float) -> Parts:
        """Predict a point; images take ``preprocess_factor`` times as long as they do here."""
        front, prefill, step = point.kernels_s
        before, layers = point.layers
        call = self.per_call_s + self.per_layer_s * layers
        first_call_s = exposed_s(prefill, call, self.overlap)
        first_call_s += exposed_s(front, self.per_layer_s * before, self.overlap)
        step_call_s = exposed_s(step, call, self.overlap)
        firsts = 0 if point.quantity is Quantity.TPOT else 1
        steps = {Quantity.TTFT: 0, Quantity.TPOT: 1, Quantity.LATENCY: point.steps}[point.quantity]
        return Parts(
            first_s=firsts * (front + prefill),
            step_s=steps * step,
            call_s=firsts * first_call_s + steps * step_call_s,
            request_s=firsts * self.per_request_s if point.served else 0.0,
            image_s=firsts * preprocess_factor * point.preprocess_s,
        )


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """What stacks add, at the median: each runtime's overhead, and how many times longer than here images take."""

    overheads: dict[Runtime, Overhead]
    preprocess_factor: float

    def parts(self, point: Point) -> Parts:
        """Predict a point."""
        return self.overheads[point.runtime].parts(point, self.preprocess_factor)


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What ``facts/runtimes.csv`` says of a runtime; ``overhead`` where too few published times tell it.

    ``images``: with what a library in the client's own process makes them ready, None of a server.

    Runtimes that replay captured graphs pay once a call; an ``eager`` one pays for every layer, ahead of the device.
    """

    reserve_bytes: int
    eager: bool
    overhead: Overhead | None
    images: str | None
    source: str


@functools.cache
def assumed(runtime: Runtime) -> Assumed:
    """Return what the facts say of a runtime. Raises InputError where they say nothing, or too little."""
    row = next((row for row in rows("runtimes.csv") if row["runtime"] == runtime), None)
    if row is None:
        raise InputError(f"facts/runtimes.csv: found no row of {runtime}, expected one")
    told = [number(row[column]) for column in ASSUMED_COLUMNS]
    if row["pays"] not in ("call", "layer") or not number(row["reserve_gib"]):
        raise InputError(f"facts/runtimes.csv, {runtime}: expected reserve_gib, and pays to be call or layer")
    if told.count(None) not in (0, len(told)) or (told[0] is None and runtime not in timed()):
        raise InputError(
            f"facts/runtimes.csv, {runtime}: expected {', '.join(ASSUMED_COLUMNS)}, which nobody's published times tell"
        )
    per_layer_s, per_call_s = (value or 0.0 for value in told)
    return Assumed(
        reserve_bytes=int(float(row["reserve_gib"]) * 2**30),
        eager=row["pays"] == "layer",
        overhead=None
        if told[0] is None
        else Overhead(per_request_s=0.0, per_call_s=per_call_s, per_layer_s=per_layer_s, overlap=1.0),
        images=row["images"] or None,
        source=row["source"],
    )


def timed() -> set[str]:
    """The runtimes of which there are published times."""
    return {*ARGONNE_ENGINES.values(), *(row["runtime"] for row in published_rows())}


ASSUMED_COLUMNS = ("overhead_per_layer_s", "overhead_per_call_s")
# Too few times are published of others. A runtime without a row is told in a line by ``make_hardware.py``.
FITTED = tuple(one for one in Runtime if assumed(one).overhead is None)
_ROBUST_LOG = 0.3  # errors beyond it count less than squared: about what sources differ by
# Weakly to the start, so that what no point tells stays where it is; less weakly to launches far ahead of the device,
# with which sources left out are predicted best.
_HELD, _OVERLAP_HELD = 0.05, 0.2


def _logs(stacks: Stacks) -> NDArray[np.float64]:
    """What ``fit`` searches over: by runtime the logarithms of overhead by request and by call or layer, of overlap."""
    each = [
        (one.per_request_s, one.per_call_s + one.per_layer_s, one.overlap - 1)
        for one in (stacks.overheads[runtime] for runtime in FITTED)
    ]
    return np.log(np.maximum([value for one in each for value in one] + [stacks.preprocess_factor], 1e-9))


def fit(points: Sequence[Point], near: Stacks | None = None) -> Stacks:
    """Fit all runtimes together, every source weighing the same; ``near`` is where to begin the search."""
    sources = [point.source for point in points]
    weights = np.array([1 / math.sqrt(sources.count(source)) for source in sources])
    served = {point.runtime for point in points if point.served}

    def overhead(runtime: Runtime, values: NDArray[np.float64]) -> Overhead:
        request, main, overlap = map(float, np.exp(values))
        eager = assumed(runtime).eager
        return Overhead(
            per_request_s=request if runtime in served else 0.0,
            per_call_s=0.0 if eager else main,
            per_layer_s=main if eager else 0.0,
            overlap=1 + overlap if eager else 1.0,
        )

    def made(values: NDArray[np.float64]) -> Stacks:
        each = {runtime: overhead(runtime, values[3 * i : 3 * i + 3]) for i, runtime in enumerate(FITTED)}
        return Stacks(overheads=each, preprocess_factor=float(np.exp(values[-1])))

    held = np.array([_HELD, _HELD, _OVERLAP_HELD] * len(FITTED) + [_HELD])

    def residuals(values: NDArray[np.float64]) -> NDArray[np.float64]:
        one = made(values)
        off = np.array([math.log(one.parts(point).total_s / point.measured_s) for point in points])
        robust = np.sign(off) * np.sqrt(2 * (np.sqrt(1 + (off / _ROBUST_LOG) ** 2) - 1))
        return np.concatenate([robust * weights, held * (values - start)])

    start = np.log([value for runtime in FITTED for value in (5e-3, 8e-4, 3.0)] + [2.0])
    low = np.log([value for _ in FITTED for value in (1e-4, 1e-5, 0.05)] + [0.2])
    high = np.log([value for _ in FITTED for value in (5e-2, 5e-3, 7.0)] + [20.0])
    begin = start if near is None else np.clip(_logs(near), low + 1e-6, high - 1e-6)
    return made(least_squares(residuals, begin, bounds=(low, high), xtol=1e-5, ftol=1e-6).x)


@dataclass(frozen=True, kw_only=True)
class Residual:
    """A published time beside the prediction of a fit without its group."""

    point: Point
    parts: Parts

    @property
    def log_ratio(self) -> float:
        """log(measured / predicted): above zero, the stack was slower."""
        return math.log(self.point.measured_s / self.parts.total_s)


def left_out(points: Sequence[Point], key: Callable[[Point], str] = lambda point: point.source) -> list[Residual]:
    """Return every point beside its prediction by a fit without its group."""
    found, whole = [], fit(points)
    for group in dict.fromkeys(map(key, points)):
        one = fit([point for point in points if key(point) != group], whole)
        found += [Residual(point=point, parts=one.parts(point)) for point in points if key(point) == group]
    return found


def shares(residuals: Sequence[Residual]) -> NDArray[np.float64]:
    """Return shares that sum to one, every source counting alike."""
    sources = [one.point.source for one in residuals]
    each = np.array([1 / sources.count(source) for source in sources])
    return np.asarray(each / each.sum())


@dataclass(frozen=True, kw_only=True)
class Between:
    """By how much one stack differs from another: log standard deviations of the parts of a time.

    Of kernels before the first token, of a step's, of a call's overhead; of a request's, and of what images take.
    """

    first: float
    step: float
    call: float
    request: float
    image: float

    def spread(self, one: Residual) -> Spread:
        """Return how a time spreads: by the stack's parts, beside what the kernels' own fits are off by."""
        parts, total_s = one.parts, one.parts.total_s
        kernels_s = one.point.kernels_log_sd * (parts.first_s + parts.step_s)
        off_s = (kernels_s, self.first * parts.first_s, self.step * parts.step_s, self.call * parts.call_s)
        hosts = ((parts.request_s / total_s, self.request), (parts.image_s / total_s, self.image))
        return Spread(log_sd=math.hypot(*off_s) / total_s, apart=hosts)


LEVEL = 0.9
_USUAL = Between(first=0.15, step=0.1, call=0.5, request=0.8, image=0.8)  # where the fit begins, and is held weakly to
_LOGS = np.log([_USUAL.first, _USUAL.step, _USUAL.call, _USUAL.request, _USUAL.image])
_BETWEEN_HELD = 0.1


def interval_scores(
    off: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], level: float = LEVEL
) -> NDArray[np.float64]:
    """Return widths of intervals of log time, and 2 / (1 - level) for every unit that a time lies outside.

    Gneiting & Raftery 2007, equation 43; less is better.
    """
    outside = np.maximum(0.0, low - off) + np.maximum(0.0, off - high)
    return np.asarray(high - low + 2 / (1 - level) * outside)


def between(residuals: Sequence[Residual]) -> Between:
    """Fit the spread between stacks: that of the best interval score, every source counting alike."""
    weight, off = shares(residuals), np.array([one.log_ratio for one in residuals])
    spreads = [_USUAL.spread(one) for one in residuals]
    hosts = np.array([[share for share, _ in one.apart] for one in spreads])
    parts = np.array([[one.parts.first_s, one.parts.step_s, one.parts.call_s] for one in residuals])
    squares = (parts / np.array([[one.parts.total_s] for one in residuals])) ** 2
    known = np.array([one.log_sd**2 for one in spreads]) - squares @ np.exp(2 * _LOGS[:3])
    z = quantile(LEVEL)

    def loss(logs: NDArray[np.float64]) -> float:
        rest = z**2 * (known + squares @ np.exp(2 * logs[:3]))
        low, high = (
            np.log1p(end * np.linalg.norm(hosts * np.expm1(end * z * np.exp(logs[3:])), axis=1)) for end in (-1, 1)
        )
        scores = interval_scores(off, -np.sqrt(rest + low**2), np.sqrt(rest + high**2))
        return float(weight @ scores + _BETWEEN_HELD * ((logs - _LOGS) ** 2).sum())

    starts = [_LOGS + step for step in (-0.7, 0.0, 0.7)]
    options = {"maxiter": 3000, "xatol": 1e-3, "fatol": 1e-5}
    best = min((minimize(loss, start, method="Nelder-Mead", options=options) for start in starts), key=lambda r: r.fun)
    first, step, call, request, image = map(float, np.exp(best.x))
    return Between(first=first, step=step, call=call, request=request, image=image)


def _bare(one: Calibration) -> Calibration:
    """The calibration's kernels alone."""
    return replace(
        one, overhead_per_request_s=0.0, overhead_per_call_s=0.0, overhead_per_layer_s=0.0, overhead_log_sd=0.0,
        request_log_sd=0.0, first_log_sd=0.0, step_log_sd=0.0, model_log_sd=0.0, preprocess=None,
    )  # fmt: skip


@functools.cache
def shipped_machine(name: str, runtime: Runtime, precision: Precision) -> Machine:
    """Return a shipped device's machine without overhead."""
    hardware = catalogue.hardware(name)
    own = tuple(_bare(one) for one in hardware.calibration)
    return machine(replace(hardware, calibration=own), tuple(map(_bare, catalogue.typical())), runtime, precision)


def points(machine_of: MachineOf) -> list[Point]:
    """Return all published times, with the kernels that ``machine_of`` prices without overhead."""
    found = [point for row in (*argonne_rows(), *published_rows()) for point in _points(row, machine_of)]
    return [point for point in (*found, *_llava_points(machine_of)) if point.runtime in FITTED]


def print_errors(found: Sequence[Point]) -> None:
    """Print what was fitted, and errors with each source, and each of Argonne's models, left out."""
    one, residuals = fit(found), left_out(found)
    for runtime, overhead in one.overheads.items():
        print(f"{runtime}: {overhead}")
    print(f"images: {one.preprocess_factor:.2f} times as long as here; {between(residuals)}")
    for kind in dict.fromkeys(each.point.kind for each in residuals):
        mine = [each for each in residuals if each.point.kind == kind]
        for source in dict.fromkeys(each.point.source for each in mine):
            off = [math.expm1(-each.log_ratio) for each in mine if each.point.source == source]
            print(f"  {kind:14} {source[:44]:44} {len(off):3}  mean {mean(off):+6.1%}  |mean| "
                  f"{mean(map(abs, off)):6.1%}")  # fmt: skip
        print(f"  {kind:14} {'all':44} {len(mine):3}  |mean| {mean(abs(math.expm1(-e.log_ratio)) for e in mine):6.1%}")
    argonne = [point for point in found if point.source == ARGONNE]
    for device in dict.fromkeys(point.hardware for point in argonne):
        here = [point for point in argonne if point.hardware == device]
        off = [abs(math.expm1(-each.log_ratio)) for each in left_out(here, lambda point: point.model)]
        print(f"  {ARGONNE} on {device}, model left out: median {median(off):.1%} of {len(off)}")
