"""What stands between tower and LLM? Makers of projectors that several families share.

(config, tower, LLM width) -> Projector, as the type's class in transformers builds it, or the code published with the
checkpoint. ``v`` is the tower's width and ``h`` the LLM's throughout. What one family alone has is in its file.
"""

from collections.abc import Callable
from typing import Any

from vlmplan.models.configs.keys import Plain, merge_side, switch
from vlmplan.models.tower import Projector, VisionTower

Made = Callable[[Plain, VisionTower, int], Projector]
V, H = (1, "v"), (1, "h")


def mlp(config: Plain, tower: VisionTower, h: int) -> Projector:
    """LLaVA, LLaVA-NeXT, OneVision: two layers over every patch, of as many of the tower's layers as are listed."""
    features = config.get("vision_feature_layer")
    joined = len(features) if isinstance(features, list) else 1
    bias = switch(config, "multimodal_projector_bias", default=True)
    return Projector(widths=(joined * tower.output_width, h, h), bias=bias)


def merger(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Qwen2-VL and its successors: squares of patches are joined, a norm and two layers."""
    merge = merge_side(config)
    joined = tower.hidden * merge**2
    norm = tower.hidden * (2 if tower.norm_bias else 1)
    return Projector(widths=(joined, joined, h), merge=merge**2, norm_params=norm)


def built(**fields: Any) -> Made:
    """A projector whose widths are multiples: ``widths`` as (factor, "v" or "h") or plain numbers."""
    pattern = fields.pop("widths")
    norm = fields.pop("norm", 0)

    def made(_: Plain, tower: VisionTower, h: int) -> Projector:
        base = {"v": tower.output_width, "h": h}
        widths = tuple(one if isinstance(one, int) else one[0] * base[one[1]] for one in pattern)
        return Projector(widths=widths, norm_params=norm * tower.output_width, **fields)

    return made
