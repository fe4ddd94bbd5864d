"""Which arm is to be taken, how sure is that, and which answers would make it surer? Beliefs -> a choice, a batch.

The choice is the cheapest arm whose score is within a tolerance of the best. Its probability is the share of draws in
which it is the choice. What to ask next is what is expected to raise the probability of the likeliest choice most, a
request (the value of information for this decision, not for the curve: the knowledge gradient with correlated beliefs,
Frazier, Powell and Dayanik, INFORMS J. Comput. 21, 2009).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlmplan.studies.belief import Everything, Group, Posterior, everything, root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DRAWS = 2000
_OUTER, _INNER = 32, 64  # of what may come out, and of what stays unknown then
_WEIGHED = 6  # arms that are thought of: the likeliest choices, and the likeliest best
_AHEAD = 3  # batches that are looked ahead: what one cannot change several may


def chosen(scores: "Array", order: "Array", tolerance: float) -> "NDArray[np.intp]":
    """Return the choice of each row of ``scores`` (draws, arms): of those within ``tolerance`` of the best the first.

    ``order`` (arms,) ranks arms by cost, 0 the cheapest.
    """
    import numpy as np

    by_cost = np.argsort(order)
    within = scores[:, by_cost] >= scores.max(axis=1, keepdims=True) - tolerance
    return np.asarray(by_cost[within.argmax(axis=1)])


def shares(scores: "Array", order: "Array", tolerance: float) -> "Array":
    """Return how often each arm is the choice, (arms,)."""
    import numpy as np

    return np.bincount(chosen(scores, order, tolerance), minlength=len(order)) / len(scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is to be decided: ``order`` (arms,) ranks arms by cost, ``tolerance`` is of the score."""

    order: Any
    tolerance: float
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How likely each arm is the choice, (arms,): of all these questions, and of more like them; or is the ``best``."""

    of_these: Any
    of_others: Any
    best: Any

    @property
    def choice(self) -> int:
        """The likeliest choice."""
        return int(self.of_these.argmax())

    @property
    def probability(self) -> float:
        """How likely asking everything would end in the same choice."""
        return float(self.of_these.max())


def standing(known: Posterior, problem: Problem) -> Standing:
    """Return how likely each arm is the choice."""
    import numpy as np

    normals = np.random.default_rng([problem.seed, 1]).standard_normal((DRAWS, len(known.mean)))
    of_these = everything(known).draws(normals)
    return Standing(
        of_these=shares(of_these, problem.order, problem.tolerance),
        of_others=shares(known.draws(normals), problem.order, problem.tolerance),
        best=np.bincount(of_these.argmax(axis=1), minlength=len(known.mean)) / len(normals),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Arms to be asked their next ``questions`` each, and by how much that is expected to raise the probability."""

    arms: tuple[int, ...]
    questions: int
    gain_fraction: float


def _moved(groups: Sequence[Group], arms: Sequence[int], questions: int) -> tuple[tuple[Group, ...], int]:
    """The groups after the arms are asked ``questions`` more each, and how many requests that takes.

    An arm is asked first what most arms were asked: questions stand in one order for all.
    """
    import numpy as np

    moved, requests = list(groups), 0
    for arm in arms:
        left, made = questions, list[Group]()
        for group in sorted(moved, key=lambda one: -int(one.asked.sum())):
            taken = 0 if group.asked[arm] else min(left, group.questions)
            if taken < group.questions:
                made.append(replace(group, questions=group.questions - taken))
            if taken:
                asked = group.asked.copy()
                asked[arm] = True
                made.append(Group(asked=asked, questions=taken, right=np.zeros_like(group.right)))
            left, requests = left - taken, requests + taken
        moved = made
    return tuple(moved), requests


def _probability(now: Everything, after: "Array", problem: Problem, outer: "Array", inner: "Array") -> float:
    """The expected probability of the likeliest choice once the scores' covariance is ``after``."""
    import numpy as np

    means = now.mean + outer @ root(now.covariance - after).T
    scores = means[:, None, :] + (inner @ root(after).T)[None]
    arms = chosen(scores.reshape(-1, len(now.mean)), problem.order, problem.tolerance).reshape(len(outer), len(inner))
    counts = np.stack([(arms == arm).sum(axis=1) for arm in np.unique(arms)])
    return float(counts.max(axis=0).mean() / len(inner))


def _candidates(stands: Standing, open_questions: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Arms to be asked alone, and the likeliest choice beside each of the others."""
    import numpy as np

    by_likelihood = np.argsort(-(stands.of_these + stands.best), kind="stable")
    weighed = [int(arm) for arm in by_likelihood if open_questions[arm]][:_WEIGHED]
    yield from ((arm,) for arm in weighed)
    first = stands.choice
    if open_questions[first]:
        yield from ((first, rival) for rival in weighed if rival != first)


def next_batch(
    known: Posterior, stands: Standing, problem: Problem, open_questions: Sequence[int], size: int
) -> Batch | None:
    """Return what to ask next: of the arms with ``open_questions`` (arms,) those whose answers help the decision most.

    A round asks ``size`` questions of an arm. None where nothing is left that could change the choice.
    """
    import numpy as np

    now, count = everything(known), len(known.mean)
    random = np.random.default_rng([problem.seed, 2])
    outer, inner = random.standard_normal((_OUTER, count)), random.standard_normal((_INNER, count))
    before = _probability(now, now.covariance, problem, np.zeros((1, count)), inner)
    best: Batch | None = None
    for arms in _candidates(stands, open_questions):
        groups, requests = _moved(known.groups, arms, _AHEAD * size)
        after = everything(known, groups).covariance
        gain = (_probability(now, after, problem, outer, inner) - before) / max(1, requests)
        if best is None or gain > best.gain_fraction:
            best = Batch(arms=arms, questions=size, gain_fraction=gain)
    return best
