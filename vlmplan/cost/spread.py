"""How does a time spread about its median? A log-normal whole, shares that spread by themselves, and intervals."""

import math

from vlmplan.intervals import quantile
from vlmplan.records import dataclass


def one_sided(confidence: float) -> float:
    """Return the level of the central interval whose upper end a time is below with ``confidence``."""
    return round(2 * confidence - 1, 9)


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
        squares = 0.0
        for share, log_sd in self.apart:
            squares += (share * math.expm1(z * log_sd)) ** 2
        alone = math.log1p(math.copysign(math.sqrt(squares), z))
        return math.exp(math.copysign(math.hypot(z * self.log_sd, alone), z))

    def upper(self, median: float, confidence: float) -> float:
        """Return what the time is below with ``confidence`` (0.5 to 1)."""
        return median * self.factor(quantile(one_sided(confidence)))

    def interval(self, median: float, level: float) -> tuple[float, float]:
        """Return the central interval that holds ``level`` (0 to 1)."""
        z = quantile(level)
        return (median * self.factor(-z), median * self.factor(z))

    @property
    def usual_log_sd(self) -> float:
        """The log standard deviation of a log-normal as wide as this one's central 90 %."""
        z = quantile(0.9)
        return math.log(self.factor(z) / self.factor(-z)) / (2 * z)
