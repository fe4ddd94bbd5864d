"""How minicpm-v is tried against transformers: a small model, and how its processor counts."""

from part import DELTA, TEXT, VISION, Part
from processors import Counted, Plain, processor_of


def _minicpm(settings: Plain) -> Counted:
    """MiniCPM-V up to 4.5: the same grid as 4.6 in transformers, and as many tokens as its resampler has queries."""
    pick = processor_of("minicpmv4_6", "MiniCPMV4_6", {}).get_sliced_grid
    own = settings.get("slice_config") or {}
    most = settings.get("max_slice_nums", own.get("max_slice_nums", 9)) if settings.get("slice_mode", True) else 1
    size = settings.get("scale_resolution", own.get("scale_resolution", 448))
    each = int(settings.get("image_feature_size") or settings.get("query_num", 64))

    def count(width: int, height: int) -> int:
        grid = pick((height, width), most, size)
        return each * (1 + (int(grid[0] * grid[1]) if grid else 0))

    return count


def _minicpm46(settings: Plain) -> Counted:
    processor = processor_of("minicpmv4_6", "MiniCPMV4_6", settings)
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


PARTS = {
    "minicpmv": Part(
        config=None,
        without="its class is not transformers' own",
        count=_minicpm,
        settings=[
        {"max_slice_nums": 4},
        {"slice_mode": False},
        {"image_feature_size": 96},
        {"scale_resolution": 336, "max_slice_nums": 16},
        {"max_slice_nums": 1},
    ],
    ),
    "minicpmv4_6": Part(
        config={"text_config": {"model_type": "qwen3_5_text", **TEXT, **DELTA, "tie_word_embeddings": True},
                    "vision_config": {**VISION, "num_hidden_layers": 9}},
        count=_minicpm46,
        settings=[
        {"max_slice_nums": 4},
        {"slice_mode": False},
        {"downsample_mode": "4x"},
        {"scale_resolution": 336},
        {"max_slice_nums": 16, "downsample_mode": "4x", "scale_resolution": 560},
    ],
        like={"vision_config": {"patch_size": 14, "num_hidden_layers": 27}},
    ),
}  # fmt: skip
