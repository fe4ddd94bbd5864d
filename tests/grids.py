"""The measured grids of arXiv 2411.03312 as the shipped tables hold them, and laws planted on their cells."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlmplan.accuracy.law import Form, Point
from vlmplan.fitting.point_tables import points, read_points

TABLES = Path(__file__).resolve().parents[1] / "tools" / "points"
CELLS = [(n, v) for n in (0.5, 1.8, 4.0, 7.0) for v in (1, 4, 16, 36, 64, 144, 576)]


def grid(name: str, without: tuple[float, float] | None = None) -> tuple[Point, ...]:
    """The points of one grid, less one cell."""
    rows, _ = read_points(TABLES / f"{name}.csv")
    return points([row for row in rows if (row.llm_params_b, row.visual_tokens) != without])


REASONING = grid("reasoning")
OCR = grid("ocr", without=(7.0, 576.0))  # equal to 4B at 576 to ten digits


def law_error(form: Form, values: tuple[float, ...]) -> Callable[[float, float], float]:
    """The error of a law at (N, V); ``values`` are (a, b, c), (A, alpha, beta, D) or hill's (a, b, c, d)."""

    def error(n: float, v: float) -> float:
        if form is Form.LOGIT:
            return 1 / (1 + math.exp(-(values[0] - values[1] * math.log(n) - values[2] * math.log(v))))
        if form is Form.HILL:
            kept = 1 / (1 + math.exp(-values[2] * (math.log(v) - values[3])))
            return 1 - kept / (1 + math.exp(values[0] - values[1] * math.log(n)))
        return float(values[0] * math.pow(n, -values[1]) * math.pow(v, -values[2]) + values[3])

    return error


def planted(
    form: Form, values: tuple[float, ...], noise_sd: float = 0.0, seed: int = 0, family: str = ""
) -> tuple[Point, ...]:
    """Points of a law on the paper's cells, with normal noise in error."""
    noise = np.random.default_rng(seed).normal(0, noise_sd, len(CELLS))
    error = law_error(form, values)
    return tuple(
        Point(llm_params_b=n, visual_tokens=v, error=error(n, v) + float(miss), family=family)
        for (n, v), miss in zip(CELLS, noise, strict=True)
    )
