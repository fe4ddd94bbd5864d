"""What do one's own requests look like? A file of them -> how long and how large they are, one by one and by quantile.

A row of the JSONL file is counts and sizes (``text_tokens``, ``output_tokens``, ``image``), or a request to
``/v1/chat/completions`` with the ``usage`` of its answer, as clients, proxies and batches log it: as one object, or as
``request`` and ``response``, or as ``body``. Of a picture only the header is read. Nothing that a prompt says is kept,
or stands in a message.
"""

import functools
import io
import math
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from vlmplan.document import json_lines
from vlmplan.errors import InputError, printable
from vlmplan.extras import require
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf
from vlmplan.inventory.workloads import LARGEST_SIDE
from vlmplan.models import native_visual_tokens
from vlmplan.picture_files import open_picture, turned_size
from vlmplan.units import counted, parse_image

LARGEST_LOG_BYTES = 2**29  # pictures stand in rows, as text
MOST_TOKENS = 10_000_000
CHARACTERS_A_TOKEN = 4  # of English: help.openai.com, "What are tokens and how to count them?"
MEDIAN, TAIL = 0.5, 0.95
# What a row of counts has.
FIELDS = 'text_tokens, output_tokens, image (a size, "1024x768") and images (a number [1], or a list of sizes)'
TIMES = ("time_s", "timestamp", "created")  # what a row, or its answer, calls when it came
_LATEST_S = 1e15  # in any count of seconds; later, a number of 64 bits has no tenths of one
_LONGEST_KEY, _MOST_KEYS = 30, 8  # of a row's field names, in a message

Size = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request: tokens of text and of its answer, the pictures' sizes; ``estimated`` where text was not counted.

    ``time_s`` is when it came, in seconds from any start; None where the log does not say.
    """

    text_tokens: int
    output_tokens: int
    images: tuple[Size, ...]
    estimated: bool = False
    time_s: float | None = None

    @property
    def image(self) -> Size:
        """The size of its largest picture."""
        return max(self.images, key=_pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLog:
    """Requests with pictures, as logged, and how many without were left out; in order of time where all have one."""

    name: str
    requests: tuple[LoggedRequest, ...]
    without_images: int

    def at(self, share: float) -> dict[str, Any]:
        """Return the quantile of each quantity by itself, by the names of a :class:`Workload`'s fields.

        Values that occur, by the nearest rank; sizes are ordered by pixels.
        """
        sizes = sorted((size for one in self.requests for size in one.images), key=_pixels)
        return {
            "text_tokens": quantile_of(sorted(one.text_tokens for one in self.requests), share),
            "output_tokens": max(1, quantile_of(sorted(one.output_tokens for one in self.requests), share)),
            "images": quantile_of(sorted(len(one.images) for one in self.requests), share),
            "image": quantile_of(sizes, share),
        }

    @property
    def timed(self) -> bool:
        """Whether it says of every request when it came."""
        return all(one.time_s is not None for one in self.requests)

    @property
    def estimated(self) -> int:
        """Of how many requests the text tokens are estimated from characters."""
        return sum(one.estimated for one in self.requests)


def _pixels(size: Size) -> int:
    return size[0] * size[1]


def quantile_of(ordered: Sequence[T], share: float) -> T:
    """Return the least value of a sorted list that ``share`` of it do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _kind(value: Any) -> str:
    """What a value is, without what it says."""
    names = {str: "text", bool: "true or false", dict: "an object", list: "a list", type(None): "nothing"}
    return names.get(type(value), "a number with a fraction" if isinstance(value, float) else "another number")


