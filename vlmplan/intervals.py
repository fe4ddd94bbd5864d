"""What is an interval, and how many standard deviations wide is a central one?"""

import functools

Interval = tuple[float, float]  # its lower and its upper end

# Of the levels that are usual: ``statistics`` takes longer to import than most plans to price a model.
_USUAL = {0.5: 0.6744897501960817, 0.8: 1.2815515655446008, 0.9: 1.6448536269514715, 0.95: 1.9599639845400536}


@functools.cache
def quantile(level: float) -> float:
    """Return the half-width, in standard deviations, of a central Gaussian interval that holds ``level`` (0 to 1)."""
    if level in _USUAL:
        return _USUAL[level]
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)
