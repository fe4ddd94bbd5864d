"""Recommending: the paper's answer under FLOPs, the knee's under latency, and what must hold for every plan."""

import functools
import itertools
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from conftest import without_floor
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.cost.estimates import Estimate
from vlmplan.cost.roofline import machine
from vlmplan.cost.totals import cost, request_of
from vlmplan.document import from_plain, plain, to_json
from vlmplan.errors import Infeasible, InputError
from vlmplan.hardware.profile import Basis, Calibration, HardwareProfile
from vlmplan.hardware.runtimes import CONTEXT_BYTES, Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.budget import Budget, Preference
from vlmplan.models.spec import Compressor, Reduction, Route, Workload
from vlmplan.planning.choice import (
    ALIKE,
    TIE_ERROR,
    UNDECIDED_SHARE,
    Aim,
    choose,
    draws_of,
    no_worse_share,
    pareto_front,
)
from vlmplan.planning.options import Asked, Objective
from vlmplan.planning.plan import Plan, Query, recommend
from vlmplan.planning.question import query
from vlmplan.planning.search import Candidate, candidates, feasible, overrun

WORK = Workload(text_tokens=50, output_tokens=32)
CACHED = Workload(text_tokens=50, cached_text_tokens=50, cached_images=True)


def ask(budget: Budget, workload: Workload = WORK, device: HardwareProfile | None = None, **asked: Any) -> Plan:
    """Recommend on an A100 for reasoning unless asked otherwise."""
    made = query(Asked(**{"hardware": "a100-80gb-sxm", "task": "reasoning"} | asked), workload, budget)
    return recommend(replace(made, hardware=device) if device else made)


def paper(budget: Budget, task: str = "reasoning", hardware: str = "a100-80gb-sxm", **more: Any) -> Plan:
    """The paper's question: which backbone to train, with nothing to compute but visual tokens."""
    return ask(budget, CACHED, task=task, paper=True, hardware=hardware, **more)


def _command(plan: Plan) -> str:
    """The command that serves the plan, or nothing."""
    return (plan.choice.deploy and plan.choice.deploy.command) or ""


@pytest.mark.parametrize(
    ("gflop", "model"), [(9, "Qwen/Qwen1.5-4B"), (17, "Qwen/Qwen1.5-7B"), (31, "Qwen/Qwen1.5-14B")]
)
def test_reasoning_takes_the_largest_llm_and_one_token(gflop: float, model: str) -> None:
    plan = paper(Budget(flops=gflop * 1e9), paper_flops=True)
    assert (plan.choice.model, plan.choice.visual_tokens, plan.choice.route) == (model, 1, Route.TRAIN)


def test_once_the_largest_llm_fits_tokens_grow() -> None:
    tokens = [
        paper(Budget(flops=gflop * 1e9), paper_flops=True).choice.visual_tokens for gflop in (31, 1100, 5000, 17000)
    ]
    assert tokens == sorted(tokens)
    assert tokens[0] == 1
    assert tokens[-1] > 100


def test_text_moves_the_optimum_to_the_closed_form() -> None:
    """With 50 uncached text tokens V* is 13.5; the grid's neighbours are 9 and 16."""
    for gflop in (450, 900):
        plan = ask(Budget(flops=gflop * 1e9), paper=True, paper_flops=True)
        assert 4 <= plan.choice.visual_tokens <= 36


@pytest.mark.parametrize("gflop", [9, 17, 31, 60, 100, 300, 1000, 4000])
def test_reading_takes_more_tokens_than_reasoning(gflop: float) -> None:
    reasoning, ocr = (paper(Budget(flops=gflop * 1e9), task, paper_flops=True).choice for task in ("reasoning", "ocr"))
    assert ocr.visual_tokens > reasoning.visual_tokens


DEVICES = ("a100-80gb-sxm", "h100-sxm", "l4", "geforce-rtx-4090", "t4")


