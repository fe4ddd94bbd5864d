"""How many requests does ``study`` save? Real grids of scores, answers drawn by them, three designs of asking.

A grid is what one paper measured on one benchmark: models at several numbers of visual tokens, or pixels. Answers to
questions are drawn so that each arm is right as often as was measured; questions have a difficulty that all arms share,
and a part of it that arms of one model share. What is known beforehand never saw the grid's paper: levels are from
other papers' scores of the benchmark, shapes from the curves of ``token_curves.py`` with the paper left out.

    python tools/study_designs.py [--questions 200,600,1500] [--every 6] [--out docs/evidence/study.md]
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks import blind_fraction, chance
from numpy.typing import NDArray
from scipy.stats import norm
from token_curves import Axis, Inference, axis_of, constants, effects, hill, of_axis, whole_tokens
from token_studies import Series, series

from vlmplan.studies.belief import Belief, posterior
from vlmplan.studies.decision import Problem, chosen, next_batch, standing
from vlmplan.studies.prior import OWN_ARM_SD, OWN_SKILL_SD

Array = NDArray[np.float64]
AXES = (Axis.PIXELS, Axis.TRAINED)  # pruning has one model a table, and thousands of series to infer
TEXT_TOKENS = 50
LEAST_ARMS, LEAST_MODELS, MOST_MODELS, MOST_COUNTS = 6, 2, 3, 4
LEVEL_SD = 0.5  # of papers about each other, beside the spread of their scores
TOLERANCE, CONFIDENCE = 0.02, 0.9
NEARLY, DEARER = 0.01, 1.1  # a choice is as good that lacks a point of 100 more, and costs a tenth more
MARKS = ("<!-- designs -->", "<!-- /designs -->")
PILOT, BATCH, ROUNDS = 6, 12, 20
# Of the normal variables whose thresholds make right answers: what all arms share of a question, and what those of one
# model do besides. Answers then go together by 0.4 to 0.6.
DIFFICULTY, OF_MODEL = 0.6, 0.2
DRAWS = 400
_KEPT = 0.98


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One paper's scores on one benchmark: arms (model's number, cost, score), and what other papers foretell."""

    paper: str
    benchmark: str
    models: tuple[int, ...]
    costs: Array
    scores: Array
    prior: Belief

    @property
    def order(self) -> Array:
        """The arms' ranks by cost."""
        return np.asarray(np.argsort(np.argsort(self.costs, kind="stable")), dtype=float)


def _logit(share: Array) -> Array:
    inside = np.clip(share, 1 - _KEPT, _KEPT)
    return np.asarray(np.log(inside / (1 - inside)))


def _levels(found: Sequence[Series], paper: str, benchmark: str) -> tuple[float, float, float]:
    """(mean logit at 3B, slope by ln N, spread) of the best scores that other papers give on a benchmark."""
    rows = [
        (math.log(one.llm_params_b / 3), one.whole[1])
        for one in found if one.paper != paper and one.benchmark == benchmark and one.llm_params_b
    ]  # fmt: skip
    if len(rows) < 4:
        return 0.5, 0.2, 1.0
    x, share = np.array(rows).T
    slope = float(np.clip(np.polyfit(x, _logit(share), 1)[0], 0.0, 0.5)) if np.ptp(x) > 0.5 else 0.2
    rest = _logit(share) - slope * x
    return float(rest.mean()), slope, max(0.3, float(rest.std()))


def _prior(own: Sequence[Series], found: Sequence[Series], known: Inference) -> Belief:
    """What other papers tell of the logits of all arms of a grid, series by series: draws, then their moments."""
    benchmark, random, drawn = own[0].benchmark, np.random.default_rng(0), list[Array]()
    level, slope, spread = _levels(found, own[0].paper, benchmark)
    shared_level, shared_scale = random.standard_normal(DRAWS), random.standard_normal(DRAWS)
    floor, blind = chance(benchmark), blind_fraction(benchmark)
    for one in own:
        scale = known.predict(effects(one, unseen=True), whole_tokens(one))
        steepness = known.constants.steepness_of(benchmark, retrained=one.retrained)
        # papers differ in all their models together, and models of one paper a little less
        levels = (
            level
            + slope * math.log((one.llm_params_b or 3) / 3)
            + spread * (0.8 * shared_level + 0.6 * random.standard_normal(DRAWS))
        )
        whole = 1 / (1 + np.exp(-levels))
        scales = scale.mean + scale.shared_sd * shared_scale
        scales += scale.own_sd * (0.8 * shared_scale + 0.6 * random.standard_normal(DRAWS))
        for x in one.x:
            left = hill(x, scales, steepness) / hill(one.whole[0], scales, steepness)
            drawn.append(_logit(whole - np.maximum(0, whole - floor) * (1 - blind) * (1 - left)))
    table = np.array(drawn)
    of = [number for number, one in enumerate(own) for _ in one.x]
    apart = LEVEL_SD**2 + OWN_SKILL_SD**2 * np.equal.outer(of, of) + OWN_ARM_SD**2 * np.eye(len(of))
    return Belief(mean=table.mean(axis=1), covariance=np.cov(table) + apart)


