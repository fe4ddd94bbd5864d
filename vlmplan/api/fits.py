"""How does error fall with LLM size and visual tokens? Points, or a harness's results -> a law, and what to tell."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.accuracy import Form, Loss, Point, PriorChoice
from vlmplan.api.given import File, check_confidence, file, must_be_one_of, one_of, within
from vlmplan.errors import InputError, mistyped, printable
from vlmplan.fitting import Harness
from vlmplan.models import Reduction

if TYPE_CHECKING:
    from vlmplan.accuracy import ScalingLaw
    from vlmplan.fitting import FitOptions, FitReport, Prior, Row
    from vlmplan.studies import Study

LEAST_ANSWERS = 4  # that a point of a study has to be worth
LONG_POINTS = 300  # from here on a fit takes seconds


def _unheard(text: str) -> None:
    """What takes long, where nobody listens."""


def fit(
    *,
    points: File | Sequence[Point],
    from_: str | None = None,
    runs: File | None = None,
    metric: str | None = None,
    task: str | None = None,
    score_max: float | None = None,
    form: str = "auto",
    prior: str = "auto",
    floor: str | float = "free",
    loss: str = "squares",
    reduction: str = "trained",
    like: str = "",
    drop: str | None = None,
    keep: str | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.9,
    text_tokens: int = 50,
    published: bool = False,
    name: str | None = None,
    tell: Callable[[str], None] = _unheard,
) -> "tuple[ScalingLaw, FitReport]":
    """Fit a scaling law, error by LLM size and visual tokens, to measured points.

    Args:
        points: A CSV, the ``study.json`` of ``study`` (its answers alone, each arm by what its answers are worth), with
            ``from_`` a folder of results, or a list of ``Point``: LLM parameters in billions, visual
            tokens an image, an error from 0 to 1.
        from_: Whose results the folder holds: ``"lmms-eval"`` or ``"vlmevalkit"``.
        runs: With ``from_``: a table with run, llm_params_b and visual_tokens.
        metric: With ``from_``: the figure, where a task has several.
        task: Which of the points' tasks, or a mix: ``"docvqa=0.5,textvqa=0.5"``.
        score_max: What a perfect score is: 100, 1000.
        form: ``"auto"``, or of power, logit and hill those to choose from, with commas.
        prior: ``"auto"``: shipped studies tell what the points cannot; ``"none"``: they do not.
        floor: D of power: ``"free"`` from 0 up, or held at a number from 0 to below 1.
        loss: ``"squares"``, or ``"huber"``: points far off count less.
        reduction: How the models came to their tokens; of a study, the study's.
        like: What a family without points is taken for; the mean of all unless told.
        drop: Suspicions, lines or runs to leave out, with commas.
        keep: Suspicions, lines or runs to keep, with commas.
        draws: Of each bootstrap, 200 to 20,000.
        seed: Of all that is drawn.
        confidence: Share that intervals hold, 0.5 to 0.999.
        text_tokens: For the best number of visual tokens at a fixed compute. 50 unless told, as on the command line.
        published: Whether to tell where the paper's exponents lie.
        name: The law's name; the task's or the file's unless told.
        tell: Hears, in words, that a fit of many points takes a while.

    Returns:
        The law, to predict and to plan with, and the report: coefficients with intervals, errors on what was left out
        of the fit, other forms beside it, warnings.

    Raises:
        InputError: For a table that cannot be read, naming the line, and for points that cannot tell a law.

    Example:
        >>> import vlmplan
        >>> points = [
        ...     vlmplan.Point(llm_params_b=n, visual_tokens=v, error=0.9 * n**-0.2 * v**-0.05)
        ...     for n in (0.5, 2, 7) for v in (16, 64, 256)
        ... ]
        >>> law, report = vlmplan.fit(points=points, form="power", floor=0, draws=200)
        >>> round(report.coefficients["alpha"].value, 3), round(report.coefficients["beta"].value, 3)
        (0.2, 0.05)
        >>> round(law.error(llm_params_b=2, visual_tokens=64), 3)
        0.636
    """
    from vlmplan.accuracy import parse_task
    from vlmplan.fitting import FitOptions, fit_law, kept, of_task
    from vlmplan.fitting import points as as_points

    check_confidence(confidence)
    asked = _study(points, from_)
    if asked is not None:
        reduction, task = asked.reduction, task or asked.task
    within("--draws", draws, 200, 20_000)
    options = FitOptions(
        forms=_forms(form), floor=_floor(floor), loss=must_be_one_of(Loss, loss, "--loss"),
        reduction=must_be_one_of(Reduction, reduction, "--reduction"), like=like, draws=draws, seed=seed,
        level=confidence, text_tokens=text_tokens, published=published,
    )  # fmt: skip
    shares, stock = None if task is None else parse_task(task), must_be_one_of(PriorChoice, prior, "--prior")
    rows, notes = (
        _rows(points, one_of(Harness, from_, "--from"), file(runs), metric, score_max, shares)
        if asked is None else (_studied(asked), tuple[str, ...]())
    )  # fmt: skip
    chosen, left = of_task(rows, shares)
    used, warnings = kept(chosen, _words(drop), _words(keep))
    models, label = as_points(used), task or _single({row.task for row in rows})
    if len(models) > LONG_POINTS:
        tell(f"fitting {len(models)} models: up to half a minute")
    origin = Path(points) if isinstance(points, str | Path) else None
    named = name or ("" if "," in label or "=" in label else label) or (origin.stem if origin else "law")
    options = replace(options, name=printable(named), task=label)
    if stock is PriorChoice.AUTO:
        options = replace(options, prior=_prior(models, options, shares or {label: 1.0}))
    sources = ((printable(origin.name),) if origin else ()) + tuple(dict.fromkeys(r.source for r in used if r.source))
    return fit_law(models, options, sources[:50], (*notes, *left, *warnings))


def _study(points: File | Sequence[Point], harness: str | None) -> "Study | None":
    """The study in a file of JSON; None where the points are something else."""
    if harness is not None or not isinstance(points, str | Path) or Path(points).suffix != ".json":
        return None
    from vlmplan.document import load
    from vlmplan.studies import Study

    return load(Study, Path(points))


def _studied(study: "Study") -> "tuple[Row, ...]":
    """A study's arms as points: what the answers alone say, since a law brings what is known beforehand itself.

    Raises InputError where too little was answered.
    """
    from vlmplan.accuracy import OWN_QUESTIONS
    from vlmplan.fitting import Row

    rows = tuple(
        Row(
            name=f"{one.served_model} at {one.limit}", llm_params_b=one.llm_params_b, visual_tokens=one.visual_tokens,
            error=one.answered_error_fraction, family=one.family, weight=one.answered_questions, task=study.task,
            source=f"{OWN_QUESTIONS}{one.model}",
        )
        for one in study.arms if one.answered_questions >= LEAST_ANSWERS
    )  # fmt: skip
    if not rows:
        raise InputError(f"{study.questions}: no model of the study has {LEAST_ANSWERS} answers or more; ask more")
    return rows


def _single(tasks: Collection[str]) -> str:
    """The one task of all points; nothing where there are several."""
    return min(tasks) if len(tasks) == 1 else ""


def _rows(
    points: File | Sequence[Point],
    harness: Harness | None,
    runs: Path | None,
    metric: str | None,
    score_max: float | None,
    tasks: Collection[str] | None,
) -> "tuple[tuple[Row, ...], tuple[str, ...]]":
    """Read the rows from a table or from a harness's folder; those of a list are taken as they are."""
    from vlmplan.fitting import read_points, read_results

    if score_max is not None and not (math.isfinite(score_max) and score_max > 0):
        raise InputError(f"--score-max: found {score_max:g}, expected a number above 0")
    if harness is None and (runs is not None or metric is not None):
        raise InputError("--runs, --metric: belong to --from; leave them out, or say whose results these are")
    if not isinstance(points, str | Path):
        if harness is not None or score_max is not None:
            raise InputError("--from, --score-max: belong to a file; leave them out: points are errors already")
        return tuple(_row(number, point) for number, point in enumerate(points, 1)), ()
    if harness is None:
        return read_points(Path(points), score_max)
    if runs is None:
        raise InputError("--runs: found none; expected a table with run, llm_params_b and visual_tokens")
    return read_results(Path(points), harness, runs, metric, score_max, tasks)


