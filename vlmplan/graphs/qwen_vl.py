"""How do patches become visual tokens? The graph of Qwen2-VL's, Qwen2.5-VL's and Qwen3-VL's tower and merger.

``pixel_values [patches, numbers of a patch], grid [images, 3] -> image_features [tokens, LLM width]``. The patches of
all images, one after the other, square by square; the grid says how many there are in time, height and width, and is
read when the graph runs. As transformers computes it: angles follow a patch's row and column, patches see their own
image, or in Qwen2.5-VL's windowed layers those of their own window, and a square's patches are normed, joined and
projected. Where tokens are pooled the patches come in larger squares, and a square's tokens are averaged. transformers
sorts patches by window and back again; here they keep their places, and the patches of a group are gathered for
attention alone.

Qwen3-VL's tower also adds learned positions, of a square table that is stretched over each image, and DeepStack:
squares of some of its layers are joined and projected, too, and added to the image's tokens behind the LLM's first
layers. They stand beside ``image_features``, LLM width after LLM width, and the decoder takes them apart: so whatever
puts image features in their places carries them, in clients that know nothing of them, too.
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.checkpoints import Checkpoint, patch_width, stacked_layers, tower_width, window_side
from vlmplan.graphs.sketch import Sketch
from vlmplan.hardware import Precision

# As transformers.js feeds them.
GRID_NAMES = {"qwen2_vl": "grid_thw", "qwen2_5_vl": "image_grid_thw", "qwen3_vl": "image_grid_thw"}
_EPSILON = 1e-6  # of every norm, in transformers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where every patch lies, int64 ``[patches]`` each: its image, and its frame among those of all images.

    ``row`` and ``column`` are those of its frame, ``inside`` its number in the frame.
    """

    image: Any
    frame: Any
    inside: Any
    row: Any
    column: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """Patches that see each other, in rows of one length, the last of a row perhaps empty.

    ``at [patches]`` is where in all rows each patch stands, ``held [rows x length]`` the patch that stands there,
    ``length`` an int64 of one value, ``visible [rows, 1, length, length]`` who sees whom.
    """

    at: Any
    held: Any
    length: Any
    visible: Any


