"""Ways to forge an export that its own manifest does not show: one seeded forgery each, every digest made to agree.

Beside the faults of ``mutants`` these hide things where a reader of tensors and operators does not look, change values
within rounding, and let the manifest say what suits the forger.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mutants import DECODER, EMBED, FAULTS, VISION, Fault, NothingChanged, Random
from onnx import TensorProto, helper, numpy_helper

GRAPHS = (VISION, EMBED, DECODER)


def _pick(rng: Random, items: Any) -> Any:
    found = list(items)
    if not found:
        raise NothingChanged
    return found[int(rng.integers(len(found)))]


def _edit(folder: Path, name: str, change: Callable[[onnx.ModelProto], str]) -> str:
    """Change a graph without touching its external data."""
    model = onnx.load(folder / name, load_external_data=False)
    said = change(model)
    (folder / name).write_bytes(model.SerializeToString())
    return f"{name}: {said}"


def _anywhere(folder: Path, rng: Random, change: Callable[[onnx.ModelProto], str]) -> str:
    return _edit(folder, _pick(rng, GRAPHS), change)


def metadata(folder: Path, rng: Random) -> str:
    """Settings or notes in some message's metadata."""

    def change(model: onnx.ModelProto) -> str:
        graph = model.graph
        one = _pick(rng, [model, graph, _pick(rng, graph.node), _pick(rng, graph.initializer), graph.input[0]])
        one.metadata_props.add(key="ort_config", value='{"session_options": {}}')
        return f"metadata of a {type(one).__name__}"

    return _anywhere(folder, rng, change)


def documentation(folder: Path, rng: Random) -> str:
    """Text where documentation goes."""

    def change(model: onnx.ModelProto) -> str:
        graph = model.graph
        one = _pick(rng, [model, graph, _pick(rng, graph.node), _pick(rng, graph.initializer), graph.output[0]])
        one.doc_string = "x" * 100
        return f"text in a {type(one).__name__}"

    return _anywhere(folder, rng, change)


def training(folder: Path, rng: Random) -> str:
    """Training steps beside the graph."""

    def change(model: onnx.ModelProto) -> str:
        model.training_info.add().algorithm.name = "later"
        return "training_info"

    return _anywhere(folder, rng, change)


def unknown_field(folder: Path, rng: Random) -> str:
    """Bytes under a number that ONNX has no field for, in the file or within one of its messages."""
    path = folder / _pick(rng, GRAPHS)
    field = b"\xfa\x3f" + bytes([16]) + bytes(16)  # field 1023, sixteen bytes
    if rng.random() < 0.5:
        path.write_bytes(path.read_bytes() + field)
        return f"{path.name}: unknown field of the model"
    model = onnx.load(path, load_external_data=False)
    node = model.graph.node[0]
    node.ParseFromString(node.SerializeToString() + field)
    path.write_bytes(model.SerializeToString())
    return f"{path.name}: unknown field of a node"


def twice_encoded(folder: Path, rng: Random) -> str:
    """A field that stands twice: the last one counts."""
    path = folder / _pick(rng, GRAPHS)
    path.write_bytes(b"\x08\x09" + path.read_bytes())
    return f"{path.name}: ir_version stands twice"


def function(folder: Path, rng: Random) -> str:
    """A function of the model's own, perhaps in the place of a standard operator."""

    def change(model: onnx.ModelProto) -> str:
        domain = _pick(rng, ["", "forged"])
        body = [helper.make_node("Neg", ["x"], ["y"])]
        made = helper.make_function(domain, "Identity", ["x"], ["y"], body, [helper.make_opsetid("", 23)])
        model.functions.append(made)
        return f"a function in '{domain}'"

    return _anywhere(folder, rng, change)


def domain(folder: Path, rng: Random) -> str:
    """An import of a domain that nobody knows, or an operator of it."""

    def change(model: onnx.ModelProto) -> str:
        model.opset_import.add(domain="forged", version=1)
        if rng.random() < 0.5:
            return "an import"
        node = _pick(rng, model.graph.node)
        node.domain = "forged"
        return f"a {node.op_type} of another domain"

    return _anywhere(folder, rng, change)


