"""``vlmplan recommend``: the model and the visual tokens that answer best within a budget."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmplan import api, inert
from vlmplan.cli import completion
from vlmplan.cli.browser import OpenOption, show_page
from vlmplan.cli.options import (
    BatchOption,
    CachedImagesOption,
    CachedTextOption,
    ConcurrencyOption,
    ConfidenceOption,
    GpusOption,
    ImageOption,
    ImagesOption,
    JsonOption,
    OutOption,
    OutputOption,
    P50Option,
    P95Option,
    P99Option,
    RateOption,
    ReplicasOption,
    RequestsOption,
    RuntimeOption,
    TextOption,
    TpotP50Option,
    TpotP95Option,
    TpotP99Option,
    TtftP50Option,
    TtftP95Option,
    TtftP99Option,
    WorkloadOption,
    percentiles,
)
from vlmplan.cli.output import deliver, say, summarise, tell_request
from vlmplan.document import check_apart, check_destination
from vlmplan.errors import Infeasible, InputError, Outdated
from vlmplan.extras import require
from vlmplan.inventory import Preference, catalogue
from vlmplan.planning import CandidateSet, FlopRule, Objective
from vlmplan.units import parse_bytes, parse_flops, parse_params, parse_percent, parse_pixels, parse_seconds, written

if TYPE_CHECKING:
    from vlmplan.planning import Plan


def _limit(flag: str, parser: Any, example: str, what: str) -> Any:
    return typer.Option(flag, parser=written(parser, flag), metavar=example, help=what)


LatencyOption = Annotated[str | None, _limit("--latency", parse_seconds, "300ms", "Limit: last token.")]
TtftOption = Annotated[str | None, _limit("--ttft", parse_seconds, "150ms", "Limit: first token.")]
TpotOption = Annotated[str | None, _limit("--tpot", parse_seconds, "20ms", "Limit: each further token.")]
FlopsOption = Annotated[str | None, _limit("--flops", parse_flops, "5TFLOP", "Limit: compute of a request.")]
MemoryOption = Annotated[str | None, _limit("--memory", parse_bytes, "20GiB", "Limit: memory of one GPU.")]
ErrorOption = Annotated[str | None, _limit("--max-error", parse_percent, "30%", "Limit: wrong answers, upper end.")]


MinimiseOption = Annotated[
    Objective,
    typer.Option(
        "--minimise", "--minimize", help="What to have least of, within the budget; all but error need --max-error."
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="Task, benchmark, mix such as reasoning=0.7,ocr=0.3, or LAW.toml [reasoning].",
        autocompletion=completion.tasks,
    ),
]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        "--hardware",
        help="A name, part of one or profile; several by commas, globs or 'all' [this machine].",
        autocompletion=completion.devices,
    ),
]
PrecisionsOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Comma list [as stored, or bf16, else fp16].",
        autocompletion=completion.precisions,
    ),
]
CandidatesOption = Annotated[CandidateSet, typer.Option(help="Checkpoints or backbones.")]
ModelsOption = Annotated[
    str | None, typer.Option("--models", metavar="GLOB,...|DIR", help="Only these, or one checkpoint's folder.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Only this one; on all devices unless told.", autocompletion=completion.model),
]
FamilyOption = Annotated[
    str | None,
    typer.Option("--family", metavar="GLOB", help="Only these families.", autocompletion=completion.family),
]
LicenceOption = Annotated[
    str | None,
    typer.Option("--license", metavar="GLOB", help="Only these licences.", autocompletion=completion.licence),
]
SizeOption = Annotated[str | None, _limit("--max-params", parse_params, "8B", "Most parameters, vision included.")]
SinceOption = Annotated[
    str | None, typer.Option("--released-after", metavar="DATE", help="Only later ones: 2025-01-31, or 2025.")
]
PriceOption = Annotated[
    str | None,
    typer.Option("--price", "--prices", metavar="PRICES", help="An hour, l4=0.7,h100=3, or a FILE.toml."),
]
UntrainedOption = Annotated[bool, typer.Option(help="Also tokens nobody trained for, or studied.")]
PreferOption = Annotated[
    Preference | None,
    typer.Option(help="How much error speed is worth: 1 point, 0.1, or none [default: balanced]."),
]
TextHeightOption = Annotated[str | None, _limit("--text-height", parse_pixels, "20px", "Smallest text in --image.")]
FlopRuleOption = Annotated[FlopRule, typer.Option(help="Whole request, or 2N(Q+V).")]
DetailOption = Annotated[bool, typer.Option("--verbose", "-v", help="Costs by part, the front, the losers, sources.")]
WhyOption = Annotated[
    str | None,
    typer.Option("--why", metavar="MODEL", help="Why this one was not chosen.", autocompletion=completion.model),
]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Draw the front (.svg or .png).")]
CheckOption = Annotated[
    Path | None,
    typer.Option("--check", metavar="PLAN.json", help="Ask a plan's question again; exit 3 if changed."),
]


@contextmanager
def _asking(count: int) -> Iterator[Callable[[str], None]]:
    """Say on a terminal which device is asked."""
    shown, done = sys.stderr.isatty(), [0]

    def tell(name: str) -> None:
        done[0] += 1
        if shown:
            typer.echo(f"\r{done[0]} of {count}: {inert.terminal(name):40}", err=True, nl=False)

    try:
        yield tell
    finally:
        if shown:
            typer.echo("\r" + " " * 60 + "\r", err=True, nl=False)


def _show_plan(plan: "Plan", out: Path | None, json: bool, plot: Path | None, *, verbose: bool) -> None:
    from vlmplan.views import print_brief, print_plan

    deliver(plan, out, json, lambda: (print_plan if verbose else print_brief)(plan, out))
    if plot is not None:
        from vlmplan.pages import plot_front

        plot_front(plan, plot)
        say(f"wrote {plot}")


def _show_why(context: typer.Context, hardware: str | None, asked: dict[str, Any], name: str) -> None:
    """Say why a model was not chosen, and which commands would choose it."""
    from vlmplan.views import print_why

    why = api.why_not(other=name, hardware=hardware, **asked)
    print_why(why, lambda options: _again(context, options, "--why"))


def _compare(names: list[str], asked: dict[str, Any], out: Path | None, json: bool, *, verbose: bool) -> None:
    from vlmplan.views import print_comparison

    with _asking(len(names)) as tell:
        comparison = api.compare(hardware=names, **asked, tell=tell)
    deliver(comparison, out, json, lambda: print_comparison(comparison, verbose=verbose))


def _check_files(out: Path | None, plot: Path | None, devices: int, read: Iterable[Path]) -> None:
    """Raise InputError where a file cannot be written, or would be written over another or over one that is read."""
    check_destination(out)
    check_apart({"--out": out, "--plot": plot}, read)
    if plot is None:
        return
    from vlmplan.pages import check_picture

    if devices > 1:
        raise InputError("--plot: draws the front of one device; found several")
    check_picture(plot)


def _given(context: typer.Context) -> dict[str, str]:
    """The options on the command line: a parameter's name, and its flag."""
    return {
        option.name: option.opts[0]
        for option in context.command.params
        if option.name is not None and getattr(context.get_parameter_source(option.name), "name", "") == "COMMANDLINE"
    }


