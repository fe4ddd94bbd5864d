"""Is a graph file what its checkpoint makes? The graph drawn anew against the file: interface, operators, every weight.

Both are onnx_ir models; weights are read one at a time. Names of nodes, documentation and metadata do not count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vlmplan.proof.report import MOST_LISTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What differs, a line each: in ``interface`` (inputs, outputs, opsets), ``structure`` and ``weights``."""

    interface: tuple[str, ...]
    structure: tuple[str, ...]
    weights: tuple[str, ...]
    weights_compared: int
    bytes_compared: int


def _signature(value: Any) -> tuple[Any, ...]:
    """Name, type and axes of an input or output; dynamic axes by their names."""
    shape = (
        None if value.shape is None else tuple(axis if isinstance(axis, int) else axis.value for axis in value.shape)
    )
    return (value.name, str(value.dtype), shape)


def _interface(expected: Any, actual: Any) -> Iterator[str]:
    for kind in ("inputs", "outputs"):
        ours = [_signature(value) for value in getattr(expected.graph, kind)]
        theirs = [_signature(value) for value in getattr(actual.graph, kind)]
        for want in ours:
            if want not in theirs:
                namesake = next((str(other) for other in theirs if other[0] == want[0]), "nothing of that name")
                yield f"{kind}: expected {want}, found {namesake}"
        extra = {other[0] for other in theirs} - {want[0] for want in ours}
        if extra:
            yield f"{kind}: found {', '.join(map(str, sorted(map(str, extra))))}, which does not belong"
        if not extra and sorted(map(str, ours)) == sorted(map(str, theirs)) and ours != theirs:
            yield f"{kind}: in another order"
    if dict(expected.graph.opset_imports) != dict(actual.graph.opset_imports):
        yield f"opsets: expected {dict(expected.graph.opset_imports)}, found {dict(actual.graph.opset_imports)}"


def _attribute(attribute: Any) -> Any:
    """An attribute's value, floats as the fp32 they are stored in."""
    import numpy as np

    value = attribute.value
    return float(np.float32(value)) if isinstance(value, float) else value


def _node(node: Any) -> tuple[Any, ...]:
    names = [None if value is None else value.name for value in node.inputs]
    attributes = {name: _attribute(attribute) for name, attribute in node.attributes.items()}
    return (node.domain, node.op_type, names, [value.name for value in node.outputs], attributes)


def _structure(expected: Any, actual: Any) -> Iterator[str]:
    ours, theirs = list(map(_node, expected.graph)), list(map(_node, actual.graph))
    if len(ours) != len(theirs):
        yield f"expected {len(ours)} operators, found {len(theirs)}"
    for number, (want, node) in enumerate(zip(ours, theirs, strict=False)):
        if want != node:
            fields = ("domain", "operator", "inputs", "outputs", "attributes")
            what = next(name for name, one, other in zip(fields, want, node, strict=True) if one != other)
            index = fields.index(what)
            yield f"operator {number} ({want[1]}): {what} expected {want[index]!r}, found {node[index]!r}"
    if actual.functions:
        yield f"found {len(actual.functions)} functions, expected none"


def _weight(name: str, want: Any, held: Any, slack: Any | None) -> str | None:
    """What differs in one initialiser, or None; each value may be off by its ``slack``."""
    import numpy as np

    if held is None:
        return f"{name}: missing"
    if want.dtype != held.dtype or tuple(want.shape) != tuple(held.shape):
        return (
            f"{name}: expected {want.dtype} {list(want.shape.numpy())}, found {held.dtype} {list(held.shape.numpy())}"
        )
    ours, theirs = want.numpy(), held.numpy()
    if ours.tobytes() == theirs.tobytes():
        return None
    if slack is not None:
        off = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) - np.spacing(np.abs(ours)).astype(np.float64)
        if (off <= slack).all():
            return None
    differing = (np.frombuffer(one.tobytes(), np.uint8).reshape(ours.size, -1) for one in (ours, theirs))
    places = np.argwhere(np.any(np.not_equal(*differing), axis=1).reshape(ours.shape))
    first = tuple(int(index) for index in places[0])
    return (
        f"{name}: {len(places)} of {ours.size} values differ, first at {list(first)}: {ours[first]} in the checkpoint, "
        f"{theirs[first]} in the file"
    )


def compare(expected: Any, actual: Any, slack: Mapping[str, Any] | None = None) -> Differences:
    """Compare two onnx_ir models: bit for bit, but for initialisers that both sides computed.

    Those are named in ``slack``, with what each of their values may be off by beside a rounding of its type.
    """
    ours, theirs = expected.graph.initializers, actual.graph.initializers
    weights, size = [], 0
    structure = list(_structure(expected, actual))
    extra = set(theirs) - set(ours)
    if extra:
        structure.append(f"found initialisers that do not belong: {', '.join(sorted(extra)[:MOST_LISTED])}")
    for name, value in ours.items():
        size += value.const_value.nbytes
        different = _weight(
            name, value.const_value, theirs[name].const_value if name in theirs else None, (slack or {}).get(name)
        )
        if different:
            weights.append(different)
    return Differences(
        interface=tuple(_interface(expected, actual)),
        structure=tuple(structure),
        weights=tuple(weights),
        weights_compared=len(ours),
        bytes_compared=size,
    )
