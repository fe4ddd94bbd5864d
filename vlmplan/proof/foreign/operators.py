"""Which operators of a decoder by others are refused unseen? Chance, loops, functions, divisions that end the process.

ONNX Runtime knows the standard's operators by two domains, "" and "ai.onnx"
(https://onnx.ai/onnx/repo-docs/IR.html, read 2026-11-28): they are read as one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vlmplan.errors import InputError, printable

_BOOL, _FLOAT, _INT32, _INT64 = 9, 1, 6, 7  # ONNX's numbers of types
_FLOATS = {1, 10, 11, 16}
_INTEGERS = {2, 3, 4, 5, 6, 7, 12, 13}
_LOOPS = {"Loop", "Scan", "SequenceMap", "BeamSearch", "WhisperBeamSearch", "GreedySearch", "Sampling"}
_BY_CHANCE = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
# Operators whose results are of the type of one input, by its place.
_LIKE_FIRST = {
    "Abs", "Add", "Attention", "BiasGelu", "Ceil", "Clip", "Concat", "Cos", "CumSum", "Div", "Einsum", "Elu", "Erf",
    "Exp", "Expand", "FastGelu", "Flatten", "Floor", "FusedMatMul", "Gather", "GatherElements", "GatherND", "Gelu",
    "Gemm", "GroupQueryAttention", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Log",
    "LogSoftmax", "MatMul", "MatMulNBits", "Max", "Mean", "Min", "Mod", "Mul", "MultiHeadAttention", "Neg", "Pad",
    "Pow", "QuickGelu", "RMSNormalization", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "RotaryEmbedding", "Round", "ScatterElements",
    "ScatterND", "Sigmoid", "Sign", "SimplifiedLayerNormalization", "Sin", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze",
}  # fmt: skip
_LIKE = dict.fromkeys(_LIKE_FIRST, 0) | {
    "Where": 1, "CastLike": 1, "DequantizeLinear": 1, "GatherBlockQuantized": 2, "Range": 0, "RandomNormalLike": 0,
}  # fmt: skip
_WHOLE = {"Shape", "Size", "NonZero", "ArgMax", "ArgMin"}


def one_domain(graph: Any) -> None:
    """Write the standard's domain in one way, in a GraphProto and its branches."""
    for node in graph.node:
        if node.domain == "ai.onnx":
            node.domain = ""
        for branch in _branches(node):
            one_domain(branch)


def check_operators(name: str, proto: Any) -> None:
    """Raise InputError for functions of a file's own, loops, and what is left to chance; ``name`` is the file's."""
    if proto.functions:
        own = ", ".join(sorted({printable(one.name) for one in proto.functions})[:3])
        raise InputError(
            f"{name} has functions of its own ({own}), which are not looked into; inline them "
            "(onnx.inliner.inline_local_functions) and validate the result"
        )
    nodes = [one for node in proto.graph.node for one in within(node)]
    if loops := sorted(_LOOPS & {one.op_type for one in nodes}):
        raise InputError(f"{name} has {', '.join(loops)}: how long it would run is not known")
    off = _switched_off(proto.graph, nodes)
    drawn = {one.op_type for one in nodes if one.op_type in _BY_CHANCE or _drops(one, off)}
    if drawn:
        raise InputError(f"{name} has {', '.join(sorted(drawn))}: what it computes is left to chance")


def within(node: Any) -> Iterator[Any]:
    """Yield an operator, and those of its branches."""
    yield node
    for branch in _branches(node):
        for inner in branch.node:
            yield from within(inner)


def _branches(node: Any) -> Iterator[Any]:
    """The graphs that an operator holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _switched_off(graph: Any, nodes: list[Any]) -> set[str]:
    """Names of constants that are false wherever they are read: nothing else has the name, in any branch."""
    from onnx import numpy_helper

    off = {
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type == _BOOL and not tensor.external_data and not numpy_helper.to_array(tensor).any()
    }
    inner = [branch for node in nodes for branch in _branches(node)]
    others = {value.name for one in (graph, *inner) for value in one.input}
    others |= {tensor.name for one in inner for tensor in one.initializer}
    others |= {tensor.values.name for one in (graph, *inner) for tensor in one.sparse_initializer}
    return off - others - {name for node in nodes for name in node.output}


def _drops(node: Any, off: set[str]) -> bool:
    """Whether a Dropout drops anything: its third input turns that on, and is a constant where it does not."""
    if not node.op_type.endswith("Dropout"):
        return False
    on = node.input[4:5] if node.domain else node.input[2:3]
    return any(name and name not in off for name in on) or node.op_type not in ("Dropout", "BiasDropout")


def trapping(graph: Any) -> Iterator[Any]:
    """Yield divisions by what may be a whole number of 0 or -1, branches with them: processors trap those.

    A division is let pass where its divisor is a constant and none of these, or its numbers are floats for certain.
    """
    yield from _trapping(graph, {}, {})


def _trapping(graph: Any, kinds: Mapping[str, int], constants: Mapping[str, Any]) -> Iterator[Any]:
    """As ``trapping``, of a graph inside others whose types and constants are known by name."""
    own = {value.name for value in graph.input} | {name for node in graph.node for name in node.output}
    own |= {tensor.name for tensor in graph.initializer}
    held = {name: value for name, value in constants.items() if name not in own} | dict(_constants(graph))
    known = {name: kind for name, kind in kinds.items() if name not in own} | _stated(graph)
    for node in graph.node:
        _add_kinds(node, known)
        if node.op_type in ("Div", "Mod") and len(node.input) > 1:
            by = held.get(node.input[1])
            certain = any(known.get(name) in _FLOATS for name in node.input[:2])
            if ((by == 0) | (by == -1)).any() if by is not None else not certain:
                yield node
        for branch in _branches(node):
            yield from _trapping(branch, known, held)


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """Constants of whole numbers in a graph, by name."""
    from onnx_ir import serde

    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    tensors += [
        (node.output[0], one.t)
        for node in graph.node
        if node.op_type == "Constant" and not node.domain
        for one in node.attribute
        if one.name == "value"
    ]
    for name, tensor in tensors:
        if tensor.data_type in _INTEGERS and not tensor.external_data:
            yield name, serde.deserialize_tensor(tensor).numpy()


def _stated(graph: Any) -> dict[str, int]:
    """Types that a graph states of its values; ONNX Runtime loads none that states another than its operators make."""
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _add_kinds(node: Any, known: dict[str, int]) -> None:
    """Add the types of an operator's results where its inputs or settings say them for certain."""
    settings = {one.name: one for one in node.attribute}
    if node.op_type in _WHOLE:
        made: int | None = _INT64
    elif node.op_type == "Cast":
        made = settings["to"].i if "to" in settings else None
    elif node.op_type in ("Constant", "ConstantOfShape"):
        made = _constant_kind(settings, _FLOAT if node.op_type == "ConstantOfShape" else None)
    elif node.op_type == "MatMulInteger":
        made = _INT32
    else:
        place = _LIKE.get(node.op_type)
        made = known.get(node.input[place]) if place is not None and place < len(node.input) else None
    if made:
        known.update({name: made for name in node.output if name and name not in known})


def _constant_kind(settings: Mapping[str, Any], default: int | None) -> int | None:
    """The type of a constant, by the setting that holds it."""
    if "value" in settings:
        return int(settings["value"].t.data_type)
    if {"value_float", "value_floats"} & set(settings):
        return _FLOAT
    return _INT64 if {"value_int", "value_ints"} & set(settings) else default
