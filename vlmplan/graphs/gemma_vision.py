"""How does an image become visual tokens in Gemma 3 and PaliGemma? The graph of SigLIP's tower and their projectors.

``pixel_values [batch, 3, size, size] -> image_features [batch, visual tokens, LLM width (+ 1)]``. All layers and the
last norm are run; each square region of patches is averaged to a token, Gemma 3's by design and further still where
fewer tokens are asked for; then Gemma 3 norms, and both multiply by a matrix. Gemma 3's features have a channel more,
by which its decoder knows an image.
"""

from typing import Any

from vlmplan.checkpoints import MARKED_TYPES, Checkpoint, Compression
from vlmplan.graphs.gemma import embeds_width, marked, shifted_norm
from vlmplan.graphs.selection import divpruned
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import averaged, patches, tower_layer
from vlmplan.hardware import Precision


class _GemmaEncoder:
    """The encoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, plan: Compression, precision: Precision) -> None:
        self.checkpoint, self.tower, self.compression = checkpoint, checkpoint.tower, plan
        self.sketch = Sketch(checkpoint.tensors, precision)

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, tower, plan = self.sketch, self.tower, self.compression
        pixels = sketch.input("pixel_values", ["batch_size", tower.num_channels, tower.image_size, tower.image_size])
        x = patches(sketch, tower.patch_size, sketch.inner(pixels))
        x = sketch.op("Add", x, sketch.parameter("vision_tower.embeddings.position_embedding.weight"))
        for layer in range(tower.num_hidden_layers):
            x = tower_layer(sketch, tower, x, f"vision_tower.encoder.layers.{layer}")
        x = sketch.layer_norm(x, "vision_tower.post_layernorm", tower.layer_norm_eps)
        x = averaged(sketch, x, plan.grid, plan.factor)
        found, told = self._projected(x), []
        if plan.compressor.selects:
            found, kept = divpruned(sketch, found, plan.region_tokens, plan.visual_tokens)
            told = [kept]
        if self.checkpoint.config.model_type in MARKED_TYPES:
            found = marked(sketch, found, 1.0)
        shape: list[int | str] = ["batch_size", plan.visual_tokens, embeds_width(self.checkpoint)]
        return sketch.model("vision_encoder", [pixels], [sketch.output(found, "image_features", shape), *told])

    def _projected(self, x: Any) -> Any:
        """Gemma 3: a norm and a matrix. PaliGemma: a linear layer."""
        sketch, name = self.sketch, "multi_modal_projector"
        if self.checkpoint.config.model_type not in MARKED_TYPES:
            return sketch.linear(x, f"{name}.linear")
        x = shifted_norm(sketch, x, f"{name}.mm_soft_emb_norm.weight", self.tower.layer_norm_eps)
        return sketch.op("MatMul", x, sketch.parameter(f"{name}.mm_input_projection_weight"))


def gemma_encoder_graph(checkpoint: Checkpoint, plan: Compression, precision: Precision) -> Any:
    """Return the vision encoder of Gemma 3 or PaliGemma as an onnx_ir model. Raises InputError for a missing tensor."""
    return _GemmaEncoder(checkpoint, plan, precision).draw()
