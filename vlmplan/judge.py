"""Who says how wrong a candidate will be? The judge, and the one that goes by published scores of checkpoints.

(model, visual input, precision) -> predicted error in [0, 1], draws of it, and warnings. Backbones still to be trained,
or any model where the user brings a law, are judged by that law (``judge_law.py``).
"""

import enum
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from vlmplan.cost import active_llm_params, total_llm_params
from vlmplan.document import digest
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.model import ModelSpec, Workload
from vlmplan.ranking import Evidence, OwnScores, Subject, Support, error_draws, predicted_error, size_term, support
from vlmplan.visual_tokens import VisualInput, native_visual_tokens, options

SHARE_TOLERANCE = 1e-6
USUAL_IMAGE = (1024, 1024)  # what token counts of checkpoints are published for
SMALL_SHARE = 0.5  # of the tokens of such an image; with fewer, published scores promise too much
MOST_STAND_IN_FRACTION = 0.5  # of a task's weight; beyond it a checkpoint is not ranked at all


class Draws(Protocol):
    """Draws of one candidate's error: the same every time, and paired between candidates."""

    def __call__(self, model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        """Return ``count`` draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSource:
    """What the predicted errors rest on: a name, the digest of the evidence or law, and the shares of the task."""

    name: str
    sha256: str
    task: Mapping[str, float]
    basis: tuple[str, ...]


class ScoreBasis(enum.StrEnum):
    """Where a benchmark's score of a checkpoint comes from."""

    PUBLISHED = "published"
    FAMILY = "family"
    OTHER_BENCHMARKS = "other-benchmarks"
    OTHER_FAMILIES = "other-families"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreUsed:
    """One score that a prediction stands on, in (0, 1), at the checkpoint's own visual tokens and precision.

    ``checkpoints`` of its family were scored on it; ``note`` and ``source`` are of a published score.
    """

    benchmark: str
    weight: float
    score: float
    basis: ScoreBasis
    checkpoints: int
    note: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The error of a candidate, paired draws of it, what to warn of, and what it all rests on."""

    source: ErrorSource
    knows: Callable[[ModelSpec], bool]
    error: Callable[[ModelSpec, VisualInput, Precision], float]
    draws: Draws
    warnings: Callable[[ModelSpec, VisualInput], tuple[str, ...]]
    scores: Callable[[ModelSpec], tuple[ScoreUsed, ...]] = lambda _: ()


def parse_task(text: str) -> dict[str, float]:
    """``"ocr"`` -> {"ocr": 1.0}; ``"reasoning=0.7,ocr=0.3"`` -> both. Raises InputError unless the shares add to 1."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, equals, share = item.partition("=")
        try:
            value = float(share) if equals else 1.0
        except ValueError:
            value = math.nan
        if not name.strip() or not (math.isfinite(value) and value > 0) or name.strip() in shares:
            raise InputError(
                f"--task {text}: found '{item}', expected NAME or NAME=SHARE with a share above 0, each name once"
            )
        shares[name.strip()] = value
    total = sum(shares.values())
    if abs(total - 1) > SHARE_TOLERANCE:
        raise InputError(f"--task {text}: the shares add to {total:g}, expected 1, such as reasoning=0.7,ocr=0.3")
    return shares


def _subject(workload: Workload, model: ModelSpec, visual: VisualInput, precision: Precision) -> Subject:
    return Subject(
        name=model.name,
        family=model.family,
        active_llm_params_b=active_llm_params(model) / 1e9,
        total_llm_params_b=total_llm_params(model) / 1e9,
        visual_tokens=visual.visual_tokens,
        native_visual_tokens=native_visual_tokens(model, workload.image),
        reduction=visual.reduction,
        precision=precision,
    )


def _scores_used(
    evidence: Evidence, weights: Mapping[str, float], subject: Subject, own: OwnScores | None
) -> Iterator[ScoreUsed]:
    """What each benchmark's part of a prediction stands on."""
    for name, weight in weights.items():
        benchmark = evidence.benchmark(name)
        known = own.benchmarks.get(name) if own is not None else None
        family = benchmark.offset_of(subject.family)
        basis = ScoreBasis.OTHER_FAMILIES if family is benchmark.other_families else ScoreBasis.OTHER_BENCHMARKS
        if subject.name in benchmark.published:
            basis = ScoreBasis.PUBLISHED
        elif family.checkpoints:
            basis = ScoreBasis.FAMILY
        yield ScoreUsed(
            benchmark=name,
            weight=weight,
            score=1 - predicted_error(evidence, {name: 1.0}, subject),
            basis=basis,
            checkpoints=family.checkpoints,
            note=known.note if known else None,
            source=known.source if known else None,
        )


def _score_warnings(rests: Support, workload: Workload, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
    """What to mind about one checkpoint's prediction."""
    found, native = [], native_visual_tokens(model, workload.image)
    if rests.own_fraction < 1:
        found.append(
            f"{model.name}: {rests.own_fraction:.0%} of its prediction rests on its own published scores, "
            f"{rests.family_fraction:.0%} on its family's, {rests.stand_in_fraction:.0%} on other benchmarks or "
            "families"
        )
    larger = native_visual_tokens(model, USUAL_IMAGE)
    if native < SMALL_SHARE * larger:
        found.append(
            f"an image of {workload.image[0]} x {workload.image[1]} makes only {native} visual tokens ({larger} of "
            f"{USUAL_IMAGE[0]} x {USUAL_IMAGE[1]}); scores were published on benchmarks' own images, mostly larger "
            "ones, and what this one lacks is not in the error"
        )
    if visual.visual_tokens < native:
        found.append(
            f"{model.name}: its scores were published with more visual tokens; what {visual.reduction} reduction "
            "costs is an estimate from few studies"
        )
    return tuple(found)


def by_scores(
    evidence: Evidence,
    shares: Mapping[str, float],
    workload: Workload,
    own: Callable[[str], OwnScores | None] = lambda _: None,
) -> Judge:
    """Judge checkpoints by the estimators fitted on published scores; ``own`` finds a checkpoint's, with sources.

    Raises InputError for an unknown task.
    """
    known = {*evidence.tasks, *(benchmark.name for benchmark in evidence.benchmarks)}
    for name in shares:
        if name not in known:
            raise InputError(f"no task '{name}'; expected one of {', '.join(sorted(known))}, or a LAW.toml")
    weights = evidence.weights(shares)

    def rests(model: ModelSpec) -> Support:
        size = size_term(active_llm_params(model) / 1e9, total_llm_params(model) / 1e9)
        return support(evidence, weights, model.name, model.family, size)

    def draws(model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        return error_draws(evidence, weights, _subject(workload, model, visual, precision), count)

    def scores(model: ModelSpec) -> tuple[ScoreUsed, ...]:
        visual = options(model, workload.image)[-1]
        subject = _subject(workload, model, visual, Precision.BF16)
        return tuple(_scores_used(evidence, weights, subject, own(model.name)))

    left_out = ", ".join(f"{name} {evidence.benchmark(name).left_out_points:.2g}" for name in weights)
    return Judge(
        source=ErrorSource(
            name="published scores",
            sha256=digest(evidence),
            task=dict(shares),
            basis=(
                f"mean error, in points, for checkpoints left out of the fit: {left_out}",
                *dict.fromkeys(source for name in weights for source in evidence.benchmark(name).sources),
            ),
        ),
        knows=lambda model: rests(model).stand_in_fraction <= MOST_STAND_IN_FRACTION,
        error=lambda *candidate: predicted_error(evidence, weights, _subject(workload, *candidate)),
        draws=draws,
        warnings=lambda model, visual: _score_warnings(rests(model), workload, model, visual),
        scores=scores,
    )
