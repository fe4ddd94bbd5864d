"""Documents: frozen dataclasses to plain data and back, strictly; TOML and JSON, in and out.

Whatever crosses a process is one document with a schema name. Reading is strict: an unknown key, a wrong
type or a non-finite number is an InputError that names the key. Writing is deterministic and atomic.
"""

import dataclasses
import enum
import functools
import json
import math
import os
import re
import stat
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vlmplan import inert
from vlmplan.errors import InputError, check_range, nearest, one_line, printable

MAX_DOCUMENT_BYTES = 16 * 2**20
T = TypeVar("T")
D = TypeVar("D", bound="Document")


class Document:
    """Base of the dataclasses that are files; ``SCHEMA`` is the value of the key ``schema`` in the file."""

    __slots__ = ()
    SCHEMA: ClassVar[str]

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; None where it shall show the text that Python has for it."""
        shown = (show(self) for show in _NOTEBOOK)
        return next((html for html in shown if html is not None), None)


_NOTEBOOK: list[Callable[[Document], str | None]] = []


def shown_in_notebooks(show: Callable[[Document], str | None]) -> None:
    """Let ``show`` make the HTML of documents, None of those it does not know: documents import no views themselves."""
    if show not in _NOTEBOOK:
        _NOTEBOOK.append(show)


def plain(value: Any) -> Any:
    """Return dataclasses as dicts, tuples as lists, enums as their values; a Document also names its schema."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"schema": value.SCHEMA} if isinstance(value, Document) else {}
        return head | {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


@functools.cache
def _counts(cls: type[Any]) -> tuple[str, ...]:
    """Names of the fields of a dataclass that hold a whole number, or may."""
    whole = ("int", int, int | None, "int | None")
    return tuple(field.name for field in dataclasses.fields(cls) if field.type in whole)


def check_counts(owner: Any, positive: tuple[str, ...]) -> None:
    """Raise InputError unless every count of a dataclass is 0 to a thousand million, those in ``positive`` from 1."""
    kind: Any = type(owner)
    for name in _counts(kind):
        check_range(name, getattr(owner, name), 1 if name in positive else 0, 10**9)


def _expected(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(member.value for member in kind)
    if typing.get_origin(kind) is Mapping or dataclasses.is_dataclass(kind):
        return "a table"
    return str(getattr(kind, "__name__", kind))


LARGEST_NUMBER = 10**300  # beyond it a float overflows, and Python will not even print the digits


def _shown(value: Any) -> str:
    """A value in at most 60 characters, whatever it is."""
    try:
        shown = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return shown if len(shown) < 60 else f"{shown[:57]}..."


def _key(key: Any) -> str:
    """A key as a message can hold it: on one line, and not the whole of a long one."""
    return printable(str(key)[:60])


def _mismatch(where: str, expected: str, value: Any) -> InputError:
    return InputError(f"{where}: expected {expected}, found {_shown(value)}")


Reader = Callable[[Any, str], Any]  # (plain value, where it stands) -> value of the type


def _check_size(value: Any, where: str) -> None:
    if type(value) is int and abs(value) > LARGEST_NUMBER:
        raise InputError(f"{where}: expected a number below 1e300, found a larger one")


def _scalar_reader(kind: type) -> Reader:
    def read(value: Any, where: str) -> Any:
        _check_size(value, where)
        if type(value) is not kind:
            raise _mismatch(where, _expected(kind), value)
        return value

    def read_float(value: Any, where: str) -> float:
        _check_size(value, where)
        if type(value) not in (int, float):
            raise _mismatch(where, _expected(kind), value)
        if not math.isfinite(value):
            raise InputError(f"{where}: expected a finite number, found {value}")
        return float(value)

    def read_enum(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in members:
            raise _mismatch(where, _expected(kind), value)
        return members[value]

    if issubclass(kind, enum.Enum):
        members = {member.value: member for member in kind}
        return read_enum
    return read_float if kind is float else read


def _tuple_reader(items: tuple[Any, ...]) -> Reader:
    if len(items) == 2 and items[1] is Ellipsis:
        every = reader(items[0])
        fixed = None
    else:
        fixed = [reader(item) for item in items]

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _mismatch(where, "a list", value)
        if fixed is not None and len(value) != len(fixed):
            raise InputError(f"{where}: expected {len(fixed)} items, found {len(value)}")
        readers = fixed or [every] * len(value)
        return tuple(one(item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(readers, value, strict=True)))

    return read


def _mapping_reader(key_kind: Any, value_kind: Any) -> Reader:
    read_key, read_value = reader(key_kind), reader(value_kind)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(where, "a table", value)
        return {read_key(k, f"{where}.{_key(k)}"): read_value(v, f"{where}.{_key(k)}") for k, v in value.items()}

    return read


def _dataclass_reader(cls: Any) -> Reader:
    hints = typing.get_type_hints(cls)
    fields = {field.name: reader(hints[field.name]) for field in dataclasses.fields(cls)}
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    # TOML has no null: there a key that is not written is None, where None is a value at all
    nothing = {name: None for name in required if type(None) in typing.get_args(hints[name])}
    extra = {"schema"} if issubclass(cls, Document) else set()

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(where, "a table", value)
        for key in value:
            if key not in fields and key not in extra:
                close = nearest(str(key), fields)
                raise InputError(f"{where}.{_key(key)}: unknown key" + (f"; did you mean {close}?" if close else ""))
        for name in required:
            if name not in value and name not in nothing:
                raise InputError(f"{where}.{name}: missing, expected {_expected(hints[name])}")
        given = {key: fields[key](item, f"{where}.{key}") for key, item in value.items() if key in fields}
        try:
            return cls(**(nothing | given))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    return read


@functools.cache
def reader(kind: Any) -> Reader:
    """Return the strict reader of a type: dataclass, tuple, Mapping, enum, scalar, or an optional one of these."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = reader(next(argument for argument in arguments if argument is not type(None)))
        return lambda value, where: None if value is None else inner(value, where)
    if origin is tuple:
        return _tuple_reader(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(*arguments)
    return _dataclass_reader(kind) if dataclasses.is_dataclass(kind) else _scalar_reader(kind)


def from_plain(kind: type[T], value: Any, where: str) -> T:
    """Build ``kind`` from plain data; ``where`` is the path shown in errors, such as ``hardware.memory_bytes``.

    Raises InputError for an unknown or missing key, a wrong type or a number that is not finite.
    """
    as_any: Any = kind
    return typing.cast(T, reader(as_any)(value, where))


_HALF = "found half a character (a lone surrogate)"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path, most_bytes: int = MAX_DOCUMENT_BYTES) -> str:
    """Return a regular UTF-8 file of at most so many bytes. Raises InputError for anything else, naming the path."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise InputError(f"{path}: found {kind}, expected a file")
        if status.st_size > most_bytes:
            raise InputError(f"{path}: found {status.st_size} bytes, expected a document of at most {most_bytes}")
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, found a byte at {error.start} that is not") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not text.strip():
        raise InputError(f"{path}: found an empty file")
    return text


class TwiceError(ValueError):
    """A key of a JSON table stands twice."""


def unambiguous_json(text: str) -> Any:
    """Return the value of a piece of JSON. Raises TwiceError where a key stands twice: readers then differ."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        by_key = dict(pairs)
        if len(by_key) < len(pairs):
            names = [key for key, _ in pairs]
            raise TwiceError(f"the key {_shown(next(key for key in by_key if names.count(key) > 1))} stands twice")
        return by_key

    return json.loads(text, object_pairs_hook=table)


def read_plain(path: Path, *, ours: bool = False) -> dict[str, Any]:
    """Return the table in a ``.json`` or TOML file, in ``ours`` without a key that stands twice.

    Raises InputError for bad syntax or a document that is no table.
    """
    text = read_text(path)
    try:
        if path.suffix == ".json":
            value = unambiguous_json(text) if ours else json.loads(text)
        else:
            import tomli

            value = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and TOMLDecodeError are ValueErrors
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InputError(f"{path}: not valid {kind} ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a table of keys, found a {type(value).__name__}")
    if _SURROGATE.search(text):
        try:
            check_whole(value)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return value


def check_whole(value: Any) -> None:
    """Raise InputError where plain data holds half a character, which no file and no tokenizer takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        raise InputError(f"{_HALF}, expected Unicode text") from None


def json_rows(text: str) -> Iterator[Any]:
    """Yield the items of a JSON list, or the InputError of one with half a character. Raises InputError for no list."""
    rows = parse_json(text)
    if not isinstance(rows, list):
        raise InputError("expected a list of rows, or JSON lines in a file that ends in .jsonl")
    broken = _SURROGATE.search(text) is not None
    for row in rows:
        try:
            if broken:
                check_whole(row)
            yield row
        except InputError as error:
            yield error


def parse_json(text: str) -> Any:
    """Return the value of a piece of JSON. Raises InputError for what is none, or nests too deep to be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is no JSON ({one_line(error)})") from None


def json_lines(path: Path, most_bytes: int) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of every line of a JSONL file that is not blank; the InputError of one that is none.

    Only a line end ends a line: texts may hold what Unicode counts as others. Raises InputError as read_text does.
    """
    for number, line in enumerate(read_text(path, most_bytes).split("\n"), 1):
        if line.strip():
            try:
                value = parse_json(line)
                if _SURROGATE.search(line):
                    check_whole(value)
                yield number, value
            except InputError as error:
                yield number, error


def load(cls: type[D], path: Path) -> D:
    """Read one document of type ``cls``; its ``schema`` must be the one expected. Raises InputError."""
    data = read_plain(path, ours=True)
    if data.get("schema") != cls.SCHEMA:
        raise _mismatch(str(path), f'schema = "{cls.SCHEMA}"', data.get("schema"))
    return from_plain(cls, data, str(path))


def to_json(value: Any) -> str:
    """Return deterministic JSON text with a final newline."""
    return inert.json_document(json.dumps(plain(value), indent=2, allow_nan=False)) + "\n"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def to_toml(document: Document) -> str:
    """Return deterministic TOML text; TOML has no null, so fields that are None are left out.

    Raises InputError for half a character.
    """
    import tomli_w

    stated = _without_none(plain(document))
    check_whole(stated)  # TOML cannot spell half a character
    return inert.toml_document(tomli_w.dumps(stated))


def digest(value: Any) -> str:
    """Return the SHA-256 of a document's canonical JSON, in hex."""
    import hashlib

    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def check_destination(path: Path | None) -> None:
    """Raise InputError, before any work is done, when no file can be written at ``path``."""
    if path is None:
        return
    try:
        real = Path(os.path.realpath(path))
        special = real.exists() and not real.is_file()
        reachable = real.parent.is_dir() and os.access(real.parent, os.W_OK)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({error}); choose another file") from None
    if special or not reachable:
        why = "it is not a regular file" if special else f"{real.parent} is no folder one may write in"
        raise InputError(f"{path}: cannot be written ({why}); choose another file")


def check_apart(written: Mapping[str, Path | None], read: Iterable[Path | str | None] = (), what: str = "") -> None:
    """Raise InputError where a file would be written over one that is read, ``what`` in words, or twice.

    ``written`` is by option.
    """
    taken = {os.path.realpath(path): what or f"the input {path}" for path in read if path is not None}
    for option, path in written.items():
        if path is None:
            continue
        if (other := taken.get(os.path.realpath(path))) is not None:
            raise InputError(f"{option}: {path} is {other}; choose another file")
        taken[os.path.realpath(path)] = f"that of {option}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write atomically, by a temporary file beside ``path`` that is renamed when whole. Raises InputError.

    A symbolic link is followed; what exists and is no regular file (a device, say) is never replaced.
    """
    import tempfile

    check_destination(path)
    real = Path(os.path.realpath(path))
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=real.parent, prefix=".vlmplan.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(real)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as ``write_bytes`` does. Raises InputError for half characters, before anything is written."""
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: cannot be written ({_HALF})") from None
    write_bytes(path, content)


def append_text(path: Path, text: str) -> None:
    """Add UTF-8 text to the end of a file, as for a CI job's summary. Raises InputError."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be written (it is not a regular file)")
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
