"""A runtime is one row: no module asks which one it is, and one more needs that row and its calibrations alone."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.cost import operators, request_of
from vlmplan.cost.roofline import machine
from vlmplan.errors import meant
from vlmplan.hardware.profile import Kind, Part
from vlmplan.hardware.runtimes import SERVING, Engine, Precision, Runs, Runtime
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Workload

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vlmplan"
ROWS = PACKAGE / "hardware" / "runtimes.py"
NAMES = {one.name for one in Runtime}


def _deciding(tree: ast.AST) -> Iterator[int]:
    """Lines where code asks which runtime it has: comparisons, cases, and tables or sets by runtime."""
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Dict):
            asked = [key for key in node.keys if key is not None]
        for one in asked:
            parts = one.elts if isinstance(one, ast.Tuple | ast.List | ast.Set) else [one]
            for part in parts:
                named = isinstance(part, ast.Attribute) and ast.unparse(part.value) == "Runtime" and part.attr in NAMES
                said = isinstance(part, ast.Constant) and part.value in set(Runtime) and _of_runtimes(node)
                if (named or said) and isinstance(part, ast.expr):
                    yield part.lineno


def _of_runtimes(node: ast.AST) -> bool:
    """Whether something in it is called a runtime, as a package of that name is not."""
    return any(
        (isinstance(one, ast.Name) and "runtime" in one.id)
        or (isinstance(one, ast.Attribute) and one.attr == "runtime")
        for one in ast.walk(node)
    )


@pytest.mark.parametrize(
    "text",
    [
        "a is Runtime.VLLM",
        "a in (1, Runtime.VLLM)",
        "{Runtime.VLLM: 1}",
        "plan.runtime == 'vllm'",
        "runtime in {'vllm'}",
    ],
)
def test_a_question_is_found(text: str) -> None:
    assert list(_deciding(ast.parse(text)))


def test_a_package_is_no_runtime() -> None:
    assert not list(_deciding(ast.parse("package.name == 'onnxruntime'")))


def test_only_the_rows_ask_which_runtime_it_is() -> None:
    asking = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        if path != ROWS
        for line in _deciding(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not asking


def test_every_runtime_has_a_row_that_agrees_with_itself() -> None:
    assert set(SERVING) == set(Runtime)
    priced = {one.runtime for one in catalogue.typical()}
    for runtime, row in SERVING.items():
        assert runtime in priced, "its row of facts/runtimes.csv, then tools/make_hardware.py"
        assert bool(row.modules) == bool(row.libraries) == (row.runs is not Runs.SERVER)
        assert bool(row.exported) == (row.runs is Runs.GRAPHS)
        assert row.like is None or SERVING[row.like].like is None
        if row.engine:
            assert str(row.engine) == str(runtime), "one name for both"
        if row.command:
            assert row.engine, "flags of models are the catalogue's"
            assert "{model}" in row.command.serve
            if row.command.stored:
                assert set(row.stored_bits) == set(row.offered) <= set(row.command.stored)
                assert "{name}" in row.command.from_files
                assert "{type}" in row.command.from_files
            else:
                assert "{dtype}" in row.command.dtype
            for part in (row.command.context, row.command.memory, row.command.together, row.command.images):
                part.format(tokens=1, fraction=0.5, requests=1, images=1)


def test_what_runtimes_are_called_is_understood() -> None:
    for runtime, row in SERVING.items():
        for word in row.called:
            assert meant(word, Runtime) == runtime
    words = [word for row in SERVING.values() for word in row.called]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("device", "runtime"),
    [("l4", "vllm"), ("jetson-agx-orin-64gb", "vllm"), ("apple-m4-max", "llama.cpp"),
     ("jetson-orin-nano-8gb", "llama.cpp"), ("dgx-spark", "vllm"), ("instinct-mi300x", "vllm"),
     ("amd-epyc-9654", "onnxruntime")],
)  # fmt: skip
def test_the_usual_runtime_of_a_device(device: str, runtime: str) -> None:
    assert catalogue.hardware(device).default_runtime == runtime


MADE_UP = """    Runtime.MADE_UP: Serving(
        title="Made Up",
        called=("mu",),
        like=Runtime.TRANSFORMERS,
        methods=("awq",),
        takes_share=True,
        engine=Engine.SGLANG,
        command=Command(
            serve="python -m made_up --model-path {model}",
            dtype="--dtype {dtype}",
            context="--context-length {tokens}",
            memory="--mem-fraction-static {fraction:g}",
            together="--max-running-requests {requests}",
            tensor="--tp {gpus}",
            machines=("--nnodes 2 --node-rank 0", "--nnodes 2 --node-rank 1"),
            memory_fraction=0.85,
        ),
    ),
