"""Asking a plan again: it holds while nothing changed, and says what changed when it does not."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_models import checkpoint
from test_cli import RECOMMEND, changed, run

from vlmplan.document import from_plain, load, to_json, to_toml
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Runtime
from vlmplan.inventory import catalogue
from vlmplan.planning.plan import Plan
from vlmplan.planning.rechecks import Figure, Recheck, recheck


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


def _figure(found: Recheck, name: str) -> Figure:
    return next(one for one in found.figures if one.name == name)


@pytest.mark.usefixtures("here")
def test_a_plan_of_today_holds() -> None:
    code, out, err = run("recommend", "--check", "plan.json")
    assert (code, err) == (0, "")
    assert "The plan holds." in out
    found = recheck(planned())
    assert found.holds
    assert found.choice == found.chosen_now
    assert all(one.planned == one.now for one in found.figures)
    assert (found.changed, found.notes) == ((), ())


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
    latency = _figure(found, "latency_s")
    assert latency.planned is not None
    assert latency.now is not None
    assert latency.most is not None
    assert latency.limit is not None
    assert latency.planned < latency.now < latency.most
    assert latency.most > latency.limit
    assert found.changed == ("the profile of l4",)


def test_a_faster_profile_changes_the_choice() -> None:
    found = recheck(planned(), hardware="h100-sxm")
    assert not found.holds
    assert found.chosen_now != found.choice
    assert "the choice is now" in found.faults[0]
    assert _figure(found, "memory_bytes").limit == catalogue.hardware("h100-sxm").usable_bytes(Runtime.VLLM)


def test_a_profile_that_meets_nothing_says_so() -> None:
    found = recheck(replace(planned(), budget=replace(planned().budget, latency_s=1e-4)))
    assert found.chosen_now is None
    assert any("no plan meets" in fault for fault in found.faults)


@pytest.mark.usefixtures("here")
def test_what_changed_is_named_even_where_nothing_fits_any_more() -> None:
    device = catalogue.hardware("l4")
    Path("crawls.toml").write_text(
        to_toml(replace(device, bandwidth_bytes_per_s=device.bandwidth_bytes_per_s / 1e4)), encoding="utf-8"
    )
    found = recheck(planned(), hardware="crawls.toml")
    assert found.chosen_now is None
    assert found.changed == ("the profile of l4",)


def test_a_larger_device_is_not_held_to_the_smaller_ones_memory() -> None:
    found = recheck(planned(), hardware="h200-sxm")
    assert _figure(found, "memory_bytes").limit == catalogue.hardware("h200-sxm").usable_bytes(Runtime.VLLM)


def test_filters_that_leave_nothing_are_a_fault_not_bad_input() -> None:
    plan = planned()
    assert plan.asked is not None
    found = recheck(replace(plan, asked=replace(plan.asked, family="Gone*")))
    assert not found.holds
    assert "--family: no model's matches 'Gone*'" in found.faults[0]


@pytest.mark.usefixtures("here")
def test_the_plan_itself_is_not_written_over() -> None:
    code, _, err = run("recommend", "--check", "plan.json", "--out", "plan.json")
    assert code == 2
    assert "the plan itself" in err
    assert load(Plan, Path("plan.json")) == planned()


@pytest.mark.usefixtures("here")
def test_a_foreign_profile_of_the_same_file_name_is_not_taken() -> None:
    mine = replace(catalogue.hardware("l4"), name="mine")
    Path("my.toml").write_text(to_toml(mine), encoding="utf-8")
    assert run(*changed(RECOMMEND, hardware="./my.toml"), "--out", "mine.json")[0] == 0
    Path("my.toml").write_text(to_toml(catalogue.hardware("h100-sxm")), encoding="utf-8")
    found = recheck(load(Plan, Path("mine.json")))
    assert found.holds
    assert found.hardware == "mine"
    assert "the plan's own copy" in found.notes[0]


@pytest.mark.usefixtures("here")
def test_a_checkpoint_of_ones_own_and_a_shipped_law_are_asked_again() -> None:
    law = str(catalogue.find(catalogue.Shelf.LAWS, "reasoning"))
    asked = changed(RECOMMEND, task=law, runtime="onnxruntime", models=str(checkpoint().resolve()))
    code, _, err = run(*asked, "--out", "own.json")
    assert code == 0, err
    found = recheck(load(Plan, Path("own.json")))
    assert found.holds, found.faults
    assert "the dimensions of" in found.notes[0]


@pytest.mark.parametrize("option", ["model", "models"])
@pytest.mark.parametrize("typed", ["mine", "./mine", "mine/config.json", "../here/mine"])
def test_a_plan_holds_from_whichever_folder_it_is_asked(
    option: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint named by a relative path is looked for here, then beside the plan; else the plan has its copy."""
    if (option, typed) == ("models", "mine/config.json"):
        pytest.skip("--models takes a folder")
    here, elsewhere = tmp_path / "here", tmp_path / "there" / "deep"
    here.mkdir()
    elsewhere.mkdir(parents=True)
    shutil.copytree(checkpoint(), here / "mine")
    shutil.copy(catalogue.find(catalogue.Shelf.LAWS, "reasoning"), here / "own-law.toml")
    monkeypatch.chdir(here)
    asked = changed(RECOMMEND, task="own-law.toml", runtime="onnxruntime", **{option: typed})
    code, _, err = run(*asked, "--out", "own.json")
    assert code == 0, err
    assert run("recommend", "--check", "own.json")[0] == 0
    monkeypatch.chdir(elsewhere)
    code, out, err = run("recommend", "--check", str(here / "own.json"))
    assert (code, err) == (0, "")
    assert "The plan holds." in out
    shutil.rmtree(here / "mine")
    code, out, err = run("recommend", "--check", str(here / "own.json"))
    assert (code, err) == (0, "")
    assert "the plan's own copy" in " ".join(out.split())


