"""Documents -> HTML for a notebook: what was chosen, its intervals, what else there is, what to mind.

A piece of a page that stands by itself: no script, no style sheet, nothing from the network, no library. Every text is
made inert, since names and reasons are others'. Colours are the notebook's own, so that dark ones stay dark.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vlmplan import inert
from vlmplan.accuracy import RATIO, Coefficient, ScalingLaw
from vlmplan.cost import Estimate
from vlmplan.document import Document
from vlmplan.fitting import FitReport
from vlmplan.models import Workload
from vlmplan.planning import Choice, Comparison, Deploy, Outline, Plan, Recheck
from vlmplan.proof import Report
from vlmplan.units import format_bytes, format_count, format_flops, format_seconds
from vlmplan.views import (
    EQUATIONS,
    FIGURES,
    FRONT_ROWS,
    choice_lines,
    front_about_choice,
    knee_line,
    load_line,
    memory_line,
    part_times,
    percent,
    scores_line,
    sensitivity,
    sentence,
    time_range,
)

Rows = Iterable[Sequence[str]]
_BAR_PX = 160
_CELL = "text-align:left;padding:0 1em 0 0"


def _text(text: str) -> str:
    return inert.html_label(inert.short(text))


def _table(columns: Sequence[str], rows: Rows) -> str:
    """A table of inert texts."""
    head = "".join(f'<th style="{_CELL}">{_text(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_text(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{_text(line)}</p>" for line in lines)


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _folded(title: str, inside: str) -> str:
    """What is shown when asked for."""
    return f"<details><summary>{_text(title)}</summary>{inside}</details>" if inside else ""


def _warnings(lines: Iterable[str]) -> str:
    return _list(f"Warning: {line}." for line in lines)


def _whole(title: str, *inside: str) -> str:
    return f"<div><p><strong>{_text(title)}</strong></p>{''.join(inside)}</div>"


def _parts(costed: Choice | Estimate, workload: Workload) -> str:
    """Where the time goes, drawn to scale."""
    rows = ""
    for name, seconds, share in part_times(costed, workload):
        bar = f'<div style="width:{round(share * _BAR_PX)}px;height:.7em;background:currentColor"></div>'
        cells = "".join(f'<td style="{_CELL}">{_text(one)}</td>' for one in (name, format_seconds(seconds)))
        rows += f'<tr>{cells}<td style="{_CELL}">{_text(f"{share * 100:.0f} %")}</td><td>{bar}</td></tr>'
    return f"<table><tbody>{rows}</tbody></table>"


def _times(costed: Choice | Estimate) -> Iterator[Sequence[str]]:
    """Name, figure and interval of every time."""
    for name, value, interval in (
        ("latency", costed.latency_s, costed.latency_interval_s),
        ("TTFT", costed.ttft_s, costed.ttft_interval_s),
        ("TPOT", costed.tpot_s, costed.tpot_interval_s),
    ):
        if value is not None and interval is not None:
            yield name, format_seconds(value), time_range(interval)


def _limits(plan: Plan) -> Mapping[str, str]:
    return {name: show(value) for name, value, show in plan.budget.limits if value is not None}


def _outlines(outlines: Sequence[Outline], plan: Plan) -> str:
    rows = (
        (
            percent(one.predicted_error), format_seconds(one.latency_s), str(one.visual_tokens),
            f"{one.model} {one.placed}", one.reason or ("the choice" if plan.is_choice(one) else ""),
        )
        for one in outlines[:FRONT_ROWS]
    )  # fmt: skip
    return _table(("error", "latency", "tokens", "model", ""), rows) if outlines else ""


def _commands(deploy: Deploy | None) -> str:
    commands = () if deploy is None else (deploy.make, deploy.command, deploy.check)
    return "".join(f"<pre>{inert.html_label(command)}</pre>" for command in commands if command)


def plan_html(plan: Plan) -> str:
    """Return a plan: the choice with its intervals and limits, where the time goes, alternatives, warnings."""
    choice, error, limits = plan.choice, plan.choice.error_interval, _limits(plan)
    rows = [
        ("error", percent(choice.predicted_error), f"{percent(error[0])} to {percent(error[1])}" if error else "", ""),
        *((*one, limits.get(one[0], "")) for one in _times(choice)),
        ("memory", format_bytes(choice.memory_bytes.total), "", limits.get("memory", "")),
        ("compute", format_flops(choice.flops.total), "", limits.get("compute", "")),
    ]
    if choice.price is not None:
        cost = f"{choice.price.thousand_requests_price:.3g} {choice.price.currency}"
        rows.append(("1,000 requests", cost, "", ""))
    sources = [f"Error from {plan.error_source.name}: {'; '.join(plan.error_source.basis)}."]
    sources += [f"Stands on {scores_line(plan.scores)}."] if plan.scores else []
    sources += [f"Left out, {why}." for why in plan.left_out]
    return _whole(
        sentence(plan),
        _table(("", "predicted", f"{100 * plan.interval_level_fraction:g} % interval", "limit"), rows),
        _warnings(plan.warnings),
        _commands(choice.deploy),
        _folded("Where the time goes", _parts(choice, plan.workload)),
        _folded("Why this one", _paragraphs([*choice_lines(plan), sensitivity(plan), knee_line(choice, plan)])),
        _folded("Memory and load", _paragraphs([memory_line(choice, plan.hardware), load_line(choice, plan.workload)])),
        _folded(f"Pareto front ({len(plan.front)})", _outlines(front_about_choice(plan), plan)),
        _folded("Why the others lost", _outlines(plan.runners_up, plan)),
        _folded("What it stands on", _list(sources)),
    )


def comparison_html(comparison: Comparison) -> str:
    """Return a comparison: the devices that meet the budget, best first, and why the others do not."""
    meets = [one for one in comparison.devices if one.model]
    rows = (
        (
            one.hardware,
            percent(one.predicted_error or 0.0),
            format_seconds(one.latency_s or 0.0),
            f"{one.requests_per_s or 0.0:.3g}",
            "" if one.thousand_requests_price is None else f"{one.thousand_requests_price:.3g} {comparison.currency}",
            str(one.visual_tokens),
            f"{one.model} {one.precision}",
        )
        for one in meets
    )
    others = ((one.hardware, one.reason or "") for one in comparison.devices if not one.model)
    return _whole(
        f"{len(meets)} of {len(comparison.devices)} devices meet the budget",
        _table(("device", "error", "latency", "requests/s", "1,000 requests", "tokens", "model"), rows),
        _warnings(comparison.warnings),
        _folded("Do not meet it", _table(("device", "why"), others)) if len(meets) < len(comparison.devices) else "",
    )


def recheck_html(recheck: Recheck) -> str:
    """Return what became of a plan: its figures then and now, what changed, and why it does not hold, if so."""
    rows = []
    for one in recheck.figures:
        name, show = FIGURES[one.name]
        values = (one.planned, one.now, one.most, one.limit)
        rows.append((name, *("" if value is None else show(value) for value in values)))
    return _whole(
        "The plan holds" if recheck.holds else "The plan does not hold",
        _list(recheck.faults),
        _paragraphs([f"{recheck.choice}, on {recheck.hardware}."]),
        _table(("", "plan", "now", "up to", "limit"), rows),
        _paragraphs([f"Changed since the plan was made: {'; '.join(recheck.changed) or 'no input of its choice'}."]),
        _list(recheck.notes),
    )


def estimate_html(estimate: Estimate) -> str:
    """Return an estimate: times with intervals, where they go, memory, compute, parameters, warnings."""
    memory = estimate.memory_bytes
    rows = [
        *_times(estimate),
        ("memory", format_bytes(memory.total), f"of it weights {format_bytes(memory.weights)}"),
        ("compute", format_flops(estimate.flops.total), ""),
        ("parameters", format_count(estimate.params.total), f"of them LLM {format_count(estimate.params.llm)}"),
    ]
    return _whole(
        f"{estimate.model} with {estimate.visual_tokens} visual tokens an image, {estimate.precision}, on "
        f"{estimate.gpus} x {estimate.hardware.name} with {estimate.runtime}: {format_seconds(estimate.latency_s)}",
        _table(("", "estimated", f"{100 * estimate.interval_level_fraction:g} % interval"), rows),
        _list(f"Cannot be run: {obstacle}." for obstacle in estimate.obstacles),
        _warnings(warning for warning in estimate.warnings if warning not in estimate.obstacles),
        _folded("Where the time goes", _parts(estimate, estimate.workload)),
        _folded("Load and knee", _paragraphs([load_line(estimate, estimate.workload), knee_line(estimate, estimate)])),
        _folded("What it stands on", _list(estimate.sources)),
    )


def _number(value: float) -> str:
    return f"{value:.4g}"


def _coefficients(coefficients: Mapping[str, Coefficient], level: float) -> str:
    def span(one: Coefficient) -> str:
        return "no end" if one.interval is None else f"{_number(one.interval[0])} to {_number(one.interval[1])}"

    rows = ((name, _number(one.value), span(one), one.interval_by) for name, one in coefficients.items())
    return _table(("", "value", f"{100 * level:g} % interval", "widest by"), rows)


def _ranges(sizes: tuple[float, float], tokens: tuple[float, float]) -> str:
    return f"LLMs of {sizes[0]:.3g} to {sizes[1]:.3g} billion parameters, {tokens[0]:g} to {tokens[1]:g} visual tokens"


def law_html(law: ScalingLaw) -> str:
    """Return a law: its equation, coefficients with intervals, the range of its points, notes."""
    fit, level = law.fit, law.interval_level_fraction
    return _whole(
        f"Law '{law.name}' of {law.n_points} points, {law.forms}, reduction {law.reduction}",
        _paragraphs([EQUATIONS[law.form], _ranges(law.llm_params_b_range, law.visual_tokens_range)]),
        _coefficients({**fit.coefficients, RATIO[law.form]: fit.ratio}, level),
        _folded("Notes", _list(law.notes)),
        _folded("What it stands on", _list(law.sources)),
    )


def fit_html(report: FitReport) -> str:
    """Return what a fit found: coefficients with intervals, errors on what was left out, warnings."""
    forms = [(report.form, report.rmse, report.loo_rmse, report.leave_one_llm_out_rmse)]
    forms += [(one.form, one.rmse, one.loo_rmse, one.leave_one_llm_out_rmse) for one in report.compared]
    rows = ((form, *("-" if one is None else f"{one:.5f}" for one in errors)) for form, *errors in forms)
    return _whole(
        f"Law '{report.name}' of {report.n_points} points, form {report.form} ({report.form_because})",
        _paragraphs([EQUATIONS[report.form], _ranges(report.range["llm_params_b"], report.range["visual_tokens"])]),
        _coefficients({**report.coefficients, RATIO[report.form]: report.ratio}, report.interval_level_fraction),
        _table(("form", "rmse", "point left out", "LLM left out"), rows),
        _list((*report.prior, *report.not_identified)),
        _warnings(report.warnings),
    )


def report_html(report: Report) -> str:
    """Return a validation: the verdict, and every check with what it found."""
    count = len(report.failed)
    verdict = f"{count} of {len(report.checks)} checks failed" if count else "Good: nothing failed"
    rows = ((check.outcome.value, check.name, check.detail) for check in report.checks)
    return _whole(
        f"{report.export}: {verdict}, on {report.provider}, against {report.checkpoint}",
        _list(f"Failed, {check.name}: {check.detail}." for check in report.failed),
        _list(f"Not proved, {check.name}: {check.detail}." for check in report.reservations),
        _folded(f"All {len(report.checks)} checks", _table(("", "check", "what was found"), rows)),
    )


_VIEWS: dict[type[Document], Callable[[Any], str]] = {
    Plan: plan_html,
    Comparison: comparison_html,
    Recheck: recheck_html,
    Estimate: estimate_html,
    ScalingLaw: law_html,
    FitReport: fit_html,
    Report: report_html,
}


def html_of(document: Document) -> str | None:
    """Return a document as HTML; None of a kind that has no view."""
    view = _VIEWS.get(type(document))
    return None if view is None else view(document)
