"""``vlmplan recommend``: the model and the visual tokens that answer best within a budget."""

import enum
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmplan import inert
from vlmplan.document import check_destination, load
from vlmplan.errors import InputError, Outdated
from vlmplan.planning import Preference, Shelf, catalogue
from vlmplan.units import parse_bytes, parse_flops, parse_params, parse_pixels, parse_seconds

if TYPE_CHECKING:
    from vlmplan.hardware import Prices
    from vlmplan.models import Workload
    from vlmplan.planning import Asked, Budget
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
    RuntimeOption,
    check_confidence,
    workload_of,
)
from vlmplan.cli.output import deliver, say, summarise


class CandidateSet(enum.StrEnum):
    """Where candidates come from."""

    CATALOGUE = "catalogue"
    PAPER = "paper"


class FlopRule(enum.StrEnum):
    """What ``--flops`` counts."""

    FULL = "full"
    PAPER = "paper"


def _limit(flag: str, parser: Any, example: str, what: str) -> Any:
    return typer.Option(flag, parser=parser, metavar=example, help=what)


LatencyOption = Annotated[float | None, _limit("--latency", parse_seconds, "300ms", "Limit: last token.")]


TtftOption = Annotated[float | None, _limit("--ttft", parse_seconds, "150ms", "Limit: first token.")]


TpotOption = Annotated[float | None, _limit("--tpot", parse_seconds, "20ms", "Limit: each further token.")]


FlopsOption = Annotated[float | None, _limit("--flops", parse_flops, "5TFLOP", "Limit: compute of a request.")]


MemoryOption = Annotated[float | None, _limit("--memory", parse_bytes, "20GiB", "Limit: memory of one GPU.")]


ALL_DEVICES = "all"


def _devices(text: str | None, model: str | None) -> list[str]:
    """The devices meant: one name, a comma list, globs of names, or all; of one model, all unless told."""
    if text is None:
        if model is None:
            raise InputError("--hardware: found none; expected a device, a comma list, 'all', or --model and no device")
        text = ALL_DEVICES
    known = catalogue.names(Shelf.HARDWARE)
    found: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        if item == ALL_DEVICES:
            found += known
        elif "*" in item or "?" in item:
            matching = [name for name in known if fnmatch(name, item.casefold())]
            if not matching:
                raise InputError(f"--hardware: no device matches '{item}'; 'vlmplan catalogue hardware' lists all")
            found += matching
        else:
            catalogue.hardware(item)  # a wrong name is an error, not a device that meets no budget
            found.append(item)
    by_path = {catalogue.find(Shelf.HARDWARE, item).resolve(): item for item in reversed(found)}
    return sorted(by_path.values(), key=found.index)


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


def _prices(path: Path | None, devices: list[str]) -> "Prices | None":
    from vlmplan.hardware import read_prices

    if path is None:
        return None
    own = [catalogue.hardware(device).name for device in devices if device.endswith(".toml")]
    return read_prices(path, (*catalogue.names(Shelf.HARDWARE), *own))


def _recommend_one(  # noqa: PLR0917 - what was asked, and what to do with the answer
    asked: "Asked",
    workload: "Workload",
    budget: "Budget",
    prices: "Prices | None",
    out: Path | None,
    json: bool,
    plot: Path | None,
) -> None:
    from vlmplan.planning import query
    from vlmplan.planning import recommend as find
    from vlmplan.views import check_picture, plot_front, print_plan

    check_picture(plot)
    if plot is not None and out is not None and plot.resolve() == out.resolve():
        raise InputError(f"--out and --plot: both are {out}; expected two files")
    plan = find(query(asked, workload, budget), prices)
    deliver(plan, out, json, lambda: print_plan(plan))
    if plot is not None:
        plot_front(plan, plot)
        say(f"wrote {plot}")


def _recommend_several(  # noqa: PLR0917 - what was asked, and what to do with the answer
    names: list[str],
    asked: "Asked",
    workload: "Workload",
    budget: "Budget",
    prices: "Prices | None",
    out: Path | None,
    json: bool,
) -> None:
    from vlmplan.planning import compare, query
    from vlmplan.planning import recommend as find
    from vlmplan.views import print_comparison

    def ask(name: str) -> Any:
        return find(query(replace(asked, hardware=name), workload, budget), prices)

    with _asking(len(names)) as tell:
        found = compare(names, ask, budget, prices, tell)
    deliver(found, out, json, lambda: print_comparison(found))


