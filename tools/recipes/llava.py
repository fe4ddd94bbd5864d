"""How rows of the facts become configs of llava: what no row says, and what each total holds besides."""

from dataclasses import replace

from recipe import Recipe, Row, bare

from vlmplan.models.spec import ImageRule, ModelSpec, Rule
from vlmplan.models.tower import ConvolutionStage, Projector, VisionTower

_FASTVITHD = [(2, 96, 4, False), (12, 192, 8, False), (24, 384, 16, False), (4, 768, 32, True), (2, 1536, 64, True)]


def _fastvlm(model: ModelSpec, _: Row) -> ModelSpec:
    """FastVLM's tower is FastViTHD (five stages, 64-fold downsampling) at 1024 px."""
    stages = tuple(ConvolutionStage(blocks=b, channels=c, stride=s, attention=a) for b, c, s, a in _FASTVITHD)
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


def _paper(model: ModelSpec, _: Row) -> ModelSpec:
    """A backbone of arXiv 2411.03312: CLIP-L/14-336 and TokenPacker to any square dividing the 24 x 24 grid."""
    tokens = (1, 4, 9, 16, 36, 64, 144, 576)
    image = ImageRule(
        rule=Rule.COMPRESSED, view_size=336, tokens_per_view=576, trained_min_visual_tokens=1,
        trained_max_visual_tokens=576, allowed_visual_tokens=tokens, setting="train with TokenPacker for this number",
    )  # fmt: skip
    nominal = float(model.name.rsplit("-", 1)[1].removesuffix("B"))
    return replace(model, architecture="qwen1.5-paper", exportable=False, image=image, nominal_llm_params_b=nominal)


_LLAVA = Recipe(kind="llava", text="llama", tower="clip_vision_model", context=4096, vllm="")
RECIPES = {
    "LLaVA-Next Qwen1.5 (paper)": Recipe(
        kind="llava", text="qwen2", tower="clip_vision_model", context=32768, finish=_paper
    ),
    "LLaVA-1.5": _LLAVA,
    "LLaVA-NeXT": replace(_LLAVA, kind="llava_next", contexts={"llava-hf/llava-v1.6-mistral-7b-hf": 32768}),
    "LLaVA-NeXT-Interleave": Recipe(
        kind="llava",
        text="qwen2",
        tower="siglip_vision_model",
        vllm="",
        top=lambda _: {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
        vision_more=lambda _: {"num_hidden_layers": 26, "vision_use_head": False},
    ),
    "LLaVA-OneVision": Recipe(
        kind="llava_onevision",
        text="qwen2",
        tower="siglip_vision_model",
        context=32768,
        vllm="",
        vision_more=lambda _: {"num_hidden_layers": 26},
    ),
    "LLaVA-OneVision-1.5": Recipe(kind="llava_onevision1_5", text="qwen3", tower="mlcd_vision_model", table=bare),
    "FastVLM": Recipe(kind="llava", text="qwen2", context=32768, finish=_fastvlm),
}
