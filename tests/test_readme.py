"""What the README shows is what the commands print; its commands are those that CI runs."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlmplan.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n\$ vlmplan (?P<arguments>[^\n]+)\n(?P<output>.*?)```\n", re.DOTALL)


def _blocks() -> list[re.Match[str]]:
    return list(BLOCK.finditer(README.read_text(encoding="utf-8")))


def _printed(arguments: str) -> str:
    """What the command prints at 80 columns; trailing spaces, which editors drop, do not count."""
    result = CliRunner().invoke(
        app, shlex.split(arguments), env={"COLUMNS": "80", "TERM": "dumb"}, catch_exceptions=False, prog_name="vlmplan"
    )
    assert result.exit_code == 0, result.stderr
    return "".join(f"{line.rstrip()}\n" for line in result.stdout.splitlines())


def test_there_are_blocks() -> None:
    assert len(_blocks()) >= 8


@pytest.mark.parametrize("number", range(len(_blocks())))
def test_block(number: int, request: pytest.FixtureRequest) -> None:
    block = _blocks()[number]
    printed = _printed(block["arguments"])
    if request.config.getoption("--update-goldens"):
        text = README.read_text(encoding="utf-8")
        README.write_text(text[: block.start("output")] + printed + text[block.end("output") :], encoding="utf-8")
    else:
        assert block["output"] == printed


def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.findall(r"```sh\n([^\n]+)\n```", README.read_text(encoding="utf-8"))
    assert len(commands) == 2
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == commands[1]


def test_the_readmes_first_block_is_its_first_command() -> None:
    command = re.findall(r"```sh\n([^\n]+)\n```", README.read_text(encoding="utf-8"))[0]
    assert command.endswith(f"vlmplan {_blocks()[0]['arguments']}")
