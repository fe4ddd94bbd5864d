"""What did the user measure? A table of models' errors, what is suspicious in it, and the points that are left.

CSV -> rows -> findings that name rows -> points. Errors are fractions in [0, 1]; one point is one (family, N, V), the
mean of its rows. Nothing is changed silently: what is dropped, averaged or ignored is said.
"""

import csv
import enum
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlmplan.accuracy import Point
from vlmplan.document import read_text
from vlmplan.errors import InputError, nearest, printable

MOST_ROWS = 200_000
MOST_POINTS = 1_000
MOST_FAMILIES = 40
COLUMNS = ("llm_params_b", "visual_tokens", "error", "accuracy", "score", "task", "family", "weight", "source")
# What was ever built or read by an LLM, small ones of sweeps too, with room: billions of parameters, visual tokens.
PHYSICAL = {"llm_params_b": (1e-5, 5_000.0), "visual_tokens": (1.0, 200_000.0)}
_NAMED = 8  # rows named in a warning
_LEAST_WEIGHT = 1e-6
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?%?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]+)?%?")


class Suspicion(enum.StrEnum):
    """What may be wrong with rows; the words that ``--drop`` and ``--keep`` take."""

    DUPLICATE = "duplicate"
    REPEATED = "repeated"
    NON_MONOTONE = "non-monotone"
    OUTSIDE = "outside"
    PERCENT = "percent"
    RANGE = "range"
    SINGLE = "single"


UNUSABLE = (Suspicion.OUTSIDE, Suspicion.PERCENT, Suspicion.RANGE)  # dropped unless kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured score. ``name`` says where it stands: ``line 7``, or a run and its benchmark."""

    name: str
    llm_params_b: float
    visual_tokens: float
    error: float
    task: str = ""
    family: str = ""
    weight: float = 1.0
    source: str = ""

    @property
    def cell(self) -> tuple[str, float, float]:
        """The model it belongs to."""
        return (self.family, self.llm_params_b, self.visual_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A suspicion: the rows it is about, in words, and those that would go if it were dropped."""

    kind: Suspicion
    text: str
    suspects: frozenset[str]


def read_table(path: Path, fold: bool = True) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return (column names in lower case, rows with their line numbers) of a CSV with commas, semicolons or tabs.

    Without ``fold`` the names are as they stand there. With semicolons or tabs, numbers may have decimal commas. Raises
    InputError for what is no such table.
    """
    text = read_text(path).removeprefix("\ufeff")
    if not text.strip():
        raise InputError(f"{path}: found an empty file")
    header = text.splitlines()[0]
    separator = max((",", ";", "\t"), key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        names = [name.casefold() for name in names] if fold else names
        reader.fieldnames = names
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path.name} line {reader.line_num}: found another number of cells than the {len(names)} columns"
                )
            cells = {name: cell.strip() for name, cell in row.items()}
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise InputError(f"{path}: not a table of separated values ({error})") from None
    if len(set(names)) < len(names):
        raise InputError(f"{path}: found a column twice among {', '.join(names)[:200]}")
    if not 0 < len(rows) <= MOST_ROWS:
        raise InputError(f"{path}: found {len(rows)} rows below the header, expected 1 to {MOST_ROWS}")
    return names, rows if separator == "," else _decimal_points(rows, path)


