"""Which modules of a checkpoint stand behind an operator, and which of them does a list of names or patterns mean?

(architecture, operator, layer) -> the names that the weights have in checkpoints: those of transformers 4 and 5, and of
the families' own code. Lists name modules whole, by a part of their path, by glob or by regular expression.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vlmplan.errors import InputError, printable
from vlmplan.models.configs.family import USUAL, Places
from vlmplan.models.decoder import Decoder
from vlmplan.models.families import ARCHITECTURES, joined_modules
from vlmplan.models.quantised.expressions import check_expressions
from vlmplan.models.spec import ModelSpec

# What may stand before ``layers.0`` of an LLM.
_OUTER = ("model", "language_model", "text_model", "llm", "language", "thinker", "transformer", "base_model")
_LLM_ROOTS = (
    "model.layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "language_model.layers",
    "model.text_model.layers",
    "llm.model.layers",
    "language.model.layers",
)
_FUSED_QKV = ("attention.wqkv", "att_proj", "self_attn.W_pack")
_EXPERTS = ("mlp.experts.0", "mlp.experts", "feed_forward.experts.0", "feed_forward.experts", "mlp.text_moe.experts")
_SHARED = ("mlp.shared_experts", "mlp.shared_expert", "feed_forward.shared_expert")


def _each(roots: tuple[str, ...], *leaves: str) -> tuple[str, ...]:
    return tuple(f"{root}.{leaf}" for root in roots for leaf in leaves)


# The projections of an operator, with the names that each has in one family or another.
_LLM: dict[str, tuple[tuple[str, ...], ...]] = {
    "qkv": tuple((f"self_attn.{one}_proj", *_FUSED_QKV) for one in "qkv"),
    "output": (("self_attn.o_proj", "attention.wo", "attn_out", "self_attn.dense"),),
    "cross queries": (("cross_attn.q_proj",),),
    "cross keys and values": (("cross_attn.k_proj",), ("cross_attn.v_proj",)),
    "query down": (("self_attn.q_a_proj",),),
    "queries": (("self_attn.q_b_proj", "self_attn.q_proj"),),
    "latent down": (("self_attn.kv_a_proj_with_mqa",),),
    "latent up": (("self_attn.kv_b_proj",),),
    "delta-net in": (("linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_qkvz"),),
    "delta-net out": (("linear_attn.out_proj",),),
    "convolution in": (("conv.in_proj",),),
    "convolution out": (("conv.out_proj",),),
    "gate_up": (
        ("mlp.gate_proj", "feed_forward.w1", "feed_forward.gate_proj", "ff_proj"),
        ("mlp.up_proj", "feed_forward.w3", "feed_forward.up_proj", "ff_proj"),
    ),
    "down": (("mlp.down_proj", "feed_forward.w2", "feed_forward.down_proj", "ff_out"),),
    "shared gate_up": (_each(_SHARED, "gate_proj", "up_proj"),),
    "shared down": (_each(_SHARED, "down_proj"),),
    "expert gate_up": (_each(_EXPERTS, "gate_proj", "up_proj", "gate_up_proj", "w1"),),
    "expert down": (_each(_EXPERTS, "down_proj", "w2"),),
    "per-layer gate": (("per_layer_input_gate",),),
    "per-layer output": (("per_layer_projection",),),
}
_UNGATED = {"gate_up": (("mlp.fc1",),), "down": (("mlp.fc2",),), "output": (("self_attn.dense",),)}  # Phi-1 and 2
# A tower's, by whether its attention has one projection for all three, and its MLP a gate.
_FUSED_ATTENTION = {
    "qkv": (("attn.qkv", "wqkv"),),
    "output": (("attn.proj", "wo", "attention.wo"),),
}
_ATTENTION = {
    "qkv": tuple((f"self_attn.{x}_proj", f"attention.{x}_proj", f"attention.w{x}") for x in "qkv"),
    "output": (
        (
            "self_attn.out_proj",
            "self_attn.o_proj",
            "attention.o_proj",
            "attention.out_proj",
            "attention.projection_layer",
            "attention.wo",
        ),
    ),
}
_GATED_MLP = {
    "mlp up": (
        ("mlp.gate_proj", "feed_forward.gate_proj", "ffn.gate_proj"),
        ("mlp.up_proj", "feed_forward.up_proj", "ffn.up_proj"),
    ),
    "mlp down": (("mlp.down_proj", "feed_forward.down_proj", "ffn.down_proj"),),
}
_MLP = {
    "mlp up": (("mlp.fc1", "mlp.linear_fc1", "mlp.fc0", "feed_forward.w1"),),
    "mlp down": (("mlp.fc2", "mlp.linear_fc2", "feed_forward.w2"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A weight by all the names it may have: ``short`` without what stands before an LLM's layers, ``full`` with it.

    ``weight`` is what it holds of the operator, beside the others.
    """

    short: tuple[str, ...]
    full: tuple[str, ...]
    weight: float = 1.0
    of_llm: bool = False


