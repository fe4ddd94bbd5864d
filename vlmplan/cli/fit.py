"""``vlmplan fit``: a scaling law from points."""

import enum
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmplan.accuracy import Form, Harness, Loss
from vlmplan.document import check_destination, to_toml, write_text
from vlmplan.errors import InputError, printable
from vlmplan.models import Reduction

if TYPE_CHECKING:
    from vlmplan.accuracy import Options, Point, Prior, Row
from vlmplan.cli.options import ConfidenceOption, JsonOption, check_confidence
from vlmplan.cli.output import deliver, say

LONG_POINTS = 300  # from here on a fit takes seconds


class PriorChoice(enum.StrEnum):
    """Whether published scores and studies stand in for what points cannot tell."""

    AUTO = "auto"
    NONE = "none"


def fit(  # noqa: PLR0917 - one parameter an option
    points: Annotated[Path, typer.Argument(metavar="POINTS.csv|DIR", help="Points, or with --from a results folder.")],
    from_: Annotated[Harness | None, typer.Option("--from", help="Whose results the folder holds.")] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="RUNS.csv", help="With --from: run, llm_params_b, visual_tokens.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="With --from: the figure, where several.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Which of the points' tasks, or a mix such as docvqa=0.5,textvqa=0.5.")
    ] = None,
    score_max: Annotated[float | None, typer.Option("--score-max", help="What a perfect score is: 100, 1000.")] = None,
    form: Annotated[
        str, typer.Option("--form", metavar="auto|LIST", help="Of power, logit and hill, what predicts best.")
    ] = "auto",
    prior: Annotated[
        PriorChoice, typer.Option("--prior", help="auto: shipped studies tell what the points cannot.")
    ] = PriorChoice.AUTO,
    floor: Annotated[
        str, typer.Option("--floor", metavar="free|NUMBER", help="D of power: free from 0 up, or held.")
    ] = "free",
    loss: Annotated[Loss, typer.Option("--loss", help="huber: points far off count less.")] = Loss.SQUARES,
    reduction: Annotated[
        Reduction, typer.Option("--reduction", help="How the models came to their tokens.")
    ] = Reduction.TRAINED,
    like: Annotated[
        str, typer.Option("--like", metavar="FAMILY", help="What a family without points is taken for [their mean].")
    ] = "",
    drop: Annotated[
        str | None, typer.Option("--drop", metavar="LIST", help="Suspicions, lines or runs to leave out.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="LIST", help="Suspicions, lines or runs to keep.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=200, max=20_000, help="Of each bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Of all that is drawn.")] = 0,
    confidence: ConfidenceOption = 0.9,
    text_tokens: Annotated[
        int, typer.Option("--text-tokens", min=0, max=1_000_000, help="For the best V at a fixed compute.")
    ] = 50,
    published: Annotated[bool, typer.Option("--published", help="Where the paper's exponents lie.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="The law's name [default: the task's or file's].")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="LAW.toml", help="Write the law here.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw points, law and Pareto line (.svg, .png).")] = None,
    json: JsonOption = False,
) -> None:
    """Fit a scaling law, error by LLM size and visual tokens, to measured points.

    Example: vlmplan fit points.csv --out law.toml --plot law.svg
    """
    from vlmplan.accuracy import Options, fit_law, kept, of_task, parse_task
    from vlmplan.accuracy import points as as_points
    from vlmplan.views import check_picture, plot_law, print_fit

    check_confidence(confidence)
    check_destination(out)
    check_picture(plot)
    _check_apart(points, out, plot)
    options = Options(
        forms=_forms(form),
        floor=_floor(floor),
        loss=loss,
        reduction=reduction,
        like=like,
        draws=draws,
        seed=seed,
        level=confidence,
        text_tokens=text_tokens,
        published=published,
    )
    shares = None if task is None else parse_task(task)
    rows, notes = _rows(points, from_, runs, metric, score_max, shares)
    chosen, left = of_task(rows, shares)
    used, warnings = kept(chosen, _words(drop), _words(keep))
    tasks = {row.task for row in rows}
    label = task or (min(tasks) if len(tasks) == 1 else "")
    title = printable(name or _single(label) or points.stem)
    sources = (printable(points.name), *dict.fromkeys(row.source for row in used if row.source))
    models = as_points(used)
    if len(models) > LONG_POINTS:
        say(f"fitting {len(models)} models: up to half a minute")
    options = replace(options, name=title, task=label)
    if prior is PriorChoice.AUTO:
        options = replace(options, prior=_prior(models, options, shares or {label: 1.0}))
    law, report = fit_law(models, options, sources[:50], (*notes, *left, *warnings))
    deliver(report, None, json, lambda: print_fit(report, out))
    if out is not None:
        write_text(out, to_toml(law))
        say(f"wrote {out}")
    if plot is not None:
        plot_law(law, text_tokens, plot)
        say(f"wrote {plot}")


def _rows(
    path: Path,
    harness: Harness | None,
    runs: Path | None,
    metric: str | None,
    score_max: float | None,
    tasks: Collection[str] | None,
) -> tuple[tuple["Row", ...], tuple[str, ...]]:
    """Read the rows from a table or from a harness's folder."""
    from vlmplan.accuracy import read_points, read_results

    if score_max is not None and not (math.isfinite(score_max) and score_max > 0):
        raise InputError(f"--score-max: found {score_max:g}, expected a number above 0")
    if harness is None:
        if runs is not None or metric is not None:
            raise InputError("--runs, --metric: belong to --from; leave them out, or say whose results these are")
        return read_points(path, score_max)
    if runs is None:
        raise InputError("--runs: found none; expected a table with run, llm_params_b and visual_tokens")
    return read_results(path, harness, runs, metric, score_max, tasks)


def _single(task: str) -> str:
    """The name of one task; nothing for a mix of several."""
    return "" if "," in task or "=" in task else task


def _check_apart(points: Path, out: Path | None, plot: Path | None) -> None:
    """Raise InputError where one file would be written over another."""
    files = [os.path.realpath(path) for path in (points, out, plot) if path is not None]
    if len(set(files)) < len(files):
        raise InputError("--out, --plot: found the same file twice, or the points' own; expected different ones")


def _floor(text: str) -> float | None:
    if text == "free":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise InputError(f"--floor: found '{text[:40]}', expected free or a number from 0 to below 1")
    return value


def _forms(text: str) -> tuple[Form, ...]:
    """The forms asked for; none for ``auto``."""
    if text == "auto":
        return ()
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if unknown := [word for word in words if word not in list(Form)]:
        raise InputError(f"--form: found '{unknown[0][:40]}', expected auto, or of {', '.join(Form)} one or more")
    return tuple(form for form in Form if form in words)


def _prior(points: Sequence["Point"], options: "Options", shares: Mapping[str, float]) -> "Prior | None":
    """What the shipped evidence says of the points' law, read only where they cannot tell it."""
    from vlmplan.accuracy import shipped_prior, untold
    from vlmplan.planning import catalogue

    if not all(untold(points, form, options) for form in options.asked):
        return None
    return shipped_prior(catalogue.evidence(), shares, options.reduction, points)


def _words(text: str | None) -> frozenset[str]:
    return frozenset(word.strip() for word in (text or "").split(",") if word.strip())
