"""``vlmplan validate``: an export proved against its checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli.options import (
    CheckpointOption,
    JsonOption,
    OutOption,
    PlanOption,
    ProviderOption,
    ThreadsOption,
    VerboseOption,
    WeightsOption,
)
from vlmplan.cli.output import deliver, prepare, say, summarise
from vlmplan.document import check_apart, check_destination, to_toml, write_text
from vlmplan.errors import InputError
from vlmplan.hardware import Precision, Provider
from vlmplan.models import Compressor
from vlmplan.units import parse_wait, written


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
    query: Annotated[str | None, typer.Option("--query", help="Expect this question, baked in.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="WxH", help="Of tiles or grids: expect its tokens.")
    ] = None,
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
    by_samples: Annotated[
        bool, typer.Option("--by-samples", help="Let a decoder that others drew pass by samples, unproved.")
    ] = False,
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            parser=written(parse_wait, "--timeout"),
            metavar="300s",
            help="Graphs may run so long, beyond 20 times what the checkpoint takes.",
        ),
    ] = "300s",
    questions: Annotated[
        Path | None, typer.Option("--questions", metavar="FILE.jsonl", help="Compare answers to these, one by one.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="With --questions.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")] = None,
    recalibrate: Annotated[
        Path | None, typer.Option("--recalibrate", metavar="FILE.toml", help="Write a profile that fits the times.")
    ] = None,
    verbose: VerboseOption = False,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Prove an export against its checkpoint: files, weights, numbers, tokens, latency. Exit 4 when it falls short.

    Example: vlmplan validate llava-36 --threads 8 --junit report.xml
    """
    prepare()
    from vlmplan.proof import junit_xml, report_markdown, require_good
    from vlmplan.views import print_report, progress

    _check_destinations(folder, (junit, recalibrate, out))
    check_apart({"--out": out, "--junit": junit, "--recalibrate": recalibrate}, (plan, weights, questions, checkpoint))
    with progress() as tell:
        validation = api.validate(
            folder=folder, plan=plan, checkpoint=checkpoint, weights=weights, visual_tokens=visual_tokens,
            compressor=compressor, precision=precision, query=query, image=image, provider=provider,
            threads=threads, repeats=repeats,
            max_divergence=max_divergence, logit_tolerance=logit_tolerance, budget_only=budget_only,
            questions=questions, images=images, recalibrate=recalibrate is not None,
            by_samples=by_samples, timeout=timeout, progress=tell,
        )  # fmt: skip
    report = validation.report
    deliver(report, out, json, lambda: print_report(report, verbose=verbose))
    if junit is not None:
        write_text(junit, junit_xml(report))
    summarise(report_markdown(report))
    if recalibrate is not None and (validation.timings is not None or not report.failed):
        write_text(recalibrate, to_toml(validation.recalibrated()))
        say(f"wrote {recalibrate}")
    require_good(report, folder)
