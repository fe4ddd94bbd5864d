"""The public API: lazy, by keyword, documented by examples that run, typed for its users, shown in notebooks."""

import ast
import contextlib
import doctest
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
from PIL import Image
from planted import numbered_questions, planted
from small_models import checkpoint

import vlmplan
from vlmplan import errors
from vlmplan.api.asking import Asking
from vlmplan.api.costs import Pricing
from vlmplan.cli.app import COMMANDS
from vlmplan.document import Document
from vlmplan.proof import Outcome

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = sorted(name for name in vlmplan.__all__ if inspect.isfunction(getattr(vlmplan, name)))
COLORS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what examples name: a small checkpoint, its export, a picture and a question about it."""
    monkeypatch.chdir(tmp_path)
    Path("small-llava").symlink_to(checkpoint())
    Image.new("RGB", (72, 72), (200, 30, 30)).save("photo.png")
    question = {"image": "photo.png", "question": "what colour is it?", "answer": "red"}
    Path("questions.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    return tmp_path


# What it is


def test_all_is_what_is_there() -> None:
    assert sorted(vlmplan.__all__) == vlmplan.__all__
    assert set(vlmplan.__all__) <= set(dir(vlmplan))
    for name in vlmplan.__all__:
        assert getattr(vlmplan, name).__module__.startswith("vlmplan.")
    named = "recommend compare recheck estimate explain tokens knees fit law model hardware_profile catalogue profile"
    assert set(named.split()) <= set(vlmplan.__all__)
    assert {"export", "validate", "run", "evaluate", "page", "load", "save"} <= set(vlmplan.__all__)


def _errors(module: ModuleType) -> set[str]:
    found = {name: getattr(module, name) for name in dir(module)}
    return {name for name, value in found.items() if inspect.isclass(value) and issubclass(value, Exception)}


def test_errors_are_all_there() -> None:
    assert _errors(vlmplan) == _errors(errors)


def test_every_module_is_importable_beside_the_functions() -> None:
    """No function hides a package, before it is called or after."""
    for name in FUNCTIONS:
        getattr(vlmplan, name)
    for module in pkgutil.iter_modules(vlmplan.__path__):
        if module.name != "__main__":
            assert inspect.ismodule(importlib.import_module(f"vlmplan.{module.name}"))
            assert inspect.ismodule(getattr(vlmplan, module.name))


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = vlmplan.nonsense  # type: ignore[attr-defined]


def test_importing_it_imports_next_to_nothing() -> None:
    """Its own door and what that stands on; no library, nor typing or dataclasses of Python's."""
    code = "import sys; before = set(sys.modules); import vlmplan; print(*sorted(set(sys.modules) - before))"
    found = set(_python(code).split())
    assert {name for name in found if name.startswith("vlmplan")} == {"vlmplan", "vlmplan.lazy"}
    assert not found & {"typing", "dataclasses", "json", "numpy", "scipy", "rich", "typer", "torch", "tomli"}


def test_the_version_stays_literal() -> None:
    """Hatchling reads it from the text."""
    tree = ast.parse((ROOT / "vlmplan" / "__init__.py").read_text(encoding="utf-8"))
    found = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(found["__version__"]) == vlmplan.__version__


# How its functions are made


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_keywords_and_say_what_they_are(name: str) -> None:
    """Google's sections, every parameter in them; what one positional parameter says, its function's name says."""
    function = getattr(vlmplan, name)
    parameters = inspect.signature(function).parameters
    one_each = {"hardware_profile", "model", "law", "workload", "task", "catalogue", "load", "save"}
    kinds = {one.kind for one in parameters.values()}
    if name not in one_each:
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    text = inspect.getdoc(function) or ""
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in text or (section == "Returns:" and name == "save")
    for one in parameters.values():
        assert f"    {'**' if one.kind is inspect.Parameter.VAR_KEYWORD else ''}{one.name}: " in text
    scope = vars(importlib.import_module(function.__module__)) | _names_of_types()
    assert "return" in get_type_hints(function, scope)


