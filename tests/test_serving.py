"""A service under load: the simulation against closed forms, published curves, and what a user asks and reads."""

import csv
import json
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import machine_of
from typer.testing import CliRunner

import vlmplan
from vlmplan.cli.app import app
from vlmplan.cost.op import Request
from vlmplan.cost.service import LoadAsked, PercentileLimit, Service, Timed
from vlmplan.cost.steps import Step, images_s, step_s
from vlmplan.cost.totals import cost, request_of
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.request_log import read_requests
from vlmplan.models.spec import Workload
from vlmplan.serving.arrivals import Arrivals, read_trace
from vlmplan.serving.engine import Engine, engine, mixed, size_of, step_limits
from vlmplan.serving.served import MOST_SPARE, Load, Replicas, at_percent, service
from vlmplan.serving.simulate import serve

ROOT = Path(__file__).resolve().parents[1]
COUNT = 40_000
QWEN = catalogue.model("Qwen/Qwen2.5-VL-7B-Instruct")


def _mean(times: Sequence[float]) -> float:
    return sum(times) / len(times)


def _engine(
    step: float, *, output_tokens: int = 1, slots: int = 1, host_s: float = 0.0, image_s: float = 0.0
) -> Engine:
    """A replica whose steps all take as long, whatever they do."""
    return Engine(
        step_s=lambda _, __, ___: step,
        prompt_tokens=1,
        context_tokens=1 + output_tokens,
        output_tokens=output_tokens,
        images_s=0.0,
        image_host_s=image_s,
        request_host_s=host_s,
        slots=slots,
        step_tokens=1_000,
    )


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8, 0.9])
def test_one_at_a_time_is_the_queue_m_d_1(load: float) -> None:
    """Pollaczek and Khinchine: the wait is rho / (2 (1 - rho)) of a service."""
    found = serve(_engine(1.0), Arrivals(rate_per_s=load).at_replica(0, 1, COUNT, 1))
    assert _mean(found.latency_s) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.06)
    assert found.busy_fraction == pytest.approx(load, rel=0.03)


