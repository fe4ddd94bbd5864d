"""What do some answers tell of every arm's score? A prior and answers -> a posterior, of new questions and of these.

An arm is a model at a number of visual tokens. Scores of arms are logits with a Gaussian prior; answers to one question
go together, because questions have a difficulty. The likelihood is the quasi-likelihood of correlated answers: of one
question's scores y at the arms that were asked it, with means p and working covariance f A^1/2 R A^1/2, A = diag(p (1 -
p)) (generalised estimating equations: Liang and Zeger, Biometrika 73, 1986). Its mode and curvature with the prior are
the posterior. Scores between 0 and 1 are taken as well as right and wrong: f is their dispersion.

R is 1 on the diagonal; elsewhere the mean product of standardised residuals of a pair of arms, drawn to that of all
pairs of one model, or of two, and those to what is assumed. Left out: that the correlation is itself uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Of answers to one question: an assumption, held as if so many pairs of answers had shown it.
SAME_MODEL, OTHER_MODEL, ASSUMED_PAIRS = 0.6, 0.4, 40.0
PAIR_PAIRS = 30.0  # what the mean of all pairs of a kind is worth beside a pair of arms' own
_MOST_CORRELATION = 0.97
_ROUNDS, _STEPS = 3, 25
_LEAST_VARIANCE = 1e-3  # of p (1 - p): a score of 0 or 1 is never sure


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Logits of the arms' scores before an answer: their mean, shape (arms,), and covariance, (arms, arms)."""

    mean: Any
    covariance: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Questions that were asked of the same arms: ``asked`` (arms,) is true there, ``right`` (arms,) their sums."""

    asked: Any
    questions: int
    right: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Logits of the arms' scores on questions like these, with what is needed to tell those of all these questions."""

    prior: Belief
    mean: Any
    covariance: Any
    correlation: Any
    dispersion_ratio: float
    groups: tuple[Group, ...]

    @property
    def questions(self) -> int:
        """All questions, asked of some arm or of none."""
        return sum(group.questions for group in self.groups)

    @property
    def score(self) -> "Array":
        """The arms' scores at the mode."""
        return _logistic(self.mean)

    @property
    def weight(self) -> "Array":
        """What the answers weigh at each arm beside the prior: the share by which they reduced the variance."""
        import numpy as np

        return np.asarray(np.clip(1 - np.diag(self.covariance) / np.diag(self.prior.covariance), 0.0, 1.0))

    def draws(self, normals: "Array") -> "Array":
        """Scores on questions like these, a row for each row of standard ``normals``."""
        return _logistic(self.mean + normals @ root(self.covariance).T)


def _logistic(logits: "Array") -> "Array":
    import numpy as np

    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def root(covariance: "Array") -> "Array":
    """A square root of a covariance, which rounding may have left with eigenvalues just below 0."""
    import numpy as np

    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None)))


def grouped(scores: "Array") -> tuple[Group, ...]:
    """Put questions together that were asked of the same arms. ``scores`` (arms, questions) has NaN where unasked."""
    import numpy as np

    asked = ~np.isnan(scores)
    patterns, of = np.unique(asked, axis=1, return_inverse=True)
    known = np.nan_to_num(scores)
    return tuple(
        Group(asked=patterns[:, at], questions=int((of == at).sum()), right=known[:, of == at].sum(axis=1))
        for at in range(patterns.shape[1])
    )


def posterior(prior: Belief, scores: "Array", models: Sequence[int]) -> Posterior:
    """Return what is known after ``scores`` (arms, questions), NaN where unasked; ``models`` numbers each arm's."""
    import numpy as np

    groups, mean = grouped(scores), prior.mean
    same = np.equal.outer(models, models)
    correlation, dispersion = _assumed(same), 1.0
    for _ in range(_ROUNDS):
        mean, covariance = _mode(prior, groups, correlation, dispersion, mean)
        if not any(group.asked.any() for group in groups):
            break
        correlation, dispersion = _together(scores, _logistic(mean), same)
    return Posterior(
        prior=prior,
        mean=mean,
        covariance=covariance,
        correlation=correlation,
        dispersion_ratio=dispersion,
        groups=groups,
    )


def _assumed(same: "NDArray[np.bool_]") -> "Array":
    import numpy as np

    correlation = np.where(same, SAME_MODEL, OTHER_MODEL)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _spread(p: "Array") -> "Array":
    """Standard deviations of right-or-wrong answers."""
    import numpy as np

    return np.sqrt(np.maximum(p * (1 - p), _LEAST_VARIANCE))


