"""Make ``profiles/hardware/*.toml`` and ``profiles/typical.toml`` from public facts and measurements.

Datasheet figures come from ``../shared/facts/accelerators.csv``, efficiencies from kernels (``fit_efficiency.py``),
overhead per call from the whole-request times of ``../shared/data/e2e``. Run: ``python tools/make_hardware.py``.
"""

import math
import re
from dataclasses import replace
from statistics import median
from typing import Any

import fit_efficiency
from facts import PROFILES, number, rows
from fit_efficiency import AICONFIGURATOR, VIDUR

from vlmplan.catalogue import TypicalCalibrations
from vlmplan.cost import cost, request_of
from vlmplan.document import to_toml
from vlmplan.hardware import Basis, Calibration, Efficiency, HardwareProfile, Kind, Precision, Runtime
from vlmplan.machine import Machine, machine
from vlmplan.model import Decoder, ModelSpec, Workload

ARGONNE = "Argonne LLM-Inference-Bench (BSD-3), batch 1, whole requests"
PEAKS = {
    Precision.FP32: "peak_fp32_tflops",
    Precision.FP16: "peak_fp16_dense_tflops",
    Precision.BF16: "peak_bf16_dense_tflops",
    Precision.FP8: "peak_fp8_dense_tflops",
    Precision.INT8: "peak_int8_dense_tops",
}
# Payload of one direction of a PCIe link, bytes/s per lane (PCI-SIG base specifications, 128b/130b coding).
PCIE_LANE = {"3.0": 0.985e9, "4.0": 1.969e9, "5.0": 3.938e9}
# Device -> GPU of the kernel data. The 40 and 80 GB A100 differ in bandwidth only, which the form divides out.
MEASURED = {
    "a100-40gb-sxm": "a100",
    "a100-40gb-pcie": "a100",
    "a100-80gb-sxm": "a100",
    "a100-80gb-pcie": "a100",
    "h100-sxm": "h100",
    "h200-sxm": "h200",
    "l40s": "l40s",
    "b200-sxm": "b200",
}
CLASSES = {
    Kind.LINEAR: "linear",
    Kind.PREFILL_ATTENTION: "prefill",
    Kind.DECODE_ATTENTION: "decode",
    Kind.VISION_ATTENTION: "vision",
    Kind.ELEMENTWISE: "elementwise",
}
ALL_REDUCE = Efficiency(compute_fraction=1.0, memory_fraction=0.77, latency_s=15e-6, overlap=1.0, log_sd=0.5)
ALL_REDUCE_SOURCE = (
    "all-reduce: 77 % of one direction of NVLink on 4 x H100 "
    "(waynehacking8.github.io nccl-collectives-bench); "
    "15 us latency is an assumption"
)
RESERVE = {
    Runtime.VLLM: 2 * 2**30,
    Runtime.TENSORRT_LLM: 2 * 2**30,
    Runtime.TRANSFORMERS: 2**30,
    Runtime.ONNXRUNTIME: 2**30,
}
RESERVE_SOURCE = "reserve for context, workspaces and graphs: an assumption"
# (per layer, per call, log sd, source) where the whole-request data has no such runtime.
OTHER_OVERHEAD = {
    # 67 ms uncompressed, 38 with TokenPacker and 63 with QueCC at 16 tokens (LLaVA-1.5-7B, A100), less 44, 15 and
    # 26 ms of kernels: 23, 23 and 37 ms over 55, 55 and 87 layers.
    Runtime.TRANSFORMERS: (
        4.2e-4,
        0.0,
        0.3,
        "LLaVA-1.5-7B TTFT on an A100 (67, 38, 63 ms: design, section 3) less kernels",
    ),
    Runtime.ONNXRUNTIME: (5e-5, 5e-4, 0.7, "an assumption, not measured"),
}
_WIDE: dict[str, Any] = {"heads": 32, "head_dim": 128, "layers": 32, "hidden": 4096}
MODELS = {
    "Llama-2-7b": Decoder(**_WIDE, kv_heads=32, intermediate=11008, vocabulary=32000, tied_embeddings=False),
    "Mistral-7B": Decoder(**_WIDE, kv_heads=8, intermediate=14336, vocabulary=32000, tied_embeddings=False),
    "Llama-3-8B": Decoder(**_WIDE, kv_heads=8, intermediate=14336, vocabulary=128256, tied_embeddings=False),
    "Qwen2-7B": Decoder(
        layers=28,
        hidden=3584,
        heads=28,
        kv_heads=4,
        head_dim=128,
        intermediate=18944,
        vocabulary=152064,
        tied_embeddings=False,
        qkv_bias=True,
    ),
}
# The A100 of these runs has, by its implied bandwidth, 40 GB (shared/data/README.md).
E2E = {"a100": "a100-40gb-sxm", "h100": "h100-sxm"}
ENGINES = {Runtime.VLLM: "argonne-vLLM", Runtime.TENSORRT_LLM: "argonne-TensorRT-LLM"}


