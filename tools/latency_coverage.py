"""How often do intervals of latency hold on stacks that no fit has seen? Coverage, bias, spread between sources.

All published times of single requests that ``fit_overhead.py`` reads. Each is predicted by a fit without its source,
and its interval is told from the errors of the other sources; so no source has a say in how it is judged. A residual
is log(measured / predicted). Every source counts alike, however many times it gave. Scores are those of intervals of
log time (Gneiting & Raftery 2007, equation 43).

    PYTHONPATH=. python tools/latency_coverage.py [--draws 500]
"""

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from fit_overhead import LEVEL, between, interval_scores, left_out, points, shipped_machine
from numpy.typing import NDArray

from vlmplan.cost.uncertainty import Spread
from vlmplan.intervals import quantile

LEVELS = (0.5, 0.8, 0.9)
LEAST_SOURCES = 3  # that a spread between sources is told from
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Residual:
    """One published time beside its prediction and spread. ``quantity`` says whether it holds an image."""

    source: str
    engine: str
    hardware: str
    quantity: str
    measured_s: float
    predicted_s: float
    spread: Spread

    @property
    def log_ratio(self) -> float:
        """log(measured / predicted): above zero, the stack was slower."""
        return math.log(self.measured_s / self.predicted_s)

    def held(self, level: float) -> bool:
        """Whether the central interval holds the time."""
        low_s, high_s = self.spread.interval(self.predicted_s, level)
        return low_s <= self.measured_s <= high_s


@functools.cache
def residuals() -> tuple[Residual, ...]:
    """Predict every time by a fit without its source, and tell its spread from the other sources' errors."""
    found = left_out(points(shipped_machine))
    judged = []
    for source in dict.fromkeys(one.point.source for one in found):
        others = between([one for one in found if one.point.source != source])
        judged += [
            Residual(
                source=source,
                engine=one.point.engine,
                hardware=one.point.hardware,
                quantity=one.point.kind,
                measured_s=one.point.measured_s,
                predicted_s=one.parts.total_s,
                spread=others.spread(one),
            )
            for one in found
            if one.point.source == source
        ]
    return tuple(judged)


def weights(found: Sequence[Residual]) -> Floats:
    """Return shares that sum to one, every source counting alike."""
    sources = [one.source for one in found]
    each = np.array([1 / sources.count(source) for source in sources])
    return np.asarray(each / each.sum())


def coverage(found: Sequence[Residual], level: float) -> float:
    """Return the share of times that intervals of ``level`` hold, every source counting alike."""
    return float(weights(found) @ np.array([one.held(level) for one in found], dtype=float))


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Log standard deviations of a one-way random-effects model, and the common bias."""

    between: float
    within: float
    mean: float


_SHARES = np.linspace(0.0, 0.995, 200)


def effects(found: Sequence[Residual]) -> Effects:
    """Fit the spread between sources by restricted maximum likelihood, on a grid of its share in the variance."""
    groups = [[one.log_ratio for one in found if one.source == name] for name in {one.source: 0 for one in found}]
    return _effects([np.array(group) for group in groups])


def _effects(groups: Sequence[Floats]) -> Effects:
    """The restricted likelihood of y = mean + source + noise with the noise's scale profiled out."""
    count = np.array([len(group) for group in groups], dtype=float)
    middle = np.array([group.mean() for group in groups])
    inside = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    total = count.sum()
    best = (-math.inf, 0.0, 0.0, 0.0)
    for share in _SHARES if len(groups) > 1 and total > 1 else _SHARES[:1]:
        precision = count / (1 - share + count * share)
        mean = float(precision @ middle / precision.sum())
        scale = (inside / (1 - share) + float(precision @ (middle - mean) ** 2)) / max(1.0, total - 1)
        noise = float((total - len(groups)) * np.log(1 - share) + np.log(1 - share + count * share).sum())
        likelihood = -0.5 * ((total - 1) * math.log(max(scale, 1e-12)) + noise + math.log(precision.sum()))
        best = max(best, (likelihood, float(share), scale, mean))
    _, share, scale, mean = best
    return Effects(between=math.sqrt(share * scale), within=math.sqrt((1 - share) * scale), mean=mean)


