"""How wrong the answer will be: scaling laws, published scores, reductions; and how both are fitted."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.accuracy.error_by_law import by_law as by_law
    from vlmplan.accuracy.error_by_scores import GUESSED as GUESSED
    from vlmplan.accuracy.error_by_scores import TOO_SMALL as TOO_SMALL
    from vlmplan.accuracy.error_by_scores import ErrorSource as ErrorSource
    from vlmplan.accuracy.error_by_scores import Judge as Judge
    from vlmplan.accuracy.error_by_scores import ScoreBasis as ScoreBasis
    from vlmplan.accuracy.error_by_scores import ScoreUsed as ScoreUsed
    from vlmplan.accuracy.error_by_scores import about_videos as about_videos
    from vlmplan.accuracy.error_by_scores import by_scores as by_scores
    from vlmplan.accuracy.error_by_scores import of_videos as of_videos
    from vlmplan.accuracy.error_by_scores import parse_task as parse_task
    from vlmplan.accuracy.law import OWN_QUESTIONS as OWN_QUESTIONS
    from vlmplan.accuracy.law import PARAMETERS as PARAMETERS
    from vlmplan.accuracy.law import RATIO as RATIO
    from vlmplan.accuracy.law import Coefficient as Coefficient
    from vlmplan.accuracy.law import Fit as Fit
    from vlmplan.accuracy.law import Form as Form
    from vlmplan.accuracy.law import Loss as Loss
    from vlmplan.accuracy.law import Point as Point
    from vlmplan.accuracy.law import PriorChoice as PriorChoice
    from vlmplan.accuracy.law import ScalingLaw as ScalingLaw
    from vlmplan.accuracy.law import optimal_visual_tokens as optimal_visual_tokens
    from vlmplan.accuracy.law import shifted as shifted
    from vlmplan.accuracy.published_scores import SIZE_EXPONENT as SIZE_EXPONENT
    from vlmplan.accuracy.published_scores import Benchmark as Benchmark
    from vlmplan.accuracy.published_scores import Evidence as Evidence
    from vlmplan.accuracy.published_scores import OwnScores as OwnScores
    from vlmplan.accuracy.reductions import Curve as Curve
    from vlmplan.accuracy.reductions import Uncertain as Uncertain
    from vlmplan.accuracy.tasks import CALLED as CALLED
    from vlmplan.accuracy.tasks import TASKS as TASKS
    from vlmplan.accuracy.tasks import Task as Task

__getattr__, __all__ = face(
    __name__,
    {
        "error_by_law": ("by_law",),
        "error_by_scores": (
            "ErrorSource",
            "GUESSED",
            "Judge",
            "ScoreBasis",
            "ScoreUsed",
            "TOO_SMALL",
            "about_videos",
            "by_scores",
            "of_videos",
            "parse_task",
        ),
        "law": (
            "Coefficient",
            "Fit",
            "Form",
            "Loss",
            "OWN_QUESTIONS",
            "PARAMETERS",
            "Point",
            "PriorChoice",
            "RATIO",
            "ScalingLaw",
            "optimal_visual_tokens",
            "shifted",
        ),
        "published_scores": ("Benchmark", "Evidence", "OwnScores", "SIZE_EXPONENT"),
        "reductions": ("Curve", "Uncertain"),
        "tasks": ("CALLED", "TASKS", "Task"),
    },
)
