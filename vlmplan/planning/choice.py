"""Which candidate answers best? feasible candidates -> Pareto front -> choice, and why the others lost.

The choice has the least expected error. A faster one takes its place where it costs no more error than the user's
preference pays, or where the two are so close that paired draws do not tell them apart. Draws are paired: what two
candidates have in common moves both, so fewer tokens on the same model are never a tie, only a price.

With another objective than the error (cost, latency, memory, size) the choice has the least of that, to two per cent:
no figure is surer, and of those alike the one that errs least is taken.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from vlmplan.accuracy import Judge
from vlmplan.inventory import Budget, Preference
from vlmplan.planning.options import Objective
from vlmplan.planning.search import DRAWS, Candidate, feasible, overrun, overrun_at, shortfalls
from vlmplan.records import dataclass
from vlmplan.units import counted, format_bytes, format_count, format_percent, format_seconds

TIE_ERROR = 0.005  # the most by which candidates may differ that draws do not tell apart: half a point
UNDECIDED_SHARE = 0.4  # of paired draws in which the one expected to be worse is no worse
ALIKE = 1.02  # times the least of an objective: as good as the least
FINALISTS = 16  # of these, draws are made: the front thinned, and the runners-up
RUNNERS_UP = 8

LEAST_ERROR = "the least expected error of all that keep the budget"

ErrorDraws = Callable[[Candidate], list[float]]


def draws_of(judge: Judge) -> ErrorDraws:
    """Return what draws a candidate's error, the same candidate's only once."""
    known: dict[int, list[float]] = {}

    def draw(one: Candidate) -> list[float]:
        if id(one) not in known:
            known[id(one)] = judge.draws(one.model, one.visual, one.request.precision, count=DRAWS)
        return known[id(one)]

    return draw


def no_worse_share(one: Candidate, other: Candidate, draw: ErrorDraws) -> float:
    """Return the share of paired draws in which ``one`` errs no more than ``other``."""
    return sum(mine <= its for mine, its in zip(draw(one), draw(other), strict=True)) / DRAWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the choice has least of, and what error speed is worth where that is the error."""

    objective: Objective = Objective.ERROR
    preference: Preference = Preference.BALANCED

    def value(self, candidate: Candidate) -> float:
        """Return a candidate's figure of the objective; costs are GPU-seconds a request."""
        gpus = candidate.request.gpus
        return {
            Objective.ERROR: lambda: candidate.predicted_error,
            Objective.COST: lambda: candidate.gpu_s,
            Objective.LATENCY: lambda: candidate.cost.latency_s,
            Objective.MEMORY: lambda: gpus * candidate.cost.memory_bytes.total,
            Objective.SIZE: lambda: float(candidate.cost.params.total),
        }[self.objective]()

    def drawn(self, candidate: Candidate, z: float) -> float:
        """Return the figure where all times are off by ``z`` standard deviations."""
        timed = self.objective in (Objective.COST, Objective.LATENCY)
        return self.value(candidate) * (candidate.cost.latency_spread.factor(z) if timed else 1.0)

    def shown(self, one: Candidate) -> str:
        """Return the figure as it is written."""
        value = self.value(one)
        return {
            Objective.ERROR: format_percent,
            Objective.COST: lambda x: f"{format_seconds(x)} of a GPU a request",
            Objective.LATENCY: format_seconds,
            Objective.MEMORY: format_bytes,
            Objective.SIZE: format_count,
        }[self.objective](value)


def _least(within: Iterable[Candidate], aim: Aim) -> Candidate:
    """The least wrong of those that are alike in having the least of the objective."""
    candidates = list(within)
    least = min(aim.value(one) for one in candidates)
    return min(
        (one for one in candidates if aim.value(one) <= ALIKE * least), key=lambda one: (one.predicted_error, one.order)
    )


def choose(within: Iterable[Candidate], aim: Aim, draw: ErrorDraws | None = None) -> Candidate:
    """Return what has the least of the objective; of the expected error, or the first in order that may take its place.

    Without ``draw`` nothing is a tie.
    """
    if aim.objective is not Objective.ERROR:
        return _least(within, aim)
    preference = aim.preference
    ranked = sorted(within, key=lambda one: (one.predicted_error, one.order))
    least = ranked[0]
    rivals = sorted((one for one in ranked if one.order < least.order), key=lambda one: one.order)
    for one in rivals:
        gap = one.predicted_error - least.predicted_error
        if gap <= preference.price_error:
            return one
        close = draw is not None and preference is not Preference.ACCURACY and gap <= TIE_ERROR
        if close and draw is not None and no_worse_share(one, least, draw) >= UNDECIDED_SHARE:
            # what is as fast and better is told apart from the least, perhaps, but not a worse choice
            return next(other for other in ranked if other.order <= one.order)
    return least


