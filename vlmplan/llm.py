"""The LLM's operators: a pass over new tokens, be it prefill, the mean decode step, or QueCC's look at the question.

(request, pass) -> operators, in tokens, bytes and FLOPs. Mixture-of-experts, sliding windows and tensor parallelism are
settled here and nowhere further down.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vlmplan.hardware import Kind, Part
from vlmplan.model import Decoder
from vlmplan.op import ATTENTION_TILE_TOKENS, NORM_PASSES, WEIGHT_BYTES, Linear, Op, Request, elementwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass of the LLM: ``new_tokens`` over all requests, each attending to ``context_tokens`` (a mean)."""

    part: Part
    new_tokens: float
    batch: int
    context_tokens: float
    sliding_context_tokens: float
    owns: bool = False
    head: bool = True


def _attention(request: Request, step: Pass, layers: int, context: float, name: str) -> Op:
    llm, size = request.model.llm, request.activation_bytes
    heads, kv_heads = llm.heads / request.gpus, max(1.0, llm.kv_heads / request.gpus)
    decode = step.part is Part.DECODE
    tiles = step.batch * kv_heads if decode else step.new_tokens * heads / ATTENTION_TILE_TOKENS
    moved = layers * llm.head_dim * size * (2 * step.new_tokens * heads + 2 * step.batch * context * kv_heads)
    return Op(
        part=step.part,
        name=name,
        kind=Kind.DECODE_ATTENTION if decode else Kind.PREFILL_ATTENTION,
        count=layers,
        shape=(tiles,),
        flops=4.0 * layers * step.new_tokens * context * llm.heads * llm.head_dim,
        moved_bytes=moved,
        shards=request.gpus,
    )


def _experts(llm: Decoder, rows: float, linear: Linear, gpus: int) -> Iterator[Op]:
    """Mixture of experts: ``rows`` tokens read the union of the experts they are routed to (uniform routing)."""
    touched = llm.experts * (1 - (1 - llm.experts_per_token / llm.experts) ** rows)
    share = llm.experts_per_token * rows / touched
    for one in (
        linear("expert gate_up", share, 2 * llm.expert_intermediate, llm.hidden, split_columns=gpus),
        linear("expert down", share, llm.hidden, llm.expert_intermediate, split_depth=gpus),
    ):
        yield replace(
            one,
            flops=one.flops * touched,
            weight_bytes=one.weight_bytes * touched,
            moved_bytes=one.moved_bytes * touched,
            params=one.params * llm.experts,
            resident_bytes=one.resident_bytes * llm.experts,
        )


def _mlp(request: Request, step: Pass, linear: Linear) -> Iterator[Op]:
    llm, gpus, rows = request.model.llm, request.gpus, step.new_tokens
    up = 2 if llm.gated_mlp else 1
    sparse = llm.layers - llm.dense_layers if llm.experts else 0
    widths = [("", llm.layers - sparse, llm.intermediate), ("shared ", sparse, llm.shared_expert_intermediate)]
    for prefix, count, width in widths:
        if count and width:
            dense = replace(linear, count=count)
            yield dense(f"{prefix}gate_up", rows, up * width, llm.hidden, bias=llm.mlp_bias, split_columns=gpus)
            moved = count * rows * (up + 1) * width / gpus * request.activation_bytes
            yield elementwise(step.part, f"{prefix}activation", count, moved)
            yield dense(f"{prefix}down", rows, llm.hidden, width, bias=llm.mlp_bias, split_depth=gpus)
    if sparse:
        yield replace(linear, count=sparse, quantised=False, weight_bytes=request.activation_bytes)(
            "router", rows, llm.experts, llm.hidden
        )
        yield from _experts(llm, rows, replace(linear, count=sparse), gpus)
        moved = sparse * rows * 3 * llm.experts_per_token * llm.expert_intermediate / gpus * request.activation_bytes
        yield elementwise(step.part, "expert activation", sparse, moved)


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


