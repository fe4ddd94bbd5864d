"""The demo -> terminal text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.proof import MACHINE, Held, Outcome, held
from vlmplan.units import format_seconds
from vlmplan.views.text import new_console, new_table, print_lines, time_range, tokens

if TYPE_CHECKING:
    from rich.table import Table

    from vlmplan.proof import Shown

_ASKED = "--task reasoning --text-tokens 50 --output-tokens 32"
_NEXT = f"""
On this machine, by what was just measured:
  vlmplan recommend --hardware %s
On your own GPU, with ONNX Runtime for it (extra deploy-gpu):
  vlmplan profile --device cuda:0 --out my-gpu.toml
  vlmplan recommend --hardware my-gpu.toml --runtime onnxruntime --latency 2s {_ASKED}
Or for a device of the catalogue, now:
  vlmplan recommend --hardware l4 --latency 1s {_ASKED}"""


def _steps(shown: "Shown") -> list[str]:
    plan, report = shown.plan, shown.report
    counts = report.counts
    whole = plan.model.image.tokens_per_view if plan.model.image else 0
    reads = f"{tokens(plan.choice.visual_tokens)} by {plan.choice.compressor}"
    return [
        f"1. profile    {shown.hardware.title}, measured with ONNX Runtime",
        f"2. recommend  {reads}, of {whole}, within {format_seconds(plan.budget.latency_s or 0.0)} a request",
        f"3. export     {len(shown.export.files)} files in {shown.exported}",
        f"4. validate   {counts[Outcome.PASSED]} checks passed, {counts[Outcome.FAILED]} failed, "
        f"{counts[Outcome.SKIPPED]} skipped",
    ]


def _times(rows: Sequence[Held]) -> "Table":
    table = new_table("", "predicted", "interval", "measured", "off by")
    for row in rows:
        off = f"{100 * (row.measured_s / row.predicted_s - 1):+.0f} %"
        times = (format_seconds(row.predicted_s), time_range(row.interval_s), format_seconds(row.measured_s))
        table.add_row(row.name, *times, off)
    return table


def print_demo(shown: "Shown") -> None:
    """Print what each step found, predicted against measured times, and what to run next."""
    console, rows = new_console(), held(shown.report, shown.plan)
    console.print(
        "The whole chain on this machine. The checkpoint's weights are random: its answers mean nothing.", style="bold"
    )
    for line in _steps(shown):
        console.print(line, soft_wrap=True)
    console.print()
    console.print(_times(rows))
    missed = ", ".join(row.name for row in rows if not row.inside)
    if missed:
        console.print(
            f"Outside its interval: {missed}. Is the machine as busy as when it was measured? A profile without "
            "--quick takes longer and says more.",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    for check in shown.report.failed:
        console.print(f"Failed: {check.name}: {check.detail}", style="bold red", soft_wrap=True)
    print_lines(console, _NEXT % inert.argument(str(shown.folder / MACHINE)))
