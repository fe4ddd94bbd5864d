"""How long do steps of one replica take, and how many requests does it hold? A priced request -> its engine.

Step times are priced on a grid of tokens prefilled, sequences decoding and tokens in their context, each point when it
is first needed, and read off in between. Times in seconds. The schedulers' limits are those of vLLM's API server
(vllm/engine/arg_utils.py, ``EngineArgs.get_batch_defaults``, 0.11 to 0.33): 2048 tokens a step and 256 sequences; on
GPUs of 70 GiB and more that are no A100, 8192 and 1024. Other engines are taken to have the same.
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from vlmplan.cost import Cost, Machine, Request, Spread, Step, images_s, preprocess_s, step_s
from vlmplan.hardware import HardwareProfile
from vlmplan.records import dataclass

_LARGE_BYTES = 70 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How many times as long as their medians the device's steps take, and the host's work."""

    device_ratio: float = 1.0
    host_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What one request brings: tokens to prefill, to make, and to hold at its end; seconds of its images.

    ``images_s`` are the device's, ``image_host_s`` those of a process of the host that does one request at a time.
    """

    prompt_tokens: int
    context_tokens: int
    output_tokens: int
    images_s: float
    image_host_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One replica: step times, and what a request brings to it.

    ``step_s`` takes tokens prefilled, sequences decoding and the tokens that these see on average. A request has
    ``prompt_tokens`` to prefill and ``output_tokens`` to make; its images take the device ``images_s``, and the host
    ``image_host_s`` of a process that does one request at a time, and ``request_host_s`` that keep nobody waiting.
    At most ``slots`` requests run at once, of ``step_tokens`` tokens a step. Where requests differ they are of
    ``mix``, and run as many as ``kv_tokens`` hold at their ends.
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
    kv_tokens: float = math.inf
    mix: tuple[Size, ...] = ()

    @property
    def size(self) -> Size:
        """The request that is planned for."""
        return Size(
            prompt_tokens=self.prompt_tokens,
            context_tokens=self.context_tokens,
            output_tokens=self.output_tokens,
            images_s=self.images_s,
            image_host_s=self.image_host_s,
        )

    def at(self, times: Times) -> "Engine":
        """Return the same replica with times so many times as long."""
        priced, ratio = self.step_s, times.device_ratio
        return replace(
            self,
            step_s=lambda prefill, decoding, context: ratio * priced(prefill, decoding, context),
            images_s=ratio * self.images_s,
            image_host_s=times.host_ratio * self.image_host_s,
            request_host_s=times.host_ratio * self.request_host_s,
            mix=tuple(
                replace(one, images_s=ratio * one.images_s, image_host_s=times.host_ratio * one.image_host_s)
                for one in self.mix
            ),
        )

    @property
    def host_s(self) -> float:
        """What the host adds to a request."""
        return self.image_host_s + self.request_host_s

    def capacity_per_s(self) -> float:
        """Return the most requests a second that it can bear.

        Where d sequences decode and as many come as go, a step prefills d / (n - 1) requests of n tokens out; the rate
        is the best over all d that slots and tokens of a step allow. The host's images one by one are a limit, too.
        Of requests that differ their means count; those that decode at one time are longer ones, by their steps.
        """
        mean = _mean_of(self.mix or (self.size,))
        host_per_s = self.host_per_s()
        if not mean.further_tokens:
            together = max(1.0, self.step_tokens / mean.prompt_tokens)
            tokens = round(together * mean.prompt_tokens)
            return min(host_per_s, together / (self.step_s(tokens, 0, 0.0) + together * mean.images_s))
        held = min(float(self.slots), self.kv_tokens / mean.held_tokens)
        most = min(held, self.step_tokens / (1 + mean.prompt_tokens / mean.further_tokens))
        rates = [self._turnover_per_s(most * share, mean) for share in (1.0, 0.7, 0.5, 0.35, 0.25, 0.12)]
        return min(host_per_s, max(rates))

    def host_per_s(self) -> float:
        """Return how many requests a second the host makes the images of ready."""
        host_s = _mean_of(self.mix or (self.size,)).image_host_s
        return 1 / host_s if host_s else math.inf

    def _turnover_per_s(self, decoding: float, mean: "_Mean") -> float:
        """Requests a second where so many decode."""
        a_step = decoding / mean.further_tokens
        prefill = max(1, round(a_step * mean.prompt_tokens))
        seconds = self.step_s(prefill, max(1, round(decoding)), mean.seen_tokens)
        return a_step / (seconds + a_step * mean.images_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mean:
    """Means over requests; ``seen_tokens`` and ``held_tokens`` over those that decode at one time."""

    prompt_tokens: float
    further_tokens: float
    seen_tokens: float
    held_tokens: float
    images_s: float
    image_host_s: float


@functools.lru_cache(maxsize=256)
def _mean_of(sizes: tuple[Size, ...]) -> _Mean:
    count, steps = len(sizes), sum(one.output_tokens - 1 for one in sizes)
    by_steps = [((one.output_tokens - 1) / steps if steps else 1 / count, one) for one in sizes]
    return _Mean(
        prompt_tokens=sum(one.prompt_tokens for one in sizes) / count,
        further_tokens=steps / count,
        seen_tokens=sum(share * (one.context_tokens - one.output_tokens / 2) for share, one in by_steps),
        held_tokens=sum(share * one.context_tokens for share, one in by_steps),
        images_s=sum(one.images_s for one in sizes) / count,
        image_host_s=sum(one.image_host_s for one in sizes) / count,
    )


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


def size_of(request: Request, machine: Machine) -> Size:
    """Return what one request brings to a replica."""
    request = machine.as_run(request)
    return Size(
        prompt_tokens=max(1, request.prefill_tokens),
        context_tokens=request.context_tokens,
        output_tokens=request.workload.output_tokens,
        images_s=images_s(request, machine),
        image_host_s=preprocess_s(request, machine.base.preprocess),
    )


def mixed(one: Engine, mix: tuple[Size, ...], priced: Cost, memory_bytes: float | None, sequences: int) -> Engine:
    """Return a replica whose requests are of ``mix``: what holds them is the cache's tokens, not whole requests."""
    held = priced.most_requests(memory_bytes)
    return replace(
        one, mix=mix, slots=sequences, kv_tokens=math.inf if held is None else float(held * one.context_tokens)
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
