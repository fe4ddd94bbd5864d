"""Which layers of a decoder differ from its others? The keys of a config that say so, read into groups of layers.

(text config, dimensions so far) -> fields of ``Decoder``. Keys that a config leaves out have the defaults that
``text_types.py`` gives its type; a type without a key has none of what it means.
"""

from collections import Counter
from typing import Any

from vlmplan.document import plain
from vlmplan.errors import unexpected
from vlmplan.models.configs.keys import Plain, switch, whole
from vlmplan.models.configs.text_types import TextType
from vlmplan.models.decoder import LayerGroup, Mixing

MOST_WIDER = 1000  # by which a file may scale an MLP
_KINDS = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "sliding",
    "linear_attention": "delta-net",
    "conv": "convolution",
    "short_conv": "convolution",
}


class Keys:
    """The keys that only some types have: the config's, else the type's default, else ``least``."""

    def __init__(self, config: Plain, text: TextType, where: str) -> None:
        self._config, self._text, self.where = config, text, where

    def __contains__(self, key: str) -> bool:
        """Whether the config or its type has it."""
        return self._config.get(key) is not None or key in self._text.keys

    def raw(self, key: str) -> Any:
        """Whatever stands there; an explicit null counts."""
        return self._config[key] if key in self._config else self._text.keys.get(key)

    def count(self, key: str) -> int:
        """A whole number, 0 where there is none."""
        value = self.raw(key)
        return 0 if value is None or value is False else whole(value if value is not True else 1, self.place(key), 0)

    def on(self, key: str) -> bool:
        """Whether a switch is on, in the config or else in its type."""
        return switch(self._config, key, self.where, default=self._text.keys.get(key) is True)

    def numbers(self, key: str, most: int) -> tuple[int, ...]:
        """A list of layers below ``most``, each once."""
        value = self.raw(key)
        if not isinstance(value, list | tuple) or not all(type(one) is int and 0 <= one < most for one in value):
            raise unexpected(self.place(key), f"a list of layers below {most}", value)
        if len(set(value)) < len(value):
            raise unexpected(self.place(key), "every layer once", value)
        return tuple(value)

    def place(self, key: str) -> str:
        """Where a key stands, for messages."""
        return f"{self.where}.{key}"


def _kinds(config: Plain, text: TextType, keys: Keys, fields: dict[str, Any]) -> list[str]:
    """The kind of every layer."""
    layers = fields["layers"]
    if layers > 10_000:
        raise unexpected(f"{keys.where}.num_hidden_layers", "at most 10000", layers)
    listed = config.get("layer_types")
    if listed is not None:
        if not isinstance(listed, list) or len(listed) != layers or not {str(one) for one in listed} <= set(_KINDS):
            raise unexpected(f"{keys.where}.layer_types", f"a list of {layers} of {', '.join(_KINDS)}", listed, 60)
        return [_KINDS[one] for one in listed]
    if config.get("full_attn_idxs") is not None:
        full = keys.numbers("full_attn_idxs", layers)
        return ["full" if layer in full else "convolution" for layer in range(layers)]
    if text.pattern is not None and (fields.get("sliding_window") or "attention" not in _KINDS[text.pattern[0]]):
        kind, every = text.pattern
        every = keys.count("full_attention_interval") or every
        return [_KINDS[kind] if (layer + 1) % every else "full" for layer in range(layers)]
    windowed = fields.get("sliding_window") and config.get("use_sliding_window", True)
    return ["sliding" if windowed else "full"] * layers


def _delta_net(keys: Keys, layers: int) -> LayerGroup:
    return LayerGroup(
        layers=layers,
        mixing=Mixing.DELTA_NET,
        heads=keys.count("linear_num_value_heads"),
        kv_heads=keys.count("linear_num_key_heads"),
        head_dim=keys.count("linear_key_head_dim"),
        value_head_dim=keys.count("linear_value_head_dim"),
        kernel=keys.count("linear_conv_kernel_dim"),
    )


