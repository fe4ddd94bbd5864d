"""What does a server answer at several numbers of visual tokens? Questions and a URL -> every answer, kept as it comes.

Any server that speaks OpenAI's protocol. A number of tokens is made by sending a smaller picture, by the rule of the
model's family, or by vLLM's ``mm_processor_kwargs`` of one request; the usage that the server reports tells whether it
did what the rule says. A file of answers goes on where it was left.
"""

import base64
import hashlib
import io
import itertools
import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vlmplan.checkpoints import as_rgb
from vlmplan.document import append_text, json_lines
from vlmplan.errors import InputError, Unavailable, one_line, printable, unexpected
from vlmplan.evaluation.questions import LARGEST_FILE_BYTES, Question
from vlmplan.evaluation.scoring import Score, score
from vlmplan.hardware import Engine
from vlmplan.measuring import Endpoint
from vlmplan.models import ModelSpec, VisualInput, at_most, native_visual_tokens
from vlmplan.picture_files import open_picture
from vlmplan.progress import Progress

ATTEMPTS = 4
_FIRST_PAUSE_S = 0.5
MOST_FAILURES = 8  # in a row, whatever the question: the server is gone
_MOST_PROMPT_TOKENS = 10**9
_STEPS = 400  # of scale, down to a hundredth of a side
_WORTH_ANOTHER_TRY = re.compile(r"answered (408|409|425|429|5\d\d)|cannot be reached|no answer within")

Size = tuple[int, int]
Said = tuple[str, int | None]  # an answer, and the tokens of its prompt where the server counts them


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A picture as it is sent for a limit of visual tokens: its size, what goes beside it, and the tokens it makes."""

    size: Size
    visual_tokens: int
    setting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server said of a question within a limit of tokens; ``prompt_tokens`` is None where it counts none."""

    question: str
    limit: int
    visual_tokens: int
    text: str
    right_fraction: float
    prompt_tokens: int | None
    key: str


def sent(model: ModelSpec, size: Size, limit: int, *, by_request: bool) -> Sent:
    """Return how to send a picture of ``size`` so that it makes at most ``limit`` visual tokens.

    By its size, never enlarged, or ``by_request``: by what vLLM takes beside a request. Raises InputError where it
    cannot be.
    """
    if by_request:
        visual = at_most(model, size, limit)
        if visual is None:
            raise InputError(f"{model.name} makes no {limit} visual tokens or fewer of {size[0]}x{size[1]}")
        unasked = visual.visual_tokens == native_visual_tokens(model, size)
        return Sent(size=size, visual_tokens=visual.visual_tokens, setting={} if unasked else _setting(model, visual))
    for step in range(_STEPS):
        scale = 0.01 ** (step / _STEPS)
        smaller = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        try:
            tokens = native_visual_tokens(model, smaller)
        except InputError:  # too narrow for its processor
            break
        if tokens <= limit:
            return Sent(size=smaller, visual_tokens=tokens)
    raise InputError(
        f"no size of a picture of {size[0]}x{size[1]} makes at most {limit} visual tokens in {model.name}; "
        "with vLLM add --by request"
    )


