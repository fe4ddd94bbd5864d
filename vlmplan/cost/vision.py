"""The operators before the LLM: the vision tower, the compressor, the projector.

request -> operators, in patches, tokens, bytes and FLOPs. Compressors are priced as what they are: pooling moves bytes,
TokenPacker is a small cross-attention, QueCC also needs the LLM's reading of the question, DivPrune compares all tokens
with each other and launches three kernels for each that it keeps, VisionZip needs a layer's attention in memory.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from vlmplan.cost.attention import Pass
from vlmplan.cost.llm import llm_pass
from vlmplan.cost.op import ATTENTION_TILE_TOKENS, NORM_PASSES, Linear, Op, Request, all_reduce, elementwise
from vlmplan.hardware import Kind, Part
from vlmplan.models import MERGED_FRACTION, Compressor, Projector, Resampler, Rule, VisionTower

PACKER_LEVELS = 4  # TokenPacker and QueCC read the features of four layers, joined


def _vision_params(tower: VisionTower) -> tuple[int, int]:
    """(embedding and final norms, norms and scales of one layer): parameters outside the linear layers."""
    norm = tower.hidden * (2 if tower.norm_bias else 1)
    outside = tower.positions * tower.hidden + tower.hidden * tower.class_token
    outside += norm * (tower.pre_norm + tower.post_norm) + tower.extra_params
    return (
        outside,
        tower.norms_per_layer * norm + 2 * tower.hidden * tower.layer_scale + 2 * tower.hidden * tower.qk_norm,
    )


def _vision_layers(tower: VisionTower, run: Linear, rows: float, span: float, gpus: int) -> Iterator[Op]:
    """``run.count`` layers over ``rows`` patches, each attending to ``span`` of them or to its window.

    Engines split them over ``gpus`` as they split the LLM's.
    """
    hidden, size, count, up = tower.hidden, run.activation_bytes, run.count, 2 if tower.gated_mlp else 1
    yield run("qkv", rows, 3 * hidden, hidden, bias=tower.attention_bias, split_columns=gpus)
    yield run("output", rows, hidden, hidden, bias=tower.attention_bias, split_depth=gpus)
    yield run("mlp up", rows, up * tower.intermediate, hidden, bias=tower.mlp_bias, split_columns=gpus)
    yield run("mlp down", rows, hidden, tower.intermediate, bias=tower.mlp_bias, split_depth=gpus)
    full = min(tower.full_attention_layers, count)
    for layers, seen in ((full, span), (count - full, min(span, tower.window_patches or span))):
        if layers:
            yield Op(
                part=run.part,
                name="attention",
                kind=Kind.VISION_ATTENTION,
                count=layers,
                flops=4.0 * layers * rows * seen * hidden,
                shape=(rows * tower.heads / gpus / ATTENTION_TILE_TOKENS,),
                moved_bytes=4 * layers * rows * hidden / gpus * size,
                shards=gpus,
            )
    norms = tower.norms_per_layer * count
    params = count * _vision_params(tower)[1]
    moved = norms * NORM_PASSES * rows * hidden * size
    yield elementwise(run.part, "norms and residuals", norms, moved, params, params * size, Kind.NORM)
    yield elementwise(run.part, "activations", count, count * rows * (up + 1) * tower.intermediate / gpus * size)
    if gpus > 1:
        yield all_reduce(run.part, count, rows * hidden * size, gpus)


def _inner_merge(tower: VisionTower, linear: Linear, rows: float) -> Iterator[Op]:
    """Four patches become one inside the tower: attention among the four, and an MLP (MiniCPM-V 4.6)."""
    width = tower.hidden
    yield linear("merge qkv", 4 * rows, 3 * width, width, bias=True)
    yield linear("merge output", 4 * rows, width, width, bias=True)
    yield linear("merge up", rows, tower.merge_intermediate, 4 * width, bias=True)
    yield linear("merge down", rows, width, tower.merge_intermediate, bias=True)


def _vision_transformer(request: Request, tower: VisionTower, views: int, patches: int) -> Iterator[Op]:
    size, part, gpus = request.activation_bytes, Part.VISION, request.gpus
    tokens, joined = patches + tower.class_token, request.visual.views if tower.joint_views and request.visual else 1
    rows, span = float(views * tokens), float(tokens * joined)
    linear = Linear(part=part, count=1, activation_bytes=size, weight_bytes=size)
    depth = 3 * tower.patch**2 * tower.temporal_patch
    yield linear("patches", views * patches, tower.hidden, depth, bias=tower.patch_bias)
    whole = tower.merge_layer or tower.layers_used
    layers = [*_vision_layers(tower, replace(linear, count=whole), rows, span, gpus)]
    if tower.merge_layer:
        yield from _inner_merge(tower, linear, rows / 4)
        merged = replace(linear, count=tower.layers_used - whole)
        layers += _vision_layers(tower, merged, rows / 4, span / 4, gpus)
    yield from layers
    outside, unused = _vision_params(tower)[0], tower.layers - tower.layers_used
    yield elementwise(part, "positions", 0, 0, outside, outside * size)
    if unused:
        params = round(unused * sum(op.params for op in layers) / tower.layers_used)
        yield elementwise(part, "layers not run", 0, 0, params, params * size)


def _vision_convolutions(request: Request, tower: VisionTower, views: int, pixels: int) -> Iterator[Op]:
    """FastViTHD: blocks of a depth-wise 7 x 7 convolution and an MLP, with attention in the last stages."""
    size, part, before = request.activation_bytes, Part.VISION, 3
    for number, stage in enumerate(tower.stages, 1):
        rows, width = views * pixels / stage.stride**2, stage.channels
        one = Linear(part=part, count=1, activation_bytes=size, weight_bytes=size)
        many = replace(one, count=stage.blocks)
        yield one(f"stage {number} patches", rows, width, 49 + before if number > 1 else before * 9, bias=True)
        yield many(f"stage {number} mlp up", rows, 4 * width, width, bias=True)
        yield many(f"stage {number} mlp down", rows, width, 4 * width, bias=True)
        yield many(f"stage {number} depth-wise", rows, width, 49, bias=True)
        if stage.attention:
            yield many(f"stage {number} qkv", rows, 3 * width, width)
            yield many(f"stage {number} output", rows, width, width, bias=True)
            yield Op(
                part=part,
                name="attention",
                kind=Kind.VISION_ATTENTION,
                count=stage.blocks,
                shape=(rows * width / 32 / ATTENTION_TILE_TOKENS,),
                flops=4.0 * stage.blocks * rows * rows / views * width,
                moved_bytes=4 * stage.blocks * rows * width * size,
            )
        yield elementwise(part, f"stage {number} elementwise", 3 * stage.blocks, 8 * stage.blocks * rows * width * size)
        before = width


def vision(request: Request) -> Iterator[Op]:
    """The tower's operators over all views; without an image, or with it cached, only its weights."""
    tower, visual, workload = request.model.vision, request.visual, request.workload
    if tower is None:
        return
    views = workload.batch * workload.images * visual.views if visual else 1
    pixels = visual.pixels_per_view if visual else (tower.image_size or 224) ** 2
    if tower.stages:
        ops = _vision_convolutions(request, tower, views, pixels)
    else:
        ops = _vision_transformer(request, tower, views, _patches(pixels, tower))
    idle = visual is None or workload.cached_images
    yield from (_idle(op) if idle else op for op in ops)
    if beside := request.model.idle_params:
        yield elementwise(Part.VISION, "not run for images", 0, 0, beside, beside * request.activation_bytes)


