"""The demo's refusals and its budget; the chain itself is run for the README's first block."""

from pathlib import Path

import pytest
from small_models import checkpoint
from test_cli import run

from vlmplan.hardware.profile import HardwareProfile
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.planning.plan import Plan
from vlmplan.proof.latency import DEFAULT_WORKLOAD
from vlmplan.proof.whole_chain import budget_of, plan_in


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", ["file", "folder", "below a file"])
def test_what_is_there_is_not_touched(kind: str) -> None:
    out = Path("mine")
    if kind == "folder":
        out.mkdir()
        (out / "thesis.txt").write_text("years of work", encoding="utf-8")
    else:
        out.write_text("years of work", encoding="utf-8")
    code, _, err = run("demo", "--out", str(out / "below") if kind == "below a file" else str(out))
    assert code == 2
    assert "--out" in err
    left = out / "thesis.txt" if kind == "folder" else out
    assert left.read_text(encoding="utf-8") == "years of work"


def _processor() -> HardwareProfile:
    """A processor of the catalogue; its runtime's calibration is the typical one."""
    return catalogue.hardware("epyc-9654")


def test_the_budget_makes_a_plan_compress(here: Path) -> None:
    (here / "checkpoint").symlink_to(checkpoint())
    hardware = _processor()
    limit_s = budget_of(hardware, here / "checkpoint").latency_s or 0.0
    plan: Plan = plan_in(here, hardware)
    whole = catalogue.model(str(checkpoint())).image
    assert whole is not None
    assert plan.choice.visual_tokens < whole.tokens_per_view
    assert plan.choice.latency_s <= limit_s
    assert (plan.runtime, plan.choice.precision) == (Runtime.ONNXRUNTIME, Precision.FP32)
    assert plan.workload == DEFAULT_WORKLOAD
