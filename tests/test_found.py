"""Detection against recorded machines, and against the real one: what is found, what is said, and how long it takes."""

import os
import statistics
import time
from pathlib import Path

import pytest
from recorded_machines import NAMES, recorded

from vlmplan.document import to_json
from vlmplan.hardware import Device, FoundMachine, Surroundings, machine_here
from vlmplan.hardware.gpus import visible
from vlmplan.hardware.surroundings import cuda_attributes, within

GIB = 2**30
needs_sh = pytest.mark.skipif(os.name == "nt", reason="recorded tools are shell scripts")
pytestmark = needs_sh


def _found(name: str, folder: Path, **environment: str) -> FoundMachine:
    return machine_here(recorded(name, folder, environment))


# machine -> (names of devices, how they were found, memory of the first in GiB, its free GiB, busy)
_EXPECTED: dict[str, tuple[tuple[str, ...], str, float | None, float | None, bool | None]] = {
    "l4-cloud": (("NVIDIA L4",), "nvidia-smi", 22.49, 22.04, False),
    "h100-x8": (("NVIDIA H100 80GB HBM3",) * 8, "nvidia-smi", 79.65, 19.52, True),
    "a100-mig": (
        tuple(f"NVIDIA A100-SXM4-80GB MIG {part}" for part in ("3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb")),
        "nvidia-smi",
        37.25,
        None,
        None,
    ),
    "rtx-4090-laptop": (
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "Intel Raptor Lake-S UHD Graphics"),
        "nvidia-smi",
        15.99,
        14.24,
        False,
    ),
    "t4-container": (("Tesla T4",), "nvidia-smi", 15.0, 7.42, True),
    "old-driver": (("Tesla V100-SXM2-16GB",), "nvidia-smi", 15.78, 15.78, False),
    "mi300x-x8": (("AMD Instinct MI300X",) * 8, "amd-smi", 191.98, 191.71, False),
    "mi300x-vf-rocm-smi": (("AMD Instinct MI300X VF",), "rocm-smi", 191.69, 191.41, False),
    "radeon-7900-xtx": (
        ("AMD Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M", "AMD Raphael"),
        "/sys/class/drm",
        23.98,
        22.86,
        False,
    ),
    "arc-b580": (("Intel(R) Arc(TM) B580 Graphics",), "clinfo", 11.33, None, None),
    "arc-pro-b60-xpu-smi": (("Intel(R) Arc(TM) Pro B60 Graphics",) * 2, "xpu-smi", 23.91, 23.28, None),
    "apple-m4-max": (("Apple M4 Max",), "sysctl", 128.0, 82.24, None),
    "apple-m4-max-32": (("Apple M4 Max",), "sysctl", 36.0, None, None),
    "jetson-agx-orin": (("NVIDIA Jetson AGX Orin Developer Kit",), "device tree", 61.35, 55.31, False),
    "jetson-orin-nano": (
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",),
        "device tree",
        7.44,
        1.05,
        True,
    ),
    "wsl2-rtx-3060": (("NVIDIA GeForce RTX 3060",), "nvidia-smi", 12.0, 10.23, False),
    "mixed-gpus": (("NVIDIA GeForce RTX 3090", "NVIDIA RTX A6000"), "nvidia-smi", 24.0, 23.67, False),
}
_NO_GPU = {
    "small-vm",
    "raspberry-pi-5",
    "x86-server",
    "docker-cgroup-v1",
    "no-tools",
    "nvidia-smi-hangs",
    "nvidia-smi-fails",
}


def test_every_recording_is_expected() -> None:
    assert set(NAMES) == set(_EXPECTED) | _NO_GPU
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", sorted(_EXPECTED))
def test_gpus_of_recorded_machines(name: str, tmp_path: Path) -> None:
    names, by, memory_gib, free_gib, busy = _EXPECTED[name]
    found = _found(name, tmp_path)
    assert tuple(one.name for one in found.devices) == names
    first = found.devices[0]
    assert (first.by, first.busy) == (by, busy)
    for size, gib in ((first.memory_bytes, memory_gib), (first.free_bytes, free_gib)):
        assert (size is None) is (gib is None)
        assert size is None or size / GIB == pytest.approx(gib, abs=0.01)
    assert found.notes == ()


@pytest.mark.parametrize("name", sorted(_NO_GPU - {"nvidia-smi-hangs"}))
def test_machines_without_a_gpu_say_so(name: str, tmp_path: Path) -> None:
    found = _found(name, tmp_path)
    assert found.computing == ()
    assert found.processor.threads >= 1
    assert found.processor.name


