"""How aya-vision is tried against transformers: a small model, and how its processor counts."""

from part import SIGLIP, TEXT, Part, square
from processors import Counted, Plain, module, processor_of


def _tokens(settings: Plain) -> Counted:
    """The placeholders that the processor writes, with as many tiles as its image processor makes."""
    processor = processor_of("got_ocr2", "GotOcr2", {"size": square(364), **settings})
    bare = object.__new__(module("aya_vision.processing_aya_vision").AyaVisionProcessor)
    bare.img_size, bare.patch_size, bare.img_patch_token = processor.size["height"], 28, "\N{BULLET}"
    bare.start_of_img_token = bare.end_of_img_token = bare.tile_token = bare.tile_global_token = ""

    def count(width: int, height: int) -> int:
        tiles = processor.get_number_of_image_patches(height, width, {"crop_to_patches": True})
        return int(bare.replace_image_token({"num_patches": [tiles]}, 0).count("\N{BULLET}"))

    return count


PARTS = {
    "aya_vision": Part(
        config={
            "text_config": {"model_type": "cohere2", **TEXT},
            "vision_config": SIGLIP,
            "alignment_intermediate_size": 200,
        },
        count=_tokens,
        settings=[
            {"max_patches": 1},
            {"max_patches": 6},
            {"min_patches": 4, "max_patches": 12},
            {"max_patches": 40},
            {"crop_to_patches": False, "max_patches": 3},
            {"size": square(280), "max_patches": 9},
        ],
        like={"vision_config": {"image_size": 364}},
    ),
}
