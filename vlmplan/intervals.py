"""Between which values does a quantity lie? Central intervals of Gaussian and log-normal quantities."""

import functools
import math

# Of the levels that are usual: ``statistics`` takes longer to import than most plans to price a model.
_USUAL = {0.5: 0.6744897501960817, 0.8: 1.2815515655446008, 0.9: 1.6448536269514715, 0.95: 1.9599639845400536}


@functools.cache
def quantile(level: float) -> float:
    """Return the half-width, in standard deviations, of a central Gaussian interval that holds ``level`` (0 to 1)."""
    if level in _USUAL:
        return _USUAL[level]
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)


def interval(median: float, log_sd: float, level: float) -> tuple[float, float]:
    """Return the central interval of a log-normal quantity."""
    factor = math.exp(quantile(level) * log_sd)
    return (median / factor, median * factor)
