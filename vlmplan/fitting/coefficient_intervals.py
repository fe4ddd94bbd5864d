"""Between which values do a law's coefficients lie? The widest interval of three methods, for each coefficient.

(problem, solution, resamples) -> :class:`Coefficient` by name. Where D = 0 is not excluded the intervals also hold what
D = 0 gives: a D at its bound takes the slopes along, and neither bootstrap nor likelihood alone then covers.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlmplan.accuracy import PARAMETERS, RATIO, Coefficient, Form
from vlmplan.fitting.least_squares import Problem, Solved
from vlmplan.fitting.resampling import interval_of, profile, profile_floor
from vlmplan.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BY_PROFILE, BY_POINT, BY_LLM = "profile likelihood", "bootstrap by point", "bootstrap by LLM"
HELD = "held"
_MOST_VALUE = 1e6  # of a coefficient or a ratio; beyond it an interval has no end
_MOST_LOG = 100.0  # of A: beyond it there is no error any more


# In which column of the parameters each quantity stands, or of which two it is the ratio. D stands apart.
COLUMNS: dict[Form, dict[str, int | tuple[int, int]]] = {
    Form.POWER: {"A": 0, "alpha": -2, "beta": -1, "beta/alpha": (-1, -2)},
    Form.LOGIT: {"a": 0, "b": -2, "c": -1, "c/b": (-1, -2)},
    Form.HILL: {"a": 0, "b": -3, "c": -2, "d": (-1, -2), "c/b": (-2, -3)},
}


def quantities(form: Form, solved: Solved) -> dict[str, "Array"]:
    """The form's coefficients and their ratio, an array over fits each."""
    import numpy as np

    values, by_name = solved.values, {}
    for name, where in COLUMNS[form].items():
        if isinstance(where, int):
            by_name[name] = values[:, where]
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.nan_to_num(values[:, where[0]] / values[:, where[1]])
            by_name[name] = np.clip(ratio, -_MOST_VALUE, _MOST_VALUE)
    if form is Form.POWER:
        by_name |= {"A": np.exp(np.clip(values[:, 0], -_MOST_LOG, _MOST_LOG)), "D": solved.floor}
    return {name: by_name[name] for name in (*PARAMETERS[form], RATIO[form])}


def _exp(exponent: float) -> float:
    return math.exp(min(_MOST_LOG, max(-_MOST_LOG, exponent)))


def _profiles(problem: Problem, solved: Solved, level: float) -> dict[str, Interval | None]:
    """Profile-likelihood intervals of the coefficients and their ratio."""
    form = problem.form
    intervals = {name: profile(problem, solved, level, where) for name, where in COLUMNS[form].items()}
    if form is Form.POWER:
        first = intervals["A"]
        intervals["A"] = first and (_exp(first[0]), _exp(first[1]))
        fixed = (float(solved.floor[0]),) * 2
        intervals["D"] = profile_floor(problem, solved, level) if problem.free_floor else fixed
    return intervals


def widest(problem: Problem, solved: Solved, resamples: Mapping[str, Solved], level: float) -> dict[str, Coefficient]:
    """Each coefficient with the widest of its intervals; none where the likelihood's does not end."""
    values, profiles = quantities(problem.form, solved), _profiles(problem, solved, level)
    drawn = {by: quantities(problem.form, sample) for by, sample in resamples.items()}
    coefficients = {}
    for name, value in values.items():
        likelihood, by = profiles[name], BY_PROFILE
        interval = likelihood
        if name == "D" and not problem.free_floor:
            by = HELD
        elif likelihood is not None:
            intervals = {BY_PROFILE: likelihood} | {by: interval_of(some[name], level) for by, some in drawn.items()}
            by = max(intervals, key=lambda one: intervals[one][1] - intervals[one][0])
            interval = intervals[by]
        if interval is None or max(map(abs, interval)) >= _MOST_VALUE:
            interval, by = None, f"{by}, which has no end"
        coefficients[name] = Coefficient(value=float(value[0]), interval=interval, interval_by=by)
    return coefficients


def joined(free: dict[str, Coefficient], bound: dict[str, Coefficient]) -> dict[str, Coefficient]:
    """Intervals with D free widened to hold those with D = 0."""
    coefficients = {}
    for name, coefficient in free.items():
        other = bound[name].interval
        interval, by = coefficient.interval, coefficient.interval_by
        if name != "D" and interval is not None and other is not None:
            both = (min(interval[0], other[0]), max(interval[1], other[1]))
            interval, by = both, by if both == interval else f"{by}, D free or 0"
        coefficients[name] = Coefficient(value=coefficient.value, interval=interval, interval_by=by)
    return coefficients
