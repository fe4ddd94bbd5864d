"""Is a rounded decoder by others rounded, each row the checkpoint's, and no worse than rounding makes one?

Its precision is what most of the checkpoint's matrices are stored in, not what some operator reads. Its logits are held
against those of the checkpoint with every matrix rounded to 4 bits by the exporter's own quantiser: how far rounding
goes depends on the model, so a fixed limit in nats would let much else pass.

Samples do not show two tokens' rows of a head exchanged, so rows are compared: weights that share a scale are held
against those of the checkpoint. Rounding moves them by half a step, and what minimises an error of another kind (HQQ,
k-quant, GPTQ) by little more; another row is several steps away.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vlmplan.exporting import generate
from vlmplan.graphs import quantised
from vlmplan.hardware import Precision
from vlmplan.proof.foreign.decoder import INTEGERS, TextReference
from vlmplan.proof.foreign.files import Accused, arrays_of, due_tensors, head_maker, head_table, lookup
from vlmplan.proof.foreign.stored import Rounded, dequantised, stored
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
    rounded = [*stored(accused)]
    known = {one.name for one in rounded}
    for shape, rows in (
        *((one.shape, one.rows(slice(0, _SOME))) for one in rounded),
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
        for pile, logits in ((ours, one.export.logits), (theirs, other.logits)):
            pile.append(_centred(logits) - _centred(one.reference.logits))
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


HEAD, OTHERS = "head", "rounded rows"
# Root mean square in steps, of weights that share a scale. ONNX Runtime's quantisers (nearest and HQQ, with and without
# zero points, blocks of 16 to 256) came to 0.44 on matrices of normal, Student's t and uneven entries; another row of
# normal entries is off by 3 to 6.
_MOST_STEPS = 1.0
# By how much all of a row, or of a matrix, may be larger or smaller: rounding small entries to 0 makes it smaller, by
# no more than the share of the square that is off.
_ROW_GAIN, _DEVIATIONS, _GAIN = 0.03, 6.0, 0.01
_UNEVEN = 0.05  # standard deviation of the factors by input above which channels were scaled first (AWQ)
_CHUNK, _SOME = 4096, 64  # rows at once; rows by which a matrix is known


def _blocks(values: Any, size: int) -> Any:
    """Rows in blocks ``[rows, blocks, size]``, filled up with zeros."""
    import numpy as np

    short = -values.shape[1] % size
    return np.pad(values, ((0, 0), (0, short))).reshape(len(values), -1, size)


def compared(held: Rounded, want: Any) -> tuple[list[int], float, float]:
    """Rows that are others than the checkpoint's ``want`` (outputs, inputs).

    With the factor between both matrices, and the share of the square that is off.
    """
    import numpy as np

    wrong: list[int] = []
    sums = np.zeros(3)
    levels, size, widest = 2**held.bits - 1, held.block or held.shape[1], float(np.abs(want).max())
    for start in range(0, held.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        due, rows = np.asarray(want[part], np.float32), held.rows(part)
        parts = _blocks(due, size)
        largest = np.abs(parts).max(axis=-1) if held.block else np.full(parts.shape[:2], widest)
        off = np.sqrt((_blocks(rows - due, size) ** 2).mean(axis=-1))
        far = ~(off <= _MOST_STEPS * 2 * largest / levels).all(axis=1)
        along, square, error = (one.sum(axis=1, dtype=np.float64) for one in (rows * due, due * due, (rows - due) ** 2))
        norm = np.maximum(square, 1e-30)
        noise = _DEVIATIONS * np.sqrt(error / norm / due.shape[1])
        far |= (square > 0) & ~(np.abs(along / norm - 1) <= _ROW_GAIN + noise)
        sums += (along.sum(), square.sum(), error.sum())
        wrong += (start + np.flatnonzero(far)).tolist()
    return wrong, float(sums[0] / max(sums[1], 1e-30)), float(sums[2] / max(sums[1], 1e-30))


def _faults(what: str, held: Rounded, want: Any) -> Iterator[str]:
    """What is wrong with one matrix, a line."""
    if held.shape != tuple(want.shape):
        yield f"{what}: expected {list(want.shape)}, found {list(held.shape)}"
        return
    wrong, gain, off = compared(held, want)
    if wrong:
        yield (
            f"{what}: {len(wrong)} of {held.shape[0]} rows are others than the checkpoint's rounded to {held.bits} "
            f"bits, first row {wrong[0]}"
        )
    elif not abs(gain - 1) <= _GAIN + off:
        yield f"{what}: {gain:.3g} times the checkpoint's"


def _is_head(held: Rounded, accused: Accused) -> bool:
    """Whether a matrix makes the logits, and nothing else does."""
    node, table = head_maker(accused), head_table(accused)
    return held.plain and ((node is not None and held.made in node.output) or (table or ("",))[0] == held.made)


def _evenly(some: Any, want: Any) -> bool:
    """Whether no input's weights were scaled apart from the others'."""
    import numpy as np

    factors = (some * want).sum(axis=0) / np.maximum((want**2).sum(axis=0), 1e-30)
    return bool(factors.std() <= _UNEVEN)


def rows(accused: Accused, reference: TextReference) -> Iterator[Check]:
    """Every row of the head, of the table of embeddings and of what else is known, where they are rounded."""
    model, looks_up = reference.model, lookup(accused)
    head = model.get_output_embeddings()
    matrices = {name: one for name, one in model.state_dict().items() if one.ndim == 2 and ".layers." in name}
    due = [(names, one.numpy()) for names, one in due_tensors(matrices)]
    faults: list[str] = []
    known: list[str] = []
    for held in stored(accused):
        if _is_head(held, accused) and head is not None and getattr(head, "bias", None) is None:
            wrong = [*_faults(held.name, held, head.weight.detach().numpy())]
            yield verdict(HEAD, wrong, f"all {held.shape[0]} rows as the checkpoint's, rounded to {held.bits} bits")
        elif looks_up is not None and held.made in (*looks_up.output, looks_up.input[0]):
            faults += _faults(held.name, held, model.get_input_embeddings().weight.detach().numpy())
            known.append("embeddings")
        elif (best := _likest(held, due)) is not None and held.plain:
            faults += _faults(", ".join(best[0]), held, best[1])
            known += best[0]
    if known:
        detail = f"{len(known)} of the checkpoint's matrices as rounding makes them, row by row"
        yield verdict(OTHERS, faults, detail)


def _likest(held: Rounded, due: list[tuple[tuple[str, ...], Any]]) -> tuple[tuple[str, ...], Any] | None:
    """The checkpoint's matrix that one is most like, with its names; None where none is, or its channels are scaled."""
    some = held.rows(slice(0, _SOME))
    scored = [(likeness(some, one), names, one) for names, one in due if held.shape == one.shape]
    best = max(scored, key=lambda one: one[0], default=None)
    if best is None or best[0] <= LIKE or not _evenly(some, best[2][:_SOME]):
        return None
    return best[1], best[2]
