"""How many questions are answered rightly: a checkpoint or an export, and questions -> a score with its interval."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.evaluation.before_after import AnswersGate as AnswersGate
    from vlmplan.evaluation.before_after import answers_gate as answers_gate
    from vlmplan.evaluation.before_after import gate_markdown as gate_markdown
    from vlmplan.evaluation.before_after import require_answers as require_answers
    from vlmplan.evaluation.given_answers import GivenAnswer as GivenAnswer
    from vlmplan.evaluation.given_answers import given_curve as given_curve
    from vlmplan.evaluation.given_answers import judged_answers as judged_answers
    from vlmplan.evaluation.given_answers import matched as matched
    from vlmplan.evaluation.given_answers import names_answers as names_answers
    from vlmplan.evaluation.given_answers import read_answers as read_answers
    from vlmplan.evaluation.given_answers import replies_by_themselves as replies_by_themselves
    from vlmplan.evaluation.judge import Judged as Judged
    from vlmplan.evaluation.judge import Judging as Judging
    from vlmplan.evaluation.lmms_eval import run_lmms_eval as run_lmms_eval
    from vlmplan.evaluation.paired import Answerer as Answerer
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
    from vlmplan.evaluation.scoring import score as score
    from vlmplan.evaluation.seen import Failure as Failure
    from vlmplan.evaluation.seen import Seen as Seen
    from vlmplan.evaluation.seen import failures as failures
    from vlmplan.evaluation.seen import seen_of_answers as seen_of_answers
    from vlmplan.evaluation.seen import seen_of_replies as seen_of_replies
    from vlmplan.evaluation.seen import with_legibility as with_legibility
    from vlmplan.evaluation.served import Asking as Asking
    from vlmplan.evaluation.served import Posed as Posed
    from vlmplan.evaluation.served import Reply as Reply
    from vlmplan.evaluation.served import Said as Said
    from vlmplan.evaluation.served import ask_all as ask_all
    from vlmplan.evaluation.served import kept_replies as kept_replies
    from vlmplan.evaluation.served import picture_size as picture_size
    from vlmplan.evaluation.served import posed as posed
    from vlmplan.evaluation.served import request_all as request_all

__getattr__, __all__ = face(
    __name__,
    {
        "before_after": ("AnswersGate", "answers_gate", "gate_markdown", "require_answers"),
        "given_answers": (
            "GivenAnswer",
            "given_curve",
            "judged_answers",
            "matched",
            "names_answers",
            "read_answers",
            "replies_by_themselves",
        ),
        "judge": ("Judged", "Judging"),
        "lmms_eval": ("run_lmms_eval",),
        "paired": ("Answerer", "AtLimit", "TokenCurve", "points_csv", "token_curve"),
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
        "scoring": ("Score", "check_expected", "score"),
        "seen": ("Failure", "Seen", "failures", "seen_of_answers", "seen_of_replies", "with_legibility"),
        "served": (
            "Asking",
            "Posed",
            "Reply",
            "Said",
            "ask_all",
            "kept_replies",
            "picture_size",
            "posed",
            "request_all",
        ),
    },
)
