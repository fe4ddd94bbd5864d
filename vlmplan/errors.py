"""What can go wrong that is not a bug, and the exit code each ends with.

A message is one line: what was found, what was expected, what to do. Anything else that escapes is a
bug and keeps its traceback (exit code 1).
"""

from collections.abc import Iterable

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

    def __init__(self, message: str, brief: str | None = None) -> None:
        """``brief`` says the same beside others, where budget and device are known."""
        super().__init__(message)
        self.brief = brief or message


class Outdated(VlmplanError):  # noqa: N818
    """A plan was asked again and does not hold any more."""

    exit_code = 3


class OutOfTolerance(VlmplanError):  # noqa: N818
    """An export was validated and fell short."""

    exit_code = 4


def missing_library(what: str, library: str, extra: str) -> Unavailable:
    """Return the error to raise where ``what`` was asked and the extra that it needs is not installed."""
    return Unavailable(
        f"{what} needs {library}; install it with: pip install 'vlmplan[{extra}]', or '.[{extra}]' in a checkout"
    )


def check_range(name: str, value: float | None, least: float, most: float) -> None:
    """Raise InputError unless ``value`` lies between ``least`` and ``most``; None, an unknown, passes."""
    if value is not None and not least <= value <= most:
        raise InputError(f"{name}: expected {least:g} to {most:g}, found {value:.10g}")


def nearest(name: str, known: Iterable[str], limit: int = 4) -> str:
    """Return ``"a, b, c"``: the known names most like ``name``, for use in a message."""
    import difflib

    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.3)
    return ", ".join(by_folded[folded] for folded in close)


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