def _latent(keys: Keys, layers: int) -> LayerGroup:
    """Latent attention, whose every width must stand in the config or its type."""
    for key in ("qk_nope_head_dim", "v_head_dim", "qk_rope_head_dim", "kv_lora_rank"):
        whole(keys.raw(key), keys.place(key))
    return LayerGroup(
        layers=layers,
        mixing=Mixing.LATENT,
        head_dim=keys.count("qk_nope_head_dim"),
        value_head_dim=keys.count("v_head_dim"),
        rope_dim=keys.count("qk_rope_head_dim"),
        latent_width=keys.count("kv_lora_rank"),
        query_rank=keys.count("q_lora_rank"),
    )


def _unlike(keys: Keys, kinds: list[str], fields: dict[str, Any]) -> list[LayerGroup]:
    """Gemma 4: full layers with heads of their own, last layers that read the caches of earlier ones."""
    layers, wide = fields["layers"], 2 if keys.count("use_double_wide_mlp") else 1
    shared = min(keys.count("num_kv_shared_layers"), layers)
    head_dim, same = keys.count("global_head_dim"), keys.on("attention_k_eq_v")
    kv_heads = keys.count("num_global_key_value_heads") if same else 0
    resaved = keys.raw("per_layer_config")  # how transformers 5 writes the same down
    if isinstance(resaved, dict) and resaved and isinstance(one := next(iter(resaved.values())), dict):
        head_dim = whole(one.get("head_dim") or head_dim, keys.place("per_layer_config.*.head_dim"))
        kv_heads = one.get("num_key_value_heads") or kv_heads
        kv_heads = whole(kv_heads, keys.place("per_layer_config.*.num_key_value_heads"), 0)
    groups = []
    for (kind, shares), count in sorted(Counter((kinds[i], i >= layers - shared) for i in range(layers)).items()):
        full = kind == "full"
        groups.append(
            LayerGroup(
                layers=count,
                head_dim=head_dim if full else fields["head_dim"],
                kv_heads=kv_heads if full else 0,
                window=0 if full else fields["sliding_window"] or 0,
                shares_kv=shares,
                value_is_key=full and same,
                intermediate=fields["intermediate"] * wide if shares else 0,
            )
        )
    return groups


def _extra_params(keys: Keys, fields: dict[str, Any]) -> int:
    """Parameters that take no time: sinks, scales, biases of experts, norms over all heads."""
    layers, heads, experts = fields["layers"], fields["heads"], fields.get("experts", 0)
    sparse = max(0, layers - fields.get("dense_layers", 0))
    extra = layers * heads * keys.count("attention_sinks")
    extra += sparse * experts * keys.count("expert_score_bias") * (2 if "vision_expert_intermediate" in fields else 1)
    extra += sparse * fields["hidden"] * keys.count("shared_expert_gate")
    over_all = keys.count("qk_norm_over_all_heads") or keys.on("attention_layer_norm")  # OLMo, Molmo
    extra += layers * (heads + fields["kv_heads"]) * fields["head_dim"] * over_all
    if experts and keys.count("expert_bias"):
        extra += layers * experts * (2 * fields["expert_intermediate"] + fields["hidden"] + 1)
    if keys.on("enable_moe_block"):  # Gemma 4: a scale of the router's input and one an expert
        extra += layers * (fields["hidden"] + experts)
    if keys.count("hidden_size_per_layer_input"):
        extra += keys.count("hidden_size_per_layer_input")  # the norm of what all layers look up
    return int(extra)


def _experts(config: Plain, keys: Keys, fields: dict[str, Any]) -> dict[str, Any]:
    """Widths of experts, and of what runs beside them."""
    widths = keys.raw("moe_intermediate_size")
    if isinstance(widths, list | tuple) and widths:
        own = [whole(width, keys.place("moe_intermediate_size")) for width in widths]
        fields = {**fields, "expert_intermediate": own[0]}
        fields |= {"vision_expert_intermediate": own[-1]} if len(own) > 1 else {}
    width = fields.setdefault("expert_intermediate", fields["intermediate"])
    if keys.count("n_shared_experts") or keys.count("moe_num_shared_experts"):
        count = keys.count("moe_num_shared_experts") or keys.count("n_shared_experts")
        fields["shared_expert_intermediate"] = count * width
    if keys.count("shared_experts_as_wide"):
        fields["shared_expert_intermediate"] = width
        fields["intermediate"] = keys.count("intermediate_size_mlp") or fields["intermediate"]  # of its dense layers
    dense = _dense_layers(config, keys, fields["layers"])
    fields |= {} if dense is None else {"dense_layers": dense}
    if switch(config, "enable_moe_block", keys.where, default=False):
        fields |= {"shared_expert_intermediate": fields["intermediate"], "norms_per_layer": 7}
    return fields


