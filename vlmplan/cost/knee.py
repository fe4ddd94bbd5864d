"""How many visual tokens are free? Below the knee prefill reads weights for longer than it multiplies.

(request, machine) -> the largest V, the image's views held, whose LLM prefill, or whole TTFT, exceeds that of V = 1
by at most 5 %. It belongs to one hardware, runtime, model, precision, batch and length of text, and is always shown
with them.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from vlmplan.cost.op import Request
from vlmplan.cost.roofline import Machine, machine
from vlmplan.cost.totals import Cost, active_llm_params, cost, request_of
from vlmplan.errors import InputError
from vlmplan.hardware import Basis, Calibration, HardwareProfile, Precision, Runtime
from vlmplan.models import SHAPE_KEEPING, Compressor, ModelSpec, VisualInput, Workload
from vlmplan.records import dataclass

KNEE_TOLERANCE = 0.05
KNEE_SEARCH_TOKENS = 2**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Knees:
    """The most visual tokens an image whose LLM prefill, or whole TTFT, is at most 5 % above that of one."""

    knee_prefill_visual_tokens: int | None
    knee_ttft_visual_tokens: int | None


def _last_below(limit_s: float, seconds: Callable[[int], float], most: int) -> int:
    """Bisect for the largest V in 1 to ``most`` with seconds(V) <= limit_s; seconds must not fall with V."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds(middle) <= limit_s else (low, middle - 1)
    return low


def with_tokens(request: Request, visual: VisualInput, tokens: int) -> Request:
    """Return the request with another number of visual tokens an image, its views held."""
    rule = request.model.image
    keeps_shape = rule is not None and rule.rule in SHAPE_KEEPING and visual.compressor is Compressor.NONE
    per_token = rule.view_size**2 if rule is not None and keeps_shape else 0
    pixels = tokens * per_token or visual.pixels_per_view
    return replace(request, visual=replace(visual, visual_tokens=tokens, pixels_per_view=pixels))


def _by_tokens(request: Request, visual: VisualInput, machine: Machine) -> Callable[[int], Cost]:
    """The cost of the request by its number of visual tokens an image; both knees ask for the same."""
    return functools.cache(lambda tokens: cost(with_tokens(request, visual, tokens), machine))


def knees(request: Request, machine: Machine) -> Knees:
    """Find both knees for the request's model, precision, batch and text; None for a model without vision."""
    model, visual = request.model, request.visual
    if model.image is None or visual is None:
        return Knees(knee_prefill_visual_tokens=None, knee_ttft_visual_tokens=None)
    first_only = replace(request, workload=replace(request.workload, output_tokens=1, concurrency=1))
    priced = _by_tokens(first_only, visual, machine)

    def knee(seconds: Callable[[Cost], float]) -> int:
        limit_s = seconds(priced(1)) * (1 + KNEE_TOLERANCE)
        return _last_below(limit_s, lambda tokens: seconds(priced(tokens)), KNEE_SEARCH_TOKENS)

    # A pixel shuffle's projector grows as V falls, so the TTFT has no such knee.
    shuffled = visual.compressor.widens
    return Knees(
        knee_prefill_visual_tokens=knee(lambda cost: cost.prefill_s),
        knee_ttft_visual_tokens=None if shuffled else knee(lambda cost: cost.ttft_s),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KneeCurve:
    """Seconds to the first token, and of the LLM's prefill in it, by visual tokens an image, with the load as asked."""

    visual_tokens: tuple[int, ...]
    prefill_s: tuple[float, ...]
    ttft_s: tuple[float, ...]


CURVE_POINTS = 40  # at most: evenly spread in log V, to four times the request's own
LEAST_CURVE_TOKENS = 1024


def knee_curve(request: Request, machine: Machine) -> KneeCurve | None:
    """Price the first token from one visual token up; None for a request without an image."""
    visual = request.visual
    if visual is None:
        return None
    most, priced = max(LEAST_CURVE_TOKENS, 4 * visual.visual_tokens), _by_tokens(request, visual, machine)
    counts = sorted({round(most ** (step / (CURVE_POINTS - 1))) for step in range(CURVE_POINTS)})
    costs = [priced(count) for count in counts]
    return KneeCurve(
        visual_tokens=tuple(counts),
        prefill_s=tuple(one.prefill_s for one in costs),
        ttft_s=tuple(one.ttft_s for one in costs),
    )


TABLE_TEXT_TOKENS = (0, 20, 50, 100, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class KneeRow:
    """The visual tokens that are free of charge, by the number of uncached text tokens (``TABLE_TEXT_TOKENS``)."""

    runtime: Runtime
    precision: Precision
    basis: Basis
    model: str
    llm_params: int
    free_visual_tokens: tuple[int | None, ...]


def knee_table(
    hardware: HardwareProfile, typical: Sequence[Calibration], models: Sequence[ModelSpec]
) -> tuple[KneeRow, ...]:
    """Return the LLM prefill's knee on one device for every runtime that serves there, batch 1, one image."""
    rows = []
    for runtime in Runtime:
        precision = hardware.default_precision(runtime)
        try:
            ready = machine(hardware, typical, runtime, precision or Precision.BF16)
        except InputError:
            continue  # the runtime does not serve there
        for model in models:
            free = []
            for text in TABLE_TEXT_TOKENS:
                request = request_of(
                    model, Workload(text_tokens=text), 1, ready.precision, Compressor.AVERAGE_POOL
                )  # fmt: skip
                free.append(knees(request, ready).knee_prefill_visual_tokens)
            rows.append(
                KneeRow(
                    runtime=runtime,
                    precision=ready.precision,
                    basis=ready.basis,
                    model=model.name,
                    llm_params=active_llm_params(model),
                    free_visual_tokens=tuple(free),
                )
            )
    return tuple(rows)
