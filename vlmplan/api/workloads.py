"""Which request is meant, how many come, and what says so? Words, a name, a log -> the workload, the load; it is said.

What is said in words goes before what a log shows, that before what a name sets; the rest is the usual case's.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmplan.accuracy import of_videos
from vlmplan.api.given import File, Words, quantity, tell
from vlmplan.cost import LEAST_RATE_PER_S, MOST_RATE_PER_S, MOST_REPLICAS, LoadAsked, PercentileLimit, Timed
from vlmplan.errors import InputError
from vlmplan.inventory import MEDIAN, TAIL, Budget, NamedWorkload, RequestLog, Shelf
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import Workload
from vlmplan.planning import INTERACTIVE
from vlmplan.serving import LOGGED
from vlmplan.units import format_image, format_seconds, parse_image, parse_pixels, parse_rate, parse_seconds

if TYPE_CHECKING:
    from vlmplan.cost import Estimate, Machine, Request, Service
    from vlmplan.planning import Plan
    from vlmplan.serving import LoggedTimes

# Fields of a workload: how the option that says the same is typed.
_TYPED: Mapping[str, Callable[[Any], str]] = {
    "images": lambda number: f"--images {number}",
    "image": lambda size: f"--image {size[0]}x{size[1]}",
    "text_height_px": lambda height_px: f"--text-height {height_px:g}px",
    "text_tokens": lambda tokens: f"--text-tokens {tokens}",
    "output_tokens": lambda tokens: f"--output-tokens {tokens}",
    "cached_text_tokens": lambda tokens: f"--cached-text-tokens {tokens}",
    "cached_images": lambda cached: "--cached-images" if cached else "",
    "batch": lambda number: f"--batch {number}",
    "concurrency": lambda number: f"--concurrency {number}",
}

# Percentiles by the name of their option: p95 is of the latency.
_PERCENTILE = re.compile(r"(?:(ttft|tpot|latency)[-_])?p(50|95|99)")
_STEADY = re.compile(r"\s*[-+]?[0-9.].*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The request that is meant; ``named`` and ``log`` are what says it, ``own`` whether it is no shipped name."""

    workload: Workload
    named: NamedWorkload | None = None
    own: bool = False
    log: RequestLog | None = None


def _image(text: str) -> tuple[int, int]:
    """An image's width and height in pixels. Raises InputError, which names the option."""
    try:
        return parse_image(text)
    except InputError as error:
        raise InputError(f"--image: {error}") from None


