"""The shape of the code: imports point upwards, heavy libraries wait, functions stay short, floats carry units."""

import ast
import dataclasses
import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vlmplan"
ORDER = [
    "inert",
    "errors",
    "units",
    "document",
    "secret",
    "extras",
    "progress",
    "decoder",
    "tower",
    "hardware",
    "quantisation",
    "model",
    "image_grids",
    "visual_tokens",
    "tokens",
    "refusals",
    "op",
    "mixing",
    "llm",
    "vision",
    "operators",
    "machine",
    "spread",
    "cost",
    "knee",
    "reductions",
    "ranking",
    "scaling",
    "points",
    "lint",
    "harness",
    "harness_files",
    "evaluations",
    "curve",
    "resampling",
    "intervals",
    "fit_prior",
    "fit_form",
    "fit_informed",
    "fit",
    "judge",
    "judge_law",
    "asked",
    "search",
    "choice",
    "deploy",
    "estimate",
    "prices",
    "plan",
    "compare",
    "measure",
    "observation",
    "calibrate",
    "measurements",
    "endpoint",
    "recalibrate",
    "manifest",
    "report",
    "hub_tables",
    "hub_keys",
    "hub_layers",
    "hub_projectors",
    "hub_settings",
    "hub_processor",
    "hub_tiles",
    "hub_images",
    "hub_vlms",
    "hub_architecture",
    "hub_modules",
    "hub_schemes",
    "hub_toolkits",
    "hub_methods",
    "hub_quantisation",
    "hub_config",
    "hub_download",
    "device_names",
    "catalogue",
    "ask",
    "recheck",
    "pictures",
    "scenes",
    "synthetic",
    "onnx.checkpoint",
    "onnx.small",
    "onnx.quantise",
    "onnx.sketch",
    "onnx.decoder",
    "onnx.encoder",
    "onnx.modules",
    "onnx.compressors",
    "onnx.reference",
    "onnx.folder",
    "onnx.here",
    "onnx.runner",
    "onnx.timed",
    "onnx.export",
    "onnx.order",
    "onnx.answer",
    "onnx.compare",
    "onnx.trust",
    "onnx.proto",
    "onnx.check_folder",
    "onnx.check_files",
    "onnx.check_numbers",
    "onnx.check_latency",
    "onnx.store",
    "onnx.trials",
    "onnx.cases",
    "onnx.rig",
    "onnx.check_profile",
    "onnx.explain",
    "onnx.profile",
    "onnx.text_decoder",
    "onnx.check_text",
    "onnx.validate",
    "onnx.demo",
    "training.recipe",
    "training.conversations",
    "training.vlm",
    "training.assemble",
    "training.batches",
    "training.card",
    "training.stages",
    "training.train",
    "training.order",
    "training.evaluate",
    "training.lmms",
    "training.drawn",
    "training.grid",
    "training.trial",
    "training.sweep",
    "plot_law",
    "plot",
    "render",
    "render_picture",
    "render_plan",
    "page_charts",
    "page",
    "render_compare",
    "render_demo",
    "render_deploy",
    "render_fit",
    "render_profile",
    "render_train",
    "cli",
    "cli_demo",
    "cli_deploy",
    "cli_fit",
    "cli_page",
    "cli_profile",
    "cli_recommend",
    "cli_train",
    "__main__",
]
HEAVY = {
    "torch",
    "transformers",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "optimum",
    "numpy",
    "scipy",
    "rich",
    "matplotlib",
    "safetensors",
    "tokenizers",
    "PIL",
    "accelerate",
    "peft",
    "datasets",
    "ray",
    "plotext",
    "plotly",
    "jinja2",
}
OF_TORCH = {"onnx.modules", "training.vlm"}  # torch modules; imported inside functions only
MODULES = sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    """A module's name within the package: ``cost``, ``onnx.decoder``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _own_imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vlmplan":
            inner = node.module.removeprefix("vlmplan").removeprefix(".")
            whole = inner in {"", "onnx", "training"}
            found |= {f"{inner}.{alias.name}".strip(".") for alias in node.names} if whole else {inner}
    return found - {"__version__"}


def test_every_module_has_a_place() -> None:
    assert {_name(path) for path in MODULES} == {*ORDER, "__init__", "onnx.__init__", "training.__init__"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_upwards(path: Path) -> None:
    above = ORDER[: ORDER.index(_name(path))] if _name(path) in ORDER else []
    assert _own_imports(_tree(path)) <= set(above)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    """Type checking blocks aside, which never run, and modules of torch modules, which none else imports at its top."""
    if _name(path) in OF_TORCH:
        return
    for node in _tree(path).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.split(".")[0] for name in names} & HEAVY
            assert not {name.removeprefix("vlmplan.") for name in names} & OF_TORCH


def test_few_users_of_rich_and_typer() -> None:
    users = {
        library: {
            _name(path)
            for path in MODULES
            if f"from {library}" in (text := path.read_text(encoding="utf-8")) or f"import {library}" in text
        }
        for library in ("rich", "typer")
    }
    assert users == {
        "rich": {
            "render",
            "render_picture",
            "render_plan",
            "render_compare",
            "render_demo",
            "render_deploy",
            "render_fit",
            "render_profile",
            "render_train",
        },
        "typer": {
            "cli",
            "cli_demo",
            "cli_deploy",
            "cli_fit",
            "cli_page",
            "cli_profile",
            "cli_recommend",
            "cli_train",
        },
    }


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_sizes(path: Path) -> None:
    """Functions of at most 40 lines of code and 5 parameters, modules of at most 500 lines; commands are exempt."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef) and not (path.stem.startswith("cli") and node.decorator_list):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = (node.end_lineno or 0) - first.lineno + 1
            parameters = len([one for one in node.args.args + node.args.kwonlyargs if one.arg != "self"])
            assert lines <= 40, f"{path.stem}.{node.name}: {lines} lines"
            assert parameters <= 7, f"{path.stem}.{node.name}: {parameters} parameters"


