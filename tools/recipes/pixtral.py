"""How rows of the facts become configs of pixtral: what no row says, and what each total holds besides."""

from recipe import MISTRAL, Recipe

RECIPES = {
    "Pixtral": Recipe(kind="pixtral", text="mistral", vllm=MISTRAL),
    "Mistral Small 3.1": Recipe(kind="mistral3", text="mistral", vllm=MISTRAL),
}
