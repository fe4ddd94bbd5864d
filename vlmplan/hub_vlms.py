"""Which vision-language types are read, and what of them is not in their nested tables?

``model_type`` -> default tower and text types, where those tables stand, and what more the type has. Projectors are in
``hub_projectors.py``, image rules in ``hub_images.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlmplan.hub_tables import QWEN2_VL_TEXT, Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmType:
    """``tower`` and ``text`` are the types meant where the nested table names none (or one that is not known).

    ``vision_defaults`` and ``text_defaults`` are dimensions, ``traits`` what the tower has beyond its own type.
    ``text_key`` and ``vision_key`` name the nested tables; a type without ``text_key`` has its text fields at the top,
    of a type that may follow from ``versions``. ``tied`` is whether the head is tied where no table says so.
    """

    tower: str
    text: str
    text_key: str = "text_config"
    vision_key: str = "vision_config"
    vision_defaults: Plain = field(default_factory=dict)
    text_defaults: Plain = field(default_factory=dict)
    traits: Plain = field(default_factory=dict)
    feature_layer: int = -1
    versions: Mapping[str, str] = field(default_factory=dict)
    tied: bool | None = None
    exportable: bool = False


_CLIP_LARGE = {"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14, "image_size": 336}
_SO400M = {"layers": 27, "hidden": 1152, "heads": 16, "intermediate": 4304, "patch": 14}
VLM_TYPES: dict[str, VlmType] = {
    "llava": VlmType(
        tower="clip_vision_model", text="llama", vision_defaults=_CLIP_LARGE, feature_layer=-2, exportable=True
    ),
    "llava_next": VlmType(
        tower="clip_vision_model", text="llama", vision_defaults=_CLIP_LARGE, feature_layer=-2, exportable=True
    ),
    "llava_onevision": VlmType(
        tower="siglip_vision_model", text="qwen2", vision_defaults=_SO400M | {"layers": 26, "image_size": 384},
        exportable=True,
    ),
    "llava_onevision1_5": VlmType(tower="mlcd_vision_model", text="qwen3", traits={"post_norm": False}),
    "qwen2_vl": VlmType(tower="qwen2_vl", text="qwen2", text_defaults=QWEN2_VL_TEXT),
    "qwen2_5_vl": VlmType(tower="qwen2_5_vl", text="qwen2", text_defaults=QWEN2_VL_TEXT),
    "qwen3_vl": VlmType(tower="qwen3_vl", text="qwen3", text_defaults={"hidden": 4096, "kv_heads": 32}),
    "qwen3_vl_moe": VlmType(tower="qwen3_vl", text="qwen3_moe", text_defaults={"experts": 60, "experts_per_token": 4}),
    "qwen3_5": VlmType(tower="qwen3_vl", text="qwen3_5_text"),
    "qwen3_5_moe": VlmType(tower="qwen3_vl", text="qwen3_5_moe_text"),
    "internvl_chat": VlmType(tower="internvl_vision", text="internlm2", text_key="llm_config"),
    "internvl": VlmType(tower="internvl_vision", text="qwen2", tied=True),
    "smolvlm": VlmType(tower="smolvlm_vision", text="llama", tied=True),
    "idefics3": VlmType(tower="idefics3_vision", text="llama", tied=True),
    "idefics2": VlmType(tower="idefics2", text="mistral"),
    "paligemma": VlmType(
        tower="siglip_vision_model", text="gemma", vision_defaults=_SO400M | {"image_size": 224}, tied=True
    ),
    "gemma3": VlmType(
        tower="siglip_vision_model", text="gemma3_text", vision_defaults=_SO400M | {"image_size": 896}, tied=True
    ),
    "gemma4": VlmType(tower="gemma4_vision", text="gemma4_text", tied=True),
    "phi3_v": VlmType(
        tower="clip_vision_model", text="phi3", text_key="", vision_key="img_processor", vision_defaults=_CLIP_LARGE,
        feature_layer=-2,
    ),
    "phi4mm": VlmType(
        tower="siglip_vision_model", text="phi3", text_key="", vision_key="img_processor",
        vision_defaults=_SO400M | {"image_size": 448}, feature_layer=-2,
    ),
    "phi4_multimodal": VlmType(
        tower="siglip_vision_model", text="phi3", text_key="", vision_defaults=_SO400M | {"image_size": 448},
        text_defaults={"vocabulary": 200064, "kv_heads": 8}, feature_layer=-2,
    ),
    "minicpmv": VlmType(
        tower="siglip_vision_model", text="qwen2", text_key="", vision_defaults=_SO400M | {"image_size": 980},
        versions={"4.0": "llama", "4": "llama", "4.5": "qwen3"},
    ),
    "minicpmv4_6": VlmType(
        tower="minicpmv4_6_vision", text="qwen3_5_text",
        traits={"merge_layer": 7},
    ),
    "mllama": VlmType(tower="mllama_vision_model", text="mllama_text_model"),
    "llama4": VlmType(tower="llama4_vision_model", text="llama4_text"),
    "pixtral": VlmType(tower="pixtral", text="mistral"),
    "mistral3": VlmType(tower="pixtral", text="mistral", vision_defaults={"patch": 14, "image_size": 1540}, tied=True),
    "molmo": VlmType(
        tower="clip_vision_model", text="qwen2", text_key="", vision_defaults=_CLIP_LARGE | {"layers": 23},
        traits={"post_norm": False},
    ),
    "molmo2": VlmType(tower="molmo2", text="molmo2_text"),
    "lfm2_vl": VlmType(tower="siglip2_vision_model", text="lfm2", tied=True),
    "perception_lm": VlmType(tower="perception_encoder", text="llama"),
    "ovis2": VlmType(tower="ovis2", text="qwen2", tied=True),
    "ovis2_5": VlmType(
        tower="siglip2_vision_model", text="qwen3", text_key="llm_config", vision_key="vit_config",
        vision_defaults=_SO400M | {"patch": 16, "image_size": 512}, traits={"positions": 1024},
    ),
    "kimi_vl": VlmType(tower="moonvit", text="deepseek_v3"),
    "glm4v": VlmType(tower="glm4v_vision", text="glm4"),
    "glm4v_moe": VlmType(tower="glm4v_vision", text="glm4v_moe_text"),
    "deepseek_vl_v2": VlmType(
        tower="siglip_vision_model", text="deepseek_v2", text_key="language_config",
        vision_defaults=_SO400M | {"image_size": 384},
    ),
    "ernie4_5_vl_moe": VlmType(tower="ernie4_5_vl_moe_vision", text="ernie4_5_moe", tied=True),
    "moondream1": VlmType(
        tower="siglip_vision_model", text="phi", vision_defaults=_SO400M | {"image_size": 378}
    ),
}  # fmt: skip
# Types that are served under another name, or whose shared name hides what they are.
VLM_SYNONYMS: Mapping[str, str] = {
    "internvl_chat_hf": "internvl",
    "llavaonevision1_5": "llava_onevision1_5",
    "ernie4_5_moe_vl": "ernie4_5_vl_moe",
}
