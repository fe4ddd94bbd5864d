"""How good are choices under a budget? Regret, in points, on grids of published scores, each left out of the curves.

A grid is what one paper measured on one benchmark: LLMs (or trained compressors) at several numbers of visual tokens;
of pruning without training, one method. Of each, the score with the most tokens is known, as a published score is; the
rest is predicted by curves that never saw the paper. Under ten budgets of 2 N (Q + V) FLOPs with Q = 50, from the
cheapest configuration to the dearest, the choice is that of ``recommend`` (least expected error, less what ``--prefer``
pays), and regret what the best affordable one scored more.

    python tools/regret.py [TABLE.csv ...] [--prefer balanced] [--by kind] [--grids] [--papers NAME ...]

Tables have the columns of ``facts/token_studies.csv.gz``; without one, the facts' own grids are taken.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks import KIND
from token_curves import (
    Axis,
    Constants,
    Inference,
    Predicted,
    axis,
    constants,
    effects,
    of_axis,
    scores_left,
    whole_tokens,
)
from token_studies import Series, series, series_of

from facts import read_rows
from vlmplan.inventory import Preference

TEXT_TOKENS = 50
BUDGETS = 10
LEAST_POINTS = 6  # of a grid
_Z = np.linspace(-3.0, 3.0, 31)
_WEIGHT = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One configuration of a grid: what it costs, what it scored and what was expected of it, as shares."""

    model: str
    llm_params_b: float
    visual_tokens: float
    score: float
    expected: float

    @property
    def flops(self) -> float:
        """What a request costs: 2 N (Q + V)."""
        return 2e9 * self.llm_params_b * (TEXT_TOKENS + self.visual_tokens)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What one paper measured on one benchmark."""

    paper: str
    benchmark: str
    configurations: tuple[Configuration, ...]

    @property
    def budgets(self) -> tuple[float, ...]:
        """Ten budgets, from the cheapest configuration to the dearest, evenly in their logarithm."""
        costs = [one.flops for one in self.configurations]
        low, high = math.log(min(costs)), math.log(max(costs))
        return tuple(math.exp(low + (high - low) * step / (BUDGETS - 1)) * (1 + 1e-9) for step in range(BUDGETS))


def _expected(one: Series, scale: Predicted, at: Constants) -> list[float]:
    """The expected score at every x, from that at the largest."""
    steepness, scales = at.steepness_of(one.benchmark, retrained=one.retrained), scale.mean + scale.sd * _Z
    return [float(_WEIGHT @ scores_left(one, x, scales, steepness)) for x in one.x]


def grids(found: Sequence[Series], known: Sequence[Series]) -> Iterable[Grid]:
    """Yield every grid of ``found``, its expectations from ``known`` but for its own paper."""
    by_grid: defaultdict[tuple[str, str, str], list[Series]] = defaultdict(list)
    for one in found:
        if one.llm_params_b and all(one.tokens):
            method = f"{one.study} {one.method}" if axis(one.reduction) is Axis.UNTRAINED else ""
            by_grid[one.paper, one.benchmark, method].append(one)
    at = constants()
    inferences: dict[tuple[str, Axis], Inference] = {}
    for (paper, benchmark, method), own in sorted(by_grid.items()):
        made = {}
        for one in own:
            lost = axis(one.reduction)
            if (paper, lost) not in inferences:
                rest = [other for other in of_axis(known, lost) if other.paper != paper]
                inferences[paper, lost] = Inference(rest, at[lost])
            scale = inferences[paper, lost].predict(effects(one, unseen=True), whole_tokens(one))
            expected = _expected(one, scale, at[lost])
            for tokens, score, guess in zip(one.tokens, one.share, expected, strict=True):
                model = f"{one.checkpoint} {one.llm_params_b:g}B {one.study} {one.method}"
                assert tokens and one.llm_params_b
                made[model, tokens] = Configuration(
                    model=model, llm_params_b=one.llm_params_b, visual_tokens=tokens, score=score, expected=guess
                )
        if len(made) >= LEAST_POINTS and len({c.flops for c in made.values()}) > 1:
            yield Grid(paper=f"{paper} {method}".strip(), benchmark=benchmark, configurations=tuple(made.values()))


def by_kind(made: Iterable[Grid]) -> Iterable[Grid]:
    """Yield one grid for each paper and kind of benchmark: mean scores over the benchmarks that all it tried have."""
    groups: defaultdict[tuple[str, str], list[Grid]] = defaultdict(list)
    for grid in made:
        groups[grid.paper, str(KIND[grid.benchmark])].append(grid)
    for (paper, kind), own in groups.items():
        tables = [{(one.model, one.visual_tokens): one for one in grid.configurations} for grid in own]
        shared = [key for key in tables[0] if all(key in table for table in tables)]
        mixed = tuple(
            replace(
                tables[0][key],
                score=float(np.mean([table[key].score for table in tables])),
                expected=float(np.mean([table[key].expected for table in tables])),
            )
            for key in shared
        )
        if len(mixed) >= LEAST_POINTS and len({one.flops for one in mixed}) > 1:
            yield Grid(paper=paper, benchmark=f"{len(own)} of {kind}", configurations=mixed)


Rule = Callable[[Sequence[Configuration]], Configuration]


def planned(preference: Preference) -> Rule:
    """Return vlmplan's rule: the cheapest of those within what the preference pays of the best expected score."""

    def choose(within: Sequence[Configuration]) -> Configuration:
        best = max(one.expected for one in within)
        good = [one for one in within if one.expected >= best - preference.price_error - 1e-12]
        return min(good, key=lambda one: (one.flops, -one.expected))

    return choose


