"""What does a trained folder say of itself? The model card: plan, data, steps, loss, and how to go on."""

import json
import re

from vlmplan import inert
from vlmplan.training.recipe import Recipe, StageResult, Training

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def _stage_rows(recipe: Recipe, results: tuple[StageResult, ...]) -> list[str]:
    rows = ["| stage | learns | steps | batch | learning rate | loss, first and last |", "|---|---|---|---|---|---|"]
    for stage, result in zip(recipe.stages, results, strict=True):
        learns = ["compressor", "projector"]
        learns += [f"LLM (LoRA, rank {recipe.lora_rank})" if recipe.lora_rank else "LLM"] if stage.llm else []
        learns += ["vision tower"] if stage.tower else []
        first = f"{result.losses[0][1]:.3f}, {result.final_loss:.3f}" if result.losses else "not logged"
        rate = f"{stage.learning_rate:g}"
        name, learnt = inert.markdown(stage.name), ", ".join(learns)
        rows.append(f"| {name} | {learnt} | {result.steps} | {stage.batch} | {rate} | {first} |")
    return rows


def model_card(training: Training, name: str) -> str:
    """Return the folder's README.md: YAML that hubs read, then what was done and how to use it."""
    recipe = training.recipe
    counts = ", ".join(map(str, recipe.visual_tokens))
    plural = "" if recipe.visual_tokens == (1,) else "s"
    nested = "; nested: each batch was trained with one of them" if len(recipe.visual_tokens) > 1 else ""
    plan = "none" if training.plan_sha256 is None else f"sha256 {inert.markdown(training.plan_sha256)}"
    most = max(recipe.visual_tokens)
    head = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text", "tags: [vlmplan, llava]"]
    source = [f"base_model: {recipe.checkpoint}"] if _HUB_ID.fullmatch(recipe.checkpoint) else []
    joined = "" if recipe.tower is None else f", joined with the vision tower {inert.markdown_code(recipe.tower)}"
    version = inert.markdown(training.vlmplan_version)
    base, data = inert.markdown_code(recipe.checkpoint), inert.markdown(recipe.data_sha256)
    made, out = inert.argument(name), inert.argument(f"{name}-{most}")
    export = f"vlmplan export --checkpoint {made} --visual-tokens {most} --compressor {recipe.compressor} --out {out}"
    lines = [
        *head, *source, "---", "", f"# {inert.markdown(name)}", "",
        f"{base}{joined}, trained by vlmplan {version} to read {counts} visual "
        f"token{plural} an image by {recipe.compressor}{nested}.", "",
        f"- Plan: {plan}.",
        f"- Data: {recipe.rows} conversations, sha256 {data}; {training.bad_rows} bad rows left out.",
        f"- Precision: {'bf16 over fp32 weights' if recipe.bf16 else 'fp32'}; seed {recipe.seed}; "
        f"{training.processes} process{'es' if training.processes > 1 else ''}.", "",
        *_stage_rows(recipe, training.stages), "",
        "Load it with its compressor:", "",
        "```python", "from vlmplan.training.vlm import CompressedLlava", "",
        f'model = CompressedLlava.from_pretrained({inert.json_document(json.dumps(name))})', "```", "",
        f"Export it: {inert.markdown_code(export)}. `training.json` holds the recipe and every logged loss.", "",
    ]  # fmt: skip
    return "\n".join(lines)
