"""``vlmplan evaluate``: questions asked and counted."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli.options import ImageFolderOption, JsonOption, OutOption, ProviderOption, ThreadsOption
from vlmplan.cli.output import deliver, prepare, say
from vlmplan.document import check_apart, check_destination
from vlmplan.hardware import Provider


def evaluate(  # noqa: PLR0917 - one parameter an option
    model: Annotated[str, typer.Argument(metavar="EXPORT|CHECKPOINT", help="What answers.")],
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.jsonl", help="image, question, answer a line.")],
    images: ImageFolderOption,
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
    from vlmplan.views import print_evaluation, progress

    check_destination(out)
    check_apart({"--out": out, "--answers": answers}, (questions,))
    with progress() as tell:
        found = api.evaluate(
            model=model, questions=questions, images=images, against=against, visual_tokens=visual_tokens, limit=limit,
            answers=answers, provider=provider, threads=threads, progress=tell,
        )  # fmt: skip
    deliver(found, out, json, lambda: print_evaluation(found))
    if answers is not None:
        say(f"wrote {answers}")