def _row(number: int, point: Point) -> "Row":
    """A point as a table has it. Raises InputError for one that no table could hold."""
    from vlmplan.fitting import Row

    for name, value in (("llm_params_b", point.llm_params_b), ("visual_tokens", point.visual_tokens)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"point {number}: {name}: found {value:g}, expected a number above 0")
    if not 0 <= point.error <= 1:
        raise InputError(f"point {number}: error: found {point.error:g}, expected 0 to 1")
    return Row(
        name=f"point {number}", llm_params_b=point.llm_params_b, visual_tokens=point.visual_tokens, error=point.error,
        family=point.family, weight=point.weight,
    )  # fmt: skip


def _floor(given: str | float) -> float | None:
    if given == "free":
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise mistyped("--floor", str(given), "free or a number from 0 to below 1")
    return value


def _forms(text: str) -> tuple[Form, ...]:
    """The forms asked for; none for ``auto``."""
    if text == "auto":
        return ()
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if unknown := [word for word in words if word not in list(Form)]:
        raise mistyped("--form", unknown[0], f"auto, or of {', '.join(Form)} one or more")
    return tuple(form for form in Form if form in words)


def _prior(points: Sequence[Point], options: "FitOptions", shares: "dict[str, float]") -> "Prior | None":
    """What the shipped evidence says of the points' law, read only where they cannot tell it."""
    from vlmplan.fitting import shipped_prior, untold
    from vlmplan.inventory import catalogue

    if not all(untold(points, form, options) for form in options.asked):
        return None
    return shipped_prior(catalogue.evidence(), shares, options.reduction, points)


def _words(text: str | None) -> frozenset[str]:
    return frozenset(word.strip() for word in (text or "").split(",") if word.strip())
