"""How does error fall with LLM size and visual tokens? The scaling law, what it predicts and its optimum.

N is LLM parameters in billions, V visual tokens per image, error in [0, 1]. ``power``: error = A N^-alpha V^-beta + D
(arXiv 2411.03312, equation 1, with T = V). ``logit``: ln(error / (1 - error)) = a - b ln N - c ln V, one parameter
fewer and bounded. Text tokens enter the cost, not the error. D is hardly identified by the published data: alpha and
beta move with it, so coefficients are only meaningful together. Laws are made by ``fit``.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_range
from vlmplan.model import Reduction

# Outside the range of its points a law's spread grows by this much, in logit, per e-fold of N or V: an assumption.
EXTRAPOLATION_LOGIT_SD = 0.1


class Form(enum.StrEnum):
    """The shape of the law."""

    POWER = "power"
    LOGIT = "logit"


class Loss(enum.StrEnum):
    """What a fit minimises: squared errors, or Huber's loss, in which points far off count linearly."""

    SQUARES = "squares"
    HUBER = "huber"


def shifted(error: float, logit: float) -> float:
    """Move an error by ``logit`` on the logit scale; errors of 0 and 1 are taken for 1e-9 off them."""
    inside = min(1 - 1e-9, max(1e-9, error))
    return 1 / (1 + (1 - inside) / inside * math.exp(-_bounded(logit)))


PARAMETERS = {Form.POWER: ("A", "alpha", "beta", "D"), Form.LOGIT: ("a", "b", "c")}
RATIO = {Form.POWER: "beta/alpha", Form.LOGIT: "c/b"}
Interval = tuple[float, float]


