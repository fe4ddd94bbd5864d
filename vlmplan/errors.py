"""What can go wrong that is not a bug, and the exit code each ends with.

A message is one line: what was found, what was expected, what to do. Anything else that escapes is a
bug and keeps its traceback (exit code 1).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vlmplan import inert


class VlmplanError(Exception):
    """The root of the errors a user can mend; ``exit_code`` is what the process ends with."""

    exit_code = 2


class InputError(VlmplanError):
    """Something given cannot be used: a value, a file, a combination."""


class NoCandidate(InputError):  # noqa: N818
    """What was asked leaves no candidate to choose from."""


class Unavailable(VlmplanError):  # noqa: N818 - reads as a state, as httpx names its own
    """Something needed is not here: an extra, a device, a provider."""


class Assumed(UserWarning):
    """Something was not said and is assumed: a warning of Python's in the API, a line on stderr in the command line."""


class Infeasible(VlmplanError):  # noqa: N818
    """No candidate meets the budget."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        brief: str | None = None,
        ways: Callable[[], Sequence[Any]] = tuple,
        times: float | None = None,
        nearest: Any = None,
    ) -> None:
        """``brief`` says the same beside others, where budget and device are known; ``ways`` finds ``changes``.

        ``times`` is the factor by which all limits of time have to grow; None where that is not enough. ``nearest`` is
        the candidate that misses the limits by the least.
        """
        super().__init__(message)
        self.brief, self.times, self.nearest = brief or message, times, nearest
        self._ways = ways

    @property
    def changes(self) -> Sequence[Any]:
        """What would be enough, one change of each kind: ``options`` to give, ``what`` it is, what it ``brings``."""
        return self._ways()


class Outdated(VlmplanError):  # noqa: N818
    """A plan was asked again and does not hold any more."""

    exit_code = 3


class Unsettled(VlmplanError):  # noqa: N818
    """A study spent its budget and its choice is less sure than was wished."""

    exit_code = 3


class OutOfTolerance(VlmplanError):  # noqa: N818
    """An export was validated, or answers were held against those before, and fell short."""

    exit_code = 4


def missing_library(what: str, library: str, extra: str) -> Unavailable:
    """Return the error to raise where ``what`` was asked and the extra that it needs is not installed."""
    return Unavailable(
        f"{what} needs {library}; install it with: pip install 'vlmplan[{extra}]', or '.[{extra}]' in a checkout"
    )


def unexpected(where: str, expected: str, found: object, most: int = 40) -> InputError:
    """Return the error to raise of a value in a file: where it stands, what should, and ``most`` characters of it."""
    return InputError(f"{where}: expected {expected}, found {found!r:.{most}}")


def mistyped(option: str, found: str, expected: str, most: int = 40) -> InputError:
    """Return the error to raise of a word that somebody gave for an option, of which ``most`` characters are shown."""
    return InputError(f"{option}: found '{found[:most]}', expected {expected}")


def check_range(name: str, value: float | None, least: float, most: float) -> None:
    """Raise InputError unless ``value`` lies between ``least`` and ``most``; None, an unknown, passes."""
    if value is not None and not least <= value <= most:
        raise InputError(f"{name}: expected {least:g} to {most:g}, found {value:.10g}")


def bare(name: str) -> str:
    """Return the letters and digits of a name, in small letters: ``Qwen3-VL`` and ``qwen3vl`` are one."""
    return "".join(filter(str.isalnum, name.casefold()))


_SHORT = 2  # characters: of so few, half are enough
_LIKE, _SHORT_LIKE, _PART_LIKE = 0.6, 0.5, 0.75  # of two names' characters, those in both in order; of a part's


def nearest(name: str, known: Iterable[str], limit: int = 4) -> str:
    """Return ``"a, b, c"``: the known names most like ``name``, for use in a message; none that merely share letters.

    Those that hold it come first, then those like it as a whole, or in a part that begins with a word.
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    ranked = ((_rank(name.casefold(), one), one) for one in by_folded)
    close = sorted(((rank, one) for rank, one in ranked if rank is not None), key=lambda pair: pair[0], reverse=True)
    return ", ".join(by_folded[one] for _, one in close[:limit])


def _rank(name: str, other: str) -> tuple[float, float] | None:
    """How like two names in small letters are, by their best part and as wholes; None where they are not."""
    import difflib

    def likeness(part: str) -> float:
        matcher.set_seq1(part)
        return matcher.ratio()

    matcher = difflib.SequenceMatcher(b=name)
    whole = likeness(other)
    if len(name) > _SHORT and bare(name) and bare(name) in bare(other):
        return 1.0, whole
    parts = (other[word.start() :][: len(name)] for word in re.finditer(r"[a-z0-9.]+", other))
    part = max(map(likeness, parts), default=0.0)
    alike = whole >= (_LIKE if len(name) > _SHORT else _SHORT_LIKE) or (len(name) > _SHORT and part >= _PART_LIKE)
    return (max(whole, 0.9 * part), whole) if alike else None


# What people call a choice, and the choice; a word is meant where the choice is one of those there are. Choices that
# say so themselves, by an attribute ``called`` of words, are not here.
_CALLED = {
    "cheapest": "cost", "cheap": "cost", "price": "cost", "money": "cost", "fastest": "latency", "speed": "latency",
    "time": "latency", "smallest": "size", "small": "size", "params": "size", "parameters": "size", "ram": "memory",
    "vram": "memory", "best": "error", "accuracy": "error", "quality": "error", "fast": "speed", "accurate": "accuracy",
    "awq": "int4", "gptq": "int4", "w4a16": "int4", "4bit": "int4", "4-bit": "int4", "q4": "int4", "fp4": "int4",
    "w8a16": "int8", "8bit": "int8", "8-bit": "int8", "q8": "int8", "w8a8": "int8-w8a8", "half": "fp16",
    "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float": "fp32", "e4m3": "fp8", "float8": "fp8",
    "gpu": "cuda", "devices": "hardware", "gpus": "hardware", "tasks": "laws", "avgpool": "average-pool",
    "pool": "average-pool", "pooling": "average-pool",
}  # fmt: skip


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the choice that a word is another name of, or nearest to; None where it is like none."""
    import difflib

    by_folded = {choice.casefold(): choice for choice in known}
    folded = word.strip().casefold()
    own = {word: choice for choice in by_folded.values() for word in getattr(choice, "called", ())}
    if (called := _CALLED.get(folded, own.get(folded))) in by_folded:
        return by_folded[str(called)]
    close = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.5)
    begins = [choice for choice in by_folded if len(folded) > 1 and choice.startswith(folded)]
    return by_folded[(begins or close)[0]] if begins or close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the end of a message, or nothing."""
    found = meant(word, known)
    return f"; did you mean {found}?" if found else ""


def printable(text: str) -> str:
    """Return ``text`` with escapes for what no terminal or document should be sent: control characters, half ones."""
    return inert.seen(text)


def check_name(key: str, text: str, most: int = 200) -> None:
    """Raise InputError unless ``text`` is a line of 1 to ``most`` characters that a terminal can be sent."""
    if not text.strip() or len(text) > most or printable(text) != text:
        raise InputError(f"{key}: expected 1 to {most} printable characters, found '{printable(text[:40])}'")


def one_line(error: BaseException, most: int = 200) -> str:
    """Return what another library's error says, in one line of at most ``most`` characters."""
    return " ".join(str(error).split())[:most]
