"""``vlmplan profile``: what a machine or server does."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmplan.document import check_destination, to_toml, write_text
from vlmplan.errors import Infeasible, InputError, printable
from vlmplan.hardware import HardwareProfile, Precision, Runtime
from vlmplan.planning import catalogue
from vlmplan.units import parse_seconds

if TYPE_CHECKING:
    from vlmplan.measuring import Adjusted, Order
from vlmplan.cli.options import (
    JsonOption,
    RuntimeOption,
)
from vlmplan.cli.output import deliver, prepare, say

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
        Path | None, typer.Option("--from-measurements", metavar="CSV", help="Times of one's own; five already matter.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", help="With a server or a CSV: the device they ran on.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="With a server: the model, as for estimate.")] = None,
    served_model: Annotated[
        str | None, typer.Option("--served-model", help="The model's name there [default: the only one it lists].")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="With a server: send pictures, too.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", parser=parse_seconds, metavar="60s", help="Longest time of a whole answer.")
    ] = "60s",  # type: ignore[assignment]
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.toml", help="The profile [default: named after the device].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure this machine, a server, or take measurements of one's own: a hardware profile to plan with.

    Measurements go to FILE.measurements.jsonl as they are made; an interrupted run goes on from there.

    Example: vlmplan profile --out my-machine.toml
    """
    prepare()
    local = {"--device": device, "--threads": threads, "--quick": quick or None, "--check": check or None,
             "--fresh": fresh or None}  # fmt: skip
    remote = {"--model": model, "--served-model": served_model}
    if endpoint is None and from_measurements is None:
        _refuse({**remote, "--hardware": hardware}, "belong to --endpoint or --from-measurements")
        _profile_here(_order(device or "cpu", runtime, threads, precision, quick, fresh, out), check, json)
        return
    _refuse({**local, "--precision": None if endpoint else precision}, "are for measuring this machine")
    if endpoint is not None and from_measurements is not None:
        raise InputError("--endpoint and --from-measurements exclude each other; give one")
    if hardware is None:
        raise InputError("--hardware: found none; expected the device that was measured, such as l40s")
    base = catalogue.hardware(hardware)
    engine = runtime or base.default_runtime
    destination = out or Path(f"{base.name}-measured.toml")
    check_destination(destination)
    if from_measurements is not None:
        _refuse(remote, "belong to --endpoint")
        _profile_from_csv(from_measurements, base, engine, destination, json)
    elif endpoint is not None:
        if model is None:
            raise InputError("--model: found none; expected the model that the server runs, such as llava-1.5-7b-hf")
        _profile_endpoint((endpoint, served_model, timeout, images), model, precision, base, engine, destination, json)


def _refuse(options: Mapping[str, object], why: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: {why}; leave {'it' if len(given) == 1 else 'them'} out")


def _precisions(text: str | None, known: Sequence[Precision]) -> tuple[Precision, ...]:
    """A comma list of precisions, all of them known to the runtime."""
    if text is None:
        return tuple(known)
    names = [part.strip() for part in text.split(",")]
    wrong = [name for name in names if name not in known]
    if wrong or len(set(names)) < len(names):
        raise InputError(f"--precision: found '{text[:60]}', expected a list of {', '.join(known)}")
    found = [Precision(name) for name in names]
    if found[0] is not known[0]:
        raise InputError(f"--precision: the first is {found[0]}; expected {known[0]}, which the others build on")
    return tuple(found)


def _order(  # noqa: PLR0917 - the options, in order
    device: str,
    runtime: Runtime | None,
    threads: int | None,
    precision: str | None,
    quick: bool,
    fresh: bool,
    out: Path | None,
) -> "Order":
    from vlmplan.hardware import setup
    from vlmplan.measuring import Effort, Order, precisions_of

    found = setup(device, runtime or Runtime.ONNXRUNTIME, threads)
    precisions = _precisions(precision, precisions_of(found))
    return Order(
        setup=found,
        effort=Effort.QUICK if quick else Effort.DEFAULT,
        precisions=precisions[:1] if quick and precision is None else precisions,
        out=out or Path(f"{found.name}.toml"),
        fresh=fresh,
    )


@contextmanager
def _resumable() -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        say("what was measured is kept; the same command goes on from there")
        raise


def _profile_here(order: "Order", check: bool, json: bool) -> None:
    from vlmplan.measuring import check_here, profile_here
    from vlmplan.views import measuring, print_profiled, print_verdict

    with _resumable(), measuring() as tell:
        profiled = profile_here(order, tell)
    write_text(order.out, to_toml(profiled.hardware))
    if not check:
        deliver(profiled.hardware, None, json, lambda: print_profiled(profiled, order.out))
        return
    if not json:
        print_profiled(profiled, order.out)
    with _resumable(), measuring() as tell:
        verdict = check_here(order, profiled.hardware, tell)
    document = {"hardware": profiled.hardware, "check": verdict}
    deliver(document, None, json, lambda: print_verdict(verdict))
    if verdict.faults:
        raise Infeasible(f"the profile does not hold: {'; '.join(verdict.faults)}")


def _write(found: "Adjusted", out: Path, json: bool) -> None:
    """Write the profile; then print it, or what it was adjusted to."""
    from vlmplan.views import print_adjusted

    write_text(out, to_toml(found.hardware))
    deliver(found.hardware, None, json, lambda: print_adjusted(found, out))


def _profile_from_csv(path: Path, base: HardwareProfile, engine: Runtime, out: Path, json: bool) -> None:
    from vlmplan.measuring import adjusted, read_measurements

    observed = read_measurements(path, base, engine, catalogue.model)
    found = adjusted(base, catalogue.typical(), engine, observed, f"{len(observed)} times of {path.name}")
    _write(found, out, json)


def _profile_endpoint(  # noqa: PLR0917 - the options, in order
    server: tuple[str, str | None, float, bool],
    model: str,
    precision: str | None,
    base: HardwareProfile,
    engine: Runtime,
    out: Path,
    json: bool,
) -> None:
    from vlmplan.measuring import Endpoint, adjusted, interrogate, observations_of, probes
    from vlmplan.models import check_own, own_precision
    from vlmplan.views import measuring

    url, name, timeout_s, images = server
    spec = catalogue.model(model)
    known = [one for one in Precision if one in base.peak_flops_per_s or one in (Precision.INT8, Precision.INT4)]
    if precision is not None and precision not in known:
        raise InputError(f"--precision: found '{precision[:40]}', expected one of {', '.join(known)}")
    check_own(spec, Precision(precision) if precision else None)
    usual = own_precision(spec) or base.default_precision(engine) or Precision.BF16
    chosen = Precision(precision) if precision else usual
    key = os.environ.get("OPENAI_API_KEY", "").strip() or None
    server_asked = Endpoint(url=url, model=name or "", timeout_s=timeout_s, key=key)
    listed = server_asked.served_models()
    if name is None and len(listed) != 1:
        shown = server_asked.hidden(", ".join(listed[:6]))
        raise InputError(f"--served-model: the server lists {shown or 'none'}; name one")
    asked = Endpoint(url=url, model=name or listed[0], timeout_s=timeout_s, key=key)
    with measuring() as tell:
        answered = interrogate(asked, probes(images and spec.vision is not None), tell)
    observed = observations_of(answered, spec, chosen)
    source = printable(asked.hidden(f"{asked.model} at {asked.host}: {len(observed)} times"))
    found = adjusted(base, catalogue.typical(), engine, observed, source)
    _write(found, out, json)
