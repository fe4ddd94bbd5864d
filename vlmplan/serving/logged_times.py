"""How long do one's own requests take? A log of requests, a configuration and a machine -> times by quantile.

Each request is priced by itself, in seconds, with as many in flight as are planned for; all its pictures have the size
of the largest. Left out: that requests in flight at one time differ.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlmplan.cost import Machine, Request, cost
from vlmplan.errors import InputError
from vlmplan.inventory import MEDIAN, TAIL, Budget, LoggedRequest, RequestLog, quantile_of
from vlmplan.models import Compressor, Route, Rule, VisualInput, at_most, native_visual_tokens, one_view, options
from vlmplan.models import visual_input as visual_of

MOST_PRICED = 2000  # half a millisecond each
MOST_SIZED = 2000  # of a load that is simulated
LOGGED = "logged requests:"  # how a warning of them begins
_NO_LIMITS = Budget(latency_s=sys.float_info.max)

if TYPE_CHECKING:
    from vlmplan.serving.engine import Size

Seen = Callable[[tuple[int, int]], VisualInput | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTimes:
    """Times that half of the requests keep, and 95 of 100; ``refused`` of ``requests`` cannot be answered at all.

    ``kept`` of them keep the limits of time by their medians. ``context_tokens`` is what the longest takes, ``images``
    how many pictures the one with most has.
    """

    requests: int
    refused: int
    kept: int
    context_tokens: int
    images: int
    ttft_median_s: float
    ttft_tail_s: float
    latency_median_s: float
    latency_tail_s: float


def _sample(log: RequestLog) -> list[LoggedRequest]:
    """The requests from small to large, or as many of them evenly spaced as are priced in a second."""
    ordered = sorted(
        log.requests,
        key=lambda one: (len(one.images) * one.image[0] * one.image[1], one.output_tokens, one.text_tokens),
    )
    step = max(1.0, len(ordered) / MOST_PRICED)
    return [ordered[int(index * step)] for index in range(min(len(ordered), MOST_PRICED))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """One request: tokens at its end, seconds to the first and to the last token, and whether those keep the limits."""

    context_tokens: int
    ttft_s: float
    latency_s: float
    kept: bool


def _request_of(logged: LoggedRequest, seen: Seen, like: Request) -> Request | None:
    """A logged request, served as ``like``; None where the model's processor refuses its pictures."""
    workload = replace(
        like.workload,
        text_tokens=logged.text_tokens,
        output_tokens=max(1, logged.output_tokens),
        cached_text_tokens=min(like.workload.cached_text_tokens, logged.text_tokens),
        images=len(logged.images),
        image=logged.image,
    )
    try:
        return replace(like, workload=workload, visual=seen(logged.image))
    except InputError:
        return None


def _priced(
    logged: LoggedRequest, seen: Seen, like: Request, ready: Machine, limits: Budget | None, most_tokens: float
) -> _Priced | None:
    """Price a request; None where the model's context, its processor or ``most_tokens`` in memory refuse it."""
    request = _request_of(logged, seen, like)
    if request is None or not request.fits_context or request.context_tokens > most_tokens:
        return None
    priced, within = cost(request, ready), limits or _NO_LIMITS
    times = (
        (priced.ttft_s, within.ttft_s),
        (priced.tpot_s or 0.0, within.tpot_s),
        (priced.latency_s, within.latency_s),
    )
    return _Priced(
        context_tokens=request.context_tokens,
        ttft_s=priced.ttft_s,
        latency_s=priced.latency_s,
        kept=all(limit is None or time <= limit for time, limit in times),
    )


