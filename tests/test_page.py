"""The HTML page and the pictures in the terminal: they show what the plan says, and nothing from outside."""

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_models import exported
from test_cli import RECOMMEND, changed, run
from test_plans_again import planned

import vlmplan
from vlmplan.document import from_plain, load, to_json
from vlmplan.errors import InputError
from vlmplan.exporting.manifest import read_manifest
from vlmplan.pages.html_page import Dossier, page
from vlmplan.pages.page_charts import front_chart, knee_chart, latency_chart, load_chart, parts_chart
from vlmplan.planning.plan import Plan, knee_curve_of
from vlmplan.proof.report import Report, held, passed
from vlmplan.views.service import service_lines

SLOWER = 8.0


@functools.cache
def reported() -> Report:
    """A report with two times held against the plan."""
    choice = planned().choice
    ttft, latency = (
        {"measured_s": SLOWER * predicted_s, "predicted_s": predicted_s}
        for predicted_s in (choice.ttft_s, choice.latency_s)
    )
    checks = (
        passed("numbers", "3 <b>good</b> tensors"),
        passed("latency: ttft", "slow", **ttft),
        passed("latency: request", "slow", **latency),
    )
    return Report(
        export="made", checkpoint="small", provider="cpu", threads=2, versions={"torch": "2"}, passed=True,
        checks=checks,
    )  # fmt: skip


class _Outline(HTMLParser):
    """The headings, text and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden = tag in ("script", "style")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        self.hidden = self.hidden and tag not in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)


def _read(html: str) -> tuple[str, list[str]]:
    parser = _Outline()
    parser.feed(html)
    return " ".join(" ".join(parser.text).split()), parser.addresses


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan and a report in it."""
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text(to_json(planned()), encoding="utf-8")
    Path("report.json").write_text(to_json(reported()), encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_page_says_what_the_plan_says_and_asks_nothing_of_a_network() -> None:
    code, _, err = run("page", "plan.json", "--report", "report.json", "--out", "it.html")
    assert (code, err) == (0, "wrote it.html\n")
    text, addresses = _read(Path("it.html").read_text(encoding="utf-8"))
    assert [one for one in addresses if not one.startswith("data:")] == []
    plan = planned()
    for wanted in (plan.choice.model, "48.4 %", "3 <b>good</b> tensors", plan.hardware.sources[0][:30]):
        assert wanted in text
    for one in (*plan.front, *plan.runners_up):
        assert one.model in text
    for warning in plan.warnings:
        assert " ".join(warning.split()) in text
    code, _, err = run("page", "plan.json", str(exported()))
    assert code == 2
    assert "is no export of this plan" in err


def test_an_export_is_listed_file_by_file() -> None:
    manifest = read_manifest(exported())
    text, _ = _read(page(Dossier(plan=planned(), export=manifest)))
    assert all(name in text for name in manifest.files)
    assert "Not validated yet" in text


def test_a_report_of_another_plan_is_refused() -> None:
    plan = planned()
    other = replace(plan, choice=replace(plan.choice, ttft_s=2 * plan.choice.ttft_s))
    with pytest.raises(InputError, match="expected the report of an export of this plan"):
        page(Dossier(plan=other, report=reported()))


def test_a_plan_whose_choice_is_not_on_its_front_is_refused() -> None:
    with pytest.raises(InputError, match="front"):
        replace(planned(), front=())


def test_the_same_documents_make_the_same_bytes() -> None:
    dossier = Dossier(plan=planned(), report=reported())
    assert page(dossier) == page(dossier)


def test_every_candidate_can_be_pointed_at() -> None:
    plan = planned()
    hovers = [text for trace in front_chart(plan).data for text in trace.hovertext or ()]
    for one in (*plan.front, *plan.runners_up):
        assert any(one.model in text and f"{one.visual_tokens} visual tokens" in text for text in hovers)


def test_names_from_files_are_text_and_nothing_else() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    plan = planned()
    front = tuple(replace(one, model=evil) for one in plan.front)
    changed_plan = replace(plan, front=front, choice=replace(plan.choice, model=evil))
    html = page(Dossier(plan=changed_plan))
    parser = _Outline()
    parser.feed(html)
    assert evil in " ".join(parser.text)
    assert "<script>alert" not in html
    hovers = [text for trace in front_chart(changed_plan).data for text in trace.hovertext or ()]
    assert any("&lt;script&gt;" in text for text in hovers)
    assert not any("<script>" in text or "<img" in text for text in hovers)


def test_charts_hold_the_plans_own_figures() -> None:
    plan, report = planned(), reported()
    bars = parts_chart(plan).data
    assert sum(bar.x[0] for bar in bars) == pytest.approx(1e3 * plan.choice.latency_s, rel=1e-6)
    knee = knee_chart(plan)
    assert knee is not None
    assert knee.data[-1].y[0] == pytest.approx(1e3 * plan.choice.ttft_s)
    latency = latency_chart(report, plan)
    assert latency is not None
    assert list(latency.data[1].x) == pytest.approx([100 * SLOWER, 100 * SLOWER])
    assert latency_chart(replace(report, checks=report.checks[:1]), plan) is None


def test_a_load_is_told_and_drawn() -> None:
    plan = vlmplan.recommend(
        hardware="l40s", task="reasoning", text_tokens=50, output_tokens=32, rate="20/s", percentiles={"p95": "2s"},
        price=str(Path(__file__).parents[1] / "docs" / "prices.toml"),
    )  # fmt: skip
    found = plan.service
    assert found is not None
    html = unescape(page(Dossier(plan=plan)))
    for line in service_lines(found):
        assert line in html
    for tile in (f"<b>{found.replicas}</b><span>20/s", "<span>1,000 requests</span>", "<dd>latency p95 2.00 s</dd>"):
        assert tile in html
    assert "vlmplan handover PLAN.json" in html
    chart = load_chart(plan)
    assert chart is not None
    assert list(chart.data[0].x) == [one.rate_per_s for one in found.curve]
    assert list(chart.data[0].y) == pytest.approx([1e3 * one.latency_p95_s for one in found.curve])
    assert [line.x0 for line in chart.layout.shapes] == [found.knee_rate_per_s, 20 / found.replicas]
    assert load_chart(planned()) is None
    assert "<h2>Under load" not in page(Dossier(plan=planned()))


def test_charts_of_slow_plans_are_in_seconds() -> None:
    plan = planned()
    slow = replace(plan, choice=replace(plan.choice, latency_s=1000 * plan.choice.latency_s))
    assert front_chart(plan).layout.xaxis.title.text.endswith(", ms")
    made = front_chart(slow)
    assert made.layout.xaxis.title.text.endswith(", s")
    assert list(made.data[1].x) == pytest.approx([1e-3 * one for one in front_chart(plan).data[1].x])
    assert parts_chart(slow).layout.xaxis.title.text == "s"


def test_parts_say_their_names_where_there_is_room() -> None:
    choice = planned().choice
    told = {bar.name: bar.text for bar in parts_chart(planned()).data}
    assert told["decode"] == "decode"
    assert {name for name, text in told.items() if text} < set(told)
    bare = replace(planned(), choice=replace(choice, compressor_s=0.0))
    assert "compressor" not in {bar.name for bar in parts_chart(bare).data}


def test_the_knee_curve_passes_through_the_choice() -> None:
    plan = planned()
    curve = knee_curve_of(plan)
    assert curve is not None
    at = [index for index, count in enumerate(curve.visual_tokens) if count <= plan.choice.visual_tokens][-1]
    assert curve.ttft_s[at] <= plan.choice.ttft_s * (1 + 1e-9) <= curve.ttft_s[at + 1] * (1 + 1e-6)
    assert list(curve.ttft_s) == sorted(curve.ttft_s)


def test_times_outside_their_interval_are_told_apart() -> None:
    rows = held(reported(), planned())
    assert [row.name for row in rows] == ["TTFT", "request"]
    assert not any(row.inside for row in rows)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gone.json",), "cannot be read"),
        ((".",), "a directory"),
        (("report.json",), "expected schema"),
        (("plan.json", "."), "manifest.json"),
        (("plan.json", "--report", "plan.json"), "expected schema"),
        (("plan.json", "--out", "plan.json"), "one of the documents"),
        (("plan.json", "--out", "no/where.html"), "no folder one may write in"),
    ],
)
def test_what_cannot_be_shown(arguments: tuple[str, ...], said: str) -> None:
    before = sorted(Path.cwd().iterdir())
    code, _, err = run("page", *arguments)
    assert code == 2
    assert said in err
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.usefixtures("here")
def test_a_missing_library_is_one_line() -> None:
    blocked = "import sys; sys.modules['plotly'] = None; from vlmplan.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "page", "plan.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'vlmplan[page]'" in done.stderr
    assert "Traceback" not in done.stderr


