"""Images become as many tokens as transformers' own processors make of them."""

import __future__

import ast
import collections
import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan import catalogue
from vlmplan.errors import InputError
from vlmplan.image_grids import GRIDS
from vlmplan.model import PLACEHOLDERS, Compressor, Reduction
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


MODELS = "transformers.models"
Counted = Callable[[int, int], int]  # (width, height) -> visual tokens


def _module(name: str) -> Any:
    return pytest.importorskip(f"{MODELS}.{name}")


def _own_code(model: str, *names: str, **attributes: Any) -> Any:
    """Functions and methods ``names`` of a processor whose module needs torchvision to be imported, without it.

    They are compiled from transformers' own file, and hang on one object with ``attributes``.
    """
    transformers = pytest.importorskip("transformers")
    file = Path(transformers.__file__).parent / "models" / model / f"image_processing_{model}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    assert {node.name for node in found} == set(names)
    for node in found:
        node.decorator_list = []
    scope: dict[str, Any] = {"math": math, "itertools": itertools, "reduce": functools.reduce, "torch": _torch()}
    scope["defaultdict"] = collections.defaultdict
    flags = __future__.annotations.compiler_flag
    exec(compile(ast.Module(body=list(found), type_ignores=[]), str(file), "exec", flags=flags), scope)
    owner = SimpleNamespace(**attributes)
    for node in found:
        function, method = scope[node.name], node.args.args[:1] and node.args.args[0].arg == "self"
        setattr(owner, node.name, functools.partial(function, owner) if method else function)
    return owner


def _torch() -> Any:
    return pytest.importorskip("torch")


