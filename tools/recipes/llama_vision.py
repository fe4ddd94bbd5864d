"""How rows of the facts become configs of llama-vision: what no row says, and what each total holds besides."""

from recipe import Recipe

RECIPES = {
    "Llama 3.2 Vision": Recipe(
        kind="mllama",
        text="mllama_text_model",
        table=lambda tower, _: {**tower, "num_hidden_layers": 32, "num_global_layers": 8},
    ),
    "Llama 4": Recipe(kind="llama4", text="llama4_text", vllm=""),
}
