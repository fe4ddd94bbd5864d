"""How rows of the facts become configs of ernie-vl: what no row says, and what each total holds besides."""

from recipe import Recipe, bare

RECIPES = {
    "ERNIE-4.5-VL": Recipe(
        kind="ernie4_5_vl_moe",
        text="ernie4_5_moe",
        text_more=lambda _: {"moe_intermediate_size": [1536, 512]},
        vllm="",
        table=bare,
    ),
}
