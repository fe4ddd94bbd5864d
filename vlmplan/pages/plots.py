"""Plans and laws -> pictures. Needs the extra ``plot`` (matplotlib).

Of a law: error against the LLM's compute per image question, 2N(Q + V), with the text cached and uncached. Along a
curve N is fixed and V grows; the Pareto line takes at each compute the best split between N and V inside the points'
range. Bands are the central intervals of the law's draws, at its own level, without the spread of one model.
"""

import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmplan import inert
from vlmplan.accuracy import Form, Point, ScalingLaw, shifted
from vlmplan.document import check_destination, write_bytes
from vlmplan.errors import InputError, Unavailable, missing_library
from vlmplan.planning import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVES = 8
_STEPS = 60


def draw_law(figure: "Figure", law: ScalingLaw, text_tokens: int) -> None:
    """Draw both panels, with one key for both."""
    from matplotlib import colormaps
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = law.llm_params_b_range
    sizes = _shown_sizes(law)
    scale = colormaps["viridis"]

    def colour(size: float) -> Any:
        return scale(0.9 * (math.log(size / low) / math.log(high / low) if high > low else 0.5))

    panels = figure.subplots(1, 2, sharey=True)
    for axes, text, title in zip(panels, (0, text_tokens), ("text cached", f"{text_tokens} text tokens"), strict=True):
        for size in sizes:
            _curve(axes, law, size, text, colour(size))
        compute, error = _pareto(law, text)
        axes.plot(compute, error, color="black", linestyle="--", linewidth=1.5, label="best N and V")
        for point in law.points:
            axes.plot(
                [2e9 * point.llm_params_b * (text + point.visual_tokens)],
                [100 * _without_family(law, point)],
                marker="o",
                markersize=4,
                color=colour(point.llm_params_b),
                linestyle="none",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"LLM compute of the prompt, 2N(Q + V) (FLOP), Q = {text}: {title}")
    unit = "%, families' offsets taken off" if law.fit.families else "%"
    label = f"error on {law.task or law.name} ({unit}); bands: {100 * law.interval_level_fraction:g} % of draws"
    panels[0].set_ylabel(inert.terminal(label), parse_math=False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(labels)), frameon=False)


def _shown_sizes(law: ScalingLaw) -> list[float]:
    """The LLM sizes that get a curve: all, or some spread over the range."""
    sizes = sorted({point.llm_params_b for point in law.points})
    if len(sizes) <= _CURVES:
        return sizes
    return [sizes[round(index * (len(sizes) - 1) / (_CURVES - 1))] for index in range(_CURVES)]


def _between(low: float, high: float, steps: int) -> list[float]:
    """Numbers from low to high, evenly in the logarithm."""
    return [low * (high / low) ** (index / (steps - 1)) for index in range(steps)]


def _curve(axes: "Axes", law: ScalingLaw, size: float, text: int, colour: Any) -> None:
    tokens = _between(*law.visual_tokens_range, _STEPS)
    compute = [2e9 * size * (text + count) for count in tokens]
    cut = (1 - law.interval_level_fraction) / 2
    low, high, drawn = [], [], law.draws
    for count in tokens:
        errors = sorted(law.error(size, count, draw=draw) for draw in drawn)
        at = min(len(errors) - 1, round(cut * len(errors)))
        low.append(100 * errors[at])
        high.append(100 * errors[-1 - at])
    axes.fill_between(compute, low, high, color=colour, alpha=0.2, linewidth=0)
    error = [100 * law.error(size, count) for count in tokens]
    axes.plot(compute, error, color=colour, label=f"N = {size:.3g} billion")


def _pareto(law: ScalingLaw, text: int) -> tuple[list[float], list[float]]:
    """The least error at each compute, N and V inside the points' range: V* where it is inside, else the nearer end."""
    (small, large), (few, many) = law.llm_params_b_range, law.visual_tokens_range
    computes = _between(2e9 * small * (text + few), 2e9 * large * (text + many), _STEPS)
    errors = []
    for compute in computes:
        best = law.optimal_visual_tokens(text, compute / 2e9)
        least, most = max(few, compute / (2e9 * large) - text), min(many, compute / (2e9 * small) - text)
        tokens = most if best is None else min(most, max(least, best))
        errors.append(100 * law.error(compute / (2e9 * (text + tokens)), tokens))
    return computes, errors


