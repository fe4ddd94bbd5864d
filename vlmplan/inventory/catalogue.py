"""Where are the shipped profiles, and which one does a name mean?

A name or a path -> a document. An exact name wins, then the one name that contains the part given (of devices: whole
words, or what their drivers report); several are listed, none brings the nearest names. A device's short name that
leaves variants (``a100``) means the usual one, which is said. A path is accepted wherever a name is.
"""

import enum
import functools
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from vlmplan.accuracy import TASKS, Evidence, OwnScores
from vlmplan.document import Document, load
from vlmplan.errors import Assumed, InputError, Unavailable, bare, nearest
from vlmplan.hardware import Calibration, HardwareProfile, ReportedNames, meant, near, without_memory
from vlmplan.inventory import compiled
from vlmplan.models import ModelSpec
from vlmplan.records import dataclass

if TYPE_CHECKING:
    from vlmplan.accuracy import ScalingLaw
    from vlmplan.inventory.workloads import NamedWorkload

D = TypeVar("D", bound=Document)
_SIZE_TOLERANCE = 0.1  # between the size in a name, GB or GiB, and what a program finds
_SCORES = "scores"  # the folder of what was published of single checkpoints
_DEVICES, _EVIDENCE, _TYPICAL = "device_names.toml", "evidence.toml", "typical.toml"
_MOST_NAMED = 8  # of the names that an ambiguous one may mean
_SLICE = re.compile(r"\bMIG\b|\b[1-7]g\.[0-9]+gb\b", re.IGNORECASE)  # as nvidia-smi and Kubernetes name them
_SIZE_APART = 0.03  # a size says which of two, where it fits one so much better


class Shelf(enum.StrEnum):
    """What is shipped: profiles by their folder, and the tasks that the evidence judges."""

    HARDWARE = "hardware"
    MODELS = "models"
    LAWS = "laws"
    WORKLOADS = "workloads"
    TASKS = "tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalCalibrations(Document):
    """What a device is priced with that nobody calibrated for the runtime asked."""

    SCHEMA: ClassVar[str] = "vlmplan.typical/1"

    calibration: tuple[Calibration, ...]


@functools.cache
def profiles_folder() -> Path:
    """Return the folder of shipped profiles: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "profiles", package.parent / "profiles"):
        if folder.is_dir():
            return folder
    raise InputError(f"no profiles folder in {package} or beside it; reinstall vlmplan")


def _kept_as(shelf: str, name: str) -> str:
    """Where a shipped document is kept, beneath the folder of profiles."""
    return f"{shelf}/{name.replace('/', '--')}.toml"


def _document(kind: type[D], path: Path) -> D:
    """The document in a file, by the compiled catalogue where it is a shipped one. Raises InputError."""
    folder = profiles_folder()
    if path.is_relative_to(folder):
        return compiled.shipped(kind, folder, path.relative_to(folder).as_posix())
    return load(kind, path)


@functools.cache
def names(shelf: Shelf) -> tuple[str, ...]:
    """Return the shipped names, sorted; a model's file ``ORG--NAME.toml`` is named ``ORG/NAME``."""
    if shelf is Shelf.TASKS:
        return tuple(TASKS)
    files = os.listdir(profiles_folder() / shelf)  # noqa: PTH208 - half a millisecond less than a glob
    return tuple(sorted(file[:-5].replace("--", "/") for file in files if file.endswith(".toml")))


def _meant(shelf: Shelf, name: str) -> tuple[str, ...]:
    """The shipped names that ``name`` may mean: the one it is, else those it is a part of."""
    known, folded = names(shelf), name.casefold()
    exact = tuple(candidate for candidate in known if candidate.casefold() == folded)
    if exact:
        return exact
    if shelf is Shelf.HARDWARE:
        return devices_named(name)
    matching = tuple(candidate for candidate in known if folded and folded in candidate.casefold())
    if shelf is Shelf.WORKLOADS and not matching:
        return tuple(one for one in known if folded in workload(one).also)
    return matching or tuple(candidate for candidate in known if bare(name) and bare(name) in bare(candidate))


