"""How do scores fall with fewer pixels or tokens? One hierarchical model of all studies of an axis.

A series (one model, benchmark and way) follows Hill's curve of ``reductions.py`` above what is known without the
image. The logarithm of its scale is a sum of normal effects of what it shares with others: kind of benchmark,
benchmark, way, paper, model family, ... and one of its own, so that a benchmark with one study of two points leans on
its kind. Likelihoods of a scale are far from normal (a series that never falls says only "small"), so the sum is
inferred by expectation propagation (Minka 2001) with each likelihood on a grid. Spreads and steepness maximise its
evidence.

Run: ``python tools/token_curves.py`` fits them anew and writes ``tools/token_curves.toml``; about ten minutes.
"""

import argparse
import enum
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from benchmarks import KIND, blind_fraction, chance
from token_studies import FRAMES, Series, series, video_series

from vlmplan.accuracy.reductions import Kind
from vlmplan.models.spec import Reduction

Array = np.ndarray[Any, np.dtype[np.float64]]
CONSTANTS = Path(__file__).with_suffix(".toml")
GRID = np.linspace(-8.0, 10.0, 145)  # logarithms of the scale
_STEP = float(GRID[1] - GRID[0])
_DEGREES = 4.0  # of freedom of Student's t: tables hold misprints
_CENTRE_SD = 2.0
_WHOLE_TOKENS = 576.0  # of a model whose scale is given as it is
_WHOLE_SD = 0.5  # of the power of its own number of tokens that a scale grows with
_KINDS_SD, _BENCHMARKS_SD = 0.4, 0.3  # by which steepness may differ, as logarithms
RETRAINED = " retrained"
_ROUNDS = 40
_DAMPING = 0.7


class Axis(enum.StrEnum):
    """What a series loses: pixels, tokens that it was trained to do without, or tokens that it was not.

    Of a video: frames, or tokens of every frame that it was not trained to do without.
    """

    PIXELS = "pixels"
    TRAINED = "trained"
    UNTRAINED = "untrained"
    FRAMES = "frames"
    FRAME_TOKENS = "frame-tokens"


def axis(reduction: Reduction) -> Axis:
    """Return what a way of reducing takes."""
    if reduction is Reduction.IMAGE_SIZE:
        return Axis.PIXELS
    return Axis.TRAINED if reduction.trained else Axis.UNTRAINED


def axis_of(one: Series) -> Axis:
    """Return what a series loses."""
    if one.kind is not Kind.VIDEO:
        return axis(one.reduction)
    return Axis.FRAMES if one.axis == FRAMES else Axis.FRAME_TOKENS


@cache
def every_series() -> tuple[Series, ...]:
    """Return the series of images and of videos."""
    return (*series(), *video_series())


