"""How many visual tokens transformers' own processors make of an image, by ``model_type`` and the processor's settings.

Where a processor can be made without torchvision it is; of the others the methods that count are compiled from
transformers' own file.
"""

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

Counted = Callable[[int, int], int]  # (width, height) -> visual tokens; ValueError where the processor refuses
Plain = dict[str, Any]


def _module(name: str) -> Any:
    return pytest.importorskip(f"transformers.models.{name}")


def _processor(model: str, name: str, settings: Plain) -> Any:
    return getattr(_module(f"{model}.image_processing_pil_{model}"), f"{name}ImageProcessorPil")(**settings)


def own_code(model: str, *names: str, **attributes: Any) -> Any:
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


def _area(model: str, name: str, unasked: Plain) -> Callable[[Plain], Counted]:
    """Qwen2-VL and its copies: patches, joined in squares."""

    def of(settings: Plain) -> Counted:
        processor = _processor(model, name, {**({} if settings else unasked), **settings})
        return lambda width, height: int(
            processor.get_number_of_image_patches(height, width) // processor.merge_size**2
        )

    return of


def _llava(settings: Plain) -> Counted:
    side = (settings.get("crop_size") or {"height": 336})["height"]
    bare = object.__new__(_module("llava.processing_llava").LlavaProcessor)
    bare.patch_size, bare.image_token = settings.get("patch_size", 14), "i"
    bare.num_additional_image_tokens = settings.get("num_additional_image_tokens", 1)
    bare.vision_feature_select_strategy = settings.get("vision_feature_select_strategy", "default")
    picture = SimpleNamespace(shape=(3, side, side), ndim=3)

    def count(width: int, height: int) -> int:
        import numpy as np

        del width, height, picture.ndim
        picture.ndim = 3
        return len(bare.replace_image_token({"pixel_values": [np.zeros((3, side, side))]}, 0))

    return count


