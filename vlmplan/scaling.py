"""How does error fall with LLM size and visual tokens? The scaling law, its fit and its optimum.

N is LLM parameters in billions, V visual tokens per image, error in [0, 1]. ``power``: error = A N^-alpha V^-beta + D
(arXiv 2411.03312, equation 1, with T = V). ``logit``: ln(error / (1 - error)) = a - b ln N - c ln V, one parameter
fewer and bounded. Text tokens enter the cost, not the error. D is hardly identified by the published data: alpha and
beta move with it, so coefficients are only meaningful together.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_range
from vlmplan.model import Reduction

# Outside the range of its points a law's spread grows by this much, in logit, per e-fold of N or V: an assumption.
EXTRAPOLATION_LOGIT_SD = 0.1


class Form(enum.StrEnum):
    """The shape of the law."""

    POWER = "power"
    LOGIT = "logit"


def _bounded(exponent: float) -> float:
    """Keep an exponent where ``exp`` is finite; a draw may lie far out."""
    return min(500.0, max(-500.0, exponent))


PARAMETERS = {Form.POWER: ("A", "alpha", "beta", "D"), Form.LOGIT: ("a", "b", "c")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured model."""

    llm_params_b: float
    visual_tokens: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One form fitted. ``covariance`` is in the order of ``coefficients``; errors are root mean squares in [0, 1]."""

    form: Form
    coefficients: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...]
    rmse: float
    loo_rmse: float
    leave_one_llm_out_rmse: float

    def __post_init__(self) -> None:
        """The coefficients are those of the form, with a square covariance."""
        if tuple(self.coefficients) != PARAMETERS[self.form]:
            raise InputError(
                f"coefficients: expected {', '.join(PARAMETERS[self.form])}, found {', '.join(self.coefficients)}"
            )
        for value in (*self.coefficients.values(), *(number for row in self.covariance for number in row)):
            check_range("coefficients and covariance", value, -1e6, 1e6)
        for name in ("rmse", "loo_rmse", "leave_one_llm_out_rmse"):
            check_range(name, getattr(self, name), 0, 1)
        size = len(self.coefficients)
        if len(self.covariance) != size or any(len(row) != size for row in self.covariance):
            raise InputError(f"covariance: expected {size} rows of {size} numbers")

    def error(self, llm_params_b: float, visual_tokens: float, coefficients: tuple[float, ...] | None = None) -> float:
        """Return the predicted error, with other ``coefficients`` where given (a draw)."""
        values = coefficients or tuple(self.coefficients.values())
        log_n, log_v = math.log(llm_params_b), math.log(visual_tokens)
        if self.form is Form.LOGIT:
            return 1 / (1 + math.exp(-_bounded(values[0] - values[1] * log_n - values[2] * log_v)))
        return min(1.0, max(0.0, values[0] * math.exp(_bounded(-values[1] * log_n - values[2] * log_v)) + values[3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingLaw(Document):
    """A law with what it rests on. ``form`` names the fit in use, the one that predicts left-out points better."""

    SCHEMA: ClassVar[str] = "vlmplan.law/1"

    name: str
    form: Form
    reduction: Reduction
    fits: tuple[Fit, ...]
    llm_params_b_range: tuple[float, float]
    visual_tokens_range: tuple[float, float]
    points: tuple[Point, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """The form in use must have been fitted, on points in range."""
        if self.form not in [found.form for found in self.fits]:
            raise InputError(f"form: {self.form} is not among fits")
        for name in ("llm_params_b_range", "visual_tokens_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"{name}: expected 0 < low <= high, found {[low, high]}")

    def optimal_visual_tokens(self, text_tokens: float) -> float | None:
        """Return the best V at a fixed 2 N (Q + V) with N free, by the fit in use; None where more is always better."""
        _, b, c, *_ = self.fit.coefficients.values()
        return optimal_visual_tokens(b, c, text_tokens)

    @property
    def fit(self) -> Fit:
        """The fit in use."""
        return next(found for found in self.fits if found.form is self.form)

    def error(self, llm_params_b: float, visual_tokens: float) -> float:
        """Return the predicted error at ``llm_params_b`` billion parameters and ``visual_tokens`` per image."""
        return self.fit.error(llm_params_b, visual_tokens)

    def outside(self, llm_params_b: float, visual_tokens: float) -> float:
        """Return how far outside the points' range this is, in e-folds of N and V together; 0 inside."""
        (low_n, high_n), (low_v, high_v) = self.llm_params_b_range, self.visual_tokens_range
        return math.log(max(low_n / llm_params_b, llm_params_b / high_n, 1.0)) + math.log(
            max(low_v / visual_tokens, visual_tokens / high_v, 1.0)
        )

    def coefficient_draws(self, count: int) -> list[tuple[float, ...]]:
        """Return seeded draws of the coefficients from their Gaussian, the same every time."""
        mean, root = tuple(self.fit.coefficients.values()), _cholesky(self.fit.covariance)
        random = Random(f"{self.name} {self.form}")
        draws = []
        for _ in range(count):
            normal = [random.gauss(0, 1) for _ in mean]
            draws.append(
                tuple(
                    m + sum(r * z for r, z in zip(row, normal, strict=True)) for m, row in zip(mean, root, strict=True)
                )
            )
        return draws

    def residual_logit_sd(self, llm_params_b: float, visual_tokens: float) -> float:
        """Return the spread of one model about the law, in logit: left-out errors, and more outside the range."""
        error = min(0.999, max(0.001, self.error(llm_params_b, visual_tokens)))
        inside = self.fit.leave_one_llm_out_rmse / (error * (1 - error))
        return math.hypot(inside, EXTRAPOLATION_LOGIT_SD * self.outside(llm_params_b, visual_tokens))


