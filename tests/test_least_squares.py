"""Least squares of all forms: scipy's once and ours side by side agree, free and bounded D, Huber's loss."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from grids import CELLS, OCR, REASONING, law_error
from scipy.optimize import approx_fprime

from vlmplan.accuracy.law import Form, Point
from vlmplan.fitting.fit_form import FitOptions, posed
from vlmplan.fitting.least_squares import (
    Batch,
    Penalty,
    Predictor,
    Problem,
    curve,
    huber_scale,
    predicted,
    refit,
    solve,
)


def problem(points: tuple[Point, ...], form: Form, floor: float | None = None) -> Problem:
    return posed(points, form, FitOptions(floor=floor))[0]


def batch(one: Problem, weight: np.ndarray) -> Batch:
    lines = tuple(Predictor(design=design[None], offset=np.zeros((1, len(one.error)))) for design in one.designs)
    return Batch(weight=weight, predictors=lines)


@pytest.mark.parametrize("form", Form)
def test_the_derivatives_are_those_of_the_curve(form: Form) -> None:
    etas = [-3.0, -0.2, 0.0, 0.4]
    for first, second in itertools.product(etas, etas if form is Form.HILL else [0.0]):
        at = np.array([first, second] if form is Form.HILL else [first])
        found = approx_fprime(at, lambda x: float(curve(form, tuple(x))[0]), 1e-7)
        assert curve(form, tuple(at))[1] == pytest.approx(tuple(found), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("points", [REASONING, OCR], ids=["reasoning", "ocr"])
def test_side_by_side_is_one_by_one(points: tuple[Point, ...], form: Form) -> None:
    """Resampled weights: the same minima as scipy's from several starts, D at its bound and inside."""
    one = problem(points, form)
    start = solve(one).values
    weight = np.random.default_rng(3).multinomial(len(points), np.full(len(points), 1 / len(points)), 25).astype(float)
    found = refit(one, batch(one, weight), np.repeat(start, 25, axis=0))
    for index, row in enumerate(weight):
        alone = solve(replace(one, weight=row))
        assert found.cost[index] == pytest.approx(alone.cost[0], rel=1e-6)
        assert found.floor[index] == pytest.approx(alone.floor[0], abs=1e-3)


def test_a_floor_inside_the_bounds_is_found() -> None:
    error = law_error(Form.POWER, (0.5, 0.3, 0.15, 0.12))
    points = tuple(Point(llm_params_b=n, visual_tokens=v, error=error(n, v)) for n, v in CELLS)
    one = problem(points, Form.POWER)
    alone = solve(one)
    assert alone.floor[0] == pytest.approx(0.12, abs=1e-6)
    beside = refit(one, batch(one, np.ones((1, 28))), np.array([[-0.3, 0.1, 0.1]]))
    assert beside.floor[0] == pytest.approx(0.12, abs=1e-6)
    assert beside.values[0] == pytest.approx([np.log(0.5), 0.3, 0.15], abs=1e-5)


def test_a_floor_never_exceeds_the_least_error() -> None:
    """Errors that fall ever more slowly ask for a D above the least of them: it stops there."""
    error = {(n, v): 0.3 + 0.2 * n**-3.0 * v**-1.0 for n, v in CELLS}
    error[7.0, 576] -= 0.02
    points = tuple(Point(llm_params_b=n, visual_tokens=v, error=miss) for (n, v), miss in error.items())
    one = problem(points, Form.POWER)
    assert solve(one).floor[0] <= one.most_floor + 1e-9
    weight = np.random.default_rng(0).multinomial(28, np.full(28, 1 / 28), 50).astype(float)
    found = refit(one, batch(one, weight), np.repeat(solve(one).values, 50, axis=0))
    assert found.floor.max() <= one.most_floor


@pytest.mark.parametrize("form", Form)
def test_huber_shrugs_at_one_wrong_point(form: Form) -> None:
    wrong = tuple(replace(p, error=p.error + 0.1) if i == 10 else p for i, p in enumerate(REASONING))
    right, squares = solve(problem(REASONING, form, 0.0)), problem(wrong, form, 0.0)
    least = solve(squares)
    robust = replace(squares, huber=huber_scale(squares, least))
    found = solve(robust)
    assert abs(found.values - right.values).max() < 0.4 * abs(least.values - right.values).max()
    beside = refit(robust, batch(robust, np.ones((1, 28))), least.values)
    assert beside.values == pytest.approx(found.values, abs=1e-4)


def test_weights_are_like_repeated_points() -> None:
    one = problem(REASONING, Form.LOGIT)
    twice = replace(one, weight=np.where(np.arange(28) < 5, 2.0, 1.0))
    doubled = problem((*REASONING, *REASONING[:5]), Form.LOGIT)
    assert solve(twice).values == pytest.approx(solve(doubled).values, abs=1e-8)
    assert predicted(one, solve(one)).shape == (1, 28)


def test_what_is_known_beforehand_counts_as_points_do() -> None:
    """A penalty on both sides of the two solvers; with a tiny spread it holds b at what is known."""
    one = problem(REASONING, Form.HILL)
    rows = np.zeros((1, 4))
    rows[0, 1] = 10.0
    known = replace(one, penalty=Penalty(rows=rows, target=np.array([3.0])))
    alone = solve(known)
    assert alone.values[0, 1] == pytest.approx(0.3, abs=1e-3)
    beside = refit(known, batch(known, np.ones((1, 28))), solve(one).values)
    assert beside.cost == pytest.approx(alone.cost, rel=1e-6)
    moved = replace(batch(known, np.ones((1, 28))), target=np.array([[2.0]]), error=one.error[None] + 0.01)
    assert refit(known, moved, solve(one).values).values[0, 1] == pytest.approx(0.2, abs=1e-3)
