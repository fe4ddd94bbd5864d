"""Results -> terminal text. What all views share; estimates, devices and lists.

Right at 80 columns, wide, piped and without colour. The only room that uses rich.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vlmplan import inert
from vlmplan.accuracy import Task
from vlmplan.cost import TABLE_TEXT_TOKENS, Estimate, KneeRow, active_llm_params
from vlmplan.document import Document, to_toml
from vlmplan.hardware import Basis, HardwareProfile, Precision
from vlmplan.inventory import NamedWorkload
from vlmplan.models import ModelSpec, Tokens, TokenSetting, Workload
from vlmplan.planning import Choice, Plan
from vlmplan.units import (
    counted,
    format_bytes,
    format_count,
    format_image,
    format_percent,
    format_seconds,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.segment import Segment
    from rich.table import Table

    from vlmplan.accuracy import ScalingLaw

BAR_WIDTH = 20
LEAST_WIDTH = 60  # below it tables would cut figures; lines then wrap in the terminal
MOST_WARNINGS = 2  # that a screen spells out
_LONGEST = 150  # characters of a text in a list of a screen: two lines
RESTS_ON = {
    Basis.DATASHEET: "the device's peaks, not measured requests",
    Basis.KERNELS: "measured kernels, not whole requests",
    Basis.MEASURED: "measured requests",
}


class _Trimmed:
    """What is printed, without the blanks that folding and padding leave at the ends of lines."""

    def __init__(self, whole: "RenderableType") -> None:
        self.whole = whole

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.segment import Segment

        for line in Segment.split_lines(console.render(self.whole, options)):
            yield from _trimmed(line)
            yield Segment.line()


def _trimmed(line: "list[Segment]") -> "list[Segment]":
    """A line up to its last character that is seen."""
    from rich.segment import Segment

    while line and not line[-1].text.strip():
        line = line[:-1]
    return line and [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)]


def new_console(least_width: int = LEAST_WIDTH, stderr: bool = False) -> "Console":
    """Return where results are printed: plain text, tables never narrower than they can be.

    A text printed is one paragraph, made inert: a line end in it is somebody else's, and shown as an escape.
    """
    from rich.console import Console
    from rich.table import Table

    class Inert(Console):
        def print(self, *shown: Any, **how: Any) -> None:
            made = [inert.terminal(one) if isinstance(one, str) else one for one in shown]
            if not how.get("soft_wrap"):  # a line to copy is whole, however long
                made = [inert.short(one) if isinstance(one, str) else one for one in made]
                made = [_Trimmed(one) if isinstance(one, str | Table) else one for one in made]
            super().print(*made, **how)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the command line ends as for any other reader that has gone

    shown = Inert(highlight=False, emoji=False, markup=False, soft_wrap=False, stderr=stderr)
    shown.width = max(shown.width, least_width)
    return shown


def new_table(*columns: str, wrap: str | None = None) -> "Table":
    """A plain table of inert texts; numbers right, names left; the column ``wrap`` takes what width is left."""
    from rich.table import Table

    class Inert(Table):
        def add_row(self, *cells: Any, **how: Any) -> None:
            made = (inert.short(inert.terminal(cell)) if isinstance(cell, str) else cell for cell in cells)
            super().add_row(*made, **how)

    columns = tuple(map(inert.terminal, columns))
    table = Inert(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    left = {"model", "part", "name", "operator", "licence", "basis", "trust", "form", "reduction", "", wrap}
    left |= {"file", "check", "device", "state"}
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in left else "right",
            no_wrap=column != wrap,
            overflow="fold" if column == wrap else "ellipsis",
            ratio=1 if column == wrap else None,
        )
    return table


def print_lines(console: "Console", text: str) -> None:
    """Print a text of several lines, never folded; its line ends are ours."""
    for line in text.removesuffix("\n").split("\n"):
        console.print(line, soft_wrap=True)


def percent(share: float) -> str:
    """Return a share in percent, to one decimal."""
    return format_percent(share)


def time_range(bounds: tuple[float, float]) -> str:
    """Return an interval of seconds as words: ``"873 ms to 1.62 s"``, or ``"4.12 to 9.79 s"``."""
    low, high = (format_seconds(bound) for bound in bounds)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} to {high}"


def tokens(count: int) -> str:
    """Return a number of visual tokens as words."""
    return f"{count} visual token" + ("" if count == 1 else "s")


def bar(share: float) -> str:
    """Return a share as a bar."""
    full, least = ("█", "▏") if (sys.stdout.encoding or "").lower().startswith("utf") else ("#", ".")
    return full * round(share * BAR_WIDTH) or (least if share > 0 else "")


def overhead_name(workload: Workload) -> str:
    """Return what the overhead of a first token is: with more in flight mostly the wait for them."""
    return "overhead" if workload.concurrency == 1 else f"overhead, wait for {workload.concurrency - 1} more"


def part_times(costed: Choice | Estimate, workload: Workload) -> Iterator[tuple[str, float, float]]:
    """Yield name, seconds and share of the latency of every part, in the order that they run."""
    steps = workload.output_tokens - 1
    rows = [
        ("preprocess", costed.preprocess_s),
        (overhead_name(workload), costed.overhead_s),
        ("vision", costed.vision_s),
        ("compressor", costed.compressor_s),
        ("prefill", costed.prefill_s),
    ]
    if costed.tpot_s is not None:
        rows.append((f"decode, {steps} x {format_seconds(costed.tpot_s)}", steps * costed.tpot_s))
    for name, seconds in rows:
        yield name, seconds, seconds / costed.latency_s


def parts(costed: Choice | Estimate, workload: Workload) -> "Table":
    """Where the time goes: seconds and share of the latency of every part."""
    table = new_table("part", "time", "share", "")
    for name, seconds, share in part_times(costed, workload):
        table.add_row(name, format_seconds(seconds), f"{share * 100:.0f} %", bar(share))
    return table


def memory_line(costed: Choice | Estimate, hardware: HardwareProfile) -> str:
    """Return the memory of one device by what holds it, beside what it has."""
    memory = costed.memory_bytes
    of = f" of {format_bytes(hardware.memory_bytes)}" if hardware.memory_bytes else ""
    each = " per GPU" if hardware.kind == "gpu" else ""
    return (
        f"Memory {format_bytes(memory.total)}{of}{each}: weights {format_bytes(memory.weights)}, KV cache "
        f"{format_bytes(memory.kv_cache)}, activations {format_bytes(memory.activations)}, reserve "
        f"{format_bytes(memory.reserve)}."
    )


def load_line(costed: Choice | Estimate, workload: Workload) -> str:
    """Throughput, and how many requests the memory holds."""
    most = "" if costed.most_requests is None else f"; memory holds {costed.most_requests}"
    flight = workload.decoded_together
    return (
        f"{costed.requests_per_s:.3g} requests/s with {flight} in flight{most}"
        f"{'' if flight > 1 else ' (--concurrency prices more)'}."
    )


def knee_line(costed: Choice | Estimate, document: Plan | Estimate) -> str:
    """The knees, with all that they belong to."""
    prefill, ttft, workload = costed.knee_prefill_visual_tokens, costed.knee_ttft_visual_tokens, document.workload
    if prefill is None:
        return "Knee: none without an image."
    whole = "" if ttft is None else f", up to {ttft} to the TTFT"
    return (
        f"Knee: up to {tokens(prefill)} add at most 5 % to the LLM's prefill{whole} "
        f"({document.hardware.name}, {document.runtime}, {costed.model}, {costed.precision}, batch {workload.batch}, "
        f"{workload.uncached_text_tokens} uncached text tokens). {costed.visual_tokens} is "
        f"{'below' if costed.visual_tokens <= prefill else 'above'} that of the prefill."
    )


def warn(console: "Console", warnings: Sequence[str]) -> None:
    """Print each warning on a line of its own."""
    for warning in warnings:
        console.print(f"Warning: {warning}.", style="yellow")


def shortened(text: str) -> str:
    """Return a text cut to two lines of a screen, at a word, with dots for what is left out."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rpartition(' ')[0]} ..."


