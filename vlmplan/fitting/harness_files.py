"""What do the files of an evaluation harness say? A folder of lmms-eval's or VLMEvalKit's -> figures, task by task.

Formats: lmms-eval ``loggers/evaluation_tracker.py`` (``<model>/<date>_results.json``; in its first releases
``results.json`` in a dated folder); VLMEvalKit ``run.py`` and ``smp/file.py``
(``<model>/[T<date>.../]<model>_<dataset>_acc.csv``, ``_score.csv`` or ``.json``, with links to the newest beside the
dated folders). Whatever else lies there is left alone or named.
"""

import enum
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from vlmplan.document import parse_json, read_plain, read_text
from vlmplan.errors import InputError, printable
from vlmplan.fitting.point_tables import read_table


class Harness(enum.StrEnum):
    """An evaluation harness."""

    LMMS_EVAL = "lmms-eval"
    VLMEVALKIT = "vlmevalkit"


MOST_FILES = 20_000
_MOST_SCORE = 1e9
_MOST_FIGURES = 200  # of one table, so that a table of answers is not taken for one of scores
_STAMP = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})[T_-](\d{2})[-:]?(\d{2})[-:]?(\d{2})")
_DATED = re.compile(r"T(\d{8})(?:-(\d{6})|_G\w*)")  # VLMEvalKit's folder of one evaluation
# Not figures but what stands beside them in lmms-eval's tables.
_BESIDE = frozenset({"alias", "samples", "sample_len", "n-shot"})
_KIT_ENDINGS = ("_acc.csv", "_score.csv", "_acc.json", "_score.json")
_KIT_SHEETS = ("_acc.xlsx", "_score.xlsx")
_JUDGE = r"_(?:chatgpt|gpt|exact_matching|qwen|llama|deepseek|gemini|claude)[\w.-]*"
_SPLITS = ("overall", "validation", "val", "test", "dev")  # of several rows the first of these
# Which of several figures is the result, where a table calls one so.
_RESULTS = ("overall", "final score norm", "overall accuracy", "acc", "accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One task's figures in one file. ``result`` is the one that the file itself calls so.

    ``run`` is the model's folder and ``folders`` are all by which it may be named, below the results folder; ``day``
    and ``at_s`` say when it was evaluated.
    """

    path: str
    run: tuple[str, ...]
    folders: tuple[tuple[str, ...], ...]
    task: str
    figures: Mapping[str, float]
    result: str | None
    day: str
    at_s: float

    @property
    def age(self) -> tuple[str, float]:
        """What orders evaluations, the newest last."""
        return (self.day, self.at_s)


@dataclass(slots=True, kw_only=True, frozen=True)
class Files:
    """What lies in a results folder: scores, and files that were not used, each with why."""

    scores: tuple[Scores, ...]
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_files(folder: Path, harness: Harness, tasks: Iterable[str] | None) -> Files:
    """Read all results below ``folder``; ``tasks``, where known, tell a model's name from a task's in a file's name."""
    unused: dict[str, list[str]] = {}
    endings = ("results.json",) if harness is Harness.LMMS_EVAL else (*_KIT_ENDINGS, *_KIT_SHEETS)
    scores: list[Scores] = []
    for path in _files(folder, endings):
        try:
            if harness is Harness.LMMS_EVAL:
                scores += _lmms_eval(path, folder)
            else:
                scores += _vlmevalkit(path, folder, tuple(tasks or ()))
        except _Unused as why:
            unused.setdefault(str(why), []).append(_shown(path, folder))
    return Files(scores=tuple(scores), unused={why: tuple(paths) for why, paths in unused.items()})


class _Unused(Exception):  # noqa: N818 - it says why a file is not used, and nothing is wrong
    """A file that is no result of the harness, or none that counts."""


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files with these endings, each once: of a file and links to it the file."""
    by_place: dict[str, Path] = {}
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if name.endswith(endings) and path.exists():  # a link may lead nowhere
                real = os.path.realpath(path)
                if real not in by_place or by_place[real].is_symlink():
                    by_place[real] = path
        if len(by_place) > MOST_FILES:
            raise InputError(f"{folder}: found more than {MOST_FILES} results; give a folder with fewer")
    return sorted(by_place.values())


def _below(path: Path, folder: Path) -> tuple[str, ...]:
    return tuple(map(printable, path.relative_to(folder).parts))


def _shown(path: Path, folder: Path) -> str:
    return "/".join(_below(path, folder))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_SCORE


def _written(path: Path) -> tuple[str, float]:
    """(day, second) at which a file was written."""
    at_s = path.stat().st_mtime
    return f"{datetime.fromtimestamp(at_s):%Y%m%d}", at_s


def _stamped(text: str, path: Path) -> tuple[str, float]:
    """(day, second) that a name says, else those at which the file was written."""
    if not (stamp := _STAMP.search(text)):
        return _written(path)
    try:
        at = datetime(*map(int, stamp.groups()))  # type: ignore[arg-type]
    except ValueError:
        return _written(path)
    return f"{at:%Y%m%d}", at.timestamp()


def _lmms_eval(path: Path, folder: Path) -> Iterator[Scores]:
    """Figures of a results file: ``results``, task by task, ``metric,filter``; no standard errors."""
    try:
        document = read_plain(path)
    except InputError as error:
        raise _Unused("not results of lmms-eval") from error
    results, config = document.get("results"), document.get("config")
    if not isinstance(results, Mapping):
        raise _Unused("no table 'results' in it")
    if isinstance(config, Mapping) and config.get("limit") not in (None, -1):  # -1: all questions
        raise _Unused("of a trial on a few questions (limit)")
    name = path.name if path.name != "results.json" else path.parent.name  # the old layout dates the folder
    day, at_s = _stamped(name, path)
    run = _below(path.parent, folder)
    for task, metrics in results.items():
        figures = {
            printable(key.removesuffix(",none")): float(value)  # the filter that filters nothing
            for key, value in (metrics.items() if isinstance(metrics, Mapping) else ())
            if "stderr" not in key and key not in _BESIDE and _is_number(value)
        }
        if figures:
            yield Scores(
                path=_shown(path, folder), run=run, folders=(run,), task=printable(task), figures=figures, result=None,
                day=day, at_s=at_s,
            )  # fmt: skip


def _vlmevalkit(path: Path, folder: Path, tasks: tuple[str, ...]) -> Iterator[Scores]:
    """Figures of a dataset's table, or of its JSON."""
    if path.name.endswith(_KIT_SHEETS):
        raise _Unused("sheets, which are not read (save them as .csv, or evaluate with EVAL_FORMAT=csv)")
    where, dated = path.parent, _DATED.fullmatch(path.parent.name)
    folders = [_below(where, folder)]
    if dated and where != folder:
        where = where.parent
        folders.append(_below(where, folder))
    day, at_s = _stamped(path.parent.name, path)
    if dated and not dated[2]:  # the folder says the day only
        day = dated[1]
    try:
        rows = _rows(path)
    except InputError as error:
        raise _Unused("not tables of scores") from error
    figures, result = _figures(rows)
    if figures:
        yield Scores(
            path=_shown(path, folder), run=folders[-1], folders=tuple(folders),
            task=_task(path, where.resolve().name, tasks), figures=figures, result=result, day=day, at_s=at_s,
        )  # fmt: skip


def _task(path: Path, model: str, tasks: tuple[str, ...]) -> str:
    """The dataset in a file's name: what is left without the model's; where that is not there, the task asked for.

    The name of a judge behind it is no part of a task that is asked for without it.
    """
    stem = path.stem.rpartition("_")[0]
    named = stem.removeprefix(f"{model}_")
    before = r"(?:.*_)?" if named == stem else ""
    for task in sorted(tasks, key=len, reverse=True):
        if re.fullmatch(f"{before}{re.escape(task)}(?:{_JUDGE})?", named, re.IGNORECASE):
            return task
    return printable(named)


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table; a JSON object is a table of one row, and a list of objects a table."""
    if path.suffix == ".csv":
        _, table = read_table(path, fold=False)
        return [cells for _, cells in table]
    value = parse_json(read_text(path))
    rows = [_flat(row) for row in (value if isinstance(value, list) else [value]) if isinstance(row, Mapping)]
    if not rows:
        raise InputError(f"{path}: expected a table")
    return rows


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """The cells of a JSON object; those of an object in it are named by both keys."""
    flat: dict[str, str] = {}
    for key, value in row.items():
        if isinstance(value, Mapping) and not before:
            flat |= _flat(value, f"{key} ")
        elif _is_number(value) or isinstance(value, str):
            flat[f"{before}{key}"] = str(value)
    return flat


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    """The cells of a row that are numbers."""
    numbers = {}
    for name, text in row.items():
        try:
            value = math.nan if "_" in text else float(text.removesuffix("%"))
        except ValueError:
            continue
        if _is_number(value):
            numbers[printable(name)] = value
    return numbers


def _figures(rows: Sequence[Mapping[str, str]]) -> tuple[dict[str, float], str | None]:
    """A table's figures by name, and which of them is the result; nothing of a table that is none of scores.

    They are those of the row ``Overall``, or of the split that counts; where no row is such a one, of all rows.
    """
    first = next(iter(rows[0]), "")
    labels = [row.get("split", row.get(first, "")).casefold() for row in rows]
    known = [label for label in _SPLITS if label in labels]
    result_column = any(name.casefold() == "overall" for name in rows[0])
    if known or result_column or len(rows) == 1:
        figures = _numbers(rows[labels.index(known[0]) if known else 0])
        by_word = {name.casefold(): name for name in figures}
        named = next((by_word[word] for word in _RESULTS if word in by_word), None)
        return figures, named or (next(iter(figures)) if len(figures) == 1 else None)
    figures = {f"{row.get(first, '')} {name}": value for row in rows for name, value in _numbers(row).items()}
    return (figures if len(figures) <= _MOST_FIGURES else {}), None
