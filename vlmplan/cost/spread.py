"""How does a time spread about its median? A log-normal whole, shares that spread by themselves, and intervals."""

import math

from vlmplan.intervals import quantile
from vlmplan.records import dataclass


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
