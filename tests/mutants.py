"""Ways to spoil an export: one seeded fault each, with or without the manifest's digests made to agree again."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

VISION, EMBED, DECODER = (
    "onnx/vision_encoder.onnx",
    "onnx/embed_tokens.onnx",
    "onnx/decoder_model_merged.onnx",
)
Random = np.random.Generator
Fault = Callable[[Path, Random], str]


class NothingChanged(Exception):  # noqa: N818 - a state
    """The fault left every byte of meaning as it was: no mutant."""


def _pick(rng: Random, items: list[Any]) -> Any:
    if not items:
        raise NothingChanged
    return items[int(rng.integers(len(items)))]


def _edit(folder: Path, name: str, change: Callable[[onnx.ModelProto], str]) -> str:
    """Load a graph, change it, save it; the description of what was done."""
    model = onnx.load(folder / name)
    said = change(model)
    onnx.save(model, folder / name)
    return f"{name}: {said}"


def rewired(folder: Path, change: Callable[[Any], None], name: str = VISION) -> None:
    """Change one of an export's graphs in place."""
    model = onnx.load(folder / name)
    change(model.graph)
    onnx.save(model, folder / name)


def revalued(folder: Path, name: str, values: Callable[[Any], Any], graph: str = VISION) -> None:
    """Give an initialiser other values, made of its own."""

    def change(held: Any) -> None:
        tensor = next(one for one in held.initializer if one.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values(numpy_helper.to_array(tensor))), name))

    rewired(folder, change, graph)


def _floats(model: onnx.ModelProto, least: int = 2) -> list[Any]:
    return [one for one in model.graph.initializer if one.data_type in (1, 10, 2) and np.prod(one.dims) >= least]


def _store(tensor: Any, values: np.ndarray[Any, Any]) -> None:
    if np.array_equal(values, numpy_helper.to_array(tensor)):
        raise NothingChanged
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def flipped_bit(folder: Path, rng: Random) -> str:
    """One bit of the exponent of one weight."""

    def change(model: onnx.ModelProto) -> str:
        tensor = _pick(rng, _floats(model))
        values = numpy_helper.to_array(tensor).copy()
        bits = values.view({4: np.uint32, 2: np.uint16, 1: np.uint8}[values.itemsize]).reshape(-1)
        place = int(rng.integers(bits.size))
        low, high = {4: (23, 31), 2: (10, 15), 1: (0, 8)}[values.itemsize]
        bits[place] ^= bits.dtype.type(1 << int(rng.integers(low, high)))
        _store(tensor, values)
        return f"a bit of {tensor.name}"

    return _edit(folder, _pick(rng, [VISION, EMBED, DECODER]), change)


def swapped(folder: Path, rng: Random) -> str:
    """Two tensors of one shape change places."""

    def change(model: onnx.ModelProto) -> str:
        first = _pick(rng, _floats(model))
        alike = [
            one
            for one in _floats(model)
            if one.dims == first.dims and one.data_type == first.data_type and one.name != first.name
        ]
        second = _pick(rng, alike)
        ours, theirs = numpy_helper.to_array(first).copy(), numpy_helper.to_array(second).copy()
        _store(first, theirs)
        _store(second, ours)
        return f"{first.name} and {second.name} swapped"

    return _edit(folder, _pick(rng, [VISION, DECODER]), change)


def transposed(folder: Path, rng: Random) -> str:
    """A square weight is stored the other way."""

    def change(model: onnx.ModelProto) -> str:
        square = [one for one in _floats(model) if len(one.dims) == 2 and one.dims[0] == one.dims[1]]
        tensor = _pick(rng, square)
        _store(tensor, numpy_helper.to_array(tensor).T)
        return f"{tensor.name} transposed"

    return _edit(folder, _pick(rng, [VISION, DECODER]), change)


def rolled_positions(folder: Path, rng: Random) -> str:
    """Every patch gets its neighbour's position."""

    def change(model: onnx.ModelProto) -> str:
        names = ("position_embedding", "tower.inverse_frequencies")
        tensor = next(one for one in model.graph.initializer if any(name in one.name for name in names))
        axis = -2 if len(tensor.dims) > 1 else 0
        _store(tensor, np.roll(numpy_helper.to_array(tensor), int(rng.choice([-1, 1])), axis=axis))
        return "positions off by one"

    return _edit(folder, VISION, change)


