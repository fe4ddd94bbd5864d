"""Why are so many visual tokens too few? Failed questions -> one HTML page with the pictures as the model saw them.

(curve, failures) -> HTML that needs no network and runs nothing: no script, pictures inside, every text of a file or a
server inert. It has at most so many questions and bytes, and says what it leaves out. Needs the extras ``page`` and
``evaluate``.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlmplan import __version__
from vlmplan.checkpoints import as_rgb
from vlmplan.errors import one_line
from vlmplan.evaluation import Failure, Question, Seen, TokenCurve
from vlmplan.extras import require
from vlmplan.pages.html_page import templates
from vlmplan.picture_files import open_picture
from vlmplan.views import percent

TEMPLATE = "failures.html.jinja"
MOST_SHOWN = 24  # questions
MOST_BYTES = 12_000_000  # of pictures, encoded
_MOST_SIDE = 512  # pixels of a picture on the page
_SMALL_BYTES = 60_000  # up to which a picture is kept without loss
_LONGEST = 400  # characters of a text
_MARGIN = 2.5  # heights of text that are shown around its boxes
_LEAST_SHOWN = 120  # pixels of the image's own side that are shown at least

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a page shows of an answer: its picture as an address, how it was seen, the text, and whether it is right."""

    picture: str | None
    seen: str
    answer: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a page shows of a question."""

    name: str
    text: str
    expected: str
    lost: str
    problem: str
    cards: tuple[Card, ...]


def failures_page(curve: TokenCurve, failures: Sequence[Failure]) -> str:
    """Return the page. Raises Unavailable where an extra is missing."""
    require("jinja2", extra="page")
    require("PIL", extra="evaluate")
    import jinja2

    rows, spent = list[Row](), 0
    for failure in failures[:MOST_SHOWN]:
        row = _row(failure)
        spent += sum(len(card.picture or "") for card in row.cards)
        if spent > MOST_BYTES:
            break
        rows.append(row)
    environment = templates(jinja2)
    environment.filters |= {"percent": percent}
    return str(
        environment.get_template(TEMPLATE).render(
            curve=curve, rows=rows, left=len(failures) - len(rows), legible=curve.legibility, version=__version__,
            lost_first=sum(1 for one in failures if one.lost),
        )
    )  # fmt: skip


def _row(failure: Failure) -> Row:
    question, problem, whole = failure.question, "", None
    try:
        with open_picture(question.image) as opened:
            whole = as_rgb(opened)
    except Exception as error:  # each format raises its own
        problem = f"the image cannot be read ({one_line(error)})"
    lost = ", ".join(map(str, failure.lost))
    return Row(
        name=question.name,
        text=_short(question.text),
        expected=" | ".join(map(_short, question.answers[:4])),
        lost=f"right at {failure.at[-1].limit}, wrong at {lost}" if lost else "wrong at the most tokens, too",
        problem=problem,
        cards=tuple(_card(question, one, whole) for one in failure.at),
    )


def _card(question: Question, seen: Seen, whole: Any) -> Card:
    words = [f"at most {seen.limit} tokens, {seen.visual_tokens} made"]
    if seen.size is not None:
        words.append(f"seen at {seen.size[0]} x {seen.size[1]}")
    if seen.text_height_px is not None:
        words.append(f"text {seen.text_height_px:.1f} pixels high")
    right = seen.right_fraction
    return Card(
        picture=None if whole is None else _picture(question, seen, whole),
        seen=", ".join(words),
        answer=_short(seen.text) or "(nothing)",
        verdict="right" if right == 1 else "wrong" if right == 0 else f"{100 * right:.0f} % right",
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _picture(question: Question, one: Seen, whole: Any) -> str:
    """The picture resized to what the model saw, its part with the text where boxes say, as an address with its bytes.

    Only what is too large for the page is scaled down again.
    """
    from PIL import Image

    size = one.size or whole.size
    seen = whole if whole.size == size else whole.resize(size, resample=Image.Resampling.BICUBIC)
    if question.boxes:
        seen = seen.crop(_window(question.boxes, whole.size, size))
    seen.thumbnail((_MOST_SIDE, _MOST_SIDE))
    return _address(seen)


def _window(boxes: Sequence[Box], whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the seen picture about the boxes, with a margin; the same part of the image at every size."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    margin = _MARGIN * min(box[3] - box[1] for box in boxes)
    wide = max(margin, (_LEAST_SHOWN - (right - left)) / 2)
    high = max(margin, (_LEAST_SHOWN - (bottom - top)) / 2)
    across, down = size[0] / whole[0], size[1] / whole[1]
    first = max(0, int((left - wide) * across)), max(0, int((top - high) * down))
    last = min(size[0], round((right + wide) * across)), min(size[1], round((bottom + high) * down))
    first = min(first[0], size[0] - 1), min(first[1], size[1] - 1)
    return *first, max(first[0] + 1, last[0]), max(first[1] + 1, last[1])


def _address(picture: Any) -> str:
    """Pixels as they are where that is small; else as JPEG."""
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    kind = "png"
    if content.tell() > _SMALL_BYTES:
        content, kind = io.BytesIO(), "jpeg"
        picture.save(content, format="JPEG", quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