# Of scales, before any study.
_CENTRE = {Axis.PIXELS: math.log(200.0), Axis.TRAINED: math.log(4.0), Axis.UNTRAINED: math.log(16.0),
           Axis.FRAMES: math.log(4.0), Axis.FRAME_TOKENS: math.log(4.0)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What is the same for all series of an axis: spreads of effects, noise of a score, steepness by kind."""

    spreads: Mapping[str, float]
    noise: float
    steepness: Mapping[str, float]

    def steepness_of(self, benchmark: str, *, retrained: bool) -> float:
        """Return how steeply a benchmark falls: its own where it has one, else its kind's.

        On the axis of pixels models that were retrained for them fall otherwise.
        """
        kind = str(KIND[benchmark])
        names = (f"{benchmark}{RETRAINED}", f"{kind}{RETRAINED}") if retrained else ()
        return next(self.steepness[name] for name in (*names, benchmark, kind) if name in self.steepness)


def effects(one: Series, *, unseen: bool = False) -> dict[str, str]:
    """Return what a series shares with others: effect -> label; of an ``unseen`` paper, not what is its own."""
    kind, lost = str(one.kind), axis_of(one)
    shared = {"kind": kind, "benchmark": one.benchmark}
    if one.family:
        shared["family"] = one.family
    if lost is Axis.FRAMES:
        return shared if unseen else shared | {"paper": one.paper}
    if lost is Axis.PIXELS:
        retrained = "retrained" if one.retrained else "as it is"
        shared |= {"setting": one.axis, "retrained": retrained, "kind and retrained": f"{kind} {retrained}"}
    else:
        shared |= {"reduction": str(one.reduction), "kind and reduction": f"{kind} {one.reduction}"}
    if lost in (Axis.UNTRAINED, Axis.FRAME_TOKENS) and one.method:
        shared |= {"method": method_of(one.method)}
    if not unseen:
        shared |= {"paper": one.paper, "paper and kind": f"{one.paper} {kind}"}
    return shared


def method_of(name: str) -> str:
    """Return what one method is called whatever its settings: its first word, in small letters and digits."""
    first = re.split(r"[ ,(:+]", name.strip().casefold())[0]
    return re.sub(r"[^a-z0-9]", "", first.removeprefix("llava-"))


def whole_tokens(one: Series) -> float:
    """Return how many more tokens than usual the unreduced model of a series has, as a logarithm; 0 of pixels."""
    return 0.0 if axis_of(one) in (Axis.PIXELS, Axis.FRAMES) else one.whole[0] - math.log(_WHOLE_TOKENS)


def hill(x: Array | float, log_scale: Array | float, steepness: float) -> Array:
    """Return the share kept at x (a logarithm)."""
    return np.asarray(1 / (1 + np.exp(np.clip(-steepness * (x - log_scale), -500, 500))))


def scores_left(one: Series, x: float, log_scales: Array, steepness: float) -> Array:
    """Return what is left at x (a logarithm), under each scale, of the score that a series has unreduced: shares."""
    whole_x, whole = one.whole
    above = max(0.0, whole - chance(one.benchmark)) * (1 - blind_fraction(one.benchmark))
    return whole - above * (1 - hill(x, log_scales, steepness) / hill(whole_x, log_scales, steepness))


@cache
def log_likelihood(one: Series, steepness: float, noise: float) -> Array:
    """Return the logarithm of the likelihood at each scale of the grid, the level of the scores at its best."""
    x, share = np.array(one.x), np.array(one.share)
    floor, blind = chance(one.benchmark), blind_fraction(one.benchmark)
    kept = blind + (1 - blind) * hill(x[None, :], GRID[:, None], steepness)
    above = share - floor
    level = np.clip((kept * above).sum(1) / (kept * kept).sum(1), 0.0, 1 - floor)
    residual = (above[None, :] - level[:, None] * kept) / noise
    return np.asarray(-(_DEGREES + 1) / 2 * np.log1p(residual**2 / _DEGREES).sum(1))


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The logarithm of a scale: its mean, the spread that all models share, and that of one more."""

    mean: float
    shared_sd: float
    own_sd: float

    @property
    def sd(self) -> float:
        """The spread of one more model."""
        return math.hypot(self.shared_sd, self.own_sd)


class Inference:
    """The scales of all ``found`` series of one axis, given the constants.

    The effects are the weights w ~ N(0, 1) of a sparse design Z, a column a label, scaled by its spread: a scale is
    z = centre + Z w + e, e of its own.
    """

    def __init__(self, found: Sequence[Series], constants: Constants) -> None:
        """Run expectation propagation to its end."""
        self.found, self.constants = tuple(found), constants
        self._centre = _CENTRE[axis_of(self.found[0])]
        self._columns: dict[tuple[str, str], int] = {}
        rows = [self._row(effects(one), whole_tokens(one), learn=True) for one in self.found]
        self._design = _sparse(rows, len(self._columns))
        likelihoods = [
            log_likelihood(one, constants.steepness_of(one.benchmark, retrained=one.retrained), constants.noise)
            for one in self.found
        ]
        self.evidence = self._propagate(np.array(likelihoods))

    def _row(self, labels: Mapping[str, str], whole: float, *, learn: bool = False) -> dict[int, float]:
        """A row of the design: column -> what it counts. Labels of no column are left out, unless they are to be."""
        told = {("mean", ""): _CENTRE_SD, ("whole", ""): _WHOLE_SD * whole}
        spreads = self.constants.spreads  # of an axis of one kind, the kind has none
        told |= {(name, label): spreads[name] for name, label in labels.items() if name in spreads}
        if learn:
            for key in told:
                self._columns.setdefault(key, len(self._columns))
        return {self._columns[key]: value for key, value in told.items() if key in self._columns}

    def _propagate(self, likelihoods: Array) -> float:
        """Replace each likelihood by the normal that leaves the same mean and variance; return the log evidence."""
        own, grid = self.constants.spreads["series"] ** 2, GRID - self._centre
        precision, shift = np.full(len(self.found), 1e-4), np.zeros(len(self.found))  # of the normals, about the centre
        before = np.full(len(self.found), np.inf)
        for _ in range(_ROUNDS):
            noise, target = own + 1 / precision, shift / precision
            self._solve(noise, target)
            mean, variance = self._marginals()
            # without the series itself: what all others say of its scale
            without = 1 / np.maximum(1 / variance - 1 / noise, 1e-9)
            without_mean = without * (mean / variance - target / noise)
            without = without + own
            weight = likelihoods - (grid[None, :] - without_mean[:, None]) ** 2 / (2 * without[:, None])
            most = weight.max(1, keepdims=True)
            weight = np.exp(weight - most)
            total = weight.sum(1)
            weight /= total[:, None]
            tilted = weight @ grid
            tilted_variance = np.maximum((weight * (grid[None, :] - tilted[:, None]) ** 2).sum(1), 1e-4)
            new = np.maximum(1 / tilted_variance - 1 / without, 1e-4)
            shift = shift + _DAMPING * (tilted * (new + 1 / without) - without_mean / without - shift)
            precision = precision + _DAMPING * (new - precision)
            if np.abs(mean - before).max() < 1e-3:
                break
            before = mean
        scale = np.log(total * _STEP) + most[:, 0] - np.log(2 * np.pi * without) / 2
        target = shift / precision
        sites = np.log(1 + precision * without) / 2 + (without_mean - target) ** 2 / (without + 1 / precision) / 2
        return float((scale + sites - np.log(precision) / 2).sum()) + self._solve(own + 1 / precision, target)

    def _solve(self, noise: Array, target: Array) -> float:
        """Find the weights' posterior from normals at ``target``; return the log density of those, without its 2 pi."""
        weighted = self._design.T.multiply(1 / noise).tocsr()
        information = (weighted @ self._design).toarray() + np.eye(len(self._columns))
        factor = np.linalg.cholesky(information)
        pulled = weighted @ target
        self._covariance = np.linalg.inv(information)
        self._weights = self._covariance @ pulled
        quadratic = target @ (target / noise) - pulled @ self._weights
        return float(-quadratic / 2 - np.log(np.diag(factor)).sum() - np.log(noise).sum() / 2)

    def _marginals(self) -> tuple[Array, Array]:
        """Mean and variance of Z w of every series."""
        spread = np.asarray(self._design @ self._covariance)
        return np.asarray(self._design @ self._weights), np.asarray(self._design.multiply(spread).sum(1)).ravel()

    def predict(self, labels: Mapping[str, str], whole: float = 0.0) -> Predicted:
        """Return the scale of one more series that shares ``labels`` with those found; what is not told is drawn."""
        row = self._row(labels, whole)
        design = np.zeros(len(self._columns))
        design[list(row)] = list(row.values())
        known = {key for key in self._columns if key[0] in labels and labels[key[0]] == key[1]}
        unknown = [name for name in self.constants.spreads if not any(key[0] == name for key in known)]
        own = sum(self.constants.spreads[name] ** 2 for name in unknown if name != "setting")
        return Predicted(
            mean=self._centre + float(design @ self._weights),
            shared_sd=math.sqrt(max(1e-6, float(design @ self._covariance @ design))),
            own_sd=math.sqrt(own),
        )


def _sparse(rows: Sequence[Mapping[int, float]], columns: int) -> Any:
    """A sparse matrix of rows given by column."""
    from scipy.sparse import csr_matrix

    starts = np.cumsum([0, *(len(row) for row in rows)])
    return csr_matrix(
        ([v for row in rows for v in row.values()], [c for row in rows for c in row], starts), (len(rows), columns)
    )


def constants() -> dict[Axis, Constants]:
    """Return the constants in force, of each axis."""
    told = tomllib.loads(CONSTANTS.read_text(encoding="utf-8"))
    return {one: Constants(**told[one]) for one in Axis}


def of_axis(found: Iterable[Series], lost: Axis) -> list[Series]:
    """Return the series that lose one thing."""
    return [one for one in found if axis_of(one) is lost]


_FACTORS = (0.5, 0.7, 1.4, 2.0)


Change = Callable[[Constants], Constants]


def _changes(at: Constants) -> Iterator[Change]:
    """Every change of one number, from what it is ``at`` now; of other constants, the rest stays as it is."""

    def spread(name: str, value: float) -> Change:
        return lambda of: replace(of, spreads={**of.spreads, name: round(value, 4)})

    def noise(value: float) -> Change:
        return lambda of: replace(of, noise=round(value, 5))

    def steepness(name: str, value: float) -> Change:
        return lambda of: replace(of, steepness={**of.steepness, name: round(value, 4)})

    for factor in _FACTORS:
        yield from (spread(name, v * factor) for name, v in at.spreads.items() if 0.03 <= v * factor <= 3.0)
        yield noise(at.noise * math.sqrt(factor))
    for factor in (0.75, 0.87, 1.15, 1.33):
        yield from (steepness(name, v * factor) for name, v in at.steepness.items())


def _score(found: Sequence[Series], at: Constants) -> float:
    """The log evidence, noise's own scale counted, and pulls of steepness to what is alike."""
    points = sum(len(one.x) - 1 for one in found)  # one a series goes into the level of its scores
    logs = {name: math.log(value) for name, value in at.steepness.items()}
    kinds = [value for name, value in logs.items() if name.removesuffix(RETRAINED) in list(Kind)]
    pull = sum(((one - sum(kinds) / len(kinds)) / _KINDS_SD) ** 2 / 2 for one in kinds)
    for name, value in logs.items():
        bare = name.removesuffix(RETRAINED)
        if bare in KIND:
            pull += ((value - logs[f"{KIND[bare]}{name[len(bare) :]}"]) / _BENCHMARKS_SD) ** 2 / 2
    return Inference(found, at).evidence - points * math.log(at.noise) - pull


def fitted(found: Sequence[Series], start: Constants, rounds: int, tell: Callable[[str], None]) -> Constants:
    """Climb from ``start`` to constants of more evidence, one number at a time."""
    best, most = start, _score(found, start)
    for turn in range(rounds):
        before = most
        for change in _changes(best):
            other = change(best)
            score = _score(found, other)
            if score > most + 0.1:
                best, most = other, score
        tell(f"round {turn + 1}: log evidence {most:.1f}")
        if most - before < 1.0:
            break
    return best


def main() -> None:
    """Fit the constants of every axis anew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--axes", nargs="*", type=Axis, default=list(Axis), help="those to fit; others stay")
    asked = parser.parse_args()
    rounds, made = asked.rounds, tomllib.loads(CONSTANTS.read_text(encoding="utf-8"))
    for lost, start in constants().items():
        if lost not in asked.axes:
            continue
        found = of_axis(every_series(), lost)
        print(f"{lost}: {len(found)} series of {len({one.paper for one in found})} papers", flush=True)
        best = fitted(found, start, rounds, lambda text: print(text, flush=True))
        made[str(lost)] = {"spreads": dict(best.spreads), "noise": best.noise, "steepness": dict(best.steepness)}
        print(made[str(lost)], flush=True)
    CONSTANTS.write_text("# Made by tools/token_curves.py.\n" + tomli_w.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main()
