"""One's own questions through a server: pictures sized to limits of tokens, answers kept, differences in pairs.

The server is a process of its own with a small Qwen2.5-VL of random weights behind it, whose answers are nonsense and
always the same: what it says at the most tokens is taken for right.
"""

import functools
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
from PIL import Image
from small_models import checkpoint, quiet, serving
from typer.testing import CliRunner

from vlmplan import api
from vlmplan.cli.app import app
from vlmplan.cost.stored import read_model_config
from vlmplan.errors import InputError, Unavailable
from vlmplan.evaluation.paired import TokenCurve, _lost, _p_value, points_csv, token_curve
from vlmplan.evaluation.questions import Question
from vlmplan.evaluation.scoring import Score
from vlmplan.evaluation.served import Asked, Asking, Reply, ask_all, sent
from vlmplan.fitting.point_tables import read_points
from vlmplan.inventory import catalogue
from vlmplan.measuring.servers.endpoint import Endpoint
from vlmplan.models.spec import ModelSpec
from vlmplan.models.visual_tokens import native_visual_tokens

KIND = "qwen2.5-vl"
LIMITS = (4, 16, 64)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(kind=KIND) as found:
        yield found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    """Six questions about pictures of three sizes; expected is what the server says at the most tokens."""
    folder = tmp_path_factory.mktemp("questions")
    rows = []
    for number in range(6):
        size = ((112, 112), (140, 84), (84, 140))[number % 3]
        pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": f"what is {number}", "answer": "?"})
    write(folder / "questions.jsonl", rows)
    found = asked(url, folder / "questions.jsonl", visual_tokens="64", answers=folder / "truth.jsonl")
    assert found.at[0].score_fraction == 0
    said = {row["question"]: row["answer"] for row in read(folder / "truth.jsonl")}
    for number, row in enumerate(rows, 1):
        row["answer"] = said[f"questions.jsonl line {number}"].strip() or "nothing"
    write(folder / "questions.jsonl", rows)
    return folder / "questions.jsonl"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked(url: str, table: Path, visual_tokens: str = "4,16,64", **more: Any) -> TokenCurve:
    given: dict[str, Any] = {"like": str(checkpoint(KIND)), "output_tokens": 6, "score": "exact"}
    return api.evaluate_endpoint(
        endpoint=url, questions=table, images=table.parent, visual_tokens=visual_tokens, **(given | more)
    )


def test_the_server_makes_the_tokens_that_the_rule_says(url: str, table: Path) -> None:
    found = asked(url, table)
    assert [one.limit for one in found.at] == [4, 16, 64]
    assert all(one.visual_tokens <= one.limit for one in found.at)
    assert found.at[-1].score_fraction == 1  # what it says there was taken for right
    assert found.at[0].score_fraction < 1
    assert not found.warnings
    assert found.served_model == "small"


def test_another_model_s_rule_is_noticed(url: str, table: Path) -> None:
    other = asked(url, table, visual_tokens="9,25", like=str(checkpoint("qwen2.5-vl-wide")))
    assert "the server's prompts grew by" in other.warnings[0]


