"""The law: the paper's grid re-fitted to the digit, planted coefficients found again, the optimum in closed form."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan import catalogue
from vlmplan.document import from_plain, plain
from vlmplan.errors import InputError
from vlmplan.scaling import Form, Point, ScalingLaw, fit, optimal_visual_tokens

REASONING, OCR = catalogue.law("reasoning"), catalogue.law("ocr")


def _fit(law: ScalingLaw, form: Form) -> dict[str, float]:
    return dict(fit(law.points, form).coefficients)


def test_reasoning_grid_to_the_digit() -> None:
    """Re-fits of the released grid: scaling_fit_params_2411.03312.csv."""
    power, logit = (fit(REASONING.points, form) for form in (Form.POWER, Form.LOGIT))
    assert {name: round(value, 4) for name, value in power.coefficients.items()} == {
        "A": 0.5908, "alpha": 0.0709, "beta": 0.0151, "D": 0.0,
    }  # fmt: skip
    assert (round(power.rmse, 5), round(logit.rmse, 4)) == (0.00368, 0.0031)
    assert {name: round(value, 4) for name, value in logit.coefficients.items()} == {
        "a": 0.3645,
        "b": 0.1552,
        "c": 0.0329,
    }


def test_ocr_grid_and_the_form_it_prefers() -> None:
    assert len(OCR.points) == 27
    assert [round(fit(OCR.points, form).rmse, 4) for form in (Form.POWER, Form.LOGIT)] == [0.0130, 0.0064]
    assert OCR.form is Form.LOGIT
    assert OCR.fit.leave_one_llm_out_rmse < 0.6 * min(
        f.leave_one_llm_out_rmse for f in OCR.fits if f.form is Form.POWER
    )


@pytest.mark.parametrize("law", [REASONING, OCR])
def test_shipped_laws_are_what_fit_makes(law: ScalingLaw) -> None:
    for shipped in law.fits:
        again = fit(law.points, shipped.form)
        assert list(again.coefficients.values()) == pytest.approx(list(shipped.coefficients.values()), abs=1e-5)


@given(st.floats(0.02, 0.3), st.floats(0.005, 0.25), st.floats(-1, 2), st.sampled_from(Form))
def test_planted_coefficients_are_found(b: float, c: float, a: float, form: Form) -> None:
    grid = [(n, v) for n in (0.5, 1.8, 4.0, 7.0) for v in (1, 4, 16, 36, 64, 144, 576)]
    planted = {"a": a, "b": b, "c": c} if form is Form.LOGIT else {"A": 0.6, "alpha": b, "beta": c, "D": 0.0}

    def error(n: float, v: float) -> float:
        if form is Form.LOGIT:
            return 1 / (1 + math.exp(-(a - b * math.log(n) - c * math.log(v))))
        return 0.6 * math.pow(n, -b) * math.pow(v, -c)

    points = tuple(Point(llm_params_b=n, visual_tokens=v, error=error(n, v)) for n, v in grid)
    found = fit(points, form).coefficients
    slopes = ("b", "c") if form is Form.LOGIT else ("alpha", "beta")
    assert [found[name] for name in slopes] == pytest.approx([planted[name] for name in slopes], abs=2e-3)


def test_optimal_visual_tokens_at_fifty_text_tokens() -> None:
    """Design, section 4: 12 to 14 at Q = 50, 1 (none) at Q = 0, no interior optimum where c > b."""
    power, logit = _fit(REASONING, Form.POWER), _fit(REASONING, Form.LOGIT)
    for b, c in ((power["alpha"], power["beta"]), (logit["b"], logit["c"])):
        optimum = optimal_visual_tokens(b, c, 50)
        assert optimum == pytest.approx(13.5, abs=0.1)
        assert optimal_visual_tokens(b, c, 0) == 0
    assert optimal_visual_tokens(_fit(OCR, Form.LOGIT)["b"], _fit(OCR, Form.LOGIT)["c"], 50) is None


@given(st.floats(0.05, 0.3), st.floats(0.05, 0.9), st.floats(1, 500), st.sampled_from(Form))
def test_the_closed_form_is_the_minimum(b: float, share: float, text_tokens: float, form: Form) -> None:
    """At a fixed 2 N (Q + V) no other V gives less error, in either form."""
    c = share * b
    best = optimal_visual_tokens(b, c, text_tokens)
    assert best is not None

    def error(visual_tokens: float) -> float:
        n = 1e3 / (text_tokens + visual_tokens)
        exponent = -b * math.log(n) - c * math.log(visual_tokens)
        return 1 / (1 + math.exp(-(0.3 + exponent))) if form is Form.LOGIT else 0.6 * math.exp(exponent)

    assert all(error(best) <= error(best * factor) + 1e-12 for factor in (0.5, 0.9, 1.1, 2.0))


def test_outside_the_points_the_spread_grows() -> None:
    assert REASONING.outside(4, 36) == 0
    assert REASONING.outside(14, 36) == pytest.approx(math.log(2))
    assert REASONING.residual_logit_sd(14, 36) > REASONING.residual_logit_sd(4, 36)


def test_draws_repeat_and_spread_as_the_covariance() -> None:
    draws = REASONING.coefficient_draws(4000)
    assert draws[:3] == REASONING.coefficient_draws(4000)[:3]
    sd = math.sqrt(REASONING.fit.covariance[1][1])
    mean = sum(draw[1] for draw in draws) / len(draws)
    assert mean == pytest.approx(REASONING.fit.coefficients["b"], abs=4 * sd / math.sqrt(4000))
    spread = math.sqrt(sum((draw[1] - mean) ** 2 for draw in draws) / len(draws))
    assert spread == pytest.approx(sd, rel=0.08)


def test_too_few_points() -> None:
    with pytest.raises(InputError, match="needs more than 3 points"):
        fit(REASONING.points[:3], Form.LOGIT)
    with pytest.raises(InputError, match="at least two LLM sizes"):
        fit(REASONING.points[:7], Form.LOGIT)


def test_round_trip_and_wrong_coefficients() -> None:
    assert from_plain(ScalingLaw, plain(OCR), "law") == OCR
    broken = plain(OCR)
    broken["fits"][0]["coefficients"] = {"a": 1.0}
    with pytest.raises(InputError, match=r"law.fits\[0\]: coefficients: expected A, alpha, beta, D, found a"):
        from_plain(ScalingLaw, broken, "law")
