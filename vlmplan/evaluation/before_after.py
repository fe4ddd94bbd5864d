"""Does a new engine, model or quantisation still answer as well? Answers before and after -> a verdict.

What is lost is compared question by question: its interval (Bonett and Price's, or the bootstrap's, at 90 %, so that
each end is passed by chance in one of twenty) is held against what may be lost. Where the interval holds that limit,
too few questions were asked to tell, and the gate says how many more would.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from vlmplan import inert
from vlmplan.document import Document
from vlmplan.errors import InputError, OutOfTolerance, printable
from vlmplan.evaluation.paired import LEVEL, AtLimit, at_limit, bonett_price
from vlmplan.evaluation.scoring import Score
from vlmplan.evaluation.served import Reply
from vlmplan.proof import Check, checks_markdown, failed, passed, skipped
from vlmplan.units import counted

_MOST_QUESTIONS = 10**6


class Standing(enum.StrEnum):
    """What became of the answers."""

    HOLDS = "holds"
    SHORT = "falls short"
    UNSURE = "cannot tell yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateAt:
    """The answers to the same questions before and after, within a limit of visual tokens.

    ``p_value`` is McNemar's, exact, of the questions ``worse`` and ``better``. ``more_questions`` would tell, were they
    answered alike; None where it is told, or no number of them would.
    """

    limit: int
    questions: int
    before_fraction: float
    after_fraction: float
    lost_fraction: float
    lost_interval: tuple[float, float]
    worse: int
    better: int
    p_value: float
    standing: Standing
    more_questions: int | None

    @property
    def said(self) -> str:
        """The finding in a line."""
        low, high = self.lost_interval
        line = (
            f"{100 * self.before_fraction:.1f} % right before, {100 * self.after_fraction:.1f} % after, of "
            f"{counted(self.questions, 'question')}: {100 * self.lost_fraction:.1f} points lost ({100 * low:.1f} to "
            f"{100 * high:.1f}); {self.worse} worse, {self.better} better, McNemar p = {self.p_value:.2g}"
        )
        if self.standing is not Standing.UNSURE:
            return line
        if self.more_questions is None:
            return f"{line}; cannot tell yet, and more questions like these would not either"
        return f"{line}; cannot tell yet: about {self.more_questions} more questions would"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersGate(Document):
    """Whether answers lost at most ``within_fraction`` of the score. ``standing`` is the worst of its limits'.

    ``unpaired`` counts answers of one side only, which are left out.
    """

    SCHEMA: ClassVar[str] = "vlmplan.answers-gate/1"

    before: str
    after: str
    score: Score
    within_fraction: float
    interval_level_fraction: float
    at: tuple[GateAt, ...]
    standing: Standing
    unpaired: int

    @property
    def checks(self) -> tuple[Check, ...]:
        """A check a limit, for JUnit and a job's summary."""
        return tuple(_check(one) for one in self.at)


def _check(one: GateAt) -> Check:
    name = f"answers within {one.limit} visual tokens"
    if one.standing is Standing.UNSURE:
        return skipped(name, one.said)
    make = passed if one.standing is Standing.HOLDS else failed
    return make(name, one.said, lost_fraction=one.lost_fraction, p_value=one.p_value)


def answers_gate(
    before: tuple[str, Sequence[Reply]],
    after: tuple[str, Sequence[Reply]],
    kind: Score,
    within_fraction: float,
) -> AnswersGate:
    """Compare what two files, each with its name, answered to the same questions within the same limits.

    Raises InputError where they have nothing in common.
    """
    (before_name, earlier), (after_name, later) = before, after
    there, here = _by_limit(earlier), _by_limit(later)
    at, pairs = [], 0
    for limit in sorted(set(there) & set(here)):
        names = set(there[limit]) & set(here[limit])
        if names:
            pairs += len(names)
            now, then = ({name: one[name] for name in one if name in names} for one in (here[limit], there[limit]))
            at.append(_gate_at(at_limit(limit, now, then), now, then, within_fraction))
    if not at:
        limits = ["/".join(map(str, sorted(one))) for one in (there, here)]
        raise InputError(
            f"{printable(after_name)} and {printable(before_name)} answer no question within the same number of visual "
            f"tokens (before {limits[0]}, after {limits[1]}); expected the same questions, asked alike"
        )
    rank = [Standing.HOLDS, Standing.UNSURE, Standing.SHORT]
    return AnswersGate(
        before=before_name, after=after_name, score=kind, within_fraction=within_fraction,
        interval_level_fraction=LEVEL, at=tuple(at), standing=max((one.standing for one in at), key=rank.index),
        unpaired=len(earlier) + len(later) - 2 * pairs,
    )  # fmt: skip


