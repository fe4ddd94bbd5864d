"""Kimi-VL: a limit of patches, four of which make a token."""

from typing import Any

from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.configs.family import LINEAR, Architecture, Family, Places
from vlmplan.models.configs.image_rules import area_rule
from vlmplan.models.configs.keys import Plain
from vlmplan.models.configs.processor import Processor
from vlmplan.models.configs.projectors import H, built
from vlmplan.models.configs.towers import SO400M, TowerType
from vlmplan.models.settings import Settings
from vlmplan.models.spec import Rule
from vlmplan.models.tower import VisionTower


def _kimi(_: Plain, tower: VisionTower, read: Processor) -> dict[str, Any]:
    """Kimi-VL: a limit of patches; four make a token."""
    merged = read.side("merge_kernel_size", 2, "height")
    if merged != 2:
        raise InputError(f"{read.value('merge_kernel_size')[0]}: found {merged}, expected 2")
    patches = read.count("in_token_limit", 4096, 4_000_000)
    read.value("pad_input")
    rule = area_rule(tower, read, Rule.PADDED, most=1024)
    pixels = patches * tower.patch**2
    whole = {} if patches == 4096 else {"default_max_tokens": max(1, patches // 4)}
    return {**rule, **whole, "default_max_pixels": pixels if patches % 4 else 0}


_TOWERS = {
    "moonvit": TowerType(
        defaults=SO400M,
        traits={"positions": 4096},
        classes=("MoonVitPretrained",),
    ),
}
FAMILY = Family(
    architectures=(
        Architecture(
            model_type="kimi_vl",
            classes=("KimiVL",),
            tower="moonvit",
            text="deepseek_v3",
            projector=built(widths=((4, "v"), (4, "v"), H), merge=4, norm=2),
            image=_kimi,
            settings=Settings(
                setting="image processor in_token_limit={patches}",
                engines={Engine.LLAMA_CPP: "--image-max-tokens {tokens}"},
            ),
            places=Places(tower=("vision_tower.encoder.blocks",), projector=LINEAR),
        ),
    ),
    towers=_TOWERS,
)
