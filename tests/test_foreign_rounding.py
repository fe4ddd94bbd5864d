"""Rounded decoders by others: read whatever operators hold them, each row of each matrix held to the checkpoint's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    HQQWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from small_models import foreign, quiet

from vlmplan.hardware import Precision
from vlmplan.proof.foreign.files import Accused
from vlmplan.proof.foreign.rounding import compared
from vlmplan.proof.foreign.stored import stored
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

Change = Callable[[dict[str, Any]], None]
_QDQ = QuantFormat.QDQ


def _four_bits(model: Any, **settings: Any) -> Any:
    quantiser = MatMulNBitsQuantizer(model, algo_config=DefaultWeightOnlyQuantConfig(**settings))
    quantiser.process()
    return quantiser.model.model


def _rounded(folder: Path, change: Change | None = None, **settings: Any) -> Report:
    """What is found of a decoder that ONNX Runtime's quantiser rounded; ``change`` gets its constants, as arrays."""
    foreign(folder, positions=True)
    config = folder / "text" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 128}))  # soon read
    path = folder / "foreign" / "model.onnx"
    model = _four_bits(onnx.load(path), **settings)
    if change is not None:
        held = {one.name: numpy_helper.to_array(one).copy() for one in model.graph.initializer}
        change(held)
        for one in model.graph.initializer:
            one.CopyFrom(numpy_helper.from_array(held[one.name], one.name))
    for beside in path.parent.glob("*.data"):
        beside.unlink()
    onnx.save(model, path)
    options = Options(by_samples=True, threads=2, repeats=1, checkpoint=str(folder / "text"))
    return Validator(options, quiet).validate(path.parent).report


_SETTINGS = {
    "MatMulNBits": {"block_size": 32, "is_symmetric": True, "accuracy_level": 4},
    "zero points": {"block_size": 16, "is_symmetric": False},
    "DequantizeLinear": {"block_size": 32, "is_symmetric": True, "quant_format": _QDQ},
    "DequantizeLinear, zero points": {"block_size": 32, "is_symmetric": False, "quant_format": _QDQ},
    "GatherBlockQuantized": {"block_size": 32, "op_types_to_quantize": ("MatMul", "Gather")},
}


@pytest.mark.parametrize("settings", _SETTINGS.values(), ids=_SETTINGS)
def test_good_ones_pass_as_four_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    report = _rounded(tmp_path, **settings)
    assert not report.failed, report.failed
    details = {check.name: check.detail for check in report.checks}
    assert details["head"] == "all 300 rows as the checkpoint's, rounded to 4 bits"
    assert "at int4 by the file's own word" in details["samples"]
    assert "14 of the checkpoint's matrices" in details["rounded rows"] or "15 of" in details["rounded rows"]


def _of(held: dict[str, Any], part: str) -> list[str]:
    return [name for name in held if part in name]


def _heads(held: dict[str, Any]) -> None:
    """Two tokens' rows exchanged, with their scales."""
    for name in _of(held, "lm_head"):
        rows = held[name] if held[name].shape[0] == 300 else held[name].T
        rows[[2, 150]] = rows[[150, 2]]


def _louder(held: dict[str, Any]) -> None:
    """One token's logits half as large again."""
    for name in _of(held, "lm_head"):
        if held[name].dtype == np.float32:
            (held[name] if held[name].shape[0] == 300 else held[name].T)[150] *= 1.5


def _larger(held: dict[str, Any]) -> None:
    """A matrix 5 percent larger."""
    name = next(one for one in _of(held, "down_proj") if held[one].dtype == np.float32)
    held[name] *= 1.05


def _turned(held: dict[str, Any]) -> None:
    """Two rows of a layer exchanged."""
    for name in _of(held, "layers.1.mlp.down_proj"):
        rows = held[name] if held[name].shape[0] == 64 else held[name].T
        rows[[3, 40]] = rows[[40, 3]]


@pytest.mark.parametrize("way", ["MatMulNBits", "DequantizeLinear"])
@pytest.mark.parametrize(
    ("change", "check"),
    [(_heads, "head"), (_louder, "head"), (_larger, "rounded rows"), (_turned, "rounded rows")],
)
def test_rows_that_are_others_are_refused(way: str, change: Change, check: str, tmp_path: Path) -> None:
    report = _rounded(tmp_path, change, **_SETTINGS[way])
    assert check in {one.name for one in report.failed}


def test_a_row_of_a_rounded_table_of_embeddings(tmp_path: Path) -> None:
    def change(held: dict[str, Any]) -> None:
        held["table_Q4"][277] = held["table_Q4"][12]

    (fault,) = [
        one for one in _rounded(tmp_path, change, **_SETTINGS["GatherBlockQuantized"]).failed if "rows" in one.name
    ]
    assert "1 of 300 rows are others" in fault.detail
    assert "first row 277" in fault.detail


_QUANTISERS = {
    **{
        f"{size} {even} {way.name}": DefaultWeightOnlyQuantConfig(block_size=size, is_symmetric=even, quant_format=way)
        for size in (16, 32, 128)
        for even in (True, False)
        for way in (QuantFormat.QOperator, _QDQ)
    },
    "hqq": HQQWeightOnlyQuantConfig(block_size=32),
}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("quantiser", _QUANTISERS.values(), ids=_QUANTISERS)
@pytest.mark.parametrize("tail", [2, 3, 1000])
def test_rounding_is_told_from_another_row(quantiser: Any, tail: int) -> None:
    """Of entries with heavy tails (Student's t) as well: the largest of a block makes the others' steps wide."""
    weight = np.random.default_rng(tail).standard_t(tail, (64, 256)).astype(np.float32)
    values = [helper.make_tensor_value_info(name, 1, ["n", size]) for name, size in (("x", 256), ("logits", 64))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "graph", values[:1], values[1:], [numpy_helper.from_array(np.ascontiguousarray(weight.T), "w")],
    )  # fmt: skip
    made = MatMulNBitsQuantizer(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), algo_config=quantiser
    )
    made.process()
    accused = Accused(folder=Path(), path=Path("x.onnx"), proto=made.model.model, precision=Precision.INT4)
    (held,) = stored(accused)
    wrong, gain, off = compared(held, weight)
    assert not wrong
    assert abs(gain - 1) <= 0.01 + off
    assert np.abs(held.rows(slice(0, 64)) - weight).max() <= np.abs(weight).max() / 6
    exchanged = weight.copy()
    exchanged[[7, 60]] = exchanged[[60, 7]]
    assert {7, 60} <= set(compared(held, exchanged)[0])
