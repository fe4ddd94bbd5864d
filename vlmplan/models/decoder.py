"""What is the LLM made of? Its layers, those that differ from the rest, and its feed-forward parts.

All counts are plain numbers: widths in channels, layers, heads. Nothing here computes a cost; that is the room
``cost``.
"""

import enum
import functools
from dataclasses import replace

from vlmplan.document import check_counts
from vlmplan.errors import InputError, unexpected
from vlmplan.records import dataclass


class Mixing(enum.StrEnum):
    """How the tokens of a layer see each other."""

    ATTENTION = "attention"
    LATENT = "latent"
    CROSS = "cross"
    DELTA_NET = "delta-net"
    SHORT_CONVOLUTION = "short-convolution"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """``layers`` of a decoder that mix tokens alike; in a file, those that differ from the others. 0 means as there.

    ``window`` is the most tokens such a layer attends to. With ``shares_kv`` it reads the cache of another layer and
    has no keys of its own; with ``value_is_key`` one projection makes both. ``intermediate`` is its own MLP's width.

    ``latent`` attention (DeepSeek-V2, arXiv 2405.04434): ``latent_width`` compressed channels and ``rope_dim`` rotated
    ones are cached for all heads; ``query_rank`` > 0 compresses queries. ``cross`` attends to visual tokens, which then
    are not in the sequence. ``delta-net`` (arXiv 2412.06464): ``heads`` value heads, ``kv_heads`` key heads, a state of
    ``head_dim`` x ``value_head_dim`` a head; it and the ``short-convolution`` (LFM2) run over ``kernel`` tokens.
    """

    layers: int
    mixing: Mixing = Mixing.ATTENTION
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    value_head_dim: int = 0
    intermediate: int = 0
    window: int = 0
    shares_kv: bool = False
    value_is_key: bool = False
    query_rank: int = 0
    latent_width: int = 0
    rope_dim: int = 0
    kernel: int = 0

    def __post_init__(self) -> None:
        """What a kind of mixing needs is there."""
        needed = {
            Mixing.LATENT: ("latent_width", "rope_dim", "value_head_dim"),
            Mixing.DELTA_NET: ("heads", "kv_heads", "head_dim", "value_head_dim", "kernel"),
            Mixing.SHORT_CONVOLUTION: ("kernel",),
        }
        check_counts(self, ("layers", *needed.get(self.mixing, ())))
        if self.heads and self.kv_heads and self.heads % self.kv_heads:
            raise unexpected("heads", f"a multiple of kv_heads = {self.kv_heads}", self.heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The LLM. ``intermediate`` is the dense MLP's width; ``experts`` = 0 means a dense model.

    ``sliding_layers`` of the ``layers`` attend to at most ``sliding_window`` tokens; ``groups`` are those that differ
    in more. ``dense_layers`` come before the mixture-of-experts ones; ``vision_expert_intermediate`` > 0 gives visual
    tokens as many experts of their own. ``shared_expert_intermediate`` is the width of what runs beside the experts.
    ``norms_per_layer`` are RMSNorms, with ``norm_bias`` LayerNorms. ``attention_gate`` doubles the queries. Every layer
    looks up ``per_layer_embedding`` channels of its own (Gemma 4's E models). ``extra_embedding_rows`` have no head.
    ``extra_params`` take no time: gates, scales, biases of experts.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied_embeddings: bool
    gated_mlp: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: bool = False
    norm_bias: bool = False
    norms_per_layer: int = 2
    attention_gate: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    vision_expert_intermediate: int = 0
    shared_expert_intermediate: int = 0
    dense_layers: int = 0
    sliding_window: int | None = None
    sliding_layers: int = 0
    groups: tuple[LayerGroup, ...] = ()
    per_layer_embedding: int = 0
    extra_embedding_rows: int = 0
    extra_params: int = 0
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        """Reject dimensions of zero and combinations that no model has."""
        check_counts(self, ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "norms_per_layer"))
        if self.heads % self.kv_heads:
            raise unexpected("heads", f"a multiple of kv_heads = {self.kv_heads}", self.heads)
        if self.experts:
            check_counts(self, ("experts_per_token", "expert_intermediate"))
            if self.experts_per_token > self.experts:
                raise unexpected("experts_per_token", f"at most {self.experts}", self.experts_per_token)
        if not self.experts or self.dense_layers:
            check_counts(self, ("intermediate",))
        if self.sliding_layers and not self.sliding_window:
            raise InputError("sliding_layers needs sliding_window")
        if not 0 <= self.dense_layers <= self.layers:
            raise unexpected("dense_layers", f"0 to {self.layers}", self.dense_layers)
        if self.sliding_layers + sum(group.layers for group in self.groups) > self.layers:
            raise InputError(f"sliding_layers and groups: expected at most {self.layers} layers together, found more")
        if sum(group.layers for group in self.groups if group.shares_kv) == self.layers:
            raise InputError("groups: all layers have shares_kv; expected one at least with a cache to share")

    @property
    def sees_visual_tokens(self) -> bool:
        """Whether visual tokens stand in the sequence, rather than being attended to from beside it."""
        return not any(group.mixing is Mixing.CROSS for group in self.groups)


@functools.lru_cache(maxsize=512)
def layer_groups(llm: Decoder) -> tuple[LayerGroup, ...]:
    """Return all layers as groups with every figure filled in: the plain ones, the sliding ones, the others."""
    usual = LayerGroup(
        layers=llm.layers,
        heads=llm.heads,
        kv_heads=llm.kv_heads,
        head_dim=llm.head_dim,
        value_head_dim=llm.head_dim,
        intermediate=llm.intermediate,
    )
    plain = llm.layers - llm.sliding_layers - sum(group.layers for group in llm.groups)
    groups = [replace(usual, layers=plain)] if plain else []
    if llm.sliding_layers:
        groups.append(replace(usual, layers=llm.sliding_layers, window=llm.sliding_window or 0))
    for group in llm.groups:
        head_dim = group.head_dim or llm.head_dim
        groups.append(
            replace(
                group,
                heads=group.heads or llm.heads,
                kv_heads=group.kv_heads or llm.kv_heads,
                head_dim=head_dim,
                value_head_dim=group.value_head_dim or head_dim,
                intermediate=group.intermediate or llm.intermediate,
            )
        )
    return tuple(groups)