def _bounded(exponent: float) -> float:
    """Keep an exponent where ``exp`` is finite; a draw may lie far out."""
    return min(500.0, max(-500.0, exponent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured model. ``weight`` is what it counts for beside the others."""

    llm_params_b: float
    visual_tokens: float
    error: float
    family: str = ""
    weight: float = 1.0

    @property
    def llm(self) -> tuple[str, float]:
        """The LLM: its family and size."""
        return (self.family, self.llm_params_b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """A coefficient, its interval at the law's level, and the method that gave the widest; None where none ends."""

    value: float
    interval: Interval | None = None
    interval_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One form fitted. Errors are root mean squares in [0, 1], of left-out points where the name says so.

    ``ratio`` is c/b or beta/alpha. ``families`` are offsets from the mean of all: of ``a``, or of ln A. ``draws`` are
    rows of the coefficients, as the points' resampling moves them together; offsets are held, since what they may be
    off by is in the errors on left-out LLMs.
    """

    form: Form
    coefficients: Mapping[str, Coefficient]
    ratio: Coefficient
    families: Mapping[str, float]
    rmse: float
    loo_rmse: float
    leave_one_llm_out_rmse: float | None
    draws: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        """The coefficients are those of the form, and so are the draws."""
        if tuple(self.coefficients) != PARAMETERS[self.form]:
            raise InputError(
                f"coefficients: expected {', '.join(PARAMETERS[self.form])}, found {', '.join(self.coefficients)}"
            )
        numbers = [one.value for one in (*self.coefficients.values(), self.ratio)]
        for value in (*numbers, *self.families.values(), *(number for row in self.draws for number in row)):
            check_range("coefficients and draws", value, -1e6, 1e6)
        for name in ("rmse", "loo_rmse", "leave_one_llm_out_rmse"):
            check_range(name, getattr(self, name), 0, 1)
        size = len(self.coefficients)
        if any(len(row) != size for row in self.draws):
            raise InputError(f"draws: expected rows of {size} numbers, the coefficients")

    @property
    def values(self) -> tuple[float, ...]:
        """The coefficients, in the order of ``draws``."""
        return tuple(one.value for one in self.coefficients.values())

    @property
    def left_out_rmse(self) -> float:
        """The error on LLMs left out, or on points where there are too few LLMs for that."""
        return self.loo_rmse if self.leave_one_llm_out_rmse is None else self.leave_one_llm_out_rmse

    @property
    def families_sd(self) -> float:
        """How far families lie apart, in the unit of their offsets; 0 for fewer than two."""
        offsets = tuple(self.families.values())
        return math.sqrt(sum(value**2 for value in offsets) / (len(offsets) - 1)) if len(offsets) > 1 else 0.0

    def error(
        self, llm_params_b: float, visual_tokens: float, family: str = "", values: tuple[float, ...] | None = None
    ) -> float:
        """Return the predicted error, with other ``values`` where given (a draw); an unknown family is the mean one."""
        values = values or self.values
        exponent = -values[1] * math.log(llm_params_b) - values[2] * math.log(visual_tokens)
        exponent += self.families.get(family, 0.0)
        if self.form is Form.LOGIT:
            return 1 / (1 + math.exp(-_bounded(values[0] + exponent)))
        return min(1.0, max(0.0, values[0] * math.exp(_bounded(exponent)) + values[3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingLaw(Document):
    """A law with what it rests on. ``form`` names the fit in use.

    A model of a family without points is taken for one of ``like``, or where that is empty, of the mean family.
    """

    SCHEMA: ClassVar[str] = "vlmplan.law/1"

    name: str
    task: str
    form: Form
    reduction: Reduction
    like: str = ""
    loss: Loss
    interval_level_fraction: float
    n_points: int
    llm_params_b_range: Interval
    visual_tokens_range: Interval
    points: tuple[Point, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    fits: tuple[Fit, ...]

    def __post_init__(self) -> None:
        """The form in use must have been fitted, on points in range, and have draws."""
        if self.form not in [found.form for found in self.fits]:
            raise InputError(f"form: {self.form} is not among fits")
        if not self.fit.draws:
            raise InputError(f"fits: found no draws of {self.form}, the form in use; make the law with 'vlmplan fit'")
        if self.like and self.like not in self.fit.families:
            raise InputError(f"like: found '{self.like}', expected one of {', '.join(self.fit.families) or 'none'}")
        for name in ("llm_params_b_range", "visual_tokens_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"{name}: expected 0 < low <= high, found {[low, high]}")

    def optimal_visual_tokens(self, text_tokens: float) -> float | None:
        """Return the best V at a fixed 2 N (Q + V) with N free, by the fit in use; None where more is always better."""
        return optimal_visual_tokens(self.fit.values[1], self.fit.values[2], text_tokens)

    @property
    def fit(self) -> Fit:
        """The fit in use."""
        return next(found for found in self.fits if found.form is self.form)

    def error(
        self, llm_params_b: float, visual_tokens: float, family: str = "", values: tuple[float, ...] | None = None
    ) -> float:
        """Return the predicted error at ``llm_params_b`` billion parameters and ``visual_tokens`` per image.

        ``values`` are other coefficients (a draw).
        """
        known = family if family in self.fit.families else self.like
        return self.fit.error(llm_params_b, visual_tokens, known, values)

    def outside(self, llm_params_b: float, visual_tokens: float) -> float:
        """Return how far outside the points' range this is, in e-folds of N and V together; 0 inside."""
        (low_n, high_n), (low_v, high_v) = self.llm_params_b_range, self.visual_tokens_range
        return math.log(max(low_n / llm_params_b, llm_params_b / high_n, 1.0)) + math.log(
            max(low_v / visual_tokens, visual_tokens / high_v, 1.0)
        )

    def coefficient_draws(self, count: int) -> list[tuple[float, ...]]:
        """Return ``count`` draws of the fit in use; those stored, again from the first where they are fewer."""
        stored = self.fit.draws
        return [stored[index % len(stored)] for index in range(count)]

    def residual_logit_sd(self, llm_params_b: float, visual_tokens: float, family: str = "") -> float:
        """Return the spread of one model about the law, in logit: left-out errors, and more outside the range."""
        outside = EXTRAPOLATION_LOGIT_SD * self.outside(llm_params_b, visual_tokens)
        return math.hypot(self.fit.left_out_rmse / self._per_logit(llm_params_b, visual_tokens, family), outside)

    def family_logit_sd(self, llm_params_b: float, visual_tokens: float, family: str) -> float:
        """Return the spread, in logit, that all models of a family share which is none of the law's; 0 for its own.

        Such a family differs from the one it is taken for as the law's differ from their mean.
        """
        if family in self.fit.families:
            return 0.0
        if self.form is Form.LOGIT:
            return self.fit.families_sd
        error = self.error(llm_params_b, visual_tokens, family)  # an offset of ln A, in logit
        return self.fit.families_sd * error / self._per_logit(llm_params_b, visual_tokens, family)

    def _per_logit(self, llm_params_b: float, visual_tokens: float, family: str) -> float:
        """How much error one logit is here."""
        error = min(0.999, max(0.001, self.error(llm_params_b, visual_tokens, family)))
        return error * (1 - error)


def optimal_visual_tokens(b: float, c: float, text_tokens: float) -> float | None:
    """Return V* = Q c / (b - c), the best V at a fixed 2 N (Q + V) with N free; None for c >= b: the more the better.

    Follows from setting d/dV of b ln N + c ln V to zero with N = C / (Q + V); exponents of ``power`` serve as well.
    """
    return text_tokens * c / (b - c) if b > c else None
