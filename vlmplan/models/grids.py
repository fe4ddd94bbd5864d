"""Into how many views and visual tokens does a processor cut an image? One function a rule.

(width, height in pixels, rule, limit) -> Grid. The limit is what one sets to get another number: pixels of area,
tokens, tiles, pixels of an edge, by the rule. The arithmetic is that of the processors in transformers, and for
Phi-3.5-vision, DeepSeek-VL2 and Kimi-VL of the code published with the checkpoints; a test compares the former.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from vlmplan.models.spec import ImageRule, Rule
from vlmplan.records import dataclass

_COVERED = 0.9  # Ovis2 takes the fewest tiles that keep this share of the image's pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """``tokens`` of one image in the LLM; ``views`` of ``pixels`` each that the tower sees.

    ``seen_pixels`` are those of the image's finest picture among them: all its tiles, padding and overlap left out, but
    not the view of the whole.
    """

    tokens: int
    views: int
    pixels: int
    seen_pixels: int


def _sizes(limit: int, least: int = 1) -> list[tuple[int, int]]:
    """(columns, rows) of all grids of ``least`` to ``limit`` tiles, fewest tiles first."""
    sides = range(1, limit + 1)
    return sorted(((i, j) for i in sides for j in sides if least <= i * j <= limit), key=lambda g: g[0] * g[1])


def _nearest_shape(width: int, height: int, view: int, grids: list[tuple[int, int]]) -> tuple[int, int]:
    """The grid nearest the image's shape; of two as near, the larger where the image is (InternVL's tiling)."""
    best, best_difference = (1, 1), math.inf
    for columns, rows in grids:
        difference = abs(width / height - columns / rows)
        larger = width * height > 0.5 * view**2 * columns * rows
        if difference < best_difference or (difference == best_difference and larger):
            best, best_difference = (columns, rows), difference
    return best


def _least_upscaling(
    width: int, height: int, side: int, grids: list[tuple[int, int]], *, largest: bool = False
) -> tuple[int, int]:
    """The canvas that enlarges the image least (or most), else shrinks it least; the first of equals (Llama 3.2, 4)."""
    scales = [(min(columns * side / width, rows * side / height), (columns, rows)) for columns, rows in grids]
    enlarging = [scale for scale, _ in scales if scale >= 1]
    wanted = min(enlarging) if enlarging and not largest else max(scale for scale, _ in scales)
    return next(grid for scale, grid in scales if scale == wanted)


def resized_area(width: int, height: int, side: int, limits: tuple[int, int], *, least: int = 0) -> tuple[int, int]:
    """Columns and rows of ``side`` pixels in the image's shape, within ``limits`` of pixels in all (Qwen2-VL).

    A side is at least ``least`` before the limits are looked at (LFM2-VL: 1), and 1 after.
    """
    low, high = limits
    columns, rows = max(least, round(width / side)), max(least, round(height / side))
    if rows * columns * side**2 > high:
        scale = math.sqrt(width * height / high)
        columns, rows = (max(1, math.floor(length / scale / side)) for length in (width, height))
    elif rows * columns * side**2 < low:
        scale = math.sqrt(low / (width * height))
        columns, rows = (math.ceil(length * scale / side) for length in (width, height))
    return max(1, columns), max(1, rows)


def _one_view(tokens: int, rule: ImageRule, extra: int = 0) -> Grid:
    pixels = tokens * rule.view_size**2
    return Grid(tokens=tokens + extra, views=1, pixels=pixels, seen_pixels=pixels)


def _area(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Qwen2-VL and its successors, GLM-4V, ERNIE: sides rounded, the area kept within limits of pixels."""
    low = rule.least_pixels or rule.least_tokens * rule.view_size**2
    columns, rows = resized_area(width, height, rule.view_size, (low, limit))
    return _one_view(columns * rows, rule)


