"""Which law do points follow that cannot tell it alone? ``hill`` with what is known beforehand as a prior.

(points, options, prior) -> :class:`Fitted`. The prior is a penalty in the same least squares, each of b, c and d at
its own sd, scaled by the errors' variance about the law: s^2 = (4 x 0.01^2 + squares left) / (4 + n - p), an error of
0.01 being assumed as if four points had shown it. Draws are of the posterior: errors and priors are moved by what they
may be off by, and refitted (exact where the law is linear: Bardsley et al., SIAM J. Sci. Comput. 36, 2014).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vlmplan.accuracy import PARAMETERS, RATIO, Coefficient, Fit, Form, Loss, Point
from vlmplan.errors import InputError
from vlmplan.fitting.coefficient_intervals import quantities
from vlmplan.fitting.fit_form import FitOptions, Fitted, check_settled, kept_draws, missed, offsets, posed
from vlmplan.fitting.least_squares import Batch, Penalty, Predictor, Problem, Solved, predicted, refit, solve
from vlmplan.fitting.prior import Prior
from vlmplan.fitting.resampling import interval_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ASSUMED_RMSE, ASSUMED_POINTS = 0.01, 4
BY_POSTERIOR = "posterior"
_ROUNDS = 3
FEW_LLMS = 4  # below it, errors on LLMs left out say little of how one more differs
# E's logit is within so much of the points' own errors': an assumption that matters only where a draw of the curve says
# that the points keep less of the score than they have, which would put E at 0 whatever the LLM.
LEVEL_SD = 1.0


def _penalty(prior: Prior, level: float, parameters: int, noise: float) -> Penalty:
    """The prior in units of error: of b, c, (e - d0 c) / c0, which is d - d0 where c = c0, and of a, the ``level``.

    Families' offsets, which lie between a and b, are within as much of 0.
    """
    import numpy as np

    rows, target = np.zeros((parameters, parameters)), np.zeros(parameters)
    rows[3, 0], target[3] = noise / LEVEL_SD, noise * level / LEVEL_SD
    for family in range(1, parameters - 3):
        rows[3 + family, family] = noise / LEVEL_SD
    rows[0, -3], target[0] = noise / prior.b.sd, noise * prior.b.value / prior.b.sd
    rows[1, -2], target[1] = noise / prior.c.sd, noise * prior.c.value / prior.c.sd
    unit = noise / (prior.c.value * prior.d.sd)
    rows[2, -1], rows[2, -2] = unit, -unit * prior.d.value
    return Penalty(rows=rows, target=target)


def _settled(problem: Problem, prior: Prior, seed: int) -> tuple[Problem, Solved, float]:
    """The problem with its prior, its solution, and the errors' sd about it."""
    import numpy as np

    points, parameters = problem.design.shape
    noise, error = ASSUMED_RMSE, min(0.99, max(0.01, float(np.mean(problem.error))))
    level = math.log(error / (1 - error)) - prior.b.value * float(np.mean(problem.design[:, -3]))
    for _ in range(_ROUNDS):
        informed = replace(problem, penalty=_penalty(prior, level, parameters, noise))
        solved = solve(informed, seed)
        squares = float(np.sum(problem.weight * (predicted(informed, solved)[0] - problem.error) ** 2))
        told = ASSUMED_POINTS + max(0, points - parameters)
        noise = math.sqrt((ASSUMED_POINTS * ASSUMED_RMSE**2 + squares) / told)
    informed = replace(problem, penalty=_penalty(prior, level, parameters, noise))
    return informed, solve(informed, seed), noise


def _posterior(problem: Problem, solved: Solved, noise: float, options: FitOptions) -> Solved:
    """Draws of the parameters."""
    import numpy as np

    random = np.random.default_rng([options.seed, 0])
    shape = (options.draws, len(problem.error))
    errors = problem.error + noise * random.standard_normal(shape) / np.sqrt(problem.weight)
    known = noise * random.standard_normal((options.draws, solved.values.shape[1]))
    known += problem.penalty.target if problem.penalty else 0.0
    offset = np.zeros((1, shape[1]))
    lines = tuple(Predictor(design=design[None], offset=offset) for design in problem.designs)
    weight = np.repeat(problem.weight[None], options.draws, axis=0)
    batch = Batch(weight=weight, predictors=lines, error=errors, target=known)
    return refit(problem, batch, np.repeat(solved.values, options.draws, axis=0))


def fit_informed(points: Sequence[Point], options: FitOptions, prior: Prior) -> Fitted:
    """Fit ``hill`` with a prior, with intervals and draws of the posterior. Raises InputError for Huber's loss."""
    if options.loss is Loss.HUBER:
        raise InputError("--loss huber: a prior is for points too few to tell which are wrong; leave it out")
    problem, families = posed(points, Form.HILL, options)
    problem, solved, noise = _settled(problem, prior, options.seed)
    drawn = _posterior(problem, solved, noise, options)
    values, draws = (quantities(Form.HILL, one) for one in (solved, drawn))
    coefficients = {
        name: Coefficient(
            value=float(values[name][0]),
            interval=interval_of(draws[name], options.level),
            interval_by=BY_POSTERIOR,
        )
        for name in (*PARAMETERS[Form.HILL], RATIO[Form.HILL])
    }
    ratio = coefficients.pop(RATIO[Form.HILL])
    check_settled(Form.HILL, coefficients)
    errors = missed(problem, solved, points)
    fit = Fit(
        form=Form.HILL,
        coefficients=coefficients,
        ratio=ratio,
        families=offsets(solved, families),
        **errors,
        draws=kept_draws(problem, {BY_POSTERIOR: drawn}),
        assumed_rmse=prior.model_sd if len({point.llm for point in points}) < FEW_LLMS else None,
    )
    statements = _leaning(prior, {name: float(draws[name].std()) for name in "bcd"})
    return Fitted(problem=problem, solved=solved, resamples={BY_POSTERIOR: drawn}, fit=fit, prior=statements)


def _leaning(prior: Prior, sds: dict[str, float]) -> tuple[str, ...]:
    """What each coefficient leans on, and how much: the share of its precision that is the prior's."""
    statements = []
    for name, known, basis in (
        ("b", prior.b, prior.size_basis),
        ("c", prior.c, prior.tokens_basis),
        ("d", prior.d, prior.tokens_basis),
    ):
        share = min(1.0, (sds[name] / known.sd) ** 2)
        statements.append(f"{name} leans to {100 * share:.0f} % on {basis}: {known.value:.3g} (sd {known.sd:.2g})")
    return tuple(statements)
