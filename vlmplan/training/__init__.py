"""Making what a plan asks for: a base model and data -> a trained checkpoint; sweeps of many."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.training.job import TrainingChoices as TrainingChoices
    from vlmplan.training.job import load_data as load_data
    from vlmplan.training.job import training_order as training_order
    from vlmplan.training.recipe import Running as Running
    from vlmplan.training.recipe import Training as Training
    from vlmplan.training.stages import Voice as Voice
    from vlmplan.training.trainer import RESULT as RESULT
    from vlmplan.training.trainer import train as train

__getattr__, __all__ = face(
    __name__,
    {
        "job": ("TrainingChoices", "load_data", "training_order"),
        "recipe": ("Running", "Training"),
        "stages": ("Voice",),
        "trainer": ("RESULT", "train"),
    },
)
