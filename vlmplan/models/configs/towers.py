"""Which towers do several families share, and what is said of one?

A tower that one family made stands in the family's file (``families/``). Defaults are those of transformers'
configuration classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vlmplan.models.configs.keys import Plain

VISION_ALIASES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "depth"),
    "hidden": ("embed_dim", "hidden_size"),
    "heads": ("num_attention_heads", "num_heads", "attention_heads"),
    "intermediate": ("intermediate_size",),
    "patch": ("patch_size", "spatial_patch_size"),
    "temporal_patch": ("temporal_patch_size",),
    "image_size": ("image_size",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerType:
    """A vision ``model_type``: what its class defaults to, and what its layers have.

    ``aliases`` are keys that do not mean here what they mean elsewhere. ``special`` reads what only this type's own
    keys say: (table, dimensions, where) -> more of them. ``own_defaults``: a table leaves out what equals the defaults
    of its own class, not those of the model around it. ``classes`` are names in ``architectures`` that mean it.
    """

    defaults: Plain
    traits: Plain = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    special: Callable[[Plain, dict[str, Any], str], dict[str, Any]] | None = None
    own_defaults: bool = False
    classes: tuple[str, ...] = ()


CLIP = {"layers": 12, "hidden": 768, "heads": 12, "intermediate": 3072, "patch": 32, "image_size": 224}
CLIP_LARGE = {"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14, "image_size": 336}
SO400M = {"layers": 27, "hidden": 1152, "heads": 16, "intermediate": 4304, "patch": 14}
NO_BIAS = {"norm_bias": False, "attention_bias": False, "mlp_bias": False}
SHARED_TOWERS: Mapping[str, TowerType] = {
    "clip_vision_model": TowerType(
        defaults=CLIP,
        traits={"class_token": True, "patch_bias": False, "pre_norm": True},
        own_defaults=True,
        classes=("CLIPVision", "CLIPVisionModelWithProjection"),
    ),
    "siglip_vision_model": TowerType(defaults=CLIP | {"patch": 16}, classes=("Siglip", "SiglipVision", "SigLIP")),
    "siglip2_vision_model": TowerType(
        defaults=CLIP | {"patch": 16}, traits={"positions": 256}, classes=("Siglip2Vision",)
    ),
}
