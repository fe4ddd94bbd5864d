"""The action, the workflow and the snippets for CI: each of their lines is run as its shell would run it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_models import checkpoint
from test_cli import run

from vlmplan.document import load, to_toml
from vlmplan.inventory import catalogue
from vlmplan.planning.plan import Plan
from vlmplan.proof.report import Report

ROOT = Path(__file__).resolve().parents[1]
ACTION = ROOT / ".github" / "actions" / "gate" / "action.yml"
WORKFLOW = ROOT / ".github" / "workflows" / "deployment-gate.yml"
COMPRESSED = "--visual-tokens 36 --compressor average-pool"


def _shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash where ``vlmplan`` is this one."""
    found = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", line], capture_output=True, text=True, check=False, env=found
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small checkpoint, and a plan to export it."""
    monkeypatch.chdir(tmp_path)
    Path("small").symlink_to(checkpoint())
    law = str(catalogue.find(catalogue.Shelf.LAWS, "reasoning"))
    Path("law.toml").write_text(Path(law).read_text(encoding="utf-8"), encoding="utf-8")
    asked = ["--hardware", "l4", "--runtime", "onnxruntime", "--models", "./small", "--task", "law.toml"]
    asked += ["--latency", "10s", "--text-tokens", "20", "--output-tokens", "4"]
    code, _, err = run("recommend", *asked, "--out", "plan.json")
    assert code == 0, err
    return tmp_path


def _steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"]["steps"]
    return found


def _act(inputs: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """Run the action's own lines with these inputs; (step, exit code, stderr) of each, up to the first that fails."""
    declared = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["inputs"]
    assert set(inputs) <= set(declared)
    values = {name: str(one.get("default", "")) for name, one in declared.items()} | dict(inputs)

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: values[found[1]], text)

    done: list[tuple[str, int, str]] = []
    for step in _steps():
        asked = step.get("if", "")
        skipped = any(not values[name] for name in re.findall(r"inputs\.([\w-]+) != ''", asked))
        skipped |= any(values[name] != "true" for name in re.findall(r"inputs\.([\w-]+) == 'true'", asked))
        failed = any(code for _, code, _ in done)
        if "run" not in step or step["name"] == "install" or skipped or (failed and "always()" not in asked):
            continue
        outputs = {"GITHUB_OUTPUT": "outputs", "RUNNER_TEMP": "."}
        environment = {key: filled(value) for key, value in step.get("env", {}).items()}
        found = _shell(filled(step["run"]), **outputs, **environment)
        done.append((step["name"], found.returncode, found.stderr))
    return done


def _key() -> str:
    """The cache key that the action computed last."""
    return Path("outputs").read_text(encoding="utf-8").splitlines()[-1]


@pytest.mark.usefixtures("here")
def test_the_action_proves_a_plan() -> None:
    done = _act({"plan": "plan.json", "checkpoint": "small", "validate-options": "--threads 2 --repeats 1"})
    assert [(name, code) for name, code, _ in done] == [
        ("nothing of an earlier proof", 0),
        ("ask the plan again", 0),
        ("what the export depends on", 0),
        ("export", 0),
        ("validate", 0),
        ("page", 0),
    ], done
    assert load(Report, Path("report.json")).passed
    assert Path("vlmplan.xml").exists()
    assert "Validation" in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_the_action_proves_what_is_called_like_an_option() -> None:
    """A folder called --version is proved, and no version shown instead."""
    Path("--plan.json").write_bytes(Path("plan.json").read_bytes())
    options = "--threads 2 --repeats 1"
    done = _act({"plan": "--plan.json", "checkpoint": "small", "validate-options": options, "folder": "--version"})
    assert [code for _, code, _ in done] == [0] * 6, done
    assert load(Report, Path("report.json")).export == "--version"
    assert Path("page.html").exists()


@pytest.mark.usefixtures("here")
def test_the_action_fails_where_the_plan_does_not_hold() -> None:
    plan = load(Plan, Path("plan.json"))
    slow = plan.hardware.bandwidth_bytes_per_s / 1e5
    profile = to_toml(plan.hardware).replace(f"bandwidth_bytes_per_s = {plan.hardware.bandwidth_bytes_per_s}",
                                             f"bandwidth_bytes_per_s = {slow}")  # fmt: skip
    Path("slow.toml").write_text(profile, encoding="utf-8")
    done = _act({"plan": "plan.json", "hardware": "slow.toml", "checkpoint": "small"})
    ran = [(name, code) for name, code, _ in done]
    assert ran == [("nothing of an earlier proof", 0), ("ask the plan again", 3), ("page", 0)], done
    assert not Path("page.html").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("wrong", "code"), [(0, 0), (90, 4)])
