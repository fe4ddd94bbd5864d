"""Fit the efficiency of each class of operator on the public kernel measurements in ``facts/kernels``.

One form for all (``vlmplan.hardware.Efficiency``); at most seven coefficients a class; robust least squares on the
logarithm of time. ``python tools/fit_efficiency.py`` prints the table of errors, in-sample and with the GPU left out.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from facts import rows
from vlmplan.cost.op import ATTENTION_TILE_TOKENS
from vlmplan.hardware.profile import Efficiency, Kind
from vlmplan.measuring.observation import kernel_seconds

Array = NDArray[np.float64]
Record = tuple[int, float, float, tuple[float, ...], float]  # GPU, FLOPs, bytes, shape, seconds
AICONFIGURATOR = "NVIDIA AIConfigurator performance database (Apache-2.0), vLLM kernels"
VIDUR = "Microsoft Vidur profiling data (MIT)"
# GPU in the data -> (dense 16-bit FLOP/s, bytes/s) of the datasheet rows of accelerators.csv that it is. A new one goes
# to the end: rows are drawn GPU after GPU from one stream, so those before it are drawn as they were.
RATES = {
    "a100": (312e12, 2039e9),
    "h100": (989.4e12, 3350e9),
    "h200": (989.4e12, 4800e9),
    "l40s": (362.05e12, 864e9),
    "b200": (2250e12, 7700e9),
    "a40": (149.7e12, 696e9),
}
# Level-2 cache in bytes (NVIDIA's white papers of Ampere, Ada, Hopper and Blackwell): what a benchmark that repeats a
# kernel on the same buffers reads them from, and a model whose layers take turns does not.
CACHE_BYTES = {"a100": 40e6, "h100": 50e6, "h200": 50e6, "l40s": 96e6, "b200": 126e6, "a40": 6e6}
MOST_ROWS = 4000  # of one GPU and class, drawn with a fixed seed: enough for seven coefficients


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Measured kernels: FLOPs, bytes, shape columns and seconds; ``compute`` scales the 16-bit peak (2 for fp8)."""

    gpu: Array  # index into RATES
    flops: Array
    moved: Array
    shape: Array  # rows x dimensions
    seconds: Array

    def take(self, chosen: Array) -> "Samples":
        """Return the chosen rows."""
        return Samples(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which coefficients a class has: pads per shape dimension, and bounds of the fractions."""

    compute_pads: int = 0
    memory_pads: int = 0
    peak_scale: float = 1.0
    most_compute: float = 1.1
    compute: bool = True
    cached: bool = False


FORMS: dict[str, tuple[Kind, Form]] = {
    "linear": (Kind.LINEAR, Form()),
    "linear-fp8": (Kind.LINEAR, Form(compute_pads=3, peak_scale=2.0)),
    # Counted in full, causal attention skips half of its products, hence fractions up to two.
    "prefill": (Kind.PREFILL_ATTENTION, Form(compute_pads=1, most_compute=2.0)),
    "decode": (Kind.DECODE_ATTENTION, Form(memory_pads=1, compute=False, cached=True)),
    "vision": (Kind.VISION_ATTENTION, Form(compute_pads=1)),
    "norm": (Kind.NORM, Form(compute=False, cached=True)),
    "elementwise": (Kind.ELEMENTWISE, Form(compute=False, cached=True)),
}


def _gpu(name: str) -> int:
    return list(RATES).index(name.removesuffix("_sxm"))


def _samples(records: Sequence[Record]) -> Samples:
    kept = [record for record in records if record[4] > 0]
    gpu, flops, moved, shape, seconds = (np.array(column, dtype=float) for column in zip(*kept, strict=True))
    everything = Samples(gpu=gpu, flops=flops, moved=moved, shape=shape, seconds=seconds)
    random = np.random.default_rng(0)
    chosen = [random.permutation(np.flatnonzero(gpu == index))[:MOST_ROWS] for index in np.unique(gpu)]
    return everything.take(np.concatenate(chosen))


def _linear(dtype: str) -> Samples:
    """Shapes that LLMs and towers have: at least 896 x 896 weights, up to 16,384 tokens."""
    size = 1 if dtype == "fp8" else 2
    records = []
    for row in rows("kernels/gemm.csv.gz"):
        m, n, k = float(row["m"]), float(row["n"]), float(row["k"])
        if row["dtype"] == dtype and n * k >= 896**2 and min(n, k) >= 256 and m <= 16384 and n <= 160_000:
            moved = size * (n * k + m * k) + 2 * m * n
            records.append((_gpu(row["gpu"]), 2 * m * n * k, moved, (m, n, k), float(row["latency_ms"]) / 1e3))
    return _samples([*records, *(_vidur_linear("a40") if dtype == "bfloat16" else ())])


def _attention(name: str) -> Samples:
    records = []
    for row in rows(f"kernels/{name}_attention.csv.gz"):
        batch, tokens, heads, dim = (float(row[key]) for key in ("batch_size", "tokens", "num_heads", "head_dim"))
        kv_heads = float(row.get("num_key_value_heads") or heads)
        if name == "decode":
            context = tokens + float(row["past_tokens"])
            moved, tiles = 4 * batch * dim * (heads + kv_heads * context), batch * kv_heads
            flops = 4 * batch * context * heads * dim
        else:
            moved, tiles = 4 * batch * tokens * dim * (heads + kv_heads), batch * heads * tokens / ATTENTION_TILE_TOKENS
            flops = 4 * batch * tokens**2 * heads * dim
        records.append((_gpu(row["gpu"]), flops, moved, (tiles,), float(row["latency_ms"]) / 1e3))
    return _samples(records)


def _vidur_sizes(row: dict[str, str]) -> tuple[float, float, float, float]:
    """(tokens, hidden width, key-value width, MLP width on one GPU) of a decoder layer."""
    tokens, hidden, shards = (float(row[key]) for key in ("num_tokens", "n_embd", "tensor_parallel"))
    kv = hidden * float(row["n_kv_head"]) / float(row["n_head"])
    return tokens, hidden, kv, float(row["n_expanded_embd"]) / shards


def _vidur_linear(gpu: str) -> list[Record]:
    """The linear layers of Vidur's decoder layers on one GPU."""
    records: list[Record] = []
    for row in rows("kernels/decoder_layer.csv.gz"):
        if row["gpu"] == gpu:
            (tokens, hidden, kv, wide), shards = _vidur_sizes(row), float(row["tensor_parallel"])
            up = 2 if row["use_gated_mlp"] == "True" else 1
            for column, n, k in (
                ("attn_pre_proj", (hidden + 2 * kv) / shards, hidden),
                ("attn_post_proj", hidden, hidden / shards),
                ("mlp_up_proj", up * wide, hidden),
                ("mlp_down_proj", hidden, wide),
            ):
                if row[f"{column}_ms"] and n * k >= 896**2:
                    moved = 2 * (n * k + tokens * k + tokens * n)
                    seconds = float(row[f"{column}_ms"]) / 1e3
                    records.append((_gpu(gpu), 2 * tokens * n * k, moved, (tokens, n, k), seconds))
    return records


def _moving(columns: Sequence[str]) -> Samples:
    """Kernels that only move bytes, of Vidur's decoder layers on the A100 and the H100.

    The A40's memory is so slow beside its processors that these kernels wait for it there, and for instructions on the
    others: another regime. Residual adds are left out, since engines fuse them into the norm.
    """
    records = []
    for row in rows("kernels/decoder_layer.csv.gz"):
        tokens, hidden, kv, wide = _vidur_sizes(row)
        channels = {
            "input_layernorm": 2 * hidden,
            "post_attention_layernorm": 2 * hidden,
            "mlp_act": 3 * wide,
            "attn_rope": 2 * (hidden + kv) / float(row["tensor_parallel"]),
        }
        for column in columns:
            if row[f"{column}_ms"] and row["gpu"] != "a40":
                seconds = float(row[f"{column}_ms"]) / 1e3
                records.append((_gpu(row["gpu"]), 0.0, 2 * tokens * channels[column], (1.0,), seconds))
    return _samples(records)


@functools.cache
def samples(name: str) -> Samples:
    """Return the measurements of one class of ``FORMS``."""
    loaders: dict[str, Callable[[], Samples]] = {
        "linear": lambda: _linear("bfloat16"),
        "linear-fp8": lambda: _linear("fp8"),
        "norm": lambda: _moving(("input_layernorm", "post_attention_layernorm")),
        "elementwise": lambda: _moving(("mlp_act", "attn_rope")),
    }
    return loaders.get(name, lambda: _attention(name))()


def _predict(q: Array, form: Form, data: Samples) -> Array:
    """Seconds by ``Efficiency``'s formula; ``q`` holds logarithms, the cache's among them."""
    rates: Array = np.array(list(RATES.values()))[data.gpu.astype(int)]
    compute = data.flops / (rates[:, 0] * form.peak_scale) if form.compute else np.zeros_like(data.flops)
    memory = data.moved / rates[:, 1]
    if form.cached:
        cache = np.array(list(CACHE_BYTES.values()))[data.gpu.astype(int)]
        inside = 1 / (1 + (data.moved / cache) ** 4)
        memory = memory * (1 - inside * (1 - 1 / (1 + np.exp(q[4]))))
    result: Array = kernel_seconds(compute, memory, data.shape, _efficiency(np.exp(q).tolist(), form))
    return result


def _efficiency(values: Sequence[float], form: Form, **known: float) -> Efficiency:
    """The coefficients that a fit's values are, without the cache's."""
    compute, memory, latency, overlap, _, *padding = map(float, values)
    return Efficiency(
        compute_fraction=compute if form.compute else 1.0,
        memory_fraction=memory,
        latency_s=latency,
        overlap=1 + overlap if form.compute else 1.0,
        compute_pads=tuple(padding[: form.compute_pads]),
        memory_pads=tuple(padding[form.compute_pads :]),
        **{"log_sd": 0.0} | known,
    )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fit: the coefficients in logarithms, with the cache's, and those that prices are made with, without it."""

    name: str
    logs: Array
    efficiency: Efficiency

    def errors(self, data: Samples) -> Array:
        """Return log(predicted / measured), the benchmark's cache being in the prediction."""
        result: Array = np.log(_predict(self.logs, FORMS[self.name][1], data) / data.seconds)
        return result


def fit(name: str, data: Samples) -> Fitted:
    """Fit one class; ``log_sd`` is half the width of the middle 68 % of the log residuals."""
    _, form = FORMS[name]
    pads = form.compute_pads + form.memory_pads
    start = np.log([0.6, 0.7, 4e-6, 1.0, 0.5, *[10.0] * pads])
    low = np.log([0.05, 0.1, 1e-7, 1e-3, 1e-3, *[1e-3] * pads])
    high = np.log([form.most_compute, 1.05, 5e-5, 7.0, 4.0, *[1e4] * pads])
    found = least_squares(
        lambda q: np.log(_predict(q, form, data) / data.seconds), start, bounds=(low, high), loss="soft_l1", f_scale=0.1
    )
    residual = np.log(_predict(found.x, form, data) / data.seconds)
    rounded = _efficiency(
        [float(f"{value:.4g}") for value in np.exp(found.x)],
        form,
        log_sd=round(float(np.diff(np.quantile(residual, [0.16, 0.84]))[0] / 2), 3),
        median_error_fraction=round(float(np.median(np.abs(np.expm1(residual)))), 3),
    )
    efficiency = replace(rounded, overlap=round(rounded.overlap, 3))
    return Fitted(name=name, logs=found.x, efficiency=efficiency)


def roofline_errors(name: str, data: Samples) -> Array:
    """Return |predicted / measured - 1| of the plain roofline: FLOPs over peak or bytes over bandwidth."""
    rates: Array = np.array(list(RATES.values()))[data.gpu.astype(int)]
    seconds = np.maximum(data.flops / (rates[:, 0] * FORMS[name][1].peak_scale), data.moved / rates[:, 1])
    off: Array = np.abs(seconds / data.seconds - 1)
    return off


@functools.cache
def by_gpu(name: str) -> dict[str, Fitted]:
    """Return one fit per GPU measured."""
    data = samples(name)
    return {list(RATES)[int(index)]: fit(name, data.take(data.gpu == index)) for index in np.unique(data.gpu)}


@functools.cache
def left_out(name: str) -> dict[str, Array]:
    """Return log(predicted / measured) of every GPU by a fit on the others."""
    data = samples(name)
    found = {}
    for index in np.unique(data.gpu):
        out = data.gpu == index
        found[list(RATES)[int(index)]] = fit(name, data.take(~out)).errors(data.take(out))
    return found


@functools.cache
def pooled(name: str) -> Efficiency:
    """Return the fit on all GPUs; its ``log_sd`` and error are of GPUs left out, one at a time."""
    joined = np.concatenate(list(left_out(name).values()))
    spread = float(np.sqrt(np.mean(np.clip(joined, *np.quantile(joined, [0.02, 0.98])) ** 2)))
    return replace(
        fit(name, samples(name)).efficiency,
        log_sd=round(spread, 3),
        median_error_fraction=round(float(np.median(np.abs(np.expm1(joined)))), 3),
    )


@dataclass(frozen=True, kw_only=True)
class Residual:
    """How well one class is met on one GPU, or on all: median errors."""

    name: str
    gpu: str
    rows: int
    in_sample_fraction: float
    left_out_fraction: float
    roofline_fraction: float


def residuals() -> tuple[Residual, ...]:
    """Return every class on every GPU, and pooled (``all``)."""
    found = []
    for name in FORMS:
        data, out = samples(name), left_out(name)
        inside = {gpu: fitted.errors(data.take(data.gpu == list(RATES).index(gpu)))
                  for gpu, fitted in by_gpu(name).items()}  # fmt: skip
        roof = {gpu: roofline_errors(name, data.take(data.gpu == list(RATES).index(gpu))) for gpu in out}
        inside["all"], out = np.concatenate(list(inside.values())), out | {"all": np.concatenate(list(out.values()))}
        roof["all"] = np.concatenate(list(roof.values()))
        found += [
            Residual(
                name=name,
                gpu=gpu,
                rows=len(out[gpu]),
                in_sample_fraction=_median_error(inside[gpu]),
                left_out_fraction=_median_error(out[gpu]),
                roofline_fraction=round(float(np.median(roof[gpu])), 4),
            )
            for gpu in ("all", *(gpu for gpu in out if gpu != "all"))
        ]
    return tuple(found)


def _median_error(logs: Array) -> float:
    return round(float(np.median(np.abs(np.expm1(logs)))), 4)


def main() -> None:
    """Print median errors per class and GPU: in-sample, left out, and of the plain roofline."""
    for one in residuals():
        print(
            f"{one.name:12} {one.gpu:5} {one.rows:6} rows  in-sample {one.in_sample_fraction:6.1%}  "
            f"left out {one.left_out_fraction:6.1%}  roofline {one.roofline_fraction:6.1%}"
        )
        if one.gpu != "all":
            print(f"    {by_gpu(one.name)[one.gpu].efficiency}")


if __name__ == "__main__":
    main()
