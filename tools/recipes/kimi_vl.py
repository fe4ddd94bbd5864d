"""How rows of the facts become configs of kimi-vl: what no row says, and what each total holds besides."""

from dataclasses import replace

from recipe import TRUST, Recipe, Row, bare, whole

from vlmplan.models.spec import ModelSpec


def _more_patches(model: ModelSpec, row: Row) -> ModelSpec:
    """The newer model takes four times the patches of its siblings."""
    if row["hf_id"] != "moonshotai/Kimi-VL-A3B-Thinking-2506" or model.image is None:
        return model
    return replace(model, image=replace(model.image, trained_max_visual_tokens=whole(row, "max_visual_tokens")))


RECIPES = {
    "Kimi-VL": Recipe(
        kind="kimi_vl",
        text="deepseek_v3",
        text_more=lambda _: {"q_lora_rank": None, "first_k_dense_replace": 1, "n_shared_experts": 2},
        vllm=TRUST,
        table=bare,
        finish=_more_patches,
    ),
}