def _area(module: str, factor: int, low: int, high: int, **more: int) -> Counted:
    """Qwen2-VL's resize and its copies; limits in pixels of area (GLM counts an image's two frames)."""
    resize = _module(module).smart_resize

    def count(width: int, height: int) -> int:
        high_px, wide_px = resize(**more, height=height, width=width, factor=factor, min_pixels=low, max_pixels=high)
        return int(high_px * wide_px // factor**2)

    return count


def _bare(module: str, name: str, **attributes: Any) -> Any:
    """A processor without a tokenizer: its counting needs only these attributes."""
    processor: Any = object.__new__(getattr(_module(module), name))
    for key, value in attributes.items():
        setattr(processor, key, value)
    return processor


def _anyres(module: str, name: str, pinpoints: list[list[int]], side: int) -> Counted:
    class Pinpoints:
        image_grid_pinpoints = pinpoints

    processor = _bare(
        module,
        name,
        num_additional_image_tokens=0,
        vision_feature_select_strategy="full",
        patch_size=14,
        vision_aspect_ratio="anyres_max_9",
        image_processor=Pinpoints(),
        num_image_tokens=(side // 14) ** 2,
    )
    return lambda width, height: int(processor._get_number_of_features(height, width, side, side))


def _internvl(limit: int = 12) -> Counted:
    module = _module("got_ocr2.image_processing_pil_got_ocr2")

    def count(width: int, height: int) -> int:
        columns, rows = module.get_optimal_tiled_canvas((height, width), (448, 448), 1, limit)
        return int(256 * (columns * rows + (columns * rows > 1)))

    return count


def _patches(module: str, name: str, tokens: int, **options: Any) -> Counted:
    """Idefics3 and SmolVLM: the processor counts patches, each of ``tokens``."""
    processor = getattr(_module(module), name)(**options)

    def count(width: int, height: int) -> int:
        found = processor.get_number_of_image_patches(height, width, {})
        return tokens * int(found[0] if isinstance(found, tuple) else found)

    return count


def _pixtral(patch: int, edge: int) -> Counted:
    module = _module("pixtral.image_processing_pil_pixtral")

    def count(width: int, height: int) -> int:
        import numpy as np

        picture = np.zeros((height, width, 3), dtype=np.uint8)
        high, wide = module.get_resize_output_image_size(picture, size=(edge, edge), patch_size=(patch, patch))
        return int((wide // patch + 1) * (high // patch))

    return count


def _gemma4(budget: int) -> Counted:
    resize = _module("gemma4.image_processing_pil_gemma4").get_aspect_ratio_preserving_size

    def count(width: int, height: int) -> int:
        high, wide = resize(height, width, patch_size=16, max_patches=9 * budget, pooling_kernel_size=3)
        return int(high * wide // 48**2)

    return count


def _lfm2() -> Counted:
    processor = _own_code(
        "lfm2_vl", "smart_resize", "_is_image_too_large", "_get_grid_layout", "_target_ratios",
        "find_closest_aspect_ratio", "round_by_factor",
    )  # fmt: skip
    limits = {"downsample_factor": 2, "max_image_tokens": 256, "encoder_patch_size": 16}

    def count(width: int, height: int) -> int:
        wide, high = processor.smart_resize(height, width, min_image_tokens=64, **limits)
        thumbnail = (wide // 32) * (high // 32)
        if not processor._is_image_too_large(height, width, max_pixels_tolerance=2.0, **limits):
            return int(thumbnail)
        *_, tiles = processor._get_grid_layout(height, width, min_tiles=2, max_tiles=10, tile_size=512)
        return int(256 * tiles + thumbnail)

    return count


def _ovis2() -> Counted:
    module = _module("ovis2.image_processing_pil_ovis2")

    def count(width: int, height: int) -> int:
        rows, columns = module.get_min_tile_covering_grid((height, width), 448, 9)
        tiles = rows * columns
        return int(256 * (tiles + (tiles > 1)) + 3 + (tiles + 1) * (tiles > 1))

    return count


def _canvas(separators: bool, side: int, tokens: int, most: int) -> Counted:
    """Llama 3.2, and Llama 4, which picks its canvas alike."""
    pick = _module("mllama.image_processing_pil_mllama").get_optimal_tiled_canvas

    def count(width: int, height: int) -> int:
        high, wide = pick(height, width, most, side)
        tiles = int(high // side * (wide // side))
        split = separators and tiles > 1
        return tokens * (tiles + split) + separators * (3 + tiles * split)

    return count


def _llama4() -> Counted:
    module = _own_code("llama4", "get_best_fit", "find_supported_resolutions", "get_factors")
    resolutions = module.find_supported_resolutions(16, SimpleNamespace(height=336, width=336))
    possible = _torch().tensor(resolutions)

    def count(width: int, height: int) -> int:
        high, wide = module.get_best_fit((height, width), possible, resize_to_max_canvas=False)
        tiles = int(high // 336 * (wide // 336))
        return 144 * (tiles + (tiles > 1)) + 3 + tiles * (tiles > 1)

    return count


def _perception() -> Counted:
    names = ("_factors", "_find_supported_aspect_ratios", "_get_image_height_width", "_fit_image_to_canvas",
             "_find_closest_aspect_ratio")  # fmt: skip
    processor = _own_code("perception_lm", *names, max_num_tiles=36)

    def count(width: int, height: int) -> int:
        grid = processor._fit_image_to_canvas(width, height, 448)
        grid = grid or processor._find_closest_aspect_ratio(width, height, 448)
        return int(256 * (grid[0] * grid[1] + 1))

    return count


def _phi4() -> Counted:
    processor = _own_code("phi4_multimodal", "dynamic_preprocess", "find_closest_aspect_ratio")
    drawing = SimpleNamespace(resize=lambda image, _: image, pad=lambda image, *_, **__: image)
    processor.dynamic_preprocess.func.__globals__["tvF"] = drawing  # only the mask is counted

    def count(width: int, height: int) -> int:
        _, mask = processor.dynamic_preprocess(_torch().zeros(3, height, width), 448, 14, 32, max_num=36)
        kept = mask[0::2, 0::2]
        return int(256 + 1 + kept.sum() + kept[:, 0].sum() + 16)

    return count


def _minicpm() -> Counted:
    processor = _own_code("minicpmv4_6", "get_sliced_grid")

    def count(width: int, height: int) -> int:
        grid = processor.get_sliced_grid((height, width), 9, 448)
        return 64 * (1 + (grid[0] * grid[1] if grid else 0))

    return count


def _molmo2() -> Counted:
    names = ("select_tiling", "compute_crop_geometry", "get_image_grid_and_crops")
    square = {"height": 378, "width": 378}
    processor = _own_code(
        "molmo2", *names, max_crops=8, overlap_margins=[4, 4], patch_size=14, pooling_size=[2, 2], size=square
    )

    def count(width: int, height: int) -> int:
        (low_high, low_wide, high, wide), _ = processor.get_image_grid_and_crops(height, width)
        return int(low_high * (low_wide + 1) + high * (wide + 1) + 4)

    return count


ANYRES_NEXT = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
ANYRES_ONEVISION = [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)]
# A checkpoint of the family, and how transformers counts its tokens.
FAMILIES: dict[str, tuple[str, Callable[[], Counted]]] = {
    "Qwen2-VL": ("Qwen2-VL-7B", lambda: _area("qwen2_vl.image_processing_pil_qwen2_vl", 28, 4 * 784, 16384 * 784)),
    "Qwen3-VL": ("Qwen3-VL-8B", lambda: _area("qwen2_vl.image_processing_pil_qwen2_vl", 32, 65536, 16384 * 1024)),
    "GLM-4V": (
        "GLM-4.1V",
        lambda: _area("glm4v.image_processing_pil_glm4v", 28, 112 * 112, 28 * 28 * 15000, num_frames=2),
    ),
    "ERNIE-4.5-VL": (
        "ERNIE-4.5-VL",
        lambda: _area("ernie4_5_vl_moe.image_processing_pil_ernie4_5_vl_moe", 28, 56 * 56, 28 * 28 * 6177),
    ),
    "LLaVA-NeXT": (
        "llava-v1.6-vicuna-7b",
        lambda: _anyres("llava_next.processing_llava_next", "LlavaNextProcessor", ANYRES_NEXT, 336),
    ),
    "LLaVA-OneVision": (
        "onevision-qwen2-0.5b",
        lambda: _anyres(
            "llava_onevision.processing_llava_onevision", "LlavaOnevisionProcessor", ANYRES_ONEVISION, 384
        ),
    ),
    "InternVL": ("InternVL3-8B", _internvl),
    "SmolVLM": (
        "SmolVLM-256M",
        lambda: _patches(
            "smolvlm.image_processing_pil_smolvlm", "SmolVLMImageProcessorPil", 64,
            size={"longest_edge": 2048}, max_image_size={"longest_edge": 512},
        ),
    ),
    "Idefics3": (
        "Idefics3-8B",
        lambda: _patches(
            "idefics3.image_processing_pil_idefics3", "Idefics3ImageProcessorPil", 169,
            size={"longest_edge": 1456}, max_image_size={"longest_edge": 364},
        ),
    ),
    "Pixtral": ("Pixtral-12B", lambda: _pixtral(16, 1024)),
    "Mistral Small 3.1": ("Mistral-Small-3.1", lambda: _pixtral(28, 1540)),
    "Gemma 4": ("gemma-4-31B", lambda: _gemma4(280)),
    "LFM2-VL": ("LFM2-VL-1.6B", _lfm2),
    "Ovis2": ("Ovis2-4B", _ovis2),
    "Llama 3.2 Vision": ("Llama-3.2-11B", lambda: _canvas(False, 560, 1601, 4)),
    "Llama 4": ("Llama-4-Scout", _llama4),
    "Perception LM": ("Perception-LM-3B", _perception),
    "Phi-4-multimodal": ("Phi-4-multimodal", _phi4),
    "MiniCPM-V": ("MiniCPM-V-4_5", _minicpm),
    "Molmo2": ("Molmo2-8B", _molmo2),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_as_transformers_counts_them(family: str) -> None:
    name, counted = FAMILIES[family]
    model, count = catalogue.model(name), counted()
    refused = 0
    for size in SIZES:
        try:
            expected = count(*size)
        except ValueError:  # extreme shapes that Phi-4's processor refuses
            refused += 1
            continue
        assert native_visual_tokens(model, size) == expected, size
    assert refused <= 2


@pytest.mark.parametrize("budget", [70, 140, 280, 560, 1120])
def test_a_budget_of_gemma_4_is_what_its_processor_makes_of_it(budget: int) -> None:
    rule, count = catalogue.model("gemma-4-31B").image, _gemma4(budget)
    assert rule is not None
    for width, height in SIZES:
        assert GRIDS[rule.rule](width, height, rule, budget).tokens == count(width, height)


@pytest.mark.parametrize("limit", range(1, 13))
def test_every_number_of_tiles_of_internvl(limit: int) -> None:
    rule, count = catalogue.model("InternVL3-8B").image, _internvl(limit)
    assert rule is not None
    for width, height in SIZES:
        assert GRIDS[rule.rule](width, height, rule, limit).tokens == count(width, height)


@pytest.mark.parametrize("size", SIZES)
def test_a_limit_of_pixels_is_what_qwen2_vl_makes_of_it(size: tuple[int, int]) -> None:
    for option in options(catalogue.model("Qwen2-VL-7B"), size):
        limit = int(option.setting.rpartition(":")[2].strip("} "))
        count = _area("qwen2_vl.image_processing_pil_qwen2_vl", 28, 4 * 784, limit)
        assert option.visual_tokens == count(*size)


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
    assert (pooled.compressor, pooled.reduction, pooled.views) == (Compressor.AVERAGE_POOL, Reduction.AVERAGE_POOL, 1)
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
    assert all(option.visual_tokens > 0 and option.views > 0 for option in found)
    texts = [text for option in found for text in (option.setting, *option.engines.values())]
    assert not any(f"{{{name}}}" in text for name in PLACEHOLDERS for text in texts)


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