def _tokens_under_the_same_latency(hardware: HardwareProfile) -> tuple[int, int]:
    """V by FLOPs, and V when that plan's latency (and 5 %, the knee's tolerance) is the budget instead."""
    by_flops = ask(Budget(flops=17e9), CACHED, hardware, paper=True, paper_flops=True, hardware=hardware.name)
    limit = Budget(latency_s=1.05 * by_flops.choice.latency_interval_s[1])
    # A limit is kept with a confidence of 95 % at the upper end of an interval that holds 90 %.
    by_latency = ask(limit, CACHED, hardware, paper=True, hardware=hardware.name, confidence=0.95)
    assert by_latency.choice.predicted_error <= by_flops.choice.predicted_error + TIE_ERROR
    return by_flops.choice.visual_tokens, by_latency.choice.visual_tokens


def test_latency_is_not_flops_and_the_floor_is_why() -> None:
    """On real devices visual tokens below the knee are free; without the weight-reading floor they are not."""
    real = [_tokens_under_the_same_latency(catalogue.hardware(name)) for name in DEVICES]
    assert all(by_flops == 1 for by_flops, _ in real)
    assert sum(by_latency != by_flops for by_flops, by_latency in real) >= 2
    ideal = [_tokens_under_the_same_latency(without_floor(catalogue.hardware(name))) for name in DEVICES]
    assert all(by_latency == by_flops for by_flops, by_latency in ideal)


@functools.cache
def _found(task: str) -> tuple[Query, tuple[Candidate, ...]]:
    made = query(Asked(hardware="l4", task=task), WORK, Budget(latency_s=1))
    machines = {p: machine(made.hardware, made.typical, made.runtime, p) for p in made.space.precisions}
    return made, candidates(made.space, machines, made.judge)


budgets = st.builds(
    Budget,
    latency_s=st.floats(0.1, 60),
    ttft_s=st.none() | st.floats(0.02, 5),
    flops=st.none() | st.floats(1e11, 1e14),
    memory_bytes=st.none() | st.floats(2e9, 1e11),
)


preferences = st.sampled_from(list(Preference))


@given(budgets, st.floats(1, 3), st.sampled_from(["reasoning", "ocr"]), preferences)
def test_a_looser_budget_is_never_worse(budget: Budget, factor: float, task: str, preference: Preference) -> None:
    """By more than a tie or the preference allows."""
    made, found = _found(task)
    tight, loose = feasible(found, budget), feasible(found, budget.scaled(factor))
    assert set(map(id, tight)) <= set(map(id, loose))
    if tight:
        draw = draws_of(made.judge)
        errors = [choose(within, Aim(preference=preference), draw).predicted_error for within in (loose, tight)]
        assert errors[0] <= errors[1] + max(TIE_ERROR, preference.price_error) + 1e-12


@given(budgets, st.sampled_from(["reasoning", "ocr"]))
def test_a_preference_pays_what_it_says(budget: Budget, task: str) -> None:
    """Accuracy nothing; balanced no more than its price, or a tie that paired draws bear out; speed is never slower."""
    made, found = _found(task)
    within = feasible(found, budget)
    if not within:
        return
    draw = draws_of(made.judge)
    least = min(one.predicted_error for one in within)
    by = {preference: choose(within, Aim(preference=preference), draw) for preference in Preference}
    assert by[Preference.ACCURACY].predicted_error == least
    assert by[Preference.SPEED].predicted_error <= least + Preference.SPEED.price_error
    balanced = by[Preference.BALANCED]
    if balanced.predicted_error > least + Preference.BALANCED.price_error:
        best = choose(within, Aim(preference=Preference.ACCURACY))
        assert balanced.predicted_error <= least + TIE_ERROR
        tied = (one for one in within if one.predicted_error <= least + TIE_ERROR and one.order >= balanced.order)
        assert any(no_worse_share(one, best, draw) >= UNDECIDED_SHARE for one in tied)
    assert by[Preference.SPEED].cost.latency_s <= by[Preference.ACCURACY].cost.latency_s


def test_fewer_tokens_of_one_model_are_a_price_and_never_a_tie() -> None:
    """Every draw says that they cost something, so speed does not decide."""
    made, found = _found("ocr")
    own = [one for one in found if one.model.name == "Qwen/Qwen2.5-VL-3B-Instruct"]
    few, more = own[-2:]
    assert few.visual.visual_tokens < more.visual.visual_tokens
    assert no_worse_share(few, more, draws_of(made.judge)) == 0


