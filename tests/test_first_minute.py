"""What is not given is assumed, and said: a plan from one word typed."""

import json
import math
import re
import shlex
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import run
from typer.testing import CliRunner

import vlmplan
from vlmplan.cli.app import app
from vlmplan.planning.options import INTERACTIVE
from vlmplan.views.brief import alternatives

ROOT = Path(__file__).resolve().parents[1]


def _notes(said: str) -> list[str]:
    return [line.removeprefix("note: ") for line in said.splitlines() if line.startswith("note: ")]


def test_one_word_is_answered() -> None:
    """Of this machine, whatever it is."""
    code, out, err = run("recommend")
    assert code == 0, err
    assert out.startswith("Deploy ")
    said = _notes(err)
    assert any("--task" in line for line in said)
    assert any("--text-tokens" in line for line in said)
    assert any(line.startswith("this machine: ") and "--hardware" in line for line in said)
    assert any("--ttft" in line for line in said)


def test_what_is_given_is_not_assumed() -> None:
    code, _, err = run("recommend", "--hardware", "l4", "--task", "ocr", "--ttft", "400ms", "--text-tokens", "20")
    assert code == 0
    assert not _notes(err)


def test_the_usual_limits_are_kept_and_written_down() -> None:
    code, out, err = run("recommend", "--hardware", "l4", "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["budget"]["ttft_s"] == INTERACTIVE.ttft_s
    assert plan["choice"]["ttft_interval_s"][1] <= INTERACTIVE.ttft_s
    assert plan["choice"]["tpot_interval_s"][1] <= INTERACTIVE.tpot_s
    assert (plan["workload"]["text_tokens"], plan["workload"]["output_tokens"]) == (50, 32)
    assert "assumed --ttft 1.00s --tpot 150ms" in err


@pytest.mark.parametrize("times", [2000, 40_000])
def test_limits_that_nothing_keeps_are_widened_and_said(times: int) -> None:
    with pytest.warns(vlmplan.Assumed, match=r"\d+ times the usual, which nothing keeps"):
        plan = vlmplan.recommend(hardware=_slow(times), task="reasoning")
    assert plan.budget.ttft_s is not None
    assert plan.budget.ttft_s > INTERACTIVE.ttft_s


def _slow(times: int) -> vlmplan.HardwareProfile:
    """An L4 that many times slower: no model answers within a second."""
    l4 = vlmplan.hardware_profile("l4")
    peaks = {precision: peak / times for precision, peak in l4.peak_flops_per_s.items()}
    slower = (l4.bandwidth_bytes_per_s or 0) / times
    return replace(l4, name="slow", peak_flops_per_s=peaks, bandwidth_bytes_per_s=slower, calibration=())


@pytest.mark.parametrize(
    ("word", "task"),
    [("documents", "docvqa"), ("Charts", "chartqa"), ("diagrams", "ai2d"), ("math", "mathvista")],
)
def test_tasks_by_what_people_call_them(word: str, task: str) -> None:
    with pytest.warns(vlmplan.Assumed, match=f"is taken for {task}"):
        plan = vlmplan.recommend(hardware="l4", latency="1s", task=word)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = vlmplan.recommend(hardware="l4", latency="1s", task=task)
    assert plan.choice == same.choice


STORIES = [
    shlex.split(command.removesuffix(" -v"))
    for command in re.findall(
        r"^\$ vlmplan (recommend .*)$", (ROOT / "docs" / "stories.md").read_text(), flags=re.MULTILINE
    )
]
ALONE = [one for one in STORIES if not {",", "all"} & {*one[one.index("--hardware") + 1]}]


def _screen(out: str, width: int) -> int:
    """How many lines of a terminal a text takes."""
    return sum(max(1, math.ceil(len(line.rstrip()) / width)) for line in out.splitlines())


@pytest.mark.parametrize("arguments", ALONE, ids=lambda one: one[2])
def test_an_answer_fits_a_screen(arguments: list[str]) -> None:
    """The ten stories' questions, those of one device: at most 25 lines of 80 columns, with what to do next."""
    code, out, _ = run(*arguments)
    assert code == 0
    assert _screen(out, 80) <= 25, out
    for word in ("Error: about", "Time: ", "Memory: ", "Unsure: intervals hold 90%", "More: -v"):
        assert word in out


@pytest.mark.parametrize("workload", [None, *(one.name for one in vlmplan.catalogue("workloads"))])
def test_an_answer_fits_a_screen_with_what_was_assumed(workload: str | None) -> None:
    """On a terminal notes stand above it: both together are at most 25 lines of 80 columns."""
    code, out, err = run("recommend", "--hardware", "l4", *(("--workload", workload) if workload else ()))
    assert code == 0
    assert len(_notes(err)) == len(err.splitlines())
    assert _screen(out, 80) + _screen(err, 80) <= 25, err + out


def test_there_are_stories() -> None:
    assert len(ALONE) >= 8


@pytest.mark.parametrize("width", [60, 120])
def test_an_answer_fits_other_terminals(width: int) -> None:
    found = CliRunner().invoke(app, STORIES[0], env={"COLUMNS": str(width), "TERM": "dumb"}, catch_exceptions=False)
    assert max(len(line) for line in found.stdout.splitlines() if not line.startswith("Run: ")) <= width


def test_what_else_there_is_is_faster_better_or_smaller() -> None:
    plan = vlmplan.recommend(hardware="jetson-orin-nano-8gb-super", task="ocr", latency="5s")
    found = alternatives(plan)
    assert found
    assert all(not plan.is_choice(one) for one in found.values())
    if "faster" in found:
        assert found["faster"].latency_s < plan.choice.latency_s
    if "better" in found:
        assert found["better"].predicted_error < plan.choice.predicted_error
    if "smaller" in found:
        assert found["smaller"].memory_bytes < plan.choice.memory_bytes.total


def _said(out: str) -> str:
    return " ".join(out.split())


def test_why_it_is_chosen_is_said_where_others_are_mostly_better() -> None:
    """In words: how often it is the best, what is lost otherwise, and why it is taken all the same."""
    asked = ("recommend", "--hardware", "t4", "--task", "reasoning=0.7,ocr=0.3", "--latency", "4s")
    plan = vlmplan.recommend(hardware="t4", task="reasoning=0.7,ocr=0.3", latency="4s")
    assert plan.stability < 0.5
    out = _said(run(*asked)[1])
    assert f"Of 100 cases that the intervals allow, it is the best choice in {100 * plan.stability:.0f}; in " in out
    assert f"another is, which errs {plan.lost_points:.1f} of 100 less" in out
    assert "Chosen for the least expected error." in out
    firm = _said(run("recommend", "--hardware", "l4", "--latency", "300ms", "--task", "reasoning")[1])
    assert "it is the best choice in" in firm
    assert "Chosen" not in firm
    whole = _said(run(*asked, "-v")[1])
    assert (
        f"Stability: of 100 cases that the intervals allow, it is the best choice in {100 * plan.stability:.0f}"
        in whole
    )


def test_whose_quantised_checkpoint_is_served_is_in_the_first_view() -> None:
    asked = ("recommend", "--hardware", "l4", "--task", "ocr", "--latency", "1s", "--model")
    theirs = run(*asked, "Qwen3-VL-30B-A3B-Instruct", "--precision", "int4")[1]
    plan = vlmplan.recommend(
        hardware="l4", task="ocr", latency="1s", model="Qwen3-VL-30B-A3B-Instruct", precision="int4"
    )
    assert plan.choice.deploy is not None
    assert plan.choice.deploy.checkpoint is not None
    publisher = plan.choice.deploy.checkpoint.partition("/")[0]
    assert publisher != "Qwen"
    said = f"Checkpoint: {plan.choice.deploy.checkpoint}, quantised to int4 by {publisher}, not by Qwen."
    assert said in _said(theirs)
    assert _said(theirs).count("quantised") == 1
    own = _said(run(*asked, "Qwen3-VL-2B-Instruct", "--precision", "fp8")[1])
    assert re.search(r"Checkpoint: Qwen/\S+, quantised to fp8 by Qwen itself\.", own)
    assert "Checkpoint:" not in run(*asked, "InternVL3-1B")[1]


def test_a_page_is_offered_where_it_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    asked = ("recommend", "--hardware", "l4", "--latency", "300ms", "--task", "reasoning")
    assert _said(run(*asked)[1]).endswith("--why MODEL, --json, --open.")
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "plotly" else there(name, *rest)
    )
    out = _said(run(*asked)[1])
    assert out.endswith("--why MODEL, --json.")
    code, _, err = run(*asked, "--open")
    assert code == 2
    assert "plotly is not installed; pip install 'vlmplan[page]', or '.[page]' in a clone" in err


