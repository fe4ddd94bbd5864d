"""This machine as a profile: recorded machines, profiles of one's own, and what is said about each."""

import csv
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from recorded_machines import recorded

from vlmplan.document import to_toml
from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware import Calibration, HardwareProfile, Precision, Runtime
from vlmplan.hardware.rates import cuda_peaks, cuda_rates, processor_rates
from vlmplan.inventory import Budget, catalogue
from vlmplan.inventory.own_profiles import data_folder, kept, own_path, own_profile, own_profiles
from vlmplan.inventory.this_machine import Here, here
from vlmplan.models import Workload
from vlmplan.planning import Asked, query, recommend

FACTS = Path(__file__).resolve().parents[1] / "facts"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="recorded tools are shell scripts")


def _here(name: str, folder: Path, device: str | None = None, **environment: str) -> Here:
    return here(recorded(name, folder, environment), device, folder / "data")


@pytest.mark.parametrize(
    ("machine", "profile", "gpus"),
    [
        ("l4-cloud", "l4", 1),
        ("h100-x8", "h100-sxm", 8),
        ("a100-mig", "a100-80gb-sxm-mig-3g.40gb", 1),
        ("rtx-4090-laptop", "here-nvidia-geforce-rtx-4090-laptop-gpu", 1),
        ("t4-container", "t4", 1),
        ("old-driver", "v100-sxm2-16gb", 1),
        ("mi300x-x8", "instinct-mi300x", 8),
        ("mi300x-vf-rocm-smi", "instinct-mi300x", 1),
        ("arc-b580", "intel-arc-b580", 1),
        ("arc-pro-b60-xpu-smi", "intel-arc-pro-b60", 2),
        ("apple-m4-max", "apple-m4-max", 1),
        ("apple-m4-max-32", "apple-m4-max-32-cores-36gib", 1),
        ("jetson-agx-orin", "jetson-agx-orin-64gb", 1),
        ("jetson-orin-nano", "jetson-orin-nano-8gb", 1),
        ("wsl2-rtx-3060", "geforce-rtx-3060-12gb", 1),
        ("mixed-gpus", "rtx-a6000", 1),
        ("raspberry-pi-5", "here-raspberry-pi-5-model-b-rev-1-0-4-threads", 1),
        ("x86-server", "here-amd-epyc-9654-96-core-processor-8-threads", 1),
        ("nvidia-smi-fails", "here-intel-r-xeon-r-cpu-2-20ghz-8-threads", 1),
    ],
)
def test_recorded_machines_have_a_profile(machine: str, profile: str, gpus: int, tmp_path: Path) -> None:
    found = _here(machine, tmp_path)
    assert (found.hardware.name, found.gpus) == (profile, gpus)
    assert "(--hardware NAME for another" in found.assumed[0]
    assert found.own is None
    assert to_toml(found.hardware)
    if profile in catalogue.names(catalogue.Shelf.HARDWARE):
        assert found.hardware == catalogue.hardware(profile)


def test_what_is_busy_or_taken_is_said(tmp_path: Path) -> None:
    said = _here("t4-container", tmp_path / "a").warnings
    assert said == (
        "Tesla T4 is busy (43 %): times will be longer while it is",
        "Tesla T4 has 7.42 GiB free of 15.0 GiB; --memory 7.4GiB plans with that",
    )
    assert _here("l4-cloud", tmp_path / "b").warnings == ()
    assert "the container limits memory to 2.00 GiB" in _here("docker-cgroup-v1", tmp_path / "c").warnings


def test_of_eight_gpus_a_free_one_is_planned_for(tmp_path: Path) -> None:
    found = _here("h100-x8", tmp_path)
    assert found.warnings == ()
    assert found.assumed[1] == "8 such GPUs are here, 1 of them busy; planned for one, number 1 (--gpus 8 for more)"
    assert (
        "NVIDIA H100 80GB HBM3 is busy (97 %): times will be longer while it is"
        in _here("h100-x8", tmp_path / "first", "cuda:0").warnings
    )


def test_a_device_is_chosen_by_its_number(tmp_path: Path) -> None:
    assert _here("mixed-gpus", tmp_path / "a", "0").hardware.name == "geforce-rtx-3090"
    assert _here("mixed-gpus", tmp_path / "b").assumed[1] == "also here: NVIDIA GeForce RTX 3090 (--hardware NAME)"
    assert _here("mixed-gpus", tmp_path / "c", CUDA_VISIBLE_DEVICES="0").hardware.name == "geforce-rtx-3090"
    assert _here("l4-cloud", tmp_path / "d", "cpu").hardware.kind == "cpu"
    with pytest.raises(Unavailable, match="device cuda:3: found 0: NVIDIA L4; expected the number of a GPU, or cpu"):
        _here("l4-cloud", tmp_path / "e", "cuda:3")


