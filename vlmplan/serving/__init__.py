"""What a service under load does: a priced request and a rate -> replicas, percentiles, utilisation, by simulation."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.serving.arrivals import Arrivals as Arrivals
    from vlmplan.serving.arrivals import read_trace as read_trace
    from vlmplan.serving.arrivals import trace_of as trace_of
    from vlmplan.serving.engine import Size as Size
    from vlmplan.serving.engine import size_of as size_of
    from vlmplan.serving.served import Load as Load
    from vlmplan.serving.served import Replicas as Replicas
    from vlmplan.serving.served import service as service

__getattr__, __all__ = face(
    __name__,
    {
        "arrivals": ("Arrivals", "read_trace", "trace_of"),
        "engine": ("Size", "size_of"),
        "served": ("Load", "Replicas", "service"),
    },
)
