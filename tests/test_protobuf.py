"""A graph file holds its graph and nothing else: fields, tensors, bytes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forgeries
import onnx
import pytest
from small_models import exported, order, quiet

from vlmplan.errors import InputError
from vlmplan.exporting.manifest import DECODER, GRAPHS, VISION
from vlmplan.exporting.write import export, open_parts
from vlmplan.hardware.runtimes import Precision
from vlmplan.proof.protobuf import beyond, check_tensors, misplaced, read_proto, skeleton, tensors_of


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


def test_a_message_has_one_spelling(tmp_path: Path) -> None:
    """Fields in another order take as many bytes; a list in one piece takes fewer, which leaves room."""
    export(order(precision=Precision.INT4), tmp_path / "made", quiet)
    content = (tmp_path / "made" / DECODER).read_bytes()
    fields = forgeries._fields(content)
    short = forgeries._shorter(content)
    room = len(content) - len(short) - 3
    assert 0 < room < 128
    for done in (
        forgeries._written(fields[::-1]),
        b"\x08\x8a\x00" + content[2:],
        short,
        short + b"\xfa\x3f" + bytes([room]) + bytes(room),
    ):
        (tmp_path / "graph.onnx").write_bytes(done)
        read, written = (onnx.load(one).graph for one in (tmp_path / "graph.onnx", tmp_path / "made" / DECODER))
        assert read == written
        with pytest.raises(InputError, match="is spelt as no writer spells it"):
            read_proto(tmp_path / "graph.onnx")


def test_what_other_writers_write_is_read(tmp_path: Path) -> None:
    """ONNX Runtime saves by protobuf in C++, onnx and onnx_ir in Python."""
    import onnx_ir
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "runtime.onnx")
    onnxruntime.InferenceSession(exported() / DECODER, options, providers=["CPUExecutionProvider"])
    onnx.save(onnx.load(exported() / DECODER), tmp_path / "onnx.onnx")
    apart = onnx.load(exported() / DECODER)
    onnx.save(apart, tmp_path / "apart.onnx", save_as_external_data=True, location="apart_data")
    onnx_ir.save(onnx_ir.load(exported() / DECODER), tmp_path / "ir.onnx")
    for name in ("runtime", "onnx", "apart", "ir"):
        assert read_proto(tmp_path / f"{name}.onnx").graph.node


def test_minus_zero_is_not_zero() -> None:
    parts = open_parts(order())
    made = skeleton(parts.graph(DECODER))
    other = type(made)()
    other.CopyFrom(made)
    for proto, value in ((made, 0.0), (other, -0.0)):
        proto.graph.node[0].attribute.add(name="alpha", type=1, f=value)
    assert made.graph.node[0].attribute[-1].f == other.graph.node[0].attribute[-1].f
    (line,) = beyond(made, other)
    assert line.startswith("graph.node[0].attribute") and line.endswith("expected 0.0, found -0.0")


def _laid(folder: Path, name: str, sizes: bool, zeros: int) -> None:
    """Lay a graph's data anew: the smallest first, or as they are, some zeros before them."""
    path, data = folder / name, folder / f"{name}_data"
    model = onnx.load(path, load_external_data=False)
    tensors = [one for one in model.graph.initializer if one.external_data]
    held = data.read_bytes()
    laid = bytearray(zeros)
    entries = [{entry.key: entry for entry in one.external_data} for one in tensors]
    for entry in sorted(entries, key=lambda one: int(one["length"].value) if sizes else 0):
        first, size = int(entry["offset"].value), int(entry["length"].value)
        laid += bytes(-len(laid) % 2**16 if sizes and size > 2**20 else 0)
        entry["offset"].value = str(len(laid))
        laid += held[first : first + size]
    data.write_bytes(laid)
    path.write_bytes(model.SerializeToString())


def test_data_lie_as_an_export_lays_them(tmp_path: Path) -> None:
    """Those of onnx_ir before 1.1 too: the smallest first, large ones at a page."""
    made = order(external_above_bytes=1000)
    export(made, tmp_path / "made", quiet)
    drawn = open_parts(made).graph(DECODER)
    path, data = tmp_path / "made" / DECODER, f"{Path(DECODER).name}_data"
    assert list(misplaced(drawn, read_proto(path), data)) == []
    assert len(list(misplaced(drawn, read_proto(path), None))) == 1
    (line,) = misplaced(drawn, read_proto(exported() / DECODER), data)
    assert "lacks its data beside the file" in line
    _laid(tmp_path / "made", DECODER, sizes=True, zeros=0)
    check_tensors(path, read_proto(path))
    assert list(misplaced(drawn, read_proto(path), data)) == []
    _laid(tmp_path / "made", DECODER, sizes=False, zeros=64)
    check_tensors(path, read_proto(path))
    (line,) = misplaced(drawn, read_proto(path), data)
    assert "do not lie where an export's do" in line


def test_an_empty_data_file_does_not_belong(tmp_path: Path) -> None:
    shutil.copytree(exported() / "onnx", tmp_path / "onnx")
    (tmp_path / f"{DECODER}_data").touch()
    with pytest.raises(InputError, match="holds no tensor, and does not belong"):
        check_tensors(tmp_path / DECODER, read_proto(tmp_path / DECODER))


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
