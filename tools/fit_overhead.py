"""Fit what a runtime adds to its kernels on published times of whole requests: per request, per call, per layer.

Sources: ``facts/e2e`` (Argonne LLM-Inference-Bench, BSD-3) and ``facts/published_latency.csv``,
whose rows name theirs. All GPUs together: what sources disagree by is versions and hosts more than devices. Every
source counts alike however many rows it has. ``tools/make_hardware.py`` prints the errors with each source left out.
"""

import csv
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from facts import FACTS, number, rows
from vlmplan.cost.roofline import Machine, exposed_s
from vlmplan.cost.totals import cost, overhead_layers, request_of
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.intervals import quantile
from vlmplan.inventory import catalogue
from vlmplan.measuring.observation import Quantity, predicted
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
}
_ARGONNE_MODELS = {"Llama-2-7b": "Llama-2-7B", "Qwen2-7B": "Qwen2.5-7B"}
# LLaVA-1.5-7B on an A100 with transformers: compressor, visual tokens, TTFT (arXiv 2411.03312). The length
# of the question is not stated; 50 tokens are taken.
LLAVA = "LLaVA-1.5-7B TTFT on an A100 (vlmplan's design notes)"
LLAVA_TTFT_S = ((Compressor.NONE, 576, 0.067), (Compressor.TOKEN_PACKER, 16, 0.038), (Compressor.QUECC, 16, 0.063))


@dataclass(frozen=True, kw_only=True)
class Point:
    """One published time, and the kernels that are in it. ``served``: timed by a client over HTTP."""

    source: str
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
    kernels_log_sd: float


MachineOf = Callable[[str, Runtime, Precision], Machine]


def _llava_points(machine_of: MachineOf) -> list[Point]:
    ready = machine_of("a100-80gb-sxm", Runtime.TRANSFORMERS, Precision.BF16)
    found = []
    for compressor, tokens, measured_s in LLAVA_TTFT_S:
        workload = Workload(text_tokens=50, image=(336, 336))
        spec = catalogue.model("llava-hf/llava-1.5-7b-hf")
        request = request_of(spec, workload, tokens, Precision.BF16, compressor)
        priced = cost(request, ready)
        found.append(
            Point(
                source=LLAVA,
                runtime=Runtime.TRANSFORMERS,
                hardware=ready.hardware.name,
                model=f"{spec.name} {compressor}",
                precision=Precision.BF16,
                quantity=Quantity.TTFT,
                measured_s=measured_s,
                kernels_s=(priced.vision_s + priced.compressor_s, priced.prefill_s, 0.0),
                layers=overhead_layers(request),
                steps=0,
                served=False,
                kernels_log_sd=priced.ttft_log_sd,
            )
        )
    return found


def _points(row: dict[str, str], machine_of: MachineOf) -> list[Point]:
    runtime, precision = Runtime(row["runtime"]), Precision(row["precision"])
    try:
        ready = machine_of(row["hardware"], runtime, precision)
    except (InputError, KeyError):
        return []  # a device or a precision that is not in the catalogue
    spec = ModelSpec(name=row["model"], family="text", architecture="llama", llm=MODELS[row["model"]])
    workload = Workload(text_tokens=int(row["text_tokens"]), output_tokens=int(row["output_tokens"]))
    priced = cost(request_of(spec, workload, 0, precision), ready)
    found = []
    for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY):
        text = row.get(f"{quantity}_ms") or ""
        whole = quantity is Quantity.LATENCY and (row.get("ttft_ms") or row.get("tpot_ms"))
        if text and not whole:
            found.append(
                Point(
                    source=row["source"],
                    runtime=runtime,
                    hardware=row["hardware"],
                    model=row["model"],
                    precision=precision,
                    quantity=quantity,
                    measured_s=float(text) / 1e3,
                    kernels_s=(0.0, priced.prefill_s, priced.tpot_s or 0.0),
                    layers=(0, spec.llm.layers),
                    steps=workload.output_tokens - 1,
                    served=row["client"] == "http",
                    kernels_log_sd=predicted(quantity, priced)[1],
                )
            )
    return found


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
class Overhead:
    """What a runtime adds. ``overlap`` is how far it runs beside the kernels (1: not at all)."""

    per_request_s: float
    per_call_s: float
    per_layer_s: float
    overlap: float

    def kernels_s(self, point: Point) -> float:
        """Seconds of a point that are not overhead."""
        return replace(self, per_request_s=0.0, per_call_s=0.0, per_layer_s=0.0).seconds(point)

    def seconds(self, point: Point) -> float:
        """Predict a point."""
        front, prefill, step = point.kernels_s
        call = self.per_call_s + self.per_layer_s * point.layers[1]
        first = prefill + exposed_s(prefill, call, self.overlap)
        first += front + exposed_s(front, self.per_layer_s * point.layers[0], self.overlap)
        first += self.per_request_s if point.served else 0.0
        more = step + exposed_s(step, call, self.overlap)
        whole = {Quantity.TTFT: first, Quantity.TPOT: more, Quantity.LATENCY: first + point.steps * more}
        return whole[point.quantity]


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What ``facts/runtimes.csv`` says of a runtime; ``overhead`` where too few published times tell it.

    Runtimes that replay captured graphs pay once a call; an ``eager`` one pays for every layer, ahead of the device.
    """

    reserve_bytes: int
    eager: bool
    overhead: Overhead | None
    overhead_log_sd: float
    model_log_sd: float
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
    per_layer_s, per_call_s, overhead_log_sd, spread = (value or 0.0 for value in told)
    return Assumed(
        reserve_bytes=int(float(row["reserve_gib"]) * 2**30),
        eager=row["pays"] == "layer",
        overhead=None
        if told[0] is None
        else Overhead(per_request_s=0.0, per_call_s=per_call_s, per_layer_s=per_layer_s, overlap=1.0),
        overhead_log_sd=overhead_log_sd,
        model_log_sd=spread,
        source=row["source"],
    )


def timed() -> set[str]:
    """The runtimes of which there are published times."""
    return {*ARGONNE_ENGINES.values(), *(row["runtime"] for row in published_rows())}


ASSUMED_COLUMNS = ("overhead_per_layer_s", "overhead_per_call_s", "overhead_log_sd", "model_log_sd")
OVERHEAD_LOG_SD = 0.5  # versions, hosts and clients differ: an assumption, a factor of 1.65 either way


def fit(points: Sequence[Point], runtime: Runtime) -> Overhead:
    """Fit one runtime's overhead, every source weighing the same."""
    sources = [point.source for point in points]
    weights = np.array([1 / math.sqrt(sources.count(source)) for source in sources])
    served = any(point.served for point in points)

    def made(values: NDArray[np.float64]) -> Overhead:
        request, main, overlap = np.exp(values)
        eager = assumed(runtime).eager
        return Overhead(
            per_request_s=float(request) if served else 0.0,
            per_call_s=0.0 if eager else float(main),
            per_layer_s=float(main) if eager else 0.0,
            overlap=1 + float(overlap) if eager else 1.0,
        )

    def residuals(values: NDArray[np.float64]) -> NDArray[np.float64]:
        one = made(values)
        off = np.array([math.log(one.seconds(point) / point.measured_s) for point in points])
        robust = np.sign(off) * np.sqrt(2 * (np.sqrt(1 + (off / 0.1) ** 2) - 1))
        # Held weakly to the start, so that what no point tells stays where it is.
        return np.concatenate([robust * weights, 0.05 * (values - start)])

    start = np.log([5e-3, 8e-4, 3.0])
    bounds = (np.log([1e-4, 1e-5, 0.05]), np.log([5e-2, 5e-3, 7.0]))
    return made(least_squares(residuals, start, bounds=bounds).x)


