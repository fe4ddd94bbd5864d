"""How is a grid measured? Trial by trial in this process, or one a task on a Ray cluster.

(grid, folder) -> ``points.csv`` for ``fit``. Trials lie in folders of their own, so that a sweep goes on where it was
stopped; Ray runs a task again whose worker was lost, and that goes on from its last checkpoint. On a cluster the folder
must be one that all machines share.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmplan.document import load, to_toml, write_text
from vlmplan.errors import InputError, Unavailable, VlmplanError, one_line
from vlmplan.extras import require
from vlmplan.inert import cell
from vlmplan.sweeping.grid import Grid, Trial
from vlmplan.sweeping.grid_point import QUIET, RESULT, TrialResult, draw, make_base, make_tower, run_trial
from vlmplan.training import Voice

POINTS, RUNS, GRID = "points.csv", "runs.csv", "grid.toml"
MOST_TRIES = 3
_POLL_S = 1.0
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a piece of work stands: ``waiting``, ``running``, ``done``, ``failed``; what it came to."""

    state: str
    detail: str = ""


Show = Callable[[Mapping[str, Status]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster: ``address`` (``auto`` for the one that runs here), and what each trial takes of it."""

    address: str
    cpus: int = 1
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A grid at work in a folder."""

    grid: Grid
    out: Path
    voice: Voice
    show: Show
    status: dict[str, Status] = field(default_factory=dict)

    def tell(self, name: str, state: str, detail: str = "") -> None:
        """Set and show where a piece of work stands."""
        self.status[name] = Status(state=state, detail=detail)
        self.show(self.status)


def begin(grid: Grid, out: Path) -> None:
    """Make the folder, or find it with the same grid. Raises InputError or Unavailable."""
    kept = out / GRID
    if kept.exists():
        if load(Grid, kept) != grid:
            raise InputError(f"--out: {out} holds a sweep of another grid; choose another folder")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out: {out} exists and is no sweep; choose another folder")
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{out}: cannot be made ({error.strerror})") from None
    write_text(kept, to_toml(grid))


def _said(result: TrialResult) -> str:
    return ", ".join(f"{task} {100 * one.accuracy_fraction:.1f} %" for task, one in result.by_task.items())


def points_csv(grid: Grid, results: Mapping[str, TrialResult]) -> str:
    """Return a row a trial and task, for ``fit``: the error is the share of wrong answers, the weight their number."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(["llm_params_b", "visual_tokens", "error", "task", "family", "weight", "source"])
    several = len(grid.compressors) > 1
    for result in results.values():
        given = grid.llm(result.trial.llm).llm_params_b
        size = f"{result.llm_params / 1e9:.6g}" if given is None else f"{given:g}"
        family = str(result.trial.compressor) if several else ""
        for task, one in result.by_task.items():
            error = f"{1 - one.accuracy_fraction:.6f}"
            writer.writerow(
                [size, result.trial.visual_tokens, error, cell(task), cell(family), one.questions, f"sweep {grid.name}"]
            )
    return made.getvalue()


def runs_csv(grid: Grid, results: Mapping[str, TrialResult]) -> str:
    """Return the table that ``fit --from lmms-eval`` wants: lmms-eval names a run by the end of its folder's path."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(["run", "llm_params_b", "visual_tokens", "family"])
    for name, result in results.items():
        trial = result.trial
        size = grid.llm(trial.llm).llm_params_b
        writer.writerow([cell(f"{name}__checkpoint"), size, trial.visual_tokens, str(trial.compressor)])
    return made.getvalue()


def sweep(work: Sweep, cluster: Cluster | None) -> dict[str, TrialResult]:
    """Run what is not done yet; write and return the results by trial.

    Raises InputError naming the trials that failed, after all others are done and written.
    """
    require("torch", "transformers", "accelerate", "PIL", extra="train")
    if cluster is not None:
        require("ray", extra="ray")
        _check_address(cluster.address)
    begin(work.grid, work.out)
    draw(work.grid, work.out, work.voice)
    make_tower(work.grid, work.out, work.voice)
    runner = _here(work) if cluster is None else _on_ray(work, cluster)
    results = dict(runner)
    ordered = {trial.name: results[trial.name] for trial in work.grid.trials() if trial.name in results}
    if work.grid.data is not None and work.grid.data.lmms_tasks:
        write_text(work.out / RUNS, runs_csv(work.grid, ordered))
    else:
        write_text(work.out / POINTS, points_csv(work.grid, ordered))
    failed = {name: one.detail for name, one in work.status.items() if one.state == "failed"}
    if failed:
        name, why = next(iter(failed.items()))
        raise InputError(f"{len(failed)} of {len(work.status)} pieces of work failed; {name}: {why}")
    return ordered


def _bases(grid: Grid) -> list[str]:
    return [llm.name for llm in reversed(grid.llms) if llm.made is not None]


def _here(work: Sweep) -> Iterator[tuple[str, TrialResult]]:
    """One after another in this process, with its progress."""
    grid = work.grid
    for name in (*(f"base {llm}" for llm in _bases(grid)), *(trial.name for trial in grid.trials())):
        work.tell(name, "waiting")
    for name in _bases(grid):
        work.tell(f"base {name}", "running")
        make_base(grid, work.out, grid.llm(name), work.voice)
        work.tell(f"base {name}", "done")
    for trial in grid.trials():
        work.tell(trial.name, "running")
        try:
            result = run_trial(grid, work.out, trial, work.voice)
        except VlmplanError as error:
            work.tell(trial.name, "failed", str(error))
            continue
        work.tell(trial.name, "done", _said(result))
        yield trial.name, result


def _check_address(address: str) -> None:
    """Raise Unavailable at once where nothing listens: Ray itself would try for a minute."""
    import socket

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        if address != "auto":
            raise InputError(f"--ray: found '{address}', expected auto or HOST:PORT")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: BaseException) -> Unavailable:
    why = f"no cluster answers ({one_line(error)})"
    return Unavailable(f"--ray {address}: {why}; start one with 'ray start --head'")


def _ray(cluster: Cluster) -> Any:
    """Connect, and return ray. Raises Unavailable where no cluster answers."""
    import ray

    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True)
    except Exception as error:  # a dozen types of its own, ConnectionError and ValueError among them
        raise _no_cluster(cluster.address, error) from None
    return ray


