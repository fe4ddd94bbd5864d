"""How phi-vision is tried against transformers: a small model, and how its processor counts."""

import math
from types import SimpleNamespace

from part import Part
from processors import Counted, Plain, own_code, torch_


def _hd(settings: Plain) -> Counted:
    """Phi-3.5-vision's published code: as many crops of 336 pixels as fit, newlines a row and a separator."""
    crops = settings.get("num_crops", 4)

    def count(width: int, height: int) -> int:
        ratio = max(width, height) / min(width, height)
        scale = max(s for s in range(1, crops + 1) if s * math.ceil(s / ratio) <= crops)
        long, short = scale, math.ceil(int(scale * 336 / ratio) / 336)
        rows = long if height > width else short
        return (long * short + 1) * 144 + 1 + (rows + 1) * 12

    return count


def _phi4(settings: Plain) -> Counted:
    processor = own_code("phi4_multimodal", "dynamic_preprocess", "find_closest_aspect_ratio")
    drawing = SimpleNamespace(resize=lambda image, _: image, pad=lambda image, *_, **__: image)
    processor.dynamic_preprocess.func.__globals__["tvF"] = drawing  # only the mask is counted

    def count(width: int, height: int) -> int:
        most = settings.get("dynamic_hd", 36)
        _, mask = processor.dynamic_preprocess(torch_().zeros(3, height, width), 448, 14, 32, max_num=most)
        kept = mask[0::2, 0::2]
        return int(256 + 1 + kept.sum() + kept[:, 0].sum() + 16)

    return count


PARTS = {
    "phi3_v": Part(
        config=None,
        without="its class is not transformers' own",
        count=_hd,
        settings=[{"num_crops": crops} for crops in (1, 2, 6, 9, 16)],
    ),
    "phi4mm": Part(
        config=None,
        without="its class is not transformers' own",
        count=_phi4,
        settings=[{"dynamic_hd": crops} for crops in (2, 6, 12, 24, 36)],
    ),
    "phi4_multimodal": Part(
        config=None,
        without='its class hears, too',
        count=_phi4,
        settings=[{"dynamic_hd": crops} for crops in (1, 4, 9, 16, 20)],
    ),
}  # fmt: skip
