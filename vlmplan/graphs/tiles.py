"""How do tiles become visual tokens? The graph of SmolVLM's and Idefics3's tower and connector.

``pixel_values [batch, tiles, 3, size, size], pixel_attention_mask [batch, tiles, size, size] -> image_features [tiles
of all, tokens of a tile, LLM width]``. As transformers computes it: tiles that are zero throughout pad a batch and are
dropped, a patch is seen where the mask has a pixel of it, its position is that of its share of the height and width
that are seen, and squares of patches are joined and projected.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import joined, patches, tower_layer
from vlmplan.hardware import Precision

_LAST_SHARE = 1.0 - 1e-6  # of a side: transformers lets no patch lie at its end


def places(side: int) -> Any:
    """Where patches lie on a side of ``side``, by how many are seen of it: int64 ``[side + 1, side]``.

    A patch's share of what is seen falls between bounds that are shares of the side, as transformers' classes compute
    it. A table, since their fp32 roundings decide, and runtimes reorder such products.
    """
    import torch

    seen = torch.arange(1, side + 1)
    share = torch.arange(side, dtype=torch.float32)[None, :] * (1.0 / seen)[:, None]
    bounds = torch.arange(1 / side, 1.0, 1 / side)
    buckets = torch.bucketize(torch.clamp(share, max=_LAST_SHARE), bounds, right=True)
    return torch.cat([torch.zeros(1, side, dtype=buckets.dtype), buckets]).numpy()


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
        x, visible = self._placed(patches(sketch, tower.patch_size, sketch.inner(tiles)), seen), self._visible(seen)
        for layer in range(tower.num_hidden_layers):
            x = tower_layer(sketch, tower, x, f"vision_tower.encoder.layers.{layer}", visible)
        x = sketch.layer_norm(x, "vision_tower.post_layernorm", tower.layer_norm_eps)
        x = joined(sketch, x, self.side, self.checkpoint.joined_side, tower.hidden_size)
        features = sketch.linear(x, "connector.modality_projection.proj")
        tokens = (self.side // self.checkpoint.joined_side) ** 2
        out = sketch.output(features, "image_features", ["num_tiles", tokens, self.checkpoint.text.hidden_size])
        return sketch.model("vision_encoder", [pixels, mask], [out])

    def _kept(self, pixels: Any, mask: Any) -> tuple[Any, Any]:
        """The tiles ``[tiles, 3, size, size]`` that are not zero throughout, or the first, and their patches seen.

        The latter are bool, ``[tiles, side, side]``.
        """
        sketch, size, patch, types = self.sketch, self.tower.image_size, self.tower.patch_size, self.sketch.ir.DataType
        zero = sketch.constant("zero", sketch.np.zeros(1, sketch.np.float32))
        tiles = sketch.op("Reshape", pixels, sketch.ints(-1, self.tower.num_channels, size, size))
        largest = sketch.op("ReduceMax", sketch.op("Abs", tiles), sketch.ints(1, 2, 3), keepdims=0)
        real = sketch.op("Greater", largest, zero)
        count = sketch.op("Squeeze", sketch.op("Shape", tiles, start=0, end=1))
        first = sketch.op("Equal", sketch.op("Range", sketch.scalar(0), count, sketch.scalar(1)), sketch.scalar(0))
        total = sketch.op("ReduceSum", sketch.op("Cast", real, to=types.INT64), keepdims=1)
        real = sketch.op("Or", real, sketch.op("And", first, sketch.op("Equal", total, sketch.scalar(0))))
        shown = sketch.op("Reshape", sketch.op("Cast", mask, to=types.FLOAT), sketch.ints(-1, 1, size, size))
        tiles, shown = (sketch.op("Compress", part, real, axis=0) for part in (tiles, shown))
        shown = sketch.op("MaxPool", shown, kernel_shape=[patch, patch], strides=[patch, patch])
        shown = sketch.op("Reshape", shown, sketch.ints(-1, self.side, self.side))
        return tiles, sketch.op("Greater", shown, zero)

    def _places(self, seen: Any, axis: int) -> Any:
        """Where each row (axis 1) or column (2) lies on the tower's own side: int64 ``[tiles, side]``."""
        sketch, types = self.sketch, self.sketch.ir.DataType
        first = sketch.op("Gather", sketch.op("Cast", seen, to=types.INT64), sketch.scalar(0), axis=3 - axis)
        count = sketch.op("ReduceSum", first, sketch.ints(1), keepdims=0)
        return sketch.op("Gather", sketch.constant("places", places(self.side)), count)

    def _placed(self, x: Any, seen: Any) -> Any:
        """Patches with the embeddings of their positions; what is not seen has the first."""
        sketch = self.sketch
        rows = sketch.op("Unsqueeze", self._places(seen, 1), sketch.ints(2))
        columns = sketch.op("Unsqueeze", self._places(seen, 2), sketch.ints(1))
        at = sketch.op("Add", sketch.op("Mul", rows, sketch.scalar(self.side)), columns)
        at = sketch.op("Mul", at, sketch.op("Cast", seen, to=sketch.ir.DataType.INT64))
        at = sketch.op("Reshape", at, sketch.ints(0, -1))
        table = sketch.parameter("vision_tower.embeddings.position_embedding.weight")
        return sketch.op("Add", x, sketch.op("Gather", table, at))

    def _visible(self, seen: Any) -> Any:
        """Every patch sees those that the mask shows: bool ``[tiles, 1, patches, patches]``."""
        sketch = self.sketch
        flat = sketch.op("Reshape", seen, sketch.ints(0, 1, 1, -1))
        return sketch.op("Expand", flat, sketch.ints(1, 1, self.side**2, 1))


def tile_graph(checkpoint: Checkpoint, precision: Precision) -> Any:
    """Return the vision encoder of a tiled checkpoint as an onnx_ir model. Raises InputError for a missing tensor."""
    return _TileEncoder(checkpoint, precision).draw()
