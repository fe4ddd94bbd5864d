"""Drawn scenes: the same for a seed, answers that are true of the picture, and files that train and evaluate read."""

import json
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from small_models import quiet
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.errors import InputError
from vlmplan.evaluation.questions import read_questions
from vlmplan.sweeping.drawn import Sight, patch_labels
from vlmplan.sweeping.question_sets import KINDS, DrawnTask, SetOrder, ask, caption, scenes, write_set
from vlmplan.sweeping.scenes import CELLS, COLOURS, LETTERS, LEVELS, SHAPES, Scene, Shape, Word, draw_scene, render
from vlmplan.training.conversations import read_rows

SCENE = Scene(
    background=(24, 24, 28),
    shapes=(
        Shape(name="star", colour="red", row=0, column=3, large=True),
        Shape(name="circle", colour="red", row=2, column=1, large=False),
    ),
    words=(Word(text="AB", colour="cyan", row=3, column=2),),
)


def test_questions_about_a_scene_are_answered_by_hand() -> None:
    """Every question that can be asked of a scene of two shapes and a word."""
    answers = {
        question.text: question.answer
        for seed in range(60)
        for question in ask(SCENE, Random(seed), SetOrder(images=1))
    }
    assert answers["What colour is the star?"] == answers["What colour is the circle?"] == "red"
    assert answers["Where is the star?"] == "top right"
    assert answers["Where is the circle?"] == "lower inner left"
    assert answers["Is the star large?"] == "yes"
    assert answers["Is the circle large?"] == "no"
    assert answers["How many shapes are red?"] == "2"
    assert answers["How many shapes are blue?"] == "0"
    assert answers["Is there a star?"] == "yes"
    assert answers["Is there a ring?"] == "no"
    assert answers["Is the star left of the circle?"] == "no"
    assert answers["Is the circle left of the star?"] == "yes"
    assert answers["What is written in cyan?"] == "A B"
    assert answers["What is the first letter written in cyan?"] == "A"
    assert answers["What is the last letter written in cyan?"] == "B"
    assert caption(SCENE).answer == (
        "top right large red star; lower inner left small red circle; bottom inner right cyan A B"
    )


@pytest.mark.parametrize("level", LEVELS)
def test_scenes_hold_what_their_level_says(level: int) -> None:
    for seed in range(50):
        scene = draw_scene(Random(seed), LEVELS[level])
        assert len(scene.shapes) == len({shape.name for shape in scene.shapes}) == LEVELS[level].shapes
        assert len(scene.words) == len({word.colour for word in scene.words}) == LEVELS[level].words
        cells = [(shape.row, shape.column) for shape in scene.shapes]
        cells += [(word.row, word.column + step) for word in scene.words for step in (0, 1)]
        assert len(cells) == len(set(cells))
        assert all(0 <= row < CELLS and 0 <= column < CELLS for row, column in cells)


def test_every_kind_looks_different() -> None:
    """Shapes, colours, sizes and letters: no two pictures of one thing are alike."""

    def picture(shape: Shape | None, word: Word | None) -> bytes:
        scene = Scene(background=(24, 24, 28), shapes=(shape,) if shape else (), words=(word,) if word else ())
        return bytes(np.asarray(render(scene, 64)).tobytes())

    shapes = {
        picture(Shape(name=name, colour=colour, row=1, column=1, large=large), None)
        for name in SHAPES
        for colour in COLOURS
        for large in (False, True)
    }
    letters = {picture(None, Word(text=letter * 2, colour="red", row=0, column=0)) for letter in LETTERS}
    assert len(shapes) == 2 * len(SHAPES) * len(COLOURS)
    assert len(letters) == len(LETTERS)


def test_what_is_drawn_is_where_the_labels_say() -> None:
    labels, pixels = patch_labels(SCENE, 8), np.asarray(render(SCENE, 64))
    assert labels[0, :2, 6:].tolist() == [[1 + SHAPES.index("star")] * 2] * 2
    assert labels[3, 6, 4:].tolist() == [1 + LETTERS.index(letter) for letter in "AABB"]
    assert (labels > 0).any(axis=0).sum() == 4 * 4
    empty = np.kron((labels == 0).all(axis=0), np.ones((8, 8), bool))
    assert (pixels[empty] == SCENE.background).all()


