"""Which model, and how many visual tokens, for one's own questions? A study asked -> the document that says so.

Errors are of questions like these, with intervals that hold 90 %: the posterior of prior and answers. The choice is the
cheapest arm whose score is within the tolerance of the best; its probability that of the same choice had every question
been asked of every arm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vlmplan.cost import Request, active_llm_params, operators
from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.evaluation import Score, kept_replies
from vlmplan.hardware import Part, Precision
from vlmplan.intervals import Interval, quantile
from vlmplan.models import Reduction, VisualInput, Workload, at_most, options
from vlmplan.progress import Progress
from vlmplan.studies.belief import Belief, Posterior
from vlmplan.studies.decision import Problem, Standing
from vlmplan.studies.prior import TEXT_TOKENS, Arm, untold_belief
from vlmplan.studies.rounds import ServedArm, State, Terms, run

if TYPE_CHECKING:
    from vlmplan.studies.belief import Array

LEVEL = 0.9
_DRAWS = 4000
OUTPUT_TOKENS = 32  # of the request whose FLOPs rank the arms
_NOTABLY_LESS = 0.15  # of a probability


@dataclass(frozen=True, slots=True, kw_only=True)
class StudiedArm:
    """A model at a limit of visual tokens: what its answers and the prior together say of its error.

    ``visual_tokens`` is the mean that the pictures made, ``flops`` the cost of a request with a usual picture.
    ``expected_error_fraction`` was foretold, and the answers weigh ``answers_weight_fraction`` beside that.
    ``lost_fraction`` is against the likeliest best arm; ``keeps_fraction`` is how likely the arm loses no more than the
    tolerance against the same model's most tokens, ``choice_fraction`` how likely it would be the choice if everything
    were asked. ``answered_error_fraction`` is of answers alone, worth so many independent ``answered_questions``.
    """

    served_model: str
    model: str
    family: str
    host: str
    llm_params_b: float
    limit: int
    visual_tokens: float
    flops: float
    questions: int
    error_fraction: float
    error_interval: Interval
    expected_error_fraction: float
    answers_weight_fraction: float
    lost_fraction: float
    lost_interval: Interval
    keeps_fraction: float
    choice_fraction: float
    answered_error_fraction: float
    answered_questions: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Study(Document):
    """A study of servers' models at several numbers of visual tokens. ``choice`` is the arm to take.

    It is ``settled`` where ``probability_fraction``, how likely asking everything would end in the same choice, reaches
    ``confidence_fraction``; of more questions like these it is the choice with ``probability_of_more_fraction``.
    ``kept`` of the ``requests`` stood in the file of answers; asking everything would have taken ``all_requests``.
    ``enough`` has each served model's fewest tokens that keep its score with that confidence, where any do; of one name
    on several hosts each with its host.
    """

    SCHEMA: ClassVar[str] = "vlmplan.study/1"

    questions: str
    question_count: int
    score: Score
    task: str
    prior: str
    reduction: Reduction
    choice: StudiedArm
    settled: bool
    probability_fraction: float
    probability_of_more_fraction: float
    confidence_fraction: float
    tolerance_fraction: float
    interval_level_fraction: float
    requests: int
    kept: int
    all_requests: int
    budget: int
    enough: dict[str, int]
    arms: tuple[StudiedArm, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a study is called and rests on: the table of questions, the task, and the prior in words."""

    questions: str
    task: str
    prior: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a study: scores within a tolerance of the best, a choice so sure, so many requests."""

    tolerance_fraction: float
    confidence: float
    budget: int
    seed: int = 0


def of_catalogue(arm: ServedArm) -> Arm:
    """Return an arm as scores know it: what its model makes of a usual picture. Raises InputError where it cannot."""
    model, usual = arm.asking.model, arm.usual
    size = usual.way.size
    visual: VisualInput | None = None
    if arm.asking.by_request:
        visual = at_most(model, size, arm.limit)
    elif reachable := options(model, size):
        visual = reachable[-1]
    if visual is None:
        raise InputError(f"{model.name} makes no {arm.limit} visual tokens of a picture of {size[0]}x{size[1]}")
    return Arm(model=model, visual=visual)


def flops_of(arm: Arm, image: tuple[int, int], output_tokens: int) -> float:
    """Return the FLOPs of a request with a picture of ``image`` pixels: reading it, and every further token."""
    workload = Workload(text_tokens=TEXT_TOKENS, output_tokens=output_tokens, image=image)
    request = Request(model=arm.model, workload=workload, visual=arm.visual, precision=Precision.BF16)
    steps = output_tokens - 1
    return sum(op.flops * (steps if op.part is Part.DECODE else 1) for op in operators(request))


def run_study(
    arms: tuple[ServedArm, ...], prior: Belief, wish: Wish, labels: Labels, answers: Path | None, progress: Progress
) -> Study:
    """Ask until the choice is settled, and return what was found; ``prior`` is of the arms' scores, in their order.

    Raises InputError for a budget that is too small, Unavailable where a server is gone.
    """
    import numpy as np

    costs = [flops_of(of_catalogue(arm), arm.usual.way.size, OUTPUT_TOKENS) for arm in arms]
    order = np.argsort(np.argsort(np.array(costs), kind="stable")).astype(float)
    problem = Problem(order=order, tolerance=wish.tolerance_fraction, seed=wish.seed)
    state = State(arms, prior, kept_replies(answers))
    terms = Terms(problem=problem, confidence=wish.confidence, budget=wish.budget)
    stands = run(state, terms, answers, progress)
    return _document(state, terms, stands, costs, labels)


def _document(state: State, terms: Terms, stands: Standing, costs: Sequence[float], labels: Labels) -> Study:
    arms = _arms(state, terms, stands, costs)
    enough: dict[str, int] = {}
    for one in sorted(arms, key=lambda arm: arm.limit):
        most = max(other.limit for other in arms if (other.served_model, other.host) == (one.served_model, one.host))
        if one.keeps_fraction >= terms.confidence and one.limit < most:
            hosts = {other.host for other in arms if other.served_model == one.served_model}
            enough.setdefault(one.served_model if len(hosts) == 1 else f"{one.served_model} at {one.host}", one.limit)
    asking = state.arms[0].asking
    return Study(
        questions=labels.questions, question_count=len(state.arms[0].requests), score=asking.score, task=labels.task,
        prior=labels.prior, reduction=Reduction.IMAGE_SIZE, choice=arms[stands.choice],
        settled=stands.probability >= terms.confidence, probability_fraction=stands.probability,
        probability_of_more_fraction=float(stands.of_others[stands.choice]), confidence_fraction=terms.confidence,
        tolerance_fraction=terms.problem.tolerance, interval_level_fraction=LEVEL, requests=state.made,
        kept=state.kept, all_requests=state.all_requests, budget=terms.budget, enough=enough, arms=arms,
        failed=tuple(state.failed.values()), notes=_notes(state, arms, stands),
    )  # fmt: skip


def _notes(state: State, arms: Sequence[StudiedArm], stands: Standing) -> tuple[str, ...]:
    """What to mind: answers that a prior did not expect, and a choice that new questions may change."""
    notes = []
    off = [one for one in arms if one.questions and not _expected(one, state)]
    if off:
        worst = max(off, key=lambda one: abs(one.error_fraction - one.expected_error_fraction))
        notes.append(
            f"{worst.served_model} at {worst.limit}: published scores foretold "
            f"{100 * worst.expected_error_fraction:.0f} of 100 wrong, the answers say "
            f"{100 * worst.error_fraction:.0f}; the prior counts for little here"
        )
    if stands.probability > float(stands.of_others[stands.choice]) + _NOTABLY_LESS:
        notes.append("of these questions alone the choice is surer than of more like them: more questions would tell")
    return tuple(notes)


def _expected(one: StudiedArm, state: State) -> bool:
    """Whether the posterior lies within the prior's own interval, as logits."""
    arms = [(arm.asking.server.model, arm.asking.server.host, arm.limit) for arm in state.arms]
    at = arms.index((one.served_model, one.host, one.limit))
    sd = float(state.prior.covariance[at, at]) ** 0.5
    error = min(1 - 1e-6, max(1e-6, one.error_fraction))
    return bool(abs(math.log((1 - error) / error) - float(state.prior.mean[at])) < quantile(LEVEL) * sd)


