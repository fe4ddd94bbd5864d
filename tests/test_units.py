"""Quantities are read with their units and refused without."""

import pytest

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
        with pytest.raises(InputError, match="1024x768"):
            units.parse_image(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (1.5, "1.50 s"), (0.9999, "1.00 s"), (3e-6, "3.00 us"), (0, "0 s"), (1234, "1234 s")],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


def test_format_others() -> None:
    assert units.format_bytes(14 * 2**30) == "14.0 GiB"
    assert units.format_flops(2.5e12) == "2.50 TFLOP"
    assert units.format_count(7063427072) == "7.06B"


def test_a_quantity_may_stay_as_it_is_written() -> None:
    """Checked as its parser does, unit and all."""
    assert units.written(units.parse_seconds)(" 80ms ") == " 80ms "
    with pytest.raises(InputError, match="a bare number"):
        units.written(units.parse_seconds)("80")
