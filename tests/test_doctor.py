"""The doctor: what is installed, what is wrong with it, and the line that mends it."""

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from recorded_machines import recorded
from test_cli import run

from vlmplan.cli.app import COMMANDS
from vlmplan.hardware import Package, extras, folder, hub_cache, providers, torch_cuda
from vlmplan.hardware.installed import LEAST_GPU_RUNTIME, Folder, numbers, refused_on_cuda, version_of
from vlmplan.inventory import Checkup, Finding, State, examine
from vlmplan.inventory import checkup as rules
from vlmplan.inventory.checkup import NEEDS, Installation

GOOD = Installation(
    extras={
        "": (Package(name="typer", version="0.28.0", least="0.26", below="0.29"),),
        "deploy": (
            Package(name="torch", version="2.9.0", least="2.8"),
            Package(name="onnxruntime", version="1.30.0", least="1.23"),
        ),
        "deploy-gpu": (
            Package(name="torch", version="2.9.0", least="2.8"),
            Package(name="onnxruntime-gpu", least="1.23"),
        ),
        "page": (Package(name="plotly", least="6.0"), Package(name="jinja2", version="3.1.6", least="3.1")),
        "train": (Package(name="peft", least="0.17"),),
    },
    runtimes={"onnxruntime": "1.30.0"},
    providers=("cpu",),
    torch="2.9.0+cpu",
)
GPU = replace(
    GOOD,
    extras={
        **GOOD.extras,
        "deploy": (GOOD.extras["deploy"][0], Package(name="onnxruntime", least="1.23")),
        "deploy-gpu": (GOOD.extras["deploy"][0], Package(name="onnxruntime-gpu", version="1.27.0", least="1.23")),
    },
    runtimes={"onnxruntime-gpu": "1.27.0"},
    providers=("cpu", "cuda", "tensorrt"),
    torch="2.9.0+cu126",
    torch_cuda="12.6",
    driver_cuda="12.8",
)
needs_sh = pytest.mark.skipif(os.name == "nt", reason="recorded tools are shell scripts")


def _part(found: Checkup, name: str) -> Finding:
    return next(one for one in (*found.parts, *found.extras, *found.commands) if one.name == name)


def _on(machine: str, installed: Installation, folder: Path) -> Checkup:
    return examine(recorded(machine, folder), installed)


def test_every_command_says_what_it_needs() -> None:
    assert set(NEEDS) == set(COMMANDS)
    assert {extra for any_of in NEEDS.values() for extra in any_of} <= set(extras())


@needs_sh
def test_a_processor_with_deploy_is_good(tmp_path: Path) -> None:
    found = _on("x86-server", GOOD, tmp_path)
    assert not found.wrong
    assert _part(found, "ONNX Runtime").state is State.GOOD
    assert _part(found, "export").detail == "ready"
    page, train = _part(found, "page"), _part(found, "train")
    assert (page.state, page.detail) == (State.MISSING, "not installed: plotly")
    assert train.state is State.MISSING
    assert [line.rpartition("[")[2] for line in found.mends] == ["page]'", "train]'"]  # and not deploy-gpu
    assert _part(found, "deploy-gpu").detail == "in place of deploy, for an NVIDIA GPU"
    assert found.plans_for == "the processor, AMD EPYC 9654 96-Core Processor"


@needs_sh
def test_a_gpu_with_deploy_gpu_is_good(tmp_path: Path) -> None:
    found = _on("l4-cloud", GPU, tmp_path)
    assert not found.wrong
    assert _part(found, "GPU").detail == "NVIDIA L4; driver 550.54.15, CUDA 12.8, by nvidia-smi"
    assert _part(found, "ONNX Runtime").detail == "onnxruntime-gpu 1.27.0: runs on cpu, cuda, tensorrt"
    assert _part(found, "deploy").state is State.GOOD  # for its ONNX Runtime the other package does
    assert _part(found, "validate").detail == "ready"
    assert "planned as l4" in found.plans_for


