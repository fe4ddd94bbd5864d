"""What do an evaluation harness's results say? Folders of lmms-eval and VLMEvalKit -> rows of points.

Neither harness knows N and V: a table of runs (``run``, ``llm_params_b``, ``visual_tokens``, maybe ``family`` and
``weight``) says which run is which. A run is the folder of one model. Of several results of one run and task the
newest counts. Formats: lmms-eval ``loggers/evaluation_tracker.py`` (``<model>/<date>_results.json``); VLMEvalKit
``<model>/[T<date>_G<commit>/]<model>_<dataset>_acc.csv``, ``_score.csv`` or ``_score.json``, the newest folder last.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.document import read_plain
from vlmplan.errors import InputError, nearest, printable
from vlmplan.harness import Harness
from vlmplan.points import Row, positive, read_table, weight_of

MOST_FILES = 20_000
_MOST_SCORE = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One evaluated model: its folder's name, its size in billions, its visual tokens per image."""

    name: str
    llm_params_b: float
    visual_tokens: float
    family: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Score:
    """One figure found: its run's folder, its benchmark and metric, and what a perfect one is (None: not known)."""

    run: str
    task: str
    metric: str
    value: float
    perfect: float | None


def read_runs(path: Path) -> tuple[Run, ...]:
    """Read the table of runs. Raises InputError, naming the line."""
    names, table = read_table(path)
    for needed in ("run", "llm_params_b", "visual_tokens"):
        if needed not in names:
            raise InputError(f"{path}: no column {needed}; expected run, llm_params_b, visual_tokens, family, weight")
    found = []
    for line, cells in table:
        where = f"{path.name} line {line}"
        if not cells["run"]:
            raise InputError(f"{where}: run is empty, expected the name of a folder")
        found.append(
            Run(
                name=cells["run"],
                llm_params_b=positive(cells["llm_params_b"], f"{where}: llm_params_b"),
                visual_tokens=positive(cells["visual_tokens"], f"{where}: visual_tokens"),
                family=cells.get("family", ""),
                weight=weight_of(cells, where),
            )
        )
    twice = [name for name, times in Counter(run.name for run in found).items() if times > 1]
    if twice:
        raise InputError(f"{path}: the run '{min(twice)}' stands there twice")
    return tuple(found)


