"""Where do a compressor's weights come from? A safetensors file, under our names or the training code's, or chance.

A tensor that is missing or of another shape is named before anything is written.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints.checkpoint import Checkpoint
from vlmplan.checkpoints.regions import Compression, compression, selection
from vlmplan.checkpoints.tensors import Tensors, Weights
from vlmplan.errors import InputError
from vlmplan.models import Compressor

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


def compression_of(checkpoint: Checkpoint, compressor: Compressor, visual_tokens: int) -> Compression:
    """Return what joins the patches of a view: the compressor, or in a tiled checkpoint its own connector.

    ``visual_tokens`` are an image's, which of a tiled checkpoint is many views. Raises InputError for what cannot be.
    """
    if checkpoint.pooled:
        return _pooling(checkpoint, compressor, visual_tokens)
    if not checkpoint.tiled:
        return compression(compressor, checkpoint.grid_side, visual_tokens)
    pools = (checkpoint.gridded and not checkpoint.pictured) or checkpoint.shaped
    allowed = (Compressor.NONE, Compressor.AVERAGE_POOL) if pools else (Compressor.NONE,)
    if compressor not in allowed:
        raise InputError(
            f"--compressor: found {compressor}; {checkpoint.config.model_type} joins patches itself and is exported as "
            f"it is; expected {' or '.join(allowed)}"
        )
    return Compression(compressor=compressor, side=checkpoint.grid_side, factor=checkpoint.joined_side)


def _pooling(checkpoint: Checkpoint, compressor: Compressor, visual_tokens: int) -> Compression:
    """What makes a Gemma's tokens of its patches: its own pooling, averages of larger squares, or some of its own."""
    if compressor is Compressor.AVERAGE_POOL:
        return compression(compressor, checkpoint.grid_side, visual_tokens)
    if compressor.reads_projected:
        return selection(compressor, checkpoint.grid_side, checkpoint.joined_side, visual_tokens)
    fewer = ", ".join(("average-pool", *(one for one in Compressor if one.reads_projected)))
    if compressor is not Compressor.NONE:
        raise InputError(
            f"--compressor: found {compressor}; {checkpoint.config.model_type} is exported as it is or with one of "
            f"{fewer}"
        )
    if visual_tokens != checkpoint.view_tokens:
        raise InputError(
            f"--compressor none leaves {checkpoint.view_tokens} visual tokens; found {visual_tokens}; expected one of "
            f"{fewer}"
        )
    return Compression(compressor=compressor, side=checkpoint.grid_side, factor=checkpoint.joined_side)


def parameter_shapes(checkpoint: Checkpoint, plan: Compression) -> dict[str, tuple[int, ...]]:
    """Return the tensors that the compressor needs, with the projector's where pixel shuffle widens it."""
    import torch

    from vlmplan.checkpoints.torch_compressors import compressor_module

    width = checkpoint.tower.hidden_size * len(checkpoint.read_layers)
    with torch.device("meta"):
        module = compressor_module(plan, width, checkpoint.text.hidden_size)
    found = {f"compressor.{name}": tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if plan.compressor.widens:
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
        raise InputError(f"{path}: missing {_listed(missing)}; it holds {_listed(tensors.stored_names())}")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedWeights:
    """The compressor's tensors within a checkpoint that was trained with it, as one number of visual tokens needs them.

    QueCC trained for several has a kernel for each, by that number.
    """

    tensors: Weights
    visual_tokens: int

    def _stored(self, name: str) -> str:
        nested = name.replace(".q_downsample.", f".q_downsample.{self.visual_tokens}.")
        return nested if self.tensors.shape(nested) is not None else name

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the tensor's shape, or None."""
        return self.tensors.shape(self._stored(name))

    def array(self, name: str) -> Any:
        """Return the tensor in fp32."""
        return self.tensors.array(self._stored(name))


def weights_file(checkpoint: Checkpoint, path: Path | None) -> Path | None:
    """Return where a learned compressor's weights are: at ``path``, else beside the checkpoint's; None for neither."""
    beside = checkpoint.folder / "compressor.safetensors"
    return path or (beside if beside.is_file() else None)


def weights_source(checkpoint: Checkpoint, path: Path | None) -> Path:
    """Return the file that a learned compressor's weights are in: one of its own, or the checkpoint's (its index)."""
    index = checkpoint.folder / "model.safetensors.index.json"
    return weights_file(checkpoint, path) or (index if index.is_file() else checkpoint.folder / "model.safetensors")


def _trained_weights(checkpoint: Checkpoint, plan: Compression, needed: dict[str, tuple[int, ...]]) -> TrainedWeights:
    """The compressor in the checkpoint. Raises InputError where it is not whole."""
    found = TrainedWeights(tensors=checkpoint.tensors, visual_tokens=plan.visual_tokens)
    wrong = [name for name, shape in needed.items() if found.shape(name) != shape]
    if wrong:
        raise InputError(f"{checkpoint.folder}: missing, or of another shape, {_listed(wrong)}")
    return found


def compressor_weights(
    checkpoint: Checkpoint, plan: Compression, path: Path | None, random_weights: bool
) -> Weights | None:
    """Return a learned compressor's weights, from ``path``, the checkpoint's folder or at random; None for the others.

    Raises InputError where a learned compressor has none.
    """
    if not plan.learned:
        if path is not None or random_weights:
            option = "--random-weights" if path is None else "--weights"
            raise InputError(f"{option}: compressor {plan.compressor} has no weights of its own; leave it out")
        return None
    needed = parameter_shapes(checkpoint, plan)
    if path is not None:
        given = read_compressor(path, needed)
        _check_no_other(checkpoint, plan, path, given)
        return given
    if (file := weights_file(checkpoint, None)) is not None:
        return read_compressor(file, needed)
    if checkpoint.trained is not None and not random_weights:
        return _trained_weights(checkpoint, plan, needed)
    if not random_weights:
        raise InputError(
            f"compressor {plan.compressor} is learned and has no weights; give --weights FILE.safetensors "
            "(or --random-weights for a trial: its answers mean nothing)"
        )
    return RandomWeights(shapes=needed)


def own_weights(checkpoint: Checkpoint, plan: Compression) -> Weights | None:
    """Return the weights of a compressor that its checkpoint brings, in a file beside it or trained with it.

    None where it brings none, or those of another compressor.
    """
    try:
        return compressor_weights(checkpoint, plan, None, random_weights=False)
    except InputError:
        return None


def _check_no_other(checkpoint: Checkpoint, plan: Compression, path: Path, given: Weights) -> None:
    """Raise InputError where ``path`` would take the place of the compressor that the checkpoint brings."""
    own = own_weights(checkpoint, plan)
    if own is None or all(
        own.array(one).tobytes() == given.array(one).tobytes() for one in parameter_shapes(checkpoint, plan)
    ):
        return
    where = weights_file(checkpoint, None) or "trained with it"
    raise InputError(
        f"--weights: {path} holds another {plan.compressor} than {checkpoint.name} brings ({where}); leave it out, or "
        "give a checkpoint without one"
    )
