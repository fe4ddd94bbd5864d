"""Plans and laws -> pictures. Needs the extra ``plot`` (matplotlib)."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.accuracy import ScalingLaw
from vlmplan.document import check_destination, write_bytes
from vlmplan.errors import InputError, Unavailable, missing_library
from vlmplan.planning import Plan
from vlmplan.views.law_axes import draw_law

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
