"""What was answered elsewhere? Files of answers -> every answer by question and visual tokens, and its score.

Read are what ``evaluate URL --answers`` keeps; a CSV with the columns question, visual_tokens and answer; and, of one
run a file, where ``256=FILE`` says its visual tokens, what ``evaluate CHECKPOINT --answers`` writes, lmms-eval's
``*_samples_*.jsonl`` (``lmms_eval/loggers/evaluation_tracker.py``) and VLMEvalKit's predictions as CSV, TSV or JSON
(``vlmeval/inference.py``: the data set's columns and ``prediction``). All of it is text of others: it is compared and
shown, never run.
"""

import ast
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmplan.document import json_lines, json_rows, read_text
from vlmplan.errors import InputError, printable, unexpected
from vlmplan.evaluation.judge import Judged, Judging, agreement_with, judge_all, reply_key
from vlmplan.evaluation.paired import Answerer, TokenCurve, curve_of
from vlmplan.evaluation.questions import LARGEST_FILE_BYTES, Question
from vlmplan.evaluation.scoring import Score, plain, score
from vlmplan.evaluation.served import Asked, Reply, Size, prompt_tokens_of
from vlmplan.progress import Progress
from vlmplan.units import counted

ENDINGS = (".jsonl", ".csv", ".tsv", ".json", ".xlsx")
_MOST_TOKENS = 10**7
_MOST_DIGITS = 9  # of a number that stands for a line or tokens
_RUN = re.compile(r"(?:^|,)(\d{1,7})=")
_LINE = re.compile(r" line (\d+)$")
_COLUMNS = {"question": ("question", "question_id", "id"), "visual_tokens": ("visual_tokens", "tokens"),
            "answer": ("answer", "prediction")}  # fmt: skip
