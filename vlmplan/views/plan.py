"""Plans -> terminal text, with a picture of the front where the terminal can show one."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmplan import inert
from vlmplan.accuracy import ScoreBasis, ScoreUsed
from vlmplan.planning import PLAN_FILE, Deploy, Objective, Outline, Plan, Price, knee_curve_of
from vlmplan.units import counted, format_bytes, format_count, format_flops, format_seconds
from vlmplan.views.service import print_service, rate_words
from vlmplan.views.text import (
    knee_line,
    load_line,
    memory_line,
    new_console,
    new_table,
    parts,
    percent,
    time_range,
    tokens,
    warn,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vlmplan.planning import Recheck

WIDTH, HEIGHT = 80, 16
LEAST_WIDTH = 60
LEAST_POINTS = 0.05  # below it a difference of error shows as none
_LEAST_SHARE = 0.005  # of draws: below it, none in a hundred
_FRONT, _CHOICE, _LOST, _LIMIT = "blue", "orange", "gray", "red"


def firm(plan: Plan) -> str:
    """Return how often the choice is the best of what the intervals allow, and what happens in the other cases."""
    breaks, lost = plan.breaks_fraction or 0.0, plan.lost_points
    others = 1 - plan.stability - breaks
    errs = plan.objective is Objective.ERROR and lost is not None and lost >= LEAST_POINTS
    parts = [f"of 100 cases that the intervals allow, it is the best choice in {100 * plan.stability:.0f}"]
    if others > _LEAST_SHARE:
        parts.append(f"in {100 * others:.0f} another is{f', which errs {lost:.1f} of 100 less' if errs else ''}")
    if breaks > _LEAST_SHARE:
        parts.append(f"in {100 * breaks:.0f} it breaks a limit")
    return "; ".join(parts)


def shown_tokens(count: int, frames: int | None) -> str:
    """Return the visual tokens of a request: of an image, or of so many frames of a video and in all."""
    if frames is None:
        return f"{tokens(count)} an image"
    return f"{counted(frames, 'frame')} of {tokens(count)}" + (f", {frames * count:,} in all" if frames > 1 else "")


def tokens_each(frames: int | None) -> str:
    """Return what an axis of visual tokens is called: those of an image, or of each of a video's frames."""
    return "visual tokens an image" if frames is None else "visual tokens a frame"


def can_show(console: "Console") -> bool:
    """Whether the terminal is one, wide enough, and speaks Unicode."""
    wide = shutil.get_terminal_size().columns >= LEAST_WIDTH  # a console claims more than a narrow terminal has
    return console.is_terminal and not console.is_dumb_terminal and wide and console.encoding.startswith("utf")