def _together(scores: "Array", p: "Array", same: "NDArray[np.bool_]") -> tuple["Array", float]:
    """How answers to one question go together, and their dispersion, from standardised residuals."""
    import numpy as np

    residuals = (scores - p[:, None]) / _spread(p)[:, None]
    known = ~np.isnan(residuals)
    filled = np.where(known, residuals, 0.0)
    pairs, products = (known.astype(float) @ known.T), filled @ filled.T
    squares, count = float(np.trace(products)), float(np.trace(pairs))
    dispersion = min(1.0, (squares + ASSUMED_PAIRS) / (count + ASSUMED_PAIRS))
    products = products / dispersion
    other = ~np.eye(len(p), dtype=bool)
    correlation = np.eye(len(p))
    for kind, assumed in ((same & other, SAME_MODEL), (~same, OTHER_MODEL)):
        if kind.any():
            pooled = (products[kind].sum() / 2 + ASSUMED_PAIRS * assumed) / (pairs[kind].sum() / 2 + ASSUMED_PAIRS)
            own = (products + PAIR_PAIRS * pooled) / (pairs + PAIR_PAIRS)
            correlation[kind] = np.clip(own, 0.0, _MOST_CORRELATION)[kind]
    return _positive(correlation), dispersion


def _positive(correlation: "Array") -> "Array":
    """The correlation without directions of no variance, which pairs estimated one by one may leave."""
    import numpy as np

    values, vectors = np.linalg.eigh(correlation)
    if values[0] > 1 - _MOST_CORRELATION:
        return correlation
    made = (vectors * np.maximum(values, 1 - _MOST_CORRELATION)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(made))
    return np.asarray(made * np.outer(scale, scale))


def information(groups: Sequence[Group], p: "Array", correlation: "Array", dispersion: float) -> "Array":
    """Return what the groups' answers tell of the logits: the curvature of the quasi-likelihood, (arms, arms)."""
    import numpy as np

    curvature, spread = np.zeros_like(correlation), _spread(p)
    for group in groups:
        at = np.flatnonzero(group.asked)
        if len(at) and group.questions:
            inverse = np.linalg.inv(correlation[np.ix_(at, at)])
            curvature[np.ix_(at, at)] += group.questions / dispersion * inverse * np.outer(spread[at], spread[at])
    return curvature


def _gradient(groups: Sequence[Group], p: "Array", correlation: "Array", dispersion: float) -> "Array":
    import numpy as np

    gradient, spread = np.zeros_like(p), _spread(p)
    for group in groups:
        at = np.flatnonzero(group.asked)
        if len(at) and group.questions:
            off = (group.right[at] - group.questions * p[at]) / spread[at]
            gradient[at] += spread[at] * np.linalg.solve(correlation[np.ix_(at, at)], off) / dispersion
    return gradient


def _mode(
    prior: Belief, groups: Sequence[Group], correlation: "Array", dispersion: float, start: "Array"
) -> tuple["Array", "Array"]:
    """The mode of the logits, by Fisher scoring with bounded steps, and the covariance there."""
    import numpy as np

    precision, mean = np.linalg.inv(prior.covariance), start
    for _ in range(_STEPS):
        p = _logistic(mean)
        curvature = information(groups, p, correlation, dispersion) + precision
        step = np.linalg.solve(
            curvature, _gradient(groups, p, correlation, dispersion) - precision @ (mean - prior.mean)
        )
        mean = mean + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-6:
            break
    curvature = information(groups, _logistic(mean), correlation, dispersion) + precision
    return mean, np.asarray(np.linalg.inv(curvature), dtype=float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """The arms' scores were all these questions asked of every arm: mean (arms,) and covariance (arms, arms)."""

    mean: Any
    covariance: Any

    def draws(self, normals: "Array") -> "Array":
        """Scores, a row for each row of standard ``normals``."""
        import numpy as np

        return np.asarray(self.mean + normals @ root(self.covariance).T)


def everything(known: Posterior, groups: Sequence[Group] | None = None) -> Everything:
    """Return the scores on all these questions: answers where there are, the rest foretold from the same question's.

    With other ``groups``, as they would be after more questions, only the covariance means something.
    """
    import numpy as np

    moved = groups is not None
    groups = known.groups if groups is None else groups
    p, spread = known.score, _spread(known.score)
    covariance = known.covariance
    if moved:
        curvature = information(groups, p, known.correlation, known.dispersion_ratio) + np.linalg.inv(
            known.prior.covariance
        )
        covariance = np.linalg.inv(curvature)
    total, slope, noise = np.zeros_like(p), np.zeros_like(covariance), np.zeros_like(covariance)
    for group in groups:
        asked, left = np.flatnonzero(group.asked), np.flatnonzero(~group.asked)
        total[asked] += group.right[asked]
        if not len(left):
            continue
        slope[left, left] += group.questions
        total[left] += group.questions * p[left]
        rest = known.correlation[np.ix_(left, left)]
        if len(asked):
            shared = np.linalg.solve(known.correlation[np.ix_(asked, asked)], known.correlation[np.ix_(asked, left)]).T
            foretold = shared * np.outer(spread[left], 1 / spread[asked])
            total[left] += foretold @ (group.right[asked] - group.questions * p[asked])
            slope[np.ix_(left, asked)] -= group.questions * foretold
            rest = rest - shared @ known.correlation[np.ix_(asked, left)]
        noise[np.ix_(left, left)] += (
            group.questions * known.dispersion_ratio * rest * np.outer(spread[left], spread[left])
        )
    by_logit = slope * (spread**2)
    count = sum(group.questions for group in groups)
    return Everything(mean=total / count, covariance=(by_logit @ covariance @ by_logit.T + noise) / count**2)
