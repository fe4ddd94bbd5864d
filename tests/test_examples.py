"""The examples run as they stand, and say what they promise."""

import subprocess
import sys
from pathlib import Path

from small_models import checkpoint

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def _run(name: str, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_device_is_chosen() -> None:
    code, said = _run("choose_a_device.py", "l4", "h100-sxm")
    assert code == 0
    title, best, other = said.splitlines()
    assert title.startswith("device")
    assert best.startswith("h100-sxm")
    assert other.startswith("l4")


def test_a_law_of_ones_own_is_planned_with() -> None:
    code, said = _run("law_of_your_own.py")
    assert code == 0
    assert "28 points" in said
    assert "Within a second on an L4: train Qwen/Qwen1.5-" in said


def test_an_export_is_a_gate(tmp_path: Path) -> None:
    code, said = _run("export_and_prove.py", str(checkpoint()), str(tmp_path / "out"))
    assert code == 0
    assert {"weights", "logits", "tokens"} <= {line.split()[1] for line in said.splitlines()}


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in here for path in EXAMPLES.glob("*.py"))
