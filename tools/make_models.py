"""Make ``profiles/models/*.toml`` from ``facts/vlms.csv``: each row becomes the config.json it stands for.

What a row does not say (the type's own keys) is here; the structure of a type is read by ``vlmplan.hub_config``, as for
a user's config. Contexts, licences and dates that the facts lack are in ``model_facts.csv``. Run:
``python tools/make_models.py``.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facts import PROFILES, generation, rows
from vlmplan.cost.operator_list import operators
from vlmplan.cost.totals import request_of
from vlmplan.document import to_toml
from vlmplan.hardware.profile import Precision
from vlmplan.models.reading import model_from_config
from vlmplan.models.spec import Engine, ImageRule, ModelSpec, Rule, Workload
from vlmplan.models.tower import ConvolutionStage, Projector, VisionTower
from vlmplan.models.vlm_types import VLM_TYPES

Row = dict[str, str]
Plain = dict[str, Any]
FASTVITHD = [(2, 96, 4, False), (12, 192, 8, False), (24, 384, 16, False), (4, 768, 32, True), (2, 1536, 64, True)]


def whole(row: Row, key: str) -> int:
    """Return a cell that must hold a whole number."""
    return int(row[key])


def text(row: Row) -> Plain:
    """The LLM's dimensions as a config spells them."""
    names = {
        "num_layers": "num_hidden_layers",
        "hidden_size": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "vocab_size": "vocab_size",
        "intermediate_size": "intermediate_size",
        "moe_num_experts": "num_experts",
        "moe_top_k": "num_experts_per_tok",
        "moe_intermediate_size": "moe_intermediate_size",
        "moe_shared_intermediate_size": "shared_expert_intermediate_size",
    }
    found: Plain = {spelling: int(row[name]) for name, spelling in names.items() if row[name]}
    if row["tie_embeddings"]:
        found["tie_word_embeddings"] = row["tie_embeddings"] == "true"
    return found