def _anyres(model: str, name: str, side: int, more: Plain) -> Callable[[Plain], Counted]:
    def of(settings: Plain) -> Counted:
        processor: Any = object.__new__(getattr(_module(f"{model}.processing_{model}"), f"{name}Processor"))
        processor.image_processor = _processor(model, name, settings)
        own = {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full", "patch_size": 14,
               "vision_aspect_ratio": "anyres_max_9"}  # fmt: skip
        for key, value in {**own, **more, **settings}.items():
            if key in own:
                setattr(processor, key, value)
        size = settings.get("size") or {}
        view = size.get("shortest_edge") or size.get("height") or side
        processor.num_image_tokens = (view // 14) ** 2
        less = model == "llava_next" and processor.vision_feature_select_strategy == "default"
        return lambda width, height: int(processor._get_number_of_features(height, width, view, view) - less)

    return of


def _tiles(settings: Plain) -> Counted:
    """InternVL's processor, which always asks its image processor to crop."""
    processor = _processor("got_ocr2", "GotOcr2", {"size": {"height": 448, "width": 448}, **settings})
    each = (processor.size["height"] // 28) ** 2
    return lambda width, height: (
        each * int(processor.get_number_of_image_patches(height, width, {"crop_to_patches": True}))
    )


def _chat(settings: Plain) -> Counted:
    """InternVL's published code picks its grid as GOT-OCR2's processor does."""
    canvas = _module("got_ocr2.image_processing_pil_got_ocr2").get_optimal_tiled_canvas
    side, joined = settings.get("force_image_size", 448), round(1 / settings.get("downsample_ratio", 0.5))
    most, least = settings.get("max_dynamic_patch", 12), settings.get("min_dynamic_patch", 1)
    if not settings.get("dynamic_image_size", True):
        least = most = 1

    def count(width: int, height: int) -> int:
        columns, rows = canvas((height, width), (side, side), least, most)
        thumbnail = columns * rows > 1 and settings.get("use_thumbnail", True)
        return int((side // 14 // joined) ** 2 * (columns * rows + thumbnail))

    return count


def _split(model: str, name: str, patch: int, joined: int, unasked: Plain) -> Callable[[Plain], Counted]:
    """Idefics3 and SmolVLM: the processor counts views, each of the same tokens; 0 is one that is not split."""

    def of(settings: Plain) -> Counted:
        processor = _processor(model, name, {**unasked, **settings})
        each = (processor.max_image_size["longest_edge"] // patch // joined) ** 2

        def count(width: int, height: int) -> int:
            views, *_ = processor.get_number_of_image_patches(height, width, {})
            return int(each * max(1, views))

        return count

    return of


def _rows(patch: int, edge: int, *, ends: bool = True) -> Callable[[Plain], Counted]:
    def of(settings: Plain) -> Counted:
        module = _module("pixtral.image_processing_pil_pixtral")
        most = (settings.get("size") or {}).get("longest_edge", edge)

        def count(width: int, height: int) -> int:
            import numpy as np

            picture = np.zeros((height, width, 3), dtype=np.uint8)
            high, wide = module.get_resize_output_image_size(picture, size=(most, most), patch_size=(patch, patch))
            return int((wide // patch + ends) * (high // patch))

        return count

    return of


def _gemma3(settings: Plain) -> Counted:
    own = {
        "pan_and_scan_min_crop_size": 256,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    processor = _processor("gemma3", "Gemma3", {**own, **settings})
    wanted = {key: getattr(processor, key) for key in own}

    def count(width: int, height: int) -> int:
        import numpy as np

        crops = processor.pan_and_scan(np.zeros((3, height, width), dtype=np.uint8), **wanted)
        return 256 * (1 + len(crops) * bool(processor.do_pan_and_scan))

    return count


def _gemma4(settings: Plain) -> Counted:
    resize = _module("gemma4.image_processing_pil_gemma4").get_aspect_ratio_preserving_size
    pooled, budget = settings.get("pooling_kernel_size", 3), settings.get("max_soft_tokens", 280)

    def count(width: int, height: int) -> int:
        high, wide = resize(height, width, patch_size=16, max_patches=pooled**2 * budget, pooling_kernel_size=pooled)
        return int(high * wide // (16 * pooled) ** 2)

    return count


def _lfm2(settings: Plain) -> Counted:
    wanted = {
        "downsample_factor": 2, "do_image_splitting": True, "min_tiles": 2, "max_tiles": 10, "use_thumbnail": True,
        "min_image_tokens": 64, "max_image_tokens": 256, "encoder_patch_size": 16, "tile_size": 512,
        "max_pixels_tolerance": 2.0, **settings,
    }  # fmt: skip
    processor = own_code(
        "lfm2_vl", "smart_resize", "_is_image_too_large", "_get_grid_layout", "_target_ratios",
        "find_closest_aspect_ratio", "round_by_factor",
    )  # fmt: skip
    limits = {key: wanted[key] for key in ("downsample_factor", "max_image_tokens", "encoder_patch_size")}
    side, tiles = 16 * wanted["downsample_factor"], {key: wanted[key] for key in ("min_tiles", "max_tiles")}
    if not wanted["do_image_splitting"]:
        tiles = {"min_tiles": 1, "max_tiles": 1}

    def count(width: int, height: int) -> int:
        wide, high = processor.smart_resize(height, width, min_image_tokens=wanted["min_image_tokens"], **limits)
        thumbnail = (wide // side) * (high // side)
        large = processor._is_image_too_large(
            height, width, max_pixels_tolerance=wanted["max_pixels_tolerance"], **limits
        )
        if not large or tiles["max_tiles"] == 1:
            return int(thumbnail)
        *_, cut = processor._get_grid_layout(height, width, tile_size=wanted["tile_size"], **tiles)
        return int((wanted["tile_size"] // side) ** 2 * cut + thumbnail * (cut > 1 and wanted["use_thumbnail"]))

    return count


def _ovis2(settings: Plain) -> Counted:
    module = _module("ovis2.image_processing_pil_ovis2")
    most = settings.get("max_patches", 9) if settings.get("crop_to_patches", True) else 1

    def count(width: int, height: int) -> int:
        rows, columns = module.get_min_tile_covering_grid((height, width), 448, most)
        tiles = rows * columns
        return int(256 * (tiles + (tiles > 1)) + 3 + (tiles + 1) * (tiles > 1))

    return count


def _cross(settings: Plain) -> Counted:
    pick = _module("mllama.image_processing_pil_mllama").get_optimal_tiled_canvas
    most, side = settings.get("max_image_tiles", 4), (settings.get("size") or {"height": 560})["height"]

    def count(width: int, height: int) -> int:
        high, wide = pick(height, width, most, side)
        return int(int(high // side * (wide // side)) * ((side // 14) ** 2 + 1))

    return count


def _llama4(settings: Plain) -> Counted:
    module = own_code("llama4", "get_best_fit", "find_supported_resolutions", "get_factors")
    side = (settings.get("size") or {"height": 336})["height"]
    resolutions = module.find_supported_resolutions(
        settings.get("max_patches", 16), SimpleNamespace(height=side, width=side)
    )
    possible, each = _torch().tensor(resolutions), (side // 28) ** 2

    def count(width: int, height: int) -> int:
        largest = settings.get("resize_to_max_canvas", False)
        high, wide = module.get_best_fit((height, width), possible, resize_to_max_canvas=largest)
        tiles = int(high // side * (wide // side))
        return int(each * (tiles + (tiles > 1)) + 3 + tiles * (tiles > 1))

    return count


def _perception(settings: Plain) -> Counted:
    names = ("_factors", "_find_supported_aspect_ratios", "_get_image_height_width", "_fit_image_to_canvas",
             "_find_closest_aspect_ratio")  # fmt: skip
    side = settings.get("tile_size", 448)
    processor = own_code("perception_lm", *names, max_num_tiles=settings.get("max_num_tiles", 36))
    each = (side // 14 // settings.get("pooling_ratio", 2)) ** 2

    def count(width: int, height: int) -> int:
        if settings.get("vision_input_type") == "vanilla":
            return int(each)
        grid = processor._fit_image_to_canvas(width, height, side)
        grid = grid or processor._find_closest_aspect_ratio(width, height, side)
        return int(each * (grid[0] * grid[1] + 1))

    return count


def _phi4(settings: Plain) -> Counted:
    processor = own_code("phi4_multimodal", "dynamic_preprocess", "find_closest_aspect_ratio")
    drawing = SimpleNamespace(resize=lambda image, _: image, pad=lambda image, *_, **__: image)
    processor.dynamic_preprocess.func.__globals__["tvF"] = drawing  # only the mask is counted

    def count(width: int, height: int) -> int:
        most = settings.get("dynamic_hd", 36)
        _, mask = processor.dynamic_preprocess(_torch().zeros(3, height, width), 448, 14, 32, max_num=most)
        kept = mask[0::2, 0::2]
        return int(256 + 1 + kept.sum() + kept[:, 0].sum() + 16)

    return count


def _minicpm(settings: Plain) -> Counted:
    """MiniCPM-V up to 4.5: the same grid as 4.6 in transformers, and as many tokens as its resampler has queries."""
    pick = _processor("minicpmv4_6", "MiniCPMV4_6", {}).get_sliced_grid
    own = settings.get("slice_config") or {}
    most = settings.get("max_slice_nums", own.get("max_slice_nums", 9)) if settings.get("slice_mode", True) else 1
    size = settings.get("scale_resolution", own.get("scale_resolution", 448))
    each = int(settings.get("image_feature_size") or settings.get("query_num", 64))

    def count(width: int, height: int) -> int:
        grid = pick((height, width), most, size)
        return each * (1 + (int(grid[0] * grid[1]) if grid else 0))

    return count


def _minicpm46(settings: Plain) -> Counted:
    processor = _processor("minicpmv4_6", "MiniCPMV4_6", settings)
    joined = 4 if processor.downsample_mode == "4x" else 16

    def count(width: int, height: int) -> int:
        grid = processor.slice_mode and processor.get_sliced_grid(
            (height, width), processor.max_slice_nums, processor.scale_resolution
        )
        fitted: Plain = {
            "scale_resolution": processor.scale_resolution, "patch_size": 14,
            "downsample_mode": processor.downsample_mode,
        }  # fmt: skip
        high, wide = processor.find_best_resize((height, width), allow_upscale=not grid, **fitted)
        tokens = high // 14 * (wide // 14) // joined
        if grid:
            high, wide = processor.get_refine_size((height, width), grid, allow_upscale=True, **fitted)
            tokens += grid[0] * grid[1] * (high // grid[0] // 14 * (wide // grid[1] // 14) // joined)
        return int(tokens)

    return count


def _molmo(crops: int, side: int, settings: Plain) -> Counted:
    """Molmo2; Molmo's published code crops alike."""
    names = ("select_tiling", "compute_crop_geometry", "get_image_grid_and_crops")
    own = {"max_crops": crops, "overlap_margins": [4, 4], "patch_size": 14, "pooling_size": [2, 2],
           "size": {"height": side, "width": side}}  # fmt: skip
    processor = own_code("molmo2", *names, **{**own, **settings})

    def count(width: int, height: int) -> int:
        (low_high, low_wide, high, wide), _ = processor.get_image_grid_and_crops(height, width)
        return int(low_high * (low_wide + 1) + high * (wide + 1) + 4)

    return count


def _idefics2(settings: Plain) -> Counted:
    processor = _processor("idefics2", "Idefics2", {"do_image_splitting": True, **settings})

    def count(width: int, height: int) -> int:
        import numpy as np

        picture = np.zeros((3, height, width), dtype=np.uint8)
        views = len(processor.split_images(picture)) if processor.do_image_splitting else 1
        return int(settings.get("image_seq_len", 64) * views)

    return count


def _joined(settings: Plain) -> Counted:
    """DeepSeek-VL2 picks its canvas as LLaVA-NeXT's processor does; a newline a row, a separator, the whole image."""
    select = _module("llava_next.image_processing_pil_llava_next").select_best_resolution
    sides = [(i, j) for i in range(1, 10) for j in range(1, 10) if i * j <= 9]
    points = settings.get("candidate_resolutions") or [[384 * i, 384 * j] for i, j in sides]
    side = math.ceil(384 // 14 / settings.get("downsample_ratio", 2))

    def count(width: int, height: int) -> int:
        high, wide = select((height, width), points)
        return int(high // 384 * side * (wide // 384 * side + 1) + 1 + side * (side + 1))

    return count


def _hd(settings: Plain) -> Counted:
    """Phi-3.5-vision's published code: as many crops of 336 pixels as fit, newlines a row and a separator."""
    crops = settings.get("num_crops", 4)

    def count(width: int, height: int) -> int:
        ratio = max(width, height) / min(width, height)
        scale = max(s for s in range(1, crops + 1) if s * math.ceil(s / ratio) <= crops)
        long, short = scale, math.ceil(int(scale * 336 / ratio) / 336)
        rows = long if height > width else short
        return (long * short + 1) * 144 + 1 + (rows + 1) * 12

    return count


def _fixed(patch: int, side: int) -> Callable[[Plain], Counted]:
    """SigLIP's processor makes one square, all of whose patches PaliGemma reads."""

    def of(settings: Plain) -> Counted:
        size = settings.get("size") or {"height": side}
        tokens = settings.get("image_seq_length", (size["height"] // patch) ** 2)
        return lambda _, __: int(tokens)

    return of


_QWEN, _GLM, _ERNIE = ("qwen2_vl", "Qwen2VL"), ("glm4v", "Glm4v"), ("ernie4_5_vl_moe", "Ernie4_5_VLMoe")
_QWEN2 = {"min_pixels": 3136, "max_pixels": 12845056}  # of the file beside the checkpoints
_QWEN3 = {"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 16777216}}
COUNTED: dict[str, Callable[[Plain], Counted]] = {
    "llava": _llava,
    "llava_next": _anyres("llava_next", "LlavaNext", 336, {"num_additional_image_tokens": 1,
                                                           "vision_feature_select_strategy": "default"}),
    "llava_onevision": _anyres("llava_onevision", "LlavaOnevision", 384, {}),
    "qwen2_vl": _area(*_QWEN, _QWEN2),
    "qwen2_5_vl": _area(*_QWEN, _QWEN2),
    "llava_onevision1_5": _area(*_QWEN, _QWEN2),
    "qwen3_vl": _area(*_QWEN, _QWEN3),
    "qwen3_vl_moe": _area(*_QWEN, _QWEN3),
    "qwen3_5_moe": _area(*_QWEN, _QWEN3),
    "qwen3_5": _area(*_QWEN, _QWEN3),
    "glm4v": _area(*_GLM, {}),
    "glm4v_moe": _area(*_GLM, {}),
    "ernie4_5_vl_moe": _area(*_ERNIE, {}),
    "internvl": _tiles,
    "internvl_chat": _chat,
    "smolvlm": _split("smolvlm", "SmolVLM", 16, 4, {"size": {"longest_edge": 2048},
                                                     "max_image_size": {"longest_edge": 512}}),
    "idefics3": _split("idefics3", "Idefics3", 14, 2, {}),
    "idefics2": _idefics2,
    "paligemma": _fixed(14, 224),
    "gemma3": _gemma3,
    "gemma4": _gemma4,
    "phi4_multimodal": _phi4,
    "phi4mm": _phi4,
    "minicpmv": _minicpm,
    "minicpmv4_6": _minicpm46,
    "mllama": _cross,
    "llama4": _llama4,
    "pixtral": _rows(16, 1024),
    "mistral3": _rows(28, 1540),
    "lighton_ocr": _rows(28, 1540, ends=False),
    "molmo": functools.partial(_molmo, 12, 336),
    "molmo2": functools.partial(_molmo, 8, 378),
    "lfm2_vl": _lfm2,
    "perception_lm": _perception,
    "ovis2": _ovis2,
    "deepseek_vl_v2": _joined,
    "phi3_v": _hd,
}  # fmt: skip
