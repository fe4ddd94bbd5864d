"""How much do fewer visual tokens cost on one's own questions? Replies at several limits -> a curve, compared in pairs.

The same questions are asked at every limit, so that differences are as sharp as the questions allow: an interval of a
difference is of the paired one, and hard and easy questions cancel.
"""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.evaluation.judge import Judged
from vlmplan.evaluation.legibility import Legibility
from vlmplan.evaluation.questions import share
from vlmplan.evaluation.scoring import Score
from vlmplan.evaluation.served import Asked, Asking, Reply
from vlmplan.inert import cell
from vlmplan.intervals import quantile

LEVEL = 0.9
MAY_LOSE = 0.02  # of the score at the most tokens, where nobody says
_USAGE_FRACTION, _USAGE_TOKENS = 0.03, 2.0  # by which a server's count may differ from the rule's


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLimit:
    """The score within a limit of tokens, and what it loses against the most tokens, question by question.

    ``visual_tokens`` is the mean that the pictures made. ``worse`` and ``better`` count questions; ``p_value`` is
    McNemar's, exact, of the two (Psychometrika 12, 1947).
    """

    limit: int
    visual_tokens: float
    questions: int
    score_fraction: float
    interval: tuple[float, float]
    lost_fraction: float
    lost_interval: tuple[float, float]
    worse: int
    better: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """Who answered within which limits of visual tokens, judged by which rule; ``model`` is the catalogue's.

    ``model`` and ``host`` are None of answers made elsewhere, of which nobody says them.
    """

    served_model: str
    score: Score
    limits: tuple[int, ...] = ()
    model: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCurve(Document):
    """A served model's scores by visual tokens. ``enough`` is the least limit that surely loses no more than allowed.

    None where no limit below the most is sure to. ``model`` is the catalogue's, by whose rule pictures are sized;
    it and ``host`` are None of answers made elsewhere.
    """

    SCHEMA: ClassVar[str] = "vlmplan.token-curve/1"

    model: str | None
    served_model: str
    host: str | None
    questions: str
    score: Score
    at: tuple[AtLimit, ...]
    enough: int | None
    may_lose_fraction: float
    interval_level_fraction: float
    requests: int
    kept: int
    left: int
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    legibility: Legibility | None = None
    judge: Judged | None = None


def token_curve(asking: Asking, asked: Asked, questions: str, may_lose_fraction: float = MAY_LOSE) -> TokenCurve:
    """Return the curve of what a server answered. Raises InputError where a limit has no reply to compare."""
    who = Answerer(
        served_model=asking.server.model, limits=asking.limits, score=asking.score, model=asking.model.name,
        host=asking.server.host,
    )  # fmt: skip
    return curve_of(who, asked, questions, may_lose_fraction)


def curve_of(
    who: Answerer, asked: Asked, questions: str, may_lose_fraction: float = MAY_LOSE, warnings: Sequence[str] = ()
) -> TokenCurve:
    """Return the curve of answers, whoever gave them. Raises InputError where a limit has none to compare."""
    most = max(who.limits)
    by_limit: dict[int, dict[str, Reply]] = {limit: {} for limit in sorted(who.limits)}
    for reply in asked.replies:
        by_limit[reply.limit][reply.question] = reply
    if empty := [limit for limit, replies in by_limit.items() if not replies]:
        raise InputError(f"nothing was answered at {empty[0]} visual tokens; raise --budget, or look at the server")
    at = tuple(at_limit(limit, replies, by_limit[most]) for limit, replies in by_limit.items())
    sure = [one.limit for one in at if one.limit == most or one.lost_interval[1] <= may_lose_fraction]
    enough = sure[0] if sure[0] != most or len(at) == 1 else None
    return TokenCurve(
        model=who.model, served_model=who.served_model, host=who.host, questions=questions,
        score=who.score, at=at, enough=enough, may_lose_fraction=may_lose_fraction, interval_level_fraction=LEVEL,
        requests=asked.requests, kept=asked.kept, left=asked.left, failed=asked.failed,
        warnings=(*warnings, *_usage(who.model or "the file", by_limit, most)),
    )  # fmt: skip


