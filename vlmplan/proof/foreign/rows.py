"""Is each row of a rounded matrix the checkpoint's, rounded? Samples do not show two tokens' rows of a head exchanged.

Weights that share a scale are held against those of the checkpoint: rounding moves them by half a step, and what
minimises an error of another kind (HQQ, k-quant, GPTQ) by little more; another row is several steps away.
"""

from collections.abc import Iterator
from typing import Any

from vlmplan.proof.foreign.decoder import TextReference
from vlmplan.proof.foreign.files import Accused, due_tensors, head_maker, head_table, lookup
from vlmplan.proof.foreign.rounding import LIKE, likeness
from vlmplan.proof.foreign.stored import Rounded, stored
from vlmplan.proof.report import Check, verdict

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
        due, found = np.asarray(want[part], np.float32), held.rows(part)
        parts = _blocks(due, size)
        largest = np.abs(parts).max(axis=-1) if held.block else np.full(parts.shape[:2], widest)
        off = np.sqrt((_blocks(found - due, size) ** 2).mean(axis=-1))
        far = ~(off <= _MOST_STEPS * 2 * largest / levels).all(axis=1)
        along, square, error = (
            one.sum(axis=1, dtype=np.float64) for one in (found * due, due * due, (found - due) ** 2)
        )
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
