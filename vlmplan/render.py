"""Results -> terminal text. Right at 80 columns, wide, piped and without colour.

With ``render_deploy``, the only user of rich.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlmplan.cost import active_llm_params
from vlmplan.document import Document, to_toml
from vlmplan.estimate import Estimate
from vlmplan.hardware import Basis, HardwareProfile, Part, Precision
from vlmplan.knee import TABLE_TEXT_TOKENS, KneeRow
from vlmplan.model import ModelSpec, Workload
from vlmplan.plan import Choice, Outline, Plan
from vlmplan.units import format_bytes, format_count, format_flops, format_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vlmplan.scaling import ScalingLaw

BAR_WIDTH = 20
FRONT_ROWS = 12
LEAST_WIDTH = 60  # below it tables would cut figures; lines then wrap in the terminal


def new_console(least_width: int = LEAST_WIDTH) -> "Console":
    """Return where results are printed: plain text, tables never narrower than they can be."""
    from rich.console import Console

    shown = Console(highlight=False, emoji=False, markup=False, soft_wrap=False)
    shown.width = max(shown.width, least_width)
    return shown


def new_table(*columns: str, wrap: str | None = None) -> "Table":
    """A plain table; numbers right, names left; the column ``wrap`` takes what width is left."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    left = {"model", "part", "name", "operator", "licence", "basis", "trust", "form", "reduction", "", wrap}
    left |= {"file", "check"}
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in left else "right",
            no_wrap=column != wrap,
            overflow="fold" if column == wrap else "ellipsis",
            ratio=1 if column == wrap else None,
        )
    return table


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _range(bounds: tuple[float, float]) -> str:
    return f"{format_seconds(bounds[0])} to {format_seconds(bounds[1])}"


def _tokens(count: int) -> str:
    return f"{count} visual token" + ("" if count == 1 else "s")


def _bar(share: float) -> str:
    full, least = ("█", "▏") if (sys.stdout.encoding or "").lower().startswith("utf") else ("#", ".")
    return full * round(share * BAR_WIDTH) or (least if share > 0 else "")


def _parts(costed: Choice | Estimate, steps: int) -> "Table":
    """Where the time goes: seconds and share of the latency of every part."""
    table = new_table("part", "time", "share", "")
    rows = [
        ("overhead", costed.overhead_s),
        ("vision", costed.vision_s),
        ("compressor", costed.compressor_s),
        ("prefill", costed.prefill_s),
    ]
    if costed.tpot_s is not None:
        rows.append((f"decode, {steps} x {format_seconds(costed.tpot_s)}", steps * costed.tpot_s))
    for name, seconds in rows:
        share = seconds / costed.latency_s
        table.add_row(name, format_seconds(seconds), f"{share * 100:.0f} %", _bar(share))
    return table


def _memory(costed: Choice | Estimate, limit: int | None) -> str:
    memory = costed.memory_bytes
    of = f" of {format_bytes(limit)}" if limit else ""
    return (
        f"Memory {format_bytes(memory.total)}{of} per GPU: weights {format_bytes(memory.weights)}, KV cache "
        f"{format_bytes(memory.kv_cache)}, activations {format_bytes(memory.activations)}, reserve "
        f"{format_bytes(memory.reserve)}."
    )


def _load(costed: Choice | Estimate, workload: Workload) -> str:
    """Throughput, and how many requests the memory holds."""
    most = "" if costed.most_requests is None else f"; memory holds {costed.most_requests}"
    flight = workload.decoded_together
    return (
        f"{costed.requests_per_s:.3g} requests/s with {flight} in flight{most}"
        f"{'' if flight > 1 else ' (--concurrency prices more)'}."
    )


def _knee(costed: Choice | Estimate, document: Plan | Estimate) -> str:
    """The knees, with all that they belong to."""
    prefill, ttft, workload = costed.knee_prefill_visual_tokens, costed.knee_ttft_visual_tokens, document.workload
    if prefill is None:
        return "Knee: none without an image."
    whole = "" if ttft is None else f", up to {ttft} to the TTFT"
    return (
        f"Knee: up to {_tokens(prefill)} add at most 5 % to the LLM's prefill{whole} "
        f"({document.hardware.name}, {document.runtime}, {costed.model}, {costed.precision}, batch {workload.batch}, "
        f"{workload.uncached_text_tokens} uncached text tokens). {costed.visual_tokens} is "
        f"{'below' if costed.visual_tokens <= prefill else 'above'} that of the prefill."
    )


