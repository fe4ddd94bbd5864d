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


def _device(one: DeviceChoice) -> str:
    return f"{one.gpus} x {one.hardware}" if one.gpus and one.gpus > 1 else one.hardware


def _cost(one: DeviceChoice) -> str:
    """What 1,000 requests cost."""
    return "no price" if one.thousand_requests_price is None else f"{one.thousand_requests_price:.3g}"


def _paces(one: DeviceChoice) -> list[str]:
    """How long an answer takes and how many a second there are; under a load the 95th percentile, replicas and use."""
    found = one.service
    if found is None:
        return [format_seconds(one.latency_s or 0.0), f"{one.requests_per_s or 0.0:.3g}"]
    return [
        format_seconds(found.latency.p95_s) if found.latency else "",
        str(found.replicas),
        rate_words(found.gpu_rate_per_s),
        f"{100 * found.utilisation_fraction:.0f} %",
        f"{found.batch_in_flight or 0.0:.3g}",
        rate_words(found.knee_rate_per_s),
    ]


def _pace_names(meets: Sequence[DeviceChoice]) -> list[str]:
    """The names of those columns."""
    if all(one.service is None for one in meets):
        return ["latency", "requests/s"]
    return ["p95", "replicas", "a GPU", "used", "in flight", "knee"]


def _cells(one: DeviceChoice, priced: bool) -> list[str]:
    """One device's figures; ``priced`` adds what 1,000 requests cost."""
    found = [_device(one), percent(one.predicted_error or 0.0), *_paces(one)]
    if priced:
        found.append(_cost(one))
    return [*found, str(one.visual_tokens)]


def _print_meeting(console: "Console", found: Comparison, meets: list[DeviceChoice]) -> None:
    """Print the devices that meet the budget; a model that is the same on all is named once."""
    names = {f"{one.model} {one.precision}" for one in meets}
    same = f", all with {names.pop()}" if len(names) == 1 else ""
    console.print(f"{len(meets)} of {len(found.devices)} devices meet the budget{same}", style="bold")
    priced = found.currency is not None
    columns = ["device", "error", *_pace_names(meets), *([f"{found.currency}/1000"] if priced else []), "tokens"]
    table = new_table(*columns, *([] if same else ["model"]), wrap="model")
    for one in meets:
        table.add_row(*_cells(one, priced), *([] if same else [f"{one.model} {one.precision}"]))
    console.print(table)


def _prices_line(found: Comparison, source: str | None = None) -> str:
    whose = f" ({source})" if source else ""
    service = next((one.service for one in found.devices if one.service), None)
    if service is not None:
        rate = rate_words(service.asked.rate_per_s)
        return f"Prices are of 1,000 requests at {rate}, on all replicas, idle or not{whose}."
    return f"Prices are of 1,000 requests at {found.workload.decoded_together} in flight on GPUs kept busy{whose}."


def print_comparison(found: Comparison, *, verbose: bool = False) -> None:
    """Print the devices that meet the budget, best first, and why the others do not."""
    meets = [one for one in found.devices if one.model]
    missing = [one for one in found.devices if not one.model]
    if not verbose:
        _print_brief(new_console(), found, meets, missing)
        return
    console = new_console(LEAST_WIDTH)
    _print_meeting(console, found, meets)
    if found.currency is not None:
        console.print(_prices_line(found, found.price_source))
    if missing:
        console.print()
        console.print("Do not meet it", style="bold")
        table = new_table("device", "why", wrap="why")
        for one in missing:
            table.add_row(one.hardware, one.reason or "")
        console.print(table)
    warn(console, found.warnings)


def _standing_out(found: Comparison, meets: Sequence[DeviceChoice]) -> Iterator[str]:
    """Yield the fastest and the cheapest device where the best is neither, with what each loses."""
    fastest = min(meets, key=lambda one: one.latency_s or 0.0)
    cheapest = min((one for one in meets if one.thousand_requests_price), default=None, key=_price)
    for name, one in (("Fastest", fastest), ("Cheapest", cheapest)):
        if one is not None and one is not meets[0]:
            cost = f", {_cost(one)} {found.currency} for 1,000 requests" if one.thousand_requests_price else ""
            model = "" if one.model == meets[0].model else f" with {(one.model or '').rpartition('/')[2]}"
            yield (
                f"{name}: {_device(one)}{model}, {format_seconds(one.latency_s or 0.0)} an answer, error "
                f"{percent(one.predicted_error or 0.0)}{cost}."
            )


