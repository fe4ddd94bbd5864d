"""Profiles, checks and adjustments -> terminal text."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.hardware import Calibration, HardwareProfile, Kind
from vlmplan.measuring import Adjusted
from vlmplan.units import counted, format_seconds
from vlmplan.views.text import new_console, new_table, print_unsure, tokens

if TYPE_CHECKING:
    from rich.console import Console

    from vlmplan.measuring import Case, CaseTime, Profiled, Verdict


@contextmanager
def measuring() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (what, done, total) that shows one bar with the time left; off a terminal, a line a step."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    stderr = new_console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bars:
        task, said = bars.add_task("starting", total=None), ""

        def tell(what: str, done: int, total: int) -> None:
            nonlocal said
            bars.update(task, description=inert.terminal(what), completed=done, total=total)
            if what != said and not stderr.is_terminal:
                stderr.print(f"{what} ({100 * done // max(1, total)} % done)", soft_wrap=True)
            said = what

        yield tell


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"


def print_profiled(profiled: "Profiled", *, verbose: bool = False) -> None:
    """Print what the machine reaches, how well that explains the measurements, and what to do with it."""
    shown, hardware, out = new_console(), profiled.hardware, profiled.out
    used = hardware.calibration[0]
    if verbose:
        shown.print(f"Measured {hardware.title} with {used.runtime} on {used.date}.", soft_wrap=True)
    else:
        shown.print(
            f"Measured {hardware.title} with {used.runtime} on {used.date}: {_explained(profiled)}.", style="bold"
        )
    rows = new_table("precision", "linear layers", "bandwidth", "overhead a call", "a layer")
    for one in hardware.calibration:
        rows.add_row(*_reached(hardware, one))
    shown.print(rows)
    images = hardware.calibration[0].preprocess
    if images is not None:
        shown.print(
            f"An image takes {1e9 * images.sent_px_s:.3g} ms a megapixel sent and {1e9 * images.seen_px_s:.3g} a "
            "megapixel seen before the vision tower has it."
        )
    if verbose:
        shown.print()
        _print_errors(shown, profiled)
    else:
        name, (_, _, worst) = max(profiled.errors.items(), key=lambda one: one[1][2])
        first = f"least sure is {name}, off by {worst:.1%} (median) at a width or tower that was left out"
        print_unsure(shown, first, profiled.warnings)
        shown.print("More: -v (errors by precision and part), --check (requests never seen), --json.")
    shown.print(f"Wrote {out}. Next: vlmplan recommend --hardware {inert.argument(str(out))}", soft_wrap=True)


def _explained(profiled: "Profiled") -> str:
    """How far what was fitted is off, of the times it was fitted on and of those left out, in words."""
    count = sum(count for count, _, _ in profiled.errors.values())
    insides, outsides = ([one[at] for one in profiled.errors.values()] for at in (1, 2))
    return (
        f"its {counted(count, 'time')} are explained to {_between(insides)}, those of widths and towers left out to "
        f"{_between(outsides)} (medians)"
    )


def _between(fractions: Sequence[float]) -> str:
    low, high = f"{min(fractions):.1%}", f"{max(fractions):.1%}"
    return low if low == high else f"{low} to {high}"


def _print_errors(shown: "Console", profiled: "Profiled") -> None:
    """Print by precision and part how far predictions are off, and the warnings."""
    table = new_table("measured", "times", "error", "width left out")
    for name, (count, inside, outside) in profiled.errors.items():
        table.add_row(name, str(count), f"{inside:.1%}", f"{outside:.1%}")
    shown.print(table)
    shown.print("Errors are medians; 'left out': predicted without that width or tower.")
    for warning in profiled.warnings:
        shown.print(f"Warning: {warning}.", style="yellow", soft_wrap=True)


def _reached(hardware: HardwareProfile, calibration: Calibration) -> tuple[str, ...]:
    linear = calibration.operators[Kind.LINEAR]
    peak = next(iter(hardware.peak_flops_per_s.values()))
    return (
        calibration.precision.value,
        f"{linear.compute_fraction * peak / 1e12:.3g} TFLOP/s",
        f"{linear.memory_fraction * hardware.bandwidth_bytes_per_s / 1e9:.3g} GB/s",
        format_seconds(calibration.overhead_per_call_s),
        format_seconds(calibration.overhead_per_layer_s),
    )


_TABLE_WIDTH = 100  # of the check's table, whatever the terminal's


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def print_verdict(verdict: "Verdict", *, verbose: bool = False) -> None:
    """Print whether the profile holds and by how much; or every case predicted and measured, and their sums."""
    if verbose:
        _print_cases(verdict)
    else:
        _print_brief_verdict(new_console(), verdict)


def _print_brief_verdict(shown: "Console", verdict: "Verdict") -> None:
    holds = "The profile does not hold" if verdict.faults else "The profile holds"
    requests = counted(len({row.case for row in verdict.rows}), "request")
    good = f"good is up to {verdict.most_error_fraction:.1%}"
    shown.print(
        f"{holds}: {counted(len(verdict.rows), 'time')} of {requests} it never saw are predicted to "
        f"{verdict.median_error_fraction:.1%} (median; {good}).",
        style="bold",
    )
    for fault in verdict.faults:
        shown.print(f"Falls short: {fault}.")
    by_quantity = ", ".join(f"{name} {error:.1%}" for name, error in _by_quantity(verdict))
    shown.print(f"Median error: {by_quantity}; of measuring again {verdict.repeat_error_fraction:.1%}.")
    shown.print(
        f"80 % intervals hold {verdict.held_fraction:.0%} of the times (good: 65 % to 95 %); median width "
        f"{verdict.width_fraction:.0%} (good: up to 40 %)."
    )
    worst = max(verdict.rows, key=lambda row: abs(row.error_fraction))
    network = worst.case.network
    shown.print(
        f"Worst: {worst.quantity} of an LLM of {network.width.hidden}x{network.layers} (width x layers) with "
        f"{tokens(network.visual_tokens)}: predicted {format_seconds(worst.predicted_s)}, found "
        f"{format_seconds(worst.measured_s)} ({_percent(worst.error_fraction)})."
    )
    shown.print("More: -v (every request, predicted and found; the interval score), --json.")


def _print_cases(verdict: "Verdict") -> None:
    shown = new_console(_TABLE_WIDTH)
    by_case: dict[Case, list[CaseTime]] = {}
    for row in verdict.rows:
        by_case.setdefault(row.case, []).append(row)
    rows = new_table("LLM", "tower", "tokens by", "V", "Q/n/b", "TTFT ms", "found", "off", "TPOT ms", "found", "off")
    for case, times in by_case.items():
        network = case.network
        cells = [
            f"{network.width.hidden}x{network.layers}",
            f"{network.tower.hidden}x{network.tower.layers}",
            network.compressor.rpartition("-")[2],
            str(network.visual_tokens),
            f"{case.text_tokens}/{case.output_tokens}/{case.batch}",
        ]
        for one in times:
            mark = "" if one.held else "*"
            cells += [_milliseconds(one.predicted_s), _milliseconds(one.measured_s)]
            cells.append(f"{100 * one.error_fraction:+.0f}%{mark}")
        rows.add_row(*cells, style=None if all(one.held for one in times) else "yellow")
    shown.print(rows)
    shown.print(
        "LLM and tower: width x layers; V visual tokens, Q of text, n out, b batch; predicted, found, and by how much "
        "the prediction is off. *: outside the 80 % interval."
    )
    print_summary(verdict, shown)


def print_summary(verdict: "Verdict", shown: "Console") -> None:
    """Print what the rows add up to."""
    count = len({row.case for row in verdict.rows})
    table = new_table("over all rows", "found", "good")
    table.add_row("requests, times", f"{count}, {len(verdict.rows)}", "")
    for name, error in _by_quantity(verdict):
        table.add_row(f"median error, {name}", f"{error:.1%}", "")
    table.add_row("median error", f"{verdict.median_error_fraction:.1%}", f"<= {verdict.most_error_fraction:.1%}")
    table.add_row("median error of measuring again", f"{verdict.repeat_error_fraction:.1%}", "")
    table.add_row("80 % intervals hold", f"{verdict.held_fraction:.0%}", "65 % to 95 %")
    table.add_row("median interval width", f"{verdict.width_fraction:.0%}", "<= 40 %")
    table.add_row(
        "mean interval score",
        f"{verdict.interval_score:.3f}",
        f"< {verdict.constant_score:.3f}, a constant {verdict.constant_fraction:.0%}",
    )
    shown.print(table)
    shown.print("The profile holds." if not verdict.faults else "The profile does not hold.")


def _by_quantity(verdict: "Verdict") -> list[tuple[str, float]]:
    quantities = dict.fromkeys(row.quantity for row in verdict.rows)
    return [
        (one.value, median(abs(row.error_fraction) for row in verdict.rows if row.quantity is one))
        for one in quantities
    ]


MOST_ROWS, MOST_NOTES = 8, 3  # of measurements, and of what was left out of them, that a screen lists


def _off(before_s: float, measured_s: float) -> float:
    return before_s / measured_s - 1


def print_adjusted(adjusted: Adjusted, out: Path, *, verbose: bool = False) -> None:
    """Print how far predictions were off before and are now, then measurements beside theirs, the farthest off first.

    ``verbose`` prints every measurement, as they came.
    """
    shown, compared = new_console(), adjusted.compared
    if not verbose:
        before, left_out = (
            median(abs(_off(getattr(row, name), row.observation.measured_s)) for row in compared)
            for name in ("before_s", "left_out_s")
        )
        shown.print(
            f"{adjusted.hardware.title} by {counted(len(compared), 'measurement')}: predictions were off by "
            f"{before:.1%} (median) before, and are off by {left_out:.1%} for one that was left out.",
            style="bold",
        )
        compared = tuple(sorted(compared, key=lambda row: -abs(_off(row.left_out_s, row.observation.measured_s))))
        compared = compared[:MOST_ROWS]
    rows = new_table("measured at", "", "time", "before", "error", "left out", "error")
    for row in compared:
        measured_s = row.observation.measured_s
        rows.add_row(
            row.observation.group,
            row.observation.quantity.value,
            format_seconds(measured_s),
            format_seconds(row.before_s),
            _percent(_off(row.before_s, measured_s)),
            format_seconds(row.left_out_s),
            _percent(_off(row.left_out_s, measured_s)),
        )
    shown.print(rows)
    shown.print("'before': by the profile as it was; 'left out': by the adjusted one without that row.")
    for note in adjusted.notes if verbose else adjusted.notes[:MOST_NOTES]:
        shown.print(f"Note: {note}.", soft_wrap=True)
    if not verbose:
        rest = len(adjusted.compared) - len(compared)
        every = f"the other {counted(rest, 'measurement')}, and all as they came" if rest else "all as they came"
        shown.print(f"More: -v ({every}), --json.")
    shown.print(f"Wrote {out}. Next: vlmplan recommend --hardware {inert.argument(str(out))}", soft_wrap=True)
