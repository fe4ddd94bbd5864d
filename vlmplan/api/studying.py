"""Which model, at how many visual tokens, for one's own questions? Servers asked in rounds -> a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.accuracy import PriorChoice
from vlmplan.api.given import File, check_confidence, file, must_be_one_of, within
from vlmplan.api.profiles import server
from vlmplan.api.questions import by_request, checked_questions, sized_by, token_limits
from vlmplan.errors import InputError, mistyped
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec
from vlmplan.progress import Progress, silent
from vlmplan.units import parse_percent, parse_seconds

if TYPE_CHECKING:
    from vlmplan.measuring import Endpoint
    from vlmplan.studies import Belief, ServedArm, Study

MOST_ARMS = 48


def study(
    *,
    questions: File,
    images: File,
    endpoint: str | Sequence[str],
    visual_tokens: str,
    budget: int,
    like: File | ModelSpec | Sequence[File | ModelSpec] | None = None,
    task: str | None = None,
    prior: str = "auto",
    confidence: float = 0.9,
    tolerance: str = "2%",
    score: str = "exact",
    by: str = "size",
    output_tokens: int = 64,
    at_once: int = 4,
    limit: int | None = None,
    seed: int = 0,
    timeout: str = "60s",
    answers: File | None = None,
    progress: Progress = silent,
) -> "Study":
    """Find the cheapest model and number of visual tokens that answer one's own questions about as well as the best.

    Servers are asked in rounds. What is asked next, which model at how many tokens and which questions, is what helps
    this choice most; the study ends when the choice is settled, or the budget is spent. What is known beforehand comes
    from published scores and studies of the task, and counts for less with every answer. Needs Pillow, and some scores
    rapidfuzz: the extra ``evaluate``.

    Args:
        questions: A JSONL with image, question and answer (or answers) a line.
        images: Where the images are.
        endpoint: ``"http://HOST:PORT/v1"``, with ``=MODEL`` behind it where the server lists several; or a list of
            them, a model each.
        visual_tokens: The most that a picture may make, with commas: ``"64,256,1024"``.
        budget: The most requests, those of earlier runs in ``answers`` counted.
        like: The catalogue's model by whose rule pictures become tokens; by the served name unless told. One for all
            endpoints, or a list of one each.
        task: The task that the questions are like, as ``recommend`` takes it; any unless told.
        prior: ``"auto"``: published scores and studies; ``"none"``: nothing is known beforehand.
        confidence: How likely asking everything has to end in the same choice, 0.5 to 0.999.
        tolerance: By how much less of the score than the best the choice may have.
        score: The rule that judges: exact, contains, number, choice, anls, f1, cer, wer, json or regex.
        by: ``"size"`` sends smaller pictures; ``"request"`` sets vLLM's ``mm_processor_kwargs`` beside each request.
        output_tokens: The most that an answer may have.
        at_once: Requests in flight.
        limit: Only the first questions.
        seed: Of the order of questions and of all that is drawn.
        timeout: Longest time of a whole answer, with its unit.
        answers: A JSONL that every reply is appended to, as ``evaluate`` writes it; those that stand there are not
            asked for again.
        progress: Hears (what, done, in all).

    Returns:
        The choice and how likely it is, every arm's error with its interval, and what asking everything would have
        taken. ``settled`` says whether the choice is as sure as was wished.

    Raises:
        InputError: For a table, a picture or a number of tokens that cannot be, naming it.
        Unavailable: Where a server does not answer; what was answered is kept.

    Example:
        With a server at ``url`` that has two models of the catalogue:

        >>> import vlmplan
        >>> found = vlmplan.study(
        ...     questions="pages.jsonl", images=".", visual_tokens="16,64,256", budget=300, tolerance="5%",
        ...     endpoint=[f"{url}=Qwen/Qwen2.5-VL-3B-Instruct", f"{url}=Qwen/Qwen2.5-VL-7B-Instruct"],
        ... )
        >>> found.choice.model, found.choice.limit, found.settled
        ('Qwen/Qwen2.5-VL-7B-Instruct', 64, True)
        >>> found.requests < found.all_requests
        True
    """
    from vlmplan.document import check_apart, check_destination
    from vlmplan.evaluation import Asking, Score
    from vlmplan.studies import Labels, Wish, run_study, served_arms

    within("--budget", budget, 1, 10**9)
    within("--output-tokens", output_tokens, 1, 100_000)
    within("--at-once", at_once, 1, 256)
    within("--limit", limit, 1, 10**9)
    check_confidence(confidence)
    rule, limits, kept = must_be_one_of(Score, score, "--score"), token_limits(visual_tokens), file(answers)
    wish = Wish(tolerance_fraction=parse_percent(str(tolerance)), confidence=confidence, budget=budget, seed=seed)
    stock, weights = must_be_one_of(PriorChoice, prior, "--prior"), _weights(task)
    check_destination(kept)
    check_apart({"--answers": kept}, (str(questions),))
    table = checked_questions(questions, images, limit, rule)
    askings = [
        Asking(
            server=asked_of, model=sized_by(alike, asked_of.model), limits=limits, score=rule,
            by_request=by_request(by), output_tokens=output_tokens, at_once=at_once, seed=seed,
        )
        for asked_of, alike in _servers(endpoint, like, timeout)
    ]  # fmt: skip
    arms = served_arms(askings, table)
    if len(arms) > MOST_ARMS:
        raise InputError(f"--visual-tokens: {len(arms)} models and numbers of tokens, expected at most {MOST_ARMS}")
    if len(arms) < 2:
        raise InputError("--visual-tokens: found one model at one number of tokens, expected two to choose from")
    labels = Labels(
        questions=Path(questions).name, task=task or Path(questions).stem, prior=_told(stock, weights, task)
    )
    return run_study(arms, _prior(arms, stock, weights), wish, labels, kept, progress)


def _servers(
    endpoint: str | Sequence[str], like: "File | ModelSpec | Sequence[File | ModelSpec] | None", timeout: str
) -> "list[tuple[Endpoint, File | ModelSpec | None]]":
    """Every server, and whose rule sizes its pictures where one was named. Raises InputError, Unavailable."""
    urls = [endpoint] if isinstance(endpoint, str) else list(endpoint)
    if not urls:
        raise InputError("--endpoint: found none, expected http://HOST:PORT/v1")
    alike = [like] if like is None or isinstance(like, str | Path | ModelSpec) else [*like]
    alike = alike * len(urls) if len(alike) == 1 else alike
    if len(alike) != len(urls):
        raise InputError(f"--like: found {len(alike)}, expected one, or one for each of {len(urls)} endpoints")
    if len(set(urls)) < len(urls):
        raise InputError("--endpoint: found one twice; name each server's model once")
    servers = []
    for text, model in zip(urls, alike, strict=True):
        url, name = _endpoint(text)
        servers.append((server(url, name, parse_seconds(str(timeout)), f"--endpoint {url}=MODEL"), model))
    return servers


def _endpoint(text: str) -> tuple[str, str | None]:
    """``URL`` or ``URL=MODEL`` -> (URL, the model's name there). Raises InputError."""
    url, equals, name = text.partition("=")
    if not url.lower().startswith(("http://", "https://")) or (equals and not name):
        raise mistyped("--endpoint", text, "http://HOST:PORT/v1, or that and =MODEL", most=80)
    return url, name or None


def _weights(task: str | None) -> dict[str, float]:
    """The benchmarks that the questions are like, with weights; all of pictures where nobody says."""
    from vlmplan.accuracy import parse_task

    evidence = shelves.evidence()
    if task is None:
        return evidence.task_weights("")
    shares = parse_task(task)
    known = {*evidence.tasks, *(one.name for one in evidence.benchmarks)}
    if unknown := [name for name in shares if name not in known]:
        raise InputError(f"--task: no task '{unknown[0]}'; 'vlmplan catalogue tasks' lists those with published scores")
    return evidence.weights(shares)


def _prior(arms: "Sequence[ServedArm]", stock: PriorChoice, weights: Mapping[str, float]) -> "Belief":
    """What is known beforehand, of pictures of the usual size among the questions'."""
    from vlmplan.evaluation import picture_size
    from vlmplan.studies import of_catalogue, published_belief, untold_belief

    described = [of_catalogue(arm) for arm in arms]
    if stock is PriorChoice.NONE:
        return untold_belief(described)
    return published_belief(
        described, picture_size(arms[0].usual.question), shelves.evidence(), weights, shelves.own_scores
    )


def _told(stock: PriorChoice, weights: Mapping[str, float], task: str | None) -> str:
    """The prior in words."""
    if stock is PriorChoice.NONE:
        return "nothing taken from published scores"
    names = ", ".join(weights) if task is not None else f"all {len(weights)} benchmarks, no --task being told"
    return f"published scores and studies of {names}"
