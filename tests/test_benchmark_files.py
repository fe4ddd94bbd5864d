"""Others' benchmark files are read as the requests and times that they mean; what they do not tell is asked for."""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.measuring.benchmark_files import benchmark_rows
from vlmplan.measuring.observation import Quantity
from vlmplan.measuring.table import Read, read_measurements

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
MAC = catalogue.hardware("apple-m4-max")
DEVICE = catalogue.hardware("h100-sxm")


def serving(in_flight: float, **more: Any) -> dict[str, Any]:
    """What ``vllm bench serve --save-result`` writes: 200 requests of 512 and 128 tokens, so many at a time."""
    latency_s = 0.040 + 127 * 0.008
    return {
        "date": "20260703-041153", "endpoint_type": "openai-chat", "model_id": MODEL, "tokenizer_id": MODEL,
        "num_prompts": 200, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": None, "duration": 211.2,
        "completed": 200, "failed": 0, "total_input_tokens": 102_400, "total_output_tokens": 25_600,
        "request_throughput": in_flight / latency_s, "output_throughput": 121.2, "mean_ttft_ms": 44.0,
        "median_ttft_ms": 40.0, "std_ttft_ms": 8.0, "p99_ttft_ms": 90.0, "mean_tpot_ms": 8.1, "median_tpot_ms": 8.0,
        "std_tpot_ms": 0.2, "p99_tpot_ms": 9.0, "mean_itl_ms": 8.0, "median_itl_ms": 7.5, "std_itl_ms": 1.0,
        "p99_itl_ms": 12.0,
    } | more  # fmt: skip


def guide(concurrency: float) -> dict[str, Any]:
    """One run of GuideLLM's ``benchmarks.json``, as its version 0.4 lays it out."""

    def told(median: float) -> dict[str, Any]:
        at = {"mean": 1.1 * median, "median": median, "std_dev": 0.1 * median, "count": 100}
        return {"successful": at | {"percentiles": {"p50": median, "p99": 1.3 * median}}}

    return {
        "config": {"backend": {"model": MODEL}, "strategy": {"type_": "concurrent", "max_concurrency": 1}},
        "metrics": {
            "request_concurrency": told(concurrency) | {"successful": {"mean": concurrency}},
            "prompt_token_count": told(512), "output_token_count": told(128), "request_latency": told(1.056),
            "time_to_first_token_ms": told(40.0), "inter_token_latency_ms": told(8.0),
        },
    }  # fmt: skip


def aiperf(rate: float) -> dict[str, Any]:
    """What AIPerf 0.10 exports; the model named as GenAI-Perf names it is tried below."""

    def told(median: float, unit: str = "ms") -> dict[str, Any]:
        return {"unit": unit, "avg": 1.1 * median, "p50": median, "p99": 1.4 * median, "std": 0.1 * median, "count": 96}

    return {
        "schema_version": "1.3", "aiperf_version": "0.10.0",
        "request_throughput": {"unit": "requests/sec", "avg": rate},
        "request_latency": told(1056.0), "time_to_first_token": told(40.0), "inter_token_latency": told(8.0),
        "inter_chunk_latency": told(7.9), "input_sequence_length": told(512, "tokens"),
        "output_sequence_length": told(128, "tokens"),
        "input_config": {"models": {"items": [{"name": MODEL}]}, "endpoint": {"type": "chat", "streaming": True}},
    }  # fmt: skip


SUMMARY = """\
================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : {scenario}
Mode     : PerformanceOnly
Completed samples per second    : 9.98
Mean latency (ns)               : 1056000000
50.00 percentile latency (ns)   : 1050000000
Mean First Token latency (ns)             : 44000000
50.00 percentile first token latency (ns) : 40000000
Mean Time per Output Token (ns)           : 8100000
50.00 percentile time to output token (ns): 8000000

================================================
Test Parameters Used
================================================
samples_per_query : 1
"""


def metrics() -> str:
    """The text of vLLM's ``/metrics``: 100 requests, half of them done within 40 ms and 8 ms a token."""

    def histogram(name: str, edges: tuple[float, ...], total: float) -> str:
        counts = (0, 50, 100, 100)
        label = f'engine="0",model_name="{MODEL}"'
        lines = [
            f'vllm:{name}_bucket{{{label},le="{edge}"}} {count}.0'
            for edge, count in zip((*edges, "+Inf"), counts, strict=True)
        ]
        head = f"# HELP vllm:{name} Histogram.\n# TYPE vllm:{name} histogram"
        return "\n".join([head, *lines, f"vllm:{name}_count{{{label}}} 100.0", f"vllm:{name}_sum{{{label}}} {total}"])

    return "\n".join((
        histogram("time_to_first_token_seconds", (0.02, 0.04, 0.06), 4.0),
        histogram("request_time_per_output_token_seconds", (0.004, 0.008, 0.016), 0.8),
        histogram("request_prompt_tokens", (200.0, 512.0, 1000.0), 51200.0),
        histogram("request_generation_tokens", (50.0, 128.0, 200.0), 12800.0),
        f'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name="{MODEL}"}} 1.0\n',
    ))  # fmt: skip


