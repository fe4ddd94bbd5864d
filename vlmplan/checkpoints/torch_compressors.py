"""What makes fewer tokens of many? The compressors as torch modules, to train with and to compare exports with.

Each maps the :class:`Features` of a square grid of patches to ``[batch, visual tokens, width]``. Parameter names are
those of the published training code, so that its weights load: TokenPacker's (arXiv 2407.02392) and QueCC's (arXiv
2411.03312). The bodies are ours. The one module that imports torch when imported: import it inside functions only.
"""

import math
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import nn

from vlmplan.checkpoints.checkpoint import class_tokens, read_layers
from vlmplan.checkpoints.regions import (
    KEPT,
    MERGED,
    NORM_FLOOR,
    PACKER_EPSILON,
    SELF_SIMILARITY,
    Compression,
    packer_heads,
    packer_layers,
    spread,
)
from vlmplan.errors import InputError
from vlmplan.models import Compressor


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the tower gives: ``patches [batch, side², width]`` of the layer read, for some as the projector made them.

    Where a packer wants them, ``joined [batch, side², 4 x width]`` of four layers; ``query [batch, LLM width]`` of the
    question. ``gaze`` is the attention of the last layer read.
    """

    patches: Any
    joined: Any | None = None
    query: Any | None = None
    gaze: "Gaze | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaze:
    """What a layer of a tower attends to, in fp32.

    ``received [batch, patches]`` is the mean attention that a patch gets from the class token, in a tower without one
    from all patches; ``keys [batch, patches, head dim]`` are the mean of all heads'. ``first [batch, 1 or 0, width]``
    is the class token as the projector would read it, ``reach`` (a scalar) the most that a logit could be.
    """

    received: Any
    keys: Any
    first: Any
    reach: Any


def gaze_of(tower: Any, states: Any, config: Any) -> Gaze:
    """Return what the layer before the last hidden state that is read attended to."""
    read, classes = read_layers(config), class_tokens(config)
    layer = max(read)
    block, before = getattr(tower, "vision_model", tower).encoder.layers[layer - 1], states[layer - 1]
    normed, heads = block.layer_norm1(before), block.self_attn.num_heads
    queries, keys = (
        part(normed).float().unflatten(2, (heads, -1)).transpose(1, 2)
        for part in (block.self_attn.q_proj, block.self_attn.k_proj)
    )
    asking = queries[:, :, :classes] if classes else queries
    width = math.sqrt(keys.shape[-1])
    weights = (asking @ keys.transpose(2, 3) / width).softmax(dim=-1)[..., classes:]
    return Gaze(
        received=weights.mean(dim=(1, 2)),
        keys=keys[:, :, classes:].mean(dim=1),
        first=torch.cat([states[one][:, :classes] for one in read], dim=-1),
        reach=asking.norm(dim=-1).amax() * keys.norm(dim=-1).amax() / width,
    )


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
        attended = self.clip_attn(queries.flatten(0, 1).unsqueeze(1), *by_region, need_weights=False)[0]
        return attended.unflatten(0, queries.shape[:2]).squeeze(2)


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


class Selection(nn.Module):
    """What selection shares: tokens are chosen by a criterion, and the choice is an answer of its own.

    Tokens that are equally good are told apart by rounding alone, in PyTorch as in ONNX Runtime. So a choice can be
    given, and ``shortfall`` says by how much it is worse than the one that these features make.
    """

    def __init__(self, plan: Compression) -> None:
        super().__init__()
        self.plan = plan

    def choice(self, features: Features) -> dict[str, Any]:
        """Return what is chosen, by the names of an export's outputs."""
        raise NotImplementedError

    def keep(self, features: Features, choice: dict[str, Any]) -> Any:
        """Return what a choice leaves: ``[batch, visual tokens, width]``."""
        raise NotImplementedError

    def shortfall(self, features: Features, choice: dict[str, Any]) -> float:
        """Return by how much a choice is worse than these features' own: 0 for that one."""
        raise NotImplementedError

    def forward(self, features: Features) -> Any:
        """See the class."""
        return self.keep(features, self.choice(features))


class DivPrune(Selection):
    """The most different tokens, one after the other (DivPrune, arXiv 2503.02175), read as the projector makes them.

    Distance is one minus the cosine. The first token is the one whose nearest other is farthest; then comes always the
    one whose nearest among those taken is farthest, of equals the first in the image. Tokens stay in the image's order.
    """

    def choice(self, features: Features) -> dict[str, Any]:
        """Return the positions in the order in which they are taken."""
        similarity, nearest = _similarities(features.patches)
        taken: list[Any] = []
        while len(taken) < self.plan.visual_tokens:
            taken.append(nearest.argmin(dim=1, keepdim=True))
            nearest = _nearest(similarity, nearest, taken)
        return {KEPT: torch.cat(taken, dim=1)}

    def keep(self, features: Features, choice: dict[str, Any]) -> Any:
        """Return the tokens of a choice."""
        return _rows(features.patches, choice[KEPT].sort(dim=1).values)

    def shortfall(self, features: Features, choice: dict[str, Any]) -> float:
        """Return by how much of a cosine some token was nearer to those before it than another would have been."""
        similarity, nearest = _similarities(features.patches)
        worst, taken = 0.0, []
        for position in choice[KEPT].split(1, dim=1):
            worst = max(worst, float((nearest.gather(1, position) - nearest.amin(dim=1, keepdim=True)).max()))
            taken.append(position)
            nearest = _nearest(similarity, nearest, taken)
        return worst


