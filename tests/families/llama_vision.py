"""How llama-vision is tried against transformers: a small model, and how its processor counts."""

from types import SimpleNamespace

from part import TEXT, VISION, Part, square
from processors import Counted, Plain, module, own_code, torch_


def _cross(settings: Plain) -> Counted:
    pick = module("mllama.image_processing_pil_mllama").get_optimal_tiled_canvas
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
    possible, each = torch_().tensor(resolutions), (side // 28) ** 2

    def count(width: int, height: int) -> int:
        largest = settings.get("resize_to_max_canvas", False)
        high, wide = module.get_best_fit((height, width), possible, resize_to_max_canvas=largest)
        tiles = int(high // side * (wide // side))
        return int(each * (tiles + (tiles > 1)) + 3 + tiles * (tiles > 1))

    return count


PARTS = {
    "mllama": Part(
        config={"text_config": {**TEXT, "cross_attention_layers": [1, 4], "pad_token_id": 0}, "vision_config": {
        "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3, "num_global_layers": 2,
        "attention_heads": 4, "patch_size": 14, "image_size": 56, "intermediate_layers_indices": [0, 1, 1, 2, 2],
        "vision_output_dim": 576}},
        count=_cross,
        settings=[{"max_image_tiles": tiles} for tiles in (1, 2, 6, 9)] + [{"max_image_tiles": 4, "size": square(448)}],
        like={"vision_config": {"image_size": 560, "patch_size": 14}},
    ),
    "llama4": Part(
        config={"text_config": {**TEXT, "num_local_experts": 4}, "vision_config": {
        **VISION, "intermediate_size": 384, "vision_output_dim": 4096}},
        count=_llama4,
        settings=[
        {"max_patches": 1}, {"max_patches": 4}, {"resize_to_max_canvas": True}, {"max_patches": 36},
        {"max_patches": 9, "resize_to_max_canvas": True},
    ],
        like={"vision_config": {"image_size": 336, "patch_size": 14}},
    ),
}  # fmt: skip
