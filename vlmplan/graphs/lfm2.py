"""How does LFM2 run? The graph of LFM2-VL's decoder: short convolutions, and attention in some of the layers.

A convolution sees a token and the ones before it, three in all: in place of keys and values its cache holds what went
into it of the last tokens, ``past_conv.N [batch, hidden, kernel]``, by the name that clients give it. Padding goes in
as zeros, which is what stands before the first token, too.
"""

from typing import Any

from vlmplan.checkpoints import Weights
from vlmplan.graphs.decoder import NEW, PAST, TOTAL, DecoderOptions, DecoderSketch
from vlmplan.graphs.quantise import bits_of

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
        found = sketch.op("Conv", sketch.tail(held, 1, axis=2), *weights, kernel_shape=[kernel], group=width)
        found = sketch.op("Transpose", sketch.op("Mul", after, found), perm=[0, 2, 1])
        return self._linear(found, f"{name}.out_proj"), sketch.tail(held, -kernel, axis=2)

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