@given(budgets, st.sampled_from(["reasoning", "ocr"]))
def test_nothing_dominates_the_choice(budget: Budget, task: str) -> None:
    made, found = _found(task)
    within = feasible(found, budget)
    if not within:
        return
    choice, front = choose(within, Aim(), draws_of(made.judge)), pareto_front(within)
    assert choice in front
    assert overrun(choice, budget) <= 1
    for one in within:
        better = one.predicted_error < choice.predicted_error and one.request.gpus <= choice.request.gpus
        assert not (better and one.cost.latency_s <= choice.cost.latency_s)
    for first, second in itertools.pairwise(front):
        assert first.cost.latency_s <= second.cost.latency_s
        assert first.predicted_error > second.predicted_error


def test_same_inputs_same_bytes_and_round_trip() -> None:
    one, other = ask(Budget(latency_s=0.5)), ask(Budget(latency_s=0.5))
    assert to_json(one) == to_json(other)
    assert from_plain(Plan, json.loads(to_json(one)), "plan") == one
    assert str(catalogue.profiles_folder()) not in to_json(one)


def test_every_number_in_a_plan_is_finite_and_every_interval_holds_it() -> None:
    choice = ask(Budget(latency_s=0.5)).choice
    assert choice.tpot_s is not None
    assert choice.tpot_interval_s is not None
    for value, (low, high) in (
        (choice.latency_s, choice.latency_interval_s), (choice.ttft_s, choice.ttft_interval_s),
        (choice.tpot_s, choice.tpot_interval_s), (choice.predicted_error, choice.error_interval or (0, 0)),
    ):  # fmt: skip
        assert math.isfinite(value)
        assert low < value < high


def test_infeasible_names_the_nearest() -> None:
    with pytest.raises(
        Infeasible, match=r"no plan meets a latency of 1.00 ms on a100-80gb-sxm: the fastest needs up to .* ms"
    ):
        ask(Budget(latency_s=1e-3))
    with pytest.raises(Infeasible, match="the smallest 2"):
        ask(Budget(memory_bytes=1e9))


def test_memory_of_the_device_is_a_budget_too() -> None:
    plan = ask(Budget(latency_s=60), hardware="geforce-rtx-3060")
    assert plan.choice.memory_bytes.total <= catalogue.hardware("geforce-rtx-3060").memory_bytes  # type: ignore[operator]


def test_a_device_of_unknown_memory_is_offered_nothing_before_the_memory_is_told() -> None:
    """Else a model of 235 billion parameters would do, on any processor. One that the user named is priced."""
    with pytest.raises(InputError, match=r"the memory of amd-epyc-9654 is not known; expected --memory"):
        ask(Budget(latency_s=600), hardware="amd-epyc-9654", runtime=Runtime.VLLM)
    plan = ask(Budget(latency_s=600, memory_bytes=16e9), hardware="amd-epyc-9654", runtime=Runtime.VLLM)
    assert plan.choice.memory_bytes.total <= 16e9
    named = ask(Budget(latency_s=600), hardware="amd-epyc-9654", runtime=Runtime.VLLM, model="InternVL3-1B")
    assert any("give --memory" in warning for warning in named.warnings)


def test_a_context_that_nobody_stated_is_said() -> None:
    """It is not unlimited: whether the request fits was not checked."""
    assert all(model.llm.max_context_tokens for model in catalogue.models())
    made = query(Asked(hardware="l4", task="reasoning", models="InternVL3-1B"), WORK, Budget(latency_s=5))
    model = made.space.models[0]
    unknown = replace(model, llm=replace(model.llm, max_context_tokens=None))
    plan = recommend(replace(made, space=replace(made.space, models=(unknown,))))
    assert any("the context of OpenGVLab/InternVL3-1B is not known; whether its" in text for text in plan.warnings)
    assert not any("context" in text for text in recommend(made).warnings)


