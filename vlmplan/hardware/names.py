"""Which device does a name mean? What people type, and what drivers report, against the names of the catalogue.

(a name, the catalogue's names, the names that drivers report) -> the devices meant. Words are compared whole: ``H20``
is no part of ``h200-sxm``, and an RTX 4070 Ti is neither an RTX 4070 nor an RTX 4070 Ti SUPER.
"""

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import nearest
from vlmplan.records import dataclass

# Words that do not tell devices apart: vendors, a product line that drivers prefix, what kind of thing it is.
_IDLE = frozenset({"nvidia", "tesla", "amd", "intel", "gpu", "graphics"}) | frozenset(
    {"tensor", "core", "developer", "kit", "engineering", "reference"}  # of data sheets; of a Jetson's device tree
)
# Words that make another device of the one named before them: an M4 is no M4 Max.
_VARIANTS = frozenset({"ti", "super", "pro", "max", "ultra"})
_MARKS = re.compile(r"\((?:r|tm|c)\)|[®™]", re.IGNORECASE)
_SOCKET = re.compile(r"sxm[0-9]")
_SIZE = re.compile(r"[0-9]{1,4}gi?b")
_MEMORY = re.compile(r"[0-9]{1,4}gi?b|hbm[0-9]?e?|gddr[0-9]x?")
_NEAR = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """Devices of one family, each with why one takes it for the family: the first among those that a name may mean."""

    family: str
    devices: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedNames(Document):
    """The names that drivers and tools report for devices, each with the catalogue's devices that it may be.

    ``usual`` says which variant is meant by a name that leaves several.
    """

    SCHEMA: ClassVar[str] = "vlmplan.device_names/1"

    names: Mapping[str, tuple[str, ...]]
    usual: tuple[Variants, ...] = ()

    def taken(self, variants: Iterable[str]) -> tuple[str, str] | None:
        """Return the variant to take among those found, and why; None where they are of no one family."""
        several = set(variants)
        for family in self.usual:
            if several and several <= set(family.devices):
                return next((name, why) for name, why in family.devices.items() if name in several)
        return None


def _words(text: str) -> tuple[str, ...]:
    """The words of a name that tell devices apart: ``NVIDIA A100-SXM4-80GB`` -> a100, sxm, 80gb."""
    plain = re.findall(r"[a-z0-9]+", _MARKS.sub(" ", text).casefold())
    words = ["sxm" if _SOCKET.fullmatch(word) else word for word in plain]
    return tuple(word for word in words if word not in _IDLE) or tuple(words)


def _rest(asked: str, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words after a run of whole words that reads ``asked`` when joined; None where there is no such run."""
    for first in range(len(words)):
        for end in range(first + 1, len(words) + 1):
            if "".join(words[first:end]) == asked:
                return words[end:]
    return None


def _numbered(text: str) -> bool:
    return any(map(str.isdigit, text))


def meant(name: str, known: Iterable[str], reported: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the devices among ``known`` that ``name`` may mean: none, one, or several that it does not tell apart.

    What a driver reports comes first; then names that hold the words in this order, then those that hold all of them.
    """
    words = _words(name)
    asked = "".join(words)
    if not asked:
        return ()
    for alias, devices in reported.items():
        if "".join(_words(alias)) == asked:
            return devices
    split = {candidate: _words(candidate) for candidate in known}
    runs = {
        candidate: rest
        for candidate, parts in split.items()
        if (rest := _rest(asked, parts)) is not None and not (_numbered(asked) and _VARIANTS & set(rest[:1]))
    }
    whole = tuple(candidate for candidate, rest in runs.items() if not rest)
    if len(whole) == 1:
        return whole
    return tuple(runs) or tuple(
        candidate
        for candidate, parts in split.items()
        if set(words) <= set(parts) and not (set(parts) & _VARIANTS) - set(words)
    )


def without_memory(name: str) -> tuple[str, int | None]:
    """Return a name without words about memory, and the size among them in GB: ``H100 SXM 80GB`` -> H100 SXM, 80."""
    words = _words(name)
    kept = [word for word in words if not _MEMORY.fullmatch(word)]
    sizes = [int(word.rstrip("gib")) for word in words if _SIZE.fullmatch(word)]
    return " ".join(kept), sizes[0] if len(sizes) == 1 else None


def near(name: str, known: Iterable[str]) -> str:
    """Return the devices whose names, or words of them, are most like ``name``, for use in a message."""
    asked, listed = set(_words(name)), list(known)
    alike = sorted(
        (candidate for candidate in listed if any(len(word) > 1 and _like(word, asked) for word in _words(candidate))),
        key=lambda candidate: -len(asked & set(_words(candidate))),
    )
    spelt = nearest("-".join(_words(name)), listed).split(", ") if len(alike) < 2 else []
    return ", ".join(dict.fromkeys([*alike, *filter(None, spelt)][:_NEAR]))


def _like(word: str, asked: set[str]) -> bool:
    """Whether a word with a number, that is no size, is one of those asked, or one of the two begins the other."""
    return (
        _numbered(word)
        and not _SIZE.fullmatch(word)
        and any(_numbered(one) and len(one) > 1 and (word.startswith(one) or one.startswith(word)) for one in asked)
    )
