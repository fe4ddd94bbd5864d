"""Published times: rows are whole and priced, sources left out are held, coverage and spread are told right."""

import csv
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import fit_overhead
import latency_coverage as tool
import numpy as np
import pytest

from vlmplan.cost.uncertainty import Spread
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf
from vlmplan.measuring.observation import Quantity
from vlmplan.models import native_visual_tokens

FACTS = Path(__file__).resolve().parents[1] / "facts"
ENGINES = {"vllm", "sglang", "tensorrt-llm", "tensorrt-edge-llm", "transformers", "onnxruntime", "llama.cpp"}
COUNTS = ("tensor_parallel", "text_tokens", "output_tokens", "images")


def _rows() -> list[dict[str, str]]:
    with fit_overhead.PUBLISHED.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row['source'][:12]} {row['model'].split('/')[-1]}")
def test_a_row_has_its_fields(row: dict[str, str]) -> None:
    assert row["source"] and row["url"]
    assert not row["date_read"] or date.fromisoformat(row["date_read"]) >= date(2026, 11, 1)
    assert row["runtime"] in ENGINES and row["hardware"] in catalogue.names(Shelf.HARDWARE)
    assert row["model"] in fit_overhead.MODELS or row["model"] in catalogue.names(Shelf.MODELS)
    assert (
        Precision(row["precision"])
        and row["client"] in {"http", "offline"}
        and row["statistic"] in {"median", "mean", ""}
    )
    assert all(row[name].isdigit() for name in COUNTS)
    given = [float(row[name]) for name in ("ttft_ms", "tpot_ms", "latency_ms") if row[name]]
    assert given and min(given) > 0
    assert (row["images"] != "0") == bool(row["image_width_px"] and row["image_height_px"])


@pytest.mark.parametrize("row", [row for row in _rows() if row["visual_tokens"]], ids=lambda row: row["model"])
def test_an_image_makes_the_tokens_that_the_source_counts(row: dict[str, str]) -> None:
    """Sources count a start and an end beside them."""
    size = (int(row["image_width_px"]), int(row["image_height_px"]))
    made = native_visual_tokens(fit_overhead.model_of(row["model"]), size)
    assert made == pytest.approx(int(row["visual_tokens"]), rel=0.025)


