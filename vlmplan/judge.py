"""Who says how wrong a candidate will be? Published scores of checkpoints, or a scaling law.

(model, visual input, precision) -> predicted error in [0, 1], draws of it, and warnings. Checkpoints are ranked by
published scores; backbones still to be trained, or any model where the user brings a law, by that law.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from vlmplan.cost import active_llm_params
from vlmplan.document import digest
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.model import ModelSpec, Workload
from vlmplan.ranking import Evidence, Subject, Support, error_draws, predicted_error, support
from vlmplan.visual_tokens import VisualInput, native_visual_tokens

if TYPE_CHECKING:
    from vlmplan.scaling import ScalingLaw

SHARE_TOLERANCE = 1e-6
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The error of a candidate, paired draws of it, what to warn of, and what it all rests on."""

    source: ErrorSource
    knows: Callable[[ModelSpec], bool]
    error: Callable[[ModelSpec, VisualInput, Precision], float]
    draws: Draws
    warnings: Callable[[ModelSpec, VisualInput], tuple[str, ...]]


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
        llm_params_b=active_llm_params(model) / 1e9,
        visual_tokens=visual.visual_tokens,
        native_visual_tokens=native_visual_tokens(model, workload.image),
        reduction=visual.reduction,
        precision=precision,
    )


def _score_warnings(rests: Support, workload: Workload, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
    """What to mind about one checkpoint's prediction."""
    found, native = [], native_visual_tokens(model, workload.image)
    if rests.own_fraction < 1:
        found.append(
            f"{model.name}: {rests.own_fraction:.0%} of its prediction rests on its own published scores, "
            f"{rests.family_fraction:.0%} on its family's, {rests.stand_in_fraction:.0%} on other benchmarks"
        )
    if model.image is not None and native < model.image.trained_min_visual_tokens:
        found.append(f"the image makes only {native} visual tokens; scores were published on larger images")
    if visual.visual_tokens < native:
        found.append(
            f"{model.name}: its scores were published with more visual tokens; what {visual.reduction} reduction "
            "costs is an estimate from few studies"
        )
    return tuple(found)


def by_scores(evidence: Evidence, shares: Mapping[str, float], workload: Workload) -> Judge:
    """Judge checkpoints by the estimators fitted on published scores. Raises InputError for an unknown task."""
    known = {*evidence.tasks, *(benchmark.name for benchmark in evidence.benchmarks)}
    for name in shares:
        if name not in known:
            raise InputError(f"no task '{name}'; expected one of {', '.join(sorted(known))}, or a LAW.toml")
    weights = evidence.weights(shares)

    def rests(model: ModelSpec) -> Support:
        return support(evidence, weights, model.name, model.family)

    def draws(model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        return error_draws(evidence, weights, _subject(workload, model, visual, precision), count)

    left_out = ", ".join(f"{name} {evidence.benchmark(name).left_out_points:.1f}" for name in weights)
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
    )


def _shifted(error: float, logit: float) -> float:
    """Move an error by ``logit`` on the logit scale."""
    bounded = min(1 - 1e-9, max(1e-9, error))
    return 1 / (1 + (1 - bounded) / bounded * math.exp(-logit))


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _optimum(law: "ScalingLaw", text_tokens: int) -> str:
    """Say what V the law alone would take, were LLMs of every size to be had."""
    best = law.optimal_visual_tokens(text_tokens)
    found = "grows without end" if best is None else f"is {max(1.0, best):.3g}"
    alone = f"by the law '{law.name}' alone, the best V at a fixed 2N(Q+V) with any N {found}"
    return f"{alone} for {text_tokens} uncached text tokens"


def _law_warnings(
    laws: Mapping[str, tuple["ScalingLaw", float]], size_b: float, model: ModelSpec, visual: VisualInput
) -> tuple[str, ...]:
    """What to mind where a law is used away from its points, or for another way of reducing tokens."""
    found = []
    for name, (law, _) in laws.items():
        if visual.reduction is not law.reduction:
            found.append(
                f"the law '{name}' was fitted on models {law.reduction} for their tokens; {model.name} comes to "
                f"{visual.visual_tokens} by {visual.reduction} reduction, which may cost several times more"
            )
        if law.outside(size_b, visual.visual_tokens) > 0:
            found.append(
                f"{model.name} at {visual.visual_tokens} tokens lies outside the points of the law '{name}' "
                f"(N {_span(law.llm_params_b_range)} billion, V {_span(law.visual_tokens_range)}); wider interval"
            )
    return tuple(found)


def by_law(laws: Mapping[str, tuple["ScalingLaw", float]], evidence: Evidence, workload: Workload) -> Judge:
    """Judge by one law or a weighted mix: N is the nominal size where the model has one, else its active parameters."""

    def size_b(model: ModelSpec) -> float:
        return model.nominal_llm_params_b or active_llm_params(model) / 1e9

    @functools.cache
    def coefficients(name: str, count: int) -> list[tuple[float, ...]]:
        return laws[name][0].coefficient_draws(count)

    def error(model: ModelSpec, visual: VisualInput, precision: Precision) -> float:
        mixed = sum(share * law.error(size_b(model), visual.visual_tokens) for law, share in laws.values())
        return _shifted(mixed, evidence.precision_offsets[precision].value)

    def draws(model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        size, offset = size_b(model), evidence.precision_offsets[precision]
        found = [0.0] * count
        for name, (law, share) in laws.items():
            own = Random(f"{name} {model.name}")
            residual_sd = law.residual_logit_sd(size, visual.visual_tokens)
            for index, values in enumerate(coefficients(name, count)):
                drawn = law.fit.error(size, visual.visual_tokens, model.family, values)
                found[index] += share * _shifted(drawn, residual_sd * own.gauss(0, 1))
        shared = Random(f"precision {precision}")
        return [_shifted(value, offset.value + offset.sd * shared.gauss(0, 1)) for value in found]

    named = ", ".join(f"{name} ({law.form}, reduction {law.reduction})" for name, (law, _) in laws.items())
    return Judge(
        source=ErrorSource(
            name=f"scaling law {named}",
            sha256=digest([evidence, *(law for law, _ in laws.values())]),
            task={name: share for name, (_, share) in laws.items()},
            basis=(
                *dict.fromkeys(source for law, _ in laws.values() for source in law.sources),
                *(_optimum(law, workload.uncached_text_tokens) for law, _ in laws.values()),
            ),
        ),
        knows=lambda model: True,  # noqa: ARG005
        error=error,
        draws=draws,
        warnings=lambda model, visual: _law_warnings(laws, size_b(model), model, visual),
    )
