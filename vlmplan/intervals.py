"""Between which values does a quantity lie? Central intervals of Gaussian and log-normal quantities."""

import functools
import math


@functools.cache
def quantile(level: float) -> float:
    """Return the half-width, in standard deviations, of a central Gaussian interval that holds ``level`` (0 to 1)."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)


def interval(median: float, log_sd: float, level: float) -> tuple[float, float]:
    """Return the central interval of a log-normal quantity."""
    factor = math.exp(quantile(level) * log_sd)
    return (median / factor, median * factor)
