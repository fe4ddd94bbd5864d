"""What is known of a law before its points? Published scores and studies, as Gaussians of its coefficients.

(evidence, shares of tasks, reduction, points) -> :class:`Prior` of ``hill``'s b, c and d; points tell the level.
Left out: that b shrinks with N (it is that at the points' geometric mean), and chance and blind answers but at the
points' mean score.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vlmplan.accuracy import SIZE_EXPONENT, Benchmark, Curve, Evidence, Point, Uncertain
from vlmplan.models import Reduction

# Curves of the evidence have a steepness for each kind of benchmark, without a spread: kinds differ by about so much.
STEEPNESS_SD_FRACTION = 0.3
# A processor makes about a token of so many pixels squared (patches of 14 pixels, 2 x 2 of them merged, as Qwen2-VL's):
# an assumption, by which a curve in pixels becomes one in tokens.
TOKEN_SIDE_PX = 28.0
_LEAST_SHARE, _MOST_SHARE = 0.05, 0.98  # of the score above chance, at which the evidence's logits are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is known of ``b``, of ``c`` and of ``d`` (ln tokens), and how one LLM differs from the law (in error).

    ``size_basis`` and ``tokens_basis`` say on what b, and c and d, rest.
    """

    b: Uncertain
    c: Uncertain
    d: Uncertain
    model_sd: float
    size_basis: str
    tokens_basis: str


def _share(benchmark: Benchmark, score: float) -> float:
    """What a score has of what can be had above chance."""
    return min(_MOST_SHARE, max(_LEAST_SHARE, (score - benchmark.chance_score) / (1 - benchmark.chance_score)))


def _size_factor(benchmark: Benchmark, score: float, size_b: float) -> float:
    """The score's logit by ln N, for a slope of 1 in ``size_term``: what is above chance grows, and ever less."""
    share = _share(benchmark, score)
    above = (1 - benchmark.chance_score) * share
    return above / (benchmark.chance_score + above) * math.exp(-SIZE_EXPONENT * math.log(size_b))


def _curve(benchmark: Benchmark, reduction: Reduction) -> Curve:
    """The benchmark's curve of a reduction, or of any training-free one where it has none."""
    return benchmark.curves[reduction if reduction in benchmark.curves else Reduction.TRAINING_FREE]


def _in_tokens(benchmark: Benchmark, reduction: Reduction, score: float) -> tuple[float, Uncertain]:
    """(c, d) of the whole score: with V = (side / 28)^2 for a curve in pixels, less what is had without the image.

    Where most of the score is kept, losing the part 1 - blind of it is losing all of it at a scale (1 - blind)^(1/c)
    times as large.
    """
    curve = _curve(benchmark, reduction)
    power = 2.0 if reduction is Reduction.IMAGE_SIZE else 1.0
    c, sd = curve.steepness / power, power * math.hypot(curve.log_scale.sd, curve.model_sd)
    d = power * (curve.log_scale.value - (math.log(TOKEN_SIDE_PX) if power > 1 else 0.0))
    above = (1 - benchmark.chance_score) * _share(benchmark, score)
    seen = (1 - benchmark.blind_fraction) * above / (benchmark.chance_score + above)
    return c, Uncertain(value=d + math.log(seen) / c, sd=sd)


def _mean(weights: Mapping[str, float], of: Callable[[str], Uncertain], known: bool) -> Uncertain:
    """The mean by weights; the spreads are taken to go together, and an unknown task may be any of the benchmarks."""
    parts = [(weight, of(name)) for name, weight in weights.items()]
    mean = sum(weight * one.value for weight, one in parts)
    apart = 0.0 if known else sum(weight * (one.value - mean) ** 2 for weight, one in parts)
    return Uncertain(value=mean, sd=math.hypot(sum(weight * one.sd for weight, one in parts), math.sqrt(apart)))


def shipped_prior(
    evidence: Evidence, shares: Mapping[str, float], reduction: Reduction, points: Sequence[Point]
) -> Prior:
    """Return what the evidence says of the law of a task, or of a mix, about the points' LLM sizes and scores."""
    known = bool(shares) and all(one in {*evidence.tasks, *(b.name for b in evidence.benchmarks)} for one in shares)
    weights = evidence.weights(shares) if known else evidence.task_weights("")
    size_b = math.exp(sum(math.log(point.llm_params_b) for point in points) / len(points))
    score = 1 - sum(point.error for point in points) / len(points)

    def tokens(name: str) -> tuple[float, Uncertain]:
        return _in_tokens(evidence.benchmark(name), reduction, score)

    def slope(name: str) -> Uncertain:
        one = evidence.benchmark(name)
        factor = _size_factor(one, score, size_b)
        return Uncertain(value=factor * one.slope.value, sd=factor * one.slope.sd)

    def steepness(name: str) -> Uncertain:
        c = tokens(name)[0]
        return Uncertain(value=c, sd=STEEPNESS_SD_FRACTION * c)

    def model(name: str) -> Uncertain:
        one, share = evidence.benchmark(name), _share(evidence.benchmark(name), score)
        return Uncertain(value=0.0, sd=(1 - one.chance_score) * share * (1 - share) * one.residual_sd)

    curves = [_curve(evidence.benchmark(name), reduction) for name in weights]
    named = ", ".join(weights) if known else f"all {len(weights)} benchmarks, the task being none of theirs"
    pixels = f" in pixels, taken for {TOKEN_SIDE_PX:g} x {TOKEN_SIDE_PX:g} a token" * (
        reduction is Reduction.IMAGE_SIZE
    )
    return Prior(
        b=_mean(weights, slope, known),
        c=_mean(weights, steepness, known),
        d=_mean(weights, lambda name: tokens(name)[1], known),
        model_sd=_mean(weights, model, known).sd,
        size_basis=f"{max(evidence.benchmark(name).checkpoints for name in weights)} checkpoints' scores on {named}",
        tokens_basis=f"{max(curve.studies for curve in curves)} {reduction} studies{pixels} of {named}",
    )