@functools.cache
def _reported() -> ReportedNames:
    return compiled.shipped(ReportedNames, profiles_folder(), _DEVICES)


def devices_named(name: str) -> tuple[str, ...]:
    """Return the devices that a name may mean; a size that is in none of their names must be that of their memory."""
    known, reported = names(Shelf.HARDWARE), _reported().names
    if named := meant(name, known, reported):
        return named
    rest, size_gb = without_memory(name)
    if not rest or size_gb is None:
        return ()
    rested = {one: listed(one) for one in meant(rest, known, reported)}
    off = {one: _off(profile.memory_bytes or 0, size_gb) for one, profile in rested.items()}
    least = min(off.values(), default=0.0)
    near_it = tuple(one for one, share in off.items() if share < _SIZE_TOLERANCE and share - least < _SIZE_APART)
    return near_it or tuple(one for one, profile in rested.items() if _owners(profile, size_gb))


def reported_as(name: str) -> tuple[str, ...]:
    """Return what drivers report for a shipped device and for no other; nothing of one that is not shipped."""
    return tuple(alias for alias, devices in _reported().names.items() if devices == (name,))


def usual(variants: Iterable[str]) -> tuple[str, str] | None:
    """Return the variant that is meant where several of a family may be, and why; None where they are of no one."""
    return _reported().taken(variants)


def _off(memory_bytes: float, size_gb: int) -> float:
    """How far a size in a name, in GB or GiB, is from a memory, as a share."""
    return min(abs(memory_bytes / (size_gb * unit) - 1) for unit in (1e9, 2.0**30))


def resolve(shelf: Shelf, name: str) -> Path:
    """Return the file that ``name`` means. Raises InputError for an unknown or ambiguous name.

    A device's name that leaves variants of one family means the usual one; then a warning, :class:`Assumed`.
    """
    candidates, known, what = _meant(shelf, name), names(shelf), shelf.removesuffix("s")
    if len(candidates) > 1 and shelf is Shelf.HARDWARE and (taken := usual(candidates)):
        others = ", ".join(one for one in candidates if one != taken[0])
        warnings.warn(f"'{name}' is taken for {taken[0]}, {taken[1]}; it could be {others}", Assumed, stacklevel=1)
        candidates = taken[:1]
    if len(candidates) > 1:
        more = f" and {len(candidates) - _MOST_NAMED} more" if len(candidates) > _MOST_NAMED else ""
        raise InputError(f"{what} '{name}' is ambiguous; it could be {', '.join(candidates[:_MOST_NAMED])}{more}")
    if not candidates:
        if shelf is Shelf.HARDWARE and _SLICE.search(name):
            raise InputError(
                f"'{name}' is a slice of a GPU, of which no profile is shipped; leave --hardware out where it "
                "is, or give the profile that 'vlmplan profile' makes there"
            )
        if shelf is Shelf.HARDWARE:
            close, others = near(name, known), " is in the catalogue"
            own = ", and 'vlmplan profile' on the device makes one of it"
        else:
            short = [candidate.rpartition("/")[2] for candidate in known]
            close, others, own = nearest(name.rpartition("/")[2], short), "", ""
        hint = f"; nearest: {close}" if close else ""
        raise InputError(f"no {what} named '{name}'{others}{hint}; 'vlmplan catalogue {shelf}' lists all{own}")
    return profiles_folder() / _kept_as(shelf, candidates[0])


def is_path(text: str) -> bool:
    """Whether ``text`` looks like a file or folder, not like a name."""
    return text.endswith((".toml", ".json")) or text.startswith((".", "/", "~"))


