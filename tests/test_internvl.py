"""InternVL's first format: what it holds is read as transformers' own format has it, and no code of it is run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_format import IMAGENET, first_format
from small_models import checkpoint, largest_difference, quiet

from vlmplan import api
from vlmplan.checkpoints.checkpoint import open_checkpoint
from vlmplan.checkpoints.compressors import compression_of
from vlmplan.checkpoints.reference import Reference, load_reference
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.write import export
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.validate import Validator


def _reference(folder: Path) -> Reference:
    opened = open_checkpoint(str(folder))
    return load_reference(opened, compression_of(opened, Compressor.NONE, 0), None)


@pytest.mark.parametrize("kind", ["internvl", "internvl-large"])
def test_the_first_format_is_the_same_model(kind: str, tmp_path: Path) -> None:
    first = _reference(first_format(tmp_path / "first", kind))
    source = tmp_path / "source"
    shutil.copytree(checkpoint(kind), source)
    config = json.loads((source / "config.json").read_text())
    config["vision_config"]["use_mean_pooling"] = True  # as all towers of the first format
    (source / "config.json").write_text(json.dumps(config))
    own, rng = _reference(source), np.random.default_rng(0)
    pixels = rng.standard_normal((2, 3, 112, 112)).astype(np.float32)
    assert largest_difference(first.image_features(pixels), own.image_features(pixels)) < 1e-6
    embeds, mask = rng.standard_normal((1, 9, 64)).astype(np.float32), np.ones((1, 9), np.int64)
    assert largest_difference(first.step(embeds, mask, None)[0], own.step(embeds, mask, None)[0]) < 1e-5


@pytest.mark.parametrize("fast", [True, False])
def test_the_first_format_is_exported_and_proved(fast: bool, tmp_path: Path) -> None:
    folder = first_format(tmp_path / "first", fast=fast)
    made = chosen(ExportChoices(checkpoint=str(folder), visual_tokens=112), None)
    manifest = export(made, tmp_path / "made", quiet)
    assert (manifest.architecture, manifest.clients) == ("internvl", ("vlmplan",))
    report = Validator(Options(checkpoint=str(folder), threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)
    prompts = Prompts(tmp_path / "made")
    prompt = prompts.of(Image.fromarray(noise), "What is this?", reads_question=False)
    assert (prompt.input_ids == prompt.image_token).sum() == 112
    text = prompts.tokenizer.decode(prompt.input_ids[0])
    assert text.startswith("<|im_start|>user\n<img><IMG_CONTEXT>")
    assert text.endswith("</img>\nWhat is this?<|im_end|>\n<|im_start|>assistant\n")
    mean, deviation = (np.array(IMAGENET[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std"))
    pixels: Any = prompt.pixel_values
    shown = pixels[-1] * deviation + mean  # the whole image, as the last tile
    assert 0.4 < shown.mean() < 0.6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ps_version": "v1"}, "ps_version is 'v1'; vlmplan exports 'v2'"),
        ({"select_layer": -4}, "select_layer is -4; vlmplan exports -1"),
        ({"use_thumbnail": False}, "use_thumbnail is False; vlmplan exports True"),
        ({"force_image_size": 224}, "force_image_size is 224; vlmplan exports 112"),
        ({"vision_config": {"hidden_size": 64}}, "vision_config has no num_hidden_layers, hidden_act"),
        ({"llm_config": None}, "expected a table llm_config, found None"),
        (
            {"llm_config": {"model_type": "internlm2"}},
            "llm_config.model_type is 'internlm2', which transformers",
        ),
        ({"downsample_ratio": 0.4}, "downsample_ratio is 0.4, expected 1 over a divisor of the tower's 8 patches"),
    ],
)
def test_what_the_first_format_may_not_say(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = first_format(tmp_path / "first", **changed)
    with pytest.raises(InputError, match=re.escape(message)):
        chosen(ExportChoices(checkpoint=str(folder)), None)


def test_a_tokenizer_that_would_be_another_is_refused(tmp_path: Path) -> None:
    """Added tokens among the others: transformers would give them other numbers."""
    folder = first_format(tmp_path / "first", fast=False)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["added_tokens_decoder"] = {
        str(int(number) + 5): entry for number, entry in config["added_tokens_decoder"].items()
    }
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="save the tokenizer as a fast one beside the model"):
        export(chosen(ExportChoices(checkpoint=str(folder)), None), tmp_path / "made", quiet)


def test_limits_of_the_first_format_are_its_configurations(tmp_path: Path) -> None:
    folder = first_format(tmp_path / "few", max_dynamic_patch=6)
    assert [one.visual_tokens for one in api.tokens(model=folder).reachable] == [16, 80, 112]
    for name, changed, most in (("six", {"max_dynamic_patch": 6}, 6), ("one", {"dynamic_image_size": False}, 1)):
        folder = first_format(tmp_path / name, **changed)
        export(chosen(ExportChoices(checkpoint=str(folder)), None), tmp_path / f"{name}-made", quiet)
        written = json.loads((tmp_path / f"{name}-made" / "processor_config.json").read_text())
        assert written["image_processor"]["max_patches"] == most


def test_the_first_format_and_its_export_answer_alike(tmp_path: Path) -> None:
    from PIL import Image

    folder = first_format(tmp_path / "first")
    export(chosen(ExportChoices(checkpoint=str(folder), visual_tokens=80), None), tmp_path / "made", quiet)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 420, 3), np.uint8)).save(tmp_path / "noise.png")
    row = {"image": "noise.png", "question": "What is this?", "answer": "nothing"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row) + "\n")
    asked: dict[str, Any] = {"questions": tmp_path / "questions.jsonl", "images": tmp_path}
    beside = api.evaluate(model=tmp_path / "made", against=folder, **asked)
    assert beside.against is not None and beside.against.differing == 0
    assert api.evaluate(model=folder, visual_tokens=80, **asked).visual_tokens == 80


def test_shipped_models_can_be_exported_where_their_llm_can() -> None:
    models = [model for model in catalogue.models() if model.architecture == "internvl_chat"]
    able = {model.name.rpartition("/")[2] for model in models if model.exportable}
    assert {"InternVL3-1B", "InternVL3_5-1B", "InternVL3-78B", "InternVL2_5-1B"} <= able
    unable = {model.name.rpartition("/")[2] for model in models} - able
    assert {"InternVL2_5-2B", "InternVL3-9B", "InternVL3_5-30B-A3B"} <= unable
