"""What is left of a score when an image is shrunk, or when its tokens are reduced?

Two different losses. Shrinking takes pixels from every letter: x is the side, in pixels, of the square with as many
pixels as the model sees of the image. Pooling, pruning or compressing leaves the pixels alone: x is visual tokens. Of
what a score has above that without the image, each keeps the share kept(x) / kept(x of the score), with

    kept(x) = 1 / (1 + (scale / x)^steepness)

(Hill's curve: it ends at 0 and at 1). Scales are those of one benchmark; steepness is that of a kind of benchmark.
``tools/token_curves.py`` fits both on published studies. Left out: what one loss does to the other.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import field

from vlmplan.errors import check_range
from vlmplan.records import dataclass

# Below all that was studied a curve falls on from there, by a power of what it says that is uncertain: an assumption.
UNSTUDIED_LOG_SD = 0.7


class Kind(enum.StrEnum):
    """What a benchmark's questions need the image for."""

    READING = "reading"
    CHARTS = "charts"
    REASONING = "reasoning"
    PERCEPTION = "perception"
    GROUNDING = "grounding"
    VIDEO = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """A number with its standard deviation."""

    value: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The share of a score kept at x, of one benchmark and one way of reducing.

    ``log_scale`` is uncertain for all models together, ``model_sd`` is how one more model or study differs, and
    ``families`` what is known of some: what to add to it. ``studies`` of this kind of benchmark and way reach down to
    ``least``; below, the answer is a guess.
    """

    log_scale: Uncertain
    model_sd: float
    steepness: float
    least: float
    studies: int
    families: Mapping[str, Uncertain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Curves rise."""
        check_range("steepness", self.steepness, 1e-3, 100)
        check_range("least", self.least, 1e-3, 1e9)

    def log_scale_of(self, family: str) -> float:
        """Return the expected logarithm of a family's scale."""
        known = self.families.get(family)
        return self.log_scale.value + (known.value if known else 0.0)

    def model_sd_of(self, family: str) -> float:
        """Return how one model of a family may differ from that."""
        known = self.families.get(family)
        return known.sd if known else self.model_sd

    def left(self, x: float, native: float, log_scale: float, unstudied: float = 0.0) -> float:
        """Return the share kept at ``x`` of what there was at ``native``, at most 1, at one logarithm of the scale.

        Below all studies the fall from ``least`` on is taken to the power e^``unstudied``, which is a guess.
        """
        if x >= native:
            return 1.0
        if unstudied and x < self.least < native:
            beyond = self.left(x, self.least, log_scale)
            return float(self.left(self.least, native, log_scale) * beyond ** math.exp(unstudied))
        kept = 1 + math.exp(min(500.0, self.steepness * (log_scale - math.log(x))))
        whole = 1 + math.exp(min(500.0, self.steepness * (log_scale - math.log(native))))
        return whole / kept
