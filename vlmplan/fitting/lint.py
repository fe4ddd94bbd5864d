"""What is suspicious in a table of points? Copied values, steps the wrong way, impossible values, mixed units.

Rows -> findings that name the rows and say which would go if they were dropped: of equal ones the later; of two in the
wrong order the one farther from a line through all.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from vlmplan.errors import InputError
from vlmplan.fitting.point_tables import PHYSICAL, UNUSABLE, Finding, Row, Suspicion, by_cell, named

_SHOWN = 4
_LEAST_DIGITS = 5  # two scores of three digits are often equal by chance


def lint(rows: Sequence[Row]) -> tuple[Finding, ...]:
    """Return what is suspicious, in the order of :class:`Suspicion`.

    Raises InputError where most values are in percent: then nothing says which column or unit was meant.
    """
    values = [row.error for row in rows]
    percent = [row for row in rows if _in_percent(row.error)]
    if 2 * len(percent) > len(rows):
        raise InputError(
            f"{len(percent)} of {len(rows)} values are not in [0, 1] (errors of {min(values):.4g} to {max(values):.4g})"
            " and look like percent; give --score-max 100"
        )
    large = [row for row in rows if row.llm_params_b > PHYSICAL["llm_params_b"][1]]
    if 2 * len(large) > len(rows):
        raise InputError(
            f"{len(large)} of {len(rows)} rows have llm_params_b above {PHYSICAL['llm_params_b'][1]:g}, such as "
            f"{large[0].llm_params_b:g} in {large[0].name}; it is in billions"
        )
    usable = [row for row in rows if 0 <= row.error <= 1 and not _out_of_range(row)]
    misses = _misses(usable)
    findings = (
        _duplicates(usable),
        _repeated(usable),
        _non_monotone(usable, misses),
        _each(rows, Suspicion.OUTSIDE, lambda row: not (0 <= row.error <= 1 or _in_percent(row.error)), _error_of),
        _each(rows, Suspicion.PERCENT, lambda row: _in_percent(row.error), _error_of),
        _each(rows, Suspicion.RANGE, _out_of_range, _size_of),
        _singles(usable),
    )
    return tuple(one for one in findings if one is not None)


def kept(rows: Sequence[Row], drop: frozenset[str], keep: frozenset[str]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Look for what is suspicious and act on it: ``drop`` and ``keep`` hold suspicions, line numbers or runs.

    Returns the rows left, and warnings. Raises InputError for a word that is neither a suspicion nor a row, for values
    in percent, and where nothing is left.
    """
    for word in sorted(drop | keep):
        if word not in list(Suspicion) and not _meant(word, rows):
            raise InputError(
                f"--drop, --keep: found '{word}', expected one of {', '.join(Suspicion)}, a line number or a run"
            )
    named_away, told = ({name for word in words for name in _meant(word, rows)} for words in (drop, keep))
    rows = [row for row in rows if row.name not in named_away]
    findings = lint(rows)
    gone: set[str] = set()
    warnings = []
    for finding in findings:
        dropped = finding.kind in drop or (finding.kind in UNUSABLE and finding.kind not in keep)
        away = finding.suspects - told if dropped else set()
        gone |= away
        action = f"dropped {named(sorted(away, key=_line))}" if away else f"kept; --drop {finding.kind} acts on it"
        if finding.kind is Suspicion.PERCENT and not away:
            action = "read as percent"
        elif finding.kind in UNUSABLE and not away:
            action = "kept as asked"
        warnings.append(f"{finding.kind}: {finding.text} ({action})")
    percent = {name for finding in findings if finding.kind is Suspicion.PERCENT for name in finding.suspects}
    left = tuple(_as_fraction(row) if row.name in percent else row for row in rows if row.name not in gone)
    far = [row for row in left if not -1 <= row.error <= 2]
    if far:
        raise InputError(f"{far[0].name} has an error of {far[0].error:.4g}, which cannot be kept; expected 0 to 1")
    if not left:
        raise InputError(f"no point is left; {'; '.join(warnings) or 'all were dropped'}")
    return left, tuple(warnings)


def _meant(word: str, rows: Sequence[Row]) -> set[str]:
    """The rows a user means by ``word``: a line's number, a row's name, or a run, whose rows are named "RUN TASK"."""
    wanted = f"line {word}" if word.isdecimal() else word
    return {row.name for row in rows if row.name in (wanted, f"{word} {row.task}")}


def _line(name: str) -> tuple[int, str]:
    """Lines in their order, runs by name."""
    last = name.rpartition(" ")[2]
    return (int(last) if last.isdecimal() and len(last) < 10 else 0, name)


def _as_fraction(row: Row) -> Row:
    """A row whose value was in percent: error 43.1 is 0.431, and accuracy 43.1 had become an error of -42.1."""
    return replace(row, error=row.error / 100 if row.error > 1 else 1 - (1 - row.error) / 100)


def _in_percent(error: float) -> bool:
    """An error of 43.1, or of -42.1 from an accuracy of 43.1; a little below 0 or above 1 is noise, not percent."""
    return 1.5 < error <= 100 or -99 <= error < -0.5


