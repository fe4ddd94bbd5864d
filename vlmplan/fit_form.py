"""What are one form's coefficients, and how surely? Least squares, intervals, draws, and errors on what was left out.

(points, form, options) -> :class:`Fitted`. Several families share the slopes, and each has its own offset.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlmplan.curve import Problem, Solved, huber_scale, predicted, solve
from vlmplan.errors import InputError
from vlmplan.intervals import BY_LLM, BY_POINT, joined, quantities, widest
from vlmplan.model import Reduction
from vlmplan.resampling import bootstrap, cost_limit, left_out, rms
from vlmplan.scaling import PARAMETERS, RATIO, Coefficient, Fit, Form, Loss, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KEPT_DRAWS = 200  # in the law; as many as 'recommend' uses
_MOST = 1e6  # of a coefficient: a resample without rhyme may run off


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to fit. ``form`` None is chosen by left-out errors; ``floor`` None leaves D free, between 0 and the least."""

    name: str = "law"
    task: str = ""
    form: Form | None = None
    floor: float | None = None
    loss: Loss = Loss.SQUARES
    reduction: Reduction = Reduction.TRAINED
    like: str = ""
    draws: int = 2000
    seed: int = 0
    level: float = 0.9
    text_tokens: int = 50
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One form's fit at work: the problem, its solution, its resamples, and what is told of it."""

    problem: Problem
    solved: Solved
    resamples: Mapping[str, Solved]
    fit: Fit
    not_identified: tuple[str, ...]


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


def parameters(points: Sequence[Point], form: Form, options: Options) -> int:
    """Return how many parameters a form has on these points."""
    families = len({point.family for point in points})
    return 2 + families + (form is Form.POWER and options.floor is None)


def _check(points: Sequence[Point], design: "Array", form: Form, options: Options) -> None:
    """Raise InputError unless the points determine every parameter."""
    import numpy as np

    where = "in any one family" if len({p.family for p in points}) > 1 else "in all"
    for name, what in (("llm_params_b", "LLM sizes"), ("visual_tokens", "numbers of visual tokens")):
        by_family: dict[str, set[float]] = {}
        for point in points:
            by_family.setdefault(point.family, set()).add(getattr(point, name))
        if max((len(values) for values in by_family.values()), default=0) < 2:
            raise InputError(
                f"the points cannot tell what {name} does: they have one value {where}, expected two {what} or more of "
                "the same family"
            )
    if len({point.error for point in points}) == 1:
        raise InputError(f"all {len(points)} points have the error {points[0].error:g}: there is nothing to fit")
    needed = parameters(points, form, options)
    if len(points) <= needed:
        raise InputError(f"a {form} law has {needed} parameters here and needs more points; found {len(points)}")
    least = min(point.error for point in points)
    if form is Form.POWER and (options.floor or 0.0) > least:
        raise InputError(f"--floor: {options.floor:g} lies above the least error, {least:g}; expected at most that")
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
    table = np.clip(table[:: max(1, len(table) // KEPT_DRAWS)][:KEPT_DRAWS], -_MOST, _MOST)
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in table)


def fit_form(points: Sequence[Point], form: Form, options: Options) -> Fitted:
    """Fit one form, with intervals, draws and left-out errors. Raises InputError where the points cannot tell."""
    import numpy as np

    design, families = _design(points)
    _check(points, design, form, options)
    problem, solved = _problem(points, design, form, options)
    resamples = _resamples(problem, solved, points, options)
    found, statements = _coefficients(problem, solved, resamples, points, options)
    errors = predicted(problem, solved)[0]
    singly = rms(left_out(problem, solved, np.arange(len(points))) - problem.error)
    offsets = [float(value) for value in solved.values[0, 1 : len(families)]] if families else []
    ratio = found.pop(RATIO[form])
    for name, one in found.items():
        if abs(one.value) > _MOST:
            raise InputError(f"the {form} law does not settle on these points: {name} runs to {one.value:.3g}")
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


def _coefficients(
    problem: Problem, solved: Solved, resamples: Mapping[str, Solved], points: Sequence[Point], options: Options
) -> tuple[dict[str, Coefficient], tuple[str, ...]]:
    """Coefficients and their ratio with intervals, and what the points cannot tell, in words."""
    found = widest(problem, solved, resamples, options.level)
    statements: tuple[str, ...] = ()
    if problem.free_floor:
        bound, at_zero = _problem(points, problem.design, problem.form, replace(options, floor=0.0))
        if float(at_zero.cost[0]) <= cost_limit(problem, solved, options.level):
            zero = widest(bound, at_zero, _resamples(bound, at_zero, points, options), options.level)
            found = joined(found, zero)
            statements = _floor_statement(found["D"])
    statements += tuple(
        f"{name} of {problem.form} is not identified: its interval has no end"
        for name, one in found.items()
        if one.interval is None
    )
    return found, statements


def _floor_statement(floor: Coefficient) -> tuple[str, ...]:
    low, high = floor.interval or (0.0, 0.0)
    if high <= low:
        return ()
    return (
        f"D of power is not identified: any D from {low:.2g} to {high:.2g} is borne by the points, and alpha and beta "
        "grow with it; exponents mean nothing without the D they were fitted with",
    )
