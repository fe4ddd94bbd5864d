"""Which models does a question leave out before any is priced, and why?

(options, workload, runtime, judge) -> barriers, in the order in which they are met: why those that fail one are left
out, why a single model is, and the options that would let it in.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from fnmatch import fnmatch

from vlmplan.accuracy import Judge
from vlmplan.cost import total_params
from vlmplan.errors import InputError, NoCandidate, nearest
from vlmplan.hardware import SERVING, Runtime
from vlmplan.models import ModelSpec, Workload
from vlmplan.planning.options import Asked
from vlmplan.records import dataclass
from vlmplan.units import format_count

NAMED = "not named by --models"
THOUGHT_TOKENS = 1000  # what a model that thinks first writes at least, in reports of such models
Flags = Mapping[str, str | None]  # a flag and its value; None where it is to be left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """What keeps models out: ``why`` of several, ``of_one`` as the end of "left out because".

    Each of ``lets_in`` may be enough to let a single model in.
    """

    keeps: Callable[[ModelSpec], bool]
    why: str
    of_one: Callable[[ModelSpec], str]
    lets_in: tuple[Flags, ...] = ()


def _is_date(text: str) -> bool:
    """Whether a text is a year, with a month and a day or without."""
    try:
        known = re.fullmatch(r"20[0-9]{2}(-[0-9]{2}){0,2}", text)
        return known is not None and bool(date.fromisoformat(text + "-01" * (2 - text.count("-"))))
    except ValueError:
        return False


def _date(text: str) -> str:
    """A date as catalogue dates are written: a year, with a month and a day or without. Raises InputError."""
    if not _is_date(text):
        parts = re.fullmatch(r"(20[0-9]{2})[/. ]?([01]?[0-9])?(?:[/. ]?([0-3]?[0-9]))?", text.strip())
        meant = "-".join(part.zfill(2) for part in parts.groups() if part) if parts else ""
        hint = f"; did you mean {meant}?" if _is_date(meant) else ""
        raise InputError(f"--released-after: found '{text}', expected a date such as 2025-01-31, 2025-01 or 2025{hint}")
    return text


def _matches(pattern: str) -> Callable[[str | None], bool]:
    folded = pattern.casefold()
    return lambda text: fnmatch((text or "").casefold(), folded)


def check_globs(asked: Asked, models: Sequence[ModelSpec]) -> None:
    """Raise InputError for a glob that nothing there is matches, with what is like it."""
    licences = (model.license for model in models if model.license)
    for option, glob, known in (
        ("--family", asked.family, sorted({model.family for model in models})),
        ("--license", asked.license, sorted(set(licences))),
    ):
        if glob is None or not known or any(map(_matches(glob), known)):
            continue
        begin = f"{glob}*" if any(map(_matches(f"{glob}*"), known)) else None
        close = nearest(glob.strip("*?"), known)
        hint = (
            f"did you mean '{begin}'?" if begin else f"nearest: {close}" if close else f"there are {', '.join(known)}"
        )
        raise NoCandidate(f"{option}: no model's matches '{glob}', which is read as a glob; {hint}")


def _wishes(asked: Asked) -> Iterator[Barrier]:
    """Barriers of the user's own."""
    if asked.family is not None:
        of_family = _matches(asked.family)
        yield Barrier(
            keeps=lambda m: of_family(m.family),
            why=f"not of family '{asked.family}'",
            of_one=lambda m: f"its family is {m.family}, and --family asks for '{asked.family}'",
            lets_in=({"--family": None},),
        )
    if asked.max_params is not None:
        most = asked.max_params
        yield Barrier(
            keeps=lambda m: total_params(m) <= most,
            why=f"of more than {format_count(most)} parameters",
            of_one=lambda m: (
                f"it has {format_count(total_params(m))} parameters, more than --max-params allows "
                f"({format_count(most)})"
            ),
            lets_in=({"--max-params": None},),
        )
    if asked.license is not None:
        under = _matches(asked.license)
        yield Barrier(
            keeps=lambda m: m.license is not None,
            why="whose licence is not sourced",
            of_one=lambda _: f"no source says its licence, and --license asks for '{asked.license}'",
            lets_in=({"--license": None},),
        )
        yield Barrier(
            keeps=lambda m: under(m.license),
            why=f"not under '{asked.license}'",
            of_one=lambda m: f"its licence is {m.license}, and --license asks for '{asked.license}'",
            lets_in=({"--license": None},),
        )


