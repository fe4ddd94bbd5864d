"""Points for a law: a grid of small models, compressors and seeds, each trained and measured, here or on a cluster."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.sweeping.grid import Grid as Grid
    from vlmplan.sweeping.grid_point import TrialResult as TrialResult
    from vlmplan.sweeping.question_sets import DrawnTask as DrawnTask
    from vlmplan.sweeping.question_sets import SetOrder as SetOrder
    from vlmplan.sweeping.question_sets import write_set as write_set
    from vlmplan.sweeping.scenes import LEVELS as LEVELS
    from vlmplan.sweeping.sweeps import Cluster as Cluster
    from vlmplan.sweeping.sweeps import Status as Status
    from vlmplan.sweeping.sweeps import Sweep as Sweep
    from vlmplan.sweeping.sweeps import sweep as sweep

__getattr__, __all__ = face(
    __name__,
    {
        "grid": ("Grid",),
        "grid_point": ("TrialResult",),
        "question_sets": ("DrawnTask", "SetOrder", "write_set"),
        "scenes": ("LEVELS",),
        "sweeps": ("Cluster", "Status", "Sweep", "sweep"),
    },
)