GENAI = (
    "Batch Size,Prompt Length,Tokens Generated,Max Length,Tokenization Throughput (tps),Tokenization Latency (ms),"
    "Prompt Processing Throughput (tps),Prompt Processing Latency (ms),Token Generation Throughput (tps),"
    "Token Generation Latency (ms),Sampling Throughput (tps),Sampling Latency (ms),Wall Clock Throughput (tps),"
    "Wall Clock Time (s)\n1,512,128,640,1,1,12800,40.0,125,8.0,1,0.1,500,1.1\n"
)
TOLD = {"model": MODEL, "text_tokens": "512", "output_tokens": "128"}


def read(tmp_path: Path, text: str, name: str = "result.json", **told: str) -> Read:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_measurements(path, DEVICE, Runtime.VLLM, catalogue.model, told)


def seconds(found: Read) -> dict[Quantity, float]:
    return {one.quantity: one.measured_s for one in found.observed}


ALONE = {
    "vLLM's bench serve": (json.dumps(serving(1.0)), "vllm.json", {}),
    "by its limit": (json.dumps(serving(1.4, max_concurrency=1)), "vllm.json", {}),
    "SGLang's, appended twice": (
        "\n".join(2 * [json.dumps({
            **{key: one for key, one in serving(1.0).items() if key not in {"model_id", "num_prompts"}},
            "backend": "sglang-oai-chat", "total_input_text_tokens": 102_400, "total_input_vision_tokens": 0,
            "median_e2e_latency_ms": 1056.0,
        })]),
        "sglang.jsonl",
        {"model": MODEL},
    ),
    "GuideLLM": (json.dumps({"benchmarks": [guide(1.0)]}), "benchmarks.json", {}),
    "AIPerf": (json.dumps(aiperf(0.86)), "profile_export_aiperf.json", {}),
    "GenAI-Perf": (
        json.dumps(aiperf(0.86) | {"input_config": {"model_names": [MODEL]}}), "profile_export_genai_perf.json", {},
    ),
    "onnxruntime-genai": (GENAI, "genai.csv", {"model": MODEL}),
    "MLPerf, one stream": (SUMMARY.format(scenario="SingleStream"), "mlperf_log_summary.txt", TOLD),
    "vLLM's /metrics": (metrics(), "metrics.txt", {"concurrency": "1"}),
}  # fmt: skip


@pytest.mark.parametrize("tool", ALONE)
def test_requests_one_after_another_have_all_their_times(tmp_path: Path, tool: str) -> None:
    text, name, told = ALONE[tool]
    found = read(tmp_path, text, name, **told)
    assert seconds(found) == pytest.approx({Quantity.TTFT: 0.040, Quantity.TPOT: 0.008})
    request = found.observed[0].request
    assert (request.workload.text_tokens, request.workload.output_tokens) == (512, 128)
    assert request.workload.concurrency == 1
    assert request.model.name == MODEL
    assert not found.notes


LOADED = {
    "vLLM's bench serve": (json.dumps(serving(8.0)), "vllm.json", {}, 0.0075),
    "GuideLLM": (json.dumps({"benchmarks": [guide(8.0)]}), "benchmarks.json", {}, 0.008),
    "AIPerf": (json.dumps(aiperf(8 / 1.1616)), "profile_export_aiperf.json", {}, 0.0079),
    "MLPerf, a server": (SUMMARY.format(scenario="Server"), "summary.txt", TOLD, 0.008),
    "vLLM's /metrics": (metrics(), "metrics.txt", {"concurrency": "8"}, 0.008),
}


@pytest.mark.parametrize("tool", LOADED)
def test_under_load_only_the_time_of_a_step_is_taken(tmp_path: Path, tool: str) -> None:
    text, name, told, step_s = LOADED[tool]
    found = read(tmp_path, text, name, **told)
    assert seconds(found) == pytest.approx({Quantity.TPOT: step_s})
    met = found.observed[0].request.workload.concurrency
    assert met == (10 if "MLPerf" in tool else 8)
    assert found.notes == (f"{name}: {met} requests in flight, so that only the time of a step is taken",)