def _recent(asked: Asked) -> Iterator[Barrier]:
    """The user's own barrier of time. Raises InputError for what is no date."""
    if asked.released_after is not None:
        day = _date(asked.released_after)
        yield Barrier(
            keeps=lambda m: m.release_date is not None,
            why="whose release date is not sourced",
            of_one=lambda _: f"no source says when it was released, and --released-after asks for after {day}",
            lets_in=({"--released-after": None},),
        )
        yield Barrier(
            keeps=lambda m: (m.release_date or "")[: len(day)] > day,
            why=f"not released after {day}",
            of_one=lambda m: f"it was released on {m.release_date}, and --released-after asks for after {day}",
            lets_in=({"--released-after": None},),
        )


def _of_models(asked: Asked, workload: Workload, judge: Judge) -> Iterator[Barrier]:
    """Barriers that lie in the models: what cannot answer yet, not in time, or of which nobody knows how well."""
    yield Barrier(
        keeps=lambda m: not m.pretrained,
        why="pretrained only, to be fine-tuned first",
        of_one=lambda _: "it is pretrained only and answers no questions before somebody fine-tunes it",
    )
    yield Barrier(
        keeps=lambda m: not m.thinks or workload.output_tokens >= THOUGHT_TOKENS or asked.model is not None,
        why=f"that think before they answer, with fewer than {THOUGHT_TOKENS} output tokens",
        of_one=lambda _: (
            f"it thinks before it answers, which takes {THOUGHT_TOKENS} output tokens or more, and the "
            f"request has {workload.output_tokens}"
        ),
        lets_in=({"--output-tokens": str(THOUGHT_TOKENS)},),
    )
    yield Barrier(
        keeps=lambda m: judge.takes(m, workload.images),
        why="that read one picture at a time",
        of_one=lambda _: f"it reads one picture at a time, and the request has {workload.images}",
        lets_in=({"--images": "1"},),
    )
    yield Barrier(
        keeps=judge.knows,
        why="without a published score on most of the task",
        of_one=lambda _: "no score of it on most of the task was published, so that nobody can say how often it errs",
    )


def _of_runtimes(asked: Asked, runtime: Runtime) -> Iterator[Barrier]:
    """Barriers that lie in the runtime."""
    known = (one for one, serving in SERVING.items() if serving.engine or serving.libraries)
    others: tuple[Flags, ...] = tuple({"--runtime": str(one)} for one in known if one is not runtime)
    if not asked.paper and SERVING[runtime].exported:
        yield Barrier(
            keeps=lambda m: m.exportable,
            why=f"that vlmplan cannot export for {runtime}",
            of_one=lambda _: f"vlmplan cannot export it for {runtime}",
            lets_in=others,
        )
    if not asked.paper and (engine := SERVING[runtime].engine) is not None:
        yield Barrier(
            keeps=lambda m: engine in m.serving,
            why=f"not known to be served by {runtime}",
            of_one=lambda _: f"{runtime} is not known to serve it",
            lets_in=others,
        )


def barriers(
    asked: Asked, patterns: Sequence[str], workload: Workload, runtime: Runtime, judge: Judge
) -> tuple[Barrier, ...]:
    """Return what keeps models out, in order; ``patterns`` are the globs that --models means. Raises InputError."""
    named = Barrier(
        keeps=lambda m: any(fnmatch(m.name.casefold(), f"*{one}*") for one in patterns),
        why=NAMED,
        of_one=lambda _: f"--models asks for '{asked.models}', which does not match it",
        lets_in=({"--models": None},),
    )
    return (named, *_wishes(asked), *_recent(asked), *_of_models(asked, workload, judge), *_of_runtimes(asked, runtime))
