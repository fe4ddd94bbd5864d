"""How wrong is a candidate by a scaling law, or by a mix of several?

(laws with their shares, model, visual input, precision) -> predicted error, draws and warnings, as a ``Judge``. Tokens
cut otherwise than in the law's models cost what studies of that cut say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

from vlmplan.accuracy.error_by_scores import ErrorSource, Judge, legibility, native_sides_px, sight, unstudied
from vlmplan.accuracy.law import Draw, Form, ScalingLaw, shifted
from vlmplan.accuracy.published_scores import Benchmark, Evidence, Sight, expected_left, left_draws
from vlmplan.cost import active_llm_params
from vlmplan.document import digest
from vlmplan.hardware import Precision
from vlmplan.models import ModelSpec, Reduction, VisualInput, Workload, native_side_px, native_visual_tokens
from vlmplan.records import dataclass


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _count(count: float) -> str:
    """Three digits of a number of tokens that need not be whole, all of a large one."""
    return f"{count:.0f}" if count >= 100 else f"{count:.3g}"


def _optimum(law: ScalingLaw, text_tokens: int) -> str:
    """Say what V the law alone would take, were LLMs of every size to be had."""
    best = law.optimal_visual_tokens(text_tokens)
    optimum = "grows without end" if best is None else f"is {_count(max(1.0, best))}"
    alone = f"by the law '{law.name}' alone, the best V at a fixed 2N(Q+V) with any N {optimum}"
    moves = "" if law.forms in (Form.POWER, Form.LOGIT) else ", in the middle of its points"
    return f"{alone} for {text_tokens} uncached text tokens{moves}"


def _law_warnings(
    laws: Mapping[str, tuple[ScalingLaw, float]], size_b: float, model: ModelSpec, visual: VisualInput
) -> tuple[str, ...]:
    """What to mind where a law is used away from its points, or for another way of reducing tokens."""
    lines = []
    for name, (law, _) in laws.items():
        if law.asked_models and model.name not in law.asked_models:
            lines.append(
                f"{model.name} did not answer the questions of the law '{name}' "
                f"({', '.join(law.asked_models)} did): how error falls with visual tokens and how hard the task is are "
                "taken over, its own skill is not known"
            )
        if visual.reduction not in (law.reduction, Reduction.TRAINED):
            lines.append(
                f"the law '{name}' is of {law.reduction} reduction; {model.name} comes to {visual.visual_tokens} "
                f"tokens by {visual.reduction} reduction, whose cost is taken from studies of that"
            )
        elif visual.reduction is not law.reduction:
            lines.append(
                f"the law '{name}' is of {law.reduction} reduction, which costs no less than the training for "
                f"{visual.visual_tokens} tokens that {model.name} would get"
            )
        if min(law.fit.values[1:3]) < 0:
            lines.append(
                f"the law '{name}' runs backwards: by its points a larger LLM or more tokens err more; it is no ground "
                "for a choice"
            )
        if law.outside(size_b, visual.visual_tokens) > 0:
            lines.append(
                f"{model.name} at {visual.visual_tokens} tokens lies outside the points of the law '{name}' "
                f"(N {_span(law.llm_params_b_range)} billion, V {_span(law.visual_tokens_range)}); wider interval"
            )
        if law.fit.families and model.family not in law.fit.families:
            taken = f"the family '{law.like}'" if law.like else "the mean of its families"
            lines.append(
                f"the law '{name}' has no points of {model.family or model.name}, which is taken for {taken}; its "
                "level is uncertain, the order of sizes and tokens less"
            )
    return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """What another reduction than the law's takes of one benchmark's score, and what that benchmark weighs."""

    benchmark: Benchmark
    weight: float
    family: str
    sight: Sight

    @property
    def expected_left(self) -> float:
        """The share of the score that is expected to be left."""
        return expected_left(self.benchmark, self.family, self.sight)

    def lost(self, score: float, left: float) -> float:
        """What a score loses, weighted, where ``left`` of what the image adds to it is left."""
        above = max(0.0, score - self.benchmark.chance_score)
        return self.weight * above * (1 - self.benchmark.blind_fraction) * (1 - left)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One law at one candidate: where it is asked, and what another reduction takes of the score it has there.

    The law's own reduction would give the error ``least_error``: no other costs less.
    """

    law: ScalingLaw
    llm_params_b: float
    visual_tokens: float
    family: str
    cuts: tuple[_Cut, ...] = ()
    least_error: float = 0.0

    def error(self, lefts: Sequence[float], draw: Draw | None = None, logit: float = 0.0) -> float:
        """The error where so much is left after each cut, with a draw of the coefficients and ``logit`` on top."""
        whole = shifted(self.law.error(self.llm_params_b, self.visual_tokens, self.family, draw), logit)
        lost = sum(cut.lost(1 - whole, left) for cut, left in zip(self.cuts, lefts, strict=True))
        return max(whole + lost, shifted(self.least_error, logit) if self.cuts else 0.0)

    @property
    def expected_error(self) -> float:
        """The error that is expected."""
        return self.error([cut.expected_left for cut in self.cuts])

    def left_draws(self, count: int) -> list[tuple[float, ...]]:
        """Draws of what is left, a row of all cuts each."""
        drawn = [left_draws(cut.benchmark, cut.family, cut.sight, count) for cut in self.cuts]
        return list(zip(*drawn, strict=True)) or [()] * count