def _why_alone(context: typer.Context, devices: int) -> None:
    """Raise InputError where --why comes with what it has no answer for: files, or several devices."""
    given = [flag for name, flag in _given(context).items() if name in ("out", "json", "plot", "verbose")]
    if given:
        raise InputError(
            f"--why: found {', '.join(given)} beside it; it prints a few lines about one model; ask without --why for "
            "the plan, or with --model for the plan of that one"
        )
    if devices > 1:
        raise InputError(f"--why: found {devices} devices; it says why a model lost on one; give one --hardware")


def _again(context: typer.Context, instead: Mapping[str, str | None], *without: str) -> str:
    """The command as it was typed, with other options in the place of those that it had; None leaves one out."""
    parts = ["vlmplan", "recommend"]
    for name, flag in _given(context).items():
        value = context.params[name]
        if flag in instead or flag in without or value is False:
            continue
        parts += [flag] if value is True else [flag, inert.argument(str(value))]
    kept = {flag: value for flag, value in instead.items() if value is not None}
    return " ".join([*parts, *(f"{flag} {inert.argument(value)}" for flag, value in kept.items())])


@contextmanager
def _with_ways(context: typer.Context) -> Iterator[None]:
    """Add to an empty answer what would be enough, as commands to paste."""
    try:
        yield
    except Infeasible as error:
        ways = error.changes
        if ways:
            error.add_note("Each of these alone would be enough:")
        for way in ways:
            error.add_note(f"- {way.what}: {way.brings}")
            error.add_note(f"  {_again(context, way.options)}")
        raise


def _check_open(devices: int, why: str | None) -> None:
    """Raise what --open cannot do, before any work."""
    if devices > 1 or why is not None:
        raise InputError(f"--open: shows the plan of one device; found {'--why' if why is not None else 'several'}")
    require("jinja2", "plotly", extra="page")


def _alone(context: typer.Context, allowed: tuple[str, ...]) -> None:
    """Raise InputError where --check comes with options that the plan already answers."""
    given = [flag for name, flag in _given(context).items() if name not in allowed]
    if given:
        raise InputError(
            f"--check: found {', '.join(given)} beside it; workload, budget and filters are the plan's own"
        )


