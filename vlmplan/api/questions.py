"""How do one's own questions fare at several numbers of visual tokens? A server asked -> a curve, and points to fit."""

from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.api.given import File, file, must_be_one_of, spec, within
from vlmplan.api.profiles import server
from vlmplan.cost import active_llm_params
from vlmplan.errors import InputError, mistyped
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec
from vlmplan.progress import Progress, silent
from vlmplan.units import parse_percent, parse_seconds

if TYPE_CHECKING:
    from vlmplan.evaluation import Question, Score, TokenCurve

MOST_LIMITS = 12


def evaluate_endpoint(
    *,
    endpoint: str,
    questions: File,
    images: File,
    visual_tokens: str,
    like: File | ModelSpec | None = None,
    served_model: str | None = None,
    score: str = "exact",
    by: str = "size",
    output_tokens: int = 64,
    at_once: int = 4,
    budget: int | None = None,
    may_lose: str = "2%",
    limit: int | None = None,
    seed: int = 0,
    timeout: str = "60s",
    answers: File | None = None,
    points: File | None = None,
    task: str = "",
    progress: Progress = silent,
) -> "TokenCurve":
    """Ask a server that speaks OpenAI's protocol one's own questions at several numbers of visual tokens.

    The same questions at each, so that what fewer tokens cost is known as sharply as the questions allow. A key, where
    the server wants one, is read from the environment: ``OPENAI_API_KEY``. Needs Pillow, and some scores rapidfuzz: the
    extra ``evaluate``.

    Args:
        endpoint: ``"http://HOST:PORT/v1"``.
        questions: A JSONL with image, question and answer (or answers) a line.
        images: Where the images are.
        visual_tokens: The most that a picture may make, with commas: ``"64,256,1024"``.
        like: The catalogue's model by whose rule pictures become tokens; by the served name unless told.
        served_model: The model's name there; the only one it lists unless told.
        score: The rule that judges: exact, contains, number, choice, anls, f1, cer, wer, json or regex.
        by: ``"size"`` sends smaller pictures; ``"request"`` sets vLLM's ``mm_processor_kwargs`` beside each request.
        output_tokens: The most that an answer may have.
        at_once: Requests in flight.
        budget: The most requests of this call; what was answered is a fair sample, and the next call goes on.
        may_lose: What the fewest tokens that are enough may surely lose of the score.
        limit: Only the first questions.
        seed: Of the order in which questions are asked.
        timeout: Longest time of a whole answer, with its unit.
        answers: A JSONL that every reply is appended to; those that stand there are not asked for again.
        points: A CSV for ``fit``.
        task: The name of the task in ``points``; the table's name unless told.
        progress: Hears (what, done, in all).

    Returns:
        The score at each number with its 90 % interval and what it loses against the most, paired, and the fewest
        tokens that are enough.

    Raises:
        InputError: For a table, a picture or a number of tokens that cannot be, naming it.
        Unavailable: Where the server does not answer.
    """
    from vlmplan.document import check_apart, check_destination, write_text
    from vlmplan.evaluation import Asking, Score, ask_all, points_csv, token_curve

    limits = token_limits(visual_tokens)
    within("--output-tokens", output_tokens, 1, 100_000)
    within("--at-once", at_once, 1, 256)
    within("--budget", budget, 1, 10**9)
    within("--limit", limit, 1, 10**9)
    rule = must_be_one_of(Score, score, "--score")
    loss_fraction = parse_percent(str(may_lose))
    way = by_request(by)
    kept, written = file(answers), file(points)
    for path in (kept, written):
        check_destination(path)
    check_apart({"--answers": kept, "--points": written}, (str(questions),))
    table = checked_questions(questions, images, limit, rule)
    asked_of = server(endpoint, served_model, parse_seconds(str(timeout)))
    asking = Asking(
        server=asked_of, model=sized_by(like, asked_of.model), limits=limits, score=rule, by_request=way,
        output_tokens=output_tokens, at_once=at_once, budget=budget, seed=seed,
    )  # fmt: skip
    asked = ask_all(asking, table, kept, progress)
    curve = token_curve(asking, asked, Path(questions).name, loss_fraction)
    if written is not None:
        params_b = asking.model.nominal_llm_params_b or active_llm_params(asking.model) / 1e9
        write_text(written, points_csv(curve, params_b, task or Path(questions).stem))
    return curve


def checked_questions(questions: File, images: File, limit: int | None, rule: "Score") -> "tuple[Question, ...]":
    """Read a table of questions, each of which the rule can judge. Raises InputError, naming the one that is wrong."""
    from vlmplan.evaluation import check_expected, read_questions

    table = tuple(read_questions(Path(questions), Path(images), limit))
    if not table:
        raise InputError(f"{questions}: found no question")
    for one in table:
        try:
            check_expected(rule, one.answers)
        except InputError as error:
            raise InputError(f"{one.name}: answer: {error}") from None
    return table


def token_limits(text: str) -> tuple[int, ...]:
    """Several numbers of tokens, fewest first. Raises InputError."""
    words = [word.strip() for word in str(text).split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 0 < int(word[:9]) <= 100_000 for word in words):
        raise mistyped("--visual-tokens", str(text), "numbers with commas, such as 64,256,1024")
    found = tuple(sorted({int(word) for word in words}))
    if len(found) > MOST_LIMITS:
        raise InputError(f"--visual-tokens: found {len(found)} numbers, expected at most {MOST_LIMITS}")
    return found


def by_request(by: str) -> bool:
    """Whether the number of tokens is set beside the request. Raises InputError."""
    if by not in ("size", "request"):
        raise mistyped("--by", by, "size or request")
    return by == "request"


def sized_by(like: File | ModelSpec | None, served: str) -> ModelSpec:
    """The model by whose rule pictures become tokens. Raises InputError, with what to add, where nobody knows it."""
    if like is not None:
        found = spec(like)
    else:
        try:
            found = shelves.model(served)
            known = {name.casefold() for name in (found.name, found.name.rpartition("/")[2])}
        except InputError:
            known = set()
        if served.casefold() not in known:
            raise InputError(f"the catalogue has no model that the server calls {served[:60]!r}; name it by --like")
    if found.image is None:
        raise InputError(f"{found.name} reads no images")
    return found
