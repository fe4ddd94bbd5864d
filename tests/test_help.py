"""Help fits a screen: groups of commands, panels of options, a line each, and nothing left out."""

import re

import pytest
import typer.main
from typer.testing import CliRunner

from vlmplan.cli import help as helping
from vlmplan.cli.app import COMMANDS, app


def _help(*command: str, columns: int = 80) -> str:
    found = CliRunner(env={"COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)}).invoke(app, [*command, "--help"])
    assert found.exit_code == 0
    return found.stdout


def _params(name: str) -> list[object]:
    group = typer.main.get_command(app)
    return list(group.get_command(typer.Context(group), name).params)  # type: ignore[attr-defined]


def test_commands_are_in_groups_a_line_each() -> None:
    text = _help()
    named = [name for names in helping.COMMAND_GROUPS.values() for name in names]
    assert sorted(named) == sorted(COMMANDS)
    assert "More:" not in text
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name}  +\S", text, re.MULTILINE)) == 1
    lines = text[text.index("Plan:") :].splitlines()
    assert len(lines) == len(COMMANDS) + 2 * len(helping.COMMAND_GROUPS) - 1  # each on one line


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_option_is_left_out(name: str) -> None:
    text = _help(name)
    for param in _params(name):
        if param.param_type_name == "option":  # type: ignore[attr-defined]
            for flag in param.opts:  # type: ignore[attr-defined]
                assert re.search(rf"^  .*(?<![\w-]){re.escape(flag)}(?![\w-])", text, re.MULTILINE), flag
    assert "-h, --help" in text
    assert max(map(len, text.splitlines())) <= 80
    if len(text.splitlines()) > 30:
        assert name in helping.OPTION_PANELS, "more than a screen takes in; group its options in vlmplan/cli/help.py"


@pytest.mark.parametrize("name", sorted(helping.OPTION_PANELS))
def test_h_is_a_screen_of_names(name: str) -> None:
    """``-h`` fits 24 lines of 80 columns, with every option's name; ``--help`` says what each is."""
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, [name, "-h"])
    lines = shown.stdout.splitlines()
    assert shown.exit_code == 0
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for param in _params(name):
        if param.param_type_name == "option":  # type: ignore[attr-defined]
            assert param.opts[0] in re.findall(r"--?[\w-]+", shown.stdout)  # type: ignore[attr-defined]
    assert "--help says what each of them is." in shown.stdout
    assert f"  vlmplan {name}" in shown.stdout


def test_h_of_a_command_of_few_options_is_its_help() -> None:
    assert CliRunner(env={"COLUMNS": "80"}).invoke(app, ["demo", "-h"]).stdout == _help("demo")


@pytest.mark.parametrize("name", sorted(helping.OPTION_PANELS))
def test_panels_name_each_option_once_and_none_that_is_not_there(name: str) -> None:
    named = [option for options in helping.OPTION_PANELS[name].values() for option in options]
    assert len(named) == len(set(named))
    there = {param.name for param in _params(name) if param.param_type_name == "option"}  # type: ignore[attr-defined]
    assert there <= set(named), "an option has no panel; name it in vlmplan/cli/help.py"
    assert "More:" not in _help(name)


def test_a_plan_s_options_are_told_in_panels() -> None:
    text = _help("recommend")
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles == ["What is asked", "Where it runs", "Limits", "Which models", "Output"]
    assert re.search(r"Where it runs:\n  --hardware <str> ", text)
    two_lines = [line for line in text[text.index("What is asked:") :].splitlines() if line.startswith(" " * 20)]
    assert len(two_lines) <= 8
    assert "--no-" not in text
    assert "<=x" not in text


@pytest.mark.parametrize(
    ("text", "most", "told"),
    [
        ("Short.", 10, "Short"),
        ("Price one: latency, memory.", 20, "Price one: latency"),
        ("Price one: latency, memory.", 17, "Price one"),
        ("No pause in all of it.", 12, "No pause..."),
    ],
)
def test_what_a_command_is_for_is_cut_at_a_pause(text: str, most: int, told: str) -> None:
    assert helping._brief(text, most) == told
    assert len(told) <= most
