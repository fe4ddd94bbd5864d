"""Whatever a processor's file says, an image makes as many tokens as transformers' own processor makes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processors import COUNTED

from vlmplan.errors import InputError
from vlmplan.models.reading import model_from_config, read_model_config
from vlmplan.models.spec import ModelSpec
from vlmplan.models.visual_tokens import beyond_default, native_visual_tokens, options
from vlmplan.models.vlm_types import VLM_TYPES

Plain = dict[str, Any]
SIZES = [
    (336, 336), (1024, 768), (768, 1024), (500, 333), (1920, 1080), (640, 480), (100, 900), (3000, 200), (224, 224),
    (1344, 896), (1000, 1000), (61, 47), (2048, 1536), (333, 777), (1280, 720), (450, 1800), (1240, 1754), (3840, 384),
    (905, 604), (1600, 1200),
]  # fmt: skip


def _square(side: int) -> Plain:
    return {"height": side, "width": side}


def _grids(side: int, *pairs: tuple[int, int]) -> list[list[int]]:
    return [[side * rows, side * columns] for rows, columns in pairs]


# What a family's file may say that its first checkpoint's does not: at least five each.
SETTINGS: dict[str, list[Plain]] = {
    "llava": [
        {"vision_feature_select_strategy": "full"},
        {"num_additional_image_tokens": 0},
        {"crop_size": _square(224), "size": {"shortest_edge": 224}},
        {"crop_size": _square(448)},
        {"crop_size": _square(560), "vision_feature_select_strategy": "full", "num_additional_image_tokens": 5},
    ],
    "llava_next": [
        {"image_grid_pinpoints": _grids(336, (1, 1), (2, 2))},
        {"image_grid_pinpoints": _grids(336, (1, 4), (4, 1), (2, 2), (3, 3))},
        {"image_grid_pinpoints": _grids(336, *((1, n) for n in range(2, 9)))},
        {"vision_feature_select_strategy": "full"},
        {"size": {"shortest_edge": 672}, "image_grid_pinpoints": _grids(672, (1, 2), (2, 1), (2, 2))},
        {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"},
    ],
    "llava_onevision": [
        {"vision_aspect_ratio": "anyres_max_4"},
        {"vision_aspect_ratio": "anyres_max_16"},
        {"image_grid_pinpoints": _grids(384, (1, 1), (1, 2), (2, 1), (2, 2))},
        {"image_grid_pinpoints": _grids(384, (3, 3))},
        {"vision_aspect_ratio": "anyres_max_2", "image_grid_pinpoints": _grids(384, (2, 2), (1, 8), (8, 1))},
    ],
    "qwen2_vl": [
        {"min_pixels": 200704, "max_pixels": 401408},
        {"min_pixels": 3136, "max_pixels": 1003520},
        {"size": {"shortest_edge": 3136, "longest_edge": 600000}},
        {"size": {"shortest_edge": 100000, "longest_edge": 12845056}},
        {"min_pixels": 50000, "size": {"shortest_edge": 3136, "longest_edge": 401408}},
        {"min_pixels": 1000000, "max_pixels": 1000001},
    ],
    "qwen2_5_vl": [
        {"min_pixels": 4 * 784, "max_pixels": 99999},
        {"min_pixels": 262144, "max_pixels": 1310720},
        {"max_pixels": 313600, "min_pixels": 3136},
        {"size": {"shortest_edge": 7777, "longest_edge": 777777}},
        {"size": {"shortest_edge": 501760, "longest_edge": 1003520}, "min_pixels": 3136},
    ],
    "qwen3_vl": [
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 1048576}},
        {"patch_size": 16, "size": {"shortest_edge": 1024, "longest_edge": 262144}},
        {"patch_size": 16, "size": {"shortest_edge": 300000, "longest_edge": 16777216}},
        {"patch_size": 16, "min_pixels": 4096, "max_pixels": 1000000},
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 123456}},
    ],
    "llava_onevision1_5": [
        {"min_pixels": 3136, "max_pixels": high} for high in (100000, 401408, 1003520, 3211264, 12845056)
    ],
    "qwen3_vl_moe": [
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": high}}
        for high in (65536, 99999, 262144, 1048576, 8388608)
    ],
    "qwen3_5_moe": [
        {"patch_size": 16, "size": {"shortest_edge": low, "longest_edge": 16777216}}
        for low in (1024, 40000, 65536, 262144, 1048576)
    ],
    "glm4v_moe": [
        {"size": {"shortest_edge": low, "longest_edge": 9633792}} for low in (12544, 50000, 100352, 401408, 1605632)
    ],
    "qwen3_5": [
        {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": high}}
        for high in (65536, 70000, 524288, 1048577, 4194304)
    ],
    "glm4v": [
        {"size": {"shortest_edge": 12544, "longest_edge": 2 * 784 * 500}},
        {"size": {"shortest_edge": 12544, "longest_edge": 2 * 784 * 100}},
        {"size": {"shortest_edge": 2 * 784 * 600, "longest_edge": 9633792}},
        {"size": {"shortest_edge": 50000, "longest_edge": 500000}},
        {"size": {"shortest_edge": 12544, "longest_edge": 9633792}},
    ],
    "ernie4_5_vl_moe": [
        {"size": {"shortest_edge": 3136, "longest_edge": high}} for high in (100000, 501760, 784 * 1000, 2000000)
    ] + [{"size": {"shortest_edge": 400000, "longest_edge": 784 * 6177}}],
    "internvl": [
        {"max_patches": 1},
        {"max_patches": 6},
        {"min_patches": 4, "max_patches": 12},
        {"max_patches": 40},
        {"min_patches": 2, "max_patches": 3, "crop_to_patches": False},
        {"size": _square(224), "max_patches": 24},
    ],
    "internvl_chat": [
        {"max_dynamic_patch": 1},
        {"max_dynamic_patch": 6},
        {"min_dynamic_patch": 3, "max_dynamic_patch": 8},
        {"use_thumbnail": False},
        {"dynamic_image_size": False},
        {"max_dynamic_patch": 24, "use_thumbnail": False},
        {"force_image_size": 224, "max_dynamic_patch": 20},
        {"downsample_ratio": 0.25},
    ],
    "smolvlm": [
        {"size": {"longest_edge": 1536}},
        {"size": {"longest_edge": 1920}, "max_image_size": {"longest_edge": 384}},
        {"size": {"longest_edge": 512}},
        {"size": {"longest_edge": 1000}},
        {"do_image_splitting": False},
        {"size": {"longest_edge": 3072}},
    ],
    "idefics3": [
        {"size": {"longest_edge": 3 * 364}},
        {"size": {"longest_edge": 364}},
        {"size": {"longest_edge": 1500}},
        {"size": {"longest_edge": 5 * 364}},
        {"do_image_splitting": False},
    ],
    "idefics2": [
        {"do_image_splitting": False},
        {"size": {"shortest_edge": 378, "longest_edge": 490}},
        {"size": {"shortest_edge": 100, "longest_edge": 980}, "do_image_splitting": False},
        {"image_seq_len": 32},
        {"image_seq_len": 128, "do_image_splitting": False},
    ],
    "paligemma": [
        {"size": _square(448)}, {"size": _square(896)}, {"size": _square(224), "image_seq_length": 256},
        {"size": _square(448), "image_seq_length": 1024}, {"size": _square(336)},
    ],
    "gemma3": [
        {"do_pan_and_scan": True},
        {"do_pan_and_scan": True, "pan_and_scan_max_num_crops": 2},
        {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 64, "pan_and_scan_max_num_crops": 12},
        {"do_pan_and_scan": True, "pan_and_scan_min_ratio_to_activate": 2.0},
        {"do_pan_and_scan": False, "pan_and_scan_max_num_crops": 4},
        {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 500},
    ],
    "gemma4": [{"max_soft_tokens": budget} for budget in (70, 140, 560, 1120)] + [
        {"pooling_kernel_size": 2, "max_soft_tokens": 280}
    ],
    "phi3_v": [{"num_crops": crops} for crops in (1, 2, 6, 9, 16)],
    "deepseek_vl_v2": [
        {"candidate_resolutions": _grids(384, (1, 1))},
        {"candidate_resolutions": _grids(384, (1, 1), (1, 2), (2, 1))},
        {"candidate_resolutions": _grids(384, (1, 2), (2, 1), (2, 2), (1, 4), (4, 1))},
        {"candidate_resolutions": _grids(384, (3, 3), (1, 9))},
        {"downsample_ratio": 3},
    ],
    "molmo": [
        {"max_crops": 1}, {"max_crops": 6}, {"max_crops": 24}, {"overlap_margins": [2, 2]}, {"overlap_margins": [3, 5]},
    ],
    "phi4mm": [{"dynamic_hd": crops} for crops in (2, 6, 12, 24, 36)],
    "phi4_multimodal": [{"dynamic_hd": crops} for crops in (1, 4, 9, 16, 20)],
    "minicpmv": [
        {"max_slice_nums": 4},
        {"slice_mode": False},
        {"image_feature_size": 96},
        {"scale_resolution": 336, "max_slice_nums": 16},
        {"max_slice_nums": 1},
    ],
    "minicpmv4_6": [
        {"max_slice_nums": 4},
        {"slice_mode": False},
        {"downsample_mode": "4x"},
        {"scale_resolution": 336},
        {"max_slice_nums": 16, "downsample_mode": "4x", "scale_resolution": 560},
    ],
    "mllama": [{"max_image_tiles": tiles} for tiles in (1, 2, 6, 9)] + [{"max_image_tiles": 4, "size": _square(448)}],
    "llama4": [
        {"max_patches": 1}, {"max_patches": 4}, {"resize_to_max_canvas": True}, {"max_patches": 36},
        {"max_patches": 9, "resize_to_max_canvas": True},
    ],
    "pixtral": [{"size": {"longest_edge": edge}} for edge in (256, 512, 1000, 1540, 2048)],
    "mistral3": [{"size": {"longest_edge": edge}} for edge in (280, 700, 1000, 1024, 2000)],
    "lighton_ocr": [{"size": {"longest_edge": edge}} for edge in (280, 700, 1000, 1024, 2000)],
    "molmo2": [
        {"max_crops": 1}, {"max_crops": 4}, {"max_crops": 24}, {"overlap_margins": [2, 2]},
        {"overlap_margins": [0, 0], "max_crops": 12},
    ],
    "lfm2_vl": [
        {"do_image_splitting": False},
        {"max_tiles": 4},
        {"max_image_tokens": 128},
        {"min_image_tokens": 16, "max_image_tokens": 196, "use_thumbnail": False},
        {"tile_size": 384, "max_tiles": 6},
        {"max_pixels_tolerance": 1.0, "min_tiles": 3},
        {"max_pixels_tolerance": 4.0},
    ],
    "perception_lm": [
        {"max_num_tiles": 1}, {"max_num_tiles": 9}, {"vision_input_type": "vanilla"}, {"max_num_tiles": 16},
        {"max_num_tiles": 4},
    ],
    "ovis2": [
        {"max_patches": 1}, {"max_patches": 4}, {"max_patches": 12, "min_patches": 2}, {"crop_to_patches": False},
        {"max_patches": 6, "crop_to_patches": True},
    ],
}  # fmt: skip
_SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 14,
           "num_hidden_layers": 27, "num_attention_heads": 16}  # fmt: skip
# A config of the type where its defaults are not those of its checkpoints.
CONFIGS: dict[str, Plain] = {
    "smolvlm": {"scale_factor": 4, "vision_config": {"image_size": 512, "patch_size": 16}},
    "idefics3": {"scale_factor": 2, "vision_config": {"image_size": 364, "patch_size": 14}},
    "gemma3": {"vision_config": _SIGLIP | {"image_size": 896}},
    "mllama": {"vision_config": {"image_size": 560, "patch_size": 14}},
    "llama4": {"vision_config": {"image_size": 336, "patch_size": 14}},
    "lfm2_vl": {"vision_config": {"model_type": "siglip2_vision_model", "patch_size": 16}},
    "ovis2": {"vision_config": {"image_size": 448, "patch_size": 14}},
    "mistral3": {"spatial_merge_size": 2},
    "minicpmv4_6": {"vision_config": {"patch_size": 14, "num_hidden_layers": 27}},
    "pixtral": {"vision_config": {"patch_size": 16}},
}
BARE = {"internvl_chat"}  # whose settings stand in the config itself


def _model(kind: str, settings: Plain, file: str = "preprocessor_config.json") -> ModelSpec:
    config = {"model_type": kind, **CONFIGS.get(kind, {})}
    if kind in BARE:
        return model_from_config({**config, **settings}, "config.json", "x")
    return model_from_config(config, "config.json", "x", {file: settings} if settings else {})


@pytest.mark.parametrize("kind", SETTINGS)
def test_tokens_are_those_of_the_processor_at_every_setting(kind: str) -> None:
    assert len(SETTINGS[kind]) >= 5
    for settings in ({}, *SETTINGS[kind]):
        model, count = _model(kind, settings), COUNTED[kind](settings)
        for size in SIZES:
            try:
                expected = count(*size)
            except ValueError:  # the processor refuses the shape, and so do we
                with pytest.raises(InputError, match=f"{size[0]} x {size[1]}"):
                    native_visual_tokens(model, size)
                continue
            assert native_visual_tokens(model, size) == expected, (settings, size)


def test_every_type_is_counted_at_other_settings() -> None:
    """But for three whose processor is not transformers', and says nothing but what ``test_visual_tokens`` tries."""
    assert {*VLM_TYPES} - {*SETTINGS} == {"kimi_vl", "ovis2_5", "moondream1"}
    assert sum(len(found) for found in SETTINGS.values()) >= 5 * len(SETTINGS)


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
    assert _model("qwen2_vl", {"do_resize": True}).cautions == ()


def test_a_view_that_the_tower_was_not_made_for_is_named() -> None:
    (caution,) = _model("paligemma", {"size": _square(448)}).cautions
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
    count, model = COUNTED[kind]({}), _model(kind, {})
    for size in ((40, 9000), (9000, 40), (40, 8000), (20000, 99)):
        try:
            assert count(*size) == native_visual_tokens(model, size)
        except ValueError:
            with pytest.raises(InputError, match="times as long as wide; its processor takes at most 200"):
                native_visual_tokens(model, size)
