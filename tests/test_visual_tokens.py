"""Images become as many tokens as transformers' own processors make of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan import catalogue
from vlmplan.errors import InputError
from vlmplan.model import Compressor, Reduction
from vlmplan.visual_tokens import native_visual_tokens, options, visual_input

SIZES = [
    (336, 336),
    (1024, 768),
    (768, 1024),
    (500, 333),
    (1920, 1080),
    (640, 480),
    (100, 900),
    (3000, 200),
    (224, 224),
    (1344, 896),
    (1000, 1000),
    (61, 47),
    (2048, 1536),
    (333, 777),
    (1280, 720),
    (450, 1800),
    (384, 384),
    (512, 512),
    (905, 604),
    (1600, 1200),
]


@pytest.mark.parametrize("size", SIZES)
def test_qwen2_vl_as_transformers_resizes(size: tuple[int, int]) -> None:
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    width, height = size
    model = catalogue.model("Qwen2-VL-7B")
    high, wide = module.smart_resize(height, width, factor=28, min_pixels=4 * 28**2, max_pixels=16384 * 28**2)
    assert native_visual_tokens(model, size) == high * wide // 28**2
    for option in options(model, size):
        limit = int(option.setting.rpartition("=")[2])
        high, wide = module.smart_resize(height, width, factor=28, min_pixels=4 * 28**2, max_pixels=limit)
        assert option.visual_tokens == high * wide // 28**2


def _anyres_features(name: str, size: tuple[int, int], pinpoints: list[list[int]], side: int) -> int:
    """The LLaVA-NeXT or OneVision processor's own count."""
    transformers = pytest.importorskip("transformers")
    processor: Any = object.__new__(getattr(transformers, name))
    processor.num_additional_image_tokens = 0
    processor.vision_feature_select_strategy = "full"
    processor.patch_size = 14
    processor.vision_aspect_ratio = "anyres_max_9"

    class Pinpoints:
        image_grid_pinpoints = pinpoints

    processor.image_processor = Pinpoints()
    if name == "LlavaOnevisionProcessor":
        processor.num_image_tokens = (side // 14) ** 2
    return int(processor._get_number_of_features(size[1], size[0], side, side))


@pytest.mark.parametrize("size", SIZES)
def test_llava_next_as_transformers_counts(size: tuple[int, int]) -> None:
    grids = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    expected = _anyres_features("LlavaNextProcessor", size, grids, 336)
    assert native_visual_tokens(catalogue.model("llava-v1.6-vicuna-7b"), size) == expected


@pytest.mark.parametrize("size", SIZES)
def test_onevision_as_transformers_counts(size: tuple[int, int]) -> None:
    grids = [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)]
    expected = _anyres_features("LlavaOnevisionProcessor", size, grids, 384)
    assert native_visual_tokens(catalogue.model("onevision-qwen2-0.5b"), size) == expected


@pytest.mark.parametrize("size", SIZES)
def test_internvl_as_transformers_tiles(size: tuple[int, int]) -> None:
    module = pytest.importorskip("transformers.models.got_ocr2.image_processing_pil_got_ocr2")
    width, height = size
    for option in options(catalogue.model("InternVL3-8B"), size):
        limit = int(option.setting.rpartition("=")[2])
        columns, rows = module.get_optimal_tiled_canvas((height, width), (448, 448), 1, limit)
        tiles = columns * rows
        assert option.visual_tokens == 256 * (tiles + (tiles > 1))


@pytest.mark.parametrize("size", SIZES)
def test_smolvlm_as_transformers_splits(size: tuple[int, int]) -> None:
    module = pytest.importorskip("transformers.models.smolvlm.image_processing_pil_smolvlm")
    width, height = size
    processor = module.SmolVLMImageProcessorPil(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    patches = processor.get_number_of_image_patches(height, width, {})
    count = patches[0] if isinstance(patches, tuple) else patches
    assert native_visual_tokens(catalogue.model("SmolVLM-256M"), size) == 64 * count


def test_fixed_and_compressed() -> None:
    assert [o.visual_tokens for o in options(catalogue.model("llava-1.5-7b"), (9, 9))] == [576]
    assert [o.visual_tokens for o in options(catalogue.model("Qwen1.5-7B"), (9, 9))] == [1, 4, 9, 16, 36, 64, 144, 576]


def test_fewer_tokens_than_native_name_their_reduction() -> None:
    found = options(catalogue.model("Qwen2.5-VL-7B"), (1024, 768))
    assert found[-1].reduction is Reduction.TRAINED
    assert {option.reduction for option in found[:-1]} == {Reduction.IMAGE_SIZE}


def test_unreachable_numbers_are_pooled_and_too_many_refused() -> None:
    llava = catalogue.model("llava-1.5-7b")
    pooled = visual_input(llava, (336, 336), 64, Compressor.NONE)
    assert (pooled.compressor, pooled.reduction, pooled.views) == (Compressor.AVERAGE_POOL, Reduction.TRAINING_FREE, 1)
    with pytest.raises(InputError, match="makes 576 visual tokens"):
        visual_input(llava, (336, 336), 577, Compressor.NONE)
    with pytest.raises(InputError, match="no vision tower"):
        visual_input(
            catalogue.model("llava-1.5-7b").__class__(name="t", family="t", architecture="llama", llm=llava.llm),
            (9, 9),
            5,
            Compressor.NONE,
        )


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(catalogue.models()))
def test_every_option_is_reachable_and_ordered(width: int, height: int, model: Any) -> None:
    found = options(model, (width, height))
    tokens = [option.visual_tokens for option in found]
    assert tokens == sorted(set(tokens))
    assert all(option.visual_tokens > 0 and option.views > 0 and "{" not in option.setting for option in found)


def test_the_default_setting_is_priced_as_it_is() -> None:
    """Of two settings with equally many tokens the default has more views to encode (OneVision at 2304 x 2304)."""
    model = catalogue.model("onevision-qwen2-0.5b")
    native = options(model, (2304, 2304))[-1]
    assert (native.views, native.reduction) == (37, Reduction.TRAINED)


def test_a_pixel_shuffle_joins_at_most_sixteen() -> None:
    llava = catalogue.model("llava-1.5-7b")
    assert visual_input(llava, (336, 336), 36, Compressor.PIXEL_SHUFFLE).visual_tokens == 36
    with pytest.raises(InputError, match="pixel-shuffle joins at most 16"):
        visual_input(llava, (336, 336), 16, Compressor.PIXEL_SHUFFLE)


def test_compressors_of_backbones_to_train_are_trained() -> None:
    assert visual_input(catalogue.model("Qwen1.5-7B"), (336, 336), 4, Compressor.QUECC).reduction is Reduction.TRAINED
