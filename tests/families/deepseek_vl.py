"""How deepseek-vl is tried against transformers: a small model, and how its processor counts."""

import math

from part import Part, grids
from processors import Counted, Plain, module


def _joined(settings: Plain) -> Counted:
    """DeepSeek-VL2 picks its canvas as LLaVA-NeXT's processor does; a newline a row, a separator, the whole image."""
    select = module("llava_next.image_processing_pil_llava_next").select_best_resolution
    sides = [(i, j) for i in range(1, 10) for j in range(1, 10) if i * j <= 9]
    points = settings.get("candidate_resolutions") or [[384 * i, 384 * j] for i, j in sides]
    side = math.ceil(384 // 14 / settings.get("downsample_ratio", 2))

    def count(width: int, height: int) -> int:
        high, wide = select((height, width), points)
        return int(high // 384 * side * (wide // 384 * side + 1) + 1 + side * (side + 1))

    return count


PARTS = {
    "deepseek_vl_v2": Part(
        config=None,
        without="its class is not transformers' own",
        count=_joined,
        settings=[
        {"candidate_resolutions": grids(384, (1, 1))},
        {"candidate_resolutions": grids(384, (1, 1), (1, 2), (2, 1))},
        {"candidate_resolutions": grids(384, (1, 2), (2, 1), (2, 2), (1, 4), (4, 1))},
        {"candidate_resolutions": grids(384, (3, 3), (1, 9))},
        {"downsample_ratio": 3},
    ],
    ),
}  # fmt: skip
