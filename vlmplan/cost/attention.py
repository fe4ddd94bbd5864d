"""The operators by which tokens see each other, and the cache these leave: attention of every kind, recurrence.

(request, pass, group of layers) -> operators, in tokens, bytes and FLOPs. Tensor parallelism splits heads; what is
cached for all heads together (latent attention) every GPU holds.
"""

from collections.abc import Iterator
from dataclasses import replace

from vlmplan.cost.op import ATTENTION_TILE_TOKENS, Linear, Op, Request, elementwise
from vlmplan.hardware import Kind, Part
from vlmplan.models import LayerGroup, Mixing
from vlmplan.records import dataclass

_STATE_BYTES = 4  # a recurrent state is kept in fp32, as vLLM and transformers do
_RECURRENCE_FLOPS = 8  # per token and entry of a state: decay, the error of a look-up, its outer product, the read-out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass of the LLM: ``new_tokens`` over all requests, at the first to the last of ``contexts`` in tokens.

    ``visual_tokens`` are those of all requests that this pass reads, in the sequence or beside it.
    """

    part: Part
    new_tokens: float
    batch: int
    contexts: tuple[int, int]
    visual_tokens: float = 0.0
    owns: bool = False
    head: bool = True

    def context_tokens(self, window: int = 0) -> float:
        """Mean of min(window, context) over the contexts of this pass: one of a prefill, one a step of decoding."""
        first, last = self.contexts
        if not window or last <= window:
            return (first + last) / 2
        steps, before = last - first + 1, max(0, min(window, last) - first + 1)
        growing = before * first + before * (before - 1) / 2 if before else 0.0
        return (growing + (steps - before) * window) / steps


def _attention(request: Request, step: Pass, group: LayerGroup, context: float, name: str) -> Op:
    """``count`` attentions with ``head_dim`` channels for queries and keys, ``value_head_dim`` for values."""
    heads, kv_heads = group.heads / request.gpus, max(1.0, group.kv_heads / request.gpus)
    decode = step.part is Part.DECODE
    tiles = step.batch * kv_heads if decode else step.new_tokens * heads / ATTENTION_TILE_TOKENS
    width = (group.head_dim + group.value_head_dim) / 2
    cached = 2 * step.batch * context * kv_heads * width
    if group.mixing is Mixing.LATENT:
        cached = step.batch * context * kv_heads * group.head_dim  # values are a part of what keys are
    moved = group.layers * request.activation_bytes * (2 * step.new_tokens * heads * width + cached)
    return Op(
        part=step.part,
        name=name,
        kind=Kind.DECODE_ATTENTION if decode else Kind.PREFILL_ATTENTION,
        count=group.layers,
        shape=(tiles,),
        flops=4.0 * group.layers * step.new_tokens * context * group.heads * width,
        moved_bytes=moved,
        shards=request.gpus,
    )


def _replicated(qkv: Op, factor: float) -> Op:
    """More GPUs than key-value heads hold copies of them: ``factor`` times the bytes of one GPU."""
    if factor == 1:
        return qkv
    return replace(
        qkv,
        weight_bytes=qkv.weight_bytes * factor,
        moved_bytes=qkv.moved_bytes * factor,
        resident_bytes=qkv.resident_bytes * factor,
    )


def _norms_of_heads(step: Pass, group: LayerGroup, size: float, params_per_layer: int) -> Iterator[Op]:
    """Norms of queries and keys: their parameters, and no time worth pricing."""
    if step.owns and params_per_layer:
        params = group.layers * params_per_layer
        yield elementwise(step.part, "norms of heads", 0, 0.0, params, params * size)


def _ordinary(request: Request, step: Pass, group: LayerGroup, linear: Linear) -> Iterator[Op]:
    llm, size, gpus = request.model.llm, request.activation_bytes, request.gpus
    cross = group.mixing is Mixing.CROSS
    query = group.heads * group.head_dim * (2 if llm.attention_gate and not cross else 1)
    kv = 0 if group.shares_kv else group.kv_heads * (group.head_dim + group.value_head_dim * (not group.value_is_key))
    context, name = step.context_tokens(group.window), "sliding attention" if group.window else "attention"
    if cross:
        yield linear("cross queries", step.new_tokens, query, llm.hidden, split_columns=gpus)
        rows = step.visual_tokens if step.part is not Part.DECODE else 0.0
        if step.owns or rows:  # a text-only prompt still has the weights
            yield linear("cross keys and values", rows, kv, llm.hidden, split_columns=gpus)
        context, name = request.visual_tokens * request.workload.images, "cross attention"
    else:
        qkv = linear("qkv", step.new_tokens, query + kv, llm.hidden, bias=llm.qkv_bias, split_columns=gpus)
        copies = (group.heads + 2 * max(gpus, group.kv_heads)) / (group.heads + 2 * group.kv_heads)
        yield _replicated(qkv, copies)
        moved = 2 * group.layers * step.new_tokens * (query + kv / 2) / gpus * size
        yield elementwise(step.part, "rope", group.layers, moved)
    if context:
        yield _attention(request, step, group, context, name)
    depth = group.heads * group.value_head_dim
    yield linear("output", step.new_tokens, llm.hidden, depth, bias=llm.output_bias, split_depth=gpus)
    normed = llm.qk_norm or cross
    yield from _norms_of_heads(step, group, size, group.head_dim * (2 - group.shares_kv) * normed + 2 * cross)


def _latent(request: Request, step: Pass, group: LayerGroup, linear: Linear) -> Iterator[Op]:
    """Multi-head latent attention: expanded to all heads for prefill, over the latent itself for decode."""
    llm, gpus, rows, rank = request.model.llm, request.gpus, step.new_tokens, group.query_rank
    keys, narrow = group.head_dim + group.rope_dim, group.latent_width + group.rope_dim
    if rank:
        yield linear("query down", rows, rank, llm.hidden)
    yield linear("queries", rows, group.heads * keys, rank or llm.hidden, split_columns=gpus)
    yield linear("latent down", rows, narrow, llm.hidden)
    expanded = group.heads * (group.head_dim + group.value_head_dim)
    yield linear("latent up", rows, expanded, group.latent_width, split_columns=gpus)
    decode = step.part is Part.DECODE
    wide = replace(group, kv_heads=1, head_dim=narrow, value_head_dim=group.latent_width)
    per_head = replace(group, mixing=Mixing.ATTENTION, kv_heads=group.heads, head_dim=keys)
    seen = step.context_tokens()
    yield _attention(request, step, wide if decode else per_head, seen, "attention")
    yield linear("output", rows, llm.hidden, group.heads * group.value_head_dim, split_depth=gpus)
    yield from _norms_of_heads(step, group, request.activation_bytes, group.latent_width + rank)


def _recurrent(request: Request, step: Pass, group: LayerGroup, linear: Linear) -> Iterator[Op]:
    """A gated delta net: projections, a short convolution, a state a head that every token reads and writes."""
    llm, size, gpus, rows = request.model.llm, request.activation_bytes, request.gpus, step.new_tokens
    keys, values = 2 * group.kv_heads * group.head_dim, group.heads * group.value_head_dim
    yield linear("delta-net in", rows, keys + 2 * values + 2 * group.heads, llm.hidden, split_columns=gpus)
    entries = group.heads * group.head_dim * group.value_head_dim / gpus
    passes = 1.0 if step.part is Part.DECODE else rows / step.batch / 64  # prefill runs over chunks of 64 tokens
    params = group.layers * (group.kernel * (keys + values) + 2 * group.heads + group.value_head_dim)
    moved = group.layers * (
        2 * step.batch * max(1.0, passes) * entries * _STATE_BYTES + 4 * rows * (keys + values) / gpus * size
    )
    yield Op(
        part=step.part,
        name="delta rule",
        kind=Kind.ELEMENTWISE,
        count=group.layers,
        flops=_RECURRENCE_FLOPS * group.layers * rows * entries * gpus,
        moved_bytes=moved,
        params=params if step.owns else 0,
        resident_bytes=params * size if step.owns else 0.0,
        shards=gpus,
    )
    yield linear("delta-net out", rows, llm.hidden, values, split_depth=gpus)


def _short_convolution(request: Request, step: Pass, group: LayerGroup, linear: Linear) -> Iterator[Op]:
    """LFM2's gated short convolution: in to three widths, a depth-wise kernel, out."""
    hidden, size, gpus = request.model.llm.hidden, request.activation_bytes, request.gpus
    yield linear("convolution in", step.new_tokens, 3 * hidden, hidden, split_columns=gpus)
    params = group.layers * group.kernel * hidden if step.owns else 0
    moved = group.layers * step.new_tokens * 5 * hidden / gpus * size
    yield elementwise(step.part, "short convolution", group.layers, moved, params, params * size)
    yield linear("convolution out", step.new_tokens, hidden, hidden, split_depth=gpus)