def test_a_slice_is_a_part_of_its_gpu(tmp_path: Path) -> None:
    """3g.40gb: three eighths of the peaks, half of the memory and of its bandwidth."""
    part, whole = _here("a100-mig", tmp_path).hardware, catalogue.hardware("a100-80gb-sxm")
    assert part.bandwidth_bytes_per_s == whole.bandwidth_bytes_per_s / 2
    assert part.peak_flops_per_s[Precision.FP16] == whole.peak_flops_per_s[Precision.FP16] * 3 / 8
    assert part.memory_bytes == 40e9
    assert part.calibration == ()


def test_a_smaller_apple_chip_is_scaled_and_said(tmp_path: Path) -> None:
    found, whole = _here("apple-m4-max-32", tmp_path), catalogue.hardware("apple-m4-max")
    assert found.hardware.memory_bytes == 36 * 2**30
    assert found.hardware.bandwidth_bytes_per_s == pytest.approx(whole.bandwidth_bytes_per_s * 0.8)
    assert "with 32 of 40 cores and as much less of its bandwidth and with 36.0 GiB of memory" in found.assumed[0]


def test_a_gpu_of_which_nothing_tells_how_fast_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"RX 7900 XT.* not in the catalogue, and nothing here tells .*--hardware"):
        _here("radeon-7900-xtx", tmp_path)
    assert _here("radeon-7900-xtx", tmp_path / "cpu", "cpu").hardware.kind == "cpu"


def test_an_apple_chip_that_is_not_listed_is_planned_as_a_processor(tmp_path: Path) -> None:
    asked = recorded("apple-m4-max", tmp_path)
    for text in (tmp_path / "bin").glob(".*.txt"):
        text.write_text(text.read_text(encoding="utf-8").replace("M4 Max", "M9"), encoding="utf-8")
    found = here(asked, folder=tmp_path / "data")
    assert (found.hardware.kind, found.hardware.title) == ("cpu", "Apple M9, 16 threads")
    assert found.assumed[0] == "nothing tells how fast the GPU of Apple M9 is"


def test_memory_that_differs_from_the_catalogue_is_what_was_read(tmp_path: Path) -> None:
    asked = recorded("wsl2-rtx-3060", tmp_path)
    for text in (tmp_path / "root/usr/lib/wsl/lib").glob(".*.txt"):
        text.write_text(text.read_text(encoding="utf-8").replace("12288", "8192"), encoding="utf-8")
    found = here(asked, folder=tmp_path / "data")
    assert found.hardware.name == "geforce-rtx-3060-12gb-8gib"
    assert found.hardware.memory_bytes == 8 * 2**30
    said = (
        "planned as geforce-rtx-3060-12gb-8gib with 8.00 GiB of memory, its bandwidth taken for that of the other size"
    )
    assert said in found.assumed[0]


def test_memory_decides_between_modules_of_one_name(tmp_path: Path) -> None:
    asked = recorded("jetson-agx-orin", tmp_path)
    info = tmp_path / "root/proc/meminfo"
    info.write_text(info.read_text().replace("64335104", "31395304"), encoding="utf-8")
    assert here(asked, folder=tmp_path / "data").hardware.name == "jetson-agx-orin-32gb"


def _measured(title: str, kind: str, date: str) -> HardwareProfile:
    base = catalogue.typical()[0]
    calibration: Calibration = replace(base, runtime=Runtime.ONNXRUNTIME, date=date)
    return replace(
        catalogue.hardware("l4"),
        name=f"mine-{date}",
        title=f"{title}, 8 threads",
        kind=kind,
        calibration=(calibration,),
    )


