"""How does a graph choose among an image's tokens? DivPrune, drawn step by step.

``torch_compressors.py`` has the same in torch. The greedy choice is drawn once for every token that is kept, three
operators each: as fast in ONNX Runtime as a Loop or faster (``docs/exports.md``), with nothing nested that a proof had
to look into, and no control flow between a GPU's kernels. Similarities are computed in fp32 whatever the precision.
"""

from typing import Any

from vlmplan.checkpoints import KEPT, NORM_FLOOR, SELF_SIMILARITY
from vlmplan.graphs.sketch import Sketch


def divpruned(sketch: Sketch, x: Any, tokens: int, kept: int) -> tuple[Any, Any]:
    """``x [batch, tokens, width]`` -> (``[batch, kept, width]``, the output of positions ``[batch, kept]``)."""
    similarity, nearest = _similarities(sketch, x, tokens)
    taken: list[Any] = []
    while len(taken) < kept:
        taken.append(sketch.op("ArgMin", nearest, axis=1, keepdims=1))
        if len(taken) < kept:
            row = sketch.op("GatherND", similarity, taken[-1], batch_dims=1)
            nearest = row if len(taken) == 1 else sketch.op("Max", nearest, row)
    order = sketch.op("Concat", *taken, axis=1)
    places, _ = sketch.ops("TopK", 2, order, sketch.ints(kept), axis=1, largest=0, sorted=1)
    return rows(sketch, x, places), sketch.integers(order, KEPT, ["batch_size", kept])


def rows(sketch: Sketch, x: Any, places: Any) -> Any:
    """``[batch, tokens, width]`` at ``[batch, some]``: ``[batch, some, width]``."""
    return sketch.op("GatherND", x, sketch.op("Unsqueeze", places, sketch.ints(2)), batch_dims=1)


def _similarities(sketch: Sketch, x: Any, tokens: int) -> tuple[Any, Any]:
    """Cosines of all pairs ``[batch, tokens, tokens]``, and of each token and the other nearest to it."""
    unit = normalised(sketch, x)
    found = sketch.op("MatMul", unit, sketch.op("Transpose", unit, perm=[0, 2, 1]))
    places = sketch.constant("positions", sketch.np.arange(tokens, dtype=sketch.np.int64))
    itself = sketch.op("Equal", places, sketch.op("Unsqueeze", places, sketch.ints(1)))
    most, least = (sketch.constant(f"similarity.{value:g}", sketch.np.array(value, sketch.np.float32))
                   for value in (SELF_SIMILARITY, -SELF_SIMILARITY))  # fmt: skip
    others = sketch.op("ReduceMax", sketch.op("Where", itself, least, found), sketch.ints(1), keepdims=0)
    return sketch.op("Where", itself, most, found), others


def normalised(sketch: Sketch, x: Any) -> Any:
    """Vectors of length 1 along the last axis, in fp32."""
    exact = sketch.op("Cast", x, to=sketch.ir.DataType.FLOAT) if sketch.float_type != sketch.ir.DataType.FLOAT else x
    length = sketch.op("ReduceL2", exact, sketch.ints(-1), keepdims=1)
    floor = sketch.constant("norm_floor", sketch.np.array(NORM_FLOOR, sketch.np.float32))
    return sketch.op("Div", exact, sketch.op("Max", length, floor))