def _padded(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Kimi-VL: scaled down to the pixels allowed, in whole patches, then padded to whole tokens."""
    patch = rule.view_size // 2
    patches, most = (width // patch) * (height // patch), limit // patch**2
    if patches > most:
        scale = math.sqrt(most / patches)
        width, height = int(width * scale), int(height * scale)
    return _one_view(max(1, math.ceil(width / rule.view_size)) * max(1, math.ceil(height / rule.view_size)), rule)


def _budget(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Gemma 4: the largest size of the image's shape within a budget of tokens."""
    side = rule.view_size
    scale = math.sqrt(limit * side**2 / (width * height))
    columns, rows = math.floor(scale * width / side), math.floor(scale * height / side)
    if not rows:
        columns, rows = min(width // height, limit), 1
    elif not columns:
        columns, rows = 1, min(height // width, limit)
    return _one_view(columns * rows, rule)


def resized_edge(width: int, height: int, side: int, limit: int) -> tuple[int, int]:
    """Columns and rows of ``side`` pixels in the image's shape, its longest edge within ``limit`` pixels (Pixtral)."""
    ratio = max(width / limit, height / limit)
    if ratio > 1:
        width, height = max(1, math.floor(width / ratio)), max(1, math.floor(height / ratio))
    return (width - 1) // side + 1, (height - 1) // side + 1


def _rows(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Pixtral: the longest edge is held to ``limit`` pixels; a break or end token follows each row."""
    columns, rows = resized_edge(width, height, rule.view_size, limit)
    return _one_view(columns * rows, rule, extra=rows * rule.row_ends)


def stretched_pixels(width: int, height: int, wide: int, high: int) -> int:
    """Return the pixels seen of an image that is stretched to ``wide`` x ``high``: enlarging a side adds none to it."""
    return min(width, wide) * min(height, high)


def _scaled_pixels(width: int, height: int, wide: int, high: int) -> int:
    """The pixels seen of an image that is scaled in its own shape until it fits in ``wide`` x ``high``."""
    scale = min(1.0, wide / max(1, width), high / max(1, height))
    return max(1, int(width * scale) * int(height * scale))


def _views(rule: ImageRule, columns: int, rows: int, *, base: bool, seen_pixels: int, extra: int = 0) -> Grid:
    """Tiles of a grid, each with all its tokens, and a view of the whole image where ``base``."""
    views = columns * rows + (base and rule.thumbnail)
    tokens = rule.tokens_per_view * views + extra
    return Grid(tokens=tokens, views=views, pixels=rule.view_size**2, seen_pixels=seen_pixels)


def _tiles(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """InternVL: the grid nearest the image's shape, and a thumbnail."""
    columns, rows = _nearest_shape(width, height, rule.view_size, _sizes(limit, min(rule.min_views, limit)))
    seen = stretched_pixels(width, height, columns * rule.view_size, rows * rule.view_size)
    return _views(rule, columns, rows, base=columns * rows > 1, seen_pixels=seen)


def _pan_scan(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Gemma 3 with pan and scan: the whole image, and crops along the longer side of one that is long enough."""
    longer, shorter = max(width, height), min(width, height)
    crops = min(math.floor(longer / shorter + 0.5), longer // rule.edge_step)
    crops = min(limit - 1, max(2, crops))
    cut = longer / shorter >= rule.crop_aspect_fraction and crops >= 1
    if not cut or min(math.ceil(longer / crops), shorter) < rule.edge_step:
        crops = 0
    seen = stretched_pixels(longer, shorter, max(1, crops) * rule.view_size, rule.view_size)
    return Grid(tokens=rule.tokens_per_view * (1 + crops), views=1 + crops, pixels=rule.view_size**2, seen_pixels=seen)


def _canvas(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Llama 4: the canvas that enlarges least; separators between tiles and two tokens about the global view."""
    columns, rows = _least_upscaling(width, height, rule.view_size, _sizes(limit), largest=rule.largest_canvas)
    split = columns * rows > 1
    seen = _scaled_pixels(width, height, columns * rule.view_size, rows * rule.view_size)
    return _views(rule, columns, rows, base=split, seen_pixels=seen, extra=3 + columns * rows * split)


def _cross(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Llama 3.2 Vision: as Llama 4 without a global view; the tower always runs over all tiles it may have."""
    columns, rows = _least_upscaling(width, height, rule.view_size, _sizes(limit))
    tiles = columns * rows
    seen = _scaled_pixels(width, height, columns * rule.view_size, rows * rule.view_size)
    return Grid(tokens=rule.tokens_per_view * tiles, views=limit, pixels=rule.view_size**2, seen_pixels=seen)


def _kept(width: int, height: int, columns: int, rows: int, side: int) -> float:
    """Share of the image's pixels that cutting it into a grid of views of ``side`` keeps."""
    share = 0.0
    for column in range(columns):
        for row in range(rows):
            wide = width // columns if column < columns - 1 else width - (columns - 1) * (width // columns)
            high = height // rows if row < rows - 1 else height - (rows - 1) * (height // rows)
            longer, shorter = max(wide, high), min(wide, high)
            share += min(longer, side) * (shorter / longer * side if longer > side else shorter)
    return share / (width * height)


def _cover(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Ovis2: the fewest tiles that keep nine tenths of the pixels, and a thumbnail; five tokens mark places."""
    tilings = [(_kept(width, height, i, j, rule.view_size), j, i) for j, i in _sizes(limit)]
    enough = [(rows * columns, -share, rows, columns) for share, rows, columns in tilings if share > _COVERED]
    most = [(-share, rows * columns, rows, columns) for share, rows, columns in tilings]
    *_, rows, columns = min(enough, key=lambda one: one[:2]) if enough else min(most, key=lambda one: one[:2])
    tiles = columns * rows
    seen = stretched_pixels(width, height, columns * rule.view_size, rows * rule.view_size)
    return _views(rule, columns, rows, base=tiles > 1, seen_pixels=seen, extra=3 + (tiles + (tiles > 1)) * (tiles > 1))


def _slices(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """MiniCPM-V: slices of the image's shape as LLaVA-UHD cuts it, and the whole image before them."""
    ratio = width * height / rule.view_size**2
    multiple = min(math.ceil(ratio), limit)
    columns, rows, least = 0, 0, math.inf
    for count in (multiple - 1, multiple, multiple + 1) if multiple > 1 else ():
        for high in (n for n in range(1, count + 1) if count > 1 and count <= limit and count % n == 0):
            difference = abs(math.log(width / height) - math.log(count // high / high))
            if difference < least or (difference == least and high > rows):
                columns, rows, least = count // high, high, difference
    pixels = max(1, columns * rows) * rule.view_size**2  # slices keep the image's shape, and so many pixels in all
    grid = _views(rule, columns, rows, base=True, seen_pixels=min(width * height, pixels))
    return replace(grid, tokens=_sliced_tokens(width, height, rule, columns, rows)) if rule.edge_step else grid


def _sliced_tokens(width: int, height: int, rule: ImageRule, columns: int, rows: int) -> int:
    """Tokens of ``edge_step`` pixels a side in the whole image and its slices, each in its shape (MiniCPM-V 4.6)."""
    step = rule.edge_step

    def fitted(wide: float, high: float, *, enlarged: bool) -> int:
        if wide * high > rule.view_size**2 or enlarged:
            shape = wide / high
            high = int(rule.view_size / math.sqrt(shape))
            wide = int(high * shape)
        return max(1, round(wide / step)) * max(1, round(high / step))

    if not columns:
        return fitted(width, height, enlarged=True)
    # A slice's sides are made whole multiples of the grid before they are fitted.
    wide, high = max(1, round(width / columns)), max(1, round(height / rows))
    return fitted(width, height, enlarged=False) + columns * rows * fitted(wide, high, enlarged=True)


def _fitted(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Perception LM: the grid the image fits in with the longest edges, else that nearest its shape; a thumbnail."""
    side, scale = rule.view_size, width / height
    by_shape: dict[float, list[tuple[int, int]]] = {}
    for count in range(limit, 0, -1):
        for columns in (n for n in range(1, count + 1) if count % n == 0):
            by_shape.setdefault(columns / (count // columns), []).append((columns, count // columns))
    best, longest = None, -math.inf
    for columns, rows in (grid for grids in by_shape.values() for grid in grids):
        if columns * side >= width and rows * side >= height:
            factor = min(columns * side / width, rows * side / height)
            edge = math.floor(factor * width / scale) if scale > 1 else factor * height
            if scale < 1:
                edge = math.floor(factor * height * scale)
            if edge >= longest:
                best, longest = (columns, rows), edge
    if best is None and scale >= 1:
        shape = min((one for one in by_shape if one <= scale), key=lambda one: abs(one - scale))
        best = max(by_shape[shape], key=lambda grid: grid[0])
    elif best is None:
        shape = min((one for one in by_shape if one > scale), key=lambda one: abs(1 / one - 1 / scale))
        best = max(by_shape[shape], key=lambda grid: grid[1])
    seen = stretched_pixels(width, height, best[0] * side, best[1] * side)
    return _views(rule, *best, base=True, seen_pixels=seen)


def _hd(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Phi-3.5-vision: as many crops along the longer side as fit in the limit; 12 newlines a row and one between."""
    ratio = max(width, height) / min(width, height)
    long = 1
    while (long + 1) * math.ceil((long + 1) / ratio) <= limit:
        long += 1
    short = math.ceil(int(long * rule.view_size / ratio) / rule.view_size)
    rows = long if height > width else short
    columns = short if height > width else long
    seen = _scaled_pixels(width, height, columns * rule.view_size, rows * rule.view_size)
    return _views(rule, columns, rows, base=True, seen_pixels=seen, extra=1 + (rows + 1) * 12)


def _hd_shape(width: int, height: int, side: int, limit: int) -> tuple[int, int]:
    """Columns and rows of crops that hold an image, or of as many as there may be those nearest its shape."""
    columns, rows = math.ceil(width / side), math.ceil(height / side)
    return (columns, rows) if columns * rows <= limit else _nearest_shape(width, height, side, _sizes(limit))


def _dynamic_hd(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Phi-4-multimodal: crops that hold the image, padding cut off; newlines of each row and of the global view."""
    side, patch = rule.view_size, 14
    columns, rows = _hd_shape(width, height, side, limit)
    across, down = columns * side / width, rows * side / height
    padded = (0, rows * side - int(height * across)) if across < down else (columns * side - int(width * down), 0)
    kept = [
        math.ceil((count * (side // patch) - pad // patch) / 2)
        for count, pad in zip((columns, rows), padded, strict=True)
    ]
    views = 1 + columns * rows
    tokens = rule.tokens_per_view + 1 + kept[0] * kept[1] + kept[1] + math.isqrt(rule.tokens_per_view)
    return Grid(tokens=tokens, views=views, pixels=side**2, seen_pixels=kept[0] * kept[1] * (2 * patch) ** 2)


def _best_fit(width: int, height: int, rule: ImageRule, limit: int) -> tuple[int, int]:
    """(rows, columns): most of the image's pixels kept, then least waste (LLaVA-NeXT, OneVision, DeepSeek-VL2)."""
    sides = range(1, rule.max_side_views + 1)
    grids = [(rows, columns) for columns, rows in rule.grids] or [(i, j) for i in sides for j in sides]
    best, best_fit = (1, 1), (-1.0, -math.inf)
    for rows, columns in ((i, j) for i, j in grids if rule.min_views <= i * j <= limit):
        wide, high = columns * rule.view_size, rows * rule.view_size
        scale = min(wide / width, high / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        if (effective, effective - wide * high) > best_fit:
            best, best_fit = (rows, columns), (effective, effective - wide * high)
    return best


def _joined(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """DeepSeek-VL2: the best-fitting grid as one picture with a newline a row, one separator, and the global view."""
    rows, columns = _best_fit(width, height, rule, limit)
    side = math.isqrt(rule.tokens_per_view)
    tokens = rows * side * (columns * side + 1) + 1 + side * (side + 1)
    scale = min(columns * rule.view_size / width, rows * rule.view_size / height)
    seen = int(width * scale) * int(height * scale)
    return Grid(tokens=tokens, views=rows * columns + 1, pixels=rule.view_size**2, seen_pixels=seen)


def _anyres(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """LLaVA-NeXT and OneVision: the best-fitting grid, padding cut off, one newline a row, and the base view."""
    best = _best_fit(width, height, rule, limit)
    side = math.isqrt(rule.tokens_per_view)
    rows, columns = best[0] * side, best[1] * side
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        rows -= 2 * padding
    else:
        padding = (columns - int(round(width * (rows / height), 7))) // 2
        columns -= 2 * padding
    seen = rows * columns * rule.view_size**2 // side**2
    ratio = math.sqrt(rows * columns / (rule.pooled_beyond_views * side**2)) if rule.pooled_beyond_views else 0.0
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    tokens = rule.tokens_per_view + rule.base_extra_tokens + rows * columns + rows
    return Grid(tokens=tokens, views=1 + best[0] * best[1], pixels=rule.view_size**2, seen_pixels=seen)


def _split(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Idefics3 and SmolVLM: the longest edge is scaled to ``limit`` pixels, then to whole tiles; a view of the whole.

    The second step is the processor's; its own ``get_number_of_image_patches`` leaves it out, and is wrong where
    ``limit`` is no whole number of tiles.
    """
    tile, aspect = rule.view_size, width / height
    if rule.max_views == 1:
        return _fixed(width, height, rule, limit)
    if width >= height:
        width, height = limit, int(limit / aspect)
        height += height % 2
        height = int(limit / (limit / max(1, height)))
    else:
        width, height = int(limit * aspect), limit
        width += width % 2
    width, height = max(1, width), max(1, height)
    whole = math.ceil(max(width, height) / tile)
    other = whole * tile / (width / height) if width >= height else whole * tile * (width / height)
    across = max(1, math.ceil(int(other) / tile))
    columns, rows = (whole, across) if width >= height else (across, whole)
    seen = _scaled_pixels(width, height, columns * tile, rows * tile)
    return _views(rule, columns, rows, base=columns * rows > 1, seen_pixels=seen)


def _overlap(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Molmo: crops that overlap by some patches, pooled 2 x 2; a column token a row; a low-resolution view."""
    side, shared = rule.patches_per_side, rule.overlap_patches
    patch, step = rule.view_size // side, side - shared
    inner = (width - shared * patch, height - shared * patch)
    columns, rows = _least_upscaling(*inner, step * patch, _sizes(limit)) if min(inner) > 0 else (1, 1)
    wide, high = (math.ceil((count * step + shared) / 2) for count in (columns, rows))
    low = math.isqrt(rule.tokens_per_view)
    tokens = high * (wide + 1) + low * (low + 1) + 4
    seen = high * wide * (2 * patch) ** 2
    return Grid(tokens=tokens, views=columns * rows + 1, pixels=rule.view_size**2, seen_pixels=seen)


def adaptive_cut(
    width: int, height: int, rule: ImageRule, limit: int
) -> tuple[tuple[int, int] | None, tuple[int, int]]:
    """Return columns and rows of an image's tiles, None where it is not cut, and of the tokens of its whole view.

    LFM2-VL: one view in the image's shape; a larger image in up to ``limit`` tiles.
    """
    side = rule.view_size // math.isqrt(rule.tokens_per_view)
    most = rule.default_max_tokens or rule.tokens_per_view
    whole = resized_area(width, height, side, (rule.least_tokens * side**2, most * side**2), least=1)
    area = max(side // 2, round(width / side) * side) * max(side // 2, round(height / side) * side)
    if limit == 1 or area <= most * side**2 * rule.single_view_fraction:
        return None, whole
    return _nearest_shape(width, height, rule.view_size, _sizes(limit, min(rule.min_views, limit))), whole


def _adaptive(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """LFM2-VL: one view in the image's shape; a larger image in up to ``limit`` tiles, that view a thumbnail."""
    side = rule.view_size // math.isqrt(rule.tokens_per_view)
    cut, whole = adaptive_cut(width, height, rule, limit)
    thumbnail = math.prod(whole)
    if cut is None:
        pixels = thumbnail * side**2
        return Grid(tokens=thumbnail, views=1, pixels=pixels, seen_pixels=pixels)
    tiles = math.prod(cut)
    shown = tiles > 1 and rule.thumbnail
    seen = stretched_pixels(width, height, *(number * rule.view_size for number in cut))
    pixels = (tiles * rule.view_size**2 + shown * thumbnail * side**2) // (tiles + shown)
    tokens = tiles * rule.tokens_per_view + shown * thumbnail
    return Grid(tokens=tokens, views=tiles + shown, pixels=pixels, seen_pixels=seen)


def _fixed(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """One picture of a fixed size; the tower may look at up to ``max_views`` crops for it (moondream)."""
    del limit
    views, side = rule.max_views, rule.view_size
    seen = stretched_pixels(width, height, side, side) if views == 1 else min(width * height, views * side**2)
    return Grid(tokens=rule.tokens_per_view, views=views, pixels=side**2, seen_pixels=seen)


def _counted(width: int, height: int, rule: ImageRule, limit: int) -> Grid:
    """Idefics2: one view of the image's shape, or also its four quarters."""
    aspect = max(width, height) / min(width, height)
    pixels = int(rule.view_size**2 / aspect)
    return Grid(tokens=rule.tokens_per_view * limit, views=limit, pixels=pixels, seen_pixels=max(1, limit - 1) * pixels)


_LEAST_SIDE_PX = 10  # what Phi-4-multimodal's processor leaves of an image's shorter side, or refuses it


def refused_shape(width: int, height: int, rule: ImageRule) -> str | None:
    """Return why a processor refuses an image of this shape, None where it takes it."""
    longer, shorter = max(width, height), min(width, height)
    if rule.most_aspect and longer / shorter > rule.most_aspect:
        return (
            f"an image of {width} x {height} is {longer / shorter:.1f} times as long as wide; its processor takes at "
            f"most {rule.most_aspect}"
        )
    if rule.rule is Rule.DYNAMIC_HD:
        side, limit = rule.view_size, rule.default_max_views or rule.max_views
        columns, rows = _hd_shape(width, height, side, limit)
        if int(shorter * min(columns * side / width, rows * side / height)) < _LEAST_SIDE_PX:
            return (
                f"an image of {width} x {height} shrinks to less than {_LEAST_SIDE_PX} pixels across, which its "
                "processor refuses"
            )
    return None


Placed = Callable[[int, int, ImageRule, int], Grid]
GRIDS: Mapping[Rule, Placed] = {
    Rule.FIXED: _fixed,
    Rule.PAN_SCAN: _pan_scan,
    Rule.VIEWS: _counted,
    Rule.AREA: _area,
    Rule.PADDED: _padded,
    Rule.BUDGET: _budget,
    Rule.ROWS: _rows,
    Rule.TILES: _tiles,
    Rule.CANVAS: _canvas,
    Rule.CROSS: _cross,
    Rule.COVER: _cover,
    Rule.SLICES: _slices,
    Rule.FITTED: _fitted,
    Rule.HD: _hd,
    Rule.DYNAMIC_HD: _dynamic_hd,
    Rule.JOINED: _joined,
    Rule.ANYRES: _anyres,
    Rule.SPLIT: _split,
    Rule.OVERLAP: _overlap,
    Rule.ADAPTIVE: _adaptive,
}
