"""Is there anything in a graph file that its graph has no need of? Every field of the protobuf, every byte of the data.

What a graph computes is compared elsewhere, tensor by tensor; here all else is: unknown fields, training steps,
metadata, documentation, and bytes beside the tensors. Some of it changes what a runtime does (ONNX Runtime can read its
settings from a model's metadata), and none of it belongs to an export.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, one_line, printable

_ALIGNMENT = 2**16  # tensors in a data file may begin at a page: onnx_ir and onnx leave zeros before them
_ALIGNED_ABOVE_BYTES = 2**20  # onnx_ir before 1.1 laid larger ones there, the smallest tensors first
_APART_ABOVE_BYTES = 256  # onnx_ir.save leaves smaller tensors in the graph file
_MOST_PROTO_BYTES = 2**31
_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def read_proto(path: Path) -> Any:
    """Return a graph file as a ModelProto, its external data not loaded. Raises InputError.

    The file has to be what protobuf writes of that message, byte for byte: fields by their numbers, each in its one
    spelling. Any other spelling (packed numbers, long varints, split messages) is room for what no reader sees.
    """
    import onnx

    if (size := path.stat().st_size) >= _MOST_PROTO_BYTES:
        raise InputError(f"{path.name} has {size} bytes, more than a protobuf holds")
    content = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # a broken protobuf raises what it likes
        raise InputError(f"{path.name} cannot be read ({one_line(error)})") from None
    model.DiscardUnknownFields()
    if model.ByteSize() != len(content) or model.SerializeToString(deterministic=True) != content:
        raise InputError(
            f"{path.name} has {len(content)} bytes, its fields take {model.ByteSize()}, and not those: something in it "
            "belongs to no field of ONNX, or stands twice, or is spelt as no writer spells it"
        )
    return model


def tensors_of(message: Any) -> Iterator[Any]:
    """Yield every TensorProto below a message, those in attributes and branches with them."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if not hasattr(value, "ListFields") else (value,):
                yield from tensors_of(one)


def check_tensors(path: Path, model: Any, *, own_names: bool = True) -> None:
    """Raise InputError where a reader could differ about a tensor's data, or a file holds more than the tensors.

    ``path`` is the graph file that ``model`` was read from; its data lie in it or beside it, in ``<name>_data`` unless
    ``own_names`` is off, which lets others name their files.
    """
    names = [tensor.name for tensor in model.graph.initializer]
    if twice := sorted({one for one in names if names.count(one) > 1} if len(set(names)) < len(names) else ()):
        raise InputError(f"{path.name} has {', '.join(map(printable, twice[:3]))} more than once")
    extents: dict[str, list[tuple[int, int]]] = {f"{path.name}_data": []}
    for tensor in tensors_of(model):
        where = f"{path.name}: {printable(tensor.name)}"
        held_bytes = len(tensor.raw_data) if tensor.HasField("raw_data") else None
        if tensor.data_location:
            location, *extent = _extent(where, tensor)
            if own_names and location not in extents:
                raise InputError(f"{where} has its data in {printable(location)}; expected {path.name}_data")
            extents.setdefault(location, []).append((extent[0], extent[1]))
            held_bytes = extent[1] - extent[0]
        elif tensor.external_data:
            raise InputError(f"{where} has its data here and elsewhere")
        typed = [field for field in _TYPED if len(getattr(tensor, field))]
        if own_names and typed:  # a number has many spellings there, and each leaves room for what no reader reads
            raise InputError(f"{where} has its data in {typed[0]}; expected raw_data, as exports are written")
        held = sum(bool(len(getattr(tensor, field))) for field in ("raw_data", *_TYPED))
        if not held and not tensor.data_location and math.prod(tensor.dims):
            raise InputError(f"{where} has no data, its shape needs some")
        if held > 1 or (held and tensor.data_location):
            raise InputError(f"{where} has its data more than once")
        _check_size(where, tensor, held_bytes)
    for location, spans in extents.items():
        _check_coverage(path.with_name(location), sorted(spans), strict=own_names)


