"""How rows of the facts become configs of internvl: what no row says, and what each total holds besides."""

from dataclasses import replace

from recipe import TRUST, Plain, Recipe, Row


def _llm(row: Row) -> str:
    """InternVL comes on four LLMs."""
    for word, kind in (("InternLM2", "internlm2"), ("InternLM3", "internlm3"), ("gpt-oss", "gpt_oss")):
        if word in row["llm_name"]:
            return kind
    if "Qwen3" in row["llm_name"]:
        return "qwen3_moe" if row["moe_num_experts"] else "qwen3"
    return "qwen2"


def _internvit(row: Row) -> Plain:
    """InternViT-6B norms queries and keys, uses RMSNorm and has no bias there; InternViT-300M the other way."""
    large = row["vision_hidden"] == "3200"
    return {"qk_normalization": large, "norm_type": "rms_norm" if large else "layer_norm", "qkv_bias": not large}


_INTERNVL = Recipe(kind="internvl_chat", text=_llm, vision_more=_internvit, context=32768, vllm=TRUST)
RECIPES = {
    "InternVL2.5": replace(_INTERNVL, context=None),
    "InternVL3": _INTERNVL,
    "InternVL3.5": replace(_INTERNVL, context=40960),
}