def _recheck(path: Path, hardware: str | None, task: str | None, out: Path | None, json: bool) -> None:
    from vlmplan.planning import recheck_markdown
    from vlmplan.views import print_recheck

    check_destination(out)
    check_apart({"--out": out}, (path,), "the plan itself")
    recheck = api.recheck(plan=path, hardware=hardware, task=task)
    deliver(recheck, out, json, lambda: print_recheck(recheck))
    summarise(recheck_markdown(recheck))
    if not recheck.holds:
        raise Outdated(f"{path} does not hold any more: {recheck.faults[0]}")


def recommend(  # noqa: PLR0917 - one parameter an option
    context: typer.Context,
    text_tokens: TextOption = None,
    output_tokens: OutputOption = None,
    task: TaskOption = None,
    workload: WorkloadOption = None,
    requests: RequestsOption = None,
    hardware: DevicesOption = None,
    latency: LatencyOption = None,
    ttft: TtftOption = None,
    tpot: TpotOption = None,
    flops: FlopsOption = None,
    memory: MemoryOption = None,
    max_error: ErrorOption = None,
    minimise: MinimiseOption = Objective.ERROR,
    runtime: RuntimeOption = None,
    image: ImageOption = None,
    images: ImagesOption = None,
    batch: BatchOption = None,
    concurrency: ConcurrencyOption = None,
    cached_text_tokens: CachedTextOption = None,
    cached_images: CachedImagesOption = None,
    precision: PrecisionsOption = None,
    candidates: CandidatesOption = CandidateSet.CATALOGUE,
    models: ModelsOption = None,
    model: ModelOption = None,
    family: FamilyOption = None,
    license_: LicenceOption = None,
    max_params: SizeOption = None,
    released_after: SinceOption = None,
    price: PriceOption = None,
    gpus: GpusOption = 1,
    rate: RateOption = None,
    replicas: ReplicasOption = None,
    p50: P50Option = None,
    p95: P95Option = None,
    p99: P99Option = None,
    ttft_p50: TtftP50Option = None,
    ttft_p95: TtftP95Option = None,
    ttft_p99: TtftP99Option = None,
    tpot_p50: TpotP50Option = None,
    tpot_p95: TpotP95Option = None,
    tpot_p99: TpotP99Option = None,
    confidence: ConfidenceOption = 0.9,
    allow_untrained: UntrainedOption = False,
    prefer: PreferOption = None,
    text_height: TextHeightOption = None,
    flop_rule: FlopRuleOption = FlopRule.FULL,
    verbose: DetailOption = False,
    why: WhyOption = None,
    out: OutOption = None,
    json: JsonOption = False,
    plot: PlotOption = None,
    open_: OpenOption = False,
    check: CheckOption = None,
) -> None:
    """Find the model and the number of visual tokens that answer best within a budget.

    What is not given is assumed, and said.

    Example: vlmplan recommend

    Example: vlmplan recommend --workload document --hardware l4

    Example: vlmplan recommend --hardware l4,l40s --rate 20/s --p95 2s --task ocr

    Example: vlmplan recommend --check plan.json
    """
    if check is not None:
        _alone(context, ("check", "hardware", "task", "out", "json"))
        _recheck(check, hardware, task, out, json)
        return
    names = catalogue.devices(hardware, model) if hardware is not None or model is not None else []
    if why is not None:
        _why_alone(context, len(names))
    _check_files(
        out,
        plot,
        len(names),
        [Path(one) for one in (requests, workload, price, task, hardware, model) if one is not None],
    )
    if open_:
        _check_open(len(names), why)
    asked: dict[str, Any] = {
        "task": task, "latency": latency, "ttft": ttft, "tpot": tpot, "flops": flops, "memory": memory,
        "max_error": max_error,
        "text_tokens": text_tokens, "output_tokens": output_tokens, "image": image, "images": images, "batch": batch,
        "concurrency": concurrency, "cached_text_tokens": cached_text_tokens, "cached_images": cached_images,
        "text_height": text_height, "runtime": runtime, "precision": precision, "candidates": candidates,
        "models": models, "model": model, "family": family, "license": license_, "max_params": max_params,
        "released_after": released_after, "price": price, "gpus": gpus, "confidence": confidence,
        "allow_untrained": allow_untrained, "minimise": minimise, "prefer": prefer, "flop_rule": flop_rule,
        "workload": workload, "requests": requests, "rate": rate, "replicas": replicas,
        "percentiles": percentiles((p50, p95, p99), (ttft_p50, ttft_p95, ttft_p99), (tpot_p50, tpot_p95, tpot_p99)),
    }  # fmt: skip
    tell_request(asked)
    device = names[0] if names else None
    with _with_ways(context):
        if why is not None:
            _show_why(context, device, asked, why)
        elif len(names) <= 1:
            plan = api.recommend(hardware=device, **asked)
            _show_plan(plan, out, json, plot, verbose=verbose)
            if open_:
                show_page(api.page(plan=plan), f"vlmplan-{plan.hardware.name}")
        else:
            _compare(names, asked, out, json, verbose=verbose)