def _erlang_c(servers: int, offered: float) -> float:
    """The share of customers of M/M/c that wait."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.7), (4, 0.5), (4, 0.85), (16, 0.9)])
def test_slots_that_do_not_slow_each_other_are_the_queue_m_m_c(slots: int, load: float) -> None:
    """Outputs of geometric length and steps that take as long for one as for many: c servers, exponential services."""
    step, mean_tokens = 0.001, 1_000
    rate = load * slots / (mean_tokens * step)
    random_ = random.Random(3)
    outputs = [1 + math.ceil(math.log(1 - random_.random()) / math.log(1 - 1 / mean_tokens)) for _ in range(COUNT)]
    one = _engine(step, output_tokens=mean_tokens, slots=slots)
    sizes = [replace(one.size, output_tokens=tokens, context_tokens=1 + tokens) for tokens in outputs]
    found = serve(one, Arrivals(rate_per_s=rate).at_replica(0, 1, COUNT, 2), sizes)
    wait_s = _erlang_c(slots, load * slots) * mean_tokens * step / (slots * (1 - load))
    assert _mean(found.latency_s) - _mean(outputs) * step == pytest.approx(wait_s, rel=0.12, abs=0.003)


def test_the_host_is_a_queue_of_its_own() -> None:
    """Images are made ready one after another, M/D/1, while what the host adds beside keeps nobody waiting."""
    one = _engine(1e-6, host_s=5.0, image_s=1.0, slots=100)
    found = serve(one, Arrivals(rate_per_s=0.8).at_replica(0, 1, COUNT, 1))
    assert _mean(found.latency_s) == pytest.approx(5 + 1 + 0.8 / (2 * 0.2), rel=0.06)
    assert one.capacity_per_s() == 1.0


def test_in_turn_to_several_is_as_dealt_out() -> None:
    """Every third of a Poisson process: a gamma of three gaps, of the same mean and a third of the variance."""
    whole = Arrivals(rate_per_s=3.0).at_replica(0, 1, 30_000, 0)
    gaps = Arrivals(rate_per_s=3.0).at_replica(0, 3, 10_000, 0)
    for times in (whole[::3], gaps):
        steps = [b - a for a, b in pairwise(times)]
        assert _mean(steps) == pytest.approx(1.0, rel=0.03)
        assert statistics.variance(steps) == pytest.approx(1 / 3, rel=0.06)


def _request(output_tokens: int = 32, tokens: int = 391) -> Request:
    return request_of(QWEN, Workload(text_tokens=50, output_tokens=output_tokens), tokens, Precision.BF16)


@pytest.mark.parametrize("hardware", ["h100-sxm", "l4"])
def test_steps_are_priced_as_requests_are(hardware: str) -> None:
    """One alone: its parts sum to the TTFT; so many that decode: the mean step."""
    request, ready = _request(), machine_of(hardware)
    alone = cost(request, ready)
    first = step_s(request, ready, Step(prefill_tokens=request.prefill_tokens))
    whole = first + images_s(request, ready) + alone.preprocess_s + ready.base.overhead_per_request_s
    assert whole == pytest.approx(alone.ttft_s)
    for together in (1, 8, 64):
        many = replace(request, workload=replace(request.workload, concurrency=together))
        context = request.prompt_tokens + 16
        assert step_s(request, ready, Step(decoding=together, context_tokens=context)) == pytest.approx(
            cost(many, ready).tpot_s
        )


def test_a_step_of_both_reads_the_weights_once() -> None:
    request, ready = _request(), machine_of("h100-sxm")
    both = step_s(request, ready, Step(prefill_tokens=256, decoding=32, context_tokens=457))
    prefill = step_s(request, ready, Step(prefill_tokens=256))
    decode = step_s(request, ready, Step(decoding=32, context_tokens=457))
    assert max(prefill, decode) < both < prefill + decode


def test_at_a_low_rate_requests_see_what_one_alone_does() -> None:
    request, ready = _request(), machine_of("h100-sxm")
    alone = cost(request, ready)
    found = serve(engine(request, ready, alone, None), [100.0 * index for index in range(1, 40)])
    assert at_percent(found.ttft_s, 50) == pytest.approx(alone.ttft_s, rel=0.01)
    assert at_percent(found.latency_s, 95) == pytest.approx(alone.latency_s, rel=0.01)


@pytest.mark.parametrize("output_tokens", [1, 32, 400])
def test_what_it_can_bear_lies_between_a_queue_that_ends_and_one_that_grows(output_tokens: int) -> None:
    request, ready = _request(output_tokens), machine_of("l4")
    one = engine(request, ready, cost(request, ready), ready.hardware.usable_bytes(Runtime.VLLM))
    most = one.capacity_per_s()
    below, above = (serve(one, Arrivals(rate_per_s=share * most).at_replica(0, 1, 6_000, 0)) for share in (0.9, 1.2))
    assert below.span_s == pytest.approx(6_000 / (0.9 * most), rel=0.05)
    assert above.span_s > 1.1 * 6_000 / (1.2 * most)


def test_memory_limits_how_many_run_at_once() -> None:
    request, ready = _request(400), machine_of("l4")
    priced = cost(request, ready)
    usable = ready.hardware.usable_bytes(Runtime.VLLM)
    one = engine(request, ready, priced, usable)
    assert one.slots == priced.most_requests(usable)
    assert one.slots < step_limits(ready.hardware)[1]
    found = serve(one, [0.0] * 300)
    assert found.in_flight_ratio <= one.slots


def test_limits_of_steps_are_vllm_s() -> None:
    assert [step_limits(catalogue.hardware(name)) for name in ("l4", "a100-80gb-sxm", "h100-sxm")] == [
        (2048, 256),
        (2048, 256),
        (8192, 1024),
    ]


def _replicas(rate_per_s: float, limit_s: float, hardware: str = "l4", of: Timed = Timed.LATENCY) -> Replicas:
    limits = (PercentileLimit(of=of, percent=95, limit_s=limit_s),)
    asked, ready = LoadAsked(rate_per_s=rate_per_s, limits=limits), machine_of(hardware)
    usable = ready.hardware.usable_bytes(Runtime.VLLM)
    return Replicas(_request(), ready, usable, Load(asked=asked, arrivals=Arrivals(rate_per_s=rate_per_s)))


def test_the_least_replicas_keep_the_limits_and_one_fewer_does_not() -> None:
    one = _replicas(20.0, 4.0)
    least = one.least(1.28)
    assert least is not None
    assert one.keeps(least, 1.28)
    assert not one.keeps(least - 1, 1.28)
    assert (one.least(0.0) or 0) < least  # where times are longer than predicted more are needed


def test_replicas_that_idle_are_no_plan_unless_they_were_asked_for() -> None:
    """Just above what a request takes alone, a limit is kept only where requests hardly ever meet."""
    alone_s = _replicas(5.0, 60.0).priced.latency_s
    tight = _replicas(5.0, 1.003 * alone_s)
    assert tight.least(0.0) is None
    tight.asked = replace(tight.asked, replicas=500)
    least = tight.least(0.0)
    assert least is not None
    assert least > MOST_SPARE * math.ceil(5.0 / tight.capacity_per_s(Timed.LATENCY, 0.0))


def test_more_requests_and_shorter_limits_never_take_fewer_replicas() -> None:
    by_rate = [_replicas(rate, 4.0).least(0.0) or 0 for rate in (2.0, 8.0, 30.0, 100.0)]
    by_limit = [_replicas(30.0, limit).least(0.0) or 0 for limit in (20.0, 5.0, 3.0)]
    assert by_rate == sorted(by_rate)
    assert by_limit == sorted(by_limit)
    assert _replicas(1.0, 0.05).least(0.0) is None  # a request alone takes longer


def test_fewer_visual_tokens_raise_what_it_can_bear() -> None:
    one = _replicas(2.0, 6.0)
    told = [found.capacity_per_s for found in one.fewer_tokens()]
    assert [one.capacity_per_s(Timed.LATENCY, 0.0), *told] == sorted([one.capacity_per_s(Timed.LATENCY, 0.0), *told])


def test_a_service_says_it_whole_and_the_same_again() -> None:
    found = service(_replicas(20.0, 4.0), 1, 0.9)
    assert found == service(_replicas(20.0, 4.0), 1, 0.9)
    assert found.stable
    assert found.latency is not None
    assert found.ttft is not None
    assert found.latency.p50_s <= found.latency.p95_s <= found.latency.p99_s
    low, high = found.latency.p95_interval_s
    assert low < found.latency.p95_s < high
    assert found.capacity_interval_per_s[0] < found.capacity_per_s < found.capacity_interval_per_s[1]
    assert found.goodput_per_s == pytest.approx(20.0, rel=0.06)
    assert found.gpu_rate_per_s == 20.0 / found.replicas
    assert [one.latency_p95_s for one in found.curve] == sorted(one.latency_p95_s for one in found.curve)
    assert 0 < found.knee_rate_per_s < found.capacity_per_s


def _published() -> list[dict[str, str]]:
    with (ROOT / "facts" / "served_latency.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Rows that the simulation misses by more, and why: docs/evidence/load.md.
MISSED = {("Qwen/Qwen3.5-9B", 16.0), ("Qwen/Qwen3.5-35B-A3B", 1.0), ("Qwen/Qwen3.5-35B-A3B", 16.0)}


@pytest.mark.parametrize("row", _published(), ids=lambda row: f"{row['model'].rpartition('/')[2]}-{row['rate_per_s']}")
def test_published_curves_at_several_rates(row: dict[str, str]) -> None:
    """VLLM's mean latency by rate, on which nothing is fitted; prompts and outputs of the mean length."""
    ready, rate = machine_of(row["hardware"]), float(row["rate_per_s"])
    workload = Workload(text_tokens=round(float(row["input_tokens"])), output_tokens=round(float(row["output_tokens"])))
    request = request_of(catalogue.model(row["model"]), workload, 0, Precision(row["precision"]))
    one = engine(request, ready, cost(request, ready), ready.hardware.usable_bytes(Runtime.VLLM))
    found = serve(one, [index / rate for index in range(int(row["requests"]))])
    off = _mean(found.latency_s) / float(row["latency_mean_s"]) - 1
    if (row["model"], rate) in MISSED:
        assert -0.65 < off < -0.2
    else:
        assert abs(off) < 0.2


