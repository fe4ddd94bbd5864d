"""Fit the efficiency of each class of operator on the public kernel measurements in ``../shared/data/kernels``.

One form for all (``vlmplan.hardware.Efficiency``); at most seven coefficients a class; robust least squares on the
logarithm of time. ``python tools/fit_efficiency.py`` prints the table of errors, in-sample and with the GPU left out.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from facts import rows
from numpy.typing import NDArray
from scipy.optimize import least_squares

from vlmplan.hardware import Efficiency, Kind
from vlmplan.op import ATTENTION_TILE_TOKENS

Array = NDArray[np.float64]
AICONFIGURATOR = "NVIDIA AIConfigurator performance database (Apache-2.0), vLLM kernels"
VIDUR = "Microsoft Vidur profiling data (MIT)"
# GPU in the data -> (dense 16-bit FLOP/s, bytes/s) of the datasheet rows of accelerators.csv that it is.
RATES = {
    "a100": (312e12, 2039e9),
    "h100": (989.4e12, 3350e9),
    "h200": (989.4e12, 4800e9),
    "l40s": (362.05e12, 864e9),
    "b200": (2250e12, 7700e9),
    "a40": (149.7e12, 696e9),
}
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


FORMS: dict[str, tuple[Kind, Form]] = {
    "linear": (Kind.LINEAR, Form()),
    "linear-fp8": (Kind.LINEAR, Form(compute_pads=3, peak_scale=2.0)),
    # Counted in full, causal attention skips half of its products, hence fractions up to two.
    "prefill": (Kind.PREFILL_ATTENTION, Form(compute_pads=1, most_compute=2.0)),
    "decode": (Kind.DECODE_ATTENTION, Form(memory_pads=1, compute=False)),
    "vision": (Kind.VISION_ATTENTION, Form(compute_pads=1)),
    "elementwise": (Kind.ELEMENTWISE, Form(compute=False)),
}


def _gpu(name: str) -> int:
    return list(RATES).index(name.removesuffix("_sxm"))


def _samples(records: Sequence[tuple[int, float, float, tuple[float, ...], float]]) -> Samples:
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
    for row in rows("data/kernels/gemm.csv.gz"):
        m, n, k = float(row["m"]), float(row["n"]), float(row["k"])
        if row["dtype"] == dtype and n * k >= 896**2 and min(n, k) >= 256 and m <= 16384 and n <= 160_000:
            moved = size * (n * k + m * k) + 2 * m * n
            records.append((_gpu(row["gpu"]), 2 * m * n * k, moved, (m, n, k), float(row["latency_ms"]) / 1e3))
    return _samples(records)


def _attention(name: str) -> Samples:
    records = []
    for row in rows(f"data/kernels/{name}_attention.csv.gz"):
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


def _elementwise() -> Samples:
    """Residual adds, norms, rotary embedding and MLP activation of Vidur's decoder layers."""
    records = []
    for row in rows("data/kernels/decoder_layer.csv.gz"):
        tokens, hidden, shards = (float(row[key]) for key in ("num_tokens", "n_embd", "tensor_parallel"))
        heads = (float(row["n_head"]) + float(row["n_kv_head"])) / shards * hidden / float(row["n_head"])
        wide = float(row["n_expanded_embd"]) / shards
        for column, channels in (
            ("add", 3 * hidden),
            ("input_layernorm", 2 * hidden),
            ("mlp_act", 3 * wide),
            ("attn_rope", 2 * heads),
        ):
            if row[f"{column}_ms"]:
                records.append((_gpu(row["gpu"]), 0.0, 2 * tokens * channels, (1.0,), float(row[f"{column}_ms"]) / 1e3))
    return _samples(records)


@functools.cache
def samples(name: str) -> Samples:
    """Return the measurements of one class of ``FORMS``."""
    loaders: dict[str, Callable[[], Samples]] = {
        "linear": lambda: _linear("bfloat16"),
        "linear-fp8": lambda: _linear("fp8"),
        "elementwise": _elementwise,
    }
    return loaders.get(name, lambda: _attention(name))()


def _predict(q: Array, form: Form, data: Samples) -> Array:
    """Seconds by ``Efficiency``'s formula; ``q`` holds logarithms."""
    rates: Array = np.array(list(RATES.values()))[data.gpu.astype(int)]
    compute = data.flops / (rates[:, 0] * form.peak_scale * np.exp(q[0])) if form.compute else np.zeros_like(data.flops)
    memory = data.moved / (rates[:, 1] * np.exp(q[1]))
    pads = np.exp(q[4:])
    for index in range(form.compute_pads):
        compute = compute * (1 + pads[index] / data.shape[:, index])
    for index in range(form.memory_pads):
        memory = memory * (1 + pads[form.compute_pads + index] / data.shape[:, index])
    overlap = 1 + np.exp(q[3])
    longer, shorter = np.maximum(compute, memory), np.minimum(compute, memory)
    result: Array = np.exp(q[2]) + longer * (1 + (shorter / longer) ** overlap) ** (1 / overlap)
    return result