def test_drivers_are_named(tmp_path: Path) -> None:
    drivers = {"l4-cloud": "550.54.15", "mi300x-x8": "6.12.12", "mi300x-vf-rocm-smi": "6.8.5", "arc-b580": "xe",
               "arc-pro-b60-xpu-smi": "I915_25.18.33578", "jetson-agx-orin": "L4T 36.4.3"}  # fmt: skip
    for name, driver in drivers.items():
        assert _found(name, tmp_path / name).devices[0].driver == driver


def test_a_busy_gpu_is_told_from_its_idle_neighbours(tmp_path: Path) -> None:
    assert [one.busy for one in _found("mi300x-x8", tmp_path).devices] == [False, False, True] + [False] * 5


def test_the_graphics_of_a_processor_is_nothing_to_plan_for(tmp_path: Path) -> None:
    for name in ("rtx-4090-laptop", "radeon-7900-xtx"):
        found = _found(name, tmp_path / name)
        assert [one.integrated for one in found.devices] == [False, True]
        assert len(found.computing) == 1


@pytest.mark.parametrize(
    ("name", "memory_gib", "free_gib", "threads", "inside"),
    [
        ("t4-container", 15.0, 13.0, 4, "container"),
        ("docker-cgroup-v1", 2.0, 1.5, 1, "container"),
        ("x86-server", 755.3, 667.6, 8, None),
        ("raspberry-pi-5", 7.86, 6.68, 4, None),
        ("small-vm", 23.54, 22.77, 2, "container"),
        ("wsl2-rtx-3060", 15.54, 14.31, 16, "WSL"),
        ("apple-m4-max", 128.0, 82.24, 16, None),
        ("no-tools", None, None, None, None),
    ],
)
def test_limits_of_containers_are_the_machine(
    name: str, memory_gib: float | None, free_gib: float | None, threads: int | None, inside: str | None, tmp_path: Path
) -> None:
    found = _found(name, tmp_path)
    for size, gib in ((found.memory_bytes, memory_gib), (found.free_bytes, free_gib)):
        assert (size is None) is (gib is None)
        assert size is None or size / GIB == pytest.approx(gib, abs=0.05)
    assert found.inside == inside
    assert found.processor.threads == (threads or os.cpu_count())
    assert found.limited is (name in {"t4-container", "docker-cgroup-v1"})


@pytest.mark.parametrize(
    ("name", "processor", "vendor"),
    [
        ("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0", "Raspberry"),
        ("x86-server", "AMD EPYC 9654 96-Core Processor", "AMD"),
        ("l4-cloud", "Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel"),
        ("apple-m4-max", "Apple M4 Max", "Apple"),
        ("no-tools", "riscv64", "riscv64"),
    ],
)
def test_processors(name: str, processor: str, vendor: str, tmp_path: Path) -> None:
    found = _found(name, tmp_path).processor
    assert (found.name, found.vendor) == (processor, vendor)


def test_a_tool_that_hangs_is_left_behind_and_said(tmp_path: Path) -> None:
    """Its child too: nothing waits for the minute that it sleeps."""
    start = time.monotonic()
    found = machine_here(recorded("nvidia-smi-hangs", tmp_path, timeout_s=0.3))
    assert time.monotonic() - start < 3
    assert found.computing == ()
    assert found.notes == ("nvidia-smi did not answer within 0.3 s",)


def test_a_tool_that_fails_is_said(tmp_path: Path) -> None:
    (note,) = _found("nvidia-smi-fails", tmp_path).notes
    assert note.startswith("nvidia-smi failed: NVIDIA-SMI has failed because it couldn't communicate")