def _said(words: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a workload that words say."""
    fields = {name: words[name] for name in Words.__annotations__ if words[name] is not None}
    if "image" in fields:
        fields["image"] = _image(str(fields["image"]))
    if (height := fields.pop("text_height", None)) is not None:
        fields["text_height_px"] = quantity(parse_pixels, height)
    return fields


def _left(named: NamedWorkload, before: Collection[str]) -> dict[str, Any]:
    """What a name sets of the request where nothing goes before it; of another image its text's height says nothing."""
    out = {*before, "text_height_px"} if "image" in before else before
    return {name: value for name, value in named.request.items() if name not in out}


def _tell_named(named: NamedWorkload, left: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
    """Say what a name set, as it would be typed: of the request, where one image needs no word, and ``beside`` it."""
    words = {**_TYPED, "images": lambda number: f"--frames {number}"} if of_videos([named.task or ""]) else _TYPED
    shown = [show(left[name]) for name, show in words.items() if name in left and (name, left[name]) != ("images", 1)]
    shown += [f"--{name} {value}" for name, value in beside.items() if value is not None]
    if any(shown):
        tell(f"workload {named.name}: {' '.join(filter(None, shown))}")


def _log_line(log: RequestLog) -> str:
    """What a log shows: how long and how large half of the requests are, and 95 of 100."""
    half, tail = log.at(MEDIAN), log.at(TAIL)
    names = ("text_tokens", "output_tokens", "images")
    shown = ", ".join(f"{name.replace('_', ' ')} {half[name]} ({tail[name]})" for name in names)
    line = (
        f"{log.name}, {len(log.requests)} requests, p50 (p95): {shown}, image {format_image(half['image'])} "
        f"({format_image(tail['image'])}); planned for the p50 (--text-tokens, --output-tokens, --images, --image)"
    )
    if log.without_images:
        line += f"; {log.without_images} without a picture are left out"
    if log.estimated:
        line += f"; the text tokens of {log.estimated} are estimated at 4 characters a token"
    return line


def described(words: Mapping[str, Any], silent: Collection[str] = ()) -> Described:
    """Return the request that ``words`` describe, and say what of it a name or a log set. Raises InputError.

    A name is said to set those of ``task`` and ``prefer`` on which the question is ``silent``.
    """
    given, requests = words["workload"], words["requests"]
    if isinstance(given, Workload):
        beside = [name for name in (*Words.__annotations__, "requests") if words[name] is not None]
        if beside:
            raise InputError(f"workload: found {', '.join(beside)} beside it, which it says itself; give one of them")
        return Described(workload=given)
    named, own, log, left = None, False, _log(requests), dict[str, Any]()
    before = ({} if log is None else log.at(MEDIAN)) | _said(words)
    if given is not None:
        named, own = _named(given)
        left = _left(named, before)
        _tell_named(named, left, {name: getattr(named, name) for name in silent})
    if log is not None:
        tell(_log_line(log))
    usual = {"text_tokens": INTERACTIVE.text_tokens, "output_tokens": INTERACTIVE.output_tokens}
    return Described(workload=Workload(**usual | left | before), named=named, own=own, log=log)


def pictures(
    given: File | NamedWorkload | None, image: tuple[int, int] | None, images: int | None
) -> tuple[tuple[int, int], int]:
    """Return size and number of a request's images: as told, by a named workload, which is said, or the usual ones."""
    said = {name: value for name, value in (("image", image), ("images", images)) if value is not None}
    left = dict[str, Any]()
    if given is not None:
        named, _ = _named(given)
        left = {name: value for name, value in _left(named, said).items() if name in ("image", "images")}
        _tell_named(named, left, {})
    workload = Workload(text_tokens=INTERACTIVE.text_tokens, output_tokens=INTERACTIVE.output_tokens, **left | said)
    return workload.image, workload.images


def _named(given: File | NamedWorkload) -> tuple[NamedWorkload, bool]:
    """A named workload, and whether it is the user's own: a file, or a document that is not shipped as it is."""
    if isinstance(given, NamedWorkload):
        shipped = given.name in shelves.names(Shelf.WORKLOADS) and given == shelves.workload(given.name)
        return given, not shipped
    path = shelves.find(Shelf.WORKLOADS, str(given))
    return shelves.workload(path), path.parent != shelves.profiles_folder() / Shelf.WORKLOADS


def _log(given: File | RequestLog | None) -> RequestLog | None:
    from vlmplan.inventory import read_requests

    return read_requests(Path(given)) if isinstance(given, str | Path) else given


def _times_line(log: RequestLog, logged: "LoggedTimes | None", what: str) -> str:
    """How long a configuration takes for the requests of a log."""
    if logged is None:
        return f"{log.name}: {what} can answer none of the requests: they exceed its context, or its processor refuses"
    pairs = ((logged.latency_median_s, logged.latency_tail_s), (logged.ttft_median_s, logged.ttft_tail_s))
    whole, first = (f"{format_seconds(median_s)} ({format_seconds(tail_s)})" for median_s, tail_s in pairs)
    refused = f"; {logged.refused} cannot be answered: context, memory or image shape" if logged.refused else ""
    return f"{log.name}: with {what} the p50 (p95) request takes {whole}, {first} to the first token{refused}"


def tell_times(log: RequestLog, logged: "LoggedTimes | None", what: str) -> None:
    """Say how long a configuration takes for the requests of a log."""
    tell(_times_line(log, logged, what))


def with_log(plan: "Plan", log: RequestLog | None) -> "Plan":
    """Return a plan that says how long its choice takes for the requests of a log."""
    if log is None:
        return plan
    logged = plan.logged
    line = _times_line(log, logged, f"{plan.choice.model} at {plan.choice.visual_tokens} visual tokens")
    over = []
    if logged is not None:
        times = (
            ("latency", logged.latency_tail_s, plan.budget.latency_s),
            ("TTFT", logged.ttft_tail_s, plan.budget.ttft_s),
        )
        over = [
            f"the p95's {name} of {format_seconds(time_s)} exceeds {format_seconds(limit_s)}"
            for name, time_s, limit_s in times
            if limit_s is not None and time_s > limit_s
        ]
        if left := logged.requests - logged.refused - logged.kept:
            over.insert(0, f"{left} of {logged.requests} do not keep the limits of time, by their medians")
    over = [f"{LOGGED} {'; '.join(over)}"] if over else []
    return replace(plan, assumptions=(*plan.assumptions, _log_line(log), line), warnings=(*over, *plan.warnings))


def _rate_per_s(text: str) -> float:
    try:
        rate_per_s = parse_rate(text)
    except InputError as error:
        raise InputError(f"--rate: {error}; or give a file of arrival times") from None
    if not LEAST_RATE_PER_S <= rate_per_s <= MOST_RATE_PER_S:
        raise InputError(f"--rate: found '{text}', expected {LEAST_RATE_PER_S:g}/s to {MOST_RATE_PER_S:,.0f}/s")
    return rate_per_s


def _limits(percentiles: Mapping[str, str]) -> tuple[PercentileLimit, ...]:
    """The limits by name, such as ``p95`` or ``ttft-p99``. Raises InputError."""
    limits = []
    for name, text in percentiles.items():
        match = _PERCENTILE.fullmatch(name)
        if match is None:
            raise InputError(f"percentiles: found '{name[:40]}', expected p50, p95 or p99, or such as ttft-p99")
        try:
            limit_s = parse_seconds(str(text))
        except InputError as error:
            raise InputError(f"--{name.replace('_', '-')}: {error}") from None
        limits.append(PercentileLimit(of=Timed(match[1] or Timed.LATENCY), percent=int(match[2]), limit_s=limit_s))
    return tuple(limits)


def load_asked(words: Mapping[str, Any]) -> LoadAsked | None:
    """Return the load that ``rate``, ``replicas`` and ``percentiles`` say; None without a rate. Raises InputError."""
    rate, replicas, percentiles = words.get("rate"), words.get("replicas"), words.get("percentiles") or {}
    if rate is None:
        for name, value in (("--replicas", replicas), (f"--{next(iter(percentiles), '')}", percentiles or None)):
            if value is not None:
                raise InputError(f"{name}: found it without --rate, which says how many requests come; give both")
        return None
    if replicas is not None and not 1 <= replicas <= MOST_REPLICAS:
        raise InputError(f"--replicas: found {replicas}, expected 1 to {MOST_REPLICAS}")
    workload_alone = words.get("concurrency") or words.get("batch")
    if workload_alone and workload_alone > 1:
        raise InputError("--rate: found --concurrency or --batch beside it; how many are in flight comes of the rate")
    text, limits = str(rate), _limits(percentiles)
    if _STEADY.fullmatch(text) and not Path(text).is_file():
        return LoadAsked(rate_per_s=_rate_per_s(text), replicas=replicas, limits=limits)
    from vlmplan.serving import arrivals_of

    traced = LoadAsked(rate_per_s=LEAST_RATE_PER_S, trace=text, replicas=replicas, limits=limits)
    return replace(traced, rate_per_s=arrivals_of(traced)[0].rate_per_s)


def alone(load: LoadAsked | None, budget: Budget | None) -> Budget | None:
    """Return the budget with what percentiles ask of a request alone, where no plain limit is shorter."""
    if load is None or not load.limits:
        return budget
    times = {f"{of.value}_s": load.least_s(of) for of in Timed}
    stated = {name: getattr(budget, name) if budget else None for name in times}
    least = {
        name: min((value for value in (times[name], stated[name]) if value is not None), default=None) for name in times
    }
    return Budget(**least) if budget is None else replace(budget, **least)


def _service(
    request: "Request", ready: "Machine", load: LoadAsked, level: float, log: "RequestLog | None"
) -> "Service":
    """What a load does to one configuration, of requests as large as those of a log where there is one."""
    from vlmplan.serving import Load, Replicas, arrivals_of, service, sizes_of

    arrivals, in_turn = arrivals_of(load, log)
    sizes = None if log is None else lambda one: sizes_of(log, one, ready)
    whole = Load(asked=load, arrivals=arrivals, sizes=sizes, in_turn=in_turn)
    return service(Replicas(request, ready, ready.hardware.usable_bytes(ready.runtime), whole), request.gpus, level)


def with_service(
    estimate: "Estimate", request: "Request", ready: "Machine", load: LoadAsked | None, log: "RequestLog | None"
) -> "Estimate":
    """Return an estimate with what a load does; one that cannot be run bears none."""
    if load is None or estimate.obstacles:
        return estimate
    return replace(estimate, service=_service(request, ready, load, estimate.interval_level_fraction, log))
