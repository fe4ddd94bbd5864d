"""Which law do the points follow? All forms fitted and compared on what was left out.

(points, options) -> a :class:`ScalingLaw`, for ``recommend``, and a :class:`FitReport`. Few points are too few to
choose by: then forms are averaged. Points that cannot tell a law alone are fitted with a prior. Same points and seed,
same bytes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from vlmplan.accuracy import (
    PARAMETERS,
    Coefficient,
    Fit,
    Form,
    Loss,
    Point,
    ScalingLaw,
    optimal_visual_tokens,
)
from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.fitting.coefficient_intervals import BY_LLM, quantities
from vlmplan.fitting.fit_form import FitOptions, Fitted, fit_form, parameters, untold
from vlmplan.fitting.informed_fit import fit_informed
from vlmplan.fitting.resampling import interval_of
from vlmplan.intervals import Interval
from vlmplan.models import Reduction

_POOR_RMSE = 0.04
AVERAGED_BELOW = 8  # points: which form predicts best is then luck
_LEAST_WEIGHT = 0.01
# arXiv 2411.03312, section 3: alpha and beta by task.
PUBLISHED = {"reasoning": (0.077, 0.015), "ocr": (0.029, 0.048)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a published exponent lies: in the interval or not, and the share of bootstrap draws below it."""

    name: str
    value: float
    interval: Interval | None
    inside: bool
    draws_below_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport(Document):
    """What a fit found, for people and programs: the fit in use at the top, other forms in ``compared``.

    With ``weights`` the law is the mean of several, the one at the top weighing most. The best V of that mean is
    ``average``'s. ``prior`` says what stood in for what the points cannot tell.
    """

    SCHEMA: ClassVar[str] = "vlmplan.fit/2"

    name: str
    task: str
    reduction: Reduction
    form: Form
    form_because: str
    weights: Mapping[Form, float] | None
    prior: tuple[str, ...]
    loss: Loss
    coefficients: Mapping[str, Coefficient]
    ratio: Coefficient
    families: Mapping[str, float]
    like: str
    interval_level_fraction: float
    rmse: float
    loo_rmse: float | None
    leave_one_llm_out_rmse: float | None
    assumed_rmse: float | None
    text_tokens: int
    optimal_visual_tokens: Mapping[str, Coefficient | None]
    n_points: int
    range: Mapping[str, Interval]
    not_identified: tuple[str, ...]
    published: tuple[Published, ...]
    warnings: tuple[str, ...]
    draws: int
    seed: int
    compared: tuple[Fit, ...]
    points: tuple[Point, ...]


def _chosen(fits: Mapping[Form, Fitted], options: FitOptions, why: str) -> tuple[Form, str]:
    """The form in use, and why, in words: that of fewest parameters, unless one of more is better in both ways.

    ``why`` a prior had to be used, if it was.
    """
    if why:
        return Form.HILL, f"with a prior, since {why}"
    if len(options.forms) == 1:
        return options.forms[0], "as asked"
    if len(fits) == 1:
        return next(iter(fits)), "the other form cannot be fitted" if len(
            options.asked
        ) == 2 else "no other can be fitted"
    left_out = {form: (one.fit.left_out_rmse, _singly(one.fit)) for form, one in fits.items()}
    best = Form.LOGIT if Form.LOGIT in fits else min(fits, key=lambda form: left_out[form])
    plain = left_out[best]
    for form, errors in left_out.items():
        if all(mine < its for mine, its in zip(errors, plain, strict=True)) and errors < left_out[best]:
            best = form
    return best, "it errs " + "; ".join(
        _compared(fits[best], other) for form, other in fits.items() if form is not best
    )


def _singly(fit: Fit) -> float:
    return 1.0 if fit.loo_rmse is None else fit.loo_rmse


def _compared(mine: Fitted, other: Fitted) -> str:
    """How much less or more one form errs than another."""

    def told(ratio: float) -> str:
        return f"{100 * abs(ratio - 1):.0f} % {'less' if ratio < 1 else 'more'}"

    points, form = told(_singly(mine.fit) / _singly(other.fit)), other.fit.form
    if mine.fit.leave_one_llm_out_rmse is None:
        return f"{points} than {form} on points left out"
    llms = told(mine.fit.left_out_rmse / other.fit.left_out_rmse)
    return f"{llms} than {form} on LLMs left out, {points} on points left out"