RULES: dict[str, Rule] = {
    "dearest that fits": lambda within: max(within, key=lambda one: (one.flops, one.model)),
    "largest LLM, most tokens": lambda within: max(within, key=lambda one: (one.llm_params_b, one.visual_tokens)),
    "largest LLM, fewest tokens": lambda within: max(within, key=lambda one: (one.llm_params_b, -one.visual_tokens)),
    "smallest LLM, most tokens": lambda within: max(within, key=lambda one: (-one.llm_params_b, one.visual_tokens)),
    "fewest tokens": lambda within: min(within, key=lambda one: (one.visual_tokens, -one.llm_params_b)),
}


def regrets(grid: Grid, rule: Rule | None) -> list[float]:
    """Return the regret of a rule under each budget, in points; of a random choice where there is no rule."""
    found = []
    for budget in grid.budgets:
        within = [one for one in grid.configurations if one.flops <= budget]
        if len(within) > 1:
            best = max(one.score for one in within)
            taken = float(np.mean([one.score for one in within])) if rule is None else rule(within).score
            found.append(100 * (best - taken))
    return found


def _line(name: str, found: Sequence[float]) -> str:
    return f"| {name} | {len(found)} | {np.mean(found):.2f} | {np.percentile(found, 90):.1f} | {max(found):.1f} |"


def main() -> None:
    """Print mean, ninth decile and worst regret of vlmplan and of simple rules."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--prefer", type=Preference, default=Preference.BALANCED, choices=list(Preference))
    parser.add_argument("--grids", action="store_true", help="a line for each grid, too")
    parser.add_argument("--by", choices=("benchmark", "kind"), default="benchmark", help="of kinds, mean scores")
    parser.add_argument("--papers", nargs="*", default=[], help="only these papers' grids")
    asked = parser.parse_args()
    rules = {f"vlmplan, --prefer {asked.prefer}": planned(asked.prefer), **RULES, "random": None}
    found = [one for path in asked.tables for one in series_of(read_rows(path))] or list(series())
    made = list(grids([one for one in found if not asked.papers or one.paper in asked.papers], series()))
    made = list(by_kind(made)) if asked.by == "kind" else made
    if asked.grids:
        print("| grid | decisions | " + " | ".join(rules) + " |")
        for grid in made:
            means = [np.mean(regrets(grid, rule)) for rule in rules.values()]
            cells = " | ".join(f"{value:.2f}" for value in means)
            print(f"| {grid.paper} {grid.benchmark} | {len(regrets(grid, None))} | {cells} |")
    print("| rule | decisions | mean regret | ninth decile | worst |\n|---|---:|---:|---:|---:|")
    for name, rule in rules.items():
        print(_line(name, [value for grid in made for value in regrets(grid, rule)]))


if __name__ == "__main__":
    main()