def vision(row: Row) -> Plain:
    """The tower's dimensions as a config spells them."""
    names = {
        "vision_layers": "num_hidden_layers",
        "vision_hidden": "hidden_size",
        "vision_heads": "num_attention_heads",
        "vision_intermediate": "intermediate_size",
        "vision_patch": "patch_size",
        "vision_image_size": "image_size",
    }
    return {spelling: int(row[name]) for name, spelling in names.items() if row[name]}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a family's rows become configs: the types, and what each table has besides the row's dimensions."""

    kind: str
    text: str | Callable[[Row], str]
    tower: str = ""
    top: Callable[[Row], Plain] = lambda _: {}
    text_more: Callable[[Row], Plain] = lambda _: {}
    vision_more: Callable[[Row], Plain] = lambda _: {}
    context: int | None = None
    vllm: str | None = None


def internvl_llm(row: Row) -> str:
    """InternVL comes on four LLMs."""
    for word, kind in (("InternLM2", "internlm2"), ("InternLM3", "internlm3"), ("gpt-oss", "gpt_oss")):
        if word in row["llm_name"]:
            return kind
    if "Qwen3" in row["llm_name"]:
        return "qwen3_moe" if row["moe_num_experts"] else "qwen3"
    return "qwen2"


def internvit(row: Row) -> Plain:
    """InternViT-6B norms queries and keys, uses RMSNorm and has no bias there; InternViT-300M the other way."""
    large = row["vision_hidden"] == "3200"
    return {"qk_normalization": large, "norm_type": "rms_norm" if large else "layer_norm", "qkv_bias": not large}


# Layers with full attention; the others are short convolutions (configs of the LFM2 models; totals agree exactly).
LFM2_FULL = {16: [2, 5, 8, 10, 12, 14], 30: [2, 5, 9, 13, 17, 21, 25, 28]}
# Towers of Qwen3.5's small models, which the facts leave out: with these the published totals agree exactly.
QWEN35_TOWERS = {
    "Qwen/Qwen3.5-0.8B": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                          "intermediate_size": 3072},
    "Qwen/Qwen3.5-2B": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                        "intermediate_size": 4096},
    "Qwen/Qwen3.5-4B": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                        "intermediate_size": 4096},
}  # fmt: skip
# Value heads of the gated delta nets (the other dimensions are the class's defaults): totals agree exactly.
QWEN35_HEADS = {1024: 16, 2048: 16, 2560: 32, 3072: 64, 4096: 32, 5120: 48}
QWEN35_MOE_HEADS = {2048: 32, 3072: 64, 4096: 64}


def qwen35_text(row: Row) -> Plain:
    """Head counts of the delta nets; the small models tie their head."""
    width = whole(row, "hidden_size")
    if row["moe_num_experts"]:
        return {
            "linear_num_value_heads": QWEN35_MOE_HEADS[width],
            "shared_expert_intermediate_size": whole(row, "moe_intermediate_size"),
        }
    tied = {} if row["tie_embeddings"] else {"tie_word_embeddings": width < 4096}
    return {"linear_num_value_heads": QWEN35_HEADS[width], **tied}


GEMMA4_TEXT: dict[str, Plain] = {
    "google/gemma-4-E2B-it": {"num_kv_shared_layers": 20, "use_double_wide_mlp": True, "sliding_window": 512,
                              "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7},
    "google/gemma-4-E4B-it": {"num_kv_shared_layers": 18, "sliding_window": 512},
    "google/gemma-4-26B-A4B-it": {"num_global_key_value_heads": 2, "attention_k_eq_v": True, "sliding_window": 1024,
                                  "hidden_size_per_layer_input": 0, "enable_moe_block": True},
    "google/gemma-4-31B-it": {"num_global_key_value_heads": 4, "attention_k_eq_v": True, "sliding_window": 1024,
                              "hidden_size_per_layer_input": 0},
}  # fmt: skip
MISTRAL = "--tokenizer-mode mistral"
TRUST = "--trust-remote-code"  # the original checkpoints bring their config class along (vllm issue 9531)
_INTERNVL = Recipe(kind="internvl_chat", text=internvl_llm, vision_more=internvit, context=32768, vllm=TRUST)
_QWEN35 = Recipe(
    kind="qwen3_5",
    text=lambda row: "qwen3_5_moe_text" if row["moe_num_experts"] else "qwen3_5_text",
    text_more=qwen35_text,
    vision_more=lambda row: QWEN35_TOWERS.get(row["hf_id"], {}),
    vllm="",
)
_SMOLVLM = Recipe(
    kind="smolvlm",
    text="llama",
    top=lambda row: {"scale_factor": 4 if row["vision_image_size"] == "512" else 3},
    context=8192,
    vllm="",
)
_PALIGEMMA = Recipe(kind="paligemma", text="gemma", tower="siglip_vision_model", context=8192, vllm="")
_OVIS = Recipe(kind="ovis2", text="qwen2", tower="ovis2")
_MOLMO = Recipe(kind="molmo", text=lambda row: "olmo2" if "OLMo" in row["llm_name"] else "qwen2")
_MOLMO2 = Recipe(
    kind="molmo2",
    text=lambda row: "olmo3" if "OLMo" in row["llm_name"] else "molmo2_text",
    text_more=lambda _: {"additional_vocab_size": 128},
    vision_more=lambda _: {"num_hidden_layers": 25},
    vllm=f"{TRUST} --max-num-batched-tokens 31872",
)
_LFM2 = Recipe(
    kind="lfm2_vl",
    text="lfm2",
    text_more=lambda row: {
        "full_attn_idxs": LFM2_FULL[whole(row, "num_layers")],
        "block_auto_adjust_ff_dim": row["num_layers"] != "30",
    },
    vision_more=lambda row: {"num_hidden_layers": 26} if row["hf_id"] == "LiquidAI/LFM2-VL-1.6B" else {},
    top=lambda row: {"projector_hidden_size": 2048, "projector_use_layernorm": False} if "2.5" in row["family"] else {},
    vllm="",
)  # fmt: skip
_LLAVA = Recipe(kind="llava", text="llama", tower="clip_vision_model", context=4096, vllm="")
RECIPES: dict[str, Recipe] = {
    "LLaVA-Next Qwen1.5 (paper)": Recipe(kind="llava", text="qwen2", tower="clip_vision_model", context=32768),
    "LLaVA-1.5": _LLAVA,
    "LLaVA-NeXT": replace(_LLAVA, kind="llava_next"),
    "LLaVA-NeXT-Interleave": Recipe(
        kind="llava", text="qwen2", tower="siglip_vision_model", vllm="",
        top=lambda _: {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
        vision_more=lambda _: {"num_hidden_layers": 26},
    ),
    "LLaVA-OneVision": Recipe(
        kind="llava_onevision", text="qwen2", tower="siglip_vision_model", context=32768, vllm="",
        vision_more=lambda _: {"num_hidden_layers": 26},
    ),
    "LLaVA-OneVision-1.5": Recipe(
        kind="llava_onevision1_5", text="qwen3", tower="mlcd_vision_model",
    ),
    "Qwen2-VL": Recipe(kind="qwen2_vl", text="qwen2_vl_text", context=32768, vllm=""),
    "Qwen2.5-VL": Recipe(kind="qwen2_5_vl", text="qwen2_5_vl_text", context=128000, vllm=""),
    "Qwen3-VL": Recipe(
        kind="qwen3_vl", text=lambda row: "qwen3_vl_moe_text" if row["moe_num_experts"] else "qwen3_vl_text",
        context=262144, vllm="",
    ),
    "Qwen3.5": _QWEN35,
    "Qwen3.6": _QWEN35,
    "InternVL2.5": replace(_INTERNVL, context=None),
    "InternVL3": _INTERNVL,
    "InternVL3.5": replace(_INTERNVL, context=40960),
    "SmolVLM": _SMOLVLM,
    "SmolVLM2": replace(_SMOLVLM, context=None),
    "Idefics3": Recipe(kind="idefics3", text="llama", top=lambda _: {"scale_factor": 2}, vllm=""),
    "Idefics2": Recipe(kind="idefics2", text="mistral"),
    "PaliGemma": _PALIGEMMA,
    "PaliGemma 2": replace(_PALIGEMMA, text="gemma2"),
    "Gemma 3": Recipe(
        kind="gemma3", text="gemma3_text", tower="siglip_vision_model", text_more=lambda _: {"sliding_window": 1024},
        context=131072, vllm="",
    ),
    "Gemma 4": Recipe(
        kind="gemma4", text="gemma4_text", text_more=lambda row: GEMMA4_TEXT[row["hf_id"]],
        vision_more=lambda row: {"head_dim": whole(row, "vision_hidden") // whole(row, "vision_heads")}, vllm="",
    ),
    "Phi-3.5-vision": Recipe(kind="phi3_v", text="phi3", tower="clip_vision_model"),
    "Phi-4-multimodal": Recipe(kind="phi4mm", text="phi3", vllm=TRUST),
    "MiniCPM-V": Recipe(
        kind="minicpmv", vllm=TRUST,
        text=lambda row: {"Qwen2-7B": "qwen2", "Qwen3-8B": "qwen3", "MiniCPM4-3B": "llama"}.get(
            row["llm_name"], "qwen3_5_text"),
    ),
    "Moondream": Recipe(kind="moondream1", text="phi"),
    "Llama 3.2 Vision": Recipe(kind="mllama", text="mllama_text_model"),
    "Llama 4": Recipe(kind="llama4", text="llama4_text", vllm=""),
    "Pixtral": Recipe(kind="pixtral", text="mistral", vllm=MISTRAL),
    "Mistral Small 3.1": Recipe(kind="mistral3", text="mistral", vllm=MISTRAL),
    "Molmo": _MOLMO,
    "Molmo2": _MOLMO2,
    "LFM2-VL": _LFM2,
    "LFM2.5-VL": _LFM2,
    "Perception LM": Recipe(
        kind="perception_lm", text="llama",
        vision_more=lambda row: {"init_values": 0.1} if row["vision_hidden"] == "1024" else {},
    ),
    "Ovis2": _OVIS,
    "Ovis2.5": Recipe(kind="ovis2_5", text="qwen3", vllm=TRUST),
    "Kimi-VL": Recipe(
        kind="kimi_vl", text="deepseek_v3", text_more=lambda _: {"q_lora_rank": None, "first_k_dense_replace": 1,
                                                                 "n_shared_experts": 2},
        vllm=TRUST,
    ),
    "GLM-4V": Recipe(
        kind="glm4v", text=lambda row: "glm4v_moe_text" if row["moe_num_experts"] else "glm4v_text", vllm="",
    ),
    "DeepSeek-VL2": Recipe(
        kind="deepseek_vl_v2", text="deepseek_v2", text_more=lambda _: {"q_lora_rank": None,
                                                                        "first_k_dense_replace": 1},
    ),
    "ERNIE-4.5-VL": Recipe(
        kind="ernie4_5_vl_moe", text="ernie4_5_moe", text_more=lambda _: {"moe_intermediate_size": [1536, 512]},
        vllm="",
    ),
    "FastVLM": Recipe(kind="llava", text="qwen2", context=32768),
}  # fmt: skip
# Rows whose dimensions are not complete, and why.
LEFT_OUT = {
    "google/gemma-3n-E2B-it": "no dimensions in the facts",
    "google/gemma-3n-E4B-it": "MobileNet-V5's dimensions are not in the facts",
    "moondream/moondream3-preview": "no dimensions in the facts",
    "meta-llama/Llama-3.2-90B-Vision-Instruct": "the LLM's dimensions are not in the facts",
    "AIDC-AI/Ovis2-34B": "the tower's dimensions are not in the facts",
    "deepseek-ai/deepseek-vl2-tiny": "the LLM's dimensions are not in the facts",
    "deepseek-ai/deepseek-vl2-small": "the LLM's dimensions are not in the facts",
    "XiaomiMiMo/MiMo-VL-7B-RL": "the LLM's dimensions are not in the facts",
    "stepfun-ai/Step3-VL-10B": "the tower's dimensions are not in the facts",
    "ibm-granite/granite-4.0-3b-vision": "the tower's dimensions are not in the facts",
}
# What a published total holds beside what an image and a question run: (loaded, not loaded, what). Audio towers and
# adapters are counted in transformers' own classes.
BESIDE: dict[str, tuple[int, int, str]] = {
    "google/gemma-4-E2B-it": (307_183_904, 0, "audio tower"),
    "google/gemma-4-E4B-it": (308_756_768, 0, "audio tower"),
    "google/gemma-4-26B-A4B-it": (0, 738_197_504, "the tied head, stored a second time"),
    "google/gemma-4-31B-it": (0, 1_409_286_144, "the tied head, stored a second time"),
    "microsoft/Phi-4-multimodal-instruct": (
        1_312_126_960,
        0,
        "audio tower, adapters for vision and speech, unused head",
    ),
    "vikhyatk/moondream2": (60_317_312, 0, "heads for points and boxes"),
}
# Answers after thoughts, and is scored so (its report, arXiv 2507.01006); the others say so in their names.
THINKING = {"zai-org/GLM-4.5V"}
# LLMs that vLLM refuses in fp16 for numerical instability (vllm/config/model.py: gemma2, gemma3).
UNSTABLE_IN_FP16 = {"Gemma 3", "PaliGemma 2"}
SHARED_KV = {"google/gemma-4-E2B-it": 18_874_368, "google/gemma-4-E4B-it": 55_050_240}


def multi_token(model: ModelSpec) -> int:
    """Parameters of the layer that predicts a second token: full attention behind a 2h -> h matrix (Qwen3.5)."""
    llm, hidden = model.llm, model.llm.hidden
    attention = hidden * llm.head_dim * (3 * llm.heads + 2 * llm.kv_heads) + 2 * llm.head_dim
    mlp = 3 * hidden * llm.intermediate
    if llm.experts:
        mlp = 3 * hidden * llm.expert_intermediate * llm.experts + hidden * llm.experts
        mlp += 3 * hidden * llm.shared_expert_intermediate + hidden
    return attention + mlp + 2 * hidden * hidden + 5 * hidden


def bare(tower: Plain, _: Row) -> Plain:
    """A tower at the image's own size."""
    return {key: value for key, value in tower.items() if key != "image_size"}


