"""Plans and reports -> interactive charts (plotly), in colours that read on light and on dark pages alike.

Axes and text take the page's colours by a script of the page itself. Times are in milliseconds, where all is slow in
seconds; errors in percent.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmplan import inert
from vlmplan.cost import Estimate
from vlmplan.planning import Outline, Plan, knee_curve_of
from vlmplan.proof import Report, held
from vlmplan.units import format_bytes, format_seconds
from vlmplan.views import overhead_name, tokens_each

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FRONT, CHOICE, LOST, BUDGET, SECOND = "#3b82d6", "#e8590c", "#8a8f98", "#e64980", "#2b9a66"
TRIED, HOST = "#ae3ec9", "#f0a202"
_CLEAR = "rgba(0,0,0,0)"
SLOW_S = 10.0  # a chart whose choice takes as long is in seconds
LEAST_LABELLED = 0.09  # of the latency: a narrower part has no room for its name


def _figure(across: str, up: str, height: int = 420, **axes: Any) -> "Figure":
    """An empty chart; ``axes`` says more of ``xaxis`` and ``yaxis``, or of the whole layout."""
    from plotly import graph_objects

    layout = graph_objects.Layout(  # all at once: to update a figure takes ten times as long
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 16, "b": 56},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        hoverlabel={"align": "left"},
        xaxis={"title": across, "zeroline": False, **axes.pop("xaxis", {})},
        yaxis={"title": up, "zeroline": False, **axes.pop("yaxis", {})},
        **axes,
    )
    return graph_objects.Figure(layout=layout)


def _unit(chosen_s: float) -> tuple[float, str]:
    """How many of a unit a second has, and its name, for a chart of times about the choice's."""
    return (1.0, "s") if chosen_s >= SLOW_S else (1e3, "ms")


def _hover(one: Outline, plan: Plan) -> str:
    lines = [
        f"<b>{inert.html_label(one.model)}</b> {one.placed}",
        f"{one.visual_tokens} {tokens_each(plan.frames)}",
        f"error {100 * one.predicted_error:.1f} %, latency {format_seconds(one.latency_s)}",
        f"TTFT {format_seconds(one.ttft_s)}, memory {format_bytes(one.memory_bytes)}",
        *([inert.html_label(one.reason)] if one.reason else []),
    ]
    return "<br>".join(lines)


def _points(outlines: Sequence[Outline], plan: Plan, scale: float) -> dict[str, Any]:
    return {
        "x": [scale * one.latency_s for one in outlines],
        "y": [100 * one.predicted_error for one in outlines],
        "hovertext": [_hover(one, plan) for one in outlines],
        "hoverinfo": "text",
    }


def _bars(value: float, bounds: tuple[float, float] | None, scale: float, colour: str) -> dict[str, Any] | None:
    """Error bars of one point."""
    if bounds is None:
        return None
    above, below = scale * (bounds[1] - value), scale * (value - bounds[0])
    return {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below], "color": colour}


def front_chart(plan: Plan) -> "Figure":
    """Error against latency: the front, runners-up, the choice with its intervals, the budget."""
    choice = plan.choice
    scale, unit = _unit(choice.latency_s)
    made = _figure(f"latency of a request, {unit}", "predicted error, %")
    others = [one for one in plan.front if not plan.is_choice(one)]
    chosen = next(one for one in plan.front if plan.is_choice(one))
    best = list(itertools.accumulate((100 * one.predicted_error for one in plan.front), min))  # over any number of GPUs
    line = {"x": [scale * one.latency_s for one in plan.front], "y": best, "mode": "lines", "hoverinfo": "skip"}
    made.add_scatter(**line, line={"color": FRONT, "shape": "hv"}, showlegend=False)
    made.add_scatter(
        **_points(others, plan, scale), mode="markers", marker={"color": FRONT, "size": 9}, name="Pareto front"
    )
    lost = {"color": LOST, "size": 9, "symbol": "x"}
    made.add_scatter(**_points(plan.runners_up, plan, scale), mode="markers", marker=lost, name="lost")
    made.add_scatter(
        **_points([chosen], plan, scale),
        mode="markers",
        marker={"color": CHOICE, "size": 15, "symbol": "star"},
        name="the choice",
        error_x=_bars(choice.latency_s, choice.latency_interval_s, scale, CHOICE),
        error_y=_bars(choice.predicted_error, choice.error_interval, 100, CHOICE),
    )
    if plan.budget.latency_s is not None:
        limit = {"color": BUDGET, "dash": "dash", "width": 1.5}
        made.add_vline(
            x=scale * plan.budget.latency_s, line=limit, annotation_text="budget", annotation_font_color=BUDGET,
            annotation_xshift=4,
        )  # fmt: skip
    return made


def parts_chart(plan: Plan) -> "Figure":
    """Where a request's time goes, part by part, in one bar."""
    choice = plan.choice
    scale, unit = _unit(choice.latency_s)
    made = _figure(unit, "", height=190, yaxis={"showgrid": False}, barmode="stack")
    steps = plan.workload.output_tokens - 1
    parts = [
        ("preprocess", choice.preprocess_s, HOST),
        (overhead_name(plan.workload), choice.overhead_s, LOST),
        ("vision", choice.vision_s, SECOND),
        ("compressor", choice.compressor_s, TRIED),
        ("prefill", choice.prefill_s, FRONT),
        ("decode", steps * (choice.tpot_s or 0.0), CHOICE),
    ]
    for name, seconds, colour in parts:
        if seconds <= 0:
            continue
        share = seconds / choice.latency_s
        made.add_bar(
            x=[scale * seconds], y=[""], orientation="h", name=name, marker_color=colour, hoverinfo="text",
            hovertext=f"{name}: {format_seconds(seconds)}, {100 * share:.0f} %",
            text=name if share > LEAST_LABELLED else "", textposition="inside", insidetextanchor="middle", textangle=0,
            textfont_color="#ffffff",
        )  # fmt: skip
    return made


