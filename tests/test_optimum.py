"""Text models by optimum-cli in an environment of its own: what is refused, what is handed over, and a real run."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from small_models import KINDS, checkpoint, foreign
from test_cli import run

from vlmplan import api
from vlmplan.errors import InputError
from vlmplan.exporting.processes.optimum import older_config, optimum_export

PYTHON = os.environ.get("VLMPLAN_OPTIMUM_PYTHON")  # of an environment with optimum-onnx 0.1.0


def _quiet(*_: Any) -> None:
    """Show no progress."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A small causal LM as transformers 5 writes it, with its tokenizer."""
    foreign(tmp_path, positions=True)
    return tmp_path / "text"


@pytest.mark.parametrize("kind", [*KINDS, "smolvlm", "qwen2.5-vl", "gemma3", "paligemma"])
def test_vision_language_models_are_refused_before_an_environment_is_asked_for(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"optimum-onnx 0\.1\.0 exports no vision-language model, found"):
        optimum_export(str(checkpoint(kind)), tmp_path / "out", None, _quiet)
    assert not any(tmp_path.iterdir())


def test_an_environment_is_named_and_has_the_versions_that_go_together(text: Path, tmp_path: Path) -> None:
    for python, said in (
        (None, "give --optimum-python.*make one by: python3"),
        (tmp_path / "none", "is no Python that runs"),
        (Path(sys.executable), r"optimum-onnx none \(expected 0\.1\.0\).*transformers 5.*expected 4\.57"),
    ):
        with pytest.raises(InputError, match=said):
            optimum_export(str(text), tmp_path / "out", python, _quiet)
    assert not (tmp_path / "out").exists()


def test_rotary_positions_are_said_in_the_words_of_the_older_release() -> None:
    told = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}
    found = older_config({"model_type": "llama", "dtype": "float32", "rope_parameters": told})
    assert found == {
        "model_type": "llama",
        "torch_dtype": "float32",
        "rope_theta": 5e5,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0},
    }
    plain = older_config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})
    assert plain == {"rope_theta": 1e6, "rope_scaling": None}
    assert older_config({"rope_theta": 1e4}) == {"rope_theta": 1e4}
    with pytest.raises(InputError, match="one kind of rotary positions for all layers"):
        older_config({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {}}})


def test_options_of_vlmplans_own_graphs_are_refused_beside_it(text: Path, tmp_path: Path) -> None:
    asked = ["export", "--checkpoint", str(text), "--out", str(tmp_path / "out")]
    for more, said in (
        (
            ["--via", "optimum", "--visual-tokens", "36", "--precision", "int4"],
            "out --visual-tokens, --precision",
        ),
        (["--optimum-python", sys.executable], "--optimum-python is for --via optimum"),
    ):
        code, out, err = run(*asked, *more)
        assert (code, out) == (2, "")
        assert said in err and err.count("\n") == 1


@pytest.mark.skipif(PYTHON is None, reason="VLMPLAN_OPTIMUM_PYTHON names no environment with optimum-onnx 0.1.0")
def test_optimum_exports_a_text_model_and_validate_proves_it(text: Path, tmp_path: Path) -> None:
    made = optimum_export(str(text), tmp_path / "out", Path(str(PYTHON)), _quiet)
    assert made.versions["optimum-onnx"] == "0.1.0"
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads((text / "config.json").read_text())
    found = api.validate(folder=tmp_path / "out", checkpoint=text, by_samples=True, threads=2, repeats=1)
    assert not found.report.failed, found.report.failed
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