def read_results(
    folder: Path,
    harness: Harness,
    runs: Path,
    metric: str | None = None,
    score_max: float | None = None,
    tasks: Collection[str] | None = None,
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Read all results below ``folder`` of the runs named in ``runs``. Returns rows, and what was not used, in words.

    ``metric`` names the figure where a task has several; ``score_max`` is what a perfect one is, where the harness's
    own scale is not known; ``tasks`` are those wanted (None: all). Raises InputError for a folder without results, or
    a task with several figures.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of {harness} results")
    known = {run.name: run for run in read_runs(runs)}
    found = list(_lmms_eval(folder) if harness is Harness.LMMS_EVAL else _vlmevalkit(folder))
    if not found:
        raise InputError(f"{folder}: found no {harness} results; expected {_EXPECTED[harness]} below it")
    figures = _by_task(found)
    rows, unknown = [], set()
    for (name, task), by_metric in figures.items():
        if tasks is not None and task not in tasks:
            continue
        if name not in known:
            unknown.add(name)
            continue
        score = _only(by_metric, metric, f"{name}, {task}")
        if score is not None:
            rows.append(_row(known[name], task, score.value / (score_max or score.perfect or 1.0), harness))
    if not rows:
        close = nearest(min(known), unknown)
        raise InputError(
            f"{runs}: none of its runs ({', '.join(sorted(known)[:4])}) has results of the figure asked below {folder}"
            + (f"; found runs {close}" if close else "")
        )
    missing = sorted(set(known) - {name for name, _ in figures})
    notes = [f"runs without N and V in {runs.name}, ignored: {', '.join(sorted(unknown)[:8])}"] if unknown else []
    notes += [f"runs of {runs.name} without results: {', '.join(missing[:8])}"] if missing else []
    return tuple(rows), tuple(notes)


def _row(run: Run, task: str, share: float, harness: Harness) -> Row:
    return Row(
        name=f"{run.name} {task}",
        llm_params_b=run.llm_params_b,
        visual_tokens=run.visual_tokens,
        error=1 - share,
        task=task,
        family=run.family,
        weight=run.weight,
        source=str(harness),
    )


_EXPECTED = {
    Harness.LMMS_EVAL: "MODEL/DATE_results.json",
    Harness.VLMEVALKIT: "MODEL/MODEL_DATASET_acc.csv (or _score.csv, _score.json)",
}


def _by_task(scores: Iterable[_Score]) -> dict[tuple[str, str], dict[str, _Score]]:
    """(run, task) -> its figures by metric; a later one, which is newer, takes the place of an earlier."""
    found: dict[tuple[str, str], dict[str, _Score]] = {}
    for one in scores:
        found.setdefault((one.run, one.task), {})[one.metric] = one
    return found


def _only(figures: Mapping[str, _Score], metric: str | None, where: str) -> _Score | None:
    """The figure asked for, or the only one there is."""
    if metric is not None:
        return figures.get(metric)
    if len(figures) > 1:
        raise InputError(
            f"{where}: found the figures {', '.join(list(figures)[:8])}; name one with --metric, or other tasks with "
            "--task"
        )
    return next(iter(figures.values()))


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files with these endings, by folder and name, so that a later date comes later."""
    found = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(root) / name for name in names if name.endswith(endings)]
        if len(found) > MOST_FILES:
            raise InputError(f"{folder}: found more than {MOST_FILES} results; give a folder with fewer")
    return sorted(found)


def _lmms_eval(folder: Path) -> Iterator[_Score]:
    """Figures of ``<model>/<date>_results.json``: ``results``, task by task, ``metric,filter``; no standard errors."""
    for path in _files(folder, ("_results.json",)):
        document = read_plain(path)
        results, config = document.get("results"), document.get("config")
        if isinstance(config, Mapping) and config.get("limit") is not None:
            continue  # a trial on a few questions
        if not isinstance(results, Mapping):
            raise InputError(f"{path}: no table 'results' in it; expected the results file of lmms-eval")
        for task, figures in results.items():
            if isinstance(figures, Mapping):
                for key, value in figures.items():
                    name = key.removesuffix(",none")  # the filter that filters nothing
                    if "stderr" not in name and _is_number(value):
                        run = printable(path.parent.name)
                        yield _Score(run=run, task=printable(task), metric=name, value=float(value), perfect=None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_SCORE


_SPLITS = ("validation", "val", "test", "dev")  # of several rows the first of these


def _vlmevalkit(folder: Path) -> Iterator[_Score]:
    """The overall score in a dataset's table, or the final one in OCRBench's JSON; above 1 it is in percent.

    Datasets differ in that (``vlmeval/dataset/image_vqa.py`` writes percent, ``image_mcq.py`` fractions), and nothing
    is right in fewer than one case in a hundred.
    """
    for path in _files(folder, ("_acc.csv", "_score.csv", "_score.json")):
        run = path.parent.name
        if run.startswith("T2") and "_G" in run:  # a dated folder of one model
            run = path.parent.parent.name
        task = printable(path.stem.removeprefix(f"{run}_").rpartition("_")[0])
        value = _final(path) if path.suffix == ".json" else _overall(path)
        if value is not None:
            perfect = 100.0 if value > 1 else 1.0
            yield _Score(run=printable(run), task=task, metric="Overall", value=value, perfect=perfect)


def _final(path: Path) -> float | None:
    """OCRBench's score in percent (``Final Score Norm``)."""
    try:
        value = read_plain(path).get("Final Score Norm")
    except InputError:
        return None  # other datasets write other JSON
    return float(value) if value is not None and _is_number(value) else None


def _overall(path: Path) -> float | None:
    """The overall score of the split that counts, in a column or (MathVista) a row of that name; None without one."""
    names, table = read_table(path)
    rows = [cells for _, cells in table]
    if "overall" in names:
        ordered = sorted(rows, key=lambda row: _SPLITS.index(row["split"]) if row.get("split") in _SPLITS else 9)
        text = ordered[0]["overall"]
    else:
        text = next((row["acc"] for row in rows if "acc" in names and row[names[0]] == "Overall"), "")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if _is_number(value) else None
