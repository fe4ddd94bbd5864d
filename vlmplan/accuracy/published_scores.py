"""How wrong will a checkpoint be? One estimator per benchmark, fitted on published scores.

Where a checkpoint's own score is published, that is the prediction at its native V; elsewhere the logit of the score
above chance is m + b x + family offset, with x = (1 - N^-0.2) / 0.2 and N = A^0.3 T^0.7 of A active and T total LLM
parameters in billions. Of what the score has above that without the image, fewer pixels and fewer tokens leave a share
(``reductions.py``); a precision takes an offset off its logit. A task is a weighted list of benchmarks; its error is
one minus the weighted mean score. Left out: prompts, thinking modes.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from random import Random
from typing import ClassVar

from vlmplan.accuracy.reductions import UNSTUDIED_LOG_SD, Curve, Kind, Uncertain
from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.models import Reduction
from vlmplan.records import dataclass

# Where the likelihood of all benchmarks together has its peak (``tools/score_constants.py``).
SIZE_EXPONENT = 0.2
TOTAL_SHARE = 0.7
# A family's only checkpoint says less of it than the spreads suggest: left out, 80 % intervals hold 82 % with this
# factor, 71 % without.
SINGLE_FACTOR = 1.25
_LEAST_SHARE, _MOST_SHARE = 0.02, 0.995  # of what is above chance; logits beyond say nothing


def size_term(
    active_b: float, total_b: float, exponent: float = SIZE_EXPONENT, total_share: float = TOTAL_SHARE
) -> float:
    """Return x of an LLM with so many active and total parameters, in billions: a size that counts ever less."""
    log_size = (1 - total_share) * math.log(active_b) + total_share * math.log(total_b)
    return (1 - math.exp(-exponent * log_size)) / exponent


def adjusted_logit(share: float, chance: float) -> float:
    """Return the logit of a score in (0, 1), of the part of it that is above ``chance``."""
    above = min(_MOST_SHARE, max(_LEAST_SHARE, (share - chance) / (1 - chance)))
    return math.log(above / (1 - above))


def score_of(value: float, chance: float) -> float:
    """Return the score whose logit above ``chance`` is ``value``."""
    return chance + (1 - chance) / (1 + math.exp(-value))


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyOffset:
    """What a family adds, with its spread; of ``checkpoints`` scored, of ``mean_size`` and from ``sizes`` to, in x."""

    value: float
    sd: float
    checkpoints: int
    mean_size: float
    sizes: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """What a checkpoint's scores on other benchmarks say of this one: a ``shift`` in standard deviations.

    ``spread_fraction`` of the standard deviation is left, from ``benchmarks`` others.
    """

    shift: float
    spread_fraction: float
    benchmarks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How a video is shown to a model: so many frames, each as a square of ``side_px``, None where nobody tells."""

    frames: int
    side_px: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """What a video benchmark's scores depend on beside the checkpoint.

    ``frames`` says what fewer frames leave, spread evenly; scores were published at those of ``checkpoints``, at their
    family's (``families``) or, where nobody tells, at the ``usual`` ones. Beyond ``most_frames``, the most of any
    study, more are taken to add nothing: there scores rise no further, and many videos are too short to fill them.
    """

    frames: Curve
    most_frames: int
    usual: Shown
    checkpoints: Mapping[str, Shown]
    families: Mapping[str, Shown]

    def shown(self, name: str, family: str) -> Shown:
        """Return how videos were shown to a checkpoint for its score."""
        shown = self.checkpoints.get(name) or self.families.get(family) or self.usual
        return shown if shown.side_px is not None else Shown(frames=shown.frames, side_px=self.usual.side_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark's estimator.

    ``offsets`` by family; ``other_families`` stands in for one without any. ``published`` are logits of the shipped
    checkpoints' own scores, ``harness_sd`` what one score may differ between harnesses; ``borrowed`` is by checkpoint.
    Of checkpoints left out of the fit, ``left_out_points`` is the mean absolute error in points, beside that of their
    family's mean and of the nearest size in it, and ``held_fraction`` the share that 80 % intervals hold.
    ``image`` is the usual width and height of its images, ``blind_fraction`` what of a score above chance is had
    without them, and ``curves`` say what fewer pixels (``image-size``) or tokens leave of the rest. Where its questions
    are about videos, those are of each frame, and ``video`` says what the number of frames does.
    """

    name: str
    kind: Kind
    image: tuple[int, int]
    chance_score: float
    blind_fraction: float
    intercept: float
    slope: Uncertain
    family_sd: float
    residual_sd: float
    left_out_points: float
    family_mean_points: float
    nearest_size_points: float
    held_fraction: float
    checkpoints: int
    offsets: Mapping[str, FamilyOffset]
    other_families: FamilyOffset
    published: Mapping[str, float]
    harness_sd: float
    borrowed: Mapping[str, Borrowed] = field(default_factory=dict)
    curves: Mapping[Reduction, Curve]
    video: Video | None = None
    sources: tuple[str, ...]

    def offset_of(self, family: str) -> FamilyOffset:
        """Return the offset of a family, or what stands in for it."""
        return self.offsets.get(family) or self.other_families


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(Document):
    """All estimators, the one table of tasks, and what each precision costs (an offset taken off the logit).

    ``legible_text_px`` is the height of text in the pixels that a model sees at which it reads nine tenths of what it
    reads at best; ``legible_log_sd`` the scale of the logistic curve of that share over the height's logarithm.
    ``one_picture`` are families that read one image a prompt, none of a video's frames beside it, each with its source.
    """

    SCHEMA: ClassVar[str] = "vlmplan.evidence/2"

    tasks: Mapping[str, Mapping[str, float]]
    benchmarks: tuple[Benchmark, ...]
    precision_offsets: Mapping[Precision, Uncertain]
    precision_sources: tuple[str, ...]
    legible_text_px: Uncertain
    legible_log_sd: float
    legible_sources: tuple[str, ...]
    one_picture: Mapping[str, str] = field(default_factory=dict)

    def benchmark(self, name: str) -> Benchmark:
        """Return a benchmark by name. Raises InputError."""
        for benchmark in self.benchmarks:
            if benchmark.name == name:
                return benchmark
        raise InputError(f"no benchmark '{name}'; expected one of {', '.join(b.name for b in self.benchmarks)}")

    def task_weights(self, task: str) -> dict[str, float]:
        """Return the weights of a task's or benchmark's benchmarks; of all of pictures where the name is not known."""
        if task in self.tasks or any(one.name == task for one in self.benchmarks):
            return self.weights({task: 1.0})
        of_pictures = [one.name for one in self.benchmarks if one.video is None]
        return dict.fromkeys(of_pictures, 1 / len(of_pictures))

    def weights(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Turn shares of tasks or benchmarks (0.7 reasoning, 0.3 ocr) into weights of benchmarks."""
        weights: dict[str, float] = {}
        for task, share in shares.items():
            for name, weight in self.tasks.get(task, {task: 1.0}).items():
                weights[self.benchmark(name).name] = weights.get(name, 0.0) + share * weight
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnScore:
    """A published score in (0, 1); ``revised`` if of the benchmark's later version; ``note`` on how it was scored."""

    score: float
    revised: bool
    note: str | None = None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnScores(Document):
    """What was published of one checkpoint, by benchmark."""

    SCHEMA: ClassVar[str] = "vlmplan.scores/1"

    name: str
    benchmarks: Mapping[str, OwnScore]


FRAMES = "frames"  # the way in which a video loses what lies between those that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a checkpoint sees and what becomes of it.

    ``side_px`` is the side of a square with as many pixels as it sees of the image asked about, ``native_sides_px``
    that of each benchmark's own images under its default setting. Its views make ``unreduced_tokens``, of which
    ``reduction`` leaves ``visual_tokens``. The smallest text asked about is ``text_px`` high in what it sees.

    Of a video all that is of each of its ``frames``; ``native_frames`` are those of the benchmarks of videos at which
    the checkpoint's scores were published.
    """

    side_px: float
    native_sides_px: Mapping[str, float] = field(hash=False)
    visual_tokens: float
    unreduced_tokens: float
    reduction: Reduction
    text_px: float | None = None
    frames: int = 1
    native_frames: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: a checkpoint, what it sees, and its precision."""

    name: str
    family: str
    active_llm_params_b: float
    total_llm_params_b: float
    sight: Sight
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLoss:
    """One of the losses at work: ``curve`` at ``x``, where the score was published at ``native``.

    ``way``, a reduction or ``FRAMES``, names what models share: the curve's draws are paired by it.
    """

    curve: Curve
    way: str
    x: float
    native: float

    @property
    def studied(self) -> bool:
        """Whether any study of this kind and way reaches down to here."""
        return self.x >= self.curve.least


def losses(benchmark: Benchmark, sight: Sight) -> Iterator[AccuracyLoss]:
    """Yield what fewer pixels, fewer tokens of them, and fewer frames cost on one benchmark, where they do."""
    native = sight.native_sides_px[benchmark.name]
    if sight.side_px < native:
        curve = benchmark.curves[Reduction.IMAGE_SIZE]
        yield AccuracyLoss(curve=curve, way=Reduction.IMAGE_SIZE, x=sight.side_px, native=native)
    if sight.visual_tokens < sight.unreduced_tokens:
        known = (sight.reduction, sight.reduction.criterion, Reduction.TRAINING_FREE)
        way = next(one for one in known if one in benchmark.curves)
        yield AccuracyLoss(curve=benchmark.curves[way], way=way, x=sight.visual_tokens, native=sight.unreduced_tokens)
    if benchmark.video is not None:
        frames = min(benchmark.video.most_frames, sight.native_frames.get(benchmark.name, 0))
        if sight.frames < frames:
            yield AccuracyLoss(curve=benchmark.video.frames, way=FRAMES, x=sight.frames, native=frames)


READ = (Kind.READING, Kind.CHARTS)  # whose questions are about text in the image
ENOUGH_READ = 0.9  # of what a reader reads at best: where text counts as legible
# Gauss and Hermite's three points: (standard deviations, weight).
_POINTS = ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6))


