"""The law as a document: what it predicts, its optimum in closed form, its draws, and its spread."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmplan.accuracy.law import Coefficient, Draw, Fit, Form, ScalingLaw, optimal_visual_tokens
from vlmplan.document import from_plain, load, plain, to_toml
from vlmplan.errors import InputError
from vlmplan.inventory import catalogue

REASONING, OCR, DOCVQA = (catalogue.law(name) for name in ("reasoning", "ocr", "docvqa"))


def test_a_logit_by_hand() -> None:
    """1 / (1 + exp(-(a - b ln 7 - c ln 64))) with the coefficients shipped."""
    a, b, c = (REASONING.fit.coefficients[name].value for name in "abc")
    eta = a - b * math.log(7) - c * math.log(64)
    assert REASONING.error(7, 64) == pytest.approx(1 / (1 + math.exp(-eta)))
    assert REASONING.error(7, 64) == pytest.approx(0.4828, abs=0.005)  # measured


def test_a_power_by_hand() -> None:
    power = next(found for found in REASONING.fits if found.form is Form.POWER)
    values = (0.6, 0.07, 0.015, 0.05)
    assert power.error(4, 16, values=values) == pytest.approx(0.6 * 4**-0.07 * 16**-0.015 + 0.05)
    assert power.error(1e-9, 1, values=values) == 1.0


def test_optimal_visual_tokens_at_fifty_text_tokens() -> None:
    """Design, section 4: 12 to 14 at Q = 50, 1 (none) at Q = 0, no interior optimum where c > b."""
    for found in REASONING.fits:  # power and logit, as shipped
        _, b, c, *_ = found.values
        assert optimal_visual_tokens(b, c, 50) == pytest.approx(13.5, abs=0.05)
        assert optimal_visual_tokens(b, c, 0) == 0
    assert OCR.optimal_visual_tokens(50) is None


@given(st.floats(0.05, 0.3), st.floats(0.05, 0.9), st.floats(1, 500), st.sampled_from((Form.POWER, Form.LOGIT)))
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


HILL = Fit(
    form=Form.HILL,
    coefficients={name: Coefficient(value=value) for name, value in zip("abcd", (-0.5, 0.3, 0.6, 2.0), strict=True)},
    ratio=Coefficient(value=2.0),
    families={},
    rmse=0.01,
    loo_rmse=0.01,
    leave_one_llm_out_rmse=0.03,
    draws=((-0.5, 0.3, 0.6, 2.0), (-0.4, 0.3, 0.6, 2.1)),
)


def test_a_hill_by_hand() -> None:
    """At V = exp(d), half of what unlimited tokens would score; at very many, all of it."""
    best = 1 / (1 + math.exp(0.5 + 0.3 * math.log(4)))
    assert HILL.error(4, math.exp(2)) == pytest.approx(1 - (1 - best) / 2)
    assert HILL.error(4, 1e12) == pytest.approx(best, abs=1e-6)
    assert HILL.error(4, 1e-12) == pytest.approx(1, abs=1e-6)


@settings(deadline=None)
@given(
    st.tuples(st.floats(-3, 1), st.floats(0.05, 0.6), st.floats(0.2, 2), st.floats(-2, 6)),
    st.floats(0, 500),
    st.floats(2, 5),
)
def test_the_best_tokens_of_a_hill_are_the_least_error(
    values: tuple[float, ...], text_tokens: float, log_compute: float
) -> None:
    """Against brute force over 801 numbers of tokens: no less error anywhere; None where it falls to the last."""
    compute = 10**log_compute
    best = HILL.optimal_visual_tokens(text_tokens, compute, values)

    def error(visual_tokens: float) -> float:
        return HILL.error(compute / (text_tokens + visual_tokens), visual_tokens, values=values)

    least = min(error(10 ** (-2 + step / 100)) for step in range(801))
    assert error(1e6 if best is None else best) <= least + 1e-12


def mixed(**changes: Any) -> ScalingLaw:
    """The paper's law as a mean of its two forms and a hill."""
    power, logit = REASONING.fits
    fits = (replace(power, draws=((0.6, 0.07, 0.015, 0.0),)), logit, HILL)
    return replace(REASONING, **{"fits": fits, "weights": {Form.LOGIT: 0.5, Form.POWER: 0.2, Form.HILL: 0.3}} | changes)


