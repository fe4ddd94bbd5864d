"""Quantities with units, read from and written for people.

Inside vlmplan everything is seconds, bytes, FLOPs and their rates; this module is the only place where
other units exist. GB is 1e9 bytes and GiB is 2**30. A FLOP is one floating-point operation, so a
multiply-add is two; FLOP is a count and FLOP/s a rate.
"""

import math
import re
from collections.abc import Callable

from vlmplan.errors import InputError

_HOUR_S = 3600.0
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": _HOUR_S}
_BYTES = {"B": 1.0} | {f"{p}B": 1e3**i for i, p in enumerate(("k", "M", "G", "T"), 1)}
_BYTES |= {f"{p}iB": 2.0 ** (10 * i) for i, p in enumerate(("K", "M", "G", "T"), 1)}
_FLOPS = {f"{p}FLOP": 1e3**i for i, p in enumerate(("", "k", "M", "G", "T", "P"))}
_PIXELS = {"px": 1.0}
_PARAMS = {"M": 1e6, "B": 1e9, "T": 1e12}
_PERCENT = {"%": 0.01}
_RATES = {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}
_QUANTITY = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9]*)\s*")
_IMAGE = re.compile(r"\s*([0-9]{1,6})\s*[xX×]\s*([0-9]{1,6})\s*")  # noqa: RUF001 - the multiplication sign is meant
# What people write for a unit, folded, and the unit.
_SPELLED = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "msecs": "ms", "millis": "ms",
    "millisecond": "ms", "milliseconds": "ms", "microseconds": "us", "mins": "min", "minute": "min",
    "hour": "h", "hours": "h", "hr": "h",
    "minutes": "min", "k": "kB", "g": "GiB", "gig": "GiB", "gigs": "GiB", "gigabytes": "GB", "mb": "MB", "t": "TB",
    "tf": "TFLOP", "gf": "GFLOP", "tflop/s": "TFLOP", "tflops/s": "TFLOP", "pixel": "px", "pixels": "px", "p": "px",
    "rps": "/s", "qps": "/s", "req/s": "/s", "requests/s": "/s", "/sec": "/s", "/second": "/s", "rpm": "/min",
    "/minute": "/min", "/hour": "/h",
    "bn": "B", "billion": "B", "million": "M", "mn": "M", "percent": "%", "pct": "%", "points": "%", "pp": "%",
}  # fmt: skip
# The unit that a bare number of at least so much has most likely: nobody limits an answer to 300 s or to 2 ms.
_LIKELY: dict[str, tuple[tuple[float, str], ...]] = {
    "a time to wait": ((0, "s"),),
    "a time": ((10, "ms"), (0, "s")),
    "a memory size": ((1e6, "B"), (1024, "MiB"), (0, "GiB")),
    "FLOPs": ((1e6, "FLOP"), (0, "TFLOP")),
    "a number of parameters": ((1000, "M"), (0, "B")),
    "a height in pixels": ((0, "px"),),
    "a share": ((0, "%"),),
    "a rate": ((0, "/s"),),
}


def _meant(text: str, scales: dict[str, float], what: str) -> str | None:
    """What was probably meant by a quantity without its unit, or with one of another spelling; None where unclear."""
    match = re.fullmatch(r"\s*([0-9]+(?:[.,][0-9]+)?)\s*([^\d\s]*)\s*", text)
    if match is None:
        return None
    number, unit = match[1].replace(",", "."), match[2].casefold()
    if not unit:
        value = float(number)
        if what == "a share" and value < 1:
            return f"{100 * value:g}%"
        if what == "a number of parameters" and value >= 1e6:
            return f"{value / 1e9:g}B"
        return f"{number}{next(unit for least, unit in _LIKELY[what] if value >= least)}"
    near = {known.casefold(): known for known in scales}.get(unit) or _SPELLED.get(unit)
    return f"{number}{near}" if near in scales else None


def _quantity(text: str, scales: dict[str, float], what: str, example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    folded = {unit.casefold(): scale for unit, scale in scales.items()}
    if match is None or match[2].casefold().removesuffix("s" if what == "FLOPs" else "") not in folded:
        written = f"'{text}'" + (", a bare number" if match and not match[2] else "")
        meant = _meant(text, scales, what)
        hint = f"did you mean {meant}?" if meant else f"write for example {example}"
        raise InputError(f"found {written}, expected {what} with a unit ({', '.join(scales)}); {hint}")
    try:
        value = float(match[1]) * folded[match[2].casefold().removesuffix("s" if what == "FLOPs" else "")]
    except ValueError:
        raise InputError(f"found '{text}', expected {what} such as {example}") from None
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"found '{text}', expected {what} above zero; write for example {example}")
    return value


def parse_seconds(text: str) -> float:
    """``"80ms"`` -> 0.08. Raises InputError for a bare number, an unknown unit, zero, negative or non-finite."""
    return _quantity(text, _SECONDS, "a time", "300ms")


def parse_wait(text: str) -> float:
    """``"60s"`` -> 60.0, a time that somebody waits at most. Raises InputError as ``parse_seconds``."""
    return _quantity(text, _SECONDS, "a time to wait", "60s")


