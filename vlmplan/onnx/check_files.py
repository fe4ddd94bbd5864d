"""Is the export what it says it is? Digests, configuration, interface, operators and every weight.

Each function yields :class:`Check`; none stops at the first fault, since a second one may say more.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, one_line
from vlmplan.manifest import FILE_NAME, GRAPH_REVISION, GRAPHS, VISION, Manifest, data_file, file_sha256
from vlmplan.onnx.compare import Differences, compare
from vlmplan.onnx.export import Parts, Progress, manifest_of
from vlmplan.onnx.folder import part_of, texts
from vlmplan.report import MOST_LISTED, Check, verdict


def integrity(folder: Path, manifest: Manifest) -> Check:
    """Every file of the manifest is there, whole and unchanged, and no other file is: clients read what they find."""
    faults = []
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != digest.size_bytes:
            faults.append(f"{name} has {path.stat().st_size} bytes, the manifest says {digest.size_bytes}")
        elif file_sha256(path) != digest.sha256:
            faults.append(f"{name} has another SHA-256 than the manifest says")
    whole = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    strangers = sorted({str(path.relative_to(folder)) for path in whole} - {FILE_NAME, *manifest.files})
    if strangers:
        faults.append(f"{', '.join(strangers[:MOST_LISTED])} not in the manifest")
    size = sum(digest.size_bytes for digest in manifest.files.values())
    return verdict("integrity", faults, f"{len(manifest.files)} files, {size / 1e6:.1f} MB, as the manifest says")


def due_texts(manifest: Manifest, parts: Parts) -> dict[str, bytes]:
    """Return file name -> content of everything but graphs and manifest, as exporting this checkpoint would write."""
    external = tuple(name for name in GRAPHS if data_file(name) in manifest.files)
    return texts(parts.checkpoint, parts.order.visual_tokens, external)


def promises(manifest: Manifest, parts: Parts, due_files: dict[str, bytes]) -> Check:
    """The manifest says of the export what exporting this checkpoint would; ``due_files`` are its texts."""
    due = manifest_of(parts, dict(manifest.files))
    due = replace(
        due,
        vlmplan_version=manifest.vlmplan_version,
        versions=manifest.versions,
        graph_revision=manifest.graph_revision,
        checkpoint=manifest.checkpoint,
        weights=manifest.weights,
    )
    needed = {*GRAPHS, *due_files}
    allowed = needed | {data_file(name) for name in GRAPHS}
    faults = [f"files: {name} is not listed" for name in sorted(needed - set(manifest.files))]
    faults += [f"files: {name} does not belong" for name in sorted(set(manifest.files) - allowed)]
    if manifest.graph_revision != GRAPH_REVISION:
        faults.append(f"graph_revision: {manifest.graph_revision}; this vlmplan draws {GRAPH_REVISION}; export again")
    faults += [
        f"{key}: expected {getattr(due, key)}, found {getattr(manifest, key)}"
        for key in manifest.__dataclass_fields__
        if getattr(due, key) != getattr(manifest, key)
    ]
    return verdict("manifest", faults, "says what exporting this checkpoint would")


def _meaning(name: str, content: bytes) -> Any:
    """A file's content as clients read it: JSON in UTF-8, whatever its layout."""
    if not name.endswith(".json"):
        return content
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError):
        return content


def _same(want: Any, found: Any) -> bool:
    """Equal with their types: to a client 36 is not 36.0, nor 1 true."""
    if isinstance(want, bytes) or isinstance(found, bytes):
        return bool(want == found)
    return json.dumps(want, sort_keys=True) == json.dumps(found, sort_keys=True)


def configuration(folder: Path, due_files: dict[str, bytes]) -> Check:
    """Configuration, processor and tokenizer are those that the checkpoint and the visual tokens ask for."""
    faults = []
    for name, content in due_files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
            continue
        want, found = _meaning(name, content), _meaning(name, path.read_bytes())
        if not _same(want, found):
            faults.append(_difference(name, want, found))
    return verdict("configuration", faults, f"{len(due_files)} files as the checkpoint asks for")


