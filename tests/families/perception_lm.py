"""How perception-lm is tried against transformers: a small model, and how its processor counts."""

from part import Part
from processors import Counted, Plain, own_code


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


PARTS = {
    "perception_lm": Part(
        config=None,
        without='its class needs timm',
        count=_perception,
        settings=[
        {"max_num_tiles": 1}, {"max_num_tiles": 9}, {"vision_input_type": "vanilla"}, {"max_num_tiles": 16},
        {"max_num_tiles": 4},
    ],
    ),
}  # fmt: skip
