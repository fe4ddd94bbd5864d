"""Which law do the points follow? Both forms fitted and compared on what was left out.

(points, options) -> a :class:`ScalingLaw`, for ``recommend``, and a :class:`FitReport`. Same points and seed, same
bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.fit_form import Fitted, Options, fit_form, parameters
from vlmplan.intervals import BY_LLM, quantities
from vlmplan.model import Reduction
from vlmplan.scaling import Coefficient, Fit, Form, Interval, Loss, Point, ScalingLaw, optimal_visual_tokens

_POOR_RMSE = 0.04
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
    """What a fit found, for people and programs: the fit in use at the top, the other form in ``compared``."""

    SCHEMA: ClassVar[str] = "vlmplan.fit/1"

    name: str
    task: str
    reduction: Reduction
    form: Form
    form_because: str
    loss: Loss
    coefficients: Mapping[str, Coefficient]
    ratio: Coefficient
    families: Mapping[str, float]
    like: str
    interval_level_fraction: float
    rmse: float
    loo_rmse: float
    leave_one_llm_out_rmse: float | None
    text_tokens: int
    optimal_visual_tokens: Mapping[Form, Coefficient | None]
    n_points: int
    range: Mapping[str, Interval]
    not_identified: tuple[str, ...]
    published: tuple[Published, ...]
    warnings: tuple[str, ...]
    draws: int
    seed: int
    compared: Fit | None
    points: tuple[Point, ...]


def _chosen(fits: Mapping[Form, Fitted], asked: Form | None) -> tuple[Form, str]:
    """The form in use, and why, in words: logit, which has fewer parameters, unless power is better in both ways."""
    if asked is not None:
        return asked, "as asked"
    if len(fits) == 1:
        return next(iter(fits)), "the other form cannot be fitted"
    left_out = {form: (one.fit.left_out_rmse, one.fit.loo_rmse) for form, one in fits.items()}
    both = zip(left_out[Form.POWER], left_out[Form.LOGIT], strict=True)
    better = Form.POWER if all(power < logit for power, logit in both) else Form.LOGIT
    other = next(form for form in fits if form is not better)
    llms, points = (_compared(mine / its) for mine, its in zip(left_out[better], left_out[other], strict=True))
    if fits[better].fit.leave_one_llm_out_rmse is None:
        return better, f"it errs {points} than {other} on points left out"
    return better, f"it errs {llms} than {other} on LLMs left out, {points} on points left out"


def _compared(ratio: float) -> str:
    return f"{100 * abs(ratio - 1):.0f} % {'less' if ratio < 1 else 'more'}"


def _optimum(fit: Fit, text_tokens: int) -> Coefficient | None:
    """V* at a fixed 2 N (Q + V), with the ratio's interval; None where more tokens are always better, 0 where fewer."""
    best = optimal_visual_tokens(1.0, max(0.0, fit.ratio.value), text_tokens) if fit.values[1] > 0 else None
    if best is None:
        return None
    ends = [optimal_visual_tokens(1.0, max(0.0, end), text_tokens) for end in fit.ratio.interval or ()]
    low, high = ends if len(ends) == 2 else (None, None)
    interval = None if low is None or high is None else (low, high)
    return Coefficient(value=best, interval=interval, interval_by=fit.ratio.interval_by)


def _published(power: Fitted, task: str) -> tuple[Published, ...]:
    """Where the paper's exponents lie in those of the power law."""
    drawn = quantities(Form.POWER, power.resamples[BY_LLM]) if BY_LLM in power.resamples else {}
    found = []
    for name, value in zip(("alpha", "beta"), PUBLISHED["ocr" if task == "ocr" else "reasoning"], strict=True):
        interval = power.fit.coefficients[name].interval
        found.append(
            Published(
                name=name,
                value=value,
                interval=interval,
                inside=interval is None or interval[0] <= value <= interval[1],
                draws_below_fraction=float((drawn[name] < value).mean()) if drawn else 0.0,
            )
        )
    return tuple(found)


def fit_law(
    points: Sequence[Point], options: Options, sources: Sequence[str] = (), warnings: Sequence[str] = ()
) -> tuple[ScalingLaw, FitReport]:
    """Fit both forms and choose. Raises InputError where the points are too few, or cannot tell N from V.

    A form that cannot be fitted is left out, with a warning, unless it was asked for or the other cannot be, either.
    """
    fits, failed = {}, {}
    for form in Form:
        try:
            fits[form] = fit_form(points, form, options)
        except InputError as error:
            failed[form] = error
    if failed and (not fits or options.form in failed):
        raise failed[options.form or next(iter(failed))]
    left_out = tuple(f"no {form} law beside: {error}" for form, error in failed.items())
    warnings = (*warnings, *left_out, *_cautions(points, fits, options))
    form, because = _chosen(fits, options.form)
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
        notes=(f"form {form}: {because}", *not_identified, *warnings),
        fits=tuple(one.fit if key is form else replace(one.fit, draws=()) for key, one in fits.items()),
    )
    return law, _report(law, fits, because, options, (not_identified, tuple(warnings)))


def _cautions(points: Sequence[Point], fits: Mapping[Form, Fitted], options: Options) -> Iterator[str]:
    """What makes figures rougher than they look."""
    most = max(parameters(points, form, options) for form in fits)
    if len(points) < 2 * most:
        yield f"{len(points)} points for up to {most} parameters: intervals and the choice of form are rough"
    llms = len({point.llm for point in points})
    if llms < 4:
        yield f"{llms} LLMs: what resampling LLMs shows is rough, and intervals of the LLM's slope may be too narrow"
    least = min(one.fit.rmse for one in fits.values())
    if least > _POOR_RMSE:
        yield f"points lie {100 * least:.1f} points off the law (rms): they may follow several (column family)"


def _report(
    law: ScalingLaw,
    fits: Mapping[Form, Fitted],
    because: str,
    options: Options,
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
        loss=law.loss,
        coefficients=used.coefficients,
        ratio=used.ratio,
        families=used.families,
        like=law.like,
        interval_level_fraction=law.interval_level_fraction,
        rmse=used.rmse,
        loo_rmse=used.loo_rmse,
        leave_one_llm_out_rmse=used.leave_one_llm_out_rmse,
        text_tokens=options.text_tokens,
        optimal_visual_tokens={key: _optimum(one.fit, options.text_tokens) for key, one in fits.items()},
        n_points=law.n_points,
        range={"llm_params_b": law.llm_params_b_range, "visual_tokens": law.visual_tokens_range},
        not_identified=said[0],
        published=_published(fits[Form.POWER], options.task) if options.published and Form.POWER in fits else (),
        warnings=said[1],
        draws=options.draws,
        seed=options.seed,
        compared=next((one for one in law.fits if one.form is not law.form), None),
        points=law.points,
    )
