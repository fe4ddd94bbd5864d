"""How does each vision-language type turn an image into tokens? Its image rule, by ``model_type``.

(config, tower, processor) -> ImageRule. The processor's files beside a config decide, then the config's own keys, then
what the type does unasked: the settings shipped with its checkpoints, or else its processor class's in transformers. A
test counts tokens with the latter, at these settings and at others.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from vlmplan.errors import InputError
from vlmplan.hub_keys import MOST_MERGED, count_of, downsampling, merge_side, nested
from vlmplan.hub_processor import Processor
from vlmplan.hub_settings import NO_SETTING, SETTINGS
from vlmplan.hub_tables import Plain
from vlmplan.model import ImageRule, Rule
from vlmplan.tower import VisionTower

# The least visual tokens with published scores: Qwen2-VL-7B at a fixed image token count (token_ablation.csv). The
# processors themselves go down to 4.
LEAST_SCORED_TOKENS = 64
_MOST_TILES = 64  # of a side or in all: what a document may hold
_QWEN_ASPECT = 200  # smart_resize of Qwen2-VL and its copies in transformers refuse longer images
_MOST_EDGE = 4096  # Idefics3's processor scales no edge beyond it
Made = Callable[[Plain, VisionTower, Processor], dict[str, Any]]


def _grid(side: int, patch: int, merge: int = 1) -> int:
    """Tokens of one view: patches of a side, ``merge`` of which are joined."""
    return max(1, side // patch // merge) ** 2


def _tower_side(tower: VisionTower) -> int:
    return tower.image_size or tower.patch


def _view_side(tower: VisionTower, read: Processor, *keys: str) -> int:
    """The side of a view in pixels: the first of ``keys`` that says one, else the tower's own."""
    own = _tower_side(tower)
    for key in (key for key in keys if read.has(key)):
        side = read.side(key, own, "height", "shortest_edge", "longest_edge", "width")
        if tower.image_size and side != own:
            read.note(f"{read.value(key)[0]} is {side}, and the tower was made for images of {own} pixels")
        return side
    return own


def _selected(tower: VisionTower, read: Processor, default: str) -> int:
    """Tokens of a view beyond its patches: a class token that ``vision_feature_select_strategy`` keeps."""
    strategy = read.word("vision_feature_select_strategy", default, ("default", "full"))
    return read.count("num_additional_image_tokens", int(tower.class_token), 64, 0) - (strategy == "default")


def _fixed(side: int, tokens: int, **more: Any) -> dict[str, Any]:
    return {"rule": Rule.FIXED, "view_size": side, "tokens_per_view": tokens, **more}


