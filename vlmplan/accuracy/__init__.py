"""How wrong the answer will be: scaling laws, published scores, reductions; and how both are fitted."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.accuracy.fit import FitReport as FitReport
    from vlmplan.accuracy.fit import fit_law as fit_law
    from vlmplan.accuracy.fit_form import Options as Options
    from vlmplan.accuracy.fit_form import untold as untold
    from vlmplan.accuracy.harness_files import Harness as Harness
    from vlmplan.accuracy.harness_results import read_results as read_results
    from vlmplan.accuracy.judge import ErrorSource as ErrorSource
    from vlmplan.accuracy.judge import Judge as Judge
    from vlmplan.accuracy.judge import ScoreBasis as ScoreBasis
    from vlmplan.accuracy.judge import ScoreUsed as ScoreUsed
    from vlmplan.accuracy.judge import by_scores as by_scores
    from vlmplan.accuracy.judge import parse_task as parse_task
    from vlmplan.accuracy.law import RATIO as RATIO
    from vlmplan.accuracy.law import Coefficient as Coefficient
    from vlmplan.accuracy.law import Form as Form
    from vlmplan.accuracy.law import Loss as Loss
    from vlmplan.accuracy.law import Point as Point
    from vlmplan.accuracy.law import PriorChoice as PriorChoice
    from vlmplan.accuracy.law import ScalingLaw as ScalingLaw
    from vlmplan.accuracy.law import shifted as shifted
    from vlmplan.accuracy.law_judge import by_law as by_law
    from vlmplan.accuracy.lint import kept as kept
    from vlmplan.accuracy.point_tables import Row as Row
    from vlmplan.accuracy.point_tables import of_task as of_task
    from vlmplan.accuracy.point_tables import points as points
    from vlmplan.accuracy.point_tables import read_points as read_points
    from vlmplan.accuracy.prior import Prior as Prior
    from vlmplan.accuracy.prior import shipped_prior as shipped_prior
    from vlmplan.accuracy.published_scores import Evidence as Evidence
    from vlmplan.accuracy.published_scores import OwnScores as OwnScores

__getattr__, __all__ = face(
    __name__,
    {
        "fit": ("FitReport", "fit_law"),
        "fit_form": ("Options", "untold"),
        "harness_files": ("Harness",),
        "harness_results": ("read_results",),
        "judge": ("ErrorSource", "Judge", "ScoreBasis", "ScoreUsed", "by_scores", "parse_task"),
        "law": ("Coefficient", "Form", "Loss", "Point", "PriorChoice", "RATIO", "ScalingLaw", "shifted"),
        "law_judge": ("by_law",),
        "lint": ("kept",),
        "point_tables": ("Row", "of_task", "points", "read_points"),
        "prior": ("Prior", "shipped_prior"),
        "published_scores": ("Evidence", "OwnScores"),
    },
)