def _size_b(model: ModelSpec) -> float:
    """N as laws count it: nominal where the model has such a size, else active parameters, in billions."""
    return model.nominal_llm_params_b or active_llm_params(model) / 1e9


def _at(law: ScalingLaw, evidence: Evidence, workload: Workload, model: ModelSpec, visual: VisualInput) -> _Judged:
    """Ask the law at the candidate's tokens if it came to them as the law's models did.

    A checkpoint whose tokens are cut in another way is asked at its own number, and what the cut costs comes from
    studies of that way: a law of models trained for their tokens says nothing of pruning. Never less than the law's.
    """
    size = _size_b(model)
    if visual.reduction in (law.reduction, Reduction.TRAINED):
        return _Judged(law=law, llm_params_b=size, visual_tokens=float(visual.visual_tokens), family=model.family)
    weights = evidence.task_weights(law.task or law.name)
    seen = sight(native_sides_px(evidence, weights, model), visual)
    own_px = native_side_px(model, workload.image)
    # the law is asked at the tokens of this image, not at those of benchmarks' images
    seen = replace(seen, native_sides_px={one: min(own_px, side) for one, side in seen.native_sides_px.items()})
    return _Judged(
        law=law,
        llm_params_b=size,
        visual_tokens=float(max(native_visual_tokens(model, workload.image), visual.visual_tokens)),
        family=model.family,
        cuts=tuple(
            _Cut(benchmark=evidence.benchmark(name), weight=weight, family=model.family, sight=seen)
            for name, weight in weights.items()
        ),
        least_error=law.error(size, visual.visual_tokens, model.family),
    )


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
        mixed = sum(share * judged.expected_error for _, share, judged in self._asked(model, visual))
        return shifted(mixed, self.evidence.precision_offsets[precision].value)

    def draws(self, model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        """Draws of it; what models share (coefficients, family, reduction, precision) is drawn once for all."""
        offset, errors = self.evidence.precision_offsets[precision], [0.0] * count
        for name, share, judged in self._asked(model, visual):
            place = (judged.llm_params_b, judged.visual_tokens, model.family)
            spreads = (
                (Random(f"{name} {model.name}"), judged.law.residual_logit_sd(*place)),
                (Random(f"{name} family {model.family}"), judged.law.family_logit_sd(*place)),
            )
            drawn = zip(judged.law.coefficient_draws(count), judged.left_draws(count), strict=True)
            for index, (draw, lefts) in enumerate(drawn):
                logit = sum(sd * random.gauss(0, 1) for random, sd in spreads)
                errors[index] += share * judged.error(lefts, draw, logit)
        shared = Random(f"precision {precision}")
        return [shifted(value, offset.value + offset.sd * shared.gauss(0, 1)) for value in errors]

    def unstudied(self, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
        """What of a candidate no study has seen, where its tokens are cut otherwise than the laws' models' were."""
        cuts = [cut for _, _, judged in self._asked(model, visual) for cut in judged.cuts]
        texts = (text for cut in cuts for text in unstudied(self.evidence, [cut.benchmark.name], cut.sight))
        return tuple(dict.fromkeys(texts))

    def warnings(self, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
        """What to mind about one candidate."""
        lines = (*legibility(self.evidence, self.workload, visual), *self.unstudied(model, visual))
        lines += _law_warnings(self.laws, _size_b(model), model, visual)
        nameless = [name for name, (law, _) in self.laws.items() if self.stock and not law.fit.families]
        return lines + tuple(
            f"the law '{name}' names no family; {model.name} is judged as if it were one of its models"
            for name in nameless
        )


def _cut_costs(laws: Mapping[str, tuple[ScalingLaw, float]], evidence: Evidence) -> Iterator[str]:
    """On what rests the cost of tokens cut from a stock checkpoint, law by law."""
    for name, (law, _) in laws.items():
        curves = [evidence.benchmark(one).curves for one in evidence.task_weights(law.task or name)]
        studies = {
            way: max(one[way].studies for one in curves)
            for way in (Reduction.IMAGE_SIZE, Reduction.AVERAGE_POOL)
            if way is not law.reduction
        }
        told = ", ".join(f"{way} ({count} studies of this kind)" for way, count in studies.items())
        yield f"beside the law '{name}', what tokens cut from a checkpoint's own number cost is from studies: {told}"


def by_law(
    laws: Mapping[str, tuple[ScalingLaw, float]], evidence: Evidence, workload: Workload, stock: bool = False
) -> Judge:
    """Judge by one law or a weighted mix: N is the nominal size where the model has one, else its active parameters.

    ``stock`` says that candidates are checkpoints as published, which the law's own models are not.
    """
    mix = _Laws(laws=laws, evidence=evidence, workload=workload, stock=stock)
    named = ", ".join(f"{name} ({law.forms}, reduction {law.reduction})" for name, (law, _) in laws.items())
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
        error=mix.error,
        draws=mix.draws,
        warnings=mix.warnings,
        unstudied=mix.unstudied,
    )
