"""Which configuration: a question -> candidates within the budget -> a plan, and what to do with it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.planning.choice import LEAST_ERROR as LEAST_ERROR
    from vlmplan.planning.choice import NO_REPLICAS as NO_REPLICAS
    from vlmplan.planning.comparison import Comparison as Comparison
    from vlmplan.planning.comparison import DeviceChoice as DeviceChoice
    from vlmplan.planning.comparison import compare as compare
    from vlmplan.planning.handing.handover import PLAN_FILE as PLAN_FILE
    from vlmplan.planning.handing.handover import Deploy as Deploy
    from vlmplan.planning.handing.stacks import HandedOver as HandedOver
    from vlmplan.planning.handing.stacks import Stack as Stack
    from vlmplan.planning.handing.stacks import hand_over_to as hand_over_to
    from vlmplan.planning.left_out import Barrier as Barrier
    from vlmplan.planning.options import CONFIDENCE as CONFIDENCE
    from vlmplan.planning.options import INTERACTIVE as INTERACTIVE
    from vlmplan.planning.options import Asked as Asked
    from vlmplan.planning.options import CandidateSet as CandidateSet
    from vlmplan.planning.options import FlopRule as FlopRule
    from vlmplan.planning.options import Objective as Objective
    from vlmplan.planning.plan import Choice as Choice
    from vlmplan.planning.plan import Outline as Outline
    from vlmplan.planning.plan import Plan as Plan
    from vlmplan.planning.plan import Price as Price
    from vlmplan.planning.plan import knee_curve_of as knee_curve_of
    from vlmplan.planning.plan import recommend as recommend
    from vlmplan.planning.question import asked_task as asked_task
    from vlmplan.planning.question import kept_out_by as kept_out_by
    from vlmplan.planning.question import query as query
    from vlmplan.planning.rechecks import Recheck as Recheck
    from vlmplan.planning.rechecks import recheck as recheck
    from vlmplan.planning.rechecks import recheck_markdown as recheck_markdown
    from vlmplan.planning.remedies import Change as Change
    from vlmplan.planning.remedies import typed as typed
    from vlmplan.planning.search import Kept as Kept
    from vlmplan.planning.search import keeping as keeping
    from vlmplan.planning.under_load import bears_not as bears_not
    from vlmplan.planning.why_not import AtBest as AtBest
    from vlmplan.planning.why_not import WhyNot as WhyNot
    from vlmplan.planning.why_not import because as because
    from vlmplan.planning.why_not import own_limits as own_limits
    from vlmplan.planning.why_not import to_try as to_try

__getattr__, __all__ = face(
    __name__,
    {
        "choice": ("LEAST_ERROR", "NO_REPLICAS"),
        "comparison": ("Comparison", "DeviceChoice", "compare"),
        "handing.handover": ("Deploy", "PLAN_FILE"),
        "handing.stacks": ("HandedOver", "Stack", "hand_over_to"),
        "left_out": ("Barrier",),
        "options": ("Asked", "CONFIDENCE", "CandidateSet", "FlopRule", "INTERACTIVE", "Objective"),
        "plan": ("Choice", "Outline", "Plan", "Price", "knee_curve_of", "recommend"),
        "question": ("asked_task", "kept_out_by", "query"),
        "rechecks": ("Recheck", "recheck", "recheck_markdown"),
        "remedies": ("Change", "typed"),
        "search": ("Kept", "keeping"),
        "under_load": ("bears_not",),
        "why_not": ("AtBest", "WhyNot", "because", "own_limits", "to_try"),
    },
)
