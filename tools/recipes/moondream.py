"""How rows of the facts become configs of moondream: what no row says, and what each total holds besides."""

from recipe import Beside, Recipe, beside_of

_BESIDE: dict[str, Beside] = {"vikhyatk/moondream2": (60_317_312, 0, "heads for points and boxes")}
RECIPES = {
    "Moondream": Recipe(kind="moondream1", text="phi", beside=beside_of(_BESIDE)),
}
