"""The knee: how many visual tokens are free."""

from dataclasses import replace

import pytest
from conftest import machine_of, without_floor
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.cost.knee import KNEE_TOLERANCE, TABLE_TEXT_TOKENS, knee_table, knees
from vlmplan.cost.op import Request
from vlmplan.cost.roofline import machine
from vlmplan.cost.totals import cost, request_of
from vlmplan.hardware.profile import Basis
from vlmplan.hardware.runtimes import SERVING, Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor, Workload

LLAVA = catalogue.model("llava-1.5-7b")


def _request(text_tokens: int, batch: int = 1) -> Request:
    workload = Workload(text_tokens=text_tokens, batch=batch)
    return request_of(LLAVA, workload, 16, Precision.BF16, Compressor.AVERAGE_POOL)


def _prefill_s(request: Request, tokens: int, hardware: str) -> float:
    visual = request.visual
    assert visual is not None
    varied = replace(request, visual=replace(visual, visual_tokens=tokens))
    return cost(varied, machine_of(hardware)).prefill_s


@given(st.sampled_from(["a100-80gb-sxm", "h100-sxm", "l4", "geforce-rtx-3060"]), st.integers(0, 400))
def test_it_is_the_last_token_within_the_tolerance(hardware: str, text_tokens: int) -> None:
    request = _request(text_tokens)
    knee = knees(request, machine_of(hardware)).knee_prefill_visual_tokens
    assert knee is not None
    limit_s = _prefill_s(request, 1, hardware) * (1 + KNEE_TOLERANCE)
    assert _prefill_s(request, knee, hardware) <= limit_s < _prefill_s(request, knee + 1, hardware)


def test_published_knee_of_an_a100() -> None:
    """Llama-2-7B, design section 3: 15 at Q = 50; 64 at Q = 0, a staircase that the smooth model averages away."""
    ready = machine_of("a100-80gb-sxm")
    at_50, at_0 = (knees(_request(q), ready).knee_prefill_visual_tokens for q in (50, 0))
    assert at_50 == pytest.approx(15, abs=8)
    assert at_0 is not None
    assert 16 <= at_0 <= 64


def test_it_shrinks_with_text_and_batch_and_vanishes_without_the_floor() -> None:
    ready = machine_of("a100-80gb-sxm")
    alone = knees(_request(0), ready).knee_prefill_visual_tokens or 0
    batched = knees(_request(0, batch=8), ready).knee_prefill_visual_tokens or 0
    assert batched < alone
    ideal = without_floor(catalogue.hardware("a100-80gb-sxm"))
    flat = machine(ideal, catalogue.typical(), Runtime.VLLM, Precision.BF16)
    assert knees(_request(0), flat).knee_prefill_visual_tokens == 1


def test_a_text_model_has_none() -> None:
    request = request_of(LLAVA, Workload(text_tokens=5), 0, Precision.BF16)
    assert knees(request, machine_of("l4")).knee_prefill_visual_tokens is None


def test_the_table_holds_the_same_knees() -> None:
    device, model = catalogue.hardware("h100-sxm"), catalogue.model("Qwen/Qwen1.5-7B")
    rows = knee_table(device, catalogue.typical(), [model])
    assert {row.runtime for row in rows} == set(Runtime)
    vllm = next(row for row in rows if row.runtime is Runtime.VLLM)
    request = request_of(model, Workload(text_tokens=50), 1, Precision.BF16, Compressor.AVERAGE_POOL)
    found = knees(request, machine_of("h100-sxm")).knee_prefill_visual_tokens
    assert vllm.free_visual_tokens[TABLE_TEXT_TOKENS.index(50)] == found
    assert vllm.basis is Basis.KERNELS


def test_runtimes_that_do_not_serve_there_are_left_out() -> None:
    rows = knee_table(catalogue.hardware("apple-m3-max"), catalogue.typical(), [catalogue.model("Qwen/Qwen1.5-7B")])
    served = {one for one in Runtime if not SERVING[one].refuses_vendor("Apple")}
    assert {row.runtime for row in rows} == served
    assert not {Runtime.VLLM, Runtime.TENSORRT_LLM} & served
