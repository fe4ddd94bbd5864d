"""What does it cost? One configuration in words or documents -> its estimate; an image -> its visual tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from vlmplan.api.given import File, LoadWords, Words, check_confidence, completed, device, one_of, spec, tell, within
from vlmplan.api.workloads import described, load_asked, pictures, tell_times, with_service
from vlmplan.errors import InputError
from vlmplan.hardware import HardwareProfile, Part, Precision, Runtime
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import Compressor, ModelSpec, Workload
from vlmplan.units import format_image, parse_image

if TYPE_CHECKING:
    from vlmplan.cost import Estimate, KneeRow, Machine, Request
    from vlmplan.inventory import NamedWorkload, RequestLog
    from vlmplan.models import Tokens

MOST_TOKENS = 1_000_000
# Which LLM the knees are shown for: the backbones of arXiv 2411.03312.
KNEE_MODELS = ("Qwen/Qwen1.5-0.5B", "Qwen/Qwen1.5-1.8B", "Qwen/Qwen1.5-4B", "Qwen/Qwen1.5-7B", "Qwen/Qwen1.5-14B")


class Pricing(Words, LoadWords, total=False):
    """What ``estimate`` takes beside the model, the device and the tokens."""

    workload: "File | NamedWorkload | Workload | None"
    requests: "File | RequestLog | None"
    runtime: str | None
    precision: str | None
    compressor: str | None
    gpus: int
    confidence: float


def _priced(
    model: File | ModelSpec,
    hardware: File | HardwareProfile | None,
    visual_tokens: int | None,
    words: Mapping[str, Any],
) -> "tuple[Request, Machine, RequestLog | None]":
    """The request and the machine that words mean, and the log that says it. Raises InputError."""
    from vlmplan.cost import machine, request_of
    from vlmplan.models import native_visual_tokens, precision_for

    check_confidence(words["confidence"])
    within("--gpus", words["gpus"], 1, 16)
    asked, model_spec = described(words), spec(model)
    if visual_tokens is None:
        visual_tokens = native_visual_tokens(model_spec, asked.workload.image)
        size = format_image(asked.workload.image)
        tell(f"{visual_tokens} visual tokens: what {model_spec.name} makes of {size} unasked (--visual-tokens)")
    within("--visual-tokens", visual_tokens, 0, MOST_TOKENS)
    compressor = one_of(Compressor, words["compressor"], "--compressor")
    if compressor is not None and not visual_tokens:
        raise InputError(f"--compressor: found {compressor} with --visual-tokens 0; expected tokens to compress")
    profile = device(hardware)
    engine = one_of(Runtime, words["runtime"], "--runtime") or profile.default_runtime
    chosen = precision_for(model_spec, one_of(Precision, words["precision"], "--precision"), profile, engine)
    request = request_of(
        model_spec, asked.workload, visual_tokens, chosen, compressor or Compressor.NONE, words["gpus"]
    )
    return request, machine(profile, shelves.typical(), engine, chosen), asked.log


def estimate(
    *,
    model: File | ModelSpec,
    hardware: File | HardwareProfile | None = None,
    visual_tokens: int | None = None,
    text_tokens: int | None = None,
    output_tokens: int | None = None,
    image: str | None = None,
    images: int | None = None,
    batch: int | None = None,
    concurrency: int | None = None,
    cached_text_tokens: int | None = None,
    cached_images: bool | None = None,
    text_height: str | None = None,
    workload: "File | NamedWorkload | Workload | None" = None,
    requests: "File | RequestLog | None" = None,
    runtime: str | None = None,
    precision: str | None = None,
    compressor: str | None = None,
    gpus: int = 1,
    confidence: float = 0.9,
    rate: str | None = None,
    replicas: int | None = None,
    percentiles: Mapping[str, str] | None = None,
) -> "Estimate":
    """Price one configuration: time by part, memory, FLOPs, parameters, the knee.

    Args:
        model: Model: a hub id, a part of one, a path, or the specification.
        hardware: Device: a name, a part of one, a profile's path, or the profile. This machine unless told.
        visual_tokens: Visual tokens an image; 0 for text alone. What the model makes of the image unless told.
        text_tokens: Prompt tokens, the template included. 50 unless told.
        output_tokens: Tokens generated. 32 unless told.
        image: Width and height in pixels. ``"1024x768"`` unless told.
        images: Images a request. 1 unless told.
        batch: Requests run side by side. 1 unless told.
        concurrency: Requests in flight. 1 unless told.
        cached_text_tokens: Prompt tokens before the image that a prefix cache holds.
        cached_images: Whether vision features are cached.
        text_height: Height of the smallest text in the image: ``"20px"``; of no account for the cost.
        workload: The request by a name (``"document"``) or a file, for what the words from ``text_tokens`` on leave
            open; or as a document, instead of them.
        requests: A log of requests, JSONL: those words are its medians where left open, and a warning says what it
            shows, and how long its requests take.
        runtime: Engine; by the device unless told.
        precision: As stored, or bf16, else fp16, unless told.
        compressor: Between tower and LLM: ``"average-pool"``, ``"token-packer"``, ``"quecc"``, ...
        gpus: GPUs, by tensor parallelism; 1 to 16.
        confidence: Share that intervals hold, 0.5 to 0.999.
        rate: Requests that come, ``"20/s"`` (Poisson), or a file of arrival times: adds ``service``, what they see.
        replicas: Servers that share the rate: as few as keep ``percentiles``, or 1, unless told.
        percentiles: Limits under the rate by name: ``{"p95": "2s", "ttft-p99": "500ms"}``; ``p95`` is of the latency.

    Returns:
        Times in seconds with intervals, memory in bytes by what it holds, FLOPs by part, parameters. What cannot be run
        as asked is priced all the same, and ``obstacles`` says why it cannot.

    Raises:
        InputError: For an unknown name, or what cannot be priced.

    Example:
        >>> import vlmplan
        >>> one = vlmplan.estimate(model="llava-1.5-7b", hardware="a100-80gb-sxm", visual_tokens=576)
        >>> one.ttft_interval_s[0] < one.ttft_s < one.latency_s
        True
        >>> one.memory_bytes.weights < one.memory_bytes.total
        True
    """
    from vlmplan.cost import estimate as price
    from vlmplan.serving import logged_times_at

    words = Pricing(
        text_tokens=text_tokens, output_tokens=output_tokens, image=image, images=images, batch=batch,
        concurrency=concurrency, cached_text_tokens=cached_text_tokens, cached_images=cached_images,
        text_height=text_height, workload=workload, requests=requests, runtime=runtime, precision=precision,
        compressor=compressor, gpus=gpus, confidence=confidence, rate=rate, replicas=replicas, percentiles=percentiles,
    )  # fmt: skip
    load = load_asked(words)
    request, ready, log = _priced(model, hardware, visual_tokens, words)
    if log is not None:
        tell_times(
            log, logged_times_at(request, ready, log), f"{request.model.name} at {request.visual_tokens} visual tokens"
        )
    return with_service(price(request, ready, confidence), request, ready, load, log)


def explain(
    *,
    model: File | ModelSpec,
    hardware: File | HardwareProfile | None = None,
    visual_tokens: int | None = None,
    **asked: Unpack[Pricing],
) -> Mapping[Part, tuple[tuple[str, float], ...]]:
    """Show where the time of an estimate goes, operator by operator.

    Args:
        model: As for ``estimate``.
        hardware: As for ``estimate``.
        visual_tokens: As for ``estimate``.
        **asked: Everything else, by the names and with the defaults of ``estimate``: text tokens are 50 and output
            tokens 32 unless told.

    Returns:
        By part (vision, compressor, prefill, decode): operators and their seconds, longest first; of decode, of one
        step.

    Raises:
        InputError: As ``estimate``.

    Example:
        >>> import vlmplan
        >>> parts = vlmplan.explain(model="llava-1.5-7b", hardware="a100-80gb-sxm", visual_tokens=576)
        >>> name, seconds = parts["prefill"][0]
        >>> name, 0.01 < seconds < 0.02
        ('gate_up', True)
    """
    from vlmplan.cost import by_part_and_op, cost

    words = completed(asked, Pricing, estimate)
    request, ready, _ = _priced(model, hardware, visual_tokens, words)
    return by_part_and_op(cost(request, ready))


def tokens(
    *,
    model: File | ModelSpec,
    image: str | None = None,
    images: int | None = None,
    workload: "File | NamedWorkload | None" = None,
    visual_tokens: int | None = None,
) -> "Tokens":
    """Show how many visual tokens an image makes, and what sets another number, engine by engine.

    Args:
        model: Model: a hub id, a part of one, a path, or the specification.
        image: Width and height in pixels: ``"1920x1080"``. ``"1024x768"`` unless told.
        images: Images a request, 1 to 10,000. 1 unless told.
        workload: A usual request by its name (``"document"``) or a file, for the size and the number left open.
        visual_tokens: Most wanted an image.

    Returns:
        Tokens an image unasked and as asked, and the settings of engines that bring other numbers.

    Raises:
        InputError: For an unknown name, or an image that the model's processor refuses.

    Example:
        >>> import vlmplan
        >>> vlmplan.tokens(model="Qwen2.5-VL-7B", image="1920x1080").native.visual_tokens
        2691
    """
    from vlmplan.models import tokens_of

    within("--images", images, 1, 10_000)
    size, number = pictures(workload, None if image is None else parse_image(str(image)), images)
    return tokens_of(spec(model), size, number, visual_tokens)


def knees(*, hardware: File | HardwareProfile) -> "tuple[KneeRow, ...]":
    """Show how many visual tokens are free of charge on a device: those that add at most 5 % to the LLM's prefill.

    Args:
        hardware: Device: a name, a part of one, a profile's path, or the profile.

    Returns:
        A row for every runtime that serves there and each of five LLMs, at batch 1: tokens for several numbers of text
        tokens.

    Raises:
        InputError: For an unknown name.

    Example:
        >>> import vlmplan
        >>> row = vlmplan.knees(hardware="a100-80gb-sxm")[0]
        >>> row.model, row.free_visual_tokens[0] > row.free_visual_tokens[-1]
        ('Qwen/Qwen1.5-0.5B', True)
    """
    from vlmplan.cost import knee_table

    return knee_table(device(hardware), shelves.typical(), [shelves.model(name) for name in KNEE_MODELS])
