"""How rows of the facts become configs of paligemma: what no row says, and what each total holds besides."""

from dataclasses import replace

from recipe import Recipe

_PALIGEMMA = Recipe(kind="paligemma", text="gemma", tower="siglip_vision_model", context=8192, vllm="")
RECIPES = {
    "PaliGemma": _PALIGEMMA,
    "PaliGemma 2": replace(_PALIGEMMA, text="gemma2", fp16=False),
}