def qwen2_tower(tower: Plain, row: Row) -> Plain:
    """Qwen2-VL's ``hidden_size`` is the LLM's."""
    found = bare(tower, row)
    return {**found, "embed_dim": found.pop("hidden_size")}


def glm_tower(tower: Plain, row: Row) -> Plain:
    """GLM-4V's ``intermediate_size`` is the merger's."""
    return {**tower, "intermediate_size": 10944 if row["moe_num_experts"] else 13696}


def perception_tower(tower: Plain, _: Row) -> Plain:
    """Perception LM's tower is spelled as timm does."""
    return {"model_args": {**tower, "embed_dim": tower["hidden_size"]}}


# How a type's vision table differs from the row's.
TOWERS: dict[str, Callable[[Plain, Row], Plain]] = {
    "qwen2_vl": qwen2_tower,
    "qwen2_5_vl": bare,
    "llava_onevision1_5": bare,
    "kimi_vl": bare,
    "ernie4_5_vl_moe": bare,
    "glm4v": glm_tower,
    "glm4v_moe": glm_tower,
    "mllama": lambda tower, _: {**tower, "num_hidden_layers": 32, "num_global_layers": 8},
    "perception_lm": perception_tower,
    "ovis2": lambda tower, _: {**tower, "vocab_size": 65536},
    "ovis2_5": lambda tower, _: {**tower, "vocab_size": 65536},
}
# What stands at a config's top beside its tables: widths of Molmo's pooling MLPs, scales, LFM2's projector.
MOLMO_WIDTHS = {"allenai/Molmo-7B-D-0924": 18944, "allenai/Molmo-7B-O-0924": 11008, "allenai/MolmoE-1B-0924": 8192,
                "allenai/Molmo-72B-0924": 29568, "allenai/Molmo2-8B": 12288, "allenai/Molmo2-4B": 9728,
                "allenai/Molmo2-O-7B": 11008}  # fmt: skip
