"""How sure is a fit? Bootstraps by point and by LLM, profile likelihoods, and points left out.

(problem, its solution) -> draws, intervals, errors on what was left out. Points of one LLM share its luck, so they are
also resampled together; within a family always, or its offset would be lost. A profile interval holds the values at
which the best fit of everything else is no worse than F(1, n - p) allows (Seber and Wild, Nonlinear Regression, 5.4).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmplan.fitting.least_squares import Batch, Predictor, Problem, Solved, curve, predicted, refit
from vlmplan.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LEAST_CONDITION = 1e-9  # below it, weights leave a parameter without points
_ROUNDS = 20
LEAST_COUNTS = 3  # numbers of tokens that say where a curve bends
# Where a profile is looked at, in standard errors; the far ones matter where D is free.
_LINEAR, _FAR, _FAR_POINTS = (4.0, 17), 400.0, 30


def _shared(problem: Problem, times: "Array", floor: Any = None) -> Batch:
    """Fits of one design; ``times`` (fits x points) is how often each point counts, beside its own weight."""
    import numpy as np

    offset = np.zeros((1, times.shape[1]))
    lines = tuple(Predictor(design=design[None], offset=offset) for design in problem.designs)
    return Batch(weight=times * problem.weight, predictors=lines, floor=floor)


def identified(problem: Problem, weight: "Array") -> Any:
    """Return for each row of ``weight`` (fits x points) whether the points it keeps determine every parameter.

    Hill's curve needs what logit's line needs, and a third number of tokens for where it bends. With a penalty, which
    knows of all but the level, a point of each family will do.
    """
    import numpy as np

    design = problem.design if problem.second is None else (problem.design + problem.second)[:, :-1]
    if problem.penalty is not None:
        design = problem.design[:, :-3]
    scaled = design / np.linalg.norm(design, axis=0)
    outer = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(scaled), -1)
    normal = ((weight > 0) @ outer).reshape(len(weight), scaled.shape[1], scaled.shape[1])
    determined = np.asarray(np.linalg.eigvalsh(normal)[:, 0] > _LEAST_CONDITION)
    if problem.second is not None and problem.penalty is None:
        counts, index = np.unique(problem.second[:, -2], return_inverse=True)
        kept = (weight > 0) @ (index[:, None] == np.arange(counts.size)) > 0
        determined &= kept.sum(axis=1) >= LEAST_COUNTS
    return determined


def bootstrap(problem: Problem, solved: Solved, units: Any, strata: Any, draws: int, random: Any) -> Solved | None:
    """Refit on resamples of ``units`` (a label a point), drawn within ``strata``; None where too few are of use."""
    import numpy as np

    kept: list[Array] = []
    for _ in range(_ROUNDS):
        weight = np.empty((draws, len(units)))
        for stratum in np.unique(strata):
            inside = np.flatnonzero(strata == stratum)
            labels, index = np.unique(units[inside], return_inverse=True)
            times = random.multinomial(labels.size, np.full(labels.size, 1 / labels.size), size=draws)
            weight[:, inside] = times[:, index]
        kept.append(weight[identified(problem, weight)])
        if sum(map(len, kept)) >= draws:
            weight = np.concatenate(kept)[:draws]
            return refit(problem, _shared(problem, weight), np.repeat(solved.values, draws, axis=0))
    return None


def left_out(problem: Problem, solved: Solved, units: Any) -> "Array":
    """Return each point's error as predicted by a fit without its unit; NaN where the rest does not determine it."""
    import numpy as np

    labels, index = np.unique(units, return_inverse=True)
    weight = (np.arange(labels.size)[:, None] != index[None, :]).astype(float)
    usable = np.flatnonzero(identified(problem, weight))
    unseen = np.full(len(units), np.nan)
    if usable.size:
        start = np.repeat(solved.values, usable.size, axis=0)
        errors = predicted(problem, refit(problem, _shared(problem, weight[usable]), start))
        place = np.full(labels.size, -1)
        place[usable] = np.arange(usable.size)
        mine = np.flatnonzero(place[index] >= 0)
        unseen[mine] = errors[place[index[mine]], mine]
    return unseen


def cost_limit(problem: Problem, solved: Solved, level: float) -> float:
    """Return the cost up to which a fit counts as no worse than the best."""
    from scipy.special import stdtrit

    free = len(problem.error) - problem.design.shape[1] - problem.free_floor
    quantile = float(stdtrit(free, (1 + level) / 2))
    return float(solved.cost[0] * (1 + quantile**2 / free))