def _thinned(own: Sequence[Series]) -> list[Series]:
    """As many models and numbers of tokens as a person would try, spread evenly over those of the paper."""

    def even(count: int, most: int) -> list[int]:
        return sorted({round(at) for at in np.linspace(0, count - 1, min(most, count))})

    by_size = sorted(own, key=lambda one: (one.llm_params_b or 0, one.study, one.method))
    found = []
    for number in even(len(by_size), MOST_MODELS):
        one = by_size[number]
        at = even(len(one.x), MOST_COUNTS)
        found.append(
            replace(
                one, x=tuple(one.x[k] for k in at), share=tuple(one.share[k] for k in at),
                tokens=tuple(one.tokens[k] for k in at),
            )
        )  # fmt: skip
    return found


def _grid(own: Sequence[Series], found: Sequence[Series], known: Inference) -> Grid:
    cost, score, model = [], [], []
    for number, one in enumerate(own):
        for tokens, share in zip(one.tokens, one.share, strict=True):
            assert one.llm_params_b and tokens
            cost.append(one.llm_params_b * (TEXT_TOKENS + tokens))
            score.append(share)
            model.append(number)
    return Grid(
        paper=own[0].paper, benchmark=own[0].benchmark, models=tuple(model), costs=np.array(cost),
        scores=np.array(score), prior=_prior(own, found, known),
    )  # fmt: skip


