"""How is a document kept where reading it must cost nothing? As rows: its values in the order of its fields, no names.

A dataclass -> lists, numbers and texts that JSON holds -> the same dataclass. A row says nothing of itself and nothing
is checked on the way back, neither types nor ranges: that is for ``document.load``, which made what is packed. Whoever
keeps rows keeps with them what tells that the classes are still those they were made of (``defined_in``).
"""

import dataclasses
import enum
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Restorer = Callable[[Any], Any]  # what JSON gave -> the value; None stands for one that JSON gives as it was


def packed(value: Any) -> Any:
    """Return dataclasses and tuples as lists, enums as their values, by any depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [packed(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return {str(key): packed(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [packed(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


def _inner(kind: Any) -> Any:
    """A type without ``| None``."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return next(one for one in typing.get_args(kind) if one is not types.NoneType)
    return kind


def _kinds(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, in order; most are no texts, which take long to be understood."""
    declared = {field.name: field.type for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls) if any(isinstance(kind, str) for kind in declared.values()) else declared
    return {name: hints[name] for name in declared}


def _dataclass_restorer(cls: Any) -> Restorer:
    kinds = _kinds(cls)
    names = list(kinds)
    made = [(index, one) for index, kind in enumerate(kinds.values()) if (one := restorer(kind))]
    new, put = object.__new__, object.__setattr__  # a frozen class has no other way in

    def restore(row: Any) -> Any:
        for index, one in made:
            if row[index] is not None:
                row[index] = one(row[index])
        instance: Any = new(cls)
        for name, value in zip(names, row, strict=True):
            put(instance, name, value)
        return instance

    return restore


def _tuple_restorer(items: tuple[Any, ...]) -> Restorer:
    if len(items) == 2 and items[1] is Ellipsis:
        every = restorer(items[0])
        return tuple if every is None else functools.partial(_tuple_of, every)
    each = [restorer(item) or _as_is for item in items]
    return lambda row: tuple(one(item) for one, item in zip(each, row, strict=True))


def _tuple_of(restore: Restorer, row: Any) -> Any:
    return tuple(map(restore, row))


def _as_is(value: Any) -> Any:
    return value


def _mapping_restorer(key_kind: Any, value_kind: Any) -> Restorer | None:
    key, value = restorer(key_kind), restorer(value_kind)
    if key is None and value is None:
        return None
    key, value = key or _as_is, value or _as_is
    return lambda row: {key(one): value(item) for one, item in row.items()}


@functools.cache
def restorer(kind: Any) -> Restorer | None:
    """Return what makes a ``kind`` of what ``packed`` made of it; None where JSON gives the value itself."""
    kind = _inner(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _tuple_restorer(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_restorer(*arguments)
    if dataclasses.is_dataclass(kind):
        return _dataclass_restorer(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {member.value: member for member in kind}.__getitem__
    return None


def _classes(kind: Any, classes: dict[type, None]) -> None:
    kind = _inner(kind)
    for one in typing.get_args(kind):
        _classes(one, classes)
    if not isinstance(kind, type) or kind in classes:
        return
    if dataclasses.is_dataclass(kind):
        classes[kind] = None
        for inner in _kinds(kind).values():
            _classes(inner, classes)
    elif issubclass(kind, enum.Enum):
        classes[kind] = None


def defined_in(kind: type) -> tuple[Path, ...]:
    """Return the source files that say what a ``kind`` is: those of its classes and of all classes in it, sorted."""
    classes: dict[type, None] = {}
    _classes(kind, classes)
    return tuple(sorted({Path(sys.modules[one.__module__].__file__ or "") for one in classes}))
