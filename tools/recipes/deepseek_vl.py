"""How rows of the facts become configs of deepseek-vl: what no row says, and what each total holds besides."""

from recipe import Recipe

RECIPES = {
    "DeepSeek-VL2": Recipe(
        kind="deepseek_vl_v2",
        text="deepseek_v2",
        text_more=lambda _: {"q_lora_rank": None, "first_k_dense_replace": 1},
    ),
}
