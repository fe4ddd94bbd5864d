"""How are weights made smaller? Blocks of 32 along the input share a scale; 4 or 8 bits, round to nearest.

Four bits have a zero point a block too, eight bits are symmetric. In an int4 export the MLP's two wide products have
four bits, and what rounding hurts more keeps eight (docs/rounding.md has the measurement). The packing is ONNX
Runtime's own, by its quantiser, so that ``MatMulNBits`` reads what its authors meant.
"""

import functools
from typing import TYPE_CHECKING, Any

from vlmplan.cost import EXPORT_BLOCK, FOUR_BIT_PARTS
from vlmplan.hardware import Precision

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = EXPORT_BLOCK  # weights that share a scale, along the input dimension
_WHOLE, _LEAST = 8, 4  # bits


def bits_of(precision: Precision, part: str) -> int | None:
    """Return the bits of the weight of a product (``v_proj``, ``lm_head``); None where it is not quantised."""
    if precision is Precision.INT8:
        return _WHOLE
    if precision is Precision.INT4:
        return _LEAST if part in FOUR_BIT_PARTS else _WHOLE
    return None


def blocks(inputs: int) -> int:
    """Return the number of scales of one output."""
    return -(-inputs // BLOCK)


def packed_shape(outputs: int, inputs: int, bits: int) -> tuple[int, int, int]:
    """Return the shape of the packed weights in bytes: outputs, blocks, bytes of a block."""
    return outputs, blocks(inputs), BLOCK * bits // 8


def zeros_shape(outputs: int, inputs: int, bits: int) -> tuple[int, int] | None:
    """Return the shape of the packed zero points in bytes: outputs, two blocks a byte; None where there are none."""
    return None if bits == _WHOLE else (outputs, -(-blocks(inputs) * bits // 8))


@functools.cache
def _quantiser(bits: int, symmetric: bool) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        DefaultWeightOnlyQuantizer,
    )

    return DefaultWeightOnlyQuantizer(
        DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=symmetric, accuracy_level=4, bits=bits)
    )


def quantised(weight: "Array", bits: int, *, symmetric: bool | None = None) -> "tuple[Array, Array, Array | None]":
    """Return (packed uint8, fp32 scales, packed zero points or None) of a weight of shape outputs x inputs.

    ``symmetric`` None is as exports have it: eight bits are, four are not.
    """
    import numpy as np

    outputs, inputs = weight.shape
    even = bits == _WHOLE if symmetric is None else symmetric
    packed, scales, zeros = _quantiser(bits, even).qbits_block_quant(np.ascontiguousarray(weight.T))
    shape = None if even else zeros_shape(outputs, inputs, bits)
    return (
        packed.reshape(packed_shape(outputs, inputs, bits)),
        scales.reshape(outputs, blocks(inputs)),
        None if shape is None else zeros.reshape(shape),
    )
