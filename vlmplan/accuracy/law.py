"""How does error fall with LLM size and visual tokens? The scaling law, what it predicts and its optimum.

N is LLM parameters in billions, V visual tokens per image, error in [0, 1]. ``power``: error = A N^-alpha V^-beta + D
(arXiv 2411.03312, equation 1, with T = V). ``logit``: ln(error / (1 - error)) = a - b ln N - c ln V, one parameter
fewer and bounded. ``hill``: error = 1 - (1 - E) V^c / (V^c + exp(d)^c) with ln(E / (1 - E)) = a - b ln N: E is the
error at unlimited V, of whose score V tokens keep a share that ends at 0 and at 1 (``reductions.py``'s curve), half of
it at exp(d) tokens. Text tokens enter the cost, not the error. D is hardly identified by the published data: alpha and
beta move with it, so coefficients are only meaningful together. Where points are too few to choose, a law is a weighted
mean of forms. Laws are made by ``fit``.
"""

import enum
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_range
from vlmplan.intervals import Interval
from vlmplan.models import Reduction
from vlmplan.records import dataclass

# Outside the range of its points a law's spread grows by this much, in logit, per e-fold of N or V: an assumption.
EXTRAPOLATION_LOGIT_SD = 0.1


# How the source of a point begins that was measured on the user's own questions; the model's name follows.
OWN_QUESTIONS = "own questions answered by "


class Form(enum.StrEnum):
    """The shape of the law."""

    POWER = "power"
    LOGIT = "logit"
    HILL = "hill"


class Loss(enum.StrEnum):
    """What a fit minimises: squared errors, or Huber's loss, in which points far off count linearly."""

    SQUARES = "squares"
    HUBER = "huber"


class PriorChoice(enum.StrEnum):
    """Whether published scores and studies stand in for what points cannot tell."""

    AUTO = "auto"
    NONE = "none"


def shifted(error: float, logit: float) -> float:
    """Move an error by ``logit`` on the logit scale; errors of 0 and 1 are taken for 1e-9 off them."""
    inside = min(1 - 1e-9, max(1e-9, error))
    return 1 / (1 + (1 - inside) / inside * math.exp(-_bounded(logit)))


PARAMETERS = {
    Form.POWER: ("A", "alpha", "beta", "D"),
    Form.LOGIT: ("a", "b", "c"),
    Form.HILL: ("a", "b", "c", "d"),
}
# Of hill, c/b compares steepnesses of two different logits (of the share kept, and of E): it gives no best V.
RATIO = {Form.POWER: "beta/alpha", Form.LOGIT: "c/b", Form.HILL: "c/b"}


def _bounded(exponent: float) -> float:
    """Keep an exponent where ``exp`` is finite; a draw may lie far out."""
    return min(500.0, max(-500.0, exponent))


