"""A drawn set and a checkpoint that sees it, both tiny, made once a test process, and what tests train of them."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from small_models import quiet

from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.models.spec import Compressor
from vlmplan.sweeping.drawn import Llm, Sight, teach, write_base
from vlmplan.sweeping.question_sets import SetOrder, write_set
from vlmplan.training.conversations import faulty_images, read_rows, without
from vlmplan.training.job import TrainingChoices, training_order
from vlmplan.training.recipe import Running, Training
from vlmplan.training.stages import Voice
from vlmplan.training.trainer import TrainingOrder, train

torch.set_num_threads(1)  # models this small are slower on two, and so are two test processes
_FOLDER = tempfile.TemporaryDirectory(prefix="vlmplan-training-")
SIGHT = Sight(size=32, patch=4, width=32, layers=2, heads=2, images=64, steps=3)
SILENT = Voice(tell=quiet, say=quiet)


def drawn(turns: int = 1) -> Path:
    """A set of 24 pictures of 32 pixels, ``turns`` questions a conversation."""
    return _drawn(turns)


@functools.cache
def _drawn(turns: int) -> Path:
    folder = Path(_FOLDER.name) / f"drawn-{turns}"
    write_set(folder, SetOrder(images=24, size=32, level=2), turns)
    return folder


@functools.cache
def base() -> Path:
    """A LLaVA of a taught tower with 64 patches and an untrained LLM."""
    transformers = quiet_transformers()
    pixels = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    tower = teach(SIGHT, 0, pixels, quiet)
    return write_base(Llm(hidden=32, layers=1, heads=2), SIGHT, tower, 0, Path(_FOLDER.name) / "base")


def wanted(out: Path, turns: int = 1, save_steps: int = 100, **given: Any) -> TrainingOrder:
    """An order: four steps a stage of eight rows, with TokenPacker at four visual tokens unless said otherwise."""
    folder = drawn(turns)
    found = read_rows(folder / "train.jsonl", folder / "images")
    data = without(found, faulty_images(found.rows, quiet), skip_bad=False)
    usual: dict[str, Any] = {
        "checkpoint": str(base()),
        "visual_tokens": (4,),
        "compressor": Compressor.TOKEN_PACKER,
        "align_steps": 4,
        "tune_steps": 4,
        "tune_rate": 1e-3,
        "batch": 8,
    }
    return training_order(
        TrainingChoices(**usual | given), None, data, Running(out=out, save_steps=save_steps, log_steps=1)
    )


def trained(out: Path, **given: Any) -> Training:
    """Train an order to its end."""
    found = train(wanted(out, **given), SILENT)
    assert found is not None
    return found
