"""Which vision-language types are read, and what of them is not in their nested tables?

``model_type`` -> default tower and text types, where those tables stand, and what more the type has. Projectors are in
``hub_projectors.py``, image rules in ``hub_images.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlmplan.models.text_types import QWEN2_VL_TEXT, Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmType:
    """``tower`` and ``text`` are the types meant where the nested table names none (or one that is not known).

    ``vision_defaults`` and ``text_defaults`` are dimensions, ``traits`` what the tower has beyond its own type.
    ``text_key`` and ``vision_key`` name the nested tables; a type without ``text_key`` has its text fields at the top,
    of a type that may follow from ``versions``. ``tied`` is whether the head is tied where no table says so. With
    ``newline`` a vector of the LLM's width ends each row of patches. ``classes`` are the names in ``architectures``
    that mean this type, less what they end in, and ``towers`` further names that checkpoints give their tower
    (``tower_names`` as a ``model_name``). Any other is a model of its own that borrows the type.
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
    newline: bool = False
    exportable: bool = False
    classes: tuple[str, ...] = ()
    towers: tuple[str, ...] = ()
    tower_names: tuple[str, ...] = ()


_CLIP_LARGE = {"layers": 24, "hidden": 1024, "heads": 16, "intermediate": 4096, "patch": 14, "image_size": 336}
_SO400M = {"layers": 27, "hidden": 1152, "heads": 16, "intermediate": 4304, "patch": 14}
VLM_TYPES: dict[str, VlmType] = {
    "llava": VlmType(
        tower="clip_vision_model",
        text="llama",
        vision_defaults=_CLIP_LARGE,
        feature_layer=-2,
        exportable=True,
        classes=("Llava",),
    ),
    "llava_next": VlmType(
        tower="clip_vision_model",
        text="llama",
        vision_defaults=_CLIP_LARGE,
        feature_layer=-2,
        exportable=True,
        newline=True,
        classes=("LlavaNext",),
    ),
    "llava_onevision": VlmType(
        tower="siglip_vision_model",
        text="qwen2",
        vision_defaults=_SO400M | {"layers": 26, "image_size": 384},
        exportable=True,
        newline=True,
        classes=("LlavaOnevision",),
    ),
    "llava_onevision1_5": VlmType(
        tower="mlcd_vision_model",
        text="qwen3",
        traits={"post_norm": False},
        classes=("LLaVAOneVision1_5_", "LLaVAOneVision1_5"),
        towers=("rice_vit",),
    ),
    "qwen2_vl": VlmType(
        tower="qwen2_vl", text="qwen2", text_defaults=QWEN2_VL_TEXT, classes=("Qwen2VL",), towers=("qwen2_vl_vision",)
    ),
    "qwen2_5_vl": VlmType(
        tower="qwen2_5_vl",
        text="qwen2",
        text_defaults=QWEN2_VL_TEXT,
        classes=("Qwen2_5_VL",),
        towers=("qwen2_5_vl_vision",),
    ),
    "qwen3_vl": VlmType(
        tower="qwen3_vl",
        text="qwen3",
        text_defaults={"hidden": 4096, "kv_heads": 32},
        classes=("Qwen3VL",),
        towers=("qwen3_vl_vision",),
    ),
    "qwen3_vl_moe": VlmType(
        tower="qwen3_vl",
        text="qwen3_moe",
        text_defaults={"experts": 60, "experts_per_token": 4},
        classes=("Qwen3VLMoe",),
        towers=("qwen3_vl_moe", "qwen3_vl_moe_vision"),
    ),
    "qwen3_5": VlmType(
        tower="qwen3_vl", text="qwen3_5_text", classes=("Qwen3_5",), towers=("qwen3_5", "qwen3_5_vision")
    ),
    "qwen3_5_moe": VlmType(
        tower="qwen3_vl", text="qwen3_5_moe_text", classes=("Qwen3_5Moe",), towers=("qwen3_5_moe", "qwen3_5_moe_vision")
    ),
    "internvl_chat": VlmType(
        tower="internvl_vision",
        text="internlm2",
        text_key="llm_config",
        classes=("InternVLChat",),
        towers=("intern_vit_6b", "intern_vit_300m"),
    ),
    "internvl": VlmType(tower="internvl_vision", text="qwen2", tied=True, classes=("InternVL",)),
    "smolvlm": VlmType(tower="smolvlm_vision", text="llama", tied=True, classes=("SmolVLM",), towers=("smolvlm",)),
    "idefics3": VlmType(tower="idefics3_vision", text="llama", tied=True, classes=("Idefics3",), towers=("idefics3",)),
    "idefics2": VlmType(tower="idefics2", text="mistral", classes=("Idefics2",), towers=("idefics2_vision",)),
    "paligemma": VlmType(
        tower="siglip_vision_model",
        text="gemma",
        vision_defaults=_SO400M | {"image_size": 224},
        tied=True,
        classes=("PaliGemma",),
    ),
    "gemma3": VlmType(
        tower="siglip_vision_model",
        text="gemma3_text",
        vision_defaults=_SO400M | {"image_size": 896},
        tied=True,
        classes=("Gemma3",),
    ),
    "gemma4": VlmType(tower="gemma4_vision", text="gemma4_text", tied=True, classes=("Gemma4",)),
    "phi3_v": VlmType(
        tower="clip_vision_model",
        text="phi3",
        text_key="",
        vision_key="img_processor",
        vision_defaults=_CLIP_LARGE,
        feature_layer=-2,
        classes=("Phi3V",),
    ),
    "phi4mm": VlmType(
        tower="siglip_vision_model",
        text="phi3",
        text_key="",
        vision_key="img_processor",
        vision_defaults=_SO400M | {"image_size": 448},
        feature_layer=-2,
        classes=("Phi4MM",),
    ),
    "phi4_multimodal": VlmType(
        tower="siglip_vision_model",
        text="phi3",
        text_key="",
        vision_defaults=_SO400M | {"image_size": 448},
        text_defaults={"vocabulary": 200064, "kv_heads": 8},
        feature_layer=-2,
        classes=("Phi4Multimodal",),
        towers=("phi4_multimodal_vision",),
    ),
    "minicpmv": VlmType(
        tower="siglip_vision_model",
        text="qwen2",
        text_key="",
        vision_defaults=_SO400M | {"image_size": 980},
        versions={"2.0": "llama", "2": "llama", "2.5": "llama", "4.0": "llama", "4": "llama", "4.5": "qwen3"},
        classes=("MiniCPMV",),
        towers=("siglip",),
    ),
    "minicpmv4_6": VlmType(
        tower="minicpmv4_6_vision", text="qwen3_5_text", traits={"merge_layer": 7}, classes=("MiniCPMV4_6",)
    ),
    "mllama": VlmType(tower="mllama_vision_model", text="mllama_text_model", classes=("Mllama",)),
    "llama4": VlmType(tower="llama4_vision_model", text="llama4_text", classes=("Llama4",)),
    "pixtral": VlmType(tower="pixtral", text="mistral", classes=("Pixtral",)),
    "mistral3": VlmType(
        tower="pixtral",
        text="mistral",
        vision_defaults={"patch": 14, "image_size": 1540},
        tied=True,
        classes=("Mistral3",),
    ),
    "lighton_ocr": VlmType(
        tower="pixtral",
        text="qwen3",
        vision_defaults={"patch": 14, "image_size": 1540},
        tied=True,
        classes=("LightOnOcr", "LightOnOCR"),
    ),
    "molmo": VlmType(
        tower="clip_vision_model",
        text="qwen2",
        text_key="",
        vision_defaults=_CLIP_LARGE | {"layers": 23},
        traits={"post_norm": False},
        classes=("Molmo",),
    ),
    "molmo2": VlmType(tower="molmo2", text="molmo2_text", classes=("Molmo2",), towers=("molmo2_vision",)),
    "lfm2_vl": VlmType(tower="siglip2_vision_model", text="lfm2", tied=True, classes=("Lfm2Vl",)),
    "perception_lm": VlmType(
        tower="perception_encoder", text="llama", classes=("PerceptionLM",), towers=("timm_wrapper",)
    ),
    "ovis2": VlmType(tower="ovis2", text="qwen2", tied=True, classes=("Ovis2",), towers=("ovis2_vision",)),
    "ovis2_5": VlmType(
        tower="siglip2_vision_model",
        text="qwen3",
        text_key="llm_config",
        vision_key="vit_config",
        vision_defaults=_SO400M | {"patch": 16, "image_size": 512},
        traits={"positions": 1024},
        classes=("Ovis2_5",),
        towers=("siglip2_navit",),
    ),
    "kimi_vl": VlmType(tower="moonvit", text="deepseek_v3", classes=("KimiVL",)),
    "glm4v": VlmType(tower="glm4v_vision", text="glm4", classes=("Glm4v",)),
    "glm4v_moe": VlmType(
        tower="glm4v_vision", text="glm4v_moe_text", classes=("Glm4vMoe",), towers=("glm4v_moe_vision",)
    ),
    "deepseek_vl_v2": VlmType(
        tower="siglip_vision_model",
        text="deepseek_v2",
        text_key="language_config",
        vision_defaults=_SO400M | {"image_size": 384},
        classes=("DeepseekVLV2",),
        towers=("vision",),
        tower_names=("siglip_so400m_patch14_384",),
    ),
    "ernie4_5_vl_moe": VlmType(
        tower="ernie4_5_vl_moe_vision",
        text="ernie4_5_moe",
        tied=True,
        classes=("Ernie4_5_VLMoe",),
        towers=("DFNRope_vision_transformer",),
    ),
    "moondream1": VlmType(
        tower="siglip_vision_model", text="phi", vision_defaults=_SO400M | {"image_size": 378}, classes=("Moondream",)
    ),
}
# Types that are served under another name, or whose shared name hides what they are.
VLM_SYNONYMS: Mapping[str, str] = {
    "internvl_chat_hf": "internvl",
    "llavaonevision1_5": "llava_onevision1_5",
    "ernie4_5_moe_vl": "ernie4_5_vl_moe",
}
# Models that borrow another's type, by their class: read as the type that they are.
BORROWED: Mapping[str, str] = {"LightOnOCR": "lighton_ocr", "LightOnOcr": "lighton_ocr"}
