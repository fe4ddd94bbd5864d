"""How ovis is tried against transformers: a small model, and how its processor counts."""

from part import TEXT, VISION, Part
from processors import Counted, Plain, module


def _ovis2(settings: Plain) -> Counted:
    own = module("ovis2.image_processing_pil_ovis2")
    most = settings.get("max_patches", 9) if settings.get("crop_to_patches", True) else 1

    def count(width: int, height: int) -> int:
        rows, columns = own.get_min_tile_covering_grid((height, width), 448, most)
        tiles = rows * columns
        return int(256 * (tiles + (tiles > 1)) + 3 + (tiles + 1) * (tiles > 1))

    return count


PARTS = {
    "ovis2": Part(
        config={"text_config": {"model_type": "qwen2", **TEXT}, "hidden_size": 128, "vocab_size": 512,
              "vision_config": {**VISION, "vocab_size": 300, "hidden_stride": 2}},
        count=_ovis2,
        settings=[
        {"max_patches": 1}, {"max_patches": 4}, {"max_patches": 12, "min_patches": 2}, {"crop_to_patches": False},
        {"max_patches": 6, "crop_to_patches": True},
    ],
        like={"vision_config": {"image_size": 448, "patch_size": 14}},
    ),
    "ovis2_5": Part(
        config=None,
        without="its class is not transformers' own",
        count=None,
        uncounted="its processor is not transformers'",
        settings=[],
    ),
}  # fmt: skip
