"""How many questions does a model answer? A PyTorch checkpoint and an export alike, question by question.

(folder, JSONL of questions) -> :class:`Evaluation` and every answer. Both run the same greedy loop over the same
prompt, one question at a time, so that what differs is the model. An answer is right when it equals one of the expected
ones, but for case, outer punctuation and spaces.
"""

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from vlmplan import inert
from vlmplan.checkpoints import (
    Checkpoint,
    compression_of,
    compressor_weights,
    image_file,
    load_reference,
    open_checkpoint,
)
from vlmplan.document import Document, json_lines
from vlmplan.errors import InputError, check_range, printable, unexpected
from vlmplan.evaluation.scoring import Score, score
from vlmplan.exporting import (
    FILE_NAME,
    USUAL_IMAGE,
    Generation,
    Model,
    OnnxModel,
    Prompts,
    Shapes,
    generate,
    open_parts,
    read_manifest,
    texts,
    tiling,
)
from vlmplan.intervals import quantile
from vlmplan.models import Compressor
from vlmplan.progress import Progress
from vlmplan.proof import FP32_TOLERANCE, Check, Options, trusted_order, verdict

LARGEST_FILE_BYTES = 2**30
LONGEST_ANSWER_TOKENS = 64
TIE_LOGIT = 2 * FP32_TOLERANCE  # each of two models may be off by what validate allows fp32
_INTERVAL_LEVEL = 0.9


Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about an image, the answers that are right, and what it is about.

    ``line`` is where it stands in its file, ``id`` what the file calls it; ``boxes`` hold the text that tells, each
    left, top, right and bottom in pixels of the image.
    """

    name: str
    image: Path
    text: str
    answers: tuple[str, ...]
    task: str = ""
    kind: str = ""
    line: int = 0
    id: str = ""
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a model said. ``tokens`` with the end; ``margins`` is by how much each token led, in logits."""

    text: str
    right: bool
    tokens: tuple[int, ...]
    margins: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of so many were right, as a fraction with Wilson's interval."""

    questions: int
    right: int
    accuracy_fraction: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The answers beside another model's, and how many are not the same.

    ``near_ties`` of those led by no more than ``logit_tolerance`` where they part, so that rounding decides.
    """

    other: str
    differing: int
    near_ties: int
    logit_tolerance: float
    accuracy_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Document):
    """How a model answered a table of questions, in all, by task and by kind. ``model`` is what the user named."""

    SCHEMA: ClassVar[str] = "vlmplan.evaluation/1"

    model: str
    runtime: str
    visual_tokens: int
    compressor: Compressor
    questions: str
    interval_level_fraction: float
    overall: Share
    by_task: Mapping[str, Share]
    by_kind: Mapping[str, Share]
    against: Agreement | None = None


def _question(name: str, row: Any, images: Path | None, line: int) -> Question:
    """Read one row, its image's file only where it is said where images are. Raises InputError, naming the row."""
    if not isinstance(row, dict):
        raise InputError(f"{name}: expected a table with image, question and answer")
    try:
        json.dumps(row, allow_nan=False)
    except ValueError:
        raise InputError(f"{name}: found NaN or an infinite number, expected JSON, which has null for them") from None
    texts = {key: row.get(key, "") for key in ("image", "question", "task", "kind")}
    for key, text in texts.items():
        if not isinstance(text, str) or (key in ("image", "question") and not text.strip()):
            raise InputError(f"{name}: {key}: expected text, found {printable(repr(row.get(key))[:40])}")
    given = row.get("answers", row.get("answer"))
    answers = [given] if isinstance(given, str) else given
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and one.strip() for one in answers):
        raise InputError(f"{name}: answer: expected text, or answers: a list of texts")
    try:
        image = Path(texts["image"]) if images is None else image_file(images, texts["image"], links=False)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return Question(
        name=name, image=image, text=texts["question"], answers=tuple(answers), task=texts["task"], kind=texts["kind"],
        line=line, id=_id(name, row.get("id", row.get("question_id", ""))), boxes=_boxes(name, row.get("boxes", [])),
    )  # fmt: skip


