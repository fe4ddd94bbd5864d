"""Records are the dataclasses of the standard library in all that is seen of them."""

import copy
import dataclasses
import functools
import inspect
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from vlmplan.errors import InputError
from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One of ours, with every kind of field."""

    name: str
    size: int = 3
    parts: tuple[str, ...] = ()
    by_name: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    note: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        """Names are none."""
        if not self.name:
            raise InputError("name: found none")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The same of the standard library."""

    name: str
    size: int = 3
    parts: tuple[str, ...] = ()
    by_name: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    note: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        """Names are none."""
        if not self.name:
            raise InputError("name: found none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """No field at all."""


GIVEN: list[dict[str, Any]] = [
    {"name": "a"},
    {"name": "a", "size": 4},
    {"name": "a", "parts": ("x",), "by_name": {"x": 1.0}},
    {"name": "b", "note": "n"},
    {"name": "b"},
]


@pytest.mark.parametrize("given", GIVEN)
def test_records_show_hold_and_compare_as_dataclasses(given: dict[str, Any]) -> None:
    ours, theirs = Record(**given), Standard(**given)
    others: list[object] = [theirs, given]
    assert repr(ours) == repr(theirs).replace("Standard", "Record")
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert [ours == Record(**other) for other in GIVEN] == [theirs == Standard(**other) for other in GIVEN]
    assert [hash(ours) == hash(Record(**o)) for o in GIVEN] == [hash(theirs) == hash(Standard(**o)) for o in GIVEN]
    assert ours not in others


def test_a_record_is_a_frozen_dataclass() -> None:
    one = Record(name="a")
    assert dataclasses.is_dataclass(one)
    assert [f.name for f in dataclasses.fields(Record)] == [f.name for f in dataclasses.fields(Standard)]
    assert str(inspect.signature(Record)) == str(inspect.signature(Standard))
    assert Record.__slots__ == Standard.__slots__
    assert Record.__match_args__ == Standard.__match_args__
    assert not hasattr(one, "__dict__")
    for refused in (
        functools.partial(setattr, one, "name", "b"),
        functools.partial(setattr, one, "new", 1),
        functools.partial(delattr, one, "name"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            refused()
    assert Record(name="a").by_name is not one.by_name


def test_records_are_replaced_copied_and_pickled() -> None:
    one = Record(name="a", by_name={"x": 1.0})
    assert dataclasses.replace(one, size=9) == Record(name="a", size=9, by_name={"x": 1.0})
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    assert copy.deepcopy(one).by_name is not one.by_name


@pytest.mark.parametrize("given", [{}, {"name": "a", "sise": 3}])
def test_wrong_keywords_are_type_errors(given: dict[str, Any]) -> None:
    for kind in (Record, Standard):
        with pytest.raises(TypeError, match="name" if not given else "sise"):
            kind(**given)
    with pytest.raises(TypeError):
        Record(*("a",))  # type: ignore[call-arg]
    with pytest.raises(InputError):
        Record(name="")


def test_a_dataclass_may_inherit_a_record_and_one_without_fields_is_equal_to_itself() -> None:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Child(Record):
        more: int = 1

    assert Child(name="a", more=2) == Child(name="a", more=2)
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert repr(Empty()) == "Empty()"