def _named(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    return f"{', '.join(names[:most])}{f' and {len(names) - most} more' if len(names) > most else ''}"


def _price(one: DeviceChoice) -> float:
    return one.thousand_requests_price or 0.0


def _under_load(one: DeviceChoice) -> str:
    """How many replicas bear the load, and how; nothing without one."""
    found = one.service
    if found is None or found.latency is None:
        return ""
    return (
        f" {rate_words(found.asked.rate_per_s)} on {counted(found.replicas, 'replica')}: "
        f"{rate_words(found.gpu_rate_per_s)} a GPU, {100 * found.utilisation_fraction:.0f} % used, "
        f"{found.batch_in_flight or 0.0:.3g} in flight on each, p95 {format_seconds(found.latency.p95_s)}."
    )


def _verdict(found: Comparison, best: DeviceChoice) -> str:
    """The device that is best at what was asked for, in a sentence."""
    error, latency = best.predicted_error or 0.0, best.latency_s or 0.0
    low, high = best.error_interval or (error, error)
    within = "" if best.latency_interval_s is None else f" ({time_range(best.latency_interval_s)})"
    cost = f", {_cost(best)} {found.currency} for 1,000 requests" if best.thousand_requests_price else ""
    shown = shown_tokens(best.visual_tokens or 0, found.frames)
    return (
        f"{_device(best)} {_BEST[found.objective]}: {best.model} with {shown}, {best.precision}; error "
        f"{percent(error)} ({percent(low)} to {percent(high)}), {format_seconds(latency)} an answer{within}{cost}."
        f"{_under_load(best)}"
    )


def _print_rows(console: "Console", found: Comparison, meets: Sequence[DeviceChoice], most: int) -> None:
    """Print the first devices that meet the budget in a table, and how many more do.

    A model that stands in the row above is not named again: names are long, and fold in a narrow terminal.
    """
    priced, one_model = found.currency is not None, len({one.model for one in meets}) == 1
    logged = any(one.logged for one in meets)
    loaded = any(one.service for one in meets)
    columns = ["device", "error", *(["p95", "replicas", "used"] if loaded else ["latency"])]
    columns += [*([f"{found.currency}/1000"] if priced else []), "tokens"]
    columns += ["in time"] if logged else []
    table = new_table(*columns, *([] if one_model else ["model"]), wrap="model")
    shown = meets if len(meets) <= most + 1 else meets[:most]
    above = ""
    for one in shown:
        paces = _paces(one)
        cells = [
            _device(one),
            percent(one.predicted_error or 0.0),
            *([paces[0], paces[1], paces[3]] if loaded else paces[:1]),
        ]
        cells += [*([_cost(one)] if priced else []), str(one.visual_tokens)]
        cells += [f"{one.logged.kept} of {one.logged.requests}" if one.logged else ""] if logged else []
        name = (one.model or "").rpartition("/")[2]
        table.add_row(*cells, *([] if one_model else ["the same" if one.model == above else name]))
        above = one.model or ""
    console.print(table)
    if left := meets[len(shown) :]:
        worst = max(one.predicted_error or 0.0 for one in left)
        console.print(f"{len(left)} more with -v, of up to {percent(worst)} error.")


def _print_brief(
    console: "Console", found: Comparison, meets: Sequence[DeviceChoice], missing: Sequence[DeviceChoice]
) -> None:
    """Print the best device in a sentence, the first others, who does not meet the budget, and what is not sure."""
    console.print(_verdict(found, meets[0]), style="bold")
    for line in _standing_out(found, meets):
        console.print(line)
    first = "best" if found.objective is Objective.ERROR else f"least {found.objective}"
    console.print(f"{len(meets)} of {len(found.devices)} devices meet the budget, {first} first:")
    reasons = missing if len(missing) <= MOST_REASONS else []
    most = MOST_ROWS - len(reasons) - (3 if found.currency is not None else 0)  # prices take three lines more
    _print_rows(console, found, meets, most)
    for one in reasons:
        console.print(f"Not on {one.hardware}: {shortened(one.reason or '')}")
    if missing and not reasons:
        console.print(f"Not on {_named([one.hardware for one in missing], MOST_NAMES)}; -v says why.")
    if found.currency is not None:
        console.print(_prices_line(found))
    warnings = [one for one in found.warnings if not one.startswith("no price given for")]  # the table says it
    weakest = min((one.basis for one in meets if one.basis), key=list(Basis).index, default=Basis.DATASHEET)
    guessed = [one.hardware for one in meets if one.basis is weakest]
    whose = "all times rest" if len(guessed) == len(meets) else f"times of {_named(guessed, MOST_REASONS)} rest"
    print_unsure(
        console, f"intervals hold {100 * found.interval_level_fraction:g}%; {whose} on {RESTS_ON[weakest]}", warnings
    )  # fmt: skip
    console.print(
        "More: -v (all devices, requests a second, why others fall short), --json; one --hardware alone has its plan "
        "and command."
    )
