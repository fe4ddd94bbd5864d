"""How wrong is a candidate by a scaling law, or by a mix of several?

(laws with their shares, model, visual input, precision) -> predicted error, draws and warnings, as a ``Judge``. Tokens
cut otherwise than in the law's models cost what studies of that cut say.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from vlmplan.cost import active_llm_params
from vlmplan.document import digest
from vlmplan.hardware import Precision
from vlmplan.judge import ErrorSource, Judge
from vlmplan.model import ModelSpec, Reduction, Workload
from vlmplan.ranking import Evidence, Uncertain
from vlmplan.scaling import ScalingLaw, shifted
from vlmplan.visual_tokens import VisualInput, native_visual_tokens


def _logit(error: float) -> float:
    bounded = min(1 - 1e-9, max(1e-9, error))
    return math.log(bounded / (1 - bounded))


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _count(count: float) -> str:
    """Three digits of a number of tokens that need not be whole, all of a large one."""
    return f"{count:.0f}" if count >= 100 else f"{count:.3g}"


def _optimum(law: ScalingLaw, text_tokens: int) -> str:
    """Say what V the law alone would take, were LLMs of every size to be had."""
    best = law.optimal_visual_tokens(text_tokens)
    found = "grows without end" if best is None else f"is {_count(max(1.0, best))}"
    alone = f"by the law '{law.name}' alone, the best V at a fixed 2N(Q+V) with any N {found}"
    return f"{alone} for {text_tokens} uncached text tokens"


def _law_warnings(
    laws: Mapping[str, tuple[ScalingLaw, float]], size_b: float, model: ModelSpec, visual: VisualInput
) -> tuple[str, ...]:
    """What to mind where a law is used away from its points, or for another way of reducing tokens."""
    found = []
    for name, (law, _) in laws.items():
        if visual.reduction not in (law.reduction, Reduction.TRAINED):
            found.append(
                f"the law '{name}' is of {law.reduction} reduction; {model.name} comes to {visual.visual_tokens} "
                f"tokens by {visual.reduction} reduction, whose cost is taken from studies of that"
            )
        elif visual.reduction is not law.reduction:
            found.append(
                f"the law '{name}' is of {law.reduction} reduction, which costs no less than the training for "
                f"{visual.visual_tokens} tokens that {model.name} would get"
            )
        if law.outside(size_b, visual.visual_tokens) > 0:
            found.append(
                f"{model.name} at {visual.visual_tokens} tokens lies outside the points of the law '{name}' "
                f"(N {_span(law.llm_params_b_range)} billion, V {_span(law.visual_tokens_range)}); wider interval"
            )
        if law.fit.families and model.family not in law.fit.families:
            taken = f"the family '{law.like}'" if law.like else "the mean of its families"
            found.append(
                f"the law '{name}' has no points of {model.family or model.name}, which is taken for {taken}; its "
                "level is uncertain, the order of sizes and tokens less"
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One law at one candidate: where it is asked, and what another reduction adds there, in logit."""

    law: ScalingLaw
    llm_params_b: float
    visual_tokens: float
    family: str
    added: Uncertain

    def error(self, values: tuple[float, ...] | None = None, logit: float = 0.0) -> float:
        """The error, with a draw of the coefficients and ``logit`` more on top."""
        found = self.law.error(self.llm_params_b, self.visual_tokens, self.family, values)
        return shifted(found, self.added.value + logit)


def _size_b(model: ModelSpec) -> float:
    """N as laws count it: nominal where the model has such a size, else active parameters, in billions."""
    return model.nominal_llm_params_b or active_llm_params(model) / 1e9


