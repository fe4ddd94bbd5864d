"""How many visual tokens does an image make, and what does one set to get another number?

(model, image width x height in pixels) -> every number of visual tokens its processor can make, with the setting that
makes it, in transformers and in serving engines. ``grids.py`` has the arithmetic.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace

from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.grids import GRIDS, Grid, refused_shape, resized_area, resized_edge, stretched_pixels
from vlmplan.models.spec import (
    PLACEHOLDERS,
    SHAPE_KEEPING,
    WHOLE_TILES,
    Compressor,
    ImageRule,
    ModelSpec,
    Reduction,
    Rule,
)
from vlmplan.records import dataclass

MOST_SHUFFLED = 16  # beyond it the first projector layer outgrows everything else


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualInput:
    """What the tower sees and the LLM gets, per image: ``views`` of ``pixels_per_view``, ``visual_tokens`` in all.

    ``seen_side_px`` is the side of a square with as many pixels as the views show of the image, at most its own;
    ``unreduced_tokens`` what those views would make without ``compressor``, which is not ``as_published`` where the
    checkpoint was trained without it.
    """

    visual_tokens: int
    views: int
    pixels_per_view: int
    seen_side_px: float
    unreduced_tokens: int
    setting: str
    engines: Mapping[Engine, str] = field(default_factory=dict)
    reduction: Reduction = Reduction.TRAINED
    compressor: Compressor = Compressor.NONE
    as_published: bool = True


_AREA_TARGETS = (4, 9, 16, 25, 36, 49, 64, 100, 144, 196, 256, 400, 576, 784, 1024, 1369, 1764, 2304, 4096, 9216)
_BUDGETS = (70, 140, 280, 560, 1120)  # what Gemma 4's processor accepts
_SINGLE_VIEW_TOKENS = (100, 144, 196)  # LFM2-VL's, between the least and the most of a view


_AREAS = (Rule.AREA, Rule.PADDED)  # whose limit is one of pixels


def _area_fill(rule: ImageRule, pixels: int) -> dict[str, int]:
    """What a limit of ``pixels`` is called by processors that count tokens, patches or two frames' pixels."""
    least = rule.least_pixels or rule.least_tokens * rule.view_size**2
    return {
        "tokens": pixels // rule.view_size**2,
        "pixels": pixels,
        "double_pixels": 2 * pixels,
        "patches": 4 * pixels // rule.view_size**2,
        "least_pixels": least,
        "double_least_pixels": 2 * least,
    }


def _default_pixels(rule: ImageRule) -> int:
    """The most pixels of an image that a processor keeps unasked, where its limit is one of area."""
    return rule.default_max_pixels or (rule.default_max_tokens or rule.trained_max_visual_tokens) * rule.view_size**2


def unasked_edge(rule: ImageRule) -> int:
    """Return the longest edge, in pixels, that a processor scales to unasked, where its limit is one of edges."""
    return rule.default_edge or rule.max_side_views * rule.edge_step


def _default_last(values: Iterable[int], default: int) -> Iterator[int]:
    """Yield ``values`` in order, and the default at the end."""
    yield from (value for value in values if value != default)
    yield default


def _limits(rule: ImageRule) -> Iterator[tuple[int, dict[str, int]]]:
    """(limit, what to fill into the setting) of every setting of the processor; its default comes last."""
    unasked_views = rule.default_max_views or rule.max_views
    match rule.rule:
        case Rule.FIXED:
            yield 1, {}
        case Rule.VIEWS | Rule.PAN_SCAN:
            yield from (
                (views, {"views": views}) for views in _default_last(sorted({1, rule.max_views}), unasked_views)
            )
        case Rule.AREA | Rule.PADDED:
            limits = (tokens * rule.view_size**2 for tokens in _AREA_TARGETS if tokens >= rule.least_tokens)
            yield from ((pixels, _area_fill(rule, pixels)) for pixels in (*limits, _default_pixels(rule)))
        case Rule.BUDGET:
            yield from ((tokens, {"tokens": tokens}) for tokens in (*_BUDGETS, rule.default_max_tokens))
        case Rule.ROWS | Rule.SPLIT:
            edges = [count * rule.edge_step for count in range(1, rule.max_side_views + 1)]
            yield from ((edge, {"edge": edge}) for edge in _default_last(edges, unasked_edge(rule)))
        case Rule.ADAPTIVE:
            yield from _adaptive_limits(rule, unasked_views)
        case _:
            yield from ((tiles, {"views": tiles}) for tiles in _default_last(rule.tile_counts, unasked_views))


