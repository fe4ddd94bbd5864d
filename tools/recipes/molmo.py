"""How rows of the facts become configs of molmo: what no row says, and what each total holds besides."""

from recipe import TRUST, Plain, Recipe, Row

# Widths of the MLPs behind the pooling.
_WIDTHS = {"allenai/Molmo-7B-D-0924": 18944, "allenai/Molmo-7B-O-0924": 11008, "allenai/MolmoE-1B-0924": 8192,
                "allenai/Molmo-72B-0924": 29568, "allenai/Molmo2-8B": 12288, "allenai/Molmo2-4B": 9728,
                "allenai/Molmo2-O-7B": 11008}  # fmt: skip


# Rows of the first Molmo's embeddings, where they are more than its vocabulary: config.json and its revisions, read on
# 29 November 2026, on https://huggingface.co/allenai/Molmo-7B-O-0924 and https://huggingface.co/allenai/MolmoE-1B-0924
_EMBEDDED = {"allenai/Molmo-7B-O-0924": 100352, "allenai/MolmoE-1B-0924": 50304}


def _embeddings(row: Row) -> Plain:
    """The embeddings' rows, and those of what marks an image, which have no head."""
    rows = _EMBEDDED.get(row["hf_id"])
    return {"additional_vocab_size": 128, **({"vocab_size": rows} if rows else {})}


def _adapter(row: Row) -> Plain:
    """What stands at a config's top beside its tables."""
    return {"adapter_config": {"intermediate_size": _WIDTHS[row["hf_id"]]}} if row["hf_id"] in _WIDTHS else {}


RECIPES = {
    "Molmo": Recipe(
        kind="molmo",
        text=lambda row: "olmo2" if "OLMo" in row["llm_name"] else "qwen2",
        text_more=_embeddings,
        top=_adapter,
    ),
    "Molmo2": Recipe(
        kind="molmo2",
        text=lambda row: "olmo3" if "OLMo" in row["llm_name"] else "molmo2_text",
        text_more=lambda _: {"additional_vocab_size": 128},
        vision_more=lambda _: {"num_hidden_layers": 25},
        vllm=f"{TRUST} --max-num-batched-tokens 31872",
        top=_adapter,
    ),
}
