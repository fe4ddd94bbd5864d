"""What this machine or server does: trials and tables of times -> a hardware profile with intervals."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.measuring.calibrate import recalibrated as recalibrated
    from vlmplan.measuring.check_profile import Case as Case
    from vlmplan.measuring.check_profile import CaseTime as CaseTime
    from vlmplan.measuring.check_profile import Verdict as Verdict
    from vlmplan.measuring.profile_fit import Profiled as Profiled
    from vlmplan.measuring.servers.asked import MOST_AT_ONCE as MOST_AT_ONCE
    from vlmplan.measuring.servers.asked import MOST_LEVELS as MOST_LEVELS
    from vlmplan.measuring.servers.asked import caches as caches
    from vlmplan.measuring.servers.asked import crowded as crowded
    from vlmplan.measuring.servers.asked import crowded_observations as crowded_observations
    from vlmplan.measuring.servers.asked import interrogate as interrogate
    from vlmplan.measuring.servers.asked import observations_of as observations_of
    from vlmplan.measuring.servers.asked import probes as probes
    from vlmplan.measuring.servers.endpoint import Endpoint as Endpoint
    from vlmplan.measuring.session import ProfileOrder as ProfileOrder
    from vlmplan.measuring.session import check_here as check_here
    from vlmplan.measuring.session import precisions_asked as precisions_asked
    from vlmplan.measuring.session import precisions_of as precisions_of
    from vlmplan.measuring.session import profile_here as profile_here
    from vlmplan.measuring.table import Adjusted as Adjusted
    from vlmplan.measuring.table import adjusted as adjusted
    from vlmplan.measuring.table import read_measurements as read_measurements
    from vlmplan.measuring.timing import Samples as Samples
    from vlmplan.measuring.timing import measure as measure
    from vlmplan.measuring.trials import Effort as Effort

__getattr__, __all__ = face(
    __name__,
    {
        "calibrate": ("recalibrated",),
        "check_profile": ("Case", "CaseTime", "Verdict"),
        "profile_fit": ("Profiled",),
        "servers.asked": (
            "MOST_AT_ONCE",
            "MOST_LEVELS",
            "caches",
            "crowded",
            "crowded_observations",
            "interrogate",
            "observations_of",
            "probes",
        ),
        "servers.endpoint": ("Endpoint",),
        "session": ("ProfileOrder", "check_here", "precisions_asked", "precisions_of", "profile_here"),
        "table": ("Adjusted", "adjusted", "read_measurements"),
        "timing": ("Samples", "measure"),
        "trials": ("Effort",),
    },
)