def at_limit(limit: int, here: Mapping[str, Reply], there: Mapping[str, Reply]) -> AtLimit:
    """Return the score of the replies ``here``, and what they lose against those ``there`` to the same questions."""
    scores = [reply.right_fraction for reply in here.values()]
    both = [(reply.right_fraction, there[name].right_fraction) for name, reply in here.items() if name in there]
    lost = [most - less for less, most in both]
    worse, better = sum(one > 0 for one in lost), sum(one < 0 for one in lost)
    return AtLimit(
        limit=limit,
        visual_tokens=statistics.fmean(reply.visual_tokens for reply in here.values()),
        questions=len(scores),
        score_fraction=statistics.fmean(scores),
        interval=_interval(scores),
        lost_fraction=statistics.fmean(lost) if lost else 0.0,
        lost_interval=_lost(lost, worse, better) if here is not there else (0.0, 0.0),
        worse=worse,
        better=better,
        p_value=_p_value(worse, better),
    )


def _interval(scores: Sequence[float]) -> tuple[float, float]:
    """Of a mean of scores: Wilson's where each is right or wrong, else by resampling the questions."""
    if set(scores) <= {0.0, 1.0}:
        return share(one == 1.0 for one in scores).interval
    low, high = _resampled(scores)
    return max(0.0, low), min(1.0, high)


def _lost(lost: Sequence[float], worse: int, better: int) -> tuple[float, float]:
    """Of a mean paired difference; of right or wrong answers Bonett and Price's (J. Educ. Behav. Stat. 37, 2012).

    It counts one question more of either kind, so that no difference among few questions does not mean none at all.
    """
    if not lost:
        return -1.0, 1.0
    if set(lost) <= {-1.0, 0.0, 1.0}:
        return bonett_price(len(lost), worse, better)
    return _resampled(lost)


def bonett_price(questions: float, worse: float, better: float) -> tuple[float, float]:
    """Return the interval of a share lost when so many ``questions`` were ``worse`` and ``better``."""
    count, z = questions + 2, quantile(LEVEL)
    up, down = (worse + 1) / count, (better + 1) / count
    half = z * ((up + down - (up - down) ** 2) / count) ** 0.5
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def _resampled(values: Sequence[float]) -> tuple[float, float]:
    """A central interval of a mean by the bias-corrected bootstrap (Efron, 1987) over questions.

    Where all values are alike, of which a bootstrap is sure, by the rule of three.
    """
    import numpy as np
    from scipy.stats import bootstrap

    mean = statistics.fmean(values)
    if len(set(values)) < 2:
        return mean - 3 / len(values), mean + 3 / len(values)
    resampled = bootstrap((values,), np.mean, confidence_level=LEVEL, n_resamples=2000, rng=np.random.default_rng(0))
    return float(resampled.confidence_interval.low), float(resampled.confidence_interval.high)


def _p_value(worse: int, better: int) -> float:
    """McNemar's exact p-value of so many questions for the worse and for the better; 1 where there are none."""
    if not worse + better:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(worse, worse + better).pvalue)


def _usage(model: str, by_limit: Mapping[int, Mapping[str, Reply]], most: int) -> tuple[str, ...]:
    """Whether the server's prompts grew by what the rule says a larger picture adds."""
    notes, there = [], by_limit[most]
    for limit, here in by_limit.items():
        pairs = [(here[name], there[name]) for name in here if name in there]
        grown = [
            (more.prompt_tokens - less.prompt_tokens, more.visual_tokens - less.visual_tokens)
            for less, more in pairs
            if more.prompt_tokens is not None and less.prompt_tokens is not None
            and more.visual_tokens != less.visual_tokens
        ]  # fmt: skip
        if not grown:
            continue
        seen, said = (statistics.median(one) for one in zip(*grown, strict=True))
        if abs(seen - said) > max(_USAGE_TOKENS, _USAGE_FRACTION * said):
            notes.append(
                f"from {limit} to {most} visual tokens the server's prompts grew by {seen:g} tokens, by {model}'s rule "
                f"{said:g}: is it that model (--like), with its settings as shipped?"
            )
    return tuple(notes)


def points_csv(curve: TokenCurve, llm_params_b: float, task: str) -> str:
    """Return the curve as points for ``fit``: an error at each mean number of visual tokens."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("llm_params_b", "visual_tokens", "error", "task", "source"))
    for one in curve.at:
        error = f"{1 - one.score_fraction:.6f}"
        rows.writerow((f"{llm_params_b:.6g}", f"{one.visual_tokens:.6g}", error, cell(task), cell(curve.served_model)))
    return text.getvalue()
