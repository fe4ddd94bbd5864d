"""How is a model to be trained? Everything that decides the result, in one document that resuming compares.

Two stages as LLaVA trains (arXiv 2310.03744): the compressor and the projector with the rest frozen, then with the LLM.
Learning rates and batches default to LLaVA-1.5's: 1e-3 and 256 rows, then 2e-5 and 128 (2e-4 with LoRA).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_range
from vlmplan.models import Compressor

# What LLaVA-1.5's published scripts set, by stage; LoRA's rate and scaling are those of its LoRA script.
ALIGN_RATE, TUNE_RATE, LORA_RATE = 1e-3, 2e-5, 2e-4
ALIGN_BATCH, TUNE_BATCH = 256, 128
LORA_ALPHA_BY_RANK = 2
ADAM_BETA2 = 0.999  # transformers' own, which LLaVA leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: its steps of ``batch`` rows over all processes, and the peak of the cosine learning rate.

    ``tower`` and ``llm`` say what learns beside the compressor and the projector.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    llm: bool
    tower: bool = False

    def __post_init__(self) -> None:
        """Reject stages that do nothing."""
        check_range(f"{self.name}: steps", self.steps, 1, 10**9)
        check_range(f"{self.name}: batch", self.batch, 1, 10**6)
        check_range(f"{self.name}: learning rate", self.learning_rate, 1e-9, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Document):
    """Everything that decides a training's result but the machines it runs on.

    ``checkpoint`` is a LLaVA, or an LLM to be joined with ``tower``. ``visual_tokens`` has several numbers for a nested
    checkpoint: each batch is trained with one of them. ``lora_rank`` 0 trains the whole LLM.
    """

    SCHEMA: ClassVar[str] = "vlmplan.recipe/1"

    checkpoint: str
    tower: str | None
    compressor: Compressor
    visual_tokens: tuple[int, ...]
    stages: tuple[Stage, ...]
    rows: int
    data_sha256: str
    adam_beta2: float = ADAM_BETA2
    lora_rank: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject what cannot be trained."""
        if not self.visual_tokens or len(set(self.visual_tokens)) < len(self.visual_tokens):
            raise InputError("--visual-tokens: expected one number, or several different ones")
        if self.compressor.widens and len(self.visual_tokens) > 1:
            raise InputError("--compressor pixel-shuffle: its projector fits one number of tokens; give one")
        if self.compressor is Compressor.NONE and len(self.visual_tokens) > 1:
            raise InputError("--compressor none leaves all tokens; name a compressor for several numbers")
        check_range("--lora", self.lora_rank, 0, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How to run it: where, and how often to save. ``process_batch`` is what one process does at once."""

    out: Path
    process_batch: int | None = None
    save_steps: int = 500
    log_steps: int = 10


def passes(rows: int, batch: int, epochs: float) -> int:
    """Return the steps of so many passes over the rows, the last batch of a pass perhaps smaller."""
    return max(1, math.ceil(epochs * math.ceil(rows / batch)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage came to: its steps, and (step, mean training loss since the one before) as logged."""

    name: str
    steps: int
    losses: tuple[tuple[int, float], ...]

    @property
    def final_loss(self) -> float:
        """The last one logged."""
        return self.losses[-1][1] if self.losses else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Document):
    """What training did: written last into the folder, so that a folder that holds it is whole."""

    SCHEMA: ClassVar[str] = "vlmplan.training/1"

    vlmplan_version: str
    recipe: Recipe
    stages: tuple[StageResult, ...]
    bad_rows: int
    processes: int
    plan_sha256: str | None = None
