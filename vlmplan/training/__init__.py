"""Making what a plan asks for: a base model and data -> a trained checkpoint; sweeps of many."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.training.grid import Grid as Grid
    from vlmplan.training.grid_point import TrialResult as TrialResult
    from vlmplan.training.job import TrainingChoices as TrainingChoices
    from vlmplan.training.job import load_data as load_data
    from vlmplan.training.job import order as order
    from vlmplan.training.question_sets import SetOrder as SetOrder
    from vlmplan.training.question_sets import Task as Task
    from vlmplan.training.question_sets import write_set as write_set
    from vlmplan.training.recipe import Running as Running
    from vlmplan.training.recipe import Training as Training
    from vlmplan.training.scenes import LEVELS as LEVELS
    from vlmplan.training.stages import Voice as Voice
    from vlmplan.training.sweeps import Cluster as Cluster
    from vlmplan.training.sweeps import Status as Status
    from vlmplan.training.sweeps import Sweep as Sweep
    from vlmplan.training.sweeps import sweep as sweep
    from vlmplan.training.trainer import train as train

__getattr__, __all__ = face(
    __name__,
    {
        "grid": ("Grid",),
        "grid_point": ("TrialResult",),
        "job": ("TrainingChoices", "load_data", "order"),
        "question_sets": ("SetOrder", "Task", "write_set"),
        "recipe": ("Running", "Training"),
        "scenes": ("LEVELS",),
        "stages": ("Voice",),
        "sweeps": ("Cluster", "Status", "Sweep", "sweep"),
        "trainer": ("train",),
    },
)
