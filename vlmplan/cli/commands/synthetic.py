"""``vlmplan synthetic``: drawn pictures with questions."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import inert
from vlmplan.cli.options import (
    SeedOption,
)
from vlmplan.cli.output import prepare
from vlmplan.errors import mistyped
from vlmplan.sweeping import LEVELS, DrawnTask

MIXED = "mixed"


def synthetic(  # noqa: PLR0917 - one parameter an option
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to fill.")],
    images: Annotated[int, typer.Option("--images", min=1, max=1_000_000, help="Pictures.")] = 1000,
    questions: Annotated[int, typer.Option("--questions", min=1, max=100, help="Of each kind a picture.")] = 1,
    turns: Annotated[int, typer.Option("--turns", min=1, max=100, help="Questions a conversation.")] = 1,
    size: Annotated[int, typer.Option("--size", min=16, max=2048, help="Pixels a side.")] = 72,
    difficulty: Annotated[str, typer.Option("--difficulty", metavar="1-5|mixed", help="How full scenes are.")] = "3",
    task: Annotated[DrawnTask | None, typer.Option("--task", help="Only these questions.")] = None,
    captions: Annotated[bool, typer.Option("--captions", help="A description of each picture, too.")] = False,
    seed: SeedOption = 0,
) -> None:
    """Draw pictures of shapes and words, with questions: data to train small models on.

    Example: vlmplan synthetic --out shapes --images 2000 --difficulty 3
    """
    prepare()
    from vlmplan.extras import require
    from vlmplan.sweeping import SetOrder, write_set
    from vlmplan.views import progress

    require("PIL")
    if difficulty != MIXED and difficulty not in map(str, LEVELS):
        raise mistyped("--difficulty", difficulty, f"{min(LEVELS)} to {max(LEVELS)} or {MIXED}", 20)
    order = SetOrder(
        images=images,
        questions=questions,
        size=size,
        level=None if difficulty == MIXED else int(difficulty),
        seed=seed,
        tasks=tuple(DrawnTask) if task is None else (task,),
        captions=captions,
    )
    with progress() as tell:
        count = write_set(out, order, turns, tell)
    drawn = f"Drew {images} pictures and {count} questions in {out}: images/, train.jsonl, questions.jsonl."
    typer.echo(inert.terminal(drawn))
