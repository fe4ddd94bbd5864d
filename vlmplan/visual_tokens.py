"""How many visual tokens does an image make, and what does one set to get another number?

(rule, image width x height in pixels) -> views, pixels per view, visual tokens. The arithmetic is that of the
processors in transformers (Qwen2-VL, InternVL, Idefics3/SmolVLM, LLaVA-NeXT, LLaVA-OneVision); a test compares.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vlmplan.errors import InputError
from vlmplan.model import Compressor, ImageRule, ModelSpec, Reduction, Rule

_AREA_TARGETS = (4, 9, 16, 25, 36, 49, 64, 100, 144, 196, 256, 400, 576, 784, 1024, 1369, 1764, 2304, 4096, 9216)
MOST_SHUFFLED = 16  # beyond it the first projector layer outgrows everything else
_LEAST_AREA_TOKENS = 4  # min_pixels of the processors shipped with Qwen2-VL and its successors
_ANYRES_LIMIT_VIEWS = 9  # LLaVA-OneVision's anyres_max_9


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualInput:
    """What the tower sees and the LLM gets, per image: ``views`` of ``pixels_per_view``, ``visual_tokens`` in all."""

    visual_tokens: int
    views: int
    pixels_per_view: int
    setting: str
    engine: str | None = None
    reduction: Reduction = Reduction.TRAINED
    compressor: Compressor = Compressor.NONE


def _resized_area(width: int, height: int, side: int, low: int, high: int) -> tuple[int, int]:
    """Sides rounded to multiples of ``side``, area within ``low`` to ``high`` tokens; in tokens (Qwen2-VL's resize)."""
    columns, rows = max(1, round(width / side)), max(1, round(height / side))
    if rows * columns > high:
        scale = math.sqrt(width * height / (high * side * side))
        columns, rows = (max(1, math.floor(length / scale / side)) for length in (width, height))
    elif rows * columns < low:
        scale = math.sqrt(low * side * side / (width * height))
        columns, rows = (math.ceil(length * scale / side) for length in (width, height))
    return columns, rows


def _tile_grid(width: int, height: int, rule: ImageRule, max_views: int) -> tuple[int, int]:
    """The grid of at most ``max_views`` tiles nearest the image's shape (InternVL's dynamic tiling)."""
    grids = {(i, j) for i in range(1, max_views + 1) for j in range(1, max_views + 1) if i * j <= max_views}
    best, best_difference = (1, 1), math.inf
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        difference = abs(width / height - columns / rows)
        larger = width * height > 0.5 * rule.view_size**2 * columns * rows
        if difference < best_difference or (difference == best_difference and larger):
            best, best_difference = (columns, rows), difference
    return best


def _split_grid(width: int, height: int, rule: ImageRule, edge_views: int) -> tuple[int, int]:
    """The grid after scaling the longest edge to ``edge_views`` tiles (Idefics3, SmolVLM)."""
    tile, longest = rule.view_size, edge_views * rule.view_size
    aspect = width / height
    if width >= height:
        width, height = longest, int(longest / aspect)
        height += height % 2
        height = int(longest / (longest / max(1, height)))
    else:
        width, height = int(longest * aspect), longest
        width += width % 2
    return max(1, math.ceil(width / tile)), max(1, math.ceil(height / tile))


def _least_tiles(rule: ImageRule) -> int:
    """LLaVA-OneVision's grids (up to 6 a side) start at one tile, LLaVA-NeXT's (up to 3) at two."""
    return 1 if rule.max_side_views > 3 else 2


def _anyres_tokens(width: int, height: int, rule: ImageRule, max_tiles: int) -> tuple[int, int]:
    """(tiles, visual tokens): best of the allowed grids, padding cut off, one newline a row (LLaVA-NeXT, OneVision)."""
    least = _least_tiles(rule)
    sides = range(1, rule.max_side_views + 1)
    best, best_fit = (1, 1), (-1.0, -math.inf)
    for rows, columns in ((i, j) for i in sides for j in sides if least <= i * j <= max_tiles):
        wide, high = columns * rule.view_size, rows * rule.view_size
        scale = min(wide / width, high / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        if (effective, effective - wide * high) > best_fit:
            best, best_fit = (rows, columns), (effective, effective - wide * high)
    side = math.isqrt(rule.tokens_per_view)
    rows, columns = best[0] * side, best[1] * side
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        rows -= 2 * padding
    else:
        padding = (columns - int(round(width * (rows / height), 7))) // 2
        columns -= 2 * padding
    ratio = math.sqrt(rows * columns / (_ANYRES_LIMIT_VIEWS * side**2))
    if least == 1 and ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    return best[0] * best[1], rule.tokens_per_view + rows * columns + rows


def _reachable(rule: ImageRule, width: int, height: int) -> Iterator[tuple[int, int, dict[str, int]]]:
    """Yield (visual tokens, views, what to fill into the setting) for every setting of the processor."""
    view = rule.tokens_per_view
    match rule.rule:
        case Rule.FIXED:
            yield view, 1, {}
        case Rule.COMPRESSED:
            yield from ((tokens, 1, {}) for tokens in rule.allowed_visual_tokens)
        case Rule.AREA:
            for limit in (*_AREA_TARGETS, rule.trained_max_visual_tokens):
                columns, rows = _resized_area(width, height, rule.view_size, _LEAST_AREA_TOKENS, limit)
                yield columns * rows, 1, {"pixels": limit * rule.view_size**2}
        case Rule.ANYRES:
            sides = range(1, rule.max_side_views + 1)
            counts = {i * j for i in sides for j in sides if _least_tiles(rule) <= i * j <= rule.max_views}
            for limit in sorted(counts):
                tiles, tokens = _anyres_tokens(width, height, rule, limit)
                yield tokens, 1 + tiles, {"views": limit}
        case Rule.TILES | Rule.SPLIT:
            for limit in range(1, (rule.max_views if rule.rule is Rule.TILES else rule.max_side_views) + 1):
                grid = _tile_grid if rule.rule is Rule.TILES else _split_grid
                columns, rows = grid(width, height, rule, limit)
                views = columns * rows + (columns * rows > 1)
                yield view * views, views, {"views": limit, "edge": limit * rule.view_size}


def _option(rule: ImageRule, visual_tokens: int, views: int, fill: dict[str, int]) -> VisualInput:
    tokens_here = visual_tokens if rule.rule is Rule.AREA else 1
    return VisualInput(
        visual_tokens=visual_tokens,
        views=views,
        pixels_per_view=tokens_here * rule.view_size**2,
        setting=rule.setting.format_map(fill),
        engine=rule.engine.format_map(fill) if rule.engine else None,
        compressor=Compressor.TOKEN_PACKER if rule.rule is Rule.COMPRESSED else Compressor.NONE,
    )


def options(model: ModelSpec, image: tuple[int, int]) -> tuple[VisualInput, ...]:
    """Return the numbers of visual tokens the processor can make of ``image``, fewest first; empty for a text model.

    The last is the checkpoint's own default; the others are reached by a smaller or less divided image.
    """
    return () if model.image is None else _options(model.image, image)


@functools.lru_cache(maxsize=1024)
def _options(rule: ImageRule, image: tuple[int, int]) -> tuple[VisualInput, ...]:
    by_tokens: dict[int, VisualInput] = {}
    native = 0
    for visual_tokens, views, fill in _reachable(rule, *image):
        option = _option(rule, visual_tokens, views, fill)
        by_tokens.setdefault(visual_tokens, option)
        native = visual_tokens
    by_tokens[native] = option  # the default setting comes last, and is what the checkpoint does unasked
    ordered = [by_tokens[tokens] for tokens in sorted(by_tokens) if tokens <= native]
    if rule.rule is Rule.COMPRESSED:
        return tuple(ordered)
    return (*(replace(option, reduction=Reduction.IMAGE_SIZE) for option in ordered[:-1]), ordered[-1])


def one_view(model: ModelSpec, image: tuple[int, int]) -> VisualInput:
    """Return the input of one view of the image, all its tokens kept: what an export without tiling reads.

    Raises InputError for a text model.
    """
    if model.image is None:
        raise InputError(f"{model.name} has no vision tower")
    tokens = model.image.tokens_per_view
    for option in options(model, image):
        if option.visual_tokens == tokens:
            return option
    whole = _option(model.image, tokens, 1, {"views": 1, "edge": model.image.view_size, "pixels": 0})
    return replace(whole, setting="one view of the image", engine=None, reduction=Reduction.IMAGE_SIZE)


def native_visual_tokens(model: ModelSpec, image: tuple[int, int]) -> int:
    """Return the visual tokens of ``image`` under the checkpoint's default setting; 0 for a text model."""
    found = options(model, image)
    return found[-1].visual_tokens if found else 0


def visual_input(model: ModelSpec, image: tuple[int, int], visual_tokens: int, compressor: Compressor) -> VisualInput:
    """Return the input that gives exactly ``visual_tokens``, by the processor's setting or else by ``compressor``.

    Where the processor cannot make that number and no compressor is named, average pooling is meant. Raises
    InputError for a text model, or for more tokens than a compressor could leave.
    """
    rule = model.image
    if rule is None:
        raise InputError(f"{model.name} has no vision tower; expected --visual-tokens 0, found {visual_tokens}")
    if compressor is Compressor.NONE:
        for option in options(model, image):
            if option.visual_tokens == visual_tokens:
                return option
        if rule.rule is not Rule.AREA and visual_tokens == rule.tokens_per_view:
            return one_view(model, image)
        if rule.rule is Rule.AREA and visual_tokens <= rule.trained_max_visual_tokens:
            exact = _option(rule, visual_tokens, 1, {"pixels": visual_tokens * rule.view_size**2})
            return replace(exact, reduction=Reduction.IMAGE_SIZE)
        compressor = Compressor.AVERAGE_POOL
    full = options(model, image)[-1]
    views = 1 if rule.rule is not Rule.AREA and visual_tokens <= rule.tokens_per_view else full.views
    most = full.visual_tokens if views == full.views else rule.tokens_per_view
    if visual_tokens > most:
        raise InputError(
            f"{model.name} makes {most} visual tokens of this image; found {visual_tokens}, expected fewer"
        )
    if compressor is Compressor.PIXEL_SHUFFLE and most > MOST_SHUFFLED * visual_tokens:
        raise InputError(
            f"pixel-shuffle joins at most {MOST_SHUFFLED} tokens of {most}; found {visual_tokens} to be left"
        )
    reduction = Reduction.TRAINED if rule.rule is Rule.COMPRESSED else Reduction.TRAINING_FREE
    return replace(
        full,
        visual_tokens=visual_tokens,
        views=views,
        setting=f"compressor {compressor} to {visual_tokens} tokens",
        engine=None,
        compressor=compressor,
        reduction=reduction,
    )
