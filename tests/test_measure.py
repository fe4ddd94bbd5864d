"""The timing loop: warm-ups are not counted, runs are interleaved, medians and spread are what they should be."""

from dataclasses import dataclass, field

import pytest

from vlmplan.errors import InputError
from vlmplan.measuring.timing import Samples, measure


@dataclass
class Fake:
    """A machine whose runs take what the test says."""

    name: str
    seconds: list[float]
    log: list[str] = field(default_factory=list)

    def run(self) -> dict[str, float]:
        self.log.append(self.name)
        return {"whole": self.seconds.pop(0)}


def test_warm_ups_are_dropped_and_runs_interleaved() -> None:
    log: list[str] = []
    runners = {"a": Fake("a", [9.0, 1.0, 2.0, 3.0], log), "b": Fake("b", [9.0, 4.0, 5.0, 6.0], log)}
    found = measure(runners, repeats=3)
    assert log == ["a", "b"] * 4
    assert found["a"]["whole"].samples_s == (1.0, 2.0, 3.0)
    assert found["b"]["whole"].median_s == 5.0


def test_spread_by_hand() -> None:
    samples = Samples(samples_s=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert samples.quartiles_s == (2.0, 4.0)
    assert samples.spread_fraction == pytest.approx(2 / 3)
    assert samples.noisy
    assert not Samples(samples_s=(1.0, 1.01, 1.02)).noisy
    assert Samples(samples_s=(7.0,)).quartiles_s == (7.0, 7.0)
    with pytest.raises(InputError, match="at least one"):
        Samples(samples_s=())
