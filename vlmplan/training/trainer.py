"""How does the recommended model come to exist? Two stages of training, resumed where they were killed, then a folder.

(recipe, conversations) -> OUT with safetensors, configuration, processor, model card and ``training.json``. While it is
not whole everything lies in OUT/.training; the same command goes on from there, another one is refused.
"""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmplan import __version__
from vlmplan.checkpoints import open_checkpoint, quiet_transformers
from vlmplan.document import load, to_json, write_text
from vlmplan.errors import InputError, Unavailable
from vlmplan.exporting import texts
from vlmplan.extras import require
from vlmplan.training.assemble import Start, assemble
from vlmplan.training.batches import Batches, samples
from vlmplan.training.card import model_card
from vlmplan.training.conversations import Loaded
from vlmplan.training.recipe import LORA_ALPHA_BY_RANK, Recipe, Running, Stage, StageResult, Training
from vlmplan.training.stages import Voice, finished, freeze, latest, run_stage, with_lora

_WAIT_S = 30.0  # for another process at work in the same folder: one whose driver was killed ends soon
WORK, RECIPE, RESULT = ".training", "recipe.json", "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrder:
    """What to train, on what, where to. ``plan_sha256`` is the plan's that asked for it."""

    recipe: Recipe
    data: Loaded
    running: Running
    plan_sha256: str | None = None

    @property
    def work(self) -> Path:
        """Where everything lies until it is whole."""
        return self.running.out / WORK


