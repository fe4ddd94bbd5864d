"""What do an evaluation harness's results say? Folders of lmms-eval and VLMEvalKit -> rows of points.

Neither harness knows N and V: a table of runs (``run``, ``llm_params_b``, ``visual_tokens``, maybe ``family`` and
``weight``) says which run is which. A run is the folder of one model, named by its name or by its path; where a name,
or a folder, has several results of a task the newest counts, and that is said.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlmplan.errors import InputError, nearest
from vlmplan.fitting.harness_files import Files, Harness, Scores, read_files
from vlmplan.fitting.point_tables import Row, positive, read_table, weight_of

_NAMED = 8  # files, runs or figures named in a message
# What a perfect score is where a harness writes sums: 200 points a subtask of MME, ten of perception and four of
# cognition (arXiv 2306.13394, section 2.2); OCRBench's questions (arXiv 2305.07895).
_PERFECT = {
    ("mme", "perception"): 2000.0,
    ("mme", "mme_perception_score"): 2000.0,
    ("mme", "reasoning"): 800.0,
    ("mme", "mme_cognition_score"): 800.0,
    ("ocrbench", "final score"): 1000.0,
}
_PERFECT_OF_ALL = {"mme": 200.0}  # the other figures of a task: MME's subtasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One evaluated model: its folder's name or path, its size in billions, its visual tokens per image."""

    name: str
    llm_params_b: float
    visual_tokens: float
    family: str = ""
    weight: float = 1.0


