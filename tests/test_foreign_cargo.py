"""Decoders by others that hold another thing, load for ever or give no logits: one line each, and no traceback."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import foreign, quiet

from vlmplan.checkpoints import quiet_transformers
from vlmplan.errors import InputError
from vlmplan.exporting import RUN_TIMEOUT_S, allowance
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

Change = Callable[[Any, Path], None]


def _judged(folder: Path, change: Change, timeout_s: float = RUN_TIMEOUT_S) -> Report:
    foreign(folder, positions=True)
    path = folder / "foreign" / "model.onnx"
    model = onnx.load(path)
    change(model, path.parent)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return _of(folder, timeout_s)


def _of(folder: Path, timeout_s: float = RUN_TIMEOUT_S) -> Report:
    options = Options(by_samples=True, threads=2, repeats=1, timeout_s=timeout_s, checkpoint=str(folder / "text"))
    return Validator(options, quiet).validate(folder / "foreign").report


def _beside(model: Any, folder: Path, name: str, content: bytes) -> None:
    """A tensor that nothing reads, with its data in a file of that name."""
    (folder / name).write_bytes(content)
    tensor = model.graph.initializer.add(name="idle", data_type=TensorProto.UINT8, dims=[len(content)])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", "0"), ("length", str(len(content)))):
        tensor.external_data.add(key=key, value=value)


def _script(model: Any, folder: Path) -> None:
    _beside(model, folder, "weights_data", b"#!/bin/sh\n" * 700)


def _settings(model: Any, folder: Path) -> None:
    _beside(model, folder, "special_tokens_map.json", b'{"bos_token": "b"}')


def _raw(model: Any) -> None:
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]


def _folding(model: Any, _: Path) -> None:
    """Products of constants, for a minute and more."""
    for name, values in (("side", [6000, 6000]), ("axes", [0, 1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [1e-4])
    _raw(model)
    nodes = [helper.make_node("ConstantOfShape", ["side"], ["made0"], value=value)]
    nodes += [helper.make_node("MatMul", [f"made{i}", "made0"], [f"made{i + 1}"]) for i in range(400)]
    nodes += [
        helper.make_node("ReduceMin", ["made400", "axes"], ["least"], keepdims=0),
        helper.make_node("Add", ["raw", "least"], ["logits"]),
    ]
    model.graph.node.extend(nodes)


def _twice(model: Any, _: Path) -> None:
    model.graph.node.append(helper.make_node("Identity", ["inputs_embeds"], ["logits"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_script, "holds nothing that the results"),
        (_settings, "named as another thing"),
        (_folding, "to load: ConstantOfShape, MatMul"),
        (_twice, "cannot load it"),
    ],
)
def test_what_is_no_graph_to_run(change: Change, said: str, tmp_path: Path) -> None:
    (fault,) = _judged(tmp_path, change, timeout_s=3.0).failed
    assert said in fault.detail


def _slow(side: int, products: int) -> Change:
    """Products of matrices that depend on the input: nothing that could be made while loading."""

    def change(model: Any, _: Path) -> None:
        for name, values in (("side", [side, side]), ("axes", [0, 1]), ("none", [])):
            model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        _raw(model)
        nodes = [
            helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["ids", "axes"], ["least_id"], keepdims=0),
            helper.make_node("Sub", ["least_id", "least_id"], ["zero"]),
            helper.make_node("Expand", ["zero", "side"], ["made0"]),
            *(helper.make_node("MatMul", [f"made{i}", "made0"], [f"made{i + 1}"]) for i in range(products)),
            helper.make_node("ReduceMin", [f"made{products}", "axes"], ["least"], keepdims=0),
            helper.make_node("Add", ["raw", "least"], ["logits"]),
        ]
        model.graph.node.extend(nodes)

    return change


@pytest.mark.parametrize(("side", "products"), [(1500, 3000), (10000, 1)])
def test_a_graph_that_runs_for_ever_is_stopped(
    side: int, products: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two operators, and within one that nothing interrupts."""
    monkeypatch.setattr(allowance, "MULTIPLE", 0.0)
    monkeypatch.setattr(allowance, "_GRACE_S", 0.3)
    started = time.monotonic()
    (fault,) = _judged(tmp_path, _slow(side, products), timeout_s=0.5).failed
    assert fault.name == "run"
    assert "was stopped: its runs took" in fault.detail
    assert "--timeout raises it" in fault.detail
    assert time.monotonic() - started < 30


