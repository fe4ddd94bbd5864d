"""How rows of the facts become configs of glm-v: what no row says, and what each total holds besides."""

from recipe import Plain, Recipe, Row


def _table(tower: Plain, row: Row) -> Plain:
    """GLM-4V's ``intermediate_size`` is the merger's."""
    return {**tower, "intermediate_size": 10944 if row["moe_num_experts"] else 13696}


RECIPES = {
    "GLM-4V": Recipe(
        kind="glm4v",
        text=lambda row: "glm4v_moe_text" if row["moe_num_experts"] else "glm4v_text",
        vllm="",
        table=_table,
        thinks=("zai-org/GLM-4.5V",),
    ),
}
