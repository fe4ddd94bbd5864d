"""How rows of the facts become configs of ovis: what no row says, and what each total holds besides."""

from recipe import TRUST, Recipe

RECIPES = {
    "Ovis2": Recipe(kind="ovis2", text="qwen2", tower="ovis2", table=lambda tower, _: {**tower, "vocab_size": 65536}),
    "Ovis2.5": Recipe(kind="ovis2_5", text="qwen3", vllm=TRUST, table=lambda tower, _: {**tower, "vocab_size": 65536}),
}
