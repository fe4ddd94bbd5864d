"""How llava is tried against transformers: a small model, and how its processor counts."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from part import QWEN2, SIGLIP, TEXT, VISION, Part, grids, square
from processors import Counted, Plain, area, module, processor_of


def _llava(settings: Plain) -> Counted:
    side = (settings.get("crop_size") or {"height": 336})["height"]
    bare = object.__new__(module("llava.processing_llava").LlavaProcessor)
    bare.patch_size, bare.image_token = settings.get("patch_size", 14), "i"
    bare.num_additional_image_tokens = settings.get("num_additional_image_tokens", 1)
    bare.vision_feature_select_strategy = settings.get("vision_feature_select_strategy", "default")
    picture = SimpleNamespace(shape=(3, side, side), ndim=3)

    def count(width: int, height: int) -> int:
        import numpy as np

        del width, height, picture.ndim
        picture.ndim = 3
        return len(bare.replace_image_token({"pixel_values": [np.zeros((3, side, side))]}, 0))

    return count


def _anyres(model: str, name: str, side: int, more: Plain) -> Callable[[Plain], Counted]:
    def of(settings: Plain) -> Counted:
        processor: Any = object.__new__(getattr(module(f"{model}.processing_{model}"), f"{name}Processor"))
        processor.image_processor = processor_of(model, name, settings)
        own = {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full", "patch_size": 14,
               "vision_aspect_ratio": "anyres_max_9"}  # fmt: skip
        for key, value in {**own, **more, **settings}.items():
            if key in own:
                setattr(processor, key, value)
        size = settings.get("size") or {}
        view = size.get("shortest_edge") or size.get("height") or side
        processor.num_image_tokens = (view // 14) ** 2
        less = model == "llava_next" and processor.vision_feature_select_strategy == "default"
        return lambda width, height: int(processor._get_number_of_features(height, width, view, view) - less)

    return of


PARTS = {
    "llava": Part(
        config={"text_config": {"model_type": "llama", **TEXT}, "vision_config": {"model_type": "clip_vision_model",
                                                                                **VISION}},
        count=_llava,
        settings=[
        {"vision_feature_select_strategy": "full"},
        {"num_additional_image_tokens": 0},
        {"patch_size": 28},
        {"patch_size": 7},
        {"crop_size": square(224), "size": {"shortest_edge": 224}},
        {"crop_size": square(448)},
        {"crop_size": square(560), "vision_feature_select_strategy": "full", "num_additional_image_tokens": 5},
    ],
    ),
    "llava_next": Part(
        config={"text_config": {"model_type": "mistral", **TEXT}, "vision_config": {
        "model_type": "clip_vision_model", **VISION}},
        count=_anyres("llava_next", "LlavaNext", 336, {"num_additional_image_tokens": 1,
                                                           "vision_feature_select_strategy": "default"}),
        settings=[
        {"image_grid_pinpoints": grids(336, (1, 1), (2, 2))},
        {"image_grid_pinpoints": grids(336, (1, 4), (4, 1), (2, 2), (3, 3))},
        {"image_grid_pinpoints": grids(336, *((1, n) for n in range(2, 9)))},
        {"vision_feature_select_strategy": "full"},
        {"patch_size": 28},
        {"size": {"shortest_edge": 672}, "image_grid_pinpoints": grids(672, (1, 2), (2, 1), (2, 2))},
        {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"},
    ],
    ),
    "llava_onevision": Part(
        config={"text_config": {"model_type": "qwen2", **TEXT}, "vision_config": SIGLIP},
        count=_anyres("llava_onevision", "LlavaOnevision", 384, {}),
        settings=[
        {"vision_aspect_ratio": "anyres_max_4"},
        {"vision_aspect_ratio": "anyres_max_16"},
        {"image_grid_pinpoints": grids(384, (1, 1), (1, 2), (2, 1), (2, 2))},
        {"image_grid_pinpoints": grids(384, (3, 3))},
        {"vision_aspect_ratio": "anyres_max_2", "image_grid_pinpoints": grids(384, (2, 2), (1, 8), (8, 1))},
    ],
    ),
    "llava_onevision1_5": Part(
        config=None,
        without="its class is not transformers' own",
        count=area("qwen2_vl", "Qwen2VL", QWEN2),
        settings=[
        {"min_pixels": 3136, "max_pixels": high} for high in (100000, 401408, 1003520, 3211264, 12845056)
    ],
    ),
}  # fmt: skip
