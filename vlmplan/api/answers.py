"""What do answers made before say? Files of them -> a curve over visual tokens, or a verdict on a change."""

from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.api.given import File, file, must_be_one_of, spec
from vlmplan.api.questions import judged, with_seen
from vlmplan.cost import active_llm_params
from vlmplan.errors import InputError, printable
from vlmplan.models import ModelSpec
from vlmplan.units import parse_percent

if TYPE_CHECKING:
    from vlmplan.evaluation import AnswersGate, GivenAnswer, Question, Reply, Score, TokenCurve


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
) -> "TokenCurve":
    """Judge answers made elsewhere at several numbers of visual tokens, as ``evaluate_endpoint`` does its own.

    Args:
        answers: What ``evaluate_endpoint`` kept; a CSV with the columns question (the number of its line, or its id),
            visual_tokens and answer; or ``"64=FILE,256=FILE"``: samples of lmms-eval or predictions of VLMEvalKit, a
            file for each number of visual tokens.
        questions: A JSONL with image, question and answer (or answers) a line, perhaps with an id.
        like: The catalogue's model that answered; ``points`` need it, and ``page`` to know how it saw pictures.
        score: The rule that judges, as for ``evaluate_endpoint``.
        may_lose: What the fewest tokens that are enough may surely lose of the score.
        limit: Only the first questions.
        images: Where the images are; for ``page``.
        points: A CSV for ``fit``.
        page: An HTML page of the questions that fail at fewer tokens, with the image as the model saw it at each.
        task: The name of the task in ``points``; the table's name unless told.

    Returns:
        The score at each number with its 90 % interval and what it loses against the most, paired, and the fewest
        tokens that are enough.

    Raises:
        InputError: For a file that cannot be read, naming the row and what was looked for.
    """
    from vlmplan.document import check_apart, check_destination, write_text
    from vlmplan.evaluation import Answerer, Score, given_curve, matched, points_csv, read_answers, seen_of_answers

    rule = must_be_one_of(Score, score, "--score")
    loss_fraction = parse_percent(str(may_lose))
    written, shown = file(points), file(page)
    for path in (written, shown):
        check_destination(path)
    check_apart({"--points": written, "--page": shown}, (str(questions), *_paths(str(answers))))
    model = None if like is None else spec(like)
    if written is not None and model is None:
        raise InputError("--points: who answered is not in a file of answers; name the model by --like")
    if shown is not None and images is None:
        raise InputError("--page: shows the questions' images; give their folder by --images")
    table = judged(questions, images, limit, rule)
    found = matched(read_answers(str(answers)), table)
    who = Answerer(served_model=_shown(str(answers)), score=rule, model=None if model is None else model.name)
    curve = given_curve(found, who, Path(questions).name, loss_fraction)
    if written is not None and model is not None:
        params_b = model.nominal_llm_params_b or active_llm_params(model) / 1e9
        write_text(written, points_csv(curve, params_b, task or Path(questions).stem))
    boxed = images is not None and any(one.boxes for one in table)
    return with_seen(curve, seen_of_answers(found, rule, model), shown) if shown is not None or boxed else curve


def compare_answers(
    *,
    after: File,
    before: File,
    questions: File | None = None,
    score: str = "exact",
    within_loss: str = "2%",
    limit: int | None = None,
) -> "AnswersGate":
    """Hold answers after a change of engine, model or quantisation against those before, question by question.

    Args:
        after: Answers, of any kind that ``evaluate_answers`` takes.
        before: Answers to the same questions within the same numbers of visual tokens.
        questions: The questions, a JSONL; needed where the answers do not say what is right, as those kept by
            ``evaluate_endpoint`` do.
        score: The rule that judges, as for ``evaluate_endpoint``.
        within_loss: What may be lost of the score: ``"1%"``.
        limit: Only the first questions.

    Returns:
        For each number of visual tokens what was lost with its 90 % interval, McNemar's exact p-value, whether it
        holds, falls short or cannot be told yet, and how many more questions would tell.

    Raises:
        InputError: For a file that cannot be read, or answers that have no question in common.
    """
    from vlmplan.evaluation import Score, answers_gate, read_answers, replies_by_themselves

    rule = must_be_one_of(Score, score, "--score")
    allowed_fraction = parse_percent(str(within_loss))
    given = [read_answers(str(one)) for one in (before, after)]
    if questions is None:
        sides = [replies_by_themselves(one, rule) for one in given]
    else:
        table = judged(questions, None, limit, rule)
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