def _is_choice(one: Outline, choice: Choice) -> bool:
    return (one.model, one.visual_tokens, one.precision, one.gpus) == (
        choice.model,
        choice.visual_tokens,
        choice.precision,
        choice.gpus,
    )


def _outlines(outlines: Sequence[Outline], choice: Choice) -> "Table":
    """One line for each: error, latency, tokens, then the model and, where it lost, why."""
    table = new_table("error", "latency", "tokens", "model", wrap="model")
    for one in outlines:
        name = f"{one.model} {one.precision}" + (f" on {one.gpus} GPUs" if one.gpus > 1 else "")
        chosen = _is_choice(one, choice)
        text = name + (f": {one.reason}" if one.reason else " <- the choice" if chosen else "")
        cells = [_percent(one.predicted_error), format_seconds(one.latency_s), str(one.visual_tokens), text]
        table.add_row(*cells, style="bold" if chosen else None)
    return table


def _print_front(console: "Console", plan: Plan) -> None:
    """Print the front about the choice; what is left out is counted in the heading."""
    at = next(i for i, one in enumerate(plan.front) if _is_choice(one, plan.choice))
    start = max(0, min(at - FRONT_ROWS // 2, len(plan.front) - FRONT_ROWS))
    shown = plan.front[start : start + FRONT_ROWS]
    more = f" ({len(plan.front) - len(shown)} more in --json)" if len(shown) < len(plan.front) else ""
    console.print(f"Pareto front: nothing is both faster and better{more}", style="bold")
    console.print(_outlines(shown, plan.choice))
    console.print()


def _sentence(plan: Plan) -> str:
    choice, task = (
        plan.choice,
        ", ".join(name if share == 1 else f"{name} {share:g}" for name, share in plan.error_source.task.items()),
    )
    gpus = f" on {choice.gpus} GPUs" if choice.gpus > 1 else ""
    verb = "Train" if choice.route == "train" else "Deploy"
    low, high = choice.error_interval or (choice.predicted_error, choice.predicted_error)
    return (
        f"{verb} {choice.model} with {_tokens(choice.visual_tokens)} an image, {choice.precision}{gpus}: "
        f"{format_seconds(choice.latency_s)} per request ({_range(choice.latency_interval_s)}) on "
        f"{plan.hardware.name} with {plan.runtime}, predicted error {_percent(choice.predicted_error)} "
        f"({_percent(low)} to {_percent(high)}) on {task}."
    )


def _sensitivity(plan: Plan) -> str:
    def said(outline: Outline | None) -> str:
        if outline is None:
            return "nothing fits"
        same = (outline.model, outline.visual_tokens) == (plan.choice.model, plan.choice.visual_tokens)
        return (
            "the same" if same else f"{outline.model} at {outline.visual_tokens} ({_percent(outline.predicted_error)})"
        )

    return (
        f"Stability: chosen in {plan.stability * 100:.0f} % of paired draws of error and latency. With a 10 % smaller "
        f"budget: {said(plan.if_budget_10_percent_smaller)}; larger: {said(plan.if_budget_10_percent_larger)}."
    )


def _warn(console: "Console", warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"Warning: {warning}.", style="yellow")


def print_plan(plan: Plan) -> None:
    """Print the choice in a sentence, its cost by part, the knee, the front, why others lost, and warnings."""
    console, choice = new_console(), plan.choice
    level = f"{plan.interval_level_fraction * 100:g} %"
    console.print(_sentence(plan), style="bold")
    console.print(
        f"Intervals hold {level}; times rest on {plan.basis}. TTFT {format_seconds(choice.ttft_s)} "
        f"({_range(choice.ttft_interval_s)}), {format_flops(choice.flops.total)}, "
        f"{format_count(choice.params.total)} parameters."
    )
    setting = "the checkpoint, fixed" if choice.setting == "none" else choice.setting
    console.print(f"Tokens set by: {setting}; reduction: {choice.reduction}. Route: {choice.route}.")
    if choice.deploy:
        console.print(f"Run: {choice.deploy}", soft_wrap=True)
    console.print()
    console.print(_parts(choice, plan.workload.output_tokens - 1))
    console.print()
    console.print(_memory(choice, plan.hardware.memory_bytes))
    console.print(_load(choice, plan.workload))
    console.print(_knee(choice, plan))
    console.print(_sensitivity(plan))
    console.print()
    _print_front(console, plan)
    if plan.runners_up:
        console.print("Why the others lost", style="bold")
        console.print(_outlines(plan.runners_up, choice))
        console.print()
    console.print(f"Error from {plan.error_source.name}: {'; '.join(plan.error_source.basis)}.")
    for why in plan.left_out:
        console.print(f"Left out, {why}.")
    _warn(console, plan.warnings)


def print_estimate(
    document: Estimate, hardware: HardwareProfile, explained: Mapping[Part, Sequence[tuple[str, float]]]
) -> None:
    """Print the times with intervals, by part (and by operator where ``explained``), memory, FLOPs and the knee."""
    console, steps = new_console(), document.workload.output_tokens - 1
    console.print(
        f"{document.model} with {_tokens(document.visual_tokens)} an image (compressor {document.compressor}), "
        f"{document.precision}, {document.runtime} on {document.gpus} x {document.hardware.name}: "
        f"{format_seconds(document.latency_s)} ({_range(document.latency_interval_s)}).",
        style="bold",
    )
    tpot = ""
    if document.tpot_s is not None and document.tpot_interval_s is not None:
        tpot = f" TPOT {format_seconds(document.tpot_s)} ({_range(document.tpot_interval_s)})."
    console.print(
        f"TTFT {format_seconds(document.ttft_s)} ({_range(document.ttft_interval_s)}).{tpot} Intervals hold "
        f"{document.interval_level_fraction * 100:g} %; times rest on {document.basis}."
    )
    console.print()
    console.print(_parts(document, steps))
    console.print()
    if explained:
        console.print("By operator (decode: one step)", style="bold")
        console.print(_operators(explained))
        console.print()
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
    console.print(_memory(document, hardware.memory_bytes))
    console.print(_load(document, document.workload))
    console.print(_knee(document, document))
    _warn(console, document.warnings)


def _operators(explained: Mapping[Part, Sequence[tuple[str, float]]]) -> "Table":
    table = new_table("part", "operator", "time", "share of part", "")
    for part, rows in explained.items():
        total = sum(seconds for _, seconds in rows)
        for name, seconds in rows:
            share = seconds / total
            table.add_row(part, name, format_seconds(seconds), f"{share * 100:.0f} %", _bar(share))
    return table


def print_document(document: Document) -> None:
    """Print one document as the TOML it is kept in."""
    new_console().print(to_toml(document), soft_wrap=True, end="")


KNEE_TABLE_WIDTH = 100  # whatever the terminal's: its lines are comments of a profile


def print_device(device: HardwareProfile, rows: Sequence[KneeRow]) -> None:
    """Print a device as the TOML it is kept in, and its knees as comments, so that the output is still a profile."""
    print_document(device)
    console = new_console(KNEE_TABLE_WIDTH)
    console.print("\n# Visual tokens free of charge: the most that add at most 5 % to the LLM's prefill, batch 1.")
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
    return [law.name, law.form, coefficients, f"{law.fit.rmse:.4f}", str(law.n_points)]


def print_shelf(documents: Sequence[Any]) -> None:
    """Print one line for each device, model or law."""
    console = new_console()
    rows: list[list[str]]
    if isinstance(documents[0], HardwareProfile):
        table = new_table("name", "memory", "GB/s", "TFLOP/s", "basis", "trust")
        rows = [_device_row(one) for one in documents]
    elif isinstance(documents[0], ModelSpec):
        table = new_table("name", "LLM", "tokens", "licence", wrap="licence")
        rows = [_model_row(one) for one in documents]
    else:
        table = new_table("name", "form", "coefficients", "rmse", "points", wrap="coefficients")
        rows = [_law_row(one) for one in documents]
    for row in rows:
        table.add_row(*row)
    console.print(table)
