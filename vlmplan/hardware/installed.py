"""What is installed here? Extras with their packages and versions, ONNX Runtime's providers, CUDA, caches, disks.

Nothing heavy is imported: versions are those of packages' metadata, providers are the libraries that lie beside ONNX
Runtime, and what torch was made for stands in a file of its own.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

OWN = "vlmplan"
RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
)  # packages that put their files into the one folder ``onnxruntime``
LEAST_GPU_RUNTIME = "1.26"  # as in pyproject.toml, deploy-gpu
_COUNTING_S = 0.5  # longest time to add up a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that an extra names: the version here, None where it is not, and the least and the bound of it."""

    name: str
    version: str | None = None
    least: str | None = None
    below: str | None = None

    @property
    def fits(self) -> bool:
        """Whether it is here, in a version that will do."""
        if self.version is None:
            return False
        low = self.least is None or numbers(self.version) >= numbers(self.least)
        return low and (self.below is None or numbers(self.version) < numbers(self.below))


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that fills up: its size (at least, where ``more``), and what is free on its disk, in bytes."""

    name: str
    path: str
    there: bool
    size_bytes: int = 0
    more: bool = False
    disk_free_bytes: int | None = None


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: ``2.13.0+cpu`` -> (2, 13, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part)  # type: ignore[index]


def refused_on_cuda(version: str) -> str | None:
    """Return why that version of onnxruntime-gpu runs no export on CUDA, None where it does.

    1.23 and 1.24 have no CUDA kernel of opset 23's Attention (onnxruntime issue 28025); 1.25 has one that refuses
    grouped queries with a mask and a cache at run time (kernel tables of the wheels).
    """
    if numbers(version) >= numbers(LEAST_GPU_RUNTIME):
        return None
    return (
        f"onnxruntime-gpu {version} has no kernels on CUDA for an export's attention; expected {LEAST_GPU_RUNTIME} or "
        f"newer: pip install --upgrade 'onnxruntime-gpu>={LEAST_GPU_RUNTIME}'"
    )


def version_of(name: str) -> str | None:
    """Return the version of a package by its metadata; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, by name."""
    return {name: version for name in names if (version := version_of(name)) is not None}


def _requirements() -> Iterable[str]:
    """What vlmplan's own package asks for, in the words of its metadata; of a bare checkout, of its project file."""
    try:
        return importlib.metadata.requires(OWN) or ()
    except importlib.metadata.PackageNotFoundError:
        import tomli

        project = Path(__file__).resolve().parents[2] / "pyproject.toml"
        if not project.is_file():
            return ()
        told = tomli.loads(project.read_text(encoding="utf-8"))["project"]
        listed = told.get("optional-dependencies", {}).items()
        return [*told["dependencies"], *(f'{one}; extra == "{extra}"' for extra, many in listed for one in many)]


def extras(requirements: Iterable[str] | None = None) -> Mapping[str, tuple[Package, ...]]:
    """Return the packages of each extra, those of vlmplan itself under ``""``, as they are here."""
    by_extra: dict[str, list[Package]] = {}
    for line in _requirements() if requirements is None else requirements:
        what, _, marker = line.partition(";")
        named = re.match(r"\s*([\w.-]+)", what)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
        least, below = re.search(r">=\s*([\w.]+)", what), re.search(r"<\s*([\w.]+)", what)
        if named:
            by_extra.setdefault(extra[1] if extra else "", []).append(
                Package(
                    name=named[1],
                    version=version_of(named[1]),
                    least=least[1] if least else None,
                    below=below[1] if below else None,
                )
            )
    return {extra: tuple(packages) for extra, packages in by_extra.items()}


def _beside(module: str) -> Path | None:
    """The folder of a module that is not imported; None where it is not installed."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def providers(folder: Path | None = None) -> tuple[str, ...]:
    """Return where the ONNX Runtime here can run, by the libraries that it brings: the processor, and others."""
    home = folder or _beside("onnxruntime")
    if home is None:
        return ()
    names = [
        re.search(r"onnxruntime_providers_([a-z0-9]+)\.", one.name) for one in (home / "capi").glob("*providers_*")
    ]
    return ("cpu", *sorted({name[1] for name in names if name} - {"shared"}))


def torch_cuda(folder: Path | None = None) -> str | None:
    """Return the CUDA that torch was made for, such as ``12.6``; None without torch, or for one without CUDA."""
    home = folder or _beside("torch")
    try:
        text = (home / "version.py").read_text(encoding="utf-8") if home else ""
    except OSError:
        return None
    version = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return version[1] if version else None


def driver_cuda(library: str = "libcuda.so.1") -> str | None:
    """Return the newest CUDA that the driver serves, such as ``12.4``; None without a driver."""
    import ctypes

    try:
        version = ctypes.c_int()
        failed = ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else f"{version.value // 1000}.{version.value % 1000 // 10}"


def hub_cache(environment: Mapping[str, str] | None = None) -> Path:
    """Return where Hugging Face's library keeps what it downloads (its documentation, environment variables)."""
    here = os.environ if environment is None else environment
    home = Path(here.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - cannot fail, where there is no home
    caches = Path(here.get("XDG_CACHE_HOME") or home / ".cache")
    whole = Path(here.get("HF_HOME") or caches / "huggingface")
    given = here.get("HF_HUB_CACHE") or here.get("HUGGINGFACE_HUB_CACHE") or str(whole / "hub")
    return Path(os.path.expanduser(given))  # noqa: PTH111 - as above


def folder(name: str, path: Path, counted: bool = True) -> Folder:
    """Return what a folder holds, ``counted`` for half a second at most, and what its disk has left."""
    end, size, more = time.monotonic() + _COUNTING_S, 0, not counted
    for place, _, files in os.walk(path) if counted else ():
        if time.monotonic() > end:
            more = True
            break
        for one in files:
            try:
                size += os.lstat(os.path.join(place, one)).st_size  # noqa: PTH118 - a tenth of the time
            except OSError:
                continue
    above = next((one for one in (path, *path.parents) if one.is_dir()), None)
    try:
        free = None if above is None else shutil.disk_usage(above).free
    except OSError:
        free = None
    return Folder(name=name, path=str(path), there=path.is_dir(), size_bytes=size, more=more, disk_free_bytes=free)