def find(shelf: Shelf, given: str | Path) -> Path:
    """Return the file that a name or a path means.

    A ``Path`` that exists is one, and what looks like a path; then an exact name or a part of one; then whatever else
    exists. Raises InputError for an unknown or ambiguous name.
    """
    # os.path rather than Path: an impossible path is then one that does not exist, not an exception
    if isinstance(given, Path) and os.path.exists(given):  # noqa: PTH110
        return given
    text = str(given)
    if is_path(text) or (os.path.exists(text) and not _meant(shelf, text)):  # noqa: PTH110
        return Path(os.path.expanduser(text))  # noqa: PTH111
    return resolve(shelf, text)


def asked_as(shelf: Shelf, given: "str | HardwareProfile | ModelSpec") -> str:
    """Return the name to ask for ``given`` by again: a shipped document's own, another's as of a file not at hand."""
    if isinstance(given, str):
        return given
    shipped = given.name in names(shelf) and given == (hardware if shelf is Shelf.HARDWARE else model)(given.name)
    return given.name if shipped else f"./{given.name}.toml"


def listed(name: str | Path) -> HardwareProfile:
    """Return a device by name or path, as its file has it. Raises InputError."""
    return _document(HardwareProfile, find(Shelf.HARDWARE, name))


def hardware(name: str) -> HardwareProfile:
    """Return a device by name or path, with the memory that the name says: ``apple-m4-max-64gb``.

    Raises InputError.
    """
    profile, size = listed(name), _bought(name)
    if size is None:
        return profile
    return replace(profile, name=f"{profile.name}-{size}gb", memory_bytes=size * 2**30, memory_is_most=None)


def _taken(name: str) -> None:
    """Raise InputError for a name that is no device's; warn, :class:`Assumed`, of a memory that is the most sold."""
    profile = listed(name)
    if profile.memory_is_most and profile.memory_bytes and not is_path(name) and without_memory(name)[1] is None:
        most = round(profile.memory_bytes / 2**30)
        own = f"--hardware {profile.name}-{most // 2}gb"
        warnings.warn(
            f"{profile.name} is taken with {most} GiB, the most that is sold; for less: {own}", Assumed, stacklevel=1
        )


def _bought(name: str) -> int | None:
    """The size in a device's name that is its owner's choice; None of a path, and where the device has one size."""
    size = None if is_path(name) else without_memory(name)[1]
    return size if size is not None and _owners(listed(name), size) else None


def _owners(profile: HardwareProfile, size_gb: int) -> bool:
    """Whether a size is one that an owner may have bought less of than the most that is sold."""
    return bool(profile.memory_is_most and 4 <= size_gb < (profile.memory_bytes or 0) / 2**30)


def devices(text: str | None, model: str | None) -> list[str]:
    """Return the devices meant: one name, a comma list, globs of names, or all; of one model, all unless told.

    A device that is meant twice, by name and by path, stands once. Raises InputError for a name that is none.
    """
    if text is None:
        if model is None:
            raise InputError("--hardware: found none; expected a device, a comma list, 'all', or --model and no device")
        text = "all"
    known = names(Shelf.HARDWARE)
    wanted: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        if item == "all":
            wanted += known
        elif "*" in item or "?" in item:
            matching = [name for name in known if fnmatch(name, item.casefold())]
            if not matching:
                close = near(item.replace("*", "").replace("?", ""), known)
                hint = f"nearest: {close}; " if close else ""
                raise InputError(
                    f"--hardware: no device matches '{item}'; {hint}'vlmplan catalogue hardware' lists all"
                )
            wanted += matching
        else:
            _taken(item)  # a wrong name is an error, not a device that meets no budget
            wanted.append(item)
    by_path = {(find(Shelf.HARDWARE, item).resolve(), _bought(item)): item for item in reversed(wanted)}
    return sorted(by_path.values(), key=wanted.index)


