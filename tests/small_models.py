"""Small checkpoints, written once a test process, and what tests do with them."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime

from vlmplan.model import Compressor
from vlmplan.onnx.export import Order, export
from vlmplan.onnx.small import SmallModel, write_checkpoint

_FOLDER = tempfile.TemporaryDirectory(prefix="vlmplan-tests-")
KINDS = {
    "clip-qwen2": SmallModel(),
    "clip-llama": SmallModel(llm="llama", text={"num_key_value_heads": 4}, seed=1),
    "siglip-mistral": SmallModel(
        model_type="llava_onevision",
        tower="siglip_vision_model",
        llm="mistral",
        text={"sliding_window": 7, "head_dim": 16},
        seed=2,
    ),
    "next-qwen3": SmallModel(model_type="llava_next", llm="qwen3", text={"head_dim": 16}, seed=3),
}


def quiet(*_: Any) -> None:
    """Show no progress."""


def checkpoint(kind: str = "clip-qwen2") -> Path:
    """A checkpoint of one of KINDS."""
    return _checkpoint(kind)


@functools.cache
def _checkpoint(kind: str) -> Path:
    return write_checkpoint(KINDS[kind], Path(_FOLDER.name) / kind)


def order(kind: str = "clip-qwen2", **given: Any) -> Order:
    """An order for one of KINDS: 36 tokens by average pooling unless said otherwise."""
    usual: dict[str, Any] = {"visual_tokens": 36, "compressor": Compressor.AVERAGE_POOL}
    return Order(checkpoint=str(checkpoint(kind)), **usual | given)


def exported(kind: str = "clip-qwen2") -> Path:
    """An export of one of KINDS in fp32; do not change it."""
    return _exported(kind)


@functools.cache
def _exported(kind: str) -> Path:
    folder = Path(_FOLDER.name) / f"{kind}-export"
    whole = {"siglip-mistral": 81}.get(kind, 36)
    export(order(kind, visual_tokens=whole), folder, quiet)
    return folder


def run_graph(model: Any, feeds: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Save an onnx_ir model, run it and return its outputs by name."""
    path = folder / "graph.onnx"
    onnx_ir.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def largest_difference(ours: Any, theirs: Any) -> float:
    """The largest absolute difference of two arrays of one shape."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())
