"""Fits and laws -> terminal text."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan import inert
from vlmplan.accuracy import RATIO, Coefficient, Form
from vlmplan.fitting import FitReport
from vlmplan.views.text import new_console, new_table

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


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _span(low: float, high: float, digits: str) -> str:
    return f"{low:{digits}}" if low == high else f"{low:{digits}} to {high:{digits}}"


def _print_coefficients(console: "Console", coefficients: Mapping[str, Coefficient], level: str) -> None:
    table = new_table("", "value", f"{level} interval", "widest by", wrap="widest by")
    for name, one in coefficients.items():
        table.add_row(name, _number(one.value), _interval(one), one.interval_by)
    console.print(table)


def print_fit(report: FitReport, out: Path | None) -> None:
    """Print the law, how sure it is, the other forms beside it, the best V, and what is to be minded."""
    console, level = new_console(), f"{100 * report.interval_level_fraction:g} %"
    llms = len({point.llm for point in report.points})
    (small, large), (few, many) = report.range["llm_params_b"], report.range["visual_tokens"]
    models = f"{_counted(report.n_points, 'point')}: {_counted(llms, 'LLM')} of {_span(small, large, '.3g')} billion"
    console.print(
        f"Law '{report.name}' of {models}, {_span(few, many, 'g')} visual tokens, reduction {report.reduction}.",
        style="bold",
    )
    console.print(f"Form {report.form}: {EQUATIONS[report.form]} ({report.form_because}).")
    console.print()
    ratio = {RATIO[report.form]: report.ratio}
    _print_coefficients(console, {**report.coefficients, **ratio}, level)
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
    if out is not None:
        console.print(f"Next: vlmplan recommend --task {inert.argument(str(out))} ...", soft_wrap=True)


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
