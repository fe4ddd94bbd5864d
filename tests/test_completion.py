"""What a shell offers when the tab key is pressed, asked as bash, zsh and fish ask."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vlmplan.cli import completion
from vlmplan.cli.app import COMMANDS
from vlmplan.errors import InputError
from vlmplan.inventory import Shelf, catalogue

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = [sys.executable, "-c", "from vlmplan.cli.app import app; app(prog_name='vlmplan')"]
DEVICES = ["l4", "l40", "l40s"]


def _asked(environment: dict[str, str]) -> str:
    """What the command prints to a shell that asks it so."""
    done = subprocess.run(
        PROGRAM, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def _bash(line: str) -> list[str]:
    words = line.split(" ")
    found = _asked({"_VLMPLAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)})
    return [one for one in found.splitlines() if one]


def _zsh(line: str) -> list[str]:
    """What zsh is told to offer: ``_arguments '*: :(("a" "b"))'``, each with its help after a colon."""
    found = _asked({"_VLMPLAN_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line})
    if found.strip() == "_files":
        return []
    inner = found.strip().removeprefix("_arguments '*: :((").removesuffix("))'")
    return [item.split('"')[1] for item in inner.splitlines()]


def _fish(line: str) -> list[str]:
    asked = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    found = _asked({"_VLMPLAN_COMPLETE": "complete_fish", **asked})
    return [item.partition("\t")[0] for item in found.splitlines() if item]


@pytest.mark.parametrize("shell", [_bash, _zsh, _fish])
def test_every_shell_is_offered_devices_commands_and_options(shell: Callable[[str], list[str]]) -> None:
    assert shell("vlmplan recommend --hardware l4") == DEVICES
    assert shell("vlmplan re") == ["recommend"]
    assert "--family" in shell("vlmplan recommend --fam")
    assert shell("vlmplan recommend --hardware nothing-of-the-kind") == []


def test_all_commands_are_offered() -> None:
    assert _bash("vlmplan ") == list(COMMANDS)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vlmplan estimate --hardware L4", ["L4", "L40", "L40s"]),  # as a shell needs it: what was typed stays
        ("vlmplan recommend --hardware h200-sxm,l4", [f"h200-sxm,{name}" for name in DEVICES]),
        ("vlmplan recommend --hardware l4,l4", ["l4,l40", "l4,l40s"]),
        ("vlmplan recommend --task oc", ["ocr", "ocrbench"]),
        ("vlmplan recommend --task docv", ["docvqa"]),
        ("vlmplan recommend --task mmbench=0.5,oc", ["mmbench=0.5,ocr", "mmbench=0.5,ocrbench"]),
        ("vlmplan recommend --runtime v", ["vllm"]),
        ("vlmplan recommend --precision fp16,fp", ["fp16,fp32", "fp16,fp8"]),
        ("vlmplan recommend --license apa", ["apache-2.0"]),
        ("vlmplan recommend --license appl", [r"apple\ ML\ research\ \(LICENSE_MODEL\)"]),
        ("vlmplan recommend --family Gemma", [r"Gemma\ 3", r"Gemma\ 4"]),
        ("vlmplan estimate --model HuggingFaceTB/SmolVLM-5", ["HuggingFaceTB/SmolVLM-500M-Instruct"]),
        ("vlmplan estimate --model smolvlm-5", ["smolvlm-500M-Instruct"]),
        ("vlmplan catalogue m", ["models"]),
        ("vlmplan catalogue laws reas", ["reasoning"]),
        ("vlmplan catalogue tasks do", ["docvqa"]),
        ("vlmplan estimate --hardware rtx-409", ["rtx-4090"]),
        ("vlmplan recommend --hardware l4,m4-m", ["l4,m4-max"]),
        ("vlmplan catalogue hardware l4", DEVICES),
    ],
)
def test_words_half_typed(line: str, offered: list[str]) -> None:
    found = _bash(line)
    assert [one for one in found if one in offered] == offered
    assert len(found) == len(offered) or "reas" in line


def test_families_are_those_of_the_catalogue() -> None:
    known = {model.family for model in catalogue.models()}
    assert set(completion.family("")) == known
    assert known > set(completion.family("Qwen")) > set()
    assert "Gemma 3" in _fish("vlmplan recommend --family Gem")
    assert "Gemma 3" in _zsh("vlmplan recommend --family Gem")


def test_what_is_offered_is_understood() -> None:
    """Each model's short name that is offered means that model, and each task is one."""
    short = [name.rpartition("/")[2] for name in catalogue.names(Shelf.MODELS)]
    offered = [one for name in short[::7] for one in completion.model(name)]
    assert len(offered) > 10
    for one in offered:
        assert one in catalogue.model(one).name
    assert {"reasoning", "ocr"} <= set(completion.tasks(""))
    catalogue.evidence().weights(dict.fromkeys(completion.tasks(""), 1.0))


def test_where_nothing_can_be_read_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise InputError("no profiles folder")

    monkeypatch.setattr(catalogue, "profiles_folder", gone)
    catalogue.names.cache_clear()
    try:
        assert completion.device("l4") == completion.tasks("o") == completion.family("q") == completion.model("q") == []
    finally:
        catalogue.names.cache_clear()


def test_a_tab_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom vlmplan.cli.app import app\ntry: app(prog_name='vlmplan')\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'torch', 'rich', 'vlmplan.planning.plan'}\nassert not heavy & set(sys.modules)\n"
        "assert [n for n in sys.modules if n.startswith('vlmplan.cli.')].count('vlmplan.cli.commands.train') == 0"
    )
    for asked in ("recommend --hardware l4", "recommend --task o", "estimate --model s", ""):
        line = f"vlmplan {asked}"
        environment = {"_VLMPLAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_a_tab_is_answered_at_once() -> None:
    """Within a second on a machine of any load: about 60 ms on one that is idle (tools/bench_cold.py)."""
    start = time.process_time()
    completion.devices("l4,a")
    completion.tasks("o")
    assert time.process_time() - start < 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes(tmp_path: Path) -> None:
    """The script that ``--install-completion`` writes, sourced and asked by bash."""
    program = tmp_path / "vlmplan"
    code = "from vlmplan.cli.app import app\napp(prog_name='vlmplan')\n"
    program.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
    program.chmod(0o755)
    script = (
        "source <(_VLMPLAN_COMPLETE=source_bash vlmplan); COMP_WORDS=(vlmplan recommend --hardware l4); COMP_CWORD=3; "
        'complete -p vlmplan; _vlmplan_completion vlmplan; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == DEVICES
    assert "-F _vlmplan_completion vlmplan" in done.stdout
