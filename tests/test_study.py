"""Studies: what is asked next, when it ends, and what is said; against a server process with planted accuracies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import LARGE, PLANTED, SMALL, numbered_questions, planted
from typer.testing import CliRunner

from vlmplan import api
from vlmplan.cli.app import app
from vlmplan.document import load, to_json
from vlmplan.errors import InputError, Unavailable
from vlmplan.evaluation.questions import read_questions
from vlmplan.evaluation.scoring import Score
from vlmplan.evaluation.served import Asking, posed
from vlmplan.inventory import catalogue
from vlmplan.measuring.servers.endpoint import Endpoint
from vlmplan.studies.belief import Belief, Posterior, everything, posterior
from vlmplan.studies.decision import Problem, chosen, next_batch, standing
from vlmplan.studies.study import Study

QUESTIONS = 100
TRUTH = (LARGE, 64)  # the cheapest within 5 points of the best


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with planted(tmp_path_factory.mktemp("planted")) as found:
        yield found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_questions(tmp_path_factory.mktemp("questions") / "questions.jsonl", QUESTIONS)


def studied(url: str, table: Path, **more: Any) -> Study:
    given: dict[str, Any] = {
        "endpoint": [f"{url}={SMALL}", f"{url}={LARGE}"], "visual_tokens": "16,64,256", "budget": 600,
        "tolerance": "5%", "task": "docvqa",
    }  # fmt: skip
    return api.study(questions=table, images=table.parent, **(given | more))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_planted_choice_is_found_with_fewer_requests(url: str, table: Path) -> None:
    found = studied(url, table)
    assert (found.choice.model, found.choice.limit) == TRUTH
    assert found.settled
    assert found.probability_fraction >= 0.9
    assert found.all_requests == 6 * QUESTIONS
    assert found.requests < found.all_requests / 2
    asked = {(one.model, one.limit): one.questions for one in found.arms}
    assert max(asked, key=lambda arm: asked[arm])[0] == LARGE  # the small model's arms decide nothing
    assert found.enough.get(LARGE, 64) == 64
    for one in found.arms:
        low, high = one.error_interval
        assert low - 0.03 <= 1 - PLANTED[one.model][str(one.limit)] <= high + 0.03
        assert 0 < one.answers_weight_fraction < 1
    assert load_back(found) == found


def load_back(found: Study) -> Study:
    return load_text(to_json(found))


def load_text(text: str) -> Study:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "study.json"
        path.write_text(text, encoding="utf-8")
        return load(Study, path)


def test_a_study_goes_on_after_a_kill_and_a_flaky_server_loses_nothing(table: Path, tmp_path: Path) -> None:
    kept = tmp_path / "answers.jsonl"
    with planted(tmp_path, fault_every=9) as url:
        command = [sys.executable, "-m", "vlmplan", "study", str(table), "--images", str(table.parent), "--endpoint",
                   f"{url}={SMALL}", "--endpoint", f"{url}={LARGE}", "--visual-tokens", "16,64,256", "--budget", "600",
                   "--tolerance", "5%", "--task", "docvqa", "--answers", str(kept), "--at-once", "1"]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(600):
            if kept.exists() and len(kept.read_text(encoding="utf-8").splitlines()) > 20:
                break
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = {row["key"] for row in rows_of(kept)}
        found = studied(url, table, answers=kept, at_once=8)
    assert len(before) > 20
    assert (found.choice.model, found.choice.limit) == TRUTH
    assert found.settled
    assert not found.failed
    assert found.kept == len(before)
    after = [row["key"] for row in rows_of(kept)]
    assert len(after) == len(set(after)) == found.kept + found.requests


def test_a_budget_that_is_spent_is_kept_to_and_said(url: str, table: Path, tmp_path: Path) -> None:
    given = ["study", str(table), "--images", str(table.parent), "--endpoint", f"{url}={LARGE}", "--visual-tokens",
             "16,64,256", "--budget", "30", "--confidence", "0.99", "--tolerance", "1%",
             "--out", str(tmp_path / "study.json"), "--answers", str(tmp_path / "kept.jsonl")]  # fmt: skip
    ran = CliRunner().invoke(app, given, env={"COLUMNS": "100"})
    assert ran.exit_code == 3, ran.output
    assert "Not settled; likeliest is" in ran.stdout
    assert "expected 99 %; raise --budget" in ran.stderr
    found = load(Study, tmp_path / "study.json")
    assert not found.settled
    assert found.requests == 30 == len(rows_of(tmp_path / "kept.jsonl"))
    again = studied(url, table, endpoint=f"{url}={LARGE}", budget=30, answers=tmp_path / "kept.jsonl")
    assert (again.requests, again.kept) == (0, 30)


def test_answers_of_evaluate_are_those_of_a_study(url: str, table: Path, tmp_path: Path) -> None:
    kept = tmp_path / "answers.jsonl"
    api.evaluate_endpoint(
        endpoint=url, questions=table, images=table.parent, visual_tokens="64,256", served_model=LARGE, answers=kept,
        limit=40,
    )  # fmt: skip
    found = studied(url, table, endpoint=f"{url}={LARGE}", visual_tokens="64,256", answers=kept, limit=40)
    assert found.kept == found.all_requests == 80
    assert found.requests == 0
    assert found.probability_fraction == 1  # everything was asked


def test_two_servers_of_one_name_are_two(table: Path) -> None:
    """An engine before and after a change: what one answered is not what the other does."""
    spec, questions = catalogue.model("Qwen/Qwen2.5-VL-3B-Instruct"), read_questions(table, table.parent)
    keys = [
        {one.key for one in posed(Asking(server=server, model=spec, limits=(64,), score=Score.EXACT), questions)}
        for server in (Endpoint(url=f"http://here:{port}/v1", model="m") for port in (8000, 8001))
    ]
    assert keys[0] and not keys[0] & keys[1]


def test_a_study_is_a_law_that_says_what_others_take_over(url: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(to_json(studied(url, table, confidence=0.99)), encoding="utf-8")
    law, _ = api.fit(points=tmp_path / "study.json", draws=200)
    assert law.reduction == "image-size"
    assert law.task == "docvqa"
    assert set(law.asked_models) == {SMALL, LARGE}
    assert law.error(7.6, 64, "Qwen2.5-VL") < law.error(3.1, 64, "Qwen2.5-VL") < law.error(3.1, 16, "Qwen2.5-VL")
    plan = api.recommend(task=law, hardware="l4", latency="5s", model="Qwen/Qwen2-VL-7B-Instruct")
    assert "did not answer the questions of the law" in " ".join(plan.warnings)
    own = api.recommend(task=law, hardware="l4", latency="5s", model=LARGE)
    assert "did not answer" not in " ".join(own.warnings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": 1}, "--budget: found 1, and one question of each takes 6 requests"),
        ({"endpoint": "foo"}, "--endpoint: found 'foo', expected http"),
        ({"endpoint": []}, "--endpoint: found none"),
        ({"visual_tokens": "many"}, "expected numbers with commas"),
        ({"task": "nonsense"}, "--task: no task 'nonsense'"),
        ({"prior": "vibes"}, "--prior: found 'vibes'"),
        ({"confidence": 90}, "did you mean 0.9"),
        ({"like": [SMALL] * 3}, "--like: found 3, expected one, or one for each of 2 endpoints"),
        ({"visual_tokens": "2000,4000", "limit": 1, "endpoint": "URL=" + LARGE}, "expected two to choose from"),
    ],
)
def test_what_cannot_be_studied_is_one_line(url: str, table: Path, given: dict[str, Any], message: str) -> None:
    asked = {key: one.replace("URL", url) if isinstance(one, str) else one for key, one in given.items()}
    with pytest.raises(InputError, match=message):
        studied(url, table, **asked)


def test_a_server_with_several_models_wants_one_named(url: str, table: Path) -> None:
    with pytest.raises(InputError, match=r"--endpoint http.*=MODEL: the server lists .*; name one"):
        studied(url, table, endpoint=url)


def test_a_server_that_is_gone_is_unavailable(table: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        studied("http://127.0.0.1:9/v1", table)


def drawn(shares: tuple[float, ...], questions: int, seed: int, of_question: float = 0.7) -> np.ndarray[Any, Any]:
    """Right and wrong answers of arms by their shares, of questions that are hard or easy for all of them."""
    from scipy.stats import norm

    random = np.random.default_rng(seed)
    latent = of_question**0.5 * random.standard_normal(questions)
    latent = latent + (1 - of_question) ** 0.5 * random.standard_normal((len(shares), questions))
    return np.asarray(latent < norm.ppf(shares)[:, None], dtype=float)


def wide(arms: int) -> Belief:
    return Belief(mean=np.zeros(arms), covariance=np.full((arms, arms), 1.0) + np.eye(arms))


def partly(answers: np.ndarray[Any, Any], counts: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.where(np.arange(answers.shape[1])[None] < np.array(counts)[:, None], answers, np.nan)


def test_intervals_hold_the_truth_and_what_asking_everything_would_say() -> None:
    shares, held, foretold = (0.5, 0.7, 0.85), [], []
    for seed in range(60):
        answers = drawn(shares, 200, seed)
        known = posterior(wide(3), partly(answers, (30, 60, 120)), (0, 0, 1))
        logits = np.log(np.array(shares) / (1 - np.array(shares)))
        held.append(np.abs(logits - known.mean) < 1.645 * np.sqrt(np.diag(known.covariance)))
        every = everything(known)
        foretold.append(np.abs(answers.mean(axis=1) - every.mean) < 1.645 * np.sqrt(np.diag(every.covariance)))
    assert 0.82 <= np.mean(held) <= 0.97
    assert 0.8 <= np.mean(foretold) <= 0.97


def test_paired_answers_tell_differences_more_sharply() -> None:
    answers = drawn((0.6, 0.65), 200, 3)
    paired = posterior(wide(2), partly(answers, (100, 100)), (0, 0))
    apart = answers.copy()
    apart[0, 100:], apart[1, :100] = np.nan, np.nan
    unpaired = posterior(wide(2), apart, (0, 0))

    def difference_sd(known: Posterior) -> float:
        return float(np.sqrt(np.array([1, -1]) @ known.covariance @ np.array([1, -1])))

    assert difference_sd(paired) < 0.75 * difference_sd(unpaired)


def test_answers_weigh_more_the_more_there_are() -> None:
    answers, weights = drawn((0.6, 0.8), 200, 0), []
    for count in (0, 10, 200):
        weights.append(posterior(wide(2), partly(answers, (count, count)), (0, 0)).weight[0])
    assert weights[0] == pytest.approx(0)
    assert weights[0] < weights[1] < weights[2] < 1


def test_the_choice_is_the_cheapest_within_the_tolerance() -> None:
    scores = np.array([[0.80, 0.81, 0.60], [0.70, 0.81, 0.60], [0.81, 0.60, 0.80]])
    assert chosen(scores, np.array([1.0, 2.0, 0.0]), 0.02).tolist() == [0, 1, 2]


def test_what_is_asked_next_is_what_the_choice_hangs_on() -> None:
    """Two arms are close, a third is far behind: its answers could not change the choice."""
    answers = drawn((0.2, 0.78, 0.8), 300, 1)
    known = posterior(wide(3), partly(answers, (20, 20, 20)), (0, 1, 2))
    problem = Problem(order=np.array([0.0, 1.0, 2.0]), tolerance=0.02)
    batch = next_batch(known, standing(known, problem), problem, (280, 280, 280), 20)
    assert batch is not None
    assert 0 not in batch.arms
    assert batch.gain_fraction > 0


def test_everything_asked_leaves_nothing_open() -> None:
    answers = drawn((0.5, 0.7), 50, 2)
    every = everything(posterior(wide(2), answers, (0, 0)))
    assert every.mean == pytest.approx(answers.mean(axis=1))
    assert np.abs(every.covariance).max() < 1e-12


def test_a_study_is_of_one_mind_with_the_whole_grid_more_often_than_asking_all_alike() -> None:
    """A small version of ``tools/study_designs.py``, on a grid made up: two contenders, four far behind."""
    from study_designs import Grid, by_grid, by_study, compared

    scores = np.array([0.3, 0.5, 0.80, 0.35, 0.55, 0.86])
    made = Grid(paper="", benchmark="", models=(0, 0, 0, 1, 1, 1), costs=np.arange(6.0), scores=scores, prior=wide(6))
    rows = [compared(made, 150, seed) for seed in range(10)]
    assert sum(row.same["study"] for row in rows) >= sum(row.same["grid"] for row in rows)
    assert sum(row.same["study"] for row in rows) >= 8
    truth = np.ones((6, 150))
    assert by_study(made, truth, 300, 0).requests <= 300
    assert by_grid(made, truth, 300, 0).requests == 300