def _logistic(eta: float) -> float:
    return 1 / (1 + math.exp(-_bounded(eta)))


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
    off by is in the errors on left-out LLMs. A single point cannot be left out, nor a single LLM, and two say little:
    another model may then be off by ``assumed_rmse``, from published scores, unless what was left out is farther off.
    """

    form: Form
    coefficients: Mapping[str, Coefficient]
    ratio: Coefficient
    families: Mapping[str, float]
    rmse: float
    loo_rmse: float | None
    leave_one_llm_out_rmse: float | None
    draws: tuple[tuple[float, ...], ...] = ()
    assumed_rmse: float | None = None

    def __post_init__(self) -> None:
        """The coefficients are those of the form, and so are the draws."""
        if tuple(self.coefficients) != PARAMETERS[self.form]:
            raise InputError(
                f"coefficients: expected {', '.join(PARAMETERS[self.form])}, found {', '.join(self.coefficients)}"
            )
        numbers = [one.value for one in (*self.coefficients.values(), self.ratio)]
        for value in (*numbers, *self.families.values(), *(number for row in self.draws for number in row)):
            check_range("coefficients and draws", value, -1e6, 1e6)
        for name in ("rmse", "loo_rmse", "leave_one_llm_out_rmse", "assumed_rmse"):
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
        """The error on LLMs left out, or on points where there are too few LLMs for that; 1 where nothing is known."""
        missed = self.loo_rmse if self.leave_one_llm_out_rmse is None else self.leave_one_llm_out_rmse
        return max((one for one in (missed, self.assumed_rmse) if one is not None), default=1.0)

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
        if self.form is Form.HILL:
            best = _logistic(values[0] - values[1] * math.log(llm_params_b) + self.families.get(family, 0.0))
            return best + (1 - best) * _logistic(-values[2] * (math.log(visual_tokens) - values[3]))
        exponent = -values[1] * math.log(llm_params_b) - values[2] * math.log(visual_tokens)
        exponent += self.families.get(family, 0.0)
        if self.form is Form.LOGIT:
            return _logistic(values[0] + exponent)
        return min(1.0, max(0.0, values[0] * math.exp(_bounded(exponent)) + values[3]))

    def optimal_visual_tokens(
        self, text_tokens: float, compute: float, values: tuple[float, ...] | None = None
    ) -> float | None:
        """Return the best V at a fixed N (Q + V), ``compute``, with N free; None where more tokens are always better.

        Of hill it moves with the compute, of the others it does not.
        """
        values = values or self.values
        if self.form is Form.HILL:
            return least_error_tokens(lambda n, v: self.error(n, v, values=values), text_tokens, compute)
        return optimal_visual_tokens(values[1], values[2], text_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One draw of a law: a form and its coefficients."""

    form: Form
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingLaw(Document):
    """A law with what it rests on. ``form`` names the fit in use.

    With ``weights`` it is the weighted mean of several fits, ``form`` being the one that weighs most. A model of a
    family without points is taken for one of ``like``, or where that is empty, of the mean family.
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
    weights: Mapping[Form, float] | None = None

    def __post_init__(self) -> None:
        """The forms in use must have been fitted, on points in range, and have draws."""
        fitted = {fit.form: fit for fit in self.fits}
        for form in (self.form, *self.shares):
            if form not in fitted:
                raise InputError(f"form: {form} is not among fits")
            if not fitted[form].draws:
                raise InputError(f"fits: found no draws of {form}, the form in use; make the law with 'vlmplan fit'")
        for form, weight in self.shares.items():
            check_range(f"weights.{form}", weight, 0, 1)
        if self.form not in self.shares or abs(sum(self.shares.values()) - 1) > 1e-6:
            raise InputError(f"weights: expected shares of forms that add to 1, {self.form} among them")
        if self.like and self.like not in self.fit.families:
            raise InputError(f"like: found '{self.like}', expected one of {', '.join(self.fit.families) or 'none'}")
        for name in ("llm_params_b_range", "visual_tokens_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"{name}: expected 0 < low <= high, found {[low, high]}")

    @property
    def fit(self) -> Fit:
        """The fit in use; of several, the one that weighs most."""
        return self._fit(self.form)

    @property
    def shares(self) -> Mapping[Form, float]:
        """What each form in use weighs."""
        return self.weights or {self.form: 1.0}

    @property
    def forms(self) -> str:
        """The forms in use, in words."""
        shares = self.weights
        return self.form if shares is None else " + ".join(f"{share:.2g} {form}" for form, share in shares.items())

    @property
    def asked_models(self) -> tuple[str, ...]:
        """The models that answered one's own questions for it; none where the points are from elsewhere."""
        return tuple(one.removeprefix(OWN_QUESTIONS) for one in self.sources if one.startswith(OWN_QUESTIONS))

    def middle_compute(self, text_tokens: float) -> float:
        """Return N (Q + V) in the middle of the points' ranges, in billions of parameters x tokens."""
        size, tokens = (math.sqrt(low * high) for low, high in (self.llm_params_b_range, self.visual_tokens_range))
        return size * (text_tokens + tokens)

    def _fit(self, form: Form) -> Fit:
        return next(fit for fit in self.fits if fit.form is form)

    def optimal_visual_tokens(self, text_tokens: float, compute: float | None = None) -> float | None:
        """Return the best V at a fixed N (Q + V) with N free, by the forms in use; None where more is always better.

        Where it moves with the ``compute``, N (Q + V) in billions of parameters x tokens, that is ``middle_compute``
        unless it is given.
        """
        compute = self.middle_compute(text_tokens) if compute is None else compute
        if self.weights is None:
            return self.fit.optimal_visual_tokens(text_tokens, compute)
        return least_error_tokens(self.error, text_tokens, compute)

    def error(self, llm_params_b: float, visual_tokens: float, family: str = "", draw: Draw | None = None) -> float:
        """Return the predicted error at ``llm_params_b`` billion parameters and ``visual_tokens`` per image.

        Of several forms it is their weighted mean, with a ``draw`` that of the draw's form and coefficients.
        """
        known = family if family in self.fit.families else self.like
        if draw is not None:
            return self._fit(draw.form).error(llm_params_b, visual_tokens, known, draw.values)
        fits = ((share, self._fit(form)) for form, share in self.shares.items())
        return sum(share * fit.error(llm_params_b, visual_tokens, known) for share, fit in fits)

    def outside(self, llm_params_b: float, visual_tokens: float) -> float:
        """Return how far outside the points' range this is, in e-folds of N and V together; 0 inside."""
        (low_n, high_n), (low_v, high_v) = self.llm_params_b_range, self.visual_tokens_range
        return math.log(max(low_n / llm_params_b, llm_params_b / high_n, 1.0)) + math.log(
            max(low_v / visual_tokens, visual_tokens / high_v, 1.0)
        )

    @property
    def draws(self) -> tuple[Draw, ...]:
        """All draws of the forms in use: of any first few, each form has its share."""
        taken = dict.fromkeys(self.shares, 0)
        draws = []
        for count in range(1, max(len(self._fit(form).draws) for form in self.shares) + 1):
            form = max(self.shares, key=lambda one: self.shares[one] * count - taken[one])
            stored = self._fit(form).draws
            draws.append(Draw(form=form, values=stored[taken[form] % len(stored)]))
            taken[form] += 1
        return tuple(draws)

    def coefficient_draws(self, count: int) -> list[Draw]:
        """Return ``count`` draws of the forms in use; those stored, again from the first where they are fewer."""
        stored = self.draws
        return [stored[index % len(stored)] for index in range(count)]

    def residual_logit_sd(self, llm_params_b: float, visual_tokens: float, family: str = "") -> float:
        """Return the spread of one model about the law, in logit: left-out errors, and more outside the range.

        A mean of forms errs no more, in squares, than the forms do on average, which is what counts here.
        """
        outside = EXTRAPOLATION_LOGIT_SD * self.outside(llm_params_b, visual_tokens)
        missed = self._mean_square(lambda fit: fit.left_out_rmse)
        return math.hypot(missed / self._per_logit(llm_params_b, visual_tokens, family), outside)

    def family_logit_sd(self, llm_params_b: float, visual_tokens: float, family: str) -> float:
        """Return the spread, in logit, that all models of a family share which is none of the law's; 0 for its own.

        Such a family differs from the one it is taken for as the law's differ from their mean.
        """
        if family in self.fit.families:
            return 0.0
        known, unit = self.like, self._per_logit(llm_params_b, visual_tokens, family)

        def spread(fit: Fit) -> float:
            if fit.form is Form.LOGIT:
                return fit.families_sd
            error = fit.error(llm_params_b, visual_tokens, known)
            if fit.form is Form.POWER:
                return fit.families_sd * error / unit  # an offset of ln A, in logit
            a, b, *_ = fit.values  # an offset of E's logit moves the error by (1 - error) E
            best = _logistic(a - b * math.log(llm_params_b) + fit.families.get(known, 0.0))
            return fit.families_sd * (1 - error) * best / unit

        return self._mean_square(spread)

    def _mean_square(self, spread: Callable[[Fit], float]) -> float:
        """A spread of the forms in use together, by their weights; of one form, its own to the last bit."""
        if self.weights is None:
            return spread(self.fit)
        return math.sqrt(sum(share * spread(self._fit(form)) ** 2 for form, share in self.shares.items()))

    def _per_logit(self, llm_params_b: float, visual_tokens: float, family: str) -> float:
        """How much error one logit is here."""
        error = min(0.999, max(0.001, self.error(llm_params_b, visual_tokens, family)))
        return error * (1 - error)


