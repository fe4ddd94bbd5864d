"""How does the LLM run? Graphs of the decoder (prefill and decode in one) and of the token embeddings.

Llama, Mistral, Qwen2 and Qwen3: RMSNorm, rotary positions, grouped queries, gated MLP. Axes: batch_size,
sequence_length (new tokens), past_sequence_length, total_sequence_length. The mask allows padding: a token sees itself
and the unmasked tokens before it, within the window where a layer has one. In the LLMs of Qwen2-VL, Qwen2.5-VL and
Qwen3-VL positions are in time, height and width, and each rotary frequency follows one of them. Qwen3-VL's first layers
have features of the image added behind them (DeepStack): they stand beside the embeddings, zeros for text.
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.checkpoints import Weights, head_dim, position_axes
from vlmplan.graphs.quantise import bits_of
from vlmplan.graphs.sketch import Sketch
from vlmplan.hardware import Precision

NEW, PAST, TOTAL = "sequence_length", "past_sequence_length", "total_sequence_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderOptions:
    """What a decoder graph is to be: ``base_precision`` is that of all that is not quantised.

    Logits are those of the last token unless ``all_logits``. With ``hidden_output`` the last token's final hidden state
    comes out too: QueCC reads the question with it. ``stacked`` of the first layers have features of the image added.
    """

    precision: Precision = Precision.FP32
    base_precision: Precision = Precision.FP32
    all_logits: bool = False
    hidden_output: bool = False
    stacked: int = 0


def cache_names(layers: int) -> list[tuple[str, str]]:
    """Return (input, output) names of the KV cache: keys and values of each layer, in order."""
    parts = [(layer, part) for layer in range(layers) for part in ("key", "value")]
    return [(f"past_key_values.{layer}.{part}", f"present.{layer}.{part}") for layer, part in parts]


def features_input(sketch: Sketch, width: int, *, ranked: bool) -> Any:
    """Return the input ``image_features [tokens, width]``, or of any rank where it is not ``ranked``.

    onnxruntime-genai hands over ``[images, tokens, width]`` of a vision encoder that gives three axes, and none of text
    alone as ``[0, width]`` all the same.
    """
    return sketch.input("image_features", ["num_image_tokens", width] if ranked else None)


def merged(sketch: Sketch, ids: Any, embeds: Any, features: Any, image_token: int, width: int) -> Any:
    """Return ``embeds [batch, tokens, width]`` with the rows of ``features``, in order, where ``ids`` have the token.

    From the second call on onnxruntime-genai hands over no features: what is generated is text then, an image token
    too. Any other number of features than of image tokens is an error when the graph runs.
    """
    rows = sketch.op("Reshape", sketch.inner(features), sketch.ints(-1, width))
    given = sketch.op("Greater", sketch.op("Shape", rows, start=0, end=1), sketch.ints(0))
    places = sketch.op("And", sketch.op("Equal", ids, sketch.scalar(image_token)), given)
    return sketch.op("ScatterND", embeds, sketch.op("Transpose", sketch.op("NonZero", places), perm=[1, 0]), rows)


def embedding_graph(
    config: Any, weights: Weights, precision: Precision, stacked: int = 0, image_token: int | None = None
) -> Any:
    """Return the model ``input_ids [batch, sequence] -> inputs_embeds [batch, sequence, hidden]``.

    With ``stacked`` layers that take features of an image ``[batch, sequence, hidden x (1 + stacked)]``: text has none.
    With an ``image_token`` there is an input more, ``image_features [image tokens, as wide]``, which go to its places.
    """
    sketch = Sketch(weights, precision)
    ids = sketch.input("input_ids", ["batch_size", NEW], integer=True)
    found = sketch.op("Gather", sketch.parameter("language_model.embed_tokens.weight"), ids)
    width = config.hidden_size * (1 + stacked)
    if stacked:
        found = sketch.op("Pad", found, sketch.ints(0, 0, 0, 0, 0, config.hidden_size * stacked))
    inputs = [ids]
    if image_token is not None:
        inputs.append(features_input(sketch, width, ranked=True))
        found = merged(sketch, ids, found, inputs[1], image_token, width)
    return sketch.model("embed_tokens", inputs, [sketch.output(found, "inputs_embeds", ["batch_size", NEW, width])])


def layer_windows(config: Any) -> list[int | None]:
    """Return each layer's window in tokens, None where it sees everything: as transformers' class of the type runs.

    Mistral's takes its window in every layer and Llama's in none, whatever ``layer_types`` says.
    """
    width = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if config.model_type == "mistral":
        return [width] * config.num_hidden_layers
    if not width or not kinds or config.model_type == "llama":
        return [None] * config.num_hidden_layers
    return [width if kind == "sliding_attention" else None for kind in kinds]


class DecoderSketch:
    """The decoder being drawn. Others call the last norm, those of heads and the way out of attention otherwise."""

    last_norm, head_norms, out = "language_model.norm.weight", ("q_norm", "k_norm"), "o_proj"

    def __init__(self, config: Any, weights: Weights, options: DecoderOptions) -> None:
        self.config, self.options = config, options
        self.sketch = Sketch(weights, options.base_precision)
        self.dim = head_dim(config)
        self.axes = position_axes(config)
        self.scale = self.dim**-0.5  # of scores

    @property
    def epsilon(self) -> float:
        """What every norm adds to the mean square."""
        return float(self.config.rms_norm_eps)

    def draw(self) -> Any:
        """Draw all of it."""
        sketch, config = self.sketch, self.config
        stacked = self.options.stacked
        embeds = sketch.input("inputs_embeds", ["batch_size", NEW, config.hidden_size * (1 + stacked)])
        mask = sketch.input("attention_mask", ["batch_size", TOTAL], integer=True)
        places: list[int | str] = ["batch_size", NEW]
        positions = sketch.input("position_ids", places if self.axes is None else [3, *places], integer=True)
        names = cache_names(config.num_hidden_layers)
        shape = ["batch_size", config.num_key_value_heads, PAST, self.dim]
        past = [sketch.input(name, shape, cache=True) for name, _ in names]
        cos_sin = self._rotary(positions)
        windows = layer_windows(config)
        visible = {window: self._visible(embeds, mask, window) for window in dict.fromkeys(windows)}
        x, features, present = sketch.inner(embeds), (), []
        if stacked:
            x, *features = sketch.ops("Split", 1 + stacked, x, axis=-1, num_outputs=1 + stacked)
        for layer, window in enumerate(windows):
            x, *new = self._layer(x, layer, visible[window], cos_sin, past[2 * layer : 2 * layer + 2])
            x = sketch.op("Add", x, features[layer]) if layer < stacked else x
            present += new
        shape[2] = TOTAL
        cache = [sketch.output(value, name, shape, cache=True) for value, (_, name) in zip(present, names, strict=True)]
        return sketch.model("decoder", [embeds, mask, positions, *past], [*self._head(x), *cache])

    def _head(self, x: Any) -> list[Any]:
        """The last norm and the head; tied embeddings serve as the head where there is no other."""
        sketch, vocabulary = self.sketch, self.config.vocab_size
        x = x if self.options.all_logits else sketch.tail(x, -1, axis=1)
        x = sketch.rms_norm(x, self.last_norm, self.epsilon)
        head = "lm_head" if sketch.has("lm_head.weight") else "language_model.embed_tokens"
        logits = sketch.linear(x, head, bits_of(self.options.precision, "lm_head"))
        count: int | str = NEW if self.options.all_logits else 1
        found = [sketch.output(logits, "logits", ["batch_size", count, vocabulary])]
        if self.options.hidden_output:
            last = sketch.op("Identity", sketch.tail(x, -1, axis=1))
            found.append(sketch.output(last, "last_hidden_state", ["batch_size", 1, self.config.hidden_size]))
        return found

    def _rotary(self, positions: Any) -> tuple[Any, Any]:
        """Cosines and sines of positions times inverse frequencies, by transformers' own rules for scaled variants."""
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        sketch, numpy = self.sketch, self.sketch.np
        rotary = LlamaRotaryEmbedding(self.config)
        frequencies = sketch.constant("rotary.inverse_frequencies", rotary.inv_freq.numpy().astype(numpy.float32))
        if rotary.rope_type == "dynamic":
            frequencies = self._stretched(frequencies, positions, rotary.original_max_seq_len)
        angles = sketch.op("Mul", self._by_frequency(positions), frequencies)
        found = [sketch.op("Cos", angles), sketch.op("Sin", angles)]
        if rotary.attention_scaling != 1.0:
            scale = sketch.constant("rotary.scaling", numpy.array(rotary.attention_scaling, numpy.float32))
            found = [sketch.op("Mul", part, scale) for part in found]
        cosines, sines = (sketch.inner(part) for part in found)
        return cosines, sines

    def _by_frequency(self, positions: Any) -> Any:
        """Positions in fp32, ``[batch, new, 1]``, or of each frequency its own, ``[batch, new, half a head]``."""
        sketch, kind = self.sketch, self.sketch.ir.DataType.FLOAT
        if self.axes is None:
            return sketch.op("Cast", sketch.op("Unsqueeze", positions, sketch.ints(2)), to=kind)
        axes = sketch.constant("rotary.axes", sketch.np.array(self.axes, sketch.np.int64))
        followed = sketch.op("Transpose", sketch.op("Gather", positions, axes, axis=0), perm=[1, 2, 0])
        return sketch.op("Cast", followed, to=kind)

    def _stretched(self, frequencies: Any, positions: Any, trained: int) -> Any:
        """Frequencies of texts longer than ``trained`` tokens, by a base that grows with them (NTK-aware, dynamic).

        The base times ``s = factor * length / trained - (factor - 1)`` to the power of ``dim / (dim - 2)``, so that
        frequency i falls by ``s ** (-2i / (dim - 2))``; up to ``trained`` tokens s is 1. Keys in the cache stay as they
        were turned, as transformers leaves them.
        """
        sketch, numpy, types = self.sketch, self.sketch.np, self.sketch.ir.DataType
        factor = self.config.rope_parameters["factor"]
        last = sketch.op("ReduceMax", positions, keepdims=0)
        length = sketch.op("Max", sketch.op("Add", last, sketch.scalar(1)), sketch.scalar(trained))
        slope = sketch.constant("rotary.slope", numpy.array(factor / trained, numpy.float32))
        offset = sketch.constant("rotary.offset", numpy.array(factor - 1, numpy.float32))
        grown = sketch.op("Sub", sketch.op("Mul", sketch.op("Cast", length, to=types.FLOAT), slope), offset)
        powers = -numpy.arange(0, self.dim, 2, dtype=numpy.float32) / (self.dim - 2)
        return sketch.op("Mul", frequencies, sketch.op("Pow", grown, sketch.constant("rotary.powers", powers)))

    def _visible(self, embeds: Any, mask: Any, window: int | None) -> Any:
        """Which keys each new token sees: bool [batch, 1, new, total]; itself always, so that no row is empty."""
        sketch = self.sketch
        total = sketch.op("Squeeze", sketch.op("Shape", mask, start=1, end=2))
        new = sketch.op("Squeeze", sketch.op("Shape", embeds, start=1, end=2))
        keys = sketch.op("Range", sketch.scalar(0), total, sketch.scalar(1))
        queries = sketch.op("Unsqueeze", sketch.op("Range", sketch.op("Sub", total, new), total, sketch.scalar(1)),
                            sketch.ints(1))  # fmt: skip
        seen = sketch.op("LessOrEqual", keys, queries)
        if window is not None:
            seen = sketch.op("And", seen, sketch.op("Less", sketch.op("Sub", queries, keys), sketch.scalar(window)))
        kept = sketch.op("Cast", sketch.op("Unsqueeze", mask, sketch.ints(1)), to=sketch.ir.DataType.BOOL)
        found = sketch.op("Or", sketch.op("And", seen, kept), sketch.op("Equal", keys, queries))
        return sketch.op("Unsqueeze", found, sketch.ints(1))

    def _layer(
        self, x: Any, layer: int, visible: Any, cos_sin: tuple[Any, Any], past: list[Any]
    ) -> tuple[Any, Any, Any]:
        sketch, epsilon = self.sketch, self.config.rms_norm_eps
        name = f"language_model.layers.{layer}"
        normed = sketch.rms_norm(x, f"{name}.input_layernorm.weight", epsilon)
        attended, keys, values = self._attention(normed, f"{name}.self_attn", visible, cos_sin, past)
        x = sketch.op("Add", x, attended)
        normed = sketch.rms_norm(x, f"{name}.post_attention_layernorm.weight", epsilon)
        gate = sketch.activation(self._linear(normed, f"{name}.mlp.gate_proj"), self.config.hidden_act)
        up = self._linear(normed, f"{name}.mlp.up_proj")
        down = self._linear(sketch.op("Mul", gate, up), f"{name}.mlp.down_proj")
        return sketch.op("Add", x, down), keys, values

    def _attention(self, x: Any, name: str, visible: Any, cos_sin: tuple[Any, Any], past: list[Any]) -> Any:
        sketch, heads = self.sketch, self.config.num_attention_heads
        kv_heads = self.config.num_key_value_heads
        queries, keys, values = (self._linear(x, f"{name}.{part}_proj") for part in "qkv")
        normed = zip((queries, keys), self.head_norms, strict=True)
        queries, keys = (self._normed(part, f"{name}.{norm}.weight") for part, norm in normed)
        queries = sketch.op("RotaryEmbedding", queries, *cos_sin, num_heads=heads)
        keys = sketch.op("RotaryEmbedding", keys, *cos_sin, num_heads=kv_heads)
        attended, keys, values = self._attended(queries, keys, values, visible, past)
        return self._linear(attended, f"{name}.{self.out}"), keys, values

    def _attended(self, queries: Any, keys: Any, values: Any, visible: Any, past: list[Any]) -> Any:
        """What queries gather, and keys and values of all tokens, those of the cache before the new."""
        heads, kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        parts = (queries, keys, values, visible, *past)
        return self.sketch.ops("Attention", 3, *parts, q_num_heads=heads, kv_num_heads=kv_heads, scale=self.scale)

    def _linear(self, x: Any, name: str) -> Any:
        """A layer's product, its weight rounded as the precision and its place ask for."""
        return self.sketch.linear(x, name, bits_of(self.options.precision, name.rpartition(".")[2]))

    def _normed(self, x: Any, name: str) -> Any:
        """RMSNorm within each head, where the model has it (Qwen3, LFM2)."""
        sketch = self.sketch
        if not sketch.has(name):
            return x
        by_head = sketch.op("Reshape", x, sketch.ints(0, 0, -1, self.dim))
        return sketch.op("Reshape", sketch.rms_norm(by_head, name, self.epsilon), sketch.ints(0, 0, -1))


def decoder_graph(config: Any, weights: Weights, options: DecoderOptions) -> Any:
    """Return the decoder of a transformers text configuration as an onnx_ir model.

    ``inputs_embeds [batch, new, hidden x (1 + stacked)], attention_mask [batch, total], position_ids [batch, new] or
    [3, batch, new], past_key_values.N.key|value [batch, kv heads, past, head dim] -> logits [batch, 1, vocabulary],
    present.N.key|value [batch, kv heads, total, head dim]``. Raises InputError for a missing tensor.
    """
    return DecoderSketch(config, weights, options).draw()