def test_a_trace_is_served_as_it_came(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    times = Arrivals(rate_per_s=2.0).at_replica(0, 1, 400, 5)
    path.write_text("# seconds\n" + "".join(f"{time + 1_000:.6f}\n" for time in times), encoding="utf-8")
    trace = read_trace(path)
    assert trace.times_s[0] == 0.0
    assert trace.rate_per_s == pytest.approx(2.0, rel=0.15)
    assert sorted(one for part in range(3) for one in trace.at_replica(part, 3, 0, 0)) == list(trace.times_s)
    found = vlmplan.estimate(
        model="Qwen2.5-VL-7B", hardware="l4", visual_tokens=391, text_tokens=50, output_tokens=32, rate=str(path)
    )
    assert found.service is not None
    assert found.service.requests == 400


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["1", "3", "2", *map(str, range(4, 14))], "found 2 s after 3 s"),
        ([*map(str, range(10)), "100"], "nothing comes for 91 s after 9 s"),
        (["5"] * 20, "all 20 requests come at one moment"),
        (["1", "2"], "found 2 arrival times"),
        (["1", "x"], "line 2: expected the time of an arrival"),
        (["-1", "2"], "line 1: expected the time of an arrival"),
        (["nan", "2"], "line 1: expected the time of an arrival"),
    ],
)
def test_traces_that_say_no_rate_are_refused(lines: list[str], told: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        read_trace(path)


SHORT, LONG = (
    {"text_tokens": 40, "output_tokens": 8, "image": "640x480"},
    {"text_tokens": 600, "output_tokens": 300, "image": "640x480", "images": 3},
)


def _logged(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def _served_log(log: str, rate: str) -> Service:
    found = vlmplan.estimate(model="Qwen2.5-VL-7B", hardware="a100-80gb-sxm", requests=log, rate=rate).service
    assert found is not None
    return found


@pytest.mark.filterwarnings("ignore::vlmplan.errors.Assumed")
def test_logged_requests_are_served_with_their_own_sizes(tmp_path: Path) -> None:
    """At a rate at which none meets another, the percentiles are those of each logged request alone."""
    log = _logged(tmp_path / "log.jsonl", *[SHORT] * 90, *[LONG] * 10)
    found = _served_log(log, "1/h")
    short, long = (
        vlmplan.estimate(model="Qwen2.5-VL-7B", hardware="a100-80gb-sxm", **_words(row)).latency_s
        for row in (SHORT, LONG)
    )
    assert long > 5 * short
    assert found.sizes == 100
    assert found.latency is not None
    assert found.latency.p50_s == pytest.approx(short, rel=0.1)
    assert found.latency.p95_s == pytest.approx(long, rel=0.1)


def _words(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "images": row.get("images", 1)}


@pytest.mark.filterwarnings("ignore::vlmplan.errors.Assumed")
def test_logged_requests_come_when_they_came(tmp_path: Path) -> None:
    """The same sizes at the same times: long ones that come together take longer than long ones that come apart."""
    times = [*(2.0 * step for step in range(40)), *(80 + 0.01 * step for step in range(20)), 130.0]
    together = [LONG if 40 <= at < 60 else SHORT for at in range(len(times))]
    apart = [LONG if at % 2 and at < 40 else SHORT for at in range(len(times))]
    assert together.count(LONG) == apart.count(LONG)
    found = []
    for name, rows in (("together", together), ("apart", apart)):
        stamped = [{**row, "time_s": 1e9 + time_s} for row, time_s in zip(rows, times, strict=True)]
        log = _logged(tmp_path / f"{name}.jsonl", *reversed(stamped))  # as they ended, say
        found.append(_served_log(log, log))
    assert [one.requests for one in found] == [len(times)] * 2
    assert [round(one.asked.rate_per_s, 6) for one in found] == [round((len(times) - 1) / 130, 6)] * 2
    first, second = (one.latency for one in found)
    assert first is not None
    assert second is not None
    assert first.p95_s > 1.5 * second.p95_s


def test_times_of_a_log_are_seconds_or_dates(tmp_path: Path) -> None:
    stamps = ["2026-11-29T10:00:00.5Z", "2026-11-29T12:00:01+02:00", 1795946402]
    rows = [{**SHORT, "timestamp": stamp} for stamp in stamps]
    assert [one.time_s for one in read_requests(Path(_logged(tmp_path / "log.jsonl", *rows))).requests] == [
        1795946400.5, 1795946401.0, 1795946402.0,
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::vlmplan.errors.Assumed")
@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([SHORT] * 20, "--rate: not every request in .* says when it came"),
        ([{**SHORT, "time_s": "soon"}] * 20, "line 1: time_s: expected seconds, or a time such as"),
        ([{**SHORT, "time_s": -1}] * 20, r"line 1: time_s: expected 0 to 1e\+15 seconds"),
        ([{**SHORT, "time_s": 10**400}] * 20, r"line 1: time_s: expected 0 to 1e\+15 seconds"),
        ([{**SHORT, "time_s": 5}] * 20, "all 20 requests come at one moment"),
    ],
)
def test_logs_that_say_no_arrivals_are_refused(rows: list[dict[str, Any]], told: str, tmp_path: Path) -> None:
    log = _logged(tmp_path / "log.jsonl", *rows)
    with pytest.raises(InputError, match=told):
        _served_log(log, log)


@pytest.mark.filterwarnings("ignore::vlmplan.errors.Assumed")
def test_a_recommendation_for_a_log_bears_the_long_ones_too(tmp_path: Path) -> None:
    log = _logged(tmp_path / "log.jsonl", *[SHORT] * 60, *[LONG] * 40)
    asked: dict[str, Any] = {"hardware": "l4", "task": "ocr", "latency": "60s", "model": "Qwen2.5-VL-7B", "rate": "3/s"}
    with_own, by_medians = vlmplan.recommend(**asked, requests=log), vlmplan.recommend(**asked, **_words(SHORT))
    assert with_own.service is not None
    assert by_medians.service is not None
    assert with_own.service.replicas > by_medians.service.replicas
    assert "requests are as large as the logged ones" in with_own.assumptions[0]
    assert "requests that are alike" in vlmplan.recheck(plan=with_own).notes[0]
    assert vlmplan.recheck(plan=by_medians).notes == ()


def test_of_requests_that_differ_the_cache_s_tokens_say_how_many_run() -> None:
    """Two of five tokens each in a cache of ten are as two slots."""
    by_slots = _engine(1.0, output_tokens=4, slots=2)
    mixed = replace(by_slots, slots=100, kv_tokens=10.0, mix=(by_slots.size,) * 3)
    times_s = Arrivals(rate_per_s=0.3).at_replica(0, 1, 2_000, 1)
    assert serve(mixed, times_s, [by_slots.size] * 2_000) == serve(by_slots, times_s)
    assert mixed.capacity_per_s() == pytest.approx(by_slots.capacity_per_s())


def test_what_is_borne_of_requests_that_differ_lies_where_the_queue_ends() -> None:
    request, ready = _request(32), machine_of("l4")
    priced, usable = cost(request, ready), ready.hardware.usable_bytes(Runtime.VLLM)
    alike = engine(request, ready, priced, usable)
    sizes = tuple(size_of(_request(tokens), ready) for tokens in (1, 8, 64, 500))
    one = mixed(alike, sizes, priced, usable, step_limits(ready.hardware)[1])
    most, drawn = one.capacity_per_s(), random.Random(1).choices(sizes, k=6_000)
    below, above = (
        serve(one, Arrivals(rate_per_s=share * most).at_replica(0, 1, 6_000, 0), drawn) for share in (0.85, 1.25)
    )
    assert below.span_s == pytest.approx(6_000 / (0.85 * most), rel=0.05)
    assert above.span_s > 1.1 * 6_000 / (1.25 * most)


BASE = ["--hardware", "l4", "--text-tokens", "50", "--output-tokens", "32"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rate", "0/s"], "--rate: found '0/s', expected a rate above zero"),
        (["--rate", "1e9/s"], "--rate: found '1e9/s', expected 0.0001/s to 100,000/s"),
        (["--rate", "20"], "did you mean 20/s?"),
        (["--rate", "-3/s"], "expected a rate above zero"),
        (
            ["--rate", "nothing.txt"],
            "nothing.txt: cannot be read (No such file or directory); expected a rate (20/s), or a file",
        ),
        (["--rate", "/dev/zero"], "/dev/zero: found not a regular file, expected a file; expected a rate (20/s)"),
        (["--rate", "20/s", "--replicas", "0"], "--replicas: found 0, expected 1 to 100000"),
        (["--replicas", "2"], "--replicas: found it without --rate"),
        (["--p95", "2s"], "--p95: found it without --rate"),
        (["--ttft-p99", "2s"], "--ttft-p99: found it without --rate"),
        (["--rate", "20/s", "--p95", "2"], "--p95: found '2', a bare number"),
        (["--rate", "20/s", "--concurrency", "4"], "--rate: found --concurrency or --batch beside it"),
    ],
)
@pytest.mark.parametrize("command", [["recommend"], ["estimate", "--model", "Qwen2.5-VL-7B"]])
def test_what_cannot_be_asked_is_said_in_a_line(command: list[str], options: list[str], told: str) -> None:
    result = CliRunner().invoke(app, [*command, *BASE, *options])
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_rate_beyond_what_it_bears_is_unstable_and_says_how_many_hold() -> None:
    result = CliRunner().invoke(app, ["estimate", "--model", "Qwen2.5-VL-7B", *BASE, "--rate", "60/s"])
    assert result.exit_code == 3
    assert "Load: unstable" in result.stdout
    assert "the least that hold are" in " ".join(result.stdout.split())
    assert "give --replicas" in result.stderr


