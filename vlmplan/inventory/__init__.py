"""What is there to plan with? Shipped profiles by name, one's own, logs of requests, and this machine."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.inventory.budget import Budget as Budget, Preference as Preference
    from vlmplan.inventory.catalogue import Shelf as Shelf, asked_as as asked_as, is_path as is_path
    from vlmplan.inventory.checkup import Checkup as Checkup, Finding as Finding, State as State, examine as examine
    from vlmplan.inventory.own_profiles import own_path as own_path
    from vlmplan.inventory.this_machine import here as here
    from vlmplan.inventory.workloads import LARGEST_SIDE as LARGEST_SIDE, NamedWorkload as NamedWorkload

__getattr__, __all__ = face(
    __name__,
    {
        'budget': ('Budget', 'Preference'),
        'catalogue': ('Shelf', 'asked_as', 'is_path'),
        'checkup': ('Checkup', 'Finding', 'State', 'examine'),
        'own_profiles': ('own_path',),
        'this_machine': ('here',),
        'workloads': ('LARGEST_SIDE', 'NamedWorkload'),
    },
)
