"""How does LFM2-VL run? Graphs of its decoder, short convolutions with attention in some layers, and of its tower.

A convolution sees a token and the ones before it, three in all: in place of keys and values its cache holds what went
into it of the last tokens, ``past_conv.N [batch, hidden, kernel]``, by the name that clients give it. Padding goes in
as zeros, which is what stands before the first token, too.

``pixel_values [views, patches, numbers of a patch], pixel_attention_mask [views, patches], spatial_shapes [views, 2]
-> image_features [tokens, LLM width]``, by SigLIP 2 and the projector. A view's patches stand row by row, padding
behind them; its shape says how many rows and columns there are. As transformers computes it: the square of trained
positions is resized to the shape of each view, patches see those of their view that the mask shows, squares of patches
are joined and projected. Padding that no view needs is left out. Where tokens are pooled, larger squares are, and what
comes out is averaged.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, Weights, position_side, view_patch_width
from vlmplan.graphs.decoder import NEW, PAST, TOTAL, DecoderOptions, DecoderSketch
from vlmplan.graphs.quantise import bits_of
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import tower_layer
from vlmplan.hardware import Precision

_WIDE = {"w1": "gate_proj", "w3": "up_proj"}  # what other decoders call the MLP's two wide products
_TO_THE_END = 2**62  # of any axis


class _Lfm2Decoder(DecoderSketch):
    """The decoder being drawn."""

    last_norm, head_norms, out = "language_model.embedding_norm.weight", ("q_layernorm", "k_layernorm"), "out_proj"

    @property
    def epsilon(self) -> float:
        """What every norm adds to the mean square."""
        return float(self.config.norm_eps)

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, config = self.sketch, self.config
        embeds = sketch.input("inputs_embeds", ["batch_size", NEW, config.hidden_size])
        mask = sketch.input("attention_mask", ["batch_size", TOTAL], integer=True)
        positions = sketch.input("position_ids", ["batch_size", NEW], integer=True)
        turns, visible = self._rotary(positions), self._visible(embeds, mask, None)
        real, inputs, outputs = self._real(embeds, mask), [], []
        x = sketch.inner(embeds)
        for layer, kind in enumerate(config.layer_types):
            name = f"language_model.layers.{layer}"
            past = self._past(layer, kind)
            normed = sketch.rms_norm(x, f"{name}.operator_norm.weight", self.epsilon)
            if kind == "conv":
                mixed, *present = self._convolved(normed, f"{name}.conv", real, past[0])
            else:
                mixed, *present = self._attention(normed, f"{name}.self_attn", visible, turns, past)
            x = self._fed_forward(sketch.op("Add", x, mixed), name)
            inputs += past
            outputs += [self._present(value, one) for value, one in zip(present, past, strict=True)]
        return sketch.model("decoder", [embeds, mask, positions, *inputs], [*self._head(x), *outputs])

    def _past(self, layer: int, kind: str) -> list[Any]:
        """A layer's cache: keys and values, or what went into its convolution."""
        sketch, config = self.sketch, self.config
        if kind == "conv":
            shape = ["batch_size", config.hidden_size, config.conv_L_cache]
            return [sketch.input(f"past_conv.{layer}", shape, cache=True)]
        shape = ["batch_size", config.num_key_value_heads, PAST, self.dim]
        return [sketch.input(f"past_key_values.{layer}.{part}", shape, cache=True) for part in ("key", "value")]

    def _present(self, value: Any, past: Any) -> Any:
        """A layer's cache after this call, named and shaped as the one before it."""
        name = past.name.replace("past_key_values", "present").replace("past_conv", "present_conv")
        shape = [TOTAL if axis == PAST else axis for axis in (getattr(axis, "value", axis) for axis in past.shape)]
        return self.sketch.output(value, name, shape, cache=True)

    def _real(self, embeds: Any, mask: Any) -> Any:
        """1 for new tokens and 0 for padding: ``[batch, 1, new]``."""
        sketch = self.sketch
        total, new = (sketch.op("Shape", part, start=1, end=2) for part in (mask, embeds))
        past, end = sketch.op("Sub", total, new), sketch.ints(_TO_THE_END)
        last = sketch.op("Slice", mask, past, end, sketch.ints(1))
        return sketch.op("Unsqueeze", sketch.op("Cast", last, to=sketch.float_type), sketch.ints(1))

    def _convolved(self, x: Any, name: str, real: Any, past: Any) -> tuple[Any, Any]:
        """A gated short convolution over time, each channel by itself: (what it makes, what it keeps)."""
        sketch, kernel, width = self.sketch, self.config.conv_L_cache, self.config.hidden_size
        joined = sketch.op("Transpose", self._linear(x, f"{name}.in_proj"), perm=[0, 2, 1])
        before, after, values = sketch.ops("Split", 3, joined, axis=1, num_outputs=3)
        fed = sketch.op("Mul", sketch.op("Mul", before, values), real)
        held = sketch.op("Concat", past, fed, axis=2)
        weights = [sketch.parameter(f"{name}.conv.weight")]
        if sketch.has(f"{name}.conv.bias"):
            weights.append(sketch.parameter(f"{name}.conv.bias"))
        convolved = sketch.op("Conv", sketch.tail(held, 1, axis=2), *weights, kernel_shape=[kernel], group=width)
        convolved = sketch.op("Transpose", sketch.op("Mul", after, convolved), perm=[0, 2, 1])
        return self._linear(convolved, f"{name}.out_proj"), sketch.tail(held, -kernel, axis=2)

    def _fed_forward(self, x: Any, name: str) -> Any:
        """A norm and the gated MLP."""
        sketch = self.sketch
        normed = sketch.rms_norm(x, f"{name}.ffn_norm.weight", self.epsilon)
        gate = sketch.activation(self._linear(normed, f"{name}.feed_forward.w1"), "silu")
        inner = sketch.op("Mul", gate, self._linear(normed, f"{name}.feed_forward.w3"))
        return sketch.op("Add", x, self._linear(inner, f"{name}.feed_forward.w2"))

    def _linear(self, x: Any, name: str) -> Any:
        part = name.rpartition(".")[2]
        return self.sketch.linear(x, name, bits_of(self.options.precision, _WIDE.get(part, part)))


def lfm2_decoder_graph(config: Any, weights: Weights, options: DecoderOptions) -> Any:
    """Return the decoder of an LFM2 as an onnx_ir model, with inputs and outputs as other decoders'.

    But for layers that convolve: ``past_conv.N [batch, hidden, kernel] -> present_conv.N``. Raises InputError for a
    missing tensor.
    """
    return _Lfm2Decoder(config, weights, options).draw()


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
        features = sketch.output(self._projected(x, longest), "image_features", shape)
        return sketch.model("vision_encoder", [pixels, mask, shapes], [features])

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
        nearness = sketch.op("Sub", number("one", 1.0), sketch.op("Div", apart, reach))
        nearness = sketch.op("Max", nearness, number("none", 0.0))
        return sketch.op("Div", nearness, sketch.op("ReduceSum", nearness, sketch.ints(2), keepdims=1))

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
