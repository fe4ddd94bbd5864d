"""Which configuration, on which device, what serves it, and does a plan still hold? Words or documents -> documents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from vlmplan.accuracy import ScalingLaw
from vlmplan.api.asking import Asking, as_good, read_question
from vlmplan.api.given import File, completed, document, must_be_one_of, named, this_machine
from vlmplan.api.workloads import with_log
from vlmplan.errors import InputError
from vlmplan.hardware import HardwareProfile
from vlmplan.inventory import Budget
from vlmplan.inventory import catalogue as shelves
from vlmplan.models import ModelSpec, Workload
from vlmplan.planning import Objective

if TYPE_CHECKING:
    from vlmplan.hardware import Prices
    from vlmplan.inventory import NamedWorkload, RequestLog
    from vlmplan.planning import Comparison, HandedOver, Plan, Recheck


def _prices(given: "File | Prices | None", devices: Sequence[str | HardwareProfile]) -> "Prices | None":
    """The prices given, stated, or in a file, all of them of devices that are known."""
    from vlmplan.hardware import Prices, read_prices

    if given is None or isinstance(given, Prices):
        return given
    own = [one.name for one in devices if isinstance(one, HardwareProfile)]
    own += [shelves.hardware(one).name for one in devices if isinstance(one, str) and one.endswith(".toml")]
    return read_prices(str(given), lambda name: name if name in own else shelves.hardware(name).name)


def recommend(
    *,
    hardware: File | HardwareProfile | None = None,
    task: File | ScalingLaw | None = None,
    latency: str | None = None,
    ttft: str | None = None,
    tpot: str | None = None,
    flops: str | None = None,
    memory: str | None = None,
    max_error: str | None = None,
    budget: Budget | None = None,
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
    candidates: str = "catalogue",
    models: File | None = None,
    model: File | ModelSpec | None = None,
    family: str | None = None,
    license: str | None = None,
    max_params: str | None = None,
    released_after: str | None = None,
    price: "File | Prices | None" = None,
    gpus: int = 1,
    confidence: float = 0.9,
    allow_untrained: bool = False,
    minimise: str = "error",
    prefer: str | None = None,
    flop_rule: str = "full",
    rate: str | None = None,
    replicas: int | None = None,
    percentiles: Mapping[str, str] | None = None,
) -> "Plan":
    """Find the model and the number of visual tokens that answer best within a budget.

    What is not given is assumed, with a warning that says so (:class:`vlmplan.Assumed`): this machine, the task
    ``"reasoning"``, and limits of an answer that somebody waits for.

    Args:
        hardware: Device: a name, a part of one, a profile's path, or the profile. This machine unless told.
        task: Task or benchmark (``"ocr"``), a mix (``"reasoning=0.7,ocr=0.3"``), a law's path, or the law.
            ``"reasoning"`` unless told.
        latency: Limit of the last token, a time with its unit: ``"300ms"``.
        ttft: Limit of the first token: ``"150ms"``.
        tpot: Limit of each further token: ``"20ms"``.
        flops: Limit of a request's compute: ``"5TFLOP"``; a multiply-add is 2.
        memory: Limit of one GPU's memory: ``"20GiB"``.
        max_error: Limit of wrong answers, held to the upper end of the interval: ``"30%"``.
        budget: The limits as a document, instead of the words above.
        text_tokens: Prompt tokens, the template included. 50 unless told.
        output_tokens: Tokens generated. 32 unless told.
        image: Width and height in pixels. ``"1024x768"`` unless told.
        images: Images a request, or frames of a video. 1 unless told.
        batch: Requests run side by side. 1 unless told.
        concurrency: Requests in flight. 1 unless told.
        cached_text_tokens: Prompt tokens before the image that a prefix cache holds.
        cached_images: Whether vision features are cached.
        text_height: Height of the smallest text in the image: ``"20px"``.
        workload: The request, its limits and its task by a name (``"document"``) or a file, for what other words leave
            open; or the request as a document, instead of the words from ``text_tokens`` on.
        requests: A log of requests, JSONL: the words from ``text_tokens`` on are its medians where left open, and the
            plan says how long its choice takes for the logged requests.
        runtime: Engine: ``"vllm"``, ``"onnxruntime"``, ``"transformers"``, ...; by the device unless told.
        precision: Precisions to try, with commas; as stored, or bf16, else fp16, unless told.
        candidates: ``"catalogue"`` for checkpoints, ``"paper"`` for backbones to train.
        models: Only models whose names match this glob, or one of a comma list of globs; or one checkpoint's folder.
        model: Only this model: a name, a path, or the specification.
        family: Only families that match this glob.
        license: Only licences that match this glob.
        max_params: Most parameters, vision included: ``"8B"``.
        released_after: Only later models: ``"2025-01-31"``, ``"2025-01"`` or ``"2025"``.
        price: Prices an hour, a file or the document: adds what 1,000 requests cost.
        gpus: Most GPUs, by tensor parallelism; 1 to 16.
        confidence: Share that intervals hold, 0.5 to 0.999; and with which limits of time are kept.
        allow_untrained: Whether to consider tokens nobody trained for, and pixels or tokens below all studies.
        minimise: What the choice has least of, within the budget: ``"error"``, or, with ``max_error``, ``"cost"``,
            ``"latency"``, ``"memory"`` or ``"size"``.
        prefer: What error speed is worth: ``"speed"`` (a point), ``"balanced"`` (a tenth; unless told) or
            ``"accuracy"`` (nothing).
        flop_rule: What ``flops`` counts: ``"full"``, the whole request, or ``"paper"``, 2N(Q + V).
        rate: Requests that come, ``"20/s"`` (Poisson), or a file of arrival times. The choice then bears them, limits
            of time hold for 95 of 100 requests where no percentile is given, and ``service`` says what they see.
        replicas: Servers that share the rate: as few as keep the limits unless told.
        percentiles: Limits under the rate by name: ``{"p95": "2s", "ttft-p99": "500ms"}``; ``p95`` is of the latency.

    Returns:
        The plan: the choice with times in seconds, memory in bytes and error from 0 to 1, each with its interval;
        the Pareto front, the runners-up and why they lost, what it rests on, and warnings.

    Raises:
        InputError: For what cannot be asked: an unknown name, a quantity without a unit, no candidate.
        Infeasible: Where nothing meets the budget; the message names the fastest and the smallest.

    Example:
        >>> import vlmplan
        >>> plan = vlmplan.recommend(hardware="l4", latency="1s", task="reasoning")
        >>> plan.choice.model, plan.choice.visual_tokens
        ('Qwen/Qwen3.5-2B', 391)
        >>> low, high = plan.choice.latency_interval_s
        >>> low < plan.choice.latency_s < 1.0
        True
    """
    words = Asking(
        latency=latency, ttft=ttft, tpot=tpot, flops=flops, memory=memory, max_error=max_error, budget=budget,
        text_tokens=text_tokens,
        output_tokens=output_tokens, image=image, images=images, batch=batch, concurrency=concurrency,
        cached_text_tokens=cached_text_tokens, cached_images=cached_images, text_height=text_height, workload=workload,
        requests=requests, runtime=runtime, precision=precision, candidates=candidates, models=models, model=model,
        family=family, license=license, max_params=max_params, released_after=released_after, gpus=gpus,
        confidence=confidence, allow_untrained=allow_untrained, minimise=minimise, prefer=prefer, flop_rule=flop_rule,
        rate=rate, replicas=replicas, percentiles=percentiles,
    )  # fmt: skip
    question = read_question(task, words)
    device: str | HardwareProfile = this_machine() if hardware is None else named(hardware)
    if isinstance(device, str) and "," in device and not Path(device).exists():
        raise InputError("--hardware: found several devices; compare asks each of several")
    question = as_good(question, [device])
    plan = question.plan(device, None if price is None else _prices(price, [device]))
    return with_log(plan, question.described.log)


def _by_name(devices: Sequence[str | HardwareProfile]) -> dict[str, str | HardwareProfile]:
    """Devices by what a comparison calls them. Raises InputError where there are none, or two are called the same."""
    known: dict[str, str | HardwareProfile] = {}
    for one in devices:
        name = one if isinstance(one, str) else one.name
        if known.setdefault(name, one) != one:
            raise InputError(f"--hardware: found two devices named {name}; give one of them another name")
    if not known:
        raise InputError("--hardware: found an empty list, expected devices")
    return known


def _unheard(name: str) -> None:
    """Which device is asked, where nobody listens."""


def compare(
    *,
    hardware: File | Sequence[File | HardwareProfile] | None = None,
    task: File | ScalingLaw | None = None,
    price: "File | Prices | None" = None,
    tell: Callable[[str], None] = _unheard,
    **asked: Unpack[Asking],
) -> "Comparison":
    """Ask the question of ``recommend`` of several devices.

    Args:
        hardware: Devices: names with commas, globs, ``"all"``, or a list of names and profiles. All, where there is a
            ``model`` and no device.
        task: As for ``recommend``.
        price: As for ``recommend``; devices are then ordered by what 1,000 requests cost, too.
        tell: Hears each device's name before it is asked.
        **asked: Everything else, by the names and with the defaults of ``recommend``: text tokens are 50 and output
            tokens 32 unless told.

    Returns:
        A line a device: those that meet the budget first, least error first, the others with the reason.

    Raises:
        InputError: For what cannot be asked of any device.
        Infeasible: Where no device meets the budget.

    Example:
        >>> import vlmplan
        >>> found = vlmplan.compare(hardware="l4,a100-80gb-sxm", latency="1s", task="ocr")
        >>> [device.hardware for device in found.devices]
        ['a100-80gb-sxm', 'l4']
    """
    from vlmplan.planning import compare as ask_all

    words = Asking(**completed(asked, Asking, recommend))  # type: ignore[typeddict-item]
    question = read_question(task, words)
    budget = question.limits()
    if question.assumed is not None:
        question.assumed.tell(1)
    question = replace(question, budget=budget, assumed=None)
    if hardware is None or isinstance(hardware, str | Path):
        text = None if hardware is None else str(hardware)
        listed: list[str | HardwareProfile] = [*shelves.devices(text, question.asked.model)]
    else:
        listed = [named(one) for one in hardware]
    known = _by_name(listed)
    question = as_good(question, known.values())
    prices = _prices(price, listed)
    if question.asked.minimise is Objective.COST and prices is None and len(known) > 1:
        raise InputError(
            "--minimise cost: found several devices and no prices; expected --price, what each costs an "
            f"hour, such as --price {','.join(f'{one}=1.5' for one in list(known)[:2])}, or a file of prices"
        )
    return ask_all(known, lambda name: question.plan(known[name], prices), question.limits(), prices, tell)


def recheck(
    *,
    plan: "File | Plan",
    hardware: File | HardwareProfile | None = None,
    task: File | ScalingLaw | None = None,
) -> "Recheck":
    """Ask again what a plan was asked, of today's profiles, laws and catalogue.

    Args:
        plan: The plan, or its file; relative paths in it are looked for here, then beside the file.
        hardware: Another device to hold it against: a name, a path or a profile.
        task: Another task, or the law that the plan was made with where it lies in no file.

    Returns:
        Whether the plan ``holds``, what would be chosen now, the figures then and now in seconds, bytes and FLOPs, what
        changed, and ``faults``: why it does not hold.

    Raises:
        InputError: For what is no plan, or a question that cannot be asked any more.

    Example:
        >>> import vlmplan
        >>> plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
        >>> vlmplan.recheck(plan=plan).holds
        True
    """
    from vlmplan.planning import Plan
    from vlmplan.planning import recheck as ask_again

    folder = Path(plan).parent if isinstance(plan, str | Path) else None
    read = document(Plan, plan)
    if read is None:
        raise InputError("--check: found no plan")
    return ask_again(read, named(hardware), named(task), folder)


def hand_over(*, plan: "File | Plan", to: str, file: str | None = None) -> "HandedOver":
    """Write what a serving stack takes for a plan: for its replicas, on its GPUs, with what sets its visual tokens.

    Args:
        plan: The plan, or its file.
        to: The stack: ``"production-stack"`` (vLLM's Helm chart), ``"kserve"``, ``"ray-serve"``, ``"sglang"`` or
            ``"llama.cpp"``.
        file: Where the text will lie, for the line that applies it.

    Returns:
        ``text``, the file: JSON, which is YAML too, or shell commands; ``apply``, the line that hands it to the stack;
        ``notes``, what to mind.

    Raises:
        InputError: For what is no plan, or one that the stack cannot take.

    Example:
        >>> import vlmplan
        >>> plan = vlmplan.recommend(hardware="l40s", rate="20/s", percentiles={"p95": "2s"}, task="reasoning")
        >>> vlmplan.hand_over(plan=plan, to="kserve").apply
        'kubectl apply -f service.json'
    """
    from vlmplan.planning import Plan, Stack, hand_over_to

    read = document(Plan, plan)
    if read is None:
        raise InputError("handover: found no plan")
    return hand_over_to(read, must_be_one_of(Stack, to, "--to"), file)