def test_a_tool_that_is_no_program_is_said(tmp_path: Path) -> None:
    here = recorded("no-tools", tmp_path)
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_bytes(b"\0\1\2")
    tool.chmod(0o755)
    (note,) = machine_here(here).notes
    assert note.startswith("nvidia-smi cannot be run (")


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[1, 2]", '{"gpu_data": 3}', '[{"gpu": "x", "asic": []}]', "\xff", "[" * 5000]
)
def test_nonsense_from_tools_is_no_device_and_no_exception(text: str, tmp_path: Path) -> None:
    here = recorded("no-tools", tmp_path)
    for tool in ("nvidia-smi", "amd-smi", "rocm-smi", "xpu-smi", "clinfo"):
        (tmp_path / f"{tool}.txt").write_text(text, encoding="utf-8")
        script = tmp_path / "bin" / tool
        script.write_text(f"#!/bin/sh\n/bin/cat '{tmp_path / tool}.txt'\n", encoding="utf-8")
        script.chmod(0o755)
    found = machine_here(here)
    assert found.devices == ()
    assert to_json(found)


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("0", [0]),
        ("1,0", [1, 0]),
        ("", []),
        ("-1", []),
        ("7,3", [7, 3]),
        ("0,9,1", [0]),
        ("0,0", [0]),
        ("GPU-5d5ba0d6-0003", [3]),
        ("0,1,2,3,4,5,6,7", list(range(8))),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices(value: str, indices: list[int], tmp_path: Path) -> None:
    found = _found("h100-x8", tmp_path, CUDA_VISIBLE_DEVICES=value)
    assert [one.index for one in found.devices] == indices
    whole = len(indices) == 8
    assert found.notes == (() if whole else (f"CUDA_VISIBLE_DEVICES={value} leaves {len(indices)} of 8",))


def test_a_slice_is_chosen_by_its_uuid(tmp_path: Path) -> None:
    found = _found("a100-mig", tmp_path, CUDA_VISIBLE_DEVICES="MIG-2a3b4c5d-0002-5e6f-8a9b-0c1d2e3f4a5b")
    assert [one.part for one in found.devices] == [(2, 20)]


def test_hip_visible_devices(tmp_path: Path) -> None:
    assert [one.index for one in _found("mi300x-x8", tmp_path, HIP_VISIBLE_DEVICES="2").devices] == [2]


def test_a_gpu_in_mig_mode_without_slices(tmp_path: Path) -> None:
    here = recorded("a100-mig", tmp_path)
    for script in (tmp_path / "bin").glob("nvidia-smi"):
        script.write_text(script.read_text().replace("-L)", "-none)"), encoding="utf-8")
    found = machine_here(here)
    assert found.devices == ()
    assert found.notes == ("GPU 0 is in MIG mode and has no slice; 'nvidia-smi mig -cgi' makes one",)


def test_what_nvml_says_is_read_as_what_nvidia_smi_prints(tmp_path: Path) -> None:
    """A GPU in MIG mode with one slice, as nvidia-ml-py gives it."""
    here = recorded("no-tools", tmp_path)
    rows = (
        {"index": "0", "uuid": "GPU-1", "name": "NVIDIA H100 80GB HBM3", "memory.total": "81559.0",
         "memory.free": "81000.0", "driver_version": "550.54", "mig.mode.current": "Enabled"},
        {"index": "0", "uuid": "MIG-1", "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "memory.total": "9984.0",
         "memory.free": "9900.0", "driver_version": "550.54", "slice": "yes"},
    )  # fmt: skip
    asked = Surroundings(
        root=here.root, path=here.path, environment={}, system="Linux", processor="x86_64", nvml=lambda: rows
    )
    (one,) = machine_here(asked).devices
    assert (one.name, one.by, one.uuid) == ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVML", "MIG-1")
    assert one.memory_bytes == 9984 * 2**20


def test_an_order_is_kept_and_nothing_said_where_all_are_left() -> None:
    both = tuple(Device(name="NVIDIA L4", vendor="NVIDIA", index=index, by="nvidia-smi") for index in (0, 1))
    assert visible(both, "1,0", "CUDA_VISIBLE_DEVICES") == (both[::-1], None)
    assert visible(both, None, "CUDA_VISIBLE_DEVICES") == (both, None)
    assert visible((), "0", "CUDA_VISIBLE_DEVICES") == ((), None)


def test_what_takes_too_long_or_fails_is_none() -> None:
    assert within(0.05, lambda: time.sleep(0.5)) is None
    assert within(1, lambda: int("no number")) is None
    assert within(1, lambda: 3) == 3


def test_a_driver_that_is_not_there_says_nothing() -> None:
    assert cuda_attributes(0, "libno-such-driver.so.1") is None


def test_this_very_machine_is_found_fast() -> None:
    """Whatever it is. Three tenths of a second where no tool is there, as the median of a few."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        found = machine_here()
        times.append(time.perf_counter() - start)
    assert found.processor.threads >= 1
    assert found.processor.name
    assert found.memory_bytes is None or found.memory_bytes > 2**28
    if not any(one.by != "/sys/class/drm" for one in found.devices) and not found.notes:
        assert statistics.median(times) < 0.3
