"""Predictions that change must be seen: goldens, rewritten only by --update-goldens, the diff reviewed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlmplan.cli.app import app

GOLDEN = Path(__file__).parent / "golden" / "predictions.json"
REQUEST = ["--text-tokens", "50", "--output-tokens", "32", "--json"]
ESTIMATES = [
    ("llava-1.5-7b", "a100-80gb-sxm", "576"), ("llava-1.5-7b", "l4", "576"), ("onevision-qwen2-7b", "h100-sxm", "4725"),
    ("Qwen2.5-VL-72B", "h200-sxm", "999"), ("Qwen3-VL-30B-A3B", "b200-sxm", "768"), ("gemma-3-4b", "l40s", "256"),
    ("SmolVLM-256M", "amd-epyc-9654", "832"), ("FastVLM-0.5B", "apple-m3-max", "256"), ("InternVL3-8B", "t4", "3328"),
]  # fmt: skip
IN_FLIGHT = [
    (*asked, runtime, count)
    for *asked, runtime in (
        ("llava-1.5-7b", "h100-sxm", "144", "vllm"), ("Qwen3-VL-4B", "l4", "768", "vllm"),
        ("llava-1.5-7b", "h100-sxm", "144", "transformers"), ("SmolVLM-256M", "amd-epyc-9654", "832", "onnxruntime"),
    )
    for count in ("2", "8", "32")
]  # fmt: skip
RECOMMENDATIONS = [
    ["--hardware", "l4", "--latency", "1s", "--task", "docvqa"],
    ["--hardware", "t4", "--ttft", "400ms", "--task", "reasoning=0.7,ocr=0.3"],
    ["--hardware", "h100-sxm", "--tpot", "12ms", "--task", "ocr", "--precision", "bf16,fp8"],
    ["--hardware", "geforce-rtx-4090", "--memory", "10GiB", "--task", "reasoning", "--precision", "bf16,int4"],
    ["--hardware", "a100-80gb-sxm", "--latency", "400ms", "--task", "reasoning", "--candidates", "paper"],
    ["--hardware", "l40s", "--ttft", "1s", "--task", "ocr", "--concurrency", "8"],
    ["--hardware", "h100-sxm", "--latency", "4s", "--task", "docvqa", "--concurrency", "32", "--runtime",
     "transformers"],
]  # fmt: skip


def _rounded(value: Any) -> Any:
    """Six significant digits, so that only predictions count and not the last bit of a power function."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _document(*arguments: str) -> dict[str, Any]:
    """What a command prints; an estimate of what does not fit (72B on one H200) ends with 3, priced all the same."""
    result = CliRunner().invoke(app, [*arguments, *REQUEST], catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (3 if found.get("obstacles") else 0), result.stderr
    return found


def _predictions() -> dict[str, Any]:
    times = ("ttft_s", "tpot_s", "latency_s", "flops", "memory_bytes")
    found = {}
    for model, hardware, tokens in ESTIMATES:
        document = _document("estimate", "--model", model, "--hardware", hardware, "--visual-tokens", tokens)
        found[f"{model} on {hardware} at {tokens}"] = {name: document[name] for name in times}
    for model, hardware, tokens, runtime, count in IN_FLIGHT:
        document = _document("estimate", "--model", model, "--hardware", hardware, "--visual-tokens", tokens,
                             "--runtime", runtime, "--concurrency", count)  # fmt: skip
        name = f"{model} on {hardware} with {runtime} at {tokens}, {count} in flight"
        found[name] = {name: document[name] for name in (*times, "requests_per_s")}
    for arguments in RECOMMENDATIONS:
        choice = _document("recommend", *arguments)["choice"]
        names = ("model", "precision", "visual_tokens", "predicted_error", "latency_s", "ttft_s")
        found[" ".join(arguments)] = {name: choice[name] for name in names}
    rounded: dict[str, Any] = _rounded(found)
    return rounded


def test_predictions_are_as_reviewed(request: pytest.FixtureRequest) -> None:
    found = _predictions()
    if request.config.getoption("--update-goldens"):
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == found
