"""What a service does: a priced request and a rate -> replicas, percentiles, utilisation, by simulation.

A log of requests and a configuration -> their times by quantile.
"""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.serving.arrivals import Arrivals as Arrivals, read_trace as read_trace
    from vlmplan.serving.served import Replicas as Replicas, service as service

__getattr__, __all__ = face(
    __name__,
    {
        'arrivals': ('Arrivals', 'read_trace'),
        'served': ('Replicas', 'service'),
    },
)
