"""What machine is this, and what runs on it? The device, its caches and clocks, threads, and library versions.

(device, runtime, threads) -> :class:`Setup`. A GPU that is asked for and not there, or two ONNX Runtime packages that
overwrite each other, are errors in one line.
"""

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vlmplan import __version__
from vlmplan.document import Document
from vlmplan.errors import InputError, Unavailable
from vlmplan.extras import require
from vlmplan.hardware.installed import refused_on_cuda, versions_of
from vlmplan.hardware.runtimes import SERVING, Precision, Runs, Runtime
from vlmplan.hardware.surroundings import cuda_total_bytes

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}  # of ONNX Runtime
USUAL_CACHE_BYTES = 2**25  # where the machine does not say: 32 MiB, a desktop processor's


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Document):
    """A device with a runtime on it. ``peak_flops_per_s`` and ``bandwidth_bytes_per_s`` are what a probe reached."""

    SCHEMA: ClassVar[str] = "vlmplan.measurements/1"

    device: str
    runtime: Runtime
    title: str
    vendor: str
    threads: int
    cores: int
    cache_bytes: int
    memory_bytes: int | None = None
    clock_hz: float | None = None
    peak_flops_per_s: Mapping[Precision, float] = field(default_factory=dict)
    bandwidth_bytes_per_s: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def base_precision(self) -> Precision:
        """What is not quantised runs in: fp16 on GPUs, fp32 on processors."""
        return Precision.FP16 if self.on_gpu else Precision.FP32

    @property
    def name(self) -> str:
        """The profile's name."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.title} {self.threads} threads {self.runtime}".lower()).strip("-")

    def same_machine(self, other: "Setup") -> str | None:
        """Return what differs between two setups whose times must not be mixed; None where nothing does."""
        for name in ("device", "runtime", "title", "threads", "versions"):
            if getattr(self, name) != getattr(other, name):
                return name
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _processor() -> tuple[str, float | None]:
    """(its name, its clock in Hz where readable)."""
    text = _read("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    clock = re.search(r"^cpu MHz\s*:\s*([\d.]+)$", text, re.MULTILINE)
    return (
        " ".join(name[1].split()) if name else platform.processor() or platform.machine(),
        float(clock[1]) * 1e6 if clock else None,
    )


def cache_bytes() -> int:
    """Return the largest cache of the processor, in bytes."""
    sizes = [_read(str(path)).strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    caches = [int(size[:-1]) * units[size[-1]] for size in sizes if re.fullmatch(r"\d+[KM]", size)]
    return max(caches, default=USUAL_CACHE_BYTES)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _versions(runtime: Runtime) -> dict[str, str]:
    """Versions of what may change a time. Raises Unavailable for two ONNX Runtime packages at once."""
    python = {"vlmplan": __version__, "python": platform.python_version()}
    versions = {**python, **versions_of(SERVING[runtime].libraries)}
    if {"onnxruntime", "onnxruntime-gpu"} <= set(versions):
        raise Unavailable(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; uninstall both, then "
            "install one"
        )
    return versions


def _gpu(index: int) -> tuple[str, int, float | None]:
    """(name, memory in bytes, clock in Hz) of an NVIDIA GPU, as nvidia-smi says. Raises Unavailable without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise Unavailable(
            f"--device cuda:{index}: found no nvidia-smi, so no NVIDIA driver; expected --device cpu here"
        )
    query = ["--query-gpu=name,memory.total,clocks.sm", "--format=csv,noheader,nounits", f"--id={index}"]
    try:
        done = subprocess.run([tool, *query], capture_output=True, text=True, timeout=30, check=True)
        name, memory, clock = (part.strip() for part in done.stdout.strip().split(","))
        return name, int(float(memory)) * 2**20, float(clock) * 1e6 if clock.replace(".", "").isdigit() else None
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise Unavailable(f"--device cuda:{index}: nvidia-smi finds no such GPU ({type(error).__name__})") from None


def _check_device(device: str, runtime: Runtime) -> int | None:
    """Return the GPU's number, None for the processor. Raises InputError or Unavailable."""
    runs = SERVING[runtime].runs
    if runs is Runs.SERVER:
        here = [one.value for one, serving in SERVING.items() if serving.runs is not Runs.SERVER]
        raise InputError(f"--runtime: found {runtime}, expected {' or '.join(sorted(here))} (others: --endpoint)")
    require(*SERVING[runtime].modules)
    matched = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", device)
    if matched is None:
        raise InputError(f"--device: found '{device}', expected cpu or cuda:N")
    if device == "cpu":
        return None
    if runs is Runs.GRAPHS:
        import onnxruntime

        known = onnxruntime.get_available_providers()
        if PROVIDERS["cuda"] not in known:
            raise Unavailable(
                f"--device {device}: this onnxruntime has {', '.join(known)} and no CUDA; install onnxruntime-gpu in "
                "its place (extra deploy-gpu)"
            )
        if old := refused_on_cuda(onnxruntime.__version__):
            raise Unavailable(f"--device {device}: {old}")
        if matched[1] not in (None, "0"):
            raise InputError(f"--device: found {device}; ONNX Runtime takes cuda:0 here (CUDA_VISIBLE_DEVICES chooses)")
    else:
        import torch

        if not torch.cuda.is_available():
            raise Unavailable(f"--device {device}: torch {torch.__version__} finds no CUDA GPU; expected --device cpu")
    return int(matched[1] or 0)


def setup(device: str, runtime: Runtime, threads: int | None) -> Setup:
    """Find out what machine this is. Raises InputError or Unavailable."""
    index = _check_device(device, runtime)
    versions = _versions(runtime)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name, clock = _processor()
    title, memory, vendor, cache = name, _memory_bytes(), name.split()[0] if name else "unknown", cache_bytes()
    if index is not None:
        title, reported, clock = _gpu(index)
        memory = cuda_total_bytes(index) or reported
        vendor, cache = "NVIDIA", 0
    return Setup(
        device="cpu" if index is None else f"cuda:{index}",
        runtime=runtime,
        title=title,
        vendor=vendor,
        threads=threads or cores,
        cores=cores,
        cache_bytes=cache,
        memory_bytes=memory,
        clock_hz=clock,
        versions=versions,
        date=time.strftime("%Y-%m-%d"),
    )


_PROBE_SIDE, _PROBE_BYTES, _PROBES = 1536, 2**28, 5


def probe(setup: Setup) -> tuple[dict[Precision, float], float]:
    """Return what a square matrix product and a sum over memory reach: (FLOP/s by precision, bytes/s)."""
    import torch

    torch.set_num_threads(setup.threads)
    device, kind = setup.device, torch.float16 if setup.on_gpu else torch.float32
    side = _PROBE_SIDE * (4 if setup.on_gpu else 1)
    matrix = torch.ones(side, side, dtype=kind, device=device)
    long = torch.ones(_PROBE_BYTES * (8 if setup.on_gpu else 1) // 4, dtype=torch.float32, device=device)
    flops = 2 * side**3 / _fastest(lambda: matrix @ matrix, device)
    return {setup.base_precision: flops}, long.numel() * 4 / _fastest(long.sum, device)


def _fastest(run: Any, device: str) -> float:
    """The shortest of a few runs, in seconds: what the machine can do when nothing is in the way."""
    import torch

    times = []
    for _ in range(_PROBES + 1):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])
