"""Which GPUs are here? What the vendors' tools, and the kernel, say of them.

surroundings -> devices, and a line for whatever was asked in vain. NVIDIA: NVML or nvidia-smi; AMD: amd-smi, rocm-smi;
Intel: xpu-smi, clinfo; Apple: sysctl, system_profiler; Jetson: files; else what the kernel lists in /sys/class/drm.
Sizes in bytes. A figure that is not said is None.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vlmplan.hardware.surroundings import Row, Surroundings

BUSY_FRACTION = 0.2
_MIB = 2**20
_SMI_FIELDS = (
    "index",
    "uuid",
    "name",
    "memory.total",
    "memory.used",
    "memory.free",
    "driver_version",
    "utilization.gpu",
)
_SLICE = re.compile(r"^\s+MIG (\S+)\s+Device\s+\d+: \(UUID: ([^)]+)\)")
_WHOLE = re.compile(r"^GPU (\d+): (.+?) \(UUID:")
_SLICE_NAME = re.compile(r" MIG ((?:\d+c\.)?(\d+)g\.(\d+)gb\S*)$")
_PCI_NAMES = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids")
_LOCAL_BUS = "0000:00:"  # where Intel's processors have their own graphics
_LEAST_CARD_BYTES = 4 * 2**30  # less is what an AMD processor's own graphics takes of the machine's memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU, or a slice of one. ``by`` is what said so; ``name`` is as printed there."""

    name: str
    vendor: str
    index: int
    by: str
    kind: str = "gpu"  # soc where it shares the machine's memory
    memory_bytes: int | None = None
    free_bytes: int | None = None
    driver: str | None = None
    load_fraction: float | None = None
    uuid: str | None = None
    cores: int | None = None
    integrated: bool = False  # a processor's own graphics, beside which the processor does the work

    @property
    def busy(self) -> bool | None:
        """Whether somebody computes on it now; None where its load is not said."""
        return None if self.load_fraction is None else self.load_fraction >= BUSY_FRACTION

    @property
    def part(self) -> tuple[int, int] | None:
        """Of a MIG slice: (how many of the GPU's seven compute slices, memory in GB); None of a whole GPU."""
        matched = _SLICE_NAME.search(self.name)
        return (int(matched[2]), int(matched[3])) if matched else None

    @property
    def whole_name(self) -> str:
        """The name of the GPU that a slice is of."""
        return _SLICE_NAME.sub("", self.name)


Devices = tuple[Device, ...]
Told = tuple[Devices, tuple[str, ...]]  # devices, and lines about what was asked in vain


def _float(text: object) -> float | None:
    """A number that a tool printed, with or without a unit; None for its words for unknown."""
    matched = re.match(r"\s*(\d+(?:\.\d+)?)", str(text))
    return float(matched[1]) if matched else None


def _bytes(text: object, unit_bytes: int = 1) -> int | None:
    value = _float(text)
    return None if value is None else int(value * unit_bytes)


def _fraction(text: object) -> float | None:
    percent = _float(text)
    return None if percent is None else min(percent / 100, 1.0)


# NVIDIA


def nvidia(around: Surroundings) -> Told:
    """Return NVIDIA's GPUs, as CUDA_VISIBLE_DEVICES leaves them; of a GPU in MIG mode its slices."""
    rows, by, problem = around.nvml(), "NVML", None
    if rows is None:
        by = "nvidia-smi"
        rows, problem = _smi_rows(around)
    whole = tuple(_nvidia_device(row, by) for row in rows if "slice" not in row and row.get("name"))
    notes = [problem] if problem else []
    divided = {int(row["index"]) for row in rows if row.get("mig.mode.current") == "Enabled"}
    if divided:
        slices = [_nvidia_device(row, by) for row in rows if "slice" in row] or _smi_slices(around, whole)
        bare = divided - {one.index for one in slices}
        notes += [f"GPU {index} is in MIG mode and has no slice; 'nvidia-smi mig -cgi' makes one" for index in bare]
        whole = tuple(
            sorted(
                (*(one for one in whole if one.index not in divided), *map(_as_slice, slices)),
                key=lambda one: one.index,
            )
        )
    chosen, note = visible(whole, around.environment.get("CUDA_VISIBLE_DEVICES"), "CUDA_VISIBLE_DEVICES")
    return chosen, (*notes, *((note,) if note else ()))