def _arms(state: State, terms: Terms, stands: Standing, costs: Sequence[float]) -> tuple[StudiedArm, ...]:
    """Every arm with what is believed of it."""
    import numpy as np

    known, alone, answered = state.known(), _alone(state), (~np.isnan(state.scores())).sum(axis=1)
    drawn = known.draws(np.random.default_rng([terms.problem.seed, 3]).standard_normal((_DRAWS, len(costs))))
    best, arms = int(stands.best.argmax()), []
    for at, arm in enumerate(state.arms):
        model, server = arm.asking.model, arm.asking.server
        lost, own = drawn[:, best] - drawn[:, at], _most_of_its_model(state.arms, at)
        arms.append(
            StudiedArm(
                served_model=server.model, model=model.name, family=model.family, host=server.host,
                llm_params_b=model.nominal_llm_params_b or active_llm_params(model) / 1e9, limit=arm.limit,
                visual_tokens=arm.visual_tokens, flops=costs[at], questions=int(answered[at]),
                error_fraction=float(np.median(1 - drawn[:, at])), error_interval=_central(1 - drawn[:, at]),
                expected_error_fraction=1 / (1 + math.exp(float(known.prior.mean[at]))),
                answers_weight_fraction=float(known.weight[at]), lost_fraction=float(lost.mean()),
                lost_interval=_central(lost), choice_fraction=float(stands.of_these[at]),
                keeps_fraction=float((drawn[:, at] >= drawn[:, own] - terms.problem.tolerance).mean()),
                answered_error_fraction=1 - float(alone.score[at]), answered_questions=_worth(alone, at),
            )
        )  # fmt: skip
    return tuple(arms)


def _most_of_its_model(arms: Sequence[ServedArm], at: int) -> int:
    """The arm of the same model at the most tokens."""
    mine = [k for k, one in enumerate(arms) if one.asking is arms[at].asking]
    return max(mine, key=lambda k: arms[k].limit)


def _central(values: "Array") -> Interval:
    import numpy as np

    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _alone(state: State) -> Posterior:
    """What the answers say without published scores: for a law, which brings a prior of its own."""
    return state.known(untold_belief([of_catalogue(arm) for arm in state.arms]))


def _worth(alone: Posterior, at: int) -> float:
    """How many independent answers tell as much of an arm as all answers together do."""
    p = float(alone.score[at])
    told = 1 / float(alone.covariance[at, at]) - 1 / float(alone.prior.covariance[at, at])
    return max(0.0, told / max(1e-3, p * (1 - p)))
