"""What are one form's coefficients, and how surely? Least squares, intervals, draws, and errors on what was left out.

(points, form, options) -> :class:`Fitted`. Several families share the slopes, and each has its own offset.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from vlmplan.accuracy import PARAMETERS, RATIO, Coefficient, Fit, Form, Loss, Point
from vlmplan.errors import InputError
from vlmplan.fitting.coefficient_intervals import BY_LLM, BY_POINT, joined, quantities, widest
from vlmplan.fitting.least_squares import Problem, Solved, huber_scale, predicted, solve
from vlmplan.fitting.prior import Prior
from vlmplan.fitting.resampling import LEAST_COUNTS, bootstrap, cost_limit, left_out, rms
from vlmplan.models import Reduction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class _Missed(TypedDict):
    """Root mean squares, as :class:`Fit` names them."""

    rmse: float
    loo_rmse: float | None
    leave_one_llm_out_rmse: float | None


KEPT_DRAWS = 200  # in the law; as many as 'recommend' uses
_MOST = 1e6  # of a coefficient: a resample without rhyme may run off
_MOST_HILL = 1e4  # of hill's: its two logistic curves become steps long before


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How to fit. ``forms`` are those to choose from by left-out errors, none named being all, averaged of few points.

    ``floor`` None leaves D free, between 0 and the least; ``prior`` stands in for what the points cannot tell.
    """

    name: str = "law"
    task: str = ""
    forms: tuple[Form, ...] = ()
    floor: float | None = None
    loss: Loss = Loss.SQUARES
    reduction: Reduction = Reduction.TRAINED
    like: str = ""
    draws: int = 2000
    seed: int = 0
    level: float = 0.9
    text_tokens: int = 50
    published: bool = False
    prior: Prior | None = None

    @property
    def asked(self) -> tuple[Form, ...]:
        """The forms to choose from."""
        return self.forms or tuple(Form)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One form's fit at work: the problem, its solution, its resamples, and what is told of it and of its prior."""

    problem: Problem
    solved: Solved
    resamples: Mapping[str, Solved]
    fit: Fit
    not_identified: tuple[str, ...] = ()
    prior: tuple[str, ...] = ()


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


def parameters(points: Sequence[Point], form: Form, options: FitOptions) -> int:
    """Return how many parameters a form has on these points."""
    families = len({point.family for point in points})
    return 2 + families + (form is Form.HILL or (form is Form.POWER and options.floor is None))


def untold(points: Sequence[Point], form: Form, options: FitOptions) -> str | None:
    """Return what these points cannot tell of a form's parameters, in words; None where they tell all."""
    import numpy as np

    where = "in any one family" if len({p.family for p in points}) > 1 else "in all"
    for name, what in (("llm_params_b", "LLM sizes"), ("visual_tokens", "numbers of visual tokens")):
        by_family: dict[str, set[float]] = {}
        for point in points:
            by_family.setdefault(point.family, set()).add(getattr(point, name))
        most = max((len(values) for values in by_family.values()), default=0)
        if most < 2:
            return (
                f"the points cannot tell what {name} does: they have one value {where}, expected two {what} or more of "
                "the same family"
            )
    needed = parameters(points, form, options)
    if len(points) <= needed:
        return f"a {form} law has {needed} parameters here and needs more points; found {len(points)}"
    design = _design(points)[0]
    if np.linalg.matrix_rank(design / np.linalg.norm(design, axis=0), tol=1e-6) < design.shape[1]:
        return (
            "the points cannot tell llm_params_b from visual_tokens: the two change together; add a point of one LLM "
            "with another number of tokens"
        )
    counts = len({point.visual_tokens for point in points})
    if form is Form.HILL and counts < LEAST_COUNTS:
        return f"a hill law bends where tokens no longer help: it needs {LEAST_COUNTS} numbers of them, found {counts}"
    return None


def _check(points: Sequence[Point], form: Form, options: FitOptions) -> None:
    """Raise InputError unless the points determine every parameter."""
    if (missing := untold(points, form, options)) is not None:
        raise InputError(missing)
    if len({point.error for point in points}) == 1:
        raise InputError(f"all {len(points)} points have the error {points[0].error:g}: there is nothing to fit")
    least = min(point.error for point in points)
    if form is Form.POWER and (options.floor or 0.0) > least:
        raise InputError(f"--floor: {options.floor:g} lies above the least error, {least:g}; expected at most that")


def _resamples(problem: Problem, solved: Solved, points: Sequence[Point], options: FitOptions) -> dict[str, Solved]:
    """Both bootstraps; one that cannot be made is left out."""
    import numpy as np

    _, family = np.unique([point.family for point in points], return_inverse=True)
    units = {BY_POINT: np.arange(len(points)), BY_LLM: _llms(points)}
    resamples = {}
    for by, labels in units.items():
        random = np.random.default_rng([options.seed, zlib.crc32(f"{problem.form} {by}".encode())])
        drawn = bootstrap(problem, solved, labels, family, options.draws, random)
        if drawn is not None:
            resamples[by] = drawn
    return resamples


