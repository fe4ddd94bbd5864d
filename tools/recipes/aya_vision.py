"""How rows of the facts become configs of aya-vision: what no row says."""

from recipe import Plain, Recipe, Row

# Twice the width of the gated MLP between tower and LLM (config.json of the 8B model).
_WIDTHS = {"CohereLabs/aya-vision-8b": 28672}


def _alignment(row: Row) -> Plain:
    return {"alignment_intermediate_size": _WIDTHS[row["hf_id"]]}


RECIPES = {
    "Aya Vision": Recipe(kind="aya_vision", text="cohere2", tower="siglip_vision_model", top=_alignment, vllm="")
}
