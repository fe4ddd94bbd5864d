"""What is to be swept? A grid of LLMs, visual tokens, compressors and seeds, with data and training of each trial.

GRID.toml -> :class:`Grid` -> its :class:`Trial` list. LLMs are checkpoints that exist, with data of one's own, or small
ones made here around a tower taught on drawn scenes (``sight``), trained on them before any trial.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_name, check_range
from vlmplan.models import Compressor
from vlmplan.sweeping.drawn import Llm, Sight
from vlmplan.sweeping.question_sets import DrawnTask, SetOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLlm:
    """One LLM: a ``checkpoint`` with ``llm_params_b``, its size in billions, or what a small one is ``made`` of."""

    name: str
    checkpoint: str | None = None
    llm_params_b: float | None = None
    made: Llm | None = None

    def __post_init__(self) -> None:
        """Exactly one way to have it."""
        check_name("llms.name", self.name, 60)
        if (self.checkpoint is None) is (self.made is None):
            raise InputError(f"llms.{self.name}: expected either checkpoint or made")
        if self.checkpoint is not None and self.llm_params_b is None:
            raise InputError(f"llms.{self.name}: expected llm_params_b beside checkpoint: its size in billions")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridData:
    """Data of one's own: conversations to train on and their images, and what to evaluate on.

    That is ``questions`` (JSONL with ``task``), or ``lmms_tasks`` of lmms-eval, whose results ``fit --from lmms-eval``
    reads.
    """

    train: str
    images: str
    questions: str | None = None
    lmms_tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """One of the two."""
        if (self.questions is None) is not bool(self.lmms_tasks):
            raise InputError("data: expected either questions or lmms_tasks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Drawn scenes: how many pictures are trained on and evaluated on, and what small LLMs learn before any trial.

    That is ``base_steps`` steps on conversations of ``turns`` questions of all kinds, at ``base_tokens`` visual tokens
    by average pooling. Trials are trained and evaluated on ``kinds`` where these are given.
    """

    sight: Sight
    images: int = 6_000
    questions: int = 2
    level: int = 3
    test_images: int = 200
    turns: int = 8
    base_tokens: int = 16
    base_steps: int = 2_000
    base_batch: int = 32
    base_rate: float = 6e-4
    kinds: tuple[str, ...] = ()

    @property
    def base_set(self) -> SetOrder:
        """What small LLMs learn before any trial: scenes of all levels, and all that can be asked of them."""
        return SetOrder(images=self.images, questions=self.questions, size=self.sight.size, level=None, seed=0)

    def train_set(self, tasks: tuple[DrawnTask, ...]) -> SetOrder:
        """What is trained on: scenes of all levels."""
        return SetOrder(
            images=self.images, questions=self.questions, size=self.sight.size, level=None, seed=1, tasks=tasks,
            kinds=self.kinds,
        )  # fmt: skip

    def test_set(self, tasks: tuple[DrawnTask, ...]) -> SetOrder:
        """What is asked: scenes of one level that were never trained on."""
        return SetOrder(
            images=self.test_images, size=self.sight.size, level=self.level, seed=2, tasks=tasks, kinds=self.kinds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTraining:
    """How each trial is trained: both stages, in steps of ``batch`` rows.

    ``adam_beta2`` is by default 0.98 for LLMs that are made here, and train's own for checkpoints.
    """

    align_steps: int = 100
    tune_steps: int = 400
    batch: int = 32
    align_rate: float = 1e-3
    tune_rate: float = 5e-4
    adam_beta2: float | None = None
    lora_rank: int = 0
    bf16: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One point of the grid."""

    llm: str
    compressor: Compressor
    visual_tokens: int
    seed: int

    @property
    def name(self) -> str:
        """A name for its folder."""
        return f"{self.llm}-{self.compressor}-{self.visual_tokens}-s{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(Document):
    """The whole sweep."""

    SCHEMA: ClassVar[str] = "vlmplan.grid/1"

    name: str
    visual_tokens: tuple[int, ...]
    compressors: tuple[Compressor, ...]
    llms: tuple[GridLlm, ...]
    seeds: tuple[int, ...] = (0,)
    tasks: tuple[DrawnTask, ...] = tuple(DrawnTask)
    training: TrialTraining = TrialTraining()
    drawn: Drawn | None = None
    data: GridData | None = None

    def __post_init__(self) -> None:
        """Reject grids that are empty, ambiguous or without data."""
        check_name("name", self.name, 60)
        names = [llm.name for llm in self.llms]
        lists = {
            "visual_tokens": self.visual_tokens,
            "compressors": self.compressors,
            "llms": names,
            "seeds": self.seeds,
        }
        for key, values in lists.items():
            if not values or len(set(values)) < len(values):
                raise InputError(f"{key}: expected one or more, all different")
        check_range("number of trials", len(list(self.trials())), 1, 10_000)
        if (self.drawn is None) is (self.data is None):
            raise InputError("drawn, data: expected one of them: drawn scenes, or data of your own")
        if self.drawn is None and any(llm.made is not None for llm in self.llms):
            raise InputError("llms.made: small LLMs are trained on drawn scenes; add a table drawn")

    def trials(self) -> Iterator[Trial]:
        """Yield every point, LLM by LLM, many tokens first: what takes longest is not left for last."""
        for llm in reversed(self.llms):
            for tokens in sorted(self.visual_tokens, reverse=True):
                for compressor in self.compressors:
                    for seed in self.seeds:
                        yield Trial(llm=llm.name, compressor=compressor, visual_tokens=tokens, seed=seed)

    def llm(self, name: str) -> GridLlm:
        """Return one LLM by its name."""
        return next(llm for llm in self.llms if llm.name == name)