def _id(name: str, given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise unexpected(f"{name}: id", "text or a number", given)
    return str(given).strip()


def _boxes(name: str, given: Any) -> tuple[Box, ...]:
    """Boxes of text: four numbers each, alone or as ``box`` in a table. Raises InputError."""
    if not isinstance(given, list):
        raise unexpected(f"{name}: boxes", "a list", given)
    boxes = []
    for one in given:
        box = one.get("box") if isinstance(one, dict) else one
        if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
            raise unexpected(f"{name}: boxes", "left, top, right, bottom in pixels", one)
        left, top, right, bottom = (float(side) for side in box)
        if not (0 <= left < right <= 1e5 and 0 <= top < bottom <= 1e5):
            raise unexpected(f"{name}: boxes", "left before right and top before bottom", box)
        boxes.append((left, top, right, bottom))
    return tuple(boxes)


def read_questions(path: Path, images: Path | None, limit: int | None = None) -> tuple[Question, ...]:
    """Read a JSONL of questions, the first ``limit`` of them; without ``images`` their files are not looked for.

    Raises InputError naming the line.
    """
    questions = []
    for number, row in itertools.islice(json_lines(path, LARGEST_FILE_BYTES), limit):
        name = f"{printable(path.name)} line {number}"
        if isinstance(row, InputError):
            raise InputError(f"{name}: {row}")
        questions.append(_question(name, row, images, number))
    return tuple(questions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that answers: ``runtime`` says by what it is run."""

    name: str
    runtime: str
    model: Model
    prompts: Prompts
    visual_tokens: int
    compressor: Compressor

    def _generated(self, image: Any, text: str, limit: int, where: str = "the question") -> Generation:
        prompt = self.prompts.of(image, text, self.compressor.reads_question, where)
        return generate(self.model, prompt, limit, self.prompts.stop)

    def say(self, image: Any, text: str, limit: int) -> str:
        """Answer one question about a PIL image or an image's file, in at most ``limit`` tokens."""
        generated = self._generated(image, text, limit)
        generated.margins(self.name)
        return self.prompts.text(generated.tokens)

    def answer(self, question: Question) -> Answered:
        """Answer greedily. Raises InputError for a picture that cannot be read, or logits that are no numbers."""
        try:
            generated = self._generated(question.image, question.text, LONGEST_ANSWER_TOKENS, question.name)
        except InputError as error:
            said = str(error).removeprefix("--image: ")
            raise InputError(said if said.startswith(question.name) else f"{question.name}: {said}") from None
        margins = generated.margins(f"{self.name}, {question.name}")
        text = self.prompts.text(generated.tokens)
        return Answered(
            text=text,
            right=score(Score.EXACT, text, question.answers) == 1,
            tokens=generated.tokens,
            margins=margins,
        )


def open_subject(name: str, visual_tokens: int | None, provider: str, threads: int | None) -> Subject:
    """Open an export's folder or a checkpoint. A trained checkpoint reads the tokens that it was trained for.

    ``visual_tokens`` picks one of a nested checkpoint's. Raises InputError or Unavailable.
    """
    folder = Path(name)
    if (folder / FILE_NAME).is_file():
        manifest = read_manifest(folder)
        if visual_tokens not in (None, manifest.visual_tokens):
            raise InputError(f"--visual-tokens: {name} has {manifest.visual_tokens}; found {visual_tokens}")
        return Subject(
            name=name, runtime="onnxruntime", model=OnnxModel(folder, provider, threads), prompts=Prompts(folder),
            visual_tokens=manifest.visual_tokens, compressor=manifest.compressor,
        )  # fmt: skip
    if provider != "cpu":
        raise InputError(f"--provider: found {provider} for a checkpoint, which PyTorch runs on the CPU")
    checkpoint = open_checkpoint(name)
    kind, count, limit = _reading(checkpoint, visual_tokens)
    plan = compression_of(checkpoint, kind, count)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    reference = load_reference(checkpoint, plan, compressor_weights(checkpoint, plan, None, random_weights=False))
    return Subject(
        name=name, runtime="pytorch", model=reference,
        prompts=_prompts(checkpoint, count, limit), visual_tokens=count, compressor=kind,
    )  # fmt: skip


def _prompts(checkpoint: Checkpoint, visual_tokens: int, limit: int | Shapes | None) -> Prompts:
    """A checkpoint's own prompts; of InternVL's first format, which has no processor, those of its export."""
    if not checkpoint.first_format:
        return Prompts(checkpoint.folder, None if checkpoint.tiled else visual_tokens, limit)
    tiles = tiling(checkpoint, USUAL_IMAGE, visual_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in texts(checkpoint, visual_tokens, (), tiles).items():
            (Path(scratch) / name).write_bytes(content)
        return Prompts(Path(scratch))


def _reading(checkpoint: Checkpoint, visual_tokens: int | None) -> tuple[Compressor, int, int | Shapes | None]:
    """By what a checkpoint reads how many tokens, and of tiles the limit asked of its processor.

    Raises InputError for a number that it does not read.
    """
    if checkpoint.tiled:
        tiles = tiling(checkpoint, USUAL_IMAGE, visual_tokens)
        return Compressor.NONE, tiles.visual_tokens, tiles.setting
    kind, counts = checkpoint.trained or (Compressor.NONE, (checkpoint.view_tokens,))
    count = visual_tokens or counts[0]
    if count not in counts:
        raise InputError(f"--visual-tokens: {checkpoint.name} reads {', '.join(map(str, counts))}; found {count}")
    return kind, count, None


def beside(subject: Subject, other: str, weights: Path | None, threads: int | None) -> Subject:
    """Open what a subject is compared with: for an export, a checkpoint with the export's compressor and prompts.

    Raises InputError or Unavailable.
    """
    if subject.runtime == "pytorch" or (Path(other) / FILE_NAME).is_file():
        return open_subject(other, subject.visual_tokens, "cpu", threads)
    parts = open_parts(trusted_order(read_manifest(Path(subject.name)), Options(checkpoint=other, weights=weights)))
    reference = load_reference(parts.checkpoint, parts.compression, parts.compressor)
    return replace(subject, name=other, runtime="pytorch", model=reference)


def answer_all(subject: Subject, questions: Sequence[Question], progress: Progress) -> tuple[Answered, ...]:
    """Answer every question, one at a time."""
    answers = []
    for number, question in enumerate(questions, 1):
        answers.append(subject.answer(question))
        progress(f"questions, {subject.runtime}", number, len(questions))
    return tuple(answers)


def share(outcomes: Iterable[bool]) -> Share:
    """Return how many were right, with Wilson's interval (J. Am. Stat. Assoc. 22, 1927) at 90 %."""
    listed = list(outcomes)
    count, right, z = len(listed), sum(listed), quantile(_INTERVAL_LEVEL)
    fraction = right / count
    middle = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    return Share(
        questions=count,
        right=right,
        accuracy_fraction=fraction,
        interval=(max(0.0, middle - half), min(1.0, middle + half)),
    )


def answers_check(
    subject: Subject, other: Subject, questions: Sequence[Question], progress: Progress, tie_logit: float = TIE_LOGIT
) -> Check:
    """Compare an export's answers with its checkpoint's: passed where all that differ are near ties."""
    ours = answer_all(subject, questions, progress)
    agreed = agreement(other.name, ours, answer_all(other, questions, progress), tie_logit)
    accuracy = sum(one.right for one in ours) / len(ours)
    detail = (
        f"{100 * accuracy:.1f} % of {len(ours)} answers are right, {100 * agreed.accuracy_fraction:.1f} % of the "
        f"checkpoint's; {agreed.differing} differ, {agreed.near_ties} of them near ties"
    )
    faults = [detail] if agreed.differing > agreed.near_ties else []
    return verdict("answers", faults, detail, accuracy_fraction=accuracy, differing=float(agreed.differing))


def answers_jsonl(questions: Sequence[Question], answered: Sequence[Answered]) -> str:
    """Return a line a question: where it stands, what was asked, said and expected, and the narrowest lead."""
    lines = [
        {
            "question": question.name,
            "text": question.text,
            "answer": one.text,
            "expected": question.answers,
            "right": one.right,
            "smallest_margin": round(min(one.margins), 6),
        }
        for question, one in zip(questions, answered, strict=True)
    ]
    return "".join(inert.json_document(json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)


def _by(key: Callable[[Question], str], pairs: Sequence[tuple[Question, Answered]]) -> dict[str, Share]:
    names = sorted({key(question) for question, _ in pairs} - {""})
    return {name: share(one.right for question, one in pairs if key(question) == name) for name in names}


def agreement(
    other: str, ours: Sequence[Answered], theirs: Sequence[Answered], tie_logit: float = TIE_LOGIT
) -> Agreement:
    """Compare answer by answer. A near tie is one whose token led by at most ``tie_logit`` where the answers part."""
    differing = ties = 0
    for one, two in zip(ours, theirs, strict=True):
        if one.tokens == two.tokens:
            continue
        differing += 1
        parting = next(
            (at for at, pair in enumerate(zip(one.tokens, two.tokens, strict=False)) if pair[0] != pair[1]), 0
        )
        ties += min(one.margins[parting], two.margins[parting]) <= tie_logit
    return Agreement(
        other=other,
        differing=differing,
        near_ties=ties,
        logit_tolerance=tie_logit,
        accuracy_fraction=sum(one.right for one in theirs) / len(theirs),
    )


def evaluation(
    subject: Subject,
    table: str,
    questions: Sequence[Question],
    answered: Sequence[Answered],
    against: Agreement | None = None,
) -> Evaluation:
    """Return the document. Raises InputError where there are no questions."""
    check_range("questions", len(questions), 1, 10**9)
    pairs = list(zip(questions, answered, strict=True))
    return Evaluation(
        model=subject.name,
        runtime=subject.runtime,
        visual_tokens=subject.visual_tokens,
        compressor=subject.compressor,
        questions=table,
        interval_level_fraction=_INTERVAL_LEVEL,
        overall=share(one.right for one in answered),
        by_task=_by(lambda question: question.task, pairs),
        by_kind=_by(lambda question: question.kind, pairs),
        against=against,
    )