_LABELS = {"": None, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """An answer as a file has it, within ``limit`` visual tokens; ``asked`` is the question's words where it says them.

    ``question`` is what the file calls it: a name, an id, or the number of its line; ``right`` is what somebody says.
    """

    question: str
    limit: int
    visual_tokens: int
    text: str
    asked: str = ""
    expected: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    size: Size | None = None
    key: str = ""
    right: bool | None = None


def names_answers(text: str) -> bool:
    """Whether somebody means files of answers, and no model: by their endings, or by ``256=FILE``."""
    return _RUN.match(text) is not None or text.casefold().endswith(ENDINGS)


def read_answers(text: str, only: int | None = None) -> tuple[GivenAnswer, ...]:
    """Read ``FILE``, or ``64=FILE,256=FILE`` of runs that do not say their visual tokens; ``only`` within one limit.

    Raises InputError.
    """
    answers: dict[tuple[str, str, int], GivenAnswer] = {}
    for limit, path in _files(text):
        for where, answer in _rows(path, limit):
            known = answers.setdefault((answer.question, answer.asked, answer.limit), answer)
            if known.text != answer.text:
                raise InputError(
                    f"{where}: a second answer to {printable(answer.question)[:60]} within {answer.limit} visual "
                    "tokens; expected one: a file of answers is of one model, asked in one way"
                )
    if not answers:
        raise InputError(f"{printable(text)}: found no answer")
    kept = tuple(answer for answer in answers.values() if only in (None, answer.limit))
    if not kept:
        limits = ", ".join(map(str, sorted({answer.limit for answer in answers.values()})))
        raise InputError(f"{printable(text)}: found no answer within {only} visual tokens, only within {limits}")
    return kept


def _files(text: str) -> list[tuple[int | None, Path]]:
    """(visual tokens, where they are told, and the file) of what was typed."""
    parts = _RUN.split(text)
    if parts[0]:
        return [(None, Path(text))]
    return [(int(limit), _samples(Path(name))) for limit, name in zip(parts[1::2], parts[2::2], strict=True)]


def _samples(path: Path) -> Path:
    """A file, or the only one of samples below a folder of lmms-eval's."""
    if not path.is_dir():
        return path
    files = sorted(path.rglob("*_samples_*.jsonl"))
    if len(files) != 1:
        raise InputError(f"{path}: found {len(files)} files *_samples_*.jsonl below it, expected one; name the file")
    return files[0]


def _rows(path: Path, limit: int | None) -> Iterator[tuple[str, GivenAnswer]]:
    """(where it stands, the answer) of every row of one file. Raises InputError."""
    ending, name = path.suffix.casefold(), printable(path.name)
    if ending == ".xlsx":
        raise InputError(f"{path}: found a workbook; expected .csv, .tsv, .json or .jsonl: save it as one of these")
    if ending not in ENDINGS:
        raise InputError(f"{path}: expected answers in a file that ends in {', '.join(ENDINGS[:-1])}")
    for number, row in _tables(path, ending):
        where = f"{name} line {number}" if ending == ".jsonl" else f"{name} row {number}"
        if isinstance(row, InputError):
            raise InputError(f"{where}: {row}")
        if not isinstance(row, dict):
            raise unexpected(where, "a table", row)
        yield from ((where, one) for one in _answers(row, limit, number, where))


def _tables(path: Path, ending: str) -> Iterator[tuple[int, Any]]:
    """The rows of a file, numbered from 1; of what ``evaluate`` keeps none that a kill cut off."""
    if ending == ".jsonl":
        lines = list(json_lines(path, LARGEST_FILE_BYTES))
        ours = any(isinstance(row, dict) and "key" in row and "limits" in row for _, row in lines)
        yield from (one for one in lines if not (ours and isinstance(one[1], InputError)))
    elif ending == ".json":
        try:
            yield from enumerate(json_rows(read_text(path, LARGEST_FILE_BYTES)), 1)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    else:
        text = read_text(path, LARGEST_FILE_BYTES).removeprefix("\ufeff")
        delimiter = "\t" if ending == ".tsv" else ","
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            columns = [one for one in rows.fieldnames or () if one]
            if doubled := next((one for one in columns if columns.count(one) > 1), None):
                raise InputError(f"{path}: found the column '{printable(doubled)[:60]}' twice, expected it once")
            yield from enumerate(rows, 1)
        except csv.Error as error:
            raise InputError(f"{path}: no table that can be read ({error})") from None


def _answers(row: Mapping[str, Any], limit: int | None, number: int, where: str) -> Iterator[GivenAnswer]:
    """What one row says: by its keys it is ours, lmms-eval's, VLMEvalKit's or a plain table's."""
    if "key" in row and "limits" in row:
        yield from _ours(row, where)
    elif "doc_id" in row and ("filtered_resps" in row or "resps" in row):
        yield _lmms_eval(row, _told(limit, where, "lmms-eval"), where)
    elif "smallest_margin" in row and "expected" in row:
        yield _of_model(row, _told(limit, where, "a checkpoint or an export"), where)
    elif "prediction" in row and "index" in row:
        yield _vlmevalkit(row, _told(limit, where, "VLMEvalKit"), number, where)
    else:
        yield _plain_row(row, limit, where)


def _told(limit: int | None, where: str, harness: str) -> int:
    if limit is None:
        raise InputError(f"{where}: a run of {harness} does not say its visual tokens; write them before it: 256=FILE")
    return limit


def _ours(row: Mapping[str, Any], where: str) -> Iterator[GivenAnswer]:
    limits, expected, size = row["limits"], row.get("expected", []), row.get("size")
    texts: list[Any] = [row["key"], row.get("question"), row.get("text", ""), row.get("answer")]
    made, prompt = row.get("visual_tokens"), prompt_tokens_of(row, where)
    if not all(isinstance(one, str) for one in texts) or not isinstance(limits, list) or not _are_texts(expected):
        raise InputError(f"{where}: expected key, question, limits and answer, as evaluate --answers writes them")
    key, name, asked, said = texts
    for limit in limits:
        yield GivenAnswer(
            question=name, limit=_count(limit, where, "limits"), visual_tokens=_count(made, where, "visual_tokens"),
            text=said, asked=asked, expected=tuple(expected), prompt_tokens=prompt,
            size=_size(size), key=key,
        )  # fmt: skip


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _size(value: Any) -> Size | None:
    pair = isinstance(value, list) and len(value) == 2 and all(type(one) is int and 0 < one < 10**5 for one in value)
    return (value[0], value[1]) if pair else None


def _count(value: Any, where: str, column: str) -> int:
    """A number of tokens. Raises InputError."""
    text = str(value).strip().removesuffix(".0")
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS or not 0 < int(text) <= _MOST_TOKENS:
        raise unexpected(f"{where}: {column}", "a number of tokens", value)
    return int(text)


def _of_model(row: Mapping[str, Any], limit: int, where: str) -> GivenAnswer:
    """What ``evaluate CHECKPOINT|EXPORT --answers`` writes."""
    texts: list[Any] = [row.get("question"), row.get("text"), row.get("answer")]
    if not all(isinstance(one, str) for one in texts) or not _are_texts(row["expected"]):
        raise InputError(f"{where}: expected question, text, answer and expected, as evaluate --answers writes them")
    name, asked, said = texts
    return GivenAnswer(
        question=name, limit=limit, visual_tokens=limit, text=said, asked=asked, expected=tuple(row["expected"])
    )  # fmt: skip


def _lmms_eval(row: Mapping[str, Any], limit: int, where: str) -> GivenAnswer:
    said = row.get("filtered_resps", row.get("resps"))
    while isinstance(said, list) and said:
        said = said[0]
    number = row["doc_id"]
    if not isinstance(said, str) or type(number) is not int:
        raise InputError(f"{where}: expected doc_id, a number, and filtered_resps, a list with the answer's text")
    asked = row.get("input")
    return GivenAnswer(
        question=f"doc_id {number}", limit=limit, visual_tokens=limit, text=said,
        asked=asked if isinstance(asked, str) else "", expected=_targets(row.get("target")),
    )  # fmt: skip


def _targets(target: Any) -> tuple[str, ...]:
    """Of lmms-eval, which writes a list of targets as Python would print it."""
    if isinstance(target, str) and target.startswith("["):
        try:
            return _texts(ast.literal_eval(target[:10_000]))
        except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError):  # a number too long to write, too
            return (target,)
    return _texts(target if isinstance(target, list) else [target])


