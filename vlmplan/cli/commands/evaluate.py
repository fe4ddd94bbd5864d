"""``vlmplan evaluate``: questions asked and counted."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import (
    AnswerTimeoutOption,
    AnswerTokensOption,
    AtOnceOption,
    FirstQuestionsOption,
    JsonOption,
    OrderSeedOption,
    OutOption,
    ProviderOption,
    ScoreOption,
    ServedModelOption,
    SizedByOption,
    ThreadsOption,
)
from vlmplan.cli.output import deliver, prepare, say, summarise
from vlmplan.document import check_apart, check_destination, write_text
from vlmplan.errors import InputError, mistyped
from vlmplan.hardware import Provider
from vlmplan.units import parse_percent, written


def evaluate(  # noqa: PLR0917 - one parameter an option
    model: Annotated[str, typer.Argument(metavar="EXPORT|CHECKPOINT|URL|ANSWERS", help="What answers, or answered.")],
    questions: Annotated[
        Path | None, typer.Argument(metavar="QUESTIONS.jsonl", help="image, question, answer a line.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Where the images are.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="EXPORT|CHECKPOINT|ANSWERS", help="Compare answer by answer; or those before."
        ),
    ] = None,
    visual_tokens: Annotated[
        str | None,
        typer.Option(
            "--visual-tokens", metavar="N,N,…", help="Of a server, the most of each round; of a nested checkpoint, one."
        ),
    ] = None,
    limit: FirstQuestionsOption = None,
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
    score: ScoreOption = "exact",
    by: SizedByOption = "size",
    output_tokens: AnswerTokensOption = 64,
    at_once: AtOnceOption = 4,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="The most requests of this run.")] = None,
    may_lose: Annotated[
        str,
        typer.Option(
            "--may-lose", parser=written(parse_percent, "--may-lose"), metavar="2%", help="What enough tokens may lose."
        ),
    ] = "2%",
    seed: OrderSeedOption = 0,
    timeout: AnswerTimeoutOption = "60s",
    points: Annotated[
        Path | None, typer.Option("--points", metavar="FILE.csv", help="Write the curve as points for fit.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="Show what fewer tokens miss, with the images.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="The task's name in the points [default: the table's].")] = "",
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="URL", help="Of answers: a model that judges them.")
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="Its name there [default: the only one it lists].")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option("--verdicts", metavar="FILE", help="Every verdict, JSONL, to go on from.")
    ] = None,
    within: Annotated[
        str,
        typer.Option(
            "--within", parser=written(parse_percent, "--within"), metavar="2%", help="What answers may lose --against."
        ),
    ] = "2%",
    allow_unsure: Annotated[
        bool, typer.Option("--allow-unsure", help="Pass where the questions are too few to tell.")
    ] = False,
    junit: Annotated[Path | None, typer.Option("--junit", help="Of answers: write JUnit XML here.")] = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a checkpoint, an export or a server a table of questions, and count the right answers.

    A server is asked at several numbers of visual tokens, the same questions at each. Answers made before are judged
    alike, or held against others (exit 4 where they fall short).

    Example: vlmplan evaluate http://localhost:8000/v1 questions.jsonl --images images --visual-tokens 64,256,1024

    Example: vlmplan evaluate after.jsonl --against before.jsonl --within 1%
    """
    prepare()
    check_destination(out)
    files = {"--out": out, "--answers": answers, "--points": points, "--page": page, "--junit": junit}
    files["--verdicts"] = verdicts
    check_apart(files, (questions, model, against))
    given = {name: value for name, value in locals().items() if name in _USUAL and value != _USUAL[name]}
    from vlmplan.evaluation import names_answers

    if model.lower().startswith(("http://", "https://")):
        _served(model, questions, given, out, json)
    elif names_answers(model):
        _answered(model, questions, given, out, json)
    else:
        _run(model, questions, given, out, json)


# Every option but those of output, with what it is where nobody says; and which mean something for what answers.
_USUAL: dict[str, Any] = {
    name: option.default
    for name, option in inspect.signature(evaluate).parameters.items()
    if name not in ("model", "questions", "out", "json")
}
_OF_SERVERS = (
    "images", "visual_tokens", "limit", "answers", "like", "served_model", "score", "by", "output_tokens", "at_once",
    "budget", "may_lose", "seed", "timeout", "points", "page", "task",
)  # fmt: skip
_OF_MODELS = ("images", "against", "visual_tokens", "limit", "answers", "provider", "threads")
_OF_ANSWERS = ("images", "like", "score", "may_lose", "limit", "points", "page", "task")
_OF_JUDGES = ("judge", "judge_model", "verdicts", "budget", "at_once", "seed", "timeout")
_OF_CHANGES = ("against", "visual_tokens", "score", "limit", "within", "allow_unsure", "junit")


