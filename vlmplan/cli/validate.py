"""``vlmplan validate``: an export proved against its checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmplan.document import check_destination, load, to_toml, write_text
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.models import Compressor
from vlmplan.proof import Check

if TYPE_CHECKING:
    from vlmplan.evaluation import Question
    from vlmplan.proof import Options
from vlmplan.cli.options import (
    CheckpointOption,
    JsonOption,
    OutOption,
    PlanOption,
    Provider,
    ProviderOption,
    ThreadsOption,
    WeightsOption,
)
from vlmplan.cli.output import deliver, prepare, say, summarise


def _check_destinations(folder: Path, destinations: tuple[Path | None, ...]) -> None:
    """Raise InputError where a report cannot be written, would spoil the export or another report."""
    given = [path for path in destinations if path is not None]
    for path in given:
        check_destination(path)
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: lies in the export that is validated; choose another file")
    if len({path.resolve() for path in given}) < len(given):
        raise InputError("--out, --junit and --recalibrate name the same file; give each its own")


def validate(  # noqa: PLR0917 - one parameter an option
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What export wrote, or a text decoder of others.")],
    plan: PlanOption = None,
    checkpoint: CheckpointOption = None,
    weights: WeightsOption = None,
    visual_tokens: Annotated[int | None, typer.Option("--visual-tokens", min=1, help="Expect so many.")] = None,
    compressor: Annotated[Compressor | None, typer.Option("--compressor", help="Expect this one.")] = None,
    precision: Annotated[Precision | None, typer.Option("--precision", help="Expect this one.")] = None,
    provider: ProviderOption = Provider.CPU,
    threads: ThreadsOption = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=1000, help="Timed requests.")] = 5,
    max_divergence: Annotated[
        float | None, typer.Option("--max-divergence", help="Nats a token from fp32 that rounding may cost.")
    ] = None,
    logit_tolerance: Annotated[
        float | None, typer.Option("--logit-tolerance", help="Largest difference of a logit [default: 1e-4, fp32].")
    ] = None,
    budget_only: Annotated[
        bool, typer.Option("--budget-only", help="Hold times against the budget, not the prediction.")
    ] = False,
    questions: Annotated[
        Path | None, typer.Option("--questions", metavar="FILE.jsonl", help="Compare answers to these, one by one.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="With --questions.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")] = None,
    recalibrate: Annotated[
        Path | None, typer.Option("--recalibrate", metavar="FILE.toml", help="Write a profile that fits the times.")
    ] = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Prove an export against its checkpoint: files, weights, numbers, tokens, latency. Exit 4 when it falls short.

    Example: vlmplan validate llava-36 --threads 8 --junit report.xml
    """
    prepare()
    from vlmplan.planning import Plan
    from vlmplan.proof import Options, Validator, junit_xml, markdown, require_good, with_check
    from vlmplan.views import print_report, progress

    _check_destinations(folder, (junit, recalibrate, out))
    options = Options(
        checkpoint=checkpoint,
        plan=None if plan is None else load(Plan, plan),
        weights=weights,
        visual_tokens=visual_tokens,
        compressor=compressor,
        precision=precision,
        provider=provider.value,
        threads=threads,
        repeats=repeats,
        max_divergence_nats=max_divergence,
        logit_tolerance=logit_tolerance,
        budget_only=budget_only,
        recalibrate=recalibrate is not None,
    )
    asked = _questions(questions, images)
    with progress() as tell:
        found = Validator(options, tell).validate(folder)
        report = found.report
        if asked is not None and report.passed:
            report = with_check(report, _answers(folder, report.checkpoint, options, asked, tell))
    deliver(report, out, json, lambda: print_report(report))
    if junit is not None:
        write_text(junit, junit_xml(report))
    summarise(markdown(report))
    if recalibrate is not None and (found.timings is not None or not report.failed):
        write_text(recalibrate, to_toml(found.recalibrated()))
        say(f"wrote {recalibrate}")
    require_good(report, folder)


def _questions(path: Path | None, images: Path | None) -> "tuple[Question, ...] | None":
    """Read the questions, before any work. Raises InputError where one of the two options is missing."""
    from vlmplan.evaluation import read_questions

    if (path is None) is not (images is None):
        raise InputError("--questions, --images: found one of them; expected both or neither")
    return None if path is None or images is None else read_questions(path, images)


def _answers(
    folder: Path, checkpoint: str | None, options: "Options", questions: "tuple[Question, ...]", tell: Any
) -> Check:
    """The check of answers, question by question."""
    from vlmplan.evaluation import answers_check, beside, open_subject

    ours = open_subject(str(folder), None, options.provider, options.threads)
    return answers_check(ours, beside(ours, checkpoint or "", options.weights, options.threads), questions, tell)