def _patches(pixels: int, tower: VisionTower) -> int:
    """Patches of one view; a side that the patch does not divide loses the rest, as a strided convolution does."""
    side = math.isqrt(pixels)
    return max(1, (side // tower.patch) ** 2 if side * side == pixels else pixels // tower.patch**2)


def _idle(op: Op) -> Op:
    """The operator's weights without its work."""
    return replace(op, count=0, flops=0.0, weight_bytes=0.0, moved_bytes=0.0)


def _packer(request: Request, linear: Linear, rows: float, queries: float, questions: float) -> Iterator[Op]:
    """Region cross-attention: keys and values from four tower layers, queries from pooled features (arXiv 2407.02392).

    With ``questions`` > 0 rows of text, QueCC (arXiv 2411.03312): the question's embedding is projected and added to
    every patch, two layers follow, and a depth-wise convolution with kernel = stride makes the queries.
    """
    tower = request.model.vision
    width = tower.output_width if tower is not None else 0
    pair, region, size = replace(linear, count=2), rows / queries, request.activation_bytes
    yield pair("keys and values 1", rows, width, PACKER_LEVELS * width, bias=True)
    yield pair("keys and values 2", rows, width, width, bias=True)
    yield pair("keys and values in", rows, width, width, bias=True)
    yield pair("queries in and out", queries, width, width, bias=True)
    if questions:
        yield linear("question", questions, width, request.model.llm.hidden, bias=True)
        yield pair("patches asked", rows, width, width, bias=True)
        yield linear("depth-wise", queries, width, region, bias=True)
    else:
        yield linear("queries", queries, width, width)
    yield Op(
        part=Part.COMPRESSOR,
        name="region attention",
        kind=Kind.VISION_ATTENTION,
        count=1,
        shape=(max(1.0, rows / ATTENTION_TILE_TOKENS),),
        flops=4.0 * queries * region * width,
        moved_bytes=2 * (rows + queries) * width * size,
    )
    norms = 4 if questions else 3
    params = 2 * width * norms
    moved = norms * 2 * rows * width * size
    yield elementwise(Part.COMPRESSOR, "packer norms", norms, moved, params, params * size)


def _question_pass(request: Request) -> Iterator[Op]:
    """QueCC reads the question with the LLM first; weights are those of the prefill."""
    batch, tokens = request.workload.batch, request.workload.uncached_text_tokens
    if tokens:
        step = Pass(
            part=Part.COMPRESSOR,
            new_tokens=batch * tokens,
            batch=batch,
            contexts=(request.workload.text_tokens, request.workload.text_tokens),
            head=False,
        )
        yield from llm_pass(request, step)


def _resampled(resampler: Resampler, linear: Linear, rows: float, queries: float, width: int) -> Iterator[Op]:
    """Queries attend to the patches of their view (or region), layer by layer; ``width`` is the tower's."""
    size, many = linear.activation_bytes, replace(linear, count=resampler.layers)
    attention, bias = resampler.attention_width, resampler.bias
    if resampler.projected:
        yield linear("resampler in", rows, resampler.input_width, width)
    read = rows + queries * resampler.last  # Idefics2's latents attend to themselves, too
    yield many("resampler keys and values", read, 2 * resampler.kv_width, resampler.input_width, bias=bias)
    yield many("resampler queries", queries, attention, resampler.query_width, bias=bias)
    yield many("resampler out", queries, resampler.output_width, attention, bias=bias)
    if resampler.intermediate:
        yield many("resampler up", queries, 2 * resampler.intermediate, resampler.output_width)
        yield many("resampler down", queries, resampler.output_width, resampler.intermediate)
    seen = resampler.region or read * resampler.queries / queries
    yield Op(
        part=linear.part,
        name="resampler attention",
        kind=Kind.VISION_ATTENTION,
        count=resampler.layers,
        shape=(max(1.0, read / ATTENTION_TILE_TOKENS),),
        flops=4.0 * resampler.layers * queries * seen * attention,
        moved_bytes=2 * resampler.layers * (queries * attention + read * resampler.kv_width) * size,
    )


def _projected(projector: Projector, linear: Linear, rows: float, gather: float) -> Iterator[Op]:
    """The projector's layers over ``rows``; a pixel shuffle joins ``gather`` of them for the first layer."""
    many, size = replace(linear, count=projector.copies), linear.activation_bytes
    for index, (depth, columns) in enumerate(zip(projector.widths, projector.widths[1:], strict=False)):
        yield many("projector", rows, columns, depth * (gather if index == 0 else 1), bias=projector.bias)
    if projector.gated_intermediate:
        yield many("projector gate_up", rows, 2 * projector.gated_intermediate, projector.widths[-1])
        yield many("projector down", rows, projector.gated_output, projector.gated_intermediate)
    params = projector.norm_params + projector.extra_params
    moved = 2 * rows * (projector.gated_output or projector.widths[-1]) * size
    yield elementwise(linear.part, "projector norms", 1, moved, params, params * size)


def _reduced(request: Request, linear: Linear, rows: float, tokens: float) -> Iterator[Op]:
    """What a compressor does between tower and projector."""
    visual, tower = request.visual, request.model.vision
    if visual is None or tower is None or visual.compressor is Compressor.NONE:
        return
    if visual.compressor.reads_projected:
        yield from _pruned(request, rows, tokens)
    elif visual.compressor.selects:
        yield from _zipped(request, tower, rows, tokens)
    elif visual.compressor.packs:
        asked = request.workload.batch if visual.compressor.reads_question else 0
        yield from _packer(request, linear, rows, tokens, asked)
    else:
        moved = (rows + tokens) * tower.output_width * linear.activation_bytes
        yield elementwise(Part.COMPRESSOR, visual.compressor.value, 1, moved)


SIMILARITY_BYTES = 4  # exports compare tokens in fp32, whatever their precision
GREEDY_KERNELS = 3  # for a token kept: the least of a row, the row of that token, the larger of two rows


def _pruned(request: Request, rows: float, tokens: float) -> Iterator[Op]:
    """DivPrune (arXiv 2503.02175): cosines of all pairs of projected tokens, then a greedy choice, one after the other.

    As ``graphs/selection.py`` draws it. Images of a batch are chosen from side by side, by the same kernels. Left out:
    that products in fp32 are slower than in the base precision, on a GPU by 8 to 16 times: of 576 tokens of 4096
    channels, 2.7 GFLOPs, under 0.1 ms on an A100.
    """
    workload, width = request.workload, request.model.llm.hidden
    images = workload.batch * workload.images
    each, kept = rows / images, tokens / images
    yield Op(
        part=Part.COMPRESSOR,
        name="similarity",
        kind=Kind.LINEAR,
        count=1,
        shape=(rows, each, float(width)),
        flops=2.0 * rows * each * width,
        moved_bytes=(2 * rows * width + rows * each) * SIMILARITY_BYTES,
    )
    lengths = (4 * width + 4 * each) * rows * SIMILARITY_BYTES  # norms, division, transposition; two masks, a maximum
    yield elementwise(Part.COMPRESSOR, "lengths and masks", 7, lengths)
    steps = GREEDY_KERNELS * kept
    yield elementwise(Part.COMPRESSOR, "greedy choice", round(steps), 2 * steps * rows * SIMILARITY_BYTES)
    yield elementwise(Part.COMPRESSOR, "tokens kept", 3, 2 * tokens * width * request.activation_bytes)


_ZIP_KERNELS = 24  # of VisionZip's graph beside its products: sorts, gathers, norms, who goes where


def _zipped(request: Request, tower: VisionTower, rows: float, tokens: float) -> Iterator[Op]:
    """VisionZip (arXiv 2412.04467): the attention of one layer once more, its weights in memory, and tokens merged.

    The class token's attention alone, of a tower without one that of all patches. As ``graphs/selection.py`` draws it;
    left out: products of a few million FLOPs that find what is merged.
    """
    images = request.workload.batch * request.workload.images
    each, width = rows / images, tower.output_width
    asking = images if tower.class_token else rows
    weights = tower.heads * asking * each * SIMILARITY_BYTES
    yield Op(
        part=Part.COMPRESSOR,
        name="attention received",
        kind=Kind.VISION_ATTENTION,
        count=1,
        shape=(max(1.0, asking * tower.heads / ATTENTION_TILE_TOKENS),),
        flops=2.0 * asking * each * width,
        moved_bytes=2 * rows * width * SIMILARITY_BYTES + weights,
    )
    yield elementwise(Part.COMPRESSOR, "weights", 4, 5 * weights)
    merged = MERGED_FRACTION * tokens / images
    yield Op(
        part=Part.COMPRESSOR,
        name="merging",
        kind=Kind.LINEAR,
        count=1,
        shape=(merged * images, float(width), each),
        flops=2.0 * merged * rows * width,
        moved_bytes=(rows + merged * images) * width * request.activation_bytes,
    )
    yield elementwise(Part.COMPRESSOR, "tokens kept", _ZIP_KERNELS, 3 * rows * width * request.activation_bytes)


def compressor(request: Request) -> Iterator[Op]:
    """Compressor and projector. Where the image is cached so is their output, unless it depends on the question."""
    model, visual, workload = request.model, request.visual, request.workload
    projector, tower, size = model.projector, model.vision, request.activation_bytes
    if projector is None or tower is None or model.image is None:
        return
    copies = workload.batch * workload.images
    kind = visual.compressor if visual else Compressor.NONE
    tokens = float(copies * visual.visual_tokens) if visual else 1.0
    rows = copies * visual.views * _patches(visual.pixels_per_view, tower) if visual else 1.0
    rows = rows / 4 if tower.merge_layer else rows
    linear = Linear(part=Part.COMPRESSOR, count=1, activation_bytes=size, weight_bytes=size)
    ops = [*_reduced(request, linear, rows, tokens)]
    gather = max(1.0, rows / projector.merge / tokens) if kind.widens else 1.0
    # Anyres projects every patch of every view, and cuts padding off and adds newlines afterwards.
    whole = kind.reads_projected or (kind is Compressor.NONE and model.image.rule is Rule.ANYRES)
    projected, resampler = rows / projector.merge if whole else tokens, projector.resampler
    if resampler is not None:
        projected = rows if resampler.last else tokens
        ops += _resampled(resampler, linear, rows, tokens, tower.output_width)
    ops += _projected(projector, linear, projected, gather)
    idle = visual is None or (workload.cached_images and not kind.reads_question)
    yield from (_idle(op) if idle else op for op in ops)
    if kind.reads_question:
        yield from _question_pass(request)