def test_the_action_holds_answers_against_those_before(wrong: int, code: int) -> None:
    """Of a plan for a serving engine, which is not exported."""
    for name, bad in (("before.jsonl", 0), ("--after.jsonl", wrong)):
        rows = [
            {"key": f"{n}", "question": f"q line {n}", "text": "?", "limits": [64], "visual_tokens": 64,
             "expected": ["a"], "answer": "b" if n < bad else "a"}
            for n in range(400)
        ]  # fmt: skip
        Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    given = {"answers": "--after.jsonl", "answers-before": "before.jsonl", "answers-options": "--within 1%"}
    done = _act({"plan": "plan.json", "export": "false", **given})
    assert [(name, found) for name, found, _ in done] == [
        ("nothing of an earlier proof", 0),
        ("ask the plan again", 0),
        ("hold the answers against those before", code),
        ("page", 0),
    ], done
    assert json.loads(Path("answers.json").read_text(encoding="utf-8"))["at"][0]["questions"] == 400
    assert f'failures="{int(wrong > 0)}"' in Path("answers.xml").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_the_workflow_runs_the_action_without_a_plan() -> None:
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["gate"]["steps"]
    used = next(step for step in steps if step.get("uses") == "./.github/actions/gate")
    assert COMPRESSED in used["with"]["export-options"]
    done = _act(used["with"])
    assert [(name, code) for name, code, _ in done] == [
        ("nothing of an earlier proof", 0),
        ("what the export depends on", 0),
        ("export", 0),
        ("validate", 0),
    ], done


@pytest.mark.usefixtures("here")
def test_the_page_is_made_of_a_proof_that_failed() -> None:
    options = "--threads 2 --repeats 1 --logit-tolerance 1e-30"
    done = _act({"plan": "plan.json", "checkpoint": "small", "validate-options": options})
    assert [(name, code) for name, code, _ in done][-2:] == [("validate", 4), ("page", 0)], done
    assert "it falls short" in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_a_proof_of_an_earlier_job_is_not_kept() -> None:
    """A ``validate`` that ends before it judges anything, where a good report lies around."""
    assert _act({"plan": "plan.json", "checkpoint": "small"})[-1][1] == 0
    assert load(Report, Path("report.json")).passed and Path("page.html").is_file()
    shutil.rmtree("vlmplan-export")
    steps = _act({"plan": "plan.json", "checkpoint": "small", "validate-options": "--no-such-option"})
    assert ("validate", 2) in [(name, code) for name, code, _ in steps], steps
    assert not any(Path(name).exists() for name in ("report.json", "vlmplan.xml", "page.html"))


@pytest.mark.usefixtures("here")
def test_whatever_makes_an_export_is_in_its_key() -> None:
    step = next(step for step in _steps() if step.get("id") == "key")
    shutil.copytree(checkpoint(), "own")
    given = {"PLAN": "plan.json", "CHECKPOINT": "own", "OPTIONS": "--all-logits", "MORE": ""}
    keys = []
    for more in ({}, {}, {"OPTIONS": ""}, {"MORE": "revision"}, {"PLAN": ""}):
        assert _shell(step["run"], GITHUB_OUTPUT="outputs", RUNNER_TEMP=".", **given | more).returncode == 0
        keys.append(_key())
    Path("own/generation_config.json").write_text("{}", encoding="utf-8")
    assert _shell(step["run"], GITHUB_OUTPUT="outputs", RUNNER_TEMP=".", **given).returncode == 0
    assert keys[0] == keys[1]
    assert len({*keys, _key()}) == 5
    cache = next(step for step in _steps() if step.get("id") == "cached")
    assert cache["with"]["key"] == "${{ steps.key.outputs.key }}"


@pytest.mark.usefixtures("here")
def test_the_gitlab_lines_run() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    block = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    job = yaml.safe_load(block)["vlmplan"]
    lines = [line for line in (*job["script"], *job["after_script"]) if not line.startswith("pip ")]
    for line in lines:
        found = _shell(line, CHECKPOINT="small")
        assert found.returncode == 0, (line, found.stderr)
    for name in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert Path(name).exists(), name
    assert _shell(lines[1], CHECKPOINT="small").returncode == 0, "a cached export is kept"


def test_the_github_snippet_names_inputs_that_exist() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    snippet = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    given = next(step["with"] for step in snippet if "gate" in step["uses"])
    assert set(given) <= set(yaml.safe_load(ACTION.read_text(encoding="utf-8"))["inputs"])
