"""What is not given is assumed, and said: a plan from one word typed."""

import json
import re
import warnings
from dataclasses import replace

import pytest
from test_cli import run

import vlmplan
from vlmplan.planning.options import INTERACTIVE


def _notes(said: str) -> list[str]:
    return [line.removeprefix("vlmplan: note: ") for line in said.splitlines() if line.startswith("vlmplan: note: ")]


def test_one_word_is_answered() -> None:
    """Of this machine, whatever it is."""
    code, out, err = run("recommend")
    assert code == 0, err
    assert out.startswith("Deploy ")
    said = _notes(err)
    assert any("--task" in line for line in said)
    assert any("--text-tokens" in line for line in said)
    assert any(line.startswith("this machine: ") and "--hardware" in line for line in said)
    assert any("--latency" in line for line in said)


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
    assert "no limit given: 1.00 s to the first token" in err


def test_limits_that_nothing_keeps_are_widened_and_said() -> None:
    with pytest.warns(vlmplan.Assumed, match=r"\d+ times the usual case's"):
        plan = vlmplan.recommend(hardware=_slow(), task="reasoning")
    assert plan.budget.ttft_s is not None
    assert plan.budget.ttft_s > INTERACTIVE.ttft_s


def _slow() -> vlmplan.HardwareProfile:
    """A device so slow that no model answers within a second."""
    l4 = vlmplan.hardware_profile("l4")
    peaks = {precision: peak / 2000 for precision, peak in l4.peak_flops_per_s.items()}
    slower = (l4.bandwidth_bytes_per_s or 0) / 2000
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


def test_a_task_that_is_none_names_those_like_it() -> None:
    code, _, err = run("recommend", "--hardware", "l4", "--task", "docvqua", "--latency", "1s")
    assert code == 2
    assert re.search(r"nearest: .*docvqa", err, flags=re.IGNORECASE)
