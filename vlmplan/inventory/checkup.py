"""Can everything run here? What is installed and found, what each command lacks, and the one line that mends it.

surroundings and packages -> :class:`Checkup`. A part is good, missing (nobody needs all extras), or wrong: installed
and not usable as it is. Only what is wrong makes ``vlmplan doctor`` fail.
"""

import enum
import platform
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vlmplan import __version__
from vlmplan.document import Document
from vlmplan.errors import VlmplanError
from vlmplan.hardware import (
    LEAST_GPU_RUNTIME,
    PROBE_TIMEOUT_S,
    RUNTIMES,
    Folder,
    FoundMachine,
    Package,
    Surroundings,
    driver_cuda,
    extras,
    folder,
    hub_cache,
    machine_here,
    numbers,
    providers,
    torch_cuda,
    version_of,
    versions_of,
    within,
)
from vlmplan.inventory.own_profiles import data_folder, own_profiles
from vlmplan.inventory.this_machine import here
from vlmplan.units import format_bytes

_LOW_DISK_BYTES = 10 * 2**30  # a checkpoint of 7B parameters takes 15 GB, an export as much again
_LOW_SCRATCH_BYTES = 2 * 2**30
# What a command needs beside the core: one of these extras whole.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "recommend": (),
    "estimate": (),
    "tokens": (),
    "catalogue": (),
    "fit": (),
    "doctor": (),
    "handover": (),
    "page": ("page",),
    "explore": ("page",),
    "profile": ("deploy", "deploy-gpu"),
    "export": ("deploy", "deploy-gpu"),
    "validate": ("deploy", "deploy-gpu"),
    "run": ("deploy", "deploy-gpu"),
    "demo": ("deploy", "deploy-gpu"),
    "evaluate": ("deploy", "deploy-gpu"),
    "study": ("evaluate", "deploy", "deploy-gpu"),
    "synthetic": ("deploy", "deploy-gpu"),
    "train": ("train",),
    "sweep": ("train",),
}


class State(enum.StrEnum):
    """How a part is."""

    GOOD = "good"
    MISSING = "missing"
    LOW = "low"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, and the line that mends it where one does."""

    name: str
    state: State
    detail: str
    mend: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is installed, as ``examine`` reads it here; a test gives its own."""

    extras: Mapping[str, tuple[Package, ...]]
    runtimes: Mapping[str, str]
    providers: tuple[str, ...]
    torch: str | None = None
    torch_cuda: str | None = None
    driver_cuda: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup(Document):
    """All that ``vlmplan doctor`` found. ``plans_for`` is the profile that this machine is planned with."""

    SCHEMA: ClassVar[str] = "vlmplan.doctor/1"

    version: str
    python: str
    platform: str
    machine: FoundMachine
    plans_for: str
    parts: tuple[Finding, ...]
    extras: tuple[Finding, ...]
    commands: tuple[Finding, ...]
    folders: tuple[Folder, ...]

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """What is installed and not usable."""
        return tuple(one for one in (*self.parts, *self.extras) if one.state is State.WRONG)

    @property
    def mends(self) -> tuple[str, ...]:
        """The lines that mend what is wrong or missing, each once, what is wrong first."""
        everything = (*self.parts, *self.extras, *self.commands)
        first = [one.mend for one in self.wrong if one.mend]
        return tuple(dict.fromkeys([*first, *(one.mend for one in everything if one.mend)]))


def installation() -> Installation:
    """Read what is installed, importing none of it."""
    return Installation(
        extras=extras(),
        runtimes=versions_of(RUNTIMES),
        providers=providers(),
        torch=version_of("torch"),
        torch_cuda=torch_cuda(),
        driver_cuda=within(PROBE_TIMEOUT_S, driver_cuda),
    )


def examine(around: Surroundings | None = None, installed: Installation | None = None) -> Checkup:
    """Look at this machine and what is installed on it. Raises nothing that can be said in a line."""
    asked, has = around or Surroundings(), installed or installation()
    machine = machine_here(asked)
    of_extras, folders = _extras(has, machine), _folders()
    return Checkup(
        version=__version__,
        python=platform.python_version(),
        platform=f"{machine.system} {platform.machine()}",
        machine=machine,
        plans_for=_plans_for(asked, machine),
        parts=(_own(has), _onnxruntime(has, machine), _torch(has, machine), _gpu(has, machine), *_disks(folders)),
        extras=of_extras,
        commands=_commands({one.name: one for one in of_extras}, machine),
        folders=folders,
    )


