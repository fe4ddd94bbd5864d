"""How do one's own questions fare at several numbers of visual tokens? A server, or files -> a curve, or a verdict."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.api.given import File, file, must_be_one_of, spec, within
from vlmplan.api.profiles import server
from vlmplan.cost import active_llm_params
from vlmplan.errors import InputError, mistyped, printable
from vlmplan.extras import require
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec
from vlmplan.progress import Progress, silent
from vlmplan.units import parse_percent, parse_seconds

if TYPE_CHECKING:
    from vlmplan.evaluation import AnswersGate, GivenAnswer, Question, Reply, Score, Seen, TokenCurve

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
    page: File | None = None,
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
        page: An HTML page of the questions that fail at fewer tokens, with the image as the model saw it at each.
        task: The name of the task in ``points``; the table's name unless told.
        progress: Hears (what, done, in all).

    Returns:
        The score at each number with its 90 % interval and what it loses against the most, paired, and the fewest
        tokens that are enough.

    Raises:
        InputError: For a table, a picture or a number of tokens that cannot be, naming it.
        Unavailable: Where the server does not answer.
    """
    from vlmplan.document import write_text
    from vlmplan.evaluation import Asking, Score, ask_all, points_csv, seen_of_replies, token_curve

    limits = token_limits(visual_tokens)
    within("--output-tokens", output_tokens, 1, 100_000)
    within("--at-once", at_once, 1, 256)
    within("--budget", budget, 1, 10**9)
    rule = must_be_one_of(Score, score, "--score")
    loss_fraction = parse_percent(str(may_lose))
    way = by_request(by)
    kept, written, shown = file(answers), file(points), file(page)
    _apart({"--answers": kept, "--points": written, "--page": shown}, (str(questions),))
    if shown is not None:
        require("jinja2", extra="page")
    table = checked_questions(questions, images, limit, rule)
    boxed = any(one.boxes for one in table)
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
    return with_seen(curve, seen_of_replies(asking, asked, table), shown) if shown is not None or boxed else curve


