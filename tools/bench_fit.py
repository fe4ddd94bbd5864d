"""Time ``fit`` against the exhaustive grid of the released script, in one run on one core.

The grid is that of github.com/locuslab/llava-token-compression scaling_law_code/objective.py (50 x 100 x 100 x 10
values of A, alpha, beta, D; the script itself stops after a random fifth). It is searched here with numpy, which is
kind to it; the script's own loops are timed on a sample and scaled up. Run: ``taskset -c 0 python tools/bench_fit.py``.
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlmplan.accuracy.law import Form, Point
from vlmplan.fitting.fit import fit_law
from vlmplan.fitting.fit_form import FitOptions
from vlmplan.fitting.least_squares import Problem, solve
from vlmplan.fitting.point_tables import points, read_points

TABLE = Path(__file__).with_name("points") / "reasoning.csv"
AXES = (np.linspace(0.2, 0.7, 50), np.linspace(0, 0.2, 100), np.linspace(0, 0.05, 100), np.linspace(0, 0.3, 10))
SAMPLE = 3000


def exhaustive(found: tuple[Point, ...]) -> float:
    """Least squared error of the whole grid, vectorised over A, D and the points."""
    n, v, error = (np.array([getattr(p, name) for p in found]) for name in ("llm_params_b", "visual_tokens", "error"))
    scale, floor = AXES[0][:, None, None], AXES[3][None, :, None]
    least = np.inf
    for alpha in AXES[1]:
        for beta in AXES[2]:
            missed = scale * (n**-alpha * v**-beta) + floor - error
            least = min(least, float(np.einsum("adp,adp->ad", missed, missed).min()))
    return least


def looped(found: tuple[Point, ...]) -> None:
    """The script's way, one combination and point at a time, on a sample."""
    for scale, alpha, beta, floor in itertools.islice(itertools.product(*AXES), SAMPLE):
        loss = 0.0
        for point in found:
            predicted = scale * 1 / point.llm_params_b**alpha * 1 / (point.visual_tokens**beta) + floor
            loss += (predicted - point.error) ** 2


def once(found: tuple[Point, ...]) -> float:
    """Squared error of one fit of ``power``, D between 0 and the least error."""
    design = np.array([[1.0, -np.log(p.llm_params_b), -np.log(p.visual_tokens)] for p in found])
    error = np.array([p.error for p in found])
    one = Problem(form=Form.POWER, design=design, error=error, weight=np.ones(len(error)), floor=None)
    return float(solve(one).cost[0])


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of some work."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print times and squared errors."""
    found = points(read_points(TABLE)[0])
    once(found)  # imports scipy
    command = [sys.executable, "-m", "vlmplan", "fit", str(TABLE), "--json"]
    whole = seconds(lambda: subprocess.run(command, check=True, capture_output=True), 5)
    law = seconds(lambda: fit_law(found, FitOptions()), 5)
    fit, grid = seconds(lambda: once(found), 9), seconds(lambda: exhaustive(found), 1)
    combinations = int(np.prod([len(axis) for axis in AXES]))
    loops = seconds(lambda: looped(found), 3) * combinations / SAMPLE
    print(f"command, cold: three forms, 2 x 2000 draws, profiles, left out: {whole:.2f} s")
    print(f"the same in a running process: {law:.2f} s")
    print(f"one fit of power, 8 starts: {1e3 * fit:.1f} ms, squared error {once(found):.6f}")
    print(
        f"exhaustive grid, numpy: {grid:.1f} s, squared error {exhaustive(found):.6f}: {grid / fit:.0f} times one fit"
    )
    print(f"exhaustive grid, the script's loops (scaled from {SAMPLE}): {loops:.0f} s: {loops / fit:.0f} times a fit")


if __name__ == "__main__":
    main()
