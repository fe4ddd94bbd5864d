"""Machines as they were recorded: files under a folder of their own, and tools that print what was noted.

``tests/machines/NAME.toml`` holds files by path and outputs by command line, made after the tools' documented formats.
The tools become small shell scripts, so that what is tested starts processes and reads files as on a real machine.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from vlmplan.hardware import Surroundings

FOLDER = Path(__file__).parent / "machines"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
HANGS_S = 60


def recorded(
    name: str, folder: Path, environment: Mapping[str, str] | None = None, timeout_s: float = 4.0, load: float = 0.0
) -> Surroundings:
    """Lay a recorded machine out in a folder, and return how to ask it."""
    told: dict[str, Any] = tomli.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    root = folder / "root"
    for path, text in told.get("files", {}).items():
        there = root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, encoding="utf-8")
    tools = root / told["tools_at"].lstrip("/") if "tools_at" in told else folder / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    _write_tools(tools, told)
    cuda: dict[str, dict[str, int]] = told.get("cuda", {})
    return Surroundings(
        root=root,
        path=str(folder / "bin"),
        environment={**told.get("environment", {}), **(environment or {})},
        system=told["system"],
        processor=told["processor"],
        nvml=lambda: None,
        cuda=lambda index: cuda.get(str(index)),
        load=lambda: load,
        timeout_s=timeout_s,
    )


def _write_tools(folder: Path, told: Mapping[str, Any]) -> None:
    """A script a tool: it knows the command lines that were recorded, and fails for any other."""
    cases: dict[str, list[str]] = {tool: [] for tool in told.get("hangs", [])}
    for number, (line, text) in enumerate(told.get("tools", {}).items()):
        tool, _, arguments = line.partition(" ")
        output = folder / f".{number}.txt"
        output.write_text(text, encoding="utf-8")
        code = told.get("exits", {}).get(line, 0)
        cases.setdefault(tool, []).append(
            f"{shlex.quote(arguments)}) /bin/cat {shlex.quote(str(output))}; exit {code};;"
        )
    for tool, known in cases.items():
        body = (
            f"/bin/sleep {HANGS_S}" if tool in told.get("hangs", []) else 'case "$*" in\n' + "\n".join(known) + "\nesac"
        )
        script = folder / tool
        script.write_text(f"#!/bin/sh\n{body}\nexit 64\n", encoding="utf-8")
        script.chmod(0o755)