def evaluate_answers(
    *,
    answers: File,
    questions: File,
    like: File | ModelSpec | None = None,
    score: str = "exact",
    may_lose: str = "2%",
    limit: int | None = None,
    images: File | None = None,
    points: File | None = None,
    page: File | None = None,
    task: str = "",
    judge: str | None = None,
    judge_model: str | None = None,
    verdicts: File | None = None,
    budget: int | None = None,
    at_once: int = 4,
    seed: int = 0,
    timeout: str = "60s",
    progress: Progress = silent,
) -> "TokenCurve":
    r"""Judge answers made elsewhere at several numbers of visual tokens, as ``evaluate_endpoint`` does its own.

    Args:
        answers: What ``evaluate_endpoint`` kept; a CSV with the columns question (the number of its line, or its id),
            visual_tokens and answer; or ``"64=FILE,256=FILE"``, a file for each number of visual tokens: answers that
            ``evaluate`` wrote of checkpoints and exports, samples of lmms-eval, predictions of VLMEvalKit.
        questions: A JSONL with image, question and answer (or answers) a line, perhaps with an id.
        like: The catalogue's model that answered; ``points`` need it, and ``page`` to know how it saw pictures.
        score: The rule that judges, as for ``evaluate_endpoint``.
        may_lose: What the fewest tokens that are enough may surely lose of the score.
        limit: Only the first questions.
        images: Where the images are; for ``page``.
        points: A CSV for ``fit``.
        page: An HTML page of the questions that fail at fewer tokens, with the image as the model saw it at each.
        task: The name of the task in ``points``; the table's name unless told.
        judge: ``"http://HOST:PORT/v1"`` of a model that judges in place of ``score``, with which it is compared; a key
            is read from ``JUDGE_API_KEY``.
        judge_model: The judge's name there; the only one it lists unless told.
        verdicts: A JSONL that every verdict is appended to; those that stand there are not asked for again.
        budget: The most requests for verdicts of this call.
        at_once: Requests in flight.
        seed: Of the order in which questions are judged.
        timeout: Longest time of a whole verdict, with its unit.
        progress: Hears (what, done, in all).

    Returns:
        The score at each number with its 90 % interval and what it loses against the most, paired, and the fewest
        tokens that are enough; of a judge also how far it agrees with ``score`` and with labels.

    Raises:
        InputError: For a file that cannot be read, naming the row and what was looked for.
        Unavailable: Where the judge does not answer.

    Example:
        >>> import vlmplan
        >>> from pathlib import Path
        >>> rows = ("question,visual_tokens,answer", "1,64,blue", "1,256,red")
        >>> _ = Path("answers.csv").write_text("\n".join(rows))
        >>> curve = vlmplan.evaluate_answers(answers="answers.csv", questions="questions.jsonl")
        >>> [(one.limit, one.score_fraction) for one in curve.at]
        [(64, 0.0), (256, 1.0)]
    """
    from vlmplan.document import write_text
    from vlmplan.evaluation import (
        Answerer,
        Judging,
        Score,
        given_curve,
        judged_answers,
        matched,
        points_csv,
        read_answers,
        seen_of_answers,
    )

    rule = must_be_one_of(Score, score, "--score")
    loss_fraction = parse_percent(str(may_lose))
    written, shown, kept = file(points), file(page), file(verdicts)
    _apart({"--points": written, "--page": shown, "--verdicts": kept}, (str(questions), *_paths(str(answers))))
    within("--at-once", at_once, 1, 256)
    within("--budget", budget, 1, 10**9)
    model = None if like is None else spec(like)
    if written is not None and model is None:
        raise InputError("--points: who answered is not in a file of answers; name the model by --like")
    if shown is not None and images is None:
        raise InputError("--page: shows the questions' images; give their folder by --images")
    table = checked_questions(questions, images, limit, rule)
    joined = matched(read_answers(str(answers)), table)
    who = Answerer(served_model=_shown(str(answers)), score=rule, model=None if model is None else model.name)
    replies, told = joined.replies(rule), None
    if judge is not None:
        of = server(judge, judge_model, parse_seconds(str(timeout)), "--judge-model", "JUDGE_API_KEY")
        asked = Judging(server=of, at_once=at_once, budget=budget, seed=seed)
        replies, told = judged_answers(asked, (joined, replies), kept, progress)
    curve = replace(given_curve(replies, joined.left, who, Path(questions).name, loss_fraction), judge=told)
    if written is not None and model is not None:
        params_b = model.nominal_llm_params_b or active_llm_params(model) / 1e9
        write_text(written, points_csv(curve, params_b, task or Path(questions).stem))
    boxed = images is not None and any(one.boxes for one in table)
    return with_seen(curve, seen_of_answers(joined, replies, model), shown) if shown is not None or boxed else curve


def compare_answers(
    *,
    after: File,
    before: File,
    questions: File | None = None,
    score: str = "exact",
    within_loss: str = "2%",
    visual_tokens: int | None = None,
    limit: int | None = None,
) -> "AnswersGate":
    r"""Hold answers after a change of engine, model or quantisation against those before, question by question.

    Args:
        after: Answers, of any kind that ``evaluate_answers`` takes.
        before: Answers to the same questions within the same numbers of visual tokens.
        questions: The questions, a JSONL; needed where the answers do not say what is right, as those kept by
            ``evaluate_endpoint`` do.
        score: The rule that judges, as for ``evaluate_endpoint``.
        within_loss: What may be lost of the score: ``"1%"``.
        visual_tokens: The limit that is deployed, for a verdict on it alone; on every one that both have unless told.
        limit: Only the first questions.

    Returns:
        For each number of visual tokens what was lost with its 90 % interval, McNemar's exact p-value, whether it
        holds, falls short or cannot be told yet, and how many more questions would tell.

    Raises:
        InputError: For a file that cannot be read, or answers that have no question in common.

    Example:
        >>> import vlmplan
        >>> from pathlib import Path
        >>> for name, said in (("before.csv", "red"), ("after.csv", "blue")):
        ...     _ = Path(name).write_text(f"question,visual_tokens,answer\n1,64,{said}")
        >>> found = vlmplan.compare_answers(after="after.csv", before="before.csv", questions="questions.jsonl")
        >>> found.standing.value, found.at[0].worse
        ('cannot tell yet', 1)
    """
    from vlmplan.evaluation import Score, answers_gate, read_answers, replies_by_themselves

    rule = must_be_one_of(Score, score, "--score")
    allowed_fraction = parse_percent(str(within_loss))
    given = [read_answers(str(one), visual_tokens) for one in (before, after)]
    if questions is None:
        sides = [replies_by_themselves(one, rule) for one in given]
    else:
        table = checked_questions(questions, None, limit, rule)
        sides = [_replies(one, table, rule) for one in given]
    names = [_shown(str(one)) for one in (before, after)]
    return answers_gate((names[0], sides[0]), (names[1], sides[1]), rule, allowed_fraction)