def grids(found: Sequence[Series], most: int | None = None) -> Iterator[Grid]:
    """Yield the grids of papers, of the first ``most`` where told; what is known of each never saw its paper."""
    groups: defaultdict[tuple[str, Axis], defaultdict[str, list[Series]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        if axis_of(one) in AXES and one.llm_params_b and all(one.tokens):
            groups[one.paper, axis_of(one)][one.benchmark].append(one)
    at = constants()
    for paper, lost in sorted(groups)[:most]:
        thin = [_thinned(own) for _, own in sorted(groups[paper, lost].items()) if len(own) >= LEAST_MODELS]
        fit = [own for own in thin if sum(len(one.x) for one in own) >= LEAST_ARMS]
        if fit:
            known = Inference([one for one in of_axis(found, lost) if one.paper != paper], at[lost])
            yield from (_grid(own, found, known) for own in fit)


def answers(grid: Grid, questions: int, seed: int) -> Array:
    """Return right (1) or wrong (0) of every arm and question, by the grid's scores: a normal ogive's thresholds."""
    random, arms = np.random.default_rng(seed), len(grid.scores)
    of_model = random.standard_normal((max(grid.models) + 1, questions))[list(grid.models)]
    latent = math.sqrt(DIFFICULTY) * random.standard_normal(questions) + math.sqrt(OF_MODEL) * of_model
    latent = latent + math.sqrt(1 - DIFFICULTY - OF_MODEL) * random.standard_normal((arms, questions))
    return np.asarray(latent < norm.ppf(grid.scores)[:, None], dtype=float)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a design chose, what it was asked for that, and how sure it was."""

    choice: int
    requests: int
    probability: float


Design = Callable[[Grid, Array, int, int], Outcome]


def _end(grid: Grid, seen: Array, seed: int) -> Outcome:
    stands = standing(posterior(grid.prior, seen, grid.models), _asked(grid, seed))
    requests = int((~np.isnan(seen)).sum())
    return Outcome(choice=stands.choice, requests=requests, probability=stands.probability)


def _asked(grid: Grid, seed: int) -> Problem:
    return Problem(order=grid.order, tolerance=TOLERANCE, seed=seed)


def by_grid(grid: Grid, truth: Array, budget: int, seed: int) -> Outcome:
    """Ask every arm the same questions, as many as the budget has."""
    seen = np.full_like(truth, np.nan)
    count = budget // len(truth)
    seen[:, :count] = truth[:, :count]
    return _end(grid, seen, seed)


def at_random(grid: Grid, truth: Array, budget: int, seed: int) -> Outcome:
    """Ask arms and questions drawn at random."""
    seen = np.full(truth.size, np.nan)
    at = np.random.default_rng(seed).permutation(truth.size)[:budget]
    seen[at] = truth.ravel()[at]
    return _end(grid, seen.reshape(truth.shape), seed)


def by_study(grid: Grid, truth: Array, budget: int, seed: int, confidence: float = 1.0) -> Outcome:
    """Ask what helps the decision most, in rounds, until it is as sure as ``confidence`` or the budget is spent."""
    arms, questions = truth.shape
    counts = np.full(arms, min(PILOT, questions, budget // arms))
    while True:
        seen = np.where(np.arange(questions)[None] < counts[:, None], truth, np.nan)
        known, asked, spent = posterior(grid.prior, seen, grid.models), _asked(grid, seed), int(counts.sum())
        stands = standing(known, asked)
        left = budget - spent
        open_questions = [int(questions - count) if left else 0 for count in counts]
        if stands.probability >= confidence or not left or not any(open_questions):
            return Outcome(choice=stands.choice, requests=spent, probability=stands.probability)
        batch = next_batch(known, stands, asked, open_questions, max(BATCH, spent // ROUNDS))
        assert batch is not None
        for arm in batch.arms:
            more = min(batch.questions, open_questions[arm], budget - int(counts.sum()))
            counts[arm] += more


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one grid: shares of requests, and whether choices are the full grid's (``same``) or as good."""

    full_is_true: bool
    same: dict[str, bool]
    as_good: dict[str, bool]
    settled_same: bool
    settled_share: float


DESIGNS: dict[str, Design] = {"random": at_random, "grid": by_grid, "study": by_study}


def compared(grid: Grid, questions: int, seed: int) -> Row:
    """Ask a grid by each design for a third of all requests, and by ``study`` until the choice is settled."""
    truth = answers(grid, questions, seed)
    means = truth.mean(axis=1)
    full = int(chosen(means[None], grid.order, TOLERANCE)[0])

    def good(choice: int) -> bool:
        near = means[choice] >= means.max() - TOLERANCE - NEARLY
        return bool(near and grid.costs[choice] <= grid.costs[full] * DEARER)

    third = {name: design(grid, truth, truth.size // 3, seed).choice for name, design in DESIGNS.items()}
    settled = by_study(grid, truth, truth.size, seed, CONFIDENCE)
    return Row(
        full_is_true=full == int(chosen(grid.scores[None], grid.order, TOLERANCE)[0]),
        same={name: choice == full for name, choice in third.items()},
        as_good={name: good(choice) for name, choice in third.items()},
        settled_same=settled.choice == full, settled_share=settled.requests / truth.size,
    )  # fmt: skip


def table(made: Sequence[Grid], questions: Sequence[int]) -> str:
    """Return a table of Markdown, a row a number of questions."""
    head = ("questions", "grids", "full grid is right", *(f"{name}, same" for name in DESIGNS),
            *(f"{name}, as good" for name in DESIGNS), "settled at 90 %: same", "of all requests, median",
            "settled within a third")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for count in questions:
        rows = [compared(grid, count, number) for number, grid in enumerate(made)]
        shares = [
            statistics.fmean(row.full_is_true for row in rows),
            *(statistics.fmean(row.same[name] for row in rows) for name in DESIGNS),
            *(statistics.fmean(row.as_good[name] for row in rows) for name in DESIGNS),
            statistics.fmean(row.settled_same for row in rows),
            statistics.median(row.settled_share for row in rows),
            statistics.fmean(row.settled_share <= 1 / 3 for row in rows),
        ]
        lines.append(f"| {count} | {len(rows)} | {' | '.join(f'{100 * share:.0f} %' for share in shares)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, and write it into the page where one is told: between its marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", default="200,600,1500")
    parser.add_argument("--every", type=int, default=6, help="one grid of so many")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    made = list(grids(series()))[:: given.every]
    found = table(made, [int(count) for count in given.questions.split(",")])
    print(found)
    if given.out is not None:
        before, _, rest = given.out.read_text(encoding="utf-8").partition(MARKS[0])
        given.out.write_text(f"{before}{MARKS[0]}\n{found}{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