def fit(name: str, data: Samples) -> Efficiency:
    """Fit one class; ``log_sd`` is half the width of the middle 68 % of the log residuals."""
    _, form = FORMS[name]
    pads = form.compute_pads + form.memory_pads
    start = np.log([0.6, 0.7, 4e-6, 1.0, *[10.0] * pads])
    low = np.log([0.05, 0.1, 1e-7, 1e-3, *[1e-3] * pads])
    high = np.log([form.most_compute, 1.05, 5e-5, 7.0, *[1e4] * pads])
    found = least_squares(
        lambda q: np.log(_predict(q, form, data) / data.seconds), start, bounds=(low, high), loss="soft_l1", f_scale=0.1
    )
    residual = np.log(_predict(found.x, form, data) / data.seconds)
    values = [float(f"{value:.4g}") for value in np.exp(found.x)]
    return Efficiency(
        compute_fraction=values[0] if form.compute else 1.0,
        memory_fraction=values[1],
        latency_s=values[2],
        overlap=round(1 + values[3], 3) if form.compute else 1.0,
        compute_pads=tuple(values[4 : 4 + form.compute_pads]),
        memory_pads=tuple(values[4 + form.compute_pads :]),
        log_sd=round(float(np.diff(np.quantile(residual, [0.16, 0.84]))[0] / 2), 3),
        median_error_fraction=round(float(np.median(np.abs(np.expm1(residual)))), 3),
    )


def _encode(name: str, efficiency: Efficiency) -> Array:
    _, form = FORMS[name]
    head = [
        efficiency.compute_fraction,
        efficiency.memory_fraction,
        efficiency.latency_s,
        max(1e-3, efficiency.overlap - 1),
    ]
    encoded: Array = np.log(np.array([*head, *efficiency.compute_pads[: form.compute_pads], *efficiency.memory_pads]))
    return encoded


def errors(name: str, efficiency: Efficiency, data: Samples) -> Array:
    """Return log(predicted / measured)."""
    result: Array = np.log(_predict(_encode(name, efficiency), FORMS[name][1], data) / data.seconds)
    return result


def roofline_errors(name: str, data: Samples) -> Array:
    """Return |predicted / measured - 1| of the plain roofline: FLOPs over peak or bytes over bandwidth."""
    rates: Array = np.array(list(RATES.values()))[data.gpu.astype(int)]
    seconds = np.maximum(data.flops / (rates[:, 0] * FORMS[name][1].peak_scale), data.moved / rates[:, 1])
    off: Array = np.abs(seconds / data.seconds - 1)
    return off


@functools.cache
def by_gpu(name: str) -> dict[str, Efficiency]:
    """Return one fit per GPU measured."""
    data = samples(name)
    return {list(RATES)[int(index)]: fit(name, data.take(data.gpu == index)) for index in np.unique(data.gpu)}


@functools.cache
def pooled(name: str) -> Efficiency:
    """Return the fit on all GPUs; its ``log_sd`` and error are of GPUs left out, one at a time."""
    data = samples(name)
    residuals = []
    for index in np.unique(data.gpu):
        out = data.gpu == index
        residuals.append(errors(name, fit(name, data.take(~out)), data.take(out)))
    joined = np.concatenate(residuals)
    everything: dict[str, Any] = {field: getattr(fit(name, data), field) for field in Efficiency.__dataclass_fields__}
    spread = float(np.sqrt(np.mean(np.clip(joined, *np.quantile(joined, [0.02, 0.98])) ** 2)))
    return Efficiency(
        **everything
        | {
            "log_sd": round(spread, 3),
            "median_error_fraction": round(float(np.median(np.abs(np.expm1(joined)))), 3),
        }
    )


def main() -> None:
    """Print median errors per class and GPU: in-sample, left out, and of the plain roofline."""
    for name in FORMS:
        data = samples(name)
        print(f"{name}: pooled, GPU left out: median {pooled(name).median_error_fraction:.1%}, {pooled(name)}")
        for gpu, found in by_gpu(name).items():
            here = data.take(data.gpu == list(RATES).index(gpu))
            others = fit(name, data.take(data.gpu != list(RATES).index(gpu)))
            left_out = np.median(np.abs(np.expm1(errors(name, others, here))))
            roofline = np.median(roofline_errors(name, here))
            print(
                f"  {gpu:5} {len(here.gpu):5} rows  in-sample {found.median_error_fraction:6.1%}  "
                f"left out {left_out:6.1%}  roofline {roofline:6.1%}  {found}"
            )


if __name__ == "__main__":
    main()