def print_unsure(console: "Console", first: str, rest: Sequence[str] = (), most: int = MOST_WARNINGS) -> None:
    """Print what a reader should doubt: a sentence, the first of the ``rest`` cut to two lines, and how many more."""
    console.print(f"Unsure: {first}.")
    for one in rest[:most]:
        console.print(f"- {shortened(one)}")
    if len(rest) > most:
        console.print(f"- {counted(len(rest) - most, 'more warning')} with -v")


def memory_words(total: float, held: float | None) -> str:
    """Return what one device holds of what it has."""
    return f"{format_bytes(total)}{f' of {format_bytes(held)}' if held else ''} a device"


def load_words(costed: Choice | Estimate, workload: Workload) -> str:
    """Return how many requests a second there are, and how many are answered together."""
    flight = workload.decoded_together
    together = ", one at a time" if flight == 1 else f" with {flight} in flight"
    return f"{costed.requests_per_s:.3g} requests a second{together}"


def _settings(console: "Console", one: TokenSetting) -> None:
    """Print what sets a number of tokens, one engine a line and never folded."""
    setting = "the checkpoint, fixed" if one.setting == "none" else one.setting
    console.print(f"transformers: {setting}", soft_wrap=True)
    for engine, text in one.engines.items():
        console.print(f"{engine}: {text}", soft_wrap=True)


