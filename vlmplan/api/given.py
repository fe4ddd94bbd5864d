"""What is given? The command line's words, or documents in their place: one rule for every function of the API.

A name is a shipped name, a part of one or a path; where it stands, the document itself may stand. A quantity is text
with a unit (``"300ms"``, ``"20GiB"``), a size of an image ``"1024x768"``, a list has commas. A path is text or a
``Path``. What cannot be is an InputError in the words of the command line: ``--text-tokens`` is ``text_tokens`` here.
"""

import enum
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from vlmplan.document import Document, load
from vlmplan.errors import Assumed, InputError, did_you_mean, mistyped
from vlmplan.hardware import HardwareProfile
from vlmplan.inventory import catalogue
from vlmplan.models import ModelSpec
from vlmplan.planning import CONFIDENCE

File = str | Path
T = TypeVar("T")
D = TypeVar("D", bound=Document)
E = TypeVar("E", bound=enum.StrEnum)


class Words(TypedDict, total=False):
    """A workload in words; None is left to what else describes it, or to the usual case."""

    text_tokens: int | None
    output_tokens: int | None
    image: str | None
    images: int | None
    batch: int | None
    concurrency: int | None
    cached_text_tokens: int | None
    cached_images: bool | None
    text_height: str | None


class LoadWords(TypedDict, total=False):
    """A load in words; without a rate there is none."""

    rate: str | None
    replicas: int | None
    percentiles: Mapping[str, str] | None


def quantity(parse: Callable[[str], float], given: str | None) -> float | None:
    """Return a quantity in its own unit; None where nothing was given. A bare number is refused as its text is."""
    return None if given is None else parse(str(given))


def named(given: Path | T) -> str | T:
    """Return a path as the text that names have, anything else as it is."""
    return str(given) if isinstance(given, Path) else given


def completed(asked: Mapping[str, Any], kind: type, function: Any) -> dict[str, Any]:
    """Return words of a ``kind`` with what ``function`` takes for those left out, so that defaults are written once.

    Raises TypeError for a word that is none, as Python does.
    """
    usual = {name: value for name, value in function.__kwdefaults__.items() if name in kind.__annotations__}
    if unknown := set(asked) - set(usual):
        raise TypeError(f"unexpected keyword argument '{min(unknown)}'; expected one of {function.__name__}'s")
    return usual | dict(asked)


def tell(line: str) -> None:
    """Say what was set or assumed, as a warning that the command line prints as a note."""
    warnings.warn(line, Assumed, stacklevel=4)


def this_machine() -> HardwareProfile:
    """Return the machine that this runs on, and say what was assumed of it."""
    from vlmplan.inventory import here

    machine = here()
    for line in (*machine.assumed, *machine.warnings):
        tell(f"this machine: {line}")
    return machine.hardware


def device(given: File | HardwareProfile | None) -> HardwareProfile:
    """Return the device of a name or a path, or the profile itself; this machine where nothing was given."""
    if given is None:
        return this_machine()
    return catalogue.hardware(str(given)) if isinstance(given, str | Path) else given


def spec(given: File | ModelSpec) -> ModelSpec:
    """Return the model of a hub id, a part of one or a path, or the specification itself."""
    return catalogue.model(str(given)) if isinstance(given, str | Path) else given


def document(kind: type[D], given: File | D | None) -> D | None:
    """Return the document in a file, or the one given; None where nothing was."""
    return load(kind, Path(given)) if isinstance(given, str | Path) else given


def file(given: File | None) -> Path | None:
    """Return a path; None where nothing was given."""
    return None if given is None else Path(given)


def one_of(kind: type[E], given: str | None, option: str) -> E | None:
    """Return the member that a word names; None where nothing was given."""
    if given is None or isinstance(given, kind):
        return given
    if given not in list(kind):
        raise mistyped(option, given, f"one of {', '.join(kind)}{did_you_mean(given[:40], kind)}")
    return kind(given)


def must_be_one_of(kind: type[E], given: str, option: str) -> E:
    """Return the member that a word names."""
    member = one_of(kind, given, option)
    if member is None:
        raise InputError(f"{option}: found none, expected one of {', '.join(kind)}")
    return member


def within(option: str, value: int | None, least: int, most: int) -> None:
    """Raise InputError for a number that no command would take; None, which leaves it open, passes."""
    if value is not None and not least <= value <= most:
        raise InputError(f"{option}: found {value}, expected {least} to {most}")


def check_confidence(level: float) -> None:
    """Raise InputError for a level that no interval should have."""
    low, high = CONFIDENCE
    if not low <= level <= high:
        hint = f"; did you mean {level / 100:g}?" if low <= level / 100 <= high else ""
        raise InputError(f"--confidence: found {level:g}, expected {low:g} to {high:g}{hint}")