def _count(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if type(value) is not int:
        raise InputError(f"{key}: expected a whole number of tokens, found {_kind(value)}")
    if not 0 <= value <= MOST_TOKENS:
        raise InputError(f"{key}: expected 0 to {MOST_TOKENS} tokens, found {'fewer' if value < 0 else 'more'}")
    return value


def _size(value: Any) -> Size:
    """A size as ``"1024x768"`` or ``[1024, 768]``."""
    if isinstance(value, str):
        try:
            return parse_image(value)
        except InputError:
            pass
    elif isinstance(value, list) and len(value) == 2:
        width, height = value
        if type(width) is type(height) is int and min(value) >= 1 and max(value) <= LARGEST_SIDE:
            return width, height
    raise InputError(f'image: expected a size of 1 to {LARGEST_SIDE} pixels a side, such as "1024x768" or [1024, 768]')


def _keys(row: Mapping[str, Any]) -> str:
    """The names of a row's fields, as far as they can be shown; never what they hold."""
    names = [printable(str(key))[:_LONGEST_KEY] for key in row]
    return ", ".join(names[:_MOST_KEYS]) + (" ..." if len(names) > _MOST_KEYS else "") or "no fields"


def _check_counts(row: Mapping[str, Any]) -> None:
    """Raise InputError for a row that lacks a count, with what it has instead."""
    for key, theirs in (("text_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        if key not in row:
            hint = f"; did you mean {key} by {theirs}?" if theirs in row else ""
            raise InputError(f"{key} is missing; a row has {FIELDS}; found {_keys(row)}{hint}")


def _stated_sizes(row: Mapping[str, Any]) -> tuple[Size, ...]:
    """The sizes that a row states: of one ``image``, of so many ``images`` of its size, or of a list of them."""
    image, images = row.get("image"), row.get("images")
    if isinstance(images, list):
        return tuple(_size(one) for one in images)
    if image is None:
        if images:
            raise InputError("images: found a number of them and no size; expected image, or a list of sizes")
        return ()
    number = 1 if images is None else images
    if type(number) is not int or not 0 <= number <= 10_000:
        raise InputError(f"images: expected 0 to 10000, or a list of sizes, found {_kind(images)}")
    return (_size(image),) * number


def _header_size(opened: Callable[[], Any]) -> Size:
    """The size that a picture's header states. Raises InputError for what Pillow does not know as a picture."""
    require("PIL")
    try:
        with warnings.catch_warnings(action="ignore"), open_picture(opened()) as picture:
            size = turned_size(picture)
    except Exception:  # each format raises its own
        raise InputError("a picture in it cannot be read; expected PNG, JPEG or another that Pillow knows") from None
    return _size(list(size))


@functools.lru_cache(maxsize=4096)
def _file_size(path: Path) -> Size:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # a name too long, or with a null character
        regular = False
    if not regular:
        raise InputError("a picture in it is a file that is not there; paths are looked for beside the log")
    return _header_size(lambda: path)


def _linked_size(url: Any, folder: Path) -> Size:
    """The size of a picture given as a data URL or as a file's path. Raises InputError for one that is elsewhere."""
    import base64
    from urllib.parse import unquote, urlsplit

    if not isinstance(url, str):
        raise InputError(f"image_url: expected a data URL or a file, found {_kind(url)}")
    if url[:5].casefold() == "data:":
        head, comma, data = url.partition(",")
        if not comma or not head.casefold().endswith(";base64"):
            raise InputError("image_url: expected a data URL in base64 (data:image/png;base64,...)")
        return _header_size(lambda: io.BytesIO(base64.b64decode(data, validate=False)))
    try:
        scheme, path = urlsplit(url).scheme.casefold(), urlsplit(url).path
    except ValueError:
        scheme, path = "none", ""
    if scheme == "file":
        return _file_size(Path(unquote(path)))
    if len(scheme) > 1:  # a single letter is a drive
        raise InputError(
            "image_url: found an address on a network, which is not read; expected a data URL or a file, or sizes "
            'beside the messages: "images": ["1024x768"]'
        )
    return _file_size(folder / url)


def _parts(messages: Any) -> Iterator[Mapping[str, Any]]:
    """The pieces of all messages; text alone is a piece of text."""
    if not isinstance(messages, list):
        raise InputError(f"messages: expected a list, found {_kind(messages)}")
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield {"type": "text", "text": content}
        elif isinstance(content, list) and all(isinstance(one, dict) for one in content):
            yield from content
        elif content is not None or not isinstance(message, dict):
            raise InputError("messages: expected objects whose content is text or a list of parts")


def _described(parts: Sequence[Mapping[str, Any]], folder: Path) -> tuple[int, tuple[Size, ...]]:
    """Characters of text and sizes of pictures. Raises InputError for a part that is neither."""
    characters, sizes = 0, []
    for part in parts:
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            characters += len(part["text"])
        elif kind == "image_url":
            image = part.get("image_url")
            sizes.append(_linked_size(image.get("url") if isinstance(image, dict) else image, folder))
        else:
            raise InputError("messages: found a part that is neither text nor image_url, which is not understood")
    return characters, tuple(sizes)


@functools.lru_cache(maxsize=4096)
def _made_tokens(model: str, sizes: tuple[Size, ...]) -> int | None:
    """The visual tokens that a shipped model makes of pictures by its own setting; None of one that is not shipped."""
    known = {name.casefold(): name for name in catalogue.names(Shelf.MODELS)}
    if model.casefold() not in known:
        return None
    spec = catalogue.model(known[model.casefold()])
    try:
        return sum(native_visual_tokens(spec, size) for size in sizes)
    except InputError:  # a shape that its processor refuses
        return None


def _text_tokens(
    body: Mapping[str, Any], usage: Mapping[str, Any], characters: int, sizes: tuple[Size, ...]
) -> int | None:
    """The prompt's tokens less its pictures': as the server splits them, or by the model; None where neither tells."""
    prompt, details = _count(usage, "prompt_tokens"), usage.get("prompt_tokens_details")
    if not sizes:
        return prompt
    if isinstance(details, dict):
        if type(details.get("text_tokens")) is int:
            if (text := _count(details, "text_tokens")) > prompt:
                raise InputError(f"usage: found {text} text_tokens of {prompt} prompt_tokens, expected at most as many")
            return text
        if type(details.get("image_tokens")) is int and 0 < details["image_tokens"] <= prompt:
            return prompt - int(details["image_tokens"])
    made = _made_tokens(str(body.get("model")), sizes)
    left = 0 if made is None else prompt - made
    return left if left > characters // (2 * CHARACTERS_A_TOKEN) else None


def _inner(row: Mapping[str, Any], *paths: str) -> Mapping[str, Any] | None:
    """The first object at one of the paths, such as ``response.body``."""
    for path in paths:
        node: Any = row
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            return node
    return None


def _chat(row: Mapping[str, Any], body: Mapping[str, Any], folder: Path) -> LoggedRequest:
    """A request to ``/v1/chat/completions``, with what its answer's usage says."""
    usage = _inner(row, "usage", "response.usage", "response.body.usage", "body.usage")
    if usage is None:
        raise InputError("usage: missing; expected the answer's, with prompt_tokens and completion_tokens")
    parts = [*_parts(body["messages"])]
    stated = _stated_sizes(row)
    if stated:
        parts = [part for part in parts if part.get("type") != "image_url"]
    characters, measured = _described(parts, folder)
    sizes = stated or measured
    text = _text_tokens(body, usage, characters, sizes)
    return LoggedRequest(
        text_tokens=math.ceil(characters / CHARACTERS_A_TOKEN) if text is None else text,
        output_tokens=_count(usage, "completion_tokens"),
        images=sizes,
        estimated=text is None,
    )


def _time_s(row: Mapping[str, Any]) -> float | None:
    """When a request came, in seconds from any start: as the row says, or its answer's ``created``; None without."""
    answer = _inner(row, "response.body", "response", "body") or {}
    key, value = next(
        ((key, one[key]) for one in (row, answer) for key in TIMES if one.get(key) is not None), ("", None)
    )
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            raise InputError(f"{key}: expected seconds, or a time such as 2026-11-29T10:00:00.5Z, found text") from None
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= _LATEST_S:
        raise InputError(f"{key}: expected 0 to {_LATEST_S:g} seconds, found {_kind(value)}")
    return float(value)


def _request(row: Any, folder: Path) -> LoggedRequest:
    """One row, with when it came. Raises InputError for what is none."""
    if not isinstance(row, dict):
        raise InputError(f"expected an object, found {_kind(row)}")
    return replace(_sized(row, folder), time_s=_time_s(row))


def _sized(row: Mapping[str, Any], folder: Path) -> LoggedRequest:
    """What a row says but when it came."""
    for body in (row, _inner(row, "request"), _inner(row, "request.body"), _inner(row, "body")):
        if body is not None and "messages" in body:
            return _chat(row, body, folder)
    if "text_tokens" not in row and "output_tokens" not in row:
        raise InputError(
            "expected text_tokens, output_tokens and image, or a chat request's messages with usage; found "
            f"{_keys(row)}"
        )
    _check_counts(row)
    return LoggedRequest(
        text_tokens=_count(row, "text_tokens"), output_tokens=_count(row, "output_tokens"), images=_stated_sizes(row)
    )


def read_requests(path: Path) -> RequestLog:
    """Read a file of requests, a line each.

    Raises InputError for the first row that is none, naming its line, and where no request has a picture.
    """
    with_images, without, first = [], 0, dict[str, Any]()
    for number, row in json_lines(path, LARGEST_LOG_BYTES):
        try:
            if isinstance(row, InputError):
                raise row
            request = _request(row, path.parent)
        except InputError as error:
            raise InputError(f"{path} line {number}: {error}") from None
        if request.images:
            with_images.append(request)
        else:
            first = first or row
            without += 1
    if not with_images:
        raise InputError(
            f"{path}: found no picture in {counted(without, 'request')}; expected {FIELDS}, or image_url parts in "
            f"messages; the first has {_keys(first)}"
        )
    if all(request.time_s is not None for request in with_images):
        with_images.sort(key=lambda request: request.time_s or 0.0)  # as they came, not as they ended
    return RequestLog(name=path.name, requests=tuple(with_images), without_images=without)
