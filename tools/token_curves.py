"""How do scores fall with fewer pixels or tokens? One hierarchical model of all studies of an axis.

A series (one model, benchmark and way) follows Hill's curve of ``vlmplan.reductions`` above what is known without the
image. The logarithm of its scale is a sum of normal effects of what it shares with others: kind of benchmark,
benchmark, way, paper, model family, ... and one of its own, so that a benchmark with one study of two points leans on
its kind. Likelihoods of a scale are far from normal (a series that never falls says only "small"), so the sum is
inferred by expectation propagation (Minka 2001) with each likelihood on a grid. Spreads and steepness maximise its
evidence.

Run: ``python tools/token_curves.py`` fits them anew and writes ``tools/token_curves.toml``; about ten minutes.
"""

import argparse
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from benchmarks import blind_fraction, chance
from token_studies import Series, series

from vlmplan.model import Reduction
from vlmplan.reductions import Kind

Array = np.ndarray[Any, np.dtype[np.float64]]
CONSTANTS = Path(__file__).with_suffix(".toml")
GRID = np.linspace(-8.0, 10.0, 145)  # logarithms of the scale
_STEP = float(GRID[1] - GRID[0])
_DEGREES = 4.0  # of freedom of Student's t: tables hold misprints
_CENTRE = {True: math.log(200.0), False: math.log(4.0)}  # of scales, before any study: pixels, tokens
_CENTRE_SD = 2.0
_WHOLE_TOKENS = 576.0  # of a model whose scale is given as it is
_WHOLE_SD = 0.5  # of the power of its own number of tokens that a scale grows with
_ROUNDS = 40
_DAMPING = 0.7


def shrinks(one: Series) -> bool:
    """Whether a series loses pixels, not tokens at the same pixels."""
    return one.reduction is Reduction.IMAGE_SIZE