def _texts(listed: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(one) for one in listed if one is not None and str(one).strip())


def _vlmevalkit(row: Mapping[str, Any], limit: int, number: int, where: str) -> GivenAnswer:
    if row["prediction"] is None:
        raise unexpected(f"{where}: prediction", "text", None)
    expected = row.get("answer")
    return GivenAnswer(
        question=f"index {row['index']} row {number}", limit=limit, visual_tokens=limit, text=str(row["prediction"]),
        asked=str(row.get("question") or ""), expected=() if expected in (None, "") else (str(expected),),
    )  # fmt: skip


def _plain_row(row: Mapping[str, Any], limit: int | None, where: str) -> GivenAnswer:
    values = {}
    for what, names in _COLUMNS.items():
        name = next((one for one in names if row.get(one) is not None), None)
        if name is None and not (what == "visual_tokens" and limit is not None):
            columns = ", ".join(printable(str(one)) for one in row)[:120]
            raise InputError(
                f"{where}: found the columns {columns or 'none'}; expected question (the number of its line, or its "
                "id), visual_tokens and answer; or files of lmms-eval, VLMEvalKit or evaluate --answers"
            )
        values[what] = limit if name is None else row[name]
    count = _count(values["visual_tokens"], where, "visual_tokens")
    name = str(values["question"]).strip()
    return GivenAnswer(
        question=name, limit=count, visual_tokens=count, text=str(values["answer"]),
        right=_label(row.get("right"), where),
    )  # fmt: skip