MINICPM_46 = Recipe(
    kind="minicpmv4_6",
    text="qwen3_5_text",
    text_more=lambda _: {"linear_num_value_heads": 16, "tie_word_embeddings": True},
    vision_more=lambda _: {"image_size": 980},
    vllm="",
)


def recipe_of(row: Row) -> Recipe:
    """The recipe of a row: its family's, but for the one model that is built otherwise."""
    return MINICPM_46 if row["hf_id"] == "openbmb/MiniCPM-V-4.6" else RECIPES[row["family"]]


def config_of(row: Row) -> Plain:
    """The config.json that a row stands for."""
    recipe = recipe_of(row)
    kind = recipe.kind
    named = recipe.text if isinstance(recipe.text, str) else recipe.text(row)
    if named.endswith("moe_text"):
        kind = f"{kind}_moe"
    inner = {"model_type": named, **text(row), **recipe.text_more(row)}
    tower = {**vision(row), **recipe.vision_more(row)}
    tower = TOWERS[kind](tower, row) if kind in TOWERS else tower
    if recipe.tower:
        tower["model_type"] = recipe.tower
    top = {"model_type": kind, **recipe.top(row)}
    if row["hf_id"] in MOLMO_WIDTHS:
        top["adapter_config"] = {"intermediate_size": MOLMO_WIDTHS[row["hf_id"]]}
    known = VLM_TYPES[kind]
    return {**top, known.text_key or "text_config": inner, known.vision_key: tower}


