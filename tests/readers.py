"""Everything that reads a user's file, each with a good one to start from: what the fuzzers spoil."""

import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from small_models import exported

from vlmplan.accuracy.law import ScalingLaw
from vlmplan.accuracy.published_scores import Evidence, OwnScores
from vlmplan.checkpoints.checkpoint import read_config
from vlmplan.cost.stored import read_model_config
from vlmplan.document import Document, load, to_json
from vlmplan.evaluation.questions import read_questions
from vlmplan.exporting.manifest import FILE_NAME, Manifest
from vlmplan.fitting.harness_files import Harness
from vlmplan.fitting.harness_results import read_results, read_runs
from vlmplan.fitting.lint import lint
from vlmplan.fitting.point_tables import read_points, read_table
from vlmplan.hardware.detect import Setup
from vlmplan.hardware.prices import read_prices
from vlmplan.hardware.profile import HardwareProfile
from vlmplan.hardware.runtimes import Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.budget import Budget
from vlmplan.inventory.catalogue import TypicalCalibrations, profiles_folder
from vlmplan.inventory.request_log import read_requests
from vlmplan.inventory.workloads import NamedWorkload
from vlmplan.measuring.table import read_measurements
from vlmplan.measuring.timing import Store
from vlmplan.models.spec import ModelSpec, Workload
from vlmplan.planning.options import Asked
from vlmplan.planning.plan import Plan, knee_curve_of, recommend
from vlmplan.planning.question import query
from vlmplan.planning.rechecks import recheck
from vlmplan.proof.report import Report, junit_xml, passed, report_markdown
from vlmplan.sweeping.grid import Grid
from vlmplan.training.conversations import read_rows

