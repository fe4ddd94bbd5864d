"""How smolvlm is tried against transformers: a small model, and how its processor counts."""

from collections.abc import Callable

from part import TEXT, VISION, Part
from processors import Counted, Plain, module, processor_of


def _split(model: str, name: str, patch: int, joined: int, unasked: Plain) -> Callable[[Plain], Counted]:
    """Idefics3 and SmolVLM: the views that the processor cuts, each of the same tokens.

    Its ``get_number_of_image_patches`` counts fewer than it cuts where the longest edge is no whole number of tiles.
    """

    def of(settings: Plain) -> Counted:
        processor = processor_of(model, name, {**unasked, **settings})
        tile, edge = processor.max_image_size["longest_edge"], processor.size["longest_edge"]
        each = (tile // patch // joined) ** 2
        scaled = module(f"{model}.image_processing_pil_{model}").get_resize_output_image_size

        def count(width: int, height: int) -> int:
            import numpy as np

            if not processor.do_image_splitting:
                return int(each)
            size = scaled(np.zeros((1, height, width), dtype=np.uint8), edge)
            picture = processor.resize_for_vision_encoder(np.zeros((3, *size), dtype=np.uint8), tile)
            frames, *_ = processor.split_images(picture, {"longest_edge": tile})
            return int(each * len(frames))

        return count

    return of


def _idefics2(settings: Plain) -> Counted:
    processor = processor_of("idefics2", "Idefics2", {"do_image_splitting": True, **settings})

    def count(width: int, height: int) -> int:
        import numpy as np

        picture = np.zeros((3, height, width), dtype=np.uint8)
        views = len(processor.split_images(picture)) if processor.do_image_splitting else 1
        return int(settings.get("image_seq_len", 64) * views)

    return count


PARTS = {
    "smolvlm": Part(
        config={"text_config": {"model_type": "llama", **TEXT}, "vision_config": VISION, "scale_factor": 2},
        count=_split("smolvlm", "SmolVLM", 16, 4, {"size": {"longest_edge": 2048},
                                                     "max_image_size": {"longest_edge": 512}}),
        settings=[
        {"size": {"longest_edge": 1536}},
        {"size": {"longest_edge": 1920}, "max_image_size": {"longest_edge": 384}},
        {"size": {"longest_edge": 512}},
        {"size": {"longest_edge": 1000}},
        {"size": {"longest_edge": 800}, "max_image_size": {"longest_edge": 384}},
        {"do_image_splitting": False},
        {"size": {"longest_edge": 3072}},
    ],
        like={"scale_factor": 4, "vision_config": {"image_size": 512, "patch_size": 16}},
    ),
    "idefics3": Part(
        config={"text_config": {"model_type": "llama", **TEXT}, "vision_config": VISION, "scale_factor": 2},
        count=_split("idefics3", "Idefics3", 14, 2, {}),
        settings=[
        {"size": {"longest_edge": 3 * 364}},
        {"size": {"longest_edge": 364}},
        {"size": {"longest_edge": 1500}},
        {"size": {"longest_edge": 5 * 364}},
        {"do_image_splitting": False},
    ],
        like={"scale_factor": 2, "vision_config": {"image_size": 364, "patch_size": 14}},
    ),
    "idefics2": Part(
        config={"text_config": {"model_type": "mistral", **TEXT}, "vision_config": VISION},
        count=_idefics2,
        settings=[
        {"do_image_splitting": False},
        {"size": {"shortest_edge": 378, "longest_edge": 490}},
        {"size": {"shortest_edge": 100, "longest_edge": 980}, "do_image_splitting": False},
        {"image_seq_len": 32},
        {"image_seq_len": 128, "do_image_splitting": False},
    ],
    ),
}  # fmt: skip
