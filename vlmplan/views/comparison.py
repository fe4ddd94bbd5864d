"""Comparisons of devices -> terminal text."""

from typing import TYPE_CHECKING

from vlmplan.planning import Comparison, DeviceChoice
from vlmplan.units import format_seconds
from vlmplan.views.text import new_console, new_table, percent, warn

if TYPE_CHECKING:
    from rich.console import Console

LEAST_WIDTH = 132  # whatever the terminal's: a device, its figures and a model's name stand in one line


def _cells(one: DeviceChoice, priced: bool) -> list[str]:
    """One device's figures; ``priced`` adds what 1,000 requests cost."""
    gpus = f"{one.gpus} x " if one.gpus and one.gpus > 1 else ""
    found = [
        f"{gpus}{one.hardware}",
        percent(one.predicted_error or 0.0),
        format_seconds(one.latency_s or 0.0),
        f"{one.requests_per_s or 0.0:.3g}",
    ]
    if priced:
        cost = one.thousand_requests_price
        found.append("no price" if cost is None else f"{cost:.3g}")
    return [*found, str(one.visual_tokens)]


def _print_meeting(console: "Console", found: Comparison, meets: list[DeviceChoice]) -> None:
    """Print the devices that meet the budget; a model that is the same on all is named once."""
    names = {f"{one.model} {one.precision}" for one in meets}
    same = f", all with {names.pop()}" if len(names) == 1 else ""
    console.print(f"{len(meets)} of {len(found.devices)} devices meet the budget{same}", style="bold")
    priced = found.currency is not None
    columns = ["device", "error", "latency", "requests/s", *([f"{found.currency}/1000"] if priced else []), "tokens"]
    table = new_table(*columns, *([] if same else ["model"]), wrap="model")
    for one in meets:
        table.add_row(*_cells(one, priced), *([] if same else [f"{one.model} {one.precision}"]))
    console.print(table)


def print_comparison(found: Comparison) -> None:
    """Print the devices that meet the budget, best first, and why the others do not."""
    console = new_console(LEAST_WIDTH)
    _print_meeting(console, found, [one for one in found.devices if one.model])
    if found.currency is not None:
        source = f" ({found.price_source})" if found.price_source else ""
        console.print(
            f"Prices are of 1,000 requests at {found.workload.decoded_together} in flight on GPUs kept busy{source}."
        )
    missing = [one for one in found.devices if not one.model]
    if missing:
        console.print()
        console.print("Do not meet it", style="bold")
        table = new_table("device", "why", wrap="why")
        for one in missing:
            table.add_row(one.hardware, one.reason or "")
        console.print(table)
    warn(console, found.warnings)
