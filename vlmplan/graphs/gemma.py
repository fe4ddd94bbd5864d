"""How do Gemma 3 and PaliGemma run? Graphs of the decoder, of the token embeddings, and of tower and projector.

Gemma, Gemma 2 and Gemma 3: embeddings are scaled, norms multiply by one more than their weight, and beside what other
decoders have there are norms behind attention and MLP, soft caps, and rotary frequencies of windowed layers' own.

Who sees whom differs from other LLMs. PaliGemma's prompt, image and text, is a prefix in which every token sees every
other; Gemma 3's images are seen whole by their own tokens. The first call tells the prefix: nothing is in the cache
yet. Images are told by a channel that embeddings have beside the LLM's own: 1 on what the vision encoder makes, 0 on
text. Clients put features in the places of embeddings without looking, so that it needs no input that they lack.

``pixel_values [batch, 3, size, size] -> image_features [batch, visual tokens, LLM width (+ 1)]``. All layers of the
tower and the last norm are run; each square region of patches is averaged to a token, Gemma 3's by design and further
still where fewer tokens are asked for; then Gemma 3 norms, and both multiply by a matrix.
"""

from typing import Any

from vlmplan.checkpoints import MARKED_TYPES, Checkpoint, Compression, Weights
from vlmplan.graphs.decoder import (
    NEW,
    PAST,
    TOTAL,
    DecoderOptions,
    DecoderSketch,
    cache_names,
    features_input,
    layer_windows,
    merged,
)
from vlmplan.graphs.quantise import bits_of
from vlmplan.graphs.selection import divpruned
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.tower import averaged, patches, tower_layer
from vlmplan.hardware import Precision

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"  # kinds of layers, as transformers calls them


def shifted_norm(sketch: Sketch, x: Any, name: str, epsilon: float) -> Any:
    """Return RMSNorm over the last axis, times one more than the weight, computed in fp32."""

    def scale() -> Any:
        return sketch.cast(name, sketch.weights.array(name) + 1.0)

    weight = sketch.lazy(f"{name}.plus_one", sketch.shape(name), sketch.float_type, scale)
    return sketch.op("RMSNormalization", x, weight, axis=-1, epsilon=float(epsilon), stash_type=1)


def marked(sketch: Sketch, x: Any, value: float) -> Any:
    """Return ``x [batch, tokens, width]`` with one channel more, of ``value``: 1 on images, 0 on text."""
    mark = sketch.constant(f"mark.{value:g}", sketch.np.array(value, sketch.numpy_type))
    return sketch.op("Pad", x, sketch.ints(0, 0, 0, 0, 0, 1), mark)


def embeds_width(checkpoint: Checkpoint) -> int:
    """Return the channels of embeddings and image features: the LLM's, and one more where images are marked."""
    return int(checkpoint.text.hidden_size) + (checkpoint.config.model_type in MARKED_TYPES)


def gemma_embedding_graph(checkpoint: Checkpoint, precision: Precision, *, merges: bool = False) -> Any:
    """Return the model ``input_ids [batch, sequence] -> inputs_embeds [batch, sequence, hidden (+ 1)]``.

    One that ``merges`` has an input more, ``image_features``, as wide, which come in the places of image tokens.
    """
    sketch = Sketch(checkpoint.tensors, precision)
    ids = sketch.input("input_ids", ["batch_size", NEW], integer=True)
    found = sketch.op("Gather", sketch.parameter("language_model.embed_tokens.weight"), ids)
    scale = sketch.np.array(checkpoint.text.hidden_size**0.5, sketch.numpy_type)
    found = sketch.op("Mul", found, sketch.constant("embed_scale", scale))
    width = embeds_width(checkpoint)
    if width != checkpoint.text.hidden_size:
        found = marked(sketch, found, 0.0)
    inputs = [ids]
    if merges:
        inputs.append(features_input(sketch, width, ranked=False))
        found = merged(sketch, ids, found, inputs[1], checkpoint.image_token, width)
    return sketch.model("embed_tokens", inputs, [sketch.output(found, "inputs_embeds", ["batch_size", NEW, width])])


