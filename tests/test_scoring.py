"""Answers are judged as the benchmarks that a score is named after judge them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.errors import InputError
from vlmplan.evaluation.scoring import MEANING, Score, check_expected, score


@pytest.mark.parametrize(
    ("kind", "said", "expected", "right"),
    [
        ("exact", " Paris. ", ["paris"], 1),
        ("exact", "in Paris", ["Paris"], 0),
        ("exact", "grey", ["gray", "grey"], 1),
        ("contains", "The total is 42 euros.", ["42"], 1),
        ("contains", "The total is 142 euros.", ["42"], 0),
        ("contains", "It is C++.", ["C++"], 1),
        ("number", "about 104", ["100"], 1),
        ("number", "106", ["100"], 0),
        ("number", "$1,234.50", ["1234.5"], 1),
        ("number", "12.4 %", ["12%"], 1),
        ("number", "-3", ["3"], 0),
        ("number", "0", ["0"], 1),
        ("number", "Red", ["red"], 1),
        ("number", "from 3 to 5", ["3"], 0),
        ("choice", "B", ["B"], 1),
        ("choice", "(b) a dog", ["B"], 1),
        ("choice", "The answer is B.", ["(B)"], 1),
        ("choice", "B. Because A is wrong", ["B"], 1),
        ("choice", "A dog", ["B"], 0),
        ("choice", "Because", ["B"], 0),
        ("anls", "Receipt 17", ["receipt 17"], 1),
        ("anls", "receipt 18", ["receipt 17"], 0.9),
        ("anls", "nothing", ["receipt 17"], 0),
        ("f1", "the red car", ["a red car"], 1),
        ("f1", "red", ["red car"], 2 / 3),
        ("f1", "", ["red"], 0),
        ("cer", "abcd", ["abce"], 0.75),
        ("cer", "x" * 50, ["abce"], 0),
        ("wer", "one two  three", ["one two four"], 2 / 3),
        ("json", 'Here: ```json\n{"total": 12.50, "date": "May 1"}\n```', ['{"total": "12.5", "date": "may 1"}'], 1),
        ("json", '{"total": 12.5}', ['{"total": 12.5, "items": ["tea", "milk"]}'], 1 / 3),
        ("json", "twelve", ['{"total": 12.5}'], 0),
        ("json", '{"a": 1,', ['{"a": 1}'], 0),
        ("json", '{"a":' * 490 + "1" + "}" * 490, ['{"a": 1}'], 0),
        ("json", '{"a":' * 90 + "1" + "}" * 90, ['{"a":' * 90 + "1" + "}" * 90], 1),
        ("regex", "Invoice No. 4711", [r"\b47\d\d\b"], 1),
        ("regex", "Invoice No. 5711", [r"\b47\d\d\b"], 0),
        ("regex", "1,234,567", [r"^(\d{1,3},)*\d{3}$"], 1),
        ("regex", "1,234,56", [r"^(\d{1,3},)*\d{3}$"], 0),
    ],
)
def test_answers_are_judged(kind: str, said: str, expected: list[str], right: float) -> None:
    assert score(Score(kind), said, expected) == pytest.approx(right)


@given(kind=st.sampled_from([one for one in Score if one not in {Score.JSON, Score.REGEX, Score.CHOICE}]),
       said=st.text(max_size=40), expected=st.text(min_size=1, max_size=40))  # fmt: skip
def test_any_two_texts_have_a_score(kind: Score, said: str, expected: str) -> None:
    assert 0 <= score(kind, said, [expected]) <= 1
    assert score(kind, expected, [expected]) == pytest.approx(1)


@given(said=st.text(max_size=60))
def test_anything_may_be_said(said: str) -> None:
    for kind, expected in ((Score.JSON, '{"a": [1, {"b": null}]}'), (Score.REGEX, "a|b"), (Score.CHOICE, "C")):
        assert 0 <= score(kind, said, [expected]) <= 1


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        ("json", "{", "expected a JSON object as the answer, found no JSON"),
        ("json", '{"a":' * 490 + "1" + "}" * 490, "found no JSON .*nested deeper than 100"),
        ("regex", "(", "expected a regular expression, found '\\('"),
        ("choice", "dog", "expected the letter of an option, such as B, found 'dog'"),
    ],
)
def test_what_cannot_be_expected_is_named(kind: str, expected: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_expected(Score(kind), [expected])


def test_an_expression_that_would_be_tried_for_ever_is_ended() -> None:
    before = time.monotonic()
    with pytest.raises(InputError, match=r"matched within 2 s, found '\(a\+\)\+\$' and an answer of 41 characters"):
        score(Score.REGEX, "a" * 40 + "!", ["(a+)+$"])
    assert time.monotonic() - before < 10


def test_every_rule_is_explained() -> None:
    assert set(MEANING) == set(Score)