def _by_limit(replies: Sequence[Reply]) -> dict[int, dict[str, Reply]]:
    by_limit: dict[int, dict[str, Reply]] = {}
    for one in replies:
        by_limit.setdefault(one.limit, {})[one.question] = one
    return by_limit


def _gate_at(one: AtLimit, now: Mapping[str, Reply], then: Mapping[str, Reply], within_fraction: float) -> GateAt:
    low, high = one.lost_interval
    standing = Standing.UNSURE
    if high <= within_fraction:
        standing = Standing.HOLDS
    elif low > within_fraction:
        standing = Standing.SHORT
    halves = all(reply.right_fraction in (0.0, 1.0) for side in (now, then) for reply in side.values())
    more = _more_questions(one, within_fraction, right_or_wrong=halves) if standing is Standing.UNSURE else None
    return GateAt(
        limit=one.limit, questions=one.questions, before_fraction=one.score_fraction + one.lost_fraction,
        after_fraction=one.score_fraction, lost_fraction=one.lost_fraction, lost_interval=one.lost_interval,
        worse=one.worse, better=one.better, p_value=one.p_value, standing=standing, more_questions=more,
    )  # fmt: skip


def _more_questions(one: AtLimit, within_fraction: float, *, right_or_wrong: bool) -> int | None:
    """How many more would tell, were as many of them worse and better; None where the loss is what may be lost."""

    def tells(questions: float) -> bool:
        if right_or_wrong:
            grown = questions / one.questions
            low, high = bonett_price(questions, one.worse * grown, one.better * grown)
        else:
            shrunk = math.sqrt(one.questions / questions)
            low, high = (one.lost_fraction + shrunk * (end - one.lost_fraction) for end in one.lost_interval)
        return high <= within_fraction or low > within_fraction

    least, most = one.questions, 2 * one.questions
    while not tells(most):
        if most > _MOST_QUESTIONS:
            return None
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if tells(middle) else (middle, most)
    return most - one.questions


def require_answers(gate: AnswersGate, *, allow_unsure: bool) -> None:
    """Raise OutOfTolerance where answers fall short, or where nobody can tell, unless that is allowed."""
    bad = [one for one in gate.at if one.standing is Standing.SHORT or
           (one.standing is Standing.UNSURE and not allow_unsure)]  # fmt: skip
    if not bad:
        return
    worst = next((one for one in bad if one.standing is Standing.SHORT), bad[0])
    limit = f"{100 * gate.within_fraction:g} points"
    if worst.standing is Standing.SHORT:
        raise OutOfTolerance(
            f"{printable(gate.after)} falls short at {worst.limit} visual tokens: it surely loses more than {limit}"
        )
    more = "" if worst.more_questions is None else f"; about {worst.more_questions} more questions would tell"
    raise OutOfTolerance(
        f"cannot tell yet at {worst.limit} visual tokens whether {printable(gate.after)} loses more than "
        f"{limit}{more}, or --allow-unsure passes it"
    )


def gate_markdown(gate: AnswersGate) -> str:
    """Return a table for a CI job's summary page."""
    files = f"{inert.markdown_code(gate.after)} against {inert.markdown_code(gate.before)}"
    said = f"{files}, judged by {gate.score}; it may lose {100 * gate.within_fraction:g} points."
    head = [f"### vlmplan evaluate: {gate.standing}", "", said, ""]
    return "\n".join([*head, *checks_markdown(gate.checks)])
