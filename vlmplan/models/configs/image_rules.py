"""How does an image become tokens? The parts of image rules that families share.

(config, tower, processor) -> fields of an ImageRule. The processor's files beside a config decide, then the config's
own keys, then what the type does unasked: the settings shipped with its checkpoints, or else its processor class's in
transformers. A test counts tokens with the latter, at these settings and at others.
"""

from collections.abc import Callable
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.configs.keys import MOST_MERGED, Plain, merge_side
from vlmplan.models.configs.processor import Processor
from vlmplan.models.settings import NO_SETTING, Settings
from vlmplan.models.spec import ImageRule, Rule
from vlmplan.models.tower import VisionTower

MOST_TILES = 64  # of a side or in all: what a document may hold
# The least visual tokens with published scores: Qwen2-VL-7B at a fixed image token count (token_ablation.csv). The
# processors themselves go down to 4.
LEAST_SCORED_TOKENS = 64
_QWEN_ASPECT = 200  # smart_resize of Qwen2-VL and its copies in transformers refuse longer images
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
        where, said = read.value(key)
        free = type(said) is int or (isinstance(said, dict) and said.get("shortest_edge") and not said.get("height"))
        if key == "size" and free and not read.has("crop_size"):
            read.note(
                f"{where} keeps an image's shape, and no crop_size is cut of it; counted as squares of {side} pixels"
            )
        if tower.image_size and side != own:
            read.note(f"{read.value(key)[0]} is {side}, and the tower was made for images of {own} pixels")
        return side
    if keys and tower.image_size:
        read.note_silence(keys[0], f"the tower's {own} pixels")
    return own


def selected_extra(tower: VisionTower, read: Processor, default: str) -> int:
    """Tokens of a view beyond its patches: a class token that ``vision_feature_select_strategy`` keeps."""
    strategy = read.word("vision_feature_select_strategy", default, ("default", "full"))
    return read.count("num_additional_image_tokens", int(tower.class_token), 64, 0) - (strategy == "default")


def fixed(side: int, tokens: int, **more: Any) -> dict[str, Any]:
    """Return the rule of one view of ``side`` pixels that makes ``tokens``."""
    return {"rule": Rule.FIXED, "view_size": side, "tokens_per_view": tokens, **more}


def views_rule(side: int, rule: Rule, tokens: int, most: int, **more: Any) -> dict[str, Any]:
    """Return the rule of up to ``most`` views of ``side`` pixels, ``tokens`` each."""
    return {"rule": rule, "view_size": side, "tokens_per_view": tokens, "max_views": most, **more}


def square_rule(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """PaliGemma, moondream: all patches of one view."""
    side = view_side(tower, read, "size", "crop_size")
    tokens = read.count("image_seq_length", grid_tokens(side, tower.patch)) if read.has("image_seq_length") else 0
    return fixed(side, tokens or grid_tokens(side, tower.patch))


def tiles_rule(tower: VisionTower, read: Processor, joined: int) -> dict[str, Any]:
    """GOT-OCR2's processor, with which InternVL and Aya Vision cut tiles whatever its file says of ``crop_to_patches``.

    ``joined`` patches of a side become one.
    """
    side = view_side(tower, read, "size")
    for key in ("crop_to_patches", "crop_size"):
        read.value(key)
    most, least = read.count("max_patches", 12, MOST_TILES), read.count("min_patches", 1, MOST_TILES)
    tokens = grid_tokens(side, tower.patch, joined)
    tokens = read.count("image_seq_length", tokens) if read.has("image_seq_length") else tokens
    return views_rule(side, Rule.TILES, tokens, most, min_views=min(least, most))


def area_rule(
    tower: VisionTower, read: Processor, rule: Rule = Rule.AREA, *, least: int = 4, most: int, **more: Any
) -> dict[str, Any]:
    """``merge`` by ``merge`` patches make a token, a square of the image; limits in tokens, unless a file has pixels.

    ``frames`` is how often an image counts against the limits (GLM-4V: twice). ``least_pixels`` is the limit unasked
    where it is no whole number of tokens (PaddleOCR-VL), ``limits`` what a processor calls its limits in pixels.
    """
    merge, frames = more.get("merge", 2), more.get("frames", 1)
    side = read.count("merge_size", merge, MOST_MERGED) * tower.patch
    if side != merge * tower.patch:
        raise InputError(f"{read.value('merge_size')[0]}: found {side // tower.patch}, the model joins {merge}")
    if (patch := read.side("patch_size", tower.patch, "height")) != tower.patch:
        raise InputError(f"{read.value('patch_size')[0]}: found {patch}, the tower's patches are of {tower.patch}")
    unasked_low = more.get("least_pixels", frames * least * side**2)
    low, high = read.limits(
        "size", unasked_low, frames * most * side**2, more.get("limits", ("min_pixels", "max_pixels"))
    )
    low, high = max(1, -(-low // frames)), max(side**2, high // frames)
    unasked = {} if high == most * side**2 else {"default_max_tokens": high // side**2}
    return {
        "rule": rule,
        "view_size": side,
        "tokens_per_view": 1,
        "least_tokens": min(-(-low // side**2), high // side**2),
        "least_pixels": low if low % side**2 else 0,
        "default_max_pixels": high if high % side**2 else 0,
        "most_aspect": 0 if rule is Rule.PADDED else _QWEN_ASPECT,
        "trained_min_visual_tokens": LEAST_SCORED_TOKENS,
        "trained_max_visual_tokens": max(LEAST_SCORED_TOKENS, most, high // side**2),
        **unasked,
    }


def qwen_rule(least: int) -> Made:
    """Qwen2-VL and its successors: an area in tokens, ``least`` to 16384."""

    def made(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
        return area_rule(tower, read, least=least, most=16384, merge=merge_side(config))

    return made


def image_rule(found: dict[str, Any], settings: Settings | None) -> ImageRule:
    """Return the rule of ``found`` fields; what they leave out follows from the tokens of a view.

    Raises InputError for what no processor means.
    """
    found.setdefault("trained_min_visual_tokens", found["tokens_per_view"])
    views = found.get("max_views", 1)
    most = found["tokens_per_view"] * (1 if found["rule"] is Rule.FIXED else views + (views > 1))
    found.setdefault("trained_max_visual_tokens", max(most, found["trained_min_visual_tokens"]))
    settings = NO_SETTING if found["rule"] is Rule.FIXED or settings is None else settings
    return ImageRule(**found, setting=settings.setting, engines=settings.engines)
