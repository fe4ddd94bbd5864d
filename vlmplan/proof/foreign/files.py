"""What do the files of a decoder by others show? Its structure where it is known, every tensor, what stands beside it.

The checkpoint is trusted; the graph, and the precision that it has, are the file's own word. Others draw their own
operators: what these compute is sampled (``samples.py``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, printable
from vlmplan.graphs import quantised
from vlmplan.hardware import Precision
from vlmplan.proof.foreign.decoder import TextReference, base_precision, precision_of
from vlmplan.proof.foreign.operators import check_operators, one_domain
from vlmplan.proof.protobuf import check_tensors, read_proto
from vlmplan.proof.report import Check, verdict

# ONNX's numbers of fp32, fp16 and bf16; of uint8; of uint4 and int4
_FLOATS, _BYTES, _NIBBLES = (1, 10, 16), (2,), (21, 22)
# How names of graphs end, and of code that a program loads.
CODE = (".onnx", ".ort", ".py", ".pyc", ".pyd", ".so", ".dll", ".dylib")
_VERSION = re.compile(r"(?<=\.so)(\.[0-9]+)+$")  # of a library
_IDS = (6, 7)  # int32 and int64: narrower ones make another id of some
_JOINED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # side by side, as onnxruntime-genai lays them


@dataclass(frozen=True, slots=True, kw_only=True)
class Accused:
    """A decoder by others in its folder, read as a protobuf, and the precision that its operators say."""

    folder: Path
    path: Path
    proto: Any
    precision: Precision

    @property
    def base_precision(self) -> Precision:
        """The precision of most numbers that are not rounded to integers."""
        return base_precision(self.proto.graph, live_names(self.proto.graph))

    @property
    def counts_padding(self) -> bool:
        """Whether attention reads how many tokens a text has, not which of them are padding."""
        live = live_names(self.proto.graph)
        counting = [node for node in self.proto.graph.node if node.op_type == "GroupQueryAttention"]
        return any(live & set(node.output) for node in counting)


def accused(path: Path, folder: Path) -> Accused:
    """Read a graph file. Raises InputError where it holds what no graph needs, or reads data from elsewhere."""
    proto = read_proto(path)
    check_tensors(path, proto, own_names=False)
    if proto.training_info:
        raise InputError(f"{path.name} has training steps, which do not belong")
    one_domain(proto.graph)
    check_operators(path.name, proto)
    if settings := [entry.key for entry in proto.metadata_props if "ort" in entry.key.lower()]:
        raise InputError(f"{path.name} has metadata that ONNX Runtime takes for settings: {printable(settings[0])}")
    beside = [one for one in folder.rglob("*") if _VERSION.sub("", one.name.lower()).endswith(CODE) and one != path]
    if beside:
        raise InputError(
            f"{printable(str(beside[0].relative_to(folder)))} stands beside {path.name}, and would not be "
            "compared; validate a folder with one graph and no code"
        )
    return Accused(folder=folder, path=path, proto=proto, precision=precision_of(proto.graph, live_names(proto.graph)))


def live_names(graph: Any) -> set[str]:
    """Names of what the outputs are computed from; what a branch reads counts as read by its operator."""
    makers = {name: node for node in graph.node for name in node.output if name}
    wanted, live = [value.name for value in graph.output], set()
    while wanted:
        name = wanted.pop()
        if name in live:
            continue
        live.add(name)
        if name in makers:
            wanted += read_names(makers[name])
    return live


def read_names(node: Any) -> list[str]:
    """Names that an operator reads, those of its branches with them."""
    names = list(node.input)
    for attribute in node.attribute:
        for branch in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            names += [name for inner in branch.node for name in read_names(inner)]
            names += [value.name for value in branch.output]
    return names


def arrays_of(accused: Accused, kinds: tuple[int, ...]) -> dict[str, Any]:
    """Initialisers of some types that the outputs depend on, by name, as arrays."""
    from onnx import numpy_helper

    graph = accused.proto.graph
    live = live_names(graph)
    constants = [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant" and not node.domain
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    return {
        name: numpy_helper.to_array(tensor, str(accused.path.parent))
        for name, tensor in (*((one.name, one) for one in graph.initializer), *constants)
        if tensor.data_type in kinds and name in live
    }


def _marks(array: Any) -> set[bytes]:
    """Digests of an array's bytes, as it is and transposed."""
    import hashlib

    import numpy as np

    both = (array, array.T) if array.ndim == 2 else (array,)
    return {hashlib.sha256(repr(one.shape).encode() + np.ascontiguousarray(one).tobytes()).digest() for one in both}


def _packed(array: Any) -> Iterator[Any]:
    """Numbers of 4 bits as ``MatMulNBits`` packs them: two a byte, from 0 to 15; as they lie and transposed."""
    import numpy as np

    whole = (array.astype(np.int8) + (8 if array.dtype.name == "int4" else 0)).astype(np.uint8)
    for one in (whole, whole.T):
        flat = np.append(one.reshape(-1), np.zeros(one.size % 2, np.uint8))
        yield flat[::2] | flat[1::2] << 4