def _llava(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    side = _view_side(tower, read, "crop_size", "size")
    for key in ("crop_size", "size", "patch_size", "image_seq_length"):
        read.value(key)
    return _fixed(side, max(1, _grid(side, tower.patch) + _selected(tower, read, "default")))


def _siglip(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """PaliGemma, moondream: all patches of one view."""
    side = _view_side(tower, read, "size", "crop_size")
    tokens = read.count("image_seq_length", _grid(side, tower.patch)) if read.has("image_seq_length") else 0
    return _fixed(side, tokens or _grid(side, tower.patch))


def _moondream(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    return {**_siglip(config, tower, read), "max_views": 13}


def _gemma3(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    side = _view_side(tower, read, "size")
    tokens = count_of(config, "mm_tokens_per_image", 256)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    if not read.on("do_pan_and_scan", default=False):
        for key in ("pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate"):
            read.value(key)
        return _fixed(side, tokens)
    return {
        **_fixed(side, tokens),
        "rule": Rule.PAN_SCAN,
        "max_views": 1 + read.count("pan_and_scan_max_num_crops", 4, _MOST_TILES - 1),
        "edge_step": read.count("pan_and_scan_min_crop_size", 256, 65_536),
        "crop_aspect_fraction": read.number("pan_and_scan_min_ratio_to_activate", 1.2, 1.0, 1000.0),
    }


def _area(
    tower: VisionTower, read: Processor, rule: Rule = Rule.AREA, *, least: int = 4, most: int, **more: Any
) -> dict[str, Any]:
    """``merge`` by ``merge`` patches make a token, a square of the image; limits in tokens, unless a file has pixels.

    ``frames`` is how often an image counts against the limits (GLM-4V: twice).
    """
    merge, frames = more.get("merge", 2), more.get("frames", 1)
    side = read.count("merge_size", merge, MOST_MERGED) * tower.patch
    if side != merge * tower.patch:
        raise InputError(f"{read.value('merge_size')[0]}: found {side // tower.patch}, the model joins {merge}")
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    low, high = read.limits("size", frames * least * side**2, frames * most * side**2)
    low, high = max(1, -(-low // frames)), max(side**2, high // frames)
    unasked = {} if high == most * side**2 else {"default_max_tokens": high // side**2}
    return {
        "rule": rule,
        "view_size": side,
        "tokens_per_view": 1,
        "least_tokens": -(-low // side**2),
        "least_pixels": low if low % side**2 else 0,
        "default_max_pixels": high if high % side**2 else 0,
        "most_aspect": 0 if rule is Rule.PADDED else _QWEN_ASPECT,
        "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
        "trained_max_visual_tokens": max(most, high // side**2),
        **unasked,
    }


def _qwen(least: int) -> Made:
    def made(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        return _area(tower, read, least=least, most=16384, merge=merge_side(config))

    return made


def _kimi(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Kimi-VL: a limit of patches; four make a token."""
    merged = read.side("merge_kernel_size", 2, "height")
    if merged != 2:
        raise InputError(f"{read.value('merge_kernel_size')[0]}: found {merged}, expected 2")
    patches = read.count("in_token_limit", 4096, 4_000_000)
    read.value("pad_input")
    found = _area(tower, read, Rule.PADDED, most=1024)
    pixels = patches * tower.patch**2
    whole = {} if patches == 4096 else {"default_max_tokens": max(1, patches // 4)}
    return {**found, **whole, "default_max_pixels": pixels if patches % 4 else 0}


def _views(side: int, rule: Rule, tokens: int, most: int, **more: Any) -> dict[str, Any]:
    return {"rule": rule, "view_size": side, "tokens_per_view": tokens, "max_views": most, **more}


def _unasked(views: int, most: int) -> dict[str, int]:
    """The views a processor makes unasked, where they are not the most it was made for."""
    return {"max_views": max(views, most), **({} if views >= most else {"default_max_views": views})}


_PINPOINTS_NEXT = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def _anyres(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LLaVA-NeXT: the best fitting of a list of grids, and the whole image."""
    side = _view_side(tower, read, "size", "crop_size")
    for key in ("size", "crop_size", "patch_size"):
        read.value(key)
    unasked = tuple((side * high // 336, side * wide // 336) for high, wide in _PINPOINTS_NEXT)
    return _pinpoints(tower, read, side, unasked) | {"base_extra_tokens": _selected(tower, read, "default")}


def _onevision(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LLaVA-OneVision: the same, pooled beyond so many tiles."""
    side = _view_side(tower, read, "size")
    for key in ("crop_size", "patch_size", "num_image_tokens"):
        read.value(key)
    where, limit = read.value("vision_aspect_ratio")
    limit = "anyres_max_9" if limit is None else limit
    most = re.fullmatch(r"anyres_max_(\d{1,2})", limit) if isinstance(limit, str) else None
    if most is None or not 1 <= int(most[1]) <= _MOST_TILES:
        raise InputError(f"{where}: {limit!r:.40} is not read; expected anyres_max_ and a number to {_MOST_TILES}")
    sides = range(1, 7)
    found = _pinpoints(tower, read, side, tuple((side * i, side * j) for i in sides for j in sides))
    extra = _selected(tower, read, "full")
    return found | {"base_extra_tokens": extra, "pooled_beyond_views": int(most[1])}


def _pinpoints(tower: VisionTower, read: Processor, side: int, unasked: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """The rule of a list of resolutions, (height, width) in pixels of whole views."""
    where, points = read.grids("image_grid_pinpoints", unasked)
    if odd := [f"{high}x{wide}" for high, wide in points if high < side or wide < side]:
        raise InputError(f"{where}: expected at least one view of {side} pixels a side, found {odd[0]}")
    grids = tuple((wide // side, high // side) for high, wide in points)
    if any(high % side or wide % side for high, wide in points):
        read.note(f"{where}: not all are multiples of {side} pixels; counted as the whole views they hold")
    if max(max(grid) for grid in grids) > _MOST_TILES:
        raise InputError(f"{where}: expected at most {_MOST_TILES} views a side, found {max(max(g) for g in grids)}")
    tokens, tiles = _grid(side, tower.patch), [columns * rows for columns, rows in grids]
    edge = math.isqrt(min(max(tiles), 9) * tokens)
    return _views(
        side, Rule.ANYRES, tokens, max(tiles), min_views=min(tiles), grids=grids,
        trained_min_visual_tokens=2 * tokens, trained_max_visual_tokens=tokens + edge * (edge + 1),
    )  # fmt: skip


def _joined(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """DeepSeek-VL2: as LLaVA-NeXT's, with a newline a row; patches are joined in squares."""
    merge = read.count("downsample_ratio", 2, MOST_MERGED)
    side = _tower_side(tower)
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    where, points = read.grids("candidate_resolutions", ())
    if any(high % side or wide % side for high, wide in points):
        raise InputError(f"{where}: expected multiples of the tower's {side} pixels, found {list(points)!r:.60}")
    grids = tuple((wide // side, high // side) for high, wide in points)
    tokens = math.ceil(side // tower.patch / merge) ** 2
    most = max((columns * rows for columns, rows in grids), default=9)
    return _views(side, Rule.JOINED, tokens, most, max_side_views=1 if grids else 9, grids=grids)


def _split(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Idefics3 and SmolVLM: the longest edge is scaled to a number of tiles."""
    joined = count_of(config, "scale_factor", 2, MOST_MERGED)
    side = _view_side(tower, read, "max_image_size")
    edge = min(read.side("size", 4 * side, "longest_edge"), _MOST_EDGE)
    tokens = _grid(side, tower.patch, joined)
    said = read.count("image_seq_len", tokens)
    if said != tokens:
        raise InputError(f"{read.value('image_seq_len')[0]}: found {said}, a tile of the model makes {tokens} tokens")
    if not read.on("do_image_splitting", default=True):
        return _views(side, Rule.SPLIT, tokens, 1, edge_step=side)
    steps = max(1, -(-edge // side))
    if steps > 8:
        raise InputError(f"{read.value('size')[0]}: expected at most 8 tiles of {side} pixels, found {edge}")
    return _views(
        side, Rule.SPLIT, tokens, min(_MOST_TILES, steps**2 + 1), max_side_views=steps, edge_step=side,
        default_edge=edge if edge % side else 0,
    )  # fmt: skip


def _rows(merge_unasked: int, unasked: int, steps: int, *, ends: bool = True) -> Made:
    """Pixtral and Mistral Small: a break or end token a row; LightOnOCR: none."""

    def made(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        merge = read.count("spatial_merge_size", merge_unasked, MOST_MERGED)
        if merge != (own := count_of(config, "spatial_merge_size", merge_unasked, MOST_MERGED)):
            raise InputError(f"{read.value('spatial_merge_size')[0]}: found {merge}, the model joins {own}")
        patch = read.side("patch_size", tower.patch, "height")
        if patch not in (tower.patch, merge * tower.patch):
            raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
        side, edge = merge * tower.patch, read.side("size", unasked, "longest_edge")
        step = unasked // steps
        return {
            "rule": Rule.ROWS,
            "view_size": side,
            "tokens_per_view": 1,
            "max_side_views": min(_MOST_TILES, max(steps, edge // step)),
            "edge_step": step,
            "default_edge": 0 if edge == unasked else edge,
            "row_ends": ends,
            "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
            "trained_max_visual_tokens": (max(edge, unasked) // side) * (max(edge, unasked) // side + 1),
        }

    return made


def _budget(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Gemma 4: a budget of tokens, one of five."""
    pooled = read.count("pooling_kernel_size", 3, MOST_MERGED)
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    read.value("image_seq_length")
    return {
        "rule": Rule.BUDGET,
        "view_size": pooled * tower.patch,
        "tokens_per_view": 1,
        "default_max_tokens": read.count("max_soft_tokens", 280, 1_000_000),
        "trained_min_visual_tokens": 64,  # what a square image makes of the least budget, 70
        "trained_max_visual_tokens": 1120,
    }


def _internvl_chat(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """InternVL as published: the config has the limits; the file beside it is CLIP's and says nothing of them."""
    side = count_of(config, "force_image_size", _tower_side(tower), 65_536)
    for key in ("size", "crop_size"):
        read.value(key)
    most = read.count("max_dynamic_patch", 12, _MOST_TILES)
    least = read.count("min_dynamic_patch", 1, _MOST_TILES)
    if least > most:
        raise InputError(f"{read.value('min_dynamic_patch')[0]}: found {least}, expected at most {most}")
    if not read.on("dynamic_image_size", default=True):
        least = most = 1
    thumbnail = read.on("use_thumbnail", default=True)
    tokens = _grid(side, tower.patch, downsampling(config))
    return _views(side, Rule.TILES, tokens, most, min_views=least, thumbnail=thumbnail)


def _internvl(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """InternVL in transformers, whose processor cuts tiles whatever its file says of ``crop_to_patches``."""
    side = _view_side(tower, read, "size")
    for key in ("crop_to_patches", "crop_size"):
        read.value(key)
    most, least = read.count("max_patches", 12, _MOST_TILES), read.count("min_patches", 1, _MOST_TILES)
    tokens = _grid(side, tower.patch, downsampling(config))
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    return _views(side, Rule.TILES, tokens, most, min_views=min(least, most))


def _quarters(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Idefics2: one view, or also its four quarters; latents of each."""
    side = read.side("size", _tower_side(tower), "longest_edge", "height")
    latents = count_of(nested(config, "perceiver_config"), "resampler_n_latents", 64)
    latents = read.count("image_seq_len", latents) if read.has("image_seq_len") else latents
    split = read.on("do_image_splitting", default=True)
    return _views(side, Rule.VIEWS, latents, 5, default_max_views=0 if split else 1)


def _hd(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Phi-3-vision: four crops unasked, as Phi-3.5's file says and vLLM counts; sixteen are its most."""
    for key in ("num_img_tokens", "size", "crop_size"):
        read.value(key)
    crops = read.count("num_crops", 4, _MOST_TILES)
    return _views(_tower_side(tower), Rule.HD, 144, 16, trained_min_visual_tokens=313) | _unasked(crops, 16)


def _dynamic_hd(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Phi-4-multimodal."""
    side = _view_side(tower, read, "size", "crop_size")
    for key in ("patch_size", "num_img_tokens"):
        read.value(key)
    tokens, crops = _grid(side, tower.patch, 2), read.count("dynamic_hd", 36, _MOST_TILES)
    return _views(side, Rule.DYNAMIC_HD, tokens, crops, trained_min_visual_tokens=tokens + 1 + math.isqrt(tokens))


def _slices(config: Plain, _: VisionTower, read: Processor) -> dict[str, Any]:
    """MiniCPM-V: slices, each of as many tokens as the resampler has queries."""
    own = nested(config, "slice_config")
    for key in ("patch_size", "image_size"):
        read.value(key)
    size = read.count("scale_resolution", count_of(own, "scale_resolution", 448), 65_536)
    slices = read.count("max_slice_nums", count_of(own, "max_slice_nums", 9), _MOST_TILES)
    tokens = count_of(config, "query_num", 64)
    tokens = read.count("image_feature_size", tokens) if read.has("image_feature_size") else tokens
    if not read.on("slice_mode", default=True):
        slices = 1
    return _views(size, Rule.SLICES, tokens, slices)


def _merged_slices(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """MiniCPM-V 4.6: slices in their own shape, patches joined twice or once."""
    mode = read.word("downsample_mode", "16x", ("16x", "4x"))
    step = tower.patch * (2 if mode == "4x" else 4)
    read.value("patch_size")
    found = _slices(config, tower, read)
    return {**found, "tokens_per_view": (found["view_size"] // step) ** 2, "edge_step": step}


def _cross(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Llama 3.2 Vision."""
    side = _view_side(tower, read, "size")
    return _views(side, Rule.CROSS, _grid(side, tower.patch) + 1, read.count("max_image_tiles", 4, _MOST_TILES))


def _canvas(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Llama 4."""
    ratio = nested(config, "vision_config").get("pixel_shuffle_ratio")
    if ratio is not None and ratio != 0.5:
        raise InputError(f"config.json.vision_config.pixel_shuffle_ratio: expected 0.5, found {ratio!r:.40}")
    side = _view_side(tower, read, "size")
    read.value("pixel_shuffle_ratio")
    read.value("patch_size")
    tokens, tiles = _grid(side, tower.patch, 2), read.count("max_patches", 16, _MOST_TILES)
    largest = read.on("resize_to_max_canvas", default=False)
    return _views(
        side, Rule.CANVAS, tokens, tiles, largest_canvas=largest,
        trained_max_visual_tokens=max(2500, tokens * (tiles + 1)),
    )  # fmt: skip


def _overlap(unasked: int, tokens: int) -> Made:
    """Molmo and Molmo2: overlapping crops, pooled 2 x 2."""

    def made(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        side = _view_side(tower, read, "base_image_input_size", "size")
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
        low = across * down if side == _tower_side(tower) else math.ceil(patches / 2) ** 2
        return _views(
            side, Rule.OVERLAP, low, read.count("max_crops", unasked, _MOST_TILES), patches_per_side=patches,
            overlap_patches=sum(margins),
        )  # fmt: skip

    return made


def _adaptive(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """LFM2-VL: one view in the image's shape, or tiles."""
    joined = read.count("downsample_factor", count_of(config, "downsample_factor", 2, MOST_MERGED), MOST_MERGED)
    side = joined * read.count("encoder_patch_size", tower.patch, 65_536)
    tile = read.count("tile_size", 512, 65_536)
    least, most = read.count("min_image_tokens", 64), read.count("max_image_tokens", 256)
    fewest, tiles = read.count("min_tiles", 2, _MOST_TILES), read.count("max_tiles", 10, _MOST_TILES)
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


def _fitted(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Perception LM: the grid an image fits in, and a thumbnail; or that alone."""
    joined = read.count("pooling_ratio", count_of(config, "projector_pooling_ratio", 2, MOST_MERGED), MOST_MERGED)
    side = read.count("tile_size", _tower_side(tower), 65_536)
    for key in ("size", "patch_size"):
        read.value(key)
    tokens, tiles = _grid(side, tower.patch, joined), read.count("max_num_tiles", 36, _MOST_TILES)
    if read.word("vision_input_type", "thumb+tile", ("thumb+tile", "vanilla")) == "vanilla":
        return _fixed(side, tokens)
    return _views(side, Rule.FITTED, tokens, tiles)


def _cover(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Ovis2: the fewest tiles that keep the pixels; places of tiles are marked."""
    side = _view_side(tower, read, "size")
    read.value("min_patches")  # the covering grid has no least
    stride = count_of(nested(config, "vision_config"), "hidden_stride", 2, MOST_MERGED)
    tokens = _grid(side, tower.patch, stride)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    if not read.on("use_covering_area_grid", default=True):
        raise InputError(f"{read.value('use_covering_area_grid')[0]}: false is not read; expected true")
    tiles = read.count("max_patches", 9, _MOST_TILES)
    cut = read.on("crop_to_patches", default=True)
    return _views(side, Rule.COVER, tokens, tiles if cut else 1)


def _ovis25(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    return _area(tower, read, least=196, most=2352)


_IMAGES: Mapping[str, Made] = {
    "llava": _llava,
    "llava_next": _anyres,
    "llava_onevision": _onevision,
    "llava_onevision1_5": _qwen(4),
    "qwen2_vl": _qwen(4),
    "qwen2_5_vl": _qwen(4),
    "qwen3_vl": _qwen(64),
    "qwen3_vl_moe": _qwen(64),
    "qwen3_5": _qwen(64),
    "qwen3_5_moe": _qwen(64),
    "internvl_chat": _internvl_chat,
    "internvl": _internvl,
    "smolvlm": _split,
    "idefics3": _split,
    "idefics2": _quarters,
    "paligemma": _siglip,
    "gemma3": _gemma3,
    "gemma4": _budget,
    "phi3_v": _hd,
    "phi4mm": _dynamic_hd,
    "phi4_multimodal": _dynamic_hd,
    "minicpmv": _slices,
    "minicpmv4_6": _merged_slices,
    "mllama": _cross,
    "llama4": _canvas,
    "pixtral": _rows(1, 1024, 8),
    "mistral3": _rows(2, 1540, 11),
    "lighton_ocr": _rows(2, 1540, 11, ends=False),
    "molmo": _overlap(12, 144),
    "molmo2": _overlap(8, 196),
    "lfm2_vl": _adaptive,
    "perception_lm": _fitted,
    "ovis2": _cover,
    "ovis2_5": _ovis25,
    "kimi_vl": _kimi,
    "glm4v": lambda _, tower, read: _area(tower, read, least=8, most=7500, frames=2),
    "glm4v_moe": lambda _, tower, read: _area(tower, read, least=8, most=7500, frames=2),
    "deepseek_vl_v2": _joined,
    "ernie4_5_vl_moe": lambda _, tower, read: _area(tower, read, most=6177),
    "moondream1": _moondream,
}


def image_rule(kind: str, config: Plain, tower: VisionTower, read: Processor) -> ImageRule:
    """Return the rule of a vision-language type; what it leaves out follows from the tokens of a view.

    Raises InputError for what no processor means.
    """
    found = _IMAGES[kind](config, tower, read)
    found.setdefault("trained_min_visual_tokens", found["tokens_per_view"])
    views = found.get("max_views", 1)
    most = found["tokens_per_view"] * (1 if found["rule"] is Rule.FIXED else views + (views > 1))
    found.setdefault("trained_max_visual_tokens", max(most, found["trained_min_visual_tokens"]))
    settings = SETTINGS.get(kind, NO_SETTING)
    return ImageRule(**found, setting=settings.setting, engines=settings.engines)
