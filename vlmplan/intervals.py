"""Between which values does a quantity lie? Central intervals of Gaussian and log-normal quantities."""

import functools
import math

from vlmplan.records import dataclass

# Of the levels that are usual: ``statistics`` takes longer to import than most plans to price a model.
_USUAL = {0.5: 0.6744897501960817, 0.8: 1.2815515655446008, 0.9: 1.6448536269514715, 0.95: 1.9599639845400536}


@functools.cache
def quantile(level: float) -> float:
    """Return the half-width, in standard deviations, of a central Gaussian interval that holds ``level`` (0 to 1)."""
    if level in _USUAL:
        return _USUAL[level]
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a time spreads about its median: log-normally as a whole, and by shares of it that spread by themselves.

    ``log_sd`` is of the whole; ``apart`` are shares of the median with the log standard deviation of each: they can be
    many times as long, and no shorter than nothing, while the rest stays.
    """

    log_sd: float
    apart: tuple[tuple[float, float], ...] = ()

    def factor(self, z: float) -> float:
        """Return the ratio to the median, ``z`` standard deviations from it."""
        if not self.apart:
            return math.exp(z * self.log_sd)
        moved = math.hypot(*(share * math.expm1(z * log_sd) for share, log_sd in self.apart))
        alone = math.log1p(math.copysign(moved, z))
        return math.exp(math.copysign(math.hypot(z * self.log_sd, alone), z))

    def interval(self, median: float, level: float) -> tuple[float, float]:
        """Return the central interval that holds ``level`` (0 to 1)."""
        z = quantile(level)
        return (median * self.factor(-z), median * self.factor(z))

    @property
    def usual_log_sd(self) -> float:
        """The log standard deviation of a log-normal as wide as this one's central 90 %."""
        z = quantile(0.9)
        return math.log(self.factor(z) / self.factor(-z)) / (2 * z)