def logged_times(
    log: RequestLog,
    like: Request,
    seen: Seen,
    ready: Machine,
    limits: Budget | None = None,
    most_tokens: float = math.inf,
) -> LoggedTimes | None:
    """Price every request as ``like`` is served, ``seen`` making a picture's tokens; None where all are refused."""
    sample = _sample(log)
    longest = max(log.requests, key=lambda one: one.text_tokens + one.output_tokens)  # perhaps not in the sample
    by_request = {
        one: _priced(one, seen, like, ready, limits, most_tokens) for one in dict.fromkeys((*sample, longest))
    }
    answered = [priced for one in sample if (priced := by_request[one]) is not None]
    if not answered:
        return None
    first, last = sorted(one.ttft_s for one in answered), sorted(one.latency_s for one in answered)
    share = len(log.requests) / len(sample)
    return LoggedTimes(
        requests=len(log.requests),
        refused=round((len(sample) - len(answered)) * share),
        kept=round(sum(one.kept for one in answered) * share),
        context_tokens=max(one.context_tokens for one in by_request.values() if one is not None),
        images=max(len(one.images) for one in log.requests),
        ttft_median_s=quantile_of(first, MEDIAN),
        ttft_tail_s=quantile_of(first, TAIL),
        latency_median_s=quantile_of(last, MEDIAN),
        latency_tail_s=quantile_of(last, TAIL),
    )


def _as_planned(like: Request, visual: VisualInput, route: Route) -> Seen:
    """What the setting that is planned makes of a picture of any size."""
    model, tokens = like.model, visual.visual_tokens
    if route is Route.EXPORT and visual.compressor is Compressor.NONE:
        return lambda image: one_view(model, image)
    if visual.compressor is not Compressor.NONE or model.image is None:
        return lambda image: visual_of(model, image, tokens, visual.compressor)
    limited = model.image.rule in (Rule.AREA, Rule.PADDED)  # whose command states the planned picture's pixels
    if tokens == native_visual_tokens(model, like.workload.image) and not limited:
        return lambda image: options(model, image)[-1]
    return lambda image: at_most(model, image, tokens) or options(model, image)[0]


def times_as_planned(
    log: RequestLog, like: Request, route: Route, ready: Machine, limits: Budget, most_tokens: float = math.inf
) -> LoggedTimes | None:
    """Price every logged request as the request that is planned for is served; None where it can answer none.

    Longer ones than ``most_tokens``, which memory holds, are refused.
    """
    if like.visual is None:
        return logged_times(log, like, lambda _: None, ready, limits, most_tokens)
    return logged_times(log, like, _as_planned(like, like.visual, route), ready, limits, most_tokens)


def _as_told(like: Request) -> Seen:
    """The visual tokens an image of ``like``, whatever its size."""
    wanted = like.visual
    if wanted is None:
        return lambda _: None
    return lambda image: visual_of(like.model, image, wanted.visual_tokens, wanted.compressor)


def logged_times_at(like: Request, ready: Machine, log: RequestLog) -> LoggedTimes | None:
    """Price every logged request with the visual tokens an image of ``like``; None where it can answer none."""
    return logged_times(log, like, _as_told(like), ready)


def sizes_of(log: RequestLog, like: Request, ready: Machine, route: Route | None = None) -> "tuple[Size, ...]":
    """Return what each logged request brings to a replica, in the log's order; what it cannot answer is left out.

    Images are seen as ``route`` says, or with the visual tokens of ``like``. A log without times is thinned evenly to
    ``MOST_SIZED`` requests; in one with times what cannot be answered is as ``like``, so that each keeps its own.
    """
    from vlmplan.serving.engine import size_of

    seen = _as_told(like) if route is None or like.visual is None else _as_planned(like, like.visual, route)
    known: dict[LoggedRequest, Size | None] = {}

    def sized(one: LoggedRequest) -> "Size | None":
        request = _request_of(replace(one, time_s=None), seen, like)
        return None if request is None or not request.fits_context else size_of(request, ready)

    step = 1.0 if log.timed else max(1.0, len(log.requests) / MOST_SIZED)
    sizes = []
    for one in (log.requests[int(at * step)] for at in range(int(len(log.requests) / step))):
        bare = replace(one, time_s=None)
        if bare not in known:
            known[bare] = sized(bare)
        size = known[bare]
        if size is not None or log.timed:
            sizes.append(size or size_of(like, ready))
    return tuple(sizes)
