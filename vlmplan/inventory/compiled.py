"""Is there a quicker way to what is shipped than to read it? All profiles in one file, each beside what it was made of.

``profiles/`` -> ``profiles/compiled.jsonl``: a header, then a line a document, its digest and its row (``packed.py``).
A line is taken where the profile is, byte for byte, the one that it was made of, and the code the one that made it: a
profile that was edited, added or taken away is seen at once, and a compiled file that is old, spoilt or not there costs
time and never an answer. A wheel brings it; ``make compiled`` makes it in a clone.
"""

import functools
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from vlmplan import document as reading
from vlmplan.document import Document, digest, load, write_bytes
from vlmplan.errors import InputError
from vlmplan.inventory import packed as packing
from vlmplan.inventory.packed import Restorer, defined_in, packed, restorer
from vlmplan.records import dataclass

D = TypeVar("D", bound=Document)
NAME = "compiled.jsonl"
SCHEMA = "vlmplan.compiled/1"
_PACKAGE = Path(__file__).resolve().parents[1]


def _content(path: str) -> bytes:
    """A whole file, by system calls alone: a hundred are read for one answer."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        return os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)


def _mark(content: bytes) -> list[int]:
    """What tells a content from an edited one: its length and its checksum."""
    return [len(content), zlib.crc32(content)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """The file in memory: its lines, and where each document's begins, with its marks."""

    folder: str
    lines: bytes
    documents: Mapping[str, Any]

    def line(self, name: str) -> Any:
        """The digest and the row of a document; None where the profile is not the one that they were made of."""
        try:
            made_of, start, mark = self.documents[name]
            line = self.lines[start : start + mark[0]]
            fresh = _mark(line) == mark and _mark(_content(f"{self.folder}/{name}")) == made_of
            return json.loads(line.decode()) if fresh else None
        except (KeyError, OSError, TypeError, ValueError, IndexError):
            return None


def _empty(folder: Path) -> _Compiled:
    return _Compiled(folder=str(folder), lines=b"", documents={})


@functools.cache
def _compiled(folder: Path) -> _Compiled:
    """What is compiled in a folder, once a process; nothing where other code made it."""
    try:
        head, _, lines = (folder / NAME).read_bytes().partition(b"\n")
        header = json.loads(head)
        same = header["schema"] == SCHEMA and all(
            _mark(_content(f"{_PACKAGE}/{name}")) == mark for name, mark in header["code"].items()
        )
        return _Compiled(folder=str(folder), lines=lines, documents=header["documents"]) if same else _empty(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _empty(folder)


def is_fresh(folder: Path, name: str) -> bool:
    """Whether ``shipped`` takes the document in ``folder / name`` from the compiled file."""
    return _compiled(folder).line(name) is not None


def _restorer(kind: Any) -> Restorer | None:  # a cache takes no type that a type variable stands for
    return restorer(kind)


_HELD: ContextVar[dict[tuple[str, str, str], Any] | None] = ContextVar("held", default=None)


@contextmanager
def held(store: dict[tuple[str, str, str], Any]) -> Iterator[None]:
    """Read a document once: into ``store``, and from it as long as it lives. An edited profile is not seen then."""
    before = _HELD.set(store)
    try:
        yield
    finally:
        _HELD.reset(before)


def _once(what: str, kind: type[Document], path: str, read: Callable[[], Any]) -> Any:
    """What ``read`` returns, from what is held where it was read before."""
    store = _HELD.get()
    if store is None:
        return read()
    key = (what, kind.__name__, path)
    if key not in store:
        store[key] = read()
    return store[key]


def shipped(kind: type[D], folder: Path, name: str) -> D:
    """Return the document in ``folder / name``, as ``load`` does and with its errors."""
    document: D = _once("document", kind, f"{folder}/{name}", lambda: _read(kind, folder, name))
    return document


def _read(kind: type[D], folder: Path, name: str) -> D:
    line, restore = _compiled(folder).line(name), _restorer(kind)
    if line is None or restore is None:
        return load(kind, folder / name)
    document: D = restore(line[1])
    return document


def digest_shipped(kind: type[D], folder: Path, name: str) -> str:
    """Return the digest of the document in ``folder / name``."""
    hexdigest: str = _once("digest", kind, f"{folder}/{name}", lambda: _digest(kind, folder, name))
    return hexdigest


def _digest(kind: type[D], folder: Path, name: str) -> str:
    line = _compiled(folder).line(name)
    return digest(load(kind, folder / name)) if line is None else str(line[0])


def _line(kind: type[Document], path: Path) -> bytes:
    """A document's line. Raises InputError for one that does not come back as it was."""
    document = load(kind, path)
    text = json.dumps([digest(document), packed(document)], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    restore = _restorer(kind)
    if restore is None or repr(restore(json.loads(text)[1])) != repr(document):
        raise InputError(f"{path}: a {kind.__name__} does not come back from its row as it was")
    return text.encode() + b"\n"


def write(folder: Path, kinds: Mapping[str, type[Document]]) -> Path:
    """Compile the profiles in ``folder`` that ``kinds`` names, and return the file. Raises InputError."""
    code = {Path(module.__file__ or "") for module in (reading, packing)} | {Path(__file__).resolve()}
    code |= {path for kind in dict.fromkeys(kinds.values()) for path in defined_in(kind)}
    documents: dict[str, Any] = {}
    lines = b""
    for name, kind in sorted(kinds.items()):
        line = _line(kind, folder / name)
        documents[name] = [_mark((folder / name).read_bytes()), len(lines), _mark(line)]
        lines += line
    header = {
        "schema": SCHEMA,
        "code": {path.resolve().relative_to(_PACKAGE).as_posix(): _mark(path.read_bytes()) for path in sorted(code)},
        "documents": documents,
    }
    write_bytes(folder / NAME, json.dumps(header, separators=(",", ":")).encode() + b"\n" + lines)
    return folder / NAME
