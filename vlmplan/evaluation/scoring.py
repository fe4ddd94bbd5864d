"""How right is an answer? What a model said and what was expected -> a score from 0 to 1, by the rule of a benchmark.

Of several expected answers the best counts. Letters' case, outer punctuation and spaces never do.
"""

import enum
import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from vlmplan.errors import InputError, one_line
from vlmplan.evaluation.patterns import matches
from vlmplan.extras import require

_DEEPEST = 100  # of objects in one another, in JSON that is compared
ANLS_LEAST = 0.5  # below it an answer is wrong, not misspelt (ST-VQA, arXiv 1907.00490)
RELAXED_FRACTION = 0.05  # by which a number may be off (ChartQA, arXiv 2203.10244)


class Score(enum.StrEnum):
    """How answers are judged. A benchmark's own is the one to compare with what is published of it."""

    EXACT = "exact"
    CONTAINS = "contains"
    NUMBER = "number"
    CHOICE = "choice"
    ANLS = "anls"
    F1 = "f1"
    CER = "cer"
    WER = "wer"
    JSON = "json"
    REGEX = "regex"


MEANING = {
    Score.EXACT: "the expected text and nothing else",
    Score.CONTAINS: "the expected text as whole words somewhere in the answer",
    Score.NUMBER: "a number within 5 % of the expected one, as ChartQA judges; other texts as exact",
    Score.CHOICE: "the letter of the expected option",
    Score.ANLS: "1 less the share of letters to be changed, 0 below a half, as DocVQA judges",
    Score.F1: "words shared with the expected text, as SQuAD judges",
    Score.CER: "1 less the letters to be changed for each expected one",
    Score.WER: "1 less the words to be changed for each expected one",
    Score.JSON: "the share of the expected fields that a JSON object in the answer has right",
    Score.REGEX: "a match of the expected regular expression anywhere in the answer",
}


def plain(text: str) -> str:
    """Return a text without what never counts: case, outer punctuation, the width of spaces."""
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'")


def score(kind: Score, said: str, expected: Sequence[str]) -> float:
    """Return how right an answer is, from 0 to 1. Raises InputError for what was expected and cannot be.

    Raises Unavailable where distances of texts are asked for and rapidfuzz is missing.
    """
    return max(_RULES[kind](said, one) for one in expected)


def check_expected(kind: Score, expected: Sequence[str]) -> None:
    """Raise InputError for expected answers that a rule cannot judge by, before anything is asked."""
    for one in expected:
        _RULES[kind]("", one)


def _exact(said: str, expected: str) -> float:
    return float(plain(said) == plain(expected))


def _contains(said: str, expected: str) -> float:
    words = re.escape(plain(expected))
    return float(re.search(rf"(?<!\w){words}(?!\w)", " ".join(said.casefold().split())) is not None)


_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")


def _value(text: str) -> float | None:
    """The only number of a text, without signs of money and of shares; None for another number of them."""
    numbers = _NUMBER.findall(text)
    return float(numbers[0].replace(",", "")) if len(numbers) == 1 else None


def _number(said: str, expected: str) -> float:
    wanted, number = _value(expected), _value(said)
    if wanted is None or number is None:
        return _exact(said, expected)
    return float(math.isclose(number, wanted, rel_tol=RELAXED_FRACTION) if wanted else number == 0)


_LETTER = re.compile(
    r"\(([A-Za-z])\)|\b(?:answer|option|choice)(?:\s+is)?\s*:?\s*\(?([A-Za-z])\b|^\s*([A-Za-z])(?:[.):,\s]|$)", re.I
)


def _letter(text: str) -> str | None:
    match = _LETTER.search(text)
    return next((one for one in match.groups() if one), "").casefold() if match else None


def _choice(said: str, expected: str) -> float:
    wanted = _letter(expected)
    if wanted is None:
        raise InputError(f"expected the letter of an option, such as B, found {expected[:40]!r}")
    return float(_letter(said) == wanted)


def _distance(said: Sequence[str], expected: Sequence[str]) -> int:
    require("rapidfuzz", extra="evaluate")
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(said, expected))


def _anls(said: str, expected: str) -> float:
    ours, wanted = plain(said), plain(expected)
    likeness = 1 - _distance(ours, wanted) / max(len(ours), len(wanted), 1)
    return likeness if likeness >= ANLS_LEAST else 0.0


def _error_rate(split: Callable[[str], Sequence[str]]) -> Callable[[str, str], float]:
    def likeness(said: str, expected: str) -> float:
        wanted = split(" ".join(expected.split()))
        return max(0.0, 1 - _distance(split(" ".join(said.split())), wanted) / max(1, len(wanted)))

    return likeness


_ARTICLES, _MARKS = {"a", "an", "the"}, str.maketrans("", "", string.punctuation)


def _f1(said: str, expected: str) -> float:
    ours, wanted = (
        Counter(word for word in text.casefold().translate(_MARKS).split() if word not in _ARTICLES)
        for text in (said, expected)
    )
    shared = (ours & wanted).total()
    return 2 * shared / (ours.total() + wanted.total()) if shared else float(ours == wanted)


def _object(text: str) -> Any:
    """The first JSON object of a text, which models like to wrap; None where there is none."""
    at = text.find("{")
    while at >= 0:
        try:
            return json.JSONDecoder().raw_decode(text[at:])[0]
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
    return None


def _fields(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """The leaves of a JSON value by their paths, as plain text; numbers without the digits that say nothing.

    Raises RecursionError for what is nested deeper than ``_DEEPEST``.
    """
    if len(path) > _DEEPEST:
        raise RecursionError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, dict):
        return {key: leaf for name, one in value.items() for key, leaf in _fields(one, (*path, str(name))).items()}
    if isinstance(value, list):
        return {key: leaf for at, one in enumerate(value) for key, leaf in _fields(one, (*path, str(at))).items()}
    number = _value(str(value)) if re.fullmatch(rf"\s*\W?(?:{_NUMBER.pattern})\W?\s*", str(value)) else None
    return {path: plain(str(value)) if number is None else f"{number:g}"}


def _json(said: str, expected: str) -> float:
    try:
        wanted = _fields(json.loads(expected))
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a JSON object as the answer, found no JSON ({one_line(error)})") from None
    answered = _object(said)
    try:
        ours = {} if answered is None else _fields(answered)
    except RecursionError:  # the answer is anybody's text
        return 0.0
    return sum(ours.get(path) == leaf for path, leaf in wanted.items()) / max(1, len(wanted))


def _regex(said: str, expected: str) -> float:
    return float(matches(expected, said.strip()))


_RULES: dict[Score, Callable[[str, str], float]] = {
    Score.EXACT: _exact,
    Score.CONTAINS: _contains,
    Score.NUMBER: _number,
    Score.CHOICE: _choice,
    Score.ANLS: _anls,
    Score.F1: _f1,
    Score.CER: _error_rate(list),
    Score.WER: _error_rate(str.split),
    Score.JSON: _json,
    Score.REGEX: _regex,
}
