"""How does one point of a grid come to be measured? Trained and evaluated in a folder of its own, once.

(grid, folder, trial) -> :class:`TrialResult`. Whatever is there already is not done again: a trial that was killed goes
on from its last checkpoint, one that has a result is read. Runs in this process or in a Ray worker alike.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vlmplan.checkpoints import open_checkpoint, quiet_transformers
from vlmplan.document import Document, load, to_json, write_text
from vlmplan.evaluation import Evaluation, Share, answer_all, evaluation, open_subject, read_questions, run_lmms_eval
from vlmplan.models import Compressor
from vlmplan.sweeping.drawn import teach, write_base
from vlmplan.sweeping.grid import Grid, GridLlm, Trial
from vlmplan.sweeping.question_sets import write_set
from vlmplan.training import RESULT as TRAINED
from vlmplan.training import Running, Training, TrainingChoices, Voice, load_data, train, training_order

RESULT = "result.json"
_SAVE_STEPS = 100
_BETA2 = 0.98  # of Adam, for small models at large learning rates: they come to retrieve in fewer steps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult(Document):
    """What a trial came to: the share of right answers by task, and how it was trained."""

    SCHEMA: ClassVar[str] = "vlmplan.trial/1"

    trial: Trial
    llm_params: int
    steps: int
    final_loss_nats: float
    by_task: Mapping[str, Share]
    by_kind: Mapping[str, Share]


def _quiet(*_: object) -> None:
    """Tell nobody."""


QUIET = Voice(tell=_quiet, say=_quiet)


def data_folder(out: Path, which: str) -> Path:
    """Return where drawn data lies: ``train``, ``base`` or ``test``."""
    return out / "drawn" / which


def draw(grid: Grid, out: Path, voice: Voice) -> None:
    """Draw what a grid needs, once: conversations of one question, of several, and questions to evaluate on."""
    if grid.drawn is None:
        return
    drawn = grid.drawn
    sets = {
        "train": (drawn.train_set(grid.tasks), 1),
        "base": (drawn.base_set, drawn.turns),
        "test": (drawn.test_set(grid.tasks), 1),
    }
    for which, (wanted, turns) in sets.items():
        folder = data_folder(out, which)
        if not folder.exists():
            scratch = folder.with_name(f".{which}")
            shutil.rmtree(scratch, ignore_errors=True)
            write_set(scratch, wanted, turns, voice.tell)
            scratch.replace(folder)


def base_folder(out: Path, llm: GridLlm) -> str:
    """Return the checkpoint that an LLM's trials start from."""
    return llm.checkpoint or str(out / "bases" / llm.name)


def make_tower(grid: Grid, out: Path, voice: Voice) -> None:
    """Teach the tower that all small LLMs of a grid see with, and save it by each, untrained."""
    drawn = grid.drawn
    small = [llm for llm in grid.llms if llm.made is not None and not (out / "new" / llm.name).exists()]
    if drawn is None or not small:
        return
    transformers = quiet_transformers()
    size = drawn.sight.size
    pixels = transformers.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size)
    tower = teach(drawn.sight, 0, pixels, voice.tell)
    for llm in small:
        if llm.made is not None:
            scratch = out / "new" / f".{llm.name}"
            shutil.rmtree(scratch, ignore_errors=True)
            write_base(llm.made, drawn.sight, tower, 0, scratch).replace(out / "new" / llm.name)


def make_base(grid: Grid, out: Path, llm: GridLlm, voice: Voice) -> None:
    """Train a small LLM to answer about drawn scenes, before any trial; checkpoints that exist stay as they are."""
    folder, drawn = Path(base_folder(out, llm)), grid.drawn
    if drawn is None or llm.made is None or (folder / TRAINED).exists():
        return
    choices = TrainingChoices(
        checkpoint=str(out / "new" / llm.name),
        visual_tokens=(drawn.base_tokens,),
        compressor=Compressor.AVERAGE_POOL,
        align_steps=0,
        tune_steps=drawn.base_steps,
        tune_rate=drawn.base_rate,
        batch=drawn.base_batch,
        adam_beta2=_BETA2,
    )
    data = data_folder(out, "base")
    folder.parent.mkdir(parents=True, exist_ok=True)
    loaded = load_data(data / "train.jsonl", data / "images", False, _quiet)
    train(training_order(choices, None, loaded, Running(out=folder, save_steps=_SAVE_STEPS)), voice)


def _trained(grid: Grid, out: Path, trial: Trial, voice: Voice) -> Path:
    """Train the trial, or go on with it; return the checkpoint."""
    folder, setting = out / "trials" / trial.name / "checkpoint", grid.training
    if (folder / TRAINED).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    choices = TrainingChoices(
        checkpoint=base_folder(out, grid.llm(trial.llm)),
        visual_tokens=(trial.visual_tokens,),
        compressor=trial.compressor,
        align_steps=setting.align_steps,
        tune_steps=setting.tune_steps,
        align_rate=setting.align_rate,
        tune_rate=setting.tune_rate,
        batch=setting.batch,
        adam_beta2=setting.adam_beta2 or (None if grid.llm(trial.llm).made is None else _BETA2),
        lora_rank=setting.lora_rank,
        bf16=setting.bf16,
        seed=trial.seed,
    )
    data, images = (data_folder(out, "train") / "train.jsonl", data_folder(out, "train") / "images")
    if grid.data is not None:
        data, images = Path(grid.data.train), Path(grid.data.images)
    train(
        training_order(
            choices, None, load_data(data, images, False, _quiet), Running(out=folder, save_steps=_SAVE_STEPS)
        ),
        voice,
    )
    return folder


def _llm_params(folder: Path) -> int:
    """Parameters of the LLM with its embeddings, counted in the checkpoint."""
    import torch

    transformers = quiet_transformers()
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(open_checkpoint(str(folder)).text)
    return sum(one.numel() for one in model.parameters())


def _answered(grid: Grid, out: Path, folder: Path, voice: Voice) -> Evaluation | None:
    """How the checkpoint answers the grid's questions; None where lmms-eval asks its own."""
    test = data_folder(out, "test")
    table, images = test / "questions.jsonl", test / "images"
    if grid.data is not None:
        if grid.data.questions is None:
            return None
        table, images = Path(grid.data.questions), Path(grid.data.images)
    questions = read_questions(table, images)
    subject = open_subject(str(folder), None, "cpu", None)
    return evaluation(subject, table.name, questions, answer_all(subject, questions, voice.tell))


def run_trial(grid: Grid, out: Path, trial: Trial, voice: Voice = QUIET) -> TrialResult:
    """Train and evaluate one trial, or read its result. Raises InputError or Unavailable."""
    path = out / "trials" / trial.name / RESULT
    if path.exists():
        return load(TrialResult, path)
    folder = _trained(grid, out, trial, voice)
    if grid.data is not None and grid.data.lmms_tasks:
        run_lmms_eval(folder, grid.data.lmms_tasks, path.parent / "lmms")
    answered = _answered(grid, out, folder, voice)
    training = load(Training, folder / TRAINED)
    result = TrialResult(
        trial=trial,
        llm_params=_llm_params(folder),
        steps=sum(stage.steps for stage in training.stages),
        final_loss_nats=training.stages[-1].final_loss,
        by_task={} if answered is None else answered.by_task,
        by_kind={} if answered is None else answered.by_kind,
    )
    write_text(path, to_json(result))
    return result
