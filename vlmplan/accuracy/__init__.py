"""How wrong the answer will be: scaling laws, published scores, reductions; and how both are fitted."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.accuracy.error_by_law import by_law as by_law
    from vlmplan.accuracy.error_by_scores import ErrorSource as ErrorSource, GUESSED as GUESSED, Judge as Judge, ScoreBasis as ScoreBasis, ScoreUsed as ScoreUsed, TOO_SMALL as TOO_SMALL, about_videos as about_videos, by_scores as by_scores, of_videos as of_videos, parse_task as parse_task
    from vlmplan.accuracy.law import Coefficient as Coefficient, Fit as Fit, Form as Form, Loss as Loss, PARAMETERS as PARAMETERS, Point as Point, PriorChoice as PriorChoice, RATIO as RATIO, ScalingLaw as ScalingLaw, optimal_visual_tokens as optimal_visual_tokens, shifted as shifted
    from vlmplan.accuracy.published_scores import Benchmark as Benchmark, Evidence as Evidence, OwnScores as OwnScores, SIZE_EXPONENT as SIZE_EXPONENT
    from vlmplan.accuracy.reductions import Curve as Curve, Uncertain as Uncertain
    from vlmplan.accuracy.tasks import CALLED as CALLED, TASKS as TASKS, Task as Task

__getattr__, __all__ = face(
    __name__,
    {
        'error_by_law': ('by_law',),
        'error_by_scores': ('ErrorSource', 'GUESSED', 'Judge', 'ScoreBasis', 'ScoreUsed', 'TOO_SMALL', 'about_videos', 'by_scores', 'of_videos', 'parse_task'),
        'law': ('Coefficient', 'Fit', 'Form', 'Loss', 'PARAMETERS', 'Point', 'PriorChoice', 'RATIO', 'ScalingLaw', 'optimal_visual_tokens', 'shifted'),
        'published_scores': ('Benchmark', 'Evidence', 'OwnScores', 'SIZE_EXPONENT'),
        'reductions': ('Curve', 'Uncertain'),
        'tasks': ('CALLED', 'TASKS', 'Task'),
    },
)
