"""SmolVLM, Idefics3 and Idefics2: images scaled to whole tiles and shuffled, or latents that read them."""

from dataclasses import replace
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.configs.family import Architecture, Family, Places
from vlmplan.models.configs.image_rules import MOST_TILES, grid_tokens, tower_side, view_side, views_rule
from vlmplan.models.configs.keys import MOST_MERGED, Plain, count_of, nested
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.towers import CLIP, SO400M, TowerType
from vlmplan.models.settings import EDGES, Settings
from vlmplan.models.spec import Rule
from vlmplan.models.tower import Projector, Resampler, VisionTower

_MOST_EDGE = 4096  # Idefics3's processor scales no edge beyond it


def _scaled(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Idefics3 and SmolVLM: pixel shuffle and one layer."""
    merge = count_of(config, "scale_factor", 2, MOST_MERGED) ** 2
    return Projector(widths=(merge * tower.hidden, h), bias=False, merge=merge)


def _perceived(config: Plain, tower: VisionTower, h: int) -> Projector:
    """Idefics2: a gated MLP over every patch, then latents that read them layer by layer."""
    own = nested(config, "perceiver_config")
    head_dim, layers = count_of(own, "resampler_head_dim", 96), count_of(own, "resampler_depth", 3)
    latents = count_of(own, "resampler_n_latents", 64)
    resampler = Resampler(
        queries=latents,
        layers=layers,
        input_width=h,
        query_width=h,
        attention_width=count_of(own, "resampler_n_heads", 16) * head_dim,
        kv_width=count_of(own, "num_key_value_heads", 4) * head_dim,
        output_width=h,
        intermediate=4 * h,
        last=True,
    )
    return Projector(
        widths=(tower.hidden,),
        gated_intermediate=count_of(nested(config, "text_config"), "intermediate_size", 14336),
        gated_output=h,
        resampler=resampler,
        norm_params=(3 * layers + 1) * h,
        extra_params=latents * h,
    )


def _split_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
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
        return views_rule(side, Rule.SPLIT, tokens, 1, edge_step=side)
    steps = max(1, -(-edge // side))
    if steps > 8:
        raise InputError(f"{read.value('size')[0]}: expected at most 8 tiles of {side} pixels, found {edge}")
    return views_rule(
        side, Rule.SPLIT, tokens, min(MOST_TILES, steps**2 + 1), max_side_views=steps, edge_step=side,
        default_edge=edge if edge % side else 0,
    )  # fmt: skip


def _quarters_rule(config: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Idefics2: one view, or also its four quarters; latents of each."""
    side = read.side("size", tower_side(tower), "longest_edge", "height")
    latents = count_of(nested(config, "perceiver_config"), "resampler_n_latents", 64)
    latents = read.count("image_seq_len", latents) if read.has("image_seq_len") else latents
    split = read.on("do_image_splitting", default=True)
    if not read.has("do_image_splitting"):
        read.note_silence("do_image_splitting", "one view and its quarters")
    return views_rule(side, Rule.VIEWS, latents, 5, default_max_views=0 if split else 1)


_SMALL_TOWER = {**SO400M, "layers": 12, "patch": 32, "image_size": 224}
_TOWERS = {
    "idefics2": TowerType(defaults=CLIP, classes=("Idefics2Vision",)),
    "idefics3_vision": TowerType(defaults=_SMALL_TOWER, classes=("Idefics3Vision",)),
    "smolvlm_vision": TowerType(defaults=_SMALL_TOWER, classes=("SmolVLMVision",)),
}
_PLACES = Places(
    tower=("vision_model.encoder.layers",),
    projector=("connector.modality_projection.proj", "connector.modality_projection.gate_proj"),
)
_SMOLVLM = Architecture(
    model_type="smolvlm",
    classes=("SmolVLM",),
    tower="smolvlm_vision",
    towers=("smolvlm",),
    text="llama",
    text_classes=("VLlama3",),
    exportable=True,
    tiled=True,
    masked=True,
    projector=_scaled,
    image=_split_rule,
    settings=EDGES,
    places=_PLACES,
)
FAMILY = Family(
    architectures=(
        _SMOLVLM,
        replace(
            _SMOLVLM,
            model_type="idefics3",
            classes=("Idefics3",),
            tower="idefics3_vision",
            towers=("idefics3",),
        ),
        Architecture(
            model_type="idefics2",
            classes=("Idefics2",),
            tower="idefics2",
            towers=("idefics2_vision",),
            text="mistral",
            projector=_perceived,
            image=_quarters_rule,
            settings=Settings(setting="processor images_kwargs do_image_splitting for {views} views"),
            places=_PLACES,
        ),
    ),
    towers=_TOWERS,
)