def _canvas(console: "Console", title: str, across: str) -> Any:
    """A cleared plotext, its one figure set up."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(WIDTH, console.width), HEIGHT)
    plotext.title(title)
    plotext.xlabel(across)
    return plotext


def _show(console: "Console", canvas: Any) -> None:
    from rich.text import Text

    console.print(Text.from_ansi(canvas.build()), no_wrap=True)
    console.print()


def print_front_picture(console: "Console", plan: Plan) -> None:
    """Draw error against latency: the front, what lost, the choice, the budget."""
    canvas = _canvas(console, "error, %: o front, x lost, * the choice", "latency, ms")
    front = [one for one in plan.front if not plan.is_choice(one)]
    for outlines, marker, colour in ((plan.runners_up, "x", _LOST), (front, "o", _FRONT)):
        if outlines:
            x, y = [1e3 * one.latency_s for one in outlines], [100 * one.predicted_error for one in outlines]
            canvas.scatter(x, y, marker=marker, color=colour)
    canvas.scatter([1e3 * plan.choice.latency_s], [100 * plan.choice.predicted_error], marker="*", color=_CHOICE)
    if plan.budget.latency_s is not None:
        canvas.vline(1e3 * plan.budget.latency_s, color=_LIMIT)
    _show(console, canvas)


def print_knee_picture(console: "Console", plan: Plan) -> None:
    """Draw the time to the first token against visual tokens; nothing for a plan without an image."""
    import math

    curve = knee_curve_of(plan)
    if curve is None:
        return
    canvas = _canvas(console, "TTFT, ms: * the choice, | the prefill's knee", tokens_each(plan.frames))
    logs = [math.log2(count) for count in curve.visual_tokens]
    canvas.plot(logs, [1e3 * seconds for seconds in curve.ttft_s], marker="braille", color=_FRONT)
    canvas.scatter(
        [math.log2(plan.choice.visual_tokens)], [1e3 * plan.choice.ttft_s], marker="*", color=_CHOICE
    )  # fmt: skip
    if plan.choice.knee_prefill_visual_tokens is not None:
        canvas.vline(math.log2(plan.choice.knee_prefill_visual_tokens), color=_LIMIT)
    ticks = range(0, math.ceil(logs[-1]) + 1, 2)
    canvas.xticks(list(ticks), [str(2**tick) for tick in ticks])
    canvas.ylim(0, None)
    _show(console, canvas)


FRONT_ROWS = 12


def _outlines(outlines: Sequence[Outline], plan: Plan) -> "Table":
    """One line for each: error, latency, tokens, then the model and, where it lost, why."""
    table = new_table("error", "latency", "tokens", "model", wrap="model")
    for one in outlines:
        chosen = plan.is_choice(one)
        text = f"{one.model} {one.placed}" + (f": {one.reason}" if one.reason else " <- the choice" if chosen else "")
        cells = [percent(one.predicted_error), format_seconds(one.latency_s), str(one.visual_tokens), text]
        table.add_row(*cells, style="bold" if chosen else None)
    return table


def front_about_choice(plan: Plan) -> Sequence[Outline]:
    """Return the part of the front that the choice lies in the middle of, as many as a table has rows."""
    at = next(index for index, one in enumerate(plan.front) if plan.is_choice(one))
    start = max(0, min(at - FRONT_ROWS // 2, len(plan.front) - FRONT_ROWS))
    return plan.front[start : start + FRONT_ROWS]


def _print_front(console: "Console", plan: Plan) -> None:
    """Print the front about the choice; what is left out is counted in the heading."""
    shown = front_about_choice(plan)
    more = f" ({len(plan.front) - len(shown)} more in --json)" if len(shown) < len(plan.front) else ""
    console.print(f"Pareto front: nothing is both faster and better{more}", style="bold")
    console.print(_outlines(shown, plan))
    console.print()


def task_words(plan: Plan) -> str:
    """Return the task that was planned for: its benchmarks, with their shares where there are several."""
    return ", ".join(name if share == 1 else f"{name} {share:g}" for name, share in plan.error_source.task.items())


def headline(plan: Plan) -> str:
    """Return what to do: deploy or train which model, with how many tokens, stored how, on how many GPUs."""
    choice = plan.choice
    verb = "Train" if choice.route == "train" else "Deploy"
    each = "each " if (plan.frames or 1) > 1 else ""
    seen = f" ({each}seen at {choice.seen_side_px:.0f} px a side)" if choice.seen_side_px else ""
    gpus = f" on {choice.gpus} GPUs" if choice.gpus > 1 else ""
    shown = shown_tokens(choice.visual_tokens, plan.frames)
    shown += f" by {choice.compressor}" if choice.compressor.selects else ""
    return f"{verb} {choice.model} with {shown}{seen}, {choice.precision}{gpus}"


def sentence(plan: Plan) -> str:
    """Return the recommendation in one sentence."""
    choice = plan.choice
    low, high = choice.error_interval or (choice.predicted_error, choice.predicted_error)
    return (
        f"{headline(plan)}: {format_seconds(choice.latency_s)} per request ({time_range(choice.latency_interval_s)}) "
        f"on {plan.hardware.name} with {plan.runtime}, predicted error {percent(choice.predicted_error)} "
        f"({percent(low)} to {percent(high)}) on {task_words(plan)}."
    )


def sensitivity(plan: Plan) -> str:
    """Return how firm the choice is: its stability, and what another budget would bring."""

    def said(outline: Outline | None) -> str:
        if outline is None:
            return "nothing fits"
        same = (outline.model, outline.visual_tokens) == (plan.choice.model, plan.choice.visual_tokens)
        return (
            "the same" if same else f"{outline.model} at {outline.visual_tokens} ({percent(outline.predicted_error)})"
        )

    return (
        f"Stability: {firm(plan)}. With a 10 % smaller "
        f"budget: {said(plan.if_budget_10_percent_smaller)}; larger: {said(plan.if_budget_10_percent_larger)}."
    )


def choice_lines(plan: Plan) -> Iterator[str]:
    """Yield how the choice is stored, why it was taken, and what one step fewer or more in tokens would cost."""
    if plan.model.quantisation is not None:
        yield f"Stored as {plan.model.quantisation.whole_title}."
    if plan.chosen_because:
        yield f"Chosen: {plan.chosen_because}."
    for name, one in (("fewer", plan.fewer_tokens), ("more", plan.more_tokens)):
        if one is not None:
            yield f"One step {name} in tokens, {one.visual_tokens}: error {percent(one.predicted_error)}; {one.reason}."


def command_lines(deploy: Deploy, written: Path | None) -> Iterator[str]:
    """Yield what makes a checkpoint and what runs it, with the file that the plan is written to, or how to write it."""
    if deploy.make:
        yield f"Make: {deploy.make}"
    if deploy.command:
        yield f"Run: {of_written(deploy.command, written)}"
        if written is None and PLAN_FILE in deploy.command:
            yield f"{PLAN_FILE} is written by asking again with --out {PLAN_FILE}."


def of_written(text: str, written: Path | None) -> str:
    """Return a command with the file that the plan was written to."""
    return text if written is None else text.replace(PLAN_FILE, inert.argument(str(written)))


def _print_deploy(console: "Console", deploy: Deploy, gpus: int, written: Path | None) -> None:
    """Print the commands, never folded so that they can be copied, and what to add to spread them."""
    for line in command_lines(deploy, written):
        console.print(line, soft_wrap=True)
    spread = f" --tensor-parallel-size {gpus}"
    served = (deploy.command or "").removesuffix(spread if gpus > 1 else "")
    instead = f" instead of{spread}" if gpus > 1 else ""
    if deploy.more_gpus:
        console.print(f"On {2 * gpus} GPUs: the same with{deploy.more_gpus.removeprefix(served)}{instead}.")
    if deploy.two_machines and not deploy.command:
        for place, text in zip(("first", "second"), deploy.two_machines, strict=True):
            console.print(f"Run on the {place} machine: {text}", soft_wrap=True)
    elif deploy.two_machines:
        shared = deploy.two_machines[0].removeprefix(served).partition(" --node-rank")[0]
        here, there = (text.removeprefix(f"{served}{shared}") for text in deploy.two_machines)
        console.print(f"On two machines: the same with{shared}{instead},{here} on the first,{there} on the second.")
    for engine, text in deploy.settings.items():
        console.print(f"Tokens in {engine}: {text}", soft_wrap=True)
    if deploy.check:
        console.print(f"Check: {of_written(deploy.check, written)}", soft_wrap=True)
    if deploy.command or deploy.settings or deploy.check:
        console.print()


def scores_line(scores: Sequence[ScoreUsed]) -> str:
    """Return what the predicted error stands on, benchmark by benchmark."""

    def one(used: ScoreUsed) -> str:
        basis = {
            ScoreBasis.PUBLISHED: f"published, {used.source}" if used.source else "published",
            ScoreBasis.FAMILY: f"predicted from {used.checkpoints} of its family",
            ScoreBasis.OTHER_BENCHMARKS: "predicted from its family on other benchmarks",
            ScoreBasis.OTHER_FAMILIES: "predicted from other families",
        }[used.basis]
        note = f"; {used.note}" if used.note else ""
        return f"{used.benchmark} {100 * used.score:.1f} ({basis}{note})"

    return "; ".join(one(used) for used in scores)


def _cost(price: Price) -> str:
    return f"{price.thousand_requests_price:.3g} {price.currency}"


def _at(plan: Plan) -> str:
    """What a price of requests rests on."""
    if plan.service is None:
        return f"at {plan.workload.decoded_together} in flight on GPUs kept busy"
    gpus = plan.choice.gpus * plan.service.replicas
    return f"at {rate_words(plan.service.asked.rate_per_s)} on {counted(gpus, 'GPU')}, idle or not"


def print_plan(plan: Plan, written: Path | None = None) -> None:
    """Print the choice in a sentence, its cost by part, the knee, the front, why others lost, and warnings.

    ``written`` is the file that the plan goes to, which its commands read.
    """
    console, choice = new_console(), plan.choice
    level = f"{plan.interval_level_fraction * 100:g} %"
    console.print(sentence(plan), style="bold")
    console.print(
        f"Intervals hold {level}; times rest on {plan.basis}. TTFT {format_seconds(choice.ttft_s)} "
        f"({time_range(choice.ttft_interval_s)}), {format_flops(choice.flops.total)}, "
        f"{format_count(choice.params.total)} parameters."
    )
    setting = "the checkpoint, fixed" if choice.setting == "none" else choice.setting
    console.print(f"Tokens set by: {setting}; reduction: {choice.reduction}. Route: {choice.route}.")
    if choice.price:
        console.print(f"1,000 requests cost {_cost(choice.price)}, {_at(plan)}.")
    console.print()
    if choice.deploy:
        _print_deploy(console, choice.deploy, choice.gpus, written)
    console.print(parts(choice, plan.workload))
    console.print()
    console.print(memory_line(choice, plan.hardware))
    console.print(load_line(choice, plan.workload))
    console.print(knee_line(choice, plan))
    for line in (*choice_lines(plan), sensitivity(plan)):
        console.print(line)
    print_service(console, plan.service, verbose=True)
    console.print()
    _print_front(console, plan)
    if can_show(console):
        print_front_picture(console, plan)
        print_knee_picture(console, plan)
    if plan.runners_up:
        console.print("Why the others lost", style="bold")
        console.print(_outlines(plan.runners_up, plan))
        console.print()
    if plan.scores:
        console.print(f"Stands on {scores_line(plan.scores)}.")
    console.print(f"Error from {plan.error_source.name}: {'; '.join(plan.error_source.basis)}.")
    for why in plan.left_out:
        console.print(f"Left out, {why}.")
    warn(console, plan.warnings)


FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "ttft_s": ("TTFT", format_seconds),
    "tpot_s": ("TPOT", format_seconds),
    "latency_s": ("latency", format_seconds),
    "flops": ("compute", format_flops),
    "memory_bytes": ("memory", format_bytes),
    "predicted_error": ("error", percent),
}


def print_recheck(recheck: "Recheck") -> None:
    """Print the plan's choice as it was and as it is now, what changed underneath, and the verdict."""
    console, table = new_console(), new_table("", "plan", "now", "up to", "limit")
    console.print(f"{recheck.choice}, on {recheck.hardware}.", style="bold")
    for figure in recheck.figures:
        name, show = FIGURES[figure.name]
        cells = (figure.planned, figure.now, figure.most, figure.limit)
        table.add_row(name, *("" if value is None else show(value) for value in cells))
    console.print(table)
    console.print(f"Changed since the plan was made: {'; '.join(recheck.changed) or 'no input of its choice'}.")
    for note in recheck.notes:
        console.print(f"Note: {note}.")
    console.print("The plan holds." if recheck.holds else "The plan does not hold:")
    for fault in recheck.faults:
        console.print(f"- {fault}")
