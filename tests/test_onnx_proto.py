"""A graph file holds its graph and nothing else: fields, tensors, bytes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_models import exported, order, quiet

from vlmplan.errors import InputError
from vlmplan.exporting.manifest import DECODER, GRAPHS, VISION
from vlmplan.exporting.write import export, open_parts
from vlmplan.proof.protobuf import beyond, check_tensors, read_proto, skeleton, tensors_of


@pytest.mark.parametrize("name", GRAPHS)
def test_what_export_writes_is_its_graph(name: str) -> None:
    """And the expected one is drawn without reading a weight."""
    parts = open_parts(order())
    drawn = parts.graph(name)
    proto = read_proto(exported() / name)
    check_tensors(exported() / name, proto)
    made = skeleton(drawn)
    assert list(beyond(made, proto)) == []
    assert not any(tensor.raw_data for tensor in tensors_of(made))
    assert all(value.const_value is not None for value in drawn.graph.initializers.values())
    proto.graph.node[0].doc_string = "hm"
    assert list(beyond(made, proto)) == ["graph.node[0].doc_string does not belong"]


def _entry(key: str, value: str) -> Callable[[Any], None]:
    def change(tensor: Any) -> None:
        kept = [(one.key, one.value) for one in tensor.external_data if one.key != key]
        del tensor.external_data[:]
        for name, what in (*kept, (key, value)):
            tensor.external_data.add(key=name, value=what)

    return change


def _again(tensor: Any) -> None:
    tensor.external_data.add(key="offset", value="0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_entry("location", "../secret"), "outside the export"),
        (_entry("location", "/etc/hostname"), "outside the export"),
        (_entry("location", "vision_encoder.onnx"), "expected decoder_model_merged.onnx_data"),
        (_entry("offset", "-4"), "expected two numbers"),
        (_entry("offset", "0"), "two tensors share bytes"),
        (_entry("length", "4"), "has 4 bytes, its shape needs"),
        (_entry("offset", str(10**12)), "a tensor ends at"),
        (_entry("checksum", "0"), "expected location, offset and length"),
        (_again, "expected location, offset and length"),
    ],
)
def test_external_data_are_one_after_the_other(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    export(order(external_above_bytes=1000), tmp_path / "made", quiet)
    path = tmp_path / "made" / DECODER
    model = read_proto(path)
    check_tensors(path, model)
    change(model.graph.initializer[-1])
    with pytest.raises(InputError, match=message):
        check_tensors(path, model)


def test_bytes_that_no_field_has(tmp_path: Path) -> None:
    shutil.copyfile(exported() / VISION, tmp_path / "graph.onnx")
    content = (tmp_path / "graph.onnx").read_bytes()
    for more in (b"\xfa\x3f\x01x", b"\x08\x0a"):  # an unknown field; a version that stands twice
        (tmp_path / "graph.onnx").write_bytes(content + more)
        assert onnx.load(tmp_path / "graph.onnx").ir_version == 10
        with pytest.raises(InputError, match="belongs to no field of ONNX, or stands twice"):
            read_proto(tmp_path / "graph.onnx")


@pytest.mark.parametrize("more", [0, 256, -256])
def test_numbers_have_one_spelling(more: int) -> None:
    """As ``int32_data`` a byte has room for three more that nobody reads, or for a payload in a field nobody knows."""
    path = exported() / DECODER
    proto = read_proto(path)
    tensor = next(one for one in tensors_of(proto) if one.raw_data)
    values = list(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.int32_data.extend(value + more for value in values)
    with pytest.raises(InputError, match="has its data in int32_data; expected raw_data"):
        check_tensors(path, proto)


def test_a_tensor_without_data_is_refused() -> None:
    path = exported() / DECODER
    proto = read_proto(path)
    proto.graph.initializer.add(name="huge", dims=[10**12], data_type=onnx.TensorProto.FLOAT)
    with pytest.raises(InputError, match="huge has no data"):
        check_tensors(path, proto)