def averaged(left_out: Mapping[Form, float]) -> dict[Form, float]:
    """Return what each form weighs, by its root mean square on points left out: exp(-(m - m0) / (2 m0) - k).

    m is its square, m0 the least of all, k the parameters beyond logit's, each costing 1 as in Akaike's criterion. The
    left-out errors of few points are of one piece, each resting on all the others, and count as one observation.
    """
    squares = {form: max(missed, 1e-9) ** 2 for form, missed in left_out.items()}
    least, few = min(squares.values()), len(PARAMETERS[Form.LOGIT])
    raw = {form: math.exp((least - m) / (2 * least) - len(PARAMETERS[form]) + few) for form, m in squares.items()}
    kept = {form: weight for form, weight in raw.items() if weight >= _LEAST_WEIGHT * sum(raw.values())}
    weights = {form: round(weight / sum(kept.values()), 4) for form, weight in kept.items()}
    most = max(weights, key=lambda form: weights[form])
    return weights | {most: round(1 - sum(weight for form, weight in weights.items() if form is not most), 4)}


def _optimum(fit: Fit, law: ScalingLaw, options: FitOptions) -> Coefficient | None:
    """V* at a fixed 2 N (Q + V), with its interval; None where more tokens are always better, 0 where fewer.

    By the ratio's interval; of hill, whose V* is no function of c/b and moves with the compute, by its draws in the
    middle of the points.
    """
    text_tokens = options.text_tokens
    if fit.form is Form.HILL:
        compute = law.middle_compute(text_tokens)
        drawn = [fit.optimal_visual_tokens(text_tokens, compute, values) for values in fit.draws]
        return _drawn_optimum(fit.optimal_visual_tokens(text_tokens, compute), drawn, options.level)
    best = optimal_visual_tokens(1.0, max(0.0, fit.ratio.value), text_tokens) if fit.values[1] > 0 else None
    if best is None:
        return None
    ends = [optimal_visual_tokens(1.0, max(0.0, end), text_tokens) for end in fit.ratio.interval or ()]
    low, high = ends if len(ends) == 2 else (None, None)
    interval = None if low is None or high is None else (low, high)
    return Coefficient(value=best, interval=interval, interval_by=fit.ratio.interval_by)


def _drawn_optimum(best: float | None, drawn: Sequence[float | None], level: float) -> Coefficient | None:
    """An optimum with the interval of draws, which has no end where those without one are more than it leaves out."""
    if best is None:
        return None
    ends = [one for one in drawn if one is not None]
    told = bool(ends) and len(ends) > (1 + level) / 2 * len(drawn)
    return Coefficient(value=best, interval=interval_of(ends, level) if told else None, interval_by="draws")


def _optima(law: ScalingLaw, fits: Mapping[Form, Fitted], options: FitOptions) -> dict[str, Coefficient | None]:
    """V* by each form, and by their mean where the law is one."""
    optima: dict[str, Coefficient | None] = {key: _optimum(one.fit, law, options) for key, one in fits.items()}
    if law.weights is not None:
        compute = law.middle_compute(options.text_tokens)
        fitted = {one.form: one for one in law.fits}
        drawn = [
            fitted[draw.form].optimal_visual_tokens(options.text_tokens, compute, draw.values) for draw in law.draws
        ]
        best = law.optimal_visual_tokens(options.text_tokens, compute)
        optima["average"] = _drawn_optimum(best, drawn, options.level)
    return optima


def _published(power: Fitted, task: str) -> tuple[Published, ...]:
    """Where the paper's exponents lie in those of the power law."""
    drawn = quantities(Form.POWER, power.resamples[BY_LLM]) if BY_LLM in power.resamples else {}
    published = []
    for name, value in zip(("alpha", "beta"), PUBLISHED["ocr" if task == "ocr" else "reasoning"], strict=True):
        interval = power.fit.coefficients[name].interval
        published.append(
            Published(
                name=name,
                value=value,
                interval=interval,
                inside=interval is None or interval[0] <= value <= interval[1],
                draws_below_fraction=float((drawn[name] < value).mean()) if drawn else 0.0,
            )
        )
    return tuple(published)


def _fitted(points: Sequence[Point], options: FitOptions) -> tuple[dict[Form, Fitted], tuple[str, ...], str]:
    """Fit each form, or hill with the prior where the points alone tell none of those asked.

    With what cannot be fitted, and why the prior was used.
    """
    missing = [text for form in options.asked if (text := untold(points, form, options)) is not None]
    if len(missing) == len(options.asked):
        why = missing[0]
        if Form.HILL not in options.asked:
            raise InputError(f"{why}; only hill takes a prior")
        if options.prior is None:
            raise InputError(f"{why}; with '--prior auto' published scores and studies would tell it")
        return {Form.HILL: fit_informed(points, options, options.prior)}, (), why
    fits, failed = {}, {}
    for form in Form if len(options.forms) == 1 else options.asked:
        try:
            fits[form] = fit_form(points, form, options)
        except InputError as error:
            failed[form] = error
    if failed and (not fits or (len(options.forms) == 1 and options.forms[0] in failed)):
        raise failed[next(form for form in (*options.forms, *failed) if form in failed)]
    return fits, tuple(f"no {form} law beside: {error}" for form, error in failed.items()), ""


