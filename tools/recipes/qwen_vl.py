"""How rows of the facts become configs of qwen-vl: what no row says, and what each total holds besides."""

from recipe import Beside, Plain, Recipe, Row, bare, whole

from vlmplan.models.spec import ModelSpec

# Towers of Qwen3.5's small models, which the facts leave out: with these the published totals agree exactly.
_TOWERS = {
    "Qwen/Qwen3.5-0.8B": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                          "intermediate_size": 3072},
    "Qwen/Qwen3.5-2B": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                        "intermediate_size": 4096},
    "Qwen/Qwen3.5-4B": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                        "intermediate_size": 4096},
}  # fmt: skip
# Value heads of the gated delta nets (the other dimensions are the class's defaults): totals agree exactly.
_HEADS = {1024: 16, 2048: 16, 2560: 32, 3072: 64, 4096: 32, 5120: 48}
_MOE_HEADS = {2048: 32, 3072: 64, 4096: 64}


def _delta_nets(row: Row) -> Plain:
    """Head counts of the delta nets; the small models tie their head."""
    width = whole(row, "hidden_size")
    if row["moe_num_experts"]:
        return {
            "linear_num_value_heads": _MOE_HEADS[width],
            "shared_expert_intermediate_size": whole(row, "moe_intermediate_size"),
        }
    tied = {} if row["tie_embeddings"] else {"tie_word_embeddings": width < 4096}
    return {"linear_num_value_heads": _HEADS[width], **tied}


def _multi_token(_: str, model: ModelSpec) -> Beside:
    """Parameters of the layer that predicts a second token: full attention behind a 2h -> h matrix (Qwen3.5)."""
    llm, hidden = model.llm, model.llm.hidden
    attention = hidden * llm.head_dim * (3 * llm.heads + 2 * llm.kv_heads) + 2 * llm.head_dim
    mlp = 3 * hidden * llm.intermediate
    if llm.experts:
        mlp = 3 * hidden * llm.expert_intermediate * llm.experts + hidden * llm.experts
        mlp += 3 * hidden * llm.shared_expert_intermediate + hidden
    more = attention + mlp + 2 * hidden * hidden + 5 * hidden
    return 0, more, "a layer that predicts a second token"


def _qwen2_table(tower: Plain, row: Row) -> Plain:
    """Qwen2-VL's ``hidden_size`` is the LLM's."""
    found = bare(tower, row)
    return {**found, "embed_dim": found.pop("hidden_size")}


_QWEN35 = Recipe(
    kind="qwen3_5",
    text=lambda row: "qwen3_5_moe_text" if row["moe_num_experts"] else "qwen3_5_text",
    text_more=_delta_nets,
    vision_more=lambda row: _TOWERS.get(row["hf_id"], {}),
    vllm="",
    beside=_multi_token,
    tower_sources=dict.fromkeys(_TOWERS, "the tower: that with which the published total agrees to the last parameter"),
)
RECIPES = {
    "Qwen2-VL": Recipe(kind="qwen2_vl", text="qwen2_vl_text", context=32768, vllm="", table=_qwen2_table),
    "Qwen2.5-VL": Recipe(kind="qwen2_5_vl", text="qwen2_5_vl_text", context=128000, vllm="", table=bare),
    "Qwen3-VL": Recipe(
        kind="qwen3_vl",
        text=lambda row: "qwen3_vl_moe_text" if row["moe_num_experts"] else "qwen3_vl_text",
        context=262144,
        vllm="",
    ),
    "Qwen3.5": _QWEN35,
    "Qwen3.6": _QWEN35,
}
