"""How rows of the facts become configs of phi-vision: what no row says, and what each total holds besides."""

from recipe import TRUST, Beside, Recipe, beside_of

_BESIDE: dict[str, Beside] = {
    "microsoft/Phi-4-multimodal-instruct": (
        1_312_126_960,
        0,
        "audio tower, adapters for vision and speech, unused head",
    ),
}
RECIPES = {
    "Phi-3.5-vision": Recipe(kind="phi3_v", text="phi3", tower="clip_vision_model"),
    "Phi-4-multimodal": Recipe(kind="phi4mm", text="phi3", vllm=TRUST, beside=beside_of(_BESIDE)),
}
