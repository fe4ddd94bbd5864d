"""How long does it take, really? The one timing loop: warm up, interleave, sample, summarise, and keep.

Runners -> seconds, as medians with quartiles. Runs of several configurations are interleaved, so that a machine that
slows down slows all of them; a spread above a fifth of the median is called noisy.

A store is a file of JSON lines: the setup, then one line a measurement. What was measured together is on the disk
before more is begun, so an interrupted run goes on where it stopped. A last line cut short, as by a full disk or a
killed process, is dropped.
"""

import json
import math
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlmplan.document import check_whole, from_plain, plain, read_text, write_text
from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware import Setup
from vlmplan.progress import Progress

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
    by_runner: dict[str, dict[str, list[float]]] = {name: {} for name in runners}
    for number in range(warmups + repeats):
        for name, runner in runners.items():
            for part, seconds in runner.run().items():
                if number >= warmups:
                    by_runner[name].setdefault(part, []).append(seconds)
            tell()
    return {
        name: {part: Samples(samples_s=tuple(values)) for part, values in parts.items()}
        for name, parts in by_runner.items()
    }


Makers = Mapping[str, Callable[[], Runner]]  # a name -> what makes its runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What was measured under a name: samples by part, in seconds. ``round`` tells repetitions apart."""

    name: str
    part: str
    round: int
    samples_s: tuple[float, ...]

    def __post_init__(self) -> None:
        """Times are above zero."""
        if not self.samples_s or not all(0 < sample < 1e6 for sample in self.samples_s):
            raise InputError(f"{self.name}: samples_s: expected seconds above zero, found {list(self.samples_s)[:3]}")

    @property
    def samples(self) -> Samples:
        """The same, summarised."""
        return Samples(samples_s=self.samples_s)


def _line(value: Any) -> str:
    return json.dumps(plain(value), allow_nan=False) + "\n"


class Store:
    """A measurements file. Raises InputError for one of another machine, or that is none."""

    def __init__(self, path: Path, setup: Setup, fresh: bool = False) -> None:
        """Open the file for ``setup``, going on where it stopped unless ``fresh``."""
        self.path, self.setup = path, setup
        self.timed: list[Timed] = []
        if path.exists() and not fresh:
            self._read()
        else:
            write_text(path, _line(setup))

    def _read(self) -> None:
        text = read_text(self.path)
        whole = text[: text.rfind("\n") + 1]
        lines = whole.removesuffix("\n").split("\n")
        try:
            records = [json.loads(line) for line in lines]
            check_whole(records)
        except (ValueError, RecursionError, InputError):
            raise InputError(f"{self.path}: expected one JSON object a line; move it away or give --fresh") from None
        if not records or not isinstance(records[0], dict) or records[0].get("schema") != Setup.SCHEMA:
            raise InputError(f'{self.path}: expected a first line of schema "{Setup.SCHEMA}"; move it away')
        setup = from_plain(Setup, records[0], str(self.path))
        differs = setup.same_machine(self.setup)
        if differs is not None:
            raise InputError(
                f"{self.path}: its measurements are of another machine or version ({differs} is "
                f"{getattr(setup, differs)}, here {getattr(self.setup, differs)}); give --fresh to measure anew"
            )
        self.setup = setup
        self.timed = [from_plain(Timed, record, str(self.path)) for record in records[1:]]
        if whole != text:
            write_text(self.path, whole)

    def known(self, name: str, round_: int = 0) -> bool:
        """Tell whether something was measured in a round."""
        return any(one.name == name and one.round == round_ for one in self.timed)

    def add(self, timed: list[Timed]) -> None:
        """Append measurements and wait until they are on the disk. Raises Unavailable where they cannot be written."""
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("".join(_line(one) for one in timed))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise Unavailable(
                f"{self.path}: cannot be written ({error.strerror}); what was measured is kept, run again to go on"
            ) from None
        self.timed += timed


def fill(
    store: Store, groups: Mapping[str, Makers], rounds: int, repeats: int, tell: Progress, done_with: Callable[[], None]
) -> None:
    """Measure what ``store`` lacks: every group once a round, its members interleaved, kept when they are through.

    ``done_with`` is called after each group that was measured, so that its networks may go.
    """
    total, done = rounds * sum(map(len, groups.values())) * (repeats + 1), 0
    for number in range(rounds):
        for title, group in groups.items():
            missing = {name: make for name, make in group.items() if not store.known(name, number)}
            done += (len(group) - len(missing)) * (repeats + 1)
            if not missing:
                continue
            what = f"round {number + 1} of {rounds}, {title}"
            tell(what, done, total)

            def step(what: str = what) -> None:
                nonlocal done
                done += 1
                tell(what, done, total)

            measured = measure({name: make() for name, make in missing.items()}, repeats, tell=step)
            store.add(
                [
                    Timed(name=name, part=part, round=number, samples_s=samples.samples_s)
                    for name, parts in measured.items()
                    for part, samples in parts.items()
                ]
            )
            done_with()
