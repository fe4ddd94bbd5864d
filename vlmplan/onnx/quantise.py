"""How are weights made smaller? Blocks of 32 along the input share a scale; 4 or 8 bits, symmetric, round to nearest.

The packing is ONNX Runtime's own, by its quantiser, so that ``MatMulNBits`` reads what its authors meant.
"""

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlmplan.onnx.checkpoint import Array

BLOCK = 32  # weights that share a scale, along the input dimension


def blocks(inputs: int) -> int:
    """Return the number of scales of one output."""
    return -(-inputs // BLOCK)


def packed_shape(outputs: int, inputs: int, bits: int) -> tuple[int, int, int]:
    """Return the shape of the packed weights in bytes: outputs, blocks, bytes of a block."""
    return outputs, blocks(inputs), BLOCK * bits // 8


@functools.cache
def _quantiser(bits: int) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        DefaultWeightOnlyQuantizer,
    )

    return DefaultWeightOnlyQuantizer(
        DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=bits)
    )


def quantised(weight: "Array", bits: int) -> "tuple[Array, Array]":
    """Return (packed uint8, fp32 scales) of a weight of shape outputs x inputs."""
    import numpy as np

    outputs, inputs = weight.shape
    packed, scales, _ = _quantiser(bits).qbits_block_quant(np.ascontiguousarray(weight.T))
    return packed.reshape(packed_shape(outputs, inputs, bits)), scales.reshape(outputs, blocks(inputs))
