"""How rows of the facts become configs of gemma: what no row says, and what each total holds besides."""

from recipe import Beside, Plain, Recipe, beside_of, whole

_TEXT: dict[str, Plain] = {
    "google/gemma-4-E2B-it": {"num_kv_shared_layers": 20, "use_double_wide_mlp": True, "sliding_window": 512,
                              "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7},
    "google/gemma-4-E4B-it": {"num_kv_shared_layers": 18, "sliding_window": 512},
    "google/gemma-4-26B-A4B-it": {"num_global_key_value_heads": 2, "attention_k_eq_v": True, "sliding_window": 1024,
                                  "hidden_size_per_layer_input": 0, "enable_moe_block": True},
    "google/gemma-4-31B-it": {"num_global_key_value_heads": 4, "attention_k_eq_v": True, "sliding_window": 1024,
                              "hidden_size_per_layer_input": 0},
}  # fmt: skip
# Towers for sound are counted in transformers' own classes.
_BESIDE: dict[str, Beside] = {
    "google/gemma-4-E2B-it": (307_183_904, 18_874_368, "audio tower, keys and values that shared layers do not use"),
    "google/gemma-4-E4B-it": (308_756_768, 55_050_240, "audio tower, keys and values that shared layers do not use"),
    "google/gemma-4-26B-A4B-it": (0, 738_197_504, "the tied head, stored a second time"),
    "google/gemma-4-31B-it": (0, 1_409_286_144, "the tied head, stored a second time"),
}
RECIPES = {
    "Gemma 3": Recipe(
        kind="gemma3",
        text="gemma3_text",
        tower="siglip_vision_model",
        text_more=lambda _: {"sliding_window": 1024},
        context=131072,
        vllm="",
        fp16=False,
    ),
    "Gemma 4": Recipe(
        kind="gemma4",
        text="gemma4_text",
        text_more=lambda row: _TEXT[row["hf_id"]],
        vision_more=lambda row: {"head_dim": whole(row, "vision_hidden") // whole(row, "vision_heads")},
        vllm="",
        beside=beside_of(_BESIDE),
    ),
}
