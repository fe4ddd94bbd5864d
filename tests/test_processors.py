"""Whatever a processor's file says, an image makes as many tokens as transformers' own processor makes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from families import PARTS, counted
from part import square

from vlmplan.cost.stored import model_from_config, read_model_config
from vlmplan.errors import InputError
from vlmplan.models.spec import ModelSpec
from vlmplan.models.visual_tokens import beyond_default, native_visual_tokens, options

Plain = dict[str, Any]
SIZES = [
    (336, 336), (1024, 768), (768, 1024), (500, 333), (1920, 1080), (640, 480), (100, 900), (3000, 200), (224, 224),
    (1344, 896), (1000, 1000), (61, 47), (2048, 1536), (333, 777), (1280, 720), (450, 1800), (1240, 1754), (3840, 384),
    (905, 604), (1600, 1200),
]  # fmt: skip


def _model(kind: str, settings: Plain, file: str = "preprocessor_config.json") -> ModelSpec:
    config = {"model_type": kind, **PARTS[kind].like}
    if PARTS[kind].bare:
        return model_from_config({**config, **settings}, "config.json", "x")
    return model_from_config(config, "config.json", "x", {file: settings} if settings else {})


@pytest.mark.parametrize("kind", [kind for kind, part in PARTS.items() if part.count is not None])
def test_tokens_are_those_of_the_processor_at_every_setting(kind: str) -> None:
    assert len(PARTS[kind].settings) >= 5
    for settings in ({}, *PARTS[kind].settings):
        model, count = _model(kind, settings), counted(kind, settings)
        for size in SIZES:
            try:
                expected = count(*size)
            except ValueError:  # the processor refuses the shape, and so do we
                with pytest.raises(InputError, match=f"{size[0]} x {size[1]}"):
                    native_visual_tokens(model, size)
                continue
            assert native_visual_tokens(model, size) == expected, (settings, size)


def test_every_type_is_counted_at_other_settings() -> None:
    """But for those of which their part says why not."""
    for kind, part in PARTS.items():
        assert (part.count is None) == bool(part.uncounted), kind
        assert part.count is not None or not part.settings, kind


@pytest.mark.parametrize(
    ("size", "crops", "tokens"), [((1300, 876), 4, 757), ((1300, 876), 16, 1921), ((1300, 876), None, 757)]
)
def test_phi_35_makes_the_tokens_of_vllms_own_test(size: tuple[int, int], crops: int | None, tokens: int) -> None:
    assert native_visual_tokens(_model("phi3_v", {} if crops is None else {"num_crops": crops}), size) == tokens


def test_more_than_the_default_is_told_with_its_setting() -> None:
    found = beyond_default(_model("phi3_v", {}), (1300, 876))
    assert [one.visual_tokens for one in found] == [1489, 1921]
    assert found[-1].setting == "processor num_crops=12"  # the least that makes them
    assert beyond_default(_model("phi3_v", {"num_crops": 16}), (1300, 876)) == ()


def test_a_folder_is_read_with_its_processor_and_a_config_without(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    settings = {"min_pixels": 200704, "max_pixels": 401408, "image_processor_type": "Qwen2VLImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    folder, bare = read_model_config(tmp_path), read_model_config(tmp_path / "config.json")
    assert [native_visual_tokens(folder, size) for size in ((1024, 768), (224, 224), (1920, 1080))] == [494, 256, 480]
    assert native_visual_tokens(bare, (1024, 768)) == 999
    assert "200704" in options(folder, (1024, 768))[0].setting
    nested = {"image_processor": {"min_pixels": 200704, "max_pixels": 401408}, "processor_class": "Qwen2VLProcessor"}
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert native_visual_tokens(read_model_config(tmp_path), (1024, 768)) == 494


def test_a_hub_id_is_read_from_the_cache_that_other_tools_filled(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    repository = tmp_path / "models--some--Qwen2-VL-tuned"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    (snapshot / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (snapshot / "preprocessor_config.json").write_text('{"min_pixels": 200704, "max_pixels": 401408}')
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    def asked(model: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "vlmplan", "tokens", "--model", model, "--image", "1024x768", "--json"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    found = json.loads(asked("some/Qwen2-VL-tuned").stdout)
    assert (found["model"], found["native"]["visual_tokens"]) == ("some/Qwen2-VL-tuned", 494)
    missing = asked("some/other")
    assert missing.returncode == 2
    assert "no model named 'some/other'" in missing.stderr and "nor is it read from the Hub" in missing.stderr


def test_a_key_that_nobody_reads_is_named() -> None:
    model = _model("qwen2_vl", {"max_pixels": 401408, "frobnicate": 3, "do_resize": False, "image_mean": [0, 0, 0]})
    assert model.cautions == ("preprocessor_config.json: do_resize, frobnicate not understood; counted as if absent",)
    assert _model("qwen2_vl", {"do_resize": True, "max_pixels": 401408}).cautions == ()


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("qwen2_vl", {"do_resize": True}, "preprocessor_config.json: no size, min_pixels and max_pixels; counted by"),
        ("llava", {"do_resize": True}, "preprocessor_config.json: no crop_size; counted by the tower's 336 pixels"),
        ("llava", {"crop_size": square(336), "size": {"shortest_edge": 336}, "do_center_crop": False},
         "preprocessor_config.json.do_center_crop is false: images keep their shape"),
        ("paligemma", {"size": {"shortest_edge": 224}}, "preprocessor_config.json.size keeps an image's shape"),
        ("paligemma", {"size": 224}, "preprocessor_config.json.size keeps an image's shape"),
        ("idefics2", {"size": {"longest_edge": 980}}, "no do_image_splitting; counted by one view and its quarters"),
        ("llava", {"crop_size": square(336), "patch_size": 28}, "patch_size is 28, by which prompts are made"),
    ],
)  # fmt: skip
def test_what_a_processor_leaves_out_or_does_another_way_is_named(kind: str, settings: Plain, said: str) -> None:
    (caution,) = _model(kind, settings).cautions
    assert said in caution


def test_a_strategy_that_takes_a_patch_away_is_named_by_its_own_key() -> None:
    with pytest.raises(InputError, match="vision_feature_select_strategy: 'default' leaves a class token out"):
        _model("llava_onevision", {"size": square(384), "vision_feature_select_strategy": "default"})


def test_a_view_that_the_tower_was_not_made_for_is_named() -> None:
    (caution,) = _model("paligemma", {"size": square(448)}).cautions
    assert caution == "preprocessor_config.json.size is 448, and the tower was made for images of 224 pixels"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("qwen2_vl", {"min_pixels": 9, "max_pixels": 3}, "min_pixels of at most max_pixels, found 9 and 3"),
        ("qwen2_vl", {"max_pixels": "many"}, "preprocessor_config.json.max_pixels: expected a whole number"),
        ("qwen2_vl", {"merge_size": 4}, "merge_size: found 4, the model joins 2"),
        ("qwen2_vl", {"patch_size": 16}, "patch_size: found 16, the tower's patches are of 14"),
        ("llava_next", {"image_grid_pinpoints": [[1, 2, 3]]}, r"expected a list of \[height, width\] in pixels"),
        ("llava_next", {"image_grid_pinpoints": []}, r"expected a list of \[height, width\] in pixels"),
        ("llava_next", {"image_grid_pinpoints": [[100, 336]]}, "at least one view of 336 pixels a side, found 100x336"),
        ("llava_next", {"vision_feature_select_strategy": "cls"}, "'cls' is not read; expected one of default, full"),
        ("llava_onevision", {"vision_aspect_ratio": "pad"}, "'pad' is not read; expected anyres_max_"),
        ("smolvlm", {"image_seq_len": 81}, "image_seq_len: found 81, a tile of the model makes 64 tokens"),
        ("internvl_chat", {"min_dynamic_patch": 5, "max_dynamic_patch": 2}, "min_dynamic_patch: found 5, expected at"),
        ("perception_lm", {"vision_input_type": "tiles"}, "'tiles' is not read; expected one of thumb.tile, vanilla"),
        ("ovis2", {"use_covering_area_grid": False}, "use_covering_area_grid: false is not read"),
        ("lfm2_vl", {"min_tiles": 9, "max_tiles": 4}, "expected the least of tiles and tokens below the most"),
        ("deepseek_vl_v2", {"candidate_resolutions": [[1024, 1024]]}, "expected multiples of the tower's 384 pixels"),
        ("paligemma", {"size": {"height": 224, "width": 448}}, "size.height|expected a square, found 224 x 448"),
        ("pixtral", {"size": {"shortest_edge": 448}}, "size: expected longest_edge, found shortest_edge"),
    ],
)
def test_what_no_processor_means_is_one_line(kind: str, settings: Plain, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _model(kind, settings)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl", "glm4v", "ernie4_5_vl_moe", "llava_onevision1_5"])
def test_shapes_that_processors_refuse_are_errors(kind: str) -> None:
    count, model = counted(kind, {}), _model(kind, {})
    for size in ((40, 9000), (9000, 40), (40, 8000), (20000, 99)):
        try:
            assert count(*size) == native_visual_tokens(model, size)
        except ValueError:
            with pytest.raises(InputError, match="times as long as wide; its processor takes at most 200"):
                native_visual_tokens(model, size)