def test_a_profile_of_ones_own_is_preferred_the_newest_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for date in ("2026-01-02", "2026-03-04", "2025-12-31"):
        one = _measured("NVIDIA L4", "gpu", date)
        own_path(one.name, folder).write_text(to_toml(one), encoding="utf-8")
    own_path("broken", folder).write_text("this is no profile", encoding="utf-8")
    assert [one.name for _, one in own_profiles(folder)] == ["mine-2025-12-31", "mine-2026-01-02", "mine-2026-03-04"]
    found = _here("l4-cloud", tmp_path)
    assert found.hardware.name == "mine-2026-03-04"
    assert found.own == folder / "hardware" / "mine-2026-03-04.toml"
    assert f"planned by your own profile {found.own}" in found.assumed[0]
    assert own_profile("NVIDIA L4", False, folder) is None  # measured as a GPU
    assert own_profile("NVIDIA L40", True, folder) is None
    assert _here("l4-cloud", tmp_path / "other").hardware.name == "l4"


def test_a_processors_own_profile_is_preferred(tmp_path: Path) -> None:
    one = _measured("Raspberry Pi 5 Model B Rev 1.0", "cpu", "2026-05-05")
    own_path("pi", tmp_path / "data").write_text(to_toml(one), encoding="utf-8")
    assert _here("raspberry-pi-5", tmp_path).hardware == one


def test_what_was_measured_in_a_moment_is_kept(tmp_path: Path) -> None:
    """Unless other programs ran meanwhile; then it is said, and measured anew the next time."""
    folder, name = tmp_path / "data", "here-raspberry-pi-5-model-b-rev-1-0-4-threads"
    busy = here(recorded("raspberry-pi-5", tmp_path, load=3.0), folder=folder)
    assert any("other programs ran" in line for line in busy.warnings)
    assert kept(name, folder) is None
    first, second = (_here("raspberry-pi-5", tmp_path) for _ in range(2))
    found = kept(name, folder)
    assert found is not None
    assert first.hardware == second.hardware == found[0]
    assert found[1]
    assert not first.warnings
    assert not own_profiles(folder)


def test_a_reading_of_yesterday_is_made_anew_and_the_best_of_both_kept(tmp_path: Path) -> None:
    """What a processor once reached it can; what it did not reach, something else kept it from."""
    folder, name = tmp_path / "data", "here-raspberry-pi-5-model-b-rev-1-0-4-threads"
    now = _here("raspberry-pi-5", tmp_path).hardware
    path = folder / "quick" / f"{name}.toml"
    slow_memory, fast_peak = now.bandwidth_bytes_per_s / 100, 100 * now.peak_flops_per_s[Precision.FP32]
    earlier = replace(now, bandwidth_bytes_per_s=slow_memory, peak_flops_per_s={Precision.FP32: fast_peak})
    path.write_text(to_toml(earlier), encoding="utf-8")
    assert _here("raspberry-pi-5", tmp_path).hardware == earlier, "of today it is read as it is"
    yesterday = time.time() - 25 * 3600
    os.utime(path, (yesterday, yesterday))
    again = _here("raspberry-pi-5", tmp_path).hardware
    assert again.bandwidth_bytes_per_s > 10 * slow_memory
    assert again.peak_flops_per_s == {Precision.FP32: fast_peak}
    found = kept(name, folder)
    assert found == (again, True)