MOST_NUMBERS = 12  # of tokens that a screen lists


def _numbers(settings: Sequence[TokenSetting], *, verbose: bool) -> str:
    """Numbers of tokens in a list; of many only some, evenly spread, both ends among them, and how many there are."""
    counts = [str(one.visual_tokens) for one in settings]
    if verbose or len(counts) <= MOST_NUMBERS:
        return ", ".join(counts)
    step = (len(counts) - 1) / (MOST_NUMBERS - 1)
    return f"{', '.join(counts[round(step * at)] for at in range(MOST_NUMBERS))} ({len(counts)} in all, -v lists them)"


def print_tokens(counts: Tokens, *, verbose: bool = False) -> None:
    """Print what an image makes unasked, what sets the wanted number, and what other numbers there are."""
    console, native = new_console(), counts.native
    beside = "" if counts.in_sequence else ", seen from beside the sequence"
    whole = "" if counts.images == 1 else f", {native.request_visual_tokens} of all {counts.images}"
    console.print(
        f"{counts.model} makes {tokens(native.visual_tokens)} of a {counts.image[0]} x {counts.image[1]} image unasked "
        f"({native.views} view{'s' if native.views > 1 else ''}, rule {counts.rule}{beside}){whole}.",
        style="bold",
    )
    if counts.wanted is not None:
        console.print(
            f"{tokens(counts.wanted.visual_tokens)} ({counts.wanted.request_visual_tokens} a request, reduction "
            f"{counts.wanted.reduction}):"
        )
        _settings(console, counts.wanted)
    else:
        console.print("Set by:")
        _settings(console, native)
    console.print()
    console.print(
        f"Reached by smaller settings: {_numbers(counts.reachable, verbose=verbose)}. --visual-tokens N shows how."
    )
    if counts.beyond_default:
        console.print(f"By larger ones: {_numbers(counts.beyond_default, verbose=verbose)}.")
    if verbose:
        warn(console, counts.warnings)
    else:
        for one in counts.warnings[:MOST_WARNINGS]:
            console.print(f"Warning: {shortened(f'{one}.')}", style="yellow")
        more = len(counts.warnings) - MOST_WARNINGS
        console.print(f"More: -v ({'all warnings, ' if more > 0 else ''}all numbers of tokens), --json.")


