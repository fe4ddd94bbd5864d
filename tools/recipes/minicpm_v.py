"""How rows of the facts become configs of minicpm-v: what no row says, and what each total holds besides."""

from recipe import TRUST, Recipe

_MINICPM_46 = Recipe(
    kind="minicpmv4_6",
    text="qwen3_5_text",
    text_more=lambda _: {"linear_num_value_heads": 16, "tie_word_embeddings": True},
    vision_more=lambda _: {"image_size": 980},
    vllm="",
)
RECIPES = {
    "MiniCPM-V": Recipe(
        kind="minicpmv",
        vllm=TRUST,
        text=lambda row: {"Qwen2-7B": "qwen2", "Qwen3-8B": "qwen3", "MiniCPM4-3B": "llama"}.get(
            row["llm_name"], "qwen3_5_text"
        ),
        own={"openbmb/MiniCPM-V-4.6": _MINICPM_46},
    ),
}