def _layers(llm: Decoder, name: str, kinds: Mapping[str, Sequence[int]]) -> Sequence[int]:
    """The layers that have an operator: experts come after the dense ones."""
    if llm.experts and name in ("gate_up", "down"):
        return range(llm.dense_layers or llm.layers)
    if name.startswith(("expert", "shared")):
        return range(llm.dense_layers, llm.layers)
    mixing = "attention" if name in ("qkv", "output") else name.split(maxsplit=1)[0]
    return kinds.get(mixing, range(llm.layers))


def _held(llm: Decoder, name: str) -> tuple[float, ...]:
    """What the projections of an operator hold of its weights, one of them 1."""
    return (float(llm.heads), float(llm.kv_heads), float(llm.kv_heads)) if name == "qkv" else (1.0, 1.0, 1.0)


def _llm_modules(model: ModelSpec, name: str, kinds: Mapping[str, Sequence[int]]) -> Iterator[Module]:
    llm = model.llm
    single = {"head": "lm_head", "per-layer projection": "per_layer_model_projection"}
    if name in single:
        leaf = single[name]
        roots = ("", "model.", "language_model.", "model.language_model.", "llm.", "language.")
        yield Module(short=(leaf,), full=tuple(root + leaf for root in roots), of_llm=True)
        return
    projections = _LLM.get(name, ()) if llm.gated_mlp else _UNGATED.get(name, _LLM.get(name, ()))
    if joined := joined_modules(model.architecture).get(name):
        projections = (joined,)
    for layer in _layers(llm, name, kinds):
        for held, leaves in zip(_held(llm, name), projections, strict=False):
            yield Module(
                short=tuple(f"layers.{layer}.{leaf}" for leaf in leaves),
                full=tuple(f"{root}.{layer}.{leaf}" for root in _LLM_ROOTS for leaf in leaves),
                weight=held,
                of_llm=True,
            )


def _named(names: tuple[str, ...]) -> Module:
    return Module(short=names, full=(*names, *(f"model.{name}" for name in names)))


def _places(model: ModelSpec) -> Places:
    known = ARCHITECTURES.get(model.architecture)
    return known.places if known else USUAL


def _leaves(model: ModelSpec, root: str, name: str) -> tuple[tuple[str, ...], ...]:
    """The projections of a tower's operator: blocks have one of attention for all three."""
    fused = _places(model).fused or root.endswith("blocks")
    gated = model.vision is not None and model.vision.gated_mlp
    known = {**(_FUSED_ATTENTION if fused else _ATTENTION), **(_GATED_MLP if gated else _MLP)}
    return known.get(name, ())


def _vision_modules(model: ModelSpec, name: str) -> Iterator[Module]:
    places, layers = _places(model), model.vision.layers if model.vision else 0
    by_root = [(root, _leaves(model, root, name)) for root in places.tower]
    if not layers or not any(leaves for _, leaves in by_root):  # a convolution, or what stands behind the layers
        yield _named(tuple(f"{root.split('.')[0]}.{places.named.get(name, name)}" for root in places.tower))
        return
    for layer in range(layers):
        for number in range(max(len(leaves) for _, leaves in by_root)):
            fitting = [(root, leaves[min(number, len(leaves) - 1)]) for root, leaves in by_root]
            yield _named(tuple(f"{root}.{layer}.{leaf}" for root, leaves in fitting for leaf in leaves))


