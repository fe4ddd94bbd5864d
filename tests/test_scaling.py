"""The law as a document: what it predicts, its optimum in closed form, its draws, and its spread."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan import catalogue
from vlmplan.document import from_plain, plain
from vlmplan.errors import InputError
from vlmplan.scaling import Draw, Form, ScalingLaw, optimal_visual_tokens

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
