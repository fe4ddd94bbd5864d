"""How is an export validated? What it has to be, what it may cost, and what is let pass."""

import math
from dataclasses import dataclass
from pathlib import Path

from vlmplan.errors import InputError
from vlmplan.exporting import RUN_TIMEOUT_S
from vlmplan.hardware import Precision
from vlmplan.models import Compressor
from vlmplan.planning import Plan
from vlmplan.proof import trust
from vlmplan.proof.numbers import DIVERGENCE_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to validate. ``checkpoint`` None means the one the manifest names; ``plan`` None the one it holds.

    ``weights`` are the learned compressor's, where they are not with the checkpoint. ``visual_tokens``, ``compressor``,
    ``precision``, ``query`` and ``image`` (of tiles: whose tokens are meant, width and height in pixels) are what the
    export is expected to have; None takes the export's word. ``timeout_s`` is how long the runs of an export's graphs
    may take beyond a multiple of the checkpoint's own, and each timed request.
    """

    checkpoint: str | None = None
    plan: Plan | None = None
    weights: Path | None = None
    visual_tokens: int | None = None
    compressor: Compressor | None = None
    precision: Precision | None = None
    query: str | None = None
    image: tuple[int, int] | None = None
    provider: str = "cpu"
    threads: int | None = None
    repeats: int = 5
    max_divergence_nats: float | None = None
    logit_tolerance: float | None = None
    budget_only: bool = False
    recalibrate: bool = False
    by_samples: bool = False
    timeout_s: float = RUN_TIMEOUT_S

    def __post_init__(self) -> None:
        """Tolerances are above zero, and numbers; a checkpoint has a name."""
        if self.checkpoint == "":
            raise InputError("--checkpoint: found no name, expected a directory or a hub id")
        for option, value in (
            ("--max-divergence", self.max_divergence_nats),
            ("--logit-tolerance", self.logit_tolerance),
            ("--timeout", self.timeout_s),
        ):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{option}: found {value:g}, expected a number above 0")

    @property
    def given(self) -> trust.Given:
        """What is vouched for by whoever validates."""
        return trust.Given(
            checkpoint=self.checkpoint, weights=self.weights, plan=self.plan,
            visual_tokens=self.visual_tokens, compressor=self.compressor, precision=self.precision, query=self.query,
            image=self.image,
        )  # fmt: skip

    def divergence_limit_nats(self, precision: Precision) -> float:
        """Nats a token from fp32 that a precision may cost."""
        return self.max_divergence_nats or DIVERGENCE_LIMITS[precision]