def _without_family(law: ScalingLaw, point: Point) -> float:
    """A point's error as that of the family drawn: the one that others are taken for, or the mean."""
    offset = law.fit.families.get(point.family, 0.0) - law.fit.families.get(law.like, 0.0)
    if law.weights is not None or law.form is Form.HILL:  # moved as the law itself moves, in logit
        mine, its = (law.error(point.llm_params_b, point.visual_tokens, one) for one in (point.family, law.like))
        return shifted(point.error, _logit(its) - _logit(mine))
    if law.form is Form.POWER:
        floor = law.fit.values[3]
        return floor + (point.error - floor) * math.exp(-offset)
    return shifted(point.error, -offset)


def _logit(error: float) -> float:
    inside = min(1 - 1e-9, max(1e-9, error))
    return math.log(inside / (1 - inside))


def check_picture(path: Path | None) -> None:
    """Raise InputError for a name that is neither .svg nor .png, or where nothing can be written."""
    if path is not None and path.suffix not in (".svg", ".png"):
        raise InputError(f"--plot {path}: found '{path.suffix or 'no suffix'}', expected .svg or .png")
    check_destination(path)


def plot_front(plan: Plan, path: Path) -> None:
    """Draw error against latency: the front, the runners-up, the choice with its intervals, the budget.

    ``path`` is one that ``check_picture`` lets pass. Raises Unavailable when matplotlib is missing or will not start,
    InputError when the file cannot be written after all.
    """
    _save(lambda figure: _draw(figure, plan), path, (8, 5))


def plot_law(law: ScalingLaw, text_tokens: int, path: Path) -> None:
    """Draw error against LLM compute 2N(Q+V), for cached and uncached text: points, curves per N, intervals, Pareto.

    ``path`` and errors as for ``plot_front``.
    """
    _save(lambda figure: draw_law(figure, law, text_tokens), path, (11, 5.5))


def _save(draw: Callable[["Figure"], None], path: Path, inches: tuple[float, float]) -> None:
    """Draw on a figure and write it, the same bytes for the same drawing."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing_library("--plot", "matplotlib", "plot") from None
    except (ValueError, OSError) as error:  # MPLBACKEND or a matplotlibrc that it cannot read
        raise Unavailable(f"--plot: matplotlib does not start ({error}); mend its settings") from None
    picture = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": "vlmplan", "svg.fonttype": "none"}):
        warnings.simplefilter("ignore")  # of characters that the font lacks
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(picture, format=path.suffix[1:], metadata=metadata, dpi=150)
    write_bytes(path, picture.getvalue())


def _draw(figure: "Figure", plan: Plan) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes, choice = figure.subplots(), plan.choice
    axes.plot(
        [1e3 * one.latency_s for one in plan.front],
        [100 * one.predicted_error for one in plan.front],
        marker="o",
        color="tab:blue",
        label="Pareto front",
    )
    axes.scatter(
        [1e3 * one.latency_s for one in plan.runners_up],
        [100 * one.predicted_error for one in plan.runners_up],
        marker="x",
        color="tab:gray",
        label="runners-up",
    )
    low, high = choice.error_interval or (choice.predicted_error, choice.predicted_error)
    latency, error = 1e3 * choice.latency_s, 100 * choice.predicted_error
    axes.errorbar(
        [latency],
        [error],
        xerr=[[latency - 1e3 * choice.latency_interval_s[0]], [1e3 * choice.latency_interval_s[1] - latency]],
        yerr=[[error - 100 * low], [100 * high - error]],
        marker="*",
        markersize=14,
        capsize=3,
        color="tab:red",
        label=f"choice: {inert.terminal(choice.model)}, {choice.visual_tokens} visual tokens",
    )
    if plan.budget.latency_s is not None:
        axes.axvline(1e3 * plan.budget.latency_s, linestyle="--", color="black", label="latency budget")
    axes.set_xlabel(f"latency on {inert.terminal(plan.hardware.name)} with {plan.runtime} (ms)", parse_math=False)
    axes.set_ylabel("predicted error (%)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    for text in figure.legend(loc="outside upper center", ncols=2, frameon=False).get_texts():
        text.set_parse_math(False)