def idle(folder: Path, rng: Random) -> str:
    """An initialiser, an operator, an input or an output that nothing needs."""

    def change(model: onnx.ModelProto) -> str:
        graph, kind = model.graph, _pick(rng, ["initialiser", "operator", "input", "output"])
        value = helper.make_tensor_value_info("idle", TensorProto.FLOAT, [1])
        match kind:
            case "initialiser":
                graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "idle"))
            case "operator":
                graph.node.append(helper.make_node("Identity", [graph.node[0].output[0]], ["idle"]))
            case "input":
                graph.input.append(value)
            case _:
                graph.node.append(helper.make_node("Identity", [graph.initializer[0].name], ["idle"]))
                graph.output.append(value)
        return f"an idle {kind}"

    return _anywhere(folder, rng, change)


def renamed(folder: Path, rng: Random) -> str:
    """A weight under another name."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, model.graph.initializer)
        was, tensor.name = tensor.name, "renamed"
        for node in model.graph.node:
            node.input[:] = ["renamed" if name == was else name for name in node.input]
        return f"{was} has another name"

    return _anywhere(folder, rng, change)


def named_node(folder: Path, rng: Random) -> str:
    """A message in an operator's name, a graph's or the producer's."""

    def change(model: onnx.ModelProto) -> str:
        one = _pick(rng, [_pick(rng, model.graph.node), model.graph])
        one.name = "hello, forger"
        model.producer_version = "9"
        return f"name of a {type(one).__name__}"

    return _anywhere(folder, rng, change)


def sparse(folder: Path, rng: Random) -> str:
    """A sparse tensor, or an annotation for quantisers."""

    def change(model: onnx.ModelProto) -> str:
        if rng.random() < 0.5:
            model.graph.quantization_annotation.add(tensor_name=model.graph.initializer[0].name)
            return "an annotation"
        values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
        places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
        return "a sparse tensor"

    return _anywhere(folder, rng, change)


def doubled_data(folder: Path, rng: Random) -> str:
    """A tensor with its data in two fields, or with more bytes than its shape needs."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, [one for one in model.graph.initializer if one.raw_data])
        if rng.random() < 0.5:
            tensor.float_data.extend([1.0] * 3)
            return f"{tensor.name} in two fields"
        tensor.raw_data = tensor.raw_data + bytes(8)
        return f"{tensor.name} has bytes after its end"

    return _anywhere(folder, rng, change)


def _floats(model: onnx.ModelProto) -> list[Any]:
    return [one for one in model.graph.initializer if one.data_type in (1, 10) and one.raw_data]


def nudged(folder: Path, rng: Random) -> str:
    """One weight moved to the next number that its type has."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, _floats(model))
        values = numpy_helper.to_array(tensor).copy()
        flat = values.reshape(-1)
        place = int(rng.integers(flat.size))
        flat[place] = np.nextafter(flat[place], values.dtype.type(100))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return f"one step in {tensor.name}"

    return _anywhere(folder, rng, change)


def rescaled(folder: Path, rng: Random) -> str:
    """The scale of one block, or one packed byte, of a quantised matrix; else one row within rounding."""

    def change(model: onnx.ModelProto) -> str:
        packed = [one for one in model.graph.initializer if one.name.endswith((".scales", ".q4", ".q8"))]
        tensor = _pick(rng, [one for one in packed or _floats(model) if one.raw_data])
        values = numpy_helper.to_array(tensor).copy()
        flat = values.reshape(-1)
        place = int(rng.integers(flat.size))
        before = flat[place]
        flat[place] = before ^ 1 if values.dtype == np.uint8 else before * values.dtype.type(1.01)
        if flat[place] == before:
            raise NothingChanged
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return f"one value of {tensor.name}"

    return _edit(folder, DECODER, change)


def _data(folder: Path, rng: Random) -> Path:
    return _pick(rng, (folder / "onnx").glob("*_data"))  # type: ignore[no-any-return]


def data_tail(folder: Path, rng: Random) -> str:
    """Bytes after the last tensor of a data file, written or a hole."""
    path = _data(folder, rng)
    if rng.random() < 0.5:
        with path.open("r+b") as stream:
            stream.truncate(path.stat().st_size + int(rng.integers(1, 10**6)))
        return f"a hole at the end of {path.name}"
    path.write_bytes(path.read_bytes() + b"payload")
    return f"bytes at the end of {path.name}"


