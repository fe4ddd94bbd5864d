"""Which law do the points follow, and how surely? Both forms fitted, compared on what was left out, with intervals.

(points, options) -> a :class:`ScalingLaw` and a :class:`FitReport`. Several families share the slopes, and each has its
own offset. Same points and seed, same bytes.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from vlmplan.curve import Problem, Solved, huber_scale, predicted, solve
from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.intervals import BY_LLM, BY_POINT, joined, quantities, widest
from vlmplan.model import Reduction
from vlmplan.resampling import bootstrap, cost_limit, left_out, rms
from vlmplan.scaling import (
    PARAMETERS,
    RATIO,
    Coefficient,
    Fit,
    Form,
    Interval,
    Loss,
    Point,
    ScalingLaw,
    optimal_visual_tokens,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KEPT_DRAWS = 200  # in the law; as many as 'recommend' uses
# arXiv 2411.03312, section 3: alpha and beta by task.
PUBLISHED = {"reasoning": (0.077, 0.015), "ocr": (0.029, 0.048)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to fit. ``form`` None is chosen by left-out errors; ``floor`` None leaves D free, between 0 and the least."""

    name: str = "law"
    task: str = ""
    form: Form | None = None
    floor: float | None = None
    loss: Loss = Loss.SQUARES
    reduction: Reduction = Reduction.TRAINED
    draws: int = 2000
    seed: int = 0
    level: float = 0.9
    text_tokens: int = 50
    published: bool = False


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
    compared: Fit
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One form's fit at work: the problem, its solution, its resamples, and what is told of it."""

    problem: Problem
    solved: Solved
    resamples: Mapping[str, Solved]
    fit: Fit
    not_identified: tuple[str, ...] = field(default=())


def _design(points: Sequence[Point]) -> tuple["Array", tuple[str, ...]]:
    """Columns: a, the families' offsets but the last's (which is minus their sum), b, c. And the families."""
    import numpy as np

    families = tuple(sorted({point.family for point in points}))
    columns = [np.ones(len(points))]
    for family in families[:-1]:
        columns.append(
            np.array([1.0 if p.family == family else -1.0 if p.family == families[-1] else 0.0 for p in points])
        )
    columns += [-np.log([getattr(p, name) for p in points]) for name in ("llm_params_b", "visual_tokens")]
    return np.stack(columns, axis=1), families if len(families) > 1 else ()


def _check(points: Sequence[Point], design: "Array", form: Form) -> None:
    """Raise InputError unless the points determine every parameter."""
    import numpy as np

    parameters = design.shape[1] + (form is Form.POWER)
    where = "in any one family" if len({p.family for p in points}) > 1 else "in all"
    for name, what in (("llm_params_b", "LLM sizes"), ("visual_tokens", "numbers of visual tokens")):
        by_family: dict[str, set[float]] = {}
        for point in points:
            by_family.setdefault(point.family, set()).add(getattr(point, name))
        if max((len(values) for values in by_family.values()), default=0) < 2:
            raise InputError(
                f"the points cannot tell what {name} does: they have one value {where}, expected two {what} or more; "
                "add points of another, or those of a second family with a column family"
            )
    if len(points) <= parameters:
        raise InputError(f"a {form} law has {parameters} parameters and needs more points; found {len(points)}")
    if np.linalg.matrix_rank(design / np.linalg.norm(design, axis=0), tol=1e-6) < design.shape[1]:
        raise InputError(
            "the points cannot tell llm_params_b from visual_tokens: the two change together; add a point of one LLM "
            "with another number of tokens"
        )


def _resamples(problem: Problem, solved: Solved, points: Sequence[Point], options: Options) -> dict[str, Solved]:
    """Both bootstraps; one that cannot be made is left out."""
    import numpy as np

    _, family = np.unique([point.family for point in points], return_inverse=True)
    units = {BY_POINT: np.arange(len(points)), BY_LLM: _llms(points)}
    found = {}
    for by, labels in units.items():
        random = np.random.default_rng([options.seed, zlib.crc32(f"{problem.form} {by}".encode())])
        drawn = bootstrap(problem, solved, labels, family, options.draws, random)
        if drawn is not None:
            found[by] = drawn
    return found


def _llms(points: Sequence[Point]) -> "Array":
    """A label for each point's LLM: its family and size."""
    import numpy as np

    names = [f"{point.llm_params_b!r} {point.family}" for point in points]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def _problem(points: Sequence[Point], design: "Array", form: Form, options: Options) -> tuple[Problem, Solved]:
    """The problem and its solution; for Huber's loss with the scale that least squares' residuals give."""
    import numpy as np

    weight = np.array([point.weight for point in points])
    problem = Problem(
        form=form,
        design=design,
        error=np.array([point.error for point in points]),
        weight=weight / weight.mean(),
        floor=options.floor if form is Form.POWER else 0.0,
    )
    solved = solve(problem, options.seed)
    for _ in range(3 if options.loss is Loss.HUBER else 0):
        problem = replace(problem, huber=huber_scale(problem, solved))
        solved = solve(problem, options.seed)
    return problem, solved