def _forms(tensor: Any) -> set[bytes]:
    """Digests of the forms in which a file may hold a tensor: fp32, fp16, bf16; a norm's scale from 0 or from 1."""
    import numpy as np
    import torch

    forms = (tensor, tensor + 1) if tensor.ndim == 1 else (tensor,)
    with np.errstate(over="ignore"):
        arrays = [kind for form in forms for kind in (form.numpy(), form.numpy().astype(np.float16))]
    arrays += [form.to(torch.bfloat16).view(torch.int16).numpy() for form in forms]
    return set().union(*map(_marks, arrays))


def _rounded(tensor: Any, known: set[bytes]) -> tuple[bool, bool]:
    """Whether the file holds a matrix's packed values, and its scales, as ONNX Runtime's own quantiser makes them.

    It is handed fp32, or for GPUs fp16.
    """
    import numpy as np

    if tensor.ndim != 2:
        return False, False
    ways = ((4, True), (4, False), (8, True))
    handed = [tensor.numpy(), tensor.half().float().numpy()]
    made = [quantised(array, bits, symmetric=symmetric) for array in handed for bits, symmetric in ways]
    values = [bool(_marks(packed.reshape(-1)) & known) for packed, *_ in made]
    scales = [any(_marks(one.astype(kind)) & known for kind in (np.float32, np.float16)) for _, one, _ in made]
    both = [one and other for one, other in zip(values, scales, strict=True)]
    return (True, True) if any(both) else (any(values), any(scales))


