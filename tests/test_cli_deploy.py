"""export, validate and run from the command line: what is printed, what is written, and every exit code."""

import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutants import wrong_token_count
from PIL import Image
from small_models import checkpoint, exported
from typer.testing import CliRunner

from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.cli.app import app

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, with no CI's summary file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return iter([tmp_path])


def _run(*arguments: Any, **env: str) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], env=env, catch_exceptions=False)


def _spoiled(folder: Path) -> Path:
    shutil.copytree(exported(), folder)
    wrong_token_count(folder, np.random.default_rng(0))
    return folder


def test_export_validate_and_run(tmp_path: Path) -> None:
    made = _run("export", "--checkpoint", checkpoint(), "--visual-tokens", 4, "--compressor", "average-pool",
                "--out", "made")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    assert "4 visual tokens by average-pool, fp32" in made.stdout
    assert "Next: vlmplan validate made" in made.stdout
    summary = tmp_path / "summary.md"
    proved = _run("validate", "made", "--threads", 2, "--repeats", 1, "--junit", "j.xml", "--out", "r.json",
                  GITHUB_STEP_SUMMARY=str(summary))  # fmt: skip
    assert proved.exit_code == 0, proved.stderr
    assert "Good: nothing failed" in proved.stdout
    assert json.loads(Path("r.json").read_text())["schema"] == "vlmplan.report/1"
    assert "<testsuite" in Path("j.xml").read_text()
    assert summary.read_text().startswith("### vlmplan validate: passed")
    Image.new("RGB", (64, 48), (200, 10, 10)).save("red.png")
    asked = _run("run", "made", "--image", "red.png", "--prompt", "What is this?", "--max-tokens", 3)
    assert asked.exit_code == 0, asked.stderr
    assert "TTFT" in asked.stderr
    as_json = json.loads(_run("run", "made", "--image", "red.png", "--prompt", "Hm", "--json").stdout)
    assert as_json["visual_tokens"] == 4


def test_json_is_what_out_writes() -> None:
    made = _run("export", "--checkpoint", checkpoint(), "--out", "made", "--json")
    assert json.loads(made.stdout) == json.loads(Path("made/manifest.json").read_text())
    assert json.loads(made.stdout)["visual_tokens"] == 576


