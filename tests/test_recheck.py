"""Asking a plan again: it holds while nothing changed, and says what changed when it does not."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import RECOMMEND, changed, run

from vlmplan import catalogue
from vlmplan.document import from_plain, load, to_json, to_toml
from vlmplan.errors import InputError
from vlmplan.plan import Plan
from vlmplan.recheck import Recheck, ask_again, recheck


@functools.cache
def planned() -> Plan:
    """A plan for an L4."""
    code, out, err = run(*RECOMMEND, "--json")
    assert code == 0, err
    return from_plain(Plan, json.loads(out), "plan")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan in it."""
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text(to_json(planned()), encoding="utf-8")
    return tmp_path


def _again(plan: Plan, hardware: str | None = None, task: str | None = None) -> Recheck:
    return recheck(plan, ask_again(plan, hardware, task))


@pytest.mark.usefixtures("here")
def test_a_plan_of_today_holds() -> None:
    code, out, err = run("recommend", "--check", "plan.json")
    assert (code, err) == (0, "")
    assert "The plan holds." in out
    found = _again(planned())
    assert found.holds
    assert found.before == found.priced_now == found.chosen_now
    assert found.changed == ()


@pytest.mark.usefixtures("here")
def test_a_slower_profile_breaks_the_budget_and_is_named() -> None:
    device = catalogue.hardware("l4")
    slower = replace(device, bandwidth_bytes_per_s=device.bandwidth_bytes_per_s / 3)
    Path("slow.toml").write_text(to_toml(slower), encoding="utf-8")
    code, out, err = run("recommend", "--check", "plan.json", "--hardware", "slow.toml", "--out", "check.json")
    assert code == 3
    assert "plan.json does not hold any more" in err
    assert "latency up to" in out
    found = load(Recheck, Path("check.json"))
    assert not found.holds
    assert found.priced_now is not None
    assert found.priced_now.latency_s > planned().choice.latency_s
    assert found.changed == ("the profile of l4",)


def test_a_faster_profile_changes_the_choice() -> None:
    found = _again(planned(), hardware="h100-sxm")
    assert not found.holds
    assert found.chosen_now is not None
    assert found.chosen_now.predicted_error < found.before.predicted_error
    assert "the choice is now" in found.faults[0]


def test_a_profile_that_meets_nothing_says_so() -> None:
    found = _again(replace(planned(), budget=replace(planned().budget, latency_s=1e-4)))
    assert found.chosen_now is None
    assert any("no plan meets" in fault for fault in found.faults)


@pytest.mark.usefixtures("here")
def test_another_law_is_named() -> None:
    law = catalogue.law("reasoning")
    Path("law.toml").write_text(to_toml(law), encoding="utf-8")
    code, _, err = run(*changed(RECOMMEND, task="law.toml"), "--out", "by-law.json")
    assert code == 0, err
    assert run("recommend", "--check", "by-law.json")[0] == 0
    Path("law.toml").write_text(to_toml(replace(law, name="other")), encoding="utf-8")
    assert _again(load(Plan, Path("by-law.json"))).changed[0].startswith("what the error rests on (scaling law other")
    Path("law.toml").unlink()
    code, _, err = run("recommend", "--check", "by-law.json")
    assert code == 2
    assert "law.toml" in err


def test_a_model_that_has_left_the_catalogue_is_no_candidate() -> None:
    plan = planned()
    found = _again(replace(plan, choice=replace(plan.choice, model="gone/away")))
    assert found.priced_now is None
    assert "no candidate any more" in found.faults[0]


def test_the_profile_a_plan_was_made_with_need_not_be_there(here: Path) -> None:
    mine = replace(catalogue.hardware("l4"), name="mine")
    Path("mine.toml").write_text(to_toml(mine), encoding="utf-8")
    code, _, err = run(*changed(RECOMMEND, hardware=str(here / "mine.toml")), "--out", "mine.json")
    assert code == 0, err
    assert str(here) not in Path("mine.json").read_text(encoding="utf-8")
    assert run("recommend", "--check", "mine.json")[0] == 0
    shutil.move("mine.toml", "elsewhere.toml")
    assert run("recommend", "--check", "mine.json")[0] == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("option", ["--latency=1s", "--text-tokens=3", "--family=Qwen*", "--plot=x.svg", "--gpus=2"])
def test_what_the_plan_says_is_not_said_again(option: str) -> None:
    code, _, err = run("recommend", "--check", "plan.json", option)
    assert code == 2
    assert option.partition("=")[0] in err


def test_plans_of_before_are_refused() -> None:
    with pytest.raises(InputError, match="does not say what was asked"):
        ask_again(replace(planned(), asked=None), None, None)


def test_what_recommend_cannot_do_without_is_named() -> None:
    code, _, err = run("recommend", "--hardware", "l4", "--latency", "1s", "--task", "ocr")
    assert code == 2
    assert "--text-tokens, --output-tokens" in err


def test_a_verdict_is_that_of_its_faults() -> None:
    with pytest.raises(InputError, match="holds"):
        replace(_again(planned()), holds=False)