def data_moved(folder: Path, rng: Random) -> str:
    """A gap in a data file with something in it, before its first tensor."""
    path = _data(folder, rng)
    path.write_bytes(b"payload!" * 8 + path.read_bytes())

    def change(model: onnx.ModelProto) -> str:
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "offset":
                    entry.value = str(int(entry.value) + 64)
        return "data begin later"

    return _edit(folder, f"onnx/{path.name.removesuffix('_data')}", change)


def dangling(folder: Path, rng: Random) -> str:
    """A data file beside a graph that has its data within."""
    name = _pick(rng, [one for one in GRAPHS if not (folder / f"{one}_data").exists()])
    (folder / f"{name}_data").write_bytes(b"payload")
    return f"{name}_data, which nothing reads"


def outside(folder: Path, rng: Random) -> str:
    """The data of a tensor are read from beside the folder, or from another of its files."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, [one for one in model.graph.initializer if len(one.raw_data) > 100])
        place = _pick(rng, ["../../outside", "weights.bin"])
        (folder / "onnx" / place).resolve().write_bytes(tensor.raw_data)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", str(len(tensor.raw_data)))):
            tensor.external_data.add(key=key, value=value)
        tensor.ClearField("raw_data")
        return f"{tensor.name} lies in {place}"

    return _anywhere(folder, rng, change)


def linked(folder: Path, rng: Random) -> str:
    """A file or the graphs' folder is a link to what lies outside: the same today."""
    path = folder / _pick(rng, [*GRAPHS, "config.json", "tokenizer.json", "manifest.json", "onnx"])
    real = folder.parent / "linked"
    if real.is_dir():
        shutil.rmtree(real)
    real.unlink(missing_ok=True)
    path.rename(real)
    path.symlink_to(real)
    return f"{path.name} is a link"


def stranger(folder: Path, rng: Random) -> str:
    """A file or a folder that nothing needs, listed or not."""
    name = _pick(rng, ["modeling_llava.py", "onnx/more.onnx", "special_tokens_map.json", "pytorch_model.bin", "cache/"])
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(b"{}")
    return f"{name} added"


