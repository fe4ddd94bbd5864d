"""Exports, reports and answers -> terminal text, and progress while they are made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.exporting import GRAPHS, Manifest
from vlmplan.models import Compressor
from vlmplan.proof import JUDGE, Outcome, Report
from vlmplan.units import format_bytes, format_image, format_seconds
from vlmplan.views.text import new_console, new_table, print_lines, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from vlmplan.exporting import Answer

_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.SKIPPED: "yellow"}


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (what, done, total) that shows bars with the time left on stderr, where that is a terminal."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    stderr = new_console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bars:

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(inert.terminal(what), total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell


def print_export(manifest: Manifest, out: Path) -> None:
    """Print what was written, and how to prove and use it."""
    shown = new_console()
    plural = "" if manifest.visual_tokens == 1 else "s"
    by = f" by {manifest.compressor}" if manifest.image is None else f" of an image of {format_image(manifest.image)}"
    reads = f"{manifest.visual_tokens} visual token{plural}{by}"
    shown.print(f"Exported {manifest.checkpoint} to {out}: {reads}, {manifest.precision}.", soft_wrap=True)
    rows = new_table("file", "size")
    for name in GRAPHS:
        size = sum(digest.size_bytes for file, digest in manifest.files.items() if file.startswith(name))
        rows.add_row(name, format_bytes(size))
    shown.print(rows)
    shown.print(f"Runs in: {', '.join(manifest.clients)}.")
    if manifest.random_weights:
        shown.print("Warning: the compressor's weights are random; its answers mean nothing.", style="yellow")
    if manifest.compressor is Compressor.AVERAGE_POOL:
        shown.print(
            "Warning: validate proves the export, not its answers: unless the checkpoint was trained for average "
            "pooling, fewer tokens cost accuracy.",
            style="yellow",
        )
    shown.print(f"Next: vlmplan validate {inert.argument(str(out))}", soft_wrap=True)


MOST_FAILED = 4  # checks that a screen spells out
TIMES = "latency"  # how the checks of times begin: their figures matter where they pass, too


def print_report(report: Report, *, verbose: bool = False) -> None:
    """Print the verdict, what failed, how fast it was and what is not proved; or every check with what it found."""
    (_print_whole_report if verbose else _print_brief_report)(new_console(), report)


def _verdict(report: Report) -> str:
    count, skipped = len(report.failed), report.counts[Outcome.SKIPPED]
    verdict = f"{count} of {len(report.checks)} checks failed" if count else "Good: nothing failed"
    verdict += f", {skipped} skipped" if skipped else ""
    return f"{verdict}, on {report.provider}, against {report.checkpoint}."


def _print_whole_report(shown: "Console", report: Report) -> None:
    """Print every check with what it found, and the verdict."""
    rows = new_table("", "check", "what was found", wrap="what was found")
    for check in report.checks:
        rows.add_row(check.outcome.value, check.name, check.detail, style=_STYLES[check.outcome])
    shown.print(rows)
    shown.print(_verdict(report), soft_wrap=True)
    for check in report.reservations:
        shown.print(f"Not proved, {check.name}: {check.detail}.")


def _print_brief_report(shown: "Console", report: Report) -> None:
    """Print the verdict first, then the checks that failed, what is not proved, the times, and the others by name."""
    shown.print(_verdict(report), style="bold red" if report.failed else "bold")
    for check in report.checks:
        if check.name == JUDGE and check.outcome is Outcome.PASSED:
            shown.print(f"Judged {check.detail}.")
    for check in report.failed[:MOST_FAILED]:
        shown.print(f"Failed, {check.name}: {shortened(check.detail)}")
    if len(report.failed) > MOST_FAILED:
        shown.print(f"Failed, too: {', '.join(check.name for check in report.failed[MOST_FAILED:])}.")
    for check in report.reservations:
        shown.print(f"Not proved, {check.name}: {check.detail}.")
    for check in report.checks:
        if check.outcome is Outcome.SKIPPED and check not in report.reservations:
            shown.print(f"Skipped, {check.name}: {shortened(check.detail)}")
        elif check.outcome is Outcome.PASSED and check.name.startswith(TIMES):
            shown.print(f"Passed, {check.name}: {shortened(check.detail)}")
    rest = [one.name for one in report.checks if one.outcome is Outcome.PASSED and not one.name.startswith(TIMES)]
    if rest:
        shown.print(f"Passed: {', '.join(rest)}.")
    shown.print("More: -v (what every check found), --junit FILE, --json.")


def print_answer(answer: "Answer") -> None:
    """Print the answer on stdout, its timings on stderr."""
    told = new_console(stderr=True)
    print_lines(new_console(), answer.text)
    if answer.baked_query is not None:
        told.print(f"The visual tokens were chosen for the baked question '{answer.baked_query}'.", soft_wrap=True)
    more = "" if answer.tpot_s is None else f", then {format_seconds(answer.tpot_s)} a token"
    told.print(
        f"{answer.prompt_tokens} tokens in ({answer.visual_tokens} visual), {answer.output_tokens} out; "
        f"TTFT {format_seconds(answer.ttft_s)} (vision {format_seconds(answer.vision_s)}, prefill "
        f"{format_seconds(answer.prefill_s)}){more}",
        soft_wrap=True,
    )