class _QwenEncoder:
    """The encoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, square: int) -> None:
        self.checkpoint, self.tower = checkpoint, checkpoint.tower
        self.sketch = Sketch(checkpoint.tensors, precision)
        self.merge, self.square = checkpoint.joined_side, square
        self.window = window_side(checkpoint.tower)
        self.stacked = stacked_layers(checkpoint.tower)
        self.width = checkpoint.text.hidden_size * (1 + len(self.stacked))  # of a token's features
        self.grid: Any = None

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, tower = self.sketch, self.tower
        pixels = sketch.input("pixel_values", ["num_patches", patch_width(tower)])
        self.grid = sketch.input(GRID_NAMES[self.checkpoint.config.model_type], ["num_images", 3], integer=True)
        places = self._places(pixels)
        angles = self._angles(places)
        whole = self._whole(places)
        windows = whole if self.window is None else self._windows(places, self.window * self.merge)
        full = range(tower.depth) if self.window is None else tower.fullatt_block_indexes
        x, stacked = self._embedded(sketch.inner(pixels), places), []
        for layer in range(tower.depth):
            x = self._layer(x, f"vision_tower.blocks.{layer}", angles, whole if layer in full else windows)
            if layer in self.stacked:
                stacked.append(self._stacked(x, self.stacked.index(layer)))
        tokens = self._merged(x)
        tokens = self._pooled(sketch.op("Concat", tokens, *stacked, axis=-1) if stacked else tokens)
        features = sketch.output(tokens, "image_features", ["num_tokens", self.width])
        return sketch.model("vision_encoder", [pixels, self.grid], [features])

    def _embedded(self, pixels: Any, places: _Places) -> Any:  # noqa: ARG002 - of towers with positions
        """A convolution whose kernel is the whole patch: ``[1, patches, width]``."""
        sketch, name = self.sketch, "vision_tower.patch_embed.proj.weight"
        kernel = sketch.op("Reshape", sketch.parameter(name), sketch.ints(tower_width(self.tower), -1))
        x = sketch.op("MatMul", pixels, sketch.op("Transpose", kernel, perm=[1, 0]))
        return sketch.op("Unsqueeze", x, sketch.ints(0))

    def _side(self, number: int) -> Any:
        """Each image's frames (0), rows (1) or columns (2) of patches: int64 ``[images]``."""
        return self.sketch.op("Gather", self.grid, self.sketch.scalar(number), axis=1)

    def _before(self, counts: Any) -> Any:
        """How many come before each image's own."""
        return self.sketch.op("Sub", self.sketch.op("CumSum", counts, self.sketch.scalar(0)), counts)

    def _parted(self, number: Any, divisor: Any) -> tuple[Any, Any]:
        """Whole quotient and rest."""
        return self.sketch.op("Div", number, divisor), self.sketch.op("Mod", number, divisor)

    def _places(self, pixels: Any) -> _Places:
        sketch = self.sketch
        frame_size = sketch.op("Mul", self._side(1), self._side(2))
        counts = sketch.op("Mul", self._side(0), frame_size)
        ends = sketch.op("Unsqueeze", sketch.op("CumSum", counts, sketch.scalar(0)), sketch.ints(0))
        number = self._range(sketch.op("Squeeze", sketch.op("Shape", pixels, start=0, end=1)))
        passed = sketch.op("GreaterOrEqual", sketch.op("Unsqueeze", number, sketch.ints(1)), ends)
        passed = sketch.op("Cast", passed, to=sketch.ir.DataType.INT64)
        image = sketch.op("ReduceSum", passed, sketch.ints(1), keepdims=0)
        within = sketch.op("Sub", number, sketch.op("Gather", self._before(counts), image))
        frame, inside = self._parted(within, sketch.op("Gather", frame_size, image))
        frame = sketch.op("Add", frame, sketch.op("Gather", self._before(self._side(0)), image))
        square, corner = self._parted(inside, sketch.scalar(self.square**2))
        columns = sketch.op("Gather", sketch.op("Div", self._side(2), sketch.scalar(self.square)), image)
        row, column = (
            sketch.op("Add", sketch.op("Mul", first, sketch.scalar(self.square)), rest)
            for first, rest in zip(
                self._parted(square, columns), self._parted(corner, sketch.scalar(self.square)), strict=True
            )
        )
        return _Places(image=image, frame=frame, inside=inside, row=row, column=column)

    def _range(self, count: Any) -> Any:
        """0 to a count, itself left out."""
        return self.sketch.op("Range", self.sketch.scalar(0), count, self.sketch.scalar(1))

    def _angles(self, places: _Places) -> tuple[Any, Any]:
        """Cosines and sines of row and column times the tower's frequencies: ``[1, patches, half a head]``."""
        sketch, numpy = self.sketch, self.sketch.np
        frequencies = sketch.constant("tower.inverse_frequencies", self._frequencies().astype(numpy.float32))
        by_axis = []
        for place in (places.row, places.column):
            at = sketch.op("Cast", sketch.op("Unsqueeze", place, sketch.ints(0, 2)), to=sketch.ir.DataType.FLOAT)
            by_axis.append(sketch.op("Mul", at, frequencies))
        angles = sketch.op("Concat", *by_axis, axis=-1)
        return sketch.inner(sketch.op("Cos", angles)), sketch.inner(sketch.op("Sin", angles))

    def _frequencies(self) -> Any:
        """The tower's inverse frequencies, a quarter of a head of them, by transformers' own rule."""
        from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionRotaryEmbedding
        from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLVisionRotaryEmbedding
        from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionRotaryEmbedding

        kinds = {
            "qwen2_vl": Qwen2VLVisionRotaryEmbedding,
            "qwen2_5_vl": Qwen2_5_VLVisionRotaryEmbedding,
            "qwen3_vl": Qwen3VLVisionRotaryEmbedding,
        }
        return kinds[self.checkpoint.config.model_type](self.tower).inv_freq.numpy()

    def _whole(self, places: _Places) -> _Groups:
        """Groups of whole frames, as long as the largest."""
        sketch = self.sketch
        length = sketch.op("ReduceMax", sketch.op("Mul", self._side(1), self._side(2)), keepdims=1)
        return self._grouped(places.frame, places.inside, sketch.op("ReduceSum", self._side(0), keepdims=1), length)

    def _windows(self, places: _Places, side: int) -> _Groups:
        """Groups of windows, ``side`` patches high and wide, or smaller at an image's right and lower ends."""
        sketch = self.sketch
        high, wide = (
            sketch.op("Div", sketch.op("Add", self._side(axis), sketch.scalar(side - 1)), sketch.scalar(side))
            for axis in (1, 2)
        )
        of_frame = sketch.op("Mul", high, wide)
        counts = sketch.op("Mul", self._side(0), of_frame)
        (up, row), (left, column) = (self._parted(at, sketch.scalar(side)) for at in (places.row, places.column))
        frame = sketch.op("Sub", places.frame, sketch.op("Gather", self._before(self._side(0)), places.image))
        window = sketch.op("Mul", frame, sketch.op("Gather", of_frame, places.image))
        window = sketch.op("Add", window, sketch.op("Mul", up, sketch.op("Gather", wide, places.image)))
        window = sketch.op("Add", window, left)
        window = sketch.op("Add", window, sketch.op("Gather", self._before(counts), places.image))
        slot = sketch.op("Add", sketch.op("Mul", row, sketch.scalar(side)), column)
        length = sketch.ints(side**2)
        return self._grouped(window, slot, sketch.op("ReduceSum", counts, keepdims=1), length)

    def _grouped(self, group: Any, slot: Any, rows: Any, length: Any) -> _Groups:
        """Groups by the number of each patch's group and its place in it; empty places are seen by nobody."""
        sketch = self.sketch
        at = sketch.op("Add", sketch.op("Mul", group, length), slot)
        held = sketch.op("Expand", sketch.ints(-1), sketch.op("Mul", rows, length))
        number = self._range(sketch.op("Squeeze", sketch.op("Shape", at)))
        held = sketch.op("ScatterElements", held, at, number, axis=0)
        filled = sketch.op("GreaterOrEqual", held, sketch.scalar(0))
        shape = sketch.op("Concat", rows, sketch.ints(1, 1), length, axis=0)
        filled = sketch.op("Reshape", filled, shape)
        square = sketch.op("Concat", rows, sketch.ints(1), length, length, axis=0)
        visible = sketch.op("Expand", filled, square)
        held = sketch.op("Max", held, sketch.scalar(0))
        return _Groups(at=at, held=held, length=length, visible=visible)

    def _layer(self, x: Any, name: str, angles: tuple[Any, Any], groups: _Groups) -> Any:
        """Attention and an MLP, each after a norm."""
        sketch = self.sketch
        x = sketch.op("Add", x, self._attention(self._norm(x, f"{name}.norm1"), f"{name}.attn", angles, groups))
        return sketch.op("Add", x, self._mlp(self._norm(x, f"{name}.norm2"), f"{name}.mlp"))

    def _mlp(self, x: Any, name: str) -> Any:
        """Two products with an activation between them, or in Qwen2.5-VL's towers a gate."""
        sketch = self.sketch
        if self.window is None:
            return self._projected(x, (f"{name}.fc1", f"{name}.fc2"), self.tower.hidden_act)
        gate = sketch.activation(sketch.linear(x, f"{name}.gate_proj"), self.tower.hidden_act)
        return sketch.linear(sketch.op("Mul", gate, sketch.linear(x, f"{name}.up_proj")), f"{name}.down_proj")

    def _projected(self, x: Any, names: tuple[str, str], activation: str) -> Any:
        """Two products with an activation between them."""
        inner = self.sketch.activation(self.sketch.linear(x, names[0]), activation)
        return self.sketch.linear(inner, names[1])

    def _norm(self, x: Any, name: str) -> Any:
        """Qwen2.5-VL's towers norm by the root mean square alone."""
        if self.window is None:
            return self.sketch.layer_norm(x, name, _EPSILON)
        return self.sketch.rms_norm(x, f"{name}.weight", _EPSILON)

    def _attention(self, x: Any, name: str, angles: tuple[Any, Any], groups: _Groups) -> Any:
        """Within groups: queries, keys and values are gathered into rows, what comes out into the patches' order."""
        sketch, heads = self.sketch, self.tower.num_heads
        queries, keys, values = sketch.ops("Split", 3, sketch.linear(x, f"{name}.qkv"), axis=-1, num_outputs=3)
        queries, keys = (sketch.op("RotaryEmbedding", part, *angles, num_heads=heads) for part in (queries, keys))
        shape = sketch.op("Concat", sketch.ints(-1), groups.length, sketch.ints(tower_width(self.tower)), axis=0)
        rows = [
            sketch.op("Reshape", sketch.op("Gather", part, groups.held, axis=1), shape)
            for part in (queries, keys, values)
        ]
        attended = sketch.op("Attention", *rows, groups.visible, q_num_heads=heads, kv_num_heads=heads)
        attended = sketch.op("Reshape", attended, sketch.ints(1, -1, tower_width(self.tower)))
        return sketch.linear(sketch.op("Gather", attended, groups.at, axis=1), f"{name}.proj")

    def _merged(self, x: Any) -> Any:
        """Squares of patches, normed, joined and projected: ``[tokens, LLM width]``, of each of the model's squares."""
        name = "vision_tower.merger"
        x = self._joined(self._norm(x, f"{name}.ln_q"))
        return self._projected(x, (f"{name}.mlp.0", f"{name}.mlp.2"), "gelu")

    def _joined(self, x: Any) -> Any:
        """The patches of each of the model's squares side by side, the squares of a larger one after one another."""
        sketch, pooled = self.sketch, self.square // self.merge
        if pooled > 1:
            shape = (-1, pooled, self.merge, pooled, self.merge, tower_width(self.tower))
            x = sketch.op("Transpose", sketch.op("Reshape", x, sketch.ints(*shape)), perm=[0, 1, 3, 2, 4, 5])
        return sketch.op("Reshape", x, sketch.ints(-1, tower_width(self.tower) * self.merge**2))

    def _stacked(self, x: Any, number: int) -> Any:
        """A layer's squares as the merger of this number makes them: joined before they are normed, not behind it."""
        name = f"vision_tower.deepstack_merger_list.{number}"
        x = self._norm(self._joined(x), f"{name}.norm")
        return self._projected(x, (f"{name}.linear_fc1", f"{name}.linear_fc2"), "gelu")

    def _pooled(self, x: Any) -> Any:
        """Of larger squares the means of the model's own: ``[tokens, width of features]``."""
        pooled = self.square // self.merge
        if pooled == 1:
            return x
        x = self.sketch.op("Reshape", x, self.sketch.ints(-1, pooled**2, self.width))
        return self.sketch.op("ReduceMean", x, self.sketch.ints(1), keepdims=0)


