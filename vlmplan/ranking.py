"""How wrong will a checkpoint be? One estimator per benchmark, fitted on published scores.

Where a checkpoint's own score is published, that is the prediction at its native V; elsewhere
logit(score) = family offset + b ln N + c (ln V - ln V_native) - precision offset, N active LLM parameters in
billions, V visual tokens per image. A task is a weighted list of benchmarks; its error is one minus the weighted mean
score. Left out: harness differences (up to four points), prompts, thinking modes.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.model import Reduction


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """A number with its standard deviation, in logit."""

    value: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark's estimator: ``offsets`` by family, of which ``inferred`` rest on the family's other benchmarks.

    ``other_families`` stands in for a family without any. ``published`` are logits of the shipped checkpoints' own
    scores, ``harness_sd`` what one score may differ between harnesses. ``residual_sd`` is of one checkpoint about its
    family's line, ``left_out_points`` the mean absolute error, in points, for checkpoints left out of the fit.
    ``token_slopes`` is c by reduction.
    """

    name: str
    slope: Uncertain
    residual_sd: float
    left_out_points: float
    checkpoints: int
    offsets: Mapping[str, Uncertain]
    inferred: tuple[str, ...]
    published: Mapping[str, float]
    harness_sd: float
    other_families: Uncertain
    token_slopes: Mapping[Reduction, Uncertain]
    sources: tuple[str, ...]

    def slope_of(self, reduction: Reduction) -> Uncertain:
        """Return c of a reduction; the training-free one's where it was never studied."""
        return self.token_slopes.get(reduction) or self.token_slopes[Reduction.TRAINING_FREE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(Document):
    """All estimators, the one table of tasks, and what each precision costs (an offset taken off the logit)."""

    SCHEMA: ClassVar[str] = "vlmplan.evidence/1"

    tasks: Mapping[str, Mapping[str, float]]
    benchmarks: tuple[Benchmark, ...]
    precision_offsets: Mapping[Precision, Uncertain]
    precision_sources: tuple[str, ...]

    def benchmark(self, name: str) -> Benchmark:
        """Return a benchmark by name. Raises InputError."""
        for found in self.benchmarks:
            if found.name == name:
                return found
        raise InputError(f"no benchmark '{name}'; expected one of {', '.join(b.name for b in self.benchmarks)}")

    def token_slope(self, task: str, reduction: Reduction) -> Uncertain:
        """Return c, what tokens are worth in logit per e-fold, of a task or benchmark; of all where it is not known."""
        weights = self.tasks.get(task) or {one.name: 1 / len(self.benchmarks) for one in self.benchmarks}
        slopes = [(weight, self.benchmark(name).slope_of(reduction)) for name, weight in weights.items()]
        return Uncertain(
            value=sum(weight * one.value for weight, one in slopes), sd=sum(weight * one.sd for weight, one in slopes)
        )

    def weights(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Turn shares of tasks or benchmarks (0.7 reasoning, 0.3 ocr) into weights of benchmarks."""
        weights: dict[str, float] = {}
        for task, share in shares.items():
            for name, weight in self.tasks.get(task, {task: 1.0}).items():
                weights[self.benchmark(name).name] = weights.get(name, 0.0) + share * weight
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: a checkpoint at a number of visual tokens, reached by ``reduction``, at a precision."""

    name: str
    family: str
    llm_params_b: float
    visual_tokens: float
    native_visual_tokens: float
    reduction: Reduction
    precision: Precision


def _effects(subject: Subject, benchmark: Benchmark, offset: Uncertain) -> Iterator[tuple[str, float, float]]:
    """(what the uncertainty is shared by, contribution to the logit, its standard deviation) of every term."""
    own = benchmark.published.get(subject.name)
    if own is not None:
        yield f"{benchmark.name} {subject.name}", own, benchmark.harness_sd
    else:
        log_n = math.log(subject.llm_params_b)
        family = benchmark.offsets.get(subject.family) or benchmark.other_families
        yield f"{benchmark.name} {subject.family}", family.value, family.sd
        yield f"{benchmark.name} slope", benchmark.slope.value * log_n, benchmark.slope.sd * log_n
        yield f"{benchmark.name} {subject.name}", 0.0, benchmark.residual_sd
    fewer = math.log(subject.visual_tokens / subject.native_visual_tokens)
    if fewer:
        slope = benchmark.slope_of(subject.reduction)
        yield f"{benchmark.name} {subject.reduction}", slope.value * fewer, slope.sd * fewer
    yield f"precision {subject.precision}", -offset.value, offset.sd


def predicted_error(evidence: Evidence, weights: Mapping[str, float], subject: Subject) -> float:
    """Return the predicted error of ``subject`` on the weighted benchmarks."""
    offset = evidence.precision_offsets[subject.precision]
    score = 0.0
    for name, weight in weights.items():
        logit = sum(value for _, value, _ in _effects(subject, evidence.benchmark(name), offset))
        score += weight / (1 + math.exp(-logit))
    return 1 - score


@functools.lru_cache(maxsize=4096)
def _normals(key: str, count: int) -> tuple[float, ...]:
    """Standard normal numbers that belong to ``key``."""
    random = Random(key)
    return tuple(random.gauss(0, 1) for _ in range(count))


def error_draws(evidence: Evidence, weights: Mapping[str, float], subject: Subject, count: int) -> list[float]:
    """Return draws of the error, seeded by each term's name, so that two subjects share what they have in common."""
    offset = evidence.precision_offsets[subject.precision]
    errors = [1.0] * count
    for name, weight in weights.items():
        logits = [0.0] * count
        for key, value, sd in _effects(subject, evidence.benchmark(name), offset):
            logits = [logit + value + sd * z for logit, z in zip(logits, _normals(key, count), strict=True)]
        errors = [error - weight / (1 + math.exp(-logit)) for error, logit in zip(errors, logits, strict=True)]
    return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What a prediction rests on: shares of the task's weight, which add to 1."""

    own_fraction: float
    family_fraction: float
    stand_in_fraction: float


def support(evidence: Evidence, weights: Mapping[str, float], name: str, family: str) -> Support:
    """Return how much of the task rests on the checkpoint's own scores, its family's, and on stand-ins."""
    own = by_family = 0.0
    for benchmark_name, weight in weights.items():
        benchmark = evidence.benchmark(benchmark_name)
        if name in benchmark.published:
            own += weight
        elif family in benchmark.offsets and family not in benchmark.inferred:
            by_family += weight
    return Support(own_fraction=own, family_fraction=by_family, stand_in_fraction=max(0.0, 1 - own - by_family))
