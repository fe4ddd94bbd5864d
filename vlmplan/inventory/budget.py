"""What may an answer cost? Upper limits of times, compute, memory and error, and what error speed is worth."""

import enum
import math
from collections.abc import Callable
from dataclasses import fields

from vlmplan.errors import InputError
from vlmplan.records import dataclass
from vlmplan.units import format_bytes, format_flops, format_percent, format_seconds


class Preference(enum.StrEnum):
    """What counts between speed and accuracy, once the budget is kept."""

    SPEED = "speed"
    BALANCED = "balanced"
    ACCURACY = "accuracy"

    @property
    def price_error(self) -> float:
        """How much error is paid for speed, however much of it that buys: a point, a tenth, nothing."""
        return {Preference.SPEED: 0.01, Preference.BALANCED: 0.001, Preference.ACCURACY: 0.0}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Upper limits; None means unlimited.

    ``flops`` is a count per request, ``memory_bytes`` of one GPU, ``error_fraction`` of answers that are wrong.
    """

    latency_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    flops: float | None = None
    memory_bytes: float | None = None
    error_fraction: float | None = None

    def __post_init__(self) -> None:
        """At least one limit, all of them above zero."""
        limits = [value for _, value, _ in self.limits if value is not None]
        if not limits:
            raise InputError(
                "no budget given; expected at least one of --latency, --ttft, --tpot, --flops, --memory or --max-error"
            )
        if not all(math.isfinite(value) and value > 0 for value in limits):
            raise InputError("budget: expected finite limits above 0")
        if self.error_fraction is not None and self.error_fraction > 1:
            raise InputError(f"error_fraction: expected at most 1, found {self.error_fraction:g}")

    @property
    def limits(self) -> tuple[tuple[str, float | None, Callable[[float], str]], ...]:
        """Every limit: what it is of, its value or None, how it is written."""
        return (
            ("latency", self.latency_s, format_seconds),
            ("TTFT", self.ttft_s, format_seconds),
            ("TPOT", self.tpot_s, format_seconds),
            ("compute", self.flops, format_flops),
            ("memory", self.memory_bytes, format_bytes),
            ("error", self.error_fraction, format_percent),
        )

    def scaled(self, factor: float) -> "Budget":
        """Return the budget with every limit times ``factor``; no more than all answers are wrong."""
        limits = {one.name: getattr(self, one.name) for one in fields(self)}
        scaled = {name: value * factor for name, value in limits.items() if value is not None}
        if "error_fraction" in scaled:
            scaled["error_fraction"] = min(1.0, scaled["error_fraction"])
        return Budget(**scaled)