class _LearnedEncoder(_QwenEncoder):
    """The encoder of a tower with learned positions, Qwen3-VL's, being drawn."""

    def _embedded(self, pixels: Any, places: _Places) -> Any:
        """Patches with their bias and their learned positions."""
        x = super()._embedded(pixels, places)
        x = self.sketch.op("Add", x, self.sketch.parameter("vision_tower.patch_embed.proj.bias"))
        return self.sketch.op("Add", x, self._learned(places))

    def _learned(self, places: _Places) -> Any:
        """Positions of the four places of the table around each patch, by their nearness: ``[patches, width]``."""
        sketch, side = self.sketch, int(self.tower.num_position_embeddings**0.5)
        rows, columns = (
            self._taps(place, sketch.op("Gather", self._side(axis), places.image), side)
            for axis, place in ((1, places.row), (2, places.column))
        )
        table, corners = sketch.parameter("vision_tower.pos_embed.weight"), []
        for row, near in rows:
            for column, also_near in columns:
                at = sketch.op("Add", sketch.op("Mul", row, sketch.scalar(side)), column)
                weight = sketch.op("Unsqueeze", sketch.op("Mul", near, also_near), sketch.ints(1))
                corners.append(sketch.op("Mul", sketch.op("Gather", table, at), sketch.inner(weight)))
        return sketch.op("Sum", *corners)

    def _taps(self, place: Any, count: Any, side: int) -> list[tuple[Any, Any]]:
        """The table's two places around each patch, int64 ``[patches]``, and its nearness to them in fp32.

        Of ``count`` patches the first lies on the table's first place and the last on its last.
        """
        sketch, numpy, types = self.sketch, self.sketch.np, self.sketch.ir.DataType
        last = sketch.constant("tower.last_place", numpy.array(side - 1, numpy.float32))
        steps = sketch.op("Max", sketch.op("Sub", count, sketch.scalar(1)), sketch.scalar(1))
        at = sketch.op("Mul", sketch.op("Cast", place, to=types.FLOAT), last)
        at = sketch.op("Div", at, sketch.op("Cast", steps, to=types.FLOAT))
        below = sketch.op("Floor", at)
        beyond = sketch.op("Sub", at, below)
        rest = sketch.op("Sub", sketch.constant("tower.one", numpy.array(1, numpy.float32)), beyond)
        first = sketch.op("Cast", below, to=types.INT64)
        second = sketch.op("Min", sketch.op("Add", first, sketch.scalar(1)), sketch.scalar(side - 1))
        return [(first, rest), (second, beyond)]

    def _mlp(self, x: Any, name: str) -> Any:
        return self._projected(x, (f"{name}.linear_fc1", f"{name}.linear_fc2"), self.tower.hidden_act)

    def _merged(self, x: Any) -> Any:
        name = "vision_tower.merger"
        x = self._joined(self._norm(x, f"{name}.norm"))
        return self._projected(x, (f"{name}.linear_fc1", f"{name}.linear_fc2"), "gelu")


def patch_graph(checkpoint: Checkpoint, precision: Precision, square: int) -> Any:
    """Return the vision encoder of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL as an onnx_ir model.

    ``square`` patches of a side become a token: the model's own number, or a multiple of it, whose tokens are averaged.
    Raises InputError for a missing tensor.
    """
    learned = hasattr(checkpoint.tower, "num_position_embeddings")
    return (_LearnedEncoder if learned else _QwenEncoder)(checkpoint, precision, square).draw()
