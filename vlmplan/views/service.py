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


def _percentiles(name: str, percentiles: Percentiles) -> str:
    low, high = percentiles.p95_interval_s
    return (
        f"{name} p50 {format_seconds(percentiles.p50_s)}, "
        f"p95 {format_seconds(percentiles.p95_s)} ({_end(low)} to {_end(high)}), "
        f"p99 {format_seconds(percentiles.p99_s)}"
    )


def _replicas(service: Service) -> str:
    """How many replicas, and why as many."""
    count, median, least = service.replicas, service.median_replicas, service.least_replicas
    asked = service.asked.replicas is not None
    told = counted(count, "replica")
    if service.asked.limits and least is None:
        by = "for sure" if median is not None else "at all"
        return f"{told}; no number of them keeps the limits {by}: a request alone takes longer"
    if least is not None and least > count:
        hold = "keep the limits" if service.asked.limits else "bear it for sure"
        return f"{told}; {least} {hold}, by the times' intervals"
    if asked and least is not None and least < count:
        return f"{told}; {least} would do"
    if median is not None and median < count:
        return f"{told} ({median} where times are as predicted, not as long as they may be)"
    return told


def service_lines(service: Service) -> Iterator[str]:
    """Yield what the load takes: replicas, their use, what requests see, what one replica bears, what tokens cost."""
    rate, each = rate_words(service.asked.rate_per_s), service.asked.rate_per_s / service.replicas
    low, high = service.capacity_interval_per_s
    bears = f"{rate_words(service.capacity_per_s)} ({rate_words(low)} to {rate_words(high)})"
    by = ", which its host sets, one image after another" if service.by_host else ""
    if not service.stable:
        median = service.median_replicas
        least = "no number of replicas keeps the limits" if service.least_replicas is None else (
            f"the least that hold are {service.least_replicas}"
            + (f" ({median} by the medians)" if median != service.least_replicas else "")
        )  # fmt: skip
        yield (
            f"Load: unstable: {rate} on {counted(service.replicas, 'replica')} is "
            f"{100 * service.utilisation_fraction:.0f} % of what they bear, {bears} "
            f"each{by}; the queue grows without end; {least}."
        )
        return
    flight = service.batch_in_flight or 0.0
    as_logged = f", of the sizes of {counted(service.sizes, 'logged request')}" if service.sizes else ""
    yield (
        f"Load: {rate}{as_logged} on {_replicas(service)}: {rate_words(service.gpu_rate_per_s)} a GPU, {flight:.3g} in "
        f"flight on each, utilisation {100 * service.utilisation_fraction:.0f} % of the {bears} that one bears{by}."
    )
    seen = [("latency", service.latency), ("TTFT", service.ttft), ("TPOT", service.tpot)]
    yield f"Under load: {'; '.join(_percentiles(name, one) for name, one in seen if one is not None)}."
    if service.asked.limits:
        goodput = rate_words(service.goodput_per_s or 0.0)
        yield f"Goodput: {goodput} keep the limits ({100 * (service.kept_fraction or 0.0):.1f} % by the medians)."
    beyond = "beyond" if each > service.knee_rate_per_s else "below"
    yield f"Knee: {rate_words(service.knee_rate_per_s)} a replica; {rate_words(each)} is {beyond} it."
    if service.fewer_tokens:
        told = ", ".join(
            f"{one.visual_tokens} raise it {one.capacity_per_s / service.capacity_per_s:.2f} times to "
            f"{rate_words(one.capacity_per_s)}"
            for one in service.fewer_tokens
        )
        yield f"Fewer visual tokens: of what a replica bears, {told}."


def overload_words(service: Service) -> str:
    """Return that a rate is more than replicas bear, and what to do, in a line."""
    least = service.least_replicas
    what = "a lower --rate, or wider limits" if least is None else f"--replicas {least}, or a lower --rate"
    return (
        f"{bears_not(service.replicas)} {rate_words(service.asked.rate_per_s)}, of which each bears "
        f"{rate_words(service.capacity_per_s)}; give {what}"
    )


def _load_curve(service: Service) -> "Table":
    """What one replica does at growing rates."""
    table = new_table("a replica", "utilisation", "in flight", "TTFT p95", "latency p50", "latency p95")
    for point in service.curve:
        table.add_row(
            rate_words(point.rate_per_s),
            f"{100 * point.utilisation_fraction:.0f} %",
            f"{point.batch_in_flight:.3g}",
            format_seconds(point.ttft_p95_s),
            format_seconds(point.latency_p50_s),
            format_seconds(point.latency_p95_s),
        )
    return table


def print_service(console: "Console", service: Service | None, *, verbose: bool = False) -> None:
    """Print what a load does, where one was asked about; the load curve with all else."""
    if service is None:
        return
    for line in service_lines(service):
        console.print(line)
    if verbose:
        console.print()
        console.print("One replica by rate", style="bold")
        console.print(_load_curve(service))
