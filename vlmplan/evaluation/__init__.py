"""How many questions are answered rightly: a checkpoint or an export, and questions -> a score with its interval."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.evaluation.lmms_eval import run_lmms_eval as run_lmms_eval
    from vlmplan.evaluation.paired import AtLimit as AtLimit
    from vlmplan.evaluation.paired import TokenCurve as TokenCurve
    from vlmplan.evaluation.paired import points_csv as points_csv
    from vlmplan.evaluation.paired import token_curve as token_curve
    from vlmplan.evaluation.questions import Evaluation as Evaluation
    from vlmplan.evaluation.questions import Question as Question
    from vlmplan.evaluation.questions import Share as Share
    from vlmplan.evaluation.questions import agreement as agreement
    from vlmplan.evaluation.questions import answer_all as answer_all
    from vlmplan.evaluation.questions import answers_check as answers_check
    from vlmplan.evaluation.questions import answers_jsonl as answers_jsonl
    from vlmplan.evaluation.questions import beside as beside
    from vlmplan.evaluation.questions import evaluation as evaluation
    from vlmplan.evaluation.questions import open_subject as open_subject
    from vlmplan.evaluation.questions import read_questions as read_questions
    from vlmplan.evaluation.scoring import Score as Score
    from vlmplan.evaluation.scoring import check_expected as check_expected
    from vlmplan.evaluation.served import Asking as Asking
    from vlmplan.evaluation.served import ask_all as ask_all

__getattr__, __all__ = face(
    __name__,
    {
        "lmms_eval": ("run_lmms_eval",),
        "paired": ("AtLimit", "TokenCurve", "points_csv", "token_curve"),
        "questions": (
            "Evaluation",
            "Question",
            "Share",
            "agreement",
            "answer_all",
            "answers_check",
            "answers_jsonl",
            "beside",
            "evaluation",
            "open_subject",
            "read_questions",
        ),
        "scoring": ("Score", "check_expected"),
        "served": ("Asking", "ask_all"),
    },
)
