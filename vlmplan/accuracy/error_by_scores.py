"""How wrong will a candidate be? The judge, and the one that goes by published scores of checkpoints.

(model, visual input, precision) -> predicted error in [0, 1], draws of it, and warnings. Backbones still to be trained,
or any model where the user brings a law, are judged by that law (``error_by_law.py``).
"""

import enum
import functools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Protocol

from vlmplan.accuracy.published_scores import (
    FRAMES,
    AccuracyLoss,
    Evidence,
    OwnScores,
    Sight,
    Subject,
    Support,
    error_draws,
    losses,
    predicted_error,
    size_term,
    support,
)
from vlmplan.accuracy.tasks import CALLED
from vlmplan.cost import active_llm_params, total_llm_params
from vlmplan.document import digest
from vlmplan.errors import Assumed, InputError, nearest
from vlmplan.hardware import Precision
from vlmplan.models import ModelSpec, Reduction, VisualInput, Workload, native_side_px, options
from vlmplan.records import dataclass

SHARE_TOLERANCE = 1e-6
GUESSED = "is worth is a guess"  # in the warning that says so of the frames of a video
TOO_SMALL = "text too small:"  # how the warning begins that goes before all others
NOTABLY_SMALLER = 0.9  # of the side that a benchmark's own images are seen at; above it nothing is said
_OF_VIDEOS = ("video", "videomme", "mvbench", "longvideobench", "mlvu")  # tasks and benchmarks, in small letters
MOST_STAND_IN_FRACTION = 0.5  # of a task's weight; beyond it a checkpoint is not ranked at all


