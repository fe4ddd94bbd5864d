"""LFM2-VL: one view in the image's shape, or tiles; pixel unshuffle."""

from typing import Any

from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.configs.family import USUAL, Architecture, Family
from vlmplan.models.configs.image_rules import MOST_TILES
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of, switch
from vlmplan.models.configs.processor import Processor
from vlmplan.models.settings import Settings
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, VisionTower


def _lfm2(config: Plain, tower: VisionTower, h: int) -> Projector:
    """LFM2-VL: pixel unshuffle, perhaps a norm, two layers."""
    merge = count_of(config, "downsample_factor", 2, MOST_MERGED) ** 2
    joined, inner = merge * tower.hidden, count_of(config, "projector_hidden_size", 2560)
    norm = 2 * joined if switch(config, "projector_use_layernorm", default=True) else 0
    bias = switch(config, "projector_bias", default=True)
    return Projector(widths=(joined, inner, h), merge=merge, bias=bias, norm_params=norm)


def _adaptive_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
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


FAMILY = Family(
    architectures=(
        Architecture(
            model_type="lfm2_vl",
            classes=("Lfm2Vl",),
            tower="siglip2_vision_model",
            text="lfm2",
            tied=True,
            exportable=True,
            tiled=True,
            shaped=True,
            exported_texts=("lfm2",),
            projector=_lfm2,
            image=_adaptive_rule,
            settings=Settings(
                setting="processor images_kwargs max_tiles={views} (1: no splitting), max_image_tokens={tokens}",
                engines={
                    Engine.VLLM: "--mm-processor-kwargs "
                    '\'{{"min_tiles": 1, "max_tiles": {views}, "max_image_tokens": {tokens}}}\'',
                },
            ),
            places=USUAL,
        ),
    ),
)
