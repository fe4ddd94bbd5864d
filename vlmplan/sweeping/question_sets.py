"""What can a small model be taught to see? Drawn scenes of shapes and printed words, with questions about them.

(images, seed, difficulty, size) -> pictures, LLaVA-format conversations and a JSONL of questions, the same for the same
seed, with no download. *Reasoning* asks of shapes, colours, counts and places; *reading* asks for what is printed. A
question's ``kind`` says what it is about.
"""

import contextlib
import enum
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from vlmplan.errors import InputError, check_range, printable
from vlmplan.sweeping.scenes import COLOURS, LEVELS, SHAPES, Level, Scene, draw_scene, render

_SCRATCH = ".vlmplan-synthetic-"  # what the folder that a set is written in is called, beside the set's own
_STARTING_S = 60.0

ROWS, COLUMNS = ("top", "upper", "lower", "bottom"), ("left", "inner left", "inner right", "right")


class DrawnTask(enum.StrEnum):
    """What a question asks of the eye."""

    REASONING = "reasoning"
    READING = "reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a scene, its one right answer, and what it asks of the eye."""

    task: DrawnTask
    kind: str
    text: str
    answer: str


def _place(row: int, column: int) -> str:
    return f"{ROWS[row]} {COLUMNS[column]}"


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _colour(scene: Scene, random: Random) -> Question:
    shape = random.choice(scene.shapes)
    return _reasoning("colour", f"What colour is the {shape.name}?", shape.colour)


def _where(scene: Scene, random: Random) -> Question:
    shape = random.choice(scene.shapes)
    return _reasoning("place", f"Where is the {shape.name}?", _place(shape.row, shape.column))


def _size(scene: Scene, random: Random) -> Question:
    shape = random.choice(scene.shapes)
    return _reasoning("size", f"Is the {shape.name} large?", _yes(shape.large))


def _count(scene: Scene, random: Random) -> Question:
    """Half of the questions ask for a colour that is there."""
    there = random.random() < 0.5
    colour = random.choice(scene.shapes).colour if there else random.choice(sorted(COLOURS))
    return _reasoning(
        "count", f"How many shapes are {colour}?", str(sum(shape.colour == colour for shape in scene.shapes))
    )


def _exists(scene: Scene, random: Random) -> Question:
    """Half of the answers are yes, unless all shapes are there."""
    here = {shape.name for shape in scene.shapes}
    away = [name for name in SHAPES if name not in here]
    name = random.choice(sorted(here)) if not away or random.random() < 0.5 else random.choice(away)
    return _reasoning("exists", f"Is there a {name}?", _yes(name in here))


def _relation(scene: Scene, random: Random) -> Question:
    first, second = random.sample(scene.shapes, 2)
    if first.column == second.column:
        return _reasoning("relation", f"Is the {first.name} above the {second.name}?", _yes(first.row < second.row))
    return _reasoning("relation", f"Is the {first.name} left of the {second.name}?", _yes(first.column < second.column))


def _read(scene: Scene, random: Random) -> Question:
    word = random.choice(scene.words)
    return _reading("word", f"What is written in {word.colour}?", " ".join(word.text))


def _letter(scene: Scene, random: Random) -> Question:
    word, which = random.choice(scene.words), random.random() < 0.5
    ask, answer = ("first", word.text[0]) if which else ("last", word.text[-1])
    return _reading("letter", f"What is the {ask} letter written in {word.colour}?", answer)


def _reasoning(kind: str, text: str, answer: str) -> Question:
    return Question(task=DrawnTask.REASONING, kind=kind, text=text, answer=answer)


def _reading(kind: str, text: str, answer: str) -> Question:
    return Question(task=DrawnTask.READING, kind=kind, text=text, answer=answer)


_KINDS: dict[str, Callable[[Scene, Random], Question]] = {
    "colour": _colour,
    "place": _where,
    "size": _size,
    "count": _count,
    "exists": _exists,
    "relation": _relation,
    "word": _read,
    "letter": _letter,
}
KINDS = tuple(_KINDS)