def test_a_name_is_no_path_beside_the_plan(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called like the plan's device, task or model is not taken for it."""
    for name in ("l4", "reasoning"):
        (here / name).mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("recommend", "--check", str(here / "plan.json"))
    assert (code, err) == (0, "")


def test_ci_gets_a_summary(tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert run("recommend", "--check", str(here / "plan.json"))[0] == 0
    assert "the plan holds" in (tmp_path / "summary.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_another_law_is_named() -> None:
    law = catalogue.law("reasoning")
    Path("law.toml").write_text(to_toml(law), encoding="utf-8")
    code, _, err = run(*changed(RECOMMEND, task="law.toml"), "--out", "by-law.json")
    assert code == 0, err
    assert run("recommend", "--check", "by-law.json")[0] == 0
    Path("law.toml").write_text(to_toml(replace(law, name="other")), encoding="utf-8")
    assert recheck(load(Plan, Path("by-law.json"))).changed[0].startswith("what the error rests on (scaling law other")
    Path("law.toml").unlink()
    code, _, err = run("recommend", "--check", "by-law.json")
    assert code == 2
    assert "law.toml" in err


def test_a_model_that_has_left_the_catalogue_is_no_candidate() -> None:
    plan = planned()
    front = tuple(replace(one, model="gone/away") if plan.is_choice(one) else one for one in plan.front)
    found = recheck(replace(plan, choice=replace(plan.choice, model="gone/away"), front=front))
    assert _figure(found, "latency_s").now is None
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
def test_what_the_plan_says_is_not_saidrecheck(option: str) -> None:
    code, _, err = run("recommend", "--check", "plan.json", option)
    assert code == 2
    assert option.partition("=")[0] in err


def test_plans_of_before_are_refused() -> None:
    with pytest.raises(InputError, match="does not say what was asked"):
        recheck(replace(planned(), asked=None))


def test_a_verdict_is_that_of_its_faults() -> None:
    with pytest.raises(InputError, match="holds"):
        replace(recheck(planned()), holds=False)


def test_a_plan_is_asked_again_for_the_same_objective(tmp_path: Path) -> None:
    """The objective and the limit of the error are the plan's own: a plan for less error would be another."""
    path = tmp_path / "small.json"
    asked = [*changed(RECOMMEND, latency="2s"), "--max-error", "45%", "--minimise", "memory"]
    code, _, err = run(*asked, "--out", str(path))
    assert code == 0, err
    plan = load(Plan, path)
    assert plan.choice.model != planned().choice.model
    found = recheck(plan)
    assert found.holds
    error = _figure(found, "predicted_error")
    assert error.limit == 0.45
    assert error.most is not None
    assert error.now is not None
    assert error.now < error.most <= 0.45
    assert plan.asked is not None
    stricter = recheck(replace(plan, budget=replace(plan.budget, error_fraction=0.44 * plan.choice.predicted_error)))
    assert not stricter.holds
    assert any("error up to" in fault for fault in stricter.faults)
