"""How well do families and sizes predict published scores? The estimator of one benchmark, and checkpoints left out.

logit of the score above chance = m + b x + d t + u_family + e, x a size that grows ever more slowly
(``published_scores.size_term``) and t the year in which the family came out: families of no score are then not taken
for older ones.
Offsets of families are drawn towards their mean as far as families differ: u and e are normal with spreads tau and
sigma, whose ratio maximises the restricted likelihood; m and b follow by generalised least squares.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vlmplan.accuracy.published_scores import SINGLE_FACTOR, adjusted_logit, score_of

Array = np.ndarray[Any, np.dtype[np.float64]]
# Ratios tau^2 / sigma^2 tried, from families that do not differ to families that have nothing in common.
_RATIOS = (0.0, *np.exp(np.linspace(math.log(0.05), math.log(200), 22)))
Z80 = 1.2816


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One published score: ``size`` is x, ``year`` t; ``revised`` says that a benchmark's later version was scored."""

    checkpoint: str
    family: str
    size: float
    active_b: float
    share: float
    year: float = 0.0
    revised: bool = False


@dataclass(frozen=True, kw_only=True)
class ScoreLine:
    """The estimator fitted to ``rows`` of one benchmark whose chance score is ``chance``."""

    rows: tuple[Scored, ...]
    chance: float

    def _design(self, rows: tuple[Scored, ...]) -> Array:
        columns = [[1.0, row.size, row.year, float(row.revised)] for row in rows]
        return np.array(columns)[:, : 4 if any(row.revised for row in self.rows) else 3]

    @cached_property
    def _solved(self) -> tuple[float, float, float, Array, Array, Array]:
        """(likelihood, ratio, sigma^2, coefficients, their information, residuals) at the greatest likelihood."""
        x, y = self._design(self.rows), np.array([adjusted_logit(row.share, self.chance) for row in self.rows])
        families = np.array([row.family for row in self.rows])
        same = (families[:, None] == families[None, :]).astype(float)
        free, best, most = len(y) - x.shape[1], None, -math.inf
        for ratio in _RATIOS:
            inverse = np.linalg.inv(ratio * same + np.eye(len(y)))
            information = x.T @ inverse @ x
            beta = np.linalg.solve(information, x.T @ inverse @ y)
            residual = y - x @ beta
            variance = float(residual @ inverse @ residual) / free
            likelihood = -free * math.log(variance) - np.linalg.slogdet(information)[1] + np.linalg.slogdet(inverse)[1]
            if likelihood > most:
                most = likelihood
                best = (likelihood, float(ratio), variance, beta, information, residual)
        assert best is not None
        return best

    @property
    def log_likelihood(self) -> float:
        """Twice the restricted log-likelihood, up to a constant; of the same rows, and sizes scaled alike."""
        return self._solved[0]

    @property
    def intercept(self) -> float:
        """M."""
        return float(self._solved[3][0])

    @property
    def slope(self) -> tuple[float, float]:
        """B, and its standard deviation."""
        _, _, variance, beta, information, _ = self._solved
        return float(beta[1]), math.sqrt(variance * float(np.linalg.inv(information)[1, 1]))

    @property
    def yearly(self) -> float:
        """D, what a year adds."""
        return float(self._solved[3][2])

    @property
    def revision(self) -> float:
        """What the benchmark's later version adds."""
        beta = self._solved[3]
        return float(beta[3]) if len(beta) > 3 else 0.0

    @property
    def residual_sd(self) -> float:
        """Sigma: one checkpoint about its family."""
        return math.sqrt(self._solved[2])

    @property
    def family_sd(self) -> float:
        """Tau: families about their mean."""
        return math.sqrt(self._solved[1] * self._solved[2])

    def sizes(self, family: str) -> tuple[float, float]:
        """The least and the largest size of a family's checkpoints, of all where it has none."""
        own = [row.size for row in self.rows if row.family == family] or [row.size for row in self.rows]
        return min(own), max(own)

    def offset(self, family: str) -> tuple[float, float, int, float]:
        """(u, its standard deviation, checkpoints, their mean size) of a family, what its year adds not counted."""
        _, ratio, variance, _, _, residual = self._solved
        mine = [i for i, row in enumerate(self.rows) if row.family == family]
        if not mine:
            families = len({row.family for row in self.rows})
            return 0.0, self.family_sd * math.sqrt(1 + 1 / families), 0, float(np.mean([r.size for r in self.rows]))
        drawn = len(mine) * ratio / (1 + len(mine) * ratio)
        sd = math.sqrt(ratio * variance / (1 + len(mine) * ratio))
        mean_size = float(np.mean([self.rows[i].size for i in mine]))
        return drawn * float(np.mean(residual[mine])), sd, len(mine), mean_size

    def predict(self, row: Scored) -> tuple[float, float]:
        """(logit above chance, standard deviation) of one checkpoint, of a family seen or not."""
        u, family_sd, count, mean_size = self.offset(row.family)
        slope, slope_sd = self.slope
        sd = math.hypot(family_sd, self.residual_sd, slope_sd * (row.size - mean_size))
        value = self.intercept + slope * row.size + self.yearly * row.year + u + self.revision * row.revised
        return value, sd * (SINGLE_FACTOR if count == 1 else 1.0)


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A checkpoint left out: what it scored and what was predicted, in points, and the miss in standard deviations."""

    row: Scored
    seen: bool
    predicted_points: float
    family_mean_points: float
    nearest_points: float
    deviation: float

    def points(self, guess: float) -> float:
        """How far a guess is off."""
        return abs(guess - 100 * self.row.share)


def left_out(rows: tuple[Scored, ...], chance: float) -> list[Miss]:
    """Leave out every checkpoint once; of a family that has no other, the baselines know nothing."""
    found = []
    for row in rows:
        others = tuple(other for other in rows if other.checkpoint != row.checkpoint)
        siblings = [other for other in others if other.family == row.family]
        value, sd = ScoreLine(rows=others, chance=chance).predict(row)
        near = min(siblings, key=lambda other: abs(math.log(other.active_b / row.active_b)), default=None)
        found.append(
            Miss(
                row=row,
                seen=bool(siblings),
                predicted_points=100 * score_of(value, chance),
                family_mean_points=100 * float(np.mean([one.share for one in siblings])) if siblings else math.nan,
                nearest_points=100 * near.share if near else math.nan,
                deviation=(adjusted_logit(row.share, chance) - value) / sd,
            )
        )
    return found


SUSPECT_DEVIATIONS = 5.0


def suspects(rows: tuple[Scored, ...], chance: float) -> list[Miss]:
    """Scores so far from what their family and size predict that they are of another protocol, or wrong."""
    return [miss for miss in left_out(rows, chance) if miss.seen and abs(miss.deviation) > SUSPECT_DEVIATIONS]


def mean_points(misses: list[Miss], guess: str) -> float:
    """Mean absolute error in points of one kind of guess, over checkpoints of families with another checkpoint."""
    return float(np.mean([miss.points(getattr(miss, guess)) for miss in misses if miss.seen]))


def held_fraction(misses: list[Miss]) -> float:
    """Share of checkpoints left out, of families with another, that the 80 % interval holds."""
    return float(np.mean([abs(miss.deviation) < Z80 for miss in misses if miss.seen]))


def common(products: list[float], squares: list[float]) -> float:
    """Correlation of what a checkpoint (or family) does on two benchmarks, from products of its deviations there."""
    return min(0.95, max(0.0, float(np.mean(products)) / float(np.mean(squares))))


def borrowed(deviations: list[float], correlation: float) -> tuple[float, float]:
    """(shift, share of the spread left) of an unknown deviation, given those on other benchmarks of one correlation."""
    count = len(deviations)
    weight = correlation / (1 + (count - 1) * correlation)
    return weight * sum(deviations), math.sqrt(1 - count * correlation * weight)