def way(reduction: Reduction) -> str:
    """Return what steepness goes with: pixels, tokens that were trained for, or tokens that were not."""
    return "pixels" if reduction is Reduction.IMAGE_SIZE else "trained" if reduction.trained else "untrained"


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What is the same for all series of an axis: spreads of effects, noise of a score, steepness by kind and way."""

    spreads: Mapping[str, float]
    noise: float
    steepness: Mapping[str, float]

    def steepness_of(self, kind: Kind, reduction: Reduction) -> float:
        """Return how steeply a kind of benchmark falls by a way of reducing."""
        return self.steepness[f"{kind} {way(reduction)}"]


def effects(one: Series, *, unseen: bool = False) -> dict[str, str]:
    """Return what a series shares with others: effect -> label; of an ``unseen`` paper, not what is its own."""
    kind = str(one.kind)
    shared = {"kind": kind, "benchmark": one.benchmark}
    if one.family:
        shared["family"] = one.family
    if shrinks(one):
        shared |= {"axis": one.axis}
    else:
        trained = way(one.reduction)
        shared |= {"way": trained, "reduction": str(one.reduction), "kind and way": f"{kind} {trained}"}
    if not unseen:
        shared |= {"paper": one.paper, "paper and kind": f"{one.paper} {kind}", "study": f"{one.study} {one.method}"}
    return shared


def _whole(one: Series) -> float:
    """The covariate of a series: how many more tokens than usual its unreduced model has, as a logarithm."""
    return 0.0 if shrinks(one) else one.whole[0] - math.log(_WHOLE_TOKENS)


def hill(x: Array | float, log_scale: Array | float, steepness: float) -> Array:
    """Return the share kept at x (a logarithm)."""
    return np.asarray(1 / (1 + np.exp(np.clip(-steepness * (x - log_scale), -500, 500))))


@cache
def log_likelihood(one: Series, steepness: float, noise: float) -> Array:
    """Return the logarithm of the likelihood at each scale of the grid, the level of the scores at its best."""
    x, share = np.array(one.x), np.array(one.share)
    floor, blind = chance(one.benchmark), blind_fraction(one.benchmark, one.reduction)
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
    """The scales of all ``found`` series of one axis, given the constants."""

    def __init__(self, found: Sequence[Series], constants: Constants) -> None:
        """Run expectation propagation to its end."""
        self.found, self.constants = tuple(found), constants
        self._labels = [effects(one) for one in self.found]
        self._whole = np.array([_whole(one) for one in self.found])
        self._centre = _CENTRE[shrinks(self.found[0])]
        count = len(self.found)
        covariance = np.full((count, count), _CENTRE_SD**2)
        covariance += _WHOLE_SD**2 * np.outer(self._whole, self._whole)
        for name, spread in constants.spreads.items():
            if name != "series":
                labels = np.array([own.get(name, f"alone {i}") for i, own in enumerate(self._labels)])
                covariance += spread**2 * (labels[:, None] == labels[None, :])
        self._covariance = covariance + constants.spreads["series"] ** 2 * np.eye(count)
        likelihoods = [
            log_likelihood(one, constants.steepness_of(one.kind, one.reduction), constants.noise) for one in self.found
        ]
        self.evidence = self._propagate(np.array(likelihoods))

    def _propagate(self, likelihoods: Array) -> float:
        """Replace each likelihood by the normal that leaves the same mean and variance; return the log evidence."""
        count = len(self.found)
        precision, shift = np.full(count, 1e-6), np.zeros(count)  # of the normals, about the centre
        grid = GRID - self._centre
        before = np.full(count, np.inf)
        for _ in range(_ROUNDS):
            root = np.sqrt(precision)
            factor = np.linalg.cholesky(np.eye(count) + root[:, None] * self._covariance * root[None, :])
            half = np.linalg.solve(factor, root[:, None] * self._covariance)
            posterior = self._covariance - half.T @ half
            mean, variance = posterior @ shift, np.diag(posterior)
            without = 1 / np.maximum(1 / variance - precision, 1e-9)
            without_mean = without * (mean / variance - shift)
            weight = likelihoods - (grid[None, :] - without_mean[:, None]) ** 2 / (2 * without[:, None])
            most = weight.max(1, keepdims=True)
            weight = np.exp(weight - most)
            total = weight.sum(1)
            weight /= total[:, None]
            tilted = weight @ grid
            tilted_variance = np.maximum((weight * (grid[None, :] - tilted[:, None]) ** 2).sum(1), 1e-4)
            new = np.maximum(1 / tilted_variance - 1 / without, 1e-6)
            precision = precision + _DAMPING * (new - precision)
            shift = shift + _DAMPING * (tilted / tilted_variance - without_mean / without - shift)
            if np.abs(mean - before).max() < 1e-3:
                break
            before = mean
        self._site_precision, self._site_shift = precision, shift
        spread = self._covariance + np.diag(1 / precision)
        target = shift / precision
        self._factor = np.linalg.cholesky(spread)
        self._weights = np.linalg.solve(spread, target)
        scale = np.log(total * _STEP) + most[:, 0] - np.log(2 * np.pi * without) / 2
        sites = (
            scale + np.log(1 + precision * without) / 2 + (without_mean - target) ** 2 / (without + 1 / precision) / 2
        )
        whitened = np.linalg.solve(self._factor, target)
        return float(
            sites.sum() - whitened @ whitened / 2 - np.log(np.diag(self._factor)).sum() - np.log(precision).sum() / 2
        )

    def predict(self, labels: Mapping[str, str], whole: float = 0.0) -> Predicted:
        """Return the scale of one more series that shares ``labels`` with those found."""
        shared = np.full(len(self.found), _CENTRE_SD**2) + _WHOLE_SD**2 * whole * self._whole
        known = _CENTRE_SD**2 + (_WHOLE_SD * whole) ** 2
        own = self.constants.spreads["series"] ** 2
        for name, spread in self.constants.spreads.items():
            if name in labels:
                shared += spread**2 * np.array([mine.get(name) == labels[name] for mine in self._labels])
                known += spread**2
            elif name not in ("series", "axis"):
                own += spread**2
        half = np.linalg.solve(self._factor, shared)
        variance = max(1e-6, known - float(half @ half))
        return Predicted(
            mean=self._centre + float(shared @ self._weights), shared_sd=math.sqrt(variance), own_sd=math.sqrt(own)
        )


def constants() -> dict[bool, Constants]:
    """Return the constants in force: of pixels (True) and of tokens (False)."""
    told = tomllib.loads(CONSTANTS.read_text(encoding="utf-8"))
    return {shrinking: Constants(**told["pixels" if shrinking else "tokens"]) for shrinking in (True, False)}


_FACTORS = (0.5, 0.7, 1.4, 2.0)


def _neighbours(at: Constants) -> Iterator[Constants]:
    """Constants that differ in one number."""
    for factor in _FACTORS:
        for name, value in at.spreads.items():
            if 0.03 <= value * factor <= 3.0:
                yield replace(at, spreads={**at.spreads, name: round(value * factor, 4)})
        yield replace(at, noise=round(at.noise * math.sqrt(factor), 5))
    for factor in (0.75, 0.87, 1.15, 1.33):
        for name, value in at.steepness.items():
            yield replace(at, steepness={**at.steepness, name: round(value * factor, 4)})


def _score(found: Sequence[Series], at: Constants) -> float:
    """The log evidence, noise's own scale counted, and a weak pull of steepness to that of its way."""
    points = sum(len(one.x) for one in found)
    logs: dict[str, list[float]] = {}
    for name, value in at.steepness.items():
        logs.setdefault(name.partition(" ")[2], []).append(math.log(value))
    pull = sum(((one - np.mean(own)) / 0.4) ** 2 / 2 for own in logs.values() for one in own)
    return Inference(found, at).evidence - points * math.log(at.noise) - float(pull)


def fitted(found: Sequence[Series], start: Constants, rounds: int, tell: Callable[[str], None]) -> Constants:
    """Climb from ``start`` to constants of more evidence, one number at a time."""
    best, most = start, _score(found, start)
    for turn in range(rounds):
        before = most
        for other in list(_neighbours(best)):
            merged = _merged(best, start, other)
            score = _score(found, merged)
            if score > most + 0.1:
                best, most = merged, score
        start = best
        tell(f"round {turn + 1}: log evidence {most:.1f}")
        if most - before < 1.0:
            break
    return best


def _merged(best: Constants, start: Constants, other: Constants) -> Constants:
    """The best so far with the one number changed in which ``other`` differs from ``start``."""

    def changed(mine: Mapping[str, float], old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
        return {name: new[name] if new[name] != old[name] else value for name, value in mine.items()}

    return Constants(
        spreads=changed(best.spreads, start.spreads, other.spreads),
        noise=other.noise if other.noise != start.noise else best.noise,
        steepness=changed(best.steepness, start.steepness, other.steepness),
    )


def main() -> None:
    """Fit the constants of both axes anew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    made = {}
    for shrinking, start in constants().items():
        found = [one for one in series() if shrinks(one) is shrinking]
        name = "pixels" if shrinking else "tokens"
        print(f"{name}: {len(found)} series of {len({one.paper for one in found})} papers", flush=True)
        best = fitted(found, start, rounds, lambda text: print(text, flush=True))
        made[name] = {"spreads": dict(best.spreads), "noise": best.noise, "steepness": dict(best.steepness)}
        print(made[name], flush=True)
    CONSTANTS.write_text("# Made by tools/token_curves.py.\n" + tomli_w.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main()