def _at(law: ScalingLaw, evidence: Evidence, workload: Workload, model: ModelSpec, visual: VisualInput) -> _Judged:
    """Ask the law at the candidate's tokens if it came to them as the law's models did.

    A checkpoint whose tokens are cut in another way is asked at its own number, and what the cut costs comes from
    studies of that way: a law of models trained for their tokens says nothing of pruning. Never less than the law's.
    """
    size, native = _size_b(model), float(visual.visual_tokens)
    added = Uncertain(value=0.0, sd=0.0)
    if visual.reduction not in (law.reduction, Reduction.TRAINED):
        native = float(max(native_visual_tokens(model, workload.image), visual.visual_tokens))
        cut = math.log(native / visual.visual_tokens)
        slope = evidence.token_slope(law.task or law.name, visual.reduction)
        least = _logit(law.error(size, visual.visual_tokens, model.family))
        least -= _logit(law.error(size, native, model.family))
        added = Uncertain(value=max(slope.value * cut, least), sd=slope.sd * cut)
    return _Judged(law=law, llm_params_b=size, visual_tokens=native, family=model.family, added=added)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laws:
    """Laws with their shares, and what else is needed to ask them."""

    laws: Mapping[str, tuple[ScalingLaw, float]]
    evidence: Evidence
    workload: Workload
    stock: bool

    def _asked(self, model: ModelSpec, visual: VisualInput) -> Iterator[tuple[str, float, _Judged]]:
        for name, (law, share) in self.laws.items():
            yield name, share, _at(law, self.evidence, self.workload, model, visual)

    def error(self, model: ModelSpec, visual: VisualInput, precision: Precision) -> float:
        """The weighted error, with what the precision costs."""
        mixed = sum(share * one.error() for _, share, one in self._asked(model, visual))
        return shifted(mixed, self.evidence.precision_offsets[precision].value)

    def draws(self, model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        """Draws of it; what models share (coefficients, family, reduction, precision) is drawn once for all."""
        offset, found = self.evidence.precision_offsets[precision], [0.0] * count
        for name, share, one in self._asked(model, visual):
            place = (one.llm_params_b, one.visual_tokens, model.family)
            spreads = (
                (Random(f"{name} {model.name}"), one.law.residual_logit_sd(*place)),
                (Random(f"{name} family {model.family}"), one.law.family_logit_sd(*place)),
                (Random(f"{name} {visual.reduction}"), one.added.sd),
            )
            for index, values in enumerate(one.law.coefficient_draws(count)):
                found[index] += share * one.error(values, sum(sd * own.gauss(0, 1) for own, sd in spreads))
        shared = Random(f"precision {precision}")
        return [shifted(value, offset.value + offset.sd * shared.gauss(0, 1)) for value in found]

    def warnings(self, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
        """What to mind about one candidate."""
        found = _law_warnings(self.laws, _size_b(model), model, visual)
        nameless = [name for name, (law, _) in self.laws.items() if self.stock and not law.fit.families]
        return found + tuple(
            f"the law '{name}' names no family; {model.name} is judged as if it were one of its models"
            for name in nameless
        )


def _cut_costs(laws: Mapping[str, tuple[ScalingLaw, float]], evidence: Evidence) -> Iterator[str]:
    """What tokens cut from a stock checkpoint cost, law by law."""
    for name, (law, _) in laws.items():
        slopes = ", ".join(
            f"{reduction} {slope.value:.2g} (sd {slope.sd:.2g})"
            for reduction in (Reduction.IMAGE_SIZE, Reduction.TRAINING_FREE)
            if reduction is not law.reduction
            for slope in (evidence.token_slope(law.task or name, reduction),)
        )
        yield (
            f"beside the law '{name}', tokens cut from a checkpoint's own number cost, in logit per e-fold and from "
            f"studies: {slopes}"
        )


def by_law(
    laws: Mapping[str, tuple[ScalingLaw, float]], evidence: Evidence, workload: Workload, stock: bool = False
) -> Judge:
    """Judge by one law or a weighted mix: N is the nominal size where the model has one, else its active parameters.

    ``stock`` says that candidates are checkpoints as published, which the law's own models are not.
    """
    asked = _Laws(laws=laws, evidence=evidence, workload=workload, stock=stock)
    named = ", ".join(f"{name} ({law.form}, reduction {law.reduction})" for name, (law, _) in laws.items())
    return Judge(
        source=ErrorSource(
            name=f"scaling law {named}",
            sha256=digest([evidence, *(law for law, _ in laws.values())]),
            task={name: share for name, (_, share) in laws.items()},
            basis=(
                *dict.fromkeys(source for law, _ in laws.values() for source in law.sources),
                *(_optimum(law, workload.uncached_text_tokens) for law, _ in laws.values()),
                *(_cut_costs(laws, evidence) if stock else ()),
            ),
        ),
        knows=lambda model: True,  # noqa: ARG005
        error=asked.error,
        draws=asked.draws,
        warnings=asked.warnings,
    )
