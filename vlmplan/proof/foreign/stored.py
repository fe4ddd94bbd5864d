"""Which matrices does a decoder by others store as integers, and what are they as numbers?

``MatMulNBits`` and ``GatherBlockQuantized`` unpack what they read, ``DequantizeLinear`` hands it to a product. Layouts:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md and
https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html, read 2026-11-28.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vlmplan.proof.foreign.decoder import INTEGERS
from vlmplan.proof.foreign.files import Accused, arrays_of, live_names

_FLOATS = (1, 10, 16)
_PACKED = (2, 4, 8)  # bits that fill a byte


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """A matrix (outputs, inputs) of rounded weights: of ``bits``, where so many inputs (``block``) share a scale.

    A ``block`` of 0 is one of all weights, or of several outputs. ``name`` is the initialiser, ``made`` what its
    operator makes, ``plain`` whether that does nothing else: no bias, no other order of inputs. ``rows`` are some
    outputs' numbers, fp32.
    """

    name: str
    made: str
    shape: tuple[int, int]
    bits: int
    block: int
    plain: bool
    rows: Callable[[slice], Any]


def dequantised(packed: Any, scales: Any, zeros: Any | None, bits: int, shape: tuple[int, int]) -> Any:
    """Weights ``shape`` (outputs, inputs), fp32, of what ``MatMulNBits`` reads: blocks ``[outputs, blocks, bytes]``."""
    import numpy as np

    outputs, inputs = shape
    values = _unpacked(packed.reshape(outputs, -1, packed.shape[-1]), bits).astype(np.float32)
    scales = scales.astype(np.float32).reshape(outputs, -1, 1)
    if zeros is None:
        middle: Any = np.float32(2 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        middle = _unpacked(zeros.reshape(outputs, -1), bits)[:, : scales.shape[1], None].astype(np.float32)
    else:
        middle = zeros.astype(np.float32).reshape(outputs, -1, 1)
    return ((values - middle) * scales).reshape(outputs, -1)[:, :inputs]


def _unpacked(packed: Any, bits: int) -> Any:
    """Numbers of 2, 4 or 8 bits, the lowest of a byte first, along the last axis."""
    import numpy as np

    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1)


def stored(accused: Accused) -> Iterator[Rounded]:
    """Matrices of integers that the outputs are computed from, where an operator says what numbers they are."""
    graph = accused.proto.graph
    live = live_names(graph)
    arrays = arrays_of(accused, (*INTEGERS, *_FLOATS))
    arrays |= {
        node.output[0]: arrays[node.input[0]]
        for node in graph.node
        if node.op_type == "Reshape" and not node.domain and node.input[0] in arrays
    }
    readers = {"MatMulNBits": _of_product, "GatherBlockQuantized": _of_rows, "DequantizeLinear": _of_linear}
    for node in graph.node:
        if node.op_type not in readers or not live & set(node.output):
            continue
        try:
            matrix = readers[node.op_type](node, arrays, graph)
            if matrix is not None and matrix.rows(slice(0, 1)).shape == (1, matrix.shape[1]):
                yield matrix
        except (ValueError, IndexError, TypeError):  # its shapes do not fit: ONNX Runtime will say so
            continue


def _flags(node: Any) -> dict[str, int]:
    """An operator's whole numbers."""
    return {attribute.name: attribute.i for attribute in node.attribute}


def _inputs(node: Any, arrays: Mapping[str, Any], places: tuple[int, ...]) -> list[Any]:
    """Arrays at some places of an operator's inputs, None where there is no input or it is computed."""
    return [arrays.get(node.input[place]) if place < len(node.input) else None for place in places]


def _of_product(node: Any, arrays: Mapping[str, Any], _: Any) -> Rounded | None:
    """``MatMulNBits``: packed [outputs, blocks, bytes]."""
    flags = _flags(node)
    packed, scales, zeros = _inputs(node, arrays, (1, 2, 3))
    outputs, inputs, bits = flags.get("N", 0), flags.get("K", 0), flags.get("bits", 4)
    if packed is None or scales is None or bits not in _PACKED or (zeros is None and any(node.input[3:4])):
        return None
    return _unpacking(node, packed, (scales, zeros), (outputs, inputs), not any(node.input[4:]))