def fastvlm(model: ModelSpec) -> ModelSpec:
    """FastVLM's tower is FastViTHD (five stages, 64-fold downsampling) at 1024 px."""
    stages = tuple(ConvolutionStage(blocks=b, channels=c, stride=s, attention=a) for b, c, s, a in FASTVITHD)
    width = model.llm.hidden
    image = ImageRule(
        rule=Rule.FIXED, view_size=1024, tokens_per_view=256, trained_min_visual_tokens=256,
        trained_max_visual_tokens=256, setting="none",
    )  # fmt: skip
    return replace(
        model,
        architecture="fastvlm",
        exportable=False,
        vision=VisionTower(stages=stages, patch=64, image_size=1024),
        projector=Projector(widths=(3072, width, width)),
        image=image,
    )


def paper(model: ModelSpec) -> ModelSpec:
    """A backbone of arXiv 2411.03312: CLIP-L/14-336 and TokenPacker to any square dividing the 24 x 24 grid."""
    tokens = (1, 4, 9, 16, 36, 64, 144, 576)
    image = ImageRule(
        rule=Rule.COMPRESSED, view_size=336, tokens_per_view=576, trained_min_visual_tokens=1,
        trained_max_visual_tokens=576, allowed_visual_tokens=tokens, setting="train with TokenPacker for this number",
    )  # fmt: skip
    nominal = float(model.name.rsplit("-", 1)[1].removesuffix("B"))
    return replace(model, architecture="qwen1.5-paper", exportable=False, image=image, nominal_llm_params_b=nominal)


