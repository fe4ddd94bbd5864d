"""Homes that are missing or locked, odd folders, poor locales, and many processes at one file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import checkpoint
from test_cli import RECOMMEND

from vlmplan.document import load
from vlmplan.inventory import catalogue
from vlmplan.planning.plan import Plan

ODD = "ein Ordner mit Ünïcode 图 ' \" $x"


def _run(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vlmplan", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ if environment is None else environment,
    )


def _without(*names: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names} | more


@pytest.mark.parametrize(
    "environment",
    [
        _without("HOME"),
        _without(HOME="/nowhere/at/all"),
        _without(HOME="/proc"),  # nobody, not even root, can write there
        _without("LANG", LC_ALL="C", PYTHONUTF8="0"),
        _without("PATH", "HOME", "LANG", "TERM", "COLUMNS"),
    ],
    ids=["no-home", "missing-home", "locked-home", "c-locale", "bare"],
)
def test_planning_wants_nothing_of_its_surroundings(tmp_path: Path, environment: dict[str, str]) -> None:
    done = _run(*RECOMMEND, "--out", "plan.json", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert load(Plan, tmp_path / "plan.json").choice.model
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("environment", [_without("HOME", LC_ALL="C"), _without(HOME="/proc")], ids=["none", "locked"])
def test_an_export_wants_no_home(tmp_path: Path, environment: dict[str, str]) -> None:
    made = ["--checkpoint", str(checkpoint()), "--visual-tokens", "1", "--compressor", "average-pool"]
    done = _run("export", *made, "--out", "made", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    done = _run("validate", "made", "--repeats", "1", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr


def test_the_whole_way_through_an_odd_folder(tmp_path: Path) -> None:
    """Plan, page, export and proof, all by paths with spaces, quotes and other scripts."""
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / "mein Modell").symlink_to(checkpoint())
    steps = (
        [*RECOMMEND, "--out", f"{ODD}/ein plan.json"],
        ["recommend", "--check", f"{ODD}/ein plan.json"],
        ["export", "--checkpoint", f"{ODD}/mein Modell", "--visual-tokens", "4", "--compressor", "average-pool",
         "--out", f"{ODD}/der Export"],
        ["validate", f"{ODD}/der Export", "--repeats", "1", "--junit", f"{ODD}/ü.xml", "--out", f"{ODD}/b c.json"],
        ["page", f"{ODD}/ein plan.json", "--report", f"{ODD}/b c.json"],
    )  # fmt: skip
    for step in steps:
        done = _run(*step, cwd=tmp_path)
        assert done.returncode == 0, (step, done.stderr)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["ein plan.json", "mein Modell", "der Export", "ü.xml", "b c.json", "ein plan.html"]
    )


def _shell(line: str | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as it was printed, in bash, where ``vlmplan`` is this one."""
    assert line is not None
    line = line.replace("vlmplan ", f"{sys.executable} -m vlmplan ", 1)
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("name", ["--help", "a $(touch no); it's"])
def test_printed_commands_run_whatever_a_folder_is_called(name: str, tmp_path: Path) -> None:
    """A plan's export and proof, and what export says is next, copied into a shell."""
    shutil.copytree(checkpoint(), tmp_path / name)
    shutil.copy(catalogue.find(catalogue.Shelf.LAWS, "reasoning"), tmp_path / "law.toml")
    asked = ["--text-tokens", "20", "--output-tokens", "4", "--latency", "10s", "--task", "law.toml"]
    where = ["--hardware", "amd-epyc-9654", "--models", f"./{name}"]
    done = _run("recommend", *where, *asked, "--out", "PLAN.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    deploy = load(Plan, tmp_path / "PLAN.json").choice.deploy
    assert deploy is not None
    exported = _shell(deploy.command, tmp_path)
    assert exported.returncode == 0, exported.stderr
    (line,) = [line for line in exported.stdout.splitlines() if line.startswith("Next: ")]
    for proof in (line.removeprefix("Next: "), deploy.check):
        proved = _shell(f"{proof} --budget-only --repeats 1", tmp_path)
        assert proved.returncode == 0, proved.stderr
        assert "nothing failed" in proved.stdout
    assert not (tmp_path / "no").exists()


def test_many_writers_of_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    """Six at once, with two different plans; whoever is last, the file is one of both, and nothing else is left."""
    commands = [[*RECOMMEND, "--confidence", level, "--out", "plan.json"] for level in ("0.9", "0.8") * 3]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "vlmplan", *command],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    while any(one.poll() is None for one in started):
        if (tmp_path / "plan.json").exists():
            json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert [one.returncode for one in started] == [0] * 6
    assert load(Plan, tmp_path / "plan.json").interval_level_fraction in (0.9, 0.8)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
