"""What is shipped, and what lies in a file? A name or a path -> a document; a document -> a file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from vlmplan.api.given import D, File, device, must_be_one_of
from vlmplan.document import load as load_document
from vlmplan.document import to_json, to_toml, write_text
from vlmplan.errors import InputError, nearest
from vlmplan.hardware import HardwareProfile
from vlmplan.inventory import Shelf
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec

if TYPE_CHECKING:
    from vlmplan.accuracy import ScalingLaw, Task
    from vlmplan.document import Document
    from vlmplan.inventory import NamedWorkload


def hardware_profile(name: File | None = None) -> HardwareProfile:
    """Return a device's profile.

    Args:
        name: A shipped name (``"l4"``), a part of one, what its driver calls it, or the path of a profile.
            Without one, this machine, with warnings that say what was assumed of it.

    Returns:
        The profile: memory in bytes, peaks in FLOP/s by precision, bandwidth in bytes/s, each with its source.

    Raises:
        InputError: For a name that is unknown or fits several devices, or a file that is no profile.

    Example:
        >>> import vlmplan
        >>> vlmplan.hardware_profile("l4").memory_bytes
        23727177728
    """
    return device(name)


def model(name: File) -> ModelSpec:
    """Return what is known of a model: its dimensions, its image rule, its sources.

    Args:
        name: A hub id, a part of one, a profile, a ``config.json`` or a checkpoint's folder. A hub id that is not
            shipped is read from the Hub, or from its cache.

    Returns:
        The specification; everything the cost is worked out from.

    Raises:
        InputError: For a name that is unknown or fits several models, or a configuration that cannot be read.

    Example:
        >>> import vlmplan
        >>> vlmplan.model("InternVL3-1B").name
        'OpenGVLab/InternVL3-1B'
    """
    return shelves.model(name)


def law(name: File) -> "ScalingLaw":
    """Return a scaling law: error by LLM size and visual tokens.

    Args:
        name: A shipped name (``"docvqa"``, ``"reasoning"``), a part of one, or the path of a law that ``fit`` made.

    Returns:
        The law, with its points, coefficients, intervals and draws. Its method ``error(llm_params_b, visual_tokens)``
        takes billions of parameters and tokens an image, and returns an error from 0 to 1.

    Raises:
        InputError: For a name that is unknown or fits several laws, or a file that is no law.

    Example:
        >>> import vlmplan
        >>> law = vlmplan.law("docvqa")
        >>> law.error(llm_params_b=7, visual_tokens=64) > law.error(llm_params_b=7, visual_tokens=576)
        True
    """
    return shelves.law(name)


def workload(name: File) -> "NamedWorkload":
    """Return a named workload: a request, the limits of its answer, what it is about, and where each number comes from.

    Args:
        name: A shipped name (``"document"``, ``"chat"``), a part of one, or the path of one's own.

    Returns:
        The workload; what is None in it is left to the usual case.

    Raises:
        InputError: For a name that is unknown or fits several, or a file that is no workload.

    Example:
        >>> import vlmplan
        >>> vlmplan.workload("document").image
        (1710, 2220)
    """
    return shelves.workload(name)


def task(name: str) -> "Task":
    """Return a task: the benchmarks whose scores judge it, with weights, and the words it is called by besides.

    Args:
        name: The task's name (``"ocr"``), or another word for it (``"documents"``).

    Returns:
        The task; its error is the mean of its benchmarks' by these weights.

    Raises:
        InputError: For a word that is none.

    Example:
        >>> import vlmplan
        >>> vlmplan.task("receipts").benchmarks
        {'DocVQA': 1.0}
    """
    from vlmplan.accuracy import CALLED, TASKS

    folded = name.strip().casefold()
    task = TASKS.get(CALLED.get(folded, folded))
    if task is None:
        close = nearest(folded, [*TASKS, *CALLED])
        raise InputError(f"no task named '{name[:40]}'{f'; nearest: {close}' if close else ''}; expected one of "
                         f"{', '.join(TASKS)}")  # fmt: skip
    return task


@overload
def catalogue(shelf: Literal["tasks"]) -> "tuple[Task, ...]": ...
@overload
def catalogue(shelf: Literal["hardware"]) -> tuple[HardwareProfile, ...]: ...
@overload
def catalogue(shelf: Literal["models"]) -> tuple[ModelSpec, ...]: ...
@overload
def catalogue(shelf: Literal["laws"]) -> "tuple[ScalingLaw, ...]": ...
@overload
def catalogue(shelf: Literal["workloads"]) -> "tuple[NamedWorkload, ...]": ...
@overload
def catalogue(shelf: str) -> "tuple[HardwareProfile | ModelSpec | ScalingLaw | NamedWorkload | Task, ...]": ...
def catalogue(shelf: str) -> "tuple[HardwareProfile | ModelSpec | ScalingLaw | NamedWorkload | Task, ...]":
    """Return all that is shipped of a kind, by name.

    Args:
        shelf: ``"hardware"``, ``"models"``, ``"laws"``, ``"workloads"`` or ``"tasks"``.

    Returns:
        The documents, as ``hardware_profile``, ``model``, ``law``, ``workload`` and ``task`` return them one by one.

    Raises:
        InputError: For another word.

    Example:
        >>> import vlmplan
        >>> [device.name for device in vlmplan.catalogue("hardware") if device.name.startswith("l4")]
        ['l4', 'l40', 'l40s']
    """
    kind = must_be_one_of(Shelf, shelf, "shelf")
    readers: dict[Shelf, Callable[[str], HardwareProfile | ModelSpec | ScalingLaw | NamedWorkload | Task]]
    readers = {
        Shelf.HARDWARE: shelves.hardware,
        Shelf.MODELS: shelves.model,
        Shelf.LAWS: shelves.law,
        Shelf.WORKLOADS: shelves.workload,
        Shelf.TASKS: task,
    }
    return tuple(readers[kind](name) for name in shelves.names(kind))


def load(kind: type[D], path: File) -> D:
    """Read a document from a file.

    Args:
        kind: The class that the file must hold, such as ``vlmplan.Plan``.
        path: A ``.json`` or ``.toml`` file.

    Returns:
        The document. Reading is strict: an unknown key, a wrong type or another schema is an error.

    Raises:
        InputError: For a file that cannot be read or holds something else; the message names the key.

    Example:
        >>> import vlmplan
        >>> vlmplan.save(vlmplan.hardware_profile("l4"), "my-l4.toml")
        >>> vlmplan.load(vlmplan.HardwareProfile, "my-l4.toml").name
        'l4'
    """
    return load_document(kind, Path(path))


def save(document: "Document", path: File) -> None:
    """Write a document to a file, whole or not at all.

    Args:
        document: A plan, a profile, a law, a report, or another document.
        path: The file; ``.toml`` makes it TOML, any other name JSON, as the command line writes it.

    Raises:
        InputError: Where the file cannot be written.

    Example:
        >>> import vlmplan
        >>> vlmplan.save(vlmplan.law("ocr"), "ocr-law.toml")
        >>> vlmplan.law("ocr-law.toml") == vlmplan.law("ocr")
        True
    """
    target = Path(path)
    write_text(target, to_toml(document) if target.suffix == ".toml" else to_json(document))