def _smi_rows(around: Surroundings) -> tuple[tuple[Row, ...], str | None]:
    """What nvidia-smi prints; older drivers do not know of MIG."""
    problem = None
    for fields in ((*_SMI_FIELDS, "mig.mode.current"), _SMI_FIELDS):
        answer = around.run("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
        problem = answer.problem
        if problem is None or "not a valid field" not in problem:
            lines = csv.reader(answer.text.splitlines(), skipinitialspace=True)
            rows = [dict(zip(fields, line, strict=False)) for line in lines if len(line) >= len(fields)]
            return tuple(row for row in rows if row["index"].isdigit()), problem
    return (), problem


def _nvidia_device(row: Row, by: str) -> Device:
    return Device(
        name=row["name"].strip(),
        vendor="NVIDIA",
        index=int(row["index"]),
        by=by,
        memory_bytes=_bytes(row.get("memory.total"), _MIB),
        free_bytes=_bytes(row.get("memory.free"), _MIB),
        driver=_known(row.get("driver_version")),
        load_fraction=_fraction(row.get("utilization.gpu")),
        uuid=_known(row.get("uuid")),
    )


def _known(text: str | None) -> str | None:
    """A text that says something: tools write [N/A] and the like for what they do not know."""
    return text.strip() if text and text.strip() and not text.strip().startswith("[") else None


def _smi_slices(around: Surroundings, whole: Devices) -> list[Device]:
    """The MIG slices that ``nvidia-smi -L`` lists below their GPU."""
    by_index, slices, here = {one.index: one for one in whole}, [], None
    for line in around.run("nvidia-smi", "-L").text.splitlines():
        if parent := _WHOLE.match(line):
            here = by_index.get(int(parent[1]))
        elif (part := _SLICE.match(line)) and here is not None:
            name = f"{here.name} MIG {part[1]}"
            slices.append(
                replace(here, name=name, uuid=part[2], memory_bytes=None, free_bytes=None, load_fraction=None)
            )
    return slices


def _as_slice(one: Device) -> Device:
    """A slice with the memory of its name, where the driver does not say; its free memory is then not known."""
    if one.memory_bytes is not None or one.part is None:
        return one
    return replace(one, memory_bytes=one.part[1] * 10**9)


def visible(devices: Devices, text: str | None, variable: str) -> tuple[Devices, str | None]:
    """Return the devices that a variable such as CUDA_VISIBLE_DEVICES leaves, in its order, and a line about it.

    CUDA's rule: numbers or beginnings of UUIDs; the list ends at the first that is not there. Numbers are taken in the
    order of the tool, by bus (CUDA_DEVICE_ORDER=PCI_BUS_ID).
    """
    if text is None or not devices:
        return devices, None
    chosen: list[Device] = []
    for item in (part.strip() for part in text.split(",")):
        fitting = [one for one in devices if _is(one, item)]
        if not fitting or fitting[0] in chosen:
            break
        chosen.append(fitting[0])
    if len(chosen) == len(devices):
        return tuple(chosen), None
    return tuple(chosen), f"{variable}={text[:60]} leaves {len(chosen)} of {len(devices)}"


def _is(one: Device, item: str) -> bool:
    if item.isascii() and item.isdigit():
        return one.index == int(item)
    return bool(item) and one.uuid is not None and item[:3] in ("GPU", "MIG") and one.uuid.startswith(item)


def jetson(around: Surroundings) -> Told:
    """Return the GPU of a Jetson: the module of its device tree, with the memory that processor and GPU share."""
    board = around.read("/proc/device-tree/model")
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", around.read("/etc/nv_tegra_release"))
    if not (release or re.search(r"jetson|nvidia.*thor|nvidia.*orin", board, re.IGNORECASE)):
        return (), ()
    load = next((value for path in _JETSON_LOADS if (value := around.number(path)) is not None), None)
    return (
        Device(
            name=board or "NVIDIA Jetson",
            vendor="NVIDIA",
            index=0,
            by="device tree",
            kind="soc",
            driver=f"L4T {release[1]}.{release[2]}" if release else None,
            load_fraction=None if load is None else min(load / 1000, 1.0),  # in thousandths
        ),
    ), ()


_JETSON_LOADS = (
    "/sys/devices/gpu.0/load",
    "/sys/devices/platform/gpu.0/load",
    "/sys/devices/platform/bus@0/17000000.gpu/load",
)


# AMD


def amd(around: Surroundings) -> Told:
    """Return AMD's GPUs, as HIP_VISIBLE_DEVICES leaves them."""
    notes: list[str] = []
    devices: Devices = ()
    for ask in (_amd_smi, _rocm_smi):
        devices, problems = ask(around)
        notes += problems
        if devices:
            break
    devices = devices or _cards(around, "1002", "AMD")
    if devices:
        chosen, note = visible(devices, around.environment.get("HIP_VISIBLE_DEVICES"), "HIP_VISIBLE_DEVICES")
        return chosen, (*notes, *((note,) if note else ()))
    return (), tuple(notes)


def _json(text: str) -> Any:
    """The JSON in what a tool printed, warnings before it left out; None where there is none."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    try:
        return json.loads(text[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[Mapping[str, Any]]:
    """A list of tables, which amd-smi prints bare or as ``gpu_data``, xpu-smi as ``device_list``."""
    listed = next((_table(value)[key] for key in ("gpu_data", "device_list") if key in _table(value)), value)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _sized(value: Any) -> int | None:
    """A size as amd-smi writes one: ``{"value": 196592, "unit": "MB"}``, where MB is 2**20 bytes."""
    unit = {"B": 1, "KB": 2**10, "MB": _MIB, "GB": 2**30}.get(str(_table(value).get("unit", "MB")).upper(), _MIB)
    return _bytes(_table(value).get("value", value), unit)


def _amd_smi(around: Surroundings) -> Told:
    answer = around.run("amd-smi", "static", "--asic", "--vram", "--driver", "--json")
    rows = [row for row in _rows(_json(answer.text)) if _table(row.get("asic"))]
    used = {}
    if rows:
        metrics = _rows(_json(around.run("amd-smi", "metric", "--mem-usage", "--usage", "--json").text))
        used = {one.get("gpu"): one for one in metrics}
    devices = []
    for place, row in enumerate(rows):
        asic, metric = _table(row.get("asic")), _table(used.get(row.get("gpu")))
        memory, load = _table(metric.get("mem_usage")), _table(metric.get("usage"))
        total = _sized(memory.get("total_vram")) or _sized(_table(row.get("vram")).get("size"))
        devices.append(
            Device(
                name=str(asic.get("market_name") or "AMD GPU"),
                vendor="AMD",
                index=int(row["gpu"]) if isinstance(row.get("gpu"), int) else place,
                by="amd-smi",
                memory_bytes=total,
                free_bytes=_sized(memory.get("free_vram")),
                driver=_known(str(_table(row.get("driver")).get("version") or "")),
                load_fraction=_fraction(_table(load.get("gfx_activity")).get("value", load.get("gfx_activity"))),
                cores=_bytes(asic.get("num_compute_units")),
                integrated=total is not None and total < _LEAST_CARD_BYTES,
            )
        )
    return tuple(devices), (answer.problem,) if answer.problem else ()


def _rocm_smi(around: Surroundings) -> Told:
    answer = around.run(
        "rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showuse", "--showdriverversion", "--json"
    )
    whole, devices = _table(_json(answer.text)), []
    driver = _known(str(_table(whole.get("system")).get("Driver version") or ""))
    for key, value in whole.items():
        number = re.fullmatch(r"card(\d+)", key)
        if number is None:
            continue
        card = {name.casefold(): text for name, text in _table(value).items()}
        total, used = _bytes(card.get("vram total memory (b)")), _bytes(card.get("vram total used memory (b)"))
        devices.append(
            Device(
                name=_card_name(card),
                vendor="AMD",
                index=int(number[1]),
                by="rocm-smi",
                memory_bytes=total,
                free_bytes=None if total is None or used is None else max(total - used, 0),
                driver=driver,
                load_fraction=_fraction(card.get("gpu use (%)")),
                integrated=total is not None and total < _LEAST_CARD_BYTES,
            )
        )
    return tuple(devices), (answer.problem,) if answer.problem else ()


def _card_name(card: Mapping[str, Any]) -> str:
    """The series, else the model, of which older versions print the number only."""
    named = [str(card[key]) for key in ("card series", "card model") if card.get(key)]
    return next((name for name in named if not name.startswith(("0x", "N/A"))), named[0] if named else "AMD GPU")


# Intel


def intel(around: Surroundings) -> Told:
    """Return Intel's GPUs, the processor's own graphics last."""
    answer = around.run("xpu-smi", "discovery", "-j")
    listed = [row for row in _rows(_json(answer.text)) if row.get("device_name")]
    gpus = [_xpu(around, row, place) for place, row in enumerate(listed)]
    cards = () if gpus else _cards(around, "8086", "Intel")
    named = _opencl(around) if cards else []
    for card in cards:
        fitting = [one for one in named if one.integrated is card.integrated]
        if fitting:
            named.remove(fitting[0])
            total = card.memory_bytes or (None if card.integrated else fitting[0].memory_bytes)
            card = replace(fitting[0], index=card.index, memory_bytes=total, driver=card.driver)  # noqa: PLW2901
        gpus.append(card)
    return tuple(sorted(gpus, key=lambda one: one.integrated)), (answer.problem,) if answer.problem else ()


def _xpu(around: Surroundings, row: Mapping[str, Any], place: int) -> Device:
    number = row.get("device_id", place)
    more = _table(_json(around.run("xpu-smi", "discovery", "-d", str(number), "-j").text))
    return Device(
        name=str(row["device_name"]),
        vendor="Intel",
        index=_bytes(number) or 0,
        by="xpu-smi",
        memory_bytes=_bytes(more.get("memory_physical_size_byte")),
        free_bytes=_bytes(more.get("memory_free_size_byte")),
        driver=_known(str(more.get("driver_version") or "")),
        uuid=_known(str(row.get("uuid") or "")),
        integrated=str(row.get("pci_bdf_address", "")).startswith(_LOCAL_BUS),
    )


def _opencl(around: Surroundings) -> list[Device]:
    """Intel's GPUs as ``clinfo --raw`` lists them, one property a line."""
    told: dict[str, dict[str, str]] = {}
    for line in around.run("clinfo", "--raw").text.splitlines():
        if matched := re.match(r"\[([^\]]+/\d+)\]\s+(CL_\w+)\s+(.+)", line):
            told.setdefault(matched[1], {})[matched[2]] = matched[3].strip()
    return [
        Device(
            name=one.get("CL_DEVICE_NAME", "Intel GPU"),
            vendor="Intel",
            index=0,
            by="clinfo",
            memory_bytes=_bytes(one.get("CL_DEVICE_GLOBAL_MEM_SIZE")),
            integrated="TRUE" in one.get("CL_DEVICE_HOST_UNIFIED_MEMORY", ""),
        )
        for one in told.values()
        if "Intel" in one.get("CL_DEVICE_VENDOR", "") and "GPU" in one.get("CL_DEVICE_TYPE", "")
    ]


# The kernel


def _cards(around: Surroundings, vendor_id: str, vendor: str) -> Devices:
    """The graphics cards of a vendor that the kernel lists, named by the machine's own list of PCI devices."""
    devices, folder = [], "/sys/class/drm"
    for place, card in enumerate(one for one in around.listed(folder) if re.fullmatch(r"card\d+", one)):
        about = dict(
            line.split("=", 1) for line in around.read(f"{folder}/{card}/device/uevent").splitlines() if "=" in line
        )
        owner, _, number = about.get("PCI_ID", "").upper().partition(":")
        if owner != vendor_id:
            continue
        total = around.number(f"{folder}/{card}/device/mem_info_vram_total")
        used = around.number(f"{folder}/{card}/device/mem_info_vram_used")
        local = about.get("PCI_SLOT_NAME", "").startswith(_LOCAL_BUS)
        devices.append(
            Device(
                name=around.read(f"{folder}/{card}/device/product_name")
                or _pci_name(around, vendor_id, number, vendor),
                vendor=vendor,
                index=place,
                by="/sys/class/drm",
                memory_bytes=total,
                free_bytes=None if total is None or used is None else max(total - used, 0),
                driver=_known(about.get("DRIVER")),
                load_fraction=_fraction(around.read(f"{folder}/{card}/device/gpu_busy_percent")),
                integrated=local or (total is not None and total < _LEAST_CARD_BYTES),
            )
        )
    return tuple(devices)


def _pci_name(around: Surroundings, vendor_id: str, number: str, vendor: str) -> str:
    """What it is sold as, in brackets in the list of PCI devices; its number where there is no such list."""
    text = next((text for path in _PCI_NAMES if (text := around.read(path))), "")
    block = re.search(rf"^{vendor_id}\s.*\n((?:\t.*\n|#.*\n)*)", text + "\n", re.MULTILINE | re.IGNORECASE)
    line = re.search(rf"^\t{number}\s+(.+)$", block[1], re.MULTILINE | re.IGNORECASE) if block and number else None
    if line is None:
        return f"{vendor} GPU {number.lower()}".strip()
    sold = re.search(r"\[(.+)\]", line[1])
    return f"{vendor} {sold[1] if sold else line[1].strip()}"


# Apple


def apple(around: Surroundings) -> Told:
    """Return the GPU of an Apple chip: its name, its cores, and the memory it shares with the processor."""
    chip = around.run("sysctl", "-n", "machdep.cpu.brand_string").text.strip()
    if not chip.startswith("Apple"):
        return (), ()
    answer = around.run("system_profiler", "SPDisplaysDataType", "-json")
    listed = _table(_json(answer.text)).get("SPDisplaysDataType")
    displays = [_table(one) for one in listed] if isinstance(listed, list) else []
    cores = next((count for one in displays if (count := _bytes(one.get("sppci_cores")))), None)
    device = Device(name=chip, vendor="Apple", index=0, by="sysctl", kind="soc", cores=cores)
    return (device,), (answer.problem,) if answer.problem else ()


def gpus(around: Surroundings) -> Told:
    """Return the GPUs of a machine, those to compute on first, and lines about what was asked in vain."""
    asks: Iterable[Callable[[Surroundings], Told]] = (nvidia, amd, intel)
    if around.system == "Darwin":
        asks = (apple,)
    elif around.system == "Linux" and (own := jetson(around))[0]:
        return own
    told = [ask(around) for ask in asks]
    devices = [one for those, _ in told for one in those]
    return tuple(sorted(devices, key=lambda one: one.integrated)), tuple(note for _, notes in told for note in notes)
