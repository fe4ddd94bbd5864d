"""Trainings and evaluations -> terminal text, and progress while they run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.units import counted
from vlmplan.views.deployment import progress
from vlmplan.views.text import new_console, new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vlmplan.evaluation import AnswersGate, AtLimit, Evaluation, Judged, TokenCurve
    from vlmplan.studies import StudiedArm, Study
    from vlmplan.sweeping import Status, TrialResult
    from vlmplan.training import Training, Voice

_DONE_SHOWN = 8


@contextmanager
def voice() -> Iterator["Voice"]:
    """Yield where progress goes: bars where stderr is a terminal, lines for logs where it is not."""
    from vlmplan.training import Voice

    stderr = new_console(stderr=True)
    with progress() as tell:
        yield Voice(tell=tell, say=lambda line: None if stderr.is_terminal else stderr.print(line, soft_wrap=True))


def print_training(training: "Training", out: Path) -> None:
    """Print what was trained, how far, and how to go on."""
    shown, recipe = new_console(), training.recipe
    counts = ", ".join(map(str, recipe.visual_tokens))
    plural = "" if recipe.visual_tokens == (1,) else "s"
    shown.print(f"Trained {recipe.checkpoint} for {counts} visual token{plural} by {recipe.compressor}, in {out}.",
                soft_wrap=True)  # fmt: skip
    table = new_table("stage", "steps", "batch", "first loss", "last loss")
    for stage, result in zip(recipe.stages, training.stages, strict=True):
        losses = (f"{result.losses[0][1]:.3f}", f"{result.final_loss:.3f}") if result.losses else ("", "")
        table.add_row(result.name, str(result.steps), str(stage.batch), *losses)
    shown.print(table)
    left = f"; {training.bad_rows} bad rows left out" if training.bad_rows else ""
    shown.print(f"{recipe.rows} conversations{left}. README.md in the folder is its model card.")
    most = max(recipe.visual_tokens)
    made, export = inert.argument(str(out)), inert.argument(f"{out.name}-{most}")
    shown.print(f"Next: vlmplan export --checkpoint {made} --out {export}", soft_wrap=True)


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print shares in all, by task and by kind, and how the other model answered."""
    shown, level = new_console(), f"{100 * evaluation.interval_level_fraction:g} %"
    plural = "" if evaluation.visual_tokens == 1 else "s"
    shown.print(
        f"{evaluation.model} ({evaluation.runtime}, {evaluation.visual_tokens} visual token{plural} by "
        f"{evaluation.compressor}) on {evaluation.questions}:", soft_wrap=True,
    )  # fmt: skip
    table = new_table("questions", "right", "of", "accuracy", f"{level} interval")
    groups = {
        **evaluation.by_kind,
        **{f"all {name}": group for name, group in evaluation.by_task.items()},
        "all": evaluation.overall,
    }
    for name, group in groups.items():
        low, high = group.interval
        accuracy = f"{100 * group.accuracy_fraction:.1f} %"
        table.add_row(name, str(group.right), str(group.questions), accuracy, f"{100 * low:.1f} to {100 * high:.1f} %")
    shown.print(table)
    if evaluation.against is not None:
        other, count = evaluation.against, evaluation.overall.questions
        same = f"all {count} answers are the same"
        if other.differing:
            same = f"{other.differing} of {count} answers differ, {other.near_ties} of them near ties (within "
            same += f"{other.logit_tolerance:g} in logits)"
        shown.print(f"{other.other}: {100 * other.accuracy_fraction:.1f} %; {same}.", soft_wrap=True)


