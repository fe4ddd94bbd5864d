"""Pictures: an export's image processor makes what the checkpoint's makes, and one that does not is told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_models import USUAL_IMAGE, checkpoint, exported, order, quiet

from vlmplan.checkpoints.families.lfm2_images import view_processor
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.tiles import tiling
from vlmplan.exporting.write import export, open_parts
from vlmplan.proof.files import _cut_as_asked, pictures
from vlmplan.proof.report import Check, Outcome, passed

VIEWS: dict[str, dict[str, Any]] = {
    "LlavaNextImageProcessor": {
        "image_grid_pinpoints": [[336, 672], [672, 336]],
        "crop_size": {"height": 336, "width": 336},
    },
    "LlavaOnevisionImageProcessor": {"image_grid_pinpoints": [[378, 756], [756, 378]]},
}
KIND = {"LlavaNextImageProcessor": "next-qwen3", "LlavaOnevisionImageProcessor": "siglip-mistral"}


def _seen(folder: Path, made: ExportOrder) -> Check:
    return pictures(folder, open_parts(made), passed("configuration", "as asked for"))


@pytest.mark.parametrize(
    "kind", ["clip-qwen2", "siglip-mistral", "smolvlm", "idefics3", "qwen2.5-vl", "qwen3-vl", "mistral3"]
)
def test_pictures_are_cut_as_the_checkpoint_cuts_them(kind: str) -> None:
    given = {"siglip-mistral": {"visual_tokens": 81}}.get(kind, {})
    found = _seen(exported(kind), order(kind, **given))
    assert found.outcome is Outcome.PASSED
    assert "2 pictures cut as its processor cuts them" in found.detail


@pytest.mark.parametrize("name", VIEWS)
def test_the_whole_picture_is_the_first_of_several_views(name: str, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(KIND[name]), given := tmp_path / "given")
    path = given / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["image_processor"] |= VIEWS[name] | {"image_processor_type": name}
    path.write_text(json.dumps(settings))
    made = replace(order(KIND[name], visual_tokens=81 if "Onevision" in name else 36), checkpoint=str(given))
    export(made, tmp_path / "made", quiet)
    found = _seen(tmp_path / "made", made)
    assert found.outcome is Outcome.PASSED
    assert "2 pictures cut" in found.detail


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": [0.5, 0.5, 0.5]},
        {"resample": 0},
        {"rescale_factor": 0.0038},
        {"size": {"height": 336, "width": 336}},
        {"do_normalize": False},
        {"crop_size": {"height": 320, "width": 336}},
        {"image_std": "wide"},
    ],
)
def test_pictures_that_look_otherwise_are_told(change: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(exported(), tmp_path / "made")
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = tmp_path / "made" / name
        settings = json.loads(path.read_text())
        (settings.get("image_processor") or settings).update(change)
        path.write_text(json.dumps(settings))
    found = _seen(tmp_path / "made", order())
    assert found.outcome is Outcome.FAILED
    assert "image processor" in found.detail or "pixels off by" in found.detail


def test_settings_of_views_stay_the_processors_own_but_for_what_the_tokens_ask() -> None:
    """So that a setting that vlmplan reads otherwise than the processor does shows in the pictures."""
    unasked = tiling(open_parts(order("lfm2-vl")).checkpoint, USUAL_IMAGE, None).visual_tokens
    for count, asked in ((unasked, set()), (182, {"max_tiles"})):
        parts = open_parts(order("lfm2-vl", visual_tokens=count))
        processor = view_processor().from_pretrained(checkpoint("lfm2-vl"))
        assert parts.tiles is not None and parts.tiles.shapes is not None
        names = parts.tiles.shapes.settings()
        for name in names:
            setattr(processor, name, 99)
        _cut_as_asked(processor, parts.checkpoint, parts.tiles)
        assert {name for name in names if getattr(processor, name) != 99} == asked