def _cholesky(matrix: tuple[tuple[float, ...], ...]) -> list[list[float]]:
    """Lower root of a covariance; a direction without variance gets none."""
    size = len(matrix)
    root = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(root[i][k] * root[j][k] for k in range(j))
            if i == j:
                root[i][i] = math.sqrt(max(0.0, rest))
            elif root[j][j] > 0:
                root[i][j] = rest / root[j][j]
    return root


def optimal_visual_tokens(b: float, c: float, text_tokens: float) -> float | None:
    """Return V* = Q c / (b - c), the best V at a fixed 2 N (Q + V) with N free; None for c >= b: the more the better.

    Follows from setting d/dV of b ln N + c ln V to zero with N = C / (Q + V); exponents of ``power`` serve as well.
    """
    return text_tokens * c / (b - c) if b > c else None


def fit(points: tuple[Point, ...], form: Form) -> Fit:
    """Fit one form by least squares in error. Raises InputError with fewer points than parameters plus one.

    The covariance adds the ordinary one and one clustered by LLM: points of one LLM are not independent.
    """
    import numpy as np

    if (
        len(points) <= len(PARAMETERS[form])
        or len({p.llm_params_b for p in points}) < 2
        or len({p.visual_tokens for p in points}) < 2
    ):
        raise InputError(
            f"a {form} law needs more than {len(PARAMETERS[form])} points, of at least two LLM sizes and two "
            f"numbers of visual tokens; found {len(points)} points"
        )
    n, v, error = (np.array([getattr(p, name) for p in points]) for name in ("llm_params_b", "visual_tokens", "error"))
    values, jacobian = _solve(n, v, error, form)
    residual = _model(values, n, v, form) - error
    left_out = []
    for groups in (range(len(points)), n):
        labels = np.array(list(groups))
        misses = []
        for label in np.unique(labels):
            out = labels == label
            kept, _ = _solve(n[~out], v[~out], error[~out], form)
            misses.extend(_model(kept, n[out], v[out], form) - error[out])
        left_out.append(float(np.sqrt(np.mean(np.square(misses)))))
    return Fit(
        form=form,
        coefficients=dict(zip(PARAMETERS[form], map(float, values), strict=True)),
        covariance=_covariance(jacobian, residual, n),
        rmse=float(np.sqrt(np.mean(residual**2))),
        loo_rmse=left_out[0],
        leave_one_llm_out_rmse=left_out[1],
    )


def _model(values: Any, n: Any, v: Any, form: Form) -> Any:
    import numpy as np

    if form is Form.LOGIT:
        return 1 / (1 + np.exp(-(values[0] - values[1] * np.log(n) - values[2] * np.log(v))))
    return values[0] * n ** -values[1] * v ** -values[2] + values[3]


def _solve(n: Any, v: Any, error: Any, form: Form) -> tuple[Any, Any]:
    """Least squares from the solution of the linearised problem; D stays between 0 and the least error."""
    import numpy as np
    from scipy.optimize import least_squares

    design = np.stack([np.ones_like(n), -np.log(n), -np.log(v)], axis=1)
    target = np.log(error / (1 - error)) if form is Form.LOGIT else np.log(error)
    start = np.linalg.lstsq(design, target, rcond=None)[0]
    bounds: tuple[Any, Any] = (-np.inf, np.inf)
    if form is Form.POWER:
        start = np.array([np.exp(start[0]), start[1], start[2], 1e-6])
        bounds = ([0, -1, -1, 0], [10, 2, 2, float(error.min())])
    found = least_squares(
        lambda q: _model(q, n, v, form) - error, start, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    return np.where(np.abs(found.x) < 1e-9, 0.0, found.x), found.jac  # D at its bound is zero, not 1e-18


def _covariance(jacobian: Any, residual: Any, clusters: Any) -> tuple[tuple[float, ...], ...]:
    """Ordinary plus clustered covariance; a parameter at its bound (D = 0) counts as known."""
    import numpy as np

    free = [i for i in range(jacobian.shape[1]) if i < 3]
    j = jacobian[:, free]
    inverse = np.linalg.pinv(j.T @ j)
    ordinary = inverse * float(residual @ residual) / max(1, len(residual) - len(free))
    labels = np.unique(clusters)
    scores = np.stack([j[clusters == label].T @ residual[clusters == label] for label in labels])
    clustered = inverse @ (scores.T @ scores) @ inverse * len(labels) / max(1, len(labels) - 1)
    full = np.zeros((jacobian.shape[1],) * 2)
    full[np.ix_(free, free)] = ordinary + clustered
    return tuple(tuple(float(value) for value in row) for row in full)
