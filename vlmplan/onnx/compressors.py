"""What makes fewer tokens of many? The compressors as torch modules, to train with and to compare exports with.

Each maps a :class:`Features` of a square grid of patches to ``[batch, visual tokens, width]``. Parameter names are those
of the published training code, so that its weights load: TokenPacker's (arXiv 2407.02392) and QueCC's (arXiv
2411.03312). The module bodies are ours. ``torch`` is imported here by the functions that make the modules.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError
from vlmplan.model import Compressor
from vlmplan.onnx.checkpoint import Checkpoint, Tensors, Weights
from vlmplan.onnx.encoder import LEARNED, PACKER_EPSILON, PACKERS, Compression, packer_heads, packer_layers

# Published names, and prefixes that training code puts before them, to ours.
_PREFIX = re.compile(r"^(?:base_model\.|model\.)*(?:mm_projector|multi_modal_projector)\.")
_PROJECTOR_PARTS = {
    "mlp.0": "multi_modal_projector.linear_1",  # TokenPacker
    "mlp.2": "multi_modal_projector.linear_2",
    "1": "multi_modal_projector.linear_1",  # QueCC: an nn.Sequential of itself and the projector
    "3": "multi_modal_projector.linear_2",
    "linear_1": "multi_modal_projector.linear_1",
    "linear_2": "multi_modal_projector.linear_2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the tower gives: ``patches [batch, side², width]`` of the layer read, and where a packer wants them

    ``joined [batch, side², 4 x width]`` of four layers and ``query [batch, LLM width]`` of the question.
    """

    patches: Any
    joined: Any | None = None
    query: Any | None = None


@functools.cache
def _modules() -> dict[Compressor, type[Any]]:
    """The module classes; defined in a function because torch is imported only where it is used."""
    from torch import nn

    def regions(x: Any, plan: Compression) -> Any:
        """[batch, side², width] -> [batch, grid, grid, factor, factor, width]."""
        grid, factor = plan.grid, plan.factor
        return x.unflatten(1, (grid, factor, grid, factor)).transpose(2, 3)

    def mlp(inputs: int, width: int) -> list[Any]:
        return [nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width)]

    class Whole(nn.Module):
        """``none``: every patch is a token."""

        def __init__(self, plan: Compression, width: int, llm_width: int) -> None:
            super().__init__()

        def forward(self, features: Features) -> Any:
            return features.patches

    class AveragePool(nn.Module):
        """Each region's mean."""

        def __init__(self, plan: Compression, width: int, llm_width: int) -> None:
            super().__init__()
            self.plan = plan

        def forward(self, features: Features) -> Any:
            return regions(features.patches, self.plan).mean(dim=(3, 4)).flatten(1, 2)

    class PixelShuffle(nn.Module):
        """Each region's patches side by side on channels, row by row: the projector is ``factor²`` times wider."""

        def __init__(self, plan: Compression, width: int, llm_width: int) -> None:
            super().__init__()
            self.plan = plan

        def forward(self, features: Features) -> Any:
            return regions(features.patches, self.plan).flatten(3).flatten(1, 2)

    class Packer(nn.Module):
        """What TokenPacker and QueCC share: a query a region attends to the region's patches, of four layers joined."""

        def __init__(self, plan: Compression, width: int, llm_width: int) -> None:
            super().__init__()
            self.plan = plan
            self.clip_attn = nn.MultiheadAttention(width, packer_heads(width), batch_first=True)

        def attend(self, queries: Any, keys: Any, values: Any) -> Any:
            """``queries [batch, visual tokens, width]``; ``keys`` and ``values`` by patch."""
            by_region = [regions(x, self.plan).flatten(3, 4).flatten(0, 2) for x in (keys, values)]
            found = self.clip_attn(queries.flatten(0, 1).unsqueeze(1), *by_region, need_weights=False)[0]
            return found.unflatten(0, queries.shape[:2]).squeeze(2)

    class TokenPacker(Packer):
        """Queries from the patches interpolated to the coarse grid."""

        def __init__(self, plan: Compression, width: int, llm_width: int) -> None:
            super().__init__(plan, width, llm_width)
            self.q_proj_1 = nn.Linear(width, width, bias=False)
            self.k_proj_1 = nn.Sequential(*mlp(4 * width, width))
            self.v_proj_1 = nn.Sequential(*mlp(4 * width, width))
            self.ln_q_1, self.ln_k_1, self.ln_v_1 = (nn.LayerNorm(width, eps=PACKER_EPSILON) for _ in range(3))

        def forward(self, features: Features) -> Any:
            image = features.patches.transpose(1, 2).unflatten(2, (self.plan.side, self.plan.side))
            coarse = nn.functional.interpolate(image, size=(self.plan.grid, self.plan.grid), mode="bilinear")
            queries = self.ln_q_1(self.q_proj_1(coarse.flatten(2).transpose(1, 2)))
            keys, values = self.k_proj_1(features.joined), self.v_proj_1(features.joined)
            return self.attend(queries, self.ln_k_1(keys), self.ln_v_1(values))

    class QueCC(Packer):
        """Queries from the patches with the question added, by a depth-wise convolution over each region."""

        def __init__(self, plan: Compression, width: int, llm_width: int) -> None:
            super().__init__(plan, width, llm_width)
            self.q_proj, self.k_proj, self.v_proj = (
                nn.Sequential(*mlp(inputs, width), nn.LayerNorm(width, eps=PACKER_EPSILON))
                for inputs in (width, 4 * width, 4 * width)
            )
            self.q_downsample = nn.Conv2d(width, width, plan.factor, stride=plan.factor, groups=width)
            self.text_projection = nn.Sequential(
                nn.Linear(llm_width, width), nn.LayerNorm(width, eps=PACKER_EPSILON)
            )

        def forward(self, features: Features) -> Any:
            asked = features.patches + self.text_projection(features.query).unsqueeze(1)
            image = self.q_proj(asked).transpose(1, 2).unflatten(2, (self.plan.side, self.plan.side))
            queries = self.q_downsample(image).flatten(2).transpose(1, 2)
            return self.attend(queries, self.k_proj(features.joined), self.v_proj(features.joined))

    return {
        Compressor.NONE: Whole,
        Compressor.AVERAGE_POOL: AveragePool,
        Compressor.PIXEL_SHUFFLE: PixelShuffle,
        Compressor.TOKEN_PACKER: TokenPacker,
        Compressor.QUECC: QueCC,
    }