def _adaptive_limits(rule: ImageRule, unasked_views: int) -> Iterator[tuple[int, dict[str, int]]]:
    """LFM2-VL: a single view of fewer tokens, or at most so many tiles of all of them."""
    most = rule.default_max_tokens or rule.tokens_per_view
    for tokens in sorted({rule.least_tokens, *(n for n in _SINGLE_VIEW_TOKENS if rule.least_tokens < n < most), most}):
        if (tokens, 1) != (most, unasked_views):
            yield 1, {"tokens": tokens, "views": 1}
    tiles = range(max(2, rule.min_views), rule.max_views + 1)
    yield from ((limit, {"tokens": most, "views": limit}) for limit in _default_last(tiles, unasked_views))


def _reachable(rule: ImageRule, width: int, height: int) -> Iterator[tuple[Grid, dict[str, int]]]:
    """What every setting of the processor makes of an image, and what to fill into it; the default comes last."""
    if rule.rule is Rule.COMPRESSED:
        whole = rule.view_size**2
        for tokens in rule.allowed_visual_tokens:
            yield Grid(tokens=tokens, views=1, pixels=whole, seen_pixels=whole), {}
        return
    for limit, fill in _limits(rule):
        set_rule = replace(rule, default_max_tokens=fill["tokens"]) if rule.rule is Rule.ADAPTIVE else rule
        yield GRIDS[rule.rule](width, height, set_rule, limit), fill


def _option(rule: ImageRule, image: tuple[int, int], grid: Grid, fill: Mapping[str, int]) -> VisualInput:
    fill = {"tokens": grid.tokens, **fill}
    compressed = rule.rule is Rule.COMPRESSED
    return VisualInput(
        visual_tokens=grid.tokens,
        views=grid.views,
        pixels_per_view=grid.pixels,
        seen_side_px=_side_px(image, grid.seen_pixels),
        unreduced_tokens=max(rule.allowed_visual_tokens) if compressed else grid.tokens,
        setting=rule.setting.format_map(fill),
        engines={engine: text.format_map(fill) for engine, text in rule.engines.items()},
        compressor=Compressor.TOKEN_PACKER if compressed else Compressor.NONE,
    )


def _side_px(image: tuple[int, int], seen_pixels: int) -> float:
    """The side of a square of as many pixels as are seen; enlarging an image adds none."""
    return math.sqrt(max(1, min(image[0] * image[1], seen_pixels)))


def seen_size(model: ModelSpec, image: tuple[int, int], found: VisualInput) -> tuple[int, int]:
    """Return width and height, in pixels, at which an image is seen as ``found``.

    Exact where sides are rounded to whole tokens; else as many pixels as are seen, in the image's own shape.
    """
    rule = model.image
    if rule is not None and rule.rule is Rule.AREA:
        side, tokens = rule.view_size, found.visual_tokens
        least = rule.least_pixels or rule.least_tokens * side**2
        # The limit of area is not told, only what it makes; it lies between that and the image's own.
        for most in (rule.trained_max_visual_tokens, *range(tokens, 4 * tokens)):
            columns, rows = resized_area(*image, side, (min(least, most * side**2), most * side**2))
            if columns * rows == tokens:
                return columns * side, rows * side
    scale = found.seen_side_px / math.sqrt(image[0] * image[1])
    return max(1, round(image[0] * scale)), max(1, round(image[1] * scale))


def options(model: ModelSpec, image: tuple[int, int]) -> tuple[VisualInput, ...]:
    """Return the numbers of visual tokens the processor can make of ``image``, fewest first; empty for a text model.

    The last is the checkpoint's own default; the others are reached by a smaller or less divided image. Raises
    InputError for a shape that the processor refuses.
    """
    if model.image is None:
        return ()
    if reason := refused_shape(*image, model.image):
        raise InputError(f"{model.name}: {reason}")
    return _options(model.image, image)


@functools.lru_cache(maxsize=1024)
def _options(rule: ImageRule, image: tuple[int, int]) -> tuple[VisualInput, ...]:
    by_tokens: dict[int, VisualInput] = {}
    for grid, fill in _reachable(rule, *image):
        option = _option(rule, image, grid, fill)
        by_tokens.setdefault(grid.tokens, option)
    native = option.visual_tokens
    if rule.rule in _AREAS and native >= rule.least_tokens:
        # The same for this image, and engines need not allow for larger ones.
        option = _option(rule, image, grid, _area_fill(rule, native * rule.view_size**2))
    by_tokens[native] = option  # the default setting comes last, and is what the checkpoint does unasked
    ordered = [by_tokens[tokens] for tokens in sorted(by_tokens) if tokens <= native]
    if rule.rule is Rule.COMPRESSED:
        return tuple(ordered)
    return (*(replace(option, reduction=Reduction.IMAGE_SIZE) for option in ordered[:-1]), ordered[-1])


