"""The commands that need torch, transformers and ONNX Runtime: export, validate, run. Imported with ``cli``."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmplan import catalogue
from vlmplan.cli import CompressorOption, JsonOption, OutOption, app, deliver, prepare, say, summarise
from vlmplan.document import check_destination, load, to_toml, write_text
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.model import Compressor
from vlmplan.report import Check

if TYPE_CHECKING:
    from vlmplan.onnx.validate import Options
    from vlmplan.training.evaluate import Question


class Provider(enum.StrEnum):
    """Where ONNX Runtime runs."""

    CPU = "cpu"
    CUDA = "cuda"


CheckpointOption = Annotated[
    str | None, typer.Option("--checkpoint", metavar="DIR|HUB-ID", help="Weights as safetensors, with config.json.")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="A learned compressor's .safetensors.")
]
PlanOption = Annotated[Path | None, typer.Option("--plan", help="Plan to hold times against [default: the export's].")]
ProviderOption = Annotated[Provider, typer.Option("--provider", help="Where ONNX Runtime runs.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, help="Threads of an operator [default: ONNX Runtime's].")
]


@app.command()
def export(  # noqa: PLR0917 - one parameter an option
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")],
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN.json]", help="What recommend wrote.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Catalogue name: its hub id is the checkpoint.")] = None,
    checkpoint: CheckpointOption = None,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, help="Per image [default: the plan's, or all].")
    ] = None,
    compressor: CompressorOption = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="fp32, fp16, int8 or int4 [default: the plan's, or fp32].")
    ] = None,
    base_precision: Annotated[
        Precision | None, typer.Option("--base-precision", help="Of what is not quantised: fp32 or fp16.")
    ] = None,
    weights: WeightsOption = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="A learned compressor at random, for a trial.")
    ] = False,
    query: Annotated[str | None, typer.Option("--query", help="QueCC: one question, baked in.")] = None,
    all_logits: Annotated[bool, typer.Option("--all-logits", help="Logits of every token, not the last.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an export at --out.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a checkpoint as ONNX, with the plan's number of visual tokens, for ONNX Runtime and transformers.js.

    Example: vlmplan export plan.json --checkpoint llava-hf/llava-1.5-7b-hf --out llava-36
    """
    prepare()
    if model is not None and checkpoint is not None:
        raise InputError("--model and --checkpoint both say what to export; give one")
    from vlmplan.onnx.export import export as write
    from vlmplan.onnx.order import Choices, order
    from vlmplan.plan import Plan
    from vlmplan.render_deploy import print_export, progress

    read = None if plan is None else load(Plan, plan)
    asked = Choices(
        checkpoint=checkpoint or (None if model is None else catalogue.model(model).name),
        visual_tokens=visual_tokens,
        compressor=compressor,
        precision=precision,
        base_precision=base_precision,
        weights=weights,
        random_weights=random_weights,
        query=query,
        all_logits=all_logits,
    )
    with progress() as tell:
        manifest = write(order(asked, read), out, tell, replace)
    deliver(manifest, None, json, lambda: print_export(manifest, out))


def _check_destinations(folder: Path, destinations: tuple[Path | None, ...]) -> None:
    """Raise InputError where a report cannot be written, would spoil the export or another report."""
    given = [path for path in destinations if path is not None]
    for path in given:
        check_destination(path)
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: lies in the export that is validated; choose another file")
    if len({path.resolve() for path in given}) < len(given):
        raise InputError("--out, --junit and --recalibrate name the same file; give each its own")


@app.command()
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
    from vlmplan import report as reports
    from vlmplan.onnx.validate import Options, Validator
    from vlmplan.plan import Plan
    from vlmplan.render_deploy import print_report, progress

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
            report = reports.with_check(report, _answers(folder, report.checkpoint, options, asked, tell))
    deliver(report, out, json, lambda: print_report(report))
    if junit is not None:
        write_text(junit, reports.junit(report))
    summarise(reports.markdown(report))
    if recalibrate is not None and (found.timings is not None or not report.failed):
        write_text(recalibrate, to_toml(found.recalibrated()))
        say(f"wrote {recalibrate}")
    reports.require_good(report, folder)


def _questions(path: Path | None, images: Path | None) -> "tuple[Question, ...] | None":
    """Read the questions, before any work. Raises InputError where one of the two options is missing."""
    from vlmplan.training.evaluate import read_questions

    if (path is None) is not (images is None):
        raise InputError("--questions, --images: found one of them; expected both or neither")
    return None if path is None or images is None else read_questions(path, images)


def _answers(
    folder: Path, checkpoint: str | None, options: "Options", questions: "tuple[Question, ...]", tell: Any
) -> Check:
    """The check of answers, question by question."""
    from vlmplan.training.evaluate import answers_check, beside, open_subject

    ours = open_subject(str(folder), None, options.provider, options.threads)
    return answers_check(ours, beside(ours, checkpoint or "", options.weights, options.threads), questions, tell)


@app.command()
def run(  # noqa: PLR0917 - one parameter an option
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What export wrote.")],
    image: Annotated[Path, typer.Option("--image", metavar="FILE", help="A picture.")],
    prompt: Annotated[str, typer.Option("--prompt", help="A question about it.")],
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, max=100_000, help="Longest answer.")] = 64,
    provider: ProviderOption = Provider.CPU,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Ask an export about a picture; the answer on stdout, its timings on stderr.

    Example: vlmplan run llava-36 --image photo.jpg --prompt 'What is this?'
    """
    prepare()
    from vlmplan.onnx.answer import answer
    from vlmplan.render_deploy import print_answer

    found = answer(folder, image, prompt, max_tokens, provider.value, threads)
    deliver(found, None, json, lambda: print_answer(found))
