"""How do tiles become visual tokens? The graph of SmolVLM's and Idefics3's tower and connector.

``pixel_values [batch, tiles, 3, size, size], pixel_attention_mask [batch, tiles, size, size] -> image_features [tiles
of all, tokens of a tile, LLM width]``. As transformers computes it: tiles that are zero throughout pad a batch and are
dropped, a patch is seen where the mask has a pixel of it, its position is that of its share of the height and width
that are seen, and squares of patches are joined and projected.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.exporting.sketch import Sketch
from vlmplan.exporting.tower_graph import patches, tower_layer
from vlmplan.hardware import Precision

_LAST_SHARE = 1.0 - 1e-6  # of a side: transformers lets no patch lie at its end


class _TileEncoder:
    """The encoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision) -> None:
        self.checkpoint, self.tower, self.side = checkpoint, checkpoint.tower, checkpoint.grid_side
        self.sketch = Sketch(checkpoint.tensors, precision)

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, tower, size = self.sketch, self.tower, self.tower.image_size
        shape = ["batch_size", "num_images", tower.num_channels, size, size]
        pixels = sketch.input("pixel_values", shape)
        mask = sketch.input("pixel_attention_mask", [*shape[:2], size, size], boolean=True)
        tiles, seen = self._kept(pixels, mask)
        x, visible = self._placed(patches(sketch, tower, sketch.inner(tiles)), seen), self._visible(seen)
        for layer in range(tower.num_hidden_layers):
            x = tower_layer(sketch, tower, x, f"vision_tower.encoder.layers.{layer}", visible)
        x = sketch.layer_norm(x, "vision_tower.post_layernorm", tower.layer_norm_eps)
        found = sketch.linear(self._joined(x), "connector.modality_projection.proj")
        tokens = (self.side // self.checkpoint.joined_side) ** 2
        out = sketch.output(found, "image_features", ["num_tiles", tokens, self.checkpoint.text.hidden_size])
        return sketch.model("vision_encoder", [pixels, mask], [out])

    def _number(self, name: str, value: float) -> Any:
        return self.sketch.constant(name, self.sketch.np.array(value, self.sketch.np.float32))

    def _kept(self, pixels: Any, mask: Any) -> tuple[Any, Any]:
        """The tiles ``[tiles, 3, size, size]`` that are not zero throughout, or the first, and their patches seen.

        The latter are bool, ``[tiles, side, side]``.
        """
        sketch, size, patch, types = self.sketch, self.tower.image_size, self.tower.patch_size, self.sketch.ir.DataType
        tiles = sketch.op("Reshape", pixels, sketch.ints(-1, self.tower.num_channels, size, size))
        largest = sketch.op("ReduceMax", sketch.op("Abs", tiles), sketch.ints(1, 2, 3), keepdims=0)
        real = sketch.op("Greater", largest, self._number("zero", 0.0))
        count = sketch.op("Squeeze", sketch.op("Shape", tiles, start=0, end=1))
        first = sketch.op("Equal", sketch.op("Range", sketch.scalar(0), count, sketch.scalar(1)), sketch.scalar(0))
        total = sketch.op("ReduceSum", sketch.op("Cast", real, to=types.INT64), keepdims=1)
        real = sketch.op("Or", real, sketch.op("And", first, sketch.op("Equal", total, sketch.scalar(0))))
        shown = sketch.op("Reshape", sketch.op("Cast", mask, to=types.FLOAT), sketch.ints(-1, 1, size, size))
        tiles, shown = (sketch.op("Compress", part, real, axis=0) for part in (tiles, shown))
        shown = sketch.op("MaxPool", shown, kernel_shape=[patch, patch], strides=[patch, patch])
        shown = sketch.op("Reshape", shown, sketch.ints(-1, self.side, self.side))
        return tiles, sketch.op("Greater", shown, self._number("zero", 0.0))

    def _bucket(self, seen: Any, axis: int) -> Any:
        """Where each row (axis 1) or column (2) lies on the tower's own side: int64 ``[tiles, side]``."""
        import torch

        sketch, side, types = self.sketch, self.side, self.sketch.ir.DataType
        first = sketch.op("Gather", sketch.op("Cast", seen, to=types.FLOAT), sketch.scalar(0), axis=3 - axis)
        step = sketch.op("Div", self._number("one", 1.0), sketch.op("ReduceSum", first, sketch.ints(1), keepdims=1))
        places = sketch.constant("places", sketch.np.arange(side, dtype=sketch.np.float32))
        share = sketch.op("Min", sketch.op("Mul", places, step), self._number("last_share", _LAST_SHARE))
        bounds = sketch.constant("bounds", torch.arange(1 / side, 1.0, 1 / side).numpy())
        beyond = sketch.op("LessOrEqual", bounds, sketch.op("Unsqueeze", share, sketch.ints(2)))
        return sketch.op("ReduceSum", sketch.op("Cast", beyond, to=types.INT64), sketch.ints(2), keepdims=0)

    def _placed(self, x: Any, seen: Any) -> Any:
        """Patches with the embeddings of their positions; what is not seen has the first."""
        sketch = self.sketch
        rows = sketch.op("Unsqueeze", self._bucket(seen, 1), sketch.ints(2))
        columns = sketch.op("Unsqueeze", self._bucket(seen, 2), sketch.ints(1))
        places = sketch.op("Add", sketch.op("Mul", rows, sketch.scalar(self.side)), columns)
        places = sketch.op("Mul", places, sketch.op("Cast", seen, to=sketch.ir.DataType.INT64))
        places = sketch.op("Reshape", places, sketch.ints(0, -1))
        table = sketch.parameter("vision_tower.embeddings.position_embedding.weight")
        return sketch.op("Add", x, sketch.op("Gather", table, places))

    def _visible(self, seen: Any) -> Any:
        """Every patch sees those that the mask shows: bool ``[tiles, 1, patches, patches]``."""
        sketch = self.sketch
        flat = sketch.op("Reshape", seen, sketch.ints(0, 1, 1, -1))
        return sketch.op("Expand", flat, sketch.ints(1, 1, self.side**2, 1))

    def _joined(self, x: Any) -> Any:
        """``[tiles, patches, width] -> [tiles, tokens, width x joined²]``: squares of patches, row by row."""
        sketch, joined = self.sketch, self.checkpoint.joined_side
        grid = self.side // joined
        x = sketch.op("Reshape", x, sketch.ints(0, grid, joined, grid, joined, -1))
        x = sketch.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
        return sketch.op("Reshape", x, sketch.ints(0, grid * grid, self.tower.hidden_size * joined**2))


def tile_graph(checkpoint: Checkpoint, precision: Precision) -> Any:
    """Return the vision encoder of a tiled checkpoint as an onnx_ir model. Raises InputError for a missing tensor."""
    return _TileEncoder(checkpoint, precision).draw()