def test_a_mean_of_forms() -> None:
    law = mixed()
    each = [next(one for one in law.fits if one.form is form).error(4, 36) for form in law.shares]
    assert law.error(4, 36) == pytest.approx(0.5 * each[0] + 0.2 * each[1] + 0.3 * each[2])
    assert law.forms == "0.5 logit + 0.2 power + 0.3 hill"
    for count in (10, 50, 200):
        drawn = [draw.form for draw in law.coefficient_draws(count)]
        assert all(abs(drawn.count(form) - share * count) <= 1 for form, share in law.shares.items())
    for draw in law.draws:
        fit = next(one for one in law.fits if one.form is draw.form)
        assert law.error(4, 36, draw=draw) == fit.error(4, 36, values=draw.values)
    assert REASONING.residual_logit_sd(4, 36) < law.residual_logit_sd(4, 36) < 0.03 / 0.2
    assert from_plain(ScalingLaw, plain(law), "law") == law
    best, compute = law.optimal_visual_tokens(50), law.middle_compute(50)
    assert best is not None
    assert all(
        law.error(compute / (50 + v), v) >= law.error(compute / (50 + best), best) for v in (best / 1.1, best * 1.1)
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({Form.LOGIT: 0.5, Form.HILL: 0.3}, "weights: expected shares of forms that add to 1, logit among them"),
        ({Form.POWER: 0.4, Form.HILL: 0.6}, "weights: expected shares of forms that add to 1, logit among them"),
        ({Form.LOGIT: 1.5, Form.HILL: -0.5}, "weights.logit"),
    ],
)
def test_weights_that_are_none(weights: dict[Form, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mixed(weights=weights)


def test_what_toml_cannot_hold_is_none_again(tmp_path: Path) -> None:
    """A single LLM cannot be left out: its law has no such error, and loads all the same."""
    nothing = replace(HILL, loo_rmse=None, leave_one_llm_out_rmse=None, assumed_rmse=0.02)
    law = replace(REASONING, form=Form.HILL, fits=(nothing,))
    (tmp_path / "law.toml").write_text(to_toml(law))
    assert load(ScalingLaw, tmp_path / "law.toml") == law
    assert nothing.left_out_rmse == 0.02
    assert replace(nothing, assumed_rmse=None).left_out_rmse == 1.0


def test_outside_the_points_the_spread_grows() -> None:
    assert REASONING.outside(4, 36) == 0
    assert REASONING.outside(14, 36) == pytest.approx(math.log(2))
    assert REASONING.residual_logit_sd(14, 36) > REASONING.residual_logit_sd(4, 36)


def test_draws_are_those_of_the_file_and_begin_again() -> None:
    stored = [Draw(form=Form.LOGIT, values=values) for values in REASONING.fit.draws]
    assert len(stored) == 200
    assert REASONING.coefficient_draws(203)[199:] == [stored[199], *stored[:3]]
    with pytest.raises(InputError, match="found no draws of logit, the form in use"):
        replace(REASONING, fits=tuple(replace(found, draws=()) for found in REASONING.fits))


def test_families_have_offsets_and_strangers_the_one_they_are_like() -> None:
    families = DOCVQA.fit.families
    assert DOCVQA.like == "LLaVA-NeXT, one scale"
    assert sum(families.values()) == pytest.approx(0, abs=1e-9)
    stranger, like = DOCVQA.error(7, 576, "nobody's"), DOCVQA.error(7, 576, DOCVQA.like)
    assert stranger == like != DOCVQA.error(7, 576, min(families, key=lambda name: families[name]))
    assert DOCVQA.family_logit_sd(7, 576, "nobody's") == DOCVQA.fit.families_sd > 0.2
    assert DOCVQA.family_logit_sd(7, 576, DOCVQA.like) == 0
    with pytest.raises(InputError, match="like: found 'x', expected one of"):
        replace(DOCVQA, like="x")


def test_an_offset_of_a_power_law_is_told_in_logit() -> None:
    chart = catalogue.law("chartqa-nested")
    assert chart.form is Form.POWER
    error = chart.error(7, 576)
    assert chart.family_logit_sd(7, 576, "") == pytest.approx(chart.fit.families_sd / (1 - error))


def test_round_trip_and_wrong_coefficients() -> None:
    assert from_plain(ScalingLaw, plain(OCR), "law") == OCR
    broken = plain(OCR)
    broken["fits"][0]["coefficients"] = {"a": {"value": 1.0}}
    with pytest.raises(InputError, match=r"law.fits\[0\]: coefficients: expected A, alpha, beta, D, found a"):
        from_plain(ScalingLaw, broken, "law")
    broken = plain(OCR)
    broken["fits"][1]["draws"] = [[1.0]]
    with pytest.raises(InputError, match="draws: expected rows of 3 numbers"):
        from_plain(ScalingLaw, broken, "law")