# Dimensionless or in a unit that the class or the field's own name says.
UNITLESS_CLASSES = {
    "Figure",
    "Params",
    "Flops",
    "MemoryBytes",
    "Estimate",
    "Fit",
    "FitReport",
    "Problem",
    "_Score",
    "Subject",
}
UNITS = (
    "_s",
    "_bytes",
    "_flops",
    "_per_s",
    "_fraction",
    "_sd",
    "_params_b",
    "_tokens",
    "_points",
    "_px",
    "_nats",
    "_hz",
    "_price",
    "flops",
    "memory_bytes",
)
DIMENSIONLESS = {
    "predicted_error",
    "error",
    "stability",
    "confidence",
    "overlap",
    "overhead_overlap",
    "least",
    "value",
    "sd",
    "task",
    "shares",
    "weight",
    "level",
    "floor",
    "logit_tolerance",
    "max_params",
    "score",
    "chance_score",
    "score_max",
    "intercept",
    "mean_size",
    "learning_rate",
    "align_rate",
    "tune_rate",
    "base_rate",
    "adam_beta2",
    "shift",
    "log_scale",
    "steepness",
    "x",
    "native",
    "visual_tokens",
    "price_error",
    "least_error",
}


def _dataclasses() -> list[type]:
    found = []
    for path in MODULES:
        if path.stem == "__init__":
            continue
        module = importlib.import_module(f"vlmplan.{_name(path)}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__
        ]
    return found


@pytest.mark.parametrize("cls", _dataclasses(), ids=lambda cls: cls.__name__)
def test_float_fields_end_in_their_unit(cls: type) -> None:
    if cls.__name__ in UNITLESS_CLASSES:
        return
    hints = typing.get_type_hints(cls, vars(importlib.import_module(cls.__module__)))
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if kind is float or (float in typing.get_args(kind) and type(None) in typing.get_args(kind)):
            assert field.name.endswith(UNITS) or field.name in DIMENSIONLESS, f"{cls.__name__}.{field.name}"


@pytest.mark.parametrize("cls", _dataclasses(), ids=lambda cls: cls.__name__)
def test_dataclasses_are_frozen_slotted_and_by_keyword(cls: type) -> None:
    parameters = cls.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert hasattr(cls, "__slots__")
    assert all(field.kw_only for field in dataclasses.fields(cls))


_PROBE = """
import sys
sys.argv = ["vlmplan", *{arguments!r}]
sys.stdout = open("/dev/null", "w")
{extra}
from vlmplan.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.stderr.write(" ".join(sorted({{"torch", "transformers", "onnxruntime", "numpy", "scipy"}} & set(sys.modules))))
"""
RECOMMEND = [
    "recommend",
    "--hardware",
    "l4",
    "--latency",
    "300ms",
    "--task",
    "reasoning",
    "--text-tokens",
    "50",
    "--output-tokens",
    "32",
]


def _imported(arguments: list[str], extra: str = "") -> str:
    code = _PROBE.format(arguments=arguments, extra=extra)
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr


@pytest.mark.parametrize("arguments", [RECOMMEND, [*RECOMMEND, "--json"], ["catalogue", "models"], ["--help"]])
def test_planning_imports_no_heavy_library(arguments: list[str]) -> None:
    assert _imported(arguments) == ""


def test_the_guard_can_fail() -> None:
    assert _imported(["--help"], extra="import numpy") == "numpy"
