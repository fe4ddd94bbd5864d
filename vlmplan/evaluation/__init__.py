"""How many questions are answered rightly: a checkpoint or an export, and questions -> a score with its interval."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.evaluation.lmms_eval import run_lmms_eval as run_lmms_eval
    from vlmplan.evaluation.paired import AtLimit as AtLimit, TokenCurve as TokenCurve, points_csv as points_csv, token_curve as token_curve
    from vlmplan.evaluation.questions import Evaluation as Evaluation, Question as Question, Share as Share, agreement as agreement, answer_all as answer_all, answers_check as answers_check, answers_jsonl as answers_jsonl, beside as beside, evaluation as evaluation, open_subject as open_subject, read_questions as read_questions
    from vlmplan.evaluation.scoring import Score as Score, check_expected as check_expected
    from vlmplan.evaluation.served import Asking as Asking, ask_all as ask_all

__getattr__, __all__ = face(
    __name__,
    {
        'lmms_eval': ('run_lmms_eval',),
        'paired': ('AtLimit', 'TokenCurve', 'points_csv', 'token_curve'),
        'questions': ('Evaluation', 'Question', 'Share', 'agreement', 'answer_all', 'answers_check', 'answers_jsonl', 'beside', 'evaluation', 'open_subject', 'read_questions'),
        'scoring': ('Score', 'check_expected'),
        'served': ('Asking', 'ask_all'),
    },
)