def check_out(out: Path, recipe: Recipe) -> None:
    """Raise InputError, before any work, where the folder cannot take this training."""
    if (out / RESULT).exists():
        raise InputError(f"--out: {out} holds a finished training; choose another folder")
    if not out.parent.is_dir():
        raise InputError(f"--out: {out.parent} is no folder; create it first")
    begun = out / WORK / RECIPE
    if begun.exists():
        if load(Recipe, begun) != recipe:
            raise InputError(
                f"--out: {out} holds an unfinished training by another recipe or of other data; choose another folder, "
                "or remove it"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out: {out} exists and is no training; choose another folder")


def _begin(order: TrainingOrder) -> None:
    """Make the folder and write the recipe into it."""
    try:
        order.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{order.running.out}: cannot be written ({error.strerror})") from None
    write_text(order.work / RECIPE, to_json(order.recipe))


def _start(order: TrainingOrder) -> Start:
    """The model as training begins."""
    recipe = order.recipe
    half = recipe.bf16 and recipe.lora_rank > 0
    return assemble(recipe.checkpoint, recipe.tower, (recipe.compressor, recipe.visual_tokens), recipe.seed, half)


def _after(start: Start, before: Path | None) -> Start:
    """The start with its model as the last finished stage left it; itself where none has ended."""
    if before is None:
        return start
    from vlmplan.training.vlm import CompressedLlava

    model = CompressedLlava.from_pretrained(before, dtype=start.model.dtype, local_files_only=True)
    model.generation_config = start.model.generation_config
    return replace(start, model=model)


def _adapted(checkpoint: Path) -> bool:
    """Whether a checkpoint holds adapters alone, not a model."""
    return (checkpoint / "adapter_config.json").is_file()


def _stage(order: TrainingOrder, stage: Stage, start: Start, voice: Voice) -> Any:
    """Run one stage on the model; return the Trainer."""
    recipe = order.recipe
    lora = stage.llm and recipe.lora_rank > 0
    model = start.model
    freeze(model, stage, lora)
    if lora:
        model = with_lora(model, recipe.lora_rank, LORA_ALPHA_BY_RANK * recipe.lora_rank)
    collate = Batches(start.processor, recipe.visual_tokens, start.model.reads_question, recipe.seed)
    rows = samples(order.data.rows, start.model.reads_question)
    return run_stage(model, rows, collate, (order.work / stage.name, stage, recipe, order.running), voice)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other trainings out of a folder. Raises Unavailable where one is still at work after a while."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(work / "lock", timeout=_WAIT_S):
            yield
    except Timeout:
        raise Unavailable(f"{work.parent}: another process is training there; wait for it, or end it") from None


# How a full disk reads in the errors of their own that safetensors and torch raise of it.
_FULL = re.compile(r"No space left|os error 28|PytorchStreamWriter failed|iostream error")


@contextmanager
def _full_disk_said(out: Path) -> Iterator[None]:
    """Raise Unavailable for a disk that became full within."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) != errno.ENOSPC and _FULL.search(str(error)) is None:
            raise
        raise Unavailable(f"{out}: the disk is full; free some space, and the same command goes on") from None


def train(order: TrainingOrder, voice: Voice) -> Training | None:
    """Train to the end and write the folder; None on processes other than the first.

    Raises InputError, or Unavailable where a library is missing, the folder cannot be written or is in use.
    """
    require("accelerate", extra="train")
    import torch
    from accelerate import PartialState

    quiet_transformers()
    state = PartialState(cpu=not torch.cuda.is_available())
    check_out(order.running.out, order.recipe)
    start = _start(order)  # what cannot be trained is said before anything is written
    state.wait_for_everyone()
    if state.is_main_process:
        _begin(order)
    state.wait_for_everyone()
    with _alone(order.work) if state.is_main_process else nullcontext(), _full_disk_said(order.running.out):
        return _trained(order, start, state, voice)


def _trained(order: TrainingOrder, start: Start, state: Any, voice: Voice) -> Training | None:
    """Run the stages that are left, from ``start`` where none has ended; write the folder."""
    results: list[StageResult] = []
    before: Path | None = None
    saved = False
    for stage in order.recipe.stages:
        folder = order.work / stage.name
        if finished(folder, stage) is None:
            newest = latest(folder)
            # the Trainer itself resumes by the names that weights have in memory, which those of a saved LLM are not
            start = _after(start, before if newest is None or _adapted(newest) else newest)
            trainer = _stage(order, stage, start, voice)
            if stage is order.recipe.stages[-1]:
                _save(order, start, trainer)
                saved = True
            state.wait_for_everyone()
        done = finished(folder, stage)
        if done is None:
            raise Unavailable(f"{folder}: the last step's checkpoint is not there; was it removed while training?")
        results.append(done)
        before = latest(folder)
    state.wait_for_everyone()
    if not state.is_main_process:
        return None
    if not saved and before is not None:
        stages = order.recipe.stages
        _save_again(order, start, latest(order.work / stages[-2].name) if len(stages) > 1 else None, before)
    return _finish(order, tuple(results), state.num_processes)


def _save(order: TrainingOrder, start: Start, trainer: Any) -> None:
    """Write model and processor of a stage just trained; under FSDP or DeepSpeed the Trainer gathers the weights."""
    final, model = order.work / "final", trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "merge_and_unload"):
        trainer.save_model(str(final))
    elif trainer.is_world_process_zero():
        model.merge_and_unload().save_pretrained(final)
    if trainer.is_world_process_zero():
        start.processor.save_pretrained(final)


def _save_again(order: TrainingOrder, start: Start, before: Path | None, last: Path) -> None:
    """Write model and processor of a last stage that had ended when training was killed, whatever of them is there."""
    shutil.rmtree(order.work / "final", ignore_errors=True)
    model: Any = _after(start, before if _adapted(last) else last).model
    if _adapted(last):
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, last).merge_and_unload()
    model.save_pretrained(order.work / "final")
    start.processor.save_pretrained(order.work / "final")


def _finish(order: TrainingOrder, results: tuple[StageResult, ...], processes: int) -> Training:
    """Set the processor to the trained number of tokens, write card and result, and put all in place, result last."""
    final, out, recipe = order.work / "final", order.running.out, order.recipe
    (final / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
    for name, content in texts(open_checkpoint(str(final)), max(recipe.visual_tokens), ()).items():
        if name in ("processor_config.json", "preprocessor_config.json"):
            (final / name).write_bytes(content)
    training = Training(
        vlmplan_version=__version__,
        recipe=recipe,
        stages=results,
        bad_rows=len(order.data.bad),
        processes=processes,
        plan_sha256=order.plan_sha256,
    )
    (final / "README.md").write_text(model_card(training, out.name), encoding="utf-8")
    mode = (final / "README.md").stat().st_mode  # safetensors writes files for their owner alone
    for path in sorted(final.iterdir()):
        path.chmod(mode)
        path.replace(out / path.name)
    write_text(out / RESULT, to_json(training))
    shutil.rmtree(order.work, ignore_errors=True)
    return training