def test_answers_are_kept_and_not_asked_for_again(url: str, table: Path, tmp_path: Path) -> None:
    kept = tmp_path / "answers.jsonl"
    whole = asked(url, table)
    first = asked(url, table, answers=kept, budget=5)
    assert 3 <= first.requests <= 5
    assert first.left == whole.requests - first.requests
    kept.write_text(kept.read_text(encoding="utf-8")[:-20], encoding="utf-8")  # a kill in the last line
    second = asked(url, table, answers=kept)
    assert (second.kept, second.requests) == (first.requests - 1, whole.requests - first.requests + 1)
    assert second.at == whole.at
    assert asked(url, table, answers=kept).requests == 0
    lines = kept.read_text(encoding="utf-8")
    row = json.loads(lines.splitlines()[-1])
    for more, message in (
        ({"answer": "another"}, f"a second answer to the request {row['key']}"),
        ({"key": "x", "prompt_tokens": float("nan")}, "prompt_tokens: expected a number of tokens, or null"),
    ):
        (tmp_path / "more.jsonl").write_text(lines + json.dumps(row | more) + "\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            asked(url, table, answers=tmp_path / "more.jsonl")


def test_a_budget_is_spent_question_by_question(url: str, table: Path) -> None:
    """So that every limit has answers to the same questions, whatever was left."""
    found = asked(url, table, budget=7)
    assert len({one.questions for one in found.at}) == 1
    with pytest.raises(InputError, match="--budget: found 1, and one question takes 2 requests"):
        asked(url, table, budget=1)


def test_a_server_that_fails_now_and_then_loses_nothing(table: Path) -> None:
    with serving("flaky", KIND) as url:
        found = asked(url, table, at_once=2)
    assert not found.failed
    assert {one.questions for one in found.at} == {6}


def test_a_server_that_is_gone_is_one_line(table: Path, tmp_path: Path) -> None:
    with serving(kind=KIND) as url:
        asked(url, table, answers=tmp_path / "kept.jsonl", budget=3)
    before = len(read(tmp_path / "kept.jsonl"))
    with pytest.raises(Unavailable, match="cannot be reached"):
        asked(url, table, answers=tmp_path / "kept.jsonl", served_model="small")
    assert len(read(tmp_path / "kept.jsonl")) == before > 0


def test_a_server_that_counts_nothing_is_asked_too(table: Path) -> None:
    with serving("silent", KIND) as url:
        assert not asked(url, table).warnings


def test_an_interrupt_keeps_what_was_answered(url: str, table: Path, tmp_path: Path) -> None:
    kept = tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "vlmplan", "evaluate", url, str(table), "--images", str(table.parent),
               "--visual-tokens", "4,9,16,25,36,49,64", "--like", str(checkpoint(KIND)), "--answers", str(kept),
               "--at-once", "1", "--output-tokens", "200"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for _ in range(600):
        if kept.exists() and kept.stat().st_size:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from" in said
    assert "Traceback" not in said
    assert read(kept)


def test_the_command_prints_the_curve_and_writes_points(url: str, table: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    given = ["evaluate", url, str(table), "--images", str(table.parent), "--visual-tokens", "4,64", "--like",
             str(checkpoint(KIND)), "--output-tokens", "6", "--points", str(points), "--task", "mine"]  # fmt: skip
    ran = CliRunner().invoke(app, given, env={"COLUMNS": "100"})
    assert ran.exit_code == 0, ran.output
    assert "small on questions.jsonl, judged by exact:" in ran.stdout
    assert "100.0 %" in ran.stdout
    rows, _ = read_points(points)
    assert [row.task for row in rows] == ["mine", "mine"]
    assert rows[1].error == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"visual_tokens": "many"}, "expected numbers with commas"),
        ({"visual_tokens": ",".join(map(str, range(1, 14)))}, "found 13 numbers, expected at most 12"),
        ({"by": "magic"}, "--by: found 'magic', expected size or request"),
        ({"score": "vibes"}, "--score: found 'vibes', expected"),
        ({"score": "choice"}, "line 1: answer: expected the letter of an option"),
        ({"may_lose": "2"}, "2"),
        ({"like": None}, "no model that the server calls 'small'; name it by --like"),
        ({"like": "llava-1.5-7b-hf"}, "no size of a picture"),
        ({"like": "llava-1.5-7b-hf", "by": "request"}, "makes no 64 visual tokens or fewer"),
        ({"limit": 0}, "--limit"),
    ],
)
def test_what_cannot_be_asked_is_one_line(url: str, table: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        asked(url, table, **({"visual_tokens": "4,64"} | given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["http://127.0.0.1:9/v1"], "--visual-tokens: found none; expected the most of each round"),
        (["http://127.0.0.1:9/v1", "--against", "x"], "--against: not for a server"),
        (["export", "--score", "anls", "--budget", "3"], "--score, --budget: not for a checkpoint or an export"),
        (["export", "--visual-tokens", "4,64"], "expected one number; several are asked of a server"),
    ],
)
def test_options_of_the_other_kind_are_refused(table: Path, given: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, ["evaluate", given[0], str(table), "--images", str(table.parent), *given[1:]])
    assert ran.exit_code == 2
    assert message in ran.stderr


@pytest.mark.parametrize(
    ("name", "limits"),
    [("Qwen/Qwen2.5-VL-7B-Instruct", (16, 64, 256, 1024)), ("Qwen/Qwen3-VL-8B-Instruct", (256, 1024))],
)
@pytest.mark.parametrize("size", [(1024, 768), (3000, 500), (60, 60)])
def test_a_picture_is_sent_as_large_as_its_limit_lets_it(
    name: str, limits: tuple[int, ...], size: tuple[int, int]
) -> None:
    for limit in limits:
        _is_as_large_as_it_may_be(catalogue.model(name), size, limit)