def print_token_curve(curve: "TokenCurve") -> None:
    """Print the fewest visual tokens that are enough, then the score at each number and what it loses."""
    shown, level = new_console(), f"{100 * curve.interval_level_fraction:g} %"
    most = curve.at[-1]
    allowed = f"{100 * curve.may_lose_fraction:g} points"
    if curve.enough is None:
        told = f"No number below {most.limit} surely loses less than {allowed} here; ask more questions, or keep them."
    else:
        point = next(at for at in curve.at if at.limit == curve.enough)
        told = f"{curve.enough} visual tokens are enough: they lose {_lost(point)} of 100 against {most.limit}."
    by = curve.score.value if curve.judge is None else curve.judge.model
    shown.print(f"{curve.served_model} on {curve.questions}, judged by {by}:", soft_wrap=True)
    shown.print(told, style="bold")
    table = new_table("at most", "made", "of", "score", f"{level} interval", "lost", "worse", "better")
    for point in curve.at:
        low, high = point.interval
        table.add_row(
            str(point.limit), f"{point.visual_tokens:.0f}", str(point.questions), f"{100 * point.score_fraction:.1f} %",
            f"{100 * low:.1f} to {100 * high:.1f}", "" if point is most else _lost(point),
            *(("", "") if point is most else (str(point.worse), str(point.better))),
        )  # fmt: skip
    shown.print(table)
    if curve.legibility is not None and curve.legibility.interval_px is not None:
        low, high = curve.legibility.interval_px
        tall = f"{curve.legibility.height_px:.1f} pixels ({low:.1f} to {high:.1f})"
        shown.print(f"Text below about {tall}, as the model saw it, is not read.", soft_wrap=True)
    if curve.judge is not None:
        _print_judge(shown, curve.judge, curve.score.value)
    for warning in curve.warnings:
        shown.print(f"Warning: {warning}", soft_wrap=True)
    requests = f"{counted(curve.requests, 'request')} made"
    requests += f", {curve.kept} kept from before" if curve.kept else ""
    requests += f", {curve.left} left by the budget" if curve.left else ""
    shown.print(f"{requests}." if curve.host is not None else f"{counted(curve.kept, 'answer')} made elsewhere.")
    if curve.failed:
        rest = f", and {len(curve.failed) - 1} more" if len(curve.failed) > 1 else ""
        shown.print(f"Warning: no answer: {curve.failed[0]}{rest}.", soft_wrap=True)


def _print_judge(shown: "Console", judge: "Judged", rule: str) -> None:
    """How far a judge can be believed, and what it cost."""
    for agreement in judge.agreement:
        kappa = "chance alone would agree" if agreement.kappa is None else f"Cohen's kappa {agreement.kappa:.2f}"
        other = agreement.of.replace("the rule", rule)
        share = f"{100 * agreement.share_fraction:.1f} % of {agreement.answers} answers"
        shown.print(f"{judge.model} agrees with {other} on {share} ({kappa}).", soft_wrap=True)
    rest = f", {judge.kept} kept from before" if judge.kept else ""
    rest += f", {judge.left} left by the budget" if judge.left else ""
    rest += f", {counted(judge.undecided, 'answer')} without a verdict, left out" if judge.undecided else ""
    shown.print(f"{counted(judge.requests, 'request')} for verdicts{rest}.", soft_wrap=True)


def print_answers_gate(gate: "AnswersGate") -> None:
    """Print whether the answers hold, then each number of visual tokens before and after."""
    shown, level = new_console(), f"{100 * gate.interval_level_fraction:g} %"
    allowed = f"{100 * gate.within_fraction:g} points"
    shown.print(f"{gate.after} against {gate.before}, judged by {gate.score}:", soft_wrap=True)
    told = {"holds": f"The answers hold: they surely lose no more than {allowed}.",
            "falls short": f"The answers fall short: they surely lose more than {allowed}.",
            "cannot tell yet": f"Nobody can tell yet whether the answers lose more than {allowed}."}  # fmt: skip
    shown.print(told[gate.standing.value], style="bold")
    words = {"holds": "holds", "falls short": "short", "cannot tell yet": "unsure"}
    columns = ("at most", "of", "before", "after", f"lost ({level})", "worse", "better", "p", "")
    table = new_table(*columns)
    for at in gate.at:
        low, high = at.lost_interval
        table.add_row(
            str(at.limit), str(at.questions), f"{100 * at.before_fraction:.1f} %",
            f"{100 * at.after_fraction:.1f} %",
            f"{100 * at.lost_fraction:.1f} ({100 * low:.1f} to {100 * high:.1f})", str(at.worse), str(at.better),
            f"{at.p_value:.2g}", words[at.standing.value],
        )  # fmt: skip
    shown.print(table)
    for at in (at for at in gate.at if at.more_questions is not None):
        shown.print(f"At {at.limit}: about {at.more_questions} more questions would tell.")
    if gate.unpaired:
        shown.print(f"{counted(gate.unpaired, 'answer')} of one side only left out.")


def _lost(at: "AtLimit") -> str:
    low, high = at.lost_interval
    return f"{100 * at.lost_fraction:.1f} ({100 * low:.1f} to {100 * high:.1f})"


@contextmanager
def sweep_table() -> Iterator[Callable[[Mapping[str, "Status"]], None]]:
    """Yield what shows where every piece of work stands: a live table, or a line a change where stderr is a log."""
    from rich.live import Live

    stderr = new_console(stderr=True)
    said: dict[str, Status] = {}

    def changed(status: Mapping[str, "Status"]) -> None:
        for name, one in status.items():
            if said.get(name) != one and one.state != "waiting":
                stderr.print(f"{name}: {one.state}{', ' if one.detail else ''}{one.detail}", soft_wrap=True)
            said[name] = one

    if not stderr.is_terminal:
        yield changed
        return
    with Live(console=stderr, transient=True) as live:
        yield lambda status: live.update(_status_table(status))