def test_where_nothing_can_be_kept_the_plan_goes_on(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be", encoding="utf-8")
    assert _here("raspberry-pi-5", tmp_path).hardware.kind == "cpu"
    with pytest.raises(InputError, match="cannot be made"):
        own_path("mine", tmp_path / "data")


def test_a_user_without_a_home_reads_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it returns for a user that is not listed
    assert data_folder({}, "Linux").as_posix() == "/.local/share/vlmplan"


@pytest.mark.parametrize(
    ("system", "environment", "folder"),
    [
        ("Linux", {"HOME": "/home/a"}, "/home/a/.local/share/vlmplan"),
        ("Linux", {"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, "/data/vlmplan"),
        ("Linux", {"HOME": "/home/a", "XDG_DATA_HOME": "data"}, "/home/a/.local/share/vlmplan"),
        ("Darwin", {"HOME": "/Users/a", "XDG_DATA_HOME": "/data"}, "/Users/a/Library/Application Support/vlmplan"),
        ("Windows", {"USERPROFILE": "/a"}, "/a/AppData/Local/vlmplan"),
        ("Windows", {"USERPROFILE": "/a", "LOCALAPPDATA": "/b"}, "/b/vlmplan"),
    ],
)
def test_data_lie_where_the_platform_keeps_them(system: str, environment: dict[str, str], folder: str) -> None:
    assert data_folder(environment, system).as_posix() == folder


# Which published tensor peaks are not multiprocessors x rate x clock, and by how much: a clock under load below the
# boost clock, or two public figures that differ by two (facts/accelerators.csv tells of both).
_OTHER_PEAKS = {"L40": 2.0, "A10G": 1.8, "H100 NVL": 1.16, "H200 NVL": 1.16}


def test_peaks_from_clocks_are_those_of_data_sheets() -> None:
    with (FACTS / "accelerators.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["sm_or_cu"] and row["boost_clock_mhz"]]
    held = 0
    for row in (row for row in rows if row["vendor"] == "NVIDIA" and row["compute_capability"]):
        capability = tuple(map(int, row["compute_capability"].split(".")))
        found = cuda_peaks(
            row["name"], (capability[0], capability[1]), int(row["sm_or_cu"]), float(row["boost_clock_mhz"]) * 1e6
        )
        if found is None:
            continue
        held += 1
        for precision, column in ((Precision.FP32, "peak_fp32_tflops"), (Precision.FP16, "peak_fp16_dense_tflops")):
            if row[column]:
                most = _OTHER_PEAKS.get(row["name"], 1.09) if precision is Precision.FP16 else 1.04
                assert 0.98 < found[precision] / 1e12 / float(row[column]) < most + 0.01, (row["name"], precision)
    assert held > 35


def test_a_drivers_attributes_by_hand() -> None:
    """RTX 4090: 128 multiprocessors at 2520 MHz, 384 bits at 10501 MHz; 165 TFLOP/s, 1008 GB/s."""
    said = {"clock_khz": 2520000, "multiprocessors": 128, "integrated": 0, "memory_clock_khz": 10501000,
            "memory_bus_bits": 384, "capability_major": 8, "capability_minor": 9}  # fmt: skip
    found = cuda_rates("NVIDIA GeForce RTX 4090", said)
    assert found is not None
    assert found.bandwidth_bytes_per_s == pytest.approx(1008.1e9, rel=1e-3)
    assert found.peak_flops_per_s[Precision.FP16] == pytest.approx(165.2e12, rel=1e-3)
    assert found.peak_flops_per_s[Precision.FP32] == pytest.approx(82.6e12, rel=1e-3)
    assert cuda_rates("x", {**said, "integrated": 1}) is None
    assert cuda_rates("x", {**said, "capability_major": 99}) is None
    assert cuda_rates("x", {**said, "memory_clock_khz": 0}) is None


def test_a_processor_is_measured_in_a_moment() -> None:
    found = processor_rates(2**20)
    assert found.bandwidth_bytes_per_s > 1e8
    assert found.peak_flops_per_s[Precision.FP32] > 1e9
    assert found.basis.endswith("by NumPy or ONNX Runtime"), "what serves is measured where it is installed"
    assert re.fullmatch(r"\d\.?\d?e\+\d+|\d+0+", f"{found.bandwidth_bytes_per_s:.6g}")


@pytest.mark.parametrize("machine", ["l4-cloud", "a100-mig", "rtx-4090-laptop", "apple-m4-max-32", "mi300x-x8"])
def test_what_was_found_can_be_planned_with(machine: str, tmp_path: Path) -> None:
    device = _here(machine, tmp_path).hardware
    asked = Asked(hardware=device.name, task="reasoning")
    workload = Workload(text_tokens=50, output_tokens=32, image=(640, 480))
    plan = recommend(query(asked, workload, Budget(latency_s=5.0), device))
    assert plan.hardware.name == device.name
    assert device.memory_bytes is not None
    assert plan.choice.memory_bytes.total < device.memory_bytes


def test_of_alike_gpus_with_the_same_memory_free_the_idle_one_is_planned_for(tmp_path: Path) -> None:
    asked = recorded("h100-x8", tmp_path)
    for text in (tmp_path / "bin").glob(".*.txt"):
        busy = text.read_text(encoding="utf-8").replace("61012, 19989", "4, 80994")
        text.write_text(busy, encoding="utf-8")
    found = here(asked, folder=tmp_path / "data")
    assert "planned for one, number 1 " in found.assumed[1]


def test_attributes_of_another_gpu_describe_nothing(tmp_path: Path) -> None:
    """CUDA may count otherwise than nvidia-smi: the memory tells."""
    asked = recorded("rtx-4090-laptop", tmp_path)
    other = replace(asked, cuda=lambda index: {**(asked.cuda(index) or {}), "memory_bytes": 8 * 2**30})
    with pytest.raises(InputError, match=r"RTX 4090 Laptop GPU.* not in the catalogue"):
        here(other, folder=tmp_path / "data")
