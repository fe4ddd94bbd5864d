"""Plans -> pictures of characters, for terminals that can show them. With the other ``render`` modules, for rich."""

import shutil
from typing import TYPE_CHECKING, Any

from vlmplan.planning import Plan, knee_curve_of

if TYPE_CHECKING:
    from rich.console import Console

WIDTH, HEIGHT = 80, 16
LEAST_WIDTH = 60
_FRONT, _CHOICE, _LOST, _LIMIT = "blue", "orange", "gray", "red"


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
    canvas = _canvas(console, "TTFT, ms: * the choice, | the prefill's knee", "visual tokens an image")
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
