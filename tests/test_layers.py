"""Every command answers in a screen, its verdict first; ``-v`` has the rest; nothing is said by colour alone."""

import functools
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_cli import ESTIMATE, RECOMMEND, changed, run
from test_measurements import slower

import vlmplan
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.measuring.check_profile import CaseTime, Verdict, cases
from vlmplan.measuring.observation import Quantity
from vlmplan.measuring.profile_fit import Profiled
from vlmplan.measuring.table import adjusted
from vlmplan.proof.report import Check, Report, failed, passed, skipped
from vlmplan.views.brief import alternative_lines, alternatives, print_brief
from vlmplan.views.comparison import print_comparison
from vlmplan.views.deployment import print_report
from vlmplan.views.fit import print_fit
from vlmplan.views.plan import print_plan
from vlmplan.views.profile import print_adjusted, print_profiled, print_verdict
from vlmplan.views.text import print_estimate, print_tokens

ROOT = Path(__file__).resolve().parents[1]
L4 = catalogue.hardware("l4")
ASKED: dict[str, Any] = {"task": "reasoning", "latency": "300ms", "text_tokens": 50, "output_tokens": 32}
CODE = re.compile(r"\x1b\[([0-9;]*)m")
# Lines to copy are whole, however long: commands, and what an engine is told.
TO_PASTE = re.compile(
    r"(Run|Check|Tokens in [\w.-]+|transformers|vllm|sglang|llama\.cpp|openvino): |Next: vlmplan|Wrote .* Next: vlmplan"
)


@functools.cache
def _plan() -> vlmplan.Plan:
    return vlmplan.recommend(hardware="l4", **ASKED)


def _estimated(hardware: str, model: str) -> Callable[[bool], None]:
    """An estimate of what runs, or of what does not fit."""
    found = vlmplan.estimate(
        model=model, hardware=hardware, visual_tokens=576, text_tokens=50, output_tokens=32, gpus=1
    )
    return lambda verbose: print_estimate(found, catalogue.hardware(hardware), {}, verbose=verbose)


@functools.cache
def _comparison() -> vlmplan.Comparison:
    """Many devices, names long and short, with prices of some; some keep no limit."""
    asked: dict[str, Any] = ASKED | {"price": ROOT / "docs" / "prices.toml"}
    return vlmplan.compare(hardware="jetson-*,apple-*,h100-*,l4*,t4,rtx-pro-6000-*,geforce-rtx-40*", **asked)


def _unpriced(found: vlmplan.Comparison) -> vlmplan.Comparison:
    devices = tuple(replace(one, hour_price=None, thousand_requests_price=None) for one in found.devices)
    return replace(found, devices=devices, currency=None, price_source=None, warnings=())


def _compared(found: vlmplan.Comparison) -> Callable[[bool], None]:
    return lambda verbose: print_comparison(found, verbose=verbose)


def _counted(model: str, **more: Any) -> Callable[[bool], None]:
    found = vlmplan.tokens(model=model, **more)
    return lambda verbose: print_tokens(found, verbose=verbose)


def _fitted(points: Path, **more: Any) -> Callable[[bool], None]:
    _, report = vlmplan.fit(points=points, draws=200, **more)
    return lambda verbose: print_fit(report, Path("law.toml"), verbose=verbose)


DETAIL = "decoder: language_model.layers.1.self_attn.o_proj.weight.T: 1 of 4096 values differ, first at [12, 58]; " * 2
PASSED = tuple(passed(name, f"{name} is as the checkpoint says, bit for bit") for name in (
    "integrity", "manifest", "configuration", "interface", "structure", "provider", "vision", "logits", "tokens",
    "control: another image", "control: no image", "padding", "plan",
))  # fmt: skip
TIMES = tuple(
    passed(f"latency: {name}", "160 ms (quartiles 158 ms to 163 ms), predicted 165 ms (155 ms to 176 ms), budget 376 "
           "ms; by the plan given: faster than predicted; the machine is noisy", measured_s=0.16, predicted_s=0.165)
    for name in ("ttft", "tpot", "request")
)  # fmt: skip
JUDGE = skipped("judge", "the export itself names what it is compared with, small: a forger would name his own")
FAULTS = tuple(failed(name, DETAIL) for name in ("weights", "embeddings", "head", "vocabulary", "pieces", "run"))