def _names_of_types() -> dict[str, Any]:
    """What annotations in quotes mean."""
    from vlmplan import (
        accuracy,
        checkpoints,
        cost,
        evaluation,
        exporting,
        fitting,
        hardware,
        inventory,
        measuring,
        models,
        planning,
        proof,
        studies,
    )

    rooms = (accuracy, checkpoints, cost, evaluation, exporting, fitting, hardware, inventory, measuring, models)
    return {name: getattr(room, name) for room in (*rooms, planning, proof, studies) for name in room.__all__} | {
        "Document": Document
    }


def test_words_left_to_one_function_are_the_others() -> None:
    """``compare`` and ``explain`` take what ``recommend`` and ``estimate`` do, and their defaults."""
    asked = set(inspect.signature(vlmplan.recommend).parameters) - {"hardware", "task", "price"}
    assert asked == set(Asking.__annotations__)
    asked = set(inspect.signature(vlmplan.estimate).parameters) - {"model", "hardware", "visual_tokens"}
    assert asked == set(Pricing.__annotations__)
    with pytest.raises(TypeError, match="latencies"):
        vlmplan.compare(hardware="l4", task="ocr", latencies="300ms")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="prompt_tokens"):
        vlmplan.explain(model="llava-1.5-7b", hardware="l4", visual_tokens=1, prompt_tokens=3)  # type: ignore[call-arg]


# What a command does with a document.
OPTIONS_OF_FILES = {"out", "json", "plot", "junit", "answers", "verbose", "why", "open_"}
_PERCENTILES = {
    f"{of}p{percent}": "" for of in ("", "ttft_", "tpot_") for percent in (50, 95, 99)
}  # one word of the API
OTHERWISE = {
    "recommend": {"check": "recheck"} | _PERCENTILES,
    "estimate": {"explain": "explain"} | _PERCENTILES,
    "evaluate": dict.fromkeys(("like", "served_model", "score", "by", "output_tokens", "at_once", "budget", "may_lose",
                               "seed", "timeout", "points", "task", "page", "judge", "judge_model", "verdicts",
                               "within", "allow_unsure"), ""),
    "export": dict.fromkeys(("via", "optimum_python"), ""),  # another exporter's, of text models
    "profile": {"check": "check_profile", "endpoint": "", "from_measurements": "", "hardware": "", "model": "",
                "served_model": "", "images": "", "timeout": "", "with_": "", "concurrency": ""},
}  # fmt: skip


COMMANDS_OF_ONE_FUNCTION = [
    "recommend",
    "estimate",
    "tokens",
    "fit",
    "export",
    "validate",
    "run",
    "evaluate",
    "study",
    "profile",
]


@pytest.mark.parametrize("name", COMMANDS_OF_ONE_FUNCTION)
def test_words_and_defaults_are_the_command_lines(name: str) -> None:
    command = getattr(importlib.import_module(f"vlmplan.cli.commands.{name}"), name)
    assert name in COMMANDS
    function = inspect.signature(getattr(vlmplan, name)).parameters
    for option, parameter in inspect.signature(command).parameters.items():
        if option in {"context", *OPTIONS_OF_FILES, *OTHERWISE.get(name, {})}:
            continue
        word = option.removesuffix("_") if option == "license_" else option
        assert word in function, f"{name}: {option}"
        if word not in {"recalibrate", "device"} and function[word].default is not inspect.Parameter.empty:
            assert function[word].default == parameter.default


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(recurse=False)
    return [test for name in FUNCTIONS for test in finder.find(getattr(vlmplan, name), name, globs={}) if test.examples]