def test_a_graph_that_runs_for_a_while_passes(tmp_path: Path) -> None:
    report = _judged(tmp_path, _slow(50, 20))
    assert not report.failed, report.failed


def _idle(model: Any, _: Path) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(80000, np.uint8), "idle"))


def _noted(model: Any, _: Path) -> None:
    model.doc_string = "secret" * 1000
    model.graph.node[0].doc_string = "secret" * 1000


@pytest.mark.parametrize(
    ("change", "said"), [(_idle, "of tensors that nothing reads"), (_noted, "12000 bytes of notes")]
)
def test_what_a_graph_carries_is_said(change: Change, said: str, tmp_path: Path) -> None:
    report = _judged(tmp_path, change)
    assert not report.failed, report.failed
    assert said in report.reservations[0].detail


def _as(kind: int) -> Change:
    def change(model: Any, _: Path) -> None:
        _raw(model)
        model.graph.node.append(helper.make_node("Cast", ["raw"], ["logits"], to=kind))
        _declared(model, kind)

    return change


def _declared(model: Any, kind: int) -> None:
    for value in model.graph.output:
        if value.name == "logits":
            value.CopyFrom(helper.make_tensor_value_info("logits", kind, None))


def _flat(model: Any, _: Path) -> None:
    _raw(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "flat"))
    model.graph.node.append(helper.make_node("Reshape", ["raw", "flat"], ["logits"]))
    _declared(model, TensorProto.FLOAT)


def _empty(axis: int) -> Change:
    def change(model: Any, _: Path) -> None:
        _raw(model)
        for name, value in (("from", 0), ("along", axis)):
            model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
        model.graph.node.append(helper.make_node("Slice", ["raw", "from", "from", "along"], ["logits"]))
        _declared(model, TensorProto.FLOAT)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_as(TensorProto.BFLOAT16), "cannot be read"),
        (_as(TensorProto.STRING), "expected floats"),
        (_as(TensorProto.INT64), "expected floats"),
        (_flat, "expected floats"),
        (_empty(1), "expected floats"),
        (_empty(2), "expected floats"),
    ],
)
def test_results_that_are_no_logits(change: Change, said: str, tmp_path: Path) -> None:
    (fault,) = _judged(tmp_path, change).failed
    assert fault.name == "run"
    assert said in fault.detail


def test_a_cache_of_another_rank(tmp_path: Path) -> None:
    def change(model: Any, _: Path) -> None:
        for value in model.graph.input:
            if value.name == "past_key_values.0.key":
                value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["a", "b"]))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, -1, 16]), "four"))
        for node in model.graph.node:
            node.input[:] = ["key" if name == "past_key_values.0.key" else name for name in node.input]
        model.graph.node.insert(0, helper.make_node("Reshape", ["past_key_values.0.key", "four"], ["key"]))

    (fault,) = _judged(tmp_path, change).failed
    assert "past_key_values.0.key: expected" in fault.detail


@pytest.mark.parametrize("context", [5, 16])
def test_a_context_too_short_to_compare(context: int, tmp_path: Path) -> None:
    def change(_: Any, folder: Path) -> None:
        path = folder.parent / "text" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": context}))

    (fault,) = _judged(tmp_path, change).failed
    assert f"reads {context} tokens" in fault.detail


def test_a_checkpoint_whose_keys_have_no_heads_of_their_own(tmp_path: Path) -> None:
    """GPT-2's configuration says nothing of key-value heads: they are as many as there are heads."""
    transformers = quiet_transformers()
    config = transformers.GPT2Config(n_layer=1, n_head=4, n_embd=64, vocab_size=300, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "text")
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "t"]),
        helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, ["b", "h", "p", "w"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("logits", "present.0.key")]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["as float"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["as float", "last"], ["logits"]),
        helper.make_node("Identity", ["past_key_values.0.key"], ["present.0.key"]),
    ]
    last = numpy_helper.from_array(np.array([2]), "last")
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [last]))
    model.opset_import[0].version, model.ir_version = 17, 9
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (fault,) = _of(tmp_path).failed
    assert "logits: expected floats [1, 1 to 1, 300], found float32 [1, 1, 1]" in fault.detail


def test_folders_without_end(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    (tmp_path / "foreign").joinpath(*"a" * 20).mkdir(parents=True)
    with pytest.raises(InputError, match="more than 16 deep"):
        _of(tmp_path)
