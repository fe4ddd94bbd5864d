"""Estimates -> terminal text: how long a request takes and where, what it holds, what a load does to it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vlmplan.cost import Estimate
from vlmplan.hardware import HardwareProfile, Part
from vlmplan.models import Compressor
from vlmplan.units import format_count, format_flops, format_seconds
from vlmplan.views.service import print_service
from vlmplan.views.text import (
    RESTS_ON,
    bar,
    knee_line,
    load_line,
    load_words,
    memory_line,
    memory_words,
    new_console,
    new_table,
    parts,
    print_unsure,
    time_range,
    tokens,
    warn,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def _operators(explained: Mapping[Part, Sequence[tuple[str, float]]]) -> "Table":
    table = new_table("part", "operator", "time", "share of part", "")
    for part, rows in explained.items():
        total = sum(seconds for _, seconds in rows)
        for name, seconds in rows:
            share = seconds / total
            table.add_row(part, name, format_seconds(seconds), f"{share * 100:.0f} %", bar(share))
    return table


def print_estimate(
    document: Estimate,
    hardware: HardwareProfile,
    explained: Mapping[Part, Sequence[tuple[str, float]]],
    *,
    verbose: bool = False,
) -> None:
    """Print the times with intervals, by part (and by operator where ``explained``), then what else it takes."""
    console = new_console()
    for obstacle in document.obstacles:
        console.print(f"Cannot be run: {obstacle}. What follows is what it would take if it could.", style="bold")
    warnings = [warning for warning in document.warnings if warning not in document.obstacles]
    if verbose:
        _print_whole_estimate(console, document, hardware, explained)
        print_service(console, document.service, verbose=True)
        warn(console, warnings)
    else:
        _print_brief_estimate(console, document, hardware, explained)
        print_service(console, document.service)
        times = f"times rest on {RESTS_ON[document.basis]}"
        said = f"{document.hardware.name} with {document.runtime}:"  # how a warning of the same begins
        rest = [warning for warning in warnings if not warning.startswith(said)]
        print_unsure(console, f"intervals hold {100 * document.interval_level_fraction:g}%; {times}", rest)
        console.print("More: -v (FLOPs, parameters, what fills the memory, the knees), --explain (operators), --json.")


def _print_brief_estimate(
    console: "Console",
    document: Estimate,
    hardware: HardwareProfile,
    explained: Mapping[Part, Sequence[tuple[str, float]]],
) -> None:
    """Print what a request takes in a sentence, where its time goes, and how many the device bears."""
    compressed = "" if document.compressor is Compressor.NONE else f" by {document.compressor}"
    gpus = f"{document.gpus} x " if document.gpus > 1 else ""
    seen = (
        f"with {tokens(document.visual_tokens)} an image{compressed}" if document.visual_tokens else "without an image"
    )
    answers = "would answer" if document.obstacles else "answers"
    console.print(
        f"{document.model} {seen} {answers} in {format_seconds(document.latency_s)} "
        f"({time_range(document.latency_interval_s)}) on {gpus}{document.hardware.name} with {document.runtime}, "
        f"{document.precision}.",
        style="bold",
    )
    later = ""
    if document.tpot_s is not None and document.tpot_interval_s is not None:
        later = f", each further one {format_seconds(document.tpot_s)} (TPOT; {time_range(document.tpot_interval_s)})"
    first = f"{format_seconds(document.ttft_s)} (TTFT; {time_range(document.ttft_interval_s)})"
    console.print(f"The first token takes {first}{later}.")
    if document.quantisation is not None:
        console.print(f"Stored as {document.quantisation.whole_title}.")
    console.print()
    console.print(parts(document, document.workload))
    console.print()
    _print_operators(console, explained)
    most = "" if document.most_requests is None else f"; memory holds {document.most_requests}"
    console.print(
        f"Memory: {memory_words(document.memory_bytes.total, hardware.memory_bytes)}; "
        f"{load_words(document, document.workload)}{most}."
    )
    knee = document.knee_prefill_visual_tokens
    if knee is not None:
        place = "below" if document.visual_tokens <= knee else "above"
        console.print(
            f"Knee: up to {tokens(knee)} an image add at most 5 % to the prefill; {document.visual_tokens} is {place}."
        )


def _print_operators(console: "Console", explained: Mapping[Part, Sequence[tuple[str, float]]]) -> None:
    if explained:
        console.print("By operator (decode: one step)", style="bold")
        console.print(_operators(explained))
        console.print()


def _print_whole_estimate(
    console: "Console",
    document: Estimate,
    hardware: HardwareProfile,
    explained: Mapping[Part, Sequence[tuple[str, float]]],
) -> None:
    """Print all of an estimate but its warnings."""
    console.print(
        f"{document.model} with {tokens(document.visual_tokens)} an image (compressor {document.compressor}), "
        f"{document.precision}, {document.runtime} on {document.gpus} x {document.hardware.name}: "
        f"{format_seconds(document.latency_s)} ({time_range(document.latency_interval_s)}).",
        style="bold",
    )
    tpot = ""
    if document.tpot_s is not None and document.tpot_interval_s is not None:
        tpot = f" TPOT {format_seconds(document.tpot_s)} ({time_range(document.tpot_interval_s)})."
    console.print(
        f"TTFT {format_seconds(document.ttft_s)} ({time_range(document.ttft_interval_s)}).{tpot} Intervals hold "
        f"{document.interval_level_fraction * 100:g} %; times rest on {document.basis}."
    )
    console.print()
    console.print(parts(document, document.workload))
    console.print()
    _print_operators(console, explained)
    if document.quantisation is not None:
        console.print(f"Stored as {document.quantisation.whole_title}.")
    flops, params = document.flops, document.params
    console.print(
        f"Compute {format_flops(flops.total)}: vision {format_flops(flops.vision)}, compressor "
        f"{format_flops(flops.compressor)}, prefill {format_flops(flops.prefill)}, decode {format_flops(flops.decode)}."
    )
    console.print(
        f"Parameters {format_count(params.total)}: LLM {format_count(params.llm)}, vision "
        f"{format_count(params.vision)}, compressor {format_count(params.compressor)}, projector "
        f"{format_count(params.projector)}."
    )
    console.print(memory_line(document, hardware))
    console.print(load_line(document, document.workload))
    console.print(knee_line(document, document))