class VisionZip(Selection):
    """What the tower attends to is kept, the rest merged (VisionZip, arXiv 2412.04467), read as the tower gives it.

    Patches that receive most attention are kept with the class token, as they stand in the image. Of the others some,
    evenly spread, are joined by the mean of those whose keys are most like theirs; these tokens come last.
    """

    def choice(self, features: Features) -> dict[str, Any]:
        """Return the positions kept, in the image's order, and of all others the place of the token they go into."""
        gaze = self._gaze(features)
        kept = self.plan.visual_tokens - self.plan.merged_tokens - gaze.first.shape[1]
        choice = {KEPT: gaze.received.topk(kept, dim=1).indices.sort(dim=1).values}
        return choice | {MERGED: self._similarities(features, choice).argmax(dim=2)}

    def keep(self, features: Features, choice: dict[str, Any]) -> Any:
        """Return the class token, the patches kept, and the merged ones."""
        rest = _rows(features.patches, self._rest(features, choice))
        into, others = self._spread(rest.shape[1])
        member = nn.functional.one_hot(choice[MERGED], len(into)).transpose(1, 2).to(rest.dtype)
        joined = member @ rest[:, others] / member.sum(dim=2, keepdim=True).clamp(min=1)
        kept = _rows(features.patches, choice[KEPT])
        return torch.cat([self._gaze(features).first, kept, rest[:, into] + joined], dim=1)

    def shortfall(self, features: Features, choice: dict[str, Any]) -> float:
        """Return by how much some choice fell short, of a cosine or of what the logits' sizes make of attention.

        Attention e^l changes by the share that l does in all, and l by as much of its reach as queries and keys do of
        their lengths: so what attention fell short of, as a share, is told as a share of that reach.
        """
        gaze = self._gaze(features)
        least = gaze.received.gather(1, choice[KEPT]).amin(dim=1)
        most = gaze.received.gather(1, self._rest(features, choice)).amax(dim=1)
        attended = float(((most - least) / most).amax()) / max(1.0, float(gaze.reach))
        similarity = self._similarities(features, choice)
        merged = similarity.amax(dim=2) - similarity.gather(2, choice[MERGED].unsqueeze(2)).squeeze(2)
        return max(0.0, attended, float(merged.amax()))

    def _gaze(self, features: Features) -> Gaze:
        if features.gaze is None:
            raise InputError("VisionZip reads the attention of a tower; found features without it")
        return features.gaze

    def _rest(self, features: Features, choice: dict[str, Any]) -> Any:
        """The positions that are not kept, as they stand in the image: ``[batch, others]``."""
        left = torch.ones_like(features.patches[..., 0], dtype=torch.bool).scatter(1, choice[KEPT], False)
        return left.nonzero()[:, 1].unflatten(0, (len(left), -1))

    def _spread(self, rest: int) -> tuple[list[int], list[int]]:
        """Which of ``rest`` tokens others are merged into, and the others."""
        return spread(rest, self.plan.merged_tokens)

    def _similarities(self, features: Features, choice: dict[str, Any]) -> Any:
        """Cosines of keys: ``[batch, tokens to be merged, tokens that they are merged into]``."""
        keys = _rows(self._gaze(features).keys, self._rest(features, choice))
        unit = nn.functional.normalize(keys, dim=-1, eps=NORM_FLOOR)
        into, others = self._spread(unit.shape[1])
        return unit[:, others] @ unit[:, into].transpose(1, 2)


def _rows(x: Any, places: Any) -> Any:
    """``[batch, tokens, width]`` at ``[batch, some]``: ``[batch, some, width]``."""
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


def _similarities(tokens: Any) -> tuple[Any, Any]:
    """Cosines of all pairs ``[batch, tokens, tokens]``, in fp32, and of each token and the other nearest to it."""
    unit = nn.functional.normalize(tokens.float(), dim=-1, eps=NORM_FLOOR)
    cosines = unit @ unit.transpose(1, 2)
    itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
    others = cosines.masked_fill(itself, -SELF_SIMILARITY).amax(dim=1)
    return cosines.masked_fill(itself, SELF_SIMILARITY), others


def _nearest(similarity: Any, before: Any, taken: list[Any]) -> Any:
    """Each token's similarity to the nearest of those ``taken``, after the last of them: ``[batch, tokens]``."""
    row = _rows(similarity, taken[-1]).squeeze(1)
    return row if len(taken) == 1 else torch.maximum(before, row)


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
        case Compressor.DIVPRUNE:
            return DivPrune(plan)
        case Compressor.VISIONZIP:
            return VisionZip(plan)
        case _:
            assert_never(plan.compressor)