def modules_of(model: ModelSpec, key: str, kinds: Mapping[str, Sequence[int]]) -> tuple[Module, ...]:
    """Return the modules of an operator, named as in ``Quantisation.weight_bytes``.

    ``kinds`` are the LLM's layers by how they mix tokens, the first word of an operator's name: ``delta-net``,
    ``convolution``, ``cross``, and ``attention`` for the others, where not all are alike.
    """
    part, _, name = key.partition(" ")
    if part == "llm":
        return tuple(_llm_modules(model, name, kinds))
    if part == "vision":
        return tuple(_vision_modules(model, name))
    names = _places(model).projector
    return (_named(names),) if names else ()


def _runs(name: str) -> Iterator[str]:
    """Every run of the parts of a path."""
    parts = name.split(".")
    for first in range(len(parts)):
        for last in range(first + 1, len(parts) + 1):
            yield ".".join(parts[first:last])


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Modules as a checkpoint's files list them.

    ``names`` are paths or parts of one, ``parts_of_names`` words that stand inside one (``vision``); a regular
    expression in ``every`` has to fit every name of a module, as one that says what it does not contain does.
    """

    names: frozenset[str] = frozenset()
    whole_llm: bool = False
    parts_of_names: tuple[str, ...] = ()
    some: tuple[re.Pattern[str], ...] = ()
    every: tuple[re.Pattern[str], ...] = ()

    def match(self, module: Module) -> bool:
        """Whether the list means ``module``."""
        if self.whole_llm and module.of_llm and module.short != ("lm_head",):
            return True
        fit = any if module.short == ("lm_head",) else all  # a head stands inside the LLM in few checkpoints
        usual = self.names if module.of_llm else {name for name in self.names if not name.startswith("layers.")}
        return (
            any(run in usual for name in module.short for run in _runs(name))
            or any(word in name for word in self.parts_of_names for name in module.short)
            or any(pattern.match(name) for pattern in self.some for name in module.full)
            or any(fit(pattern.match(name) for name in module.full) for pattern in self.every)
        )


def _expression(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"{where}: '{printable(text[:60])}' is no regular expression ({error})") from None


def _inner(name: str) -> str:
    """A path without what stands before an LLM's layers."""
    parts = name.removesuffix(".weight").strip(".").split(".")
    while parts and parts[0] in _OUTER:
        parts = parts[1:]
    return ".".join(parts)


def _of_class(name: str) -> str:
    """The path that a class's name stands for, as far as it tells (``Llama4TextAttention``); else the name."""
    kinds = {"Vision": "vision", "Attention": "self_attn", "Experts": "experts", "MLP": "mlp"}
    found = next((path for word, path in kinds.items() if word in name), name)
    return found if re.fullmatch(r"[A-Z][A-Za-z0-9]+", name) else name


def _regular(text: str, *, regular: bool) -> str | None:
    """The expression that an entry of a list is; None for a name or a glob."""
    if regular or text.startswith("re:"):
        return text.removeprefix("re:")
    if re.search(r"[\\^$|()+\[\]]", text):
        return text
    return None


def check_listed(listed: Iterable[str], where: str, *, regular: bool = False) -> None:
    """Raise InputError for a list of modules that could take too long to match; globs do not backtrack."""
    found = (_regular(text, regular=regular) for text in listed)
    check_expressions([text for text in found if text is not None], where)


def patterns(listed: Sequence[str], where: str, *, regular: bool = False) -> Patterns:
    """Read a list of modules; ``regular`` ones are all regular expressions.

    Raises InputError for one that is none, or could take too long to match.
    """
    check_listed(listed, where, regular=regular)
    names: set[str] = set()
    words: list[str] = []
    some: list[re.Pattern[str]] = []
    every: list[re.Pattern[str]] = []
    whole = False
    for text in listed:
        expression = _regular(text, regular=regular)
        if expression is not None:
            (every if "(?!" in expression else some).append(_expression(expression, where))
        elif "*" in text or "?" in text:  # a glob means what is inside, too
            some += [re.compile(fnmatch.translate(glob)) for glob in (text, f"{text}.*")]
        elif not (inner := _of_class(_inner(text))):
            whole = whole or any(one in text for one in _OUTER[1:])
        else:
            names.add(inner)
            words += [inner] if "." not in inner and "vis" in inner else []
    return Patterns(
        names=frozenset(names), whole_llm=whole, parts_of_names=tuple(words), some=tuple(some), every=tuple(every)
    )