def expected_left(benchmark: Benchmark, family: str, sight: Sight) -> float:
    """Return the share of a score, of what it has above that without the image, that is expected to be left."""
    left = 1.0
    for loss in losses(benchmark, sight):
        curve = loss.curve
        sd, mean = math.hypot(curve.log_scale.sd, curve.model_sd_of(family)), curve.log_scale_of(family)
        left *= sum(weight * curve.left(loss.x, loss.native, mean + sd * z) for z, weight in _POINTS)
    return left


def left_draws(benchmark: Benchmark, family: str, sight: Sight, count: int) -> list[float]:
    """Return draws of that share; what a benchmark or a family has in common is drawn once."""
    left = [1.0] * count
    for loss in losses(benchmark, sight):
        curve = loss.curve
        scales = _drawn(
            [
                _Term(key=f"{benchmark.name} {loss.way}", value=curve.log_scale_of(family), sd=curve.log_scale.sd),
                _Term(key=f"{loss.way} of {family}", value=0.0, sd=curve.model_sd_of(family)),
            ],
            count,
        )
        guess_sd = 0.0 if loss.studied else UNSTUDIED_LOG_SD
        guesses = _drawn([_Term(key=f"{loss.way} unstudied", value=0.0, sd=guess_sd)], count)
        left = [
            one * curve.left(loss.x, loss.native, scale, guess)
            for one, scale, guess in zip(left, scales, guesses, strict=True)
        ]
    return left


