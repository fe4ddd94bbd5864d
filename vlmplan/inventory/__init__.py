"""What is there to plan with? Shipped profiles by name, one's own, logs of requests, and this machine."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.inventory.budget import Budget as Budget
    from vlmplan.inventory.budget import Preference as Preference
    from vlmplan.inventory.catalogue import Shelf as Shelf
    from vlmplan.inventory.catalogue import asked_as as asked_as
    from vlmplan.inventory.catalogue import is_path as is_path
    from vlmplan.inventory.checkup import Checkup as Checkup
    from vlmplan.inventory.checkup import Finding as Finding
    from vlmplan.inventory.checkup import State as State
    from vlmplan.inventory.checkup import examine as examine
    from vlmplan.inventory.own_profiles import own_path as own_path
    from vlmplan.inventory.request_log import MEDIAN as MEDIAN
    from vlmplan.inventory.request_log import TAIL as TAIL
    from vlmplan.inventory.request_log import TIMES as TIMES
    from vlmplan.inventory.request_log import LoggedRequest as LoggedRequest
    from vlmplan.inventory.request_log import RequestLog as RequestLog
    from vlmplan.inventory.request_log import quantile_of as quantile_of
    from vlmplan.inventory.request_log import read_requests as read_requests
    from vlmplan.inventory.this_machine import here as here
    from vlmplan.inventory.workloads import NamedWorkload as NamedWorkload

__getattr__, __all__ = face(
    __name__,
    {
        "budget": ("Budget", "Preference"),
        "catalogue": ("Shelf", "asked_as", "is_path"),
        "checkup": ("Checkup", "Finding", "State", "examine"),
        "own_profiles": ("own_path",),
        "request_log": ("LoggedRequest", "MEDIAN", "RequestLog", "TAIL", "TIMES", "quantile_of", "read_requests"),
        "this_machine": ("here",),
        "workloads": ("NamedWorkload",),
    },
)