def test_limits_that_no_number_of_replicas_keeps_are_named() -> None:
    found = CliRunner().invoke(
        app,
        ["estimate", "--model", "Qwen2.5-VL-7B", *BASE, "--rate", "120/min", "--visual-tokens", "391", "--p99", "1s"],
    )
    assert found.exit_code == 0, found.stderr
    shown = " ".join(found.stdout.split())
    assert "no number of them keeps the limits at all" in shown
    assert "0/h keep the limits (0.0 %" in shown


def test_the_renter_s_question_is_one_command() -> None:
    options = ["--rate", "20/s", "--p95", "2s", "--price", "l4=0.8,l40s=1.8,h100-sxm=3.5", "--minimise", "cost"]
    result = CliRunner().invoke(app, ["recommend", "--hardware", "l4,l40s,h100-sxm", *options])
    assert result.exit_code == 0, result.stderr
    for word in ("costs least", "20/s on", "replicas", "used", "in flight", "p95", "USD/1000"):
        assert word in " ".join(result.stdout.split())


def test_a_plan_for_a_rate_holds_it_and_is_asked_again_with_it(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "hardware": "l4",
        "task": "reasoning",
        "text_tokens": 50,
        "output_tokens": 32,
        "rate": "5/s",
    }
    plan = vlmplan.recommend(**asked, percentiles={"p95": "2s"}, price="l4=0.8")
    found, price = plan.service, plan.choice.price
    assert found is not None
    assert found.latency is not None
    assert found.latency.p95_s < 2.0
    assert price is not None
    assert price.thousand_requests_price == pytest.approx(1000 * found.replicas * 0.8 / 3600 / 5)
    vlmplan.save(plan, tmp_path / "plan.json")
    assert vlmplan.load(vlmplan.Plan, tmp_path / "plan.json") == plan
    assert vlmplan.recheck(plan=plan).holds
    few = vlmplan.recommend(**asked, percentiles={"p95": "2s"}, replicas=1)
    assert few.service is not None
    assert few.service.replicas == 1
    assert few.choice.predicted_error > plan.choice.predicted_error  # one bears a smaller model
    with pytest.raises(vlmplan.Infeasible, match="1 replica does not bear 5000 requests a second"):
        vlmplan.recommend(**(asked | {"rate": "5000/s"}), percentiles={"p95": "2s"}, replicas=1)


def test_limits_without_a_percentile_hold_for_95_of_100() -> None:
    asked: dict[str, Any] = {
        "hardware": "l4",
        "task": "reasoning",
        "text_tokens": 50,
        "output_tokens": 32,
        "rate": "3/s",
    }
    plain = vlmplan.recommend(**asked, latency="2s").service
    assert plain == vlmplan.recommend(**asked, percentiles={"p95": "2s"}).service