def _llms(points: Sequence[Point]) -> "Array":
    """A label for each point's LLM: its family and size."""
    import numpy as np

    names = [f"{point.llm_params_b!r} {point.family}" for point in points]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def posed(points: Sequence[Point], form: Form, options: FitOptions) -> tuple[Problem, tuple[str, ...]]:
    """Return the least squares of a form on points, and their families where they are several."""
    import numpy as np

    design, families = _design(points)
    second = None
    if form is Form.HILL:  # a and b in one line; c and e = c d in the other
        none, one = np.zeros_like(design[:, :-1]), np.ones((len(points), 1))
        second = np.hstack([none, -design[:, -1:], -one])
        design = np.hstack([design[:, :-1], np.zeros((len(points), 2))])
    weight = np.array([point.weight for point in points])
    problem = Problem(
        form=form,
        design=design,
        error=np.array([point.error for point in points]),
        weight=weight / weight.mean(),
        second=second,
        floor=options.floor if form is Form.POWER else 0.0,
    )
    return problem, families


def _solved(problem: Problem, options: FitOptions) -> tuple[Problem, Solved]:
    """The problem and its solution; for Huber's loss with the scale that least squares' residuals give."""
    solved = solve(problem, options.seed)
    for _ in range(3 if options.loss is Loss.HUBER else 0):
        problem = replace(problem, huber=huber_scale(problem, solved))
        solved = solve(problem, options.seed)
    return problem, solved


def kept_draws(problem: Problem, resamples: Mapping[str, Solved]) -> tuple[tuple[float, ...], ...]:
    """Return draws of the coefficients, of the resampling that moves the predictions more."""
    import numpy as np

    if not resamples:
        return ()
    spread = {by: float(predicted(problem, drawn).std(axis=0).mean()) for by, drawn in resamples.items()}
    drawn = quantities(problem.form, resamples[max(spread, key=lambda by: spread[by])])
    table = np.stack([drawn[name] for name in PARAMETERS[problem.form]], axis=1)
    table = np.clip(table[:: max(1, len(table) // KEPT_DRAWS)][:KEPT_DRAWS], -_MOST, _MOST)
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in table)


def fit_form(points: Sequence[Point], form: Form, options: FitOptions) -> Fitted:
    """Fit one form, with intervals, draws and left-out errors. Raises InputError where the points cannot tell."""
    _check(points, form, options)
    problem, families = posed(points, form, options)
    problem, solved = _solved(problem, options)
    resamples = _resamples(problem, solved, points, options)
    coefficients, statements = _coefficients(problem, solved, resamples, points, options)
    ratio = coefficients.pop(RATIO[form])
    check_settled(form, coefficients)
    fit = Fit(
        form=form,
        coefficients=coefficients,
        ratio=ratio,
        families=offsets(solved, families),
        **missed(problem, solved, points),
        draws=kept_draws(problem, resamples),
    )
    return Fitted(problem=problem, solved=solved, resamples=resamples, fit=fit, not_identified=statements)


def check_settled(form: Form, coefficients: Mapping[str, Coefficient]) -> None:
    """Raise InputError where a coefficient has run off."""
    for name, coefficient in coefficients.items():
        if abs(coefficient.value) > (_MOST_HILL if form is Form.HILL else _MOST):
            raise InputError(f"the {form} law does not settle on these points: {name} runs to {coefficient.value:.3g}")


def offsets(solved: Solved, families: tuple[str, ...]) -> dict[str, float]:
    """Return the families' offsets from their mean."""
    of_families = [float(value) for value in solved.values[0, 1 : len(families)]] if families else []
    return dict(zip(families, [*of_families, -sum(of_families)], strict=True)) if families else {}


def missed(problem: Problem, solved: Solved, points: Sequence[Point]) -> "_Missed":
    """Return the errors of a fit: in-sample, of each point by a fit without it, and without its LLM."""
    import numpy as np

    errors = predicted(problem, solved)[0]
    return {
        "rmse": float(np.sqrt(np.average((errors - problem.error) ** 2, weights=problem.weight))),
        "loo_rmse": rms(left_out(problem, solved, np.arange(len(points))) - problem.error),
        "leave_one_llm_out_rmse": rms(left_out(problem, solved, _llms(points)) - problem.error),
    }


def _coefficients(
    problem: Problem, solved: Solved, resamples: Mapping[str, Solved], points: Sequence[Point], options: FitOptions
) -> tuple[dict[str, Coefficient], tuple[str, ...]]:
    """Coefficients and their ratio with intervals, and what the points cannot tell, in words."""
    coefficients = widest(problem, solved, resamples, options.level)
    statements: tuple[str, ...] = ()
    if problem.free_floor:
        bound, at_zero = _solved(replace(problem, floor=0.0, huber=None), options)
        if float(at_zero.cost[0]) <= cost_limit(problem, solved, options.level):
            zero = widest(bound, at_zero, _resamples(bound, at_zero, points, options), options.level)
            coefficients = joined(coefficients, zero)
            statements = _floor_statement(coefficients["D"])
    statements += tuple(
        f"{name} of {problem.form} is not identified: its interval has no end"
        for name, one in coefficients.items()
        if one.interval is None
    )
    return coefficients, statements


def _floor_statement(floor: Coefficient) -> tuple[str, ...]:
    low, high = floor.interval or (0.0, 0.0)
    if high <= low:
        return ()
    return (
        f"D of power is not identified: any D from {low:.2g} to {high:.2g} is borne by the points, and alpha and beta "
        "grow with it; exponents mean nothing without the D they were fitted with",
    )