def _replies(given: "tuple[GivenAnswer, ...]", table: "tuple[Question, ...]", rule: "Score") -> "tuple[Reply, ...]":
    from vlmplan.evaluation import matched

    return matched(given, table).replies(rule)


def _paths(answers: str) -> tuple[str, ...]:
    return tuple(part.partition("=")[2] or part for part in answers.split(","))


def _shown(answers: str) -> str:
    """Files by their names, without folders: the same answers, the same document."""
    parts = [part.rpartition("=") for part in answers.split(",")]
    return printable(",".join(f"{limit}{sign}{Path(name).name}" for limit, sign, name in parts))


def with_seen(curve: "TokenCurve", seen: "Sequence[Seen]", path: Path | None) -> "TokenCurve":
    """Return the curve with the height of legible text, and write the page of what fewer tokens miss where asked.

    Raises Unavailable where an extra is missing.
    """
    from vlmplan.document import write_text
    from vlmplan.evaluation import failures, with_legibility

    curve = with_legibility(curve, seen)
    if path is not None:
        from vlmplan.pages import failures_page

        write_text(path, failures_page(curve, failures(seen)))
    return curve


def checked_questions(questions: File, images: File | None, limit: int | None, rule: "Score") -> "tuple[Question, ...]":
    """Return the questions, whose expected answers ``rule`` can judge by. Raises InputError for one that it cannot."""
    from vlmplan.evaluation import check_expected, read_questions

    within("--limit", limit, 1, 10**9)
    table = read_questions(Path(questions), file(images), limit)
    if not table:
        raise InputError(f"{questions}: found no question")
    for one in table:
        try:
            check_expected(rule, one.answers)
        except InputError as error:
            raise InputError(f"{one.name}: answer: {error}") from None
    return table


def _apart(written: "dict[str, Path | None]", read: "tuple[str, ...]") -> None:
    """Raise InputError where a file cannot be written, or would be over another."""
    from vlmplan.document import check_apart, check_destination

    for path in written.values():
        check_destination(path)
    check_apart(written, read)


def token_limits(text: str) -> tuple[int, ...]:
    """Several numbers of tokens, fewest first. Raises InputError."""
    words = [word.strip() for word in str(text).split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 0 < int(word[:9]) <= 100_000 for word in words):
        raise mistyped("--visual-tokens", str(text), "numbers with commas, such as 64,256,1024")
    limits = tuple(sorted({int(word) for word in words}))
    if len(limits) > MOST_LIMITS:
        raise InputError(f"--visual-tokens: found {len(limits)} numbers, expected at most {MOST_LIMITS}")
    return limits


def by_request(by: str) -> bool:
    """Whether the number of tokens is set beside the request. Raises InputError."""
    if by not in ("size", "request"):
        raise mistyped("--by", by, "size or request")
    return by == "request"


def sized_by(like: File | ModelSpec | None, served: str) -> ModelSpec:
    """The model by whose rule pictures become tokens. Raises InputError, with what to add, where nobody knows it."""
    if like is not None:
        model = spec(like)
    else:
        try:
            model = shelves.model(served)
            known = {name.casefold() for name in (model.name, model.name.rpartition("/")[2])}
        except InputError:
            known = set()
        if served.casefold() not in known:
            raise InputError(f"the catalogue has no model that the server calls {served[:60]!r}; name it by --like")
    if model.image is None:
        raise InputError(f"{model.name} reads no images")
    return model