def test_a_median_is_as_sure_as_its_spread_and_count_make_it(tmp_path: Path) -> None:
    few = read(tmp_path, json.dumps(serving(1.0, completed=2, total_input_tokens=1024, total_output_tokens=256)))
    many = read(tmp_path, json.dumps(serving(1.0)))
    assert few.observed[0].noise_log_sd == pytest.approx(10 * many.observed[0].noise_log_sd)
    assert many.observed[0].noise_log_sd == pytest.approx(1.2533 * (8 / 40) / 200**0.5, rel=1e-3)


def test_a_bucket_is_as_unsure_as_it_is_wide(tmp_path: Path) -> None:
    found = read(tmp_path, metrics(), "metrics.txt", concurrency="1")
    assert found.observed[0].noise_log_sd == pytest.approx(0.2, abs=0.001)  # log(2) / sqrt(12)


def test_visual_tokens_are_apart_from_text_where_the_tool_tells_both(tmp_path: Path) -> None:
    run = serving(1.0, total_input_tokens=200 * 640, total_input_text_tokens=200 * 64,
                  total_input_vision_tokens=200 * 576, model_id="llava-hf/llava-1.5-7b-hf")  # fmt: skip
    request = read(tmp_path, json.dumps(run)).observed[0].request
    assert (request.workload.text_tokens, request.visual_tokens) == (64, 576)


def bench(**more: Any) -> dict[str, Any]:
    """One test of ``llama-bench -o json`` (tools/llama-bench/README.md of llama.cpp, 2026)."""
    return {
        "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD Ryzen 7 7800X3D", "gpu_info": "",
        "backends": "CUDA", "model_filename": "models/Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf",
        "model_type": "qwen2vl 7B Q4_K - Medium", "model_size": 4677120000, "model_n_params": 7615616512,
        "n_batch": 2048, "n_ubatch": 512, "n_threads": 8, "type_k": "f16", "type_v": "f16", "n_prompt": 0, "n_gen": 0,
        "n_depth": 0, "test_time": "2026-04-24T12:00:00Z", "avg_ns": 100_000_000, "stddev_ns": 2_000_000,
        "samples_ns": [99_000_000, 101_000_000, 98_000_000, 102_000_000],
    } | more  # fmt: skip


BENCH = [
    bench(n_prompt=512),
    bench(n_gen=128, avg_ns=1_280_000_000),
    bench(n_gen=128, n_depth=4096, avg_ns=1_536_000_000, model_type="qwen2vl 7B Q8_0"),
]


def _bench_text(form: str, tests: list[dict[str, Any]]) -> str:
    if form == "json":
        return json.dumps(tests, indent=2)
    if form == "jsonl":
        return "\n".join(map(json.dumps, tests))
    head = [key for key in tests[0] if key != "samples_ns"]
    return "\n".join([",".join(head), *(",".join(f'"{one[key]}"' for key in head) for one in tests)]) + "\n"


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_prefills_and_steps_of_llama_bench_are_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"bench.{form}"
    path.write_text(_bench_text(form, BENCH), encoding="utf-8")
    read = read_measurements(path, MAC, Runtime.LLAMA_CPP, catalogue.model, {"model": MODEL})
    assert not read.notes
    first, step, deep = read.observed
    assert [one.quantity for one in read.observed] == [Quantity.TTFT, Quantity.TPOT, Quantity.TPOT]
    assert [one.measured_s for one in read.observed] == pytest.approx([0.1, 0.01, 0.012])
    assert [one.request.prompt_tokens for one in read.observed] == [512, 1, 4096]
    assert step.request.workload.output_tokens == 128
    assert first.request.precision is Precision.INT4
    assert deep.request.precision is Precision.INT8
    assert 0 < first.noise_log_sd < 0.03


