"""Why a model was not chosen: one sentence with the reason, and changes that were asked and make it the choice."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_cli import run

import vlmplan
from vlmplan.planning import Plan

ASKED = ("recommend", "--hardware", "l4", "--latency", "400ms", "--task", "reasoning", "--text-tokens", "50")


def _sentence(out: str) -> str:
    """The first sentence, folded over lines as it may be."""
    return " ".join(out.split()).partition(". ")[0]


def _commands(out: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in out.splitlines() if line.startswith("  vlmplan recommend ")]


@pytest.mark.parametrize(
    ("asked", "model", "reason"),
    [
        ((), "InternVL3_5-1B", r"it is too slow: an answer takes up to \d+ ms, \d+ % over the limit of 400 ms"),
        ((), "Qwen3-VL-8B", r"it is too slow: an answer takes up to [\d.]+ s, [\d.]+ times the limit of 400 ms"),
        (
            (),
            "Qwen3-VL-32B",
            r"it does not fit the memory: it needs [\d.]+ GiB, 3 times the [\d.]+ GiB that l4 can give",
        ),
        (("--memory", "3GiB"), "InternVL3-1B", r"it needs 3.77 GiB, 26 % over the 3.00 GiB limit"),
        (
            (),
            "SmolVLM-256M",
            r"it answers [\d.]+ more of 100 wrong \([\d.]+ % against [\d.]+ %\); being [\d.]+ ms faster",
        ),
        ((), "paligemma-3b-pt-896", "it is pretrained only"),
        ((), "GLM-4.5V", "it thinks before it answers, which takes 1000 output tokens or more"),
        ((), "Ovis2-1B", "vllm is not known to serve it"),
        (("--task", "docvqa"), "llava-1.5-7b", "no score of it on most of the task was published"),
        (
            ("--license", "apache*"),
            "LFM2.5-VL-450M",
            "its licence is LFM Open License .*, and --license asks for 'apache",
        ),
        (
            ("--family", "qwen*", "--latency", "1s"),
            "SmolVLM-256M",
            r"its family is \w+, and --family asks for 'qwen\*'",
        ),
        (
            ("--max-params", "0.6B"),
            "InternVL3_5-1B",
            r"it has 1.06B parameters, more than --max-params allows \(600M\)",
        ),
        (
            ("--released-after", "2025-06"),
            "SmolVLM-256M",
            "no source says when it was released, and --released-after asks",
        ),
        (("--models", "InternVL*"), "SmolVLM-256M", r"--models asks for 'InternVL\*'"),
        (("--text-tokens", "20000", "--latency", "9s"), "llava-1.5-7b", "context of 4096 tokens"),
        (
            ("--runtime", "onnxruntime", "--latency", "9s"),
            "Qwen3-VL-30B-A3B",
            "vlmplan cannot export it for onnxruntime",
        ),
        (("--hardware", "t4", "--latency", "9s"), "gemma-3-4b-it", "it does not run in fp16: vllm refuses it"),
        (("--max-error", "40%", "--minimise", "memory", "--latency", "9s"), "Qwen3-VL-8B", "times the memory"),
        (
            ("--ttft", "180ms", "--tpot", "8ms", "--latency", "9s"),
            "Qwen3-VL-8B",
            "its first token .*, and each further",
        ),
    ],
)
def test_the_first_sentence_has_the_reason(asked: tuple[str, ...], model: str, reason: str) -> None:
    code, out, err = run(*ASKED, *asked, "--why", model)
    assert code == 0, err
    sentence = " ".join(out.split())
    assert re.match(rf"\S*{re.escape(model)}\S* was not chosen because ", sentence), out
    assert re.search(reason, sentence), out


def test_the_choice_is_said_to_be_it_and_why() -> None:
    code, out, _ = run(*ASKED, "--why", "InternVL3-1B")
    assert code == 0
    assert "InternVL3-1B is the choice: the least expected error of all" in " ".join(out.split())


@pytest.mark.parametrize(
    ("asked", "model", "flags"),
    [
        ((), "InternVL3_5-1B", {"--latency", "--output-tokens"}),
        ((), "SmolVLM-256M", {"--latency", "--memory"}),
        (("--license", "lfm*"), "InternVL3-1B", set()),
    ],
)
def test_what_is_said_to_win_wins(asked: tuple[str, ...], model: str, flags: set[str]) -> None:
    """Every command is run, and chooses the model."""
    code, out, _ = run(*ASKED, *asked, "--why", model)
    assert code == 0
    commands = _commands(out)
    assert commands
    assert all("--why" not in command for command in commands)
    assert flags <= {word for command in commands for word in command}
    whole = re.match(r"\S+", out)
    assert whole is not None
    assert "is the choice:" not in out
    for command in commands:
        code, answer, err = run(*command)
        assert code == 0, err
        assert whole[0] in answer.partition("Error:")[0], command


def test_where_no_change_wins_that_is_said() -> None:
    code, out, _ = run(*ASKED, "--why", "Qwen3-VL-8B")
    assert code == 0
    assert (
        "No single change that was tried makes it the choice. The first that lets it in favours another:"
        in " ".join(out.split())
    )
    (command,) = _commands(out)
    code, answer, _ = run(*command)
    assert code == 0
    assert "Qwen3-VL-8B" not in answer.partition("\n")[0]


def test_limits_that_were_assumed_stand_in_the_commands() -> None:
    code, out, _ = run("recommend", "--hardware", "l4", "--task", "reasoning", "--why", "SmolVLM-256M")
    assert code == 0
    for command in _commands(out):
        assert "--ttft" in command
        assert "--tpot" in command
        assert "--memory" not in command or command.count("--memory") == 1


def test_a_larger_device_is_not_held_to_the_memory_of_the_smaller() -> None:
    found = vlmplan.why_not(other="Qwen3-VL-32B", hardware="l4", task="reasoning", latency="10s", family="qwen*")
    assert found.reason.startswith("it does not fit the memory")
    assert found.wins
    plan = vlmplan.recommend(
        hardware=found.wins[0].options.get("--hardware", "l4"),
        precision=found.wins[0].options.get("--precision"),
        gpus=int(found.wins[0].options.get("--gpus") or 1),
        task="reasoning", latency="10s", family="qwen*",
    )  # fmt: skip
    assert plan.choice.model == found.model


def test_two_models_are_compared_where_one_alone_is_asked_for() -> None:
    code, out, _ = run(*ASKED, "--model", "InternVL3-1B", "--why", "LFM2.5-VL-450M")
    assert code == 0
    assert "answers" in _sentence(out)
    assert "makes it the choice" not in out


def test_the_api_says_the_same() -> None:
    found = vlmplan.why_not(other="InternVL3_5-1B", hardware="l4", latency="400ms", task="reasoning", text_tokens=50)
    assert isinstance(found.plan, Plan)
    assert not found.is_choice
    assert found.at_best is not None
    assert found.at_best.latency_interval_s[1] > 0.3
    assert {"--latency"} <= {flag for change in found.wins for flag in change.options}
    assert vlmplan.why_not(other=found.plan.choice.model, hardware="l4", latency="400ms", task="reasoning").is_choice


LOADED: dict[str, Any] = {
    "hardware": "l40s", "task": "reasoning", "text_tokens": 50, "output_tokens": 32, "rate": "20/s",
    "percentiles": {"p95": "2s"},
}  # fmt: skip


def test_under_a_load_replicas_are_compared() -> None:
    found = vlmplan.why_not(other="Qwen3-VL-4B-Instruct", **LOADED)
    assert found.at_best is not None
    chosen, own = found.plan.service, found.at_best.service
    assert chosen is not None
    assert own is not None
    assert own.replicas < chosen.replicas
    assert found.reason.endswith(f"it bears the rate on {own.replicas} replicas instead of {chosen.replicas}")


def test_under_a_load_cost_is_that_of_the_replicas() -> None:
    found = vlmplan.why_not(other="Qwen3.5-4B", minimise="cost", max_error="27%", **LOADED)
    chosen = found.plan.service
    assert chosen is not None
    assert f"({1000 * chosen.replicas / 20:.0f} ms of a GPU)" in found.reason


def test_what_keeps_the_limits_alone_and_not_under_the_load_is_said() -> None:
    found = vlmplan.why_not(other="Qwen3.5-4B", **LOADED | {"hardware": "l4", "replicas": 1, "rate": "5/s"})
    assert found.reason.startswith("it does not bear the load: 1 replica does not bear 5 requests a second")


def test_a_model_that_is_none_is_said_first() -> None:
    code, out, err = run("recommend", "--hardware", "l4", "--latency", "1us", "--why", "nonsense-9b")
    assert (code, out) == (2, "")
    assert "no model named 'nonsense-9b'" in err


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (("--out", "plan.json"), "--why: found --out beside it"),
        (("--json",), "--why: found --json beside it"),
        (("--plot", "front.svg", "-v"), "--why: found --verbose, --plot beside it"),
        (("--hardware", "l4,t4"), "--why: found 2 devices"),
    ],
)
def test_why_refuses_what_it_would_not_do(
    beside: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    device = () if "--hardware" in beside else ("--hardware", "l4")
    code, out, err = run("recommend", *device, "--latency", "400ms", "--why", "Qwen3-VL-2B", *beside)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []
