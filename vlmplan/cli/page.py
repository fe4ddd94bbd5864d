"""``vlmplan page``: one HTML page about a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmplan.document import check_destination, load, write_text
from vlmplan.errors import InputError

if TYPE_CHECKING:
    from vlmplan.exporting import Manifest
    from vlmplan.planning import Plan
from vlmplan.cli.output import say


def _of_plan(plan: "Plan", folder: Path) -> "Manifest":
    """The manifest of an export. Raises InputError where it is not of the plan."""
    from vlmplan.exporting import read_manifest
    from vlmplan.proof import Outcome, plan_matches

    manifest = read_manifest(folder)
    checked = plan_matches(plan, manifest)
    if checked.outcome is Outcome.FAILED:
        raise InputError(f"{folder} is no export of this plan: {checked.detail}")
    return manifest


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
    from vlmplan.planning import Plan
    from vlmplan.proof import Report
    from vlmplan.views import Dossier
    from vlmplan.views import page as made

    read = load(Plan, plan)
    destination = out or plan.with_suffix(".html")
    check_destination(destination)
    given = {path.resolve() for path in (plan, report) if path is not None}
    if destination.resolve() in given:
        raise InputError(f"--out: {destination} is one of the documents to show; choose another file")
    dossier = Dossier(
        plan=read,
        export=None if export is None else _of_plan(read, export),
        report=None if report is None else load(Report, report),
    )
    write_text(destination, made(dossier))
    say(f"wrote {destination}")
