"""What does a graph file by others carry that its results are not made of, and how long may it take to load?

Others leave unused tensors, stack traces and licences in their graphs: that is said. A data file of nothing but these
is something else by another name, and refused. ONNX Runtime computes what depends on no input while it loads, for as
long as that takes: in a process of its own first, which can be ended.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, printable
from vlmplan.exporting import TOKENIZER_FILES
from vlmplan.proof.foreign.files import Accused, live_names, read_names
from vlmplan.proof.foreign.operators import trapping
from vlmplan.proof.protobuf import tensors_of

MOST_TENSORS = 20_000  # a decoder of a hundred layers has two thousand
_SAID_ABOVE_BYTES = 2**12
_OTHER_KINDS = (".json", ".jinja", ".txt", ".model", ".py", ".sh", ".so", ".dll", ".exe", ".onnx", ".ort", ".html",
                ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".npz", ".gguf")  # fmt: skip
# What is computed of constants in good graphs, in no time: shapes and layouts.
_QUICK = {"Cast", "Constant", "DequantizeLinear", "Gather", "Identity", "Neg", "Reshape", "Shape", "Slice", "Squeeze",
          "Transpose", "Unsqueeze"}  # fmt: skip
_LOADING = (
    "import sys, onnxruntime as o; s = o.SessionOptions(); s.log_severity_level = 4; "
    "o.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider'])"
)


def check_cargo(accused: Accused, limit_s: float) -> None:
    """Raise InputError for too many tensors, a data file that is another thing, or loading beyond ``limit_s``."""
    if (count := len(accused.proto.graph.initializer)) > MOST_TENSORS:
        raise InputError(f"{accused.path.name}: found {count} tensors, expected at most {MOST_TENSORS} of a decoder")
    for node in trapping(accused.proto.graph):
        raise InputError(
            f"{accused.path.name}: {printable(node.name or node.op_type)} divides what may be whole "
            "numbers by what it computes; some of them end the process"
        )
    for location, used in data_files(accused):
        if location in TOKENIZER_FILES or Path(location).suffix.lower() in _OTHER_KINDS:
            raise InputError(f"{printable(location)} is named as another thing than the tensors of {accused.path.name}")
        if not used:
            raise InputError(f"{printable(location)} holds nothing that the results of {accused.path.name} are made of")
    folded = sorted({node.op_type for node in _constant(accused.proto.graph)} - _QUICK)
    if folded:
        _load(accused.path, folded, limit_s)


def data_files(accused: Accused) -> Iterator[tuple[str, bool]]:
    """Yield each file beside the graph that tensors lie in, and whether some result is made of any of them."""
    graph = accused.proto.graph
    live, used = live_names(graph), dict[str, bool]()
    rest = (tensor for part in graph.node for tensor in tensors_of(part))
    held = [*((one, one.name in live) for one in graph.initializer), *((one, True) for one in rest)]
    for tensor, is_read in held:
        for entry in tensor.external_data:
            if entry.key == "location":
                used[entry.value] = used.get(entry.value, False) or is_read
    yield from used.items()


def _constant(graph: Any) -> Iterator[Any]:
    """Operators that depend on no input, or may hold such."""
    fed = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        depends = bool(fed & set(read_names(node)))
        fed |= set(node.output) if depends else set()
        if not depends or node.op_type == "If":
            yield node


def _load(path: Path, folded: list[str], limit_s: float) -> None:
    """Load a graph in a process of its own. Raises InputError where that takes too long, or ends the process."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _LOADING, str(path)], timeout=limit_s, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{path.name} takes ONNX Runtime more than {limit_s:g} s to load: {printable(', '.join(folded[:4]))} of "
            "constants are computed first; --timeout allows more"
        ) from None
    if done.returncode < 0:  # killed: out of memory, or a fault in ONNX Runtime itself
        raise InputError(f"{path.name} ends ONNX Runtime while it loads (signal {-done.returncode})")


def cargo(accused: Accused) -> str:
    """What the verdict says of tensors that no result is made of, and of notes; empty where there are few."""
    graph = accused.proto.graph
    live = live_names(graph)
    idle_bytes = sum(_stored_bytes(tensor) for tensor in graph.initializer if tensor.name not in live)
    said = [f"{idle_bytes} bytes of tensors that nothing reads"] if idle_bytes > _SAID_ABOVE_BYTES else []
    notes_bytes = sum(map(_notes_bytes, (accused.proto, graph, *graph.node, *graph.initializer)))
    said += [f"{notes_bytes} bytes of notes"] if notes_bytes > _SAID_ABOVE_BYTES else []
    return f"the graph carries {' and '.join(said)}; " if said else ""


def _stored_bytes(tensor: Any) -> int:
    """Bytes of a tensor in the graph, and in the file beside it."""
    lengths = (entry.value for entry in tensor.external_data if entry.key == "length")
    return int(tensor.ByteSize()) + sum(int(length) for length in lengths if length.isascii() and length.isdigit())


def _notes_bytes(message: Any) -> int:
    """Bytes of documentation and metadata of a message."""
    metadata = getattr(message, "metadata_props", ())
    return len(message.doc_string) + sum(len(entry.key) + len(entry.value) for entry in metadata)
