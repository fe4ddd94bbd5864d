"""What is handed over? The Plan, which CI, ``export`` and ``validate`` read.

A plan embeds its inputs (the hardware profile, the calibration in force, the workload, the chosen model's dimensions)
and names the evidence by digest, so it can be checked without the machine that made it. Same inputs, same bytes: no
clock, no host, no absolute path.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from vlmplan.accuracy import TOO_SMALL, ErrorSource, Judge, ScoreUsed
from vlmplan.cost import (
    Flops,
    KneeCurve,
    Knees,
    Machine,
    MemoryBytes,
    Params,
    Service,
    context_warnings,
    cost_fields,
    knee_curve,
    knees,
    machine,
    range_warnings,
    request_of,
)
from vlmplan.document import Document
from vlmplan.errors import InputError, NoCandidate
from vlmplan.hardware import SERVING, Basis, Calibration, HardwareProfile, Precision, Prices, Runtime
from vlmplan.intervals import Interval
from vlmplan.inventory import Budget, Preference, RequestLog
from vlmplan.models import Compressor, ModelSpec, Reduction, Route, Workload
from vlmplan.planning.choice import (
    FINALISTS,
    RUNNERS_UP,
    Aim,
    ErrorDraws,
    Loser,
    choose,
    chosen_because,
    draws_of,
    firmness,
    next_tokens,
    pareto_front,
    reason_lost,
    runners_up,
    thinned,
)
from vlmplan.planning.handing.handover import MOST_GPUS, NOTHING_LOGGED, Deploy, Most, hand_over
from vlmplan.planning.options import Asked, Objective
from vlmplan.planning.remedies import Missed, changes
from vlmplan.planning.search import Candidate, Space, candidates, error_interval, feasible, infeasible, why_none
from vlmplan.planning.under_load import LOGGED_UNDER_LOAD, UNDER_LOAD, load_of, served, settled
from vlmplan.records import dataclass
from vlmplan.serving import LoggedTimes, times_as_planned

LINEAR_LAYERS = (
    "quantised precisions apply to the LLM's linear layers; embeddings, head and vision keep the base precision "
    "(the head of an ONNX export has 8 bits)"
)
_RARELY = 3  # standard deviations of how many are in flight, taken as Poisson's
ASSUMPTIONS = (
    "as many requests in flight as stated (workload.batch, workload.concurrency); none waits for a place, and "
    "each waits for the others' prefills before its first token",
    "no speculative decoding",
    "weights are loaded and the runtime is warm",
    "the image is decoded and resized before the clock starts; the network is not counted",
    LINEAR_LAYERS,
    "tensor parallelism splits the LLM and the layers of a vision transformer, as vLLM does unasked; every GPU holds "
    "the projector",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What the choice costs: one device an hour, and 1,000 requests on all its GPUs kept busy."""

    currency: str
    hour_price: float
    thousand_requests_price: float
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The configuration to deploy, or one that lost: what it is, how wrong, how fast, how large."""

    model: str
    precision: Precision
    visual_tokens: int
    compressor: Compressor
    reduction: Reduction
    gpus: int
    route: Route
    setting: str
    seen_side_px: float | None = None
    predicted_error: float
    error_interval: Interval | None = None
    ttft_s: float
    ttft_interval_s: Interval
    tpot_s: float | None
    tpot_interval_s: Interval | None
    latency_s: float
    latency_interval_s: Interval
    preprocess_s: float = 0.0
    overhead_s: float
    vision_s: float
    compressor_s: float
    prefill_s: float
    budget_flops: float
    params: Params
    flops: Flops
    memory_bytes: MemoryBytes
    knee_prefill_visual_tokens: int | None
    knee_ttft_visual_tokens: int | None
    requests_per_s: float
    most_requests: int | None
    price: Price | None = None
    deploy: Deploy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A candidate in one line: a point of the front, or a runner-up with the reason it lost."""

    model: str
    precision: Precision
    visual_tokens: int
    gpus: int
    predicted_error: float
    ttft_s: float
    latency_s: float
    memory_bytes: float
    reason: str | None = None

    @property
    def placed(self) -> str:
        """The precision, and on how many GPUs where on several."""
        return f"{self.precision}" + (f" on {self.gpus} GPUs" if self.gpus > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Document):
    """The recommendation with all it was made from."""

    SCHEMA: ClassVar[str] = "vlmplan.plan/1"

    hardware: HardwareProfile
    runtime: Runtime
    basis: Basis
    interval_level_fraction: float
    workload: Workload
    budget: Budget
    flop_rule: str
    error_source: ErrorSource
    scores: tuple[ScoreUsed, ...]
    model: ModelSpec
    choice: Choice
    objective: Objective = Objective.ERROR
    preference: Preference = Preference.BALANCED
    chosen_because: str = ""
    fewer_tokens: Outline | None = None
    more_tokens: Outline | None = None
    stability: float
    breaks_fraction: float | None = None
    lost_points: float | None = None
    front: tuple[Outline, ...]
    runners_up: tuple[Outline, ...]
    if_budget_10_percent_smaller: Outline | None
    if_budget_10_percent_larger: Outline | None
    candidates_considered: int
    candidates_feasible: int
    left_out: tuple[str, ...]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    logged: LoggedTimes | None = None
    service: Service | None = None
    asked: Asked | None = None

    def __post_init__(self) -> None:
        """The choice lies on the front."""
        if not any(self.is_choice(one) for one in self.front):
            raise InputError("front: expected the choice among its points")

    @property
    def frames(self) -> int | None:
        """The frames of the video that a request is about; None where it is about pictures."""
        return self.workload.images if self.error_source.of_videos else None

    def is_choice(self, one: Outline) -> bool:
        """Whether an outline is that of the choice."""
        choice = self.choice
        return (one.model, one.visual_tokens, one.precision, one.gpus) == (
            choice.model,
            choice.visual_tokens,
            choice.precision,
            choice.gpus,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What ``recommend`` is asked."""

    hardware: HardwareProfile
    typical: tuple[Calibration, ...]
    runtime: Runtime
    budget: Budget
    space: Space
    judge: Judge
    aim: Aim = Aim()
    left_out: tuple[str, ...] = ()
    asked: Asked | None = None
    log: RequestLog | None = None

    @property
    def limits(self) -> Budget:
        """The budget, and what the runtime may fill of the device's memory."""
        return within_memory(self.budget, self.hardware, self.runtime)


def _assumptions(query: Query, model: ModelSpec) -> tuple[str, ...]:
    """What a plan rests on; a quantised checkpoint says itself which weights are how large."""
    loaded = query.asked is not None and query.asked.load is not None
    first = UNDER_LOAD if query.log is None else LOGGED_UNDER_LOAD
    assumed = (first, *ASSUMPTIONS[1:]) if loaded else ASSUMPTIONS
    if model.quantisation is None:
        return assumed
    stored = f"weights are as the checkpoint stores them: {model.quantisation.whole_title}"
    return tuple(stored if one is LINEAR_LAYERS else one for one in assumed)


def _price(candidate: Candidate, device: str, prices: Prices | None) -> Price | None:
    """The candidate's price; None without prices, or of a device they leave out."""
    if prices is None:
        return None
    thousand = prices.thousand_requests(device, 1, 1 / candidate.gpu_s)
    if thousand is None:
        return None
    return Price(
        currency=prices.currency,
        hour_price=prices.hour_price[device],
        thousand_requests_price=thousand,
        source=prices.source,
    )


def _choice(
    candidate: Candidate,
    query: Query,
    knee: Knees,
    prices: Prices | None,
    draw: ErrorDraws,
    most: Most,
) -> Choice:
    level = query.space.confidence
    return Choice(
        model=candidate.model.name,
        precision=candidate.request.precision,
        visual_tokens=candidate.visual.visual_tokens,
        compressor=candidate.visual.compressor,
        reduction=candidate.visual.reduction,
        gpus=candidate.request.gpus,
        route=candidate.route,
        setting=candidate.visual.setting,
        seen_side_px=round(candidate.visual.seen_side_px, 1),
        predicted_error=candidate.predicted_error,
        error_interval=error_interval(draw(candidate), candidate.predicted_error, level),
        budget_flops=candidate.budget_flops,
        price=_price(candidate, query.hardware.name, prices),
        deploy=hand_over(candidate, query.runtime, query.hardware, query.budget.memory_bytes, most),
        **cost_fields(candidate.cost, knee, level, query.hardware.usable_bytes(query.runtime)),
    )


def _most(logged: LoggedTimes | None, service: Service | None) -> Most:
    """What the engine has to be told to let in: the longest request of a log, and as many at once as were simulated."""
    most = Most(context_tokens=logged.context_tokens, images=logged.images) if logged else NOTHING_LOGGED
    if service is None:
        return most
    mean = service.batch_in_flight or float(service.slots)
    busy = min(service.slots, math.ceil(mean + _RARELY * math.sqrt(mean)) + 1)
    return replace(most, requests=service.slots, busy=busy)


def _outline(candidate: Candidate, reason: str | None = None) -> Outline:
    return Outline(
        model=candidate.model.name,
        precision=candidate.request.precision,
        visual_tokens=candidate.visual.visual_tokens,
        gpus=candidate.request.gpus,
        predicted_error=candidate.predicted_error,
        ttft_s=candidate.cost.ttft_s,
        latency_s=candidate.cost.latency_s,
        memory_bytes=candidate.cost.memory_bytes.total,
        reason=reason,
    )


def within_memory(budget: Budget, hardware: HardwareProfile, runtime: Runtime) -> Budget:
    """The budget with what ``runtime`` may fill of the device's memory as a limit too."""
    limits = [value for value in (budget.memory_bytes, hardware.usable_bytes(runtime)) if value is not None]
    return replace(budget, memory_bytes=min(limits, default=None))


def _several_images(workload: Workload, source: ErrorSource) -> tuple[str, ...]:
    """What the error leaves out of a request about several pictures that are not the frames of a video."""
    if workload.images == 1 or source.of_videos:
        return ()
    return (f"the error is of questions about one picture; what {workload.images} in a request change is not known",)


def _checkpoint_warnings(choice: Candidate, deploy: Deploy | None) -> list[str]:
    """What to mind about the quantised checkpoint that a plan needs."""
    model, precision = choice.model, choice.request.precision
    if model.quantisation is not None or choice.route is Route.EXPORT:  # which quantises what it exports
        return []
    if deploy is not None and deploy.checkpoint is not None:
        whose = deploy.checkpoint.partition("/")[0]
        own = whose == model.name.partition("/")[0]
        return [] if own else [f"{deploy.checkpoint} is quantised by {whose}, not by who made {model.name}"]
    if precision not in (Precision.INT8, Precision.INT4, Precision.INT8_W8A8):
        return []
    made = ": 'Make' makes one" if deploy is not None and deploy.make else ""
    return [f"needs an {precision} checkpoint of {model.name}; none published is known here{made}"]


def _warnings(
    query: Query, choice: Candidate, described: Choice, ready: Machine, prices: Prices | None
) -> tuple[str, ...]:
    deploy, serving = described.deploy, SERVING[query.runtime]
    warnings = []
    flags = choice.model.serving.get(serving.engine, "") if serving.engine else ""
    if "--trust-remote-code" in flags:
        warnings.append("--trust-remote-code runs code of the checkpoint's repository; read it first")
    warnings += [*ready.warnings, *query.judge.warnings(choice.model, choice.visual)]
    warnings += range_warnings(choice.request, ready)
    warnings += context_warnings(choice.request)
    if query.limits.memory_bytes is None:
        warnings.append(f"the memory of {query.hardware.name} is not known and was not checked; give --memory")
    if serving.command and choice.route is Route.ENGINE and not (deploy and deploy.command):
        warnings.append(f"no flag of {query.runtime} sets this up ({choice.visual.setting}); no command is given")
    if choice.request.gpus > MOST_GPUS:
        warnings.append(f"{choice.request.gpus} GPUs are priced as if one interconnect joined them all")
    if not (serving.engine or serving.modules) and choice.route is Route.ENGINE:
        warnings.append(f"whether {query.runtime} serves {choice.model.name} is not known to vlmplan")
    if choice.model.thinks:
        warnings.append(f"{choice.model.name} thinks before it answers; --output-tokens must count its thoughts")
    if not choice.visual.as_published:
        warnings.append("this checkpoint was not trained for so few tokens; its error rests on training-free studies")
    stored = choice.model.quantisation
    warnings += stored.warnings if stored else ()
    warnings += _checkpoint_warnings(choice, deploy)
    if prices and described.price is None:
        warnings.append(f"no price given for {query.hardware.name}")
    return tuple(sorted(warnings, key=lambda line: not line.startswith(TOO_SMALL)))


def _finalists(front: tuple[Candidate, ...], choice: Candidate, losers: tuple[Loser, ...]) -> tuple[Candidate, ...]:
    """The candidates that the choice is tried against: its part of the front, and the runners-up."""
    shown = [*thinned(front, choice, FINALISTS - RUNNERS_UP), *(loser.candidate for loser in losers)]
    return tuple({id(candidate): candidate for candidate in shown}.values())


def _steps(tried: tuple[Candidate, ...], choice: Candidate, budget: Budget, aim: Aim) -> dict[str, Any]:
    """The choice with the next fewer and the next more tokens, and what the difference costs."""
    others = {name: next_tokens(tried, choice, more=name == "more_tokens") for name in ("fewer_tokens", "more_tokens")}
    return {
        name: None if other is None else _outline(other, reason_lost(other, choice, budget, aim))
        for name, other in others.items()
    }


def _tried(query: Query, machines: dict[Precision, Machine]) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """All candidates, and those that keep the budget, at least one.

    Raises Infeasible, or InputError where nothing says how much fits, and the largest of several models would do.
    """
    if query.limits.memory_bytes is None and len(query.space.models) > 1:
        raise InputError(
            f"the memory of {query.hardware.name} is not known; expected --memory, such as 64GiB, or memory_bytes in "
            "its profile"
        )
    budget = query.limits
    tried = candidates(query.space, machines, query.judge, budget)
    if not tried:
        raise NoCandidate(why_none(query.space, query.judge))
    within = feasible(tried, budget)
    if not within:
        missed = budget if feasible(tried, query.budget) else query.budget
        raise infeasible(tried, missed, query.hardware.name, lambda: changes(_missed(query, tried)), budget)
    return tried, within


def _judge_of(query: Query, workload: Workload) -> Judge:
    """The judge of a request that may have another number of frames."""
    about, images = query.judge.about, query.space.workload.images
    return query.judge if about is None or workload.images == images else about(workload)


def _missed(query: Query, tried: tuple[Candidate, ...]) -> Missed:
    """A question that nothing answers, to ask what would be enough."""
    return Missed(
        hardware=query.hardware,
        typical=query.typical,
        runtime=query.runtime,
        runtime_given=query.asked is not None and query.asked.runtime is not None,
        precisions_given=query.asked is not None and query.asked.precisions is not None,
        stated=query.budget,
        limits=query.limits,
        within=lambda hardware, runtime: within_memory(query.budget, hardware, runtime),
        space=query.space,
        search=lambda space, machines, budget: candidates(space, machines, _judge_of(query, space.workload), budget),
        tried=tried,
        frames=query.space.workload.images if query.judge.source.of_videos else None,
    )


def _logged(query: Query, choice: Candidate, ready: Machine, most_tokens: float = math.inf) -> LoggedTimes | None:
    """How long the choice takes for the requests of a log, longer ones refused; None without one."""
    if query.log is None:
        return None
    return times_as_planned(query.log, choice.request, choice.route, ready, query.budget, most_tokens)


def _held(
    logged: LoggedTimes | None, deploy: Deploy | None, again: Callable[[int], LoggedTimes | None]
) -> LoggedTimes | None:
    """The logged requests' times, asked ``again`` where the engine is let to take shorter ones only."""
    if logged is None or deploy is None or deploy.context_tokens >= logged.context_tokens:
        return logged
    return again(deploy.context_tokens)


def _at_budget(factor: float, query: Query, tried: tuple[Candidate, ...], draw: ErrorDraws) -> Outline | None:
    """What would be chosen within ``factor`` times the budget; None where nothing keeps it."""
    left = feasible(tried, within_memory(query.budget.scaled(factor), query.hardware, query.runtime))
    return _outline(choose(left, query.aim, draw)) if left else None


def recommend(query: Query, prices: Prices | None = None) -> Plan:
    """Find the plan; with ``prices``, what a thousand requests cost.

    Raises Infeasible, naming the fastest and the smallest candidate, when nothing fits.
    """
    hardware, space, runtime, budget = query.hardware, query.space, query.runtime, query.limits
    machines = {p: machine(hardware, query.typical, runtime, p) for p in space.precisions}
    judge, aim, draw = query.judge, query.aim, draws_of(query.judge)
    loaded = load_of(query.asked, budget, machines, query.log)
    tried, within = settled(loaded, *_tried(query, machines), lambda left: choose(left, aim, draw))
    choice, front = choose(within, aim, draw), pareto_front(within, aim)
    losers, ready = runners_up(tried, choice, budget, aim), machines[choice.request.precision]
    logged, service = _logged(query, choice, ready), served(loaded, choice)
    described = _choice(choice, query, knees(choice.request, ready), prices, draw, _most(logged, service))

    return Plan(
        hardware=ready.as_used,
        runtime=runtime,
        basis=ready.basis,
        interval_level_fraction=space.confidence,
        workload=space.workload,
        budget=budget,
        flop_rule=space.flop_rule,
        error_source=judge.source,
        scores=judge.scores(choice.model),
        model=choice.model,
        choice=described,
        objective=aim.objective,
        preference=aim.preference,
        chosen_because=chosen_because(choice, within, aim, draw),
        **_steps(tried, choice, budget, aim),
        **firmness(_finalists(front, choice, losers), choice, budget, aim, draw).fields,
        front=tuple(_outline(candidate) for candidate in front),
        runners_up=tuple(_outline(loser.candidate, loser.reason) for loser in losers),
        if_budget_10_percent_smaller=_at_budget(0.9, query, tried, draw),
        if_budget_10_percent_larger=_at_budget(1.1, query, tried, draw),
        candidates_considered=len(tried),
        candidates_feasible=len(within),
        left_out=query.left_out,
        assumptions=_assumptions(query, choice.model),
        warnings=(*_several_images(space.workload, judge.source), *_warnings(query, choice, described, ready, prices)),
        logged=_held(logged, described.deploy, lambda most: _logged(query, choice, ready, most)),
        service=service,
        asked=query.asked,
    )


def knee_curve_of(plan: Plan) -> KneeCurve | None:
    """Return the time to the first token by visual tokens of a plan's choice, from the plan alone."""
    choice = plan.choice
    request = request_of(
        plan.model, plan.workload, choice.visual_tokens, choice.precision, choice.compressor, choice.gpus
    )
    return knee_curve(request, machine(plan.hardware, (), plan.runtime, choice.precision))