def _decimal_points(rows: list[tuple[int, dict[str, str]]], path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with points for decimal commas. Raises InputError where points beside them can only group thousands."""
    if not any(_DECIMAL_COMMA.fullmatch(cell) for _, row in rows for cell in row.values()):
        return rows
    for line, row in rows:
        for name, cell in row.items():
            if _THOUSANDS.fullmatch(cell) or (name == "visual_tokens" and "," in cell):
                raise InputError(
                    f"{path.name} line {line}: {name} is '{cell[:40]}' in a table with decimal commas; write "
                    "whole numbers without points or commas"
                )
    return [
        (line, {name: cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for name, cell in row.items()})
        for line, row in rows
    ]


def number(text: str, what: str) -> float:
    """Read a finite number. Raises InputError, naming ``what`` it stands for."""
    try:
        value = math.nan if "_" in text else float(text)  # Python reads 1_0 as 10, and no table means that
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{what} is '{text[:40]}', expected a number")
    return value


def positive(text: str, what: str) -> float:
    """Read a number above 0. Raises InputError."""
    value = number(text, what)
    if value <= 0:
        raise InputError(f"{what} is {value:g}, expected a number above 0")
    return value


def weight_of(cells: Mapping[str, str], where: str) -> float:
    """Read a row's weight, 1 where there is none. Raises InputError."""
    weight = number(cells.get("weight") or "1", f"{where}: weight")
    if not _LEAST_WEIGHT <= weight <= 1 / _LEAST_WEIGHT:
        raise InputError(f"{where}: weight is {weight:g}, expected {_LEAST_WEIGHT:g} to {1 / _LEAST_WEIGHT:g}")
    return weight


def _measure(names: Sequence[str], path: Path, score_max: float | None) -> str:
    """The column that holds what was measured."""
    for name in ("llm_params_b", "visual_tokens"):
        if name not in names:
            close = nearest(name, names, limit=1)
            raise InputError(f"{path}: no column {name}" + (f" (found '{close}')" if close else "") + _EXPECTED)
    measures = [name for name in ("error", "accuracy", "score") if name in names]
    if not measures:
        raise InputError(f"{path}: no column error, accuracy or score{_EXPECTED}")
    if measures == ["score"] and score_max is None:
        raise InputError(f"{path}: a column score needs --score-max, such as 100 for percent or 1000 for OCRBench")
    return "score" if score_max is not None and "score" in measures else measures[0]


def _fraction(text: str, what: str, score_max: float | None) -> float:
    """A measured value as a fraction: of ``score_max`` where given, of 100 where a percent sign follows it."""
    if text.endswith("%"):
        return number(text[:-1].rstrip(), what) / 100
    return number(text, what) / (score_max or 1.0)


_EXPECTED = f"; expected llm_params_b, visual_tokens, and error, accuracy or score, of {', '.join(COLUMNS)}"


def read_points(path: Path, score_max: float | None = None) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Read a table of points; its columns are ``COLUMNS``. Returns the rows and what was ignored, in words.

    ``score_max`` is what a perfect score is, or an error of all. Raises InputError, naming the line.
    """
    names, table = read_table(path)
    measure = _measure(names, path, score_max)
    rows = []
    for line, cells in table:
        where = f"{path.name} line {line}"
        value = _fraction(cells[measure], f"{where}: {measure}", score_max)
        rows.append(
            Row(
                name=f"line {line}",
                llm_params_b=positive(cells["llm_params_b"], f"{where}: llm_params_b"),
                visual_tokens=positive(cells["visual_tokens"], f"{where}: visual_tokens"),
                error=value if measure == "error" else 1 - value,
                task=printable(cells.get("task", "")),
                family=printable(cells.get("family", "")),
                weight=weight_of(cells, where),
                source=printable(cells.get("source", "")),
            )
        )
    measures = [name for name in ("error", "accuracy", "score") if name in names and name != measure]
    ignored = [name for name in names if name not in COLUMNS] + measures
    notes = [f"columns ignored: {', '.join(ignored)[:200]}"] if ignored else []
    sources = {row.source for row in rows}
    if len(sources) > 1 and len({row.family for row in rows}) == 1:
        notes.append(f"{len(sources)} sources are taken for one; a column family gives each its own offset")
    return tuple(rows), tuple(notes)


def of_task(rows: Sequence[Row], shares: Mapping[str, float] | None) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the rows of a task, or of a mix the weighted means of models that have all its tasks; and what was left.

    Raises InputError when ``rows`` hold several tasks and ``shares`` names none of them.
    """
    known = sorted({row.task for row in rows})
    if known == [""]:
        if shares is not None and len(shares) > 1:
            raise InputError("--task: found a mix, and points without a column task; name one, or give them tasks")
        return tuple(rows), ()
    if shares is None:
        if len(known) > 1:
            raise InputError(f"found points of {len(known)} tasks; name one, or a mix, with --task: {named(known)}")
        return tuple(rows), ()
    missing = [task for task in shares if task not in known]
    if missing:
        raise InputError(f"--task: no points of '{missing[0]}'; expected one of {named(known)}")
    if len(shares) == 1:
        return tuple(row for row in rows if row.task in shares), ()
    return _mixed([row for row in rows if row.task in shares], shares)


def _mixed(rows: Sequence[Row], shares: Mapping[str, float]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """One row a model that has all tasks, its error their weighted mean."""
    mixed, partial = [], 0
    for group in by_cell(rows).values():
        by_task = {task: [row for row in group if row.task == task] for task in shares}
        if not all(by_task.values()):
            partial += 1
            continue
        error = sum(share * _mean(by_task[task]) for task, share in shares.items())
        mixed.append(replace(group[0], error=error, task="", name=", ".join(row.name for row in group)))
    return tuple(mixed), (f"{partial} models have not all tasks of the mix and are left out",) if partial else ()


def by_cell(rows: Iterable[Row]) -> dict[tuple[str, float, float], list[Row]]:
    """Return the rows of every model, in the order in which models come first."""
    cells: defaultdict[tuple[str, float, float], list[Row]] = defaultdict(list)
    for row in rows:
        cells[row.cell].append(row)
    return cells


def _mean(rows: Sequence[Row]) -> float:
    return sum(row.weight * row.error for row in rows) / sum(row.weight for row in rows)


def named(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more


def points(rows: Sequence[Row]) -> tuple[Point, ...]:
    """Return one point a model, the weighted mean of its rows. Raises InputError for more than ``MOST_POINTS``."""
    cells = by_cell(rows)
    if len(cells) > MOST_POINTS:
        raise InputError(
            f"found {len(cells)} different models (family, llm_params_b, visual_tokens), expected at most "
            f"{MOST_POINTS}; average what belongs together"
        )
    families = {family for family, _, _ in cells}
    if len(families) > MOST_FAMILIES:
        raise InputError(
            f"found {len(families)} families, expected at most {MOST_FAMILIES}; leave out those with one LLM and one "
            "number of tokens, which tell nothing"
        )
    return tuple(
        Point(
            llm_params_b=size,
            visual_tokens=tokens,
            error=_mean(group),
            family=family,
            weight=sum(row.weight for row in group),
        )
        for (family, size, tokens), group in sorted(cells.items())
    )
