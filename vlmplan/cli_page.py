"""The command that shows: page. Imported with ``cli``."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan.cli import app
from vlmplan.document import check_destination, load, write_text
from vlmplan.errors import InputError


@app.command()
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
) -> None:
    """Write one HTML page about a plan, with its export and validation: charts, intervals, sources. Needs no network.

    Example: vlmplan page plan.json llava-36 --report report.json
    """
    from vlmplan.manifest import read_manifest
    from vlmplan.page import Dossier
    from vlmplan.page import page as made
    from vlmplan.plan import Plan
    from vlmplan.report import Report

    destination = out or plan.with_suffix(".html")
    check_destination(destination)
    given = {path.resolve() for path in (plan, report) if path is not None}
    if destination.resolve() in given:
        raise InputError(f"--out: {destination} is one of the documents to show; choose another file")
    dossier = Dossier(
        plan=load(Plan, plan),
        export=None if export is None else read_manifest(export),
        report=None if report is None else load(Report, report),
    )
    write_text(destination, made(dossier))
    typer.echo(f"wrote {destination}", err=True)
