"""The vision encoder drawn as a graph gives what transformers and the torch compressors give."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import checkpoint, largest_difference, run_graph

from vlmplan.checkpoints.checkpoint import Checkpoint, open_checkpoint
from vlmplan.checkpoints.compressors import compressor_weights
from vlmplan.checkpoints.reference import load_reference
from vlmplan.checkpoints.regions import compression, packer_layers, possible_visual_tokens
from vlmplan.checkpoints.tensors import Joined
from vlmplan.errors import InputError
from vlmplan.graphs.vision import encoder_graph
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Compressor

COUNTS = {"clip-qwen2": (1, 4, 16, 36, 64, 144, 576), "siglip-mistral": (1, 9, 81, 729)}
CASES = [
    (kind, compressor, count)
    for kind, counts in COUNTS.items()
    for compressor in Compressor
    for count in counts
    if not (compressor is Compressor.NONE and count != counts[-1])
    and not (compressor.selects and count in (1, counts[-1]))
    and not (compressor is Compressor.PIXEL_SHUFFLE and count * 16 < counts[-1])
]


@functools.cache
def _opened(kind: str) -> Checkpoint:
    return open_checkpoint(str(checkpoint(kind)))


def _inputs(opened: Checkpoint) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    size = opened.tower.image_size
    pixels = rng.standard_normal((2, 3, size, size)).astype(np.float32)
    return pixels, rng.standard_normal((2, opened.text.hidden_size)).astype(np.float32)


@pytest.mark.parametrize(("kind", "compressor", "visual_tokens"), CASES)
def test_features_equal_pytorch(kind: str, compressor: Compressor, visual_tokens: int, tmp_path: Path) -> None:
    opened = _opened(kind)
    plan = compression(compressor, opened.grid_side, visual_tokens)
    learned = compressor_weights(opened, plan, None, random_weights=plan.learned)
    weights = opened.tensors if learned is None else Joined(parts=(learned, opened.tensors))
    pixels, query = _inputs(opened)
    asks = compressor is Compressor.QUECC
    feeds = {"pixel_values": pixels} | ({"text_query": query} if asks else {})
    found = run_graph(encoder_graph(opened, weights, plan, Precision.FP32), feeds, tmp_path)["image_features"]
    expected = load_reference(opened, plan, learned).image_features(pixels, query if asks else None)
    assert found.shape == (2, visual_tokens, opened.text.hidden_size)
    assert largest_difference(found, expected) < 1e-5 * expected.std()
    assert np.abs(found[0] - found[1]).max() > 1e-2  # two images, two answers


def test_reference_without_compressor_is_transformers_own() -> None:
    """Tower, compressor and projector together are ``get_image_features`` when nothing is compressed."""
    import torch

    opened = _opened("clip-qwen2")
    reference = load_reference(opened, compression(Compressor.NONE, 24, 576), None)
    pixels, _ = _inputs(opened)
    with torch.inference_mode():
        own = reference.model.get_image_features(torch.from_numpy(pixels)).pooler_output
    assert largest_difference(reference.image_features(pixels), torch.stack(list(own)).numpy()) == 0


def test_a_question_changes_quecc() -> None:
    opened = _opened("clip-qwen2")
    plan = compression(Compressor.QUECC, 24, 4)
    reference = load_reference(opened, plan, compressor_weights(opened, plan, None, random_weights=True))
    pixels, query = _inputs(opened)
    assert largest_difference(reference.image_features(pixels, query), reference.image_features(pixels, -query)) > 1e-2


def test_a_region_is_read_by_its_own_token_only() -> None:
    """Average pooling by hand: the first of four tokens is the mean of the top left quarter."""
    import torch

    from vlmplan.checkpoints.torch_compressors import Features, compressor_module

    plan = compression(Compressor.AVERAGE_POOL, 4, 4)
    patches = torch.arange(16.0).reshape(1, 16, 1)
    found = compressor_module(plan, 1, 1)(Features(patches=patches))
    assert found.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    shuffled = compressor_module(compression(Compressor.PIXEL_SHUFFLE, 4, 4), 1, 1)(Features(patches=patches))
    assert shuffled[0, 0].tolist() == [0, 1, 4, 5]


def test_sizes_follow_the_grid() -> None:
    assert possible_visual_tokens(24) == (1, 4, 9, 16, 36, 64, 144, 576)
    assert possible_visual_tokens(27) == (1, 9, 81, 729)
    assert packer_layers(24) == (12, 16, 22, 23)


@pytest.mark.parametrize(
    ("compressor", "visual_tokens", "message"),
    [
        (Compressor.AVERAGE_POOL, 35, "one of 1, 4, 9, 16, 36, 64, 144, 576"),
        (Compressor.NONE, 36, "name a compressor"),
        (Compressor.PIXEL_SHUFFLE, 16, "expected at least 36"),
        (Compressor.DIVPRUNE, 576, "divprune keeps 1 to 575 of an image's 24 x 24 tokens"),
        (Compressor.DIVPRUNE, 0, "divprune keeps 1 to 575"),
        (Compressor.VISIONZIP, 2, "visionzip keeps 3 to 575"),
    ],
)
def test_impossible_counts_are_refused(compressor: Compressor, visual_tokens: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compression(compressor, 24, visual_tokens)
