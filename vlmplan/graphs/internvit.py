"""How do stacked tiles become visual tokens? The graph of InternVL's tower, pixel shuffle and projector.

``pixel_values [tiles, 3, size, size] -> image_features [tiles, tokens of a tile, LLM width]``. As transformers computes
it: every branch of a layer is scaled by a vector, queries and keys are normed over all heads where the model has it,
the first token is cut off, squares of patches are joined, normed and projected.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, side_of
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import joined, patches, with_first
from vlmplan.hardware import Precision

_QK_EPSILON = 1e-6  # of the norms of queries and keys, whatever the tower's
_PROJECTOR_EPSILON = 1e-5  # torch's own: transformers' projector names none


class _InternVit:
    """The encoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision) -> None:
        self.checkpoint, self.tower = checkpoint, checkpoint.tower
        self.sketch = Sketch(checkpoint.tensors, precision)

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, tower, size = self.sketch, self.tower, self.checkpoint.image_size
        pixels = sketch.input("pixel_values", ["num_tiles", tower.num_channels, size, size])
        x = self._embedded(sketch.inner(pixels))
        for layer in range(tower.num_hidden_layers):
            x = self._layer(x, f"vision_tower.encoder.layer.{layer}")
        if not tower.use_mean_pooling:
            x = sketch.layer_norm(x, "vision_tower.layernorm", tower.layer_norm_eps)
        side, factor = self.checkpoint.grid_side, self.checkpoint.joined_side
        x = joined(sketch, sketch.tail(x, 1, axis=1), side, factor, tower.hidden_size)
        shape = ["num_tiles", (side // factor) ** 2, self.checkpoint.text.hidden_size]
        return sketch.model("vision_encoder", [pixels], [sketch.output(self._projected(x), "image_features", shape)])

    def _embedded(self, pixels: Any) -> Any:
        """Patches after the first token, with the embeddings of their positions where the model has them."""
        sketch, name, tower = self.sketch, "vision_tower.embeddings", self.tower
        x = patches(sketch, side_of(tower.patch_size), pixels, f"{name}.patch_embeddings.projection")
        x = with_first(sketch, x, pixels, f"{name}.cls_token", tower.hidden_size)
        if not tower.use_absolute_position_embeddings:
            return x
        return sketch.op("Add", x, sketch.parameter(f"{name}.position_embeddings"))

    def _norm(self, x: Any, name: str) -> Any:
        epsilon = self.tower.layer_norm_eps
        if self.tower.norm_type == "rms_norm":
            return self.sketch.rms_norm(x, f"{name}.weight", epsilon)
        return self.sketch.layer_norm(x, name, epsilon)

    def _layer(self, x: Any, name: str) -> Any:
        """Attention and an MLP, each after a norm and before a scale of its own."""
        sketch = self.sketch
        attended = self._attention(self._norm(x, f"{name}.layernorm_before"), f"{name}.attention")
        x = sketch.op("Add", x, sketch.op("Mul", attended, sketch.parameter(f"{name}.lambda_1")))
        inner = sketch.linear(self._norm(x, f"{name}.layernorm_after"), f"{name}.mlp.fc1")
        mlp = sketch.linear(sketch.activation(inner, self.tower.hidden_act), f"{name}.mlp.fc2")
        return sketch.op("Add", x, sketch.op("Mul", mlp, sketch.parameter(f"{name}.lambda_2")))

    def _attention(self, x: Any, name: str) -> Any:
        sketch, heads = self.sketch, self.tower.num_attention_heads
        queries, keys, values = (sketch.linear(x, f"{name}.{part}_proj") for part in "qkv")
        if self.tower.use_qk_norm:
            queries = sketch.rms_norm(queries, f"{name}.q_norm.weight", _QK_EPSILON)
            keys = sketch.rms_norm(keys, f"{name}.k_norm.weight", _QK_EPSILON)
        attended = sketch.op("Attention", queries, keys, values, q_num_heads=heads, kv_num_heads=heads)
        return sketch.linear(attended, f"{name}.projection_layer")

    def _projected(self, x: Any) -> Any:
        """A norm, and two linear layers with an activation between."""
        sketch, name = self.sketch, "multi_modal_projector"
        x = sketch.linear(sketch.layer_norm(x, f"{name}.layer_norm", _PROJECTOR_EPSILON), f"{name}.linear_1")
        return sketch.linear(sketch.activation(x, self.checkpoint.config.projector_hidden_act), f"{name}.linear_2")


def internvit_graph(checkpoint: Checkpoint, precision: Precision) -> Any:
    """Return InternVL's vision encoder as an onnx_ir model. Raises InputError for a missing tensor."""
    return _InternVit(checkpoint, precision).draw()