def _is_as_large_as_it_may_be(model: ModelSpec, size: tuple[int, int], limit: int) -> None:
    found = sent(model, size, limit, by_request=False)
    assert found.visual_tokens == native_visual_tokens(model, found.size) <= limit
    assert found.size[0] <= size[0]
    assert found.size[0] / found.size[1] == pytest.approx(size[0] / size[1], rel=0.1)
    if native_visual_tokens(model, size) <= limit:
        assert found.size == size


def test_what_enlarges_small_pictures_makes_no_few_tokens_by_their_size() -> None:
    with pytest.raises(InputError, match=r"no size of a picture of 1024x768 makes at most 16 .* add --by request"):
        sent(catalogue.model("Qwen/Qwen3-VL-8B-Instruct"), (1024, 768), 16, by_request=False)


def test_by_request_the_picture_stays_whole() -> None:
    model = catalogue.model("OpenGVLab/InternVL3-8B")
    assert sent(model, (1024, 768), 1024, by_request=True).size == (1024, 768)
    qwen = sent(catalogue.model("Qwen/Qwen2.5-VL-7B-Instruct"), (1024, 768), 256, by_request=True)
    assert qwen.setting["mm_processor_kwargs"]["size"]["longest_edge"] >= 200 * 28 * 28


def _asking(limits: tuple[int, ...]) -> Asking:
    server = Endpoint(url="http://127.0.0.1:9/v1", model="m")
    return Asking(server=server, model=read_model_config(checkpoint(KIND)), limits=limits, score=Score.EXACT)


def _curve(less: list[float], more: list[float], may_lose: float = 0.02) -> TokenCurve:
    replies = [
        Reply(
            question=str(number),
            limit=limit,
            visual_tokens=limit,
            text="",
            right_fraction=right,
            prompt_tokens=None,
            key="",
        )
        for limit, scores in ((64, less), (256, more))
        for number, right in enumerate(scores)
    ]
    return token_curve(_asking((64, 256)), Asked(replies=tuple(replies), requests=0, kept=0), "q", may_lose)


def test_few_questions_are_never_enough_to_be_sure() -> None:
    assert _curve([1.0] * 10, [1.0] * 10).enough is None
    assert _curve([1.0] * 400, [1.0] * 400).enough == 64
    assert _curve([0.0] * 40 + [1.0] * 360, [1.0] * 400).enough is None


def test_intervals_of_paired_differences_hold() -> None:
    """Drawn: at 64 tokens 8 of 100 questions are lost and 3 are won, of those two models answer."""
    rng, held, width = np.random.default_rng(0), 0, []
    for _ in range(400):
        draws = rng.choice(3, size=100, p=(0.08, 0.03, 0.89))
        lost = [(1.0, -1.0, 0.0)[one] for one in draws]
        low, high = _lost(lost, int((draws == 0).sum()), int((draws == 1).sum()))
        held += low <= 0.05 <= high
        width.append(high - low)
    assert 0.86 <= held / 400 <= 0.96
    assert np.median(width) < 0.13


def test_intervals_of_parts_of_a_point_hold_too() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(60):
        lost = list(rng.beta(2, 8, size=80) * rng.choice((1, -0.3), size=80, p=(0.7, 0.3)))
        low, high = _lost(lost, 1, 1)
        held += low <= 0.2 * 0.7 - 0.2 * 0.3 * 0.3 <= high
    assert 0.8 <= held / 60 <= 0.98


def test_mcnemar_s_p_value_is_exact() -> None:
    assert _p_value(0, 0) == 1
    assert _p_value(10, 0) == pytest.approx(2 / 2**10)


def test_a_limit_without_answers_is_named() -> None:
    asking = _asking((64, 256))
    with pytest.raises(InputError, match="nothing was answered at 64 visual tokens"):
        token_curve(asking, Asked(replies=(), requests=0, kept=0), "q")


def test_points_are_rows_for_fit() -> None:
    assert points_csv(_curve([0.0, 1.0], [1.0, 1.0]), 7.0, "mine").splitlines()[1] == "7,64,0.500000,mine,m"


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    question = Question(name="q line 1", image=tmp_path / "no.png", text="?", answers=("x",))
    with pytest.raises(InputError, match="q line 1: no image that can be read"):
        ask_all(_asking((64,)), [question], None, functools.partial(quiet))