def test_falling_short_is_exit_4_and_named(tmp_path: Path) -> None:
    found = _run("validate", _spoiled(tmp_path / "spoiled"), "--repeats", 1, "--junit", "j.xml", "--out", "r.json")
    assert found.exit_code == 4
    assert found.stderr.splitlines()[-1].endswith("integrity, configuration failed")
    assert "num_additional_image_tokens" in found.stdout
    assert "<failure" in Path("j.xml").read_text()
    assert json.loads(Path("r.json").read_text())["checks"][0]["outcome"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("export --out x", "nothing to export"),
        ("export --checkpoint nowhere --out x", "a checkpoint's directory or a hub id"),
        ("export --checkpoint {c} --visual-tokens 5 --out x", "one of 1, 4, 9, 16, 36, 64, 144, 576"),
        ("export --checkpoint {c} --visual-tokens 36 --out x", "name a compressor"),
        ("export --checkpoint {c} --compressor quecc --visual-tokens 4 --out x", "give --weights"),
        ("export --checkpoint {c} --precision bf16 --out x", "--precision: found bf16"),
        ("export --checkpoint {c} --out no/where", "is no folder"),
        ("export nothing.json --out x", "nothing.json"),
        ("validate nowhere", "no such folder"),
        ("validate .", "neither manifest.json nor"),
        ("validate {e} --provider cuda", "provider cuda"),
        ("validate {e} --junit no/where.xml", "cannot be written"),
        ("export --checkpoint {c} --model llava-1.5-7b --out x", "give one"),
        ("export --checkpoint {c} --compressor average-pool --out x", "give --visual-tokens too"),
        ("export --checkpoint {c} --precision fp16 --base-precision fp32 --out x", "is for int8 and int4"),
        ("export --checkpoint {c} --random-weights --out x", "no weights of its own"),
        ("validate {e} --recalibrate new.toml", "no plan to compare with"),
        ("validate {e} --max-divergence nan", "--max-divergence: found nan"),
        ("validate {e} --logit-tolerance 0", "--logit-tolerance: found 0"),
        ("validate {e} --checkpoint nowhere", "a checkpoint's directory or a hub id"),
        ("validate {e} --plan {e}/config.json", "vlmplan.plan/1"),
        ("validate {e} --threads 0", "--threads"),
        ("run {e} --image nothing.png --prompt hm", "no image that can be read"),
        ("run {e} --image {e}/config.json --prompt hm", "no image that can be read"),
        ("run . --image x --prompt hm", "no manifest.json"),
        ("run {e} --image {e} --prompt hm", "no image that can be read"),
        ("validate {e} --out {e}/report.json", "lies in the export"),
        ("validate {e} --out r.json --junit ./r.json", "name the same file"),
        ("validate {e} --checkpoint ''", "--checkpoint: found no name"),
        ("export --checkpoint ~nosuchuser/x --out x", "a checkpoint's directory or a hub id"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: str, message: str) -> None:
    found = _run(*shlex.split(arguments.format(c=checkpoint(), e=exported())))
    assert found.exit_code == 2, found.stdout
    assert message in found.stderr
    assert len([line for line in found.stderr.splitlines() if "error:" in line]) == 1
    assert "Traceback" not in found.stderr
    assert not Path("x").exists()


def test_pictures_and_prompts_that_cannot_be(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 2)).save("long.png")
    Image.new("RGB", (40, 30)).save("good.png")
    assert "too long to be cropped" in _run("run", exported(), "--image", "long.png", "--prompt", "hm").stderr
    assert "leave it out" in _run("run", exported(), "--image", "good.png", "--prompt", "<image> hm").stderr
    assert "no UTF-8" in _run("run", exported(), "--image", "good.png", "--prompt", "\udcff").stderr
    shutil.copytree(exported(), tmp_path / "bad")
    (tmp_path / "bad" / "tokenizer.json").write_text("[]")
    found = _run("run", "bad", "--image", "good.png", "--prompt", "hm")
    assert found.exit_code == 2
    assert "processor cannot be loaded" in found.stderr


def test_the_verdict_survives_an_unwritable_summary(tmp_path: Path) -> None:
    found = _run("validate", _spoiled(tmp_path / "spoiled"), "--repeats", 1, GITHUB_STEP_SUMMARY="no/where")
    assert found.exit_code == 4
    assert "warning: GITHUB_STEP_SUMMARY" in found.stderr


def test_ctrl_c_ends_an_export_with_130_and_nothing_left(tmp_path: Path) -> None:
    """A real process, interrupted as soon as it writes; on a busy machine it may be done before it hears."""
    large = write_checkpoint(SmallModel(text={"vocab_size": 200_000, "num_hidden_layers": 24}), tmp_path / "large")
    command = [sys.executable, "-m", "vlmplan", "export", "--checkpoint", str(large), "--out", "made", "--replace"]
    for _ in range(5):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        while process.poll() is None and not list(tmp_path.glob(".vlmplan-export-*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if process.returncode != 0:
            break
        shutil.rmtree(tmp_path / "made")
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


TEMPLATES = {
    "raises": '{{ raise_exception("x\\n::error file=a.py::PWNED\\n##[error]y \\x1b[31mred") }}',
    "divides": "{{ 1 // 0 }}",
    "is broken": '{% for x in "',
    "reads what is not there": "{{ messages.nothing.at.all }}",
}


@pytest.mark.parametrize("fault", TEMPLATES)
def test_a_chat_template_that_fails_is_one_inert_line(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    shutil.copytree(exported(), folder)
    (folder / "chat_template.jinja").write_text(TEMPLATES[fault])
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / "chat_template.jinja").read_bytes()
    told = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["files"]["chat_template.jinja"] = told
    (folder / "manifest.json").write_text(json.dumps(manifest))
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    command = [
        sys.executable,
        "-m",
        "vlmplan",
        "run",
        str(folder),
        "--image",
        str(tmp_path / "a.png"),
        "--prompt",
        "hi",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "error" in line]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in done.stderr.splitlines())
    assert "chat template" in said[-1] or "processor" in said[-1]