def _out_of_range(row: Row) -> bool:
    return any(not low <= getattr(row, name) <= high for name, (low, high) in PHYSICAL.items())


def _error_of(row: Row) -> str:
    return f"{row.name} has an error of {row.error:.4g}, expected 0 to 1"


def _size_of(row: Row) -> str:
    (least, most), (fewest, highest) = PHYSICAL.values()
    return (
        f"{row.name} has {row.llm_params_b:g} billion parameters and {row.visual_tokens:g} visual tokens, expected "
        f"{least:g} to {most:g} and {fewest:g} to {highest:g}"
    )


def _finding(kind: Suspicion, texts: Sequence[str], suspects: set[str]) -> Finding | None:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    text = "; ".join(texts[:_SHOWN]) + more
    return Finding(kind=kind, text=text, suspects=frozenset(suspects)) if texts else None


def _each(
    rows: Sequence[Row], kind: Suspicion, test: Callable[[Row], bool], words: Callable[[Row], str]
) -> Finding | None:
    suspected = [row for row in rows if test(row)]
    return _finding(kind, [words(row) for row in suspected], {row.name for row in suspected})


def _digits(value: float) -> int:
    return len(f"{value:.12g}".partition(".")[2].rstrip("0"))


def _duplicates(rows: Sequence[Row]) -> Finding | None:
    """The same error to all its digits in two different cells: one was copied, likelier the later."""
    same: defaultdict[str, list[Row]] = defaultdict(list)
    least = max(_LEAST_DIGITS, 1 + 2 * math.log10(max(1, len(rows))))  # fewer are equal by chance among so many
    for row in rows:
        if _digits(row.error) >= least:
            same[f"{row.task} {row.error:.12g}"].append(row)
    texts, suspects = [], set()
    for group in same.values():
        cells = {row.cell: row for row in group}
        if len(cells) > 1:
            texts.append(
                f"{' and '.join(row.name for row in cells.values())} are equal to all digits ({group[0].error})"
            )
            suspects |= {row.name for row in list(cells.values())[1:]}
    return _finding(Suspicion.DUPLICATE, texts, suspects)


def _repeated(rows: Sequence[Row]) -> Finding | None:
    """Several rows of one model: they are averaged."""
    groups = [group for group in by_cell(rows).values() if len(group) > 1]
    texts = [
        f"{group[0].name} and {len(group) - 1} more are of one model (N {group[0].llm_params_b:g}, "
        f"V {group[0].visual_tokens:g}) and are averaged"
        for group in groups
    ]
    return _finding(Suspicion.REPEATED, texts, {row.name for group in groups for row in group[1:]})


def _neighbours(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, str]]:
    """(row, the next larger in one of N and V with the other equal, which one grew)."""
    for axis, other in (("visual_tokens", "llm_params_b"), ("llm_params_b", "visual_tokens")):
        lines: defaultdict[Any, dict[float, Row]] = defaultdict(dict)
        for row in rows:
            lines[row.family, getattr(row, other)].setdefault(getattr(row, axis), row)
        for line in lines.values():
            for (_, less), (_, more) in pairwise(sorted(line.items())):
                yield less, more, axis


def _non_monotone(rows: Sequence[Row], misses: Mapping[str, float]) -> Finding | None:
    """More tokens, or a larger LLM of the same family, and more error."""
    texts, suspects = [], set()
    for less, more, axis in _neighbours(rows):
        if more.error > less.error:
            texts.append(
                f"{more.name} errs more than {less.name} ({more.error:.4g}, {less.error:.4g}) with more {axis}"
            )
            suspects.add(_farther(less, more, misses))
    return _finding(Suspicion.NON_MONOTONE, texts, suspects)


def _singles(rows: Sequence[Row]) -> Finding | None:
    """An LLM with one number of tokens says nothing of what tokens do."""
    tokens: defaultdict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        tokens[row.family, row.llm_params_b].append(row)
    alone = [group for group in tokens.values() if len({row.visual_tokens for row in group}) == 1]
    if len(alone) == len(tokens):
        return None  # then no LLM does, and the fit refuses
    texts = [
        f"{group[0].name} is of the only V ({group[0].visual_tokens:g}) of N {group[0].llm_params_b:g}"
        for group in alone
    ]
    return _finding(Suspicion.SINGLE, texts, {row.name for group in alone for row in group})


def _misses(rows: Sequence[Row]) -> dict[str, float]:
    """How far each row lies, in logit, from a line in ln N and ln V through all of them."""
    import numpy as np

    if not rows:
        return {}
    columns = np.array([[1.0, math.log(row.llm_params_b), math.log(row.visual_tokens)] for row in rows])
    error = np.clip([row.error for row in rows], 1e-3, 1 - 1e-3)
    logits = np.log(error / (1 - error))
    residual = columns @ np.linalg.lstsq(columns, logits, rcond=None)[0] - logits
    return {row.name: abs(float(miss)) for row, miss in zip(rows, residual, strict=True)}


def _farther(one: Row, other: Row, misses: Mapping[str, float]) -> str:
    """The name of the one of two that lies farther off; of the second if equal."""
    return one.name if misses[one.name] > misses[other.name] else other.name