def _refuse(given: dict[str, Any], allowed: tuple[str, ...], what: str) -> None:
    """Raise InputError for options that mean nothing for what was named."""
    if others := [f"--{name.replace('_', '-')}" for name in given if name not in allowed]:
        raise InputError(f"{', '.join(others)}: not for {what}; leave {'it' if len(others) == 1 else 'them'} out")


def _needed(what: str, questions: Path | None, given: dict[str, Any]) -> Path:
    """Return the table of questions. Raises InputError where it, or the folder of its images, is not given."""
    if questions is None:
        raise InputError(f"QUESTIONS.jsonl: found none; expected what {what} is asked: image, question, answer a line")
    if given.get("images") is None:
        raise InputError("--images: found none; expected the folder of the questions' images")
    return questions


def _one(text: str | None) -> int | None:
    """The number of tokens of a checkpoint. Raises InputError for several."""
    if text is None:
        return None
    if not text.strip().isdecimal() or not int(text.strip()[:9]) > 0:
        raise mistyped("--visual-tokens", text, "one number; several are asked of a server")
    return int(text.strip()[:9])


def _run(model: str, questions: Path | None, given: dict[str, Any], out: Path | None, json: bool) -> None:
    """Ask a checkpoint or an export, and print how much it has right."""
    from vlmplan.views import print_evaluation, progress

    _refuse(given, _OF_MODELS, "a checkpoint or an export")
    table = _needed("a checkpoint or an export", questions, given)
    asked = given | {"visual_tokens": _one(given.get("visual_tokens"))}
    with progress() as tell:
        evaluation = api.evaluate(model=model, questions=table, **asked, progress=tell)
    deliver(evaluation, out, json, lambda: print_evaluation(evaluation))
    _say_written(given)


def _served(endpoint: str, questions: Path | None, given: dict[str, Any], out: Path | None, json: bool) -> None:
    """Ask a server, and print its curve; what was answered is kept when interrupted."""
    from vlmplan.views import print_token_curve, progress

    _refuse(given, _OF_SERVERS, "a server")
    table = _needed("a server", questions, given)
    if "visual_tokens" not in given:
        raise InputError("--visual-tokens: found none; expected the most of each round, such as 64,256,1024")
    try:
        with progress() as tell:
            curve = api.evaluate_endpoint(endpoint=endpoint, questions=table, **given, progress=tell)
    except KeyboardInterrupt:
        kept = f"; the same command goes on from {given['answers']}" if "answers" in given else ""
        say(f"interrupted{kept or '; with --answers FILE the same command would go on'}")
        raise
    deliver(curve, out, json, lambda: print_token_curve(curve))
    _say_written(given)


def _answered(answers: str, questions: Path | None, given: dict[str, Any], out: Path | None, json: bool) -> None:
    """Judge answers that were made before, by themselves or against others."""
    from vlmplan.views import print_token_curve, progress

    if "against" in given:
        _held(answers, questions, given, out, json)
        return
    allowed = (*_OF_ANSWERS, *(_OF_JUDGES if "judge" in given else ()))
    _refuse(given, allowed, "answers made before" if "judge" in given else "answers made before without --judge")
    if questions is None:
        raise InputError("QUESTIONS.jsonl: found none; expected the questions that were answered")
    with progress() as tell:
        curve = api.evaluate_answers(answers=answers, questions=questions, **given, progress=tell)
    deliver(curve, out, json, lambda: print_token_curve(curve))
    _say_written(given)


def _held(after: str, questions: Path | None, given: dict[str, Any], out: Path | None, json: bool) -> None:
    """Hold answers against those before a change. Raises OutOfTolerance where they fall short."""
    from vlmplan.evaluation import gate_markdown, require_answers
    from vlmplan.proof import checks_junit
    from vlmplan.views import print_answers_gate

    _refuse(given, _OF_CHANGES, "answers held against others")
    junit = given.get("junit")
    check_destination(junit)
    asked = {name: given[name] for name in given if name in ("score", "limit")}
    if "within" in given:
        asked["within_loss"] = given["within"]
    count = _one(given.get("visual_tokens"))
    gate = api.compare_answers(
        after=after, before=given["against"], questions=questions, visual_tokens=count, **asked
    )  # fmt: skip
    deliver(gate, out, json, lambda: print_answers_gate(gate))
    if junit is not None:
        write_text(junit, checks_junit("evaluate", gate.checks))
        say(f"wrote {junit}")
    summarise(gate_markdown(gate))
    require_answers(gate, allow_unsure="allow_unsure" in given)


def _say_written(given: dict[str, Any]) -> None:
    for name in ("answers", "points", "page", "verdicts"):
        if name in given:
            say(f"wrote {given[name]}")
    if "points" in given:
        say(f"next: vlmplan fit {given['points']} --out law.toml; vlmplan recommend --task law.toml")