class Draws(Protocol):
    """Draws of one candidate's error: the same every time, and paired between candidates."""

    def __call__(self, model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        """Return ``count`` draws."""


def of_videos(task: Iterable[str]) -> bool:
    """Return whether a task is about videos, by its names alone: then the images of a request are the frames of one."""
    return any(name.casefold() in _OF_VIDEOS for name in task)


def about_videos(task: object) -> bool:
    """Return whether a task in words is about videos: names, or what people call them, with shares or without."""
    names = (item.partition("=")[0].strip() for item in task.split(",")) if isinstance(task, str) else ()
    return of_videos(CALLED.get(name.casefold(), name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSource:
    """What the predicted errors rest on: a name, the digest of the evidence or law, and the shares of the task."""

    name: str
    sha256: str
    task: Mapping[str, float]
    basis: tuple[str, ...]

    @property
    def of_videos(self) -> bool:
        """Whether the questions are about videos."""
        return of_videos(self.task)


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
    """The error of a candidate, paired draws of it, what to warn of, and what it all rests on.

    ``unstudied`` says what of a candidate no study has seen: fewer pixels or tokens than any of its kind. Who
    ``takes`` so many images a request reads them all, the frames of a video. ``about`` is the judge of another request;
    None where any request is judged alike.
    """

    source: ErrorSource
    knows: Callable[[ModelSpec], bool]
    error: Callable[[ModelSpec, VisualInput, Precision], float]
    draws: Draws
    warnings: Callable[[ModelSpec, VisualInput], tuple[str, ...]]
    scores: Callable[[ModelSpec], tuple[ScoreUsed, ...]] = lambda _: ()
    unstudied: Callable[[ModelSpec, VisualInput], tuple[str, ...]] = lambda _, __: ()
    takes: Callable[[ModelSpec, int], bool] = lambda _, __: True
    about: "Callable[[Workload], Judge] | None" = None


def _meant(name: str) -> str:
    """The task that a name stands for, said where it is not its own."""
    meant = CALLED.get(name.casefold(), name)
    if meant != name:
        warnings.warn(f"task '{name}' is taken for {meant}", Assumed, stacklevel=2)
    return meant


def parse_task(text: str) -> dict[str, float]:
    """``"ocr"`` -> {"ocr": 1.0}; ``"reasoning=0.7,ocr=0.3"`` -> both. Raises InputError unless the shares add to 1."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, equals, share = item.partition("=")
        try:
            value = float(share) if equals else 1.0
        except ValueError:
            value = math.nan
        if not name.strip() or not (math.isfinite(value) and value > 0) or _meant(name.strip()) in shares:
            raise InputError(
                f"--task {text}: found '{item}', expected NAME or NAME=SHARE with a share above 0, each name once"
            )
        shares[_meant(name.strip())] = value
    total = sum(shares.values())
    if abs(total - 1) > SHARE_TOLERANCE:
        alike = ",".join(f"{name}={1 / len(shares):.3g}" for name in shares)
        hint = f"; did you mean {alike}?" if "=" not in text and 10**3 % len(shares) == 0 else ""
        raise InputError(f"--task {text}: the shares add to {total:g}, expected 1, such as reasoning=0.7,ocr=0.3{hint}")
    return shares


def native_sides_px(evidence: Evidence, names: Iterable[str], model: ModelSpec) -> dict[str, float]:
    """Return what a model sees, by its default setting, of the images of benchmarks ``names``.

    Of a video's frames it saw no more than they were shown to it for its score.
    """
    sides_px = {}
    for name in names:
        benchmark = evidence.benchmark(name)
        side_px = native_side_px(model, benchmark.image)
        shown_px = benchmark.video.shown(model.name, model.family).side_px if benchmark.video else None
        sides_px[name] = side_px if shown_px is None else min(side_px, shown_px)
    return sides_px


def native_frames(evidence: Evidence, names: Iterable[str], model: ModelSpec) -> dict[str, int]:
    """Return the frames at which a model's scores on benchmarks ``names`` were published, of those about videos."""
    videos = ((name, evidence.benchmark(name).video) for name in names)
    return {name: video.shown(model.name, model.family).frames for name, video in videos if video is not None}


def seen_text_px(workload: Workload, visual: VisualInput) -> float | None:
    """Return how high the smallest text is in what a model sees, in pixels; None where nobody says how high it is."""
    if workload.text_height_px is None:
        return None
    width, height = workload.image
    return workload.text_height_px * visual.seen_side_px / math.sqrt(width * height)


def sight(
    sides_px: Mapping[str, float],
    visual: VisualInput,
    text_px: float | None = None,
    frames: int = 1,
    own_frames: Mapping[str, int] | None = None,
) -> Sight:
    """Return what a model sees of an image by ``visual``, beside its ``native_sides_px``; of text ``text_px`` high.

    Of a video that is a frame; its ``frames`` stand beside the model's ``native_frames``.
    """
    return Sight(
        side_px=visual.seen_side_px,
        native_sides_px=sides_px,
        visual_tokens=visual.visual_tokens,
        unreduced_tokens=visual.unreduced_tokens,
        reduction=visual.reduction,
        text_px=text_px,
        frames=frames,
        native_frames=own_frames or {},
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


def unstudied(evidence: Evidence, names: Iterable[str], seen: Sight) -> tuple[str, ...]:
    """Return what no study of the kinds of benchmarks ``names`` has seen: so few pixels, or so few tokens."""
    untried = []
    for name in names:
        benchmark = evidence.benchmark(name)
        for loss in losses(benchmark, seen):
            if not loss.studied and loss.way != FRAMES:
                what = "pixels a side" if loss.way is Reduction.IMAGE_SIZE else f"visual tokens by {loss.way} reduction"
                untried.append(
                    f"{name}: {loss.x:.0f} {what} are fewer than any study of {benchmark.kind} has tried "
                    f"({loss.curve.least:.0f}); it may read nothing at all"
                )
    return tuple(untried)


def legibility(evidence: Evidence, workload: Workload, visual: VisualInput) -> Iterator[str]:
    """Yield a warning where the user's text becomes smaller than what studies say is read."""
    seen_px, enough = seen_text_px(workload, visual), evidence.legible_text_px
    if seen_px is not None and seen_px < enough.value:
        width, height = workload.image
        yield (
            f"{TOO_SMALL} {workload.text_height_px:g} px high in an image of {width} x {height}, it is seen "
            f"{seen_px:.1f} px high; below about {enough.value:g} px ({enough.value - enough.sd:.0f} to "
            f"{enough.value + enough.sd:.0f}) models stop reading"
        )


def _rests_on(rests: Support) -> str:
    """Whose scores a prediction rests on, with their shares; where they are of one kind, that alone."""
    kinds = (
        (rests.own_fraction, "of its own"),
        (rests.family_fraction, "of its family"),
        (rests.stand_in_fraction, "of other benchmarks or families"),
    )
    shares = [(f"{share:.0%}", kind) for share, kind in kinds if round(100 * share)]
    return f"{shares[0][1]} alone" if len(shares) == 1 else ", ".join(f"{kind} ({share})" for share, kind in shares)


def _score_warnings(rests: Support, seen: Sight, evidence: Evidence, name: str) -> Iterator[str]:
    """What to mind about one checkpoint's prediction."""
    lost = [loss for one in seen.native_sides_px for loss in losses(evidence.benchmark(one), seen)]
    if seen.native_frames:
        yield from _frame_warnings(seen, [loss for loss in lost if loss.way == FRAMES], name)
    if rests.own_fraction < 1:
        yield f"{name}: its prediction rests on published scores {_rests_on(rests)}"
    smaller = [one for one, side in seen.native_sides_px.items() if seen.side_px < NOTABLY_SMALLER * side]
    if smaller and not unstudied(evidence, smaller, seen):
        largest = max(smaller, key=lambda one: seen.native_sides_px[one])
        what = "a frame" if seen.native_frames else "this image"
        alone = "" if len(smaller) == 1 else f" on {', '.join(smaller)}"
        yield (
            f"{name}: sees {what} at {seen.side_px:.0f} px a side, {largest}'s at {seen.native_sides_px[largest]:.0f}; "
            f"the loss{alone} is from studies"
        )
    if seen.visual_tokens < seen.unreduced_tokens:
        papers = max(loss.curve.studies for loss in lost if loss.way not in (Reduction.IMAGE_SIZE, FRAMES))
        yield (
            f"{name}: {seen.visual_tokens:.0f} of {seen.unreduced_tokens:.0f} visual tokens are left by "
            f"{seen.reduction} reduction; what that costs is from {papers} papers"
        )


def _frame_warnings(seen: Sight, lost: Sequence[AccuracyLoss], name: str) -> Iterator[str]:
    """What to mind about the number of a video's frames."""
    fewest, most = min(seen.native_frames.values()), max(seen.native_frames.values())
    shown = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    if lost:
        papers, least = max(loss.curve.studies for loss in lost), min(loss.curve.least for loss in lost)
        known = f"what is lost with {seen.frames} is from {papers} papers"
        guess = f"no study has fewer than {least:.0f}: what {seen.frames} {GUESSED} (--frames)"
        yield f"{name}: its video scores are of {shown} frames; {guess if seen.frames < least else known}"
    elif seen.frames > most:
        yield (f"{name}: its video scores are of at most {most} frames; more are not credited, and may confuse it")


class _Facts:
    """What is asked of a model once and again for each candidate: its sizes in billions, what it sees of benchmarks."""

    def __init__(self, model: ModelSpec, evidence: Evidence, names: Iterable[str]) -> None:
        self.model, self._evidence, self._names = model, evidence, names

    @functools.cached_property
    def active_b(self) -> float:
        return active_llm_params(self.model) / 1e9

    @functools.cached_property
    def total_b(self) -> float:
        return total_llm_params(self.model) / 1e9

    @functools.cached_property
    def sides_px(self) -> Mapping[str, float]:
        return native_sides_px(self._evidence, self._names, self.model)

    @functools.cached_property
    def frames(self) -> Mapping[str, int]:
        return native_frames(self._evidence, self._names, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """The estimators of a task's benchmarks, and what else is needed to ask them of a candidate."""

    evidence: Evidence
    weights: Mapping[str, float]
    workload: Workload
    own: Callable[[str], OwnScores | None]
    facts: dict[int, _Facts] = field(default_factory=dict)

    def _of(self, model: ModelSpec) -> _Facts:
        """The model's; by identity, which is a tenth of hashing all of it, and holds while the facts hold the model."""
        facts = self.facts.get(id(model))
        if facts is None:
            facts = self.facts[id(model)] = _Facts(model, self.evidence, self.weights)
        return facts

    def _sight(self, model: ModelSpec, visual: VisualInput) -> Sight:
        facts, text_px = self._of(model), seen_text_px(self.workload, visual)
        return sight(facts.sides_px, visual, text_px, self.workload.images, facts.frames)

    def _subject(self, model: ModelSpec, visual: VisualInput, precision: Precision) -> Subject:
        facts = self._of(model)
        return Subject(
            name=model.name,
            family=model.family,
            active_llm_params_b=facts.active_b,
            total_llm_params_b=facts.total_b,
            sight=self._sight(model, visual),
            precision=precision,
        )

    def rests(self, model: ModelSpec) -> Support:
        """What a model's prediction stands on."""
        facts = self._of(model)
        return support(
            self.evidence, self.weights, model.name, model.family, lambda: size_term(facts.active_b, facts.total_b)
        )

    def error(self, model: ModelSpec, visual: VisualInput, precision: Precision) -> float:
        """The expected error."""
        return predicted_error(self.evidence, self.weights, self._subject(model, visual, precision))

    def draws(self, model: ModelSpec, visual: VisualInput, precision: Precision, *, count: int) -> list[float]:
        """Draws of it."""
        return error_draws(self.evidence, self.weights, self._subject(model, visual, precision), count)

    def scores(self, model: ModelSpec) -> tuple[ScoreUsed, ...]:
        """The scores that a prediction stands on, with nothing lost of them."""
        judged = self._subject(model, options(model, self.workload.image)[-1], Precision.BF16)
        seen = judged.sight
        whole = replace(
            judged,
            sight=replace(seen, side_px=math.inf, text_px=None, visual_tokens=seen.unreduced_tokens, native_frames={}),
        )
        return tuple(_scores_used(self.evidence, self.weights, whole, self.own(model.name)))

    def unstudied(self, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
        """What of a candidate no study has seen."""
        return unstudied(self.evidence, self.weights, self._sight(model, visual))

    def takes(self, model: ModelSpec, images: int) -> bool:
        """Whether a model reads so many frames; of questions about pictures nobody tells what several change."""
        of_videos = any(self.evidence.benchmark(name).video for name in self.weights)
        return images == 1 or not of_videos or model.family not in self.evidence.one_picture

    def warnings(self, model: ModelSpec, visual: VisualInput) -> tuple[str, ...]:
        """What to mind about one candidate."""
        return (
            *legibility(self.evidence, self.workload, visual),
            *self.unstudied(model, visual),
            *_score_warnings(self.rests(model), self._sight(model, visual), self.evidence, model.name),
        )


def by_scores(
    evidence: Evidence,
    shares: Mapping[str, float],
    workload: Workload,
    own: Callable[[str], OwnScores | None] = lambda _: None,
    sha256: str | None = None,
) -> Judge:
    """Judge checkpoints by the estimators fitted on published scores; ``own`` finds a checkpoint's, with sources.

    ``sha256`` is the evidence's digest, where it is known already.

    Raises InputError for an unknown task.
    """
    known = {*evidence.tasks, *(benchmark.name for benchmark in evidence.benchmarks)}
    for name in shares:
        if name not in known:
            close = nearest(name, [*evidence.tasks, *CALLED])
            hint = f"; nearest: {close}" if close else ""
            raise InputError(
                f"no task '{name}'{hint}; 'vlmplan catalogue tasks' lists those with published scores, and a LAW.toml "
                "is one"
            )
    weights = evidence.weights(shares)
    estimators = _Scores(evidence=evidence, weights=weights, workload=workload, own=own)
    left_out = ", ".join(f"{name} {evidence.benchmark(name).left_out_points:.2g}" for name in weights)
    return Judge(
        source=ErrorSource(
            name="published scores",
            sha256=sha256 or digest(evidence),
            task=dict(shares),
            basis=(
                f"mean error, in points, for checkpoints left out of the fit: {left_out}",
                *dict.fromkeys(source for name in weights for source in evidence.benchmark(name).sources),
            ),
        ),
        knows=lambda model: estimators.rests(model).stand_in_fraction <= MOST_STAND_IN_FRACTION,
        error=estimators.error,
        draws=estimators.draws,
        warnings=estimators.warnings,
        scores=estimators.scores,
        unstudied=estimators.unstudied,
        takes=estimators.takes,
        about=lambda other: by_scores(evidence, shares, other, own, sha256),
    )