def _used(fits: Mapping[Form, Fitted], points: int, options: FitOptions, why: str) -> tuple[dict[Form, float], str]:
    """What each form in use weighs, and why, in words; several weigh where points are too few to choose by."""
    chosen, because = _chosen(fits, options, why)
    if options.forms or points >= AVERAGED_BELOW:
        return {chosen: 1.0}, because
    weights = averaged({form: _singly(one.fit) for form, one in fits.items()})
    if len(weights) > 1:
        told = ", ".join(f"{form} {weight:.2f}" for form, weight in weights.items())
        because = f"the one that weighs most: {points} points are too few to choose by, and the law is a mean of {told}"
    return weights, because


def fit_law(
    points: Sequence[Point], options: FitOptions, sources: Sequence[str] = (), warnings: Sequence[str] = ()
) -> tuple[ScalingLaw, FitReport]:
    """Fit all forms and choose, or average. Raises InputError where points are too few or cannot tell, without a prior.

    A form that cannot be fitted is left out, with a warning, unless it was asked for or no other can be, either.
    """
    fits, left_out, why = _fitted(points, options)
    leaning = tuple(text for one in fits.values() for text in one.prior)
    warnings = (*warnings, *left_out, *_cautions(points, fits, options))
    weights, because = _used(fits, len(points), options, why)
    form = max(weights, key=lambda one: weights[one])
    not_identified = tuple(dict.fromkeys(text for one in fits.values() for text in one.not_identified))
    sizes, tokens = ([getattr(point, name) for point in points] for name in ("llm_params_b", "visual_tokens"))
    law = ScalingLaw(
        name=options.name,
        task=options.task,
        form=form,
        reduction=options.reduction,
        like=options.like,
        loss=options.loss,
        interval_level_fraction=options.level,
        n_points=len(points),
        llm_params_b_range=(min(sizes), max(sizes)),
        visual_tokens_range=(min(tokens), max(tokens)),
        points=tuple(points),
        sources=tuple(sources),
        notes=(f"form {form}: {because}", *leaning, *not_identified, *warnings),
        fits=tuple(one.fit if key in weights else replace(one.fit, draws=()) for key, one in fits.items()),
        weights=weights if len(weights) > 1 else None,
    )
    return law, _report(law, fits, because, options, (not_identified, tuple(warnings)))


def _cautions(points: Sequence[Point], fits: Mapping[Form, Fitted], options: FitOptions) -> Iterator[str]:
    """What makes figures rougher than they look."""
    most = max(parameters(points, form, options) for form in fits)
    informed = any(one.prior for one in fits.values())
    if len(points) < 2 * most and not informed:
        yield f"{len(points)} points for up to {most} parameters: intervals and the choice of form are rough"
    llms = len({point.llm for point in points})
    if llms < 4 and informed:
        yield f"{llms} LLM{'s' * (llms > 1)}: how another differs is taken from published scores"
    elif llms < 4:
        yield f"{llms} LLMs: what resampling LLMs shows is rough, and intervals of the LLM's slope may be too narrow"
    least = min(one.fit.rmse for one in fits.values())
    if least > _POOR_RMSE:
        yield f"points lie {100 * least:.1f} points off the law (rms): they may follow several (column family)"


def _report(
    law: ScalingLaw,
    fits: Mapping[Form, Fitted],
    because: str,
    options: FitOptions,
    said: tuple[tuple[str, ...], tuple[str, ...]],
) -> FitReport:
    """The report of a law; ``said`` is what the points cannot tell, and warnings."""
    used = law.fit
    return FitReport(
        name=law.name,
        task=law.task,
        reduction=law.reduction,
        form=law.form,
        form_because=because,
        weights=law.weights,
        prior=tuple(text for one in fits.values() for text in one.prior),
        loss=law.loss,
        coefficients=used.coefficients,
        ratio=used.ratio,
        families=used.families,
        like=law.like,
        interval_level_fraction=law.interval_level_fraction,
        rmse=used.rmse,
        loo_rmse=used.loo_rmse,
        leave_one_llm_out_rmse=used.leave_one_llm_out_rmse,
        assumed_rmse=used.assumed_rmse,
        text_tokens=options.text_tokens,
        optimal_visual_tokens=_optima(law, fits, options),
        n_points=law.n_points,
        range={"llm_params_b": law.llm_params_b_range, "visual_tokens": law.visual_tokens_range},
        not_identified=said[0],
        published=_published(fits[Form.POWER], options.task) if options.published and Form.POWER in fits else (),
        warnings=said[1],
        draws=options.draws,
        seed=options.seed,
        compared=tuple(one for one in law.fits if one.form is not law.form),
        points=law.points,
    )