def profile(problem: Problem, solved: Solved, level: float, where: int | tuple[int, int]) -> Interval | None:
    """Return the interval of the parameter in a column, or of the ratio of those in two; None if it is open."""
    import numpy as np

    values = solved.values[0]
    moved = where if isinstance(where, int) else where[0]
    centre = float(values[where]) if isinstance(where, int) else _ratio(values, where)
    steps = np.concatenate([np.linspace(0, *_LINEAR), np.geomspace(_LINEAR[0], _FAR, _FAR_POINTS + 1)[1:]])
    unit = _standard_error(problem, solved, where)
    if not np.isfinite(centre + unit):
        return None
    grid = centre + np.concatenate([-steps[:0:-1], steps]) * unit
    lines = []
    for design in problem.designs:
        if isinstance(where, int):
            others, offset = np.delete(design, moved, axis=1)[None], grid[:, None] * design[None, :, moved]
        else:  # with c = ratio b, the two columns become one
            others, offset = np.repeat(design[None], grid.size, axis=0), np.zeros((1, len(design)))
            others[:, :, where[1]] += grid[:, None] * design[None, :, moved]
            others = np.delete(others, moved, axis=2)
        lines.append(Predictor(design=others, offset=offset))
    batch = Batch(weight=np.repeat(problem.weight[None], grid.size, axis=0), predictors=tuple(lines))
    start = np.repeat(np.delete(values, moved)[None], grid.size, axis=0)
    cost = refit(problem, batch, start).cost
    return _crossings(grid, cost, float(solved.cost[0]), cost_limit(problem, solved, level), centre)


def _ratio(values: "Array", where: tuple[int, int]) -> float:
    return float(values[where[0]] / values[where[1]]) if values[where[1]] else float("inf")


def profile_floor(problem: Problem, solved: Solved, level: float) -> tuple[float, float]:
    """Return the interval of D, which never leaves 0 to the least error."""
    import numpy as np

    grid = np.linspace(0, problem.most_floor, 61)
    batch = _shared(problem, np.ones((grid.size, len(problem.design))), grid)
    cost = refit(problem, batch, np.repeat(solved.values, grid.size, axis=0)).cost
    allowed = grid[cost <= cost_limit(problem, solved, level)]
    best = float(solved.floor[0])
    return (min(best, float(allowed.min(initial=best))), max(best, float(allowed.max(initial=best))))


def _standard_error(problem: Problem, solved: Solved, where: int | tuple[int, int]) -> float:
    """The linear approximation's, for D held: the unit in which a profile is walked."""
    import numpy as np

    values = solved.values[0]
    slopes = curve(problem.form, tuple(design @ values for design in problem.designs))[1]
    root = np.sqrt(problem.weight)
    jacobian = sum(design * (root * slope)[:, None] for design, slope in zip(problem.designs, slopes, strict=True))
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * float(solved.cost[0]) / max(1, len(root) - values.size)
    gradient = np.zeros(values.size)
    if isinstance(where, int):
        gradient[where] = 1.0
    else:
        top, bottom = where
        gradient[bottom] = -values[top] / values[bottom] ** 2 if values[bottom] else np.inf
        gradient[top] = 1 / values[bottom] if values[bottom] else np.inf
    return float(np.sqrt(max(0.0, gradient @ covariance @ gradient)))


def _crossings(grid: "Array", cost: "Array", least: float, limit: float, centre: float) -> tuple[float, float] | None:
    """Where the signed root of the excess cost, nearly straight, passes that of the limit."""
    import numpy as np

    excess, most = np.sqrt(np.maximum(cost - least, 0)), float(np.sqrt(limit - least))
    ends = []
    for side in (grid <= centre, grid >= centre):
        order = np.argsort(np.abs(grid[side] - centre))
        away, height = grid[side][order], np.maximum.accumulate(excess[side][order])
        if height[-1] < most:
            return None
        ends.append(float(np.interp(most, height, away)))
    return (ends[0], ends[1])


def interval_of(samples: Any, level: float) -> tuple[float, float]:
    """Return the central interval of draws."""
    import numpy as np

    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))


def rms(values: Sequence[float] | Any) -> float | None:
    """Return the root mean square of what is not NaN; None where nothing is left."""
    import numpy as np

    known = np.asarray(values)[~np.isnan(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else None
