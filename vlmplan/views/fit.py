"""Fits and laws -> terminal text."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.accuracy import RATIO, Coefficient, Form
from vlmplan.fitting import FitReport
from vlmplan.units import counted
from vlmplan.views.text import new_console, new_table, print_unsure

if TYPE_CHECKING:
    from rich.console import Console

EQUATIONS = {
    Form.LOGIT: "ln(error / (1 - error)) = a - b ln N - c ln V",
    Form.POWER: "error = A N^-alpha V^-beta + D",
    Form.HILL: "error = 1 - (1 - E) V^c / (V^c + exp(d)^c), ln(E / (1 - E)) = a - b ln N",
}


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"


def _interval(one: Coefficient) -> str:
    return "no end" if one.interval is None else f"{_number(one.interval[0])} to {_number(one.interval[1])}"


def _span(low: float, high: float, digits: str) -> str:
    return f"{low:{digits}}" if low == high else f"{low:{digits}} to {high:{digits}}"


def _print_coefficients(console: "Console", coefficients: Mapping[str, Coefficient], level: str) -> None:
    table = new_table("", "value", f"{level} interval", "widest by", wrap="widest by")
    for name, one in coefficients.items():
        table.add_row(name, _number(one.value), _interval(one), one.interval_by)
    console.print(table)


def print_fit(report: FitReport, out: Path | None, *, verbose: bool = False) -> None:
    """Print the law, how sure it is, the other forms beside it, the best V, and what is to be minded."""
    console, level = new_console(), f"{100 * report.interval_level_fraction:g} %"
    llms = len({point.llm for point in report.points})
    (small, large), (few, many) = report.range["llm_params_b"], report.range["visual_tokens"]
    models = f"{counted(report.n_points, 'point')}: {counted(llms, 'LLM')} of {_span(small, large, '.3g')} billion"
    what = f"{models}, {_span(few, many, 'g')} visual tokens, reduction {report.reduction}"
    if verbose:
        console.print(f"Law '{report.name}' of {what}.", style="bold")
    else:
        console.print(f"Law '{report.name}' {_misses(report)}. It is of {what}.", style="bold")
    console.print(f"Form {report.form}: {EQUATIONS[report.form]} ({report.form_because}).")
    console.print()
    ratio = {RATIO[report.form]: report.ratio}
    _print_coefficients(console, {**report.coefficients, **ratio}, level)
    (_print_rest if verbose else _print_brief)(console, report, level)
    if out is not None:
        console.print(f"Next: vlmplan recommend --task {inert.argument(str(out))} ...", soft_wrap=True)


def _misses(report: FitReport) -> str:
    """How far the law is off, in points of error, on what it was not fitted to where that is known."""
    left_out = (("an LLM left out", report.leave_one_llm_out_rmse), ("a point left out", report.loo_rmse))
    known = [f"{100 * rmse:.2f} points on {what}" for what, rmse in left_out if rmse is not None]
    return f"is off by {' and '.join(known or [f'{100 * report.rmse:.2f} points on its own points'])} (rmse)"


def _print_brief(console: "Console", report: FitReport, level: str) -> None:
    """Print the best V of the form in use, and the first of what is to be minded."""
    console.print()
    form = "average" if report.weights else report.form
    if form in report.optimal_visual_tokens:
        console.print(_optimum(form, report.optimal_visual_tokens[form], report, level))
    assumed = report.assumed_rmse
    beyond = "nothing was tried outside the points' sizes and tokens"
    if assumed is not None:
        beyond = f"another LLM may be off by {100 * assumed:.2f} points, by published scores"
    rest = [f"{text}." for text in (*report.warnings, *report.prior, *report.not_identified)]
    print_unsure(console, f"intervals hold {level}; {beyond}", rest)
    published = " published exponents," if report.published else ""
    console.print(f"More: -v (other forms,{published} their best V, all that is to be minded), --json.")


def _print_rest(console: "Console", report: FitReport, level: str) -> None:
    """Print offsets of families, the errors of all forms, their best V, published exponents and warnings."""
    if report.families:
        offsets = ", ".join(f"{family or 'unnamed'} {value:+.3f}" for family, value in report.families.items())
        like = f"; others are taken for {report.like}" if report.like else ""
        console.print()
        console.print(f"Offsets of the families from their mean{_unit(report.form)}: {offsets}{like}.")
    console.print()
    _print_errors(console, report)
    console.print()
    for form, best in report.optimal_visual_tokens.items():
        console.print(_optimum(form, best, report, level))
    for text in (*report.prior, *report.not_identified):
        console.print(f"{text}.")
    for one in report.published:
        place = "inside" if one.inside else "outside"
        bounds = "" if one.interval is None else f" ({_number(one.interval[0])} to {_number(one.interval[1])})"
        console.print(
            f"Published {one.name} {one.value:g}: {place} the power law's {level} interval{bounds}; "
            f"{100 * one.draws_below_fraction:.0f} % of the draws by LLM lie below it."
        )
    for warning in report.warnings:
        console.print(f"Warning: {warning}.", style="yellow")


def _unit(form: Form) -> str:
    return ", in ln A" if form is Form.POWER else ", in logit"


def _print_errors(console: "Console", report: FitReport) -> None:
    """All forms' errors, as root mean squares."""
    table = new_table("form", "rmse", "point left out", "LLM left out", "coefficients", wrap="coefficients")
    rows = [(report.form, report.rmse, report.loo_rmse, report.leave_one_llm_out_rmse, report.coefficients)]
    for other in report.compared:
        rows.append((other.form, other.rmse, other.loo_rmse, other.leave_one_llm_out_rmse, other.coefficients))
    for form, rmse, loo, llm, coefficients in rows:
        values = ", ".join(f"{name} {one.value:.4g}" for name, one in coefficients.items())
        table.add_row(form, f"{rmse:.5f}", *("-" if one is None else f"{one:.5f}" for one in (loo, llm)), values)
    console.print(table)
    if report.assumed_rmse is not None:
        console.print(f"Another LLM may be off by {report.assumed_rmse:.4f}, by published scores.")


def _optimum(form: str, best: Coefficient | None, report: FitReport, level: str) -> str:
    what = f"Best V at a fixed 2N(Q+V) with {report.text_tokens} uncached text tokens, {form}"
    what += "" if form in (Form.POWER, Form.LOGIT) else " in the middle of the points"
    if best is None:
        return f"{what}: none, the more the better."
    if best.value < 1:
        return f"{what}: 1, the fewer the better."
    most = report.range["visual_tokens"][1]
    beyond = f"; the points end at {most:g}" if best.value > most else ""
    if best.interval is None:
        return f"{what}: {best.value:.1f}, with no upper end{beyond}."
    return f"{what}: {best.value:.1f} ({level}: {max(1.0, best.interval[0]):.1f} to {best.interval[1]:.1f}){beyond}."