def _kept_draws(problem: Problem, resamples: Mapping[str, Solved]) -> tuple[tuple[float, ...], ...]:
    """Draws of the coefficients, of the resampling that moves the predictions more."""
    import numpy as np

    if not resamples:
        return ()
    spread = {by: float(predicted(problem, drawn).std(axis=0).mean()) for by, drawn in resamples.items()}
    drawn = quantities(problem.form, resamples[max(spread, key=lambda by: spread[by])])
    table = np.stack([drawn[name] for name in PARAMETERS[problem.form]], axis=1)
    table = table[:: max(1, len(table) // KEPT_DRAWS)][:KEPT_DRAWS]
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in table)


def fit_form(points: Sequence[Point], form: Form, options: Options) -> Fitted:
    """Fit one form, with intervals, draws and left-out errors. Raises InputError where the points cannot tell."""
    import numpy as np

    design, families = _design(points)
    _check(points, design, form)
    problem, solved = _problem(points, design, form, options)
    resamples = _resamples(problem, solved, points, options)
    found = widest(problem, solved, resamples, options.level)
    statements: tuple[str, ...] = ()
    if problem.free_floor:
        bound, at_zero = _problem(points, design, form, replace(options, floor=0.0))
        if float(at_zero.cost[0]) <= cost_limit(problem, solved, options.level):
            zero = widest(bound, at_zero, _resamples(bound, at_zero, points, options), options.level)
            found = joined(found, zero)
            statements = (_floor_statement(found["D"]),)
    errors = predicted(problem, solved)[0]
    singly = rms(left_out(problem, solved, np.arange(len(points))) - problem.error)
    offsets = [*map(float, solved.values[0, 1 : len(families)])] if families else []
    ratio = found.pop(RATIO[form])
    statements += tuple(
        f"{name} is not identified: the points bear any value beyond one end"
        for name, one in (*found.items(), (RATIO[form], ratio))
        if one.interval is None
    )
    fit = Fit(
        form=form,
        coefficients=found,
        ratio=ratio,
        families=dict(zip(families, [*offsets, -sum(offsets)], strict=True)) if families else {},
        rmse=float(np.sqrt(np.average((errors - problem.error) ** 2, weights=problem.weight))),
        loo_rmse=singly if singly is not None else 1.0,
        leave_one_llm_out_rmse=rms(left_out(problem, solved, _llms(points)) - problem.error),
        draws=_kept_draws(problem, resamples),
    )
    return Fitted(problem=problem, solved=solved, resamples=resamples, fit=fit, not_identified=statements)


def _floor_statement(floor: Coefficient) -> str:
    low, high = floor.interval or (0.0, 0.0)
    return (
        f"D is not identified: any D from {low:.2g} to {high:.2g} is borne by the points, and alpha and beta grow with "
        "it; exponents mean nothing without the D they were fitted with"
    )


def _chosen(fits: Mapping[Form, Fitted], asked: Form | None) -> tuple[Form, str]:
    """The form in use, and why, in words."""
    if asked is not None:
        return asked, "as asked"
    by_name = {form: (one.fit.loo_rmse, one.fit.left_out_rmse) for form, one in fits.items()}
    better = min(by_name, key=lambda form: by_name[form][::-1])
    other = next(form for form in fits if form is not better)
    points, llms = (by_name[better][i] / by_name[other][i] - 1 for i in (0, 1))
    what = "LLMs" if fits[better].fit.leave_one_llm_out_rmse is not None else "points"
    return better, (
        f"left-out error of {better} against {other}: {llms:+.0%} on {what} left out, {points:+.0%} on points left out"
    )


def _optimum(fit: Fit, text_tokens: int) -> Coefficient | None:
    """V* at a fixed 2 N (Q + V), with the ratio's interval; None where more tokens are always better."""
    ratio = fit.ratio.value
    best = optimal_visual_tokens(1.0, ratio, text_tokens)
    if best is None:
        return None
    ends = [optimal_visual_tokens(1.0, end, text_tokens) for end in fit.ratio.interval or ()]
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
    """Fit both forms and choose. Raises InputError where the points are too few, or cannot tell N from V."""
    fits = {form: fit_form(points, form, options) for form in Form}
    form, because = _chosen(fits, options.form)
    best = fits[form].fit
    sizes, tokens = ([getattr(point, name) for point in points] for name in ("llm_params_b", "visual_tokens"))
    ranges = {"llm_params_b": (min(sizes), max(sizes)), "visual_tokens": (min(tokens), max(tokens))}
    not_identified = tuple(dict.fromkeys(text for one in fits.values() for text in one.not_identified))
    common: dict[str, Any] = {
        "name": options.name,
        "task": options.task,
        "form": form,
        "reduction": options.reduction,
        "loss": options.loss,
        "interval_level_fraction": options.level,
        "n_points": len(points),
        "points": tuple(points),
    }
    law = ScalingLaw(
        **common,
        llm_params_b_range=ranges["llm_params_b"],
        visual_tokens_range=ranges["visual_tokens"],
        sources=tuple(sources),
        notes=(f"form {form}: {because}", *not_identified, *warnings),
        fits=tuple(one.fit if key is form else replace(one.fit, draws=()) for key, one in fits.items()),
    )
    report = FitReport(
        **common,
        form_because=because,
        coefficients=best.coefficients,
        ratio=best.ratio,
        families=best.families,
        rmse=best.rmse,
        loo_rmse=best.loo_rmse,
        leave_one_llm_out_rmse=best.leave_one_llm_out_rmse,
        text_tokens=options.text_tokens,
        optimal_visual_tokens={key: _optimum(one.fit, options.text_tokens) for key, one in fits.items()},
        range=ranges,
        not_identified=not_identified,
        published=_published(fits[Form.POWER], options.task) if options.published else (),
        warnings=tuple(warnings),
        draws=options.draws,
        seed=options.seed,
        compared=next(replace(one.fit, draws=()) for key, one in fits.items() if key is not form),
    )
    return law, report
