"""Which configuration: a question -> candidates within the budget -> a plan, and what to do with it."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.planning.catalogue import Shelf as Shelf
    from vlmplan.planning.checkup import Checkup as Checkup, Finding as Finding, State as State, examine as examine
    from vlmplan.planning.comparison import Comparison as Comparison, DeviceChoice as DeviceChoice, compare as compare
    from vlmplan.planning.handover import Deploy as Deploy
    from vlmplan.planning.logged_times import LoggedTimes as LoggedTimes, times_at as times_at, times_by_plan as times_by_plan
    from vlmplan.planning.options import Asked as Asked, CONFIDENCE as CONFIDENCE, CandidateSet as CandidateSet, FlopRule as FlopRule, INTERACTIVE as INTERACTIVE, Objective as Objective, Preference as Preference
    from vlmplan.planning.own_profiles import own_path as own_path
    from vlmplan.planning.plan import Choice as Choice, Outline as Outline, Plan as Plan, knee_curve_of as knee_curve_of, recommend as recommend
    from vlmplan.planning.question import asked_task as asked_task, query as query
    from vlmplan.planning.rechecks import Recheck as Recheck, markdown as markdown, recheck as recheck
    from vlmplan.planning.request_log import MEDIAN as MEDIAN, RequestLog as RequestLog, TAIL as TAIL, read_requests as read_requests
    from vlmplan.planning.search import Budget as Budget
    from vlmplan.planning.this_machine import here as here
    from vlmplan.planning.workloads import NamedWorkload as NamedWorkload

__getattr__, __all__ = face(
    __name__,
    {
        'catalogue': ('Shelf',),
        'checkup': ('Checkup', 'Finding', 'State', 'examine'),
        'comparison': ('Comparison', 'DeviceChoice', 'compare'),
        'handover': ('Deploy',),
        'logged_times': ('LoggedTimes', 'times_at', 'times_by_plan'),
        'options': ('Asked', 'CONFIDENCE', 'CandidateSet', 'FlopRule', 'INTERACTIVE', 'Objective', 'Preference'),
        'own_profiles': ('own_path',),
        'plan': ('Choice', 'Outline', 'Plan', 'knee_curve_of', 'recommend'),
        'question': ('asked_task', 'query'),
        'rechecks': ('Recheck', 'markdown', 'recheck'),
        'request_log': ('MEDIAN', 'RequestLog', 'TAIL', 'read_requests'),
        'search': ('Budget',),
        'this_machine': ('here',),
        'workloads': ('NamedWorkload',),
    },
)