def compressor_module(plan: Compression, width: int, llm_width: int) -> Any:
    """Return the torch module: :class:`Features` -> ``[batch, visual tokens, width x plan.widening]``."""
    return _modules()[plan.compressor](plan, width, llm_width)


def parameter_shapes(checkpoint: Checkpoint, plan: Compression) -> dict[str, tuple[int, ...]]:
    """Return the tensors that the compressor needs, with the projector's where pixel shuffle widens it."""
    import torch

    width = checkpoint.tower.hidden_size * len(checkpoint.read_layers)
    with torch.device("meta"):
        module = compressor_module(plan, width, checkpoint.text.hidden_size)
    found = {f"compressor.{name}": tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if plan.compressor is Compressor.PIXEL_SHUFFLE:
        llm = checkpoint.text.hidden_size
        found["multi_modal_projector.linear_1.weight"] = (llm, width * plan.widening)
    return found


def _renamed(name: str) -> str:
    """A compressor tensor's name as used here, from any of the names that training code gives it."""
    bare = _PREFIX.sub("", name.removeprefix("compressor."))
    head, _, leaf = bare.rpartition(".")
    if head in _PROJECTOR_PARTS:
        return f"{_PROJECTOR_PARTS[head]}.{leaf}"
    return f"compressor.{bare.removeprefix('0.').removeprefix('compressor.')}"


def read_compressor(path: Path, needed: dict[str, tuple[int, ...]]) -> Tensors:
    """Open a compressor's weights. Raises InputError naming every tensor that is missing or of another shape."""
    if path.suffix != ".safetensors" or not path.is_file():
        raise InputError(f"--weights: found '{path}', expected a .safetensors file (pickles are not read)")
    tensors = Tensors((path,), rename=_renamed)
    missing = [name for name in needed if tensors.shape(name) is None]
    if missing:
        raise InputError(f"{path}: missing {_listed(missing)}; it holds {_listed(tensors.names())}")
    wrong = [
        f"{name} is {_shape(found)}, expected {_shape(shape)}"
        for name, shape in needed.items()
        if (found := tensors.shape(name)) != shape and found is not None
    ]
    if wrong:
        raise InputError(f"{path}: {'; '.join(wrong[:4])}")
    return tensors


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "") if found else "nothing"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWeights:
    """Random tensors of given shapes, the same for the same seed: for trials without a trained compressor."""

    shapes: dict[str, tuple[int, ...]]
    seed: int = 0

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the tensor's shape, or None."""
        return self.shapes.get(name)

    def array(self, name: str) -> Any:
        """Return the tensor: matrices of standard deviation 1/sqrt(inputs), norms about 1, the rest small."""
        import zlib

        import numpy as np

        shape = self.shapes[name]
        values = np.random.default_rng((self.seed, zlib.crc32(name.encode()))).standard_normal(shape, np.float32)
        if len(shape) > 1:
            return values * np.float32(np.prod(shape[1:])) ** np.float32(-0.5)
        is_norm = name.endswith(".weight")
        return values * np.float32(0.02) + np.float32(is_norm)


def compressor_weights(
    checkpoint: Checkpoint, plan: Compression, path: Path | None, random_weights: bool
) -> Weights | None:
    """Return a learned compressor's weights, from ``path``, the checkpoint's folder or at random; None for the others.

    Raises InputError where a learned compressor has none.
    """
    if plan.compressor not in LEARNED or plan.factor == 1 and plan.compressor is Compressor.PIXEL_SHUFFLE:
        if path is not None:
            raise InputError(f"--weights: compressor {plan.compressor} has no weights of its own")
        return None
    needed = parameter_shapes(checkpoint, plan)
    beside = checkpoint.folder / "compressor.safetensors"
    if path is None and beside.is_file():
        path = beside
    if path is not None:
        return read_compressor(path, needed)
    if not random_weights:
        raise InputError(
            f"compressor {plan.compressor} is learned and has no weights; give --weights FILE.safetensors "
            "(or --random-weights for a trial: its answers mean nothing)"
        )
    return RandomWeights(shapes=needed)


def packed_layers(checkpoint: Checkpoint, plan: Compression) -> tuple[int, ...]:
    """Return the tower's hidden states that the compressor reads besides the projector's."""
    return packer_layers(checkpoint.tower.num_hidden_layers) if plan.compressor in PACKERS else ()
