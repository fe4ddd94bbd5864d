"""Comparisons of devices -> terminal text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vlmplan.hardware import Basis
from vlmplan.planning import Comparison, DeviceChoice, Objective
from vlmplan.units import counted, format_seconds
from vlmplan.views.plan import shown_tokens
from vlmplan.views.service import rate_words
from vlmplan.views.text import (
    RESTS_ON,
    new_console,
    new_table,
    percent,
    print_unsure,
    shortened,
    time_range,
    warn,
)

if TYPE_CHECKING:
    from rich.console import Console

LEAST_WIDTH = 132  # of the whole view, whatever the terminal's: a device, figures and a model's name in one line
_BEST = {
    Objective.ERROR: "answers best",
    Objective.COST: "costs least",
    Objective.LATENCY: "answers fastest",
    Objective.MEMORY: "takes the least memory",
    Objective.SIZE: "does with the smallest model",
}
MOST_ROWS, MOST_REASONS, MOST_NAMES = 8, 2, 5  # of a screen: devices that meet the budget, and of those that do not


def _device(device: DeviceChoice) -> str:
    return f"{device.gpus} x {device.hardware}" if device.gpus and device.gpus > 1 else device.hardware


def _cost(device: DeviceChoice) -> str:
    """What 1,000 requests cost."""
    return "no price" if device.thousand_requests_price is None else f"{device.thousand_requests_price:.3g}"


def _paces(device: DeviceChoice) -> list[str]:
    """How long an answer takes and how many a second there are; under a load the 95th percentile, replicas and use."""
    service = device.service
    if service is None:
        return [format_seconds(device.latency_s or 0.0), f"{device.requests_per_s or 0.0:.3g}"]
    return [
        format_seconds(service.latency.p95_s) if service.latency else "",
        str(service.replicas),
        rate_words(service.gpu_rate_per_s),
        f"{100 * service.utilisation_fraction:.0f} %",
        f"{service.batch_in_flight or 0.0:.3g}",
        rate_words(service.knee_rate_per_s),
    ]


def _pace_names(meets: Sequence[DeviceChoice]) -> list[str]:
    """The names of those columns."""
    if all(device.service is None for device in meets):
        return ["latency", "requests/s"]
    return ["p95", "replicas", "a GPU", "used", "in flight", "knee"]


def _cells(device: DeviceChoice, priced: bool) -> list[str]:
    """One device's figures; ``priced`` adds what 1,000 requests cost."""
    cells = [_device(device), percent(device.predicted_error or 0.0), *_paces(device)]
    if priced:
        cells.append(_cost(device))
    return [*cells, str(device.visual_tokens)]


def _print_meeting(console: "Console", comparison: Comparison, meets: list[DeviceChoice]) -> None:
    """Print the devices that meet the budget; a model that is the same on all is named once."""
    names = {f"{device.model} {device.precision}" for device in meets}
    same = f", all with {names.pop()}" if len(names) == 1 else ""
    console.print(f"{len(meets)} of {len(comparison.devices)} devices meet the budget{same}", style="bold")
    priced = comparison.currency is not None
    columns = ["device", "error", *_pace_names(meets), *([f"{comparison.currency}/1000"] if priced else []), "tokens"]
    table = new_table(*columns, *([] if same else ["model"]), wrap="model")
    for device in meets:
        table.add_row(*_cells(device, priced), *([] if same else [f"{device.model} {device.precision}"]))
    console.print(table)


def _prices_line(comparison: Comparison, source: str | None = None) -> str:
    whose = f" ({source})" if source else ""
    service = next((device.service for device in comparison.devices if device.service), None)
    if service is not None:
        rate = rate_words(service.asked.rate_per_s)
        return f"Prices are of 1,000 requests at {rate}, on all replicas, idle or not{whose}."
    return f"Prices are of 1,000 requests at {comparison.workload.decoded_together} in flight on GPUs kept busy{whose}."


def print_comparison(comparison: Comparison, *, verbose: bool = False) -> None:
    """Print the devices that meet the budget, best first, and why the others do not."""
    meets = [device for device in comparison.devices if device.model]
    missing = [device for device in comparison.devices if not device.model]
    if not verbose:
        _print_brief(new_console(), comparison, meets, missing)
        return
    console = new_console(LEAST_WIDTH)
    _print_meeting(console, comparison, meets)
    if comparison.currency is not None:
        console.print(_prices_line(comparison, comparison.price_source))
    if missing:
        console.print()
        console.print("Do not meet it", style="bold")
        table = new_table("device", "why", wrap="why")
        for device in missing:
            table.add_row(device.hardware, device.reason or "")
        console.print(table)
    warn(console, comparison.warnings)


def _standing_out(comparison: Comparison, meets: Sequence[DeviceChoice]) -> Iterator[str]:
    """Yield the fastest and the cheapest device where the best is neither, with what each loses."""
    fastest = min(meets, key=lambda device: device.latency_s or 0.0)
    cheapest = min((device for device in meets if device.thousand_requests_price), default=None, key=_price)
    for name, device in (("Fastest", fastest), ("Cheapest", cheapest)):
        if device is not None and device is not meets[0]:
            cost = (
                f", {_cost(device)} {comparison.currency} for 1,000 requests" if device.thousand_requests_price else ""
            )
            model = "" if device.model == meets[0].model else f" with {(device.model or '').rpartition('/')[2]}"
            yield (
                f"{name}: {_device(device)}{model}, {format_seconds(device.latency_s or 0.0)} an answer, error "
                f"{percent(device.predicted_error or 0.0)}{cost}."
            )


