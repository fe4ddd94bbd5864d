"""What did the model see of a question, and what did it answer? Replies -> pictures' sizes, heights of text, failures.

A picture is seen at the size that the processor of the model's family makes of what was sent; the height of a text
shrinks with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vlmplan.errors import InputError, one_line
from vlmplan.evaluation.given_answers import Matched
from vlmplan.evaluation.judge import reply_key
from vlmplan.evaluation.legibility import legible_height
from vlmplan.evaluation.paired import TokenCurve
from vlmplan.evaluation.questions import Question
from vlmplan.evaluation.served import Asked, Asking, Reply, Size, sent
from vlmplan.models import ModelSpec, at_most, native_visual_tokens, options, seen_size
from vlmplan.picture_files import open_picture, turned_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An answer, and the size at which the model saw the picture: width and height in pixels, None where unknown."""

    question: Question
    limit: int
    visual_tokens: int
    text: str
    right_fraction: float
    size: Size | None = None
    text_height_px: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A question that not every number of visual tokens answers: what was seen and said, fewest tokens first."""

    question: Question
    at: tuple[Seen, ...]

    @property
    def lost(self) -> tuple[int, ...]:
        """The limits at which it has a lower score than at the most tokens."""
        return tuple(one.limit for one in self.at if one.right_fraction < self.at[-1].right_fraction)


def failures(seen: Iterable[Seen]) -> tuple[Failure, ...]:
    """Return questions right at more tokens and wrong at fewer, the most lost first; then those wrong at the most."""
    by_question: dict[str, list[Seen]] = {}
    for one in seen:
        by_question.setdefault(one.question.name, []).append(one)
    failures = [
        Failure(question=many[0].question, at=tuple(sorted(many, key=lambda one: one.limit)))
        for many in by_question.values()
    ]
    lost = sorted((one for one in failures if one.lost), key=lambda one: (-len(one.lost), -one.lost[-1]))
    wrong = [one for one in failures if not one.lost and one.at[-1].right_fraction < 1]
    return (*lost, *wrong)


def seen_of_replies(asking: Asking, asked: Asked, questions: Sequence[Question]) -> tuple[Seen, ...]:
    """Return what a server was asked, as it was seen there."""
    wholes = {question.name: (question, _size(question)) for question in questions}
    sizes: dict[tuple[Size, int], Size] = {}
    seen = []
    for reply in asked.replies:
        question, whole = wholes[reply.question]
        if (whole, reply.limit) not in sizes:
            way = sent(asking.model, whole, reply.limit, by_request=asking.by_request)
            sizes[whole, reply.limit] = _as_seen(asking.model, way.size, way.visual_tokens)
        size = sizes[whole, reply.limit]
        seen.append(
            Seen(
                question=question, limit=reply.limit, visual_tokens=reply.visual_tokens, text=reply.text,
                right_fraction=reply.right_fraction, size=size, text_height_px=_text_height(question, whole, size),
            )
        )  # fmt: skip
    return tuple(seen)


def seen_of_answers(joined: Matched, replies: Sequence[Reply], model: ModelSpec | None) -> tuple[Seen, ...]:
    """Return answers made elsewhere with their scores in ``replies``, as ``model`` saw them.

    Without a model at the size that was sent, where it is kept. Raises InputError for one larger than the picture.
    """
    wholes = {question.name: _size(question) for question, _ in joined.pairs}
    seen, sizes = [], dict[tuple[Size, Size | None, int, int], Size]()
    scores = {reply_key(reply): reply.right_fraction for reply in replies}
    for question, answer in joined.pairs:
        if (right := scores.get(f"{question.name}\0{answer.limit}")) is None:
            continue
        whole, size = wholes[question.name], answer.size
        if size is not None and (size[0] > whole[0] or size[1] > whole[1]):
            raise InputError(
                f"{question.name}: size: found {size[0]}x{size[1]}, expected at most the picture's "
                f"{whole[0]}x{whole[1]}: none is enlarged before it is sent; were these answers given to another?"
            )
        if model is not None:
            key = (whole, answer.size, answer.limit, answer.visual_tokens)
            if key not in sizes:
                sizes[key] = _as_seen(model, answer.size or _sent(model, whole, answer.limit), answer.visual_tokens)
            size = sizes[key]
        seen.append(
            Seen(
                question=question, limit=answer.limit, visual_tokens=answer.visual_tokens, text=answer.text,
                right_fraction=right, size=size,
                text_height_px=_text_height(question, whole, size),
            )
        )  # fmt: skip
    return tuple(seen)


def _size(question: Question) -> Size:
    """A picture's width and height as it is shown. Raises InputError for what is none."""
    try:
        with open_picture(question.image) as opened:
            width, height = turned_size(opened)
    except Exception as error:  # each format raises its own
        raise InputError(f"{question.name}: no image that can be read ({one_line(error)})") from None
    return int(width), int(height)


def _sent(model: ModelSpec, whole: Size, limit: int) -> Size:
    """The size to send for a limit, or the whole where the size makes no such number of tokens."""
    try:
        return sent(model, whole, limit, by_request=False).size
    except InputError:
        return whole


def _as_seen(model: ModelSpec, size: Size, visual_tokens: int) -> Size:
    """The size at which a picture sent at ``size`` is seen: by the processor unasked, or held to fewer tokens."""
    visual = options(model, size)[-1]
    if native_visual_tokens(model, size) > visual_tokens:
        visual = at_most(model, size, visual_tokens) or visual
    return seen_size(model, size, visual)


def _text_height(question: Question, whole: Size, size: Size | None) -> float | None:
    """The height in pixels, as seen, of the lowest of a question's boxes; None where it has none."""
    if size is None or not question.boxes:
        return None
    return min(bottom - top for _, top, _, bottom in question.boxes) * size[1] / whole[1]


def with_legibility(curve: TokenCurve, seen: Iterable[Seen]) -> TokenCurve:
    """Return the curve with the height of text that is legible, where questions have boxes of text."""
    told = [
        (one.question.name, one.text_height_px, one.right_fraction) for one in seen if one.text_height_px is not None
    ]
    return replace(curve, legibility=legible_height(told, curve.interval_level_fraction))