def name_of(title: str) -> str:
    """Lower case, brackets dropped, spaces to hyphens."""
    return re.sub(r"\s+", "-", re.sub(r"\(.*?\)", "", title).strip().lower())


def interconnect(row: dict[str, str]) -> tuple[str | None, float | None]:
    """One direction of the fastest link between devices: NVLink and the like (listed both ways), else PCIe."""
    both_ways = number(row["interconnect_gb_s"])
    if both_ways:
        return row["interconnect"] or None, both_ways * 1e9 / 2
    bus = re.match(r"PCIe ([345]\.0) x(\d+)", row["host_bus"])
    return (bus[0], PCIE_LANE[bus[1]] * int(bus[2])) if bus else (None, None)


def operators(gpu: str | None, fp8: bool = False) -> dict[Kind, Efficiency]:
    """Efficiencies of one GPU measured, or of all pooled."""
    found = {}
    for kind, base in CLASSES.items():
        name = f"{base}-fp8" if fp8 and kind is Kind.LINEAR else base
        found[kind] = (fit_efficiency.by_gpu(name).get(gpu) if gpu else None) or fit_efficiency.pooled(name)
    return found | {Kind.ALL_REDUCE: ALL_REDUCE}


def calibration(runtime: Runtime, precision: Precision, gpu: str | None) -> Calibration:
    """Efficiencies without overhead yet."""
    lacking = [kind.value for kind, name in CLASSES.items() if gpu and gpu not in fit_efficiency.by_gpu(name)]
    pooled = f"; {', '.join(lacking)} pooled over the GPUs measured" if lacking else ""
    source = f"{AICONFIGURATOR}; {VIDUR} for elementwise{pooled}. {ALL_REDUCE_SOURCE}. {RESERVE_SOURCE}"
    return Calibration(
        runtime=runtime,
        precision=precision,
        basis=Basis.KERNELS if gpu else Basis.DATASHEET,
        overhead_per_layer_s=0.0,
        overhead_per_call_s=0.0,
        overhead_log_sd=0.0,
        model_log_sd=0.0,
        reserve_bytes=RESERVE[runtime],
        operators=operators(gpu, precision is Precision.FP8),
        source=source,
    )


def device(row: dict[str, str]) -> HardwareProfile | None:
    """A device from its row, uncalibrated; None without bandwidth or a peak at a precision that models are served in.

    A GPU of which only the fp32 peak is known would be priced at a precision nobody uses.
    """
    peaks = {p: round(v * 1e12, -8) for p, column in PEAKS.items() if (v := number(row[column]))}
    bandwidth, memory = number(row["memory_bandwidth_gb_s"]), number(row["memory_gib"])
    usable = {Precision.FP16, Precision.BF16} | ({Precision.FP32} if row["kind"] == "cpu" else set())
    if not bandwidth or not usable & set(peaks):
        return None
    link, link_rate = interconnect(row)
    sources = [
        " ".join(part for part in (row[f"{source}_title"], row[f"{source}_url"]) if part)
        for source in ("source", "source2")
    ]
    return HardwareProfile(
        name=name_of(row["name"]),
        title=row["name"] if row["name"].startswith(row["vendor"]) else f"{row['vendor']} {row['name']}",
        vendor=row["vendor"],
        kind=row["kind"].split()[0],
        architecture=row["architecture"],
        memory_bytes=int(memory * 2**30) if memory else None,
        bandwidth_bytes_per_s=bandwidth * 1e9,
        interconnect=link,
        interconnect_bytes_per_s=link_rate,
        peak_flops_per_s=peaks,
        confidence=row["confidence"],
        sources=tuple(text for text in sources if text),
        notes=row["notes"] or None,
    )


