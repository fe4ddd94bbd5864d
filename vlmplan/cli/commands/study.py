"""``vlmplan study``: servers asked one's own questions until a choice is settled."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.accuracy import PriorChoice
from vlmplan.cli import completion
from vlmplan.cli.options import (
    AnswerTimeoutOption,
    AnswerTokensOption,
    AtOnceOption,
    FirstQuestionsOption,
    ImageFolderOption,
    JsonOption,
    OrderSeedOption,
    OutOption,
    ScoreOption,
    SizedByOption,
)
from vlmplan.cli.output import deliver, prepare, say
from vlmplan.document import check_apart, check_destination
from vlmplan.errors import Unsettled
from vlmplan.units import parse_percent, written


def study(  # noqa: PLR0917 - one parameter an option
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.jsonl", help="image, question, answer a line.")],
    images: ImageFolderOption,
    endpoint: Annotated[
        list[str], typer.Option("--endpoint", metavar="URL[=MODEL]", help="A server, and which of its models; repeat.")
    ],
    visual_tokens: Annotated[
        str, typer.Option("--visual-tokens", metavar="N,N,…", help="The most that a picture may make, to choose from.")
    ],
    budget: Annotated[int, typer.Option("--budget", help="The most requests, those kept in --answers counted.")],
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="MODEL",
            help="Whose rule makes tokens of pictures; one, or one an endpoint [default: by the served name].",
            autocompletion=completion.model,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="The task that the questions are like [default: any].")
    ] = None,
    prior: Annotated[
        PriorChoice, typer.Option("--prior", help="auto: published scores tell what to expect.")
    ] = PriorChoice.AUTO,
    confidence: Annotated[float, typer.Option("--confidence", help="How sure the choice has to be.")] = 0.9,
    tolerance: Annotated[
        str,
        typer.Option(
            "--tolerance",
            parser=written(parse_percent, "--tolerance"),
            metavar="2%",
            help="How much less than the best may score.",
        ),
    ] = "2%",
    score: ScoreOption = "exact",
    by: SizedByOption = "size",
    output_tokens: AnswerTokensOption = 64,
    at_once: AtOnceOption = 4,
    limit: FirstQuestionsOption = None,
    seed: OrderSeedOption = 0,
    timeout: AnswerTimeoutOption = "60s",
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Every answer, JSONL, to go on from.")
    ] = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Ask servers your own questions, those that decide, until which to take is settled.

    Exit 3 where the budget is spent before the choice is as sure as --confidence.

    Example: vlmplan study questions.jsonl --images images --endpoint URL --visual-tokens 64,256,1024 --budget 600
    """
    from vlmplan.views import print_study, progress

    prepare()
    check_destination(out)
    check_apart({"--out": out, "--answers": answers}, (questions,))
    try:
        with progress() as tell:
            study = api.study(
                questions=questions, images=images, endpoint=endpoint, visual_tokens=visual_tokens, budget=budget,
                like=like or None, task=task, prior=prior, confidence=confidence, tolerance=tolerance, score=score,
                by=by, output_tokens=output_tokens, at_once=at_once, limit=limit, seed=seed, timeout=timeout,
                answers=answers, progress=tell,
            )  # fmt: skip
    except KeyboardInterrupt:
        kept = f"; the same command goes on from {answers}" if answers else ""
        say(f"interrupted{kept or '; with --answers FILE the same command would go on'}")
        raise
    deliver(study, out, json, lambda: print_study(study))
    if answers is not None:
        say(f"wrote {answers}")
    if out is not None:
        say(f"next: vlmplan fit {out} --out mine.toml; vlmplan recommend --task mine.toml")
    if not study.settled:
        raise Unsettled(
            f"the choice is {100 * study.probability_fraction:.0f} % sure after {study.requests + study.kept} "
            f"requests, expected {100 * confidence:g} %; raise --budget, ask more questions, or allow more --tolerance"
        )