def test_a_plan_leaves_room_for_the_context_of_the_engine() -> None:
    """VLLM's share of a GPU must be free once its context is there: never the whole."""
    with pytest.raises(Infeasible, match=r"and 138 GiB on h200-sxm: .* the smallest 139 GiB"):
        ask(Budget(latency_s=1000), hardware="h200-sxm", models="Qwen2.5-VL-72B")
    for name in catalogue.names(catalogue.Shelf.HARDWARE):
        device = catalogue.hardware(name)
        usable_bytes = device.usable_bytes(Runtime.VLLM)
        if device.memory_bytes and usable_bytes and device.kind == "gpu":
            assert usable_bytes <= device.memory_bytes - CONTEXT_BYTES
    plan = ask(Budget(latency_s=1000), hardware="h200-sxm", models="Qwen2.5-VL-72B", precisions="fp8")
    assert plan.choice.deploy
    assert plan.choice.deploy.memory_fraction == pytest.approx(0.92)
    h200 = catalogue.hardware("h200-sxm")
    assert h200.usable_bytes(Runtime.TRANSFORMERS) == h200.memory_bytes


def test_onnxruntime_offers_what_can_be_exported() -> None:
    plan = ask(Budget(latency_s=10), runtime=Runtime.ONNXRUNTIME)
    assert plan.choice.route is Route.EXPORT
    assert plan.model.exportable


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.99])
def test_a_limit_of_time_is_kept_with_the_confidence_asked_for(confidence: float) -> None:
    """It is the upper end of the central interval that leaves as much above it as the confidence does."""
    limited: dict[str, Any] = {"models": "Qwen3-VL-2B", "confidence": confidence}
    choice = ask(Budget(latency_s=5), **limited).choice
    request = request_of(catalogue.model(choice.model), WORK, choice.visual_tokens, choice.precision)
    upper_s = cost(
        request, machine(catalogue.hardware("a100-80gb-sxm"), catalogue.typical(), Runtime.VLLM, choice.precision)
    )
    end_s = upper_s.latency_interval_s(2 * confidence - 1)[1]
    kept = ask(Budget(latency_s=1.0001 * end_s), **limited).choice
    assert (kept.visual_tokens, kept.latency_s) == (choice.visual_tokens, choice.latency_s)
    below = ask(Budget(latency_s=0.9999 * end_s), **limited).choice
    assert below.visual_tokens < choice.visual_tokens


def test_untrained_counts_only_when_allowed() -> None:
    limited: dict[str, Any] = {"models": "llava-1.5-7b"}
    strict = ask(Budget(latency_s=1), **limited)
    assert {one.visual_tokens for one in strict.front} == {576}
    loose = ask(Budget(latency_s=1), allow_untrained=True, **limited)
    assert {one.visual_tokens for one in loose.front} > {576}
    assert strict.choice.reduction is Reduction.TRAINED
    tight = ask(Budget(latency_s=0.56), allow_untrained=True, **limited)
    assert tight.choice.reduction is Reduction.AVERAGE_POOL
    assert any("not trained for so few" in warning for warning in tight.warnings)


def test_exports_keep_some_tokens_where_that_wins() -> None:
    """Under a short time to the first word the larger LLM with fewer tokens beats the smaller one with all of them."""
    asked: dict[str, Any] = {"hardware": "l4", "models": "llava-hf*", "runtime": Runtime.ONNXRUNTIME}
    plan = ask(Budget(ttft_s=0.2), **asked)
    choice = plan.choice
    assert choice.compressor.selects
    assert choice.reduction == str(choice.compressor)
    assert choice.visual_tokens < 729
    assert choice.model == "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    assert any(f"by {choice.reduction} reduction" in warning for warning in plan.warnings)
    served = ask(Budget(ttft_s=5), **asked | {"runtime": Runtime.VLLM})
    assert not served.choice.compressor.selects
    at_once = ask(Budget(ttft_s=5), **asked)
    assert not at_once.choice.compressor.selects  # nothing is saved that is needed


def test_tokens_kept_are_what_an_export_can_keep() -> None:
    """The catalogue's models are offered the compressors that their exports take, and no others."""
    shelf = {model.name: model for model in catalogue.models()}
    divprune, visionzip = Compressor.DIVPRUNE, Compressor.VISIONZIP
    for name, kept in (
        ("llava-hf/llava-1.5-7b-hf", {divprune, visionzip}),
        ("llava-hf/llava-v1.6-mistral-7b-hf", {divprune, visionzip}),
        ("google/gemma-3-4b-it", {divprune}),
        ("Qwen/Qwen2.5-VL-3B-Instruct", set()),
        ("OpenGVLab/InternVL3-1B", set()),
        ("HuggingFaceTB/SmolVLM-256M-Instruct", set()),
    ):
        assert {one for one in Compressor if shelf[name].exports_selection(one)} == kept, name


