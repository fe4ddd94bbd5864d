"""How does a checkpoint store its weights, and does it stand fp16? What its configuration says beside its dimensions.

(config.json, hf_quant_config.json, model) -> the model with its Quantisation, bytes by operator. Tables stand at the
top, or inside that of the text or vision model, and then mean that part alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlmplan.cost import Request, operators
from vlmplan.document import read_plain
from vlmplan.errors import InputError
from vlmplan.hardware import Kind, Part, Precision
from vlmplan.models.keys import nested
from vlmplan.models.methods import layout
from vlmplan.models.modules import Module, modules_of
from vlmplan.models.quantisation import Quantisation, operator_key
from vlmplan.models.refusals import OVERFLOWING
from vlmplan.models.schemes import Layout, Scheme
from vlmplan.models.spec import ModelSpec, Workload
from vlmplan.models.text_types import Plain

BESIDE = "hf_quant_config.json"  # where NVIDIA's Model Optimizer writes what config.json may leave out
_KEYS = ("quantization_config", "quantization")  # the second is MLX's
_TEXT = ("text_config", "llm_config", "language_config")
_VISION = ("vision_config", "vit_config", "vision_tower_config")
_NEVER = ("llm router", "llm embedding", "vision patches")  # looked up, convolutions, and what no method quantises


def with_file_beside(config: Plain, folder: Path) -> Plain:
    """The configuration with the quantisation of the file beside it, where it has none of its own."""
    beside = folder / BESIDE
    if any(config.get(key) for key in _KEYS) or not beside.is_file():
        return config
    found = nested(read_plain(beside), "quantization", BESIDE)
    return {**config, "quantization_config": {"quant_method": "modelopt", **found}} if found else config


def _table(config: Plain, where: str) -> tuple[Plain, str]:
    """A table of quantisation, and where it stands; empty where there is none."""
    for key in _KEYS:
        if isinstance(config.get(key), str):
            raise InputError(f"{where}.{key}: expected a table, found {config[key]!r:.40}")
        if found := nested(config, key, where):
            return found, f"{where}.{key}"
    return {}, where


def _layouts(config: Plain, where: str) -> dict[str, Layout]:
    """The layout of each part that has one: of all where it stands at the top, else of the part it stands in."""
    found, inside = _table(config, where)
    if found:
        own = layout(found, inside)
        return dict.fromkeys(("llm", "vision", "projector"), own)
    layouts = {}
    for keys, part in ((_TEXT, "llm"), (_VISION, "vision")):
        for key in keys:
            found, inside = _table(nested(config, key, where), f"{where}.{key}")
            if found:
                layouts[part] = replace(layout(found, inside), scope=(part,))
    return layouts


def method_of(config: Plain, where: str) -> str | None:
    """Return the method that any part of a checkpoint is quantised by; None for a whole one. Raises InputError."""
    return next((own.method for own in _layouts(config, where).values()), None)


def _part(key: str) -> str:
    part = key.partition(" ")[0]
    return part if part in ("llm", "vision") else "projector"


def _mean(modules: tuple[Module, ...], own: Layout) -> tuple[float | None, Counter[Scheme]]:
    """The mean bytes of an operator's weights, those left whole at 2; None where all are. And how often each scheme."""
    counted: Counter[Scheme] = Counter()
    size = held = 0.0
    for module in modules:
        scheme = own.scheme(module)
        size += module.weight * (scheme.weight_bytes if scheme else 2.0)
        held += module.weight
        if scheme is not None:
            counted[scheme] += 1
    return (size / held if counted else None), counted


def _in_scope(key: str, own: Layout) -> bool:
    if key == "llm head":
        return own.head and "llm" in own.scope
    if own.experts:
        return key.startswith("llm expert")
    return _part(key) in own.scope and key not in _NEVER


