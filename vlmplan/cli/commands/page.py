"""``vlmplan page``: one HTML page about a plan."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli.browser import OpenOption, show
from vlmplan.cli.output import say
from vlmplan.document import check_apart, check_destination, write_text


def page(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="What recommend wrote.")],
    export: Annotated[
        Path | None, typer.Argument(metavar="[EXPORT]", help="The folder that export made of it.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.json", help="What validate --out wrote of that export.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="The page [default: the plan's name, .html].")
    ] = None,
    open_: OpenOption = False,
) -> None:
    """Write one HTML page about a plan, with its export and validation: charts, intervals, sources. Needs no network.

    Example: vlmplan page plan.json llava-36 --report report.json
    """
    from vlmplan.planning import Plan

    read = api.load(Plan, plan)
    destination = out or plan.with_suffix(".html")
    check_destination(destination)
    check_apart({"--out": destination}, (plan, report), "one of the documents to show")
    write_text(destination, api.page(plan=read, export=export, report=report))
    say(f"wrote {destination}")
    if open_:
        show(destination)