def _alone(context: typer.Context, allowed: tuple[str, ...]) -> None:
    """Raise InputError where --check comes with options that the plan already answers."""
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name is not None
        and option.name not in allowed
        and getattr(context.get_parameter_source(option.name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise InputError(
            f"--check: found {', '.join(given)} beside it; workload, budget and filters are the plan's own"
        )


def _recheck(path: Path, hardware: str | None, task: str | None, out: Path | None, json: bool) -> None:
    from vlmplan.planning import Plan, markdown, recheck
    from vlmplan.views import print_recheck

    check_destination(out)
    if out is not None and out.resolve() == path.resolve():
        raise InputError(f"--out: {out} is the plan itself; choose another file")
    found = recheck(load(Plan, path), hardware, task, path.parent)
    deliver(found, out, json, lambda: print_recheck(found))
    summarise(markdown(found))
    if not found.holds:
        raise Outdated(f"{path} does not hold any more: {found.faults[0]}")


def recommend(  # noqa: PLR0917 - one parameter an option
    context: typer.Context,
    text_tokens: Annotated[
        int | None, typer.Option("--text-tokens", help="Prompt tokens, template included. [required]")
    ] = None,
    output_tokens: Annotated[int | None, typer.Option("--output-tokens", help="Tokens generated. [required]")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="Task or benchmark, a mix such as reasoning=0.7,ocr=0.3, or a LAW.toml. [required]"
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option("--hardware", help="Device: a name, a part of one, a profile; a comma list, globs or 'all'."),
    ] = None,
    latency: LatencyOption = None,
    ttft: TtftOption = None,
    tpot: TpotOption = None,
    flops: FlopsOption = None,
    memory: MemoryOption = None,
    runtime: RuntimeOption = None,
    image: ImageOption = "1024x768",
    images: ImagesOption = 1,
    batch: BatchOption = 1,
    concurrency: ConcurrencyOption = 1,
    cached_text_tokens: CachedTextOption = 0,
    cached_images: CachedImagesOption = False,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Comma list [default: as stored, or bf16, else fp16].")
    ] = None,
    candidates: Annotated[
        CandidateSet, typer.Option(help="Checkpoints, or backbones to train.")
    ] = CandidateSet.CATALOGUE,
    models: Annotated[
        str | None, typer.Option("--models", metavar="GLOB|DIR", help="Only these, or one checkpoint's folder.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this one; on all devices unless told.")] = None,
    family: Annotated[str | None, typer.Option("--family", metavar="GLOB", help="Only these families.")] = None,
    license_: Annotated[str | None, typer.Option("--license", metavar="GLOB", help="Only these licences.")] = None,
    max_params: Annotated[
        float | None, _limit("--max-params", parse_params, "8B", "Most parameters, vision included.")
    ] = None,
    released_after: Annotated[
        str | None, typer.Option("--released-after", metavar="DATE", help="Only later ones: 2025-01-31, or 2025.")
    ] = None,
    price: Annotated[
        Path | None, typer.Option("--price", metavar="FILE.toml", help="Prices an hour: adds costs of requests.")
    ] = None,
    gpus: GpusOption = 1,
    confidence: ConfidenceOption = 0.9,
    allow_untrained: Annotated[
        bool, typer.Option(help="Also tokens nobody trained for, and pixels or tokens below all studies.")
    ] = False,
    prefer: Annotated[
        Preference, typer.Option(help="How much error speed is worth: 1 point, 0.1, or none.")
    ] = Preference.BALANCED,
    text_height: Annotated[
        float | None,
        typer.Option("--text-height", parser=parse_pixels, metavar="20px", help="Smallest text in --image."),
    ] = None,
    flop_rule: Annotated[FlopRule, typer.Option(help="Whole request, or 2N(Q+V).")] = FlopRule.FULL,
    out: OutOption = None,
    json: JsonOption = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the front (.svg or .png).")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="PLAN.json", help="Ask again what a plan was asked; exit 3 if it would change."
        ),
    ] = None,
) -> None:
    """Find the model and the number of visual tokens that answer best within a budget.

    Example: vlmplan recommend --hardware l4 --latency 300ms --task reasoning --text-tokens 50 --output-tokens 32

    Example: vlmplan recommend --check plan.json
    """
    from vlmplan.planning import Asked, Budget

    if check is not None:
        _alone(context, ("check", "hardware", "task", "out", "json"))
        _recheck(check, hardware, task, out, json)
        return
    if text_tokens is None or output_tokens is None or task is None:
        missing = {"--text-tokens": text_tokens, "--output-tokens": output_tokens, "--task": task}
        raise InputError(f"missing {', '.join(name for name, value in missing.items() if value is None)}")
    check_confidence(confidence)
    check_destination(out)
    workload = workload_of(
        (text_tokens, output_tokens), image, images, batch, concurrency, (cached_text_tokens, cached_images)
    )
    workload = replace(workload, text_height_px=text_height)
    budget = Budget(latency_s=latency, ttft_s=ttft, tpot_s=tpot, flops=flops, memory_bytes=memory)
    devices = _devices(hardware, model)
    asked = Asked(
        hardware=devices[0],
        runtime=runtime,
        task=task,
        precisions=precision,
        paper=candidates is CandidateSet.PAPER,
        models=models,
        model=model,
        family=family,
        license=license_,
        max_params=max_params,
        released_after=released_after,
        gpus=gpus,
        confidence=confidence,
        allow_untrained=allow_untrained,
        paper_flops=flop_rule is FlopRule.PAPER,
        prefer=prefer,
    )
    prices = _prices(price, devices)
    if len(devices) == 1:
        _recommend_one(asked, workload, budget, prices, out, json, plot)
        return
    if plot is not None:
        raise InputError("--plot: draws the front of one device; found several")
    _recommend_several(devices, asked, workload, budget, prices, out, json)
