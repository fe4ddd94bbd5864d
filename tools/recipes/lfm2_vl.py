"""How rows of the facts become configs of lfm2-vl: what no row says, and what each total holds besides."""

from recipe import Recipe, whole

# Layers with full attention; the others are short convolutions (configs of the LFM2 models; totals agree exactly).
_FULL = {16: [2, 5, 8, 10, 12, 14], 30: [2, 5, 9, 13, 17, 21, 25, 28]}
_LFM2 = Recipe(
    kind="lfm2_vl",
    text="lfm2",
    text_more=lambda row: {
        "full_attn_idxs": _FULL[whole(row, "num_layers")],
        "block_auto_adjust_ff_dim": row["num_layers"] != "30",
    },
    vision_more=lambda row: {"num_hidden_layers": 26} if row["hf_id"] == "LiquidAI/LFM2-VL-1.6B" else {},
    top=lambda row: {"projector_hidden_size": 2048, "projector_use_layernorm": False} if "2.5" in row["family"] else {},
    vllm="",
)
RECIPES = {
    "LFM2-VL": _LFM2,
    "LFM2.5-VL": _LFM2,
}
