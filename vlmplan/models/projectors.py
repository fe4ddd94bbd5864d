"""What stands between tower and LLM in each vision-language type? Its projector, by ``model_type``.

(config, tower, LLM width) -> Projector, as the type's class in transformers builds it, or the code published with the
checkpoint. ``v`` is the tower's width and ``h`` the LLM's throughout.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.keys import MOST_MERGED, count_of, downsampling, merge_side, nested, switch
from vlmplan.models.text_types import Plain
from vlmplan.models.tower import Projector, Resampler, VisionTower

Made = Callable[[Plain, VisionTower, int], Projector]


def _mlp(config: Plain, tower: VisionTower, h: int) -> Projector:
    """LLaVA, LLaVA-NeXT, OneVision: two layers over every patch, of as many of the tower's layers as are listed."""
    features = config.get("vision_feature_layer")
    joined = len(features) if isinstance(features, list) else 1
    bias = switch(config, "multimodal_projector_bias", default=True)
    return Projector(widths=(joined * tower.output_width, h, h), bias=bias)


def _merger(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Qwen2-VL and its successors: squares of patches are joined, a norm and two layers."""
    merge = merge_side(config)
    joined = tower.hidden * merge**2
    norm = tower.hidden * (2 if tower.norm_bias else 1)
    return Projector(widths=(joined, joined, h), merge=merge**2, norm_params=norm)


def _deepstack(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Qwen3-VL: a merger for the sequence and one for each of the LLM's layers that get features of earlier ones."""
    plain, v = _merger(config, tower, h), tower.hidden
    stacked = nested(config, "vision_config").get("deepstack_visual_indexes")
    stacked = (5, 11, 17) if stacked is None else stacked
    if not isinstance(stacked, list | tuple) or not all(type(i) is int and 0 <= i < tower.layers for i in stacked):
        raise InputError(
            f"vision_config.deepstack_visual_indexes: expected a list of layers below {tower.layers}, "
            f"found {stacked!r:.40}"
        )
    more = len(stacked)
    return Projector(
        widths=plain.widths,
        merge=plain.merge,
        copies=1 + more,
        norm_params=2 * v + more * 2 * plain.merge * v,
    )


def _shuffled(config: Plain, tower: VisionTower, h: int) -> Projector:
    """InternVL: pixel unshuffle, a norm, two layers."""
    side = downsampling(config)
    joined = tower.hidden * side**2
    return Projector(widths=(joined, h, h), merge=side**2, norm_params=2 * joined)


def _scaled(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Idefics3 and SmolVLM: pixel shuffle and one layer."""
    merge = count_of(config, "scale_factor", 2, MOST_MERGED) ** 2
    return Projector(widths=(merge * tower.hidden, h), bias=False, merge=merge)


def _perceived(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Idefics2: a gated MLP over every patch, then latents that read them layer by layer."""
    own = nested(config, "perceiver_config")
    head_dim, layers = count_of(own, "resampler_head_dim", 96), count_of(own, "resampler_depth", 3)
    latents = count_of(own, "resampler_n_latents", 64)
    resampler = Resampler(
        queries=latents,
        layers=layers,
        input_width=h,
        query_width=h,
        attention_width=count_of(own, "resampler_n_heads", 16) * head_dim,
        kv_width=count_of(own, "num_key_value_heads", 4) * head_dim,
        output_width=h,
        intermediate=4 * h,
        last=True,
    )
    return Projector(
        widths=(tower.hidden,),
        gated_intermediate=count_of(nested(config, "text_config"), "intermediate_size", 14336),
        gated_output=h,
        resampler=resampler,
        norm_params=(3 * layers + 1) * h,
        extra_params=latents * h,
    )


def _queried(config: Plain, __: VisionTower, h: int) -> Projector:
    """MiniCPM-V: 64 queries a slice (2.5: 96) attend to its patches once; a matrix."""
    queries = count_of(config, "query_num", 64)
    resampler = Resampler(
        queries=queries, input_width=h, query_width=h, attention_width=h, kv_width=h, output_width=h, projected=True,
        bias=True,
    )  # fmt: skip
    return Projector(widths=(h, h), bias=False, resampler=resampler, norm_params=6 * h, extra_params=queries * h)


def _twice_merged(_: Plain, tower: VisionTower, h: int) -> Projector:
    """MiniCPM-V 4.6: a second merge of four, behind the tower's own."""
    joined = 4 * tower.hidden
    return Projector(widths=(joined, joined, h), merge=4, norm_params=2 * joined)


def _pooled(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Gemma 3: patches averaged to 256 tokens, a norm, a matrix."""
    tokens = count_of(config, "mm_tokens_per_image", 256)
    patches = max(1, (tower.image_size or 896) // tower.patch) ** 2
    merge = max(1, patches // tokens)
    return Projector(widths=(tower.hidden, h), bias=False, merge=merge, norm_params=tower.hidden)


def _gated_merger(config: Plain, tower: VisionTower, h: int) -> Projector:
    """GLM-4V: a strided convolution joins four patches; a layer without bias, a norm, a gated MLP."""
    vision = nested(config, "vision_config")
    return Projector(
        widths=(4 * tower.hidden, h, h), merge=4, gated_intermediate=count_of(vision, "intermediate_size", 13696),
        gated_output=h, norm_params=2 * h - h,  # the second of ``widths`` has no bias
    )  # fmt: skip


def _patch_merger(_: Plain, tower: VisionTower, h: int) -> Projector:
    """Mistral Small 3.1: a norm, four patches to one by a matrix, two layers."""
    v = tower.hidden
    return Projector(widths=(4 * v, v, h, h), bias=False, merge=4, norm_params=v)


def _attention_pooled(v_levels: int) -> Made:
    """Molmo: each token attends to its four patches, of two of the tower's layers; a gated MLP."""

    def made(config: Plain, tower: VisionTower, h: int) -> Projector:
        v, wide = tower.hidden, v_levels * tower.hidden
        resampler = Resampler(
            queries=1, input_width=wide, query_width=wide, attention_width=v, kv_width=v, output_width=v, region=4,
            bias=True,
        )  # fmt: skip
        width = count_of(nested(config, "adapter_config"), "intermediate_size", 18944)
        return Projector(widths=(v,), gated_intermediate=width, gated_output=h, resampler=resampler)

    return made


def _tokenised(words: int) -> Made:
    """Ovis: patches become shares of a visual vocabulary, and those its embeddings."""

    def made(config: Plain, tower: VisionTower, h: int) -> Projector:
        table = count_of(nested(config, "vision_config"), "vocab_size", 65536)
        entries = table - words
        return Projector(
            widths=(4 * tower.hidden, entries, h), bias=False, merge=4, norm_params=2 * entries, extra_params=words * h
        )

    return made


def _resampled(_: Plain, tower: VisionTower, h: int) -> Projector:
    """ERNIE-4.5-VL: four patches joined, two layers in space and two in time, a matrix and two norms."""
    joined = 4 * tower.hidden
    return Projector(
        widths=(joined, joined, joined, joined, joined, h), merge=4, norm_params=4 * joined + h,
        extra_params=joined * joined,
    )  # fmt: skip


def _built(**fields: Any) -> Made:
    """A projector whose widths are multiples: ``widths`` as (factor, "v" or "h") or plain numbers."""
    pattern = fields.pop("widths")
    norm = fields.pop("norm", 0)

    def made(_: Plain, tower: VisionTower, h: int) -> Projector:
        base = {"v": tower.output_width, "h": h}
        widths = tuple(one if isinstance(one, int) else one[0] * base[one[1]] for one in pattern)
        return Projector(widths=widths, norm_params=norm * tower.output_width, **fields)

    return made


def _lfm2(config: Plain, tower: VisionTower, h: int) -> Projector:
    """LFM2-VL: pixel unshuffle, perhaps a norm, two layers."""
    joined, inner = 4 * tower.hidden, count_of(config, "projector_hidden_size", 2560)
    norm = 2 * joined if switch(config, "projector_use_layernorm", default=True) else 0
    return Projector(widths=(joined, inner, h), merge=4, norm_params=norm)


_V, _H = (1, "v"), (1, "h")
PROJECTORS: Mapping[str, Made] = {
    "llava": _mlp,
    "llava_next": _mlp,
    "llava_onevision": _mlp,
    "llava_onevision1_5": _merger,
    "qwen2_vl": _merger,
    "qwen2_5_vl": _merger,
    "qwen3_vl": _deepstack,
    "qwen3_vl_moe": _deepstack,
    "qwen3_5": _merger,
    "qwen3_5_moe": _merger,
    "internvl_chat": _shuffled,
    "internvl": _shuffled,
    "smolvlm": _scaled,
    "idefics3": _scaled,
    "idefics2": _perceived,
    "paligemma": _built(widths=(_V, _H)),
    "gemma3": _pooled,
    "gemma4": _built(widths=(_V, _H), bias=False, merge=9),
    "phi3_v": _built(widths=((4, "v"), _H, _H), merge=4, extra_params=2 * 4096),
    "phi4mm": _built(widths=(_V, _H, _H), merge=4, extra_params=2 * 1152),
    "phi4_multimodal": _built(widths=(_V, _H, _H), merge=4, extra_params=2 * 1152),
    "minicpmv": _queried,
    "minicpmv4_6": _twice_merged,
    "mllama": _built(widths=((6, "v"), _H)),
    "llama4": _built(widths=((4, "v"), 4096, 4096, _H), bias=False, merge=4),
    "pixtral": _mlp,
    "mistral3": _patch_merger,
    "lighton_ocr": _patch_merger,
    "molmo": _attention_pooled(2),
    "molmo2": _attention_pooled(2),
    "lfm2_vl": _lfm2,
    "perception_lm": _built(widths=(_V, _H, _H), merge=4),
    "ovis2": _tokenised(5),
    "ovis2_5": _tokenised(4),
    "kimi_vl": _built(widths=((4, "v"), (4, "v"), _H), merge=4, norm=2),
    "glm4v": _gated_merger,
    "glm4v_moe": _gated_merger,
    "deepseek_vl_v2": _built(widths=((4, "v"), _H, _H), merge=4),
    "ernie4_5_vl_moe": _resampled,
    "moondream1": _built(widths=((2, "v"), 8192, _H)),
}
