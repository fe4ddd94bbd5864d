"""How does one stage run, and go on after a kill? transformers' Trainer, between checkpoints of its own.

One process or many (accelerate launch, with FSDP or DeepSpeed as it is configured there) run the same code: the Trainer
finds out. A checkpoint counts once its last file is whole; torn ones are removed. A stage is over when a checkpoint of
its last step is there.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import quiet_transformers
from vlmplan.progress import Progress
from vlmplan.training.recipe import Recipe, Running, Stage, StageResult

Say = Callable[[str], None]  # a line for people
_SAY_EVERY_S = 10.0
_STATE = "trainer_state.json"  # what the Trainer writes last into a checkpoint
_LORA_TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Where progress goes: bars, and lines for logs."""

    tell: Progress
    say: Say


def _state(folder: Path) -> dict[str, Any] | None:
    """The Trainer's state in a checkpoint, or None for a torn one."""
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


def latest(folder: Path) -> Path | None:
    """Return a stage's newest whole checkpoint, or None; torn ones are removed."""
    by_step = {}
    for path in folder.glob("checkpoint-*"):
        state = _state(path)
        if state is None:
            shutil.rmtree(path, ignore_errors=True)
        else:
            by_step[int(state["global_step"])] = path
    return by_step[max(by_step)] if by_step else None


def _losses(state: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    return tuple((int(entry["step"]), float(entry["loss"])) for entry in state["log_history"] if "loss" in entry)


def finished(folder: Path, stage: Stage) -> StageResult | None:
    """Return what a stage came to, or None while it is not over."""
    checkpoint = latest(folder)
    state = _state(checkpoint) if checkpoint is not None else None
    if state is None or state["global_step"] < stage.steps:
        return None
    return StageResult(name=stage.name, steps=int(state["global_step"]), losses=_losses(state))


def freeze(model: Any, stage: Stage, lora: bool) -> None:
    """Let learn what the stage says, beside compressor and projector."""
    learning = {"compressor": True, "multi_modal_projector": True, "vision_tower": stage.tower}
    for name, parameter in model.named_parameters():
        part = next((part for part in learning if f"{part}." in name), "")
        parameter.requires_grad = learning.get(part, stage.llm and not lora)


def with_lora(model: Any, rank: int, alpha: int) -> Any:
    """Return the model with LoRA beside the LLM's linear layers; compressor and projector learn whole.

    Raises Unavailable without peft.
    """
    from vlmplan.extras import require

    require("peft", extra="train")
    from peft import LoraConfig, get_peft_model

    whole = ["compressor", "multi_modal_projector"] if list(model.model.compressor.parameters()) else [
        "multi_modal_projector"
    ]  # fmt: skip
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=_LORA_TARGETS, modules_to_save=whole)
    return get_peft_model(model, config)


def _callback(name: str, voice: Voice) -> Any:
    """Tell the progress of a stage, on the first process only."""
    transformers = quiet_transformers()

    class Progress(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.start_s, self.start_step, self.said_s = time.monotonic(), 0, 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            self.start_s, self.start_step = time.monotonic(), state.global_step
            if state.is_world_process_zero and state.global_step:
                voice.say(f"{name}: resumed at step {state.global_step} of {state.max_steps}")

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            if state.is_world_process_zero:
                voice.tell(name, state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:  # noqa: ARG002
            now = time.monotonic()
            if state.is_world_process_zero and "loss" in (logs or {}) and now - self.said_s > _SAY_EVERY_S:
                self.said_s = now
                pace_s = (now - self.start_s) / max(1, state.global_step - self.start_step)
                left_s = pace_s * (state.max_steps - state.global_step)
                step = f"{name}: step {state.global_step} of {state.max_steps}"
                voice.say(f"{step}, loss {float(logs['loss']):.4f}, {left_s / 60:.1f} min left")

    return Progress()


def _arguments(folder: Path, stage: Stage, recipe: Recipe, running: Running, processes: int) -> Any:
    """The Trainer's arguments: the stage's batch over all processes, by accumulation where it does not fit."""
    import importlib.util

    import torch

    transformers = quiet_transformers()
    share = max(1, stage.batch // processes)
    at_once = min(running.process_batch or share, share)
    board = importlib.util.find_spec("tensorboard") is not None
    if board:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(running.out / "runs" / stage.name)
    return transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=max(1, share // at_once),
        learning_rate=stage.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.03 * stage.steps)),
        weight_decay=0.0,
        adam_beta2=recipe.adam_beta2,
        bf16=recipe.bf16,
        logging_steps=min(running.log_steps, stage.steps),
        save_steps=running.save_steps,
        save_total_limit=2,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        report_to=["tensorboard"] if board else [],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=len(recipe.visual_tokens) > 1,
        label_names=["labels"],
    )


def run_stage(
    model: Any, samples: Sequence[Any], collate: Any, setting: tuple[Path, Stage, Recipe, Running], voice: Voice
) -> Any:
    """Train a stage to its end, from its newest checkpoint; return the Trainer.

    ``setting`` is the stage's folder, the stage, the recipe and how it is run.
    """
    import torch
    from accelerate import PartialState

    transformers = quiet_transformers()
    folder, stage, recipe, running = setting
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.is_main_process:
        latest(folder)  # torn checkpoints go before any process looks for one
    state.wait_for_everyone()
    newest = latest(folder)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    arguments = _arguments(folder, stage, recipe, running, state.num_processes)
    trainer = transformers.Trainer(model=model, args=arguments, data_collator=collate, train_dataset=list(samples))
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(_callback(stage.name, voice))
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    return trainer