def _status_table(status: Mapping[str, "Status"]) -> "Table":
    """What runs or has failed, the last that are done, and how many wait."""
    table = new_table("trial", "", "accuracy", wrap="accuracy")
    shown = [(name, one) for name, one in status.items() if one.state in ("running", "failed")]
    done = [(name, one) for name, one in status.items() if one.state == "done"]
    for name, one in (*done[-_DONE_SHOWN:], *shown):
        table.add_row(name, one.state, one.detail)
    waiting = sum(one.state == "waiting" for one in status.values())
    table.add_row(f"{len(done)} of {len(status)} done", "", f"{waiting} wait")
    return table


def print_sweep(results: Mapping[str, "TrialResult"], out: Path) -> None:
    """Print every trial's accuracy by task, and the fits that are next."""
    shown = new_console()
    tasks = sorted({task for one in results.values() for task in one.by_task})
    table = new_table("LLM", "compressor", "visual tokens", "seed", *tasks)
    for one in results.values():
        trial = one.trial
        accuracies = [
            f"{100 * one.by_task[task].accuracy_fraction:.1f} %" if task in one.by_task else "" for task in tasks
        ]
        table.add_row(trial.llm, str(trial.compressor), str(trial.visual_tokens), str(trial.seed), *accuracies)
    shown.print(table)
    trials, runs, points = (inert.argument(f"{out}/{name}") for name in ("trials", "runs.csv", "points.csv"))
    if not tasks:
        shown.print(f"Next: vlmplan fit {trials} --from lmms-eval --runs {runs}", soft_wrap=True)
    for task in tasks:
        law, plot = (inert.argument(f"{task}{ending}") for ending in (".toml", ".svg"))
        shown.print(f"Next: vlmplan fit {points} --task {quote(task)} --out {law} --plot {plot}", soft_wrap=True)


def print_study(study: "Study") -> None:
    """Print the choice, then a row an arm, what was asked, and what to mind."""
    shown, choice = new_console(), study.choice
    shown.print(f"{counted(study.question_count, 'question')} of {study.questions}, judged by {study.score}:",
                soft_wrap=True)  # fmt: skip
    shown.print(f"{'Take' if study.settled else 'Not settled; likeliest is'} {_served(study, choice)} with at most "
                f"{choice.limit} visual tokens: {_wrong(choice)} of 100 answers wrong.", style="bold")  # fmt: skip
    shown.print(f"It is the cheapest within {100 * study.tolerance_fraction:g} points of the best: asking everything "
                f"would say the same with {_whole_percent(study.probability_fraction)} (wished "
                f"{_whole_percent(study.confidence_fraction)}), more questions like these with "
                f"{_whole_percent(study.probability_of_more_fraction)}.")  # fmt: skip
    for name, limit in study.enough.items():
        shown.print(f"{name}: {limit} visual tokens are enough to keep what its most tokens score.")
    table = new_table("model", "at most", "asked", "wrong of 100", "foretold", "lost", "choice", wrap="model")
    for one in study.arms:
        table.add_row(
            _served(study, one).rpartition("/")[2], str(one.limit), str(one.questions), _wrong(one),
            f"{100 * one.expected_error_fraction:.0f}", _lost_of(one), _whole_percent(one.choice_fraction),
        )  # fmt: skip
    shown.print(table)
    weights = [one.answers_weight_fraction for one in study.arms]
    shown.print(f"Intervals hold {_whole_percent(study.interval_level_fraction)}. Foretold by {study.prior}; the "
                f"answers weigh {100 * min(weights):.0f} to {100 * max(weights):.0f} % beside that.")  # fmt: skip
    shown.print(f"{counted(study.requests, 'request')} made" + (f", {study.kept} kept from before" * bool(study.kept))
                + f"; asking everything takes {study.all_requests}.")  # fmt: skip
    for note in study.notes:
        shown.print(f"Mind: {note}.", soft_wrap=True)
    if study.failed:
        rest = f", and {len(study.failed) - 1} more" if len(study.failed) > 1 else ""
        shown.print(f"Warning: no answer: {study.failed[0]}{rest}.", soft_wrap=True)


def _served(study: "Study", arm: "StudiedArm") -> str:
    """A served model's name, with its host where several have one of that name."""
    hosts = {one.host for one in study.arms if one.served_model == arm.served_model}
    return arm.served_model if len(hosts) == 1 else f"{arm.served_model} at {arm.host}"


def _whole_percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _wrong(one: "StudiedArm") -> str:
    low, high = one.error_interval
    return f"{100 * one.error_fraction:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def _lost_of(one: "StudiedArm") -> str:
    low, high = one.lost_interval
    return "" if low == high else f"{100 * one.lost_fraction:.0f} ({100 * low:.0f} to {100 * high:.0f})"
