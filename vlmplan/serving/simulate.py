"""What do requests wait for at one replica? Arrivals and an engine -> when each has its first and its last token.

A discrete-event simulation of continuous batching with chunked prefill, as vLLM's scheduler does it: a step takes one
token of every sequence that decodes, fills up with tokens of prompts, first come first served, and admits a request
where a slot is free and the KV cache holds it whole, so nobody is preempted. Steps follow one
another, so the clock is a number and runs of equal steps are taken at once; a queueing library (SimPy: 0.7 us a bare
step, 7 us a customer) would add a clock and no scheduler. Left out: prefix caches, speculation, priorities.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence

from vlmplan.records import dataclass
from vlmplan.serving.engine import Engine, Size

WARM_UP_SHARE = 0.1  # of the requests, which find a server that is not yet as busy as it gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What requests saw, the first tenth left out, sorted: seconds to the first token, a further one, and the last.

    ``in_flight_ratio`` is how many the device worked on, on average over time; ``busy_fraction`` the share of time in
    which it ran a step; ``span_s`` the time that all took.
    """

    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    latency_s: tuple[float, ...]
    in_flight_ratio: float
    busy_fraction: float
    span_s: float


def _ready(arrivals_s: Sequence[float], sizes: Sequence[Size], engine: Engine) -> list[float]:
    """When requests are ready for the device: images one by one through the host's process, the rest beside it."""
    free_s, ready_s = 0.0, []
    for arrival_s, size in zip(arrivals_s, sizes, strict=True):
        free_s = max(free_s, arrival_s) + size.image_host_s
        ready_s.append(free_s + engine.request_host_s)
    return ready_s


class _Replica:
    """The state between two steps. Requests are numbers, ``steps`` counts those that decode."""

    def __init__(self, engine: Engine, ready_s: Sequence[float], sizes: Sequence[Size]) -> None:
        self.engine, self.ready_s, self.sizes = engine, ready_s, sizes
        self.now_s, self.steps, self.come, self.done = 0.0, 0, 0, 0
        self.held = 0  # tokens of the cache that are promised
        self.prefilling: deque[list[int]] = deque()  # [request, tokens left]
        self.decoding: list[tuple[int, int]] = []  # (the step of its last token, request), a heap
        self.context = 0  # tokens that those decoding see together
        self.first_s, self.last_s = [0.0] * len(ready_s), [0.0] * len(ready_s)
        self.busy_s = self.area_s = 0.0

    def room(self) -> bool:
        """Whether the next to come has a slot, and a place in the cache; one alone has whatever it takes."""
        running = len(self.prefilling) + len(self.decoding)
        if running >= self.engine.slots or self.come == len(self.ready_s):
            return False
        return not running or self.held + self.sizes[self.come].context_tokens <= self.engine.kv_tokens

    def admit(self) -> None:
        """Let in who is ready, in turn, as far as there is room."""
        while self.room() and self.ready_s[self.come] <= self.now_s:
            size = self.sizes[self.come]
            self.held += size.context_tokens
            self.prefilling.append([self.come, size.prompt_tokens])
            self.come += 1

    def decode(self) -> None:
        """Run steps that only decode, up to the next end of a sequence or the first step after an arrival."""
        count, engine = len(self.decoding), self.engine
        steps = self.decoding[0][0] - self.steps
        seconds = engine.step_s(0, count, self.context / count + steps / 2)
        if self.room() and seconds > 0:
            until = math.ceil((self.ready_s[self.come] - self.now_s) / seconds)
            if until < steps:
                steps = max(1, until)
                seconds = engine.step_s(0, count, self.context / count + steps / 2)
        self._pass(steps, steps * seconds, count)

    def mixed(self) -> None:
        """Run one step that prefills as much as the tokens of a step allow."""
        engine, count = self.engine, len(self.decoding)
        left, images_s, finished = max(1, engine.step_tokens - count), 0.0, []
        budget = left
        while self.prefilling and left:
            one = self.prefilling[0]
            if one[1] == self.sizes[one[0]].prompt_tokens:
                images_s += self.sizes[one[0]].images_s
            taken = min(left, one[1])
            left -= taken
            one[1] -= taken
            if not one[1]:
                finished.append(self.prefilling.popleft()[0])
        seconds = engine.step_s(budget - left, count, self.context / count if count else 0.0)
        beside = count + len(self.prefilling) + len(finished)
        self._pass(1, seconds + images_s, beside)
        for request in finished:
            self.first_s[request] = self.now_s
            size = self.sizes[request]
            if size.output_tokens > 1:
                heapq.heappush(self.decoding, (self.steps + size.output_tokens - 1, request))
                self.context += size.context_tokens - size.output_tokens + 1
            else:
                self._let_go(request, size)

    def _let_go(self, request: int, size: Size) -> None:
        """Note that a request's last token came."""
        self.last_s[request] = self.now_s
        self.held -= size.context_tokens
        self.done += 1

    def _pass(self, steps: int, seconds: float, beside: int) -> None:
        """Let time go by, and let go whose last token it brought."""
        self.now_s += seconds
        self.busy_s += seconds
        self.area_s += seconds * beside
        self.steps += steps
        self.context += steps * len(self.decoding)
        while self.decoding and self.decoding[0][0] <= self.steps:
            request = heapq.heappop(self.decoding)[1]
            size = self.sizes[request]
            self.context -= size.context_tokens
            self._let_go(request, size)


def serve(engine: Engine, arrivals_s: Sequence[float], sizes: Sequence[Size] | None = None) -> Served:
    """Serve requests that come at ``arrivals_s``, in order, of these ``sizes`` where not all are the engine's own."""
    sizes = [engine.size] * len(arrivals_s) if sizes is None else sizes
    replica = _Replica(engine, _ready(arrivals_s, sizes, engine), sizes)
    while replica.done < len(arrivals_s):
        replica.admit()
        if replica.prefilling:
            replica.mixed()
        elif replica.decoding:
            replica.decode()
        else:
            replica.now_s = max(replica.now_s, replica.ready_s[replica.come])
    span_s = replica.now_s - arrivals_s[0]
    kept = range(int(WARM_UP_SHARE * len(arrivals_s)), len(arrivals_s))
    first_s, last_s, steps = replica.first_s, replica.last_s, [one.output_tokens - 1 for one in sizes]
    return Served(
        ttft_s=tuple(sorted(first_s[one] - arrivals_s[one] for one in kept)),
        tpot_s=tuple(sorted((last_s[one] - first_s[one]) / steps[one] for one in kept if steps[one])),
        latency_s=tuple(sorted(last_s[one] - arrivals_s[one] for one in kept)),
        in_flight_ratio=replica.area_s / span_s,
        busy_fraction=replica.busy_s / span_s,
        span_s=span_s,
    )
