"""Quantities are read with their units and refused without."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan import units
from vlmplan.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300ms", 0.3), ("0.3s", 0.3), (" 20 ms ", 0.02), ("5us", 5e-6), ("5µs", 5e-6), ("1e-1s", 0.1)],
)
def test_seconds(text: str, seconds: float) -> None:
    assert units.parse_seconds(text) == pytest.approx(seconds)


def test_bytes_tell_gb_from_gib() -> None:
    assert units.parse_bytes("1GB") == 1e9
    assert units.parse_bytes("1GiB") == 2**30


@pytest.mark.parametrize("text", ["5TFLOP", "5 TFLOPs", "5000gflop", "5e12FLOP"])
def test_flops(text: str) -> None:
    assert units.parse_flops(text) == pytest.approx(5e12)


@pytest.mark.parametrize(
    "text", ["300", "", "ms", "-3ms", "0ms", "nan ms", "infs", "1e999s", "1.2.3ms", "3GiB", "3mss"]
)
def test_bad_seconds_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="300ms"):
        units.parse_seconds(text)


def test_a_bare_number_is_called_that() -> None:
    with pytest.raises(InputError, match="bare number"):
        units.parse_seconds("300")


def test_image() -> None:
    assert units.parse_image("1024x768") == (1024, 768)
    for text in ("1024", "0x5", "axb", "1x1x1", "70000x1"):
        with pytest.raises(InputError, match=r"1024x(768|1024)"):
            units.parse_image(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12.3 ms"),
        (1.5, "1.50 s"),
        (0.9999, "1.00 s"),
        (3e-6, "3.00 us"),
        (0, "0 s"),
        (1234, "1234 s"),
        (86400, "24.0 h"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


def test_format_others() -> None:
    assert units.format_bytes(14 * 2**30) == "14.0 GiB"
    assert units.format_flops(2.5e12) == "2.50 TFLOP"
    assert units.format_count(7063427072) == "7.06B"


def test_a_quantity_may_stay_as_it_is_written() -> None:
    """Checked as its parser does, unit and all."""
    assert units.written(units.parse_seconds, "--latency")(" 80ms ") == " 80ms "
    with pytest.raises(InputError, match="a bare number"):
        units.written(units.parse_seconds, "--latency")("80")


@pytest.mark.parametrize(
    ("parse", "text", "meant"),
    [
        (units.parse_seconds, "300", "300ms"),
        (units.parse_seconds, "2", "2s"),
        (units.parse_seconds, "0.3", "0.3s"),
        (units.parse_seconds, "0,3s", "0.3s"),
        (units.parse_seconds, "2 seconds", "2s"),
        (units.parse_seconds, "300 msec", "300ms"),
        (units.parse_wait, "60", "60s"),
        (units.parse_bytes, "20", "20GiB"),
        (units.parse_bytes, "24g", "24GiB"),
        (units.parse_bytes, "16000", "16000MiB"),
        (units.parse_bytes, "8000000000", "8000000000B"),
        (units.parse_flops, "5", "5TFLOP"),
        (units.parse_flops, "5TF", "5TFLOP"),
        (units.parse_params, "8", "8B"),
        (units.parse_params, "8 billion", "8B"),
        (units.parse_params, "7000000000", "7B"),
        (units.parse_params, "1500", "1500M"),
        (units.parse_pixels, "20", "20px"),
        (units.parse_percent, "0.1", "10%"),
        (units.parse_percent, "10", "10%"),
        (units.parse_percent, "10 percent", "10%"),
        (units.parse_image, "1024", "1024x1024"),
        (units.parse_image, "1024*768", "1024x768"),
    ],
)
def test_a_unit_that_was_forgotten_is_guessed_and_the_guess_is_one(parse: Any, text: str, meant: str) -> None:
    """What is offered is read."""
    with pytest.raises(InputError, match=re.escape(f"did you mean {meant}?")):
        parse(text)
    assert parse(meant)


@pytest.mark.parametrize("text", ["300m", "three", "1.2.3", "-5"])
def test_nothing_is_guessed_of_what_could_be_anything(text: str) -> None:
    with pytest.raises(InputError, match=r"write for example|such as"):
        units.parse_seconds(text)


@given(
    st.floats(1e-6, 1e5),
    st.sampled_from(
        [
            (units.SECONDS_TYPED, units.parse_seconds),
            (units.BYTES_TYPED, units.parse_bytes),
            (units.FLOPS_TYPED, units.parse_flops),
        ]
    ),
)
def test_a_limit_in_words_is_kept_by_what_it_was_made_of(value: float, kind: Any) -> None:
    typed, parse = kind
    value *= typed[0][1] if typed is not units.SECONDS_TYPED else 1.0
    assert value <= parse(units.at_least(value, typed)) <= 1.011 * value
