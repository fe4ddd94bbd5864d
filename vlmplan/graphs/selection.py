"""How does a graph choose among an image's tokens? DivPrune and VisionZip, drawn of standard operators.

``torch_compressors.py`` has the same in torch, and says what each does. DivPrune's greedy choice is drawn once for
every token that is kept, three operators each: as fast in ONNX Runtime as a Loop or faster (``docs/exports.md``), with
nothing nested that a proof had to look into, and no control flow between a GPU's kernels. What is compared is computed
in fp32 whatever the precision.
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.checkpoints import KEPT, MERGED, NORM_FLOOR, SELF_SIMILARITY, Compression, spread
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
    return _rows(sketch, x, places), sketch.integers(order, KEPT, ["batch_size", kept])


def _rows(sketch: Sketch, x: Any, places: Any) -> Any:
    """``[batch, tokens, width]`` at ``[batch, some]``: ``[batch, some, width]``."""
    return sketch.op("GatherND", x, sketch.op("Unsqueeze", places, sketch.ints(2)), batch_dims=1)


def _similarities(sketch: Sketch, x: Any, tokens: int) -> tuple[Any, Any]:
    """Cosines of all pairs ``[batch, tokens, tokens]``, and of each token and the other nearest to it."""
    unit = _normalised(sketch, _exact(sketch, x))
    cosines = sketch.op("MatMul", unit, sketch.op("Transpose", unit, perm=[0, 2, 1]))
    places = sketch.constant("positions", sketch.np.arange(tokens, dtype=sketch.np.int64))
    itself = sketch.op("Equal", places, sketch.op("Unsqueeze", places, sketch.ints(1)))
    most, least = (sketch.constant(f"similarity.{value:g}", sketch.np.array(value, sketch.np.float32))
                   for value in (SELF_SIMILARITY, -SELF_SIMILARITY))  # fmt: skip
    others = sketch.op("ReduceMax", sketch.op("Where", itself, least, cosines), sketch.ints(1), keepdims=0)
    return sketch.op("Where", itself, most, cosines), others


def _exact(sketch: Sketch, x: Any) -> Any:
    """A value in fp32."""
    return x if sketch.float_type == sketch.ir.DataType.FLOAT else sketch.op("Cast", x, to=sketch.ir.DataType.FLOAT)


def _normalised(sketch: Sketch, exact: Any) -> Any:
    """Vectors of length 1 along the last axis, of fp32 values."""
    length = sketch.op("ReduceL2", exact, sketch.ints(-1), keepdims=1)
    floor = sketch.constant("norm_floor", sketch.np.array(NORM_FLOOR, sketch.np.float32))
    return sketch.op("Div", exact, sketch.op("Max", length, floor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaze:
    """A layer's ``queries`` and ``keys [batch, patches, width]``, of so many ``heads``, behind so many class tokens."""

    queries: Any
    keys: Any
    heads: int
    classes: int


def zipped(sketch: Sketch, x: Any, gaze: Gaze, plan: Compression) -> tuple[list[Any], list[Any]]:
    """``x [batch, patches, width]`` -> (patches kept and merged tokens, ``[batch, some, width]`` each; outputs)."""
    queries, keys = (_by_head(sketch, _exact(sketch, part), gaze.heads) for part in (gaze.queries, gaze.keys))
    received = _received(sketch, queries, keys, gaze.classes)
    kept = plan.visual_tokens - plan.merged_tokens - gaze.classes
    ranked = sketch.ops("TopK", 2, received, sketch.ints(plan.region_tokens), axis=1, largest=1, sorted=1)[1]
    places, rest = (
        sketch.ops("TopK", 2, part, sketch.ints(count), axis=1, largest=0, sorted=1)[0]
        for part, count in (
            (sketch.op("Slice", ranked, *map(sketch.ints, (0, kept, 1))), kept),
            (sketch.tail(ranked, kept, axis=1), plan.region_tokens - kept),
        )
    )
    places = sketch.integers(places, KEPT, ["batch_size", kept])
    mean = sketch.op("ReduceMean", sketch.tail(keys, gaze.classes, axis=2), sketch.ints(1), keepdims=0)
    into, others = spread(plan.region_tokens - kept, plan.merged_tokens)
    merged, member = _merged(sketch, _rows(sketch, x, rest), _rows(sketch, mean, rest), into, others)
    return [_rows(sketch, x, places), merged], [places, member]


def _by_head(sketch: Sketch, x: Any, heads: int) -> Any:
    """``[batch, tokens, width] -> [batch, heads, tokens, head dim]``."""
    return sketch.op("Transpose", sketch.op("Reshape", x, sketch.ints(0, 0, heads, -1)), perm=[0, 2, 1, 3])


def _received(sketch: Sketch, queries: Any, keys: Any, classes: int) -> Any:
    """The mean attention that each patch gets from the class token, or from all patches: ``[batch, patches]``."""
    if classes:
        queries = sketch.op("Slice", queries, *map(sketch.ints, (0, classes, 2)))
    asked = sketch.op("MatMul", queries, sketch.op("Transpose", keys, perm=[0, 1, 3, 2]))
    weights = sketch.op("Softmax", sketch.op("Div", asked, _root_of_width(sketch, keys)), axis=-1)
    patches = sketch.tail(weights, classes, axis=3) if classes else weights
    return sketch.op("ReduceMean", patches, sketch.ints(1, 2), keepdims=0)


def _root_of_width(sketch: Sketch, x: Any) -> Any:
    """The root of the size of the last axis, in fp32."""
    width = sketch.op("Shape", x, start=3, end=4)
    return sketch.op("Sqrt", sketch.op("Cast", width, to=sketch.ir.DataType.FLOAT))


def _merged(sketch: Sketch, x: Any, keys: Any, into: list[int], others: list[int]) -> tuple[Any, Any]:
    """Tokens at ``into`` with the mean of those of the ``others`` that are most like each; and which went where."""
    unit = _normalised(sketch, keys)
    targets, sources = sketch.ints(*into), sketch.constant("merged.others", sketch.np.array(others, sketch.np.int64))
    first, second = (sketch.op("Gather", unit, one, axis=1) for one in (sources, targets))
    similarity = sketch.op("MatMul", first, sketch.op("Transpose", second, perm=[0, 2, 1]))
    chosen = sketch.op("ArgMax", similarity, axis=2, keepdims=0)
    places = sketch.constant("merged.places", sketch.np.arange(len(into), dtype=sketch.np.int64)[:, None])
    same = sketch.op("Equal", sketch.op("Unsqueeze", chosen, sketch.ints(1)), places)
    member = sketch.op("Cast", same, to=sketch.float_type)
    one = sketch.constant("merged.one", sketch.np.array(1, sketch.numpy_type))
    count = sketch.op("Max", sketch.op("ReduceSum", member, sketch.ints(2), keepdims=1), one)
    share = sketch.op("Div", member, count)
    joined = sketch.op("MatMul", share, sketch.op("Gather", x, sources, axis=1))
    merged = sketch.op("Add", sketch.op("Gather", x, targets, axis=1), joined)
    return merged, sketch.integers(chosen, MERGED, ["batch_size", len(others)])
