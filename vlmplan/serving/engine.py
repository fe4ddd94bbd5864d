"""How long do steps of one replica take, and how many requests does it hold? A priced request -> its engine.

Step times are priced on a grid of tokens prefilled, sequences decoding and tokens in their context, each point when it
is first needed, and read off in between. Times in seconds. The schedulers' limits are those of vLLM's API server
(vllm/engine/arg_utils.py, ``EngineArgs.get_batch_defaults``, 0.11 to 0.33): 2048 tokens a step and 256 sequences; on
GPUs of 70 GiB and more that are no A100, 8192 and 1024. Other engines are taken to have the same.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from vlmplan.cost import Cost, Machine, Request, Spread, Step, images_s, step_s
from vlmplan.hardware import HardwareProfile
from vlmplan.records import dataclass

_LARGE_BYTES = 70 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How many times as long as their medians the device's steps take, and the host's work."""

    device_ratio: float = 1.0
    host_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One replica: step times, and what a request brings to it.

    ``step_s`` takes tokens prefilled, sequences decoding and the tokens that these see on average. A request has
    ``prompt_tokens`` to prefill and ``output_tokens`` to make; its images take the device ``images_s``, and the host
    ``image_host_s`` of a process that does one request at a time, and ``request_host_s`` that keep nobody waiting.
    At most ``slots`` requests run at once, of ``step_tokens`` tokens a step.
    """

    step_s: Callable[[int, int, float], float]
    prompt_tokens: int
    context_tokens: int
    output_tokens: int
    images_s: float
    image_host_s: float
    request_host_s: float
    slots: int
    step_tokens: int

    def at(self, times: Times) -> "Engine":
        """Return the same replica with times so many times as long."""
        priced, ratio = self.step_s, times.device_ratio
        return replace(
            self,
            step_s=lambda prefill, decoding, context: ratio * priced(prefill, decoding, context),
            images_s=ratio * self.images_s,
            image_host_s=times.host_ratio * self.image_host_s,
            request_host_s=times.host_ratio * self.request_host_s,
        )

    @property
    def host_s(self) -> float:
        """What the host adds to a request."""
        return self.image_host_s + self.request_host_s

    def capacity_per_s(self) -> float:
        """Return the most requests a second that it can bear.

        Where d sequences decode and as many come as go, a step prefills d / (n - 1) requests of n tokens out; the rate
        is the best over all d that slots and tokens of a step allow. The host's images one by one are a limit, too.
        """
        host_per_s = 1 / self.image_host_s if self.image_host_s else math.inf
        steps = self.output_tokens - 1
        if not steps:
            together = max(1.0, self.step_tokens / self.prompt_tokens)
            tokens = round(together * self.prompt_tokens)
            return min(host_per_s, together / (self.step_s(tokens, 0, 0.0) + together * self.images_s))
        most = min(self.slots, self.step_tokens / (1 + self.prompt_tokens / steps))
        rates = [self._turnover_per_s(most * share, steps) for share in (1.0, 0.7, 0.5, 0.35, 0.25, 0.12)]
        return min(host_per_s, max(rates))

    def _turnover_per_s(self, decoding: float, steps: int) -> float:
        """Requests a second where so many decode."""
        a_step = decoding / steps
        context = self.context_tokens - self.output_tokens / 2
        seconds = self.step_s(max(1, round(a_step * self.prompt_tokens)), max(1, round(decoding)), context)
        return a_step / (seconds + a_step * self.images_s)


def step_limits(hardware: HardwareProfile) -> tuple[int, int]:
    """Return the tokens and the sequences of a step that vLLM's server allows unasked."""
    memory_bytes = hardware.memory_bytes or 0.0
    large = memory_bytes >= _LARGE_BYTES and "a100" not in hardware.name.lower()
    return (8192, 1024) if large else (2048, 256)


_GRID = (0, 1, 2, 4, 6, 8, 12, *(16 * 2 ** (half // 2) * (3 if half % 2 else 2) // 2 for half in range(20)))


def _between(value: float, grid: tuple[int, ...]) -> tuple[int, int, float]:
    """The points of a grid below and above, and how far along the way a value is."""
    for low, high in itertools.pairwise(grid):
        if value <= high:
            return low, high, (value - low) / (high - low)
    return grid[-1], grid[-1], 0.0


def _tabulated(request: Request, machine: Machine) -> Callable[[int, int, float], float]:
    """Step times read off a grid, in which a point is priced when it is first needed."""
    first, last = request.prompt_tokens + 1, request.prompt_tokens + max(2, request.workload.output_tokens)
    points: dict[tuple[int, int, int], float] = {}
    lines: dict[tuple[int, int], tuple[float, float]] = {}

    def point(prefill: int, decoding: int, context: int) -> float:
        key = (prefill, decoding, context if decoding else first)
        if key not in points:
            step = Step(prefill_tokens=prefill, decoding=decoding, context_tokens=key[2])
            points[key] = step_s(request, machine, step) if prefill or decoding else 0.0
        return points[key]

    def along(prefill: int, decoding: int, context: int) -> float:
        low, high, share = _between(prefill, _GRID)
        if low == 0 < prefill:  # nothing lies between no prefill and one
            low, share = high, 0.0
        few, many, part = _between(decoding, _GRID)
        at_low = point(low, few, context) * (1 - part) + point(low, many, context) * part
        if not share:
            return at_low
        return at_low * (1 - share) + share * (
            point(high, few, context) * (1 - part) + point(high, many, context) * part
        )

    def seconds(prefill: int, decoding: int, context: float) -> float:
        line = lines.get((prefill, decoding))
        if line is None:
            low = along(prefill, decoding, first)
            line = lines[prefill, decoding] = (low, (along(prefill, decoding, last) - low) / (last - first))
        return line[0] + line[1] * (context - first) if decoding else line[0]

    return seconds


def engine(request: Request, machine: Machine, priced: Cost, memory_bytes: float | None) -> Engine:
    """Return the replica that serves ``request`` on ``machine``, whose single cost is ``priced``."""
    request = machine.as_run(request)
    tokens, sequences = step_limits(machine.hardware)
    held = priced.most_requests(memory_bytes)
    return Engine(
        step_s=_tabulated(request, machine),
        prompt_tokens=request.prefill_tokens,
        context_tokens=request.context_tokens,
        output_tokens=request.workload.output_tokens,
        images_s=images_s(request, machine),
        image_host_s=priced.preprocess_s,
        request_host_s=machine.base.overhead_per_request_s,
        slots=max(1, sequences if held is None else min(sequences, held)),
        step_tokens=tokens,
    )


def times_at(spread: Spread, median_s: float, host_s: float, z: float) -> Times:
    """Return the ratios at which a request alone takes what its ``spread`` says, ``z`` standard deviations out.

    Steps move by the spread of the whole; what spreads by itself, the host's part, by what is left.
    """
    device_ratio = math.exp(z * spread.log_sd)
    if not host_s:
        return Times(device_ratio=spread.factor(z))
    left_s = median_s * spread.factor(z) - device_ratio * (median_s - host_s)
    return Times(device_ratio=device_ratio, host_ratio=max(0.05, left_s / host_s))
