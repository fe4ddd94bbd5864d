"""Which configuration: a question -> candidates within the budget -> a plan, and what to do with it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.planning.choice import LEAST_ERROR as LEAST_ERROR
    from vlmplan.planning.comparison import Comparison as Comparison, DeviceChoice as DeviceChoice, compare as compare
    from vlmplan.planning.handover import Deploy as Deploy, PLAN_FILE as PLAN_FILE
    from vlmplan.planning.left_out import Barrier as Barrier
    from vlmplan.planning.logged_times import LOGGED as LOGGED, LoggedTimes as LoggedTimes, times_at as times_at
    from vlmplan.planning.options import Asked as Asked, CONFIDENCE as CONFIDENCE, CandidateSet as CandidateSet, FlopRule as FlopRule, INTERACTIVE as INTERACTIVE, Objective as Objective
    from vlmplan.planning.plan import Choice as Choice, Outline as Outline, Plan as Plan, Price as Price, knee_curve_of as knee_curve_of, recommend as recommend
    from vlmplan.planning.question import asked_task as asked_task, kept_out_by as kept_out_by, query as query
    from vlmplan.planning.rechecks import Recheck as Recheck, recheck as recheck, recheck_markdown as recheck_markdown
    from vlmplan.planning.remedies import Change as Change, typed as typed
    from vlmplan.planning.request_log import MEDIAN as MEDIAN, RequestLog as RequestLog, TAIL as TAIL, read_requests as read_requests
    from vlmplan.planning.search import Kept as Kept, keeping as keeping
    from vlmplan.planning.under_load import bears_not as bears_not
    from vlmplan.planning.why_not import AtBest as AtBest, WhyNot as WhyNot, because as because, own_limits as own_limits, to_try as to_try

__getattr__, __all__ = face(
    __name__,
    {
        'choice': ('LEAST_ERROR',),
        'comparison': ('Comparison', 'DeviceChoice', 'compare'),
        'handover': ('Deploy', 'PLAN_FILE'),
        'left_out': ('Barrier',),
        'logged_times': ('LOGGED', 'LoggedTimes', 'times_at'),
        'options': ('Asked', 'CONFIDENCE', 'CandidateSet', 'FlopRule', 'INTERACTIVE', 'Objective'),
        'plan': ('Choice', 'Outline', 'Plan', 'Price', 'knee_curve_of', 'recommend'),
        'question': ('asked_task', 'kept_out_by', 'query'),
        'rechecks': ('Recheck', 'recheck', 'recheck_markdown'),
        'remedies': ('Change', 'typed'),
        'request_log': ('MEDIAN', 'RequestLog', 'TAIL', 'read_requests'),
        'search': ('Kept', 'keeping'),
        'under_load': ('bears_not',),
        'why_not': ('AtBest', 'WhyNot', 'because', 'own_limits', 'to_try'),
    },
)
