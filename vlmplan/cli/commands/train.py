"""``vlmplan train``: a checkpoint for fewer visual tokens."""

import atexit
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vlmplan.cli.options import (
    CheckpointOption,
    CompressorOption,
    ImageFolderOption,
    JsonOption,
    SeedOption,
)
from vlmplan.cli.output import deliver, prepare
from vlmplan.document import check_apart, load
from vlmplan.errors import mistyped


def _counts(text: str | None) -> tuple[int, ...]:
    """Read ``36`` or ``1,4,16``. Raises InputError."""
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 10**6 for word in words):
        raise mistyped("--visual-tokens", text, "a number, or several with commas")
    return tuple(int(word) for word in words)


def _leave() -> NoReturn:
    """End one process of several with 0, its exit handlers run, the interpreter's own end left out.

    A thread by which Gloo spoke with the others may still drop a tensor then, which aborts the process now and then
    (pytorch#179291; 13 of 96 runs of two processes on two busy cores); to destroy the group ends no such thread.
    """
    sys.stdout.flush()
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(0)


def train(  # noqa: PLR0917 - one parameter an option
    data: Annotated[Path, typer.Option("--data", metavar="FILE|DIR", help="Conversations as LLaVA's: .json, .jsonl.")],
    images: ImageFolderOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; the same command resumes.")],
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN.json]", help="What recommend wrote.")] = None,
    checkpoint: CheckpointOption = None,
    tower: Annotated[
        str | None, typer.Option("--tower", metavar="DIR|HUB-ID", help="Vision tower, where the checkpoint has none.")
    ] = None,
    visual_tokens: Annotated[
        str | None, typer.Option("--visual-tokens", metavar="N[,N...]", help="Per image; several: a nested checkpoint.")
    ] = None,
    compressor: CompressorOption = None,
    align_steps: Annotated[
        int | None, typer.Option("--align-steps", min=0, help="Of compressor and projector [default: one pass].")
    ] = None,
    tune_steps: Annotated[
        int | None, typer.Option("--tune-steps", min=0, help="Of these and the LLM [default: one pass].")
    ] = None,
    align_rate: Annotated[float | None, typer.Option("--align-rate", help="Learning rate [default: 1e-3].")] = None,
    tune_rate: Annotated[
        float | None, typer.Option("--tune-rate", help="Learning rate [default: 2e-5, with LoRA 2e-4].")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Rows a step, of all processes [default: 256, then 128].")
    ] = None,
    process_batch: Annotated[
        int | None, typer.Option("--process-batch", min=1, help="Rows that a process holds at once [default: all].")
    ] = None,
    lora: Annotated[int, typer.Option("--lora", metavar="RANK", min=0, help="LoRA instead of the whole LLM.")] = 0,
    train_tower: Annotated[bool, typer.Option("--train-tower", help="The tower learns with the LLM.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bf16.")] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    save_steps: Annotated[int, typer.Option("--save-steps", min=1, help="Steps between checkpoints.")] = 500,
    log_steps: Annotated[int, typer.Option("--log-steps", min=1, help="Steps between logged losses.")] = 10,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out, and count them.")] = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train a checkpoint for fewer visual tokens: compressor and projector, then with the LLM.

    Example: vlmplan train --checkpoint llava-hf/llava-1.5-7b-hf --visual-tokens 16 --compressor quecc
    --data llava_v1_5_mix665k.json --images data --out llava-quecc-16 --lora 128 --bf16
    """
    prepare()
    from vlmplan.planning import Plan
    from vlmplan.training import Running, TrainingChoices, load_data, training_order
    from vlmplan.training import train as run
    from vlmplan.views import print_training, voice

    check_apart({"--out": out}, (plan, data, images, checkpoint, tower))
    read = None if plan is None else load(Plan, plan)
    asked = TrainingChoices(
        checkpoint=checkpoint,
        tower=tower,
        visual_tokens=_counts(visual_tokens),
        compressor=compressor,
        align_steps=align_steps,
        tune_steps=tune_steps,
        align_rate=align_rate,
        tune_rate=tune_rate,
        batch=batch,
        lora_rank=lora,
        train_tower=train_tower,
        bf16=bf16,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
    )
    running = Running(out=out, process_batch=process_batch, save_steps=save_steps, log_steps=log_steps)
    with voice() as heard:
        rows = load_data(data, images, skip_bad, heard.tell)
        training = run(training_order(asked, read, rows, running), heard)
    if training is not None:
        deliver(training, None, json, lambda: print_training(training, out))
    if training is None or training.processes > 1:
        _leave()