def beyond_default(model: ModelSpec, image: tuple[int, int]) -> tuple[VisualInput, ...]:
    """Return the numbers of tokens that settings above the checkpoint's own default make, fewest first."""
    rule = model.image
    if rule is None or rule.rule is Rule.COMPRESSED:
        return ()
    native, found = native_visual_tokens(model, image), dict[int, VisualInput]()
    for grid, fill in _reachable(rule, *image):
        if grid.tokens > native:
            found.setdefault(grid.tokens, replace(_option(rule, image, grid, fill), reduction=Reduction.IMAGE_SIZE))
    return tuple(found[tokens] for tokens in sorted(found))


def limits_of(model: ModelSpec, image: tuple[int, int], visual_tokens: int) -> Mapping[str, int] | None:
    """Return the settings, by ``PLACEHOLDERS``, at which a processor makes ``visual_tokens`` of ``image``.

    Those of a processor that cuts tiles or squares; None where it does unasked. Raises InputError, with what can be
    had, for another number.
    """
    rule = model.image
    if rule is None or rule.rule not in WHOLE_TILES:
        raise InputError(f"{model.name}: its processor cuts no tiles by a longest edge or a number of them")
    native, limits = native_visual_tokens(model, image), dict[int, Mapping[str, int]]()
    for grid, fill in _reachable(rule, *image):
        limits.setdefault(grid.tokens, fill)
    if visual_tokens == native:
        return None
    if rule.rule is Rule.AREA and rule.least_tokens <= visual_tokens <= rule.trained_max_visual_tokens:
        exact = visual_tokens * rule.view_size**2
        limits.setdefault(GRIDS[rule.rule](*image, rule, exact).tokens, _area_fill(rule, exact))
    if visual_tokens not in limits:
        listed = ", ".join(map(str, sorted(limits)))
        raise InputError(
            f"--visual-tokens: found {visual_tokens}; the processor makes one of {listed} of an image of "
            f"{image[0]} x {image[1]}"
        )
    return limits[visual_tokens]


def limit_of(model: ModelSpec, image: tuple[int, int], visual_tokens: int) -> int | None:
    """Return the one of ``limits_of`` that a processor's rule goes by.

    The longest edge in pixels, the most tiles, or the most pixels in all.
    """
    found = limits_of(model, image, visual_tokens)
    return None if found is None or model.image is None else found[WHOLE_TILES[model.image.rule]]


def squares_of(
    model: ModelSpec, image: tuple[int, int], limit: int | None = None, *, pooled: int = 1
) -> tuple[int, int]:
    """Return columns and rows of the squares that an image becomes, a token each: within a limit of pixels, or unasked.

    ``pooled`` of the model's own squares of a side are one. Where rows have ends the limit is the longest edge in
    pixels. Raises InputError for a model whose processor cuts none.
    """
    rule = model.image
    if rule is not None and rule.rule is Rule.ROWS:
        return resized_edge(*image, rule.view_size, limit or unasked_edge(rule))
    if rule is None or rule.rule is not Rule.AREA:
        raise InputError(f"{model.name}: its processor keeps no image within a limit of pixels")
    low = rule.least_pixels or rule.least_tokens * rule.view_size**2
    return resized_area(*image, rule.view_size * pooled, (low, limit or _default_pixels(rule)))


def at_most(model: ModelSpec, image: tuple[int, int], visual_tokens: int) -> VisualInput | None:
    """Return the input of the most tokens the processor makes of ``image`` without exceeding a number, if any.

    More than the default makes count, too. A limit of pixels may be any.
    """
    rule = model.image
    if rule is None:
        return None
    native = native_visual_tokens(model, image)
    settings = [*_reachable(rule, *image)]
    if rule.rule in _AREAS and visual_tokens >= rule.least_tokens:
        limit = min(visual_tokens, rule.trained_max_visual_tokens) * rule.view_size**2
        settings.append((GRIDS[rule.rule](*image, rule, limit), _area_fill(rule, limit)))
    within = [(grid, fill) for grid, fill in settings if grid.tokens <= visual_tokens]
    if not within:
        return None
    found = _option(rule, image, *max(within, key=lambda one: one[0].tokens))
    return found if found.visual_tokens == native else replace(found, reduction=Reduction.IMAGE_SIZE)


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
    return replace(
        _of_one_view(model.image, image, tokens, {}),
        setting="one view of the image",
        engines={},
        reduction=Reduction.IMAGE_SIZE,
    )


def _of_one_view(rule: ImageRule, image: tuple[int, int], tokens: int, fill: Mapping[str, int]) -> VisualInput:
    """A view of ``tokens``; what the setting leaves open and ``fill`` does not name is 1."""
    pixels = rule.view_size**2 * (tokens if rule.rule in SHAPE_KEEPING else 1)
    seen = pixels if rule.rule in SHAPE_KEEPING else stretched_pixels(*image, rule.view_size, rule.view_size)
    grid = Grid(tokens=tokens, views=1, pixels=pixels, seen_pixels=seen)
    return _option(rule, image, grid, {**dict.fromkeys(PLACEHOLDERS, 1), **fill})


