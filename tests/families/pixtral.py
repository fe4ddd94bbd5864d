"""How pixtral is tried against transformers: a small model, and how its processor counts."""

from collections.abc import Callable

from part import TEXT, Part
from processors import Counted, Plain, module


def _rows(patch: int, edge: int, *, ends: bool = True) -> Callable[[Plain], Counted]:
    def of(settings: Plain) -> Counted:
        own = module("pixtral.image_processing_pil_pixtral")
        most = (settings.get("size") or {}).get("longest_edge", edge)

        def count(width: int, height: int) -> int:
            import numpy as np

            picture = np.zeros((height, width, 3), dtype=np.uint8)
            high, wide = own.get_resize_output_image_size(picture, size=(most, most), patch_size=(patch, patch))
            return int((wide // patch + ends) * (high // patch))

        return count

    return of


PARTS = {
    "pixtral": Part(
        config=None,
        without="the type is the tower's alone in transformers",
        count=_rows(16, 1024),
        settings=[{"size": {"longest_edge": edge}} for edge in (256, 512, 1000, 1540, 2048)],
        like={"vision_config": {"patch_size": 16}},
    ),
    "mistral3": Part(
        config={"text_config": {"model_type": "mistral", **TEXT}, "vision_config": {
        "model_type": "pixtral", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
        "num_attention_heads": 4, "patch_size": 14, "image_size": 56}},
        count=_rows(28, 1540),
        settings=[{"size": {"longest_edge": edge}} for edge in (280, 700, 1000, 1024, 2000)],
        like={"spatial_merge_size": 2},
    ),
    "lighton_ocr": Part(
        config={"text_config": {"model_type": "qwen3", **TEXT}, "vision_config": {
        "model_type": "pixtral", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
        "num_attention_heads": 4, "patch_size": 14, "image_size": 56}},
        count=_rows(28, 1540, ends=False),
        settings=[{"size": {"longest_edge": edge}} for edge in (280, 700, 1000, 1024, 2000)],
    ),
}  # fmt: skip
