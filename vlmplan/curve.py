"""How do the two forms run through points? Their least squares, one at a time or thousands at once.

Arrays in, parameters out. Both forms bend one line, eta = a - b ln N - c ln V with one ``a`` a family: ``logit`` has
error = 1 / (1 + exp(-eta)), ``power`` has error = exp(eta) + D, so that A = exp(a). One fit runs by scipy's trust
region from several starts; resamples start at its solution and run side by side by Levenberg and Marquardt's method.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlmplan.scaling import Form

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STARTS = 8
_MOST_NUMBERS = 4_000_000  # in one array of a batch
_STEPS = 60
_MOST_ETA = 100.0  # beyond it an error has long left [0, 1], and squares stay finite
_HUBER = 1.345  # of the residuals' spread: 95 % as efficient as least squares on normal errors (Huber, 1964)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Points as arrays. ``design`` is points x parameters, the slopes' columns last; ``floor`` None is to be found.

    ``huber`` is the residual, in error, from which on a point counts linearly; None is least squares.
    """

    form: Form
    design: Any
    error: Any
    weight: Any
    floor: float | None = 0.0
    huber: float | None = None

    @property
    def free_floor(self) -> bool:
        """Whether D is to be found, between 0 and the least error."""
        return self.form is Form.POWER and self.floor is None

    @property
    def most_floor(self) -> float:
        """The largest D: no model errs less."""
        return max(0.0, float(self.error.min()))


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


def curve(form: Form, eta: Any) -> tuple[Any, Any]:
    """Return the error at a linear predictor, without D, and its derivative."""
    import numpy as np

    if form is Form.POWER:
        found = np.exp(np.clip(eta, -_MOST_ETA, _MOST_ETA))
        return found, found
    found = 1 / (1 + np.exp(-np.clip(eta, -_MOST_ETA, _MOST_ETA)))
    return found, found * (1 - found)


def solve(problem: Problem, seed: int = 0) -> Solved:
    """Fit once, by scipy's bounded least squares with the analytic Jacobian, from several seeded starts.

    Raises nothing: whether the points identify the parameters is for the caller to have checked.
    """
    import numpy as np
    from scipy.optimize import least_squares

    form, design = problem.form, problem.design
    root = np.sqrt(problem.weight)
    count = design.shape[1]
    fixed = problem.floor or 0.0

    def floor(values: Any) -> Any:
        return values[count] if problem.free_floor else fixed

    def residual(values: Any) -> Any:
        return root * (curve(form, design @ values[:count])[0] + floor(values) - problem.error)

    def jacobian(values: Any) -> Any:
        slopes = design * (root * curve(form, design @ values[:count])[1])[:, None]
        return np.column_stack([slopes, root]) if problem.free_floor else slopes

    bounds = (np.full(count + problem.free_floor, -np.inf), np.full(count + problem.free_floor, np.inf))
    if problem.free_floor:
        bounds[0][count], bounds[1][count] = 0.0, problem.most_floor + 1e-12
    loss = {"loss": "huber", "f_scale": problem.huber} if problem.huber else {}
    fits = [
        least_squares(residual, start, jacobian, bounds, x_scale="jac", xtol=1e-13, ftol=1e-13, gtol=1e-13, **loss)
        for start in _starts(problem, seed)
    ]
    best = min(fits, key=lambda found: float(found.cost))
    settled = best.x[count] if problem.free_floor and best.x[count] > 1e-9 else fixed  # at its bound it is 0, not 1e-18
    return Solved(values=best.x[None, :count], floor=np.array([settled]), cost=np.array([2 * float(best.cost)]))


def _starts(problem: Problem, seed: int) -> Iterator["Array"]:
    """The solution of the linearised problem, and others drawn about it."""
    import numpy as np

    random = np.random.default_rng(seed)
    inside = np.clip(problem.error - (problem.floor or 0.0), 1e-3, 1 - 1e-3)
    target = np.log(inside) if problem.form is Form.POWER else np.log(inside / (1 - inside))
    root = np.sqrt(problem.weight)
    first = np.linalg.lstsq(problem.design * root[:, None], target * root, rcond=None)[0]
    for start in range(STARTS):
        values = first + (random.normal(0, 0.3, first.size) if start else 0)
        floor = [random.uniform(0, 0.9) * problem.most_floor if start else 1e-6 * problem.most_floor]
        yield np.concatenate([values, floor]) if problem.free_floor else values


def huber_scale(problem: Problem, solved: Solved) -> float:
    """Return the residual from which on a point counts linearly, from the spread of ``solved``'s residuals."""
    import numpy as np

    residual = np.sqrt(problem.weight) * (predicted(problem, solved)[0] - problem.error)
    return _HUBER * max(1e-6, 1.4826 * float(np.median(np.abs(residual))))


