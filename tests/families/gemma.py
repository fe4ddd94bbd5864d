"""How gemma is tried against transformers: a small model, and how its processor counts."""

from part import SIGLIP, TEXT, Part
from processors import Counted, Plain, module, processor_of


def _gemma3(settings: Plain) -> Counted:
    own = {
        "pan_and_scan_min_crop_size": 256,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    processor = processor_of("gemma3", "Gemma3", {**own, **settings})
    wanted = {key: getattr(processor, key) for key in own}

    def count(width: int, height: int) -> int:
        import numpy as np

        crops = processor.pan_and_scan(np.zeros((3, height, width), dtype=np.uint8), **wanted)
        return 256 * (1 + len(crops) * bool(processor.do_pan_and_scan))

    return count


def _gemma4(settings: Plain) -> Counted:
    resize = module("gemma4.image_processing_pil_gemma4").get_aspect_ratio_preserving_size
    pooled, budget = settings.get("pooling_kernel_size", 3), settings.get("max_soft_tokens", 280)

    def count(width: int, height: int) -> int:
        high, wide = resize(height, width, patch_size=16, max_patches=pooled**2 * budget, pooling_kernel_size=pooled)
        return int(high * wide // (16 * pooled) ** 2)

    return count


_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "patch_size": 14,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
}
PARTS = {
    "gemma3": Part(
        config={"text_config": TEXT, "vision_config": SIGLIP, "mm_tokens_per_image": 4},
        count=_gemma3,
        settings=[
        {"do_pan_and_scan": True},
        {"do_pan_and_scan": True, "pan_and_scan_max_num_crops": 2},
        {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 64, "pan_and_scan_max_num_crops": 12},
        {"do_pan_and_scan": True, "pan_and_scan_min_ratio_to_activate": 2.0},
        {"do_pan_and_scan": False, "pan_and_scan_max_num_crops": 4},
        {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 500},
    ],
        like={"vision_config": _SIGLIP | {"image_size": 896}},
    ),
    "gemma4": Part(
        config={"text_config": {**TEXT, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 16,
                                 "vocab_size_per_layer_input": 512},
               "vision_config": {"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
                                 "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 24}},
        count=_gemma4,
        settings=[{"max_soft_tokens": budget} for budget in (70, 140, 560, 1120)] + [
        {"pooling_kernel_size": 2, "max_soft_tokens": 280}
    ],
    ),
}  # fmt: skip
