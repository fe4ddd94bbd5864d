"""What is known of the arms before any of one's own questions is answered? Published scores and studies -> a prior.

Each benchmark of the task foretells the error of every arm, with draws of what it may be off by (a checkpoint's score,
its family's, what fewer pixels or tokens cost there). One's own questions are taken to be like those of one of the
benchmarks, so that the draws of all are thrown together; and to differ from it by what ``OWN_*`` say, which are
assumptions, wide beside what scores of a 7B model on benchmarks of one kind differ by (reading 0.6, reasoning 0.7 in
logit, by the shipped evidence).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlmplan.accuracy import Evidence, OwnScores, by_scores
from vlmplan.hardware import Precision
from vlmplan.models import ModelSpec, VisualInput, Workload
from vlmplan.studies.belief import Belief

if TYPE_CHECKING:
    from vlmplan.studies.belief import Array

TEXT_TOKENS = 50
DRAWS = 480
OWN_LEVEL_SD = 1.0  # how much harder or easier they are for all arms, in logit
OWN_SLOPE_SD = 0.15  # how much more or less they lose an e-fold of visual tokens, for all arms
OWN_SKILL_SD = 0.3  # by how much a model is better or worse at them than its scores tell
OWN_ARM_SD = 0.1  # what is one arm's own
UNTOLD_LEVEL_SD, UNTOLD_SLOPE_SD, UNTOLD_SKILL_SD = 1.5, 0.4, 1.0  # the same where nothing is taken from scores
_MOST = 0.98  # of the score: what is beyond is no surer


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A model as its questions are sent to it: ``visual`` is what it makes of a usual picture."""

    model: ModelSpec
    visual: VisualInput


def _apart(arms: Sequence[Arm], level_sd: float, slope_sd: float, skill_sd: float) -> "Array":
    """The covariance of what one's own questions differ by: a level, a slope by ln V, each model's skill, each arm."""
    import numpy as np

    log_tokens = np.log([max(1, arm.visual.visual_tokens) for arm in arms])
    below = log_tokens - log_tokens.max()
    same = np.array([[one.model.name == other.model.name for other in arms] for one in arms])
    shared = level_sd**2 + slope_sd**2 * np.outer(below, below) + skill_sd**2 * same
    return np.asarray(shared + OWN_ARM_SD**2 * np.eye(len(arms)))


def untold_belief(arms: Sequence[Arm]) -> Belief:
    """Return what is known where no scores are to tell: half are right, and all else is wide open."""
    import numpy as np

    return Belief(mean=np.zeros(len(arms)), covariance=_apart(arms, UNTOLD_LEVEL_SD, UNTOLD_SLOPE_SD, UNTOLD_SKILL_SD))


def published_belief(
    arms: Sequence[Arm],
    image: tuple[int, int],
    evidence: Evidence,
    weights: Mapping[str, float],
    own: Callable[[str], OwnScores | None],
) -> Belief:
    """Return what published scores and studies say of the arms, for pictures of a size (width, height).

    ``weights`` are of the task's benchmarks, ``own`` finds a checkpoint's scores. Precisions are taken for bf16.
    """
    import numpy as np

    workload = Workload(text_tokens=TEXT_TOKENS, image=image)
    drawn = []
    for name, weight in weights.items():
        judge, count = by_scores(evidence, {name: 1.0}, workload, own, sha256=""), max(8, round(weight * DRAWS))
        drawn.append([judge.draws(one.model, one.visual, Precision.BF16, count=count) for one in arms])
    errors = np.concatenate([np.array(one) for one in drawn], axis=1)
    scores = np.clip(1 - errors, 1 - _MOST, _MOST)
    logits = np.log(scores / (1 - scores))
    spread = np.atleast_2d(np.cov(logits)) + _apart(arms, OWN_LEVEL_SD, OWN_SLOPE_SD, OWN_SKILL_SD)
    return Belief(mean=logits.mean(axis=1), covariance=spread)
