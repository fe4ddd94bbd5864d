"""How internvl is tried against transformers: a small model, and how its processor counts."""

from part import TEXT, VISION, Part, square
from processors import Counted, Plain, module, processor_of


def _tiles(settings: Plain) -> Counted:
    """InternVL's processor, which always asks its image processor to crop."""
    processor = processor_of("got_ocr2", "GotOcr2", {"size": {"height": 448, "width": 448}, **settings})
    each = (processor.size["height"] // 28) ** 2
    return lambda width, height: (
        each * int(processor.get_number_of_image_patches(height, width, {"crop_to_patches": True}))
    )


def _chat(settings: Plain) -> Counted:
    """InternVL's published code picks its grid as GOT-OCR2's processor does."""
    canvas = module("got_ocr2.image_processing_pil_got_ocr2").get_optimal_tiled_canvas
    side, joined = settings.get("force_image_size", 448), round(1 / settings.get("downsample_ratio", 0.5))
    most, least = settings.get("max_dynamic_patch", 12), settings.get("min_dynamic_patch", 1)
    if not settings.get("dynamic_image_size", True):
        least = most = 1

    def count(width: int, height: int) -> int:
        columns, rows = canvas((height, width), (side, side), least, most)
        thumbnail = columns * rows > 1 and settings.get("use_thumbnail", True)
        return int((side // 14 // joined) ** 2 * (columns * rows + thumbnail))

    return count


PARTS = {
    "internvl_chat": Part(
        config=None,
        without="its class is not transformers' own",
        count=_chat,
        settings=[
        {"max_dynamic_patch": 1},
        {"max_dynamic_patch": 6},
        {"min_dynamic_patch": 3, "max_dynamic_patch": 8},
        {"use_thumbnail": False},
        {"dynamic_image_size": False},
        {"max_dynamic_patch": 24, "use_thumbnail": False},
        {"force_image_size": 224, "max_dynamic_patch": 20},
        {"downsample_ratio": 0.25},
    ],
        bare=True,
    ),
    "internvl": Part(
        config={"text_config": {"model_type": "qwen2", **TEXT}, "vision_config": VISION},
        count=_tiles,
        settings=[
        {"max_patches": 1},
        {"max_patches": 6},
        {"min_patches": 4, "max_patches": 12},
        {"max_patches": 40},
        {"min_patches": 2, "max_patches": 3, "crop_to_patches": False},
        {"size": square(224), "max_patches": 24},
    ],
    ),
}  # fmt: skip
