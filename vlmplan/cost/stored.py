"""How many bytes has a weight of a checkpoint as it is stored? A checkpoint's files -> its model, as it will be priced.

``models`` reads dimensions and layouts; which operators a model has, and so which of its weights are stored how, is
known here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlmplan.cost.op import Request
from vlmplan.cost.totals import operators
from vlmplan.hardware import Kind, Part, Precision
from vlmplan.models import (
    Layout,
    ModelSpec,
    Module,
    Plain,
    Quantisation,
    Scheme,
    Workload,
    config_of,
    described,
    layer_kinds,
    layouts_of,
    modules_of,
    named,
    operator_key,
)

_NEVER = ("llm router", "llm embedding", "vision patches")  # looked up, convolutions, and what no method quantises


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
    params: Counter[str] = Counter()
    for op in operators(request):
        if op.kind is Kind.LINEAR and op.part is not Part.DECODE and op.params:
            params[operator_key(op.part, op.name)] += op.params
    return params


def _kept(keys: Iterable[str], sizes: Mapping[str, float]) -> tuple[str, ...]:
    """The parts that are left whole: of the LLM its attention, MLP, experts and head apart, unless all of it is."""

    def part(key: str) -> str:
        if _part(key) != "llm":
            return _part(key)
        name = key.removeprefix("llm ")
        by_kind = {"head": "head", "gate_up": "MLP", "down": "MLP"}
        return "experts" if name.startswith(("expert", "shared")) else by_kind.get(name, "attention")

    all_parts = dict.fromkeys(part(key) for key in keys if key not in _NEVER)
    whole = [name for name in all_parts if not any(part(key) == name for key in sizes)]
    llm = [name for name in all_parts if name in ("attention", "MLP", "experts")]
    if set(llm) <= set(whole):
        whole = ["LLM", *(name for name in whole if name not in (*llm, "head"))]
    return tuple(whole)


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


def as_stored(model: ModelSpec, config: Plain, where: str) -> ModelSpec:
    """Return ``model`` with what its configuration says of precision. Raises InputError."""
    layouts = layouts_of(config, where)
    kinds = layer_kinds(config, model.llm.layers, where) if layouts else {}
    quantisation = _quantisation(model, layouts, kinds) if layouts else None
    return replace(model, quantisation=quantisation)


def model_from_config(config: Plain, where: str, name: str, files: Mapping[str, Plain] | None = None) -> ModelSpec:
    """Build a model from the table in a ``config.json``, and the processor's ``files`` beside it by their name.

    Raises InputError naming the key or the unknown type.
    """
    with named(where):
        return as_stored(described(config, where, name, files or {}), config, where)


def read_model_config(path: Path) -> ModelSpec:
    """Read a ``config.json``, or a checkpoint directory that holds one and its processor's files. Raises InputError."""
    return model_from_config(*config_of(path))
