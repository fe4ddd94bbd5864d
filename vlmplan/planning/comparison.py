"""Which device for it? The same question asked of several devices: what each would run, and at what cost.

queries, one a device -> a line each, best answers first. A device that meets no budget says why.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from vlmplan.accuracy import of_videos
from vlmplan.cost import Service
from vlmplan.document import Document
from vlmplan.errors import Infeasible, InputError, VlmplanError
from vlmplan.hardware import Basis, Precision, Prices, Runtime
from vlmplan.intervals import Interval
from vlmplan.inventory import Budget
from vlmplan.models import Workload
from vlmplan.planning.options import Objective
from vlmplan.planning.plan import Plan
from vlmplan.planning.search import WIDEN
from vlmplan.serving import LoggedTimes

SHOWN_REASONS = 4  # of why no device will do, in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """What one device would run; its fields are None where nothing fits, and ``reason`` says why."""

    hardware: str
    basis: Basis | None = None
    runtime: Runtime | None = None
    model: str | None = None
    precision: Precision | None = None
    visual_tokens: int | None = None
    gpus: int | None = None
    predicted_error: float | None = None
    error_interval: Interval | None = None
    ttft_s: float | None = None
    latency_s: float | None = None
    latency_interval_s: Interval | None = None
    memory_bytes: float | None = None
    requests_per_s: float | None = None
    hour_price: float | None = None
    thousand_requests_price: float | None = None
    logged: LoggedTimes | None = None
    service: Service | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Document):
    """One question on several devices: those that meet the budget, least error or objective first, then others."""

    SCHEMA: ClassVar[str] = "vlmplan.comparison/1"

    workload: Workload
    budget: Budget
    objective: Objective = Objective.ERROR
    task: Mapping[str, float]
    interval_level_fraction: float
    currency: str | None = None
    price_source: str | None = None
    devices: tuple[DeviceChoice, ...]
    warnings: tuple[str, ...] = ()

    @property
    def frames(self) -> int | None:
        """The frames of the video that a request is about; None where it is about pictures."""
        return self.workload.images if of_videos(self.task) else None


def _row(plan: Plan) -> DeviceChoice:
    choice, name = plan.choice, plan.hardware.name
    return DeviceChoice(
        hardware=name,
        basis=plan.basis,
        runtime=plan.runtime,
        model=choice.model,
        precision=choice.precision,
        visual_tokens=choice.visual_tokens,
        gpus=choice.gpus,
        predicted_error=choice.predicted_error,
        error_interval=choice.error_interval,
        ttft_s=choice.ttft_s,
        latency_s=choice.latency_s,
        latency_interval_s=choice.latency_interval_s,
        memory_bytes=choice.memory_bytes.total,
        requests_per_s=choice.requests_per_s,
        hour_price=choice.price.hour_price if choice.price else None,
        thousand_requests_price=choice.price.thousand_requests_price if choice.price else None,
        logged=plan.logged,
        service=plan.service,
    )


def _least(one: DeviceChoice, plan: Plan | None) -> float:
    """What the devices are ordered by first: the objective; where that is the error, to half a point."""
    if plan is None:
        return 0.0
    price = math.inf if one.thousand_requests_price is None else one.thousand_requests_price
    return {
        Objective.ERROR: round(200 * plan.choice.predicted_error),
        Objective.COST: price,
        Objective.LATENCY: plan.choice.latency_s,
        Objective.MEMORY: plan.choice.gpus * plan.choice.memory_bytes.total,
        Objective.SIZE: plan.choice.params.total,
    }[plan.objective]


def _order(one: DeviceChoice, plan: Plan | None) -> tuple[bool, float, float, float, str]:
    """Those that meet the budget first; least of the objective, then least cost, then least time."""
    return (
        one.model is None,
        _least(one, plan),
        math.inf if one.thousand_requests_price is None else one.thousand_requests_price,
        one.latency_s or 0.0,
        one.hardware,
    )


def _reason(error: Infeasible | InputError) -> str:
    """Why a device is out, where device and budget are said beside it."""
    return error.brief if isinstance(error, Infeasible) else str(error)


def _refusal(refused: Mapping[str, Infeasible | InputError]) -> VlmplanError:
    """What to raise when no device has a plan: why each is out, unless that is not for the device.

    Devices that are out for one reason are named together; of more than ``SHOWN_REASONS`` the rest is counted.
    """
    hopeless = [error for error in refused.values() if isinstance(error, Infeasible)]
    first = next(iter(refused.values()))
    if not hopeless and len({str(error) for error in refused.values()}) == 1:
        return first
    devices: dict[str, list[str]] = {}
    for name, error in refused.items():
        devices.setdefault(_reason(error), []).append(name)
    shown = [f"{', '.join(names)}: {reason}" for reason, names in list(devices.items())[:SHOWN_REASONS]]
    rest = sum(map(len, list(devices.values())[SHOWN_REASONS:]))
    if rest:
        shown.append(f"and {rest} more")
    listed = "; ".join(shown)
    if hopeless:
        nearest = min(hopeless, key=lambda error: error.times or math.inf)  # what is enough there is enough
        return Infeasible(
            f"none of {len(refused)} devices meets the budget; {listed}; {WIDEN}", ways=lambda: nearest.changes
        )
    return type(first)(f"none of {len(refused)} devices can be asked; {listed}")


def compare(
    names: Iterable[str],
    ask: Callable[[str], Plan],
    budget: Budget,
    prices: Prices | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Ask every device; ``tell`` hears of each before it is asked.

    Raises Infeasible when none meets the budget, InputError when none could be asked at all.
    """
    rows: list[DeviceChoice] = []
    plans: dict[str, Plan] = {}
    refused: dict[str, Infeasible | InputError] = {}
    for name in names:
        tell(name)
        try:
            plan = ask(name)
        except VlmplanError as error:
            if not isinstance(error, Infeasible | InputError):
                raise
            refused[name] = error
            rows.append(DeviceChoice(hardware=name, reason=_reason(error)))
        else:
            rows.append(_row(plan))
            plans[rows[-1].hardware] = plan
    if not plans:
        raise _refusal(refused)
    first = next(iter(plans.values()))
    unpriced = [row.hardware for row in rows if row.model and row.hour_price is None]
    return Comparison(
        workload=first.workload,
        budget=budget,
        objective=first.objective,
        task=first.error_source.task,
        interval_level_fraction=first.interval_level_fraction,
        currency=prices.currency if prices else None,
        price_source=prices.source if prices else None,
        devices=tuple(sorted(rows, key=lambda row: _order(row, plans.get(row.hardware)))),
        warnings=(f"no price given for {', '.join(unpriced)}",) if prices and unpriced else (),
    )