def chosen_because(choice: Candidate, within: Iterable[Candidate], aim: Aim, draw: ErrorDraws) -> str:
    """Say why ``choice`` was taken, and not the least expected error where that is another."""
    if aim.objective is not Objective.ERROR:
        if aim.objective is Objective.SIZE:
            return f"the least {aim.objective.words} of all that keep the budget, {aim.shown(choice)}"
        return (
            f"the least {aim.objective.words}, to 2 %, of all that keep the budget, {aim.shown(choice)}; of those "
            "alike the least error"
        )
    preference = aim.preference
    least = min(within, key=lambda one: (one.predicted_error, one.order))
    if least is choice:
        return LEAST_ERROR
    points = 100 * (choice.predicted_error - least.predicted_error)
    saved = f"{format_seconds(least.cost.latency_s - choice.cost.latency_s)} faster"
    if least.request.gpus != choice.request.gpus:
        saved = f"on {choice.request.gpus} GPU{'' if choice.request.gpus == 1 else 's'} instead of {least.request.gpus}"
    told = f"{points:.2f} points more error than {least.label}, but {saved}"
    if points <= 100 * preference.price_error:
        return f"{told}: --prefer {preference} pays {100 * preference.price_error:g} points for speed"
    share = no_worse_share(choice, least, draw)
    if share < UNDECIDED_SHARE:
        return f"{told}: as fast as, and better than, one that paired draws do not tell apart from it"
    return (
        f"{told}: too close to tell apart (it is no worse in {100 * share:.0f} of 100 paired draws), so speed decides"
    )


def pareto_front(within: Iterable[Candidate], aim: Aim | None = None) -> tuple[Candidate, ...]:
    """Return the candidates that none equals or beats in error, latency, GPUs and objective together, fastest first."""
    aim = aim or Aim()
    front: list[Candidate] = []
    for candidate in sorted(within, key=lambda one: (one.cost.latency_s, one.predicted_error, one.order)):
        fewest = [one for one in front if one.predicted_error <= candidate.predicted_error]
        fewest = [one for one in fewest if one.request.gpus <= candidate.request.gpus]
        if not any(aim.value(one) <= aim.value(candidate) for one in fewest):
            front.append(candidate)
    return tuple(front)