def _work_base(grid: Grid, out: Path, name: str, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    make_base(grid, out, grid.llm(name), QUIET)


def _work_trial(grid: Grid, out: Path, trial: Trial, threads: int, base: Any) -> TrialResult:
    """``base`` is the task before this one, which Ray waits for."""
    import torch

    del base
    torch.set_num_threads(threads)
    return run_trial(grid, out, trial, QUIET)


def _on_ray(work: Sweep, cluster: Cluster) -> Iterator[tuple[str, TrialResult]]:
    """One task a piece of work; a task whose worker is lost or that fails is tried again."""
    ray, grid, out = _ray(cluster), work.grid, work.out.resolve()
    options = {
        "num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_retries": MOST_TRIES, "retry_exceptions": [OSError],
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(cluster.cpus)}},
    }  # fmt: skip
    base, trial_task = ray.remote(_work_base).options(**options), ray.remote(_work_trial).options(**options)
    bases = {name: base.remote(grid, out, name, cluster.cpus) for name in _bases(grid)}
    tasks = {ref: f"base {name}" for name, ref in bases.items()}
    for trial in grid.trials():
        ref = trial_task.remote(grid, out, trial, cluster.cpus, bases.get(trial.llm))
        tasks[ref] = trial.name
    for name in tasks.values():
        work.tell(name, "waiting")
    left = list(tasks)
    try:
        while left:
            ready, left = ray.wait(left, timeout=_POLL_S)
            _mark_running(work, tasks, left)
            for ref in ready:
                result = _outcome(ray, ref, tasks[ref], work)
                if isinstance(result, TrialResult):
                    yield tasks[ref], result
    finally:
        for ref in left:
            ray.cancel(ref, force=True)
        ray.shutdown()


def _outcome(ray: Any, ref: Any, name: str, work: Sweep) -> TrialResult | None:
    """What a finished task came to, told; None for a base or a failure."""
    try:
        result: TrialResult | None = ray.get(ref)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        work.tell(name, "failed", one_line(cause))
        return None
    work.tell(name, "done", "" if result is None else _said(result))
    return result


def _mark_running(work: Sweep, tasks: Mapping[Any, str], left: list[Any]) -> None:
    """Tell which pieces have begun, by their folders."""
    for ref in left:
        name = tasks[ref]
        folder = work.out / "bases" / name.removeprefix("base ") if name.startswith("base ") else (
            work.out / "trials" / name / "checkpoint"
        )  # fmt: skip
        if work.status[name].state == "waiting" and folder.exists() and not (folder.parent / RESULT).exists():
            work.tell(name, "running")
