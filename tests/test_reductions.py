"""What is left of a score: curves that rise, end, and know less outside what was studied."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.accuracy.reductions import Curve, Uncertain
from vlmplan.errors import InputError


def curve(**changes: object) -> Curve:
    """A curve of a benchmark that is read half at 200 pixels."""
    usual = {
        "log_scale": Uncertain(value=math.log(200), sd=0.1), "model_sd": 0.4, "steepness": 2.0, "least": 100.0,
        "studies": 3, "families": {"Known": Uncertain(value=-0.5, sd=0.2)},
    }  # fmt: skip
    return Curve(**{**usual, **changes})  # type: ignore[arg-type]


def test_by_hand() -> None:
    """kept(200) = 1/2, kept(400) = 1/(1 + 1/4) = 4/5, so 5/8 is left."""
    assert curve().left(200, 400, math.log(200)) == pytest.approx(5 / 8)


@given(st.floats(1, 5000), st.floats(1, 5000), st.floats(1, 5000), st.floats(0.1, 8), st.floats(1, 5000))
def test_more_never_leaves_less(x: float, other: float, native: float, steepness: float, scale: float) -> None:
    made = curve(steepness=steepness)
    few, many = (made.left(min(max(one, 1e-3), native), native, math.log(scale)) for one in sorted((x, other)))
    assert 0 <= few <= many + 1e-12 <= 1 + 2e-12


def test_it_ends() -> None:
    """Nothing is left of nothing, and more than the benchmark's images have is no more than all."""
    made = curve()
    assert made.left(1e-3, 400, math.log(200)) < 1e-6
    assert made.left(800, 400, math.log(200)) == 1
    assert made.left(390, 400, math.log(200)) < 1


def test_what_is_known_of_a_family() -> None:
    made = curve()
    assert made.log_scale_of("Known") == pytest.approx(math.log(200) - 0.5)
    assert made.model_sd_of("Known") == 0.2
    assert made.log_scale_of("Other") == pytest.approx(math.log(200))
    assert made.model_sd_of("Other") == 0.4


@given(st.floats(1, 99), st.floats(1, 99), st.floats(-2, 2))
def test_below_all_studies_a_guess_still_falls(x: float, other: float, guess: float) -> None:
    """From what is left at the least that was studied, at any power."""
    made, scale = curve(), math.log(200)
    few, many = (made.left(one, 400, scale, guess) for one in sorted((x, other)))
    assert 0 <= few <= many <= made.left(100, 400, scale)
    assert made.left(150, 400, scale, guess) == made.left(150, 400, scale)
    assert made.left(x, 400, scale, 0.0) == pytest.approx(made.left(x, 400, scale))


@pytest.mark.parametrize("changes", [{"steepness": 0.0}, {"steepness": -1.0}, {"least": 0.0}])
def test_curves_rise(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        curve(**changes)