def model(name: str | Path) -> ModelSpec:
    """Return a model by hub id, part of one, profile, ``config.json`` or checkpoint directory. Raises InputError.

    A hub id that is not shipped is read from the Hub, or from its cache: the few files that say what it is.
    """
    try:
        path = find(Shelf.MODELS, name)
    except InputError as unknown:
        return _hub_model(str(name), unknown)
    if path.suffix == ".toml":
        return _document(ModelSpec, path)
    from vlmplan.cost import read_model_config

    return read_model_config(path)


def _hub_model(name: str, unknown: InputError) -> ModelSpec:
    """The model of a hub id. Raises ``unknown``, with why it could not be read, where ``name`` is none."""
    from vlmplan.cost import read_model_config
    from vlmplan.models import CONFIGS, downloaded, is_hub_id

    if not is_hub_id(name) or _meant(Shelf.MODELS, name):
        raise unknown
    try:
        folder = downloaded(name, CONFIGS)
    except Unavailable as error:
        raise InputError(f"{unknown}; nor is it read from the Hub: {error}") from None
    if not (folder / "config.json").is_file():
        raise InputError(f"{unknown}; on the Hub it has no config.json")
    return replace(read_model_config(folder), name=name)


held = compiled.held


def models() -> tuple[ModelSpec, ...]:
    """Return every shipped model, by name."""
    folder = profiles_folder()
    return tuple(
        compiled.shipped(ModelSpec, folder, one)
        for one in sorted(_kept_as(Shelf.MODELS, name) for name in names(Shelf.MODELS))
    )


def law(name: str | Path) -> "ScalingLaw":
    """Return a scaling law by name or path. Raises InputError."""
    from vlmplan.accuracy import ScalingLaw

    return _document(ScalingLaw, find(Shelf.LAWS, name))


def workload(name: str | Path) -> "NamedWorkload":
    """Return a workload by name or path. Raises InputError."""
    from vlmplan.inventory.workloads import NamedWorkload

    return _document(NamedWorkload, find(Shelf.WORKLOADS, name))


def evidence() -> Evidence:
    """Return the estimators fitted on published scores, the task table and the precision offsets."""
    return compiled.shipped(Evidence, profiles_folder(), _EVIDENCE)


def evidence_digest() -> str:
    """Return the digest of ``evidence()``, which takes longer to work out than to read."""
    return compiled.digest_shipped(Evidence, profiles_folder(), _EVIDENCE)


def own_scores(name: str) -> OwnScores | None:
    """Return what was published of a shipped checkpoint, None where nothing was."""
    folder, kept = profiles_folder(), _kept_as(_SCORES, name)
    return compiled.shipped(OwnScores, folder, kept) if (folder / kept).is_file() else None


def typical() -> tuple[Calibration, ...]:
    """Return the calibrations for devices nobody measured."""
    return compiled.shipped(TypicalCalibrations, profiles_folder(), _TYPICAL).calibration


def compile_profiles(folder: Path | None = None) -> Path:
    """Write all profiles of a folder [the shipped ones] into the one file that is read instead, and return it.

    Raises InputError for a profile that is none, or a folder that cannot be written.
    """
    from vlmplan.accuracy import ScalingLaw
    from vlmplan.inventory.workloads import NamedWorkload

    folder = folder or profiles_folder()
    shelves: dict[str, type[Document]] = {
        Shelf.HARDWARE: HardwareProfile, Shelf.MODELS: ModelSpec, Shelf.LAWS: ScalingLaw, _SCORES: OwnScores,
        Shelf.WORKLOADS: NamedWorkload,
    }  # fmt: skip
    kinds: dict[str, type[Document]] = {_DEVICES: ReportedNames, _EVIDENCE: Evidence, _TYPICAL: TypicalCalibrations}
    for shelf, kind in shelves.items():
        kinds |= {path.relative_to(folder).as_posix(): kind for path in (folder / shelf).glob("*.toml")}
    return compiled.write(folder, kinds)
