"""What people call options and commands elsewhere is answered with what it is called here."""

import pytest
import typer.main
from test_cli import run

from vlmplan.cli import called
from vlmplan.cli.app import COMMANDS, app


def _flags(name: str) -> set[str]:
    group = typer.main.get_command(app)
    params = group.get_command(typer.Context(group), name).params  # type: ignore[attr-defined]
    return {flag for one in params for flag in one.opts}


EVERY = {name: _flags(name) for name in COMMANDS}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--dtype", "--precision"),
        ("--quantization", "--precision"),
        ("--gpu", "--hardware"),
        ("--device", "--hardware"),
        ("--tp", "--gpus"),
        ("--tensor-parallel-size", "--gpus"),
        ("--max-tokens", "--output-tokens"),
        ("--max_new_tokens", "--output-tokens"),
        ("--prompt-tokens", "--text-tokens"),
        ("--batch-size", "--batch"),
        ("--max-num-seqs", "--concurrency"),
        ("--resolution", "--image"),
        ("--vram", "--memory"),
        ("--engine", "--runtime"),
        ("--slo", "--latency"),
        ("--licence", "--license"),
    ],
)
def test_an_option_of_another_tool_is_answered_with_ours(theirs: str, ours: str) -> None:
    code, out, err = run("recommend", theirs, "4")
    assert (code, out) == (2, "")
    assert f"No such option: {theirs}; here it is {ours} (" in err
    assert err.count("\n") == 1
    code, _, before = run(theirs, "4")
    assert code == 2
    assert f"as in: vlmplan recommend {ours} ..." in before


def test_only_what_a_command_has_is_offered() -> None:
    assert "here it is" not in run("tokens", "--dtype", "bf16")[2]
    assert "here it is --image (" in run("tokens", "--resolution", "3x3")[2]
    assert "--visual-tokens N' prices one" in run("recommend", "--visual-tokens", "64")[2]
    assert "here it is --visual-tokens" in run("estimate", "--image-tokens", "64")[2]


def test_what_is_offered_is_there_and_hides_nothing() -> None:
    """Every option offered is one of some command, and no word for it is an option beside it."""
    for flag, (_, names) in called._OPTIONS.items():
        having = [flags for flags in EVERY.values() if flag in flags]
        assert having, flag
        assert not {f"--{word}" for word in names.split()} & having[0].intersection(*having[1:]), flag
    assert set(called._COMMANDS) <= set(COMMANDS)
    assert not {word for names in called._COMMANDS.values() for word in names.split()} & set(COMMANDS)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("compare", "l4", "a100"), "devices are compared by: vlmplan recommend --hardware l4,a100."),
        (("compare", "InternVL3-1B", "Qwen3-VL-2B"), "--hardware DEVICE --model InternVL3-1B --why Qwen3-VL-2B"),
        (("compare", "--help"), "vlmplan recommend --hardware l4,a100-80gb-sxm"),
        (("plan",), "did you mean recommend?"),
        (("benchmark",), "did you mean profile?"),
        (("models",), "did you mean catalogue?"),
        (("quantize", "x"), "did you mean export?"),
        (("help",), "'vlmplan --help' lists commands"),
        (("estimat",), "did you mean estimate?"),
    ],
)
def test_a_command_of_another_name_is_answered_with_ours(typed: tuple[str, ...], said: str) -> None:
    code, out, err = run(*typed)
    assert (code, out) == (2, "")
    assert f"No such command '{typed[0]}'; " in err
    assert said in err
    assert err.count("\n") == 1


def test_a_command_like_none_is_only_refused() -> None:
    assert run("zzzzz") == (2, "", "vlmplan: error: No such command 'zzzzz'. See 'vlmplan --help'.\n")