def more_facts() -> dict[str, Row]:
    """Contexts, licences and dates with their sources."""
    with (Path(__file__).parent / "model_facts.csv").open(encoding="utf-8", newline="") as file:
        return {row["hf_id"]: row for row in csv.DictReader(file)}


def sources(row: Row, known: Row, exact: bool) -> tuple[str, ...]:
    """Where a model's figures come from."""
    return tuple(
        found
        for found in (
            row["llm_config_source"],
            "the tower: that with which the published total agrees to the last parameter"
            if row["hf_id"] in QWEN35_TOWERS
            else row["vision_config_source"],
            f"context, licence, date: {known['source']}" if known else "",
            f"parameters: {row['total_params_source']}" if exact else "",
            "settings: tools/engine_settings.csv",
        )
        if found
    )


def model(row: Row, known: Row) -> ModelSpec:
    """Build one model from its row."""
    recipe, name = recipe_of(row), row["hf_id"]
    found = model_from_config(config_of(row), name, name)
    if row["family"] == "FastVLM":
        found = fastvlm(found)
    elif recipe.text == "qwen2" and row["family"].endswith("(paper)"):
        found = paper(found)
    exact = row["total_params_precision"] == "exact"
    context = {"llava-hf/llava-v1.6-mistral-7b-hf": 32768, "HuggingFaceTB/SmolVLM-Instruct": 16384}.get(
        name, recipe.context
    )
    if known and known["max_context_tokens"]:
        context = int(known["max_context_tokens"])
    idle, stored, beside = BESIDE.get(name, (0, 0, ""))
    if name in SHARED_KV:
        stored, beside = stored + SHARED_KV[name], f"{beside}, keys and values that shared layers do not use"
    if recipe is _QWEN35:
        stored, beside = multi_token(found), "a layer that predicts a second token"
    if name == "moonshotai/Kimi-VL-A3B-Thinking-2506" and found.image:  # four times the patches of its siblings
        found = replace(found, image=replace(found.image, trained_max_visual_tokens=whole(row, "max_visual_tokens")))
    return replace(
        found,
        family=generation(row),
        llm=replace(found.llm, max_context_tokens=context),
        published_params=int(row["total_params"]) if exact else None,
        idle_params=idle,
        stored_params=stored,
        beside=beside or None,
        pretrained="-pt-" in name,
        thinks="Thinking" in name or name in THINKING,
        fp16=row["family"] not in UNSTABLE_IN_FP16,
        serving={} if recipe.vllm is None else {Engine.VLLM: recipe.vllm},
        license=row["license"] or known.get("license") or None,
        release_date=row["release_date"] or known.get("release_date") or None,
        sources=sources(row, known, exact),
    )


def params(found: ModelSpec) -> int:
    """All parameters of a model."""
    request = request_of(found, Workload(text_tokens=1), 0, Precision.BF16)
    return sum(op.params for op in operators(request))


def main() -> None:
    """Write every model with complete dimensions, and print what of each published total is unexplained."""
    folder, known, unexplained, made = PROFILES / "models", more_facts(), [], {}
    for row in rows("vlms.csv"):
        if row["hf_id"] in LEFT_OUT:
            print(f"left out: {row['hf_id']}: {LEFT_OUT[row['hf_id']]}")
            continue
        found = model(row, known.get(row["hf_id"], {}))
        made[folder / f"{row['hf_id'].replace('/', '--')}.toml"] = to_toml(found)
        if found.published_params:
            rest = found.published_params - found.stored_params - params(found)
            unexplained.append((abs(rest) / found.published_params, rest, found.name))
    for path in {*folder.glob("*.toml")} - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    for share, rest, name in sorted(unexplained, reverse=True):
        if rest:
            print(f"{name}: {rest} parameters unexplained ({share:.3%})")
    print(f"{len(made)} models in {folder}; {len(unexplained)} with an exact total")


if __name__ == "__main__":
    main()
