"""How tall must text be to be read? Answers and the height of their text as the model saw it -> a height in pixels.

The share of right answers is a logistic curve of the logarithm of the height, up to a ceiling that other mistakes
leave: ``c / (1 + (t / h) ** k)``. Its threshold ``t``, where half of the ceiling is reached, is fitted by maximum
likelihood; its interval is the profile likelihood's, which stays wide where few heights were seen and closes on a gap
where no answer below is right and all above are. Answers to one question at several heights count as independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlmplan.intervals import quantile

_CEILING, _STEEPNESS = (0.05, 1.0), (0.5, 50.0)  # the latter: from a tenth to nine tenths within 9 % of the height
_GRID, _FINE, _BEYOND = 41, 21, 0.1  # steps of the threshold, and how far beyond the heights seen, in logarithms
_TELLING = 5.99  # twice the gain of log likelihood of two more parameters that chance reaches in 1 of 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Legibility:
    """Text of ``height_px`` as the model saw it is read half as often as tall text; of so many answers, by questions.

    ``bands`` are (from, to, answers, share right) of the heights seen. ``height_px`` and its interval are None where
    the heights do not tell: all read, none, or as many at any height.
    """

    height_px: float | None
    interval_px: tuple[float, float] | None
    answers: int
    questions: int
    bands: tuple[tuple[float, float, int, float], ...]


def legible_height(answers: Sequence[tuple[str, float, float]], level_fraction: float) -> Legibility | None:
    """Return the height of legible text from (question, its text's height in pixels, how right, from 0 to 1).

    The interval holds ``level_fraction``. None where there are no answers.
    """
    import numpy as np

    if not answers:
        return None
    names, tall, scores = zip(*answers, strict=True)
    heights, right = np.array(tall, dtype=float), np.array(scores, dtype=float)
    fitted = _fitted(np.log(heights), right, quantile(level_fraction)) if len(set(tall)) > 1 else None
    return Legibility(
        height_px=None if fitted is None else fitted[0],
        interval_px=None if fitted is None else fitted[1],
        answers=len(answers),
        questions=len(set(names)),
        bands=_bands(heights, right),
    )


def _bands(heights: Any, right: Any) -> tuple[tuple[float, float, int, float], ...]:
    """At most eight bands of as many answers each."""
    import numpy as np

    order = np.argsort(heights, kind="stable")
    parts = np.array_split(order, min(8, len(set(heights.tolist()))))
    return tuple(
        (float(heights[part].min()), float(heights[part].max()), len(part), float(right[part].mean())) for part in parts
    )


def _fitted(x: Any, right: Any, z: float) -> tuple[float, tuple[float, float]] | None:
    """The threshold and its interval, in pixels; None where a share that is the same at any height does as well."""
    import numpy as np

    mean = float(np.clip(right.mean(), 1e-9, 1 - 1e-9))
    level = -float(right.sum() * np.log(mean) + (1 - right).sum() * np.log(1 - mean))
    coarse = np.linspace(x.min() - _BEYOND, x.max() + _BEYOND, _GRID)
    losses = np.array([_least_loss(one, x, right) for one in coarse])
    best = int(np.argmin(losses))
    if 2 * (level - losses[best]) < _TELLING or best in (0, _GRID - 1):
        return None
    step = coarse[1] - coarse[0]
    fine = np.linspace(coarse[best] - step, coarse[best] + step, _FINE)
    grid = np.concatenate([coarse, fine])
    every = np.concatenate([losses, [_least_loss(one, x, right) for one in fine]])
    order = np.argsort(grid)
    grid, over = grid[order], every[order] - every.min() - z * z / 2
    kept, alike = np.flatnonzero(over <= 0), grid[over <= 1e-3 - z * z / 2]  # the latter a gap that no answer divides
    ends = [_crossing(grid, over, kept[0], kept[0] - 1), _crossing(grid, over, kept[-1], kept[-1] + 1)]
    return float(np.exp((alike.min() + alike.max()) / 2)), (math.exp(ends[0]), math.exp(ends[1]))


def _crossing(grid: Any, over: Any, inside: int, outside: int) -> float:
    """Where a straight line from a point within to its neighbour beyond is at nought; the point where there is none."""
    if not 0 <= outside < len(grid):
        return float(grid[inside])
    return float(grid[inside] + (grid[outside] - grid[inside]) * over[inside] / (over[inside] - over[outside]))


def _least_loss(threshold: float, x: Any, right: Any) -> float:
    """The least negative log likelihood at a threshold: over steepness by a search, over the ceiling by a root."""
    import numpy as np
    from scipy.optimize import minimize_scalar

    def loss(log_steepness: float) -> float:
        share = 1 / (1 + np.exp(np.clip(np.exp(log_steepness) * (threshold - x), -500, 500)))
        share = np.clip(_ceiling(share, right) * share, 1e-9, 1 - 1e-9)
        return -float(right @ np.log(share) + (1 - right) @ np.log1p(-share))

    tried = np.linspace(math.log(_STEEPNESS[0]), math.log(_STEEPNESS[1]), 7)
    start = int(np.argmin([loss(one) for one in tried]))
    near = tried[max(0, start - 1)], tried[min(len(tried) - 1, start + 1)]
    return float(minimize_scalar(loss, bounds=near, method="bounded", options={"xatol": 0.05}).fun)


def _ceiling(share: Any, right: Any) -> float:
    """The most likely ceiling above shares of a curve: where the slope of the likelihood, which falls, is none."""
    wrong, least, most = 1 - right, *_CEILING
    for _ in range(20):
        middle = (least + most) / 2
        if right.sum() / middle > float((wrong * share / (1 - middle * share)).sum()):
            least = middle
        else:
            most = middle
    return (least + most) / 2
