"""Evaluation: what counts as right, that export and checkpoint answer alike, and what is said of a bad table."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import checkpoint, exported, quiet
from small_training import drawn, trained
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.errors import InputError
from vlmplan.evaluation.questions import (
    TIE_LOGIT,
    Answered,
    agreement,
    answer_all,
    beside,
    evaluation,
    open_subject,
    read_questions,
    share,
)
from vlmplan.exporting.orders import ExportChoices, export_order
from vlmplan.exporting.write import export
from vlmplan.models.spec import Compressor


def _answered(tokens: tuple[int, ...], margins: tuple[float, ...], right: bool = True) -> Answered:
    return Answered(text="", right=right, tokens=tokens, margins=margins)


def test_wilsons_interval_by_hand() -> None:
    """8 of 10 at 90 %: (0.8 + 0.1353 +- 0.2285) / 1.2706."""
    found = share([True] * 8 + [False] * 2)
    assert (found.right, found.questions, found.accuracy_fraction) == (8, 10, 0.8)
    assert found.interval == pytest.approx((0.5408, 0.9315), abs=2e-4)
    assert share([False] * 4).interval[0] == 0


def test_answers_that_part_at_a_near_tie_are_counted_apart() -> None:
    ours = [_answered((1, 2), (9, 9)), _answered((1, 3), (9, TIE_LOGIT)), _answered((5,), (2.0,), right=False)]
    theirs = [_answered((1, 2), (9, 9)), _answered((1, 4), (9, 1.0)), _answered((6,), (2.0,))]
    found = agreement("other", ours, theirs)
    assert (found.differing, found.near_ties, found.accuracy_fraction) == (2, 1, 1.0)


@pytest.mark.parametrize("compressor", [Compressor.QUECC, Compressor.TOKEN_PACKER, Compressor.AVERAGE_POOL])
def test_an_export_answers_as_its_checkpoint_does(compressor: Compressor, tmp_path: Path) -> None:
    """Trained a little, so that answers end; token by token but for near ties."""
    trained(tmp_path / "made", compressor=compressor, align_steps=2, tune_steps=150, tune_rate=3e-3)
    export(export_order(ExportChoices(checkpoint=str(tmp_path / "made")), None), tmp_path / "out", quiet)
    questions = read_questions(drawn() / "questions.jsonl", drawn() / "images", 60)
    ours = open_subject(str(tmp_path / "out"), None, "cpu", 1)
    theirs = beside(ours, str(tmp_path / "made"), None, 1)
    answered = answer_all(ours, questions, quiet)
    found = agreement("checkpoint", answered, answer_all(theirs, questions, quiet))
    assert found.differing == found.near_ties
    whole = evaluation(ours, "questions.jsonl", questions, answered, found)
    assert whole.overall.right == sum(one.right for one in answered) > 0
    assert sum(one.questions for one in whole.by_kind.values()) == len(questions)


def test_a_nested_checkpoint_is_asked_at_any_of_its_numbers(tmp_path: Path) -> None:
    trained(tmp_path / "made", visual_tokens=(1, 16))
    assert open_subject(str(tmp_path / "made"), None, "cpu", None).visual_tokens == 16
    one = open_subject(str(tmp_path / "made"), 1, "cpu", None)
    question = read_questions(drawn() / "questions.jsonl", drawn() / "images", 1)
    assert one.visual_tokens == 1
    assert answer_all(one, question, quiet)
    with pytest.raises(InputError, match="reads 16, 1; found 4"):
        open_subject(str(tmp_path / "made"), 4, "cpu", None)


ROW = {"image": "a.png", "question": "What?", "answer": "red"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"image": "gone.png"}, "there is no image"),
        (ROW | {"question": " "}, "question: expected text"),
        (ROW | {"answer": 3}, "answer: expected text, or answers"),
        ({"image": "a.png", "question": "What?"}, "answer: expected text, or answers"),
        (ROW | {"kind": 1}, "kind: expected text, found 1"),
        ([1], "expected a table with image, question and answer"),
        (ROW | {"score": float("nan")}, "found NaN or an infinite number"),
        (ROW | {"scores": [{"a": float("-inf")}]}, "found NaN or an infinite number"),
    ],
)
def test_bad_questions_are_named(row: object, message: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "q.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(row)}\n")
    with pytest.raises(InputError, match=f"q.jsonl line 2: {message}"):
        read_questions(tmp_path / "q.jsonl", tmp_path)


def test_several_answers_case_and_stops(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "What?", "answers": ["Red", "crimson"]}
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    assert read_questions(tmp_path / "q.jsonl", tmp_path)[0].answers == ("Red", "crimson")


def test_the_command_compares_and_writes_answers(tmp_path: Path) -> None:
    folder = drawn()
    flags = ["--images", str(folder / "images"), "--limit", "5", "--threads", "1"]
    trained(tmp_path / "made", tune_steps=20, tune_rate=3e-3)
    export(export_order(ExportChoices(checkpoint=str(tmp_path / "made")), None), tmp_path / "out", quiet)
    done = CliRunner().invoke(
        app,
        ["evaluate", str(tmp_path / "out"), str(folder / "questions.jsonl"), *flags,
         "--against", str(tmp_path / "made"), "--answers", str(tmp_path / "answers.jsonl"),
         "--out", str(tmp_path / "found.json")],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "all 5 answers are the same" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["schema"] == "vlmplan.evaluation/1"
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert sum(line["right"] for line in lines) == found["overall"]["right"]
    assert lines[0]["question"] == "questions.jsonl line 1"


def test_logits_that_are_no_numbers_are_no_answer(tmp_path: Path) -> None:
    """One line, and no file of answers: a comparison with NaN is false, so each token would be the first one."""
    shutil.copytree(checkpoint(), tmp_path / "made")
    weights = load_file(tmp_path / "made" / "model.safetensors")
    weights["language_model.model.norm.weight"][3] = float("nan")
    save_file(weights, tmp_path / "made" / "model.safetensors", metadata={"format": "pt"})
    export(export_order(ExportChoices(checkpoint=str(tmp_path / "made")), None), tmp_path / "out", quiet)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "q.jsonl").write_text(json.dumps(ROW))
    asked = [str(tmp_path / "q.jsonl"), "--images", str(tmp_path), "--answers", str(tmp_path / "answers.jsonl")]
    for words in (
        ["evaluate", str(tmp_path / "out"), *asked],
        ["evaluate", str(tmp_path / "made"), *asked],
        ["run", str(tmp_path / "out"), "--image", str(tmp_path / "a.png"), "--prompt", "What?"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert "largest logits of answer token 1, expected finite numbers" in " ".join(done.stderr.split())
    assert not (tmp_path / "answers.jsonl").exists()


def test_validate_reports_the_accuracy() -> None:
    """Also of a stock checkpoint, compressed at export: the reference is compressed alike."""
    flags = ["--questions", str(drawn() / "q.jsonl"), "--images", str(drawn() / "images"), "--repeats", "1"]
    questions = (drawn() / "questions.jsonl").read_text().splitlines()
    (drawn() / "q.jsonl").write_text("\n".join(questions[:3]))
    done = CliRunner().invoke(
        app, ["validate", str(exported()), "--checkpoint", str(checkpoint()), "--json", *flags], catch_exceptions=False
    )
    assert done.exit_code == 0, done.stderr
    check = next(one for one in json.loads(done.stdout)["checks"] if one["name"] == "answers")
    assert check["outcome"] == "passed"
    assert check["figures"] == {"accuracy_fraction": 0.0, "differing": 0.0}
    half = CliRunner().invoke(app, ["validate", str(exported()), *flags[:2]], catch_exceptions=False)
    assert half.exit_code == 2
    assert "expected both or neither" in half.stderr


@pytest.mark.parametrize("key", ["question", "answer", "kind", "task", "image"])
def test_half_a_character_is_one_line_and_spoils_nothing(key: str, tmp_path: Path) -> None:
    """What an earlier run wrote stays whole."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "q.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | {key: chr(0xD800)})}\n")
    before = '{"text": "before"}\n'
    for name in ("answers.jsonl", "found.json"):
        (tmp_path / name).write_text(before)
    flags = [
        "--images",
        str(tmp_path),
        "--answers",
        str(tmp_path / "answers.jsonl"),
        "--out",
        str(tmp_path / "found.json"),
    ]
    done = CliRunner().invoke(
        app, ["evaluate", str(exported()), str(tmp_path / "q.jsonl"), *flags], catch_exceptions=False
    )
    assert done.exit_code == 2
    assert done.stderr == (
        "vlmplan: error: q.jsonl line 2: found half a character (a lone surrogate), expected Unicode text\n"
    )
    assert all((tmp_path / name).read_text() == before for name in ("answers.jsonl", "found.json"))


