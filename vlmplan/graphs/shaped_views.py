"""How do views of any shape become visual tokens? The graph of LFM2-VL's tower, SigLIP 2, and its projector.

``pixel_values [views, patches, numbers of a patch], pixel_attention_mask [views, patches], spatial_shapes [views, 2]
-> image_features [tokens, LLM width]``. A view's patches stand row by row, padding behind them; its shape says how many
rows and columns there are. As transformers computes it: the square of trained positions is resized to the shape of each
view, patches see those of their view that the mask shows, squares of patches are joined and projected. Padding that no
view needs is left out. Where tokens are pooled, larger squares are, and what comes out is averaged.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, position_side, view_patch_width
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import tower_layer
from vlmplan.hardware import Precision

_PROJECTOR_EPSILON = 1e-5  # of torch's LayerNorm


class _ViewEncoder:
    """The encoder being drawn. ``square`` patches of a side become a token."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, square: int) -> None:
        self.checkpoint, self.tower = checkpoint, checkpoint.tower
        self.sketch = Sketch(checkpoint.tensors, precision)
        self.joined, self.square = checkpoint.joined_side, square
        self.side = position_side(checkpoint.tower)  # patches of a side, whose positions were trained
        self.rows: Any = None
        self.columns: Any = None

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, tower = self.sketch, self.tower
        pixels = sketch.input("pixel_values", ["num_views", "num_patches", view_patch_width(tower)])
        mask = sketch.input("pixel_attention_mask", ["num_views", "num_patches"], integer=True)
        shapes = sketch.input("spatial_shapes", ["num_views", 2], integer=True)
        self.rows, self.columns = (sketch.op("Gather", shapes, sketch.scalar(axis), axis=1) for axis in (0, 1))
        counts = sketch.op("Mul", self.rows, self.columns)
        longest = sketch.op("ReduceMax", counts, keepdims=1)
        shown, seen = (sketch.op("Slice", part, sketch.ints(0), longest, sketch.ints(1)) for part in (pixels, mask))
        x = sketch.linear(sketch.inner(shown), "vision_tower.embeddings.patch_embedding")
        x = sketch.op("Add", x, self._positions(counts, longest))
        visible = self._visible(seen, longest)
        for layer in range(tower.num_hidden_layers):
            x = tower_layer(sketch, tower, x, f"vision_tower.encoder.layers.{layer}", visible)
        x = sketch.layer_norm(x, "vision_tower.post_layernorm", tower.layer_norm_eps)
        shape = ["num_tokens", self.checkpoint.text.hidden_size]
        found = sketch.output(self._projected(x, longest), "image_features", shape)
        return sketch.model("vision_encoder", [pixels, mask, shapes], [found])

    def _range(self, count: Any) -> Any:
        """0 to a count, itself left out."""
        return self.sketch.op("Range", self.sketch.scalar(0), count, self.sketch.scalar(1))

    def _positions(self, counts: Any, longest: Any) -> Any:
        """The trained square of positions at each patch's row and column: ``[views, patches, width]``."""
        sketch = self.sketch
        number = sketch.op("Unsqueeze", self._range(sketch.op("Squeeze", longest)), sketch.ints(0))
        last = sketch.op("Unsqueeze", sketch.op("Sub", counts, sketch.scalar(1)), sketch.ints(1))
        inside, wide = sketch.op("Min", number, last), sketch.op("Unsqueeze", self.columns, sketch.ints(1))
        down = self._shares(sketch.op("Div", inside, wide), self.rows)
        across = self._shares(sketch.op("Mod", inside, wide), self.columns)
        both = sketch.op("Mul", sketch.op("Unsqueeze", down, sketch.ints(3)),
                         sketch.op("Unsqueeze", across, sketch.ints(2)))  # fmt: skip
        both = sketch.inner(sketch.op("Reshape", both, sketch.ints(0, 0, self.side**2)))
        return sketch.op("MatMul", both, sketch.parameter("vision_tower.embeddings.position_embedding.weight"))

    def _shares(self, at: Any, length: Any) -> Any:
        """How much of each trained row (or column) a patch's has: ``[views, patches, side]``.

        ``at [views, patches]`` of ``length [views]``. Bilinear, and where the view is smaller than the square
        antialiased: a triangle as wide as a patch is in trained ones, of what of it lies inside.
        """
        sketch, numpy, kind = self.sketch, self.sketch.np, self.sketch.ir.DataType.FLOAT

        def number(name: str, value: float) -> Any:
            return sketch.constant(f"positions.{name}", numpy.array(value, numpy.float32))

        length = sketch.op("Cast", sketch.op("Unsqueeze", length, sketch.ints(1, 2)), to=kind)
        share = sketch.op("Div", number("side", self.side), length)
        place = sketch.op("Add", sketch.op("Cast", sketch.op("Unsqueeze", at, sketch.ints(2)), to=kind),
                          number("half", 0.5))  # fmt: skip
        middle = sketch.op("Mul", place, share)
        trained = sketch.constant("positions.trained", numpy.arange(self.side, dtype=numpy.float32) + 0.5)
        apart = sketch.op("Abs", sketch.op("Sub", trained, middle))
        reach = sketch.op("Max", share, number("one", 1.0))
        found = sketch.op("Sub", number("one", 1.0), sketch.op("Div", apart, reach))
        found = sketch.op("Max", found, number("none", 0.0))
        return sketch.op("Div", found, sketch.op("ReduceSum", found, sketch.ints(2), keepdims=1))

    def _visible(self, mask: Any, longest: Any) -> Any:
        """Every patch sees those that the mask shows: bool ``[views, 1, patches, patches]``."""
        sketch = self.sketch
        shown = sketch.op("Cast", sketch.op("Unsqueeze", mask, sketch.ints(1, 2)), to=sketch.ir.DataType.BOOL)
        return sketch.op("Expand", shown, sketch.op("Concat", sketch.ints(1, 1), longest, sketch.ints(1), axis=0))

    def _projected(self, x: Any, longest: Any) -> Any:
        """Squares of patches, joined, normed where the model has it, through two layers: ``[tokens, LLM width]``."""
        sketch, name, pooled = self.sketch, "multi_modal_projector", (self.square // self.joined) ** 2
        width, config = self.tower.hidden_size, self.checkpoint.config
        flat = sketch.op("Reshape", x, sketch.ints(-1, width))
        x = sketch.op("Gather", flat, self._squares(longest), axis=0)
        x = sketch.op("Reshape", x, sketch.ints(-1, width * self.joined**2))
        if config.projector_use_layernorm:
            x = sketch.layer_norm(x, f"{name}.layer_norm", _PROJECTOR_EPSILON)
        inner = sketch.activation(sketch.linear(x, f"{name}.linear_1"), config.projector_hidden_act)
        x = sketch.linear(inner, f"{name}.linear_2")
        if pooled == 1:
            return x
        x = sketch.op("Reshape", x, sketch.ints(-1, pooled, self.checkpoint.text.hidden_size))
        return sketch.op("ReduceMean", x, sketch.ints(1), keepdims=0)

    def _squares(self, longest: Any) -> Any:
        """Where each token's patches stand among all of all views: int64 ``[tokens, patches of a token]``.

        The model's own squares one after the other, each row by row.
        """
        sketch, side = self.sketch, self.sketch.scalar(self.square)
        high, wide = (sketch.op("Div", axis, side) for axis in (self.rows, self.columns))
        counts = sketch.op("Mul", high, wide)
        ends = sketch.op("CumSum", counts, sketch.scalar(0))
        number = self._range(sketch.op("ReduceSum", counts, keepdims=0))
        passed = sketch.op("GreaterOrEqual", sketch.op("Unsqueeze", number, sketch.ints(1)),
                           sketch.op("Unsqueeze", ends, sketch.ints(0)))  # fmt: skip
        view = sketch.op("ReduceSum", sketch.op("Cast", passed, to=sketch.ir.DataType.INT64), sketch.ints(1),
                         keepdims=0)  # fmt: skip
        inside = sketch.op("Sub", number, sketch.op("Gather", sketch.op("Sub", ends, counts), view))
        across = sketch.op("Gather", wide, view)
        row, column = (
            sketch.op("Unsqueeze", sketch.op("Mul", sketch.op(kind, inside, across), side), sketch.ints(1))
            for kind in ("Div", "Mod")
        )
        down, right = self._corners()
        line = sketch.op("Unsqueeze", sketch.op("Gather", self.columns, view), sketch.ints(1))
        at = sketch.op("Add", sketch.op("Mul", sketch.op("Add", row, down), line), sketch.op("Add", column, right))
        first = sketch.op("Unsqueeze", sketch.op("Mul", view, longest), sketch.ints(1))
        return sketch.op("Add", first, at)

    def _corners(self) -> tuple[Any, Any]:
        """Rows and columns of a square's patches within it, own square by own square: int64 ``[patches]`` each."""
        sketch, numpy = self.sketch, self.sketch.np
        pooled, joined = self.square // self.joined, self.joined
        places = numpy.indices((self.square, self.square)).reshape(2, pooled, joined, pooled, joined)
        rows, columns = places.transpose(0, 1, 3, 2, 4).reshape(2, -1)
        return sketch.constant("square.rows", rows), sketch.constant("square.columns", columns)


def view_graph(checkpoint: Checkpoint, precision: Precision, square: int) -> Any:
    """Return the vision encoder of an LFM2-VL as an onnx_ir model.

    ``square`` patches of a side become a token: the model's own number, or a multiple of it, whose tokens are averaged.
    Raises InputError for a missing tensor.
    """
    return _ViewEncoder(checkpoint, precision, square).draw()
