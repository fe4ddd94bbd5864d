"""What makes fewer tokens of many? The compressors as torch modules, to train with and to compare exports with.

Each maps the :class:`Features` of a square grid of patches to ``[batch, visual tokens, width]``. Parameter names are
those of the published training code, so that its weights load: TokenPacker's (arXiv 2407.02392) and QueCC's (arXiv
2411.03312). The bodies are ours. The one module that imports torch when imported: import it inside functions only.
"""

from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import nn

from vlmplan.checkpoints.checkpoint import class_tokens, read_layers
from vlmplan.checkpoints.regions import PACKER_EPSILON, Compression, packer_heads, packer_layers
from vlmplan.models import Compressor


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the tower gives: ``patches [batch, side², width]`` of the layer read.

    Where a packer wants them, ``joined [batch, side², 4 x width]`` of four layers; ``query [batch, LLM width]`` of the
    question.
    """

    patches: Any
    joined: Any | None = None
    query: Any | None = None


def features_of(states: Any, config: Any, plan: Compression, query: Any | None) -> Features:
    """Return what the compressor reads of a tower's hidden states, ``[batch, tokens, width]`` each, class token cut."""
    skipped = class_tokens(config)

    def joined(layers: tuple[int, ...]) -> Any:
        return torch.cat([states[layer][:, skipped:] for layer in layers], dim=-1)

    packed = packer_layers(config.vision_config.num_hidden_layers)
    return Features(
        patches=joined(read_layers(config)), joined=joined(packed) if plan.compressor.packs else None, query=query
    )


def _regions(x: Any, plan: Compression) -> Any:
    """[batch, side², width] -> [batch, grid, grid, factor, factor, width]."""
    grid, factor = plan.grid, plan.factor
    return x.unflatten(1, (grid, factor, grid, factor)).transpose(2, 3)


def _mlp(inputs: int, width: int) -> list[Any]:
    return [nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width)]


class Whole(nn.Module):
    """``none``: every patch is a token."""

    def forward(self, features: Features) -> Any:
        """See the class."""
        return features.patches


class AveragePool(nn.Module):
    """Each region's mean."""

    def __init__(self, plan: Compression) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, features: Features) -> Any:
        """See the class."""
        return _regions(features.patches, self.plan).mean(dim=(3, 4)).flatten(1, 2)


class PixelShuffle(nn.Module):
    """Each region's patches side by side on channels, row by row: the projector is ``factor²`` times wider."""

    def __init__(self, plan: Compression) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, features: Features) -> Any:
        """See the class."""
        return _regions(features.patches, self.plan).flatten(3).flatten(1, 2)


class Packer(nn.Module):
    """What TokenPacker and QueCC share: a query a region attends to the region's patches, of four layers joined."""

    def __init__(self, plan: Compression, width: int) -> None:
        super().__init__()
        self.plan = plan
        self.clip_attn = nn.MultiheadAttention(width, packer_heads(width), batch_first=True)

    def attend(self, queries: Any, keys: Any, values: Any) -> Any:
        """``queries [batch, visual tokens, width]``; ``keys`` and ``values`` by patch."""
        by_region = [_regions(x, self.plan).flatten(3, 4).flatten(0, 2) for x in (keys, values)]
        found = self.clip_attn(queries.flatten(0, 1).unsqueeze(1), *by_region, need_weights=False)[0]
        return found.unflatten(0, queries.shape[:2]).squeeze(2)


class TokenPacker(Packer):
    """Queries from the patches interpolated to the coarse grid."""

    def __init__(self, plan: Compression, width: int) -> None:
        super().__init__(plan, width)
        self.q_proj_1 = nn.Linear(width, width, bias=False)
        self.k_proj_1 = nn.Sequential(*_mlp(4 * width, width))
        self.v_proj_1 = nn.Sequential(*_mlp(4 * width, width))
        self.ln_q_1, self.ln_k_1, self.ln_v_1 = (nn.LayerNorm(width, eps=PACKER_EPSILON) for _ in range(3))

    def forward(self, features: Features) -> Any:
        """See the class."""
        image = features.patches.transpose(1, 2).unflatten(2, (self.plan.side, self.plan.side))
        coarse = nn.functional.interpolate(image, size=(self.plan.grid, self.plan.grid), mode="bilinear")
        queries = self.ln_q_1(self.q_proj_1(coarse.flatten(2).transpose(1, 2)))
        keys, values = self.k_proj_1(features.joined), self.v_proj_1(features.joined)
        return self.attend(queries, self.ln_k_1(keys), self.ln_v_1(values))


class QueCC(Packer):
    """Queries from the patches with the question added, by a depth-wise convolution over each region.

    Its kernel is a region's size: one trained for several numbers of tokens has a kernel for each, by that number.
    """

    def __init__(self, plan: Compression, width: int, llm_width: int, others: tuple[Compression, ...] = ()) -> None:
        super().__init__(plan, width)
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Sequential(*_mlp(inputs, width), nn.LayerNorm(width, eps=PACKER_EPSILON))
            for inputs in (width, 4 * width, 4 * width)
        )
        kernels = {
            str(one.visual_tokens): nn.Conv2d(width, width, one.factor, stride=one.factor, groups=width)
            for one in (plan, *others)
        }
        self.q_downsample: nn.Module = nn.ModuleDict(kernels) if others else kernels[str(plan.visual_tokens)]
        self.text_projection = nn.Sequential(nn.Linear(llm_width, width), nn.LayerNorm(width, eps=PACKER_EPSILON))

    def forward(self, features: Features) -> Any:
        """See the class."""
        asked = features.patches + self.text_projection(features.query).unsqueeze(1)
        image = self.q_proj(asked).transpose(1, 2).unflatten(2, (self.plan.side, self.plan.side))
        kernel = self.q_downsample
        if isinstance(kernel, nn.ModuleDict):
            kernel = kernel[str(self.plan.visual_tokens)]
        queries = kernel(image).flatten(2).transpose(1, 2)
        return self.attend(queries, self.k_proj(features.joined), self.v_proj(features.joined))


def compressor_module(plan: Compression, width: int, llm_width: int, others: tuple[Compression, ...] = ()) -> nn.Module:
    """Return the module: :class:`Features` -> ``[batch, visual tokens, width x plan.widening]``.

    With ``others`` it serves these too: its attribute ``plan`` says which is at work.
    """
    match plan.compressor:
        case Compressor.NONE:
            return Whole()
        case Compressor.AVERAGE_POOL:
            return AveragePool(plan)
        case Compressor.PIXEL_SHUFFLE:
            return PixelShuffle(plan)
        case Compressor.TOKEN_PACKER:
            return TokenPacker(plan, width)
        case Compressor.QUECC:
            return QueCC(plan, width, llm_width, others)
        case _:
            assert_never(plan.compressor)