@pytest.mark.parametrize("example", _examples(), ids=lambda test: test.name)
def test_examples_run(example: doctest.DocTest, here: Path) -> None:
    if example.name in {"validate", "run", "evaluate"}:
        vlmplan.export(checkpoint="small-llava", visual_tokens=36, compressor="average-pool", out="small-llava-36")
    said: list[str] = []
    with contextlib.ExitStack() as around:
        if example.name == "study":
            numbered_questions(here / "pages.jsonl", 60)
            example.globs["url"] = around.enter_context(planted(here))
        result = doctest.DocTestRunner(optionflags=COLORS).run(example, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 0 and any(here.iterdir())


def test_all_but_what_takes_minutes_has_an_example() -> None:
    assert set(FUNCTIONS) - {test.name for test in _examples()} == {
        "check_profile",
        "evaluate_endpoint",
        "profile_endpoint",
    }


def test_the_page_about_it_runs(here: Path) -> None:
    text = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, "python.md", "python.md", 0)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=COLORS).run(page, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted >= 20 and here
    for name in FUNCTIONS:
        assert f"`{name}`" in text or f"vlmplan.{name}(" in text, name


def test_a_wrong_example_fails() -> None:
    """The runner that the others trust finds a difference."""
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", "wrong", 0)
    assert doctest.DocTestRunner(optionflags=COLORS).run(wrong, out=str).failed == 1


# What stands in for what


def test_documents_stand_where_names_do() -> None:
    """A shipped document is as good as its name, to the last byte of the plan."""
    by_name = vlmplan.recommend(hardware="l4", latency="2s", task="docvqa.toml", model="InternVL3-1B")
    given = vlmplan.recommend(
        hardware=vlmplan.hardware_profile("l4"),
        budget=vlmplan.Budget(latency_s=2.0),
        task=vlmplan.law("docvqa"),
        model=vlmplan.model("OpenGVLab/InternVL3-1B"),
        workload=vlmplan.Workload(text_tokens=50, output_tokens=32),
    )
    assert given.choice == by_name.choice
    assert given.asked is not None and by_name.asked is not None
    assert replace(given, asked=None) == replace(by_name, asked=None)
    assert given.asked == replace(by_name.asked, model="OpenGVLab/InternVL3-1B")


def test_a_profile_of_ones_own_is_the_plans_own_copy() -> None:
    """Another l4 than the shipped one: asked again it is not taken for that."""
    slow = replace(vlmplan.hardware_profile("l4"), bandwidth_bytes_per_s=150e9)
    plan = vlmplan.recommend(hardware=slow, latency="400ms", task="ocr")
    assert plan.asked is not None and plan.asked.hardware == "./l4.toml"
    assert (
        plan.choice.latency_s
        > vlmplan.estimate(
            model=plan.model, hardware="l4", visual_tokens=plan.choice.visual_tokens, precision=plan.choice.precision
        ).latency_s
    )
    again = vlmplan.recheck(plan=plan)
    assert again.holds and "own copy" in again.notes[0]
    assert not vlmplan.recheck(plan=plan, hardware="l4").faults[:1] or vlmplan.recheck(plan=plan, hardware="l4").changed


def test_a_model_of_ones_own_is_the_only_candidate() -> None:
    mine = replace(vlmplan.model("OpenGVLab/InternVL3-1B"), name="me/mine")
    plan = vlmplan.recommend(hardware="l4", latency="2s", task=vlmplan.law("docvqa"), model=mine)
    assert plan.choice.model == "me/mine"
    assert plan.asked is not None and plan.asked.model == "./me/mine.toml"
    assert vlmplan.recheck(plan=plan).holds


def test_a_model_of_ones_own_is_served_as_its_architecture_is() -> None:
    """As one that is read from a checkpoint's folder, which says nothing of engines."""
    mine = replace(vlmplan.model("OpenGVLab/InternVL3-1B"), name="me/mine", serving={})
    plan = vlmplan.recommend(hardware="l4", latency="2s", task=vlmplan.law("docvqa"), model=mine)
    assert plan.choice.deploy is not None and "vllm serve me/mine" in (plan.choice.deploy.command or "")


def test_a_law_of_ones_own_need_lie_in_no_file() -> None:
    mine = replace(vlmplan.law("docvqa"), name="mine")
    plan = vlmplan.recommend(hardware="l4", latency="2s", task=mine)
    assert plan.asked is not None and plan.asked.task == "mine.toml"
    assert vlmplan.recheck(plan=plan, task=mine).holds
    with pytest.raises(vlmplan.InputError, match=r"mine\.toml: cannot be read"):
        vlmplan.recheck(plan=plan)


def test_paths_are_text_or_paths(tmp_path: Path) -> None:
    device, law, model = tmp_path / "mine.toml", tmp_path / "law.toml", tmp_path / "model.toml"
    vlmplan.save(vlmplan.hardware_profile("l4"), device)
    vlmplan.save(vlmplan.law("docvqa"), law)
    vlmplan.save(vlmplan.model("InternVL3-1B"), model)
    by_path = vlmplan.recommend(hardware=device, latency="2s", task=law, model=model)
    assert by_path == vlmplan.recommend(hardware=str(device), latency="2s", task=str(law), model=str(model))
    assert str(tmp_path) not in str(by_path)
    priced = vlmplan.estimate(model=model, hardware=device, visual_tokens=256)
    assert priced == vlmplan.estimate(model="InternVL3-1B", hardware="l4", visual_tokens=256)
    assert vlmplan.compare(hardware=[device, "l40"], latency="2s", task=law).task
    assert vlmplan.law(law) == vlmplan.law("docvqa") and vlmplan.model(model) == vlmplan.model("InternVL3-1B")


def test_plans_are_read_from_files(tmp_path: Path) -> None:
    plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
    vlmplan.save(plan, tmp_path / "plan.json")
    assert vlmplan.load(vlmplan.Plan, str(tmp_path / "plan.json")) == plan
    assert vlmplan.recheck(plan=tmp_path / "plan.json") == vlmplan.recheck(plan=plan)
    with pytest.raises(vlmplan.InputError, match="expected schema"):
        vlmplan.load(vlmplan.Estimate, tmp_path / "plan.json")


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
    command = [sys.executable, "-m", "vlmplan", "recommend", "--hardware", "l4", "--latency", "300ms", "--task", "ocr"]
    command += ["--text-tokens", "50", "--output-tokens", "32", "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=env)
    vlmplan.save(plan, tmp_path / "plan.json")
    assert said.stdout == (tmp_path / "plan.json").read_text(encoding="utf-8")


def test_devices_are_names_globs_or_documents() -> None:
    named = vlmplan.compare(hardware="l4, l40*", latency="300ms", task="ocr")
    listed = vlmplan.compare(hardware=["l4", vlmplan.hardware_profile("l40"), "l40s"], latency="300ms", task="ocr")
    assert named == listed
    heard: list[str] = []
    priced = vlmplan.compare(
        hardware="l4,l40", latency="300ms", task="ocr", tell=heard.append,
        price=vlmplan.Prices(currency="EUR", hour_price={"l4": 0.5, "l40": 1.0}),
    )  # fmt: skip
    assert heard == ["l4", "l40"] and priced.currency == "EUR"
    assert all(one.thousand_requests_price for one in priced.devices)


def test_points_are_rows_or_documents(tmp_path: Path) -> None:
    points = [
        vlmplan.Point(llm_params_b=n, visual_tokens=v, error=round(0.9 * n**-0.2 * v**-0.05, 6))
        for n in (0.5, 2, 7) for v in (16, 64, 256)
    ]  # fmt: skip
    table = ["llm_params_b,visual_tokens,error", *(f"{p.llm_params_b},{p.visual_tokens},{p.error}" for p in points)]
    (tmp_path / "points.csv").write_text("\n".join(table), encoding="utf-8")
    given, _ = vlmplan.fit(points=points, name="mine", draws=200)
    read, _ = vlmplan.fit(points=tmp_path / "points.csv", name="mine", draws=200)
    assert given.fits == read.fits and given.name == "mine"
    assert read.sources == ("points.csv",) and given.sources == ()
    with pytest.raises(vlmplan.InputError, match=r"point 1: error: found 1\.5"):
        vlmplan.fit(points=[replace(points[0], error=1.5), *points])


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="300"), vlmplan.InputError, "a bare number"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1ms"), vlmplan.Infeasible, "the fastest needs"),
        (lambda: vlmplan.recommend(hardware="l5", task="ocr", latency="1s"), vlmplan.InputError, "nearest"),
        (lambda: vlmplan.recommend(hardware="l4,l40", task="ocr", latency="1s"), vlmplan.InputError, "compare"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1s", runtime="vlm"), vlmplan.InputError,
         "--runtime: found 'vlm', expected one of"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1s", prefer="price"), vlmplan.InputError,
         "--prefer"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1s", gpus=17), vlmplan.InputError, "1 to 16"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1s", confidence=1.0), vlmplan.InputError,
         "--confidence"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1s", budget=vlmplan.Budget(ttft_s=1.0)),
         vlmplan.InputError, "budget: found limits beside it"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency="1s", images=2,
                                   workload=vlmplan.Workload(text_tokens=9)), vlmplan.InputError, "images beside it"),
        (lambda: vlmplan.recommend(hardware="l4", task="ocr", latency=0.3),  # type: ignore[arg-type]
         vlmplan.InputError, "found '0.3', a bare number"),
        (lambda: vlmplan.compare(task="ocr", latency="1s"), vlmplan.InputError, "--hardware: found none"),
        (lambda: vlmplan.compare(hardware=[], task="ocr", latency="1s"), vlmplan.InputError, "an empty list"),
        (lambda: vlmplan.compare(hardware=["l4", vlmplan.hardware_profile("l4")], task="ocr", latency="1s"),
         vlmplan.InputError, "two devices named l4"),
        (lambda: vlmplan.compare(hardware="l4,l40", task="ocr", latency="1ms"), vlmplan.Infeasible, "none of 2 "),
        (lambda: vlmplan.estimate(model="llava-1.5-7b", hardware="l4", visual_tokens=-1), vlmplan.InputError,
         "--visual-tokens"),
        (lambda: vlmplan.estimate(model="llava-1.5-7b", hardware="l4", visual_tokens=0, compressor="quecc"),
         vlmplan.InputError, "expected tokens to compress"),
        (lambda: vlmplan.tokens(model="llava-1.5-7b", image="big"), vlmplan.InputError, "1024x768"),
        (lambda: vlmplan.catalogue("phones"), vlmplan.InputError, "hardware, models, laws"),
        (lambda: vlmplan.law("nonsense"), vlmplan.InputError, "no law named"),
        (lambda: vlmplan.fit(points="none.csv"), vlmplan.InputError, "none.csv"),
        (lambda: vlmplan.fit(points=[], draws=1), vlmplan.InputError, "--draws"),
        (lambda: vlmplan.fit(points="none.csv", floor=2), vlmplan.InputError, "--floor"),
        (lambda: vlmplan.fit(points="none.csv", form="cubic"), vlmplan.InputError, "--form"),
        (lambda: vlmplan.profile(device="tpu"), vlmplan.InputError, "--device"),
        (lambda: vlmplan.profile(precision="fp64"), vlmplan.InputError, "--precision"),
        (lambda: vlmplan.profile_endpoint(endpoint="ftp://x", hardware="l4", model="llava-1.5-7b"), vlmplan.InputError,
         "--endpoint"),
        (lambda: vlmplan.export(out="x", model="a", checkpoint="b"), vlmplan.InputError, "give one"),
        (lambda: vlmplan.validate(folder="none", questions="q.jsonl"), vlmplan.InputError, "both or neither"),
        (lambda: vlmplan.validate(folder="none"), vlmplan.InputError, "none"),
        (lambda: vlmplan.run(folder="none", image="a.png", prompt="x", provider="tpu"), vlmplan.InputError,
         "--provider"),
        (lambda: vlmplan.page(plan="none.json"), vlmplan.InputError, "none.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_an_error_in_one_line(
    call: Callable[[], Any], error: type[Exception], message: str, here: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and isinstance(caught.value, vlmplan.VlmplanError)
    assert not any(path.suffix == ".toml" for path in here.iterdir())


def test_an_estimate_that_cannot_be_run_is_priced_and_says_so() -> None:
    one = vlmplan.estimate(model="Qwen2.5-VL-72B", hardware="l4", visual_tokens=256)
    assert one.latency_s > 0 and "does not fit" in one.obstacles[0]


# Notebooks


class _Page(HTMLParser):
    """Reads a piece of HTML strictly: every tag closed, in order; the text, and the tags that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(html: str | None) -> _Page:
    assert html is not None
    page = _Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert page.tags <= {
        "div",
        "p",
        "strong",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "pre",
        "details",
        "summary",
    }
    assert page.attributes <= {"style"}
    return page


def test_a_plan_shows_itself_with_choice_intervals_alternatives_and_warnings() -> None:
    plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
    page = _read(plan._repr_html_())
    assert page.text.startswith(f"Deploy {plan.choice.model} with {plan.choice.visual_tokens} visual tokens")
    others = [one.model for one in plan.runners_up]
    for shown in ("90 % interval", "300 ms", "Why the others lost", *others, *plan.warnings):
        assert shown in page.text
    assert plan.choice.deploy is not None and (plan.choice.deploy.command or "none") in page.text


def test_other_documents_show_themselves_too() -> None:
    plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
    law = vlmplan.law("docvqa")
    _, fitted = vlmplan.fit(points=law.points, form="logit", draws=200)
    found = vlmplan.compare(hardware="l4,l40,h100-sxm", latency="250ms", task="ocr")
    report = vlmplan.Report(
        export="out", checkpoint="me/mine", provider="cpu", threads=1, versions={}, passed=False,
        checks=(vlmplan.Check(name="logits", outcome=Outcome.FAILED, detail="off by 2"),),
    )  # fmt: skip
    shown: list[tuple[Document, tuple[str, ...]]] = [
        (found, ("of 3 devices meet the budget", "h100-sxm")),
        (vlmplan.recheck(plan=plan), ("The plan holds", "latency")),
        (vlmplan.estimate(model="llava-1.5-7b", hardware="l4", visual_tokens=576), ("TTFT", "576 visual tokens")),
        (vlmplan.estimate(model="Qwen2.5-VL-72B", hardware="l4", visual_tokens=576), ("Cannot be run: does not fit",)),
        (law, ("Law 'docvqa' of 55 points", "c/b")),
        (fitted, ("form logit", "rmse")),
        (report, ("1 of 1 checks failed", "Failed, logits: off by 2.")),
    ]  # fmt: skip
    for document, texts in shown:
        page = _read(document._repr_html_())
        for text in texts:
            assert text in page.text


def test_what_others_wrote_does_nothing_in_a_notebook() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202e"
    plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
    hardware = replace(plan.hardware, name=evil)
    worse = replace(plan, hardware=hardware, warnings=(evil,), left_out=(evil,), chosen_because=evil)
    page = _read(worse._repr_html_())
    assert "<script>alert(1)</script>" in page.text and "\u202e" not in page.text


def test_a_validation_shows_its_report() -> None:
    report = vlmplan.Report(
        export="out", checkpoint="me/mine", provider="cpu", threads=1, versions={}, passed=True, checks=()
    )
    found = vlmplan.Validation(report=report, plan=None, timings=None)
    assert found._repr_html_() == report._repr_html_()
    assert "Good: nothing failed" in _read(found._repr_html_()).text


def test_documents_without_a_view_show_their_text() -> None:
    assert vlmplan.hardware_profile("l4")._repr_html_() is None
    assert vlmplan.tokens(model="llava-1.5-7b")._repr_html_() is None


def test_a_plan_shows_itself_without_the_extra_for_pages() -> None:
    """Planning imports no view, and neither it nor its view a library that draws, counts or speaks to a terminal."""
    code = """
import sys
for name in ("jinja2", "plotly", "rich", "typer", "matplotlib", "numpy", "scipy", "torch"):
    sys.modules[name] = None
import vlmplan
plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
assert not [name for name in sys.modules if name.startswith("vlmplan.views")]
print(plan._repr_html_()[:5])
"""
    assert _python(code) == "<div>\n"


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="needs IPython")
def test_ipython_finds_the_html() -> None:
    formatter = importlib.import_module("IPython.core.formatters").DisplayFormatter()
    plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
    data, _ = formatter.format(plan)
    assert data["text/html"] == plan._repr_html_() and "text/plain" in data
    data, _ = formatter.format(vlmplan.hardware_profile("l4"))
    assert "text/html" not in data and "text/plain" in data


# Types for users

SCRIPT = """
from pathlib import Path

import vlmplan

plan: vlmplan.Plan = vlmplan.recommend(hardware="l4", latency="300ms", task="ocr")
seconds: float = plan.choice.latency_interval_s[1]
law: vlmplan.ScalingLaw = vlmplan.law("docvqa")
error: float = law.error(llm_params_b=7, visual_tokens=64)
names: list[str] = [device.name for device in vlmplan.catalogue("hardware")]
other = vlmplan.compare(hardware=["l4", vlmplan.hardware_profile("l40")], latency="300ms", task=law, gpus=2)
first: str = other.devices[0].hardware
fitted, report = vlmplan.fit(points=[vlmplan.Point(llm_params_b=1, visual_tokens=2, error=0.5)])
rmse: float = report.rmse
read: vlmplan.Plan = vlmplan.load(vlmplan.Plan, Path("plan.json"))
good: bool = vlmplan.validate(folder="out", plan=read).report.passed
try:
    vlmplan.estimate(model=plan.model, hardware=plan.hardware, visual_tokens=64, precision=vlmplan.Precision.FP16)
except vlmplan.Infeasible as missed:
    brief: str = missed.brief
"""
WRONG = """
vlmplan.recommend(hardware="l4", latency=0.3, task="ocr")
vlmplan.recommend("l4", latency="300ms", task="ocr")
vlmplan.compare(hardware="l4", task="ocr", latencies="1s")
plan.choice.latency
vlmplan.recomend
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the package as its wheel brings it: the interpreter's path."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "venv", with_pip=False)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        assert "vlmplan/py.typed" in wheel.namelist()
        beside = [path for path in (ROOT / "vlmplan" / "pages").iterdir() if path.suffix in {".css", ".js", ".jinja"}]
        assert beside
        assert {f"vlmplan/pages/{path.name}" for path in beside} <= set(wheel.namelist())
        wheel.extractall(next((folder / "venv" / "lib").glob("python*/site-packages")))
    return folder / "venv" / "bin" / "python"


def _mypy(script: str, environment: Path, folder: Path) -> str:
    """What mypy says, strictly, of a user's script."""
    (folder / "mine.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(environment), "mine.py"]
    command += ["--cache-dir", str(environment.parents[2] / "cache"), "--config-file", os.devnull]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=env).stdout


def test_a_users_script_is_checked_strictly(environment: Path, tmp_path: Path) -> None:
    assert _mypy(SCRIPT, environment, tmp_path).startswith("Success")


def test_a_users_mistakes_are_found(environment: Path, tmp_path: Path) -> None:
    """One a line: a number for a quantity, a position for a keyword; a word, a field and a function that are none."""
    said = _mypy(SCRIPT + WRONG, environment, tmp_path)
    first = len(SCRIPT.splitlines()) + 1
    for number in range(first + 1, first + 6):
        assert f"mine.py:{number}: error" in said, said
