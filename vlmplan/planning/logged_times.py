"""How long do one's own requests take? A log of requests, a configuration and a machine -> times by quantile.

Each request is priced by itself, in seconds, with as many in flight as are planned for; all its pictures have the size
of the largest. Left out: that requests in flight at one time differ.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from vlmplan.cost import Machine, Request, cost, machine
from vlmplan.errors import InputError
from vlmplan.models import Compressor, Route, Rule, VisualInput, at_most, native_visual_tokens, one_view, options
from vlmplan.models import visual_input as visual_of
from vlmplan.planning.plan import Plan
from vlmplan.planning.request_log import MEDIAN, TAIL, LoggedRequest, RequestLog, quantile

MOST_PRICED = 2000  # half a millisecond each

Seen = Callable[[tuple[int, int]], VisualInput | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTimes:
    """Times that half of the requests keep, and 95 of 100; ``refused`` of ``requests`` cannot be answered at all."""

    requests: int
    refused: int
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


def _times(one: LoggedRequest, seen: Seen, like: Request, ready: Machine) -> tuple[float, float] | None:
    """Seconds to the first and to the last token; None where the model's context or processor refuses it."""
    workload = replace(
        like.workload,
        text_tokens=one.text_tokens,
        output_tokens=max(1, one.output_tokens),
        cached_text_tokens=min(like.workload.cached_text_tokens, one.text_tokens),
        images=len(one.images),
        image=one.image,
    )
    try:
        request = replace(like, workload=workload, visual=seen(one.image))
    except InputError:
        return None
    if not request.fits_context:
        return None
    priced = cost(request, ready)
    return priced.ttft_s, priced.latency_s


def logged_times(log: RequestLog, like: Request, seen: Seen, ready: Machine) -> LoggedTimes | None:
    """Price every request as ``like`` is served, ``seen`` making a picture's tokens; None where all are refused."""
    sample = _sample(log)
    found = {one: _times(one, seen, like, ready) for one in dict.fromkeys(sample)}
    times = [time for one in sample if (time := found[one]) is not None]
    if not times:
        return None

    first, last = sorted(one[0] for one in times), sorted(one[1] for one in times)
    return LoggedTimes(
        requests=len(log.requests),
        refused=round((len(sample) - len(times)) * len(log.requests) / len(sample)),
        ttft_median_s=quantile(first, MEDIAN),
        ttft_tail_s=quantile(first, TAIL),
        latency_median_s=quantile(last, MEDIAN),
        latency_tail_s=quantile(last, TAIL),
    )


def _as_planned(plan: Plan) -> Seen:
    """What the plan's setting makes of a picture of any size."""
    model, choice, planned = plan.model, plan.choice, plan.workload.image
    if choice.route is Route.EXPORT and choice.compressor is Compressor.NONE:
        return lambda image: one_view(model, image)
    if choice.compressor is not Compressor.NONE or model.image is None:
        return lambda image: visual_of(model, image, choice.visual_tokens, choice.compressor)
    limited = model.image.rule in (Rule.AREA, Rule.PADDED)  # whose command states the planned picture's pixels
    if choice.visual_tokens == native_visual_tokens(model, planned) and not limited:
        return lambda image: options(model, image)[-1]
    return lambda image: at_most(model, image, choice.visual_tokens) or options(model, image)[0]


def times_by_plan(plan: Plan, log: RequestLog) -> LoggedTimes | None:
    """Price every logged request by a plan's choice; None where it can answer none."""
    choice, seen = plan.choice, _as_planned(plan)
    like = Request(
        model=plan.model,
        workload=plan.workload,
        visual=seen(plan.workload.image),
        precision=choice.precision,
        gpus=choice.gpus,
    )
    return logged_times(log, like, seen, machine(plan.hardware, (), plan.runtime, choice.precision))


def times_at(like: Request, ready: Machine, log: RequestLog) -> LoggedTimes | None:
    """Price every logged request with the visual tokens an image of ``like``; None where it can answer none."""
    wanted = like.visual
    if wanted is None:
        return logged_times(log, like, lambda _: None, ready)
    return logged_times(
        log, like, lambda image: visual_of(like.model, image, wanted.visual_tokens, wanted.compressor), ready
    )