def _linear_keys(model: ModelSpec) -> dict[str, int]:
    """The linear operators of a model, and their parameters; a tied head is the embedding, which is not quantised."""
    request = Request(model=model, workload=Workload(text_tokens=1), visual=None, precision=Precision.BF16)
    found: Counter[str] = Counter()
    for op in operators(request):
        if op.kind is Kind.LINEAR and op.part is not Part.DECODE and op.params:
            found[operator_key(op.part, op.name)] += op.params
    return found


def _kept(keys: Iterable[str], sizes: Mapping[str, float]) -> tuple[str, ...]:
    """The parts that are left whole: of the LLM its attention, MLP, experts and head apart, unless all of it is."""

    def part(key: str) -> str:
        if _part(key) != "llm":
            return _part(key)
        name = key.removeprefix("llm ")
        by_kind = {"head": "head", "gate_up": "MLP", "down": "MLP"}
        return "experts" if name.startswith(("expert", "shared")) else by_kind.get(name, "attention")

    all_parts = dict.fromkeys(part(key) for key in keys if key not in _NEVER)
    found = [name for name in all_parts if not any(part(key) == name for key in sizes)]
    llm = [name for name in all_parts if name in ("attention", "MLP", "experts")]
    if set(llm) <= set(found):
        found = ["LLM", *(name for name in found if name not in (*llm, "head"))]
    return tuple(found)


def _layer_kinds(config: Plain, layers: int, where: str) -> dict[str, list[int]]:
    """The LLM's layers by how they mix tokens, where the file says so; empty where all are alike."""
    text = next((inner for key in _TEXT if (inner := nested(config, key, where))), config)
    types, cross = text.get("layer_types"), text.get("cross_attention_layers")
    every = text.get("full_attention_interval")
    if isinstance(cross, list):
        types = ["cross" if layer in cross else "attention" for layer in range(layers)]
    elif types is None and isinstance(every, int) and every > 0:
        types = ["attention" if (layer + 1) % every == 0 else "linear_attention" for layer in range(layers)]
    if not isinstance(types, list) or len(types) != layers:
        return {}
    names = {"linear_attention": "delta-net", "conv": "convolution", "cross": "cross"}
    found: dict[str, list[int]] = {}
    for layer, kind in enumerate(types):
        found.setdefault(names.get(str(kind), "attention"), []).append(layer)
    return found


def _quantisation(
    model: ModelSpec, layouts: Mapping[str, Layout], kinds: Mapping[str, Sequence[int]]
) -> Quantisation | None:
    sizes: dict[str, float] = {}
    by_scheme: Counter[Scheme] = Counter()
    of_llm: Counter[Precision] = Counter()
    keys = _linear_keys(model)
    for key, params in keys.items():
        own = layouts.get(_part(key))
        if own is None or not _in_scope(key, own):
            continue
        modules = modules_of(model, key, kinds)
        size, counted = _mean(modules, own)
        if size is None:
            continue
        sizes[key] = size
        for scheme, count in counted.items():
            by_scheme[scheme] += params * count // len(modules)
            if _part(key) == "llm" and key != "llm head":
                of_llm[scheme.precision] += params * count // len(modules)
    if not sizes:
        return None
    first = next(iter(layouts.values()))
    return Quantisation(
        method=first.method,
        title=f"{first.method}, {by_scheme.most_common(1)[0][0].title}",
        precision=of_llm.most_common(1)[0][0] if of_llm else None,
        weight_bytes=sizes,
        kept=_kept(keys, sizes),
        cache=first.cache,
    )


def _overflows(config: Plain, where: str) -> bool:
    """Whether the model or its LLM is of a type that overflows in fp16."""
    types = {str(config.get("model_type")), *(str(nested(config, key, where).get("model_type")) for key in _TEXT)}
    return bool(types & OVERFLOWING)


def as_stored(model: ModelSpec, config: Plain, where: str) -> ModelSpec:
    """Return ``model`` with what its configuration says of precision. Raises InputError."""
    layouts = _layouts(config, where)
    kinds = _layer_kinds(config, model.llm.layers, where) if layouts else {}
    found = _quantisation(model, layouts, kinds) if layouts else None
    return replace(model, quantisation=found, fp16=not _overflows(config, where))
