"""How is a machine asked? Its files, its tools and its drivers, each within a time, and never with an exception.

:class:`Surroundings` is where all that detection knows comes from. A test gives it a recorded machine: another root for
files, another folder of tools, another environment.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Row = Mapping[str, str]  # what NVML says of a GPU or a slice of one, by the names of nvidia-smi's fields
PROBE_TIMEOUT_S = 4.0  # nvidia-smi takes one to three seconds where no process keeps the driver awake
_MOST_BYTES = 4 * 2**20
_WSL_TOOLS = "/usr/lib/wsl/lib"  # where Windows puts nvidia-smi for Linux, not always on the PATH


def wanting_to_run() -> float:
    """Return how many processes want to run, over the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool printed; ``problem`` says in one line why it is empty where the tool is there and was of no use."""

    text: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A machine to ask. ``nvml`` and ``cuda`` ask NVIDIA's libraries and give None where they are not there."""

    root: Path = Path("/")
    path: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    system: str = field(default_factory=platform.system)
    processor: str = field(default_factory=platform.machine)
    nvml: Callable[[], tuple[Row, ...] | None] = field(default=lambda: within(PROBE_TIMEOUT_S, nvml_rows))
    cuda: Callable[[int], Mapping[str, int] | None] = field(
        default=lambda index: within(PROBE_TIMEOUT_S, lambda: cuda_attributes(index))
    )
    load: Callable[[], float] = wanting_to_run
    timeout_s: float = PROBE_TIMEOUT_S

    def read(self, path: str) -> str:
        """Return the text of a file of at most 4 MiB, without the zero that ends it; "" where it cannot be read."""
        try:
            with (self.root / path.lstrip("/")).open("rb") as stream:
                return stream.read(_MOST_BYTES).decode("utf-8", "replace").strip("\0\n ")
        except (OSError, ValueError):
            return ""

    def number(self, path: str) -> int | None:
        """Return the whole number that a file holds; None where there is none."""
        text = self.read(path)
        return int(text) if text.isascii() and text.isdigit() else None

    def there(self, path: str) -> bool:
        """Whether a file or folder exists and may be seen."""
        try:
            return (self.root / path.lstrip("/")).exists()
        except OSError:
            return False

    def listed(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted; none where there is no such folder."""
        try:
            return tuple(sorted(entry.name for entry in (self.root / folder.lstrip("/")).iterdir()))
        except OSError:
            return ()

    def run(self, tool: str, *arguments: str) -> Answer:
        """Return what a tool prints. One that is not there is no problem; one that fails or is slow is."""
        here = self.path if self.path is not None else self.environment.get("PATH", os.defpath)
        program = shutil.which(tool, path=os.pathsep.join((here, str(self.root / _WSL_TOOLS.lstrip("/")))))
        return Answer() if program is None else _answer(tool, [program, *arguments], self.environment, self.timeout_s)


def _answer(tool: str, command: list[str], environment: Mapping[str, str], timeout_s: float) -> Answer:
    """Run a command with its output in a file: no pipe that a child of it keeps open after it was killed."""
    try:
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env={**environment, "LC_ALL": "C"},
                start_new_session=True,
            )
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                return Answer(problem=f"{tool} did not answer within {timeout_s:g} s")
            except BaseException:  # Ctrl-C: nothing is left running
                _kill(process)
                raise
            output.seek(0)
            text = output.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return Answer(problem=f"{tool} cannot be run ({getattr(error, 'strerror', None) or error})")
    if code != 0:
        said = " ".join((text.strip().splitlines() or [f"exit code {code}"])[0].split())
        return Answer(problem=f"{tool} failed: {said[:120]}")
    return Answer(text=text)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a tool and its children. One that hangs in the kernel cannot be, and is not waited for."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.2)


def within(timeout_s: float, ask: Callable[[], T]) -> T | None:
    """Return what ``ask`` returns; None where it fails, or takes longer: a driver that hangs keeps its thread alone."""
    answers: list[T] = []

    def answer() -> None:
        with contextlib.suppress(Exception):  # whatever is wrong with a driver's library, detection goes on
            answers.append(ask())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answers[0] if answers else None


def nvml_rows() -> tuple[Row, ...] | None:
    """Ask NVML by nvidia-ml-py: a row for each GPU, and for each MIG slice. None without the library or a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError):
        return None
    try:
        return tuple(row for index in range(pynvml.nvmlDeviceGetCount()) for row in _nvml_device(pynvml, index))
    except pynvml.NVMLError:
        return None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _nvml_device(nvml: "object", index: int) -> list[Row]:
    """A GPU's row and those of its slices."""
    asked: dict[str, Callable[..., object]] = {
        name: getattr(nvml, name)
        for name in (
            "nvmlDeviceGetHandleByIndex",
            "nvmlDeviceGetMigMode",
            "nvmlDeviceGetMaxMigDeviceCount",
            "nvmlDeviceGetMigDeviceHandleByIndex",
        )
    }
    handle = asked["nvmlDeviceGetHandleByIndex"](index)
    rows = [_nvml_row(nvml, handle, index)]
    mode = _said(nvml, asked["nvmlDeviceGetMigMode"], handle)
    if not isinstance(mode, list | tuple) or mode[0] != 1:
        return rows
    rows[0] = {**rows[0], "mig.mode.current": "Enabled"}
    most = _said(nvml, asked["nvmlDeviceGetMaxMigDeviceCount"], handle)
    for number in range(most if isinstance(most, int) else 0):
        one = _said(nvml, asked["nvmlDeviceGetMigDeviceHandleByIndex"], handle, number)
        if one is not None:
            rows.append({**_nvml_row(nvml, one, index), "slice": "yes"})
    return rows


