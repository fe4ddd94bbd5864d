"""How do pictures become visual tokens? The graph of Pixtral's tower and Mistral 3's merger.

``pixel_values [images, 3, height, width] -> image_features [images, tokens, LLM width]``. Pictures of one size in one
run, of any size from run to run: rows and columns of patches are computed of it. As transformers computes it: half of
a head's angles follow a patch's row and half its column, a picture's patches see one another and no other picture's,
and a square's patches are normed, joined channel by channel, and projected.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import patches
from vlmplan.hardware import Precision

_EPSILON = 1e-5  # of the tower's norms, in transformers


class _PixtralEncoder:
    """The encoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, *, flat: bool = False) -> None:
        self.checkpoint, self.tower, self.flat = checkpoint, checkpoint.tower, flat
        self.sketch = Sketch(checkpoint.tensors, precision)

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, patch = self.sketch, self.tower.patch_size
        pixels = sketch.input("pixel_values", ["num_images", 3, "height", "width"])
        high, wide = (
            sketch.op("Div", sketch.op("Shape", pixels, start=axis, end=axis + 1), sketch.ints(patch))
            for axis in (2, 3)
        )
        x = patches(sketch, patch, sketch.inner(pixels), "vision_tower.patch_conv")
        x = sketch.rms_norm(x, "vision_tower.ln_pre.weight", _EPSILON)
        angles = self._angles(pixels, high, wide)
        for layer in range(self.tower.num_hidden_layers):
            x = self._layer(x, f"vision_tower.transformer.layers.{layer}", angles)
        found, width = self._projected(x, high, wide), self.checkpoint.text.hidden_size
        shape: list[int | str] = ["num_images", "num_tokens", width]
        if self.flat:
            found, shape = sketch.op("Reshape", found, sketch.ints(-1, width)), shape[1:]
        return sketch.model("vision_encoder", [pixels], [sketch.output(found, "image_features", shape)])

    def _angles(self, pixels: Any, high: Any, wide: Any) -> tuple[Any, Any]:
        """Cosines and sines of row and column times their frequencies: ``[images, patches, half a head]``."""
        from transformers.models.pixtral.modeling_pixtral import PixtralVisionRotaryEmbedding

        sketch, numpy = self.sketch, self.sketch.np
        frequencies = PixtralVisionRotaryEmbedding(self.tower).inv_freq.numpy().astype(numpy.float32)
        count = sketch.op("Squeeze", sketch.op("Mul", high, wide))
        number = sketch.op("Range", sketch.scalar(0), count, sketch.scalar(1))
        angles = []
        for place, name, own in zip(("Div", "Mod"), ("rows", "columns"), numpy.split(frequencies, 2), strict=True):
            at = sketch.op("Unsqueeze", sketch.op(place, number, wide), sketch.ints(0, 2))
            at = sketch.op("Cast", at, to=sketch.ir.DataType.FLOAT)
            angles.append(sketch.op("Mul", at, sketch.constant(f"tower.inverse_frequencies.{name}", own)))
        joined = sketch.op("Concat", *angles, axis=-1)
        images = sketch.op("Concat", sketch.op("Shape", pixels, start=0, end=1), sketch.ints(1, 1), axis=0)
        cosines, sines = (sketch.op("Expand", sketch.op(kind, joined), images) for kind in ("Cos", "Sin"))
        return sketch.inner(cosines), sketch.inner(sines)

    def _layer(self, x: Any, name: str, angles: tuple[Any, Any]) -> Any:
        """Attention and a gated MLP, each after a norm."""
        sketch, heads = self.sketch, self.tower.num_attention_heads
        normed = sketch.rms_norm(x, f"{name}.attention_norm.weight", _EPSILON)
        queries, keys, values = (sketch.linear(normed, f"{name}.attention.{part}_proj") for part in "qkv")
        queries, keys = (sketch.op("RotaryEmbedding", part, *angles, num_heads=heads) for part in (queries, keys))
        attended = sketch.op("Attention", queries, keys, values, q_num_heads=heads, kv_num_heads=heads)
        x = sketch.op("Add", x, sketch.linear(attended, f"{name}.attention.o_proj"))
        normed = sketch.rms_norm(x, f"{name}.ffn_norm.weight", _EPSILON)
        gate = sketch.activation(sketch.linear(normed, f"{name}.feed_forward.gate_proj"), self.tower.hidden_act)
        inner = sketch.op("Mul", gate, sketch.linear(normed, f"{name}.feed_forward.up_proj"))
        return sketch.op("Add", x, sketch.linear(inner, f"{name}.feed_forward.down_proj"))

    def _projected(self, x: Any, high: Any, wide: Any) -> Any:
        """Squares of patches, joined channel by channel, and two products: ``[images, tokens, LLM width]``."""
        sketch, name, config = self.sketch, "multi_modal_projector", self.checkpoint.config
        merge, width = self.checkpoint.joined_side, self.tower.hidden_size
        x = sketch.rms_norm(x, f"{name}.norm.weight", self.checkpoint.text.rms_norm_eps)
        sides = [
            part for side in (high, wide) for part in (sketch.op("Div", side, sketch.ints(merge)), sketch.ints(merge))
        ]
        x = sketch.op("Reshape", x, sketch.op("Concat", sketch.ints(0), *sides, sketch.ints(width), axis=0))
        x = sketch.op("Transpose", x, perm=[0, 1, 3, 5, 2, 4])
        x = sketch.op("Reshape", x, sketch.ints(0, -1, width * merge**2))
        x = sketch.linear(sketch.linear(x, f"{name}.patch_merger.merging_layer"), f"{name}.linear_1")
        return sketch.linear(sketch.activation(x, config.projector_hidden_act), f"{name}.linear_2")


def picture_graph(checkpoint: Checkpoint, precision: Precision, *, flat: bool = False) -> Any:
    """Return the vision encoder of a Mistral 3 as an onnx_ir model; ``flat`` features of all images are one list.

    Raises InputError for a missing tensor.
    """
    return _PixtralEncoder(checkpoint, precision, flat=flat).draw()
