"""What was timed, and which operators ran in it? Observations, and their operators as columns of numbers.

(observations, machine) -> :class:`Columns`: ideal seconds, shapes and classes of every operator of every call, which a
fit evaluates many times over.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlmplan.cost import Cost, Machine, Op, Request, Spread, operators, overhead_layers, preprocess_s
from vlmplan.errors import InputError
from vlmplan.hardware import Efficiency, Kind, Part


class Quantity(enum.StrEnum):
    """What was timed. ``vision`` is tower, compressor and projector; ``prefill`` the LLM's pass with its call."""

    TTFT = "ttft"
    TPOT = "tpot"
    LATENCY = "latency"
    VISION = "vision"
    PREFILL = "prefill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured time. ``group`` names what is left out together when the error is told (a width, a model)."""

    request: Request
    quantity: Quantity
    measured_s: float
    noise_log_sd: float = 0.0
    group: str = ""

    def __post_init__(self) -> None:
        """A time is above zero, and a time per further token needs further tokens."""
        if not 0 < self.measured_s < math.inf:
            raise InputError(f"measured_s: expected a time above zero, found {self.measured_s}")
        if self.quantity is Quantity.TPOT and self.request.workload.output_tokens < 2:
            raise InputError("a time per output token needs at least two output tokens")


def predicted(quantity: Quantity, priced: Cost) -> tuple[float, Spread]:
    """Return (seconds, their spread) that a price gives for a time to the first token, per token or of the request."""
    return {
        Quantity.TTFT: (priced.ttft_s, priced.ttft_spread),
        Quantity.TPOT: (priced.tpot_s or 0.0, priced.tpot_spread),
        Quantity.LATENCY: (priced.latency_s, priced.latency_spread),
    }[quantity]


def measured_range(observations: Sequence[Observation]) -> dict[str, tuple[int, int]]:
    """Return the least and the most of every size that was timed."""
    ranges: dict[str, tuple[int, int]] = {}
    for one in observations:
        for name, size in one.request.sizes.items():
            low, high = ranges.get(name, (size, size))
            ranges[name] = (min(low, size), max(high, size))
    return ranges


# A request is three calls one after the other: the vision encoder's, the LLM's over the prompt, and each further step.
_FRONT, _PREFILL, _STEP = range(3)
_CALL_OF = {Part.VISION: _FRONT, Part.COMPRESSOR: _FRONT, Part.PREFILL: _PREFILL, Part.DECODE: _STEP}


def _times(observation: Observation) -> tuple[int, int, int]:
    """How often each of the three calls is made in what was timed."""
    steps = observation.request.workload.output_tokens - 1
    return {
        Quantity.TTFT: (1, 1, 0),
        Quantity.TPOT: (0, 0, 1),
        Quantity.LATENCY: (1, 1, steps),
        Quantity.VISION: (1, 0, 0),
        Quantity.PREFILL: (0, 1, 0),
    }[observation.quantity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """All operators of all observations as columns; ideal seconds are at the datasheet's rates."""

    owner: Any  # index of the call: three an observation
    kernels: Any
    kind: Any  # index of (kind, quantised) in ``classes``
    compute_s: Any
    memory_s: Any
    shape: Any  # rows x 3, infinite where an operator has no such dimension
    times: Any  # observations x 3: how often each call is made
    layers: Any  # observations x 3: layers that a call launches
    requests: Any  # observations: 1 where the overhead of a request is in what was timed
    preprocess_s: Any  # observations: the host's work on images that is in what was timed
    classes: tuple[tuple[Kind, bool], ...]


def columns(observations: Sequence[Observation], machine: Machine) -> Columns:
    """Return all operators of all observations, as ``machine`` stores and runs them."""
    import numpy as np

    rows: list[tuple[float, ...]] = []
    classes: dict[tuple[Kind, bool], int] = {}
    times = [_times(one) for one in observations]
    for number, observation in enumerate(observations):
        for op in operators(machine.as_run(observation.request)):
            call = _CALL_OF[op.part]
            if times[number][call] and op.count:
                index = classes.setdefault((op.kind, op.quantised), len(classes))
                rows.append((3 * number + call, op.count, index, *_ideal(op, machine), *_shape(op)))
    table = np.array(rows, dtype=float)
    layers = [overhead_layers(one.request) for one in observations]
    whole = (Quantity.TTFT, Quantity.LATENCY)
    return Columns(
        owner=table[:, 0].astype(int),
        kernels=table[:, 1],
        kind=table[:, 2].astype(int),
        compute_s=table[:, 3],
        memory_s=table[:, 4],
        shape=table[:, 5:],
        times=np.array(times, dtype=float),
        layers=np.array([(before, llm, llm) for before, llm in layers], dtype=float),
        requests=np.array([one.quantity in whole for one in observations], dtype=float),
        preprocess_s=np.array(
            [preprocess_s(one.request, machine.base.preprocess) * (one.quantity in whole) for one in observations],
            dtype=float,
        ),
        classes=tuple(classes),
    )


def _ideal(op: Op, machine: Machine) -> tuple[float, float]:
    """Seconds of the operator's FLOPs and bytes at efficiencies of one."""
    rates = machine.rates(op)
    compute = op.flops / op.shards / rates.flops_per_s * rates.efficiency.compute_fraction
    memory = (op.weight_bytes + op.moved_bytes) / rates.bytes_per_s * rates.efficiency.memory_fraction
    return compute, memory


def _shape(op: Op) -> tuple[float, ...]:
    return (*op.shape, math.inf, math.inf, math.inf)[:3]


def kernel_seconds(compute_s: Any, memory_s: Any, shape: Any, efficiency: Efficiency, kernels: Any = 1.0) -> Any:
    """``machine.op_seconds`` over columns; ``compute_s`` and ``memory_s`` are ideal, ``shape`` rows x dimensions."""
    compute, memory = compute_s / efficiency.compute_fraction, memory_s / efficiency.memory_fraction
    for dimension, pad in enumerate(efficiency.compute_pads):
        compute = compute * (1 + pad / shape[:, dimension])
    for dimension, pad in enumerate(efficiency.memory_pads):
        memory = memory * (1 + pad / shape[:, dimension])
    return kernels * efficiency.latency_s + overlapped_seconds(compute, memory, efficiency.overlap)


def overlapped_seconds(first_s: Any, second_s: Any, overlap: float) -> Any:
    """(first^p + second^p)^(1/p) over columns, p being the overlap."""
    import numpy as np

    longer = np.maximum(np.maximum(first_s, second_s), 1e-300)
    ratio = np.minimum(first_s, second_s) / longer
    return longer * (1 + ratio**overlap) ** (1 / overlap)