class _GemmaDecoder(DecoderSketch):
    """The decoder being drawn."""

    def __init__(self, checkpoint: Checkpoint, weights: Weights, options: DecoderOptions) -> None:
        super().__init__(checkpoint.text, weights, options)
        self.width = embeds_width(checkpoint)
        self.scale = float(getattr(self.config, "query_pre_attn_scalar", None) or self.dim) ** -0.5

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, config = self.sketch, self.config
        embeds = sketch.input("inputs_embeds", ["batch_size", NEW, self.width])
        mask = sketch.input("attention_mask", ["batch_size", TOTAL], integer=True)
        positions = sketch.input("position_ids", ["batch_size", NEW], integer=True)
        names = cache_names(config.num_hidden_layers)
        shape = ["batch_size", config.num_key_value_heads, PAST, self.dim]
        past = [sketch.input(name, shape, cache=True) for name, _ in names]
        windows = layer_windows(config)
        beside = self._beside(embeds, mask)
        visible = {window: self._seen(embeds, mask, window, beside) for window in dict.fromkeys(windows)}
        turns = self._turns(positions, windows)
        x = sketch.inner(embeds)
        if self.width != config.hidden_size:
            x = sketch.op("Slice", x, sketch.ints(0), sketch.ints(config.hidden_size), sketch.ints(2))
        present = []
        for layer, window in enumerate(windows):
            x, *new = self._layer(x, layer, visible[window], turns[window], past[2 * layer : 2 * layer + 2])
            present += new
        shape[2] = TOTAL
        cache = [sketch.output(value, name, shape, cache=True) for value, (_, name) in zip(present, names, strict=True)]
        return sketch.model("decoder", [embeds, mask, positions, *past], [*self._head(x), *cache])

    def _norm(self, x: Any, name: str) -> Any:
        return shifted_norm(self.sketch, x, name, self.config.rms_norm_eps)

    def _capped(self, x: Any, cap: float | None, name: str) -> Any:
        """``cap x tanh(x / cap)``, where there is a cap."""
        if cap is None:
            return x
        sketch = self.sketch
        limit = sketch.constant(name, sketch.np.array(cap, sketch.numpy_type))
        return sketch.op("Mul", sketch.op("Tanh", sketch.op("Div", x, limit)), limit)

    def _head(self, x: Any) -> list[Any]:
        """The last norm, the head (tied embeddings where there is no other) and its soft cap."""
        sketch, config = self.sketch, self.config
        x = self._norm(x if self.options.all_logits else sketch.tail(x, -1, axis=1), "language_model.norm.weight")
        head = "lm_head" if sketch.has("lm_head.weight") else "language_model.embed_tokens"
        logits = sketch.linear(x, head, bits_of(self.options.precision, "lm_head"))
        if self.width == config.hidden_size:  # transformers' class of Gemma 3 caps none
            logits = self._capped(logits, getattr(config, "final_logit_softcapping", None), "logits.cap")
        count: int | str = NEW if self.options.all_logits else 1
        return [sketch.output(logits, "logits", ["batch_size", count, config.vocab_size])]

    def _turns(self, positions: Any, windows: list[int | None]) -> dict[int | None, tuple[Any, Any]]:
        """Cosines and sines by window: Gemma 3 turns its windowed layers by frequencies of their own."""
        if self.config.model_type != "gemma3_text":
            return dict.fromkeys(windows, self._rotary(positions))
        from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

        rotary, found = Gemma3RotaryEmbedding(self.config), {}
        for window in dict.fromkeys(windows):
            kind, name = (_GLOBAL, "rotary") if window is None else (_LOCAL, "rotary.windowed")
            frequencies = getattr(rotary, f"{kind}_inv_freq").numpy().astype(self.sketch.np.float32)
            scaling = getattr(rotary, f"{kind}_attention_scaling")
            found[window] = self._turned(positions, frequencies, scaling, name)
        return found

    def _turned(self, positions: Any, frequencies: Any, scaling: float, name: str) -> tuple[Any, Any]:
        """Cosines and sines ``[batch, new, head dim / 2]`` of positions times frequencies."""
        sketch = self.sketch
        angles = sketch.op("Cast", sketch.op("Unsqueeze", positions, sketch.ints(2)), to=sketch.ir.DataType.FLOAT)
        angles = sketch.op("Mul", angles, sketch.constant(f"{name}.inverse_frequencies", frequencies))
        found = [sketch.op("Cos", angles), sketch.op("Sin", angles)]
        if scaling != 1.0:
            scale = sketch.constant(f"{name}.scaling", sketch.np.array(scaling, sketch.np.float32))
            found = [sketch.op("Mul", part, scale) for part in found]
        cosines, sines = (sketch.inner(part) for part in found)
        return cosines, sines

    def _beside(self, embeds: Any, mask: Any) -> Any:
        """What tokens see of later ones: bool, ``[1]`` for a prefix, else ``[batch, new, total]`` of one image."""
        sketch = self.sketch
        total, new = (sketch.op("Shape", part, start=1, end=2) for part in (mask, embeds))
        past = sketch.op("Sub", total, new)
        if self.width == self.config.hidden_size:
            return sketch.op("Equal", past, sketch.ints(0))
        half = sketch.constant("mark.half", sketch.np.array(0.5, sketch.np.float32))
        mark = sketch.op("Squeeze", sketch.tail(embeds, self.config.hidden_size, axis=2), sketch.ints(2))
        shown = sketch.op("Cast", sketch.op("Greater", mark, half), to=sketch.ir.DataType.INT64)
        earlier = sketch.op("Pad", shown, sketch.ints(0, 1, 0, -1))  # each token's neighbour on the left
        starts = sketch.op("Mul", shown, sketch.op("Sub", sketch.scalar(1), earlier))
        image = sketch.op("Mul", sketch.op("CumSum", starts, sketch.scalar(1)), shown)  # its number, or 0 for text
        before = sketch.op("Concat", sketch.ints(0), past, sketch.ints(0, 0), axis=0)
        keys = sketch.op("Unsqueeze", sketch.op("Pad", image, before), sketch.ints(1))
        queries = sketch.op("Unsqueeze", image, sketch.ints(2))
        return sketch.op("And", sketch.op("Equal", queries, keys), sketch.op("Greater", queries, sketch.scalar(0)))

    def _seen(self, embeds: Any, mask: Any, window: int | None, beside: Any) -> Any:
        """Which keys each new token sees: bool [batch, 1, new, total]; itself always, so that no row is empty.

        A window bounds what is seen of an image (Gemma 3), and nothing of a prefix (PaliGemma).
        """
        sketch = self.sketch
        total = sketch.op("Squeeze", sketch.op("Shape", mask, start=1, end=2))
        new = sketch.op("Squeeze", sketch.op("Shape", embeds, start=1, end=2))
        keys = sketch.op("Range", sketch.scalar(0), total, sketch.scalar(1))
        queries = sketch.op("Range", sketch.op("Sub", total, new), total, sketch.scalar(1))
        queries = sketch.op("Unsqueeze", queries, sketch.ints(1))
        seen, whole = sketch.op("LessOrEqual", keys, queries), self.width == self.config.hidden_size
        if not whole:
            seen = sketch.op("Or", seen, beside)
        if window is not None:
            seen = sketch.op("And", seen, sketch.op("Less", sketch.op("Sub", queries, keys), sketch.scalar(window)))
        if whole:
            seen = sketch.op("Or", seen, beside)
        kept = sketch.op("Cast", sketch.op("Unsqueeze", mask, sketch.ints(1)), to=sketch.ir.DataType.BOOL)
        found = sketch.op("Or", sketch.op("And", seen, kept), sketch.op("Equal", keys, queries))
        return sketch.op("Unsqueeze", found, sketch.ints(1))

    def _layer(
        self, x: Any, layer: int, visible: Any, cos_sin: tuple[Any, Any], past: list[Any]
    ) -> tuple[Any, Any, Any]:
        sketch, name = self.sketch, f"language_model.layers.{layer}"
        four = sketch.has(f"{name}.pre_feedforward_layernorm.weight")
        normed = self._norm(x, f"{name}.input_layernorm.weight")
        attended, keys, values = self._attention(normed, f"{name}.self_attn", visible, cos_sin, past)
        if four:
            attended = self._norm(attended, f"{name}.post_attention_layernorm.weight")
        x = sketch.op("Add", x, attended)
        before = "pre_feedforward_layernorm" if four else "post_attention_layernorm"
        normed = self._norm(x, f"{name}.{before}.weight")
        kind = getattr(self.config, "hidden_activation", None) or self.config.hidden_act
        gate = sketch.activation(self._linear(normed, f"{name}.mlp.gate_proj"), kind)
        up = self._linear(normed, f"{name}.mlp.up_proj")
        down = self._linear(sketch.op("Mul", gate, up), f"{name}.mlp.down_proj")
        if four:
            down = self._norm(down, f"{name}.post_feedforward_layernorm.weight")
        return sketch.op("Add", x, down), keys, values

    def _normed(self, x: Any, name: str) -> Any:
        """RMSNorm within each head, where the model has it (Gemma 3)."""
        sketch = self.sketch
        if not sketch.has(name):
            return x
        by_head = sketch.op("Reshape", x, sketch.ints(0, 0, -1, self.dim))
        return sketch.op("Reshape", self._norm(by_head, name), sketch.ints(0, 0, -1))

    def _attended(self, queries: Any, keys: Any, values: Any, visible: Any, past: list[Any]) -> Any:
        cap = getattr(self.config, "attn_logit_softcapping", None)
        if cap is None or self.config.model_type != "gemma2":  # transformers hands it on in Gemma 2 alone
            return super()._attended(queries, keys, values, visible, past)
        return self._capped_attention(queries, keys, values, visible, past, cap)

    def _capped_attention(self, queries: Any, keys: Any, values: Any, visible: Any, past: list[Any], cap: float) -> Any:
        """Attention whose scores are capped before the mask: the operator of opset 23 caps them after it."""
        sketch, config = self.sketch, self.config
        kv_heads, shared = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads

        def by_head(x: Any) -> Any:
            split = sketch.op("Reshape", x, sketch.ints(0, 0, -1, self.dim))
            return sketch.op("Transpose", split, perm=[0, 2, 1, 3])

        keys, values = (
            sketch.op("Concat", old, by_head(new), axis=2) for old, new in zip(past, (keys, values), strict=True)
        )
        grouped = sketch.op("Reshape", by_head(queries), sketch.ints(0, kv_heads, shared, -1, self.dim))
        several = [sketch.op("Unsqueeze", part, sketch.ints(2)) for part in (keys, values)]
        turned = sketch.op("Transpose", several[0], perm=[0, 1, 2, 4, 3])
        scale = sketch.constant("attention.scale", sketch.np.array(self.scale, sketch.numpy_type))
        scores = sketch.op("MatMul", sketch.op("Mul", grouped, scale), turned)
        scores = self._capped(scores, cap, "attention.cap")
        hidden = sketch.constant("attention.hidden", sketch.np.array(-sketch.np.inf, sketch.numpy_type))
        scores = sketch.op("Where", sketch.op("Unsqueeze", visible, sketch.ints(2)), scores, hidden)
        found = sketch.op("MatMul", sketch.op("Softmax", scores, axis=-1), several[1])
        found = sketch.op("Reshape", found, sketch.ints(0, config.num_attention_heads, -1, self.dim))
        found = sketch.op("Transpose", found, perm=[0, 2, 1, 3])
        return sketch.op("Reshape", found, sketch.ints(0, 0, -1)), keys, values


def gemma_decoder_graph(checkpoint: Checkpoint, weights: Weights, options: DecoderOptions) -> Any:
    """Return the decoder of Gemma 3 or PaliGemma as an onnx_ir model, with inputs and outputs as other decoders'.

    Gemma 3's ``inputs_embeds`` have a channel more, which marks images. Raises InputError for a missing tensor.
    """
    return _GemmaDecoder(checkpoint, weights, options).draw()


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