def _install(extra: str) -> str:
    """The line that installs an extra, from the checkout where vlmplan runs in one."""
    checkout = Path(__file__).resolve().parents[2]
    whole = str(checkout) if (checkout / "pyproject.toml").is_file() else "vlmplan"
    return f"pip install {shlex.quote(f'{whole}[{extra}]')}"


def _own(has: Installation) -> Finding:
    """The core's own packages."""
    lacking = [one for one in has.extras.get("", ()) if not one.fits]
    if lacking:
        return Finding(
            name="vlmplan",
            state=State.WRONG,
            detail=f"{__version__}, and {_lacks(lacking)}",
            mend="pip install --upgrade vlmplan",
        )
    return Finding(name="vlmplan", state=State.GOOD, detail=f"{__version__} on Python {platform.python_version()}")


def _lacks(packages: list[Package]) -> str:
    """Packages that are not here, or not in the version asked for."""
    words = []
    for one in packages:
        if one.version is not None:
            least, below = [f"{one.least} or newer"] * bool(one.least), [f"below {one.below}"] * bool(one.below)
            words.append(f"{one.name} is {one.version}, expected {', '.join(least + below)}")
    absent = ", ".join(one.name for one in packages if one.version is None)
    return "; ".join([*words, *([f"not installed: {absent}"] if absent else [])])


def _nvidia(machine: FoundMachine) -> bool:
    return any(one.vendor == "NVIDIA" for one in machine.devices)


def _onnxruntime(has: Installation, machine: FoundMachine) -> Finding:
    """The engine of exports: one package of it, new enough, for the GPU that is here."""
    name, gpu = "ONNX Runtime", "onnxruntime-gpu"
    if not has.runtimes:
        return Finding(
            name=name,
            state=State.MISSING,
            detail="not installed",
            mend=_install("deploy-gpu" if _nvidia(machine) else "deploy"),
        )
    detail = ", ".join(f"{one} {version}" for one, version in has.runtimes.items())
    right = f"'{gpu}>={LEAST_GPU_RUNTIME}'" if _nvidia(machine) else "onnxruntime"
    if len(has.runtimes) > 1:
        return Finding(
            name=name,
            state=State.WRONG,
            detail=f"{detail}: they overwrite each other's files",
            mend=f"pip uninstall -y {' '.join(has.runtimes)} && pip install {right}",
        )
    if gpu in has.runtimes and numbers(has.runtimes[gpu]) < numbers(LEAST_GPU_RUNTIME):
        return Finding(
            name=name,
            state=State.WRONG,
            detail=f"{detail}, expected {LEAST_GPU_RUNTIME} or newer",
            mend=f"pip install --upgrade '{gpu}>={LEAST_GPU_RUNTIME}'",
        )
    detail += f": runs on {', '.join(has.providers) or 'nothing, its files are gone'}"
    if not has.providers:
        return Finding(name=name, state=State.WRONG, detail=detail, mend=f"pip install --force-reinstall {right}")
    if _nvidia(machine) and "cuda" not in has.providers:
        return Finding(
            name=name,
            state=State.MISSING,
            detail=f"{detail}, not on the GPU here",
            mend=f"pip uninstall -y {' '.join(has.runtimes)} && {_install('deploy-gpu')}",
        )
    return Finding(name=name, state=State.GOOD, detail=detail)


def _torch(has: Installation, machine: FoundMachine) -> Finding:
    name = "PyTorch"
    if has.torch is None:
        return Finding(name=name, state=State.MISSING, detail="not installed", mend=_install("deploy"))
    detail = f"{has.torch}, {f'made for CUDA {has.torch_cuda}' if has.torch_cuda else 'without CUDA'}"
    served = has.driver_cuda
    if served and has.torch_cuda and numbers(has.torch_cuda)[:1] > numbers(served)[:1]:
        return Finding(
            name=name,
            state=State.WRONG,
            detail=f"{detail}; the driver serves CUDA {served} at most",
            mend=f"update NVIDIA's driver, or install a torch for CUDA {served} (https://pytorch.org/get-started)",
        )
    if _nvidia(machine) and has.torch_cuda is None:
        return Finding(
            name=name,
            state=State.MISSING,
            detail=f"{detail}: it does not use the GPU here",
            mend="install a torch for CUDA (https://pytorch.org/get-started)",
        )
    return Finding(name=name, state=State.GOOD, detail=detail)