def _reported(*checks: Check) -> Callable[[bool], None]:
    report = Report(
        export="made", checkpoint="small", provider="cpu", threads=2, versions={"torch": "2"}, checks=checks,
        passed=not any(check.outcome == "failed" for check in checks),
    )  # fmt: skip
    return lambda verbose: print_report(report, verbose=verbose)


def _profiled() -> Callable[[bool], None]:
    errors = {f"{precision} {part}": (40, 0.025, 0.041) for precision in ("fp32", "int8", "int4")
              for part in ("vision", "prefill", "tpot")}  # fmt: skip
    warnings = tuple(f"a restless machine: {count} of 54 measurements spread by more than a fifth; close other work "
                     "and measure again for narrower intervals" for count in range(4))  # fmt: skip
    profiled = Profiled(
        hardware=catalogue.hardware("a100-80gb-sxm"), out=Path("here.toml"), errors=errors, warnings=warnings
    )
    return lambda verbose: print_profiled(profiled, verbose=verbose)


def _verdict(off: float) -> Callable[[bool], None]:
    """A check of a profile whose predictions are off by a factor, and by noise."""
    rng = random.Random(0)
    rows = [
        CaseTime(case=case, quantity=quantity, predicted_s=off * 0.1, interval_s=(off * 0.094, off * 0.107),
            rounds_s=tuple(0.1 * math.exp(rng.gauss(0, 0.06)) for _ in range(2)))
        for case in cases(Precision.FP32, 2**25) for quantity in (Quantity.TTFT, Quantity.TPOT)
    ]  # fmt: skip
    verdict = Verdict(rows=tuple(rows), constant_fraction=0.3)
    return lambda verbose: print_verdict(verdict, verbose=verbose)


def _adjusted() -> Callable[[bool], None]:
    found = adjusted(L4, catalogue.typical(), Runtime.VLLM, slower(), "test")
    return lambda verbose: print_adjusted(found, Path("mine.toml"), verbose=verbose)


def _few(folder: Path) -> Path:
    """Points that need a prior: the longest of fits."""
    path = folder / "few.csv"
    path.write_text("llm_params_b,visual_tokens,error\n0.5,64,0.4\n0.5,256,0.35\n1.5,64,0.33\n", encoding="utf-8")
    return path


MAKE: dict[str, Callable[[Path], Callable[[bool], None]]] = {
    "recommend": lambda _: lambda verbose: (print_plan if verbose else print_brief)(_plan()),
    "estimate": lambda _: _estimated("a100-80gb-sxm", "llava-1.5-7b"),
    "estimate, too large": lambda _: _estimated("l4", "Qwen2.5-VL-72B"),
    "compare": lambda _: _compared(_unpriced(_comparison())),
    "compare, priced": lambda _: _compared(_comparison()),
    "compare, few": lambda _: _compared(
        vlmplan.compare(hardware="t4,l4,h100-sxm,l40s", model="Qwen3-VL-8B", **{**ASKED, "latency": "1s"})
    ),
    "tokens": lambda _: _counted("Qwen2.5-VL-7B", image="1920x1080", visual_tokens=256),
    "tokens, many": lambda _: _counted("InternVL3-8B", image="4000x3000", images=3),
    "fit": lambda _: _fitted(ROOT / "tools" / "points" / "reasoning.csv", published=True),
    "fit, few points": lambda folder: _fitted(_few(folder)),
    "validate": lambda _: _reported(*PASSED, *TIMES, JUDGE),
    "validate, failed": lambda _: _reported(*PASSED, *FAULTS, JUDGE, skipped("latency", "a check before it failed")),
    "profile": lambda _: _profiled(),
    "profile --check": lambda _: _verdict(1.0),
    "profile --check, off": lambda _: _verdict(1.6),
    "profile --from-measurements": lambda _: _adjusted(),
}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[bool], None]]:
    """By name what prints a document: all of it, or a screen."""
    folder = tmp_path_factory.mktemp("points")
    return {name: make(folder) for name, make in MAKE.items()}


