"""What must be true of the machine if this is what it measured? A hardware profile that predicts the measured times.

(plan, measured TTFT and TPOT) -> the plan's hardware with its calibrations scaled: compute rates until the TTFT is met,
memory rates and overheads until the TPOT is. Two figures mend two factors: the shapes of the efficiencies stay as they
were, so other models and lengths are mended only as far as those are right. ``profile`` measures them.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from vlmplan.cost import cost, machine, request_of
from vlmplan.errors import InputError
from vlmplan.hardware import Basis, Calibration, Efficiency, HardwareProfile
from vlmplan.measuring.timing import Samples
from vlmplan.planning import Plan

_ROUNDS = 60
_LEAST_FACTOR, _MOST_FACTOR = 1e-3, 1e3
_LOG_SD = 0.15  # of an operator class whose level was measured, but not its shape


def _scaled(calibration: Calibration, compute: float, memory: float, model_log_sd: float, source: str) -> Calibration:
    """The calibration with times ``compute`` and ``memory`` times as long."""

    def slower(one: Efficiency) -> Efficiency:
        return replace(
            one,
            compute_fraction=one.compute_fraction / compute,
            memory_fraction=one.memory_fraction / memory,
            latency_s=one.latency_s * memory,
            log_sd=min(one.log_sd, _LOG_SD),
        )

    return replace(
        calibration,
        basis=Basis.MEASURED,
        overhead_per_layer_s=calibration.overhead_per_layer_s * memory,
        overhead_per_call_s=calibration.overhead_per_call_s * memory,
        overhead_log_sd=min(calibration.overhead_log_sd, _LOG_SD),
        request_log_sd=min(calibration.request_log_sd, _LOG_SD),
        first_log_sd=0.0,
        step_log_sd=0.0,
        model_log_sd=model_log_sd,
        operators={kind: slower(one) for kind, one in calibration.operators.items()},
        source=source,
    )


def recalibrated(plan: Plan, ttft: Samples, tpot: Samples | None) -> HardwareProfile:
    """Return the profile whose prediction of the plan's own request is nearest to the medians measured.

    Both are met where they can be: prefill reads at least the weights that a decode step reads. Raises InputError where
    no scaling helps.
    """
    choice, ttft_s = plan.choice, ttft.median_s
    tpot_s = None if tpot is None else tpot.median_s
    noise = max(samples.median_log_sd for samples in (ttft, tpot) if samples is not None)
    log_sd = math.hypot(_LOG_SD, noise)
    request = request_of(plan.model, plan.workload, choice.visual_tokens, choice.precision, choice.compressor)
    source = (
        f"vlmplan validate: {choice.model}, {choice.visual_tokens} visual tokens, {choice.precision}: TTFT "
        f"{ttft_s:.4g} s" + ("" if tpot_s is None else f", TPOT {tpot_s:.4g} s") + "; rates scaled to meet them"
    )

    base, *others = plan.hardware.calibration
    label = machine(plan.hardware, (), plan.runtime, choice.precision).base_precision
    calibrations = (replace(base, precision=label), *others)  # a stand-in becomes what it was measured as

    def profile(compute: float, memory: float) -> HardwareProfile:
        scaled = tuple(_scaled(one, compute, memory, log_sd, source) for one in calibrations)
        return replace(
            plan.hardware,
            name=f"{plan.hardware.name}-recalibrated",
            title=f"{plan.hardware.title}, recalibrated by vlmplan validate",
            confidence="medium",
            calibration=scaled,
        )

    def ratios(compute: float, memory: float) -> tuple[float, float]:
        """How many times longer TTFT and TPOT were than this profile predicts."""
        found = cost(request, machine(profile(compute, memory), (), plan.runtime, choice.precision))
        first = ttft_s / (found.ttft_s - found.preprocess_s)  # the runner is given images that are ready
        return first, first if tpot_s is None or found.tpot_s is None else tpot_s / found.tpot_s

    return profile(*_best_factors(ratios, plan.hardware.name))


def _best_factors(ratios: Callable[[float, float], tuple[float, float]], name: str) -> tuple[float, float]:
    """The factors on compute and memory times that bring both ratios nearest to 1. Raises InputError if none helps."""
    compute = memory = 1.0
    tried: dict[tuple[float, float], float] = {}
    for _ in range(_ROUNDS):
        more_compute, more_memory = ratios(compute, memory)
        tried[compute, memory] = max(abs(math.log(more_compute)), abs(math.log(more_memory)))
        compute = min(max(compute * more_compute, _LEAST_FACTOR), _MOST_FACTOR)
        memory = min(max(memory * more_memory, _LEAST_FACTOR), _MOST_FACTOR)
    best = min(tried, key=tried.__getitem__)
    if best == (1.0, 1.0) and tried[best] > _LOG_SD:
        raise InputError(f"no scaling of {name}'s rates brings its prediction nearer to what was measured")
    return best
