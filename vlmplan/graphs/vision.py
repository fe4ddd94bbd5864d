"""How does an image become visual tokens? The graph of vision tower, compressor and projector.

``pixel_values [batch, 3, size, size] -> image_features [batch, visual tokens, LLM width]``. CLIP and SigLIP towers,
LLaVA's two-layer projector. The compressor works on a square grid of patches of which each square region of ``factor``
a side becomes one token; ``torch_compressors.py`` has the same as torch modules, for training and for comparison.
"""

import functools
from typing import Any, assert_never

from vlmplan.checkpoints import PACKER_EPSILON, Checkpoint, Compression, Weights, packer_heads, packer_layers
from vlmplan.graphs.selection import Gaze, divpruned, zipped
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import attention_parts, averaged, patches, tower_layer, with_first
from vlmplan.hardware import Precision
from vlmplan.models import Compressor


class _Encoder:
    """The encoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, weights: Weights, plan: Compression, precision: Precision) -> None:
        self.checkpoint, self.tower, self.compression = checkpoint, checkpoint.tower, plan
        self.sketch = Sketch(weights, precision)
        self.looked: list[Any] = []  # queries and keys of the last layer run
        self.states: dict[int, Any] = {}  # hidden states that are read, class token and all

    def draw(self, baked_query: Any | None) -> Any:
        """Draw all of it; QueCC reads the question's embedding from an input, or from ``baked_query``."""
        sketch, size = self.sketch, self.tower.image_size
        pixels = sketch.input("pixel_values", ["batch_size", self.tower.num_channels, size, size])
        inputs, query = [pixels], None
        if self.compression.compressor.reads_question:
            if baked_query is None:
                query = sketch.input("text_query", ["batch_size", self.checkpoint.text.hidden_size])
                inputs.append(query)
            else:
                query = sketch.constant("query", baked_query)
        features, told = self._features(self._states(sketch.inner(pixels)), query)
        shape = ["batch_size", self.compression.visual_tokens, self.checkpoint.text.hidden_size]
        return sketch.model("vision_encoder", inputs, [sketch.output(features, "image_features", shape), *told])

    def _features(self, states: dict[int, Any], query: Any | None) -> tuple[Any, list[Any]]:
        """[batch, visual tokens, LLM width], and outputs that say what was chosen."""
        plan, checkpoint = self.compression, self.checkpoint
        if not plan.compressor.selects:
            return self._projected(self._compressed(states, query)), []
        every = self._joined(states, checkpoint.read_layers)
        if plan.compressor.reads_projected:
            features, kept = divpruned(self.sketch, self._projected(every), plan.region_tokens, plan.visual_tokens)
            return features, [kept]
        classes = checkpoint.class_tokens
        gaze = Gaze(queries=self.looked[0], keys=self.looked[1], heads=self.tower.num_attention_heads, classes=classes)
        parts, told = zipped(self.sketch, every, gaze, plan)
        if classes:
            whole = self._joined(self.states, checkpoint.read_layers)
            parts = [self.sketch.op("Slice", whole, *map(self.sketch.ints, (0, classes, 1))), *parts]
        return self._projected(self.sketch.op("Concat", *parts, axis=1)), told

    def _states(self, pixels: Any) -> dict[int, Any]:
        """The tower's hidden states that are read, patches only, by number."""
        wanted = set(self.checkpoint.read_layers)
        if self.compression.compressor.packs:
            wanted |= set(packer_layers(self.tower.num_hidden_layers))
        x = self._embedded(pixels)
        states = {0: x} if 0 in wanted else {}
        for layer in range(max(wanted)):
            name = f"vision_tower.encoder.layers.{layer}"
            parts = attention_parts(self.sketch, self.tower, x, name)
            x = tower_layer(self.sketch, self.tower, x, name, parts=parts)
            if layer + 1 in wanted:
                states[layer + 1] = x
            self.looked = parts[:2]  # in the end those of the last layer
        self.states = states
        return {number: self._patches(state) for number, state in states.items()}

    def _patches(self, state: Any) -> Any:
        sketch, skipped = self.sketch, self.checkpoint.class_tokens
        return sketch.tail(state, skipped, axis=1) if skipped else state

    def _embedded(self, pixels: Any) -> Any:
        sketch, name, tower = self.sketch, "vision_tower.embeddings", self.tower
        x = patches(sketch, tower.patch_size, pixels)
        if sketch.has(f"{name}.class_embedding"):
            x = with_first(sketch, x, pixels, f"{name}.class_embedding", tower.hidden_size)
        x = sketch.op("Add", x, sketch.parameter(f"{name}.position_embedding.weight"))
        norm = "vision_tower.pre_layrnorm"  # the tensor's name in transformers
        return sketch.layer_norm(x, norm, tower.layer_norm_eps) if sketch.has(f"{norm}.weight") else x

    def _joined(self, states: dict[int, Any], layers: tuple[int, ...]) -> Any:
        parts = [states[layer] for layer in layers]
        return self.sketch.op("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]

    def _compressed(self, states: dict[int, Any], query: Any | None) -> Any:
        """[batch, patches, width] -> [batch, visual tokens, width (joined by pixel shuffle)]."""
        x, kind = self._joined(states, self.checkpoint.read_layers), self.compression.compressor
        sketch, grid = self.sketch, self.compression.grid
        match kind:
            case Compressor.NONE | Compressor.DIVPRUNE | Compressor.VISIONZIP:  # which choose elsewhere
                return x
            case Compressor.AVERAGE_POOL:
                return averaged(sketch, x, grid, self.compression.factor)
            case Compressor.PIXEL_SHUFFLE:
                region = sketch.op("Transpose", self._regions(x), perm=[0, 1, 3, 2, 4, 5])
                width = self.tower.hidden_size * len(self.checkpoint.read_layers) * self.compression.widening
                return sketch.op("Reshape", region, sketch.ints(0, grid * grid, width))
            case Compressor.TOKEN_PACKER | Compressor.QUECC:
                joined = self._joined(states, packer_layers(self.tower.num_hidden_layers))
                queries = self._packer_queries(x) if query is None else self._question_queries(x, query)
                return self._attend(queries, joined, query is not None)
            case _:
                assert_never(kind)

    def _regions(self, x: Any) -> Any:
        """[batch, patches, width] -> [batch, grid, factor, grid, factor, width]."""
        grid, factor = self.compression.grid, self.compression.factor
        return self.sketch.op("Reshape", x, self.sketch.ints(0, grid, factor, grid, factor, -1))

    def _packer_queries(self, x: Any) -> Any:
        """TokenPacker: patches interpolated to the coarse grid (the mean of a region's middle), projected, normed."""
        sketch, grid, factor = self.sketch, self.compression.grid, self.compression.factor
        middle = sketch.ints((factor - 1) // 2, factor // 2)
        queries = self._regions(x)
        for axis in (2, 4):
            queries = sketch.op("Gather", queries, middle, axis=axis)
        queries = sketch.op("ReduceMean", queries, sketch.ints(2, 4), keepdims=0)
        queries = sketch.op("Reshape", queries, sketch.ints(0, grid * grid, -1))
        return sketch.layer_norm(sketch.linear(queries, "compressor.q_proj_1"), "compressor.ln_q_1", PACKER_EPSILON)

    def _question_queries(self, x: Any, query: Any) -> Any:
        """QueCC: the question's embedding added to every patch, projected, then one depth-wise convolution a region."""
        sketch, side, factor = self.sketch, self.compression.side, self.compression.factor
        text = sketch.linear(
            sketch.op("Unsqueeze", sketch.inner(query), sketch.ints(1)), "compressor.text_projection.0"
        )
        x = sketch.op("Add", x, sketch.layer_norm(text, "compressor.text_projection.1", PACKER_EPSILON))
        x = self._mlp(x, "compressor.q_proj", norm="compressor.q_proj.3")
        x = sketch.op("Transpose", x, perm=[0, 2, 1])
        width = self.tower.hidden_size
        x = sketch.op("Reshape", x, sketch.ints(0, width, side, side))
        kernel = [sketch.parameter(f"compressor.q_downsample.{part}") for part in ("weight", "bias")]
        x = sketch.op("Conv", x, *kernel, kernel_shape=[factor, factor], strides=[factor, factor], group=width)
        return sketch.op("Transpose", sketch.op("Reshape", x, sketch.ints(0, 0, -1)), perm=[0, 2, 1])

    def _mlp(self, x: Any, name: str, norm: str) -> Any:
        """Two linear layers with GELU between, then LayerNorm."""
        inner = self.sketch.activation(self.sketch.linear(x, f"{name}.0"), "gelu")
        return self.sketch.layer_norm(self.sketch.linear(inner, f"{name}.2"), norm, PACKER_EPSILON)

    def _attend(self, queries: Any, joined: Any, question: bool) -> Any:
        """Each query attends to the patches of its own region: torch's MultiheadAttention, one query a sequence."""
        sketch, width = self.sketch, self.tower.hidden_size
        names = [(f"compressor.{part}_proj", f"compressor.{part}_proj.3") for part in "kv"]
        if not question:
            names = [(f"compressor.{part}_proj_1", f"compressor.ln_{part}_1") for part in "kv"]
        keys, values = (self._by_region(self._mlp(joined, *name)) for name in names)
        queries = sketch.op("Reshape", queries, sketch.ints(-1, 1, width))
        heads = packer_heads(width)
        parts = [self._in_projection(x, index) for index, x in enumerate((queries, keys, values))]
        attended = sketch.op("Attention", *parts, q_num_heads=heads, kv_num_heads=heads)
        projected = sketch.linear(attended, "compressor.clip_attn.out_proj")
        return sketch.op("Reshape", projected, sketch.ints(-1, self.compression.visual_tokens, width))

    def _by_region(self, x: Any) -> Any:
        """[batch, patches, width] -> [batch x visual tokens, patches of a region, width]."""
        sketch = self.sketch
        regions = sketch.op("Transpose", self._regions(x), perm=[0, 1, 3, 2, 4, 5])
        return sketch.op("Reshape", regions, sketch.ints(-1, self.compression.factor**2, self.tower.hidden_size))

    def _in_projection(self, x: Any, index: int) -> Any:
        """One third of torch's joint input projection: 0 for queries, 1 for keys, 2 for values."""
        sketch, width, name = self.sketch, self.tower.hidden_size, "compressor.clip_attn.in_proj"
        rows = slice(index * width, (index + 1) * width)
        parts = {
            f"{name}_weight.{index}.T": (f"{name}_weight", (width, width)),
            f"{name}_bias.{index}": (f"{name}_bias", (width,)),
        }

        def third(stored: str) -> Any:
            return sketch.cast(stored, sketch.weights.array(stored)[rows]).T

        weight, bias = (
            sketch.lazy(part, shape, sketch.float_type, functools.partial(third, stored))
            for part, (stored, shape) in parts.items()
            if sketch.shape(stored)
        )
        return sketch.op("Add", sketch.op("MatMul", x, weight), bias)

    def _projected(self, x: Any) -> Any:
        """LLaVA's projector: two linear layers with an activation between."""
        sketch, name = self.sketch, "multi_modal_projector"
        inner = sketch.activation(sketch.linear(x, f"{name}.linear_1"), self.checkpoint.config.projector_hidden_act)
        return sketch.linear(inner, f"{name}.linear_2")


def encoder_graph(
    checkpoint: Checkpoint, weights: Weights, plan: Compression, precision: Precision, baked_query: Any | None = None
) -> Any:
    """Return the vision encoder as an onnx_ir model; ``weights`` are the checkpoint's and the compressor's.

    QueCC has a second input, ``text_query [batch, LLM width]``, unless ``baked_query`` (fp32, [1, LLM width]) holds it.
    Raises InputError for a missing tensor.
    """
    return _Encoder(checkpoint, weights, plan, precision).draw(baked_query)
