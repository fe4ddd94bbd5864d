"""What turns a row of ``facts/vlms.csv`` into the config.json it stands for: the parts that families share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vlmplan.models.families import ARCHITECTURES
from vlmplan.models.spec import ModelSpec

Row = dict[str, str]
Plain = dict[str, Any]
Beside = tuple[int, int, str]
MISTRAL = "--tokenizer-mode mistral"
TRUST = "--trust-remote-code"  # the original checkpoints bring their config class along (vllm issue 9531)


def whole(row: Row, key: str) -> int:
    """Return a cell that must hold a whole number."""
    return int(row[key])


def text(row: Row) -> Plain:
    """The LLM's dimensions as a config spells them."""
    names = {
        "num_layers": "num_hidden_layers",
        "hidden_size": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "vocab_size": "vocab_size",
        "intermediate_size": "intermediate_size",
        "moe_num_experts": "num_experts",
        "moe_top_k": "num_experts_per_tok",
        "moe_intermediate_size": "moe_intermediate_size",
        "moe_shared_intermediate_size": "shared_expert_intermediate_size",
    }
    found: Plain = {spelling: int(row[name]) for name, spelling in names.items() if row[name]}
    if row["tie_embeddings"]:
        found["tie_word_embeddings"] = row["tie_embeddings"] == "true"
    return found


def vision(row: Row) -> Plain:
    """The tower's dimensions as a config spells them."""
    names = {
        "vision_layers": "num_hidden_layers",
        "vision_hidden": "hidden_size",
        "vision_heads": "num_attention_heads",
        "vision_intermediate": "intermediate_size",
        "vision_patch": "patch_size",
        "vision_image_size": "image_size",
    }
    return {spelling: int(row[name]) for name, spelling in names.items() if row[name]}


def bare(tower: Plain, _: Row) -> Plain:
    """A tower at the image's own size."""
    return {key: value for key, value in tower.items() if key != "image_size"}


def beside_of(known: Mapping[str, Beside]) -> Callable[[str, ModelSpec], Beside]:
    """What totals hold besides, by hub id."""
    return lambda name, _: known.get(name, (0, 0, ""))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a family's rows become configs: the types, and what each table has besides the row's dimensions.

    ``table`` is how its vision table differs from the row's. ``context`` is the family's, ``contexts`` those of some
    hub ids, and ``own`` recipes of models that are built otherwise. ``beside`` is what a published total holds beside
    what an image and a question run: (loaded, not loaded, what). ``thinks`` are hub ids that answer after thoughts, and
    are scored so, though their names do not say it. ``fp16``: False for LLMs that vLLM refuses in it. ``finish`` makes
    of the config's model what no config says. ``vllm`` are the flags that vLLM serves it with, None where it does not.
    """

    kind: str
    text: str | Callable[[Row], str]
    tower: str = ""
    top: Callable[[Row], Plain] = lambda _: {}
    text_more: Callable[[Row], Plain] = lambda _: {}
    vision_more: Callable[[Row], Plain] = lambda _: {}
    table: Callable[[Plain, Row], Plain] = lambda tower, _: tower
    tower_sources: Mapping[str, str] = field(default_factory=dict)
    context: int | None = None
    contexts: Mapping[str, int] = field(default_factory=dict)
    own: "Mapping[str, Recipe]" = field(default_factory=dict)
    beside: Callable[[str, ModelSpec], Beside] = lambda _, __: (0, 0, "")
    thinks: tuple[str, ...] = ()
    fp16: bool = True
    finish: Callable[[ModelSpec, Row], ModelSpec] = lambda model, _: model
    vllm: str | None = None


def config_of(row: Row, recipe: Recipe) -> Plain:
    """The config.json that a row stands for."""
    kind = recipe.kind
    named = recipe.text if isinstance(recipe.text, str) else recipe.text(row)
    if named.endswith("moe_text"):
        kind = f"{kind}_moe"
    inner = {"model_type": named, **text(row), **recipe.text_more(row)}
    tower = recipe.table({**vision(row), **recipe.vision_more(row)}, row)
    if recipe.tower:
        tower["model_type"] = recipe.tower
    known = ARCHITECTURES[kind]
    return {"model_type": kind, **recipe.top(row), known.text_key or "text_config": inner, known.vision_key: tower}