def _difference(name: str, want: Any, found: Any) -> str:
    """The first key at which two documents part."""
    if isinstance(want, dict) and isinstance(found, dict):
        for key in sorted(set(want) | set(found)):
            if not _same(want.get(key), found.get(key)):
                return _difference(f"{name}: {key}", want.get(key), found.get(key))
    short = [text if len(text := str(value)) < 80 else text[:80] + "..." for value in (want, found)]
    return f"{name}: expected {short[0]}, found {short[1]}"


def load_graph(folder: Path, name: str) -> Any:
    """Return a graph file as an onnx_ir model, its data checked to be there. Raises InputError."""
    import onnx
    import onnx_ir

    if not (folder / name).is_file():
        raise InputError(f"{name} is missing")
    try:
        _check_unambiguous(name, onnx.load(folder / name, load_external_data=False).graph)
        model = onnx_ir.load(folder / name)
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, onnx_ir.ExternalTensor):
                _check_extent(folder / name, tensor)
    except InputError:
        raise
    except Exception as error:  # a broken protobuf raises what it likes
        raise InputError(f"{name} cannot be read ({one_line(error)})") from None
    return model


def _check_unambiguous(name: str, graph: Any) -> None:
    """Raise InputError where readers could differ about which of two tensors or operators is meant."""
    names = [tensor.name for tensor in graph.initializer]
    twice = sorted({one for one in names if names.count(one) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(f"{name} has {', '.join(twice[:MOST_LISTED])} more than once")
    if graph.sparse_initializer or graph.quantization_annotation:
        raise InputError(f"{name} has sparse or annotated tensors, which do not belong")
    if any(node.overload for node in graph.node):
        raise InputError(f"{name} has overloaded operators, which do not belong")


def _check_extent(path: Path, tensor: Any) -> None:
    """Raise InputError where a tensor's data lies outside its file, or the file outside the folder."""
    data = path.parent / tensor.location
    if data.resolve().parent != path.parent.resolve():
        raise InputError(f"{path.name}: the data of {tensor.name} lies outside the export")
    end = (tensor.offset or 0) + (tensor.length or 0)
    if not data.is_file() or data.stat().st_size < end:
        raise InputError(f"{path.name}: the data of {tensor.name} ends beyond {tensor.location}")


def _compared(name: str, expected: Any, actual: Any) -> Differences:
    """Compare, or raise InputError where a tensor's data cannot be had."""
    try:
        return compare(expected, actual, close=frozenset({"query"}))
    except (ValueError, OSError, TypeError) as error:  # as onnx_ir says that data are too short, or linked twice
        raise InputError(f"{name}: a tensor cannot be read ({one_line(error)})") from None


def graphs(folder: Path, manifest: Manifest, parts: Parts, query: Any | None, progress: Progress) -> Iterator[Check]:
    """Interface, operators and weights of the three graphs, against the checkpoint drawn anew.

    ``query`` is QueCC's baked embedding as PyTorch computes it, so it is compared within rounding.
    """
    found: dict[str, Differences] = {}
    unreadable: list[str] = []
    for number, name in enumerate(GRAPHS):
        progress(f"comparing {part_of(name)}", number, len(GRAPHS))
        try:
            actual = load_graph(folder, name)
            expected = parts.graph(name, query if name == VISION else None)
            found[part_of(name)] = _compared(name, expected, actual)
        except InputError as error:
            unreadable.append(str(error))
    unread = [f"{part_of(name)} cannot be read" for name in GRAPHS if part_of(name) not in found]
    for kind, good in (
        ("interface", "inputs, outputs, dynamic axes and opsets as documented"),
        ("structure", "every operator as drawn from the checkpoint's configuration"),
    ):
        faults = [f"{part}: {line}" for part, one in found.items() for line in getattr(one, kind)]
        yield verdict(kind, (unreadable if kind == "interface" else unread) + faults, good)
    count = sum(one.weights_compared for one in found.values())
    size = sum(one.bytes_compared for one in found.values())
    faults = [f"{part}: {line}" for part, one in found.items() for line in one.weights]
    good = f"{count} tensors, {size / 1e6:.1f} MB, bit for bit those of the checkpoint at {manifest.precision}"
    yield verdict("weights", unread + faults, good)