ROOT = Path(__file__).resolve().parents[1]
ROWS = (
    '[{"id": "0", "image": "a.png", "conversations": [{"from": "human", "value": "<image>\\nWhat?"}, '
    '{"from": "gpt", "value": "A ring."}]}, {"id": 1, "image": "a.png", "conversations": [{"from": "user", "value": '
    '"<image> Where?"}, {"from": "assistant", "value": "Left"}]}]'
)
QUESTIONS = (
    '{"image": "a.png", "question": "What?", "answer": "a ring", "task": "reasoning", "kind": "shape"}\n'
    '{"image": "a.png", "question": "Read", "answer": ["A", "B"]}\n'
)
MEASUREMENTS = (
    "model,precision,text_tokens,visual_tokens,output_tokens,ttft_ms,tpot_ms,source\n"
    "llava-1.5-7b,bf16,50,576,32,60,12,mine\nQwen/Qwen1.5-7B,bf16,200,0,1,20,,mine\n"
)
RUNS = "run,llm_params_b,visual_tokens,family,weight\na__7b,7,64,llava,1\na__1b,1,16,llava,2\n"
RESULTS = (
    '{"results": {"docvqa_val": {"alias": "docvqa_val", "anls,none": 0.61, "anls_stderr,none": "N/A"}}, "configs": {}}'
)
SETUP = Setup(device="cpu", runtime=Runtime.ONNXRUNTIME, title="x", vendor="x", threads=1, cores=1, cache_bytes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One kind of file: a good one, the name it has to have, and what reads and then uses it."""

    name: str
    file: str
    good: Callable[[], bytes]
    read: Callable[[Path], object]


def _document(kind: type[Document], path: Path, use: Callable[..., object] = to_json) -> Reader:
    """A reader of documents; what is read is used, too."""
    return Reader(
        name=kind.SCHEMA,
        file=f"it{path.suffix}",
        good=path.read_bytes,
        read=lambda found: use(load(kind, found)),
    )


@functools.cache
def _plan() -> bytes:
    asked = query(
        Asked(hardware="l4", task="reasoning"), Workload(text_tokens=50, output_tokens=32), Budget(latency_s=0.3)
    )
    return to_json(recommend(asked)).encode()


def _asked_again(path: Path) -> object:
    plan = load(Plan, path)
    knee_curve_of(plan)
    return recheck(plan)


def _report() -> bytes:
    found = Report(export="a", checkpoint="b", provider="cpu", threads=1, versions={}, passed=True,
                   checks=(passed("one", "good", error=1.0),))  # fmt: skip
    return to_json(found).encode()


def _beside(path: Path) -> Path:
    """An image beside the table, which names it."""
    if not (path.parent / "a.png").exists():
        Image.new("RGB", (8, 8)).save(path.parent / "a.png")
    return path.parent


def _results(path: Path) -> object:
    folder = path.parent / "logs" / "a__7b"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "20260101_101010_results.json").write_bytes(path.read_bytes())
    (path.parent / "runs.csv").write_text(RUNS, encoding="utf-8")
    return read_results(path.parent / "logs", Harness.LMMS_EVAL, path.parent / "runs.csv")


def _fitted(path: Path) -> object:
    rows, _ = read_points(path)
    return lint(rows)


def _exported(name: str) -> bytes:
    return (exported() / name).read_bytes()


@functools.cache
def _measured() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.jsonl"
        Store(path, SETUP)
        line = {"name": "a", "part": "prefill", "round": 0, "samples_s": [0.1, 0.2]}
        return path.read_bytes() + json.dumps(line).encode() + b"\n"


PROFILES = profiles_folder()
READERS: tuple[Reader, ...] = (
    _document(HardwareProfile, PROFILES / "hardware" / "l4.toml"),
    _document(ModelSpec, PROFILES / "models" / "llava-hf--llava-1.5-7b-hf.toml"),
    _document(ScalingLaw, PROFILES / "laws" / "ocr.toml", lambda law: law.error(7, 16)),
    _document(Evidence, PROFILES / "evidence.toml"),
    _document(TypicalCalibrations, PROFILES / "typical.toml"),
    _document(OwnScores, sorted((PROFILES / "scores").glob("*.toml"))[0]),
    _document(Grid, ROOT / "docs" / "grids" / "shapes.toml", lambda grid: list(grid.trials())),
    _document(NamedWorkload, PROFILES / "workloads" / "batch.toml", lambda one: (one.request, one.budget)),
    Reader(name="plan", file="plan.json", good=_plan, read=_asked_again),
    Reader(
        name="report",
        file="report.json",
        good=_report,
        read=lambda path: (junit_xml(found := load(Report, path)), report_markdown(found)),
    ),
    Reader(
        name="manifest",
        file=FILE_NAME,
        good=lambda: _exported(FILE_NAME),
        read=lambda path: load(Manifest, path),
    ),
    Reader(name="hub config", file="config.json", good=lambda: _exported("config.json"), read=read_model_config),
    Reader(
        name="checkpoint config",
        file="config.json",
        good=lambda: _exported("config.json"),
        read=lambda path: read_config(path.parent),
    ),
    Reader(
        name="prices",
        file="prices.toml",
        good=(ROOT / "docs" / "prices.toml").read_bytes,
        read=lambda path: read_prices(str(path), lambda name: catalogue.hardware(name).name),
    ),
    Reader(name="points", file="points.csv", good=(ROOT / "tools" / "points" / "ocr.csv").read_bytes, read=_fitted),
    Reader(name="table", file="table.csv", good=RUNS.encode, read=read_table),
    Reader(name="runs", file="runs.csv", good=RUNS.encode, read=read_runs),
    Reader(name="lmms-eval results", file="results.json", good=RESULTS.encode, read=_results),
    Reader(
        name="requests",
        file="log.jsonl",
        good=(ROOT / "docs" / "requests.jsonl").read_bytes,
        read=lambda path: read_requests(path).at(0.5),
    ),
    Reader(
        name="measurements of one's own",
        file="mine.csv",
        good=MEASUREMENTS.encode,
        read=lambda path: read_measurements(path, catalogue.hardware("l4"), Runtime.VLLM, catalogue.model),
    ),
    Reader(
        name="measurements file",
        file="it.jsonl",
        good=_measured,
        read=lambda path: Store(path, SETUP),
    ),
    Reader(
        name="conversations",
        file="rows.json",
        good=ROWS.encode,
        read=lambda path: read_rows(path, _beside(path)),
    ),
    Reader(
        name="questions",
        file="questions.jsonl",
        good=QUESTIONS.encode,
        read=lambda path: read_questions(path, _beside(path)),
    ),
)