def _text(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    content = json.loads((folder / name).read_text())
    before = json.dumps(content)
    change(content)
    if json.dumps(content) == before:
        raise NothingChanged
    (folder / name).write_text(json.dumps(content, indent=2))
    return name


def doubled_key(folder: Path, rng: Random) -> str:
    """A key of a JSON file stands twice, first with another value: readers differ on which one counts."""
    files = [
        "config.json",
        "preprocessor_config.json",
        "tokenizer_config.json",
        "manifest.json",
        "processor_config.json",
    ]
    path = folder / _pick(rng, files)
    key = _pick(rng, json.loads(path.read_text()))
    path.write_text(path.read_text().replace("{", f'{{{json.dumps(key)}: "forged",', 1))
    return f"{path.name}: {key} stands twice"


def pictures(folder: Path, rng: Random) -> str:
    """Mean, deviation or scale of a picture's pixels, in one of the two files that say it."""
    name = _pick(rng, ["preprocessor_config.json", "processor_config.json"])

    def change(content: dict[str, Any]) -> None:
        table = content.get("image_processor", content)
        key = _pick(rng, ["image_mean", "image_std"])
        table[key] = [value * 1.02 for value in table[key]]

    return _text(folder, name, change) + ": pixels"


def template(folder: Path, rng: Random) -> str:
    """The chat template, in the file of its own or in the tokenizer's configuration."""
    path = folder / "chat_template.jinja"
    if rng.random() < 0.5 and path.is_file():
        path.write_text(path.read_text() + " Answer in verse.")
        return "chat_template.jinja"

    def change(content: dict[str, Any]) -> None:
        if not content.get("chat_template"):
            raise NothingChanged
        content["chat_template"] += " Answer in verse."

    return _text(folder, "tokenizer_config.json", change) + ": template"


def stopping(folder: Path, rng: Random) -> str:
    """Where generation stops, or how it samples."""
    key, value = _pick(rng, [("eos_token_id", 7), ("temperature", 0.3), ("bos_token_id", 9), ("max_length", 3)])

    def change(content: dict[str, Any]) -> None:
        content[key] = value

    return _text(folder, "generation_config.json", change) + f": {key}"


def added_token(folder: Path, rng: Random) -> str:
    """A special token is no longer special, or another one."""

    def change(content: dict[str, Any]) -> None:
        token = _pick(rng, content["added_tokens"])
        token["special"] = not token["special"]

    return _text(folder, "tokenizer.json", change) + ": an added token"


def said(folder: Path, rng: Random) -> str:
    """The manifest says something else, where that suits."""

    def change(content: dict[str, Any]) -> None:
        edits: list[tuple[str, Any]] = [
            ("random_weights", not content["random_weights"]),
            ("precision", _pick(rng, {"fp32", "fp16", "int8", "int4"} - {content["precision"]})),
            ("base_precision", "fp16" if content["base_precision"] == "fp32" else "fp32"),
            ("all_logits", not content["all_logits"]),
            ("weights", "/nowhere/forged.safetensors"),
            ("weights_sha256", "0" * 64),
            ("checkpoint_sha256", "0" * 64),
            ("query", "another question" if content["query"] else "a question"),
            ("opset", 24),
            ("graph_revision", 2),
            ("versions", content["versions"] | {"payload": "1.0"}),
            ("vlmplan_version", "see forged.example for the right one"),
            ("visual_tokens", 1 if content["visual_tokens"] > 1 else 4),
            ("clients", [*content["clients"], "all"]),
            ("image", [640, 640]),
        ]
        key, value = _pick(rng, edits)
        content[key] = value

    return _text(folder, "manifest.json", change)


def loosened(folder: Path, rng: Random) -> str:
    """The plan in the manifest has a wider budget, or predicts slower times."""

    def change(content: dict[str, Any]) -> None:
        if not content["plan"]:
            raise NothingChanged
        plan = content["plan"]
        if rng.random() < 0.5:
            plan["budget"]["latency_s"] = 1e3
        else:
            plan["choice"]["latency_interval_s"] = [0.0, 1e3]

    return _text(folder, "manifest.json", change) + ": plan"


# The wire format itself, and what lies between the tensors.


def _number(value: int) -> bytes:
    """A varint."""
    found = bytearray()
    while True:
        value, low = value >> 7, value & 127
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


def _read_number(content: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _fields(content: bytes) -> list[tuple[int, int, Any]]:
    """Fields of a message: number, wire type, value."""
    at, found = 0, []
    while at < len(content):
        tag, at = _read_number(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_number(content, at)
            found.append((tag >> 3, kind, value))
            continue
        size, at = _read_number(content, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        found.append((tag >> 3, kind, content[at : at + size]))  # type: ignore[arg-type]
        at += size
    return found


def _written(fields: list[tuple[int, int, Any]]) -> bytes:
    parts = []
    for number, kind, value in fields:
        body = _number(value) if kind == 0 else _number(len(value)) + value if kind == 2 else value
        parts.append(_number(number << 3 | kind) + body)
    return b"".join(parts)


def _packed(fields: list[tuple[int, int, Any]], number: int) -> list[tuple[int, int, Any]]:
    """Numbers of a repeated field in one piece: readers take it for the same, and it is shorter."""
    values = [value for one, kind, value in fields if one == number and kind == 0]
    if len(values) < 3:
        return fields
    rest = [field for field in fields if field[0] != number]
    return [*rest, (number, 2, b"".join(map(_number, values)))]


def _tight_node(node: bytes) -> bytes:
    return _written(
        [(one, wire, _written(_packed(_fields(inner), 8)) if one == 5 else inner) for one, wire, inner in _fields(node)]
    )


def _shorter(content: bytes) -> bytes:
    """A model with the shapes of its tensors and the lists of its attributes packed."""
    model = []
    for number, kind, value in _fields(content):
        if number == 7:
            tight: dict[int, Callable[[bytes], bytes]] = {
                1: _tight_node,
                5: lambda tensor: _written(_packed(_fields(tensor), 1)),
            }
            graph = [(one, wire, tight.get(one, bytes)(inner)) for one, wire, inner in _fields(value)]
            model.append((number, kind, _written(graph)))
        else:
            model.append((number, kind, value))
    return _written(model)


def filled(folder: Path, rng: Random) -> str:
    """What a shorter spelling saves is filled by a field that nobody knows: the file has the length it should have."""
    path = folder / _pick(rng, GRAPHS)
    content = path.read_bytes()
    short = _shorter(content)
    saved = len(content) - len(short) - 2  # a tag has two bytes
    room = next((saved - size for size in (1, 2) if saved > size and len(_number(saved - size)) == size), 0)
    if not room:
        raise NothingChanged
    path.write_bytes(short + b"\xfa\x3f" + _number(room) + b"payload!".ljust(room, b"x")[:room])
    assert path.stat().st_size == len(content)
    return f"{path.name}: {room} bytes in the place of a longer spelling"


def respelt(folder: Path, rng: Random) -> str:
    """The same message in other bytes: fields in another order, a long number, a message in two pieces."""
    path = folder / _pick(rng, GRAPHS)
    content = path.read_bytes()
    fields = _fields(content)
    kind = _pick(rng, ["order", "long", "pieces", "packed"])
    match kind:
        case "order":
            done = _written(fields[::-1])
        case "long":
            number, _, value = fields[0]
            done = _number(number << 3) + bytes([value | 128, 0]) + _written(fields[1:])
        case "pieces":
            whole = next(value for number, _, value in fields if number == 7)
            inner = _fields(whole)
            half = [(7, 2, _written(inner[:3])), (7, 2, _written(inner[3:]))]
            done = _written([one for field in fields for one in (half if field[0] == 7 else [field])])
        case _:
            done = _shorter(content)
    if done == content:
        raise NothingChanged
    path.write_bytes(done)
    return f"{path.name}: other {kind}"


def _moved(model: onnx.ModelProto, by: int) -> None:
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "offset":
                entry.value = str(int(entry.value) + by)


def zeros_before(folder: Path, rng: Random) -> str:
    """Fewer zeros than a page before the first tensor of a data file: how many is a message."""
    path, count = _data(folder, rng), int(rng.integers(1, 65536))
    path.write_bytes(bytes(count) + path.read_bytes())

    def change(model: onnx.ModelProto) -> str:
        _moved(model, count)
        return f"{count} zeros before its data"

    return _edit(folder, f"onnx/{path.name.removesuffix('_data')}", change)


def swapped_data(folder: Path, rng: Random) -> str:
    """Two tensors in another order, in the data file or in the graph: which order is a message."""
    path = _data(folder, rng)
    content = path.read_bytes()

    def change(model: onnx.ModelProto) -> str:
        apart = [
            (one.name, {entry.key: entry for entry in one.external_data})
            for one in model.graph.initializer
            if one.external_data
        ]
        apart.sort(key=lambda one: int(one[1]["offset"].value))
        if len(apart) < 2:
            raise NothingChanged
        at = int(rng.integers(len(apart) - 1))
        first, second = (entries for _, entries in apart[at : at + 2])
        begin, cut = int(first["offset"].value), int(second["offset"].value)
        end = cut + int(second["length"].value)
        path.write_bytes(content[:begin] + content[cut:end] + content[begin:cut] + content[end:])
        first["offset"].value, second["offset"].value = str(begin + end - cut), str(begin)
        return f"{apart[at][0]} after {apart[at + 1][0]}"

    return _edit(folder, f"onnx/{path.name.removesuffix('_data')}", change)


def reordered(folder: Path, rng: Random) -> str:
    """Initialisers, or what is said of values between, in another order."""

    def change(model: onnx.ModelProto) -> str:
        kind = _pick(rng, ["initializer", "value_info"])
        items = getattr(model.graph, kind)
        if len(items) < 2:
            raise NothingChanged
        kept = [one.SerializeToString() for one in (items[1], items[0], *items[2:])]
        del items[:]
        for one in kept:
            items.add().ParseFromString(one)
        return f"{kind} in another order"

    return _anywhere(folder, rng, change)


def _named_apart(folder: Path, names: list[str]) -> None:
    """The configuration says which graphs have a data file."""

    def change(content: dict[str, Any]) -> None:
        table = content.setdefault("transformers.js_config", {"use_external_data_format": {}})
        table["use_external_data_format"] |= {Path(name).name: True for name in names}

    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def empty_data(folder: Path, rng: Random) -> str:
    """A data file without data, that the configuration and the manifest know of."""
    within = [name for name in GRAPHS if not (folder / f"{name}_data").exists()]
    names = within if rng.random() < 0.5 else [_pick(rng, within)]
    if not names:
        raise NothingChanged
    for name in names:
        (folder / f"{name}_data").touch()
    _named_apart(folder, names)
    return f"empty data files for {len(names)} graphs"


def beside(folder: Path, rng: Random) -> str:
    """A graph's data in a file beside it that is not due: laid as onnx lays them, or as an export, of a small graph."""
    within = [name for name in GRAPHS if not (folder / f"{name}_data").exists()]
    if len(within) < 2:
        raise NothingChanged
    name = min(within, key=lambda one: (folder / one).stat().st_size)
    if rng.random() < 0.5 or len(within) < 3:
        whole, place = onnx.load(folder / name), f"{Path(name).name}_data"
        onnx.save(whole, folder / name, save_as_external_data=True, location=place, size_threshold=0)
    else:
        import onnx_ir

        onnx_ir.save(onnx_ir.load(folder / name), folder / name, external_data=f"{Path(name).name}_data")
    _named_apart(folder, [name])
    return f"{name} with its data beside it"


def payload_nan(folder: Path, rng: Random) -> str:
    """A weight becomes a number that is none, with a message in its bits, or one too small to be normal."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, [one for one in _floats(model) if one.data_type == 1])
        values = numpy_helper.to_array(tensor).copy()
        flat = values.reshape(-1).view(np.uint32)
        flat[int(rng.integers(flat.size))] = _pick(rng, [0x7FC0DEAD, 0x00000001, 0x7F800000])
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return f"odd bits in {tensor.name}"

    return _anywhere(folder, rng, change)


def default_input(folder: Path, rng: Random) -> str:
    """A weight is an input too: whoever runs the graph may replace it."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, model.graph.initializer)
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        return f"{tensor.name} is an input"

    return _anywhere(folder, rng, change)


def branch(folder: Path, rng: Random) -> str:
    """An output goes through a branch, with another answer on its other side."""

    def change(model: onnx.ModelProto) -> str:
        graph = model.graph
        last = next(node for node in graph.node if graph.output[0].name in node.output)
        name = graph.output[0].name
        last.output[list(last.output).index(name)] = "inner"
        graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
        sides = [
            helper.make_graph(
                [helper.make_node(kind, ["inner"], [f"{kind}.out"])], kind, [],
                [helper.make_tensor_value_info(f"{kind}.out", TensorProto.FLOAT, None)],
            )
            for kind in ("Identity", "Neg")
        ]  # fmt: skip
        graph.node.append(helper.make_node("If", ["always"], [name], then_branch=sides[0], else_branch=sides[1]))
        return f"{name} through a branch"

    return _anywhere(folder, rng, change)


def header(folder: Path, rng: Random) -> str:
    """Versions and names of the model itself, an import that stands twice, or what an axis is said to be."""

    def change(model: onnx.ModelProto) -> str:
        kind = _pick(rng, ["ir", "version", "domain", "producer", "import", "axis", "type"])
        shape = model.graph.input[0].type.tensor_type.shape
        match kind:
            case "ir":
                model.ir_version = 11
            case "version":
                model.model_version = 7
            case "domain":
                model.domain = "forged"
            case "producer":
                model.producer_name = "vlmplan "
            case "import":
                model.opset_import.add(domain="", version=model.opset_import[0].version)
            case "axis":
                shape.dim[0].denotation = "BATCH"
            case _:
                model.graph.input[0].type.denotation = "TENSOR"
        return f"its {kind}"

    return _anywhere(folder, rng, change)


def described(folder: Path, rng: Random) -> str:
    """Types and axes of values between, more or others than drawn."""

    def change(model: onnx.ModelProto) -> str:
        name = _pick(rng, model.graph.node).output[0]
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["payload", 3]))
        return f"axes of {name}"

    return _anywhere(folder, rng, change)


def vocabulary(folder: Path, rng: Random) -> str:
    """One more word, or one that has another number."""

    def change(content: dict[str, Any]) -> None:
        words = content["model"]["vocab"]
        if rng.random() < 0.5:
            words["forged"] = len(words) + 50
        else:
            first, second = list(words)[:2]
            words[first], words[second] = words[second], words[first]

    return _text(folder, "tokenizer.json", change) + ": a word"


def one_key_more(folder: Path, rng: Random) -> str:
    """A key that no client of ours reads, and another may; or a remote class to load."""
    name = _pick(rng, ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"])
    key, value = _pick(rng, [("auto_map", {"AutoModel": "forged--x.Y"}), ("note", "hello"), ("do_pad", True)])

    def change(content: dict[str, Any]) -> None:
        content[key] = value

    return _text(folder, name, change) + f": {key}"


def spaced(folder: Path, rng: Random) -> str:
    """Spaces, tabs or escapes in a JSON file: the same to its readers, and a message."""
    names = ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "manifest.json"]
    path = folder / _pick(rng, names)
    text = path.read_text()
    match _pick(rng, ["end", "begin", "comma", "escape"]):
        case "end":
            done = text + " \t \t\t" * int(rng.integers(1, 2000))
        case "begin":
            done = "\n\t" + text
        case "comma":
            done = text.replace(",", " ,", 1)
        case _:
            at = text.index('"') + 1
            done = f"{text[:at]}\\u{ord(text[at]):04x}{text[at + 1 :]}"
    path.write_text(done)
    return f"{path.name}: other spaces or escapes"


def other_name(folder: Path, rng: Random) -> str:
    """A file whose name differs from a known one by case, is very long, or lies deep."""
    deep = "/".join(["deep"] * 40)
    names = ["Config.json", "onnx/Decoder_model_merged.onnx", "x" * 200, "config.json ", f"{deep}/config.json"]
    name = _pick(rng, names)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes((folder / "config.json").read_bytes())
    return f"{name[:40]} added"


def odd_number(folder: Path, rng: Random) -> str:
    """A number in the manifest or a configuration that readers take differently, or not at all."""
    name = _pick(rng, ["manifest.json", "config.json", "preprocessor_config.json"])
    path = folder / name
    text = path.read_text()
    one = _pick(rng, re.finditer(r'(?<!"size_bytes"): (\d+)(?=[,\n])', text))
    value = _pick(rng, ["1e309", "NaN", f"{one[1]}.0", f"{one[1]}e0", "-0", "true", "1" * 5000])
    if value == "-0" and one[1] == "0":
        raise NothingChanged
    path.write_text(text[: one.start(1)] + value + text[one.end(1) :])
    return f"{name}: {value[:10]} in the place of {one[1]}"


def made_by(folder: Path, rng: Random) -> str:
    """Versions that cannot have made it: of no such form, too old, too new, some missing."""

    def change(content: dict[str, Any]) -> None:
        library = _pick(rng, content["versions"])
        match _pick(rng, ["none", "old", "new", "words", "more"]):
            case "none":
                del content["versions"][library]
            case "old":
                content["versions"][_pick(rng, ["onnx", "onnx_ir", "onnxruntime", "torch"])] = "0.0.1"
            case "new":
                content["vlmplan_version"] = "99.0"
            case "words":
                content["versions"][library] = "1.0-totally-different"
            case _:
                content["versions"]["numpy"] = "2.0"

    return _text(folder, "manifest.json", change) + ": versions"


FORGERIES: tuple[Fault, ...] = (
    metadata,
    documentation,
    training,
    unknown_field,
    twice_encoded,
    function,
    domain,
    idle,
    renamed,
    named_node,
    sparse,
    doubled_data,
    nudged,
    rescaled,
    data_tail,
    data_moved,
    dangling,
    outside,
    linked,
    stranger,
    doubled_key,
    pictures,
    template,
    stopping,
    added_token,
    said,
    loosened,
    filled,
    respelt,
    zeros_before,
    swapped_data,
    reordered,
    empty_data,
    beside,
    payload_nan,
    default_input,
    branch,
    header,
    described,
    vocabulary,
    one_key_more,
    spaced,
    other_name,
    odd_number,
    made_by,
)


def agree_in_all(folder: Path) -> None:
    """Make the manifest list every file as it now is."""
    path = folder / "manifest.json"
    text = path.read_text()
    try:
        manifest = json.loads(text)
    except ValueError:
        return
    found = sorted(one for one in folder.rglob("*") if one.is_file() and one != path)
    files = {
        str(one.relative_to(folder)): {
            "size_bytes": one.stat().st_size,
            "sha256": hashlib.sha256(one.read_bytes()).hexdigest(),
        }
        for one in found
    }
    if manifest["files"] == files:
        return  # written as it was: a key that stands twice stays so
    path.write_text(json.dumps(manifest | {"files": files}, indent=2))


def forge(good: Path, folder: Path, seed: int) -> tuple[str, str]:
    """Copy an export and forge it; every digest agrees. Returns the kind and what was done.

    Raises NothingChanged where the forgery does not apply to this export.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    kinds = (*FORGERIES, *dict.fromkeys(FAULTS))
    kind = kinds[seed % len(kinds)]
    done = kind(folder, np.random.default_rng(seed))
    agree_in_all(folder)
    return kind.__name__, done