def due_tensors(state: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Tensors that a file may hold, with the checkpoint's that each stands for: alone, and joined as exporters join."""
    import torch

    for name, tensor in state.items():
        yield (name,), tensor
        for parts in _JOINED:
            names = tuple(name.replace(f".{parts[0]}.", f".{part}.") for part in parts)
            if f".{parts[0]}." in name and all(one in state for one in names):
                yield names, torch.cat([state[one] for one in names])


def weights(accused: Accused, reference: TextReference) -> Check:
    """Every tensor of the checkpoint that the file holds, bit for bit; and what stands in the place of one.

    Tensors rounded or joined in another way have no counterpart: they are left to the samples, and counted. Where only
    a few are not as ONNX Runtime's quantiser rounds them, they are faults.
    """
    held = {name: (array.shape, _marks(array)) for name, array in arrays_of(accused, _FLOATS).items()}
    packed = [_marks(array.reshape(-1)) for array in arrays_of(accused, _BYTES).values()]
    packed += [_marks(one) for array in arrays_of(accused, _NIBBLES).values() for one in _packed(array)]
    known: set[bytes] = set().union(*packed, *(marks for _, marks in held.values()))
    state = reference.model.state_dict()
    due: set[bytes] = set()
    matched: set[str] = set()
    halves: list[str] = []
    rounded = 0
    for names, tensor in due_tensors(state):
        marks = _forms(tensor)
        due |= marks
        values, scales = _rounded(tensor, known) if packed else (False, False)
        if marks & known or (values and scales):
            matched |= set(names)
            rounded += not marks & known
        elif values or scales:
            halves.append(f"{', '.join(names)}: its rounded values or their scales are others than the checkpoint's")
    missing = {tuple(sorted(state[name].shape)): name for name in state if name not in matched}
    faults = [
        f"{name} {list(shape)} stands where {missing[tuple(sorted(shape))]} should, and is another"
        for name, (shape, marks) in held.items()
        if not marks & due and tuple(sorted(shape)) in missing
    ]
    lost = [name for shape, name in missing.items() if len(shape) == 2 and ".layers." in name]
    if rounded > len(packed) / 2 and lost and not halves:
        halves.append(f"{lost[0]}: not as the others are rounded")
    detail = f"{len(matched)} of the checkpoint's {len(state)} tensors found bit for bit"
    return verdict("weights", faults + halves, detail)


def lookup(accused: Accused) -> Any | None:
    """The operator that looks token ids up in a table, where they are read by nothing else; None where that is open."""
    graph = accused.proto.graph
    ids, operator = {"input_ids"}, None
    for node in graph.node:
        read = [index for index, name in enumerate(read_names(node)) if name in ids]
        if not read or (node.op_type == "Shape" and not node.domain):
            continue
        if node.op_type in ("Cast", "Identity") and not node.domain and _is_whole(node):
            ids |= set(node.output)
        elif _looks_up(node) and read == [1] and (operator is None or node.input[0] == operator.input[0]):
            operator = node
        else:
            return None
    return operator


def _is_whole(node: Any) -> bool:
    """Whether an operator leaves token ids what they are."""
    return node.op_type == "Identity" or any(one.name == "to" and one.i in _IDS for one in node.attribute)


def _looks_up(node: Any) -> bool:
    """Whether an operator takes rows of a table."""
    name = {"Gather": "axis", "GatherBlockQuantized": "gather_axis"}.get(node.op_type)
    axes = [attribute.i for attribute in node.attribute if attribute.name == name]
    return name is not None and axes in ([], [0])


def embeddings(accused: Accused, reference: TextReference) -> Check | None:
    """Every row of the file's own table, where token ids are read by nothing else; None where that is open."""
    import torch

    node = lookup(accused)
    name = "" if node is None or node.op_type != "Gather" else node.input[0]
    held = arrays_of(accused, _FLOATS).get(name)
    if held is None:
        return None
    due = reference.model.get_input_embeddings().weight.detach()
    rows, want = torch.from_numpy(held.astype("float32")), due.to(_kind(held)).float()
    if rows.shape != want.shape:
        return verdict("embeddings", [f"{name}: expected {list(want.shape)}, found {list(rows.shape)}"], "")
    wrong = (rows.view(torch.int32) != want.view(torch.int32)).any(dim=1).nonzero().flatten().tolist()
    faults = [f"{name}: {len(wrong)} rows differ, first that of token {wrong[0]}"] if wrong else []
    return verdict("embeddings", faults, f"all {len(want)} rows bit for bit; nothing else reads token ids")


def head_maker(accused: Accused) -> Any | None:
    """The operator that makes the logits, where that is known; None where it is not."""
    graph = accused.proto.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    name = "logits"
    while (node := makers.get(name)) is not None and node.op_type in ("Cast", "Identity") and not node.domain:
        name = node.input[0]
    return node


def head_table(accused: Accused) -> tuple[str, bool] | None:
    """What the last hidden state is multiplied by to make logits, and whether it lies transposed; None if unknown."""
    graph, node = accused.proto.graph, head_maker(accused)
    if node is None or node.domain or node.op_type not in ("MatMul", "Gemm"):
        return None
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    if len(node.input) > 2 or {"alpha", "beta", "transA"} & set(flags):  # a bias or a factor would go unseen
        return None
    by, across = node.input[1], bool(flags.get("transB"))
    turn = next((one for one in graph.node if by in one.output and not one.domain), None)
    return (turn.input[0], not across) if turn is not None and turn.op_type == "Transpose" else (by, across)


def head(accused: Accused, reference: TextReference) -> Check | None:
    """Every row of the file's own head, where nothing else makes the logits; None where that is open."""
    import torch

    where = head_table(accused)
    held = None if where is None else arrays_of(accused, _FLOATS).get(where[0])
    layer = reference.model.get_output_embeddings()
    if where is None or held is None or layer is None or getattr(layer, "bias", None) is not None:
        return None
    rows = torch.from_numpy(held.astype("float32"))
    rows = rows if where[1] else rows.T.contiguous()
    want = layer.weight.detach().to(_kind(held)).float()
    if rows.shape != want.shape:
        return verdict("head", [f"{where[0]}: expected {list(want.shape)}, found {list(rows.shape)}"], "")
    wrong = (rows.view(torch.int32) != want.view(torch.int32)).any(dim=1).nonzero().flatten().tolist()
    faults = [f"{where[0]}: {len(wrong)} rows differ, first that of token {wrong[0]}"] if wrong else []
    return verdict("head", faults, f"all {len(want)} rows bit for bit; nothing else makes the logits")


def _kind(held: Any) -> Any:
    """The torch type in which a file holds an array."""
    import torch

    if held.dtype.name == "bfloat16":
        return torch.bfloat16
    return {2: torch.float16, 4: torch.float32}[held.dtype.itemsize]


def branches(accused: Accused) -> str:
    """What the verdict says of branches that are chosen by what is read; empty where they are by the cache alone.

    A graph with and without a cache in one (``use_cache_branch``) is run both ways; others could wait for an input.
    """
    graph = accused.proto.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    inputs = {value.name for value in graph.input}
    free = {name for name in inputs if name == "use_cache_branch" or name.startswith("past_key_values.")}
    forks = [node for node in graph.node if node.op_type == "If" and not node.domain]
    read = {name for node in forks for name in _above(node.input[0], makers)} & (inputs - free)
    return f"{len(forks)} branches are chosen by {', '.join(sorted(read))}; " if read else ""


def _above(name: str, makers: Mapping[str, Any]) -> set[str]:
    """Names of all that a value is made of."""
    wanted, above = [name], set[str]()
    while wanted:
        if (name := wanted.pop()) in above:
            continue
        above.add(name)
        wanted += read_names(makers[name]) if name in makers else []
    return above


def files(accused: Accused, reference: TextReference) -> Iterator[Check]:
    """What the files themselves show: tensors, rows of embeddings and head."""
    yield weights(accused, reference)
    yield from (one for one in (embeddings(accused, reference), head(accused, reference)) if one is not None)
