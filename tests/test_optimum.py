"""Text models by optimum-cli in an environment of its own: what is refused, what is handed over, and a real run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import KINDS, checkpoint, foreign
from test_cli import run

from vlmplan import api
from vlmplan.errors import InputError
from vlmplan.exporting.processes.optimum import older_config, optimum_export

PYTHON = os.environ.get("VLMPLAN_OPTIMUM_PYTHON")  # of an environment with optimum-onnx 0.1.0


def _quiet(*_: Any) -> None:
    """Show no progress."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A small causal LM as transformers 5 writes it, with its tokenizer."""
    foreign(tmp_path, positions=True)
    return tmp_path / "text"


@pytest.mark.parametrize("kind", [*KINDS, "smolvlm", "qwen2.5-vl", "gemma3", "paligemma"])
def test_vision_language_models_are_refused_before_an_environment_is_asked_for(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"optimum-onnx 0\.1\.0 exports no vision-language model, found"):
        optimum_export(str(checkpoint(kind)), tmp_path / "out", None, _quiet)
    assert not any(tmp_path.iterdir())


def test_an_environment_is_named_and_has_the_versions_that_go_together(text: Path, tmp_path: Path) -> None:
    for python, said in (
        (None, "give --optimum-python.*make one by: python3"),
        (str(tmp_path / "none"), "is no Python that runs"),
        (sys.executable, r"optimum-onnx none \(expected 0\.1\.0\).*transformers 5.*expected 4\.57"),
    ):
        with pytest.raises(InputError, match=said):
            optimum_export(str(text), tmp_path / "out", python, _quiet)
    assert not (tmp_path / "out").exists()


def test_rotary_positions_are_said_in_the_words_of_the_older_release() -> None:
    told = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}
    found = older_config({"model_type": "llama", "dtype": "float32", "rope_parameters": told})
    assert found == {
        "model_type": "llama",
        "torch_dtype": "float32",
        "rope_theta": 5e5,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0},
    }
    plain = older_config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})
    assert plain == {"rope_theta": 1e6, "rope_scaling": None}
    assert older_config({"rope_theta": 1e4}) == {"rope_theta": 1e4}
    with pytest.raises(InputError, match="one kind of rotary positions for all layers"):
        older_config({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {}}})


def test_options_of_vlmplans_own_graphs_are_refused_beside_it(text: Path, tmp_path: Path) -> None:
    asked = ["export", "--checkpoint", str(text), "--out", str(tmp_path / "out")]
    for more, said in (
        (
            ["--via", "optimum", "--visual-tokens", "36", "--precision", "int4"],
            "out --visual-tokens, --precision",
        ),
        (["--optimum-python", sys.executable], "--optimum-python is for --via optimum"),
    ):
        code, out, err = run(*asked, *more)
        assert (code, out) == (2, "")
        assert said in err and err.count("\n") == 1


_STANDS_IN = """#!/bin/bash
case "$3" in *importlib.metadata*)
  echo '{"optimum-onnx": "0.1.0", "optimum": "2.1.0", "transformers": "4.57.6"}'; exit 0;;
esac
echo $$ > "$PIDS"; exec sleep 60
"""  # an optimum-cli that is slow


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_path_of_an_environment_is_not_looked_for_elsewhere(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "here" / "python", "#!/bin/bash\nexit 1\n")
    _program(tmp_path / "elsewhere" / "python", f"#!/bin/bash\ntouch {tmp_path}/wrong\nexit 1\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{tmp_path}/elsewhere", prepend=os.pathsep)
    asked = ("export", "--checkpoint", str(text), "--via", "optimum", "--out", "out", "--optimum-python")
    assert run(*asked, "./python")[0] == 2
    assert not (tmp_path / "wrong").exists()
    assert run(*asked, "python")[0] == 2
    assert (tmp_path / "wrong").exists()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing_behind(text: Path, tmp_path: Path, sent: signal.Signals) -> None:
    _program(tmp_path / "python", _STANDS_IN)
    pids, out = tmp_path / "pids", tmp_path / "made" / "out"
    out.parent.mkdir()
    asked = [sys.executable, "-m", "vlmplan", "export", "--checkpoint", str(text), "--via", "optimum", "--out",
             str(out), "--optimum-python", str(tmp_path / "python")]  # fmt: skip
    with subprocess.Popen(asked, env=os.environ | {"PIDS": str(pids)}, stderr=subprocess.DEVNULL) as process:
        _until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        process.send_signal(sent)
        code = process.wait(20)
    child = int(pids.read_text())
    if sent is signal.SIGKILL:  # which nothing can heed: the next run takes away what was left
        assert len(list(out.parent.iterdir())) == 1
        os.kill(child, signal.SIGKILL)
        _program(tmp_path / "python", _STANDS_IN.replace("exec sleep 60", "exit 1"))
        env = os.environ | {"PIDS": str(pids)}
        assert subprocess.run(asked, env=env, stderr=subprocess.DEVNULL, check=False).returncode == 2
    else:
        assert code == 128 + sent
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert not any(out.parent.iterdir())


def _until(there: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not there():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.skipif(PYTHON is None, reason="VLMPLAN_OPTIMUM_PYTHON names no environment with optimum-onnx 0.1.0")
def test_optimum_exports_a_text_model_and_validate_proves_it(text: Path, tmp_path: Path) -> None:
    made = optimum_export(str(text), tmp_path / "out", PYTHON, _quiet)
    assert made.versions["optimum-onnx"] == "0.1.0"
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads((text / "config.json").read_text())
    found = api.validate(folder=tmp_path / "out", checkpoint=text, by_samples=True, threads=2, repeats=1)
    assert not found.report.failed, found.report.failed
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
