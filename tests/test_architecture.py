"""The shape of the code: imports point upwards, heavy libraries wait, functions stay short, floats carry units."""

import ast
import dataclasses
import graphlib
import importlib
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlmplan
from vlmplan.cli.app import COMMANDS
from vlmplan.models.families import FAMILIES

PACKAGE = Path(__file__).resolve().parents[1] / "vlmplan"
# Rooms import only from the ground and from rooms before them.
ROOMS = (
    "hardware",
    "models",
    "cost",
    "accuracy",
    "fitting",
    "inventory",
    "serving",
    "planning",
    "checkpoints",
    "graphs",
    "exporting",
    "measuring",
    "proof",
    "evaluation",
    "studies",
    "training",
    "sweeping",
    "views",
    "pages",
    "api",
    "cli",
)
GROUND = (
    "inert",
    "errors",
    "units",
    "document",
    "secret",
    "extras",
    "progress",
    "intervals",
    "lazy",
    "records",
    "panics",
    "picture_files",
)
WHOLE = {"inventory.catalogue"}  # modules that others use by their name, as ``catalogue.model(...)``
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
OF_TORCH = {"checkpoints.torch_compressors", "training.vlm"}  # torch modules; imported inside functions only


def _name(path: Path) -> str:
    """A module's name within the package: ``units``, ``cost.totals``; a room's door is the room."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def _room(name: str) -> str:
    return name.partition(".")[0]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _own_imports(path: Path) -> set[str]:
    """What a module imports of the package: ``cost`` for a name from a room's door, ``cost.totals`` from its inside."""
    found = set()
    for node in ast.walk(_tree(path)):
        assert not (isinstance(node, ast.Import) and any(one.name.split(".")[0] == "vlmplan" for one in node.names))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vlmplan":
            inner = (node.module or "").removeprefix("vlmplan").removeprefix(".")
            for one in node.names:
                whole = f"{inner}.{one.name}".strip(".")
                found.add(whole if whole in NAMES or not inner else inner)
    return found - {"__version__"}  # a name of the API would be one that no room may import


MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {_name(path) for path in MODULES}


