"""Published times that no fit has seen: rows are whole and priced, and what is said of coverage and spread is right."""

import csv
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import latency_coverage as tool
import numpy as np
import pytest

from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf
from vlmplan.models import native_visual_tokens

FACTS = Path(__file__).resolve().parents[1] / "facts"
ENGINES = {"vllm", "sglang", "tensorrt-llm", "tensorrt-edge-llm", "transformers", "onnxruntime"}
COUNTS = ("tensor_parallel", "text_tokens", "output_tokens", "images")


def _rows(name: str = tool.TABLE) -> list[dict[str, str]]:
    with (FACTS / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row['source'][:12]} {row['model'].split('/')[-1]}")
def test_a_row_has_its_fields(row: dict[str, str]) -> None:
    assert row["source"] and row["url"] and row["note"]
    assert date.fromisoformat(row["date_read"]) >= date(2026, 11, 1)
    assert row["runtime"] in ENGINES and row["hardware"] in catalogue.names(Shelf.HARDWARE)
    assert row["model"] in tool.TEXT_MODELS or row["model"] in catalogue.names(Shelf.MODELS)
    assert (
        Precision(row["precision"]) and row["client"] in {"http", "offline"} and row["statistic"] in {"median", "mean"}
    )
    assert all(row[name].isdigit() for name in COUNTS) and int(row["output_tokens"]) > 1
    given = [float(row[name]) for name in ("ttft_ms", "tpot_ms", "latency_ms") if row[name]]
    assert given and min(given) > 0
    assert (row["images"] != "0") == bool(row["image_width_px"] and row["image_height_px"])


@pytest.mark.parametrize("row", [row for row in _rows() if row["visual_tokens"]], ids=lambda row: row["model"])
def test_an_image_makes_the_tokens_that_the_source_counts(row: dict[str, str]) -> None:
    """Sources count a start and an end beside them."""
    size = (int(row["image_width_px"]), int(row["image_height_px"]))
    made = native_visual_tokens(tool.model_of(row["model"]), size)
    assert made == pytest.approx(int(row["visual_tokens"]), rel=0.025)


def test_no_source_is_one_that_was_fitted_on() -> None:
    fitted = {row["source"] for row in _rows("published_latency.csv")} | {"Argonne LLM-Inference-Bench"}
    seen = {row["source"] for row in _rows()}
    assert len(seen) >= 20 and not seen & fitted
    assert not {row["url"] for row in _rows()} & {row["url"] for row in _rows("published_latency.csv")}


def test_the_page_shows_what_the_tool_prints(capsys: pytest.CaptureFixture[str]) -> None:
    found = tool.residuals()
    tool.print_coverage(found, "engine", lambda one: one.engine)
    tool.print_coverage(found, "source", lambda one: one.source)
    tool.print_rules(found)
    shown = (FACTS.parent / "docs" / "evidence" / "latency.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in capsys.readouterr().out.splitlines() if line not in shown] == []


def test_every_row_is_priced_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = tool.residuals()
    assert {one.source for one in found} == {row["source"] for row in _rows()}
    assert all(math.isfinite(one.log_ratio) and one.log_sd > 0 for one in found)
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
            log_sd=log_sd,
        )
        for number, mine in enumerate(random.normal(0.2, between, size=sources))
        for _ in range(each)
    ]


def test_a_planted_spread_is_found() -> None:
    found = tool.spread(_made(between=0.4, within=0.15, log_sd=0.1))
    assert found.between == pytest.approx(0.4, rel=0.15) and found.within == pytest.approx(0.15, rel=0.1)
    assert found.mean == pytest.approx(0.2, abs=0.08)
    low, high = tool.bootstrap(_made(0.4, 0.15, 0.1, sources=40), draws=50)
    assert low < 0.4 < high


def test_sources_that_agree_have_no_spread() -> None:
    assert tool.spread(_made(between=0.0, within=0.2, log_sd=0.1)).between < 0.03


def test_intervals_of_the_right_width_hold_what_they_say_and_need_no_more() -> None:
    found = _made(between=0.0, within=0.3, log_sd=0.36, each=1)  # 0.3 beside the common 0.2
    assert tool.coverage(found, 0.9) == pytest.approx(0.9, abs=0.05)
    assert tool.needed_log_sd(found) < 0.15


def test_a_constant_makes_too_narrow_intervals_hold_on_sources_left_out() -> None:
    found = _made(between=0.5, within=0.1, log_sd=0.1, sources=60)
    judged = tool.rules(found)
    assert judged["as shipped"].held < 0.5 and judged["with a constant"].held == pytest.approx(0.9, abs=0.04)
    assert judged["with a constant"].score < judged["as shipped"].score
    assert tool.coverage(found, 0.9, tool.needed_log_sd(found)) == pytest.approx(0.9, abs=0.005)


def test_taking_a_common_bias_off_is_better_than_widening_for_it() -> None:
    judged = tool.rules(tool.shifted(_made(between=0.2, within=0.1, log_sd=0.1, sources=60), -1.0))
    centred = judged["bias taken off, with a constant"]
    assert centred.held == pytest.approx(0.9, abs=0.06) and centred.log_sd < judged["with a constant"].log_sd / 2
    assert centred.score < judged["with a constant"].score / 2


def test_every_source_counts_alike() -> None:
    one, many = _made(0.0, 0.0, 0.1, sources=1, each=1), _made(0.0, 0.0, 0.1, sources=1, each=9)
    far = [replace(each, source="far", measured_s=9.0) for each in many]
    assert tool.coverage([*one, *far], 0.9) == pytest.approx(tool.coverage(one, 0.9) / 2)


def test_the_interval_score_is_the_published_one() -> None:
    """At 90 %, sd 0.1: a width of 2 x 1.645 x 0.1, and 20 for each unit outside (Gneiting & Raftery 2007)."""
    (one,) = _made(0.0, 0.0, 0.1, sources=1, each=1)
    width = 2 * 1.6448536 * 0.1
    assert tool.interval_score(one, 0.1) == pytest.approx(width + 20 * (abs(one.log_ratio) - width / 2))
    assert tool.interval_score(one, 1.0) == pytest.approx(10 * width)