def test_answers_are_written_whatever_is_in_them(tmp_path: Path) -> None:
    """Texts that Unicode breaks into lines stay on theirs; a file's name may hold bytes that are no text."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = ROW | {"question": "What\u2028is\u0085it?"}
    path = tmp_path / os.fsdecode(b"q\xff.jsonl")
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    flags = ["--images", str(tmp_path), "--answers", str(tmp_path / "answers.jsonl"), "--threads", "1"]
    done = CliRunner().invoke(app, ["evaluate", str(exported()), str(path), *flags], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    (line,) = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["text"] == row["question"]
    assert json.loads(line)["question"] == "q\\udcff.jsonl line 1"


@pytest.mark.parametrize("image", ["../outside.png", "/etc/passwd", "x" * 5000])
def test_images_outside_the_folder_are_refused(image: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for place in (tmp_path / "outside.png", tmp_path / "in" / "a.png"):
        Image.new("RGB", (8, 8)).save(place)
    (tmp_path / "q.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | {'image': image})}\n")
    with pytest.raises(InputError, match=r"q.jsonl line 2: (the image .* lies outside|there is no image)") as caught:
        read_questions(tmp_path / "q.jsonl", tmp_path / "in")
    assert len(str(caught.value)) < 400


def test_the_images_place_in_a_question_is_blamed_on_its_line(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    rows = [{"image": "a.png", "question": text, "answer": "b"} for text in ("What?", "<image> What?")]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asked = read_questions(tmp_path / "q.jsonl", tmp_path)
    with pytest.raises(InputError, match=r"^q\.jsonl line 2: found <image>"):
        answer_all(open_subject(str(exported()), None, "cpu", 2), asked, quiet)