def gaps(profile: HardwareProfile, gpu: str, runtime: Runtime) -> list[tuple[str, float, float, float]]:
    """(model, measured s, kernels' s, calls) of every whole request of ``runtime`` on ``gpu``."""
    found = []
    ready: Machine = machine(
        replace(profile, calibration=(calibration(runtime, Precision.FP16, gpu),)), (), runtime, Precision.FP16
    )
    for row in rows("data/e2e/llm_inference_bench_batch1.csv"):
        if row["gpu"] == gpu and row["src"] == ENGINES[runtime]:
            spec = ModelSpec(name=row["model"], family="text", architecture="llama", llm=MODELS[row["model"]])
            tokens = int(row["isl"])
            priced = cost(
                request_of(spec, Workload(text_tokens=tokens, output_tokens=tokens), 0, Precision.FP16), ready
            )
            found.append((row["model"], float(row["ms"]) / 1e3, priced.latency_s, float(tokens)))
    return found


def overhead(points: list[tuple[str, float, float, float]]) -> tuple[float, float]:
    """(seconds per call, rms log residual) over the points of one or several GPUs.

    Layers and calls cannot be told apart here: all the models have 28 or 32 layers. So it is all per call.
    """
    per_call = max(0.0, median((measured - kernels) / calls for _, measured, kernels, calls in points))
    residuals = [math.log((kernels + per_call * calls) / measured) for _, measured, kernels, calls in points]
    return per_call, math.sqrt(sum(r * r for r in residuals) / len(residuals))


def with_overhead(
    found: Calibration, points: dict[str, list[tuple[str, float, float, float]]], gpu: str | None
) -> Calibration:
    """Add the overhead of the GPU's own requests, else of both GPUs', whose spread then widens the interval."""
    if found.runtime in OTHER_OVERHEAD:
        per_layer, per_call, log_sd, why = OTHER_OVERHEAD[found.runtime]
        text = f"{found.source}. Overhead of {found.runtime}: {why}"
        return replace(
            found, overhead_per_layer_s=per_layer, overhead_per_call_s=per_call, overhead_log_sd=log_sd, source=text
        )
    own, everyone = points.get(gpu or ""), [point for one in points.values() for point in one]
    per_call, _ = overhead(own or everyone)
    # One installation of one version: the spread between the two GPUs stands for that between installations.
    _, spread = overhead(everyone)
    across = f"on {gpu}" if own else "on A100 and H100"
    return replace(
        found,
        overhead_per_call_s=float(f"{per_call:.3g}"),
        overhead_log_sd=0.5,
        model_log_sd=round(spread, 3),
        source=f"{found.source}. Overhead: {ARGONNE}, {across}",
    )


def typical(points: dict[Runtime, dict[str, list[tuple[str, float, float, float]]]]) -> TypicalCalibrations:
    """What devices without measurements are priced with."""
    found = [
        with_overhead(calibration(runtime, precision, None), points.get(runtime, {}), None)
        for runtime in Runtime
        for precision in (Precision.BF16, Precision.FP8)
    ]
    return TypicalCalibrations(calibration=tuple(found))


def main() -> None:
    """Write all profiles."""
    profiles: dict[str, HardwareProfile] = {}
    for row in rows("facts/accelerators.csv"):
        if found := device(row):
            bracket = name_of(row["name"].rpartition("(")[2].rstrip(")"))
            name = f"{found.name}-{bracket}" if found.name in profiles else found.name
            profiles[name] = replace(found, name=name)
    points = {runtime: {gpu: gaps(profiles[name], gpu, runtime) for gpu, name in E2E.items()} for runtime in ENGINES}
    for runtime, by_gpu in points.items():
        for gpu, measured in by_gpu.items():
            per_call, residual = overhead(measured)
            print(f"{runtime} on {gpu}: {per_call * 1e3:.2f} ms a call, rms log residual {residual:.3f}")
    folder = PROFILES / "hardware"
    for old in folder.glob("*.toml"):
        old.unlink()
    for name, profile in profiles.items():
        kernels = MEASURED.get(name)
        precisions = [Precision.BF16] + [Precision.FP8] * (Precision.FP8 in profile.peak_flops_per_s)
        done = (
            profile
            if kernels is None
            else replace(
                profile,
                calibration=tuple(
                    with_overhead(calibration(runtime, precision, kernels), points[runtime], kernels)
                    for runtime in ENGINES
                    for precision in precisions
                ),
            )
        )
        (folder / f"{name}.toml").write_text(to_toml(done), encoding="utf-8")
    (PROFILES / "typical.toml").write_text(to_toml(typical(points)), encoding="utf-8")
    print(f"{len(profiles)} devices in {folder}")


if __name__ == "__main__":
    main()