def _said(nvml: "object", ask: Callable[..., object], *given: object) -> object | None:
    """What NVML says to a question, None where it refuses it: not supported, not allowed, not there."""
    refusal: type[Exception] = getattr(nvml, "NVMLError")  # noqa: B009 - the library has no types
    try:
        return ask(*given)
    except refusal:
        return None


def _nvml_row(nvml: "object", handle: object, index: int) -> Row:
    """What nvidia-smi would print of it, memory in MiB; a key that NVML refuses is left out."""

    def said(name: str, *given: object) -> object | None:
        return _said(nvml, getattr(nvml, name), *given)

    memory, load = said("nvmlDeviceGetMemoryInfo", handle), said("nvmlDeviceGetUtilizationRates", handle)
    row = {
        "index": index,
        "uuid": said("nvmlDeviceGetUUID", handle),
        "name": said("nvmlDeviceGetName", handle),
        "driver_version": said("nvmlSystemGetDriverVersion"),
        "utilization.gpu": getattr(load, "gpu", None),
    }
    for field_name in ("total", "used", "free"):
        size = getattr(memory, field_name, None)
        row[f"memory.{field_name}"] = size / 2**20 if isinstance(size, int) else None
    return {
        key: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for key, value in row.items()
        if value is not None
    }


# Of the driver's header cuda.h, CUdevice_attribute: rates in kHz, widths in bits.
_ATTRIBUTES = {
    "clock_khz": 13,
    "multiprocessors": 16,
    "integrated": 18,
    "memory_clock_khz": 36,
    "memory_bus_bits": 37,
    "capability_major": 75,
    "capability_minor": 76,
}


def cuda_attributes(index: int, library: str = "libcuda.so.1") -> Mapping[str, int] | None:
    """Ask the CUDA driver for a GPU's clocks, widths, multiprocessors and memory; None where it cannot be asked."""
    import ctypes

    def read(driver: Any, device: Any) -> Mapping[str, int] | None:
        value, attributes = ctypes.c_int(), {}
        for name, code in _ATTRIBUTES.items():
            if driver.cuDeviceGetAttribute(ctypes.byref(value), code, device):
                return None
            attributes[name] = value.value
        return attributes

    attributes, memory = _ask_cuda(index, library, read), cuda_total_bytes(index, library)
    return attributes if attributes is None or memory is None else {**attributes, "memory_bytes": memory}


def cuda_total_bytes(index: int, library: str = "libcuda.so.1") -> int | None:
    """Return the memory that CUDA reports of a GPU, which is what a program finds; None where it cannot be asked.

    nvidia-smi reports 1 to 4 % more (facts/device_memory.csv).
    """
    import ctypes

    def read(driver: Any, device: Any) -> int | None:
        total = ctypes.c_size_t()
        return None if driver.cuDeviceTotalMem_v2(ctypes.byref(total), device) else total.value or None

    return _ask_cuda(index, library, read)


def _ask_cuda(index: int, library: str, read: Callable[[Any, Any], T | None]) -> T | None:
    """What the CUDA driver says to (driver, a GPU's handle); None without either, or where it knows no such call."""
    import ctypes

    try:
        driver, device = ctypes.CDLL(library), ctypes.c_int()
        failed = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index)
        return None if failed else read(driver, device)
    except (OSError, AttributeError):
        return None
