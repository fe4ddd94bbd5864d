"""``vlmplan sweep``: every point of a grid trained and evaluated."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan.cli.output import prepare
from vlmplan.document import check_apart, load


def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.toml", help="LLMs, visual tokens, compressors, seeds.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; the same command goes on.")],
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="auto|ADDRESS", help="Run on this Ray cluster [default: here].")
    ] = None,
    trial_cpus: Annotated[int, typer.Option("--trial-cpus", min=1, help="With --ray: CPUs a trial takes.")] = 1,
    trial_gpus: Annotated[int, typer.Option("--trial-gpus", min=0, help="With --ray: GPUs a trial takes.")] = 0,
) -> None:
    """Train and evaluate every point of a grid, and write points.csv for fit.

    Example: vlmplan sweep docs/grids/shapes.toml --out shapes --ray auto
    """
    prepare()
    from vlmplan.sweeping import Cluster, Grid, Sweep
    from vlmplan.sweeping import sweep as run
    from vlmplan.views import print_sweep, sweep_table, voice

    check_apart({"--out": out}, (grid,))
    read = load(Grid, grid)
    cluster = None if ray is None else Cluster(address=ray, cpus=trial_cpus, gpus=trial_gpus)
    with voice() as heard, sweep_table() as show:
        results = run(Sweep(grid=read, out=out, voice=heard, show=show), cluster)
    print_sweep(results, out)