def print_document(document: Document) -> None:
    """Print one document as the TOML it is kept in."""
    from rich.text import Text

    new_console().print(Text(to_toml(document)), soft_wrap=True, end="")  # as it is: to_toml makes it inert


KNEE_TABLE_WIDTH = 100  # whatever the terminal's: its lines are comments of a profile


def print_device(device: HardwareProfile, rows: Sequence[KneeRow]) -> None:
    """Print a device as the TOML it is kept in, and its knees as comments, so that the output is still a profile."""
    print_document(device)
    console = new_console(KNEE_TABLE_WIDTH)
    console.print()
    console.print("# Visual tokens free of charge: the most that add at most 5 % to the LLM's prefill, batch 1.")
    table = new_table("# runtime", "basis", "model", "LLM", *(f"Q={text}" for text in TABLE_TEXT_TOKENS))
    for row in rows:
        free = (str(tokens) for tokens in row.free_visual_tokens)
        table.add_row(f"# {row.runtime} {row.precision}", row.basis, row.model, format_count(row.llm_params), *free)
    console.print(table)


def _device_row(device: HardwareProfile) -> list[str]:
    precision = device.default_precision(device.default_runtime) or Precision.FP32
    basis = max((c.basis for c in device.calibration), key=list(Basis).index, default=Basis.DATASHEET)
    memory = format_bytes(device.memory_bytes) if device.memory_bytes else "unknown"
    peak = f"{device.peak_flops_per_s[precision] / 1e12:.0f} {precision}"
    return [device.name, memory, f"{device.bandwidth_bytes_per_s / 1e9:.0f}", peak, basis, device.confidence]


def _model_row(model: ModelSpec) -> list[str]:
    image = model.image
    tokens = "" if image is None else f"{image.trained_min_visual_tokens}-{image.trained_max_visual_tokens}"
    return [model.name, format_count(active_llm_params(model)), tokens, model.license or "not sourced"]


def _law_row(law: "ScalingLaw") -> list[str]:
    coefficients = ", ".join(f"{name} {one.value:.4g}" for name, one in law.fit.coefficients.items())
    return [law.name, law.forms, coefficients, f"{law.fit.rmse:.4f}", str(law.n_points)]


def _workload_row(one: NamedWorkload) -> list[str]:
    size = "" if one.image is None else format_image(one.image)
    images = size if one.images in (None, 1) else f"{one.images} of {size}".removesuffix(" of ")
    lengths = ("" if count is None else str(count) for count in (one.text_tokens, one.output_tokens))
    return [one.name, one.title, one.task or "", images, *lengths]


def _task_row(task: Task) -> list[str]:
    also = f" (also {', '.join(task.called)})" if task.called else ""
    return [task.name, f"{', '.join(task.benchmarks)}{also}"]


def print_shelf(documents: Sequence[Any]) -> None:
    """Print one line for each device, model, task, workload or law."""
    console = new_console()
    rows: list[list[str]]
    if isinstance(documents[0], HardwareProfile):
        table = new_table("name", "memory", "GB/s", "TFLOP/s", "basis", "trust")
        rows = [_device_row(one) for one in documents]
    elif isinstance(documents[0], ModelSpec):
        table = new_table("name", "LLM", "tokens", "licence", wrap="licence")
        rows = [_model_row(one) for one in documents]
    elif isinstance(documents[0], Task):
        table = new_table("name", "judged by the scores of, all alike", wrap="judged by the scores of, all alike")
        rows = [_task_row(one) for one in documents]
    elif isinstance(documents[0], NamedWorkload):
        table = new_table("name", "what", "task", "image", "text", "out", wrap="what")
        rows = [_workload_row(one) for one in documents]
    else:
        table = new_table("name", "form", "coefficients", "rmse", "points", wrap="coefficients")
        rows = [_law_row(one) for one in documents]
    for row in rows:
        table.add_row(*row)
    console.print(table)