def predicted(problem: Problem, solved: Solved) -> "Array":
    """Return errors, fits x points."""
    import numpy as np

    return np.asarray(curve(problem.form, solved.values @ problem.design.T)[0] + solved.floor[:, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Fits to run side by side: weights (fits x points), and where they differ, designs, offsets of eta and floors.

    ``design`` is fits x points x parameters, or 1 x points x parameters where all share it; ``offset`` likewise.
    """

    weight: Any
    design: Any
    offset: Any
    floor: Any = None

    def part(self, chosen: Any) -> "Batch":
        """The fits chosen by a slice or an index."""
        return Batch(
            weight=self.weight[chosen],
            design=self.design if len(self.design) == 1 else self.design[chosen],
            offset=self.offset if len(self.offset) == 1 else self.offset[chosen],
            floor=None if self.floor is None else self.floor[chosen],
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
        return _descend(problem, batch, start, floor, free=False)
    found = _descend(problem, batch, start, np.zeros(fits), free=False)
    error = _model(problem, batch, found.values, found.floor)[0]
    pull = (_cost(problem, batch, error)[1] * (error - problem.error)).sum(axis=1)
    inside = np.flatnonzero(pull < 0)  # more D would lower the cost
    if inside.size:
        freed = _descend(problem, batch.part(inside), found.values[inside], found.floor[inside], free=True)
        beyond = np.flatnonzero(freed.floor > problem.most_floor)
        if beyond.size:
            limit = np.full(beyond.size, problem.most_floor)
            freed.put(beyond, _descend(problem, batch.part(inside[beyond]), freed.values[beyond], limit, free=False))
        found.put(inside, freed, freed.floor >= 0)
    return found


def _model(problem: Problem, batch: Batch, values: "Array", floor: "Array") -> tuple["Array", "Array"]:
    eta = batch.offset + (batch.design @ values[:, :, None])[:, :, 0]
    value, slope = curve(problem.form, eta)
    return value + floor[:, None], slope


def _descend(problem: Problem, batch: Batch, start: "Array", floor: "Array", *, free: bool) -> Solved:
    """Levenberg and Marquardt's method on all fits at once; each has its own damping and stops moving when done."""
    import numpy as np

    values = np.column_stack([start, floor]) if free else start.copy()
    count, fits = start.shape[1], len(start)

    def parts(at: "Array") -> tuple["Array", "Array"]:
        return at[:, :count], at[:, count] if free else floor

    cost, weight = _cost(problem, batch, _model(problem, batch, *parts(values))[0])
    damping = np.full(fits, 1e-4)
    for _ in range(_STEPS):
        value, slope = _model(problem, batch, *parts(values))
        jacobian = batch.design * slope[:, :, None]
        if free:
            jacobian = np.concatenate([jacobian, np.ones_like(slope)[:, :, None]], axis=2)
        scaled = jacobian * weight[:, :, None]
        normal = scaled.transpose(0, 2, 1) @ jacobian
        gradient = (scaled * (problem.error - value)[:, :, None]).sum(axis=1)
        diagonal = np.einsum("fpp->fp", normal)
        normal = normal + np.eye(normal.shape[1]) * (damping[:, None] * diagonal + 1e-14)[:, None, :]
        step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        trial = values + np.clip(step, -5, 5)
        new_cost, new_weight = _cost(problem, batch, _model(problem, batch, *parts(trial))[0])
        better = new_cost <= cost
        gained = np.where(better, cost - new_cost, 0.0)
        values = np.where(better[:, None], trial, values)
        cost, weight = np.where(better, new_cost, cost), np.where(better[:, None], new_weight, weight)
        damping = np.clip(np.where(better, damping * 0.1, damping * 10), 1e-12, 1e8)
        small = np.abs(step).max(axis=1) < 1e-9
        if bool(np.all((better & (gained <= 1e-12 * cost)) | small | (damping >= 1e8))):
            break
    found, at_floor = parts(values)
    return Solved(values=found, floor=np.array(at_floor, dtype=float), cost=cost)


def _cost(problem: Problem, batch: Batch, value: "Array") -> tuple["Array", "Array"]:
    """(what is minimised, one number a fit; the weights that least squares would have here)."""
    import numpy as np

    residual = value - problem.error
    if problem.huber is None:
        return (batch.weight * residual**2).sum(axis=1), batch.weight
    size = np.sqrt(problem.weight) * np.abs(residual)
    beyond = np.maximum(1.0, size / problem.huber)
    # of a point resampled k times, k times the loss that its own weight gives it
    times = batch.weight / problem.weight
    loss = np.where(size <= problem.huber, size**2, problem.huber * (2 * size - problem.huber))
    return (times * loss).sum(axis=1), batch.weight / beyond