def _setting(model: ModelSpec, visual: VisualInput) -> dict[str, Any]:
    """What vLLM takes beside a request, from the argument of its server. Raises InputError where it has none."""
    match = re.search(r"--mm-processor-kwargs '(\{.*\})'", visual.engines.get(Engine.VLLM, ""))
    if match is None:
        raise InputError(f"{model.name}: vLLM takes no setting of its visual tokens in a request; leave --by out")
    return {"mm_processor_kwargs": json.loads(match[1])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A server and how it is asked: the limits of visual tokens, the rule that judges, how many at once."""

    server: Endpoint
    model: ModelSpec
    limits: tuple[int, ...]
    score: Score
    by_request: bool = False
    output_tokens: int = 64
    at_once: int = 4
    budget: int | None = None
    seed: int = 0

    def key(self, question: Question, content: str, way: Sent) -> str:
        """What tells one request from another: what is asked of whom, and the picture (a digest) as it is sent."""
        of = [self.server.host, self.server.model]
        said = [*of, question.text, content, *way.size, way.setting, self.output_tokens]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]

    def outcome(self, task: "Posed", stopped: threading.Event) -> "Outcome":
        """Make one request."""
        return patiently(self.server, _body(self, task), stopped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed:
    """One request to be made, and every limit that it answers for."""

    question: Question
    way: Sent
    key: str
    limits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All replies there are, those of earlier runs too, and what was not answered."""

    replies: tuple[Reply, ...]
    requests: int
    kept: int
    failed: tuple[str, ...] = ()
    left: int = 0


def ask_all(asking: Asking, questions: Sequence[Question], answers: Path | None, progress: Progress) -> Asked:
    """Ask every question at every limit, in an order that ``seed`` shuffles: what a budget leaves is a fair sample.

    Pictures that two limits make alike are asked about once. Every reply is appended to ``answers`` as it comes, and
    those that stand there are not asked for again. Raises Unavailable when the server is gone.
    """
    tasks, kept = posed(asking, questions), kept_replies(answers)
    open_tasks = [task for task in tasks if task.key not in kept]
    asked = _within(open_tasks, asking.budget)
    made, failed = request_all(asking, asked, answers, progress)
    said = kept | made
    replies = (
        Reply(question=task.question.name, limit=limit, visual_tokens=task.way.visual_tokens, text=one[0],
              right_fraction=score(asking.score, one[0], task.question.answers), prompt_tokens=one[1], key=task.key)
        for task in tasks if (one := said.get(task.key)) is not None for limit in task.limits
    )  # fmt: skip
    return Asked(
        replies=tuple(replies), requests=len(asked), kept=sum(task.key in kept for task in tasks), failed=failed,
        left=len(open_tasks) - len(asked),
    )  # fmt: skip


def request_all(
    asking: Asking, tasks: Sequence[Posed], answers: Path | None, progress: Progress
) -> tuple[dict[str, Said], tuple[str, ...]]:
    """Make requests: what was said, by key, and what was not answered. Each is appended to ``answers`` as it comes.

    Raises Unavailable when the server is gone.
    """
    said, failed = dict[str, Said](), list[str]()
    asked = kept_as_they_come(asking.outcome, tasks, asking.at_once, answers, _line)
    for number, (task, outcome) in enumerate(asked, 1):
        progress("questions asked", number, len(tasks))
        if isinstance(outcome, Unavailable):
            failed.append(f"{task.question.name} at {task.limits[0]}: {outcome}")
        else:
            said[task.key] = outcome
    return said, tuple(failed)


def posed(asking: Asking, questions: Sequence[Question]) -> list[Posed]:
    """Return what is to be asked, question by question in a shuffled order, from the most tokens to the fewest."""
    shuffled = list(questions)
    random.Random(asking.seed).shuffle(shuffled)
    ways: dict[tuple[Size, int], Sent] = {}
    tasks = []
    for question in shuffled:
        size, content = picture_size(question), hashlib.sha256(question.image.read_bytes()).hexdigest()
        by_key: dict[str, list[tuple[int, Sent]]] = {}
        for limit in sorted(asking.limits, reverse=True):
            if (size, limit) not in ways:
                try:
                    ways[size, limit] = sent(asking.model, size, limit, by_request=asking.by_request)
                except InputError as error:
                    raise InputError(f"{question.name}: {error}") from None
            way = ways[size, limit]
            by_key.setdefault(asking.key(question, content, way), []).append((limit, way))
        tasks += [
            Posed(question=question, way=alike[0][1], key=key, limits=tuple(limit for limit, _ in alike))
            for key, alike in by_key.items()
        ]
    return tasks


def _within(tasks: Sequence[Posed], budget: int | None) -> list[Posed]:
    """As many as a budget of requests allows, of whole questions: half of one cannot be compared.

    Raises InputError for less than one question.
    """
    if budget is None:
        return list(tasks)
    affordable: list[Posed] = []
    for _, of_one in itertools.groupby(tasks, key=lambda task: task.question.name):
        together = list(of_one)
        if len(affordable) + len(together) > budget:
            if not affordable:
                raise InputError(f"--budget: found {budget}, and one question takes {len(together)} requests")
            break
        affordable += together
    return affordable


def _picture(question: Question) -> Any:
    try:
        with open_picture(question.image) as opened:
            return as_rgb(opened)
    except InputError as error:
        raise InputError(f"{question.name}: {error}") from None
    except Exception as error:  # each format raises its own
        raise InputError(f"{question.name}: no image that can be read ({one_line(error)})") from None


def picture_size(question: Question) -> Size:
    """Return width and height of a question's picture. Raises InputError."""
    width, height = _picture(question).size
    return int(width), int(height)


def prompt_tokens_of(row: Mapping[str, Any], where: str) -> int | None:
    """Return how many tokens a kept answer's prompt had; None where nobody counted. Raises InputError."""
    count = row.get("prompt_tokens")
    if count is not None and (type(count) is not int or not 0 <= count <= _MOST_PROMPT_TOKENS):
        raise unexpected(f"{where}: prompt_tokens", "a number of tokens, or null", count)
    return count


def kept_replies(answers: Path | None) -> dict[str, Said]:
    """Return what earlier runs wrote, by key; a last line that a kill cut off is asked for again.

    Raises InputError for a line that is none, and for a second answer to the same request that is another.
    """
    kept: dict[str, Said] = {}
    if answers is None or not answers.exists() or not answers.stat().st_size:
        return kept
    for number, row in json_lines(answers, LARGEST_FILE_BYTES):
        if isinstance(row, InputError):
            continue
        where = f"{printable(answers.name)} line {number}"
        key, text = (row.get("key"), row.get("answer")) if isinstance(row, dict) else (None, None)
        if not isinstance(key, str) or not isinstance(text, str):
            raise InputError(f"{where}: expected key and answer, as evaluate writes them")
        said = kept.setdefault(key, (text, prompt_tokens_of(row, where)))
        if said[0] != text:
            raise InputError(
                f"{where}: a second answer to the request {printable(key)[:60]}, expected one; take one out"
            )
    return kept


def ends_whole(path: Path) -> bool:
    """Return whether a file's last byte ends a line."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 1))
        return stream.read() == b"\n"


def _line(task: Posed, outcome: tuple[str, int | None]) -> str:
    row = {
        "key": task.key,
        "question": task.question.name,
        "text": task.question.text,
        "limits": task.limits,
        "size": task.way.size,
        "visual_tokens": task.way.visual_tokens,
        "answer": outcome[0],
        "expected": task.question.answers,
        "prompt_tokens": outcome[1],
    }
    return json.dumps(row, ensure_ascii=True) + "\n"


Outcome = Said | Unavailable
T = TypeVar("T")


def in_flight(
    work: Callable[[T, threading.Event], Outcome], tasks: Sequence[T], at_once: int
) -> Iterator[tuple[T, Outcome]]:
    """Make requests, so many at once, and yield what came of each as it comes; none is begun after an interrupt."""
    stopped = threading.Event()
    waiting: dict[Future[Outcome], T] = {}
    rest = iter(tasks)
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while True:
                while len(waiting) < 2 * at_once and (task := next(rest, None)) is not None:
                    waiting[pool.submit(work, task, stopped)] = task
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    yield waiting.pop(one), one.result()
        finally:
            stopped.set()
            for one in waiting:
                one.cancel()


def kept_as_they_come(
    work: Callable[[T, threading.Event], Outcome],
    tasks: Sequence[T],
    at_once: int,
    path: Path | None,
    line: Callable[[T, Said], str],
) -> Iterator[tuple[T, Outcome]]:
    """Make requests, append a line of each answer to ``path``, and yield what came of each.

    Raises Unavailable where several fail in a row: the server is gone.
    """
    if path is not None and path.exists() and not ends_whole(path):
        append_text(path, "\n")  # a kill cut off the last line, or the file is new
    failures = 0
    for task, outcome in in_flight(work, tasks, at_once):
        if isinstance(outcome, Unavailable):
            failures += 1
        else:
            failures = 0
            if path is not None:
                append_text(path, line(task, outcome))
        yield task, outcome
        if failures >= min(MOST_FAILURES, len(tasks)):
            raise Unavailable(f"{failures} requests failed in a row, the last with: {outcome}")


def patiently(server: Endpoint, body: dict[str, Any], stopped: threading.Event) -> Outcome:
    """Ask, and again after a pause where that may help: a server that is busy, or starts anew."""
    for attempt in range(ATTEMPTS):
        try:
            return server.complete(body)
        except Unavailable as error:
            last = attempt == ATTEMPTS - 1 or _WORTH_ANOTHER_TRY.search(str(error)) is None
            if last or stopped.wait(_FIRST_PAUSE_S * 2**attempt):
                return error
    raise AssertionError


def _body(asking: Asking, task: Posed) -> dict[str, Any]:
    """A chat completion about a picture of the size that is sent."""
    picture = _picture(task.question)
    if picture.size != task.way.size:
        picture = picture.resize(task.way.size, resample=_bicubic())
    content = io.BytesIO()
    picture.save(content, format="PNG")
    url = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    return {
        "model": asking.server.model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": task.question.text},
                ],
            }
        ],
        "max_tokens": asking.output_tokens,
        "temperature": 0.0,
        **task.way.setting,
    }


def _bicubic() -> Any:
    from PIL import Image

    return Image.Resampling.BICUBIC