def _gpu(has: Installation, machine: FoundMachine) -> Finding:
    """The GPUs that were found, or what was asked in vain."""
    name = "GPU"
    if not machine.devices:
        failed = [note for note in machine.notes if " leaves " not in note]  # what hides them is meant
        return Finding(
            name=name,
            state=State.WRONG if failed else State.MISSING,
            detail="; ".join(machine.notes) or "none found",
            mend="load the GPU's driver, until its own tool answers" if failed else None,
        )
    counts = {one.name: sum(other.name == one.name for other in machine.devices) for one in machine.devices}
    told = ", ".join(f"{count} x {one}" if count > 1 else one for one, count in counts.items())
    first = machine.devices[0]
    driver = f"; driver {first.driver}" if first.driver else ""
    cuda = f", CUDA {has.driver_cuda}" if has.driver_cuda else ""
    more = f"; {'; '.join(machine.notes)}" if machine.notes else ""
    return Finding(name=name, state=State.GOOD, detail=f"{told}{driver}{cuda}, by {first.by}{more}")


def _plans_for(around: Surroundings, machine: FoundMachine) -> str:
    """What this machine is planned with; a processor is measured when it is first planned for, not here."""
    if not machine.computing:
        count = len(own_profiles())
        return f"the processor, {machine.processor.name}" + (f" ({count} profiles of your own)" if count else "")
    try:
        return here(around, machine=machine).assumed[0]
    except VlmplanError as error:
        return str(error)


def _extras(has: Installation, machine: FoundMachine) -> tuple[Finding, ...]:
    """Each extra that people install: whole, or what it lacks.

    Of ``deploy`` and ``deploy-gpu`` one is enough, the second with an NVIDIA GPU; any package of ONNX Runtime does for
    the first, and where there is another already, its own line says how to change it.
    """
    parts, right = [], "deploy-gpu" if _nvidia(machine) else "deploy"
    for extra, packages in has.extras.items():
        if extra in ("", "test"):
            continue
        lacking = [one for one in packages if not one.fits]
        if extra != "deploy-gpu" and has.runtimes:
            lacking = [one for one in lacking if one.name != "onnxruntime"]
        old = [one for one in lacking if one.version is not None]
        other = {"deploy", "deploy-gpu"} - {right} == {extra} or (extra == "deploy-gpu" and bool(has.runtimes))
        here = [f"{one.name} {one.version}" for one in packages if one.version]
        told = _lacks(old or lacking) if lacking else ", ".join(here)
        if extra == "deploy-gpu" and lacking and other and not old:
            told = "in place of deploy, for an NVIDIA GPU"
        parts.append(
            Finding(
                name=extra,
                state=State.GOOD if not lacking else State.WRONG if old else State.MISSING,
                detail=told,
                mend=_install(extra) if lacking and (old or not other) else None,
            )
        )
    return tuple(parts)


def _commands(known: Mapping[str, Finding], machine: FoundMachine) -> tuple[Finding, ...]:
    """Each command: ready, or the extra that it lacks."""
    parts = []
    for command, any_of in NEEDS.items():
        good = [extra for extra in any_of if extra in known and known[extra].state is State.GOOD]
        if not any_of or good:
            parts.append(Finding(name=command, state=State.GOOD, detail="ready"))
        else:
            lacking = f"extra {' or '.join(any_of)}"
            mend = _install(any_of[-1] if _nvidia(machine) else any_of[0])
            parts.append(Finding(name=command, state=State.MISSING, detail=lacking, mend=mend))
    return tuple(parts)


# What is kept where: the least that its disk should have left, and the variable that moves it.
_PLACES = {
    "Hugging Face's cache": (_LOW_DISK_BYTES, "HF_HOME"),
    "scratch": (_LOW_SCRATCH_BYTES, "TMPDIR"),
}


def _folders() -> tuple[Folder, ...]:
    return (
        folder("your profiles", data_folder()),
        folder("Hugging Face's cache", hub_cache()),
        folder("scratch", Path(tempfile.gettempdir()), counted=False),
    )


def _disks(folders: tuple[Folder, ...]) -> tuple[Finding, ...]:
    """Disks with little left."""
    return tuple(
        Finding(
            name="disk",
            state=State.LOW,
            detail=f"{format_bytes(one.disk_free_bytes)} free at {one.path} ({one.name})",
            mend=f"free some space, or set {_PLACES[one.name][1]} to a folder on another disk",
        )
        for one in folders
        if one.name in _PLACES and one.disk_free_bytes is not None and one.disk_free_bytes < _PLACES[one.name][0]
    )
