"""How do the forms run through points? Their least squares, one at a time or thousands at once.

Arrays in, parameters out. A form bends one or two lines in its parameters, with one ``a`` a family. Of
eta = a - b ln N - c ln V, ``logit`` has error = 1 / (1 + exp(-eta)) and ``power`` error = exp(eta) + D, so that
A = exp(a). ``hill`` has eta = a - b ln N and zeta = c ln V - e, with e = c d, and error = 1 - s(-eta) s(zeta),
s(t) = 1 / (1 + exp(-t)). One fit runs by scipy's trust region from several starts; resamples start at its solution and
run side by side by Levenberg and Marquardt's method.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlmplan.accuracy import Form

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STARTS = 8
_MOST_NUMBERS = 4_000_000  # in one array of a batch
# Hill's valleys are long where V has not reached its scale: those fits that still move go on by themselves.
_STEPS = {Form.POWER: 60, Form.LOGIT: 60, Form.HILL: 30}
_AGAIN = {Form.POWER: 0, Form.LOGIT: 0, Form.HILL: 9}
_MOST_ETA = 100.0  # beyond it an error has long left [0, 1], and squares stay finite
_HUBER = 1.345  # of the residuals' spread: 95 % as efficient as least squares on normal errors (Huber, 1964)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Points as arrays. ``design`` is points x parameters, the slopes' columns last; ``floor`` None is to be found.

    ``second`` is the design of the form's second line, if it has one; ``huber`` the residual, in error, from which on a
    point counts linearly, None for least squares; ``penalty`` what is known of the parameters beforehand.
    """

    form: Form
    design: Any
    error: Any
    weight: Any
    second: Any = None
    floor: float | None = 0.0
    huber: float | None = None
    penalty: "Penalty | None" = None

    @property
    def designs(self) -> tuple[Any, ...]:
        """The designs of the form's lines."""
        return (self.design,) if self.second is None else (self.design, self.second)

    @property
    def free_floor(self) -> bool:
        """Whether D is to be found, between 0 and the least error."""
        return self.form is Form.POWER and self.floor is None

    @property
    def most_floor(self) -> float:
        """The largest D: no model errs less."""
        return max(0.0, float(self.error.min()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """What a parameter vector costs beside the points' squares: sum of (``rows`` @ values - ``target``)^2, in error^2.

    A Gaussian prior of sd_j on row j's product, with errors of sd s about the law, has row and target times s / sd_j.
    """

    rows: Any
    target: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """Fits side by side: ``values`` is fits x parameters, ``floor`` their D, ``cost`` what was minimised."""

    values: Any
    floor: Any
    cost: Any

    def put(self, index: Any, other: "Solved", where: Any = slice(None)) -> None:
        """Take the fits of ``other``, those chosen by ``where``, in place of those at ``index``."""
        for name in ("values", "floor", "cost"):
            getattr(self, name)[index[where]] = getattr(other, name)[where]


def curve(form: Form, etas: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return the error at a form's linear predictors, without D, and its derivative by each of them."""
    import numpy as np

    if form is Form.POWER:
        power = np.exp(np.clip(etas[0], -_MOST_ETA, _MOST_ETA))
        return power, (power,)
    first = 1 / (1 + np.exp(-np.clip(etas[0], -_MOST_ETA, _MOST_ETA)))
    if form is Form.LOGIT:
        return first, (first * (1 - first),)
    lost = 1 / (1 + np.exp(np.clip(etas[1], -_MOST_ETA, _MOST_ETA)))
    return first + (1 - first) * lost, (first * (1 - first) * (1 - lost), -(1 - first) * lost * (1 - lost))


def solve(problem: Problem, seed: int = 0) -> Solved:
    """Fit once, by scipy's bounded least squares with the analytic Jacobian, from several seeded starts.

    Raises nothing: whether the points identify the parameters is for the caller to have checked.
    """
    import numpy as np
    from scipy.optimize import least_squares

    form, designs = problem.form, problem.designs
    root = np.sqrt(problem.weight)
    count = designs[0].shape[1]
    fixed, penalty = problem.floor or 0.0, problem.penalty

    def floor(values: Any) -> Any:
        return values[count] if problem.free_floor else fixed

    def residual(values: Any) -> Any:
        error = curve(form, tuple(design @ values[:count] for design in designs))[0]
        off = root * (error + floor(values) - problem.error)
        return off if penalty is None else np.concatenate([off, penalty.rows @ values - penalty.target])

    def jacobian(values: Any) -> Any:
        by = curve(form, tuple(design @ values[:count] for design in designs))[1]
        slopes = sum(design * (root * slope)[:, None] for design, slope in zip(designs, by, strict=True))
        if penalty is not None:
            return np.concatenate([slopes, penalty.rows])
        return np.column_stack([slopes, root]) if problem.free_floor else slopes

    bounds = (np.full(count + problem.free_floor, -np.inf), np.full(count + problem.free_floor, np.inf))
    if problem.free_floor:
        bounds[0][count], bounds[1][count] = 0.0, problem.most_floor + 1e-12
    loss = {"loss": "huber", "f_scale": problem.huber} if problem.huber else {}
    fits = [
        least_squares(residual, start, jacobian, bounds, x_scale="jac", xtol=1e-13, ftol=1e-13, gtol=1e-13, **loss)
        for start in _starts(problem, seed)
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    settled = best.x[count] if problem.free_floor and best.x[count] > 1e-9 else fixed  # at its bound it is 0, not 1e-18
    return Solved(values=best.x[None, :count], floor=np.array([settled]), cost=np.array([2 * float(best.cost)]))


def _starts(problem: Problem, seed: int) -> Iterator["Array"]:
    """The solution of the linearised problem, and others drawn about it; for two lines, the best of a lattice."""
    import numpy as np

    if problem.second is not None:
        yield from _hill_starts(problem)
        return
    random = np.random.default_rng(seed)
    inside = np.clip(problem.error - (problem.floor or 0.0), 1e-3, 1 - 1e-3)
    target = np.log(inside) if problem.form is Form.POWER else np.log(inside / (1 - inside))
    root = np.sqrt(problem.weight)
    first = np.linalg.lstsq(problem.design * root[:, None], target * root, rcond=None)[0]
    for start in range(STARTS):
        values = first + (random.normal(0, 0.3, first.size) if start else 0)
        floor = [random.uniform(0, 0.9) * problem.most_floor if start else 1e-6 * problem.most_floor]
        yield np.concatenate([values, floor]) if problem.free_floor else values


def _hill_starts(problem: Problem) -> list["Array"]:
    """For each c and scale of a lattice, the a and b that the linearised rest of the error has; the best few."""
    import numpy as np

    root, log_tokens = np.sqrt(problem.weight), problem.second[:, -2]
    low, high = float(log_tokens.min()), float(log_tokens.max())
    starts = []
    for c in (0.1, 0.3, 0.6, 1.2, 2.5):
        for log_scale in (low - 6, low - 2, low, (low + high) / 2, high, high + 2):
            kept = 1 / (1 + np.exp(-c * (log_tokens - log_scale)))
            rest = np.clip(1 - (1 - problem.error) / kept, 1e-3, 1 - 1e-3)
            target = np.log(rest / (1 - rest))
            first = np.linalg.lstsq(problem.design[:, :-2] * root[:, None], target * root, rcond=None)[0]
            starts.append(np.concatenate([first, [c, c * log_scale]]))
    cost = [float(_cost_of(problem, values)) for values in starts]
    return [starts[index] for index in np.argsort(cost, kind="stable")[:STARTS]]


def _cost_of(problem: Problem, values: "Array") -> Any:
    """What is minimised, at one parameter vector of a form without D."""
    error = curve(problem.form, tuple(design @ values for design in problem.designs))[0]
    beside = 0.0 if problem.penalty is None else ((problem.penalty.rows @ values - problem.penalty.target) ** 2).sum()
    return (problem.weight * (error - problem.error) ** 2).sum() + beside


def huber_scale(problem: Problem, solved: Solved) -> float:
    """Return the residual from which on a point counts linearly, from the spread of ``solved``'s residuals."""
    import numpy as np

    residual = np.sqrt(problem.weight) * (predicted(problem, solved)[0] - problem.error)
    return _HUBER * max(1e-6, 1.4826 * float(np.median(np.abs(residual))))


def predicted(problem: Problem, solved: Solved) -> "Array":
    """Return errors, fits x points."""
    import numpy as np

    etas = tuple(solved.values @ design.T for design in problem.designs)
    return np.asarray(curve(problem.form, etas)[0] + solved.floor[:, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """One line of fits side by side: ``design`` is fits x points x parameters, ``offset`` is fits x points.

    Where all fits share it, the first of these is 1.
    """

    design: Any
    offset: Any

    def part(self, chosen: Any) -> "Predictor":
        """That of the fits chosen by a slice or an index."""
        return Predictor(
            design=self.design if len(self.design) == 1 else self.design[chosen],
            offset=self.offset if len(self.offset) == 1 else self.offset[chosen],
        )

    def eta(self, values: "Array") -> Any:
        """Return the line at each fit's values, fits x points."""
        return self.offset + (self.design @ values[:, :, None])[:, :, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Fits to run side by side: weights (fits x points), their lines, and where they differ, the rest.

    That is their floors, their points' errors (fits x points) and their penalties' targets (fits x rows).
    """

    weight: Any
    predictors: tuple[Predictor, ...]
    floor: Any = None
    error: Any = None
    target: Any = None

    def part(self, chosen: Any) -> "Batch":
        """The fits chosen by a slice or an index."""
        return Batch(
            weight=self.weight[chosen],
            predictors=tuple(one.part(chosen) for one in self.predictors),
            floor=None if self.floor is None else self.floor[chosen],
            error=None if self.error is None else self.error[chosen],
            target=None if self.target is None else self.target[chosen],
        )


def refit(problem: Problem, batch: Batch, start: "Array") -> Solved:
    """Fit all of ``batch`` from ``start`` (fits x parameters). A D to be found stays between 0 and the least error."""
    import numpy as np

    fits = len(batch.weight)
    size = max(1, _MOST_NUMBERS // (batch.weight.shape[1] * start.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # a trial that runs off is not better, and is not taken
        parts = [
            _refit(problem, batch.part(slice(first, first + size)), start[first : first + size])
            for first in range(0, fits, size)
        ]
    return Solved(
        values=np.concatenate([one.values for one in parts]),
        floor=np.concatenate([one.floor for one in parts]),
        cost=np.concatenate([one.cost for one in parts]),
    )


def _refit(problem: Problem, batch: Batch, start: "Array") -> Solved:
    """D first at its bound; where less error lies inside, between the bounds."""
    import numpy as np

    fits = len(batch.weight)
    if batch.floor is not None or not problem.free_floor:
        floor = np.full(fits, problem.floor or 0.0) if batch.floor is None else batch.floor
        refitted, done = _descend(problem, batch, start, floor, free=False)
        for _ in range(_AGAIN[problem.form]):
            if not (rest := np.flatnonzero(~done)).size:
                break
            more, done[rest] = _descend(problem, batch.part(rest), refitted.values[rest], floor[rest], free=False)
            refitted.put(rest, more)
        return refitted
    refitted, _ = _descend(problem, batch, start, np.zeros(fits), free=False)
    error = _model(problem, batch, refitted.values, refitted.floor)[0]
    pull = (_cost(problem, batch, error, refitted.values)[1] * (error - problem.error)).sum(axis=1)
    inside = np.flatnonzero(pull < 0)  # more D would lower the cost
    if inside.size:
        freed, _ = _descend(problem, batch.part(inside), refitted.values[inside], refitted.floor[inside], free=True)
        beyond = np.flatnonzero(freed.floor > problem.most_floor)
        if beyond.size:
            limit = np.full(beyond.size, problem.most_floor)
            held, _ = _descend(problem, batch.part(inside[beyond]), freed.values[beyond], limit, free=False)
            freed.put(beyond, held)
        refitted.put(inside, freed, freed.floor >= 0)
    return refitted


def _model(problem: Problem, batch: Batch, values: "Array", floor: "Array") -> tuple["Array", tuple["Array", ...]]:
    value, slopes = curve(problem.form, tuple(one.eta(values) for one in batch.predictors))
    return value + floor[:, None], slopes


def _descend(problem: Problem, batch: Batch, start: "Array", floor: "Array", *, free: bool) -> tuple[Solved, Any]:
    """Levenberg and Marquardt's method on all fits at once, each with its own damping; and which of them are done."""
    import numpy as np

    values = np.column_stack([start, floor]) if free else start.copy()
    count, fits = start.shape[1], len(start)

    def parts(at: "Array") -> tuple["Array", "Array"]:
        return at[:, :count], at[:, count] if free else floor

    def cost_at(at: "Array") -> tuple["Array", "Array"]:
        return _cost(problem, batch, _model(problem, batch, *parts(at))[0], at)

    cost, weight = cost_at(values)
    damping = np.full(fits, 1e-4)
    for _ in range(_STEPS[problem.form]):
        normal, gradient = _normal(problem, batch, weight, parts(values), free=free)
        diagonal = np.einsum("fpp->fp", normal)
        normal = normal + np.eye(normal.shape[1]) * (damping[:, None] * diagonal + 1e-14)[:, None, :]
        step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        trial = values + np.clip(step, -5, 5)
        new_cost, new_weight = cost_at(trial)
        better = new_cost <= cost
        gained = np.where(better, cost - new_cost, 0.0)
        values = np.where(better[:, None], trial, values)
        cost, weight = np.where(better, new_cost, cost), np.where(better[:, None], new_weight, weight)
        damping = np.clip(np.where(better, damping * 0.1, damping * 10), 1e-12, 1e8)
        small = np.abs(step).max(axis=1) < 1e-9
        done = (better & (gained <= 1e-12 * cost)) | small | (damping >= 1e8)
        if bool(np.all(done)):
            break
    coefficients, at_floor = parts(values)
    return Solved(values=coefficients, floor=np.array(at_floor, dtype=float), cost=cost), done


def _normal(
    problem: Problem, batch: Batch, weight: "Array", at: tuple["Array", "Array"], *, free: bool
) -> tuple["Array", "Array"]:
    """The normal equations' matrix and right-hand side, at each fit's (values, floor)."""
    import numpy as np

    value, slopes = _model(problem, batch, *at)
    lines = [one.design * slope[:, :, None] for one, slope in zip(batch.predictors, slopes, strict=True)]
    jacobian = lines[0] if len(lines) == 1 else lines[0] + lines[1]
    if free:
        jacobian = np.concatenate([jacobian, np.ones_like(value)[:, :, None]], axis=2)
    scaled = jacobian * weight[:, :, None]
    normal = scaled.transpose(0, 2, 1) @ jacobian
    error = problem.error if batch.error is None else batch.error
    gradient = (scaled * (error - value)[:, :, None]).sum(axis=1)
    if problem.penalty is not None:
        rows = problem.penalty.rows
        normal = normal + rows.T @ rows
        gradient = gradient - _missed(problem.penalty, batch, at[0]) @ rows
    return normal, gradient


def _missed(penalty: Penalty, batch: Batch, values: "Array") -> Any:
    """By how much each fit misses what is known beforehand, fits x rows."""
    return values @ penalty.rows.T - (penalty.target if batch.target is None else batch.target)


def _cost(problem: Problem, batch: Batch, value: "Array", values: "Array") -> tuple["Array", "Array"]:
    """(what is minimised, one number a fit; the weights that least squares would have here)."""
    import numpy as np

    residual = value - (problem.error if batch.error is None else batch.error)
    if problem.huber is None:
        cost = (batch.weight * residual**2).sum(axis=1)
        if problem.penalty is not None:
            cost = cost + (_missed(problem.penalty, batch, values) ** 2).sum(axis=1)
        return cost, batch.weight
    size = np.sqrt(problem.weight) * np.abs(residual)
    beyond = np.maximum(1.0, size / problem.huber)
    # of a point resampled k times, k times the loss that its own weight gives it
    times = batch.weight / problem.weight
    loss = np.where(size <= problem.huber, size**2, problem.huber * (2 * size - problem.huber))
    return (times * loss).sum(axis=1), batch.weight / beyond
