"""How fast is a device that no catalogue lists? What its driver says, or what a moment shows.

NVIDIA: multiprocessors x rate x clock, and memory clock x bus width, as the CUDA driver gives them. A processor: a dot
product over more than its caches hold, and a product of matrices by NumPy and, where it is installed, ONNX Runtime,
whose kernels use what a processor has where NumPy's may not. Rates in bytes/s and FLOP/s, dense.
"""

import contextlib
import functools
import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlmplan.hardware.runtimes import Precision

# FLOP per multiprocessor and clock, by compute capability: (fp32, fp16 by tensor cores with fp32 sums). They follow
# from the peaks, clocks and multiprocessors of facts/accelerators.csv; a test holds them against all of it.
_PER_CLOCK = {
    (7, 0): (128, 1024),
    (7, 5): (128, 1024),
    (8, 0): (128, 2048),
    (8, 6): (256, 1024),
    (8, 7): (256, 2048),
    (8, 9): (256, 1024),
    (9, 0): (256, 4096),
    (10, 0): (256, 8192),
    (10, 3): (256, 8192),
    (11, 0): (256, 8192),
    (12, 0): (256, 1024),
}
_HALF_RATE = "GeForce"  # whose tensor cores sum in fp32 at half the rate, from Turing on
ARCHITECTURES = {
    (7, 0): "Volta",
    (7, 5): "Turing",
    (8, 0): "Ampere",
    (8, 6): "Ampere",
    (8, 7): "Ampere",
    (8, 9): "Ada Lovelace",
    (9, 0): "Hopper",
    (10, 0): "Blackwell",
    (10, 3): "Blackwell",
    (11, 0): "Blackwell",
    (12, 0): "Blackwell",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRates:
    """What a device can do at most, and what that rests on."""

    bandwidth_bytes_per_s: float
    peak_flops_per_s: Mapping[Precision, float]
    architecture: str
    basis: str


def cuda_peaks(
    name: str, capability: tuple[int, int], multiprocessors: int, clock_hz: float
) -> dict[Precision, float] | None:
    """Return the dense peaks of an NVIDIA GPU; None for a compute capability that is not known here."""
    if capability not in _PER_CLOCK:
        return None
    plain, tensor = _PER_CLOCK[capability]
    ticks, half = multiprocessors * clock_hz, 2 if _HALF_RATE in name and capability >= (7, 5) else 1
    peaks = {Precision.FP32: plain * ticks, Precision.FP16: tensor / half * ticks}
    if capability >= (8, 0):
        peaks[Precision.BF16] = peaks[Precision.FP16]
    if capability >= (8, 9):
        peaks[Precision.FP8] = 2 * peaks[Precision.FP16]
    if capability >= (7, 5):
        peaks[Precision.INT8] = 2 * tensor * ticks
    return peaks


def cuda_rates(name: str, said: Mapping[str, int]) -> DeviceRates | None:
    """Return the rates of an NVIDIA GPU from its driver's attributes; None where they do not tell.

    Memory moves two bits a line and clock. The clock is the one the driver names, which the GPU may not hold. A GPU
    that shares the machine's memory has no memory clock of its own.
    """
    capability = (said["capability_major"], said["capability_minor"])
    bandwidth = 2 * said["memory_clock_khz"] * 1000 * said["memory_bus_bits"] / 8
    peaks = cuda_peaks(name, capability, said["multiprocessors"], said["clock_khz"] * 1000.0)
    if peaks is None or bandwidth <= 0 or said["integrated"]:
        return None
    return DeviceRates(
        bandwidth_bytes_per_s=bandwidth,
        peak_flops_per_s=peaks,
        architecture=ARCHITECTURES[capability],
        basis=f"the CUDA driver's: {said['multiprocessors']} multiprocessors of capability {capability[0]}."
        f"{capability[1]} at {said['clock_khz'] / 1000:.0f} MHz, memory of {said['memory_bus_bits']} bits at "
        f"{said['memory_clock_khz'] / 1000:.0f} MHz, two bits a clock",
    )


_SIDES = (256, 512, 1024)  # small products fit between what other programs do, large ones fill many cores
_LEAST_BYTES, _MOST_BYTES = 2**27, 2**29
_LEAST_RUNS, _LONG_ENOUGH_S = 3, 0.05


def processor_rates(cache_bytes: int) -> DeviceRates:
    """Measure a processor for half a second: what all its threads reach together."""
    import numpy as np

    size = min(max(2 * cache_bytes, _LEAST_BYTES), _MOST_BYTES)
    long = np.ones(size // 4, dtype=np.float32)
    peak = 0.0
    for side in _SIDES:
        matrix = np.ones((side, side), dtype=np.float32)
        peak = max(peak, 2 * side**3 / _least_s(functools.partial(np.matmul, matrix, matrix)))
    served = 0.0
    with contextlib.suppress(Exception):  # an installation that does not work is for doctor to say
        served = _onnxruntime_flops_per_s()
    by = "NumPy or ONNX Runtime" if served else "NumPy"
    return DeviceRates(
        bandwidth_bytes_per_s=_rounded(long.nbytes / _least_s(lambda: np.dot(long, long))),
        peak_flops_per_s={Precision.FP32: _rounded(max(peak, served))},
        architecture="not told",
        basis=f"measured here in a moment: a dot product over {size // 2**20} MiB, and the fastest product of matrices "
        f"of {', '.join(map(str, _SIDES))} a side by {by}",
    )


def _onnxruntime_flops_per_s() -> float:
    """The fastest product of matrices by ONNX Runtime on the processor; 0 where it is not installed."""
    if not all(map(importlib.util.find_spec, ("onnxruntime", "onnx_ir"))):
        return 0.0
    import numpy as np
    import onnx_ir as ir
    import onnxruntime as ort

    def value(name: str, side: int, const: ir.Tensor | None = None) -> ir.Value:
        type_ = ir.TensorType(ir.DataType.FLOAT)
        return ir.Value(name=name, shape=ir.Shape([side, side]), type=type_, const_value=const)

    best = 0.0
    for side in _SIDES:
        matrix = np.ones((side, side), dtype=np.float32)
        given, weight, product = value("x", side), value("w", side, ir.Tensor(matrix, name="w")), value("y", side)
        node = ir.Node("", "MatMul", [given, weight], outputs=[product])
        graph = ir.Graph([given], [product], nodes=[node], initializers=[weight], opset_imports={"": 21}, name="peak")
        made = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
        session = ort.InferenceSession(made, providers=["CPUExecutionProvider"])
        best = max(best, 2 * side**3 / _least_s(functools.partial(session.run, None, {"x": matrix})))
    return best


def _rounded(rate: float) -> float:
    """Two digits: there is no more to know from a moment."""
    return float(f"{rate:.2g}")


def _least_s(run: Callable[[], object]) -> float:
    """The shortest of the runs of a twentieth of a second, of three at least: once nobody was in the way."""
    run()  # the other threads wake
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < _LONG_ENOUGH_S:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