"""


@pytest.fixture(scope="module")
def with_one_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one more runtime: its row, its name among the engines, its calibrations."""
    home = tmp_path_factory.mktemp("one-more")
    shutil.copytree(PACKAGE, home / "vlmplan", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "profiles", home / "profiles", ignore=shutil.ignore_patterns("compiled.jsonl"))
    rows = home / "vlmplan" / "hardware" / "runtimes.py"
    text = rows.read_text(encoding="utf-8").replace(
        '    ONNXRUNTIME = "onnxruntime"\n', '    ONNXRUNTIME = "onnxruntime"\n    MADE_UP = "sglang"\n', 1
    )
    assert text.count("    Runtime.ONNXRUNTIME: Serving(\n") == 1
    rows.write_text(
        text.replace("    Runtime.ONNXRUNTIME: Serving(\n", f"{MADE_UP}    Runtime.ONNXRUNTIME: Serving(\n")
    )
    typical = home / "profiles" / "typical.toml"
    start, *tables = typical.read_text(encoding="utf-8").split("[[calibration]]\n")
    more = [one.replace('"vllm"', '"sglang"') for one in tables if 'runtime = "vllm"' in one]
    assert len(more) == 2
    typical.write_text(start + "".join(f"[[calibration]]\n{one}\n" for one in [*tables, *more]), encoding="utf-8")
    model = home / "profiles" / "models" / "Qwen--Qwen3-VL-4B-Instruct.toml"
    served = model.read_text(encoding="utf-8").replace("[serving]\n", '[serving]\nsglang = ""\n', 1)
    assert 'sglang = ""' in served
    model.write_text(served, encoding="utf-8")
    return home


def _ask(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(home), "COLUMNS": "200"}
    line = [sys.executable, "-P", "-m", "vlmplan", *arguments]
    return subprocess.run(line, env=environment, cwd=home, capture_output=True, text=True, check=False)


def test_one_more_runtime_is_planned_for_and_handed_over(with_one_more: Path) -> None:
    """With no other module changed."""
    done = _ask(with_one_more, "recommend", "--hardware", "l4", "--runtime", "sglang", "--latency", "2s", "--task",
                "docvqa", "--models", "Qwen/Qwen3-VL-4B-Instruct", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["runtime"] == "sglang"
    deploy = plan["choice"]["deploy"]
    assert deploy["command"].startswith(
        "python -m made_up --model-path Qwen/Qwen3-VL-4B-Instruct --dtype bfloat16 --context-length "
    )
    assert " --mem-fraction-static 0.85" in deploy["command"]
    assert "--mm-process-config" in deploy["command"], "how that engine sets V"
    assert "sglang" not in deploy["settings"], "which is for other engines"
    assert deploy["more_gpus"].endswith(" --tp 2")
    assert [one.endswith(f"--tp 2 --nnodes 2 --node-rank {n}") for n, one in enumerate(deploy["two_machines"])] == [
        True,
        True,
    ], "one group of two, as it has no pipeline"
    assert "--runtime sglang" in deploy["check"]


def test_one_more_runtime_is_known_by_its_names_and_refuses_as_the_one_it_is_like(with_one_more: Path) -> None:
    called = _ask(with_one_more, "estimate", "--hardware", "l4", "--runtime", "mu")
    assert called.stderr.strip().split("; ")[1].startswith("did you mean sglang?")
    asked = ("--model", "google/gemma-3-4b-it", "--hardware", "t4", "--precision", "fp16")
    for runtime in ("transformers", "sglang"):
        refused = _ask(with_one_more, "estimate", *asked, "--runtime", runtime)
        assert refused.returncode == 2
        assert "its activations overflow" in refused.stderr
    here = _ask(with_one_more, "profile", "--runtime", "sglang")
    assert here.stderr.startswith("vlmplan: error: --runtime: found sglang, expected onnxruntime or transformers")


FLAGS_OF_LLAMA_SERVER = {"-hf", "-m", "--mmproj", "--port", "-c", "-np", "--image-max-tokens"}


def _plan(*more: str) -> dict[str, Any]:
    asked = ["recommend", "--runtime", "llama.cpp", "--task", "docvqa", "--latency", "20s", "--json", *more]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    "device", [("m4-max",), ("jetson-orin-nano-8gb",), ("intel-core-i9-13900k", "--memory", "32GiB")]
)
def test_desks_are_offered_models_that_llama_cpp_sees_with(device: tuple[str, ...]) -> None:
    """Of the documented flags, and none of the models that it cannot convert."""
    plan = _plan("--hardware", *device)
    command = plan["choice"]["deploy"]["command"]
    assert command.startswith("llama-server ")
    assert {word for word in command.split() if word.startswith("-")} <= FLAGS_OF_LLAMA_SERVER
    assert Engine.LLAMA_CPP in catalogue.model(plan["choice"]["model"]).serving
    assert any("not known to be served by llama.cpp" in line for line in plan["left_out"])
    assert Engine.LLAMA_CPP not in catalogue.model("apple/FastVLM-7B").serving


