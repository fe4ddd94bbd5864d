"""``vlmplan explore``: a page that asks again whenever a slider moves."""

from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.browser import show_address
from vlmplan.cli.commands.recommend import LatencyOption, TtftOption
from vlmplan.cli.options import ImageOption
from vlmplan.cli.output import prepare, say
from vlmplan.errors import InputError
from vlmplan.inventory import catalogue
from vlmplan.planning import INTERACTIVE

USUAL_IMAGE = "1024x768"


def _device(text: str | None) -> str:
    """The one device that a name means, as the page's list has it; "" for this machine. Raises InputError."""
    if text is None:
        return ""
    devices = catalogue.devices(text, None)
    if len(devices) > 1:
        raise InputError(f"--hardware: the page starts with one device; found {len(devices)}")
    return devices[0]


def explore(  # noqa: PLR0917 - one parameter an option
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware",
            help="Device to start with: a name or a profile [this machine].",
            autocompletion=completion.device,
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            "--task", help="Task to start with: a task, a mix, or a LAW.toml.", autocompletion=completion.tasks
        ),
    ] = INTERACTIVE.task,
    latency: LatencyOption = None,
    ttft: TtftOption = None,
    text_tokens: Annotated[int, typer.Option("--text-tokens", min=0, help="To start with.")] = INTERACTIVE.text_tokens,
    output_tokens: Annotated[
        int, typer.Option("--output-tokens", min=1, help="To start with.")
    ] = INTERACTIVE.output_tokens,
    image: ImageOption = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="RATE", help="Requests that come: 20/s.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 for a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Show it in the browser at once.")] = True,
) -> None:
    """Move sliders and see the plan change: a page in the browser, served on this machine alone.

    Every answer comes with the command that gives the same. Ctrl-C ends it.

    Example: vlmplan explore --hardware l4 --latency 300ms
    """
    from vlmplan.pages import Explorer, Loopback, Offer

    device = _device(hardware)
    profiles = {one.name: f"{one.title} ({one.name})" for one in api.catalogue("hardware")}
    evidence = catalogue.evidence()
    tasks = [*evidence.tasks, *(one.name for one in evidence.benchmarks), task]
    start = {
        "hardware": device, "task": task, "latency": latency, "ttft": ttft, "image": image or USUAL_IMAGE, "rate": rate,
        "text_tokens": str(text_tokens), "output_tokens": str(output_tokens),
    }  # fmt: skip
    explorer = Explorer(
        offer=Offer(
            devices={"": "this machine", **profiles, device: profiles.get(device, device or "this machine")},
            tasks=tuple(dict.fromkeys(tasks)),
            start={name: value for name, value in start.items() if value is not None},
        ),
        recommend=api.recommend,
        estimate=api.estimate,
        count=api.tokens,
    )
    prepare()
    files = explorer.files()
    if device:  # of this machine too little may be known, which the page says
        explorer.check()
    shown = None
    with Loopback(files, explorer.answer, port) as server:
        typer.echo(server.url)
        try:
            shown = show_address(server.url) if open_ else None
            if open_ and shown is None:
                say(
                    "no browser can be opened here; open the address in one. From another machine: "
                    f"ssh -L {server.server_port}:127.0.0.1:{server.server_port} THIS-MACHINE, then the same address"
                )
            say("Ctrl-C ends it")
            server.serve_forever()
        finally:
            if shown is not None:
                shown.unlink(missing_ok=True)
