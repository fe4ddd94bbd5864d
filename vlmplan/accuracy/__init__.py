"""How wrong the answer will be: scaling laws, published scores, reductions; and how both are fitted."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.accuracy.fit import FitReport as FitReport, fit_law as fit_law
    from vlmplan.accuracy.fit_form import Options as Options, untold as untold
    from vlmplan.accuracy.harness_files import Harness as Harness
    from vlmplan.accuracy.harness_results import read_results as read_results
    from vlmplan.accuracy.judge import ErrorSource as ErrorSource, Judge as Judge, ScoreBasis as ScoreBasis, ScoreUsed as ScoreUsed, by_scores as by_scores, parse_task as parse_task
    from vlmplan.accuracy.law import Coefficient as Coefficient, Form as Form, Loss as Loss, Point as Point, PriorChoice as PriorChoice, RATIO as RATIO, ScalingLaw as ScalingLaw, shifted as shifted
    from vlmplan.accuracy.law_judge import by_law as by_law
    from vlmplan.accuracy.lint import kept as kept
    from vlmplan.accuracy.point_tables import Row as Row, of_task as of_task, points as points, read_points as read_points
    from vlmplan.accuracy.prior import Prior as Prior, shipped_prior as shipped_prior
    from vlmplan.accuracy.published_scores import Evidence as Evidence, OwnScores as OwnScores

__getattr__, __all__ = face(
    __name__,
    {
        'fit': ('FitReport', 'fit_law'),
        'fit_form': ('Options', 'untold'),
        'harness_files': ('Harness',),
        'harness_results': ('read_results',),
        'judge': ('ErrorSource', 'Judge', 'ScoreBasis', 'ScoreUsed', 'by_scores', 'parse_task'),
        'law': ('Coefficient', 'Form', 'Loss', 'Point', 'PriorChoice', 'RATIO', 'ScalingLaw', 'shifted'),
        'law_judge': ('by_law',),
        'lint': ('kept',),
        'point_tables': ('Row', 'of_task', 'points', 'read_points'),
        'prior': ('Prior', 'shipped_prior'),
        'published_scores': ('Evidence', 'OwnScores'),
    },
)