@pytest.mark.parametrize(
    ("kind", "precision"), [("F16", Precision.FP16), ("BF16", Precision.BF16), ("all F32", Precision.FP32)]
)
def test_a_whole_gguf_has_its_precision(tmp_path: Path, kind: str, precision: Precision) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([bench(n_prompt=512, model_type=f"qwen2vl 7B {kind}")]), encoding="utf-8")
    read = read_measurements(path, DEVICE, Runtime.LLAMA_CPP, catalogue.model, {"model": MODEL})
    assert read.observed[0].request.precision is precision


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"n_prompt": 512, "n_gen": 128}, "pp512+tg128 is a prefill and steps in one time, and is left out"),
        ({"n_prompt": 512, "n_depth": 4096}, "pp512 at a depth of 4096 tokens is a prefill after a cached prompt"),
        ({"n_gen": 128, "model_type": ""}, "model_type: found '', of which F32"),
        ({"n_gen": 128, "model_type": "qwen2vl 7B Q6_K"}, "model_type: found 'qwen2vl 7B Q6_K', of which F32, F16"),
    ],
)
def test_what_llama_bench_mixes_is_left_out_and_said(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([BENCH[0], bench(**more)]), encoding="utf-8")
    read = read_measurements(path, MAC, Runtime.LLAMA_CPP, catalogue.model, {"model": MODEL})
    assert len(read.observed) == 1
    assert len(read.notes) == 1
    assert read.notes[0].startswith(f"bench.json run 2: {said}")
    path.write_text(json.dumps([bench(**more)]), encoding="utf-8")
    with pytest.raises(InputError, match="nothing to take"):
        read_measurements(path, MAC, Runtime.LLAMA_CPP, catalogue.model, {"model": MODEL})


@pytest.mark.parametrize("value", ["fast", "nan", "1e400", "-5", [1], {"a": 1}, True])
def test_a_number_of_llama_bench_that_is_none_is_named(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([bench(n_prompt=value)]), encoding="utf-8")
    with pytest.raises(InputError, match=r"bench.json: n_prompt: found .* expected a number"):
        read_measurements(path, MAC, Runtime.LLAMA_CPP, catalogue.model, {"model": MODEL})


def test_llama_bench_moves_a_devices_calibration(tmp_path: Path) -> None:
    """Towards what was measured, which is slower than what devices of its kind reach."""
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(BENCH), encoding="utf-8")
    out = tmp_path / "mac.toml"
    asked = ["profile", "--from", str(path), "--hardware", "m4-max", "--runtime", "llama.cpp", "--model", MODEL]
    result = CliRunner().invoke(app, [*asked, "--out", str(out)])
    assert result.exit_code == 0, result.output
    estimate = ["estimate", "--model", MODEL, "--runtime", "llama.cpp", "--precision", "int4", "--text-tokens", "512",
                "--visual-tokens", "0", "--output-tokens", "128", "--json"]  # fmt: skip
    tpot_s = [
        json.loads(CliRunner().invoke(app, [*estimate, "--hardware", name]).stdout)["tpot_s"]
        for name in ("m4-max", str(out))
    ]
    assert tpot_s[1] == pytest.approx(0.0102, rel=0.15)
    assert abs(tpot_s[1] - 0.01) <= abs(tpot_s[0] - 0.01) + 0.0005


def test_whole_requests_of_a_batch_are_read(tmp_path: Path) -> None:
    run = {"avg_latency": 1.1, "latencies": [1.0, 1.1, 1.2], "percentiles": {"10": 1.0, "50": 1.08, "99": 1.2}}
    found = read(tmp_path, json.dumps(run), **TOLD, batch="8")
    assert seconds(found) == {Quantity.LATENCY: 1.08}
    assert found.observed[0].request.workload.batch == 8


def test_what_is_told_comes_before_what_the_file_says(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps(serving(1.0)), precision="fp8", gpus="2", model="llava-1.5-7b-hf")
    request = found.observed[0].request
    assert (request.precision, request.gpus) == (Precision.FP8, 2)
    assert request.model.name == "llava-hf/llava-1.5-7b-hf"


def test_failed_requests_are_said(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(serving(1.0, failed=3))).notes == ("result.json: 3 requests failed",)


