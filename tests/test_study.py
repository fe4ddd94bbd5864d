"""Studies: what is asked next, when it ends, and what is said; against a server process with planted accuracies."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vlmplan import api
from vlmplan.cli.app import app
from vlmplan.document import load, to_json
from vlmplan.errors import InputError, Unavailable
from vlmplan.studies.belief import Belief, Posterior, everything, posterior
from vlmplan.studies.decision import Problem, chosen, next_batch, standing
from vlmplan.studies.study import Study

SMALL, LARGE = "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"
PLANTED = {
    SMALL: {"16": 0.30, "64": 0.55, "256": 0.60},
    LARGE: {"16": 0.40, "64": 0.84, "256": 0.85},
}
QUESTIONS = 100
TRUTH = (LARGE, 64)  # the cheapest within 5 points of the best


@contextlib.contextmanager
def planted(folder: Path, fault_every: int = 0) -> Iterator[str]:
    (folder / "planted.json").write_text(json.dumps(PLANTED), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("planted_server.py")), str(folder / "planted.json"),
               str(fault_every)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with planted(tmp_path_factory.mktemp("planted")) as found:
        yield found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    Image.new("RGB", (448, 448), "white").save(folder / "page.png")
    rows = [{"image": "page.png", "question": f"is it {number}", "answer": "yes"} for number in range(QUESTIONS)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "questions.jsonl"


def studied(url: str, table: Path, **more: Any) -> Study:
    given: dict[str, Any] = {
        "endpoint": [f"{url}={SMALL}", f"{url}={LARGE}"], "visual_tokens": "16,64,256", "budget": 600,
        "tolerance": "5%", "task": "docvqa",
    }  # fmt: skip
    return api.study(questions=table, images=table.parent, **(given | more))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_planted_choice_is_found_with_fewer_requests(url: str, table: Path) -> None:
    found = studied(url, table)
    assert (found.choice.model, found.choice.limit) == TRUTH
    assert found.settled
    assert found.probability_fraction >= 0.9
    assert found.all_requests == 6 * QUESTIONS
    assert found.requests < found.all_requests / 2
    asked = {(one.model, one.limit): one.questions for one in found.arms}
    assert max(asked, key=lambda arm: asked[arm])[0] == LARGE  # the small model's arms decide nothing
    assert found.enough.get(LARGE, 64) == 64
    for one in found.arms:
        low, high = one.error_interval
        assert low - 0.03 <= 1 - PLANTED[one.model][str(one.limit)] <= high + 0.03
        assert 0 < one.answers_weight_fraction < 1
    assert load_back(found) == found


def load_back(found: Study) -> Study:
    return load_text(to_json(found))


def load_text(text: str) -> Study:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "study.json"
        path.write_text(text, encoding="utf-8")
        return load(Study, path)
