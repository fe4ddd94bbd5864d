"""Is a rounded decoder by others rounded, and no worse than rounding makes one?

Its precision is what most of the checkpoint's matrices are stored in, not what some operator reads. Its logits are held
against those of the checkpoint with every matrix rounded to 4 bits by the exporter's own quantiser: how far rounding
goes depends on the model, so a fixed limit in nats would let much else pass.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vlmplan.exporting import generate
from vlmplan.graphs import quantised
from vlmplan.hardware import Precision
from vlmplan.proof.foreign.decoder import INTEGERS, TextReference
from vlmplan.proof.foreign.files import Accused, arrays_of, due_tensors
from vlmplan.proof.foreign.stored import dequantised, stored
from vlmplan.proof.numbers import FP16_TOLERANCE, STEPS, Walk
from vlmplan.proof.report import Check, verdict

LIKE = 0.8  # cosine of a rounded matrix and what it is of: 4 bits have 0.99, scaled channels (AWQ) less
_BITS = 4
_MOST_RMS, _MOST_ONE = 3.0, 4.0  # times what 4 bits do: larger blocks, or rounded activations, do up to twice as much
# Elsewhere than on the walks: 30 roundings (3 small models, 4 and 8 bits, blocks of 32, 128 and a row, 2 seeds) were
# off by at most 1.5 times what they were there, and by 2.0 times what our 4 bits were; twice the latter.
_ELSEWHERE = 4.0
_BY_BATCH = 2.0 * _MOST_ONE  # where activations are rounded by what else is in a batch, which nothing bounds so closely
_SOME = 64  # rows of a matrix by which it is known


def _about_zero(accused: Accused, known: set[str]) -> Iterator[Any]:
    """Other matrices of integers, about their mean, both ways round: what reads them does not say their numbers."""
    for name, array in arrays_of(accused, INTEGERS).items():
        if array.ndim == 2 and name not in known:
            whole = array.astype("float32")
            yield whole - whole.mean()
            yield (whole - whole.mean()).T


def likeness(one: Any, other: Any) -> float:
    """Cosine of some rows of two matrices."""
    import numpy as np

    first, second = (np.asarray(matrix[:_SOME], np.float64).reshape(-1) for matrix in (one, other))
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


def rounded_share(accused: Accused, reference: TextReference) -> float:
    """Share of the weights in the checkpoint's layers that the file stores as integers, and computes from."""
    state = reference.model.state_dict()
    matrices = {name: one for name, one in state.items() if one.ndim == 2 and ".layers." in name}
    open_ = [(names, one.numpy()) for names, one in due_tensors(matrices)]
    taken: set[str] = set()
    found = [*stored(accused)]
    known = {one.name for one in found}
    for shape, rows in (
        *((one.shape, one.rows(slice(0, _SOME))) for one in found),
        *((one.shape, one) for one in _about_zero(accused, known)),
    ):
        for names, one in open_:
            if not set(names) <= taken and shape == one.shape and likeness(rows, one) > LIKE:
                taken |= set(names)
                break
    sizes = {name: int(one.numel()) for name, one in matrices.items()}
    return sum(sizes[name] for name in taken) / max(1, sum(sizes.values()))


def with_precision(accused: Accused, reference: TextReference) -> Accused:
    """What was read, as a rounded decoder only where half of the checkpoint's weights are stored so."""
    if accused.precision is not Precision.INT4 or rounded_share(accused, reference) >= 1 / 2:
        return accused
    return replace(accused, precision=accused.base_precision)


def rounds_by_token(accused: Accused) -> bool:
    """Whether no product rounds activations by what else is in the batch, as ``MatMulInteger`` does."""
    return not any("Integer" in node.op_type or "QuantizeLinear" in node.op_type for node in accused.proto.graph.node)


def rounded_reference(reference: TextReference) -> TextReference:
    """The checkpoint with every matrix of its layers, and its head, rounded to 4 bits by the exporter's quantiser."""
    import torch

    head = reference.model.get_output_embeddings()
    tables = {id(reference.model.get_input_embeddings().weight)}
    made = {}
    for name, tensor in reference.model.named_parameters(remove_duplicate=False):
        is_head = head is not None and name == "lm_head.weight"
        if tensor.ndim == 2 and (is_head or (".layers." in name and id(tensor) not in tables)):
            packed, scales, zeros = quantised(tensor.detach().numpy(), _BITS)
            shape = (tensor.shape[0], tensor.shape[1])
            made[name] = torch.from_numpy(dequantised(packed, scales, zeros, _BITS, shape).copy())
    return replace(reference, replaced=made)


def rounding(walks: tuple[Walk, ...], reference: TextReference, *, by_token: bool) -> tuple[Check, float]:
    """The decoder is off by no more than a few times what rounding the checkpoint to 4 bits does on the same texts.

    With how far logits may be off on other texts, as a share of their scale: a few times what they are here, or what 4
    bits make them, the less of both; where a token's rounding is its own (``by_token``).
    """
    import numpy as np

    rounded = rounded_reference(reference)
    ours: list[Any] = []
    theirs: list[Any] = []
    same = due = 0
    for one in walks:
        other = generate(rounded, one.prompt, STEPS, forced=one.export.tokens)
        for pile, found in ((ours, one.export.logits), (theirs, other.logits)):
            pile.append(_centred(found) - _centred(one.reference.logits))
        same += sum(left == right for left, right in zip(one.export.tokens, one.reference.tokens, strict=True))
        due += sum(left == right for left, right in zip(other.tokens, one.reference.tokens, strict=True))
    off, by = np.concatenate(ours), np.concatenate(theirs)
    mean, usual = (float(np.sqrt((one**2).mean())) for one in (off, by))
    most, largest = (float(np.abs(one).max()) for one in (off, by))
    detail = (
        f"logits off by {mean:.2g} (root mean square) and at most {most:.2g}; rounding the checkpoint to 4 bits does "
        f"{usual:.2g} and {largest:.2g}, and {due} of {len(off)} likeliest tokens stay, here {same}"
    )
    good = mean <= _MOST_RMS * usual and most <= _MOST_ONE * largest and same >= due / 2
    scale = max(one.scale for one in walks)
    allowed = _ELSEWHERE * min(most, largest) if by_token else _BY_BATCH * largest
    return verdict("rounding", [] if good else [detail], detail), max(FP16_TOLERANCE, allowed / scale)


def _centred(logits: Any) -> Any:
    """Logits ``[steps, vocabulary]`` about their mean: a constant changes no probability."""
    import numpy as np

    rows = np.stack(logits).astype(np.float64)
    return rows - rows.mean(axis=-1, keepdims=True)