@pytest.mark.parametrize(
    ("text", "told", "message"),
    [
        ('{"speed": 3, "model": "x"}', {}, "found speed, model; looked for vLLM's or SGLang's bench serve: completed"),
        ("[3]", {}, "found a int; looked for"),
        ('{"benchmarks": 3}', {}, "not the result of a known benchmark"),
        ('{"completed": 3}\n{"completed"', {}, "line 2: is no JSON"),
        (json.dumps(serving(1.0, model_id=None)), {}, "the model is not told; add --model"),
        (json.dumps(serving(1.0, model_id="no-such-model")), {}, "no model"),
        (json.dumps(serving(1.0, completed=0)), {}, "completed: found '0', expected at least one request"),
        (json.dumps(serving(1.0, request_throughput=0)), {}, "in flight are not told; add --with concurrency=N"),
        (json.dumps(serving(8.0, median_tpot_ms=0, mean_tpot_ms=0)), {}, "in flight are not told"),
        (json.dumps({key: one for key, one in serving(8.0).items() if "tpot" not in key and "itl" not in key}),
         {"concurrency": "8"}, "several requests in flight and no time of a step"),
        (json.dumps(aiperf(1.0) | {"time_to_first_token": {"unit": "min", "p50": 1}}), {}, "found 'min', expected one"),
        (GENAI.replace("40.0", "fast"), {"model": MODEL}, r"Prompt Processing Latency \(ms\): found 'fast'"),
        (SUMMARY.format(scenario="SingleStream"), {"model": MODEL}, "text_tokens is not told, expected a whole number"),
        (metrics(), {}, "in flight are not told"),
        (metrics().replace("50.0\n", "many\n"), {"concurrency": "1"}, "not the text of a /metrics page"),
        (json.dumps(serving(1.0)), {"speed": "3"}, "--with: found 'speed', expected columns of model"),
        (json.dumps(serving(1.0)), {"gpus": "two"}, "gpus is 'two', expected a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, told: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, **told)


def test_a_table_of_ones_own_is_none_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("model,text_tokens,ttft_ms\nx,1,2\n", encoding="utf-8")
    assert benchmark_rows(path) is None


def test_the_command_reads_a_sweep(tmp_path: Path) -> None:
    """A sweep over load, as one appends its results: the runs alone give all times, the others their steps."""
    path, out = tmp_path / "sweep.jsonl", tmp_path / "mine.toml"
    runs = [serving(1.0), serving(4.0, median_itl_ms=8.2), serving(16.0, median_itl_ms=9.1)]
    path.write_text("\n".join(map(json.dumps, runs)), encoding="utf-8")
    given = ["profile", "--from", str(path), "--hardware", "h100-sxm", "--runtime", "vllm", "--out", str(out)]
    ran = CliRunner().invoke(app, given, env={"COLUMNS": "120"})
    assert ran.exit_code == 0, ran.output
    assert "by 4 measurements" in ran.stdout
    assert "Note: sweep.jsonl run 3: 16 requests in flight" in ran.stdout
    assert out.exists()


_WRONG: tuple[Any, ...] = (None, True, -1, 0, 1e400, 1e308, "fast", "", [], [1], {}, {"mean": "x"}, {"a": {"b": 1}})
_WHOLE: dict[str, dict[str, Any]] = {
    "serving": serving(4.0), "guidellm": {"benchmarks": [guide(4.0)], "args": {}}, "aiperf": aiperf(3.0),
    "latency": {"avg_latency": 1.1, "latencies": [1.0, 1.1], "percentiles": {"50": 1.08}},
}  # fmt: skip


def _places(table: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


@pytest.mark.parametrize("tool", _WHOLE)
def test_whatever_stands_in_a_file_is_read_or_named(tmp_path: Path, tool: str) -> None:
    for place in _places(_WHOLE[tool]):
        for wrong in _WRONG:
            run = copy.deepcopy(_WHOLE[tool])
            table: Any = run
            for key in place[:-1]:
                table = table[key]
            table[place[-1]] = wrong
            with contextlib.suppress(InputError):
                read(tmp_path, json.dumps(run), model=MODEL)


@pytest.mark.parametrize(
    "text",
    [
        "MLPerf Results Summary\n" + "a" * 200_000 + " " * 200_000,
        "MLPerf Results Summary\nScenario : Server\nSamples per second: many\nMean latency (ns): inf\n",
        'vllm:a_bucket{le="x"} 1\n',
        'vllm:time_to_first_token_seconds_bucket{le="+Inf"} 3\n',
        "vllm:a{ 1\n",
        *(
            "".join(f'vllm:time_to_first_token_seconds_bucket{{le="{edge}"}} {count}\n' for edge, count in pairs)
            for pairs in (
                (("-1", 1), ("2", 9)), (("nan", 1), ("2", 9)), (("1", 9), ("2", 1)), (("1", -9), ("2", "nan")),
            )
        ),
        "Prompt Length,Prompt Processing Latency (ms),Token Generation Latency (ms)\n1\n",
        'a,"' + "b" * 300_000,
        "\0,\0\n",
        "[" * 100_000,
    ],
)  # fmt: skip
def test_other_texts_are_read_or_named_at_once(tmp_path: Path, text: str) -> None:
    with contextlib.suppress(InputError):
        read(tmp_path, text, "result.txt", **TOLD)
