"""Which image rules cut an image into views? One function a way of cutting; the others are in ``hub_images.py``.

(config, tower, processor) -> fields of an ImageRule. The processor's files beside a config decide, then the config's
own keys, then what the type does unasked.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.keys import MOST_MERGED, count_of, downsampling, nested
from vlmplan.models.processor import Processor
from vlmplan.models.spec import Rule
from vlmplan.models.text_types import Plain
from vlmplan.models.tower import VisionTower

MOST_TILES = 64  # of a side or in all: what a document may hold
_MOST_EDGE = 4096  # Idefics3's processor scales no edge beyond it
_PINPOINTS_NEXT = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
Made = Callable[[Plain, VisionTower, Processor], dict[str, Any]]


def grid_tokens(side: int, patch: int, merge: int = 1) -> int:
    """Tokens of one view: patches of a side, ``merge`` of which are joined."""
    return max(1, side // patch // merge) ** 2


def tower_side(tower: VisionTower) -> int:
    """Return the side in pixels of the images that a tower was made for."""
    return tower.image_size or tower.patch


def view_side(tower: VisionTower, read: Processor, *keys: str) -> int:
    """The side of a view in pixels: the first of ``keys`` that says one, else the tower's own."""
    own = tower_side(tower)
    for key in (key for key in keys if read.has(key)):
        side = read.side(key, own, "height", "shortest_edge", "longest_edge", "width")
        if tower.image_size and side != own:
            read.note(f"{read.value(key)[0]} is {side}, and the tower was made for images of {own} pixels")
        return side
    return own


def selected_extra(tower: VisionTower, read: Processor, default: str) -> int:
    """Tokens of a view beyond its patches: a class token that ``vision_feature_select_strategy`` keeps."""
    strategy = read.word("vision_feature_select_strategy", default, ("default", "full"))
    return read.count("num_additional_image_tokens", int(tower.class_token), 64, 0) - (strategy == "default")


def fixed(side: int, tokens: int, **more: Any) -> dict[str, Any]:
    """Return the rule of one view of ``side`` pixels that makes ``tokens``."""
    return {"rule": Rule.FIXED, "view_size": side, "tokens_per_view": tokens, **more}


def _views(side: int, rule: Rule, tokens: int, most: int, **more: Any) -> dict[str, Any]:
    return {"rule": rule, "view_size": side, "tokens_per_view": tokens, "max_views": most, **more}


def _unasked(views: int, most: int) -> dict[str, int]:
    """The views a processor makes unasked, where they are not the most it was made for."""
    return {"max_views": max(views, most), **({} if views >= most else {"default_max_views": views})}


def anyres_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LLaVA-NeXT: the best fitting of a list of grids, and the whole image."""
    side = view_side(tower, read, "size", "crop_size")
    for key in ("size", "crop_size", "patch_size"):
        read.value(key)
    unasked = tuple((side * high // 336, side * wide // 336) for high, wide in _PINPOINTS_NEXT)
    return _pinpoints(tower, read, side, unasked) | {"base_extra_tokens": selected_extra(tower, read, "default")}


def onevision_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LLaVA-OneVision: the same, pooled beyond so many tiles."""
    side = view_side(tower, read, "size")
    for key in ("crop_size", "patch_size", "num_image_tokens"):
        read.value(key)
    where, limit = read.value("vision_aspect_ratio")
    limit = "anyres_max_9" if limit is None else limit
    most = re.fullmatch(r"anyres_max_(\d{1,2})", limit) if isinstance(limit, str) else None
    if most is None or not 1 <= int(most[1]) <= MOST_TILES:
        raise InputError(f"{where}: {limit!r:.40} is not read; expected anyres_max_ and a number to {MOST_TILES}")
    sides = range(1, 7)
    found = _pinpoints(tower, read, side, tuple((side * i, side * j) for i in sides for j in sides))
    extra = selected_extra(tower, read, "full")
    return found | {"base_extra_tokens": extra, "pooled_beyond_views": int(most[1])}