def _of_rows(node: Any, arrays: Mapping[str, Any], _: Any) -> Rounded | None:
    """``GatherBlockQuantized``: a table [outputs, bytes], or of 4 bits a number."""
    flags = _flags(node)
    table, scales, zeros = _inputs(node, arrays, (0, 2, 3))
    if (
        table is None
        or scales is None
        or flags.get("gather_axis", 0) != 0
        or flags.get("quantize_axis", 1) not in (1, -1)
    ):
        return None
    outputs, blocks = scales.shape
    bits = flags.get("bits", 4)
    if table.dtype.name in ("uint4", "int4"):
        spread = functools.partial(_spread, shape=table.shape, axis=1, block=flags.get("block_size", 128))
        return _whole(node, table, (spread(scales), spread(zeros)), flags.get("block_size", 128))
    if table.dtype.name != "uint8" or bits not in _PACKED:
        return None
    size = table.size * 8 // bits // outputs
    return _unpacking(node, table.reshape(outputs, blocks, -1), (scales, zeros), (outputs, size), True)


def _unpacking(node: Any, packed: Any, by: tuple[Any, Any | None], shape: tuple[int, int], plain: bool) -> Rounded:
    """A matrix that is packed by rows; ``by`` scales and zero points."""
    bits, block = _flags(node).get("bits", 4), _flags(node).get("block_size", 128)
    packed, scales = packed.reshape(shape[0], -1, packed.shape[-1]), by[0].reshape(shape[0], -1)
    zeros = None if by[1] is None else by[1].reshape(shape[0], -1)

    def rows(part: slice) -> Any:
        some = packed[part]
        held = None if zeros is None else zeros[part]
        return dequantised(some, scales[part], held, bits, (len(some), shape[1]))

    name = node.input[1] if node.op_type == "MatMulNBits" else node.input[0]
    return Rounded(name=name, made=node.output[0], shape=shape, bits=bits, block=block, plain=plain, rows=rows)


def _of_linear(node: Any, arrays: Mapping[str, Any], graph: Any) -> Rounded | None:
    """``DequantizeLinear`` of a constant, turned so that outputs come first: a product has them last."""
    table, scales, zeros = _inputs(node, arrays, (0, 1, 2))
    if table is None or scales is None or table.ndim != 2 or (zeros is None and any(node.input[2:3])):
        return None
    axis, block = _flags(node).get("axis", 1) % 2, _flags(node).get("block_size", 0)
    by = [_spread(one, table.shape, axis, block) for one in (scales, zeros)]
    turned = _outputs_last(node.output[0], graph)
    if turned:
        table, by = table.T, [one.T for one in by]
    along_inputs = axis == (0 if turned else 1)  # blocks are; a scale a row is along outputs
    own = along_inputs if block else (scales.size > 1 and not along_inputs)
    size = (block or table.shape[1]) if own else 0
    return _whole(node, table, (by[0], by[1]), size)


def _spread(one: Any | None, shape: tuple[int, ...], axis: int, block: int) -> Any:
    """A scale or zero point for each number of a table: of blocks along an axis, of its rows or columns, or of all."""
    import numpy as np

    if one is None:
        return np.broadcast_to(np.float32(0), shape)
    one = one.astype(np.float32)
    if one.ndim == len(shape):
        one = np.repeat(one, block, axis=axis)[: shape[0], : shape[1]]
    elif one.size > 1:
        one = np.expand_dims(one, 1 - axis)
    return np.broadcast_to(one, shape)


def _whole(node: Any, table: Any, by: tuple[Any, Any], block: int) -> Rounded:
    """A matrix (outputs, inputs) of one number an element; ``by`` a scale and a zero point for each."""
    import numpy as np

    return Rounded(
        name=node.input[0],
        made=node.output[0],
        shape=table.shape,
        bits=4 if "int4" in table.dtype.name else 8,
        block=block,
        plain=True,
        rows=lambda part: (table[part].astype(np.float32) - by[1][part]) * by[0][part],
    )


def _outputs_last(name: str, graph: Any) -> bool:
    """Whether a matrix is multiplied as it lies (inputs, outputs), by the first operator that reads it."""
    for node in graph.node:
        if name in node.input:
            if node.op_type == "Transpose":
                return not _outputs_last(node.output[0], graph)
            return node.op_type == "MatMul" or (node.op_type == "Gemm" and not _flags(node).get("transB"))
    return False
