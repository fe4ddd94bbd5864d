"""How lfm2-vl is tried against transformers: a small model, and how its processor counts."""

from part import VISION, Part
from processors import Counted, Plain, own_code


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


PARTS = {
    "lfm2_vl": Part(
        config={"text_config": {"model_type": "lfm2", "hidden_size": 128, "intermediate_size": 320,
                                "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
                                "full_attn_idxs": [2, 5]},
                "vision_config": {"model_type": "siglip2_vision_model", **VISION, "num_patches": 256,
                                  "vision_use_head": False}},
        count=_lfm2,
        settings=[
        {"do_image_splitting": False},
        {"max_tiles": 4},
        {"max_image_tokens": 128},
        {"min_image_tokens": 16, "max_image_tokens": 196, "use_thumbnail": False},
        {"tile_size": 384, "max_tiles": 6},
        {"max_pixels_tolerance": 1.0, "min_tiles": 3},
        {"max_pixels_tolerance": 4.0},
    ],
        like={"vision_config": {"model_type": "siglip2_vision_model", "patch_size": 16}},
    ),
}  # fmt: skip