def _dense_layers(config: Plain, keys: Keys, layers: int) -> int | None:
    """How many layers of a mixture have no experts, by keys but ``first_k_dense_replace``; None where none is."""
    if config.get("moe_layers") is not None:  # Llama 4
        return layers - len(keys.numbers("moe_layers", layers))
    if step := keys.count("interleave_moe_layer_step"):
        return layers - len(range(step - 1, layers, step))
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step"):  # Qwen
        only = keys.numbers("mlp_only_layers", layers) if config.get("mlp_only_layers") else ()
        step = keys.count("decoder_sparse_step") or 1
        return layers - sum((layer + 1) % step == 0 and layer not in only for layer in range(layers))
    every, first = keys.count("moe_layer_freq"), keys.count("first_k_dense_replace")
    if every > 1:  # DeepSeek
        return layers - sum(layer >= first and layer % every == 0 for layer in range(layers))
    return None


def _adjusted_width(keys: Keys, width: int) -> int:
    """The width that an MLP is built with; of LFM2 two thirds of the file's, scaled and rounded up."""
    if not keys.on("block_auto_adjust_ff_dim"):
        return width
    width, scale = int(2 * width / 3), keys.raw("block_ffn_dim_multiplier")
    if scale is None:
        return max(1, width)
    if type(scale) not in (int, float) or not 0 < scale <= MOST_WIDER:
        raise unexpected(keys.place("block_ffn_dim_multiplier"), f"a number from 0 to {MOST_WIDER}", scale)
    multiple = max(1, keys.count("block_multiple_of"))
    return max(1, -(-int(scale * width) // multiple) * multiple)


def layer_fields(config: Plain, text: TextType, fields: dict[str, Any], where: str) -> dict[str, Any]:
    """Return ``fields``, a decoder's dimensions, with what its layers and experts have besides. Raises InputError."""
    keys, fields = Keys(config, text, where), dict(fields)
    if fields.get("experts"):
        fields = _experts(config, keys, fields)
    fields["intermediate"] = _adjusted_width(keys, fields["intermediate"])
    kinds = _kinds(config, text, keys, fields)
    counts, window = Counter(kinds), fields.pop("sliding_window", None)
    groups: list[LayerGroup] = []
    if counts["delta-net"]:
        groups.append(_delta_net(keys, counts["delta-net"]))
    if counts["convolution"]:
        kernel = keys.count("conv_L_cache")
        groups.append(LayerGroup(layers=counts["convolution"], mixing=Mixing.SHORT_CONVOLUTION, kernel=kernel))
    if "kv_lora_rank" in keys and switch(config, "use_mla", where, default=True):  # of the DeepSeek family
        groups.append(_latent(keys, fields["layers"]))
    if "cross_attention_layers" in keys:
        cross = keys.numbers("cross_attention_layers", fields["layers"])
        groups.append(LayerGroup(layers=len(cross), mixing=Mixing.CROSS))
    if "global_head_dim" in keys:
        groups = _unlike(keys, kinds, {**fields, "sliding_window": window})
    elif counts["sliding"] and window:
        fields |= {"sliding_window": window, "sliding_layers": counts["sliding"]}
    own = keys.count("hidden_size_per_layer_input")
    if own:
        fields |= {"per_layer_embedding": own, "norms_per_layer": fields["norms_per_layer"] + 1}
    fields["extra_embedding_rows"] = keys.count("extra_embedding_rows") + keys.count("additional_vocab_size")
    # conv_bias: of both projections, three times and once as wide as the model, and of the convolution
    biases = 5 * fields["hidden"] * counts["convolution"] * keys.on("conv_bias")
    return fields | {"groups": plain(groups), "extra_params": _extra_params(keys, fields) + biases}
