"""Profiles, checks and adjustments -> terminal text."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.hardware import Calibration, HardwareProfile, Kind
from vlmplan.measuring import Adjusted
from vlmplan.models import Compressor
from vlmplan.units import format_seconds
from vlmplan.views.text import new_console, new_table

if TYPE_CHECKING:
    from rich.console import Console

    from vlmplan.measuring import Case, Profiled, Row, Verdict


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


def print_profiled(profiled: "Profiled") -> None:
    """Print what the machine reaches, how well that explains the measurements, and what to do with it."""
    shown, hardware, out = new_console(), profiled.hardware, profiled.out
    used = hardware.calibration[0]
    shown.print(f"Measured {hardware.title} with {used.runtime} on {used.date}.", soft_wrap=True)
    rows = new_table("precision", "linear layers", "bandwidth", "overhead a call", "a layer")
    for one in hardware.calibration:
        rows.add_row(*_reached(hardware, one))
    shown.print(rows)
    shown.print()
    table = new_table("measured", "times", "error", "width left out")
    for name, (count, inside, outside) in profiled.errors.items():
        table.add_row(name, str(count), f"{inside:.1%}", f"{outside:.1%}")
    shown.print(table)
    shown.print("Errors are medians; 'left out': predicted without that width or tower.")
    for warning in profiled.warnings:
        shown.print(f"Warning: {warning}.", style="yellow", soft_wrap=True)
    shown.print(f"Wrote {out}. Next: vlmplan recommend --hardware {inert.argument(str(out))} ...", soft_wrap=True)


def _reached(hardware: HardwareProfile, one: Calibration) -> tuple[str, ...]:
    linear = one.operators[Kind.LINEAR]
    peak = next(iter(hardware.peak_flops_per_s.values()))
    return (
        one.precision.value,
        f"{linear.compute_fraction * peak / 1e12:.3g} TFLOP/s",
        f"{linear.memory_fraction * hardware.bandwidth_bytes_per_s / 1e9:.3g} GB/s",
        format_seconds(one.overhead_per_call_s),
        format_seconds(one.overhead_per_layer_s),
    )


_TABLE_WIDTH = 100  # of the check's table, whatever the terminal's
_SHORT = {
    Compressor.NONE: "none",
    Compressor.AVERAGE_POOL: "pool",
    Compressor.PIXEL_SHUFFLE: "shuffle",
    Compressor.TOKEN_PACKER: "packer",
    Compressor.QUECC: "quecc",
}


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def print_verdict(verdict: "Verdict") -> None:
    """Print every case predicted and measured, and what they add up to."""
    shown = new_console(_TABLE_WIDTH)
    by_case: dict[Case, list[Row]] = {}
    for row in verdict.rows:
        by_case.setdefault(row.case, []).append(row)
    rows = new_table("LLM", "tower", "tokens by", "V", "Q/n/b", "TTFT ms", "found", "off", "TPOT ms", "found", "off")
    for case, times in by_case.items():
        network = case.network
        cells = [
            f"{network.width.hidden}x{network.layers}",
            f"{network.tower.hidden}x{network.tower.layers}",
            _SHORT[network.compressor],
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
    for name, found in _by_quantity(verdict):
        table.add_row(f"median error, {name}", f"{found:.1%}", "")
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
    from statistics import median

    quantities = dict.fromkeys(row.quantity for row in verdict.rows)
    return [
        (one.value, median(abs(row.error_fraction) for row in verdict.rows if row.quantity is one))
        for one in quantities
    ]


def print_adjusted(found: Adjusted, out: Path) -> None:
    """Print every measurement beside its prediction before, and by a fit without it."""
    shown = new_console()
    rows = new_table("measured at", "", "time", "before", "error", "left out", "error")
    for one in found.compared:
        measured_s = one.observation.measured_s
        rows.add_row(
            one.observation.group,
            one.observation.quantity.value,
            format_seconds(measured_s),
            format_seconds(one.before_s),
            _percent(one.before_s / measured_s - 1),
            format_seconds(one.left_out_s),
            _percent(one.left_out_s / measured_s - 1),
        )
    shown.print(rows)
    shown.print("'before': by the profile as it was; 'left out': by the adjusted one without that row.")
    shown.print(f"Wrote {out}. Next: vlmplan recommend --hardware {inert.argument(str(out))} ...", soft_wrap=True)