def _named(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    return f"{', '.join(names[:most])}{f' and {len(names) - most} more' if len(names) > most else ''}"


def _price(device: DeviceChoice) -> float:
    return device.thousand_requests_price or 0.0


def _under_load(device: DeviceChoice) -> str:
    """How many replicas bear the load, and how; nothing without one."""
    service = device.service
    if service is None or service.latency is None:
        return ""
    return (
        f" {rate_words(service.asked.rate_per_s)} on {counted(service.replicas, 'replica')}: "
        f"{rate_words(service.gpu_rate_per_s)} a GPU, {100 * service.utilisation_fraction:.0f} % used, "
        f"{service.batch_in_flight or 0.0:.3g} in flight on each, p95 {format_seconds(service.latency.p95_s)}."
    )


def _verdict(comparison: Comparison, best: DeviceChoice) -> str:
    """The device that is best at what was asked for, in a sentence."""
    error, latency = best.predicted_error or 0.0, best.latency_s or 0.0
    low, high = best.error_interval or (error, error)
    within = "" if best.latency_interval_s is None else f" ({time_range(best.latency_interval_s)})"
    cost = f", {_cost(best)} {comparison.currency} for 1,000 requests" if best.thousand_requests_price else ""
    shown = shown_tokens(best.visual_tokens or 0, comparison.frames)
    return (
        f"{_device(best)} {_BEST[comparison.objective]}: {best.model} with {shown}, {best.precision}; error "
        f"{percent(error)} ({percent(low)} to {percent(high)}), {format_seconds(latency)} an answer{within}{cost}."
        f"{_under_load(best)}"
    )


def _print_rows(console: "Console", comparison: Comparison, meets: Sequence[DeviceChoice], most: int) -> None:
    """Print the first devices that meet the budget in a table, and how many more do.

    A model that stands in the row above is not named again: names are long, and fold in a narrow terminal.
    """
    priced, one_model = comparison.currency is not None, len({device.model for device in meets}) == 1
    logged = any(device.logged for device in meets)
    loaded = any(device.service for device in meets)
    columns = ["device", "error", *(["p95", "replicas", "used"] if loaded else ["latency"])]
    columns += [*([f"{comparison.currency}/1000"] if priced else []), "tokens"]
    columns += ["in time"] if logged else []
    table = new_table(*columns, *([] if one_model else ["model"]), wrap="model")
    shown = meets if len(meets) <= most + 1 else meets[:most]
    above = ""
    for device in shown:
        paces = _paces(device)
        cells = [
            _device(device),
            percent(device.predicted_error or 0.0),
            *([paces[0], paces[1], paces[3]] if loaded else paces[:1]),
        ]
        cells += [*([_cost(device)] if priced else []), str(device.visual_tokens)]
        cells += [f"{device.logged.kept} of {device.logged.requests}" if device.logged else ""] if logged else []
        name = (device.model or "").rpartition("/")[2]
        table.add_row(*cells, *([] if one_model else ["the same" if device.model == above else name]))
        above = device.model or ""
    console.print(table)
    if left := meets[len(shown) :]:
        worst = max(device.predicted_error or 0.0 for device in left)
        console.print(f"{len(left)} more with -v, of up to {percent(worst)} error.")


def _print_brief(
    console: "Console", comparison: Comparison, meets: Sequence[DeviceChoice], missing: Sequence[DeviceChoice]
) -> None:
    """Print the best device in a sentence, the first others, who does not meet the budget, and what is not sure."""
    console.print(_verdict(comparison, meets[0]), style="bold")
    for line in _standing_out(comparison, meets):
        console.print(line)
    first = "best" if comparison.objective is Objective.ERROR else f"least {comparison.objective}"
    console.print(f"{len(meets)} of {len(comparison.devices)} devices meet the budget, {first} first:")
    reasons = missing if len(missing) <= MOST_REASONS else []
    most = MOST_ROWS - len(reasons) - (3 if comparison.currency is not None else 0)  # prices take three lines more
    _print_rows(console, comparison, meets, most)
    for one in reasons:
        console.print(f"Not on {one.hardware}: {shortened(one.reason or '')}")
    if missing and not reasons:
        console.print(f"Not on {_named([one.hardware for one in missing], MOST_NAMES)}; -v says why.")
    if comparison.currency is not None:
        console.print(_prices_line(comparison))
    warnings = [one for one in comparison.warnings if not one.startswith("no price given for")]  # the table says it
    weakest = min((one.basis for one in meets if one.basis), key=list(Basis).index, default=Basis.DATASHEET)
    guessed = [one.hardware for one in meets if one.basis is weakest]
    whose = "all times rest" if len(guessed) == len(meets) else f"times of {_named(guessed, MOST_REASONS)} rest"
    level = f"intervals hold {100 * comparison.interval_level_fraction:g}%"
    print_unsure(console, f"{level}; {whose} on {RESTS_ON[weakest]}", warnings)
    console.print(
        "More: -v (all devices, requests a second, why others fall short), --json; one --hardware alone has its plan "
        "and command."
    )