def caption(scene: Scene) -> Question:
    """Everything that is in a scene, in reading order: what a base model is taught to see with."""
    things = [
        (shape.row, shape.column, f"{'large' if shape.large else 'small'} {shape.colour} {shape.name}")
        for shape in scene.shapes
    ]
    things += [(word.row, word.column, f"{word.colour} {' '.join(word.text)}") for word in scene.words]
    listed = "; ".join(f"{_place(row, column)} {what}" for row, column, what in sorted(things))
    return Question(task=DrawnTask.REASONING, kind="caption", text="Describe the picture.", answer=listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOrder:
    """What to draw: so many pictures of ``size`` pixels, each with ``questions`` of every kind in ``tasks``.

    ``kinds``, where given, are the only ones asked. A ``level`` of None mixes scenes from one shape up: what small
    models start to learn on.
    """

    images: int
    questions: int = 1
    size: int = 72
    level: int | None = 3
    seed: int = 0
    tasks: tuple[DrawnTask, ...] = tuple(DrawnTask)
    kinds: tuple[str, ...] = ()
    captions: bool = False

    def __post_init__(self) -> None:
        """Reject what cannot be drawn."""
        check_range("images", self.images, 1, 10**6)
        check_range("questions", self.questions, 1, 100)
        check_range("size", self.size, 16, 2048)
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise InputError(f"kinds: found '{printable(unknown[0])}', expected some of {', '.join(KINDS)}")
        if self.level is not None and self.level not in LEVELS:
            raise InputError(f"difficulty: found {self.level}, expected {min(LEVELS)} to {max(LEVELS)}")


# What a model learns to see with: half of the scenes have one or two shapes, so that words come to mean something.
_MIXED = tuple(
    Level(shapes=shapes, words=words, letters=letters)
    for shapes, words, letters in ((1, 1, 2), (1, 1, 3), (2, 1, 2), (3, 1, 3), (4, 1, 2), (6, 2, 3))
)


def _level(order: SetOrder, number: int) -> Level:
    return _MIXED[number % len(_MIXED)] if order.level is None else LEVELS[order.level]


def ask(scene: Scene, random: Random, order: SetOrder) -> list[Question]:
    """Return the questions that a set asks of a scene: those of its tasks that the scene can answer, shuffled.

    In a fixed order a small model learns the order before it learns to look.
    """
    questions = [caption(scene)] if order.captions else []
    for _ in range(order.questions):
        for kind, make in _KINDS.items():
            if kind == "relation" and len(scene.shapes) < 2:
                continue
            question = make(scene, random)
            if question.task in order.tasks and (not order.kinds or kind in order.kinds):
                questions.append(question)
    random.shuffle(questions)
    return questions


def scenes(order: SetOrder) -> Iterator[tuple[str, Scene, tuple[Question, ...]]]:
    """Yield (file name, scene, questions), the same for the same order; each picture has a seed of its own."""
    for number in range(order.images):
        random = Random(f"{order.seed} {number}")
        scene = draw_scene(random, _level(order, number))
        yield f"{number:06d}.png", scene, tuple(ask(scene, random, order))


def _conversation(name: str, questions: Sequence[Question], number: int) -> dict[str, Any]:
    messages = [
        {"from": role, "value": text}
        for question in questions
        for role, text in (("human", question.text), ("gpt", question.answer))
    ]
    messages[0]["value"] = f"<image>\n{messages[0]['value']}"
    return {"id": f"{name.removesuffix('.png')}-{number}", "image": name, "conversations": messages}


def write_set(
    folder: Path, order: SetOrder, turns: int = 1, progress: Callable[[str, int, int], None] | None = None
) -> int:
    """Write ``images/``, ``train.jsonl`` (LLaVA's format, ``turns`` questions a row) and ``questions.jsonl``.

    All of it is written beside the folder and put in its place when whole. Return the number of questions. Raises
    InputError where the folder holds something already.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out: {folder} is a file; expected a folder that is new or empty")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out: {folder} is not empty; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clear(folder.parent)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder.parent) as scratch, _held(Path(scratch)):
        whole = Path(scratch) / "set"
        (whole / "images").mkdir(parents=True)
        count = _fill(whole, order, turns, progress)
        try:
            whole.rename(folder)  # over an empty one, too
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise InputError(f"--out: something else has written {folder} meanwhile; choose another folder") from None
    return count


@contextlib.contextmanager
def _held(scratch: Path) -> Iterator[None]:
    """Hold the lock of a folder that is being written, by which others know that it was not left behind."""
    import fcntl

    descriptor = os.open(scratch, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # where files have no locks nothing is taken for left behind before its time
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _clear(parent: Path) -> None:
    """Remove what killed runs left beside a set: what is older than a minute and nobody holds."""
    import fcntl

    for path in parent.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            if (
                path.is_symlink()
                or {one.name for one in path.iterdir()} - {"set"}
                or time.time() - path.stat().st_mtime < _STARTING_S
            ):
                continue  # somebody else's, or one that is about to be held
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _fill(folder: Path, order: SetOrder, turns: int, progress: Callable[[str, int, int], None] | None) -> int:
    """Write a set into an empty folder; return the number of questions."""
    rows: list[str] = []
    lines: list[str] = []
    for number, (name, scene, questions) in enumerate(scenes(order), 1):
        render(scene, order.size).save(folder / "images" / name)
        for at in range(0, len(questions), turns):
            rows.append(json.dumps(_conversation(name, questions[at : at + turns], at)))
        lines += [
            json.dumps({"image": name, "question": one.text, "answer": one.answer, "task": one.task, "kind": one.kind})
            for one in questions
        ]
        if progress is not None:
            progress("drawing", number, order.images)
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
