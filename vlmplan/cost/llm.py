"""The LLM's operators: a pass over new tokens, be it prefill, the mean decode step, or QueCC's look at the question.

(request, pass) -> operators, in tokens, bytes and FLOPs. How tokens see each other is in ``attention.py``;
mixture-of-experts and tensor parallelism of the rest are settled here and nowhere further down.
"""

from collections.abc import Iterator
from dataclasses import replace

from vlmplan.cost.attention import Pass, mixing
from vlmplan.cost.op import NORM_PASSES, Linear, Op, Request, all_reduce, elementwise
from vlmplan.hardware import Kind, Part
from vlmplan.models import Decoder, layer_groups


def _experts(llm: Decoder, rows: float, width: int, linear: Linear, gpus: int) -> Iterator[Op]:
    """Mixture of experts: ``rows`` tokens read the union of the experts they are routed to (uniform routing)."""
    touched = llm.experts * (1 - (1 - llm.experts_per_token / llm.experts) ** rows)
    share = llm.experts_per_token * rows / touched if touched else 0.0
    for one in (
        linear("expert gate_up", share, 2 * width, llm.hidden, split_columns=gpus),
        linear("expert down", share, llm.hidden, width, split_depth=gpus),
    ):
        rows_here, columns, depth = one.shape
        yield replace(
            one,
            shape=(rows_here, columns * max(1.0, touched), depth),  # one grouped kernel fills the device with all
            flops=one.flops * touched,
            weight_bytes=one.weight_bytes * touched,
            moved_bytes=one.moved_bytes * touched,
            params=one.params * llm.experts,
            resident_bytes=one.resident_bytes * llm.experts,
        )


def _routed(request: Request, step: Pass, linear: Linear) -> Iterator[Op]:
    """Routers and experts of the sparse layers; visual tokens may have their own (ERNIE-4.5-VL)."""
    llm, gpus, rows = request.model.llm, request.gpus, step.new_tokens
    kinds = [(rows, llm.expert_intermediate)]
    if llm.vision_expert_intermediate:
        seen = min(step.visual_tokens, rows)
        kinds = [(rows - seen, llm.expert_intermediate), (seen, llm.vision_expert_intermediate)]
    router = replace(linear, quantised=False, weight_bytes=request.activation_bytes)
    for tokens, width in kinds:
        if tokens or step.owns:
            yield router("router", tokens, llm.experts, llm.hidden)
            yield from _experts(llm, tokens, width, linear, gpus)
            moved = linear.count * tokens * 3 * llm.experts_per_token * width / gpus * request.activation_bytes
            yield elementwise(step.part, "expert activation", linear.count, moved)


def _mlp(request: Request, step: Pass, linear: Linear) -> Iterator[Op]:
    llm, gpus, rows = request.model.llm, request.gpus, step.new_tokens
    up = 2 if llm.gated_mlp else 1
    sparse = llm.layers - llm.dense_layers if llm.experts else 0
    dense = llm.layers - sparse
    widths: dict[int, int] = {}
    if not sparse:
        for group in layer_groups(llm):
            widths[group.intermediate] = widths.get(group.intermediate, 0) + group.layers
    elif dense:
        widths = {llm.intermediate: dense}
    parts = [("", count, width) for width, count in widths.items()]
    for prefix, count, width in (*parts, ("shared ", sparse, llm.shared_expert_intermediate)):
        if count and width:
            many = replace(linear, count=count)
            first = replace(many, weight_bytes=request.weight_bytes("gate_proj"))
            yield first(f"{prefix}gate_up", rows, up * width, llm.hidden, bias=llm.mlp_bias, split_columns=gpus)
            moved = count * rows * (up + 1) * width / gpus * request.activation_bytes
            yield elementwise(step.part, f"{prefix}activation", count, moved)
            yield many(f"{prefix}down", rows, llm.hidden, width, bias=llm.mlp_bias, split_depth=gpus)
    if sparse:
        yield from _routed(request, step, replace(linear, count=sparse))


def _own_embeddings(request: Request, step: Pass, linear: Linear) -> Iterator[Op]:
    """Gemma 4's E models: every layer looks up channels of its own and adds them, gated."""
    llm, width, size = request.model.llm, request.model.llm.per_layer_embedding, request.activation_bytes
    rows, table = step.new_tokens, llm.vocabulary * llm.layers * width if step.owns else 0
    moved = 2 * rows * llm.layers * width * size
    yield elementwise(step.part, "per-layer embedding", 1, moved, table, table * size)
    yield replace(linear, count=1)("per-layer projection", rows, llm.layers * width, llm.hidden)
    yield linear("per-layer gate", rows, width, llm.hidden)
    yield linear("per-layer output", rows, llm.hidden, width)


def _layers(request: Request, step: Pass) -> Iterator[Op]:
    llm, size, gpus = request.model.llm, request.activation_bytes, request.gpus
    linear = Linear(
        part=step.part,
        count=llm.layers,
        activation_bytes=size,
        owns=step.owns,
        quantised=True,
        weight_bytes=request.weight_bytes("q_proj"),
    )
    for group in layer_groups(llm):
        yield from mixing(request, step, group, linear)
    yield from _mlp(request, step, linear)
    if llm.per_layer_embedding:
        yield from _own_embeddings(request, step, linear)
    norms = llm.norms_per_layer * llm.layers
    params = (norms + 1) * llm.hidden * (2 if llm.norm_bias else 1) + llm.extra_params
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
        yield all_reduce(step.part, llm.layers, step.new_tokens * llm.hidden * size, gpus)


def llm_pass(request: Request, step: Pass) -> Iterator[Op]:
    """Embedding, layers, final norm, and the head on the last token of each request."""
    llm, size = request.model.llm, request.activation_bytes
    table = (llm.vocabulary + llm.extra_embedding_rows) * llm.hidden
    owned = table if step.owns else 0
    moved = 2 * step.new_tokens * llm.hidden * size
    yield elementwise(step.part, "embedding", 1, moved, owned, owned * size / request.gpus)
    yield from _layers(request, step)
    if step.head:
        head = Linear(
            part=step.part,
            count=1,
            activation_bytes=size,
            weight_bytes=request.weight_bytes("lm_head") if request.head_quantised else size,
            owns=step.owns and not llm.tied_embeddings,
        )
        yield head("head", step.batch, llm.vocabulary, llm.hidden, bias=llm.head_bias, split_columns=request.gpus)


def prefill(request: Request) -> Iterator[Op]:
    """The pass over the prompt, text and visual tokens; it owns the LLM's parameters."""
    batch, context = request.workload.batch, max(1, request.prompt_tokens)
    step = Pass(
        part=Part.PREFILL,
        new_tokens=batch * request.prefill_tokens,
        batch=batch,
        contexts=(context, context),
        visual_tokens=batch * request.visual_tokens * request.workload.images,
        owns=True,
    )
    return llm_pass(request, step)


def decode(request: Request) -> Iterator[Op]:
    """The mean of steps 2 to n, of all requests in flight; empty when only one token is asked for."""
    steps, batch = request.workload.output_tokens - 1, request.workload.decoded_together
    if steps == 0:
        return iter(())
    first = request.prompt_tokens
    step = Pass(part=Part.DECODE, new_tokens=batch, batch=batch, contexts=(first + 1, first + steps))
    return llm_pass(request, step)
