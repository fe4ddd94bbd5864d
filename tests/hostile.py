"""Text that does something wherever it is not made inert, planted in every string that a document may hold."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from vlmplan.document import from_plain, plain

T = TypeVar("T")
# Ends a line, runs commands of a workflow, colours and clears a terminal, turns text about, hides, marks up.
HOSTILE = (
    "\n::error file=a::no\n ::set-env name=A::b ##[error]no \x1b[2J\x1b]0;no\x07 \x9b31m \u202eno\u202c \u200b"
    "\u2060\ufeff \u3164 \u2028 \r \x85 \x7f |`*_<img src=x onerror=no()>](http://no)[no]"
    " [red]no[/] {{no}} $no$ \U000e0041"
)


def is_inert(text: str) -> bool:
    """Whether nothing in the lines of an output does anything in a terminal or in a workflow's log."""
    return all(
        line.isprintable() and "\u3164" not in line and "##[" not in line and not line.lstrip().startswith("::")
        for line in text.split("\n")
    )


def planted(value: T, hostile: str = HOSTILE) -> T:
    """The same document with ``hostile`` behind every text and key that its own reader takes; equal ones stay equal."""
    kind: Any = type(value)
    made = plain(value)

    def taken() -> bool:
        return _reads(kind, made)

    _plant_texts(made, hostile, taken)
    for holder, key in reversed(list(_places(made))):
        if isinstance(holder, dict):
            before = dict(holder)
            _refill(holder, {key + hostile if name == key else name: item for name, item in before.items()})
            if not taken():
                _refill(holder, before)
    read: T = from_plain(kind, made, "planted")
    return read


def _reads(kind: Any, made: Any) -> bool:
    try:
        from_plain(kind, made, "planted")
    except Exception:  # an enum, a date, a name that has to be one of others
        return False
    return True


def _plant_texts(made: Any, hostile: str, taken: Callable[[], bool]) -> None:
    places: defaultdict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for holder, key in _places(made):
        if isinstance(holder[key], str):
            places[holder[key]].append((holder, key))
    for text, found in places.items():
        for holder, key in found:
            holder[key] = text + hostile
        if not taken():
            for holder, key in found:
                holder[key] = text


def _refill(holder: dict[Any, Any], items: dict[Any, Any]) -> None:
    holder.clear()
    holder |= items


def _places(made: Any) -> Iterator[tuple[Any, Any]]:
    for key, item in list(made.items()) if isinstance(made, dict) else enumerate(made):
        yield made, key
        if isinstance(item, dict | list):
            yield from _places(item)
