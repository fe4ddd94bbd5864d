"""What a service does: a priced request and a rate -> replicas, percentiles, utilisation, by simulation.

A log of requests and a configuration -> their times by quantile.
"""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.serving.arrivals import arrivals_of as arrivals_of
    from vlmplan.serving.logged_times import LOGGED as LOGGED
    from vlmplan.serving.logged_times import LoggedTimes as LoggedTimes
    from vlmplan.serving.logged_times import logged_times_at as logged_times_at
    from vlmplan.serving.logged_times import sizes_of as sizes_of
    from vlmplan.serving.logged_times import times_as_planned as times_as_planned
    from vlmplan.serving.served import MOST_SPARE as MOST_SPARE
    from vlmplan.serving.served import Load as Load
    from vlmplan.serving.served import Replicas as Replicas
    from vlmplan.serving.served import service as service

__getattr__, __all__ = face(
    __name__,
    {
        "arrivals": ("arrivals_of",),
        "logged_times": ("LOGGED", "LoggedTimes", "logged_times_at", "sizes_of", "times_as_planned"),
        "served": ("Load", "MOST_SPARE", "Replicas", "service"),
    },
)
