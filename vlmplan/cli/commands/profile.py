"""``vlmplan profile``: what a machine or server does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import AnswerTimeoutOption, JsonOption, RuntimeOption, ServedModelOption, VerboseOption
from vlmplan.cli.output import deliver, prepare, say
from vlmplan.document import check_apart, check_destination, to_toml, write_text
from vlmplan.errors import Infeasible, InputError, mistyped

if TYPE_CHECKING:
    from vlmplan.measuring import Adjusted

DeviceOption = Annotated[str | None, typer.Option("--device", metavar="cpu|cuda:N", help="What to measure here [cpu].")]


PrecisionsOption = Annotated[
    str | None,
    typer.Option("--precision", help="Comma list; the first gets all trials [default: all the runtime has]."),
]


def profile(  # noqa: PLR0917 - one parameter an option
    device: DeviceOption = None,
    runtime: RuntimeOption = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, max=256, help="[default: all cores]")] = None,
    precision: PrecisionsOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer trials: under two minutes, wider intervals.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Then predict requests never seen, measure them, and print the table.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what the measurements file has.")] = False,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="Time a server: http://HOST:PORT/v1.")
    ] = None,
    from_measurements: Annotated[
        Path | None,
        typer.Option(
            "--from", "--from-measurements", metavar="FILE", help="Times of one's own, or what a benchmark wrote."
        ),
    ] = None,
    with_: Annotated[
        str | None,
        typer.Option("--with", metavar="K=V,…", help="With a file: what it lacks (visual_tokens=576,gpus=2)."),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware", help="With a server or a file: the device they ran on.", autocompletion=completion.device
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="With a server or a file: the model, as for estimate.", autocompletion=completion.model
        ),
    ] = None,
    served_model: ServedModelOption = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="With a server: send pictures, too.")] = True,
    concurrency: Annotated[
        str | None,
        typer.Option("--concurrency", metavar="N,...", help="With a server: also so many requests at once."),
    ] = None,
    timeout: AnswerTimeoutOption = "60s",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.toml", help="The profile [default: in the data folder].")
    ] = None,
    verbose: VerboseOption = False,
    json: JsonOption = False,
) -> None:
    """Measure this machine, a server, or take measurements of one's own: a hardware profile to plan with.

    Measurements go to FILE.measurements.jsonl as they are made; an interrupted run goes on from there. Without --out
    the profile of this machine goes to the user's data folder, where 'vlmplan recommend' finds it.

    Example: vlmplan profile --out my-machine.toml
    """
    prepare()
    local = {"--device": device, "--threads": threads, "--quick": quick or None, "--check": check or None,
             "--fresh": fresh or None}  # fmt: skip
    remote = {"--model": model, "--served-model": served_model, "--with": with_, "--concurrency": concurrency}
    if endpoint is None and from_measurements is None:
        _refuse({**remote, "--hardware": hardware}, "belong to --endpoint or --from")
        here = {"device": device or "cpu", "runtime": runtime, "threads": threads, "precision": precision,
                "quick": quick, "fresh": fresh, "out": out}  # fmt: skip
        _profile_here(here, check, json, verbose=verbose)
        return
    _refuse(local, "are for measuring this machine")
    if endpoint is not None and from_measurements is not None:
        raise InputError("--endpoint and --from exclude each other; give one")
    if hardware is None:
        raise InputError("--hardware: found none; expected the device that was measured, such as l40s")
    base = api.hardware_profile(hardware)
    destination = out or Path(f"{base.name}-measured.toml")
    check_destination(destination)
    check_apart({"--out": destination}, (from_measurements, hardware, model))
    if from_measurements is not None:
        _refuse({"--served-model": served_model, "--concurrency": concurrency}, "belong to --endpoint")
        adjusted = api.profile_measurements(
            from_measurements=from_measurements, hardware=base, model=model, precision=precision, runtime=runtime,
            told=_told(with_),
        )  # fmt: skip
    elif endpoint is not None:
        _refuse({"--with": with_}, "belong to --from")
        if model is None:
            raise InputError("--model: found none; expected the model that the server runs, such as llava-1.5-7b-hf")
        adjusted = _profile_endpoint(
            {"endpoint": endpoint, "hardware": base, "model": model, "served_model": served_model,
             "precision": precision, "runtime": runtime, "images": images, "concurrency": concurrency,
             "timeout": timeout}
        )  # fmt: skip
    _write(adjusted, destination, json, verbose=verbose)


def _told(text: str | None) -> dict[str, str]:
    """What a file lacks: ``visual_tokens=576,gpus=2``. Raises InputError."""
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair.strip()]
    if odd := [name for name, _, value in pairs if not name.strip() or not value.strip()]:
        raise mistyped("--with", odd[0], "NAME=VALUE with commas, such as visual_tokens=576")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _refuse(options: Mapping[str, object], why: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: {why}; leave {'it' if len(given) == 1 else 'them'} out")


@contextmanager
def _resumable() -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        say("what was measured is kept; the same command goes on from there")
        raise


def _profile_here(asked: dict[str, Any], check: bool, json: bool, *, verbose: bool) -> None:
    """Measure, write the profile, and where asked check it; the view comes first, since a check takes minutes."""
    from vlmplan.views import measuring, print_profiled, print_verdict

    with _resumable(), measuring() as tell:
        profiled = api.profile(**asked, progress=tell)
    write_text(profiled.out, to_toml(profiled.hardware))
    if not check:
        deliver(profiled.hardware, None, json, lambda: print_profiled(profiled, verbose=verbose))
        return
    if not json:
        print_profiled(profiled, verbose=verbose)
    with _resumable(), measuring() as tell:
        verdict = api.check_profile(hardware=profiled.hardware, **asked, progress=tell)
    document = {"hardware": profiled.hardware, "check": verdict}
    deliver(document, None, json, lambda: print_verdict(verdict, verbose=verbose))
    if verdict.faults:
        raise Infeasible(f"the profile does not hold: {'; '.join(verdict.faults)}")


def _profile_endpoint(asked: dict[str, Any]) -> "Adjusted":
    from vlmplan.views import measuring

    with measuring() as tell:
        return api.profile_endpoint(**asked, progress=tell)


def _write(adjusted: "Adjusted", out: Path, json: bool, *, verbose: bool) -> None:
    """Write the profile; then print it, or what it was adjusted to."""
    from vlmplan.views import print_adjusted

    write_text(out, to_toml(adjusted.hardware))
    deliver(adjusted.hardware, None, json, lambda: print_adjusted(adjusted, out, verbose=verbose))