def test_a_librarys_warning_is_a_line_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No path and no line of a source reaches the terminal, unless Python was told how to warn."""
    from vlmplan import api

    def warns(**_: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("this is\nold", FutureWarning, stacklevel=1)
        raise vlmplan.InputError("enough")

    monkeypatch.setattr(api, "tokens", warns)
    monkeypatch.setattr("sys.warnoptions", [])
    _, _, err = run("tokens", "--model", "InternVL3-1B")
    assert err == "vlmplan: warning: this is old (FutureWarning)\nvlmplan: error: enough\n"


def test_a_task_that_is_none_names_those_like_it() -> None:
    code, _, err = run("recommend", "--hardware", "l4", "--task", "docvqua", "--latency", "1s")
    assert code == 2
    assert re.search(r"nearest: .*docvqa", err, flags=re.IGNORECASE)


def test_estimate_of_a_model_alone_is_of_this_machine_and_of_what_the_model_makes_of_the_image() -> None:
    code, out, err = run(
        "estimate", "--model", "SmolVLM-256M-Instruct", "--image", "512x512", "--text-tokens", "20", "--json"
    )
    assert code == 0, err
    assert (
        json.loads(out)["visual_tokens"]
        == vlmplan.tokens(model="SmolVLM-256M-Instruct", image="512x512").native.visual_tokens
    )
    said = _notes(err)
    assert any(line.startswith("this machine: ") and "--hardware" in line for line in said)
    assert sum("--visual-tokens" in line for line in said) == 1


def test_what_estimate_is_told_is_not_assumed() -> None:
    told = ("--hardware", "l4", "--visual-tokens", "64", "--text-tokens", "20", "--output-tokens", "8")
    code, _, err = run("estimate", "--model", "llava-1.5-7b", *told, "--explain")
    assert code == 0
    assert not _notes(err)