def knee_chart(plan: Plan, tried: Estimate | None = None) -> "Figure | None":
    """TTFT, and the LLM's prefill in it, against visual tokens, with another number that was tried.

    None for a plan without an image.
    """
    curve, choice = knee_curve_of(plan), plan.choice
    if curve is None:
        return None
    scale, unit = _unit(choice.ttft_s)
    log, whole = {"type": "log", "dtick": 1}, {"rangemode": "tozero"}
    made = _figure(tokens_each(plan.frames), unit, xaxis=log, yaxis=whole)
    counts = list(curve.visual_tokens)
    for name, seconds, colour in (("TTFT", curve.ttft_s, CHOICE), ("LLM prefill", curve.prefill_s, FRONT)):
        made.add_scatter(
            x=counts, y=[scale * one for one in seconds], mode="lines", name=name, line={"color": colour},
            hovertemplate=f"%{{x}} tokens: {name} %{{y:.3g}} {unit}<extra></extra>",
        )  # fmt: skip
    made.add_scatter(
        x=[choice.visual_tokens], y=[scale * choice.ttft_s], mode="markers", name="the choice",
        marker={"color": CHOICE, "size": 14, "symbol": "star"},
        hovertemplate=f"the choice: %{{x}} tokens, %{{y:.3g}} {unit}<extra></extra>",
    )  # fmt: skip
    if tried is not None:
        made.add_scatter(
            x=[tried.visual_tokens], y=[scale * tried.ttft_s], mode="markers", name="tried",
            marker={"color": TRIED, "size": 12, "symbol": "diamond"},
            error_y=_bars(tried.ttft_s, tried.ttft_interval_s, scale, TRIED),
            hovertemplate=f"tried: %{{x}} tokens, %{{y:.3g}} {unit}<extra></extra>",
        )  # fmt: skip
    if (knee := choice.knee_prefill_visual_tokens) is not None:
        line = {"color": SECOND, "dash": "dot", "width": 1.5}
        made.add_vline(x=knee, line=line)
        made.add_annotation(  # on a logarithmic axis annotations, unlike lines, stand at the logarithm
            x=math.log10(knee), y=1, yref="paper", text=f"knee {knee}", font={"color": SECOND}, showarrow=False,
            xanchor="left", xshift=4,
        )  # fmt: skip
    return made


def load_chart(plan: Plan) -> "Figure | None":
    """Times of requests at one replica by rate, with the plan's rate and the knee; None without a load."""
    service = plan.service
    if service is None or not service.curve:
        return None
    scale, unit = _unit(service.curve[0].latency_p50_s)
    each = service.asked.rate_per_s / service.replicas
    made = _figure("requests a second at one replica", unit, height=300, yaxis={"type": "log"})
    for name, times_s, colour in (
        ("latency p95", [one.latency_p95_s for one in service.curve], CHOICE),
        ("latency p50", [one.latency_p50_s for one in service.curve], FRONT),
        ("TTFT p95", [one.ttft_p95_s for one in service.curve], SECOND),
    ):
        made.add_scatter(
            x=[one.rate_per_s for one in service.curve], y=[scale * time_s for time_s in times_s], mode="lines+markers",
            name=name, line={"color": colour}, hoverinfo="text",
            hovertext=[
                f"{one.rate_per_s:.3g} a second, {100 * one.utilisation_fraction:.0f} % used: {name} "
                f"{format_seconds(time_s)}"
                for one, time_s in zip(service.curve, times_s, strict=True)
            ],
        )  # fmt: skip
    marks = [("knee", service.knee_rate_per_s, LOST), ("this plan", each, TRIED)]
    for name, rate_per_s, colour in marks[: 1 if each > service.curve[-1].rate_per_s else 2]:
        made.add_vline(
            x=rate_per_s, line={"color": colour, "dash": "dot", "width": 1.5}, annotation_text=name,
            annotation_font_color=colour, annotation_xshift=4,
        )  # fmt: skip
    return made


def latency_chart(report: Report, plan: Plan) -> "Figure | None":
    """Predicted intervals and measured medians of the times that were judged; None where none was."""
    rows = held(report, plan)
    if not rows:
        return None
    made = _figure("share of the prediction, %", "", height=220)
    names = [row.name for row in rows]
    made.add_scatter(
        x=[100.0] * len(rows), y=names, mode="markers", name="predicted, with its interval",
        marker={"color": FRONT, "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (row.interval_s[1] / row.predicted_s - 1) for row in rows],
            "arrayminus": [100 * (1 - row.interval_s[0] / row.predicted_s) for row in rows],
            "color": FRONT,
        },
        hovertext=[f"{row.name}: predicted {format_seconds(row.predicted_s)}" for row in rows], hoverinfo="text",
    )  # fmt: skip
    made.add_scatter(
        x=[100 * row.measured_s / row.predicted_s for row in rows], y=names, mode="markers", name="measured",
        marker={"color": CHOICE, "size": 12, "symbol": "diamond"},
        hovertext=[f"{row.name}: measured {format_seconds(row.measured_s)}" for row in rows], hoverinfo="text",
    )  # fmt: skip
    return made
