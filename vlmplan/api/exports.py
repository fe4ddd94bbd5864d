"""A checkpoint as ONNX: written, proved, asked, and questioned; a plan with all of it on a page."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from vlmplan.api.given import File, document, file, must_be_one_of, one_of, within
from vlmplan.errors import InputError
from vlmplan.hardware import Precision, Provider
from vlmplan.models import Compressor
from vlmplan.progress import Progress, silent
from vlmplan.units import parse_image, parse_wait

if TYPE_CHECKING:
    from vlmplan.evaluation import Evaluation, Question
    from vlmplan.exporting import Answer, Manifest
    from vlmplan.planning import Plan
    from vlmplan.proof import Check, Options, Report, Validation


def export(
    *,
    out: File,
    plan: "File | Plan | None" = None,
    model: str | None = None,
    checkpoint: File | None = None,
    visual_tokens: int | None = None,
    compressor: str | None = None,
    precision: str | None = None,
    base_precision: str | None = None,
    weights: File | None = None,
    random_weights: bool = False,
    query: str | None = None,
    all_logits: bool = False,
    image: str | None = None,
    layout: str = "transformers.js",
    replace: bool = False,
    progress: Progress = silent,
) -> "Manifest":
    """Write a checkpoint as ONNX, with the plan's number of visual tokens. Needs the extra ``deploy``.

    Args:
        out: Folder to make.
        plan: The plan, or its file; says what to export where nothing else does.
        model: Catalogue name: its hub id is the checkpoint.
        checkpoint: A folder with safetensors and ``config.json``, or a hub id.
        visual_tokens: An image; the plan's, or all, unless told.
        compressor: Between tower and LLM: ``"average-pool"``, ``"token-packer"``, ``"quecc"``, ...
        precision: ``"fp32"``, ``"fp16"``, ``"int8"`` or ``"int4"``; the plan's, or fp32, unless told.
        base_precision: Of what is not quantised: ``"fp32"`` or ``"fp16"``.
        weights: A learned compressor's safetensors.
        random_weights: A learned compressor at random, for a trial.
        query: QueCC: one question, baked in.
        all_logits: Logits of every token, not the last.
        image: Of tiles or grids: width and height of the image whose ``visual_tokens`` are meant; the plan's,
            or ``"1024x768"``, unless told.
        layout: For which client: ``"transformers.js"``, or ``"genai"`` for onnxruntime-genai.
        replace: Whether to replace an export at ``out``.
        progress: Hears (what, done, in all).

    Returns:
        The manifest: files with sizes in bytes and digests, tokens, precision, what it was made of.

    Raises:
        InputError: For what cannot be exported, or options that contradict each other or the plan.
        Unavailable: Where a library or the checkpoint is missing.

    Example:
        >>> import vlmplan
        >>> made = vlmplan.export(
        ...     checkpoint="small-llava", visual_tokens=36, compressor="average-pool", out="small-llava-36"
        ... )
        >>> made.visual_tokens, made.precision
        (36, <Precision.FP32: 'fp32'>)
    """
    if model is not None and checkpoint is not None:
        raise InputError("--model and --checkpoint both say what to export; give one")
    from vlmplan.exporting import ClientLayout, ExportChoices, export_order
    from vlmplan.exporting import export as write
    from vlmplan.inventory import catalogue
    from vlmplan.planning import Plan

    within("--visual-tokens", visual_tokens, 1, 10**9)
    named = None if checkpoint is None else str(checkpoint)
    read = document(Plan, plan)
    asked = ExportChoices(
        checkpoint=named or (None if model is None else catalogue.model(model).name),
        visual_tokens=visual_tokens,
        compressor=one_of(Compressor, compressor, "--compressor"),
        precision=one_of(Precision, precision, "--precision"),
        base_precision=one_of(Precision, base_precision, "--base-precision"),
        weights=file(weights),
        random_weights=random_weights,
        query=query,
        all_logits=all_logits,
        image=None if image is None else parse_image(str(image)),
        layout=must_be_one_of(ClientLayout, layout, "--layout"),
    )
    return write(export_order(asked, read), Path(out), progress, replace)


def validate(
    *,
    folder: File,
    plan: "File | Plan | None" = None,
    checkpoint: File | None = None,
    weights: File | None = None,
    visual_tokens: int | None = None,
    compressor: str | None = None,
    precision: str | None = None,
    query: str | None = None,
    image: str | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    repeats: int = 5,
    max_divergence: float | None = None,
    logit_tolerance: float | None = None,
    budget_only: bool = False,
    questions: File | None = None,
    images: File | None = None,
    recalibrate: bool = False,
    by_samples: bool = False,
    timeout: str = "300s",
    progress: Progress = silent,
) -> "Validation":
    """Prove an export against its checkpoint: files, weights, numbers, tokens, latency. Needs the extra ``deploy``.

    Args:
        folder: What ``export`` wrote, or a text decoder of others.
        plan: Plan to hold times against; the export's unless told.
        checkpoint: A folder or a hub id; what the export names unless told.
        weights: A learned compressor's safetensors.
        visual_tokens: Expect so many.
        compressor: Expect this one.
        precision: Expect this one.
        query: Expect this question, baked in.
        image: Of tiles or grids: expect the tokens to be those of an image of this size, ``"1024x768"``.
        provider: Where ONNX Runtime runs: ``"cpu"`` or ``"cuda"``.
        threads: Threads of an operator; ONNX Runtime's own number unless told.
        repeats: Timed requests, 1 to 1,000.
        max_divergence: Nats a token from fp32 that rounding may cost.
        logit_tolerance: Largest difference of a logit; 1e-4 for fp32 unless told.
        budget_only: Whether to hold times against the budget, not the prediction.
        questions: A JSONL of questions: compare answers to these, one by one.
        images: Where the images of the questions are.
        recalibrate: Whether ``recalibrated()`` of what is returned will be asked for.
        by_samples: Whether a decoder that others drew may pass by samples; its graph cannot be proved.
        timeout: How long an export's graphs may run, ``"300s"``, beyond 20 times what the checkpoint takes.
        progress: Hears (what, done, in all).

    Returns:
        The ``report`` (``passed``, and every check with what it found), the ``timings`` in seconds, and
        ``recalibrated()``, a profile that fits them. A failed check is not an error here.

    Raises:
        InputError: For a folder that is no export, or options that cannot be.
        Unavailable: Where a library, the provider or the checkpoint is missing.

    Example:
        >>> import vlmplan
        >>> proved = vlmplan.validate(folder="small-llava-36", repeats=1)
        >>> proved.report.passed, [check.name for check in proved.report.failed]
        (True, [])
    """
    from vlmplan.planning import Plan
    from vlmplan.proof import Options, Validator, with_check

    within("--repeats", repeats, 1, 1000)
    within("--threads", threads, 1, 256)
    within("--visual-tokens", visual_tokens, 1, 10**9)
    options = Options(
        checkpoint=None if checkpoint is None else str(checkpoint), plan=document(Plan, plan), weights=file(weights),
        visual_tokens=visual_tokens, compressor=one_of(Compressor, compressor, "--compressor"),
        precision=one_of(Precision, precision, "--precision"),
        query=query, image=None if image is None else parse_image(str(image)),
        provider=must_be_one_of(Provider, provider, "--provider").value, threads=threads, repeats=repeats,
        max_divergence_nats=max_divergence, logit_tolerance=logit_tolerance, budget_only=budget_only,
        recalibrate=recalibrate, by_samples=by_samples, timeout_s=parse_wait(str(timeout)),
    )  # fmt: skip
    asked = _questions(file(questions), file(images))
    validation = Validator(options, progress).validate(Path(folder))
    if asked is None or not validation.report.passed:
        return validation
    answers = _answers(Path(folder), validation.report.checkpoint, options, asked, progress)
    return dataclasses.replace(validation, report=with_check(validation.report, answers))


def _questions(path: Path | None, images: Path | None) -> "tuple[Question, ...] | None":
    """Read the questions, before any work. Raises InputError where one of the two options is missing."""
    from vlmplan.evaluation import read_questions

    if (path is None) is not (images is None):
        raise InputError("--questions, --images: found one of them; expected both or neither")
    return None if path is None or images is None else read_questions(path, images)


def _answers(
    folder: Path, checkpoint: str | None, options: "Options", questions: "tuple[Question, ...]", progress: Progress
) -> "Check":
    """The check of answers, question by question."""
    from vlmplan.evaluation import answers_check, beside, open_subject

    ours = open_subject(str(folder), None, options.provider, options.threads)
    return answers_check(ours, beside(ours, checkpoint or "", options.weights, options.threads), questions, progress)


def run(
    *,
    folder: File,
    image: File,
    prompt: str,
    max_tokens: int = 64,
    provider: str = "cpu",
    threads: int | None = None,
) -> "Answer":
    """Ask an export about a picture. Needs the extra ``deploy``.

    Args:
        folder: What ``export`` wrote.
        image: A picture's file.
        prompt: A question about it.
        max_tokens: Longest answer.
        provider: Where ONNX Runtime runs: ``"cpu"`` or ``"cuda"``.
        threads: Threads of an operator; ONNX Runtime's own number unless told.

    Returns:
        The ``text``, tokens in and out, and times in seconds.

    Raises:
        InputError: For a folder that is no export, or a picture that cannot be read.
        Unavailable: Where a library or the provider is missing.

    Example:
        >>> import vlmplan
        >>> said = vlmplan.run(folder="small-llava-36", image="photo.png", prompt="What is this?", max_tokens=4)
        >>> said.visual_tokens, 1 <= said.output_tokens <= 4
        (36, True)
    """
    from vlmplan.exporting import answer

    within("--max-tokens", max_tokens, 1, 100_000)
    within("--threads", threads, 1, 256)
    where = must_be_one_of(Provider, provider, "--provider").value
    return answer(Path(folder), Path(image), prompt, max_tokens, where, threads)


def evaluate(
    *,
    model: File,
    questions: File,
    images: File,
    against: File | None = None,
    visual_tokens: int | None = None,
    limit: int | None = None,
    answers: File | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    progress: Progress = silent,
) -> "Evaluation":
    """Ask a checkpoint or an export a table of questions, and count the right answers. Needs the extra ``deploy``.

    Args:
        model: What answers: a folder that ``export`` wrote, a checkpoint's folder, or a hub id.
        questions: A JSONL with image, question and answer a line.
        images: Where the images are.
        against: Another of these, to compare with answer by answer.
        visual_tokens: Of a nested checkpoint; the most unless told.
        limit: Only the first questions.
        answers: A file for every answer, JSONL.
        provider: Where ONNX Runtime runs an export: ``"cpu"`` or ``"cuda"``.
        threads: Threads of an operator.
        progress: Hears (what, done, in all).

    Returns:
        How many were right, as a fraction with its 90 % interval, in all, by task and by kind; and how many answers
        differ from the other's.

    Raises:
        InputError: For a table that cannot be read, naming the line, or a model that cannot be opened.
        Unavailable: Where a library or the provider is missing.

    Example:
        >>> import vlmplan
        >>> found = vlmplan.evaluate(
        ...     model="small-llava-36", questions="questions.jsonl", images=".", against="small-llava"
        ... )
        >>> found.overall.questions, found.against.differing
        (1, 0)
    """
    from vlmplan.document import check_destination, write_text
    from vlmplan.evaluation import agreement, answer_all, answers_jsonl, beside, evaluation, open_subject
    from vlmplan.evaluation import read_questions as read

    within("--limit", limit, 1, 10**9)
    within("--threads", threads, 1, 256)
    written = file(answers)
    check_destination(written)
    table = read(Path(questions), Path(images), limit)
    where = must_be_one_of(Provider, provider, "--provider").value
    subject = open_subject(str(model), visual_tokens, where, threads)
    other = None if against is None else beside(subject, str(against), None, threads)
    ours = answer_all(subject, table, progress)
    compared = None if other is None else agreement(other.name, ours, answer_all(other, table, progress))
    evaluated = evaluation(subject, Path(questions).name, table, ours, compared)
    if written is not None:
        write_text(written, answers_jsonl(table, ours))
    return evaluated


def page(*, plan: "File | Plan", export: File | None = None, report: "File | Report | None" = None) -> str:
    """Make one HTML page about a plan, with its export and validation. Needs the extra ``page``.

    Args:
        plan: The plan, or its file.
        export: The folder that ``export`` made of it.
        report: What ``validate`` found of that export, or its file.

    Returns:
        The page: charts, intervals, sources. It needs no network.

    Raises:
        InputError: For an export or a report of another plan.
        Unavailable: Where the extra is missing.

    Example:
        >>> import vlmplan
        >>> plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
        >>> vlmplan.page(plan=plan).startswith("<!doctype html>")
        True
    """
    from vlmplan.pages import Dossier
    from vlmplan.pages import page as made
    from vlmplan.planning import Plan
    from vlmplan.proof import Report

    read = document(Plan, plan)
    if read is None:
        raise InputError("page: found no plan")
    manifest = None if export is None else _of_plan(read, Path(export))
    return made(Dossier(plan=read, export=manifest, report=document(Report, report)))


def _of_plan(plan: "Plan", folder: Path) -> "Manifest":
    """The manifest of an export. Raises InputError where it is not of the plan."""
    from vlmplan.exporting import read_manifest
    from vlmplan.proof import Outcome, plan_matches

    manifest = read_manifest(folder)
    checked = plan_matches(plan, manifest)
    if checked.outcome is Outcome.FAILED:
        raise InputError(f"{folder} is no export of this plan: {checked.detail}")
    return manifest
