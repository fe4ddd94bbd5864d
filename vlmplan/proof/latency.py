"""Is it as fast as the plan said? The plan's workload run on this machine, against its prediction and its budget.

Medians of repeated runs decide. The runner is given an image that is ready for the tower, so what the plan counts for
making it ready is added to what was measured. A figure slower than the upper end of the prediction's interval fails,
and so does one over the budget. On another kind of machine than the plan's nothing is judged, and the report says so.
"""

from collections.abc import Iterator
from dataclasses import replace

from vlmplan.exporting import Manifest, Model, Prompt, TimedRequest
from vlmplan.hardware import SERVING, Precision, Runs
from vlmplan.intervals import Interval
from vlmplan.measuring import Samples, measure
from vlmplan.models import Workload
from vlmplan.planning import Plan
from vlmplan.proof.report import Check, failed, passed, skipped
from vlmplan.units import format_seconds

GIVEN, OWN = "the plan given", "the export's own plan: not proved"  # whose plan it is
DEFAULT_WORKLOAD = Workload(text_tokens=50, output_tokens=16)


def timings(model: Model, prompt: Prompt, output_tokens: int, repeats: int) -> dict[str, Samples]:
    """Measure one workload; samples by part."""
    return measure({"": TimedRequest(model=model, prompt=prompt, output_tokens=output_tokens)}, repeats)[""]


def unjudged(plan: Plan | None, provider: str) -> str | None:
    """Return why measured times cannot be held against the plan; None where they can."""
    if plan is None:
        return "no plan to compare with; export from one, or give --plan"
    if SERVING[plan.runtime].runs is not Runs.GRAPHS:
        return f"the plan is for {plan.runtime}, this is onnxruntime"
    kind = "cpu" if provider == "cpu" else "gpu"
    if plan.hardware.kind != kind:
        return f"the plan is for {plan.hardware.name} (a {plan.hardware.kind}), this ran on the provider {provider}"
    work = plan.workload
    if work.batch * work.images > 64 or work.batch * work.text_tokens > 100_000 or work.output_tokens > 4096:
        return "the plan's workload is too large to time here"
    if plan.workload.cached_text_tokens or plan.workload.cached_images:
        return "the plan counts on a cache of prefixes or images, which the runner does not have"
    return None


def _judged(name: str, samples: Samples, interval: Interval, predicted_s: float, limit_s: float | None,
            budget_only: bool) -> Check:  # fmt: skip
    low, high = samples.quartiles_s
    measured = samples.median_s
    text = (
        f"{format_seconds(measured)} (quartiles {format_seconds(low)} to {format_seconds(high)}), predicted "
        f"{format_seconds(predicted_s)} ({format_seconds(interval[0])} to {format_seconds(interval[1])})"
    )
    figures = {"measured_s": measured, "predicted_s": predicted_s, "spread_fraction": samples.spread_fraction}
    if limit_s is not None:
        text += f", budget {format_seconds(limit_s)}"
    if limit_s is not None and measured > limit_s:
        return failed(name, f"{text}: over the budget", **figures)
    if measured > interval[1] and not budget_only:
        return failed(
            name,
            f"{text}: slower than predicted; --recalibrate mends the profile, --budget-only lets it pass",
            **figures,
        )
    note = "" if interval[0] <= measured <= interval[1] else ": faster than predicted"
    note = ": slower than predicted, within the budget" if measured > interval[1] else note
    noise = "; the machine is noisy" if samples.noisy else ""
    return passed(name, text + note + noise, **figures)


def latency(
    samples: dict[str, Samples], plan: Plan | None, provider: str, budget_only: bool = False, whose: str = GIVEN
) -> Iterator[Check]:
    """TTFT, TPOT and the whole request against prediction and budget, or against the budget alone.

    ``whose`` says on whose word the plan stands: GIVEN or OWN.
    """
    reason = unjudged(plan, provider)
    if plan is None or reason is not None:
        measured = ", ".join(f"{part} {format_seconds(times.median_s)}" for part, times in samples.items())
        yield skipped("latency", f"{reason}. Measured: {measured}")
        return
    choice, budget = plan.choice, plan.budget
    rows = [
        ("latency: ttft", "ttft", choice.ttft_interval_s, choice.ttft_s, budget.ttft_s),
        ("latency: request", "latency", choice.latency_interval_s, choice.latency_s, budget.latency_s),
    ]
    if choice.tpot_s is not None and choice.tpot_interval_s is not None and "tpot" in samples:
        rows.insert(1, ("latency: tpot", "tpot", choice.tpot_interval_s, choice.tpot_s, budget.tpot_s))
    for name, part, interval, predicted_s, limit_s in rows:
        timed, counted = samples[part], ""
        if choice.preprocess_s and part != "tpot":
            timed = timed.longer(choice.preprocess_s)
            counted = f", {format_seconds(choice.preprocess_s)} of it to make images ready, as predicted"
        check = _judged(name, timed, interval, predicted_s, limit_s, budget_only)
        yield replace(check, detail=f"{check.detail}{counted}; by {whose}")


def plan_matches(plan: Plan, manifest: Manifest, whose: str = GIVEN) -> Check:
    """The plan asked for what was exported; ``whose`` it is, is said."""
    sixteen = {Precision.BF16: Precision.FP16}  # priced alike, and graphs are drawn in fp16
    asked_precision = sixteen.get(plan.choice.precision, plan.choice.precision)
    pairs = (
        ("visual tokens", plan.choice.visual_tokens, manifest.visual_tokens),
        ("compressor", plan.choice.compressor, manifest.compressor),
        ("precision", asked_precision, manifest.precision),
        ("image", plan.workload.image if manifest.image else None, manifest.image),
    )
    faults = [f"{what}: the plan says {asked}, the export has {made}" for what, asked, made in pairs if asked != made]
    return (
        failed("plan", "; ".join(faults)) if faults else passed("plan", f"the export is what was asked for, by {whose}")
    )
