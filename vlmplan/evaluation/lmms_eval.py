"""How does lmms-eval run what was trained? As its model ``vlmplan``, by the entry point ``lmms_eval.models``.

``python -m lmms_eval --model vlmplan --model_args pretrained=FOLDER --tasks ...`` asks a checkpoint that vlmplan
trained, or an export, with its compressor. Each request is one image and one question.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, Unavailable
from vlmplan.evaluation.questions import LONGEST_ANSWER_TOKENS, open_subject
from vlmplan.exporting import PLACEHOLDER


def manifest() -> Any:
    """Return what lmms-eval registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vlmplan", simple_class_path=f"{__name__}.Vlmplan")


def _model_class() -> Any:
    from lmms_eval.api.model import lmms

    class Vlmplan(lmms):  # type: ignore[misc]
        """Answers one request after another; ``pretrained`` is a trained checkpoint or an export."""

        is_simple = True

        def __init__(
            self, pretrained: str, visual_tokens: int | None = None, provider: str = "cpu", **given: Any
        ) -> None:
            super().__init__()
            del given  # batch size and device, which lmms-eval hands to every model
            self.subject = open_subject(pretrained, visual_tokens, provider, None)

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [self._answer(*request.args) for request in requests]

        def _answer(
            self, context: str, generation: dict[str, Any], visuals: Any, number: int, task: str, split: str
        ) -> str:
            images = visuals(self.task_dict[task][split][number])
            if len(images) != 1:
                raise InputError(f"{task} {number}: found {len(images)} images, expected one a question")
            limit = int(generation.get("max_new_tokens", LONGEST_ANSWER_TOKENS))
            text = self.subject.say(images[0], context.replace(PLACEHOLDER, "").strip(), limit)
            ends = generation.get("until", [])
            for end in [ends] if isinstance(ends, str) else ends:
                text = text.split(end)[0] if end else text
            return text

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            raise InputError(f"found {len(requests)} requests for likelihoods; vlmplan answers in words")

        def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
            raise InputError(f"found {len(requests)} requests of several rounds; vlmplan answers one question")

    return Vlmplan


def __getattr__(name: str) -> Any:
    """Make the class when lmms-eval asks for it: nothing else here needs that library."""
    if name == "Vlmplan":
        return _model_class()
    raise AttributeError(f"module {__name__} has no attribute {name}")


def run_lmms_eval(folder: Path, tasks: Sequence[str], out: Path) -> None:
    """Evaluate a checkpoint by lmms-eval; its results go below ``out``. Raises Unavailable where it is not or fails."""
    if importlib.util.find_spec("lmms_eval") is None:
        raise Unavailable(
            "lmms_tasks: lmms-eval is not installed; install it (pip install lmms-eval), or give questions"
        )
    command = [sys.executable, "-m", "lmms_eval", "--model", "vlmplan", "--model_args", f"pretrained={folder}"]
    command += ["--tasks", ",".join(tasks), "--batch_size", "1", "--output_path", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"lmms-eval on {folder}: ended with {done.returncode} ({last[:200]})")