def test_a_published_gguf_is_served_as_it_is_and_another_is_made() -> None:
    published = _plan("--hardware", "m4-max", "--models", "Qwen/Qwen2.5-VL-7B-Instruct", "--precision", "int4")
    deploy = published["choice"]["deploy"]
    assert deploy["command"].startswith("llama-server -hf ggml-org/Qwen2.5-VL-7B-Instruct-GGUF:Q4_K_M --port 8000 -c ")
    assert deploy["make"] is None
    made = _plan("--hardware", "m4-max", "--models", "Qwen/Qwen2.5-VL-7B-Instruct", "--precision", "int8")
    deploy = made["choice"]["deploy"]
    assert deploy["command"].startswith(
        "llama-server -m Qwen2.5-VL-7B-Instruct-Q8_0.gguf --mmproj mmproj-Qwen2.5-VL-7B-Instruct.gguf "
    )
    assert deploy["make"].endswith("Qwen2.5-VL-7B-Instruct-Q8_0.gguf Q8_0")


@pytest.mark.parametrize("command", ["recommend", "estimate"])
def test_a_precision_without_a_file_type_is_refused(command: str) -> None:
    model = ("--models", "Qwen3-VL-4B*") if command == "recommend" else ("--model", "Qwen/Qwen3-VL-4B-Instruct")
    asked = [command, "--hardware", "l4", "--runtime", "llama.cpp", "--precision", "fp8", *model]
    result = CliRunner().invoke(app, asked + ["--task", "docvqa", "--latency", "5s"] * (command == "recommend"))
    assert result.exit_code == 2
    assert "llama.cpp has files of int4, int8, fp16, bf16, fp32, not of fp8" in result.stderr


def test_requests_in_flight_share_the_context_of_llama_server() -> None:
    words = _plan("--hardware", "m4-max", "--models", "Qwen/Qwen3-VL-2B-Instruct", "--concurrency", "4")["choice"][
        "deploy"]["command"].split()  # fmt: skip
    assert words[words.index("-np") + 1] == "4"
    assert int(words[words.index("-c") + 1]) % 4 == 0
    assert int(words[words.index("-c") + 1]) >= 4 * 1024


def test_several_devices_are_no_flag_of_llama_server() -> None:
    plan = _plan("--hardware", "l4", "--models", "Qwen/Qwen3-VL-32B-Instruct", "--precision", "fp16", "--gpus", "4")
    assert plan["choice"]["deploy"]["command"] is None


def test_an_estimate_says_what_an_engine_does_not_serve() -> None:
    said = "llama.cpp is not known to serve google/paligemma-3b-mix-448; it is priced as if it did"
    for model, shown in (("paligemma-3b-mix-448", True), ("Qwen3-VL-8B", False)):
        asked = ("estimate", "--hardware", "m4-max", "--model", model, "--json")
        assert (said in json.loads(CliRunner().invoke(app, asked).stdout)["warnings"]) is shown


@pytest.mark.parametrize(("precision", "bits"), [("int4", 4.8944), ("int8", 8.5008)])
def test_weights_of_a_gguf_take_their_true_bits(precision: str, bits: float) -> None:
    """A GGUF's head is quantised as the rest; an embedding table apart from it is priced whole."""
    spec = catalogue.model("Qwen/Qwen3-VL-8B-Instruct")
    ready = machine(catalogue.hardware("m4-max"), catalogue.typical(), Runtime.LLAMA_CPP, Precision(precision))
    request = ready.as_run(request_of(spec, Workload(text_tokens=512), 0, Precision(precision)))
    steps = [op for op in operators(request) if op.part is Part.DECODE and op.kind is Kind.LINEAR]
    params = sum(op.shape[1] * op.shape[2] * op.count for op in steps)
    assert sum(op.weight_bytes for op in steps) == pytest.approx(params * bits / 8)
