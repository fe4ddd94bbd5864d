"""How rows of the facts become configs of perception-lm: what no row says, and what each total holds besides."""

from recipe import Plain, Recipe, Row


def _table(tower: Plain, _: Row) -> Plain:
    """Perception LM's tower is spelled as timm does."""
    return {"model_args": {**tower, "embed_dim": tower["hidden_size"]}}


RECIPES = {
    "Perception LM": Recipe(
        kind="perception_lm",
        text="llama",
        vision_more=lambda row: {"init_values": 0.1} if row["vision_hidden"] == "1024" else {},
        table=_table,
    ),
}
