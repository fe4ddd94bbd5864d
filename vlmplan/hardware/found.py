"""Which machine is this? Its GPUs, its processor, and the memory that a process may use of it.

surroundings -> :class:`FoundMachine`, in bytes. Nothing is measured and nothing raises: what is not said is None, and
what was asked in vain stands in ``notes``. Limits of a container (cgroups) count as the machine's own.
"""

import re
from dataclasses import dataclass, field, replace
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.hardware.gpus import Device, gpus
from vlmplan.hardware.surroundings import Surroundings

_CGROUP = "/sys/fs/cgroup"
_NO_LIMIT_BYTES = 2**60  # version 1 writes a number near 2**63 for no limit
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "Intel": "Intel", "AMD": "AMD", "Apple": "Apple"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProcessor:
    """A processor: its name, and how many of its threads a process may use."""

    name: str
    vendor: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMachine(Document):
    """What was found. ``memory_bytes`` is the processor's; ``inside`` says in what it runs: a container, WSL."""

    SCHEMA: ClassVar[str] = "vlmplan.machine/1"

    system: str
    processor: FoundProcessor
    memory_bytes: int | None
    free_bytes: int | None
    inside: str | None = None
    limited: bool = False
    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def computing(self) -> tuple[Device, ...]:
        """The devices to plan for: all but the graphics of processors."""
        return tuple(one for one in self.devices if not one.integrated)


def machine_here(around: Surroundings | None = None) -> FoundMachine:
    """Ask this machine, or a recorded one, what it is."""
    here = around or Surroundings()
    memory, free, limited = _memory(here)
    devices, notes = gpus(here)
    shared = [
        replace(one, memory_bytes=memory, free_bytes=free) if one.kind == "soc" and one.memory_bytes is None else one
        for one in devices
    ]
    return FoundMachine(
        system=here.system,
        processor=_processor(here),
        memory_bytes=memory,
        free_bytes=free,
        inside=_inside(here),
        limited=limited,
        devices=tuple(shared),
        notes=tuple(dict.fromkeys(notes)),
    )


def _inside(around: Surroundings) -> str | None:
    if "microsoft" in around.read("/proc/version").casefold():
        return "WSL"
    if around.there("/.dockerenv") or around.there("/run/.containerenv"):
        return "container"
    names = ("KUBERNETES_SERVICE_HOST", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
    return "container" if any(name in around.environment for name in names) else None


def _processor(around: Surroundings) -> FoundProcessor:
    text = around.read("/proc/cpuinfo")
    if around.system == "Darwin":
        answer = around.run("sysctl", "-n", "machdep.cpu.brand_string", "hw.logicalcpu").text.splitlines()
        name, count = (answer[0], int(answer[1])) if len(answer) > 1 and answer[1].isdigit() else ("Apple", 1)
        return FoundProcessor(name=name, vendor=name.split()[0].split("(")[0], threads=count)
    named = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    name = named[1] if named else around.read("/proc/device-tree/model")
    name = " ".join((name or around.environment.get("PROCESSOR_IDENTIFIER") or around.processor or "unknown").split())
    made = re.search(r"^vendor_id\s*:\s*(\S+)", text, re.MULTILINE)
    return FoundProcessor(
        name=name,
        vendor=_VENDORS.get(made[1] if made else name.split()[0], name.split()[0]),
        threads=_threads(around, text),
    )


def _threads(around: Surroundings, cpuinfo: str) -> int:
    """The processors that this process may run on, less where a container's quota is less."""
    allowed = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)", around.read("/proc/self/status"), re.MULTILINE)
    count = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
    if allowed:
        spans = [part.split("-") for part in allowed[1].split(",")]
        listed = sum(int(span[-1]) - int(span[0]) + 1 for span in spans if all(map(str.isdigit, span)))
        count = min(listed, count) if count else listed
    if count == 0:
        import os

        count = os.cpu_count() or 1
    quotas = [quota for folder in _folders(around, "cpu") if (quota := _quota(around, folder)) is not None]
    return max(1, min(count, *map(int, quotas))) if quotas else count


def _quota(around: Surroundings, folder: str) -> float | None:
    """Processors' worth of time that a control group may take; None where it may take all."""
    modern = around.read(f"{folder}/cpu.max").split()
    if len(modern) == 2 and all(map(str.isdigit, modern)):
        return int(modern[0]) / int(modern[1])
    quota, period = around.number(f"{folder}/cpu.cfs_quota_us"), around.number(f"{folder}/cpu.cfs_period_us")
    return quota / period if quota and period else None


def _folders(around: Surroundings, controller: str) -> list[str]:
    """The folders of this process's control groups, from its own up to the root's: a limit of any holds.

    A container often sees its own group as the root, and a path that it cannot reach: those just read as empty.
    """
    folders = []
    for line in around.read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and controller not in kinds.split(","):
            continue
        base = f"{_CGROUP}/{controller}" if kinds else _CGROUP
        steps = [step for step in path.split("/") if step and step != ".."]
        folders += ["/".join((base, *steps[:count])) for count in range(len(steps), -1, -1)]
    return folders or [_CGROUP, f"{_CGROUP}/{controller}"]


def _memory(around: Surroundings) -> tuple[int | None, int | None, bool]:
    """(total, free, whether a container's limit made it less), in bytes."""
    if around.system == "Darwin":
        said = around.run("sysctl", "-n", "hw.memsize").text.strip()
        return int(said) if said.isdigit() else None, _mac_free(around), False
    text = around.read("/proc/meminfo")
    lines = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+):\s*(\d+) kB", text, re.MULTILINE)}
    total, free = lines.get("MemTotal"), lines.get("MemAvailable", lines.get("MemFree"))
    limited = False
    for folder in _folders(around, "memory"):
        limit, used = _limit(around, folder)
        if limit is not None and (total is None or limit < total):
            total, limited = limit, True
        if limit is not None and used is not None:
            free = max(limit - used, 0) if free is None else min(free, max(limit - used, 0))
    return total, free, limited


def _limit(around: Surroundings, folder: str) -> tuple[int | None, int | None]:
    """(limit, used without what can be dropped at once) of a control group, version 2 or 1."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit = around.number(f"{folder}/{limit_name}")
        if limit is not None and limit < _NO_LIMIT_BYTES:
            used = around.number(f"{folder}/{used_name}")
            kept = re.search(r"^(?:total_)?inactive_file (\d+)", around.read(f"{folder}/memory.stat"), re.MULTILINE)
            return limit, None if used is None else max(used - (int(kept[1]) if kept else 0), 0)
    return None, None


def _mac_free(around: Surroundings) -> int | None:
    """What macOS can give at once: pages free, inactive, speculative or purgeable."""
    text = around.run("vm_stat").text
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)", text, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None