def next_tokens(candidates: Iterable[Candidate], choice: Candidate, *, more: bool) -> Candidate | None:
    """Return the choice with the next more, or the next fewer, visual tokens; None where there is none."""
    alike = [
        one
        for one in candidates
        if one.model is choice.model
        and (one.request.precision, one.request.gpus) == (choice.request.precision, choice.request.gpus)
        and one.visual.visual_tokens != choice.visual.visual_tokens
        and (one.visual.visual_tokens > choice.visual.visual_tokens) is more
    ]
    return min(alike, key=lambda one: abs(one.visual.visual_tokens - choice.visual.visual_tokens), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loser:
    """A candidate that was not chosen, and why."""

    candidate: Candidate
    reason: str


NO_REPLICAS = "no replicas that have enough to do keep the limits"
_AS_MUCH = 1.005  # times a figure: what shows as the same


def _beside(loser: Candidate, choice: Candidate, aim: Aim) -> str:
    """How much more of the objective a candidate has than the choice, where that is not the error or the latency."""
    if aim.objective in (Objective.ERROR, Objective.LATENCY):
        return ""
    times = aim.value(loser) / aim.value(choice)
    if aim.objective is Objective.COST and loser.replicas and times < _AS_MUCH:  # its replicas are the fewest it may be
        return f"; {'as cheap' if times > 1 / _AS_MUCH else 'cheaper'} at best"
    short = {Objective.COST: "cost", Objective.MEMORY: "memory", Objective.SIZE: "parameters"}[aim.objective]
    return f"; {times:.3g} times the {short}"


def reason_lost(loser: Candidate, choice: Candidate, budget: Budget, aim: Aim) -> str:
    """Say why ``loser`` was not chosen: the limits it misses, or what it costs beside the choice."""
    missed = shortfalls(loser, budget)
    if missed:
        return "; ".join(missed)
    points = (loser.predicted_error - choice.predicted_error) * 100
    slower_s = loser.cost.latency_s - choice.cost.latency_s
    pace = f"{format_seconds(abs(slower_s))} {'slower' if slower_s > 0 else 'faster'}" if slower_s else "as fast"
    if loser.request.gpus != choice.request.gpus:
        pace += f", {loser.request.gpus} GPU{'' if loser.request.gpus == 1 else 's'}"
    if loser.replicas != choice.replicas:
        pace += f", at least {counted(loser.replicas, 'replica')}" if loser.replicas else f", {NO_REPLICAS}"
    pace += _beside(loser, choice, aim)
    if points > 0:
        return f"{points:.1f} points more error, {pace}"
    unsure = "not worth it or not sure, and " if aim.objective is Objective.ERROR else ""
    return f"{abs(points):.1f} points less error, {unsure}{pace}"


def runners_up(candidates: tuple[Candidate, ...], choice: Candidate, budget: Budget, aim: Aim) -> tuple[Loser, ...]:
    """Return one configuration of each other model, and more tokens on the chosen one, with why each lost.

    Half the places go to the best that kept the budget, half to those with less of the objective that missed it by the
    least.
    """

    def better(one: Candidate) -> bool:
        return aim.value(one) < aim.value(choice)

    by_model: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.model is not choice.model or (better(candidate) and candidate is not choice):
            by_model.setdefault(candidate.model.name, []).append(candidate)
    kept, missed = [], []
    for group in by_model.values():
        if within := feasible(group, budget):
            kept.append(choose(within, aim))
        elif better_ones := [one for one in group if better(one)]:
            missed.append(min(better_ones, key=lambda one: (overrun(one, budget), *one.order)))
    kept.sort(key=lambda one: (aim.value(one), one.label))
    missed.sort(key=lambda one: (overrun(one, budget), one.label))
    half = RUNNERS_UP // 2
    chosen = kept[: max(half, RUNNERS_UP - len(missed))] + missed[: max(half, RUNNERS_UP - len(kept))]
    chosen.sort(key=lambda one: (aim.value(one), one.label))
    return tuple(Loser(candidate=one, reason=reason_lost(one, choice, budget, aim)) for one in chosen)


def _winner(drawn: list[tuple[float, Candidate]], most: float, aim: Aim, z: float) -> Candidate:
    """Who wins a draw of errors: of the least error the first in order of those within ``most``, or the objective's."""
    if aim.objective is Objective.ERROR:
        least = min(error for error, _ in drawn)
        return min((one for error, one in drawn if error <= least + most), key=lambda one: one.order)
    least = ALIKE * min(aim.drawn(one, z) for _, one in drawn)
    return min(
        ((error, one.order, one) for error, one in drawn if aim.drawn(one, z) <= least), key=lambda triple: triple[:2]
    )[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmness:
    """How firm a choice is: shares of draws in which it wins and in which it breaks a limit itself.

    ``lost_points`` is how much more it errs than what wins the others, on average.
    """

    wins_fraction: float
    breaks_fraction: float
    lost_points: float

    @property
    def fields(self) -> dict[str, Any]:
        """The same, by the names of a plan's fields."""
        return {
            "stability": self.wins_fraction,
            "breaks_fraction": self.breaks_fraction,
            "lost_points": round(self.lost_points, 2),
        }


def firmness(
    finalists: tuple[Candidate, ...], choice: Candidate, budget: Budget, aim: Aim, draw: ErrorDraws
) -> Firmness:
    """Return in how many paired draws of error and latency ``choice`` wins among ``finalists``, and what it loses.

    Those that keep the budget by the upper ends take part; what caution excluded is for a larger budget to say. All
    latencies of a draw are off by the same quantile, since their errors come from the same kernels, and must keep it
    too, as the drawn error must. Of those that cost no more error than the preference pays, or than a tie let the
    choice cost, the first in order wins.
    """
    finalists = feasible(finalists, budget)
    tied = choice.predicted_error - min(one.predicted_error for one in finalists)
    margin = max(aim.preference.price_error, tied)
    errors, overruns = [draw(one) for one in finalists], [overrun_at(one, budget) for one in finalists]
    random, chosen = Random("latency"), draw(choice)
    wins, breaks, lost = 0, 0, list[float]()
    for index in range(DRAWS):
        z = random.gauss(0, 1)
        within = [
            (values[index], one)
            for one, values, at in zip(finalists, errors, overruns, strict=True)
            if at(z, values[index]) <= 1
        ]
        if not any(one is choice for _, one in within):
            breaks += 1
        elif (winner := _winner(within, margin, aim, z)) is choice:
            wins += 1
        else:
            lost.append(100 * (chosen[index] - draw(winner)[index]))
    return Firmness(
        wins_fraction=wins / DRAWS, breaks_fraction=breaks / DRAWS, lost_points=sum(lost) / max(1, len(lost))
    )


def thinned(front: tuple[Candidate, ...], choice: Candidate, most: int) -> tuple[Candidate, ...]:
    """Return at most ``most`` of the front: the choice, and its neighbours first."""
    at = front.index(choice)
    near = sorted(range(len(front)), key=lambda index: (abs(index - at), index))[:most]
    return tuple(front[index] for index in sorted(near))