def shuffled_tokens(folder: Path, rng: Random) -> str:
    """The visual tokens come out in another order."""

    def change(model: onnx.ModelProto) -> str:
        output = model.graph.output[0]
        count = output.type.tensor_type.shape.dim[1].dim_value
        order = rng.permutation(count)
        if np.array_equal(order, np.arange(count)):
            raise NothingChanged
        for node in model.graph.node:
            node.output[:] = ["ordered" if name == output.name else name for name in node.output]
        model.graph.initializer.append(numpy_helper.from_array(order.astype(np.int64), "order"))
        model.graph.node.append(helper.make_node("Gather", ["ordered", "order"], [output.name], axis=1))
        return "visual tokens shuffled"

    return _edit(folder, VISION, change)


def wrong_activation(folder: Path, rng: Random) -> str:
    """One activation is another."""

    def change(model: onnx.ModelProto) -> str:
        node = _pick(rng, [one for one in model.graph.node if one.op_type in ("Sigmoid", "Gelu")])
        was = node.op_type
        if was == "Gelu":
            node.attribute.append(helper.make_attribute("approximate", "tanh"))
            return "Gelu by its tanh approximation"
        node.op_type = str(rng.choice(["Tanh", "HardSigmoid", "Softsign"]))
        return f"{was} became {node.op_type}"

    return _edit(folder, _pick(rng, [VISION, DECODER]), change)


def wrong_mask(folder: Path, rng: Random) -> str:
    """The causal mask is off by one, or sees everything."""

    def change(model: onnx.ModelProto) -> str:
        node = next(one for one in model.graph.node if one.op_type == "LessOrEqual")
        node.op_type = str(rng.choice(["Less", "GreaterOrEqual"]))
        return f"mask by {node.op_type}"

    return _edit(folder, DECODER, change)


def frozen_positions(folder: Path, rng: Random) -> str:
    """Rotary angles stand still, or run backwards."""

    def change(model: onnx.ModelProto) -> str:
        tensor = next(one for one in model.graph.initializer if one.name == "rotary.inverse_frequencies")
        values = numpy_helper.to_array(tensor)
        _store(tensor, values * np.float32(rng.choice([0.0, 0.5, 1.01])))
        return "rotary frequencies scaled"

    return _edit(folder, DECODER, change)


def missing_cache(folder: Path, rng: Random) -> str:
    """One layer's keys are no longer handed on."""

    def change(model: onnx.ModelProto) -> str:
        output = _pick(rng, [one for one in model.graph.output if one.name.startswith("present")])
        model.graph.output.remove(output)
        return f"{output.name} is gone"

    return _edit(folder, DECODER, change)


def crossed_cache(folder: Path, rng: Random) -> str:
    """One layer reads another layer's cache."""

    def change(model: onnx.ModelProto) -> str:
        part = str(rng.choice(["key", "value"]))
        names = [one.name for one in model.graph.input if one.name.endswith(f".{part}")]
        if len(names) < 2:
            raise NothingChanged
        crossed = {names[0]: names[-1], names[-1]: names[0]}
        for node in model.graph.node:
            node.input[:] = [crossed.get(name, name) for name in node.input]
        return "caches of two layers crossed"

    return _edit(folder, DECODER, change)


def changed_attribute(folder: Path, rng: Random) -> str:
    """An attribute of an operator has another value."""

    def change(model: onnx.ModelProto) -> str:
        wanted = {"epsilon", "scale", "num_heads", "kv_num_heads", "perm", "axis"}
        pairs = [(node, one) for node in model.graph.node for one in node.attribute if one.name in wanted]
        node, attribute = _pick(rng, pairs)
        if attribute.type == onnx.AttributeProto.FLOAT:
            attribute.f *= 1.5
        elif attribute.type == onnx.AttributeProto.INTS:
            attribute.ints[:] = list(attribute.ints)[::-1]
        else:
            attribute.i = attribute.i * 2 if attribute.i > 0 else 1
        return f"{attribute.name} of a {node.op_type}"

    return _edit(folder, _pick(rng, [VISION, DECODER]), change)


def bypassed_layer(folder: Path, rng: Random) -> str:
    """One residual addition adds nothing."""

    def change(model: onnx.ModelProto) -> str:
        names = {one.name for one in model.graph.initializer}
        adds = [one for one in model.graph.node if one.op_type == "Add" and not set(one.input) & names]
        node = _pick(rng, adds)
        node.op_type = "Sub"
        return "a residual is subtracted"

    return _edit(folder, _pick(rng, [VISION, DECODER]), change)


