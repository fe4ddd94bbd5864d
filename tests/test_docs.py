"""What README and pages show is what the commands print; the site builds, and no link points nowhere."""

import ast
import csv
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from markdown.extensions.toc import slugify
from small_models import checkpoint, exported
from small_training import drawn
from typer.main import get_command
from typer.testing import CliRunner

import vlmplan
from vlmplan.cli.app import app
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
LOAD = ROOT / "docs" / "howto" / "load.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))
# What a machine measures differs from run to run: times, and differences that rounding makes.
# So do the losses of a training.
MEASURED = re.compile(r"\d[\d.]* (?:us|ms|s)\b|\d\.\de[+-]\d\d|\d\.\d{3}\b")
FIGURE = re.compile(r"[+-]?\d[\d.]*(?: ?(?:us|ms|s)\b)?")  # of an interval the first may have no unit of its own
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```console\n\$ vlmplan (?P<arguments>[^\n]+)\n(?P<output>.*?)```\n", re.DOTALL)


def _blocks(page: Path = README) -> list[re.Match[str]]:
    return list(BLOCK.finditer(page.read_text(encoding="utf-8")))


def _printed(arguments: str) -> str:
    """What the command prints at 80 columns; trailing spaces, which editors drop, do not count."""
    result = CliRunner().invoke(
        app, shlex.split(arguments), env={"COLUMNS": "80", "TERM": "dumb"}, catch_exceptions=False, prog_name="vlmplan"
    )
    assert result.exit_code == 0, result.stderr
    return "".join(f"{line.rstrip()}\n" for line in result.stdout.splitlines())


def _masked(text: str) -> str:
    """The text without measured figures, and without the line breaks that their lengths decide."""
    return " ".join(MEASURED.sub("*", text).split())


@functools.cache
def _plan(page: Path = README, device: str = "l4") -> Path:
    """The plan of a page's recommendation for one device, the README's unless told."""
    asked = next(
        one["arguments"] for one in _blocks(page) if one["arguments"].startswith(f"recommend --hardware {device} ")
    )
    path = Path(tempfile.mkdtemp()) / "plan.json"
    assert CliRunner().invoke(app, [*shlex.split(asked), "--out", str(path)]).exit_code == 0
    return path


def _skeleton(text: str) -> list[str]:
    """A demo's words without figures, the machine's name, and what it says where the machine was busy."""
    text = re.sub(r"Outside its interval:.*?says more\.", "", text, flags=re.DOTALL)
    return FIGURE.sub("*", re.sub(r"(\d\. profile +).*", r"\1", text)).split()


def _same(arguments: str, shown: str, printed: str) -> bool:
    """Whether a block shows what was printed; figures that a machine measures do not count, nor in a demo its name."""
    if arguments == "demo":
        return _skeleton(shown) == _skeleton(printed)
    if arguments.startswith(("validate", "train")):
        return _masked(shown) == _masked(printed)
    return shown == printed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that holds what the examples name: tables, a small checkpoint, and for those that read it its export."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").symlink_to(checkpoint())
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "shapes").symlink_to(drawn())
    (tmp_path / "plan.json").symlink_to(_plan())
    (tmp_path / "loaded.json").symlink_to(_plan(LOAD, "l40s"))


def _id(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix().removeprefix("docs/")


def test_there_are_blocks() -> None:
    assert len(_blocks()) == 2
    assert len(_blocks(ROOT / "docs" / "stories.md")) == 10
    assert sum(len(_blocks(page)) for page in PAGES) >= 25


def test_every_console_block_is_run() -> None:
    """A block that the pattern misses would show what nobody compares."""
    for page in PAGES:
        assert page.read_text(encoding="utf-8").count("```console") == len(_blocks(page)), page


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("page", "number"),
    [pytest.param(page, number, id=f"{_id(page)}-{number}") for page in PAGES for number in range(len(_blocks(page)))],
)
def test_block(page: Path, number: int, request: pytest.FixtureRequest) -> None:
    block = _blocks(page)[number]
    if block["arguments"].startswith("validate"):  # which says by which name the export knows its checkpoint
        vlmplan.export(checkpoint="small", out="small-36", visual_tokens=36, compressor="average-pool")
    elif not block["arguments"].startswith("export"):
        Path("small-36").symlink_to(exported())
    printed = _printed(block["arguments"])
    if request.config.getoption("--update-goldens"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text[: block.start("output")] + printed + text[block.end("output") :], encoding="utf-8")
    else:
        assert _same(block["arguments"], block["output"], printed), printed


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with one model more in its catalogue, which answers better and faster than most."""
    home = tmp_path_factory.mktemp("grown")
    for name in ("vlmplan", "profiles", "docs"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", "compiled.jsonl"))
    for shelf in ("models", "scores"):
        folder = home / "profiles" / shelf
        text = (folder / "Qwen--Qwen3-VL-2B-Instruct.toml").read_text(encoding="utf-8")
        (folder / "acme--Acme-VL-2B.toml").write_text(
            text.replace("Qwen/Qwen3-VL-2B-Instruct", "acme/Acme-VL-2B"), encoding="utf-8"
        )
    evidence = home / "profiles" / "evidence.toml"
    known = re.sub(
        r'^"Qwen/Qwen3-VL-2B-Instruct" = ([\d.]+)$',
        lambda row: f'{row[0]}\n"acme/Acme-VL-2B" = {float(row[1]) + 0.5:.4f}',
        evidence.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    evidence.write_text(known, encoding="utf-8")
    return home


def _in(home: Path, arguments: str) -> str:
    """What a command prints with the package of another folder."""
    environment = {**os.environ, "PYTHONPATH": str(home), "COLUMNS": "80", "TERM": "dumb"}
    line = [sys.executable, "-P", "-m", "vlmplan", *shlex.split(arguments)]
    done = subprocess.run(line, env=environment, cwd=home, capture_output=True, text=True, check=True)
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


@pytest.mark.parametrize("number", range(10))
def test_no_story_changes_with_a_model_more(number: int, grown: Path) -> None:
    block = _blocks(ROOT / "docs" / "stories.md")[number]
    assert _in(grown, block["arguments"]) == block["output"]


def test_a_model_more_would_be_chosen(grown: Path) -> None:
    """So the test above can fail."""
    asked = next(block["arguments"] for block in _blocks(ROOT / "docs" / "stories.md"))
    assert "acme/Acme-VL-2B" in _in(grown, re.sub(r" --models '[^']*'", "", asked))


def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.findall(r"```sh\n([^\n]+)\n```", README.read_text(encoding="utf-8"))
    assert len(commands) == 2
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == commands[1]


def test_the_readmes_first_block_is_its_first_command() -> None:
    command = re.findall(r"```sh\n([^\n]+)\n```", README.read_text(encoding="utf-8"))[0]
    assert command.endswith(f"vlmplan {_blocks()[0]['arguments']}")


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    return {slugify(title, "-") for title in re.findall(r"^#+ (.+)$", _prose(page), flags=re.MULTILINE)}


def _dead(page: Path, text: str) -> list[str]:
    """Links of a page's text, read in a clone, whose file or heading is not there."""
    dead = []
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        made = path.name in {"rooms.md", "commands.md"} and path.parent.name == "reference"  # by tools/docs_site.py
        if not (made or re.match(r"https?:", link)) and (
            not path.exists() or (anchor and anchor not in _anchors(path))
        ):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("CONTRIBUTING.md"))], ids=_id)