def test_a_set_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        write_set(tmp_path / name, SetOrder(images=5, size=32, seed=seed, level=None), turns=3)
    one, two, three = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("one", "two", "three")
    )
    assert one == two
    assert one["train.jsonl"] != three["train.jsonl"]


def test_a_set_is_what_train_and_evaluate_read(tmp_path: Path) -> None:
    count = write_set(tmp_path / "set", SetOrder(images=6, size=32, questions=2), turns=4, progress=quiet)
    read = read_rows(tmp_path / "set" / "train.jsonl", tmp_path / "set" / "images")
    assert not read.bad
    assert sum(len(row.turns) for row in read.rows) == count == 6 * 2 * len(KINDS)
    questions = read_questions(tmp_path / "set" / "questions.jsonl", tmp_path / "set" / "images")
    assert {question.kind for question in questions} == set(KINDS)
    assert {question.task for question in questions} == set(DrawnTask)


def test_tasks_kinds_and_captions() -> None:
    def kinds(**given: object) -> set[str]:
        order = SetOrder(images=4, **given)  # type: ignore[arg-type]
        return {one.kind for *_, asked in scenes(order) for one in asked}

    assert kinds(tasks=(DrawnTask.READING,)) == {"word", "letter"}
    assert kinds(kinds=("colour", "word")) == {"colour", "word"}
    assert "caption" in kinds(captions=True)


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    left, starting, mine = (tmp_path / f".vlmplan-synthetic-{name}" for name in ("left", "starting", "mine"))
    for folder in (left, starting, mine):
        (folder / "set" / "images").mkdir(parents=True)
    (mine / "notes").write_text("kept")
    for folder in (left, mine):
        os.utime(folder, (0, 0))
    write_set(tmp_path / "out", SetOrder(images=1))
    assert (left.exists(), starting.exists(), mine.exists()) == (False, True, True)


def test_bad_orders_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kinds: found 'smell'"):
        SetOrder(images=1, kinds=("smell",))
    with pytest.raises(InputError, match="images"):
        SetOrder(images=0)
    with pytest.raises(InputError, match="divide each of 4 x 4 cells evenly"):
        Sight(size=60, patch=6)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    done = CliRunner().invoke(app, ["synthetic", "--out", str(tmp_path / "full")], catch_exceptions=False)
    assert done.exit_code == 2
    assert "is not empty" in done.stderr
    file = str(tmp_path / "full" / "mine")
    done = CliRunner().invoke(app, ["synthetic", "--out", file], catch_exceptions=False)
    assert (done.exit_code, "is a file; expected a folder" in done.stderr) == (2, True)
    harder = CliRunner().invoke(app, ["synthetic", "--out", "x", "--difficulty", "9"], catch_exceptions=False)
    assert harder.exit_code == 2
    assert "found '9', expected 1 to 5 or mixed" in harder.stderr


def test_the_command_draws(tmp_path: Path) -> None:
    flags = ["synthetic", "--out", str(tmp_path / "set"), "--images", "3", "--size", "32", "--task", "reading"]
    done = CliRunner().invoke(app, [*flags, "--difficulty", "mixed"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    lines = (tmp_path / "set" / "questions.jsonl").read_text().splitlines()
    assert f"3 pictures and {len(lines)} questions" in done.stdout
    assert {json.loads(line)["task"] for line in lines} == {"reading"}
    assert len(list((tmp_path / "set" / "images").iterdir())) == 3


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(_: str, number: int, __: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path / "drawn", SetOrder(images=9), 1, interrupted)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "drawn").mkdir()
    assert write_set(tmp_path / "drawn", SetOrder(images=2)) == len(
        (tmp_path / "drawn" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    )
