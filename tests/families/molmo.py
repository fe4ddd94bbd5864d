"""How molmo is tried against transformers: a small model, and how its processor counts."""

import functools

from part import TEXT, VISION, Part
from processors import Counted, Plain, own_code


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


PARTS = {
    "molmo": Part(
        config=None,
        without="its class is not transformers' own",
        count=functools.partial(_molmo, 12, 336),
        settings=[
        {"max_crops": 1}, {"max_crops": 6}, {"max_crops": 24}, {"overlap_margins": [2, 2]}, {"overlap_margins": [3, 5]},
    ],
    ),
    "molmo2": Part(
        config={"text_config": TEXT, "adapter_config": {
        "hidden_size": 96, "intermediate_size": 200, "text_hidden_size": 128, "vision_feature_layer": [-1, -2],
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 24},
               "vision_config": {**VISION, "image_size": [140, 140], "num_key_value_heads": 4, "head_dim": 24}},
        count=functools.partial(_molmo, 8, 378),
        settings=[
        {"max_crops": 1}, {"max_crops": 4}, {"max_crops": 24}, {"overlap_margins": [2, 2]},
        {"overlap_margins": [0, 0], "max_crops": 12},
    ],
    ),
}  # fmt: skip
