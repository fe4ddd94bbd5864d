"""Make ``profiles/models/*.toml`` from ``facts/vlms.csv``: each row becomes the config.json it stands for.

What a row does not say (the type's own keys) is in ``recipes``, one file a family; the structure of a type is read by
``vlmplan.models``, as for a user's config. Contexts, licences and dates that the facts lack are in
``model_facts.csv``, published quantised checkpoints in ``quantised_checkpoints.csv``, engines besides vLLM that serve a
family in ``engine_models.csv``.
Run: ``python tools/make_models.py``.
"""

import csv
import functools
from dataclasses import replace

from recipe import Row, config_of
from recipes import recipe_of

from facts import FACTS, PROFILES, generation, rows
from vlmplan.cost.stored import model_from_config
from vlmplan.cost.totals import operators, request_of
from vlmplan.document import to_toml
from vlmplan.hardware.runtimes import Engine, Precision
from vlmplan.models.spec import ModelSpec, QuantisedCheckpoint, Workload

# Rows whose dimensions are not complete, and why.
LEFT_OUT = {
    "google/gemma-3n-E2B-it": "no dimensions in the facts",
    "google/gemma-3n-E4B-it": "MobileNet-V5's dimensions are not in the facts",
    "moondream/moondream3-preview": "no dimensions in the facts",
    "meta-llama/Llama-3.2-90B-Vision-Instruct": "the LLM's dimensions are not in the facts",
    "AIDC-AI/Ovis2-34B": "the tower's dimensions are not in the facts",
    "deepseek-ai/deepseek-vl2-tiny": "the LLM's dimensions are not in the facts",
    "deepseek-ai/deepseek-vl2-small": "the LLM's dimensions are not in the facts",
    "XiaomiMiMo/MiMo-VL-7B-RL": "the LLM's dimensions are not in the facts",
    "stepfun-ai/Step3-VL-10B": "the tower's dimensions are not in the facts",
    "ibm-granite/granite-4.0-3b-vision": "the tower's dimensions are not in the facts",
}


def more_facts() -> dict[str, Row]:
    """Contexts, licences and dates with their sources."""
    with (FACTS / "model_facts.csv").open(encoding="utf-8", newline="") as file:
        return {row["hf_id"]: row for row in csv.DictReader(file)}


@functools.cache
def quantised() -> dict[str, tuple[QuantisedCheckpoint, ...]]:
    """Published quantised checkpoints by the model that they are of."""
    found: dict[str, tuple[QuantisedCheckpoint, ...]] = {}
    with (FACTS / "quantised_checkpoints.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            one = QuantisedCheckpoint(
                precision=Precision(row["precision"]), checkpoint=row["checkpoint"], method=row["method"]
            )
            found[row["hf_id"]] = (*found.get(row["hf_id"], ()), one)
    return found


@functools.cache
def served() -> dict[str, dict[Engine, str]]:
    """Which engines besides vLLM serve a family, and the flags that each needs beyond the usual."""
    found: dict[str, dict[Engine, str]] = {}
    for row in rows("engine_models.csv"):
        found.setdefault(row["family"], {})[Engine(row["engine"])] = row["flags"]
    return found


def sources(row: Row, known: Row, exact: bool) -> tuple[str, ...]:
    """Where a model's figures come from."""
    return tuple(
        found
        for found in (
            row["llm_config_source"],
            recipe_of(row).tower_sources.get(row["hf_id"], row["vision_config_source"]),
            f"context, licence, date: {known['source']}" if known else "",
            f"parameters: {row['total_params_source']}" if exact else "",
            "settings: facts/engine_settings.csv",
            "quantised checkpoints: facts/quantised_checkpoints.csv" if row["hf_id"] in quantised() else "",
        )
        if found
    )


def model(row: Row, known: Row) -> ModelSpec:
    """Build one model from its row."""
    recipe, name = recipe_of(row), row["hf_id"]
    found = recipe.finish(model_from_config(config_of(row, recipe), name, name), row)
    exact = row["total_params_precision"] == "exact"
    context = recipe.contexts.get(name, recipe.context)
    if known and known["max_context_tokens"]:
        context = int(known["max_context_tokens"])
    idle, stored, beside = recipe.beside(name, found)
    return replace(
        found,
        family=generation(row),
        llm=replace(found.llm, max_context_tokens=context),
        published_params=int(row["total_params"]) if exact else None,
        idle_params=idle,
        stored_params=stored,
        beside=beside or None,
        quantised=quantised().get(name),
        pretrained="-pt-" in name,
        thinks="Thinking" in name or name in recipe.thinks,
        fp16=recipe.fp16,
        serving=({} if recipe.vllm is None else {Engine.VLLM: recipe.vllm}) | served().get(row["family"], {}),
        license=row["license"] or known.get("license") or None,
        release_date=row["release_date"] or known.get("release_date") or None,
        sources=sources(row, known, exact),
    )


def params(found: ModelSpec) -> int:
    """All parameters of a model."""
    request = request_of(found, Workload(text_tokens=1), 0, Precision.BF16)
    return sum(op.params for op in operators(request))


def main() -> None:
    """Write every model with complete dimensions, and print what of each published total is unexplained."""
    folder, known, unexplained, made = PROFILES / "models", more_facts(), [], {}
    for row in rows("vlms.csv"):
        if row["hf_id"] in LEFT_OUT:
            print(f"left out: {row['hf_id']}: {LEFT_OUT[row['hf_id']]}")
            continue
        found = model(row, known.get(row["hf_id"], {}))
        made[folder / f"{row['hf_id'].replace('/', '--')}.toml"] = to_toml(found)
        if found.published_params:
            rest = found.published_params - found.stored_params - params(found)
            unexplained.append((abs(rest) / found.published_params, rest, found.name))
    for path in {*folder.glob("*.toml")} - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    for share, rest, name in sorted(unexplained, reverse=True):
        if rest:
            print(f"{name}: {rest} parameters unexplained ({share:.3%})")
    print(f"{len(made)} models in {folder}; {len(unexplained)} with an exact total")


if __name__ == "__main__":
    main()
