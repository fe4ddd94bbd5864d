"""Fitting a calibration: what was planted comes back, and the formula is the one priced with."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.cost.op import Op, Request
from vlmplan.cost.roofline import Machine, Rates, exposed_s, machine, op_seconds
from vlmplan.cost.totals import Cost, cost, request_of
from vlmplan.errors import InputError
from vlmplan.hardware.profile import Calibration, Efficiency, Kind, Part
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.measuring.calibrate import Free, fit
from vlmplan.measuring.observation import Observation, Quantity, kernel_seconds
from vlmplan.models.spec import Workload

LLAVA = catalogue.model("llava-hf/llava-1.5-7b-hf")
SMALL = catalogue.model("llava-hf/llava-onevision-qwen2-0.5b-ov-hf")
FREE = (
    Free(kind=Kind.LINEAR, field="compute_fraction", prior_log_sd=1.0),
    Free(kind=Kind.LINEAR, field="memory_fraction", prior_log_sd=1.0),
    Free(kind=Kind.DECODE_ATTENTION, field="memory_fraction", prior_log_sd=1.0),
    Free(field="overhead_per_call_s", prior_log_sd=1.0),
)


def ready(calibration: Calibration | None = None, runtime: Runtime = Runtime.VLLM) -> Machine:
    device = catalogue.hardware("h100-sxm")
    if calibration is not None:
        device = replace(device, calibration=(calibration,))
    return machine(device, catalogue.typical(), runtime, Precision.BF16)


def planted(found: Machine) -> Machine:
    """The same machine with rates and overhead of our own choice."""
    base = found.base
    linear = replace(base.operators[Kind.LINEAR], compute_fraction=0.41, memory_fraction=0.53)
    attention = replace(base.operators[Kind.DECODE_ATTENTION], memory_fraction=0.35)
    kinds = {**base.operators, Kind.LINEAR: linear, Kind.DECODE_ATTENTION: attention}
    return ready(replace(base, operators=kinds, overhead_per_call_s=0.003))


def requests() -> list[Request]:
    found = []
    for model, tokens in ((LLAVA, 576), (SMALL, 729)):
        for text, output, batch in ((20, 8, 1), (200, 64, 1), (2000, 16, 4), (50, 2, 16), (3500, 200, 8)):
            workload = Workload(text_tokens=text, output_tokens=output, batch=batch)
            found.append(request_of(model, workload, tokens, Precision.BF16))
    return found


def timed(priced: Cost, quantity: Quantity) -> float:
    found = {Quantity.TTFT: priced.ttft_s, Quantity.TPOT: priced.tpot_s, Quantity.LATENCY: priced.latency_s}[quantity]
    assert found is not None
    return found


def observed(truth: Machine, noise: float = 0.0, seed: int = 0) -> list[Observation]:
    rng = random.Random(seed)
    return [
        Observation(
            request=request,
            quantity=quantity,
            measured_s=timed(cost(request, truth), quantity) * math.exp(rng.gauss(0, noise)),
            group=f"{request.model.name} {request.workload.text_tokens}",
        )
        for request in requests()
        for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY)
    ]


def test_planted_coefficients_come_back() -> None:
    truth = planted(ready())
    found = fit(observed(truth), ready(), FREE)
    for kind, name in ((Kind.LINEAR, "compute_fraction"), (Kind.LINEAR, "memory_fraction"),
                       (Kind.DECODE_ATTENTION, "memory_fraction")):  # fmt: skip
        wanted = getattr(truth.base.operators[kind], name)
        assert getattr(found.base.operators[kind], name) == pytest.approx(wanted, rel=0.02)
    assert found.base.overhead_per_call_s == pytest.approx(0.003, rel=0.03)
    assert max(map(abs, found.in_sample)) < 0.01
    assert max(map(abs, found.left_out)) < 0.05


def test_a_fit_predicts_what_it_was_fitted_on_through_the_priced_path() -> None:
    """The columns of the fit and the operator fold of ``cost`` are the same prediction."""
    found = fit(observed(planted(ready()), noise=0.1), ready(), FREE)
    mended = ready(found.base)
    for one, error in zip(observed(planted(ready()), noise=0.1), found.in_sample, strict=True):
        again = timed(cost(one.request, mended), one.quantity)
        assert math.log(again / one.measured_s) == pytest.approx(error, abs=1e-9)


def test_the_same_with_overlapping_overhead_and_quantised_layers() -> None:
    device = catalogue.hardware("h100-sxm")
    for runtime, precision in ((Runtime.TRANSFORMERS, Precision.BF16), (Runtime.VLLM, Precision.FP8),
                               (Runtime.ONNXRUNTIME, Precision.INT4)):  # fmt: skip
        before = machine(device, catalogue.typical(), runtime, precision)
        request = replace(requests()[1], precision=precision)
        for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY):
            seconds = timed(cost(request, before), quantity)
            one = Observation(request=request, quantity=quantity, measured_s=seconds)
            assert abs(fit([one], before, FREE).in_sample[0]) < 1e-4


def test_one_wild_measurement_moves_little() -> None:
    good = observed(planted(ready()))
    spoilt = [replace(good[0], measured_s=good[0].measured_s * 5), *good[1:]]
    found = fit(spoilt, ready(), FREE)
    assert found.base.operators[Kind.LINEAR].memory_fraction == pytest.approx(0.53, rel=0.03)


def test_a_tight_prior_stays_and_a_wide_one_moves() -> None:
    one = observed(planted(ready()))[1:2]
    before = ready().base.operators[Kind.LINEAR].memory_fraction
    tight = fit(one, ready(), [replace(free, prior_log_sd=1e-3) for free in FREE])
    wide = fit(one, ready(), FREE)
    assert tight.base.operators[Kind.LINEAR].memory_fraction == pytest.approx(before, rel=0.01)
    assert abs(wide.in_sample[0]) < 0.03 < abs(tight.in_sample[0])


def test_nothing_to_fit_to_is_said() -> None:
    with pytest.raises(InputError, match="at least one"):
        fit([], ready(), FREE)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="above zero"):
        Observation(request=requests()[0], quantity=Quantity.TTFT, measured_s=seconds)


def test_a_single_token_has_no_time_per_further_token() -> None:
    request = request_of(LLAVA, Workload(text_tokens=5), 576, Precision.BF16)
    with pytest.raises(InputError, match="two output tokens"):
        Observation(request=request, quantity=Quantity.TPOT, measured_s=0.1)


rates = st.floats(1e-3, 10.0)


@given(
    compute=st.floats(0, 10), memory=st.floats(1e-6, 10), fractions=st.tuples(rates, rates),
    overlap=st.floats(1, 8), pads=st.tuples(st.floats(0, 100), st.floats(0, 100)), rows=st.floats(1, 1e4),
)  # fmt: skip
def test_columns_price_an_operator_as_the_scalar_does(
    compute: float,
    memory: float,
    fractions: tuple[float, float],
    overlap: float,
    pads: tuple[float, float],
    rows: float,
) -> None:
    efficiency = Efficiency(
        compute_fraction=fractions[0], memory_fraction=fractions[1], latency_s=1e-5, overlap=overlap,
        compute_pads=(pads[0],), memory_pads=(pads[1],), log_sd=0.1,
    )  # fmt: skip
    op = Op(part=Part.PREFILL, name="x", kind=Kind.LINEAR, count=3, shape=(rows, 5.0, 7.0), flops=compute * 1e9,
            moved_bytes=memory * 1e9)  # fmt: skip
    scalar = op_seconds(
        op, Rates(flops_per_s=1e9 * fractions[0], bytes_per_s=1e9 * fractions[1], efficiency=efficiency)
    )
    column = kernel_seconds(np.array([compute]), np.array([memory]), np.array([[rows, 5.0, 7.0]]), efficiency, 3.0)
    assert column[0] == pytest.approx(scalar, rel=1e-9)


@given(kernels=st.floats(1e-6, 1), overhead=st.floats(1e-6, 1), overlap=st.floats(1, 50))
def test_overlapping_overhead_lies_between_the_longer_and_the_sum(
    kernels: float, overhead: float, overlap: float
) -> None:
    total = kernels + exposed_s(kernels, overhead, overlap)
    assert max(kernels, overhead) * (1 - 1e-9) <= total <= (kernels + overhead) * (1 + 1e-9)