def _check_size(where: str, tensor: Any, held_bytes: int | None) -> None:
    """Raise InputError where a tensor has not as many bytes as its shape needs; None where it has none of its own."""
    import onnx_ir

    try:
        bits = onnx_ir.DataType(tensor.data_type).bitwidth
    except (ValueError, TypeError):
        raise InputError(f"{where} is of a type ({tensor.data_type}) that no export has") from None
    due = -(-math.prod(tensor.dims) * bits // 8)
    if held_bytes is not None and held_bytes != due:
        raise InputError(f"{where} has {held_bytes} bytes, its shape needs {due}")


def _extent(where: str, tensor: Any) -> tuple[str, int, int]:
    """A tensor's data file, in the graph's folder, and its first and last byte (not included). Raises InputError."""
    given = [entry.key for entry in tensor.external_data]
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, numbers = entries.get("location", ""), [entries.get(key, "0") for key in ("offset", "length")]
    if len(given) != len(entries) or set(entries) - {"location", "offset", "length"} or "length" not in entries:
        raise InputError(f"{where} has {', '.join(given)} of external data; expected location, offset and length")
    if Path(location).name != location or not location.isprintable():
        raise InputError(f"{where} has its data outside the export, in {printable(location)}")
    if not all(one.isascii() and one.isdigit() and len(one) < 19 for one in numbers):
        raise InputError(f"{where} has its data at {', '.join(numbers)}; expected two numbers")
    return location, int(numbers[0]), int(numbers[0]) + int(numbers[1])


def _check_coverage(path: Path, extents: list[tuple[int, int]], strict: bool) -> None:
    """Raise InputError where a data file holds anything but tensors one after the other, zeros before a page aside.

    Unless ``strict``, tensors may share bytes, as others let tied ones.
    """
    if not path.exists():
        if extents:
            raise InputError(f"{path.name} is missing")
        return
    if not extents:
        raise InputError(f"{path.name} holds no tensor, and does not belong")
    size, end = path.stat().st_size, 0
    with path.open("rb") as stream:
        for first, last in extents:
            if last > size:
                raise InputError(f"{path.name} has {size} bytes; a tensor ends at {last}")
            if first < end:
                if not strict:
                    end = max(end, last)
                    continue
                raise InputError(f"{path.name}: two tensors share bytes at {first}")
            stream.seek(end)
            if first - end >= _ALIGNMENT or any(stream.read(first - end)):
                raise InputError(f"{path.name}: {first - end} bytes at {end} belong to no tensor")
            end = last
    if size != end:
        raise InputError(f"{path.name}: {size - end} bytes at its end belong to no tensor")


def _layouts(sizes_bytes: list[int]) -> Iterator[list[int]]:
    """Where onnx_ir lays tensors of these sizes in a data file, by their first bytes.

    One after the other since 1.1; before it the smallest came first, and large ones began at a page.
    Source: external_data.py of onnx_ir 1.1.0, 1.0.0 and 0.1.12.
    """
    yield [sum(sizes_bytes[:number]) for number in range(len(sizes_bytes))]
    offsets, end = [0] * len(sizes_bytes), 0
    for number in sorted(range(len(sizes_bytes)), key=lambda one: sizes_bytes[one]):
        if sizes_bytes[number] > _ALIGNED_ABOVE_BYTES:
            end = -(-end // _ALIGNMENT) * _ALIGNMENT
        offsets[number] = end
        end += sizes_bytes[number]
    yield offsets


def misplaced(drawn: Any, proto: Any, data: str | None) -> Iterator[str]:
    """Yield where a file's tensors are not as ``export`` writes those of a drawn onnx_ir model, a line each.

    In their order, and within the file; where it has a file ``data`` beside it, large ones in there, at their place.
    """
    due = {value.name: value.const_value.nbytes for value in drawn.graph.initializers.values()}
    names = [tensor.name for tensor in proto.graph.initializer]
    if names != list(due):
        yield "tensors are in another order, or others, than drawn"
        return
    apart = [name for name in names if data is not None and due[name] > _APART_ABOVE_BYTES]
    placed = {
        tensor.name: [(entry.key, entry.value) for entry in tensor.external_data]
        for tensor in proto.graph.initializer
        if tensor.data_location or tensor.external_data
    }
    if list(placed) != apart:
        wrong = sorted(set(placed) ^ set(apart))
        yield f"{wrong[0]} {'has' if wrong[0] in placed else 'lacks'} its data beside the file, unlike an export's"
        return
    for offsets in _layouts([due[name] for name in apart]):
        places = zip(apart, offsets, strict=True)
        want = {
            name: [("location", data), ("offset", str(offset)), ("length", str(due[name]))] for name, offset in places
        }
        if placed == want:
            return
    yield f"the tensors in {data} do not lie where an export's do"


def skeleton(model: Any) -> Any:
    """Return an onnx_ir model as a ModelProto without its weights: nothing of the checkpoint is read."""
    import onnx_ir

    values = list(model.graph.initializers.values())
    kept = [value.const_value for value in values]
    try:
        for value, tensor in zip(values, kept, strict=True):
            value.const_value = onnx_ir.ExternalTensor(
                "nowhere", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=value.name, base_dir=""
            )
        return onnx_ir.to_proto(model)
    finally:
        for value, tensor in zip(values, kept, strict=True):
            value.const_value = tensor


def beyond(want: Any, actual: Any) -> Iterator[str]:
    """Yield where two ModelProtos part in anything but the data of their tensors, a line each."""
    yield from _parted(want, actual, "")


def _parted(want: Any, actual: Any, where: str) -> Iterator[str]:
    """Where two messages of one type part, field by field, as far as either has it."""
    ours, theirs = ({one.name: value for one, value in message.ListFields()} for message in (want, actual))
    for field in sorted(set(ours) | set(theirs)):
        here = f"{where}.{field}" if where else field
        if here == "graph.initializer":
            yield from _parted_tensors(ours.get(field, ()), theirs.get(field, ()))
        elif field not in theirs:
            yield f"{here} is missing"
        elif field not in ours:
            yield f"{here} does not belong"
        else:
            yield from _parted_values(ours[field], theirs[field], here)


def _parted_values(want: Any, actual: Any, where: str) -> Iterator[str]:
    if hasattr(want, "ListFields"):
        yield from _parted(want, actual, where)
    elif isinstance(want, str | bytes | int | float):
        if _bits(want) != _bits(actual):
            yield f"{where}: expected {str(want)[:60]}, found {str(actual)[:60]}"
    elif len(want) != len(actual):
        yield f"{where}: expected {len(want)}, found {len(actual)}"
    else:
        for number, (one, other) in enumerate(zip(want, actual, strict=True)):
            yield from _parted_values(one, other, f"{where}[{number}]")


def _bits(value: Any) -> Any:
    """A value as it is stored: -0.0 equals 0.0, and is not the same."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def _parted_tensors(want: Any, actual: Any) -> Iterator[str]:
    """What initialisers have beside name, type, shape and data; those that one side lacks are told elsewhere."""
    known = {"dims", "data_type", "name", "raw_data", "data_location", "external_data", *_TYPED}
    names = {tensor.name for tensor in want}
    for tensor in actual:
        extra = {field.name for field, _ in tensor.ListFields()} - known
        if extra and tensor.name in names:
            yield f"{tensor.name}: {', '.join(sorted(extra))} does not belong"