def _json(folder: Path, name: str, change: Callable[[dict[str, Any]], str]) -> str:
    content = json.loads((folder / name).read_text())
    before = json.dumps(content, sort_keys=True)
    said = change(content)
    if json.dumps(content, sort_keys=True) == before:
        raise NothingChanged
    (folder / name).write_text(json.dumps(content, indent=2))
    return f"{name}: {said}"


def wrong_token_count(folder: Path, rng: Random) -> str:
    """The processor counts another number of visual tokens."""

    def change(content: dict[str, Any]) -> str:
        keys = ("image_seq_len", "image_seq_length", "num_additional_image_tokens")
        table = content if any(one in content for one in keys) else content["image_processor"]
        key = next(one for one in (*keys, "merge_size", "spatial_merge_size", "downsample_factor") if one in table)
        table[key] += int(rng.choice([-1, 1]))
        return "visual tokens miscounted"

    return _json(folder, "processor_config.json", change)


def edited_config(folder: Path, rng: Random) -> str:
    """A value of a configuration is another."""
    name = _pick(rng, ["config.json", "preprocessor_config.json", "generation_config.json"])

    def change(content: dict[str, Any]) -> str:
        table, keys = content, [key for key, value in content.items() if value is not None]
        key = _pick(rng, keys)
        while isinstance(table[key], dict) and table[key]:
            table, key = table[key], _pick(rng, list(table[key]))
        value = table[key]
        if isinstance(value, bool):
            table[key] = not value
        else:
            table[key] = value * 2 + 1 if isinstance(value, int | float) else "something else"
        return f"{key} edited"

    return _json(folder, name, change)


def edited_tokenizer(folder: Path, rng: Random) -> str:
    """Two tokens change numbers."""

    def change(content: dict[str, Any]) -> str:
        vocabulary = content["model"]["vocab"]
        first, second = rng.choice(list(vocabulary), 2, replace=False).tolist()
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
        return "two tokens swapped"

    return _json(folder, "tokenizer.json", change)


def edited_manifest(folder: Path, rng: Random) -> str:
    """The manifest promises something else."""

    def change(content: dict[str, Any]) -> str:
        edits: dict[str, Any] = {
            "visual_tokens": content["visual_tokens"] * 4 + 1,
            "image_size": content["image_size"] + 14,
            "compressor": "pixel-shuffle",
            "clients": ["vlmplan", "everything"],
            "padding": "right",
            "random_weights": not content["random_weights"],
            "precision": "int8" if content["precision"] != "int8" else "int4",
        }
        key = _pick(rng, sorted(edits))
        content[key] = edits[key]
        return f"{key} edited"

    return _json(folder, "manifest.json", change)


def truncated(folder: Path, rng: Random) -> str:
    """A file ends early."""
    path = folder / _pick(rng, [VISION, EMBED, DECODER, "config.json", "tokenizer.json"])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * rng.uniform(0.05, 0.999))])
    return f"{path.name} truncated"


def deleted(folder: Path, rng: Random) -> str:
    """A file is gone."""
    path = folder / _pick(rng, [VISION, EMBED, DECODER, "config.json", "tokenizer.json", "processor_config.json"])
    path.unlink()
    return f"{path.name} deleted"


FAULTS: tuple[Fault, ...] = (
    flipped_bit,
    flipped_bit,
    swapped,
    transposed,
    rolled_positions,
    shuffled_tokens,
    wrong_activation,
    wrong_mask,
    frozen_positions,
    missing_cache,
    crossed_cache,
    changed_attribute,
    bypassed_layer,
    wrong_token_count,
    edited_config,
    edited_tokenizer,
    edited_manifest,
    truncated,
    deleted,
)


def agree(folder: Path) -> None:
    """Make the manifest's digests those of the files as they now are."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in list(manifest["files"]):
        if not (folder / name).is_file():
            del manifest["files"][name]
            continue
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest, indent=2))


def mutant(good: Path, folder: Path, seed: int) -> str:
    """Copy an export and spoil it; every second fault is hidden from the digests. Returns what was done.

    Raises NothingChanged where the fault had no effect.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    rng = np.random.default_rng(seed)
    said = FAULTS[seed // 2 % len(FAULTS)](folder, rng)
    if seed % 2:
        agree(folder)
        said += ", digests recomputed"
    return said
