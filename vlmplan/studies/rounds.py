"""How is a study asked? Servers, questions and a budget -> rounds of requests until the choice is settled.

A round asks what ``decision.next_batch`` weighs. Questions stand in one order for all arms, so that what two arms
answered is of the same questions. The file of answers is that of ``evaluate``: a study goes on from it, and asks
nothing twice.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.errors import InputError
from vlmplan.evaluation import Asking, Posed, Question, Said, posed, request_all, score
from vlmplan.progress import Progress
from vlmplan.studies.belief import Belief, Posterior, posterior
from vlmplan.studies.decision import Problem, Standing, next_batch, standing

if TYPE_CHECKING:
    from vlmplan.studies.belief import Array

PILOT = 6  # questions that every arm is asked before anything is weighed
_ROUNDS = 20  # a round asks at least one part in so many of what was asked before
_LEAST_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedArm:
    """A server's model at a limit of visual tokens: the requests that ask it, by the questions' places."""

    asking: Asking
    limit: int
    requests: tuple[Posed, ...]

    @property
    def visual_tokens(self) -> float:
        """The mean that the pictures make."""
        return statistics.fmean(one.way.visual_tokens for one in self.requests)

    @property
    def usual(self) -> Posed:
        """The request with a usual picture: that of the median area as it is sent."""
        by_area = sorted(self.requests, key=lambda one: one.way.size[0] * one.way.size[1])
        return by_area[len(by_area) // 2]


def served_arms(askings: Sequence[Asking], questions: Sequence[Question]) -> tuple[ServedArm, ...]:
    """Return every server's model at every limit that sends other pictures than a lower one does."""
    arms = []
    for asking in askings:
        by_limit: dict[int, list[Posed]] = {limit: [] for limit in sorted(asking.limits)}
        for request in posed(asking, questions):
            for limit in request.limits:
                by_limit[limit].append(request)
        before: list[str] = []
        for limit, requests in by_limit.items():
            keys = [one.key for one in requests]
            if keys != before:
                arms.append(ServedArm(asking=asking, limit=limit, requests=tuple(requests)))
            before = keys
    return tuple(arms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a study ends: ``budget`` requests in all, those of earlier runs counted, or a choice that is sure enough."""

    problem: Problem
    confidence: float
    budget: int


class State:
    """Where a study stands: what was said, by key, what failed in this run, and what was believed before."""

    def __init__(self, arms: tuple[ServedArm, ...], prior: Belief, said: Mapping[str, Said]) -> None:
        """``said`` is what a file of answers holds, that of other studies, too, which does not count."""
        asked = {one.key for arm in arms for one in arm.requests}
        self.arms, self.prior = arms, prior
        self.said = {key: one for key, one in said.items() if key in asked}
        self.kept, self.made, self.failed = len(self.said), 0, dict[str, str]()

    @property
    def all_requests(self) -> int:
        """How many requests would ask everything."""
        return len({one.key for arm in self.arms for one in arm.requests})

    def scores(self) -> "Array":
        """Scores (arms, questions), NaN where there is no answer."""
        import numpy as np

        return np.array([
            [
                math.nan if (said := self.said.get(one.key)) is None
                else score(arm.asking.score, said[0], one.question.answers)
                for one in arm.requests
            ]
            for arm in self.arms
        ])  # fmt: skip

    def known(self, prior: Belief | None = None) -> Posterior:
        """What is believed, from another ``prior`` where one is given."""
        names = [(arm.asking.server.url, arm.asking.server.model) for arm in self.arms]
        return posterior(prior or self.prior, self.scores(), [names.index(name) for name in names])

    def open_requests(self, arm: int) -> list[Posed]:
        """What an arm can still be asked, in the questions' order."""
        return [one for one in self.arms[arm].requests if one.key not in self.said and one.key not in self.failed]


def run(state: State, terms: Terms, answers: Path | None, progress: Progress) -> Standing:
    """Ask in rounds until the choice is settled, or the budget is spent, or nothing is left; return how it stands.

    Raises InputError for a budget of less than one question of each arm, Unavailable where a server is gone: what was
    answered stands in ``answers``.
    """
    least = min(PILOT, terms.budget // len(state.arms))
    if not least:
        raise InputError(f"--budget: found {terms.budget}, and one question of each takes {len(state.arms)} requests")
    pilot = [one for arm in state.arms for one in arm.requests[:least]]
    _ask(state, pilot, terms, answers, progress)
    while True:
        known = state.known()
        stands = standing(known, terms.problem)
        left = terms.budget - len(state.said)
        open_questions = [len(state.open_requests(arm)) for arm in range(len(state.arms))]
        if stands.probability >= terms.confidence or left <= 0 or not any(open_questions):
            return stands
        size = max(_LEAST_BATCH, len(state.said) // _ROUNDS)
        batch = next_batch(known, stands, terms.problem, open_questions, size)
        if batch is None:
            return stands
        _ask(state, _in_turn([state.open_requests(arm)[:size] for arm in batch.arms]), terms, answers, progress)


def _in_turn(requests: Sequence[Sequence[Posed]]) -> list[Posed]:
    """Requests of several arms, question by question."""
    return [one for together in itertools.zip_longest(*requests) for one in together if one is not None]


def _ask(state: State, wanted: Sequence[Posed], terms: Terms, answers: Path | None, progress: Progress) -> None:
    """Make requests within the budget, server by server; what fails is not asked for again in this run."""
    new = {one.key: one for one in wanted if one.key not in state.said and one.key not in state.failed}
    within = dict(list(new.items())[: terms.budget - len(state.said)])
    most = min(terms.budget, state.all_requests)
    for asking in {id(arm.asking): arm.asking for arm in state.arms}.values():
        own = {one.key for arm in state.arms if arm.asking is asking for one in arm.requests}
        tasks = [one for key, one in within.items() if key in own]
        if not tasks:
            continue
        made, failed = request_all(asking, tasks, answers, _counting(progress, len(state.said), most))
        state.said |= made
        state.made += len(tasks)
        state.failed |= dict(zip([one.key for one in tasks if one.key not in made], failed, strict=True))


def _counting(progress: Progress, before: int, most: int) -> Progress:
    """Tell of a round's requests as of the study's."""
    return lambda _, done, __: progress("requests", before + done, most)
