"""``vlmplan demo``: the whole chain on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan.cli.output import prepare
from vlmplan.proof import require_good


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for all that is made.")] = Path(
        "vlmplan-demo"
    ),
    threads: Annotated[int | None, typer.Option("--threads", min=1, max=256, help="[default: all cores]")] = None,
) -> None:
    """Profile this machine, plan for a small random checkpoint, export it compressed and prove it. No download.

    About two minutes on two cores; a second run reads what the first measured. Exit 4 where the proof falls short.

    Example: vlmplan demo
    """
    prepare()
    from vlmplan.proof import demo as run
    from vlmplan.views import measuring, print_demo

    with measuring() as tell:
        shown = run(out, threads, tell)
    print_demo(shown)
    require_good(shown.report, shown.exported)
