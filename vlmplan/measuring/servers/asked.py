"""What is asked of a server, and what do answers say? Probes alone, again, many at once -> observations, notes.

One request at a time says how fast the machine is. Asked a second time, a prompt or a picture tells of caches. With
many at once a first token waits for the others' prefills, which says nothing of the machine: then the median gap
between tokens is taken, as the time of a step of so many. Counts and seconds are bounded.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vlmplan.cost import request_of
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.inventory import MEDIAN, TAIL, quantile_of
from vlmplan.measuring.observation import Observation, Quantity
from vlmplan.measuring.servers.endpoint import Endpoint, Probe, Reply
from vlmplan.measuring.timing import Samples
from vlmplan.models import ModelSpec, Workload
from vlmplan.units import format_seconds

Tell = Callable[[str, int, int], None]
MOST_AT_ONCE, MOST_LEVELS = 256, 6
ROUNDS = 3  # answers of each in flight that count, at one level; one more before them, one after, while the pool drains
LEVEL_S = 60.0  # after which a level asks no more
_CACHED = 0.75  # of the time to the first token: asked again, less is a cache's

REPEATS = 3
_TEXT_WORDS, _OUTPUT_TOKENS = (24, 160, 700), (1, 32)
_SIZES = ((336, 336), (672, 672), (1024, 768))


def probes(with_images: bool) -> tuple[Probe, ...]:
    """Return what is asked: short to long texts, and pictures of several sizes with a short text."""
    probes = [Probe(words=words, image=None, output_tokens=_OUTPUT_TOKENS[1]) for words in _TEXT_WORDS]
    if with_images:
        probes += [Probe(words=_TEXT_WORDS[0], image=size, output_tokens=_OUTPUT_TOKENS[1]) for size in _SIZES]
    return tuple(probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A probe with the replies to it, the first (a warm-up) left out."""

    probe: Probe
    replies: tuple[Reply, ...]