def _llm_layers(request: Request, step: Pass) -> Iterator[Op]:
    llm, size, gpus = request.model.llm, request.activation_bytes, request.gpus
    linear = Linear(
        part=step.part,
        count=llm.layers,
        activation_bytes=size,
        owns=step.owns,
        quantised=True,
        weight_bytes=WEIGHT_BYTES[request.precision],
    )
    query_width, kv_width = llm.heads * llm.head_dim, 2 * llm.kv_heads * llm.head_dim
    qkv = linear("qkv", step.new_tokens, query_width + kv_width, llm.hidden, bias=llm.qkv_bias, split_columns=gpus)
    yield _replicated(qkv, (llm.heads + 2 * max(gpus, llm.kv_heads)) / (llm.heads + 2 * llm.kv_heads))
    moved = 2 * llm.layers * step.new_tokens * (query_width + kv_width / 2) / gpus * size
    yield elementwise(step.part, "rope", llm.layers, moved)
    if llm.layers > llm.sliding_layers:
        yield _attention(request, step, llm.layers - llm.sliding_layers, step.context_tokens, "attention")
    if llm.sliding_layers:
        yield _attention(request, step, llm.sliding_layers, step.sliding_context_tokens, "sliding attention")
    yield linear("output", step.new_tokens, llm.hidden, query_width, bias=llm.output_bias, split_depth=gpus)
    yield from _mlp(request, step, linear)
    norms = llm.norms_per_layer * llm.layers
    params = norms * llm.hidden + llm.hidden + (2 * llm.head_dim * llm.layers if llm.qk_norm else 0)
    yield elementwise(
        step.part,
        "norms and residuals",
        norms + 1,
        NORM_PASSES * norms * step.new_tokens * llm.hidden * size,
        params if step.owns else 0,
        params * size if step.owns else 0,
        Kind.NORM,
    )
    if gpus > 1:
        moved = 2 * llm.layers * step.new_tokens * llm.hidden * size * 2 * (gpus - 1) / gpus
        yield Op(part=step.part, name="all-reduce", kind=Kind.ALL_REDUCE, count=2 * llm.layers, moved_bytes=moved)


def llm_pass(request: Request, step: Pass) -> Iterator[Op]:
    """Embedding, layers, final norm, and the head on the last token of each request."""
    llm, size = request.model.llm, request.activation_bytes
    table = llm.vocabulary * llm.hidden
    owned = table if step.owns else 0
    moved = 2 * step.new_tokens * llm.hidden * size
    yield elementwise(step.part, "embedding", 1, moved, owned, owned * size / request.gpus)
    yield from _llm_layers(request, step)
    if step.head:
        head = Linear(
            part=step.part,
            count=1,
            activation_bytes=size,
            weight_bytes=1 if request.eight_bit_head else size,
            owns=step.owns and not llm.tied_embeddings,
        )
        yield head("head", step.batch, llm.vocabulary, llm.hidden, split_columns=request.gpus)


def _mean_window(window: int | None, first: int, steps: int) -> float:
    """Mean of min(window, context) for the contexts first + 1 ... first + steps."""
    if not window or first + steps <= window:
        return first + (steps + 1) / 2
    growing = max(0, window - first)
    total = growing * first + growing * (growing + 1) / 2 + (steps - growing) * window
    return total / steps


def prefill(request: Request) -> Iterator[Op]:
    """The pass over the prompt, text and visual tokens; it owns the LLM's parameters."""
    batch, context = request.workload.batch, max(1, request.prompt_tokens)
    window = request.model.llm.sliding_window
    step = Pass(
        part=Part.PREFILL,
        new_tokens=batch * request.prefill_tokens,
        batch=batch,
        context_tokens=context,
        sliding_context_tokens=min(context, window or context),
        owns=True,
    )
    return llm_pass(request, step)


def decode(request: Request) -> Iterator[Op]:
    """The mean of steps 2 to n, of all requests in flight; empty when only one token is asked for."""
    steps, batch = request.workload.output_tokens - 1, request.workload.decoded_together
    if steps == 0:
        return iter(())
    first = request.prompt_tokens
    step = Pass(
        part=Part.DECODE,
        new_tokens=batch,
        batch=batch,
        context_tokens=_mean_window(None, first, steps),
        sliding_context_tokens=_mean_window(request.model.llm.sliding_window, first, steps),
    )
    return llm_pass(request, step)