@functools.lru_cache(maxsize=4096)
def _native_side_px(rule: ImageRule, image: tuple[int, int]) -> float:
    if rule.rule is Rule.COMPRESSED:
        return _side_px(image, rule.view_size**2)
    *_, (limit, _) = _limits(rule)  # the default comes last
    return _side_px(image, GRIDS[rule.rule](*image, rule, limit).seen_pixels)


def native_side_px(model: ModelSpec, image: tuple[int, int]) -> float:
    """Return the side of a square of the pixels seen of ``image`` under the default setting; 0 for a text model."""
    return 0.0 if model.image is None else _native_side_px(model.image, image)


def native_visual_tokens(model: ModelSpec, image: tuple[int, int]) -> int:
    """Return the visual tokens of ``image`` under the checkpoint's default setting; 0 for a text model."""
    found = options(model, image)
    return found[-1].visual_tokens if found else 0


def settable(visual: VisualInput, engine: Engine, native_tokens: int) -> bool:
    """Whether ``engine`` makes so many visual tokens: unasked, as ``native_tokens``, or by an argument it heeds."""
    unasked = visual.visual_tokens == native_tokens and visual.compressor is Compressor.NONE
    return unasked or engine in visual.engines


def _by_setting(model: ModelSpec, image: tuple[int, int], visual_tokens: int) -> VisualInput | None:
    """The processor's own way to ``visual_tokens``, if it has one."""
    rule = model.image
    if rule is None:
        return None
    for option in options(model, image):
        if option.visual_tokens == visual_tokens:
            return option
    for grid, fill in _reachable(rule, *image):  # more than the default makes
        if grid.tokens == visual_tokens:
            return replace(_option(rule, image, grid, fill), reduction=Reduction.IMAGE_SIZE)
    if rule.rule not in SHAPE_KEEPING and visual_tokens == rule.tokens_per_view:
        return one_view(model, image)
    if rule.rule is Rule.AREA and visual_tokens <= rule.trained_max_visual_tokens:
        exact = _of_one_view(rule, image, visual_tokens, _area_fill(rule, visual_tokens * rule.view_size**2))
        return replace(exact, reduction=Reduction.IMAGE_SIZE)
    return None


_UNTRAINED = {
    Compressor.AVERAGE_POOL: Reduction.AVERAGE_POOL,
    Compressor.PIXEL_SHUFFLE: Reduction.AVERAGE_POOL,
    Compressor.DIVPRUNE: Reduction.DIVPRUNE,
    Compressor.VISIONZIP: Reduction.VISIONZIP,
}


def visual_input(model: ModelSpec, image: tuple[int, int], visual_tokens: int, compressor: Compressor) -> VisualInput:
    """Return the input that gives exactly ``visual_tokens``, by the processor's setting or else by ``compressor``.

    Where the processor cannot make that number and no compressor is named, average pooling is meant; of a backbone to
    train, its own. Raises InputError for a text model, or for more tokens than a compressor could leave.
    """
    rule = model.image
    if rule is None:
        raise InputError(f"{model.name} has no vision tower; expected --visual-tokens 0, found {visual_tokens}")
    if compressor is Compressor.NONE:
        if found := _by_setting(model, image, visual_tokens):
            return found
        compressor = Compressor.TOKEN_PACKER if rule.rule is Rule.COMPRESSED else Compressor.AVERAGE_POOL
    full = options(model, image)[-1]
    views = 1 if rule.rule not in SHAPE_KEEPING and visual_tokens <= rule.tokens_per_view else full.views
    most = full.visual_tokens if views == full.views else rule.tokens_per_view
    if visual_tokens > most:
        raise InputError(
            f"{model.name} makes {most} visual tokens of this image; found {visual_tokens}, expected fewer"
        )
    if compressor.widens and most > MOST_SHUFFLED * visual_tokens:
        raise InputError(
            f"pixel-shuffle joins at most {MOST_SHUFFLED} tokens of {most}; found {visual_tokens} to be left"
        )
    if compressor.selects and not compressor.least_tokens <= visual_tokens < most:
        raise InputError(
            f"--visual-tokens: {compressor} keeps {compressor.least_tokens} to {most - 1} of this image's tokens; "
            f"found {visual_tokens}"
        )
    return replace(
        full,
        visual_tokens=visual_tokens,
        views=views,
        seen_side_px=full.seen_side_px if views == full.views else one_view(model, image).seen_side_px,
        unreduced_tokens=most,
        setting=f"compressor {compressor} to {visual_tokens} tokens",
        engines={},
        compressor=compressor,
        reduction=Reduction.TRAINED if rule.rule is Rule.COMPRESSED else _UNTRAINED.get(compressor, Reduction.TRAINED),
        as_published=rule.rule is Rule.COMPRESSED,
    )