def test_no_link_points_nowhere(page: Path) -> None:
    assert not _dead(page, _prose(page))


def test_dead_links_are_found() -> None:
    text = "[a](docs/none.md) [b](docs/start.md#none) ![c](none.png) [d](#none) [e](docs/start.md#install) [f](LICENSE)"
    assert _dead(README, text) == ["docs/none.md", "docs/start.md#none", "none.png", "#none"]


def _built(folder: Path) -> Path:
    """The site, built with warnings as errors."""
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "WARNING" not in made.stderr
    return folder


def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    site = _built(tmp_path / "site")
    shown = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    group: Any = get_command(app)
    for name, command in ((name, group.get_command(None, name)) for name in group.commands):
        assert f'id="vlmplan-{name}"' in shown
        for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
            assert option in shown, f"{name} {option}"
    loaded = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?:[^\" >]+)")
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page
    assert "Deploy Qwen" in (site / "start" / "index.html").read_text(encoding="utf-8")


TREE = {path.name for folder in ("vlmplan", "tools", "tests") for path in (ROOT / folder).rglob("*.py")}
ELSEWHERE = {"version.py", "hardware_params.py"}  # torch's, llm-analysis's
OF_OTHERS = {"run.py", "image_vqa.py", "image_mcq.py", "evaluation_tracker.py"}  # VLMEvalKit's, lmms-eval's


def _absent(text: str) -> list[str]:
    """Modules of this project that a text names and that are not there; those of others stand with their folders."""
    named = set(re.findall(r"(?<![\w./-])((?:vlmplan|tools|tests)/[\w/]+\.py|\w+\.py)\b(?!/)", text)) - ELSEWHERE
    return sorted(
        name for name in named if "NAME" not in name and not ((ROOT / name).is_file() if "/" in name else name in TREE)
    )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "facts" / "README.md"], ids=str)
def test_modules_that_docs_name_are_there(page: Path) -> None:
    assert not _absent(page.read_text(encoding="utf-8"))


def test_modules_that_docstrings_name_are_there() -> None:
    for folder in ("vlmplan", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            said = [
                ast.get_docstring(one) or "" for one in ast.walk(tree) if isinstance(one, ast.Module | ast.FunctionDef)
            ]
            named = set(re.findall(r"``(\w+\.py)``", " ".join(said))) - OF_OTHERS
            assert named <= TREE, (path, named - TREE)


def test_a_module_that_is_gone_is_found() -> None:
    text = "`vlmplan/onnx/export.py`, `ranking.py`, `tools/make_models.py`, vllm/v1/engine.py"
    assert _absent(text) == ["ranking.py", "vlmplan/onnx/export.py"]


def test_counts_in_the_docs_are_those_shipped() -> None:
    page = (ROOT / "docs" / "howto" / "models.md").read_text(encoding="utf-8")
    devices, models, laws = (len(catalogue.names(shelf)) for shelf in (Shelf.HARDWARE, Shelf.MODELS, Shelf.LAWS))
    assert f"Lists what is shipped: {devices} devices, {models} models, {laws} laws." in page
    facts = (ROOT / "facts" / "README.md").read_text(encoding="utf-8")
    with (ROOT / "facts" / "vlms.csv").open(encoding="utf-8", newline="") as stream:
        rows = len(list(csv.DictReader(stream)))
    assert f"`vlms.csv` | {rows} checkpoints" in facts
