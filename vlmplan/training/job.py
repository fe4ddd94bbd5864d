"""What exactly is to be trained? Options and a plan made one order; the data looked at once, by the first process.

Steps default to one pass over the data a stage, batches and learning rates to LLaVA-1.5's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlmplan.document import digest
from vlmplan.errors import InputError
from vlmplan.extras import require
from vlmplan.models import Compressor
from vlmplan.planning import Plan
from vlmplan.progress import Progress
from vlmplan.training.batches import samples
from vlmplan.training.conversations import Conversation, Loaded, faulty_images, read_rows, without
from vlmplan.training.recipe import (
    ADAM_BETA2,
    ALIGN_BATCH,
    ALIGN_RATE,
    LORA_RATE,
    TUNE_BATCH,
    TUNE_RATE,
    Recipe,
    Running,
    Stage,
    passes,
)
from vlmplan.training.trainer import TrainingOrder

PAPER_TOWER = "openai/clip-vit-large-patch14-336"  # of the backbones of arXiv 2411.03312


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingChoices:
    """The options of ``train`` as given; None where nothing was. A stage of 0 steps is left out."""

    checkpoint: str | None = None
    tower: str | None = None
    visual_tokens: tuple[int, ...] = ()
    compressor: Compressor | None = None
    align_steps: int | None = None
    tune_steps: int | None = None
    align_rate: float | None = None
    tune_rate: float | None = None
    batch: int | None = None
    adam_beta2: float | None = None
    lora_rank: int = 0
    train_tower: bool = False
    bf16: bool = False
    gradient_checkpointing: bool = False
    seed: int = 0


def load_data(path: Path, images: Path, skip_bad: bool, progress: Progress) -> Loaded:
    """Read the data; the first process decodes every image, and tells the others which are faulty.

    Raises InputError for bad rows unless they are skipped, and where none is left.
    """
    require("torch", "transformers", "accelerate", extra="train")
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    state = PartialState(cpu=not torch.cuda.is_available())
    loaded = read_rows(path, images)
    faults = [faulty_images(loaded.rows, progress) if state.is_main_process else {}]
    broadcast_object_list(faults)
    return without(loaded, faults[0], skip_bad)


def _data_digest(rows: Sequence[Conversation]) -> str:
    """A digest of what is learnt from: turns, and images' names in their folder."""
    sha256 = hashlib.sha256()
    for row in rows:
        image = row.image.name if isinstance(row.image, Path) else hashlib.sha256(row.image).hexdigest()
        sha256.update(repr((image, [(turn.question, turn.answer) for turn in row.turns])).encode())
    return sha256.hexdigest()


def _stages(choices: TrainingChoices, count: int) -> tuple[Stage, ...]:
    """The stages that are to run. Raises InputError where none is."""
    align_batch, tune_batch = choices.batch or ALIGN_BATCH, choices.batch or TUNE_BATCH
    tune_rate = choices.tune_rate or (LORA_RATE if choices.lora_rank else TUNE_RATE)
    align = passes(count, align_batch, 1) if choices.align_steps is None else choices.align_steps
    tune = passes(count, tune_batch, 1) if choices.tune_steps is None else choices.tune_steps
    stages = []
    if align:
        rate = choices.align_rate or ALIGN_RATE
        stages.append(Stage(name="align", steps=align, batch=align_batch, learning_rate=rate, llm=False))
    if tune:
        stages.append(
            Stage(
                name="tune", steps=tune, batch=tune_batch, learning_rate=tune_rate, llm=True,
                tower=choices.train_tower,
            )
        )  # fmt: skip
    if not stages:
        raise InputError("--align-steps, --tune-steps: found 0 and 0; nothing would be trained")
    return tuple(stages)


def _agreed(choices: TrainingChoices, plan: Plan | None) -> tuple[str, str | None, tuple[int, ...], Compressor]:
    """Checkpoint, tower, visual tokens and compressor. Raises InputError where they contradict the plan or lack."""
    counts, compressor, checkpoint, tower = choices.visual_tokens, choices.compressor, choices.checkpoint, choices.tower
    if plan is not None:
        choice = plan.choice
        pairs = (
            ("--visual-tokens", counts or None, (choice.visual_tokens,)),
            ("--compressor", compressor, choice.compressor),
        )
        for option, given, planned in pairs:
            if given is not None and given != planned:
                raise InputError(f"{option}: found {given}, the plan says {planned}; leave one of them out")
        counts, compressor = (choice.visual_tokens,), choice.compressor
        checkpoint = checkpoint or choice.model
        if plan.model.architecture.endswith("-paper"):
            tower = tower or PAPER_TOWER
    if checkpoint is None:
        raise InputError("nothing to train: give a PLAN.json or --checkpoint DIR|HUB-ID")
    if not counts or compressor is None:
        raise InputError("give --visual-tokens and --compressor, or a PLAN.json that says them")
    if not compressor.trainable:
        known = ", ".join(one for one in Compressor if one.trainable)
        raise InputError(f"--compressor: vlmplan trains {known}; found {compressor}")
    return checkpoint, tower, counts, compressor


def training_order(choices: TrainingChoices, plan: Plan | None, data: Loaded, running: Running) -> TrainingOrder:
    """Return the order. Raises InputError where options contradict the plan, or something is missing."""
    checkpoint, tower, counts, compressor = _agreed(choices, plan)
    learnt = samples(data.rows, compressor.reads_question)
    recipe = Recipe(
        checkpoint=checkpoint,
        tower=tower,
        compressor=compressor,
        visual_tokens=tuple(sorted(counts)),
        stages=_stages(choices, len(learnt)),
        rows=len(data.rows),
        data_sha256=_data_digest(data.rows),
        adam_beta2=ADAM_BETA2 if choices.adam_beta2 is None else choices.adam_beta2,
        lora_rank=choices.lora_rank,
        bf16=choices.bf16,
        gradient_checkpointing=choices.gradient_checkpointing,
        seed=choices.seed,
    )
    return TrainingOrder(recipe=recipe, data=data, running=running, plan_sha256=None if plan is None else digest(plan))
