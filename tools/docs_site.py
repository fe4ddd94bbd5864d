"""Hooks of the documentation site: the pages of all commands and modules, and links to files outside ``docs/``.

Run: by ``mkdocs build``, as ``mkdocs.yml`` says. Links into the repository hold on the site as they do in a clone, for
the file goes along as text; ``vlmplan NAME --help`` in a sentence becomes a link to the command.
"""

import ast
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = "reference/commands.md"
ROOMS = "reference/rooms.md"
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
HELP = re.compile(r"`vlmplan( \w+)? --help`")
LOG = logging.getLogger("mkdocs.hooks.docs_site")


def commands() -> str:
    """Return every command with its options as Markdown, by typer's own generator."""
    asked = ["-m", "typer", "tools/docs_commands.py", "utils", "docs", "--name", "vlmplan", "--title", "Commands"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(
        [sys.executable, *asked], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return made.stdout


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]


def rooms() -> str:
    """Return every room with its modules as Markdown, in the order in which they may import, by their docstrings."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    order = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS"
    )
    lines = [
        "# The rooms",
        "",
        "Rooms import only from the ground and from rooms above them, and only what a door shows.",
    ]
    for room in ("", *order):
        folder = ROOT / "vlmplan" / room
        lines += ["", f"## {room or 'The ground'}", ""]
        lines += [f"{_first_line(folder / '__init__.py')}", ""] if room else []
        lines += ["| module | its question |", "|---|---|"]
        for path in sorted(folder.rglob("*.py") if room else folder.glob("*.py")):
            if path.name != "__init__.py" or path.parent != folder:
                name = path.relative_to(folder).with_suffix("").as_posix().removesuffix("/__init__")
                lines.append(f"| `{name}` | {_first_line(path).replace('|', '/')} |")
    return "\n".join([*lines, ""])


def outside(page: str, target: str) -> Path | None:
    """Return what a link of a page means, where it lies in the repository and not in ``docs/``."""
    path = Path(os.path.normpath(ROOT / "docs" / Path(page).parent / target))
    return None if path.is_relative_to(ROOT / "docs") or not path.is_relative_to(ROOT) else path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of commands, and the files of the repository that pages link to."""
    pages = list(files.documentation_pages())
    files.append(File.generated(config, COMMANDS, content=commands()))
    files.append(File.generated(config, ROOMS, content=rooms()))
    for page in pages:
        for target in LINK.findall(page.content_string):
            path = outside(page.src_uri, target)
            if path is not None and path.is_file() and files.get_file_from_path(_place(path)) is None:
                files.append(File.generated(config, _place(path), content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point links at the copies of files and at the commands; a file that is not there is a warning."""
    here = page.file.src_uri

    def pointed(match: re.Match[str]) -> str:
        path = outside(here, match[0])
        if path is None:
            return match[0]
        if not path.is_file():
            LOG.warning("%s links to %s, which is no file of the repository", here, match[0])
            return match[0]
        return os.path.relpath(_place(path), Path(here).parent)

    def explained(match: re.Match[str]) -> str:
        anchor = f"#vlmplan-{match[1].strip()}" if match[1] else ""
        return f"[{match[0]}]({os.path.relpath(COMMANDS, Path(here).parent)}{anchor})"

    linked = LINK.sub(pointed, markdown)
    return linked if here == COMMANDS else HELP.sub(explained, linked)


def _place(path: Path) -> str:
    """Where a file's copy lies on the site: as text, so that a browser shows it."""
    return f"repository/{path.relative_to(ROOT).as_posix()}.txt"
