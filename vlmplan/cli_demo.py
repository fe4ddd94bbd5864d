"""The command that shows the whole chain: demo. Imported with ``cli``."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan.cli import app, prepare
from vlmplan.report import require_good


@app.command()
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
    from vlmplan.onnx.demo import demo as run
    from vlmplan.render_demo import print_demo
    from vlmplan.render_profile import measuring

    with measuring() as tell:
        shown = run(out, threads, tell)
    print_demo(shown)
    require_good(shown.report, shown.exported)
