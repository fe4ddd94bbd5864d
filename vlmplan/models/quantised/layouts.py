"""Where in a checkpoint's files does its quantisation stand, and for which parts? The tables, read into layouts.

(config.json, hf_quant_config.json) -> a layout a part. Tables stand at the top, or inside that of the text or vision
model, and then mean that part alone.
"""

from dataclasses import replace
from pathlib import Path

from vlmplan.document import read_plain
from vlmplan.errors import unexpected
from vlmplan.models.configs.keys import Plain, nested
from vlmplan.models.quantised.methods import layout
from vlmplan.models.quantised.schemes import Layout

BESIDE = "hf_quant_config.json"  # where NVIDIA's Model Optimizer writes what config.json may leave out
_TABLES = ("quantization_config", "quantization")  # the second is MLX's
TEXT_KEYS = ("text_config", "llm_config", "language_config")
_VISION = ("vision_config", "vit_config", "vision_tower_config")


def with_file_beside(config: Plain, folder: Path) -> Plain:
    """The configuration with the quantisation of the file beside it, where it has none of its own."""
    beside = folder / BESIDE
    if any(config.get(key) for key in _TABLES) or not beside.is_file():
        return config
    table = nested(read_plain(beside), "quantization", BESIDE)
    return {**config, "quantization_config": {"quant_method": "modelopt", **table}} if table else config


def _table(config: Plain, where: str) -> tuple[Plain, str]:
    """A table of quantisation, and where it stands; empty where there is none."""
    for key in _TABLES:
        if isinstance(config.get(key), str):
            raise unexpected(f"{where}.{key}", "a table", config[key])
        if table := nested(config, key, where):
            return table, f"{where}.{key}"
    return {}, where


def layouts_of(config: Plain, where: str) -> dict[str, Layout]:
    """The layout of each part that has one: of all where it stands at the top, else of the part it stands in."""
    table, inside = _table(config, where)
    if table:
        own = layout(table, inside)
        return dict.fromkeys(("llm", "vision", "projector"), own)
    layouts = {}
    for keys, part in ((TEXT_KEYS, "llm"), (_VISION, "vision")):
        for key in keys:
            table, inside = _table(nested(config, key, where), f"{where}.{key}")
            if table:
                layouts[part] = replace(layout(table, inside), scope=(part,))
    return layouts


def method_of(config: Plain, where: str) -> str | None:
    """Return the method that any part of a checkpoint is quantised by; None for a whole one. Raises InputError."""
    return next((own.method for own in layouts_of(config, where).values()), None)


def layer_kinds(config: Plain, layers: int, where: str) -> dict[str, list[int]]:
    """The LLM's layers by how they mix tokens, where the file says so; empty where all are alike."""
    text = next((inner for key in TEXT_KEYS if (inner := nested(config, key, where))), config)
    types, cross = text.get("layer_types"), text.get("cross_attention_layers")
    every = text.get("full_attention_interval")
    if isinstance(cross, list):
        types = ["cross" if layer in cross else "attention" for layer in range(layers)]
    elif types is None and isinstance(every, int) and every > 0:
        types = ["attention" if (layer + 1) % every == 0 else "linear_attention" for layer in range(layers)]
    if not isinstance(types, list) or len(types) != layers:
        return {}
    names = {"linear_attention": "delta-net", "conv": "convolution", "cross": "cross"}
    by_kind: dict[str, list[int]] = {}
    for layer, kind in enumerate(types):
        by_kind.setdefault(names.get(str(kind), "attention"), []).append(layer)
    return by_kind
