"""``vlmplan evaluate``: questions asked and counted."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import (
    AnswerTimeoutOption,
    ImageFolderOption,
    JsonOption,
    OutOption,
    ProviderOption,
    ServedModelOption,
    ThreadsOption,
)
from vlmplan.cli.output import deliver, prepare, say
from vlmplan.document import check_apart, check_destination
from vlmplan.errors import InputError, mistyped
from vlmplan.hardware import Provider
from vlmplan.units import parse_percent, written


def evaluate(  # noqa: PLR0917 - one parameter an option
    model: Annotated[str, typer.Argument(metavar="EXPORT|CHECKPOINT|URL", help="What answers.")],
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.jsonl", help="image, question, answer a line.")],
    images: ImageFolderOption,
    against: Annotated[
        str | None, typer.Option("--against", metavar="EXPORT|CHECKPOINT", help="Compare answer by answer.")
    ] = None,
    visual_tokens: Annotated[
        str | None,
        typer.Option(
            "--visual-tokens", metavar="N,N,…", help="Of a server, the most of each round; of a nested checkpoint, one."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first questions.")] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Every answer, JSONL; of a server, to go on from.")
    ] = None,
    provider: ProviderOption = Provider.CPU,
    threads: ThreadsOption = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="MODEL",
            help="Whose rule makes tokens of pictures [default: by the served name].",
            autocompletion=completion.model,
        ),
    ] = None,
    served_model: ServedModelOption = None,
    score: Annotated[
        str,
        typer.Option(
            "--score", metavar="RULE", help="exact, contains, number, choice, anls, f1, cer, wer, json, regex."
        ),
    ] = "exact",
    by: Annotated[
        str, typer.Option("--by", metavar="size|request", help="Smaller pictures, or vLLM's setting of a request.")
    ] = "size",
    output_tokens: Annotated[int, typer.Option("--output-tokens", min=1, help="The most of an answer.")] = 64,
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=256, help="Requests in flight.")] = 4,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="The most requests of this run.")] = None,
    may_lose: Annotated[
        str,
        typer.Option(
            "--may-lose", parser=written(parse_percent, "--may-lose"), metavar="2%", help="What enough tokens may lose."
        ),
    ] = "2%",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Of the order of questions.")] = 0,
    timeout: AnswerTimeoutOption = "60s",
    points: Annotated[
        Path | None, typer.Option("--points", metavar="FILE.csv", help="Write the curve as points for fit.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="The task's name in the points [default: the table's].")] = "",
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a checkpoint, an export or a server a table of questions, and count the right answers.

    A server is asked at several numbers of visual tokens, the same questions at each.

    Example: vlmplan evaluate http://localhost:8000/v1 questions.jsonl --images images --visual-tokens 64,256,1024
    """
    prepare()
    check_destination(out)
    check_apart({"--out": out, "--answers": answers, "--points": points}, (questions,))
    of_servers = {
        "like": like, "served_model": served_model, "score": score, "by": by, "output_tokens": output_tokens,
        "at_once": at_once, "budget": budget, "may_lose": may_lose, "seed": seed, "timeout": timeout, "points": points,
        "task": task,
    }  # fmt: skip
    if model.lower().startswith(("http://", "https://")):
        _refuse(
            {"--against": against, "--threads": threads, "--provider": provider != Provider.CPU or None}, "a server"
        )
        _served(
            {"endpoint": model, "questions": questions, "images": images, "limit": limit, "answers": answers,
             "visual_tokens": visual_tokens, **of_servers},
            out, json,
        )  # fmt: skip
        return
    usual: dict[str, Any] = api.evaluate_endpoint.__kwdefaults__ or {}
    given = {name: value for name, value in of_servers.items() if value != usual[name]}
    _refuse({f"--{name.replace('_', '-')}": value for name, value in given.items()}, "a checkpoint or an export")
    from vlmplan.views import print_evaluation, progress

    with progress() as tell:
        found = api.evaluate(
            model=model, questions=questions, images=images, against=against, visual_tokens=_one(visual_tokens),
            limit=limit, answers=answers, provider=provider, threads=threads, progress=tell,
        )  # fmt: skip
    deliver(found, out, json, lambda: print_evaluation(found))
    if answers is not None:
        say(f"wrote {answers}")


def _refuse(options: dict[str, object], what: str) -> None:
    """Raise InputError for options that mean nothing for what was named."""
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: not for {what}; leave {'it' if len(given) == 1 else 'them'} out")


def _one(text: str | None) -> int | None:
    """The number of tokens of a checkpoint. Raises InputError for several."""
    if text is None:
        return None
    if not text.strip().isdecimal() or not int(text.strip()[:9]) > 0:
        raise mistyped("--visual-tokens", text, "one number; several are asked of a server")
    return int(text.strip()[:9])


def _served(asked: dict[str, Any], out: Path | None, json: bool) -> None:
    """Ask a server, and print its curve; what was answered is kept when interrupted."""
    from vlmplan.views import print_token_curve, progress

    if asked["visual_tokens"] is None:
        raise InputError("--visual-tokens: found none; expected the most of each round, such as 64,256,1024")
    try:
        with progress() as tell:
            found = api.evaluate_endpoint(**asked, progress=tell)
    except KeyboardInterrupt:
        kept = f"; the same command goes on from {asked['answers']}" if asked["answers"] else ""
        say(f"interrupted{kept or '; with --answers FILE the same command would go on'}")
        raise
    deliver(found, out, json, lambda: print_token_curve(found))
    for name in ("answers", "points"):
        if asked[name] is not None:
            say(f"wrote {asked[name]}")
    if asked["points"] is not None:
        say(f"next: vlmplan fit {asked['points']} --out law.toml; vlmplan recommend --task law.toml")
