"""How are patches made fewer? The square regions of a grid that a compressor makes one token each."""

import math
from dataclasses import dataclass

from vlmplan.errors import InputError
from vlmplan.models import MERGED_FRACTION, MOST_SHUFFLED, Compressor

PACKER_LAYERS = (12, 16, 22, 23)  # of CLIP-L's 24: what TokenPacker (arXiv 2407.02392) and QueCC (2411.03312) read
PACKER_HEAD_DIM = 128
PACKER_EPSILON = 1e-6
# Outputs by which an export that selects says what it kept, and which of its merged tokens the others went into.
KEPT, MERGED = "kept_positions", "merged_into"
# A token's similarity to itself, in the place of 1: above every cosine, so that no token is taken twice.
SELF_SIMILARITY = 4.0
NORM_FLOOR = 1e-12  # of a token's length: a token of zeros is similar to none


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """A compressor at work: a grid of ``side`` patches a side, of which each ``factor`` x ``factor`` give a token.

    One that selects leaves ``kept`` of these.
    """

    compressor: Compressor
    side: int
    factor: int
    kept: int | None = None

    @property
    def grid(self) -> int:
        """Tokens on a side."""
        return self.side // self.factor

    @property
    def region_tokens(self) -> int:
        """Tokens that regions make, before a selection keeps some of them."""
        return self.grid**2

    @property
    def visual_tokens(self) -> int:
        """Tokens of an image."""
        return self.region_tokens if self.kept is None else self.kept

    @property
    def merged_tokens(self) -> int:
        """Tokens that others are merged into (VisionZip's contextual ones); the rest of ``visual_tokens`` is kept."""
        return max(1, round(self.visual_tokens * MERGED_FRACTION)) if self.compressor is Compressor.VISIONZIP else 0

    @property
    def widening(self) -> int:
        """How many times wider than a patch is what the projector reads: pixel shuffle joins its region's channels."""
        return self.factor**2 if self.compressor.widens else 1

    @property
    def learned(self) -> bool:
        """Whether it needs weights of its own."""
        return self.compressor.packs or self.widening > 1


def possible_visual_tokens(side: int) -> tuple[int, ...]:
    """Return the numbers of tokens that square regions of a grid of ``side`` patches a side can leave."""
    return tuple((side // factor) ** 2 for factor in range(side, 0, -1) if side % factor == 0)


def compression(compressor: Compressor, side: int, visual_tokens: int) -> Compression:
    """Return the compression that leaves ``visual_tokens``. Raises InputError for a number the grid does not allow."""
    if compressor.selects:
        return selection(compressor, side, 1, visual_tokens)
    possible = possible_visual_tokens(side)
    if visual_tokens not in possible:
        listed = ", ".join(map(str, possible))
        raise InputError(
            f"--visual-tokens: found {visual_tokens}; square regions of the tower's {side} x {side} patches leave "
            f"one of {listed}"
        )
    plan = Compression(compressor=compressor, side=side, factor=side // math.isqrt(visual_tokens))
    if compressor is Compressor.NONE and plan.factor > 1:
        raise InputError(
            f"--compressor none leaves {side * side} visual tokens; found {visual_tokens}; name a compressor"
        )
    if compressor.widens and plan.widening > MOST_SHUFFLED:
        least = min(tokens for tokens in possible if tokens * MOST_SHUFFLED >= side * side)
        raise InputError(
            f"pixel-shuffle joins at most {MOST_SHUFFLED} patches; found {visual_tokens} visual tokens, expected "
            f"at least {least}"
        )
    return plan


def selection(compressor: Compressor, side: int, factor: int, visual_tokens: int) -> Compression:
    """Return what keeps so many of a grid's tokens. Raises InputError where that is none, or not fewer."""
    plan = Compression(compressor=compressor, side=side, factor=factor, kept=visual_tokens)
    if not compressor.least_tokens <= visual_tokens < plan.region_tokens:
        raise InputError(
            f"--visual-tokens: found {visual_tokens}; {compressor} keeps {compressor.least_tokens} to "
            f"{plan.region_tokens - 1} of an image's {plan.grid} x {plan.grid} tokens"
        )
    return plan


def spread(tokens: int, chosen: int) -> tuple[list[int], list[int]]:
    """Return which of ``tokens`` positions are ``chosen`` evenly, from the first one on, and the others."""
    picked = list(range(0, tokens, max(1, tokens // chosen)))[:chosen]
    return picked, [place for place in range(tokens) if place not in picked]


def packer_layers(layers: int) -> tuple[int, ...]:
    """Return the hidden states that a packer reads of a tower of ``layers``: CLIP-L's four, or as far up."""
    return tuple(round(layer * (layers - 1) / 23) for layer in PACKER_LAYERS)


def packer_heads(width: int) -> int:
    """Return the attention heads of a packer of that width: 128 channels each, as published."""
    return max(1, width // PACKER_HEAD_DIM)
