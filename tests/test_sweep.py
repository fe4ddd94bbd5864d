"""Sweeps: a grid's points, here and on a Ray cluster, killed and gone on with, and the laws that come of them."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_models import quiet
from small_training import SILENT, base, drawn
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.document import load, to_toml
from vlmplan.errors import InputError
from vlmplan.sweeping.grid import Grid
from vlmplan.sweeping.grid_point import TrialResult
from vlmplan.sweeping.sweeps import Sweep, sweep

ROOT = Path(__file__).resolve().parents[1]
GRID = """
schema = "vlmplan.grid/1"
name = "tiny"
visual_tokens = [1, 16]
compressors = ["average-pool", "quecc"]

[[llms]]
name = "one"
made = { hidden = 16, layers = 1, heads = 2 }

[[llms]]
name = "two"
made = { hidden = 32, layers = 1, heads = 2 }

[training]
align_steps = 2
tune_steps = 12
batch = 8
tune_rate = 3e-3

[drawn]
images = 24
questions = 1
level = 1
test_images = 4
base_steps = 10
base_batch = 8
sight = { size = 32, patch = 4, width = 32, layers = 2, heads = 2, images = 64, steps = 3 }
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """The grid's file."""
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def _points(out: Path) -> list[dict[str, str]]:
    with (out / "points.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _run(grid: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vlmplan", "sweep", str(grid), "--out", str(out), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_here_and_again(grid: Path, tmp_path: Path) -> None:
    """Two sizes, two numbers of tokens, two compressors, two tasks; what is there is not done again."""
    done = CliRunner().invoke(app, ["sweep", str(grid), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    rows = _points(tmp_path / "out")
    assert len(rows) == 2 * 2 * 2 * 2
    assert {row["family"] for row in rows} == {"average-pool", "quecc"}
    assert {row["task"] for row in rows} == {"reasoning", "reading"}
    assert {row["visual_tokens"] for row in rows} == {"1", "16"}
    assert len({row["llm_params_b"] for row in rows}) == 2
    assert all(0 <= float(row["error"]) <= 1 for row in rows)
    assert "Next: vlmplan fit" in done.stdout
    found = load(TrialResult, tmp_path / "out" / "trials" / "two-quecc-16-s0" / "result.json")
    assert found.steps == 14
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "trials").rglob("*") if path.is_file()}
    first = (tmp_path / "out" / "points.csv").read_bytes()
    again = CliRunner().invoke(app, ["sweep", str(grid), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert again.exit_code == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (tmp_path / "out" / "points.csv").read_bytes() == first
    (tmp_path / "grid.toml").write_text(GRID.replace("[1, 16]", "[1, 4]"))
    other = CliRunner().invoke(app, ["sweep", str(grid), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert other.exit_code == 2
    assert "holds a sweep of another grid" in other.stderr


_CLUSTER = """
import sys, ray
found = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
print("ADDRESS", found.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a Ray cluster of this machine with two CPUs, and the process that it belongs to."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a token that tests share with their cluster, and nobody else")
    owner = subprocess.Popen(
        [sys.executable, "-c", _CLUSTER], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert owner.stdout is not None and owner.stdin is not None
    address = next(line.split()[1] for line in owner.stdout if line.startswith("ADDRESS"))
    yield address, owner.pid
    owner.stdin.close()
    owner.wait(timeout=60)
    owner.stdout.close()


def _workers(owner: int) -> list[int]:
    """Processes below ``owner`` that run a piece of work."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], check=True, capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    parents = {int(row[0]): int(row[1]) for row in rows}
    working = [int(row[0]) for row in rows if "ray::_work" in row[2]]
    return [pid for pid in working if owner in (parents[pid], parents.get(parents[pid]))]


def test_on_ray_losing_workers_and_the_driver(grid: Path, cluster: tuple[str, int], tmp_path: Path) -> None:
    """Five kills at random, of workers and of the sweep itself: no trial is lost or done twice, points as here."""
    out, generator = tmp_path / "out", random.Random(1)
    address, owner = cluster
    command = [sys.executable, "-m", "vlmplan", "sweep", str(grid), "--out", str(out), "--ray", address]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kills, deadline = 0, time.monotonic() + 240
    while kills < 5 and process.poll() is None and time.monotonic() < deadline:
        if not _workers(owner):
            time.sleep(0.1)
            continue
        time.sleep(2 * generator.random())
        if kills == 2:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            kills += 1
        elif workers := _workers(owner):
            os.kill(generator.choice(workers), signal.SIGKILL)
            kills += 1
    assert process.wait(timeout=300) == 0 or _run(grid, out, "--ray", address).returncode == 0
    assert kills >= 3
    results = sorted((out / "trials").glob("*/result.json"))
    assert len(results) == 8
    assert all(json.loads(path.read_text())["steps"] == 14 for path in results)
    assert len(_points(out)) == 16
    here = tmp_path / "here"
    sweep(Sweep(grid=load(Grid, grid), out=here, voice=SILENT, show=quiet), None)
    ours, theirs = _points(out), _points(here)
    assert [(row["source"], row["task"]) for row in ours] == [(row["source"], row["task"]) for row in theirs]
    differences = [abs(float(a["error"]) - float(b["error"])) for a, b in zip(ours, theirs, strict=True)]
    assert max(differences) <= 0.1  # of 24 questions, by the order in which threads sum


def test_no_cluster_is_one_line(grid: Path, tmp_path: Path) -> None:
    done = _run(grid, tmp_path / "out", "--ray", "127.0.0.1:1")
    assert done.returncode == 2
    assert "no cluster answers" in done.stderr
    assert "Traceback" not in done.stderr


def test_checkpoints_and_data_of_ones_own(tmp_path: Path) -> None:
    """Real checkpoints by folder or hub id, with their sizes as they are called."""
    folder = drawn()
    text = f"""
schema = "vlmplan.grid/1"
name = "own"
visual_tokens = [4]
compressors = ["token-packer"]
llms = [{{ name = "7B", checkpoint = "{base()}", llm_params_b = 7.0 }}]
training = {{ align_steps = 1, tune_steps = 1, batch = 4 }}
data = {{ train = "{folder}/train.jsonl", questions = "{folder}/few.jsonl", images = "{folder}/images" }}
"""
    lines = (folder / "questions.jsonl").read_text().splitlines()[:8]
    (folder / "few.jsonl").write_text("\n".join(lines))
    (tmp_path / "own.toml").write_text(text)
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.stderr
    assert {row["llm_params_b"] for row in _points(tmp_path / "out")} == {"7"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[1, 16]", "[1, 5]"), "failed"),
        (("[1, 16]", "[]"), "visual_tokens: expected one or more, all different"),
        (('["average-pool", "quecc"]', '["magic"]'), "compressors"),
        (("hidden = 16", "width = 16"), "width"),
        (("patch = 4", "patch = 5"), "divide each of 4 x 4 cells evenly"),
        (('name = "two"', 'name = "one"'), "llms: expected one or more, all different"),
    ],
)
def test_bad_grids_are_one_line(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(GRID.replace(*change))
    done = CliRunner().invoke(
        app, ["sweep", str(tmp_path / "grid.toml"), "--out", str(tmp_path / "out")], catch_exceptions=False
    )
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_grid_is_written_as_it_was_read(grid: Path, tmp_path: Path) -> None:
    read = load(Grid, grid)
    (tmp_path / "again.toml").write_text(to_toml(read))
    assert load(Grid, tmp_path / "again.toml") == read
    assert len(list(read.trials())) == 8
    with pytest.raises(InputError, match="drawn, data: expected one of them"):
        Grid(name="x", visual_tokens=(1,), compressors=read.compressors, llms=read.llms)


@pytest.mark.parametrize("shipped", sorted((ROOT / "docs" / "grids").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_grids_are_grids(shipped: Path) -> None:
    assert list(load(Grid, shipped).trials())


def test_recommend_knows_a_law_of_a_sweep(tmp_path: Path) -> None:
    """Points as a sweep writes them -> fit -> recommend, for backbones to train."""
    lines = ["llm_params_b,visual_tokens,error,task,family,weight,source"]
    for llm in (0.0001, 0.0003, 0.001):
        lines += [
            f"{llm},{tokens},{0.5 * (llm / 0.0001) ** -0.2 * tokens**-0.1:.6f},reasoning,,500,t-{llm}-{tokens}"
            for tokens in (1, 4, 9, 16, 36)
        ]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    law = tmp_path / "law.toml"
    fitted = CliRunner().invoke(
        app, ["fit", str(tmp_path / "points.csv"), "--out", str(law), "--draws", "200"], catch_exceptions=False
    )
    assert fitted.exit_code == 0, fitted.stderr
    done = CliRunner().invoke(
        app,
        ["recommend", "--candidates", "paper", "--hardware", "l4", "--latency", "300ms", "--task", str(law),
         "--text-tokens", "50", "--output-tokens", "8"],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "vlmplan train PLAN.json" in done.stdout
    assert "lies outside the points of the law" in " ".join((done.stdout + done.stderr).split())
