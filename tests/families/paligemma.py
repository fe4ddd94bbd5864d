"""How paligemma is tried against transformers: a small model, and how its processor counts."""

from collections.abc import Callable

from part import SIGLIP, TEXT, Part, square
from processors import Counted, Plain


def _fixed(patch: int, side: int) -> Callable[[Plain], Counted]:
    """SigLIP's processor makes one square, all of whose patches PaliGemma reads."""

    def of(settings: Plain) -> Counted:
        size = settings.get("size") or {"height": side}
        tokens = settings.get("image_seq_length", (size["height"] // patch) ** 2)
        return lambda _, __: int(tokens)

    return of


PARTS = {
    "paligemma": Part(
        config={"text_config": {"model_type": "gemma", **TEXT}, "vision_config": SIGLIP, "projection_dim": 128},
        count=_fixed(14, 224),
        settings=[
        {"size": square(448)}, {"size": square(896)}, {"size": square(224), "image_seq_length": 256},
        {"size": square(448), "image_seq_length": 1024}, {"size": square(336)},
    ],
    ),
}  # fmt: skip
