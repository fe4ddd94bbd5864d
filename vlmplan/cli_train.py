"""The commands that train and evaluate: synthetic, train, evaluate. Imported with ``cli``."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import inert
from vlmplan.cli import CompressorOption, JsonOption, OutOption, app, deliver, prepare, say
from vlmplan.cli_deploy import CheckpointOption, Provider, ProviderOption, ThreadsOption
from vlmplan.document import check_destination, load, write_text
from vlmplan.errors import InputError
from vlmplan.scenes import LEVELS
from vlmplan.synthetic import Task

MIXED = "mixed"
ImagesOption = Annotated[Path, typer.Option("--images", metavar="DIR", help="Where the images are.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Of all that is drawn.")]


def _counts(text: str | None) -> tuple[int, ...]:
    """Read ``36`` or ``1,4,16``. Raises InputError."""
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 10**6 for word in words):
        raise InputError(f"--visual-tokens: found '{text[:40]}', expected a number, or several with commas")
    return tuple(int(word) for word in words)


@app.command()
def synthetic(  # noqa: PLR0917 - one parameter an option
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to fill.")],
    images: Annotated[int, typer.Option("--images", min=1, max=1_000_000, help="Pictures.")] = 1000,
    questions: Annotated[int, typer.Option("--questions", min=1, max=100, help="Of each kind a picture.")] = 1,
    turns: Annotated[int, typer.Option("--turns", min=1, max=100, help="Questions a conversation.")] = 1,
    size: Annotated[int, typer.Option("--size", min=16, max=2048, help="Pixels a side.")] = 72,
    difficulty: Annotated[str, typer.Option("--difficulty", metavar="1-5|mixed", help="How full scenes are.")] = "3",
    task: Annotated[Task | None, typer.Option("--task", help="Only these questions.")] = None,
    captions: Annotated[bool, typer.Option("--captions", help="A description of each picture, too.")] = False,
    seed: SeedOption = 0,
) -> None:
    """Draw pictures of shapes and words, with questions: data to train small models on.

    Example: vlmplan synthetic --out shapes --images 2000 --difficulty 3
    """
    prepare()
    from vlmplan.extras import require
    from vlmplan.render_deploy import progress
    from vlmplan.synthetic import SetOrder, write_set

    require("PIL")
    if difficulty != MIXED and difficulty not in map(str, LEVELS):
        raise InputError(f"--difficulty: found '{difficulty[:20]}', expected {min(LEVELS)} to {max(LEVELS)} or {MIXED}")
    order = SetOrder(
        images=images,
        questions=questions,
        size=size,
        level=None if difficulty == MIXED else int(difficulty),
        seed=seed,
        tasks=tuple(Task) if task is None else (task,),
        captions=captions,
    )
    with progress() as tell:
        count = write_set(out, order, turns, tell)
    drawn = f"Drew {images} pictures and {count} questions in {out}: images/, train.jsonl, questions.jsonl."
    typer.echo(inert.terminal(drawn))


@app.command()
def train(  # noqa: PLR0917 - one parameter an option
    data: Annotated[Path, typer.Option("--data", metavar="FILE|DIR", help="Conversations as LLaVA's: .json, .jsonl.")],
    images: ImagesOption,
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
    from vlmplan.plan import Plan
    from vlmplan.render_train import print_training, voice
    from vlmplan.training.order import Choices, load_data, order
    from vlmplan.training.recipe import Running
    from vlmplan.training.train import train as run

    read = None if plan is None else load(Plan, plan)
    asked = Choices(
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
        found = run(order(asked, read, rows, running), heard)
    if found is not None:
        deliver(found, None, json, lambda: print_training(found, out))


@app.command()
def evaluate(  # noqa: PLR0917 - one parameter an option
    model: Annotated[str, typer.Argument(metavar="EXPORT|CHECKPOINT", help="What answers.")],
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.jsonl", help="image, question, answer a line.")],
    images: ImagesOption,
    against: Annotated[
        str | None, typer.Option("--against", metavar="EXPORT|CHECKPOINT", help="Compare answer by answer.")
    ] = None,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, help="Of a nested checkpoint [default: the most].")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first questions.")] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Write every answer, JSONL.")
    ] = None,
    provider: ProviderOption = Provider.CPU,
    threads: ThreadsOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a checkpoint or an export a table of questions, and count the right answers.

    Example: vlmplan evaluate llava-36 questions.jsonl --images images --against llava-trained
    """
    prepare()
    from vlmplan.render_deploy import progress
    from vlmplan.render_train import print_evaluation
    from vlmplan.training.evaluate import (
        agreement,
        answer_all,
        answers_jsonl,
        beside,
        evaluation,
        open_subject,
        read_questions,
    )

    check_destination(out)
    check_destination(answers)
    table = read_questions(questions, images, limit)
    subject = open_subject(model, visual_tokens, provider, threads)
    other = None if against is None else beside(subject, against, None, threads)
    compared = None
    with progress() as tell:
        ours = answer_all(subject, table, tell)
        if other is not None:
            compared = agreement(other.name, ours, answer_all(other, table, tell))
    found = evaluation(subject, questions.name, table, ours, compared)
    deliver(found, out, json, lambda: print_evaluation(found))
    if answers is not None:
        write_text(answers, answers_jsonl(table, ours))
        say(f"wrote {answers}")


@app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.toml", help="LLMs, visual tokens, compressors, seeds.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; the same command goes on.")],
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="auto|ADDRESS", help="Run on this Ray cluster [default: here].")
    ] = None,
    trial_cpus: Annotated[int, typer.Option("--trial-cpus", min=1, help="With --ray: CPUs a trial takes.")] = 1,
    trial_gpus: Annotated[int, typer.Option("--trial-gpus", min=0, help="With --ray: GPUs a trial takes.")] = 0,
) -> None:
    """Train and evaluate every point of a grid, and write points.csv for fit.

    Example: vlmplan sweep docs/grids/shapes.toml --out shapes --ray auto
    """
    prepare()
    from vlmplan.render_train import print_sweep, sweep_table, voice
    from vlmplan.training.grid import Grid
    from vlmplan.training.sweep import Cluster, Sweep
    from vlmplan.training.sweep import sweep as run

    read = load(Grid, grid)
    cluster = None if ray is None else Cluster(address=ray, cpus=trial_cpus, gpus=trial_gpus)
    with voice() as heard, sweep_table() as show:
        results = run(Sweep(grid=read, out=out, voice=heard, show=show), cluster)
    print_sweep(results, out)
