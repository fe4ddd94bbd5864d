"""How rows of the facts become configs of smolvlm: what no row says, and what each total holds besides."""

from dataclasses import replace

from recipe import Recipe

_SMOLVLM = Recipe(
    kind="smolvlm",
    text="llama",
    top=lambda row: {"scale_factor": 4 if row["vision_image_size"] == "512" else 3},
    context=8192,
    vllm="",
)
RECIPES = {
    "SmolVLM": replace(_SMOLVLM, contexts={"HuggingFaceTB/SmolVLM-Instruct": 16384}),
    "SmolVLM2": replace(_SMOLVLM, context=None),
    "Idefics3": Recipe(kind="idefics3", text="llama", top=lambda _: {"scale_factor": 2}, vllm=""),
    "Idefics2": Recipe(kind="idefics2", text="mistral"),
}
