"""``vlmplan handover``: what existing serving stacks take for a plan."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli.output import say
from vlmplan.document import check_apart, check_destination, write_text
from vlmplan.planning import Stack


def handover(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="What recommend wrote.")],
    to: Annotated[Stack, typer.Option("--to", help="What serves.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write it [default: it is printed].")
    ] = None,
) -> None:
    """Write what a serving stack takes for a plan's replicas: Helm values, a manifest, a configuration, or commands.

    Example: vlmplan handover plan.json --to kserve --out service.json
    """
    check_destination(out)
    check_apart({"--out": out}, (plan,), "the plan itself")
    handed = api.hand_over(plan=plan, to=to, file=None if out is None else str(out))
    if out is None:
        typer.echo(handed.text, nl=False)
    else:
        write_text(out, handed.text)
        say(f"wrote {out}")
    for note in handed.notes:
        say(f"note: {note}")
    say(f"apply: {handed.apply}")
