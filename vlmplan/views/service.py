"""A service under load -> terminal text: replicas, how busy they are, what requests see, the load curve."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vlmplan.cost import BEYOND_S, Percentiles, Service
from vlmplan.planning import bears_not
from vlmplan.units import counted, format_seconds
from vlmplan.views.text import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def rate_words(rate_per_s: float) -> str:
    """Return a rate as words: 20/s, or by the minute or the hour where it is below one a second."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if (rate := rate_per_s * seconds) >= 1 or unit == "h":
            return f"{rate:,.0f}/{unit}" if rate >= 1000 else f"{rate:.3g}/{unit}"
    raise AssertionError


def _end(seconds: float) -> str:
    return "no end" if seconds >= BEYOND_S else format_seconds(seconds)


def _percentiles(name: str, found: Percentiles) -> str:
    low, high = found.p95_interval_s
    return (
        f"{name} p50 {format_seconds(found.p50_s)}, p95 {format_seconds(found.p95_s)} ({_end(low)} to {_end(high)}), "
        f"p99 {format_seconds(found.p99_s)}"
    )


def _replicas(found: Service) -> str:
    """How many replicas, and why as many."""
    count, median, least = found.replicas, found.median_replicas, found.least_replicas
    asked = found.asked.replicas is not None
    told = counted(count, "replica")
    if found.asked.limits and least is None:
        by = "for sure" if median is not None else "at all"
        return f"{told}; no number of them keeps the limits {by}: a request alone takes longer"
    if least is not None and least > count:
        hold = "keep the limits" if found.asked.limits else "bear it for sure"
        return f"{told}; {least} {hold}, by the times' intervals"
    if asked and least is not None and least < count:
        return f"{told}; {least} would do"
    if median is not None and median < count:
        return f"{told} ({median} where times are as predicted, not as long as they may be)"
    return told


def service_lines(found: Service) -> Iterator[str]:
    """Yield what the load takes: replicas, their use, what requests see, what one replica bears, what tokens cost."""
    rate, each = rate_words(found.asked.rate_per_s), found.asked.rate_per_s / found.replicas
    low, high = found.capacity_interval_per_s
    bears = f"{rate_words(found.capacity_per_s)} ({rate_words(low)} to {rate_words(high)})"
    by = ", which its host sets, one image after another" if found.by_host else ""
    if not found.stable:
        least = "no number of replicas keeps the limits" if found.least_replicas is None else (
            f"the least that hold are {found.least_replicas}"
            + (f" ({found.median_replicas} by the medians)" if found.median_replicas != found.least_replicas else "")
        )  # fmt: skip
        yield (
            f"Load: unstable: {rate} on {counted(found.replicas, 'replica')} is "
            f"{100 * found.utilisation_fraction:.0f} % of what they bear, {bears} "
            f"each{by}; the queue grows without end; {least}."
        )
        return
    flight = found.batch_in_flight or 0.0
    as_logged = f", of the sizes of {counted(found.sizes, 'logged request')}" if found.sizes else ""
    yield (
        f"Load: {rate}{as_logged} on {_replicas(found)}: {rate_words(found.gpu_rate_per_s)} a GPU, {flight:.3g} in "
        f"flight on each, utilisation {100 * found.utilisation_fraction:.0f} % of the {bears} that one bears{by}."
    )
    seen = [("latency", found.latency), ("TTFT", found.ttft), ("TPOT", found.tpot)]
    yield f"Under load: {'; '.join(_percentiles(name, one) for name, one in seen if one is not None)}."
    if found.asked.limits:
        goodput = rate_words(found.goodput_per_s or 0.0)
        yield f"Goodput: {goodput} keep the limits ({100 * (found.kept_fraction or 0.0):.1f} % by the medians)."
    beyond = "beyond" if each > found.knee_rate_per_s else "below"
    yield f"Knee: {rate_words(found.knee_rate_per_s)} a replica; {rate_words(each)} is {beyond} it."
    if found.fewer_tokens:
        told = ", ".join(
            f"{one.visual_tokens} raise it {one.capacity_per_s / found.capacity_per_s:.2f} times to "
            f"{rate_words(one.capacity_per_s)}"
            for one in found.fewer_tokens
        )
        yield f"Fewer visual tokens: of what a replica bears, {told}."


def overload_words(found: Service) -> str:
    """Return that a rate is more than replicas bear, and what to do, in a line."""
    least = found.least_replicas
    what = "a lower --rate, or wider limits" if least is None else f"--replicas {least}, or a lower --rate"
    return (
        f"{bears_not(found.replicas)} {rate_words(found.asked.rate_per_s)}, of which each bears "
        f"{rate_words(found.capacity_per_s)}; give {what}"
    )


def _load_curve(found: Service) -> "Table":
    """What one replica does at growing rates."""
    table = new_table("a replica", "utilisation", "in flight", "TTFT p95", "latency p50", "latency p95")
    for one in found.curve:
        table.add_row(
            rate_words(one.rate_per_s),
            f"{100 * one.utilisation_fraction:.0f} %",
            f"{one.batch_in_flight:.3g}",
            format_seconds(one.ttft_p95_s),
            format_seconds(one.latency_p50_s),
            format_seconds(one.latency_p95_s),
        )
    return table


def print_service(console: "Console", found: Service | None, *, verbose: bool = False) -> None:
    """Print what a load does, where one was asked about; the load curve with all else."""
    if found is None:
        return
    for line in service_lines(found):
        console.print(line)
    if verbose:
        console.print()
        console.print("One replica by rate", style="bold")
        console.print(_load_curve(found))