class Terminal:
    """Prints a view as a terminal, a pipe or a log would show it."""

    def __init__(self, views: dict[str, Callable[[bool], None]], monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
        self.views, self.monkeypatch, self.capsys = views, monkeypatch, capsys

    def __call__(self, name: str, width: int = 80, *, verbose: bool = False, **environment: str) -> str:
        """What is printed; ``environment`` is what a terminal says of itself."""
        with self.monkeypatch.context() as patch:
            for variable in ("FORCE_COLOR", "NO_COLOR", "TERM", "COLORTERM", "COLORFGBG"):
                patch.delenv(variable, raising=False)
            for variable, value in {"COLUMNS": str(width), **environment}.items():
                patch.setenv(variable, value)
            self.capsys.readouterr()
            self.views[name](verbose)
            return self.capsys.readouterr().out


@pytest.fixture
def shown(
    views: dict[str, Callable[[bool], None]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """A printer of views."""
    return Terminal(views, monkeypatch, capsys)


def _screen(out: str, width: int) -> int:
    """How many lines of a terminal a text takes, its long lines folded."""
    return sum(max(1, math.ceil(len(line) / width)) for line in out.splitlines())


@pytest.mark.parametrize("name", MAKE)
def test_a_command_answers_in_a_screen(shown: Terminal, name: str) -> None:
    out = shown(name)
    assert _screen(out, 80) <= 25, out
    assert "More: -v" in out
    assert shown(name, verbose=True) != out


VERDICTS = {
    "estimate": r"llava-hf/llava-1\.5-7b-hf with 576 visual tokens an image answers in \d+ ms \(",
    "estimate, too large": "Cannot be run: does not fit",
    "compare": r"\S+ answers best: ",
    "tokens": "Qwen/Qwen2.5-VL-7B-Instruct makes 2691 visual tokens",
    "fit": "Law 'reasoning' is off by ",
    "validate": "Good: nothing failed, 1 skipped",
    "validate, failed": "6 of 21 checks failed, 2 skipped",
    "profile": "Measured ",
    "profile --check": "The profile holds: ",
    "profile --check, off": "The profile does not hold: ",
    "profile --from-measurements": "NVIDIA L4 by 16 measurements: predictions were off by ",
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_comes_first(shown: Terminal, name: str) -> None:
    assert re.match(VERDICTS[name], " ".join(shown(name).split()))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", MAKE)
def test_no_line_is_longer_than_the_terminal_or_ends_in_blanks(shown: Terminal, name: str, width: int) -> None:
    """But lines to copy, which are never folded."""
    lines = shown(name, width).splitlines()
    assert all(len(line) <= width or TO_PASTE.match(line) for line in lines), max(lines, key=len)
    for line in (*lines, *shown(name, width, verbose=True).splitlines()):
        assert line == line.rstrip()


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("name", MAKE)
def test_colour_says_nothing_that_the_text_does_not(shown: Terminal, name: str, verbose: bool) -> None:
    """Without its colours a terminal shows what a pipe gets; no colour is one of a dark or a light background."""
    plain = shown(name, verbose=verbose)
    assert "\x1b" not in plain
    for background in ("15;0", "0;15"):
        coloured = shown(name, verbose=verbose, FORCE_COLOR="1", TERM="xterm-256color", COLORFGBG=background)
        codes = {int(code) for codes in CODE.findall(coloured) for code in codes.split(";") if code}
        assert codes
        assert codes <= {0, 1, 31, 32, 33} | ({34, 90} if (name, verbose) == ("recommend", True) else set())
        if (name, verbose) != ("recommend", True):  # a terminal gets pictures, too
            assert CODE.sub("", coloured) == plain


@pytest.mark.parametrize("name", MAKE)
def test_no_colour_where_none_is_wanted(shown: Terminal, name: str) -> None:
    out = shown(name, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
    assert {int(code) for codes in CODE.findall(out) for code in codes.split(";") if code} <= {0, 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ESTIMATE,
        changed(ESTIMATE, model="Qwen2.5-VL-72B", hardware="l4"),
        ["tokens", "--model", "llava-1.5-7b"],
        changed(RECOMMEND, hardware="l4,t4"),
    ],
    ids=lambda one: f"{one[0]} {one[2]}",
)
def test_documents_and_exit_codes_are_the_same(arguments: list[str]) -> None:
    brief, whole = run(*arguments, "--json"), run(*arguments, "--json", "-v")
    assert brief == whole
    json.loads(brief[1])
    assert (run(*arguments)[0], run(*arguments, "--verbose")[0]) == (brief[0], brief[0])


def test_all_that_was_printed_is_there_when_asked(shown: Terminal) -> None:
    whole = shown("estimate", verbose=True)
    for text in ("Compute ", "Parameters ", "KV cache", "memory holds", "Knee: ", "times rest on kernels"):
        assert text in whole
    assert all(one.hardware in shown("compare", verbose=True) for one in _comparison().devices)
    assert "requests/s" in shown("compare", verbose=True)
    assert "Published alpha" in shown("fit", verbose=True)
    assert "Published alpha" not in shown("fit")
    assert shown("validate, failed", verbose=True).count("\nfailed ") == 6
    assert shown("profile --check", verbose=True).count("%") > 144
    assert shown("profile --from-measurements", verbose=True).count("ttft") == 8


def test_of_many_numbers_some_are_listed_with_both_ends(shown: Terminal) -> None:
    def listed(verbose: bool) -> list[str]:
        (line,) = re.findall(
            r"Reached by smaller settings: ([^.(]+)", " ".join(shown("tokens", verbose=verbose).split())
        )
        return [one.strip() for one in line.split(",")]

    brief, whole = listed(False), listed(True)
    assert len(brief) == 12 < len(whole)
    assert (brief[0], brief[-1]) == (whole[0], whole[-1])
    assert set(brief) < set(whole)
    assert f"({len(whole)} in all" in " ".join(shown("tokens").split())


@pytest.mark.parametrize("task", ["reasoning", "docvqa"])
def test_an_alternative_says_what_it_costs_and_which_limit_it_breaks(task: str) -> None:
    plan = vlmplan.recommend(hardware="l4", latency="1s", task=task, text_tokens=50, output_tokens=32)
    found, lines = alternatives(plan), list(alternative_lines(plan))
    assert found
    assert len(lines) == len({*found.values()})
    for one, line in zip(dict.fromkeys(found.values()), lines, strict=True):
        beyond = "exceeds" in (one.reason or "")
        assert (", over the limit: " in line) == ("exceeds" in line) == beyond
        assert ", but " in line
        names = [name for name, other in found.items() if other == one]
        assert line.lower().startswith(", ".join(names))


def test_an_alternative_on_more_devices_says_so() -> None:
    """A 72B model is faster on four than on the two it was chosen for."""
    plan = vlmplan.recommend(
        hardware="a100-80gb-sxm", gpus=4, model="Qwen2.5-VL-72B", task="docvqa", latency="2500ms", text_tokens=100,
        output_tokens=32,
    )  # fmt: skip
    assert any("4 GPUs" in line for line in alternative_lines(plan))


def test_limits_stand_beside_what_they_limit(capsys: pytest.CaptureFixture[str]) -> None:
    plan = vlmplan.recommend(
        hardware="l4", task="reasoning", latency="2s", ttft="500ms", tpot="40ms", memory="16GiB", text_tokens=50,
        output_tokens=32,
    )  # fmt: skip
    print_brief(plan)
    out = " ".join(capsys.readouterr().out.split())
    for limit in ("limit 2.00 s", "limit 500 ms", "limit 40.0 ms", "limit 16.0 GiB"):
        assert limit in out


def test_a_level_near_one_is_not_rounded_to_it() -> None:
    assert "intervals hold 99.9%" in run(*RECOMMEND, "--confidence", "0.999", "--latency", "2s")[1]
    assert "intervals hold 99.9%" in run(*ESTIMATE, "--confidence", "0.999")[1]
