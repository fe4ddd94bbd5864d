"""Which limits hold where nobody states any? Those of a name or of the usual case, as wide as they must be."""

import math
from dataclasses import replace

from vlmplan.api.given import tell
from vlmplan.api.workloads import Described
from vlmplan.inventory import Budget
from vlmplan.planning import INTERACTIVE, typed
from vlmplan.records import dataclass

USUAL_LIMITS = Budget(ttft_s=INTERACTIVE.ttft_s, tpot_s=INTERACTIVE.tpot_s)
_READS = "that reads such text "
_TIMES = ("ttft_s", "tpot_s", "latency_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedLimits:
    """Limits that a name or nobody set: by what, why, and how many times they may grow where nothing keeps them."""

    budget: Budget
    by: str
    whose: str
    why: str = ""
    most_ratio: float = INTERACTIVE.most_ratio

    def wider(self, times: float, stated: Budget | None) -> Budget:
        """The times so many times as wide; limits of memory and compute that are stated take the place of these."""
        scaled = self.budget.scaled(times)
        others = {name: value for one in (self.budget, stated) if one for name, value in _others(one).items()}
        return replace(self.budget, **{name: getattr(scaled, name) for name in _TIMES}, **others)

    def tell(self, times: float, *, to_read: bool = False) -> None:
        """Say which limits were assumed, and where nothing keeps them, or nothing ``to_read`` small text by."""
        shown = (f"{option} {limit}" for option, limit in typed(self.wider(times, None)).items())
        why = self.why if times == 1 else f"{times:g} times {self.whose}, which nothing {_READS * to_read}keeps"
        tell(f"{self.by} {' '.join(shown)}{f', {why}' if why else ''}")


def grown(needed: float, most: float) -> float:
    """How many times an assumed limit grows where the fastest needs ``needed`` times it; two digits.

    Up to twice what it needs, so that a better model than the fastest has room, and nothing jumps where none is needed.
    """
    times = needed * min(INTERACTIVE.slack_ratio, needed)
    digit = 10.0 ** (math.floor(math.log10(times)) - 1)
    return min(most, round(math.ceil(round(times / digit, 6)) * digit, 6))


def _others(budget: Budget) -> dict[str, float]:
    """The limits that are none of time."""
    found = {name: getattr(budget, name) for name in ("flops", "memory_bytes", "error_fraction")}
    return {name: value for name, value in found.items() if value is not None}


def assumed_limits(stated: Budget | None, asked: Described, whole: bool) -> AssumedLimits | None:
    """The limits of the named workload, or of the usual case; None where times are stated, or the ``whole`` budget."""
    named = asked.named
    if whole:
        return None
    if named is None or named.budget is None:
        why = INTERACTIVE.why
        usual = AssumedLimits(budget=USUAL_LIMITS, by="assumed", whose="the usual", why=why)
        return usual if stated is None else None
    if stated is not None and any((stated.latency_s, stated.ttft_s, stated.tpot_s)):
        return None
    most_ratio = 1.0 if asked.own else INTERACTIVE.most_ratio
    return AssumedLimits(budget=named.budget, by=f"workload {named.name}:", whose="its own", most_ratio=most_ratio)
