"""A compressor's weights: published counts and names, and what is said of a file that does not fit."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import checkpoint

from vlmplan.checkpoints.checkpoint import open_checkpoint
from vlmplan.checkpoints.compressors import compressor_weights, parameter_shapes
from vlmplan.checkpoints.reference import load_reference
from vlmplan.checkpoints.regions import compression
from vlmplan.checkpoints.torch_compressors import compressor_module
from vlmplan.errors import InputError
from vlmplan.models.spec import Compressor

SETTINGS = Path(__file__).resolve().parents[1] / "facts" / "accuracy" / "quecc_kernel_settings.csv"


def _published() -> list[tuple[int, int]]:
    """(visual tokens, parameters) of QueCC."""
    with SETTINGS.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [(int(row["output_tokens"]), int(row["quecc_params_excl_mlp(text_dim=4096)"])) for row in rows]


@pytest.mark.parametrize(("visual_tokens", "params"), _published())
def test_quecc_has_the_published_parameters(visual_tokens: int, params: int) -> None:
    with torch.device("meta"):
        module = compressor_module(compression(Compressor.QUECC, 24, visual_tokens), 1024, 4096)
    assert sum(one.numel() for one in module.parameters()) == params


def _trained(compressor: Compressor) -> dict[str, torch.Tensor]:
    """A compressor as training leaves it, with its projector, under our names."""
    opened = open_checkpoint(str(checkpoint()))
    torch.manual_seed(0)
    module = compressor_module(compression(compressor, 24, 36), 64, 64)
    own = {f"compressor.{name}": tensor for name, tensor in module.state_dict().items()}
    shapes = {
        "multi_modal_projector.linear_1.weight": (64, 64),
        "multi_modal_projector.linear_1.bias": (64,),
        "multi_modal_projector.linear_2.weight": (64, 64),
        "multi_modal_projector.linear_2.bias": (64,),
    }
    assert opened.text.hidden_size == 64
    return own | {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def _published_names(compressor: Compressor, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that the authors' training code saves: QueCC in a Sequential, TokenPacker with its own ``mlp``."""
    before, projector = ("0.", {"linear_1": "1", "linear_2": "3"})
    if compressor is Compressor.TOKEN_PACKER:
        before, projector = "", {"linear_1": "mlp.0", "linear_2": "mlp.2"}
    renamed = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("compressor.")
        if name.startswith("multi_modal_projector."):
            _, layer, leaf = name.split(".")
            bare = f"{projector[layer]}.{leaf}"
        elif before:
            bare = before + bare
        renamed[f"model.mm_projector.{bare}"] = tensor
    return renamed


@pytest.mark.parametrize("compressor", [Compressor.TOKEN_PACKER, Compressor.QUECC])
def test_published_names_load_as_ours_do(compressor: Compressor, tmp_path: Path) -> None:
    opened, plan = open_checkpoint(str(checkpoint())), compression(compressor, 24, 36)
    tensors = _trained(compressor)
    save_file(tensors, tmp_path / "ours.safetensors")
    save_file(_published_names(compressor, tensors), tmp_path / "theirs.safetensors")
    pixels = np.random.default_rng(0).standard_normal((1, 3, 336, 336)).astype(np.float32)
    query = np.ones((1, 64), np.float32)
    found = []
    for name in ("ours", "theirs"):
        weights = compressor_weights(opened, plan, tmp_path / f"{name}.safetensors", random_weights=False)
        found.append(load_reference(opened, plan, weights).image_features(pixels, query))
    random = compressor_weights(opened, plan, None, random_weights=True)
    assert np.array_equal(*found)
    assert not np.allclose(found[0], load_reference(opened, plan, random).image_features(pixels, query))


def _without(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _without(t, "compressor.k_proj_1.0.weight"), "missing compressor.k_proj_1.0.weight"),
        (
            lambda t: t | {"compressor.q_proj_1.weight": torch.zeros(64, 32)},
            "compressor.q_proj_1.weight is 64 x 32, expected 64 x 64",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Any, message: str, tmp_path: Path) -> None:
    opened, plan = open_checkpoint(str(checkpoint())), compression(Compressor.TOKEN_PACKER, 24, 36)
    save_file(change(_trained(Compressor.TOKEN_PACKER)), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message):
        compressor_weights(opened, plan, tmp_path / "w.safetensors", random_weights=False)


def test_no_pickle_and_no_learned_compressor_without_weights(tmp_path: Path) -> None:
    opened, plan = open_checkpoint(str(checkpoint())), compression(Compressor.QUECC, 24, 36)
    (tmp_path / "mm_projector.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="pickles are not read"):
        compressor_weights(opened, plan, tmp_path / "mm_projector.bin", random_weights=False)
    with pytest.raises(InputError, match="give --weights"):
        compressor_weights(opened, plan, None, random_weights=False)
    pooled = compression(Compressor.AVERAGE_POOL, 24, 36)
    with pytest.raises(InputError, match="no weights of its own"):
        compressor_weights(opened, pooled, tmp_path / "w.safetensors", random_weights=False)


def test_pixel_shuffle_widens_the_projector() -> None:
    opened = open_checkpoint(str(checkpoint()))
    needed = parameter_shapes(opened, compression(Compressor.PIXEL_SHUFFLE, 24, 36))
    assert needed == {"multi_modal_projector.linear_1.weight": (64, 64 * 16)}