def test_every_module_has_a_room() -> None:
    assert {_room(name) for name in NAMES} == {*ROOMS, *GROUND, "__init__", "__main__"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_rooms_import_from_rooms_before_them_by_their_doors(path: Path) -> None:
    if (here := _room(_name(path))) in {"__init__", "__main__"}:
        return
    before = {*GROUND, *ROOMS[: ROOMS.index(here)]} if here in ROOMS else set(GROUND[: GROUND.index(here)])
    for name in _own_imports(path):
        if _room(name) != here:
            assert _room(name) in before, f"{_name(path)} imports {name}, which comes after it"
            assert name in before or name in WHOLE, f"{_name(path)} imports {name}, the inside of another room"


def test_no_family_imports_another() -> None:
    for path in (PACKAGE / "models" / "families").glob("*.py"):
        if path.stem != "__init__":
            assert not {name for name in _own_imports(path) if name.startswith("models.families")}, path.stem


def test_no_room_imports_in_circles() -> None:
    """A door names what is behind it, so it is left out."""
    arrows = {_name(path): _own_imports(path) for path in MODULES if _name(path) not in ROOMS}
    assert list(graphlib.TopologicalSorter(arrows).static_order())


def _face(room: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a door shows: name -> module, as a type checker reads it and as it is at run time."""
    tree = _tree(PACKAGE / room / "__init__.py")
    typed = {
        one.name: (node.module or "").removeprefix("vlmplan.").removeprefix(f"{room}.")
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "face"]
    tables = [ast.literal_eval(call.args[1]) for call in calls]
    return typed, {name: module for table in tables for module, names in table.items() for name in names}


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_doors_say_what_is_behind_them(room: str) -> None:
    """One list for type checkers, one for Python: the same names, each there, none hiding a module of that name."""
    typed, live = _face(room)
    assert typed == live
    whole = f"vlmplan.{room}".removesuffix(".")
    door = importlib.import_module(whole)
    assert door.__doc__
    assert sorted(getattr(door, "__all__", [])) == sorted(live)
    behind = {name.removeprefix(f"{room}.") for name in NAMES if not room or name.startswith(f"{room}.")}
    assert not set(live) & behind
    for name, module in live.items():
        assert getattr(door, name) is getattr(importlib.import_module(f"{whole}.{module}"), name)


def test_doors_show_only_what_is_used() -> None:
    """By another room, the command line or the API."""
    used = set()
    for path in MODULES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").removeprefix("vlmplan.") in ROOMS:
                used |= {((node.module or "").removeprefix("vlmplan."), one.name) for one in node.names}
    shown = {(room, name) for room in ROOMS for name in _face(room)[1]}
    assert not shown - used


def test_a_name_on_a_door_means_one_thing() -> None:
    """The API alone calls things as the rooms do whose work it asks for."""
    doors: dict[str, list[str]] = {}
    for room in (room for room in ROOMS if room != "api"):
        for name in _face(room)[1]:
            doors.setdefault(name, []).append(room)
    assert {name: rooms for name, rooms in doors.items() if len(rooms) > 1} == {}


def test_what_is_not_there_is_named() -> None:
    door = importlib.import_module("vlmplan.cost")
    with pytest.raises(AttributeError, match="nonsense"):
        _ = door.nonsense


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs when a module is imported: within ifs, tries and classes too, but for TYPE_CHECKING blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        ):
            continue
        yield child
        yield from _run_at_import(child)


def test_imports_are_found_wherever_they_run() -> None:
    text = "try:\n import torch\nexcept ImportError:\n pass\nclass A:\n import numpy\ndef f():\n import scipy"
    found = {one.names[0].name for one in _run_at_import(ast.parse(text)) if isinstance(one, ast.Import)}
    assert found == {"torch", "numpy"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    """Type checking blocks aside, which never run, and modules of torch modules, which none else imports at its top."""
    if _name(path) in OF_TORCH:
        return
    for node in _run_at_import(_tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.split(".")[0] for name in names} & HEAVY
            assert not {name.removeprefix("vlmplan.") for name in names} & OF_TORCH


def test_rich_is_for_views_and_typer_for_commands() -> None:
    for library, room in (("rich", "views"), ("typer", "cli")):
        users = {
            _room(_name(path))
            for path in MODULES
            if f"from {library}" in (text := path.read_text(encoding="utf-8")) or f"import {library}" in text
        }
        assert users == {room}


WITHOUT_API = {"demo", "doctor", "synthetic", "train", "sweep"}  # commands that no function of the API stands for
# What a command asks rooms beside: which devices are meant, what is usual, what is written for who reads no documents,
# a text model by another exporter.
BESIDE_API = {
    "INTERACTIVE", "catalogue", "checks_junit", "gate_markdown", "junit_xml", "names_answers", "optimum_export",
    "recheck_markdown", "report_markdown", "require_answers", "require_good",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_API))
def test_commands_call_the_api_and_show(name: str) -> None:
    """Of rooms they know kinds of things, such as Precision; what is done with them the API does, and views show."""
    tree = _tree(PACKAGE / "cli" / "commands" / f"{name}.py")
    calls = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {call for call in calls if call.startswith("api.")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _room((node.module or "").removeprefix("vlmplan.")) in ROOMS:
            room = (node.module or "").removeprefix("vlmplan.")
            if _room(room) not in {"views", "pages", "cli"}:
                door = importlib.import_module(f"vlmplan.{room}")
                for one in node.names:
                    assert isinstance(getattr(door, one.name), type) or one.name in BESIDE_API, f"{name}: {one.name}"


def test_commands_are_listed_as_they_introduce_themselves() -> None:
    for name, text in COMMANDS.items():
        command = getattr(importlib.import_module(f"vlmplan.cli.commands.{name}"), name)
        assert " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split()) == text


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_sizes(path: Path) -> None:
    """Functions of at most 40 lines of code and 7 parameters, modules of at most 500 lines.

    What takes a parameter an option, commands and the functions of the API, may have as many as there are.
    """
    room = _room(_name(path))
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = (node.end_lineno or 0) - first.lineno + 1
            parameters = len([one for one in node.args.args + node.args.kwonlyargs if one.arg != "self"])
            assert lines <= 40, f"{path.stem}.{node.name}: {lines} lines"
            by_option = (room == "cli" and node.name == path.stem) or (room == "api" and node.name in vlmplan.__all__)
            assert parameters <= 7 or by_option, f"{path.stem}.{node.name}: {parameters} parameters"


MOST_MODULES = 12  # of a folder, doors and the entry aside: as many as a reader keeps in mind
# Folders with a module for each of something: one looks for a name there, and reads no other.
ONE_EACH = {"models.families": set(FAMILIES), "cli.commands": set(COMMANDS)}


def _folders() -> dict[str, set[str]]:
    """Modules by folder: the package itself, which is the ground; rooms; folders within rooms."""
    folders: dict[str, set[str]] = {}
    for path in MODULES:
        if path.stem not in {"__init__", "__main__"}:
            folders.setdefault(_name(path.parent / "__init__.py"), set()).add(path.stem)
    return folders


@pytest.mark.parametrize("folder", sorted(_folders()))
def test_a_folder_has_as_many_modules_as_a_reader_keeps_in_mind(folder: str) -> None:
    """Or a family or a command in each, and nothing else."""
    modules = _folders()[folder]
    assert len(modules) <= MOST_MODULES or modules == ONE_EACH.get(folder), f"{folder}: {len(modules)} modules"


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
    "Subject",
}
UNITS = (
    "_s",
    "_bytes",
    "_flops",
    "_per_s",
    "_fraction",
    "_ratio",
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
    "weight",
    "in_flight",
    "p_value",
    "kappa",
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
    "steepness",
    "x",
    "native",
    "visual_tokens",
    "least_error",
    "answered_questions",
    "batch_in_flight",
}


def _dataclasses() -> list[type]:
    found = []
    for path in MODULES:
        if path.stem in {"__init__", "__main__"}:
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


SLOW = frozenset({"torch", "transformers", "onnxruntime", "numpy", "scipy"})
READING = frozenset({"vlmplan.models.reading", "vlmplan.models.configs.family", "vlmplan.models.families"})
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
sys.stderr.write(" ".join(sorted({watched!r} & set(sys.modules))))
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


def _imported(arguments: list[str], extra: str = "", watched: frozenset[str] = SLOW) -> str:
    code = _PROBE.format(arguments=arguments, extra=extra, watched={*watched})
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr


@pytest.mark.parametrize("arguments", [RECOMMEND, [*RECOMMEND, "--json"], ["catalogue", "models"], ["--help"]])
def test_planning_imports_no_heavy_library(arguments: list[str]) -> None:
    assert _imported(arguments) == ""


def test_the_guard_can_fail() -> None:
    assert _imported(["--help"], extra="import numpy") == "numpy"


def test_a_shipped_model_needs_no_family() -> None:
    """Its profile says all; only a checkpoint's own config is read by them, and fp16 asked of them."""
    assert _imported(RECOMMEND, watched=READING) == ""
    extra = "import vlmplan.models.families"
    assert "vlmplan.models.families" in _imported(RECOMMEND, extra=extra, watched=READING)


def test_a_question_without_a_rate_simulates_nothing() -> None:
    watched = frozenset({"vlmplan.serving.simulate", "vlmplan.serving.served", "vlmplan.serving.engine"})
    assert _imported(RECOMMEND, watched=watched) == ""
    assert "vlmplan.serving.simulate" in _imported([*RECOMMEND, "--rate", "2/s"], watched=watched)