def read_runs(path: Path) -> tuple[Run, ...]:
    """Read the table of runs. Raises InputError, naming the line."""
    names, table = read_table(path)
    for needed in ("run", "llm_params_b", "visual_tokens"):
        if needed not in names:
            raise InputError(f"{path}: no column {needed}; expected run, llm_params_b, visual_tokens, family, weight")
    named_runs = []
    for line, cells in table:
        where = f"{path.name} line {line}"
        if not cells["run"]:
            raise InputError(f"{where}: run is empty, expected the name of a folder")
        named_runs.append(
            Run(
                name=cells["run"],
                llm_params_b=positive(cells["llm_params_b"], f"{where}: llm_params_b"),
                visual_tokens=positive(cells["visual_tokens"], f"{where}: visual_tokens"),
                family=cells.get("family", ""),
                weight=weight_of(cells, where),
            )
        )
    twice = [name for name, times in Counter(run.name for run in named_runs).items() if times > 1]
    if twice:
        raise InputError(f"{path}: the run '{min(twice)}' stands there twice")
    return tuple(named_runs)


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
    own scale is not known; ``tasks`` are those wanted (None: all). Raises InputError for a folder without results, for
    figures that are not there, and for a task with several of them.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of {harness} results")
    known = read_runs(runs)
    files = read_files(folder, harness, tasks)
    if not files.scores:
        raise InputError(_nothing(folder, harness, files))
    wanted = [one for one in files.scores if tasks is None or one.task in tasks]
    said = _Said()
    by_run = {run: _of_run(run, wanted, folder, runs, said) for run in known}
    asked = _Asked(harness=harness, metric=metric, score_max=score_max, all_tasks=tasks is None)
    rows = [row for run, scores in by_run.items() for one in scores if (row := _row(run, one, asked, said))]
    if not rows:
        raise InputError(_why_none(runs, folder, files.scores, by_run, asked))
    return tuple(rows), (*_left(runs, files, wanted, by_run), *said.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the user is told: notes, and the files that count where a run has older ones of the same task."""

    notes: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)

    @property
    def lines(self) -> tuple[str, ...]:
        """Each note once."""
        more = f" and {len(self.older) - _NAMED} more" if len(self.older) > _NAMED else ""
        listed = ", ".join(self.older[:_NAMED]) + more
        counted = (f"several results of a run and task, of which the newest count: {listed}",) if self.older else ()
        return (*dict.fromkeys(self.notes), *counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Which figures are asked for, and on what scale."""

    harness: Harness
    metric: str | None
    score_max: float | None
    all_tasks: bool


_EXPECTED = {
    Harness.LMMS_EVAL: "MODEL/DATE_results.json",
    Harness.VLMEVALKIT: "MODEL/MODEL_DATASET_acc.csv (or _score.csv, _score.json)",
}


def _nothing(folder: Path, harness: Harness, files: Files) -> str:
    """What to say of a folder without results, and of what lies there in their place."""
    seen = [f"{', '.join(paths[:_NAMED])}: {why}" for why, paths in files.unused.items()]
    return f"{folder}: found no {harness} results; expected {_EXPECTED[harness]} below it" + (
        f" (found {'; '.join(seen)})" if seen else ""
    )


def _path(parts: Sequence[str], folder: Path) -> str:
    """A run's folder as it may be named: its path below the results folder, or that folder's own name."""
    return "/".join(parts) or folder.resolve().name


def _named(run: Run, scores: Iterable[Scores], folder: Path) -> list[Scores]:
    """The results that a run's name means: those of the folder of that path, else of folders whose path ends so.

    Where there is none, those of the one run in a folder of that name.
    """
    listed, asked = list(scores), Path(os.path.normpath(run.name.replace("\\", "/"))).parts
    exact = [one for one in listed if asked in one.folders]
    if exact:
        return exact
    above = folder.resolve().parts
    ending = [one for one in listed if any((*above, *parts)[-len(asked) :] == asked for parts in one.folders)]
    if ending:
        return ending
    inside = [one for one in listed if any(one.run[at : at + len(asked)] == asked for at in range(len(one.run)))]
    if len(held := {_path(one.run, folder) for one in inside}) > 1:
        raise InputError(f"the run '{run.name}' holds {', '.join(sorted(held)[:_NAMED])}; name each of them a run")
    return inside


def _of_run(run: Run, wanted: Sequence[Scores], folder: Path, runs: Path, said: "_Said") -> list[Scores]:
    """The newest results of a run, one a task; what else has its name is said. Raises InputError for a tie."""
    newest = []
    named = _named(run, wanted, folder)
    for task in dict.fromkeys(one.task for one in named):
        scores = sorted((one for one in named if one.task == task), key=lambda one: one.age)
        chosen = scores[-1]
        newest.append(chosen)
        folders = list(dict.fromkeys(_path(one.run, folder) for one in scores))
        if len(folders) > 1:
            listed = ", ".join(folders[:_NAMED])
            if len({one.run for one in scores if one.age == chosen.age}) > 1:
                raise InputError(
                    f"{runs}: the run '{run.name}' may be {listed}, each with results of {task}; name runs by their "
                    "paths"
                )
            said.notes.append(
                f"{run.name} has results of {task} in {listed}: the newest count, of {chosen.path}; name runs by their "
                "paths to tell them apart"
            )
        elif any(one.figures != chosen.figures for one in scores):
            said.older.append(chosen.path)
    return newest


def _row(run: Run, scores: Scores, asked: _Asked, said: _Said) -> Row | None:
    """The row of one result; None where it lacks the figure. Raises InputError where several may be meant."""
    figure = _figure(scores, asked, said)
    if figure is None:
        return None
    share = scores.figures[figure] / _perfect(scores, figure, asked)
    return Row(
        name=f"{run.name} {scores.task}",
        llm_params_b=run.llm_params_b,
        visual_tokens=run.visual_tokens,
        error=1 - share,
        task=scores.task,
        family=run.family,
        weight=run.weight,
        source=str(asked.harness),
    )


def _figure(scores: Scores, asked: _Asked, said: _Said) -> str | None:
    """The name of the figure asked for, else of the one that the file calls the result, or of the only one."""
    if asked.metric is not None:
        metric = asked.metric.removesuffix(",none")
        folded = {name.casefold(): name for name in scores.figures}
        return metric if metric in scores.figures else folded.get(metric.casefold())
    if scores.result is not None:
        return scores.result
    if len(scores.figures) == 1:
        return next(iter(scores.figures))
    listed = ", ".join(list(scores.figures)[:_NAMED])
    if asked.harness is Harness.VLMEVALKIT and asked.all_tasks:
        said.notes.append(
            f"{scores.task} left out: it has no overall score but {listed}; name one with --task and --metric"
        )
        return None
    raise InputError(
        f"{scores.path}, {scores.task}: found the figures {listed}; name one with --metric, or other tasks with --task"
    )


def _perfect(scores: Scores, figure: str, asked: _Asked) -> float:
    """What a perfect score is. Of VLMEvalKit's, what is above 1 is in percent.

    Datasets differ in that (``vlmeval/dataset/image_vqa.py`` writes percent, ``image_mcq.py`` fractions), and nothing
    is right in fewer than one case in a hundred. Raises InputError for a score on a scale of its own.
    """
    if asked.score_max is not None:
        return asked.score_max
    task = scores.task.casefold()
    known = _PERFECT.get((task, figure.casefold()), _PERFECT_OF_ALL.get(task))
    if known is not None:
        return known
    value = scores.figures[figure]
    if value > 100:
        raise InputError(
            f"{scores.path}, {scores.task}: {figure} is {value:g}, above 100; expected --score-max, what a perfect one "
            "is"
        )
    return 100.0 if asked.harness is Harness.VLMEVALKIT and value > 1 else 1.0


def _why_none(
    runs: Path, folder: Path, scores: Sequence[Scores], by_run: Mapping[Run, Sequence[Scores]], asked: _Asked
) -> str:
    """Why no run has a row: its name, the task or the figure is not there, and what is."""
    matched = [one for ones in by_run.values() for one in ones]
    if matched:
        figures = list(dict.fromkeys(name for one in matched for name in one.figures))
        where = f"the figures of {matched[0].task}, as in {matched[0].path}"
        if asked.metric is None:
            return f"--metric: found none, expected one of {', '.join(figures[:_NAMED])} ({where})"
        return f"--metric: found '{asked.metric}', expected one of {', '.join(figures[:_NAMED])} ({where})"
    if any(_named(run, scores, folder) for run in by_run):
        there = ", ".join(sorted({one.task for one in scores})[:_NAMED])
        return f"--task: none of the runs of {runs} has results of it below {folder}; found results of {there}"
    names = [run.name for run in by_run]
    close = nearest(min(names), {_path(one.run, folder) for one in scores})
    return (
        f"{runs}: none of its runs ({', '.join(sorted(names)[:4])}) has results of the figure asked below {folder}"
        + (f"; found runs {close}" if close else "")
    )


def _left(runs: Path, files: Files, wanted: Sequence[Scores], by_run: Mapping[Run, Sequence[Scores]]) -> list[str]:
    """Notes on what was found and is not used, and on runs without results."""
    used = {one.run for ones in by_run.values() for one in ones}
    unknown = sorted({"/".join(one.run) or "." for one in wanted if one.run not in used})
    missing = sorted(run.name for run, ones in by_run.items() if not ones)
    notes = [f"runs without N and V in {runs.name}, ignored: {', '.join(unknown[:_NAMED])}"] if unknown else []
    notes += [f"runs of {runs.name} without results: {', '.join(missing[:_NAMED])}"] if missing else []
    for why, paths in files.unused.items():
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        notes.append(f"files ignored, {why}: {', '.join(paths[:_NAMED])}{more}")
    return notes
