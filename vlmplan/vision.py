"""The operators before the LLM: the vision tower, the compressor, the projector.

request -> operators, in patches, tokens, bytes and FLOPs. Compressors are priced as what they are: pooling moves bytes,
TokenPacker is a small cross-attention, QueCC also needs the LLM's reading of the question.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from vlmplan.hardware import Kind, Part
from vlmplan.llm import Pass, llm_pass
from vlmplan.model import Compressor, Rule, VisionTower
from vlmplan.op import ATTENTION_TILE_TOKENS, NORM_PASSES, Linear, Op, Request, elementwise

PACKER_LEVELS = 4  # TokenPacker and QueCC read the features of four layers, joined


def _vision_params(tower: VisionTower) -> tuple[int, int]:
    """(embedding and final norms, norms and scales of one layer): parameters outside the linear layers."""
    norm = tower.hidden * (2 if tower.norm_bias else 1)
    outside = tower.positions * tower.hidden + tower.hidden * tower.class_token
    outside += norm * (tower.pre_norm + tower.post_norm)
    return outside, 2 * norm + 2 * tower.hidden * tower.layer_scale + 2 * tower.hidden * tower.qk_norm


def _vision_transformer(request: Request, tower: VisionTower, views: int, patches: int) -> Iterator[Op]:
    size, part = request.activation_bytes, Part.VISION
    tokens = patches + tower.class_token
    rows, hidden = float(views * tokens), tower.hidden
    linear = Linear(part=part, count=1, activation_bytes=size, weight_bytes=size)
    yield linear("patches", views * patches, hidden, 3 * tower.patch**2 * tower.temporal_patch, bias=tower.patch_bias)
    run = replace(linear, count=tower.layers_used)
    up = 2 if tower.gated_mlp else 1
    layers = [
        run("qkv", rows, 3 * hidden, hidden, bias=tower.attention_bias),
        run("output", rows, hidden, hidden, bias=tower.attention_bias),
        run("mlp up", rows, up * tower.intermediate, hidden, bias=tower.mlp_bias),
        run("mlp down", rows, hidden, tower.intermediate, bias=tower.mlp_bias),
    ]
    yield from layers
    window = min(tokens, tower.window_patches or tokens)
    for count, span in (
        (tower.full_attention_layers, tokens),
        (tower.layers_used - tower.full_attention_layers, window),
    ):
        if count:
            yield Op(
                part=part,
                name="attention",
                kind=Kind.VISION_ATTENTION,
                count=count,
                flops=4.0 * count * rows * span * hidden,
                shape=(rows * tower.heads / ATTENTION_TILE_TOKENS,),
                moved_bytes=4 * count * rows * hidden * size,
            )
    outside, per_layer = _vision_params(tower)
    params, used = outside + per_layer * tower.layers_used, tower.layers_used
    moved = 2 * used * NORM_PASSES * rows * hidden * size
    yield elementwise(part, "norms and residuals", 2 * used, moved, params, params * size, Kind.NORM)
    yield elementwise(part, "activations", used, used * rows * (up + 1) * tower.intermediate * size)
    unused = tower.layers - tower.layers_used
    if unused:
        params = round(unused * (per_layer + sum(op.params for op in layers) / tower.layers_used))
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
        found = _vision_convolutions(request, tower, views, pixels)
    else:
        found = _vision_transformer(request, tower, views, _patches(pixels, tower))
    idle = visual is None or workload.cached_images
    yield from (_idle(op) if idle else op for op in found)


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
            context_tokens=request.workload.text_tokens,
            sliding_context_tokens=min(request.workload.text_tokens, request.model.llm.sliding_window or 10**9),
            head=False,
        )
        yield from llm_pass(request, step)


def compressor(request: Request) -> Iterator[Op]:
    """Compressor and projector. Where the image is cached so is their output, unless it depends on the question."""
    model, visual, workload = request.model, request.visual, request.workload
    projector, tower, size = model.projector, model.vision, request.activation_bytes
    if projector is None or tower is None:
        return
    copies = workload.batch * workload.images
    kind = visual.compressor if visual else Compressor.NONE
    tokens = float(copies * visual.visual_tokens) if visual else 1.0
    rows = copies * visual.views * _patches(visual.pixels_per_view, tower) if visual else 1.0
    linear = Linear(part=Part.COMPRESSOR, count=1, activation_bytes=size, weight_bytes=size)
    found: list[Op] = []
    if kind in (Compressor.TOKEN_PACKER, Compressor.QUECC):
        found += _packer(request, linear, rows, tokens, workload.batch if kind is Compressor.QUECC else 0)
    elif kind is not Compressor.NONE:
        moved = (rows + tokens) * tower.output_width * size
        found.append(elementwise(Part.COMPRESSOR, kind.value, 1, moved))
    gather = max(1.0, rows / projector.merge / tokens) if kind is Compressor.PIXEL_SHUFFLE else 1.0
    many = replace(linear, count=projector.copies)
    # Anyres projects every patch of every view, and cuts padding off and adds newlines afterwards.
    anyres = kind is Compressor.NONE and model.image is not None and model.image.rule is Rule.ANYRES
    projected = rows / projector.merge if anyres else tokens
    for index, (depth, columns) in enumerate(zip(projector.widths, projector.widths[1:], strict=False)):
        found.append(many("projector", projected, columns, depth * (gather if index == 0 else 1), bias=projector.bias))
    params = projector.norm_params + projector.extra_params
    found.append(
        elementwise(
            Part.COMPRESSOR, "projector norms", 1, 2 * tokens * projector.widths[-1] * size, params, params * size
        )
    )
    idle = visual is None or (workload.cached_images and kind is not Compressor.QUECC)
    yield from (_idle(op) if idle else op for op in found)
    if kind is Compressor.QUECC:
        yield from _question_pass(request)