def _pinpoints(tower: VisionTower, read: Processor, side: int, unasked: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """The rule of a list of resolutions, (height, width) in pixels of whole views."""
    where, points = read.grids("image_grid_pinpoints", unasked)
    if odd := [f"{high}x{wide}" for high, wide in points if high < side or wide < side]:
        raise InputError(f"{where}: expected at least one view of {side} pixels a side, found {odd[0]}")
    grids = tuple((wide // side, high // side) for high, wide in points)
    if any(high % side or wide % side for high, wide in points):
        read.note(f"{where}: not all are multiples of {side} pixels; counted as the whole views they hold")
    if max(max(grid) for grid in grids) > MOST_TILES:
        raise InputError(f"{where}: expected at most {MOST_TILES} views a side, found {max(max(g) for g in grids)}")
    tokens, tiles = grid_tokens(side, tower.patch), [columns * rows for columns, rows in grids]
    edge = math.isqrt(min(max(tiles), 9) * tokens)
    return _views(
        side, Rule.ANYRES, tokens, max(tiles), min_views=min(tiles), grids=grids,
        trained_min_visual_tokens=2 * tokens, trained_max_visual_tokens=tokens + edge * (edge + 1),
    )  # fmt: skip


def joined_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """DeepSeek-VL2: as LLaVA-NeXT's, with a newline a row; patches are joined in squares."""
    merge = read.count("downsample_ratio", 2, MOST_MERGED)
    side = tower_side(tower)
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    where, points = read.grids("candidate_resolutions", ())
    if any(high % side or wide % side for high, wide in points):
        raise InputError(f"{where}: expected multiples of the tower's {side} pixels, found {list(points)!r:.60}")
    grids = tuple((wide // side, high // side) for high, wide in points)
    tokens = math.ceil(side // tower.patch / merge) ** 2
    most = max((columns * rows for columns, rows in grids), default=9)
    return _views(side, Rule.JOINED, tokens, most, max_side_views=1 if grids else 9, grids=grids)


def split_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Idefics3 and SmolVLM: the longest edge is scaled to a number of tiles."""
    joined = count_of(config, "scale_factor", 2, MOST_MERGED)
    side = view_side(tower, read, "max_image_size")
    own = nested(nested(config, "vision_config"), "size")
    unasked = count_of(own, "longest_edge", 4 * side, 65_536)
    edge = min(read.side("size", unasked, "longest_edge"), _MOST_EDGE)
    tokens = grid_tokens(side, tower.patch, joined)
    said = read.count("image_seq_len", tokens)
    if said != tokens:
        raise InputError(f"{read.value('image_seq_len')[0]}: found {said}, a tile of the model makes {tokens} tokens")
    if not read.on("do_image_splitting", default=True):
        return _views(side, Rule.SPLIT, tokens, 1, edge_step=side)
    steps = max(1, -(-edge // side))
    if steps > 8:
        raise InputError(f"{read.value('size')[0]}: expected at most 8 tiles of {side} pixels, found {edge}")
    return _views(
        side, Rule.SPLIT, tokens, min(MOST_TILES, steps**2 + 1), max_side_views=steps, edge_step=side,
        default_edge=edge if edge % side else 0,
    )  # fmt: skip


def internvl_chat_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """InternVL as published: the config has the limits; the file beside it is CLIP's and says nothing of them."""
    side = count_of(config, "force_image_size", tower_side(tower), 65_536)
    for key in ("size", "crop_size"):
        read.value(key)
    most = read.count("max_dynamic_patch", 12, MOST_TILES)
    least = read.count("min_dynamic_patch", 1, MOST_TILES)
    if least > most:
        raise InputError(f"{read.value('min_dynamic_patch')[0]}: found {least}, expected at most {most}")
    if not read.on("dynamic_image_size", default=True):
        least = most = 1
    thumbnail = read.on("use_thumbnail", default=True)
    tokens = grid_tokens(side, tower.patch, downsampling(config))
    return _views(side, Rule.TILES, tokens, most, min_views=least, thumbnail=thumbnail)


def internvl_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """InternVL in transformers, whose processor cuts tiles whatever its file says of ``crop_to_patches``."""
    side = view_side(tower, read, "size")
    for key in ("crop_to_patches", "crop_size"):
        read.value(key)
    most, least = read.count("max_patches", 12, MOST_TILES), read.count("min_patches", 1, MOST_TILES)
    tokens = grid_tokens(side, tower.patch, downsampling(config))
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    return _views(side, Rule.TILES, tokens, most, min_views=min(least, most))


def quarters_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Idefics2: one view, or also its four quarters; latents of each."""
    side = read.side("size", tower_side(tower), "longest_edge", "height")
    latents = count_of(nested(config, "perceiver_config"), "resampler_n_latents", 64)
    latents = read.count("image_seq_len", latents) if read.has("image_seq_len") else latents
    split = read.on("do_image_splitting", default=True)
    return _views(side, Rule.VIEWS, latents, 5, default_max_views=0 if split else 1)


def hd_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Phi-3-vision: four crops unasked, as Phi-3.5's file says and vLLM counts; sixteen are its most."""
    for key in ("num_img_tokens", "size", "crop_size"):
        read.value(key)
    crops = read.count("num_crops", 4, MOST_TILES)
    return _views(tower_side(tower), Rule.HD, 144, 16, trained_min_visual_tokens=313) | _unasked(crops, 16)


def dynamic_hd_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Phi-4-multimodal."""
    side = view_side(tower, read, "size", "crop_size")
    for key in ("patch_size", "num_img_tokens"):
        read.value(key)
    tokens, crops = grid_tokens(side, tower.patch, 2), read.count("dynamic_hd", 36, MOST_TILES)
    return _views(side, Rule.DYNAMIC_HD, tokens, crops, trained_min_visual_tokens=tokens + 1 + math.isqrt(tokens))


def slices_rule(config: Plain, _: VisionTower, read: Processor) -> dict[str, Any]:
    """MiniCPM-V: slices, each of as many tokens as the resampler has queries."""
    own = nested(config, "slice_config")
    for key in ("patch_size", "image_size"):
        read.value(key)
    size = read.count("scale_resolution", count_of(own, "scale_resolution", 448), 65_536)
    slices = read.count("max_slice_nums", count_of(own, "max_slice_nums", 9), MOST_TILES)
    tokens = count_of(config, "query_num", 64)
    tokens = read.count("image_feature_size", tokens) if read.has("image_feature_size") else tokens
    if not read.on("slice_mode", default=True):
        slices = 1
    return _views(size, Rule.SLICES, tokens, slices)


def merged_slices_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """MiniCPM-V 4.6: slices in their own shape, patches joined twice or once."""
    mode = read.word("downsample_mode", "16x", ("16x", "4x"))
    step = tower.patch * (2 if mode == "4x" else 4)
    read.value("patch_size")
    found = slices_rule(config, tower, read)
    return {**found, "tokens_per_view": (found["view_size"] // step) ** 2, "edge_step": step}


def cross_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Llama 3.2 Vision."""
    side = view_side(tower, read, "size")
    return _views(side, Rule.CROSS, grid_tokens(side, tower.patch) + 1, read.count("max_image_tiles", 4, MOST_TILES))


def canvas_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Llama 4."""
    ratio = nested(config, "vision_config").get("pixel_shuffle_ratio")
    if ratio is not None and ratio != 0.5:
        raise InputError(f"config.json.vision_config.pixel_shuffle_ratio: expected 0.5, found {ratio!r:.40}")
    side = view_side(tower, read, "size")
    read.value("pixel_shuffle_ratio")
    read.value("patch_size")
    tokens, tiles = grid_tokens(side, tower.patch, 2), read.count("max_patches", 16, MOST_TILES)
    largest = read.on("resize_to_max_canvas", default=False)
    return _views(
        side, Rule.CANVAS, tokens, tiles, largest_canvas=largest,
        trained_max_visual_tokens=max(2500, tokens * (tiles + 1)),
    )  # fmt: skip


def overlap_rule(unasked: int, tokens: int) -> Made:
    """Molmo and Molmo2: overlapping crops, pooled 2 x 2."""

    def made(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        side = view_side(tower, read, "base_image_input_size", "size")
        for key in ("base_image_input_size", "size", "image_patch_size", "patch_size"):
            read.value(key)
        where, margins = read.value("overlap_margins")
        margins = [4, 4] if margins is None else margins
        if not isinstance(margins, list | tuple) or not all(type(m) is int and 0 <= m < 32 for m in margins):
            raise InputError(f"{where}: expected two numbers of patches, found {margins!r:.40}")
        where, pooled = read.value("pooling_size")
        if pooled is not None and pooled != [2, 2]:
            raise InputError(f"{where}: {pooled!r:.40} is not read; expected [2, 2]")
        across, down = (read.count(f"image_token_length_{axis}", math.isqrt(tokens)) for axis in "wh")
        patches = side // tower.patch
        low = across * down if side == tower_side(tower) else math.ceil(patches / 2) ** 2
        return _views(
            side, Rule.OVERLAP, low, read.count("max_crops", unasked, MOST_TILES), patches_per_side=patches,
            overlap_patches=sum(margins),
        )  # fmt: skip

    return made


def adaptive_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LFM2-VL: one view in the image's shape, or tiles."""
    joined = read.count("downsample_factor", count_of(config, "downsample_factor", 2, MOST_MERGED), MOST_MERGED)
    side = joined * read.count("encoder_patch_size", tower.patch, 65_536)
    tile = read.count("tile_size", 512, 65_536)
    least, most = read.count("min_image_tokens", 64), read.count("max_image_tokens", 256)
    fewest, tiles = read.count("min_tiles", 2, MOST_TILES), read.count("max_tiles", 10, MOST_TILES)
    for key in ("size", "max_num_patches", "max_thumbnail_size", "downsample_factor"):
        read.value(key)
    if not read.on("do_image_splitting", default=True):
        fewest = tiles = 1
    if fewest > tiles or least > most:
        raise InputError(f"{read.value('min_tiles')[0]}: expected the least of tiles and tokens below the most")
    tokens = (tile // side) ** 2
    return {
        "rule": Rule.ADAPTIVE, "view_size": tile, "tokens_per_view": tokens, "min_views": fewest, "max_views": tiles,
        "least_tokens": least, "default_max_tokens": 0 if most == tokens else most,
        "single_view_fraction": read.number("max_pixels_tolerance", 2.0, 0.01, 1000.0),
        "thumbnail": read.on("use_thumbnail", default=True),
        "trained_min_visual_tokens": 64, "trained_max_visual_tokens": (tiles + 1) * tokens,
    }  # fmt: skip


def fitted_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Perception LM: the grid an image fits in, and a thumbnail; or that alone."""
    joined = read.count("pooling_ratio", count_of(config, "projector_pooling_ratio", 2, MOST_MERGED), MOST_MERGED)
    side = read.count("tile_size", tower_side(tower), 65_536)
    for key in ("size", "patch_size"):
        read.value(key)
    tokens, tiles = grid_tokens(side, tower.patch, joined), read.count("max_num_tiles", 36, MOST_TILES)
    if read.word("vision_input_type", "thumb+tile", ("thumb+tile", "vanilla")) == "vanilla":
        return fixed(side, tokens)
    return _views(side, Rule.FITTED, tokens, tiles)


def cover_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Ovis2: the fewest tiles that keep the pixels; places of tiles are marked."""
    side = view_side(tower, read, "size")
    read.value("min_patches")  # the covering grid has no least
    stride = count_of(nested(config, "vision_config"), "hidden_stride", 2, MOST_MERGED)
    tokens = grid_tokens(side, tower.patch, stride)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    if not read.on("use_covering_area_grid", default=True):
        raise InputError(f"{read.value('use_covering_area_grid')[0]}: false is not read; expected true")
    tiles = read.count("max_patches", 9, MOST_TILES)
    cut = read.on("crop_to_patches", default=True)
    return _views(side, Rule.COVER, tokens, tiles if cut else 1)