def test_precision_is_chosen_among_those_asked() -> None:
    plan = ask(Budget(memory_bytes=9e9, latency_s=5), precisions="bf16,int4")
    assert plan.choice.precision is Precision.INT4
    assert plan.choice.deploy is not None
    assert plan.choice.deploy.checkpoint is not None


def test_several_gpus() -> None:
    """72 billion parameters do not fit one A100; two do, and four are not taken only to be faster."""
    plan = ask(Budget(latency_s=20), gpus=4, models="Qwen2.5-VL-72B")
    assert plan.choice.gpus == 2
    assert f"--tensor-parallel-size {plan.choice.gpus}" in _command(plan)


def test_runners_up_say_why() -> None:
    plan = ask(Budget(latency_s=0.5))
    reasons = [one.reason or "" for one in plan.runners_up]
    assert any("exceeds 500 ms" in reason for reason in reasons)
    assert any("more error" in reason for reason in reasons)
    assert 0 <= plan.stability <= 1
    assert plan.if_budget_10_percent_larger is not None


def test_a_law_of_ones_own() -> None:
    path = catalogue.resolve(catalogue.Shelf.LAWS, "ocr")
    plan = ask(Budget(latency_s=1), task=str(path))
    assert "scaling law ocr" in plan.error_source.name


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hardware": "l5"}, "no hardware named 'l5' is in the catalogue; nearest: l"),
        ({"hardware": "orin"}, "'orin' is ambiguous; it could be jetson-orin-nano-8gb"),
        ({"task": "chess"}, "no task 'chess'"),
        ({"task": "mathvista", "paper": True}, "no law for task 'mathvista'"),
        ({"precisions": "bf17"}, "found 'bf17', expected a comma list"),
        ({"precisions": "fp8", "hardware": "v100-sxm2-32gb"}, "v100-sxm2-32gb has no fp8 peak"),
        ({"models": "grok"}, "no candidate left"),
        ({"license": "MIT", "models": "qwen"}, "no candidate left"),
    ],
)
def test_bad_questions(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(Budget(latency_s=1), **asked)


def test_no_budget() -> None:
    with pytest.raises(InputError, match="no budget given"):
        Budget()


@given(st.sampled_from(["llava-1.5-7b", "Qwen3-VL-2B"]), st.integers(1, 100))
def test_estimates_round_trip(name: str, output_tokens: int) -> None:
    from conftest import machine_of

    from vlmplan.cost.estimates import estimate
    from vlmplan.cost.totals import request_of

    request = request_of(
        catalogue.model(name), Workload(text_tokens=9, output_tokens=output_tokens), 64, Precision.BF16
    )
    found = estimate(request, machine_of("l4"), 0.9)
    assert from_plain(Estimate, json.loads(to_json(found)), "estimate") == found
    assert plain(found)["schema"] == "vlmplan.estimate/1"


def test_no_command_is_better_than_a_wrong_one() -> None:
    """Fewer tiles of LLaVA-NeXT are set in its processor's files, not by a flag of vLLM: no plan has them."""
    with pytest.raises(Infeasible):
        ask(Budget(flops=25e12), models="llava-v1.6-mistral-7b")
    plan = ask(Budget(flops=25e12), models="llava-v1.6-mistral-7b", runtime=Runtime.TRANSFORMERS)
    assert plan.choice.visual_tokens == 1368
    assert _command(plan) == ""
    assert _command(ask(Budget(latency_s=5), models="llava-v1.6-mistral-7b"))


def test_a_quantised_plan_serves_what_is_published() -> None:
    """By whom it was quantised is said where it is not who made the model."""
    plan = ask(Budget(memory_bytes=10e9, latency_s=5), precisions="int4", models="Qwen2.5-VL-7B")
    assert _command(plan).startswith("vllm serve Qwen/Qwen2.5-VL-7B-Instruct-AWQ --max-model-len ")
    assert plan.choice.deploy is not None
    assert plan.choice.deploy.make is None
    assert not any("quantised by" in warning or "checkpoint of" in warning for warning in plan.warnings)
    theirs = ask(Budget(memory_bytes=10e9, latency_s=5), precisions="int4", models="Qwen3-VL-8B")
    assert "cyankiwi/Qwen3-VL-8B-Instruct-AWQ-4bit" in _command(theirs)
    assert any("quantised by cyankiwi, not by who made Qwen/Qwen3-VL-8B" in warning for warning in theirs.warnings)


def test_a_quantised_plan_says_how_to_make_what_nobody_published() -> None:
    plan = ask(Budget(memory_bytes=20e9, latency_s=5), precisions="int4", models="InternVL2_5-8B")
    assert _command(plan).startswith("vllm serve INT4_CHECKPOINT --max-model-len ")
    assert plan.choice.deploy is not None
    assert plan.choice.deploy.make == (
        "auto-round --model OpenGVLab/InternVL2_5-8B --scheme W4A16 --format auto_round --output_dir INT4_CHECKPOINT"
    )
    assert any("needs an int4 checkpoint" in warning for warning in plan.warnings)
    eight = ask(Budget(latency_s=5), precisions="int8-w8a8", models="InternVL2_5-8B").choice.deploy
    assert eight is not None
    assert eight.make is not None
    assert eight.make.endswith("--scheme INT8 --format llm_compressor --output_dir INT8_W8A8_CHECKPOINT")


def test_a_published_checkpoint_is_one_that_the_device_runs() -> None:
    """VLLM has no AWQ kernels for Volta; a T4 multiplies in fp16, whatever the checkpoint says."""
    asked: dict[str, Any] = {"precisions": "int4", "models": "Qwen2.5-VL-7B"}
    volta = ask(Budget(latency_s=60), hardware="v100-sxm2-32gb", **asked)
    assert "INT4_CHECKPOINT --dtype float16" in _command(volta)
    turing = ask(Budget(latency_s=60), hardware="t4", **asked)
    assert "Qwen2.5-VL-7B-Instruct-AWQ --dtype float16" in _command(turing)


def test_models_are_named_by_globs_with_commas() -> None:
    def considered(models: str) -> set[str]:
        question = query(Asked(hardware="l4", task="ocr", models=models), Workload(text_tokens=50), Budget(latency_s=9))
        return {model.name for model in question.space.models}

    one, other = considered("InternVL3-*"), considered("qwen3-VL-4B")
    assert one
    assert other == {"Qwen/Qwen3-VL-4B-Instruct"}
    assert considered("InternVL3-*, qwen3-VL-4B,") == one | other


def test_models_that_think_first_are_asked_for_by_name_or_with_many_tokens() -> None:
    with pytest.raises(InputError, match="think before they answer"):
        ask(Budget(latency_s=60), task="mmmu", models="GLM-4.1V")
    plan = ask(Budget(latency_s=200), replace(WORK, output_tokens=2000), task="mmmu", models="GLM-4.1V")
    assert plan.model.thinks
    named = ask(Budget(latency_s=60), task="mmmu", model="GLM-4.1V")
    assert any("thinks before it answers" in warning for warning in named.warnings)


def test_models_unstable_in_fp16_are_not_served_in_it() -> None:
    with pytest.raises(InputError, match="no candidate left"):
        ask(Budget(latency_s=60), hardware="v100-sxm2-32gb", models="gemma-3-4b")


def test_an_llm_far_larger_than_its_family_was_scored_at_is_not_ranked() -> None:
    """Qwen3.5 has scores without thinking at 0.8 and 2 billion only."""
    plan = ask(Budget(latency_s=60), models="Qwen3.5-")
    names = {plan.choice.model, *(one.model for one in (*plan.front, *plan.runners_up))}
    assert "Qwen/Qwen3.5-9B" in names
    assert not {"Qwen/Qwen3.5-27B", "Qwen/Qwen3.5-397B-A17B"} & names
    assert any("without a published score" in why for why in plan.left_out)


def test_an_image_too_small_for_any_study_needs_to_be_allowed() -> None:
    small = replace(WORK, image=(56, 56))
    with pytest.raises(InputError, match=r"an image of 56 x 56 shows too little .* give a larger --image"):
        ask(Budget(latency_s=5), small, models="Qwen3-VL-8B", task="docvqa")
    plan = ask(Budget(latency_s=5), small, models="Qwen3-VL-8B", task="docvqa", allow_untrained=True)
    assert any("may read nothing at all" in warning for warning in plan.warnings)
    assert plan.choice.error_interval is not None
    assert plan.choice.error_interval[1] > 0.9


def test_the_plan_says_what_it_sees_and_what_a_step_costs() -> None:
    plan = ask(Budget(latency_s=1), replace(WORK, image=(1700, 2200)), hardware="l4", task="docvqa")
    assert plan.choice.seen_side_px
    assert plan.chosen_because
    assert plan.fewer_tokens is not None
    assert plan.fewer_tokens.visual_tokens < plan.choice.visual_tokens
    assert plan.fewer_tokens.predicted_error > plan.choice.predicted_error
    assert "more error" in (plan.fewer_tokens.reason or "")


def test_several_images_are_allowed_for() -> None:
    plan = ask(Budget(latency_s=5), replace(WORK, images=2), models="Qwen3-VL-4B")
    assert "--limit-mm-per-prompt '{\"image\": 2}'" in _command(plan)


def test_memory_budgets_scale_and_device_memory_is_named() -> None:
    plan = ask(Budget(memory_bytes=20e9))
    assert plan.if_budget_10_percent_smaller is not None
    assert plan.if_budget_10_percent_smaller.memory_bytes <= 18e9
    with pytest.raises(Infeasible, match=r"no plan meets a latency of 1000 s and 14.0 GiB on t4"):
        ask(Budget(latency_s=1000), hardware="t4", models="Qwen2.5-VL-72B")


def test_flops_are_of_one_request() -> None:
    one, eight = (ask(Budget(flops=20e12), replace(WORK, batch=batch), models="Qwen3-VL-8B") for batch in (1, 8))
    assert one.choice.budget_flops == pytest.approx(eight.choice.budget_flops)


def _measured_processor(int4_bandwidth_share: float) -> HardwareProfile:
    """A processor whose three precisions were measured: int8 reaches the bandwidth of fp32, int4 a share of it."""
    device = catalogue.hardware("amd-epyc-9654")
    base = machine(device, catalogue.typical(), Runtime.ONNXRUNTIME, Precision.FP32).base

    def measured(precision: Precision, share: float) -> Calibration:
        reached = {
            kind: replace(one, memory_fraction=one.memory_fraction * share) for kind, one in base.operators.items()
        }
        return replace(base, precision=precision, basis=Basis.MEASURED, operators=reached)

    shares = {Precision.FP32: 1.0, Precision.INT8: 1.0, Precision.INT4: int4_bandwidth_share}
    return replace(device, calibration=tuple(measured(*one) for one in shares.items()))


@pytest.mark.parametrize(("share", "offered"), [(0.5, False), (1.0, True)])
def test_int4_is_offered_only_where_it_is_faster_than_int8(share: float, offered: bool) -> None:
    plan = ask(
        Budget(latency_s=10),
        device=_measured_processor(share),
        runtime=Runtime.ONNXRUNTIME,
        precisions="int8,int4",
        models="*onevision-qwen2-7b*",
    )
    assert plan.choice.precision is Precision.INT8
    assert (Precision.INT4 in {one.precision for one in plan.front}) is offered


OBJECTIVES = [one for one in Objective if one is not Objective.ERROR]


@functools.cache
def _all_on_an_l4(gpus: int = 1) -> tuple[Query, tuple[Candidate, ...]]:
    made = query(Asked(hardware="l4", task="reasoning", gpus=gpus), WORK, Budget(error_fraction=1.0))
    machines = {p: machine(made.hardware, made.typical, made.runtime, p) for p in made.space.precisions}
    return made, candidates(made.space, machines, made.judge)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("percent", [24, 45])
def test_an_objective_is_the_least_of_what_is_right_often_enough(objective: Objective, percent: int) -> None:
    made, found = _all_on_an_l4()
    limits = replace(made, budget=Budget(error_fraction=percent / 100)).limits
    aim = Aim(objective=objective)
    within = feasible(found, limits)
    assert all(one.upper_error <= percent / 100 for one in within)
    choice = choose(within, aim)
    assert aim.value(choice) <= ALIKE * min(map(aim.value, within))
    alike = [one for one in within if aim.value(one) <= aim.value(choice) / ALIKE]
    assert all(one.predicted_error >= choice.predicted_error for one in alike)
    plan = ask(Budget(error_fraction=percent / 100), hardware="l4", minimise=objective)
    assert (plan.choice.model, plan.choice.visual_tokens) == (choice.model.name, choice.visual.visual_tokens)
    assert plan.objective is objective
    assert plan.choice.error_interval is not None
    assert plan.choice.error_interval[1] <= percent / 100
    assert objective.words in plan.chosen_because


@given(st.sampled_from(OBJECTIVES), st.floats(0.18, 0.5), st.floats(1, 2))
def test_more_wrong_answers_allowed_never_cost_more(objective: Objective, limit: float, factor: float) -> None:
    made, found = _all_on_an_l4(2)
    aim = Aim(objective=objective)
    strict, loose = (
        feasible(found, replace(made, budget=Budget(error_fraction=limit).scaled(times)).limits)
        for times in (1.0, factor)
    )
    if strict:
        assert aim.value(choose(loose, aim)) <= ALIKE * aim.value(choose(strict, aim))


def test_the_error_is_held_to_the_upper_end() -> None:
    """A limit between the prediction and the upper end leaves the choice out; one above does not."""
    plan = ask(Budget(latency_s=0.5), model="Qwen3-VL-2B")
    assert plan.choice.error_interval is not None
    predicted, upper = plan.choice.predicted_error, plan.choice.error_interval[1]
    assert upper > predicted
    again = ask(Budget(latency_s=0.5, error_fraction=upper + 1e-9), model="Qwen3-VL-2B")
    assert again.choice.visual_tokens == plan.choice.visual_tokens
    with pytest.raises(Infeasible, match=r"an error of .*the best that was tried has an error of up to"):
        ask(Budget(latency_s=0.5, error_fraction=(predicted + upper) / 2), model="Qwen3-VL-2B")


def test_two_models_that_share_a_picture_have_their_own_errors() -> None:
    """What is made of the image is the same object for both; the upper ends are drawn for each."""
    _, found = _all_on_an_l4()
    ends: dict[str, float] = {
        one.model.name: one.upper_error for one in found if one.model.name.startswith("Qwen/Qwen3-VL-")
    }
    assert ends["Qwen/Qwen3-VL-2B-Instruct"] > ends["Qwen/Qwen3-VL-8B-Instruct"]


def test_an_objective_keeps_no_preference_beside_it() -> None:
    with pytest.raises(InputError, match="--prefer speed: found it beside --minimise cost"):
        Asked(hardware="l4", task="ocr", minimise=Objective.COST, prefer=Preference.SPEED)


def test_no_more_than_all_answers_are_wrong() -> None:
    assert Budget(error_fraction=0.95).scaled(1.1).error_fraction == 1
    with pytest.raises(InputError, match="error_fraction: expected at most 1"):
        Budget(error_fraction=1.5)


@pytest.mark.parametrize(
    ("memory_gib", "fraction"),
    [(4, 2 / 3), (8, 2 / 3), (12, 0.7083), (16, 0.75), (32, 0.75)],
)
def test_of_shared_memory_a_gpu_gets_what_its_size_leaves(memory_gib: int, fraction: float) -> None:
    """Between two sizes the share is between theirs; beyond them it is the nearest's."""
    gib = 2**30
    sizes = ((8 * gib, round(8 * gib * 2 / 3)), (16 * gib, 12 * gib))
    device = replace(catalogue.hardware("apple-m4"), memory_bytes=memory_gib * gib, shared_memory_bytes=sizes)
    assert device.usable_bytes(Runtime.LLAMA_CPP) == pytest.approx(fraction * memory_gib * gib, rel=1e-3)
    with pytest.raises(InputError, match="shared_memory_bytes: expected a size and a part of it, found 4 and 5"):
        replace(device, shared_memory_bytes=((4, 5),))