def bootstrap(found: Sequence[Residual], draws: int, level: float = LEVEL) -> tuple[float, float]:
    """Return an interval of the spread between sources, from draws of whole sources; the seed is fixed."""
    names = list({one.source: 0 for one in found})
    groups = [np.array([one.log_ratio for one in found if one.source == name]) for name in names]
    random = np.random.default_rng(0)
    drawn = [
        _effects([groups[i] for i in random.integers(len(groups), size=len(groups))]).between for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for intervals, on sources left out: what it holds, its score, its median log sd."""

    held: float
    score: float
    log_sd: float


def judged(found: Sequence[Residual], spreads: Sequence[Spread]) -> Rule:
    """Judge the spread that a rule gives each time."""
    share, off = weights(found), np.array([one.log_ratio for one in found])
    low, high = (np.log([one.factor(z) for one in spreads]) for z in (-quantile(LEVEL), quantile(LEVEL)))
    held = ((low <= off) & (off <= high)).astype(float)
    scores = interval_scores(off, low, high)
    sds = [one.usual_log_sd for one in spreads]
    return Rule(held=float(share @ held), score=float(share @ scores), log_sd=median(sds))


_WIDTHS = np.geomspace(0.02, 3.0, 200)


def best_constant(found: Sequence[Residual]) -> float:
    """Return the log sd that, given to every time, has the best interval score."""
    share, off = weights(found), np.array([one.log_ratio for one in found])
    halves = [np.full(len(off), quantile(LEVEL) * width) for width in _WIDTHS]
    scores = [float(share @ interval_scores(off, -half, half)) for half in halves]
    return float(_WIDTHS[int(np.argmin(scores))])


def rules(found: Sequence[Residual]) -> dict[str, Rule]:
    """Judge two rules, each source by what the others say: the intervals as fitted, and the best constant width."""
    others = {name: [one for one in found if one.source != name] for name in {one.source: 0 for one in found}}
    alone = {name: best_constant(rest) for name, rest in others.items() if rest}
    return {
        "as fitted": judged(found, [one.spread for one in found]),
        "the best constant": judged(found, [Spread(log_sd=alone[one.source]) for one in found]),
    }


def _groups(found: Sequence[Residual], key: Callable[[Residual], str]) -> dict[str, list[Residual]]:
    grouped: dict[str, list[Residual]] = {}
    for one in sorted(found, key=lambda one: (key(one).lower(), one.quantity)):
        grouped.setdefault(key(one), []).append(one)
    return grouped


def _told(found: Sequence[Residual]) -> dict[str, list[Residual]]:
    """By quantity, those that enough sources give for a spread between them."""
    groups = _groups(found, lambda one: one.quantity)
    return {name: here for name, here in groups.items() if len({one.source for one in here}) >= LEAST_SOURCES}


def print_table(columns: str, cells: Sequence[Sequence[str]], words: int) -> None:
    """Print a Markdown table, ``columns`` divided by bars; all but the first ``words`` are numbers."""
    count = columns.count("|") + 1
    print(f"| {columns} |\n|" + "---|" * words + "---:|" * (count - words))
    for row in cells:
        print(f"| {' | '.join(row)} |")
    print()


def print_coverage(found: Sequence[Residual], title: str, key: Callable[[Residual], str]) -> None:
    """Print a table by group and quantity."""
    cells = []
    for group, mine in _groups(found, key).items():
        for quantity, here in _groups(mine, lambda one: one.quantity).items():
            off = [one.log_ratio for one in here]
            held = [f"{coverage(here, level):.0%}" for level in LEVELS]
            numbers = (
                median(map(abs, off)),
                float(weights(here) @ np.array(off)),
                median(one.spread.usual_log_sd for one in here),
            )
            cells.append([group, quantity, f"{len(here)}", *held, *map("{:.2f}".format, numbers)])
    print_table(f"{title} | quantity | times | 50 % | 80 % | 90 % | median off | bias | predicted sd", cells, 2)


def print_spreads(found: Sequence[Residual], draws: int) -> None:
    """Print the spread between sources beside what is predicted, by quantity that several sources give."""
    cells = []
    for quantity, here in _told(found).items():
        one, (low, high) = effects(here), bootstrap(here, draws)
        counts = [f"{len({each.source for each in here})}", f"{len(here)}"]
        between = f"{one.between:.2f} ({low:.2f} to {high:.2f})"
        predicted_sd = median(each.spread.usual_log_sd for each in here)
        cells.append([quantity, *counts, f"{one.mean:.2f}", between, f"{one.within:.2f}", f"{predicted_sd:.2f}"])
    print_table("quantity | sources | times | bias | between sources (90 %) | within | predicted sd", cells, 1)


def print_rules(found: Sequence[Residual]) -> None:
    """Print the intervals beside those of the best constant width, each source judged by the others'."""
    cells = []
    for quantity, here in {**_told(found), "all": list(found)}.items():
        for name, rule in rules(here).items():
            cells.append([quantity, name, f"{rule.held:.0%}", f"{rule.log_sd:.2f}", f"{rule.score:.2f}"])
    print_table("quantity | intervals | 90 % hold | median sd | interval score", cells, 2)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500, help="draws of sources for the spread's interval")
    draws = parser.parse_args().draws
    found = residuals()
    print_coverage(found, "all", lambda _: "all")
    print_spreads(found, draws)
    print_rules(found)
    print_coverage(found, "engine", lambda one: one.engine)
    print_coverage(found, "GPU", lambda one: one.hardware)
    print_coverage(found, "source", lambda one: one.source)


if __name__ == "__main__":
    main()
