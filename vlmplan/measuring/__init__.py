"""What this machine or server does: trials and tables of times -> a hardware profile with intervals."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.measuring.check_profile import Case as Case, CaseTime as CaseTime, Verdict as Verdict
    from vlmplan.measuring.endpoint import Endpoint as Endpoint, interrogate as interrogate, observations_of as observations_of, probes as probes
    from vlmplan.measuring.profile_fit import Profiled as Profiled
    from vlmplan.measuring.recalibrate import recalibrated as recalibrated
    from vlmplan.measuring.session import ProfileOrder as ProfileOrder, check_here as check_here, precisions_asked as precisions_asked, precisions_of as precisions_of, profile_here as profile_here
    from vlmplan.measuring.table import Adjusted as Adjusted, adjusted as adjusted, read_measurements as read_measurements
    from vlmplan.measuring.timing import Samples as Samples, measure as measure
    from vlmplan.measuring.trials import Effort as Effort

__getattr__, __all__ = face(
    __name__,
    {
        'check_profile': ('Case', 'CaseTime', 'Verdict'),
        'endpoint': ('Endpoint', 'interrogate', 'observations_of', 'probes'),
        'profile_fit': ('Profiled',),
        'recalibrate': ('recalibrated',),
        'session': ('ProfileOrder', 'check_here', 'precisions_asked', 'precisions_of', 'profile_here'),
        'table': ('Adjusted', 'adjusted', 'read_measurements'),
        'timing': ('Samples', 'measure'),
        'trials': ('Effort',),
    },
)
