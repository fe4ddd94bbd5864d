"""Comparisons of devices -> terminal text. With the other ``render`` modules, the only user of rich."""

from vlmplan.compare import Comparison, DeviceChoice
from vlmplan.render import new_console, new_table, percent
from vlmplan.units import format_seconds

REASON_WIDTH = 90


def _cells(one: DeviceChoice, priced: bool) -> list[str]:
    """One device in a line; ``priced`` adds what 1,000 requests cost."""
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
    return [*found, str(one.visual_tokens), f"{one.model} {one.precision}"]


def print_comparison(found: Comparison) -> None:
    """Print the devices that meet the budget, best first, and why the others do not."""
    console, priced = new_console(), found.currency is not None
    meets = [one for one in found.devices if one.model]
    console.print(f"{len(meets)} of {len(found.devices)} devices meet the budget", style="bold")
    columns = ["device", "error", "latency", "requests/s"]
    columns += [f"{found.currency}/1000"] if priced else []
    table = new_table(*columns, "tokens", "model", wrap="model")
    for one in meets:
        table.add_row(*_cells(one, priced))
    console.print(table)
    console.print()
    if priced:
        source = f" ({found.price_source})" if found.price_source else ""
        console.print(
            f"Prices are of 1,000 requests at {found.workload.decoded_together} in flight on GPUs kept busy{source}."
        )
    if len(meets) < len(found.devices):
        console.print("Do not meet it", style="bold")
        table = new_table("device", "why", wrap="why")
        for one in found.devices:
            if not one.model:
                table.add_row(one.hardware, one.reason or "")
        console.print(table)
    for warning in found.warnings:
        console.print(f"Warning: {warning}.", style="yellow")