def left_out(points: Sequence[Point], runtime: Runtime, key: Callable[[Point], str]) -> list[tuple[Point, float]]:
    """Return log(predicted / measured) of every point by a fit without its group."""
    found = []
    for group in dict.fromkeys(map(key, points)):
        rest = [point for point in points if key(point) != group]
        if rest:
            one = fit(rest, runtime)
            found += [
                (point, math.log(one.seconds(point) / point.measured_s)) for point in points if key(point) == group
            ]
    return found


def model_log_sd(errors: Sequence[tuple[Point, float]], one: Overhead, level: float = 0.8) -> float:
    """Return the spread, beside those of kernels and overhead, with which ``level`` of the left-out errors are held.

    Every source counts alike. At least 0.05: clocks and versions differ by as much.
    """
    sources = [point.source for point, _ in errors]
    weight = [1 / sources.count(point.source) for point, _ in errors]
    known = [_known_log_sd(point, one) for point, _ in errors]
    low, high = 0.05, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        held = sum(
            share
            for (_, error), share, spread in zip(errors, weight, known, strict=True)
            if abs(error) <= quantile(level) * math.hypot(middle, spread)
        )
        low, high = (low, middle) if held >= level * sum(weight) else (middle, high)
    return high


def _known_log_sd(point: Point, one: Overhead) -> float:
    """The spread that the kernels' and the overhead's own give a point."""
    share = one.kernels_s(point) / one.seconds(point)
    return math.hypot(point.kernels_log_sd * share, OVERHEAD_LOG_SD * (1 - share))


def points(machine_of: MachineOf) -> dict[Runtime, list[Point]]:
    """Return all published times by runtime, with the kernels that ``machine_of`` prices without overhead."""
    found: dict[Runtime, list[Point]] = {}
    for row in (*argonne_rows(), *published_rows()):
        for point in _points(row, machine_of):
            found.setdefault(point.runtime, []).append(point)
    found.setdefault(Runtime.TRANSFORMERS, []).extend(_llava_points(machine_of))
    return found


def print_errors(found: dict[Runtime, list[Point]]) -> None:
    """Print each runtime's overhead, and errors with each source, and each of Argonne's models, left out."""
    for runtime, mine in found.items():
        print(f"{runtime}: {fit(mine, runtime)}")
        errors = left_out(mine, runtime, lambda point: point.source)
        print(f"  model_log_sd {model_log_sd(errors, fit(mine, runtime)):.3f}")
        for quantity in dict.fromkeys(point.quantity for point, _ in errors):
            rows_ = [(point, math.expm1(error)) for point, error in errors if point.quantity is quantity]
            for source in dict.fromkeys(point.source for point, _ in rows_):
                off = [error for point, error in rows_ if point.source == source]
                print(f"    {quantity:8} {source[:44]:44} {len(off):3}  mean {mean(off):+6.1%}  |mean| "
                      f"{mean(map(abs, off)):6.1%}")  # fmt: skip
            print(f"    {quantity:8} {'all':44} {len(rows_):3}  |mean| {mean(abs(error) for _, error in rows_):6.1%}")
        argonne = [point for point in mine if point.source == ARGONNE]
        by_device = {point.hardware: [one for one in argonne if one.hardware == point.hardware] for point in argonne}
        for device, here in by_device.items():
            off = [abs(math.expm1(error)) for _, error in left_out(here, runtime, lambda point: point.model)]
            print(f"  {ARGONNE} on {device}, model left out: median {median(off):.1%} of {len(off)}")