def interrogate(server: Endpoint, asked: tuple[Probe, ...], tell: Tell) -> list[Answered]:
    """Ask everything ``REPEATS`` times after a warm-up, in turn; one seed a turn.

    Raises Unavailable as :meth:`Endpoint.ask` does.
    """
    replies: dict[Probe, list[Reply]] = {probe: [] for probe in asked}
    seed = time.time_ns() % 2**40  # new prompts every time: a cache that answered would be measured
    total = len(asked) * (REPEATS + 1)
    for number in range(total):
        probe = asked[number % len(asked)]
        tell(f"asking: {probe.name}", number, total)
        reply = server.ask(probe, seed + number // len(asked))
        if number >= len(asked):
            replies[probe].append(reply)
    return [Answered(probe=probe, replies=tuple(of_probe)) for probe, of_probe in replies.items()]


def observations_of(answered: list[Answered], model: ModelSpec, precision: Precision) -> list[Observation]:
    """Return what was seen as requests that can be priced: visual tokens are what a picture added to the prompt.

    Raises InputError where pictures add none.
    """
    plain = [one for one in answered if one.probe.image is None]
    observations: list[Observation] = []
    for one in answered:
        prompt = round(statistics.median(reply.prompt_tokens for reply in one.replies))
        visual = 0
        if one.probe.image is not None:
            bare = next(other for other in plain if other.probe.words == one.probe.words)
            pairs = zip(one.replies, bare.replies, strict=True)
            visual = round(statistics.median(seen.prompt_tokens - read.prompt_tokens for seen, read in pairs))
            if visual < 1:
                raise InputError(f"a picture adds {visual} tokens to the prompt; does the server see pictures?")
        workload = Workload(
            text_tokens=prompt - visual,
            output_tokens=one.replies[0].output_tokens,
            image=one.probe.image or (1024, 768),
        )
        request = request_of(model, workload, visual, precision)
        for quantity, values in (
            (Quantity.TTFT, [reply.ttft_s for reply in one.replies]),
            (Quantity.TPOT, [reply.tpot_s for reply in one.replies if reply.tpot_s is not None]),
        ):
            if values:
                samples = Samples(samples_s=tuple(values))
                observations.append(
                    Observation(
                        request=request,
                        quantity=quantity,
                        measured_s=samples.median_s,
                        noise_log_sd=samples.median_log_sd,
                        group=one.probe.name,
                    )
                )
    return observations


def caches(server: Endpoint, with_images: bool, tell: Tell) -> tuple[str, ...]:
    """Say what a server answers sooner when it is asked again: the same prompt, and the same picture in another."""
    long, seen = (
        Probe(words=_TEXT_WORDS[-1], image=None, output_tokens=1),
        Probe(words=_TEXT_WORDS[0], image=_SIZES[-1], output_tokens=1),
    )
    seed, notes, total = time.time_ns() % 2**40, list[str](), REPEATS * (2 if with_images else 1)
    shares: dict[Probe, list[float]] = {probe: [] for probe in ((long, seen) if with_images else (long,))}
    for number, probe in enumerate(probe for probe in shares for _ in range(REPEATS)):
        tell(f"asking again: {probe.name}", number, total)
        first = server.ask(probe, seed + 2 * number)
        again = server.ask(probe, seed + 2 * number + (probe is seen), seed + 2 * number)
        shares[probe].append(again.ttft_s / first.ttft_s)
    prefix = statistics.median(shares[long])
    if prefix < _CACHED:
        notes.append(f"a prompt asked again has its first token in {prefix:.0%} of the time: prefixes are cached")
    if with_images and (picture := statistics.median(shares[seen])) < _CACHED:
        which = "images are cached" if prefix >= _CACHED else "images are cached, or the prefix that one is part of"
        notes.append(f"a picture sent again has the first token in {picture:.0%} of the time: {which}")
    if notes:
        notes.append("prompts and pictures that were timed were new every time, so that no cache answered")
    return tuple(notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What a server answered with so many requests at once; ``whole`` says whether all were asked in time."""

    at_once: int
    probe: Probe
    replies: tuple[Reply, ...]
    whole: bool


def crowded(server: Endpoint, probe: Probe, levels: Sequence[int], tell: Tell) -> list[Crowd]:
    """Keep so many requests in flight, level by level; the first and the last of each are left out.

    Raises Unavailable as :meth:`Endpoint.ask` does, InputError where a level answers too few within ``LEVEL_S``.
    """
    crowds, seed = [], time.time_ns() % 2**40
    for at, level in enumerate(levels):
        tell(f"{level} at once: {probe.name}", at, len(levels))
        due, total = time.perf_counter() + LEVEL_S, level * (ROUNDS + 2)

        def ask(number: int, due: float = due, first: int = seed + 10_000 * at) -> Reply | None:
            return None if time.perf_counter() > due else server.ask(probe, first + number)

        with ThreadPoolExecutor(level) as pool:
            replies = [one for one in pool.map(ask, range(total)) if one is not None]
        kept = replies[level : len(replies) - level]
        if not kept:
            raise InputError(
                f"--concurrency: {level} at once answered {len(replies)} of {total} requests in {LEVEL_S:g} s, too few "
                "to time; give fewer"
            )
        crowds.append(Crowd(at_once=level, probe=probe, replies=tuple(kept), whole=len(replies) == total))
    return crowds


def crowded_observations(
    crowds: Sequence[Crowd], alone: Sequence[Observation]
) -> tuple[list[Observation], tuple[str, ...]]:
    """Return the times of steps of so many, and what they leave open; ``alone`` prices the same probe by itself."""
    made, notes = [], list[str]()
    for crowd in crowds:
        gaps = tuple(one.gap_s for one in crowd.replies if one.gap_s is not None)
        like = next(one for one in alone if one.group == crowd.probe.name)
        if not gaps:
            notes.append(f"{crowd.at_once} at once: pieces bring several tokens, so that no step can be timed")
            continue
        samples = Samples(samples_s=gaps)
        workload = replace(like.request.workload, concurrency=crowd.at_once)
        made.append(
            Observation(
                request=replace(like.request, workload=workload),
                quantity=Quantity.TPOT,
                measured_s=samples.median_s,
                noise_log_sd=samples.median_log_sd,
                group=f"{crowd.at_once} at once",
            )
        )
        waits = sorted(one.ttft_s for one in crowd.replies)
        half, tail = (format_seconds(quantile_of(waits, share)) for share in (MEDIAN, TAIL))
        notes.append(
            f"{crowd.at_once} at once, {len(crowd.replies)} answers{'' if crowd.whole else ' within the time'}: TTFT "
            f"p50 {half}, p95 {tail}, in which waits for others cannot be told from the prefill; "
            f"{format_seconds(samples.median_s)} a step"
        )
    return made, tuple(notes)
