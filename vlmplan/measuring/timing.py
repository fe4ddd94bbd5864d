"""How long does it take, really? The one timing loop: warm up, interleave, sample, summarise.

Runners -> seconds, as medians with quartiles. Runs of several configurations are interleaved, so that a machine that
slows down slows all of them; a spread above a fifth of the median is called noisy.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from vlmplan.errors import InputError

NOISY_FRACTION = 0.2
_QUARTILES_TO_SD = 1.35  # distance of a Gaussian's quartiles in standard deviations
_MEDIAN_TO_MEAN = 1.25  # how much less sure a Gaussian's median is than its mean


class Runner(Protocol):
    """Where the machine enters: one run of something, and how long its parts took."""

    def run(self) -> Mapping[str, float]:
        """Run once; return seconds by part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Repeated measurements of one duration."""

    samples_s: tuple[float, ...]

    def __post_init__(self) -> None:
        """There is at least one."""
        if not self.samples_s:
            raise InputError("samples_s: expected at least one measurement")

    def longer(self, by_s: float) -> "Samples":
        """Return the same runs, each longer by ``by_s``."""
        return Samples(samples_s=tuple(one_s + by_s for one_s in self.samples_s))

    @property
    def median_s(self) -> float:
        """The middle one."""
        return statistics.median(self.samples_s)

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """The first and third quartile."""
        if len(self.samples_s) < 2:
            return (self.samples_s[0], self.samples_s[0])
        low, _, high = statistics.quantiles(self.samples_s, n=4, method="inclusive")
        return (low, high)

    @property
    def spread_fraction(self) -> float:
        """The distance between the quartiles as a share of the median."""
        low, high = self.quartiles_s
        return (high - low) / self.median_s if self.median_s else 0.0

    @property
    def median_log_sd(self) -> float:
        """How unsure the median is, as a standard deviation of its logarithm."""
        low, high = self.quartiles_s
        if low <= 0:
            return 0.0
        return _MEDIAN_TO_MEAN * math.log(high / low) / _QUARTILES_TO_SD / math.sqrt(len(self.samples_s))

    @property
    def noisy(self) -> bool:
        """Whether the machine was too restless to trust a single figure."""
        return self.spread_fraction > NOISY_FRACTION


def measure(
    runners: Mapping[str, Runner], repeats: int, warmups: int = 1, tell: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Samples]]:
    """Run all in turn, ``warmups`` times unrecorded and ``repeats`` times recorded; samples by runner and part.

    ``tell`` is called after every run.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in runners}
    for number in range(warmups + repeats):
        for name, runner in runners.items():
            for part, seconds in runner.run().items():
                if number >= warmups:
                    found[name].setdefault(part, []).append(seconds)
            tell()
    return {
        name: {part: Samples(samples_s=tuple(values)) for part, values in parts.items()}
        for name, parts in found.items()
    }
