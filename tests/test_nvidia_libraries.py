"""NVIDIA's libraries are asked by the calls that they have: nvidia-ml-py and ctypes against libraries built for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vlmplan.hardware import driver_cuda
from vlmplan.hardware.rates import cuda_rates
from vlmplan.hardware.surroundings import cuda_attributes

SOURCE = Path(__file__).with_name("nvidia_libraries.c")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``libnvidia-ml.so.1`` and ``libcuda.so.1``."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", SOURCE], check=True)
    shutil.copy(folder / "libcuda.so.1", folder / "libnvidia-ml.so.1")
    return folder


def test_the_cuda_driver_tells_clocks_and_widths(libraries: Path) -> None:
    """H100: 2 x 2619 MHz x 5120 bits / 8 = 3352 GB/s; 132 x 4096 x 1.98 GHz = 1070 TFLOP/s."""
    library = str(libraries / "libcuda.so.1")
    assert driver_cuda(library) == "12.4"
    said = cuda_attributes(0, library)
    assert said is not None
    assert said["memory_bytes"] == 81079 * 2**20
    found = cuda_rates("NVIDIA H100 80GB HBM3", said)
    assert found is not None
    assert found.bandwidth_bytes_per_s == pytest.approx(3352e9, rel=1e-3)
    assert found.peak_flops_per_s["fp16"] == pytest.approx(1070e12, rel=1e-3)  # type: ignore[index]
    assert cuda_attributes(2, library) is None


_PROGRAM = """
import json
from vlmplan.document import plain
from vlmplan.hardware import Surroundings, machine_here
asked = Surroundings(path={path!r})
print(json.dumps({{"machine": plain(machine_here(asked)), "cuda": asked.cuda(1)}}))
"""


def _asked(libraries: Path, **environment: str) -> dict[str, Any]:
    """What a process finds that has the libraries on its path, and no tool."""
    more = {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path)), **environment}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(path=str(libraries))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **more},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nvml_is_asked_by_nvidia_ml_py(libraries: Path) -> None:
    pytest.importorskip("pynvml")
    told = _asked(libraries)
    part, whole = told["machine"]["devices"]
    assert (part["name"], part["by"], part["uuid"]) == ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVML", "MIG-0001")
    assert (part["memory_bytes"], part["load_fraction"]) == (9984 * 2**20, None)
    assert (whole["name"], whole["index"], whole["driver"]) == ("NVIDIA GeForce RTX 4090", 1, "550.54.15")
    assert (whole["memory_bytes"], whole["free_bytes"]) == (24564 * 2**20, 22000 * 2**20)
    assert whole["load_fraction"] == 0.63
    assert told["cuda"]["multiprocessors"] == 128
    assert told["machine"]["notes"] == []


def test_nvml_respects_what_is_visible(libraries: Path) -> None:
    pytest.importorskip("pynvml")
    told = _asked(libraries, CUDA_VISIBLE_DEVICES="1")["machine"]
    assert [one["name"] for one in told["devices"]] == ["NVIDIA GeForce RTX 4090"]
    assert told["notes"] == ["CUDA_VISIBLE_DEVICES=1 leaves 1 of 2"]
