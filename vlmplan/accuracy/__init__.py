"""How wrong the answer will be: scaling laws, published scores, reductions; and how both are fitted."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.accuracy.judge import ErrorSource as ErrorSource, Judge as Judge, ScoreBasis as ScoreBasis, ScoreUsed as ScoreUsed, by_scores as by_scores, parse_task as parse_task
    from vlmplan.accuracy.law import Coefficient as Coefficient, Fit as Fit, Form as Form, Interval as Interval, Loss as Loss, PARAMETERS as PARAMETERS, Point as Point, PriorChoice as PriorChoice, RATIO as RATIO, ScalingLaw as ScalingLaw, optimal_visual_tokens as optimal_visual_tokens, shifted as shifted
    from vlmplan.accuracy.law_judge import by_law as by_law
    from vlmplan.accuracy.published_scores import Benchmark as Benchmark, Evidence as Evidence, OwnScores as OwnScores, SIZE_EXPONENT as SIZE_EXPONENT
    from vlmplan.accuracy.reductions import Curve as Curve, Uncertain as Uncertain

__getattr__, __all__ = face(
    __name__,
    {
        'judge': ('ErrorSource', 'Judge', 'ScoreBasis', 'ScoreUsed', 'by_scores', 'parse_task'),
        'law': ('Coefficient', 'Fit', 'Form', 'Interval', 'Loss', 'PARAMETERS', 'Point', 'PriorChoice', 'RATIO', 'ScalingLaw', 'optimal_visual_tokens', 'shifted'),
        'law_judge': ('by_law',),
        'published_scores': ('Benchmark', 'Evidence', 'OwnScores', 'SIZE_EXPONENT'),
        'reductions': ('Curve', 'Uncertain'),
    },
)