_KINDS = {
    Mixing.ATTENTION: _ordinary,
    Mixing.CROSS: _ordinary,
    Mixing.LATENT: _latent,
    Mixing.DELTA_NET: _recurrent,
    Mixing.SHORT_CONVOLUTION: _short_convolution,
}


def mixing(request: Request, step: Pass, group: LayerGroup, linear: Linear) -> Iterator[Op]:
    """Yield the token-mixing operators of all layers of ``group``; ``linear`` makes linear layers of this pass."""
    return _KINDS[group.mixing](request, step, group, replace(linear, count=group.layers))


def cache_bytes(request: Request, group: LayerGroup) -> float:
    """Return what one request leaves on one GPU in the layers of ``group`` when it ends: KV cache or state."""
    size, tokens, gpus = request.activation_bytes, request.context_tokens, request.gpus
    kv_heads, held = max(1.0, group.kv_heads / gpus), 0.0
    match group.mixing:
        case Mixing.LATENT:
            held = tokens * (group.latent_width + group.rope_dim) * size
        case Mixing.CROSS:
            held = 2 * request.visual_tokens * request.workload.images * kv_heads * group.head_dim * size
        case Mixing.DELTA_NET:
            state = group.heads * group.head_dim * group.value_head_dim * _STATE_BYTES
            channels = 2 * group.kv_heads * group.head_dim + group.heads * group.value_head_dim
            held = (state + channels * (group.kernel - 1) * size) / gpus
        case Mixing.SHORT_CONVOLUTION:
            held = request.model.llm.hidden * (group.kernel - 1) * size / gpus
        case _:
            seen = min(tokens, group.window or tokens)
            held = 0.0 if group.shares_kv else kv_heads * (group.head_dim + group.value_head_dim) * seen * size
    return group.layers * held