def parse_bytes(text: str) -> float:
    """``"24GiB"`` -> 25769803776.0. Raises InputError as ``parse_seconds``."""
    return _quantity(text, _BYTES, "a memory size", "20GiB")


def parse_flops(text: str) -> float:
    """``"5TFLOP"`` -> 5e12, a count and not a rate. Raises InputError as ``parse_seconds``."""
    return _quantity(text, _FLOPS, "FLOPs", "5TFLOP")


def parse_params(text: str) -> float:
    """``"8B"`` -> 8e9 parameters. Raises InputError as ``parse_seconds``."""
    return _quantity(text, _PARAMS, "a number of parameters", "8B")


def parse_pixels(text: str) -> float:
    """``"20px"`` -> 20.0, a height in pixels. Raises InputError as ``parse_seconds``."""
    return _quantity(text, _PIXELS, "a height in pixels", "20px")


def parse_rate(text: str) -> float:
    """``"20/s"`` -> 20.0 a second. Raises InputError as ``parse_seconds``."""
    return _quantity(text, _RATES, "a rate", "20/s")


def parse_percent(text: str) -> float:
    """``"10%"`` -> 0.1. Raises InputError as ``parse_seconds``, and above 100 %."""
    fraction = _quantity(text, _PERCENT, "a share", "10%")
    if fraction > 1:
        raise InputError(f"found '{text}', expected a share of at most 100%; write for example 10%")
    return fraction


def written(parse: Callable[[str], float], option: str) -> Callable[[str], str]:
    """Return what checks an option's quantity as ``parse`` does and leaves it as it is written, unit and all."""

    def check(text: str) -> str:
        try:
            parse(text)
        except InputError as error:
            raise InputError(f"{option}: {error}") from None
        return text

    return check


def parse_image(text: str) -> tuple[int, int]:
    """``"1024x768"`` -> (1024, 768), width then height in pixels. Raises InputError."""
    match = _IMAGE.fullmatch(text)
    if match is None or not (1 <= int(match[1]) <= 65536 and 1 <= int(match[2]) <= 65536):
        sides = re.fullmatch(r"\s*([1-9][0-9]{1,4})(?:\s*[*,:/ ]\s*([1-9][0-9]{1,4}))?\s*(?:px)?\s*", text)
        hint = f"did you mean {sides[1]}x{sides[2] or sides[1]}?" if sides else "such as 1024x768"
        raise InputError(f"found '{text}', expected an image size of 1 to 65536 pixels a side; {hint}")
    return int(match[1]), int(match[2])


def format_image(image: tuple[int, int]) -> str:
    """(1024, 768) -> ``"1024x768"``."""
    return f"{image[0]}x{image[1]}"


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent: 0.123, 1.23, 12.3, 123, 1234."""
    rounded = float(f"{value:.3g}")
    digits = 2 - math.floor(math.log10(abs(rounded)))
    return f"{value:.{max(0, min(digits, 9))}f}"


def _scaled(value: float, scales: tuple[tuple[str, float], ...]) -> str:
    if value == 0:
        return f"0 {scales[-1][0] if scales[-1][1] == 1.0 else scales[0][0]}".strip()
    for unit, scale in scales:
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    unit, scale = scales[-1]
    return f"{_three_digits(value / scale)} {unit}"


def format_seconds(value_s: float) -> str:
    """0.0123 -> ``"12.3 ms"``; from two hours on in hours."""
    if value_s >= 2 * _HOUR_S:
        return f"{_three_digits(value_s / _HOUR_S)} h"
    return _scaled(value_s, (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)))


def format_bytes(value_bytes: float) -> str:
    """15032385536 -> ``"14.0 GiB"``."""
    return _scaled(value_bytes, (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0)))


def format_flops(value_flops: float) -> str:
    """2.5e12 -> ``"2.50 TFLOP"``."""
    return _scaled(value_flops, (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("FLOP", 1.0)))


def format_count(value: float) -> str:
    """7063427072 -> ``"7.06B"``; used for parameters."""
    return _scaled(value, (("B", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))).replace(" ", "")


def format_percent(value_fraction: float) -> str:
    """0.123 -> ``"12.3 %"``."""
    return f"{100 * value_fraction:.1f} %"


def counted(count: int, what: str) -> str:
    """Return a number of things as words: 1 point, 2 points."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def at_least(value: float, units: tuple[tuple[str, float], ...]) -> str:
    """Return a limit that ``value`` keeps, to three digits and never below it, as an option takes it: ``"261ms"``."""
    unit, scale = next(((one, scale) for one, scale in units if value >= scale), units[-1])
    digits = 2 - math.floor(math.log10(value / scale))
    step = 10.0**-digits
    steps = math.floor(value / scale / step)
    while float(f"{steps * step:.{max(0, digits)}f}") * scale < value:
        steps += 1
    return f"{steps * step:.{max(0, digits)}f}{unit}"


SECONDS_TYPED = (
    ("h", _HOUR_S),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
)  # of a limit in words, the largest that leaves a whole part
BYTES_TYPED = (("GiB", 2.0**30), ("MiB", 2.0**20), ("B", 1.0))
FLOPS_TYPED = (("TFLOP", 1e12), ("GFLOP", 1e9), ("FLOP", 1.0))
PERCENT_TYPED = (("%", 0.01),)