def read_share(text_px: float, enough_px: float, log_sd: float) -> float:
    """Return the share left of what a reader reads, of text of a height, who reads nine tenths at ``enough_px``.

    From there on nothing is lost: benchmarks' own text is of many heights.
    """
    logit = math.log(max(text_px, 1e-3) / max(enough_px, 1e-3)) / log_sd + math.log(ENOUGH_READ / (1 - ENOUGH_READ))
    return min(1.0, 1 / (1 + math.exp(-max(-60.0, logit))) / ENOUGH_READ)


def _expected_read(evidence: Evidence, sight: Sight) -> float:
    """The share of its reading that small text is expected to leave a reader that nobody measured."""
    if sight.text_px is None:
        return 1.0
    enough, log_sd = evidence.legible_text_px, evidence.legible_log_sd
    return sum(weight * read_share(sight.text_px, enough.value + enough.sd * z, log_sd) for z, weight in _POINTS)


def _read_draws(evidence: Evidence, sight: Sight, count: int) -> list[float]:
    """Draws of that share, alike for all: how small a text a reader reads is a spread between readers."""
    if sight.text_px is None:
        return [1.0] * count
    enough, log_sd = evidence.legible_text_px, evidence.legible_log_sd
    heights = _drawn([_Term(key="legible text", value=enough.value, sd=enough.sd)], count)
    return [read_share(sight.text_px, height_px, log_sd) for height_px in heights]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A contribution to a logit: ``value`` with ``sd``, shared by all that have the same ``key``."""

    key: str
    value: float
    sd: float


def _level(subject: Subject, benchmark: Benchmark) -> Iterator[_Term]:
    """The terms of the logit above chance, of a checkpoint without a score of its own."""
    size = size_term(subject.active_llm_params_b, subject.total_llm_params_b)
    family = benchmark.offset_of(subject.family)
    factor = SINGLE_FACTOR if family.checkpoints == 1 else 1.0
    spreads = (family.sd, benchmark.slope.sd * (size - family.mean_size), benchmark.residual_sd)
    known = benchmark.borrowed.get(subject.name)
    shift = 0.0
    if known is not None:
        shift = known.shift * factor * math.hypot(*spreads)
        factor *= known.spread_fraction
    yield _Term(key=f"{benchmark.name} {subject.family}", value=family.value, sd=factor * spreads[0])
    level = benchmark.intercept + benchmark.slope.value * size
    yield _Term(key=f"{benchmark.name} slope", value=level, sd=factor * spreads[1])
    yield _Term(key=f"{benchmark.name} {subject.name}", value=shift, sd=factor * spreads[2])


def _scorer(benchmark: Benchmark, own: bool) -> Callable[[float, float, float], float]:
    """What gives the score at a level (a logit, above chance unless it is the checkpoint's own).

    Its arguments are the level, the share that is left of it, and a shift of the logit.
    """
    chance, seen, exp, log = benchmark.chance_score, 1 - benchmark.blind_fraction, math.exp, math.log
    least = 0.0 if own else chance

    def score(level: float, left: float, shift: float) -> float:  # asked thousands of times: ``score_of``, written out
        share = least + (1 - least) / (1 + exp(-level))
        if share > chance:
            share -= (share - chance) * seen * (1 - left)
        share = min(1 - 1e-9, max(1e-9, share))
        return 1 / (1 + exp(-(log(share / (1 - share)) + shift)))

    return score


def _level_terms(subject: Subject, benchmark: Benchmark) -> tuple[bool, list[_Term]]:
    """(whether the checkpoint's own score is known, the terms of its level)."""
    own = benchmark.published.get(subject.name)
    if own is not None:
        return True, [_Term(key=f"{benchmark.name} {subject.name}", value=own, sd=benchmark.harness_sd)]
    return False, [*_level(subject, benchmark)]


def predicted_error(evidence: Evidence, weights: Mapping[str, float], subject: Subject) -> float:
    """Return the predicted error of ``subject`` on the weighted benchmarks."""
    shift = -evidence.precision_offsets[subject.precision].value
    score, read = 0.0, _expected_read(evidence, subject.sight)
    for name, weight in weights.items():
        benchmark = evidence.benchmark(name)
        own, level = _level_terms(subject, benchmark)
        left = expected_left(benchmark, subject.family, subject.sight)
        left = min(left, read) if benchmark.kind in READ else left
        score += weight * _scorer(benchmark, own)(sum(term.value for term in level), left, shift)
    return 1 - score


@functools.lru_cache(maxsize=4096)
def _normals(key: str, count: int) -> tuple[float, ...]:
    """Standard normal numbers that belong to ``key``."""
    random = Random(key)
    return tuple(random.gauss(0, 1) for _ in range(count))


def _drawn(terms: list[_Term], count: int) -> list[float]:
    """Draws of the sum of ``terms``."""
    draws = [sum(term.value for term in terms)] * count
    for term in (one for one in terms if one.sd):
        normals = _normals(term.key, count)
        draws = [value + term.sd * z for value, z in zip(draws, normals, strict=True)]
    return draws


def error_draws(evidence: Evidence, weights: Mapping[str, float], subject: Subject, count: int) -> list[float]:
    """Return draws of the error, seeded by each term's name, so that two subjects share what they have in common."""
    offset = evidence.precision_offsets[subject.precision]
    shifts = _drawn([_Term(key=f"precision {subject.precision}", value=-offset.value, sd=offset.sd)], count)
    errors, read = [1.0] * count, _read_draws(evidence, subject.sight, count)
    for name, weight in weights.items():
        benchmark = evidence.benchmark(name)
        own, terms = _level_terms(subject, benchmark)
        levels, left = _drawn(terms, count), left_draws(benchmark, subject.family, subject.sight, count)
        left = [*map(min, left, read)] if benchmark.kind in READ else left
        scores = map(_scorer(benchmark, own), levels, left, shifts)
        errors = [error - weight * score for error, score in zip(errors, scores, strict=True)]
    return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What a prediction rests on: shares of the task's weight, which add to 1."""

    own_fraction: float
    family_fraction: float
    stand_in_fraction: float


FARTHEST_FACTOR = 6.0  # times a family's largest scored LLM (or a part of its smallest): farther is another model


def _near(family: FamilyOffset, size: Callable[[], float]) -> bool:
    """Whether a size (x) is within reach of those of a family that were scored."""
    if not family.checkpoints:
        return False

    def size_b(x: float) -> float:
        return math.exp(-math.log(1 - SIZE_EXPONENT * x) / SIZE_EXPONENT)

    low, high = (size_b(x) for x in family.sizes)
    return low / FARTHEST_FACTOR <= size_b(size()) <= high * FARTHEST_FACTOR


def support(
    evidence: Evidence, weights: Mapping[str, float], name: str, family: str, size: Callable[[], float]
) -> Support:
    """Return how much of the task rests on the checkpoint's own scores, its family's, and on stand-ins.

    A family's scores count for LLMs of a ``size`` (x) near those that were scored; it is asked for where it is needed.
    """
    own = by_family = 0.0
    for benchmark_name, weight in weights.items():
        benchmark = evidence.benchmark(benchmark_name)
        if name in benchmark.published:
            own += weight
        elif _near(benchmark.offset_of(family), size):
            by_family += weight
    return Support(own_fraction=own, family_fraction=by_family, stand_in_fraction=max(0.0, 1 - own - by_family))
