"""What is there to learn from? Conversations about images as LLaVA stores them, each row looked at before training.

JSON (a list), JSONL (a row a line) or a folder that ``datasets`` saved -> :class:`Conversation` rows. A row that cannot
be used is named by file and number (from 1), with what is wrong; it is an error, or counted where bad rows are skipped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import as_rgb, image_file
from vlmplan.document import json_lines, json_rows, read_text
from vlmplan.errors import InputError, one_line, printable
from vlmplan.exporting import PLACEHOLDER
from vlmplan.extras import require
from vlmplan.picture_files import open_picture
from vlmplan.progress import Progress

ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}
LARGEST_FILE_BYTES = 8 * 2**30
_READERS = 8  # threads that decode images
_NAMED = 3  # bad rows that are spelt out


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and the answer to be learnt."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One row: where it stands, its image (a file, or encoded as a ``datasets`` folder holds it) and its turns."""

    name: str
    image: Path | bytes
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The rows that can be used, and what was wrong with the others."""

    rows: tuple[Conversation, ...]
    bad: tuple[str, ...]


def _turns(row: Any) -> tuple[Turn, ...]:
    """The turns of a row. Raises InputError saying what is wrong, without the row's name."""
    messages = row.get("conversations")
    if not isinstance(messages, list) or not messages:
        raise InputError("expected a list 'conversations' of messages, found none")
    texts, places = [], 0
    for index, message in enumerate(messages):
        expected = "assistant" if index % 2 else "user"
        role = message.get("from", message.get("role")) if isinstance(message, dict) else None
        text = message.get("value", message.get("content")) if isinstance(message, dict) else None
        if not isinstance(role, str) or ROLES.get(role) != expected:
            word = "gpt" if index % 2 else "human"
            raise InputError(f"message {index + 1} is from {_shown(role)}, expected {word}: they take turns")
        if not isinstance(text, str) or not text.replace(PLACEHOLDER, "").strip():
            raise InputError(f"message {index + 1} has no text")
        places += text.count(PLACEHOLDER)
        texts.append(text.replace(PLACEHOLDER, "").strip())
    if len(texts) % 2:
        raise InputError("the last message has no answer; expected one from gpt")
    if places > 1:
        raise InputError(f"found {PLACEHOLDER} {places} times, expected one image a conversation")
    return tuple(Turn(question=texts[at], answer=texts[at + 1]) for at in range(0, len(texts), 2))


def _shown(value: Any) -> str:
    return f"'{printable(value[:40])}'" if isinstance(value, str) else "nobody" if value is None else repr(value)[:40]


def _image(value: Any, images: Path) -> Path | bytes:
    """Where a row's image is: a file, or the encoded image that a ``datasets`` folder holds. Raises InputError."""
    if value is None:
        raise InputError("found no image; vlmplan trains on conversations about one")
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return bytes(value["bytes"])
    name = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        raise InputError(f"image is {_shown(value)}, expected a file's name")
    return image_file(images, name)


def conversation(name: str, row: Any, images: Path) -> Conversation:
    """Read one row. Raises InputError, naming it, for one that cannot be used."""
    try:
        if not isinstance(row, dict):
            raise InputError("expected a table with image and conversations")
        return Conversation(name=name, image=_image(row.get("image"), images), turns=_turns(row))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    name = printable(path.name)
    if path.suffix == ".jsonl":
        yield from ((f"{name} line {number}", row) for number, row in json_lines(path, LARGEST_FILE_BYTES))
        return
    text = read_text(path, LARGEST_FILE_BYTES)
    try:
        yield from ((f"{name} row {number}", row) for number, row in enumerate(json_rows(text), 1))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _saved_rows(folder: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a folder that ``datasets`` saved. Raises InputError or Unavailable."""
    require("datasets", extra="train")
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:  # it raises what it likes for a folder that is none of its own
        raise InputError(f"{folder}: datasets cannot load it ({one_line(error)})") from None
    if isinstance(saved, datasets.DatasetDict):
        if "train" not in saved:
            raise InputError(f"{folder}: found splits {', '.join(saved)}, expected 'train'")
        saved = saved["train"]
    if isinstance(saved.features.get("image"), datasets.Image):
        saved = saved.cast_column("image", datasets.Image(decode=False))  # decoded later, so that bad ones are named
    yield from ((f"{printable(folder.name)} row {number}", row) for number, row in enumerate(saved, 1))


def _raw_rows(path: Path) -> Iterable[tuple[str, Any]]:
    if path.is_dir():
        return _saved_rows(path)
    if path.suffix not in (".json", ".jsonl"):
        raise InputError(f"--data: found '{path}', expected a .json or .jsonl file, or a folder that datasets saved")
    return _json_rows(path)


def open_image(image: Path | bytes) -> Any:
    """Return an image's file, or an encoded image, decoded as RGB. Raises InputError where it cannot be."""
    from io import BytesIO

    try:
        with open_picture(BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return as_rgb(opened)
    except Exception as error:  # each format raises its own
        shown = "its image" if isinstance(image, bytes) else printable(str(image))
        why = "cannot identify it" if isinstance(image, bytes) else one_line(error)
        raise InputError(f"{shown} is no image that can be read ({why})") from None


def faulty_images(rows: Sequence[Conversation], progress: Progress) -> dict[str, str]:
    """Row name -> what is wrong with its image: each is decoded once, whole."""
    images = list(dict.fromkeys(row.image for row in rows))

    def fault(image: Path | bytes) -> str | None:
        try:
            open_image(image)
        except InputError as error:
            return str(error)
        return None

    faults: dict[Path | bytes, str] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for done, (image, fault_of) in enumerate(zip(images, pool.map(fault, images), strict=True), 1):
            progress("looking at images", done, len(images))
            if fault_of is not None:
                faults[image] = fault_of
    return {row.name: faults[row.image] for row in rows if row.image in faults}


def read_rows(path: Path, images: Path) -> Loaded:
    """Read all rows, without decoding their images; what is wrong with the bad ones is in words.

    Raises InputError for a file that is none, Unavailable for a folder of ``datasets`` without that library.
    """
    if not path.exists():
        raise InputError(f"--data: {path} does not exist")
    if not images.is_dir():
        raise InputError(f"--images: {images} is no folder")
    rows, bad = [], []
    for name, raw in _raw_rows(path):
        try:
            if isinstance(raw, InputError):
                raise InputError(f"{name}: {raw}")
            rows.append(conversation(name, raw, images))
        except InputError as error:
            bad.append(str(error))
    return Loaded(rows=tuple(rows), bad=tuple(bad))


def without(loaded: Loaded, faults: Mapping[str, str], skip_bad: bool) -> Loaded:
    """Return the rows but for those whose images are faulty (row name -> what is wrong).

    Raises InputError for bad rows, unless they are skipped, and where none is left.
    """
    bad = (*loaded.bad, *(f"{name}: {fault}" for name, fault in faults.items()))
    if bad and not skip_bad:
        raise InputError(f"{summary(bad)}; mend them, or leave them out with --skip-bad")
    rows = tuple(row for row in loaded.rows if row.name not in faults)
    if not rows:
        raise InputError("--data: found no row that can be used" + (f" ({summary(bad)})" if bad else ""))
    return Loaded(rows=rows, bad=bad)


def summary(bad: tuple[str, ...]) -> str:
    """The first bad rows, and how many more there are."""
    more = f" (and {len(bad) - _NAMED} more bad rows)" if len(bad) > _NAMED else ""
    return "; ".join(bad[:_NAMED]) + more