def test_the_page_shows_what_the_tool_prints(capsys: pytest.CaptureFixture[str]) -> None:
    found = tool.residuals()
    tool.print_coverage(found, "engine", lambda one: one.engine)
    tool.print_coverage(found, "source", lambda one: one.source)
    tool.print_rules(found)
    shown = (FACTS.parent / "docs" / "evidence" / "latency.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in capsys.readouterr().out.splitlines() if line not in shown] == []


def test_intervals_hold_sources_left_out_and_beat_the_best_constant() -> None:
    rules = tool.rules(tool.residuals())
    fitted, constant = rules["as fitted"], rules["the best constant"]
    assert 0.85 <= fitted.held <= 0.95 and fitted.score < 0.9 * constant.score and fitted.log_sd < constant.log_sd


def test_every_row_is_priced_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = tool.residuals()
    fitted = {row["source"] for row in _rows() if fit_overhead.runtime_of(row["runtime"]) in fit_overhead.FITTED}
    assert {one.source for one in found} == fitted | {fit_overhead.ARGONNE, fit_overhead.LLAVA}
    assert all(math.isfinite(one.log_ratio) and one.spread.log_sd > 0 for one in found)
    tool.print_coverage(found, "source", lambda one: one.source)
    tool.print_spreads(found, draws=5)
    tool.print_rules(found)
    printed = capsys.readouterr().out
    assert all(f"| {one.source} | {one.quantity} |" in printed for one in found)


def _made(between: float, within: float, log_sd: float, sources: int = 200, each: int = 5) -> list[tool.Residual]:
    """Times of sources that differ by ``between``, and within a source by ``within``; a predicted second."""
    random = np.random.default_rng(1)
    return [
        tool.Residual(
            source=f"source {number}",
            engine="vllm",
            hardware="l4",
            quantity="ttft",
            measured_s=math.exp(mine + random.normal(0, within)),
            predicted_s=1.0,
            spread=Spread(log_sd=log_sd),
        )
        for number, mine in enumerate(random.normal(0.2, between, size=sources))
        for _ in range(each)
    ]


def test_a_planted_spread_is_found() -> None:
    found = tool.effects(_made(between=0.4, within=0.15, log_sd=0.1))
    assert found.between == pytest.approx(0.4, rel=0.15) and found.within == pytest.approx(0.15, rel=0.1)
    assert found.mean == pytest.approx(0.2, abs=0.08)
    low, high = tool.bootstrap(_made(0.4, 0.15, 0.1, sources=40), draws=50)
    assert low < 0.4 < high


def test_sources_that_agree_have_no_spread() -> None:
    assert tool.effects(_made(between=0.0, within=0.2, log_sd=0.1)).between < 0.03


def test_intervals_of_the_right_width_hold_what_they_say() -> None:
    found = _made(between=0.0, within=0.3, log_sd=0.36, each=1)  # 0.3 beside the common 0.2
    assert tool.coverage(found, 0.9) == pytest.approx(0.9, abs=0.05)
    assert tool.best_constant(found) == pytest.approx(0.36, rel=0.25)


def test_too_narrow_intervals_score_worse_than_the_best_constant() -> None:
    judged = tool.rules(_made(between=0.5, within=0.1, log_sd=0.1, sources=60))
    fitted, constant = judged["as fitted"], judged["the best constant"]
    assert fitted.held < 0.5 and constant.held == pytest.approx(0.9, abs=0.06) and constant.score < fitted.score


def test_every_source_counts_alike() -> None:
    one, many = _made(0.0, 0.0, 0.1, sources=1, each=1), _made(0.0, 0.0, 0.1, sources=1, each=9)
    far = [replace(each, source="far", measured_s=9.0) for each in many]
    assert tool.coverage([*one, *far], 0.9) == pytest.approx(tool.coverage(one, 0.9) / 2)


def test_the_interval_score_is_the_published_one() -> None:
    """At 90 %: the width, and 20 for each unit outside (Gneiting & Raftery 2007)."""
    off, half = np.array([-0.5, 0.0, 0.3]), np.full(3, 0.2)
    assert fit_overhead.interval_scores(off, -half, half) == pytest.approx([0.4 + 20 * 0.3, 0.4, 0.4 + 20 * 0.1])


def _residuals(host_log_sd: float, sources: int = 40) -> list[fit_overhead.Residual]:
    """First tokens of 10 ms of kernels and 30 ms of a host that differs by ``host_log_sd``, median right."""
    random = np.random.default_rng(3)
    parts = fit_overhead.Parts(first_s=0.01, step_s=0.0, call_s=0.0, request_s=0.03, image_s=0.0)
    return [
        fit_overhead.Residual(
            point=fit_overhead.Point(
                source=f"source {number}", engine="vllm", runtime=Runtime.VLLM, hardware="l4", model="made",
                precision=Precision.BF16, quantity=Quantity.TTFT, measured_s=0.01 + 0.03 * math.exp(off),
                kernels_s=(0.0, 0.01, 0.0), layers=(0.0, 32), steps=0, served=True, image=False, preprocess_s=0.0,
                kernels_log_sd=0.05,
            ),
            parts=parts,
        )
        for number, off in enumerate(random.normal(0.0, host_log_sd, size=sources))
    ]  # fmt: skip


@pytest.mark.parametrize("planted", [0.4, 1.0])
def test_a_planted_spread_of_hosts_is_found(planted: float) -> None:
    assert fit_overhead.between(_residuals(planted, sources=200)).request == pytest.approx(planted, rel=0.2)


def test_a_slow_host_lengthens_a_first_token_and_none_is_quicker_than_its_kernels() -> None:
    one = _residuals(1.3)[0]
    spread = fit_overhead.Between(first=0.1, step=0.1, call=0.4, request=1.3, image=1.0).spread(one)
    low_s, high_s = spread.interval(one.parts.total_s, 0.9)
    assert 0.8 * 0.01 < low_s < 0.02 and high_s > 5 * one.parts.total_s
