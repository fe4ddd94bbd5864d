"""An empty answer names what would be enough: every command that is printed is run, and answered."""

import itertools
import shlex
import time
from pathlib import Path

import pytest
from test_cli import run

import vlmplan
from vlmplan.errors import Infeasible

ASKED = ["recommend", "--hardware", "l4", "--task", "reasoning", "--text-tokens", "50", "--output-tokens", "32"]


def _ways(err: str) -> dict[str, list[str]]:
    """What is printed beneath an empty answer: the change in words, and its command."""
    lines = [line for line in err.splitlines() if not line.startswith("note:")]
    assert lines[0].startswith("vlmplan: error: no plan meets")
    if len(lines) == 1:
        return {}
    assert lines[1] == "Each of these alone would be enough:"
    words, commands = lines[2::2], lines[3::2]
    assert all(line.startswith("- ") for line in words)
    return {word[2:]: shlex.split(command) for word, command in zip(words, commands, strict=True)}


def _changed(ways: dict[str, list[str]], said: list[str]) -> set[str]:
    """The options that the commands give and were not given, or not so."""
    pairs = (pair for command in ways.values() for pair in itertools.pairwise(command))
    return {
        flag
        for flag, value in pairs
        if flag.startswith("--") and (flag not in said or (value != said[said.index(flag) + 1] and value[:1] != "-"))
    }


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        (("--latency", "50ms"), ("--latency",)),
        (("--latency", "1s", "--model", "Qwen3-VL-8B"), ("--latency", "--output-tokens", "--gpus", "--hardware")),
        (("--latency", "1s", "--model", "Qwen3-VL-4B"), ("--latency", "--precision", "--gpus")),
        (("--ttft", "15ms"), ("--ttft",)),
        (("--tpot", "2ms"), ("--tpot",)),
        (("--latency", "50ms", "--runtime", "tensorrt-llm"), ("--latency",)),
        (("--flops", "50GFLOP"), ("--flops",)),
        (("--memory", "1GiB", "--latency", "1s"), ("--memory",)),
        (("--max-error", "10%"), ("--max-error",)),
        (("--max-error", "19%", "--minimise", "cost"), ("--max-error", "--hardware")),
        (("--latency", "300ms", "--max-error", "25%"), ("--latency", "--max-error", "--hardware")),
        (("--latency", "400ms", "--concurrency", "64"), ("--latency", "--concurrency", "--hardware")),
        (("--latency", "60ms", "--memory", "1GiB"), ("--latency", "--memory")),
        (("--latency", "20s", "--model", "Qwen3-VL-32B"), ("--gpus", "--hardware", "--precision")),
        (("--latency", "50ms", "--runtime", "transformers", "--precision", "bf16"), ("--latency",)),
        (("--flops", "1GFLOP", "--candidates", "paper"), ("--flops",)),
    ],
)
def test_every_command_that_is_offered_is_answered(asked: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    code, out, err = run(*ASKED, *asked)
    assert (code, out) == (3, "")
    ways = _ways(err)
    assert set(kinds) <= _changed(ways, [*ASKED, *asked])
    for words, command in ways.items():
        assert command[0] == "vlmplan"
        code, _, err = run(*command[1:])
        assert code == 0, (words, command, err)


@pytest.mark.parametrize(
    ("device", "asked", "kinds"),
    [
        ("intel-core-i9-13900k", ("--latency", "700ms", "--memory", "64GiB"), {"--hardware", "--latency"}),
        ("t4", ("--latency", "1s", "--model", "Qwen2.5-VL-7B"), {"--hardware", "--precision"}),
        ("jetson-orin-nano-8gb", ("--latency", "700ms", "--model", "Qwen3-VL-2B"), {"--latency"}),
        ("h100-sxm", ("--latency", "1s", "--model", "Qwen2.5-VL-72B"), {"--gpus"}),
    ],
)
def test_other_devices_are_offered_what_they_can_do(device: str, asked: tuple[str, ...], kinds: set[str]) -> None:
    """A processor is offered a GPU."""
    question = ["--hardware", device, *ASKED[3:], *asked]
    code, _, err = run("recommend", *question)
    assert code == 3, err
    ways = _ways(err)
    assert kinds <= _changed(ways, question)
    for command in ways.values():
        code, _, err = run(*command[1:])
        assert code == 0, (command, err)


def test_a_limit_is_offered_as_small_as_it_may_be() -> None:
    """One per cent less is not enough."""
    code, _, err = run(*ASKED, "--latency", "50ms")
    assert code == 3
    command = next(command for words, command in _ways(err).items() if "latency" in words)
    limit = command[command.index("--latency") + 1]
    value_ms = float(limit.removesuffix("ms"))
    code, _, _ = run(*ASKED, "--latency", f"{0.985 * value_ms}ms")
    assert code == 3


def test_python_is_offered_the_same() -> None:
    with pytest.raises(vlmplan.Infeasible) as caught:
        vlmplan.recommend(hardware="l4", task="reasoning", latency="50ms")
    found = {option for change in caught.value.changes for option in change.options}
    assert "--latency" in found
    assert all(change.brings for change in caught.value.changes)


def test_what_would_be_enough_is_found_only_when_asked_for() -> None:
    """Of several devices only the nearest is asked, and only by who prints it."""
    asked: list[int] = []

    def ways() -> tuple[str, ...]:
        asked.append(1)
        return ()

    error = Infeasible("no", ways=ways)
    assert not asked
    assert error.changes == ()
    assert asked


def test_an_empty_answer_takes_no_longer_than_a_second_of_work() -> None:
    before = time.process_time()
    code, _, _ = run(*ASKED, "--latency", "1s", "--model", "Qwen3-VL-8B")
    assert code == 3
    run(*ASKED, "--latency", "50ms")
    assert time.process_time() - before < 4


def test_what_the_page_shows_is_what_is_printed() -> None:
    """An empty answer is on stderr and ends with 3, so that no block of the pages runs it."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "howto" / "choose.md").read_text(encoding="utf-8")
    command, *shown = page.partition("```text\n$ vlmplan ")[2].partition("```")[0].splitlines()
    code, _, err = run(*shlex.split(command))
    assert code == 3
    assert len(shown) >= 5
    assert set(shown) <= set(err.splitlines())
