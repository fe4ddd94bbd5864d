"""Does the profile hold? Requests it never saw, predicted first and measured then, in one table.

(profile, cases) -> a :class:`Verdict`. Every case is measured in two rounds some minutes apart, so that the error of
predicting can be set beside the error of merely measuring again. Good is a median error of at most a tenth (or one and
a half times the repeat's), 80 % intervals that hold 65 to 95 % at a median width of at most 40 %, and a better
interval score than the constant percentage that the profile's own left-out errors suggest.
"""

import functools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vlmplan.cost import Request, cost, machine, request_of
from vlmplan.exporting import TimedRequest, workload_prompt
from vlmplan.hardware import HardwareProfile, Part, Precision
from vlmplan.intervals import Interval, quantile
from vlmplan.measuring.observation import Quantity
from vlmplan.measuring.rig import Rig
from vlmplan.measuring.timing import Runner, Store, fill
from vlmplan.measuring.trials import PATCH, Network, Tower, Width, layers_for, model_of
from vlmplan.models import Compressor, Workload
from vlmplan.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request to a network; an image always."""

    network: Network
    text_tokens: int
    output_tokens: int
    batch: int

    @property
    def request(self) -> Request:
        """What the planner prices."""
        network = self.network
        side = network.tower.side * PATCH
        workload = Workload(
            text_tokens=self.text_tokens, output_tokens=self.output_tokens, batch=self.batch, image=(side, side)
        )
        return request_of(model_of(network), workload, network.visual_tokens, network.precision, network.compressor)

    @property
    def name(self) -> str:
        """What is asked of what."""
        network = self.network
        return (
            f"{network.width.hidden}x{network.layers} {network.tower.hidden}x{network.tower.layers} "
            f"{network.compressor} V={network.visual_tokens} Q={self.text_tokens} n={self.output_tokens} "
            f"b={self.batch}"
        )


# SmolLM-135M, TinyLlama-like, Qwen1.5-0.5B, Gemma-like, and two between; behind CLIP and SigLIP of other sizes.
_WIDTHS = (
    Width(hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64),
    Width(hidden=768, intermediate=2048, heads=12, kv_heads=4, head_dim=64),
    Width(hidden=1024, intermediate=2816, heads=16, kv_heads=16, head_dim=64),
    Width(hidden=1152, intermediate=6912, heads=4, kv_heads=1, head_dim=256),
    Width(hidden=1280, intermediate=3584, heads=20, kv_heads=4, head_dim=64),
    Width(hidden=1792, intermediate=4864, heads=14, kv_heads=2, head_dim=128),
)
_TOWERS = (
    Tower(hidden=512, intermediate=2048, heads=8, layers=4, side=16, clip=True),
    Tower(hidden=768, intermediate=3072, heads=12, layers=4, side=16, clip=True),
    Tower(hidden=896, intermediate=3584, heads=14, layers=3, side=24, clip=False),
    Tower(hidden=1152, intermediate=4304, heads=16, layers=2, side=27, clip=False),
    Tower(hidden=640, intermediate=2560, heads=10, layers=6, side=24, clip=True),
    Tower(hidden=1280, intermediate=5120, heads=16, layers=2, side=16, clip=True),
)
# What is left of the tower's grid: region side by grid side, and the compressor.
_KINDS = {
    16: ((1, Compressor.NONE), (2, Compressor.PIXEL_SHUFFLE), (4, Compressor.VISIONZIP), (16, Compressor.QUECC)),
    24: ((1, Compressor.NONE), (2, Compressor.AVERAGE_POOL), (4, Compressor.TOKEN_PACKER),
         (24, Compressor.AVERAGE_POOL)),
    27: ((1, Compressor.NONE), (3, Compressor.TOKEN_PACKER), (9, Compressor.DIVPRUNE), (27, Compressor.QUECC)),
}  # fmt: skip
# (text tokens, output tokens, batch), three for each number of visual tokens, taken in turn.
_WORK = ((20, 8, 1), (50, 16, 1), (120, 5, 1), (300, 12, 1), (50, 9, 2), (33, 6, 3), (200, 24, 1), (75, 7, 2))


def _networks(base: Precision, cache_bytes: int) -> Iterator[Network]:
    for width, tower in zip(_WIDTHS, _TOWERS, strict=True):
        layers = layers_for(width, base, cache_bytes) + 1
        for factor, compressor in _KINDS[tower.side]:
            yield Network(width=width, layers=layers, tower=tower, compressor=compressor, base_precision=base,
                          visual_tokens=(tower.side // factor) ** 2, precision=base)  # fmt: skip


def cases(base: Precision, cache_bytes: int) -> tuple[Case, ...]:
    """Return the requests, three a network; decoders are deeper by a layer than those profiled need to be."""
    cases: list[Case] = []
    for network in _networks(base, cache_bytes):
        for _ in range(3):
            text, output, batch = _WORK[len(cases) % len(_WORK)]
            cases.append(Case(network=network, text_tokens=text, output_tokens=output, batch=batch))
    return tuple(cases)


LEVEL_FRACTION = 0.8
ROUNDS, REPEATS = 2, 4
MOST_ERROR_FRACTION, REPEAT_FACTOR = 0.10, 1.5
LEAST_HELD_FRACTION, MOST_HELD_FRACTION = 0.65, 0.95
MOST_WIDTH_FRACTION = 0.40
_QUANTITIES = (Quantity.TTFT, Quantity.TPOT)
_IMAGE_TOKEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTime:
    """One time predicted and measured; the measured one is the median of both rounds."""

    case: Case
    quantity: Quantity
    predicted_s: float
    interval_s: Interval
    rounds_s: tuple[float, ...]

    @property
    def measured_s(self) -> float:
        """The middle of the rounds' medians."""
        return statistics.median(self.rounds_s)

    @property
    def error_fraction(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1

    @property
    def repeat_fraction(self) -> float:
        """The second round over the first, less one: the error of measuring again."""
        return self.rounds_s[-1] / self.rounds_s[0] - 1

    @property
    def held(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.interval_s[0] <= self.measured_s <= self.interval_s[1]

    @property
    def width_fraction(self) -> float:
        """The interval's width as a share of the prediction."""
        return (self.interval_s[1] - self.interval_s[0]) / self.predicted_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All rows, and what they add up to. Scores are mean interval scores of relative error: less is better."""

    rows: tuple[CaseTime, ...]
    constant_fraction: float

    @property
    def median_error_fraction(self) -> float:
        """Median over all rows."""
        return statistics.median(abs(row.error_fraction) for row in self.rows)

    @property
    def repeat_error_fraction(self) -> float:
        """Median error of measuring again."""
        return statistics.median(abs(row.repeat_fraction) for row in self.rows)

    @property
    def held_fraction(self) -> float:
        """Share of the rows whose interval holds."""
        return statistics.mean(row.held for row in self.rows)

    @property
    def width_fraction(self) -> float:
        """Median width of the intervals."""
        return statistics.median(row.width_fraction for row in self.rows)

    @property
    def interval_score(self) -> float:
        """Mean score of the intervals predicted."""
        return statistics.mean(
            _score(row.interval_s[0] / row.measured_s - 1, row.interval_s[1] / row.measured_s - 1) for row in self.rows
        )

    @property
    def constant_score(self) -> float:
        """Mean score of the same predictions with a constant percentage around them."""
        part = self.constant_fraction
        return statistics.mean(
            _score(row.predicted_s * (1 - part) / row.measured_s - 1, row.predicted_s * (1 + part) / row.measured_s - 1)
            for row in self.rows
        )

    @property
    def most_error_fraction(self) -> float:
        """The median error that is still good."""
        return max(MOST_ERROR_FRACTION, REPEAT_FACTOR * self.repeat_error_fraction)

    @property
    def faults(self) -> tuple[str, ...]:
        """What falls short, in words; nothing when the profile holds."""
        faults = []
        if self.median_error_fraction > self.most_error_fraction:
            faults.append(f"median error {self.median_error_fraction:.1%}, expected {self.most_error_fraction:.1%}")
        if not LEAST_HELD_FRACTION <= self.held_fraction <= MOST_HELD_FRACTION:
            faults.append(
                f"80 % intervals hold {self.held_fraction:.0%}, expected {LEAST_HELD_FRACTION:.0%} to "
                f"{MOST_HELD_FRACTION:.0%}"
            )
        if self.width_fraction > MOST_WIDTH_FRACTION:
            faults.append(f"median interval width {self.width_fraction:.0%}, expected {MOST_WIDTH_FRACTION:.0%}")
        if self.interval_score > self.constant_score:
            faults.append(
                f"interval score {self.interval_score:.3f} is no better than {self.constant_score:.3f}, that of a "
                f"constant {self.constant_fraction:.0%}"
            )
        return tuple(faults)


def _score(low: float, high: float) -> float:
    """The interval score of a central 80 % interval for an outcome at 0: width, and what is missed over a tenth."""
    return high - low + 2 / (1 - LEVEL_FRACTION) * (max(0.0, low) + max(0.0, -high))


def measure_cases(rig: Rig, cases: Sequence[Case], store: Store, tell: Progress) -> None:
    """Measure what the store lacks: every network once a round, its cases interleaved."""
    groups: dict[str, dict[str, Callable[[], Runner]]] = {}
    for case in cases:
        title = f"checking, llm {case.network.width.hidden}x{case.network.layers}"
        groups.setdefault(title, {})[case.name] = functools.partial(_request, rig, case)
    fill(store, groups, ROUNDS, REPEATS, tell, rig.release)


def _request(rig: Rig, case: Case) -> TimedRequest:
    network = case.network
    prompt = workload_prompt(
        case.request.workload,
        network.visual_tokens,
        network.tower.side * PATCH,
        _IMAGE_TOKEN,
        network.reads_question,
    )
    return TimedRequest(model=rig.model(network), prompt=prompt, output_tokens=case.output_tokens)


def verdict(hardware: HardwareProfile, cases: Sequence[Case], store: Store) -> Verdict:
    """Predict every case and hold it against what the store has measured: of images that are ready for the tower."""
    calibration = replace(hardware.calibration[0], preprocess=None)
    timed = replace(hardware, calibration=(calibration, *hardware.calibration[1:]))
    ready = machine(timed, (), calibration.runtime, calibration.precision)
    rows = []
    for case in cases:
        priced = cost(case.request, ready)
        predicted = {
            Quantity.TTFT: (priced.ttft_s, priced.ttft_interval_s(LEVEL_FRACTION)),
            Quantity.TPOT: (priced.tpot_s, priced.tpot_interval_s(LEVEL_FRACTION)),
        }
        for quantity in _QUANTITIES:
            seconds, interval_s = predicted[quantity]
            rounds = tuple(
                one.samples.median_s for one in store.timed if one.name == case.name and one.part == quantity
            )
            if seconds is not None and interval_s is not None and len(rounds) == ROUNDS:
                rows.append(
                    CaseTime(
                        case=case,
                        quantity=quantity,
                        predicted_s=seconds,
                        interval_s=interval_s,
                        rounds_s=rounds,
                    )
                )
    return Verdict(rows=tuple(rows), constant_fraction=_constant(hardware))


def _constant(hardware: HardwareProfile) -> float:
    """The percentage that would hold 80 % of the profile's left-out errors, all parts thrown together."""
    spreads = hardware.calibration[0].part_log_sd
    parts = (Part.VISION, Part.PREFILL, Part.DECODE)
    pooled = math.sqrt(statistics.mean(spreads.get(part, 0.0) ** 2 for part in parts))
    return quantile(LEVEL_FRACTION) * pooled
