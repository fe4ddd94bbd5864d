"""Documents: frozen dataclasses to plain data and back, strictly; TOML and JSON, in and out.

Whatever crosses a process is one document with a schema name. Reading is strict: an unknown key, a wrong
type or a non-finite number is an InputError that names the key. Writing is deterministic and atomic.
"""

import dataclasses
import enum
import functools
import hashlib
import json
import math
import os
import stat
import tempfile
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vlmplan.errors import InputError, nearest

MAX_DOCUMENT_BYTES = 16 * 2**20
T = TypeVar("T")
D = TypeVar("D", bound="Document")


class Document:
    """Base of the dataclasses that are files; ``SCHEMA`` is the value of the key ``schema`` in the file."""

    __slots__ = ()
    SCHEMA: ClassVar[str]


def plain(value: Any) -> Any:
    """Return dataclasses as dicts in field order, tuples as lists, enums as their values; a Document names its schema."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"schema": value.SCHEMA} if isinstance(value, Document) else {}
        return head | {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


@functools.cache
def _field_types(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _expected(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(member.value for member in kind)
    return str(getattr(kind, "__name__", kind))


def _mismatch(where: str, kind: Any, value: Any) -> InputError:
    shown = repr(value)
    return InputError(f"{where}: expected {_expected(kind)}, found {shown if len(shown) < 60 else shown[:57] + '...'}")


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InputError(f"{where}: expected a finite number, found {value}")
        return float(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            raise _mismatch(where, kind, value) from None
    if type(value) is not kind:
        raise _mismatch(where, kind, value)
    return value


def _sequence(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: expected a list, found {value!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(from_plain(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(arguments):
        raise InputError(f"{where}: expected {len(arguments)} items, found {len(value)}")
    return tuple(from_plain(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(arguments, value, strict=True)))


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Build ``kind`` (a dataclass, tuple, Mapping, enum, scalar or optional of these) from plain data.

    ``where`` is the path shown in errors, such as ``hardware.memory_bytes``. Raises InputError.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else from_plain(inner[0], value, where)
    if origin is tuple:
        return _sequence(arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected a table, found {value!r}")
        return {
            from_plain(arguments[0], key, f"{where}.{key}"): from_plain(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return _dataclass(typing.cast(type[Any], kind), value, where)
    return _scalar(kind, value, where)


def _dataclass(cls: type[T], value: Any, where: str) -> T:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a table, found {value!r:.60}")
    hints = {field.name: _field_types(cls)[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in hints and not (key == "schema" and issubclass(cls, Document)):
            close = nearest(str(key), hints)
            raise InputError(f"{where}.{key}: unknown key" + (f"; did you mean {close}?" if close else ""))
    arguments = {key: from_plain(hints[key], item, f"{where}.{key}") for key, item in value.items() if key in hints}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and field.name not in arguments:
            raise InputError(f"{where}.{field.name}: missing, expected {_expected(hints[field.name])}")
    try:
        return cls(**arguments)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_text(path: Path) -> str:
    """Return a regular UTF-8 file of at most 16 MiB. Raises InputError for anything else, naming the path."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise InputError(f"{path}: found {kind}, expected a file")
        if status.st_size > MAX_DOCUMENT_BYTES:
            raise InputError(f"{path}: found {status.st_size} bytes, expected a document of at most {MAX_DOCUMENT_BYTES}")
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, found a byte at {error.start} that is not") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not text.strip():
        raise InputError(f"{path}: found an empty file")
    return text


def read_plain(path: Path) -> dict[str, Any]:
    """Return the table in a ``.json`` or TOML file. Raises InputError for bad syntax or a document that is no table."""
    text = read_text(path)
    try:
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            import tomli

            value = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and TOMLDecodeError are ValueErrors
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'} ({line})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a table of keys, found a {type(value).__name__}")
    return value


def load(cls: type[D], path: Path) -> D:
    """Read one document of type ``cls``; its ``schema`` must be the one expected. Raises InputError."""
    data = read_plain(path)
    if data.get("schema") != cls.SCHEMA:
        raise InputError(f"{path}: expected schema = \"{cls.SCHEMA}\", found {data.get('schema')!r}")
    return typing.cast(D, from_plain(cls, data, str(path)))


def to_json(value: Any) -> str:
    """Return deterministic JSON text with a final newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def to_toml(document: Document) -> str:
    """Return deterministic TOML text; TOML has no null, so fields that are None are left out."""
    import tomli_w

    return tomli_w.dumps(_without_none(plain(document)))


def digest(value: Any) -> str:
    """Return the SHA-256 of a document's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write atomically: a temporary file beside ``path``, renamed when whole. Raises InputError; leaves nothing behind."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