def optimal_visual_tokens(b: float, c: float, text_tokens: float) -> float | None:
    """Return V* = Q c / (b - c), the best V at a fixed 2 N (Q + V) with N free; None for c >= b: the more the better.

    Follows from setting d/dV of b ln N + c ln V to zero with N = C / (Q + V); exponents of ``power`` serve as well.
    """
    return text_tokens * c / (b - c) if b > c else None


_LEAST_TOKENS, _MOST_TOKENS = 1e-2, 1e6  # between which the best V is looked for
_GRID, _SHRUNK = 80, 60  # steps of it


def least_error_tokens(error: Callable[[float, float], float], text_tokens: float, compute: float) -> float | None:
    """Return the V of least ``error(N, V)`` with N = compute / (Q + V); None where more is always better.

    A bounded search of ln V by golden sections about the best of a grid. Of hill with b, c > 0 the logarithm of the
    score is concave in ln V, so that there is one optimum, at any Q and compute; a mean of forms may have several.
    """
    low, high = math.log(_LEAST_TOKENS), math.log(_MOST_TOKENS)

    def at(log_tokens: float) -> float:
        tokens = math.exp(log_tokens)
        return error(compute / (text_tokens + tokens), tokens)

    step = (high - low) / _GRID
    best = min(range(_GRID + 1), key=lambda index: at(low + index * step))
    if best in (0, _GRID):
        return None if best else _LEAST_TOKENS
    low, high = low + (best - 1) * step, low + (best + 1) * step
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(_SHRUNK):
        near, far = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, far) if at(near) <= at(far) else (near, high)
    return math.exp((low + high) / 2)