def _label(value: Any, where: str) -> bool | None:
    """What a person says of an answer. Raises InputError for another word."""
    text = str(value if value is not None else "").strip().casefold()
    if text not in _LABELS:
        raise unexpected(f"{where}: right", "1 or 0, or nothing", value)
    return _LABELS[text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Answers with the questions that they answer, and how many answer none of them."""

    pairs: tuple[tuple[Question, GivenAnswer], ...]
    left: int = 0

    @property
    def labels(self) -> dict[str, bool]:
        """What somebody says of the answers, by ``reply_key``."""
        return {f"{question.name}\0{one.limit}": one.right for question, one in self.pairs if one.right is not None}

    def replies(self, kind: Score) -> tuple[Reply, ...]:
        """Every answer with its score, by one rule."""
        return tuple(reply_to(one, kind, question.name, question.answers) for question, one in self.pairs)


def matched(given: Sequence[GivenAnswer], questions: Sequence[Question]) -> Matched:
    """Find the question of every answer: by its id, else by the number of its line; its words must be the same.

    An answer that ``evaluate`` kept of other words (a question since changed) is left out; from elsewhere it is an
    InputError, since then nothing else tells that the tables are the same.
    """
    by_id = {question.id: question for question in questions if question.id}
    by_line = {question.line: question for question in questions}
    pairs, left = [], 0
    for answer in given:
        question = _question_of(answer, by_id, by_line)
        if question is None or (answer.key and plain(answer.asked) != plain(question.text)):
            left += 1
        elif answer.asked and plain(question.text) not in plain(answer.asked):
            raise InputError(
                f"{printable(answer.question)[:60]} asks '{printable(answer.asked)[:60]}', {question.name} asks "
                f"'{printable(question.text)[:60]}'; expected the same questions: give each an id in both"
            )
        else:
            pairs.append((question, answer))
    if not pairs:
        raise InputError(f"found {len(given)} answers, and none of them to one of the {len(questions)} questions")
    return Matched(pairs=tuple(pairs), left=left)


def _question_of(
    answer: GivenAnswer, by_id: Mapping[str, Question], by_line: Mapping[int, Question]
) -> Question | None:
    """lmms-eval counts documents from 0; VLMEvalKit's index is any number, and its rows keep their order."""
    kind, _, rest = answer.question.partition(" ")
    if kind == "doc_id":
        return by_id.get(rest) or _on_line(by_line, rest, 1)
    if kind == "index" and " row " in rest:
        index, _, row = rest.rpartition(" row ")
        return by_id.get(index) if by_id else _on_line(by_line, row)
    if (question := by_id.get(answer.question)) is not None:
        return question
    line = _LINE.search(answer.question)
    return _on_line(by_line, line[1] if line else answer.question)


def _on_line(by_line: Mapping[int, Question], number: str, more: int = 0) -> Question | None:
    """The question on the line of a number, or so many ``more``; None where the text is no number of a line."""
    is_number = number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS
    return by_line.get(int(number) + more) if is_number else None


def reply_to(answer: GivenAnswer, kind: Score, name: str, expected: Sequence[str]) -> Reply:
    """Return an answer as a reply, with its score."""
    return Reply(
        question=name, limit=answer.limit, visual_tokens=answer.visual_tokens, text=answer.text,
        right_fraction=score(kind, answer.text, expected), prompt_tokens=answer.prompt_tokens, key=answer.key,
    )  # fmt: skip


def replies_by_themselves(given: Iterable[GivenAnswer], kind: Score) -> tuple[Reply, ...]:
    """Return answers of files that say what was expected, with their scores. Raises InputError where one does not."""
    replies = []
    for answer in given:
        if not answer.expected:
            raise InputError(
                f"{printable(answer.question)[:60]}: the file does not say what is right; give QUESTIONS.jsonl"
            )
        try:
            replies.append(reply_to(answer, kind, " ".join((answer.question, answer.asked)).strip(), answer.expected))
        except InputError as error:
            raise InputError(f"{printable(answer.question)[:60]}: {error}") from None
    return tuple(replies)


def given_curve(
    replies: Sequence[Reply], left: int, who: Answerer, questions: str, may_lose_fraction: float
) -> TokenCurve:
    """Return the curve of answers made elsewhere; ``left`` more answer none of the ``questions``, a table's name.

    Raises InputError where there are no answers.
    """
    if not replies:
        raise InputError(f"{printable(who.served_model)}: no answer has a score")
    said = (f"{counted(left, 'answer')} to none of these questions left out",) if left else ()
    limits = tuple(sorted({reply.limit for reply in replies}))
    asked = Asked(replies=tuple(replies), requests=0, kept=len(replies))
    return curve_of(replace(who, limits=limits), asked, questions, may_lose_fraction, said)


def judged_answers(
    judge: Judging, answers: tuple[Matched, Sequence[Reply]], verdicts: Path | None, progress: Progress
) -> tuple[tuple[Reply, ...], Judged]:
    """Judge answers and their replies, which a rule has scored: it, and labels that answers have, are compared with.

    Raises Unavailable when the judge is gone.
    """
    joined, replies = answers
    questions = {question.name: question for question, _ in joined.pairs}
    judged, said, who = judge_all(judge, replies, questions, verdicts, progress)
    by_rule = {reply_key(reply): reply.right_fraction >= 0.5 for reply in replies}
    compared = (agreement_with("the rule", said, by_rule), agreement_with("the labels given", said, joined.labels))
    return judged, replace(who, agreement=tuple(one for one in compared if one is not None))