def _drawn(width: int, *more: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vlmplan", *RECOMMEND, *more],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": str(width), "PYTHONIOENCODING": "utf-8"} | environment,
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_terminals_that_can_show_them_get_pictures() -> None:
    assert "error, %: o front" not in _drawn(80, FORCE_COLOR="1", TERM="xterm")  # the answer fits a screen
    shown = _drawn(80, "-v", FORCE_COLOR="1", TERM="xterm")
    assert "error, %: o front" in shown
    assert "the prefill's knee" in shown
    assert max(len(line) for line in shown.splitlines() if "┤" in line) <= 80


@pytest.mark.parametrize(
    ("width", "environment"),
    [
        (80, {}),
        (40, {"FORCE_COLOR": "1", "TERM": "xterm"}),
        (80, {"FORCE_COLOR": "1", "TERM": "dumb"}),
        (80, {"FORCE_COLOR": "1", "TERM": "xterm", "PYTHONIOENCODING": "ascii:replace"}),
    ],
)
def test_others_get_none(width: int, environment: dict[str, str]) -> None:
    assert "┤" not in _drawn(width, "-v", **environment)


def test_a_plan_without_a_latency_budget_is_drawn_too() -> None:
    code, out, err = run(*changed(RECOMMEND, latency=None), "--memory", "20GiB", "--json")
    assert code == 0, err
    plan = from_plain(Plan, json.loads(out), "plan")
    assert len(front_chart(plan).layout.shapes) == 0


def test_a_report_that_contradicts_itself_is_refused(here: Path) -> None:
    text = to_json(reported()).replace('"passed": true', '"passed": false')
    (here / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="passed"):
        load(Report, here / "report.json")