@needs_sh
@pytest.mark.parametrize(
    ("machine", "change", "name", "state", "detail", "mend"),
    [
        (
            "l4-cloud",
            {"runtimes": {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.27.0"}},
            "ONNX Runtime",
            State.WRONG,
            "onnxruntime 1.30.0, onnxruntime-gpu 1.27.0: they overwrite each other's files",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu>=1.26'",
        ),
        (
            "x86-server",
            {"runtimes": {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.27.0"}},
            "ONNX Runtime",
            State.WRONG,
            "overwrite each other's files",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime",
        ),
        (
            "l4-cloud",
            {"runtimes": {"onnxruntime-gpu": "1.25.1"}},
            "ONNX Runtime",
            State.WRONG,
            "onnxruntime-gpu 1.25.1, expected 1.26 or newer",
            "pip install --upgrade 'onnxruntime-gpu>=1.26'",
        ),
        (
            "l4-cloud",
            {"runtimes": {"onnxruntime": "1.30.0"}, "providers": ("cpu",)},
            "ONNX Runtime",
            State.MISSING,
            "onnxruntime 1.30.0: runs on cpu, not on the GPU here",
            "pip uninstall -y onnxruntime && pip install ",
        ),
        (
            "x86-server",
            {"runtimes": {}, "providers": ()},
            "ONNX Runtime",
            State.MISSING,
            "not installed",
            "pip install ",
        ),
        (
            "x86-server",
            {"providers": ()},
            "ONNX Runtime",
            State.WRONG,
            "runs on nothing, its files are gone",
            "pip install --force-reinstall onnxruntime",
        ),
        (
            "l4-cloud",
            {"torch_cuda": "13.0", "driver_cuda": "12.4"},
            "PyTorch",
            State.WRONG,
            "made for CUDA 13.0; the driver serves CUDA 12.4 at most",
            "update NVIDIA's driver, or install a torch for CUDA 12.4",
        ),
        ("l4-cloud", {"torch_cuda": None}, "PyTorch", State.MISSING, "it does not use the GPU here", "install a torch"),
        ("x86-server", {"torch": None}, "PyTorch", State.MISSING, "not installed", "pip install "),
        (
            "x86-server",
            {"extras": {"": (Package(name="typer", version="0.29.1", least="0.26", below="0.29"),)}},
            "vlmplan",
            State.WRONG,
            "typer is 0.29.1, expected 0.26 or newer, below 0.29",
            "pip install --upgrade vlmplan",
        ),
        (
            "x86-server",
            {"extras": {"page": (Package(name="plotly", version="5.24.1", least="6.0"),)}},
            "page",
            State.WRONG,
            "plotly is 5.24.1, expected 6.0 or newer",
            "pip install ",
        ),
        (
            "nvidia-smi-fails",
            {},
            "GPU",
            State.WRONG,
            "nvidia-smi failed: NVIDIA-SMI has failed",
            "load the GPU's driver",
        ),
        ("raspberry-pi-5", {}, "GPU", State.MISSING, "none found", None),
    ],
)
def test_what_is_wrong_is_named_with_its_mend(  # noqa: PLR0913, PLR0917
    machine: str, change: dict[str, object], name: str, state: State, detail: str, mend: str | None, tmp_path: Path
) -> None:
    base = GPU if machine == "l4-cloud" else GOOD
    found = _on(machine, replace(base, **change), tmp_path)  # type: ignore[arg-type]
    part = _part(found, name)
    assert part.state is state
    assert detail in part.detail
    assert (part.mend is None) is (mend is None)
    assert mend is None or (part.mend or "").startswith(mend)
    assert mend is None or part.mend in found.mends
    assert (part in found.wrong) is (state is State.WRONG)


@needs_sh
def test_what_is_wrong_is_mended_first(tmp_path: Path) -> None:
    old = {"page": (Package(name="plotly", version="5.24.1", least="6.0"),)}
    found = _on("x86-server", replace(GOOD, torch=None, extras=old), tmp_path)
    assert [one.name for one in found.wrong] == ["page"]
    assert found.mends[0] == _part(found, "page").mend
    assert _part(found, "PyTorch").mend in found.mends[1:]


@needs_sh
def test_gpus_that_are_hidden_on_purpose_are_no_fault(tmp_path: Path) -> None:
    found = examine(recorded("l4-cloud", tmp_path, {"CUDA_VISIBLE_DEVICES": ""}), GOOD)
    assert (_part(found, "GPU").state, _part(found, "GPU").detail) == (
        State.MISSING,
        "CUDA_VISIBLE_DEVICES= leaves 0 of 1",
    )


@needs_sh
def test_a_device_that_is_not_in_the_catalogue_is_said(tmp_path: Path) -> None:
    assert "not in the catalogue" in _on("radeon-7900-xtx", GOOD, tmp_path).plans_for


def test_a_full_disk_is_said() -> None:
    places = (
        Folder(name="scratch", path="/tmp", there=True, disk_free_bytes=2**20),
        Folder(name="Hugging Face's cache", path="/c", there=True, disk_free_bytes=2**50),
        Folder(name="your profiles", path="/p", there=True, disk_free_bytes=0),
    )
    (one,) = rules._disks(places)
    assert (one.state, one.detail) == (State.LOW, "1.00 MiB free at /tmp (scratch)")
    assert "TMPDIR" in (one.mend or "")


def test_the_view_and_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    code, out, err = run("doctor")
    assert code in (0, 2)
    assert (code == 2) is ("vlmplan: error: " in err)
    for word in ("Planned for: ", "ONNX Runtime", "PyTorch", "Ready: recommend, ", str(tmp_path)):
        assert word in out
    assert all(len(line) <= 80 for line in out.split("\n\n")[1].splitlines())
    code, out, _ = run("doctor", "--json")
    told = json.loads(out)
    assert told["schema"] == "vlmplan.doctor/1"
    assert {one["name"] for one in told["commands"]} == set(COMMANDS)
    assert told["machine"]["schema"] == "vlmplan.machine/1"


def _doctor(*, site: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command as it is started, with more packages on the path."""
    program = f"{code}\nimport sys\nsys.argv = ['vlmplan', 'doctor']\nfrom vlmplan.__main__ import main\nmain()"
    path = os.pathsep.join((str(site), str(Path(__file__).resolve().parents[1])))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "80"}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("version", ["1.22.0", "1.27.0"])
def test_two_packages_of_onnx_runtime_are_named_and_exit_2(version: str, tmp_path: Path) -> None:
    """By the metadata that lies there, as pip writes it."""
    about = tmp_path / f"onnxruntime_gpu-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: {version}\n")
    done = _doctor(site=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"onnxruntime-gpu {version}: they overwrite each other's files" in " ".join(done.stderr.split())
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install " in done.stdout


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    guard = "import atexit, sys\natexit.register(lambda: sys.stderr.write(' '.join(sorted({'torch', 'transformers', "
    guard += "'onnxruntime', 'numpy', 'onnx'} & set(sys.modules))) + '<'))"
    done = _doctor(site=tmp_path, code=guard)
    assert done.returncode in (0, 2)
    assert done.stderr.endswith("<")
    last = done.stderr.splitlines()[-1]
    assert last in ("<", "numpy<")  # numpy where a found GPU's driver is asked, else nothing
    if "none found" in done.stdout:
        assert last == "<"


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("2.13.0+cpu") == (2, 13, 0)
    assert numbers("1.9") < numbers("1.26") < numbers("1.26.1")
    assert numbers("unknown") == ()
    assert Package(name="a", version="2.0.1", least="2.0").fits
    assert not Package(name="a", version="1.9", least="2.0").fits
    assert not Package(name="a", version="6.0", least="5.3", below="6").fits
    assert not Package(name="a").fits
    assert version_of("no-such-package-as-this") is None


def test_old_onnxruntime_gpu_is_refused_for_exports() -> None:
    """The floor that ``doctor`` and sessions name is the extra's own."""
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert f"onnxruntime-gpu>={LEAST_GPU_RUNTIME}" in extras["deploy-gpu"]
    assert refused_on_cuda("1.26.0") is None
    assert refused_on_cuda("1.30") is None
    assert "onnxruntime-gpu 1.25.1" in (refused_on_cuda("1.25.1") or "")


def test_extras_are_read_from_the_package() -> None:
    found = extras(["typer<0.29,>=0.26", 'plotly>=6.0; extra == "page"', "ray>=2.49 ; extra == 'ray'", "???"])
    assert set(found) == {"", "page", "ray"}
    assert (found[""][0].name, found[""][0].least, found[""][0].below) == ("typer", "0.26", "0.29")
    assert {"deploy", "deploy-gpu", "page", "plot", "train"} <= set(extras())


def test_providers_are_the_libraries_beside_onnx_runtime(tmp_path: Path) -> None:
    (tmp_path / "capi").mkdir()
    for name in ("cuda", "tensorrt", "shared"):
        (tmp_path / "capi" / f"libonnxruntime_providers_{name}.so").touch()
    assert providers(tmp_path) == ("cpu", "cuda", "tensorrt")
    import onnxruntime

    real = {name.removesuffix("ExecutionProvider").lower() for name in onnxruntime.get_available_providers()}
    assert set(providers()) <= real


def test_what_torch_is_made_for_is_read_from_its_file(tmp_path: Path) -> None:
    about = tmp_path / "version.py"
    about.write_text("__version__ = '2.9.0+cu126'\ndebug = False\ncuda: Optional[str] = '12.6'\ngit_version = 'x'\n")
    assert torch_cuda(tmp_path) == "12.6"
    about.write_text("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert torch_cuda(tmp_path) is None
    assert torch_cuda(tmp_path / "nowhere") is None
    import torch

    assert torch_cuda() == torch.version.cuda


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"HOME": "/h"}, "/h/.cache/huggingface/hub"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/h", "HF_HOME": "/f"}, "/f/hub"),
        ({"HOME": "/h", "HF_HOME": "/f", "HF_HUB_CACHE": "/c"}, "/c"),
    ],
)
def test_where_downloads_lie(environment: dict[str, str], path: str) -> None:
    assert hub_cache(environment).as_posix() == path


def test_folders_are_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    found = folder("x", tmp_path)
    assert found.size_bytes >= 8
    assert (found.there, found.more) == (True, False)
    assert found.disk_free_bytes
    gone = folder("x", tmp_path / "not" / "there")
    assert (gone.there, gone.size_bytes) == (False, 0)
    assert gone.disk_free_bytes
    assert folder("x", tmp_path, counted=False).more
