"""Does a decoder by others compute what its checkpoint does? By samples, which nobody can know beforehand.

At lengths up to the longest that time allows, at once and in pieces, in batches, and where it takes little time with
every token of the vocabulary. What samples cannot show, the verdict says.
"""

from typing import Any

from vlmplan.exporting import Prompt
from vlmplan.hardware import Precision
from vlmplan.proof import numbers as check_numbers
from vlmplan.proof.foreign_decoder import TextDecoder, TextReference
from vlmplan.proof.report import SAMPLES, Check, skipped, verdict

LONGEST_TOKENS = 4096  # of a probe: attention in PyTorch takes its square
_LENGTHS = (5, 40, 90, 200, 450, 1000, 2200, LONGEST_TOKENS)
_PIECES = ((1, 2, 3), (3, 1, 7, 2, 13), (40, 5, 1, 33), (300, 17, 2, 130), (900, 64, 3, 250))  # about so many tokens
_PIECE = 512  # tokens of a long text read at once
_LONG_S = 60.0  # for the longest text
_CHUNK = 256  # tokens of one pass over the vocabulary
_SWEEP_FLOPS = 4e12  # above it the vocabulary is not run where the file's own table shows every row


def lengths(config: Any, seed: int) -> tuple[int, ...]:
    """Return how long the probes are: short and long ones, none of a length that could be foreseen."""
    import numpy as np

    most = min(getattr(config, "max_position_embeddings", LONGEST_TOKENS), LONGEST_TOKENS) - check_numbers.STEPS
    rng = np.random.default_rng(seed)
    found = [min(int(length * rng.uniform(0.8, 1.2)), most) for length in _LENGTHS[:-1]]
    return tuple(sorted({*found, most}))


def walks(model: TextDecoder, reference: TextReference, seed: int) -> tuple[check_numbers.Walk, ...]:
    """One prompt of random tokens a length, followed for some steps by both."""
    import numpy as np

    rng = np.random.default_rng(seed)
    config, found = reference.model.config, []
    for tokens in lengths(config, seed):
        ids = rng.integers(0, config.vocab_size, (1, tokens))
        prompt = Prompt(input_ids=ids, attention_mask=np.ones_like(ids), pixel_values=None)
        found.append(check_numbers.walk(model, reference, prompt))
    return tuple(found)


def is_cheap(reference: TextReference) -> bool:
    """Whether the whole vocabulary can be run in little time."""
    model = reference.model
    return bool(4.0 * model.config.vocab_size * model.num_parameters() <= _SWEEP_FLOPS)


def vocabulary(model: TextDecoder, reference: TextReference, limit: float, *, exact: bool, seed: int) -> Check:
    """Every token run once through both, in an order that cannot be foreseen: logits, and where ``exact`` the cache.

    ``limit`` is of a logit where ``exact``, else of the divergence in nats.
    """
    import numpy as np

    order = np.random.default_rng(seed).permutation(reference.model.config.vocab_size)
    worst = 0.0
    for start in range(0, len(order), _CHUNK):
        ids = np.ascontiguousarray(order[None, start : start + _CHUNK], dtype=np.int64)
        ours = model.whole(ids)
        if ours[0].shape[1] == 1 < ids.shape[1]:  # of the last place only: each token is one text of a batch
            ids = np.ascontiguousarray(ids.T)
            ours = model.whole(ids)
        theirs = reference.whole(ids)
        pairs = [(ours[0], theirs[0]), *(zip(ours[1:], theirs[1:], strict=True) if exact else ())]
        for one, other in pairs:
            worst = max(worst, _apart(one, other, exact=exact))
    unit = "" if exact else " nats"
    detail = f"each of {len(order)} tokens run once: off by at most {worst:.1e}{unit}, limit {limit:g}"
    return verdict("vocabulary", [detail] if worst > limit else [], detail)


def _apart(one: Any, other: Any, *, exact: bool) -> float:
    """How far two arrays are apart at their worst place, infinitely where their shapes are."""
    import numpy as np

    if one.shape != other.shape:
        return float("inf")
    if exact:
        difference = float(np.abs(one - other).max() / max(1.0, float(other.std())))
        return difference if np.isfinite(difference) else float("inf")
    rows = zip(one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1]), strict=True)
    return max(check_numbers.divergence_of(ours[None], theirs[None]) for ours, theirs in rows)


def padding(model: TextDecoder, reference: TextReference, limit: float, seed: int) -> Check:
    """A left-padded batch of two texts gives what the checkpoint gives of each alone, the shortest texts as well."""
    import numpy as np

    rng = np.random.default_rng(seed + 1)
    config, worst = reference.model.config, 0.0
    first = getattr(config, "bos_token_id", None)
    for short, long in ((1, 2), (3, 12)):
        texts = [rng.integers(0, config.vocab_size, (1, length)) for length in (short, long)]
        if isinstance(first, int) and 0 <= first < config.vocab_size:
            texts[1][0, 0] = first
        padded = np.concatenate([np.pad(one, ((0, 0), (long - one.shape[1], 0))) for one in texts])
        mask = np.stack([np.arange(long) >= long - one.shape[1] for one in texts]).astype(np.int64)
        found = model.whole(padded, mask)[0][:, -1]
        due = np.concatenate([reference.whole(one)[0][:, -1] for one in texts])
        worst = max(worst, _apart(found, due, exact=True))
    detail = f"left-padded batches of short texts: off by at most {worst:.1e}, limit {limit:g}"
    return verdict("padding", [detail] if worst > limit else [], detail)


def pieces(model: TextDecoder, reference: TextReference, limit: float, *, exact: bool, seed: int) -> Check:
    """Texts read in pieces, as chunked prefill does, give what each gives at once; in a padded batch of two as well.

    ``limit`` is of a logit where ``exact``, else of the divergence in nats.
    """
    import numpy as np

    rng = np.random.default_rng(seed + 2)
    most = lengths(reference.model.config, seed)[-1]
    worst, read = 0.0, 0
    for sizes in _PIECES:
        cut = [int(size * rng.uniform(0.7, 1.3)) or 1 for size in sizes]
        if sum(cut) > most:
            continue
        longer = rng.integers(0, reference.model.config.vocab_size, (1, sum(cut)))
        less = int(rng.integers(0, cut[0])) if exact else 0  # of rounded weights the rows of a batch are not compared
        rows = [longer, *([longer[:, less:]] if less else [])]
        whole = np.concatenate([np.pad(row, ((0, 0), (longer.shape[1] - row.shape[1], 0))) for row in rows])
        mask = np.stack([np.arange(longer.shape[1]) >= longer.shape[1] - row.shape[1] for row in rows]).astype(np.int64)
        due = [reference.whole(row)[0] for row in rows]
        cache, end = None, 0
        for size in cut:
            start, end = end, end + size
            logits, _, cache = model.step(whole[:, start:end], mask[:, :end], cache)
            wanted = np.concatenate([one[:, end - longer.shape[1] - 1] for one in due])
            worst = max(worst, _apart(logits, wanted, exact=exact))
        read += 1
    if not read:
        return skipped("pieces", f"no text of {most} tokens is long enough to be read in pieces")
    unit = "" if exact else " nats"
    detail = (
        f"{read} texts read in pieces of 1 to some hundred tokens: off by at most {worst:.1e}{unit}, limit {limit:g}"
    )
    return verdict("pieces", [detail] if worst > limit else [], detail)


def beyond(model: TextDecoder, reference: TextReference, limit: float, *, exact: bool, seed: int) -> tuple[Check, int]:
    """One text as long as the checkpoint reads, or as far as time allows, in pieces; and how far that was."""
    import time

    import numpy as np

    rng = np.random.default_rng(seed + 3)
    config = reference.model.config
    context = int(getattr(config, "max_position_embeddings", LONGEST_TOKENS))
    ids = rng.integers(0, config.vocab_size, (1, context))
    started, ours, theirs, end, worst = time.monotonic(), None, None, 0, 0.0
    while end < context:
        start, end = end, min(end + _PIECE, context)
        mask = np.ones((1, end), np.int64)
        found, _, ours = model.step(ids[:, start:end], mask, ours)
        due, _, theirs = reference.step(ids[:, start:end], mask, theirs)
        worst = max(worst, _apart(found, due, exact=exact))
        if worst > limit or time.monotonic() - started > _LONG_S:
            break
    unit = "" if exact else " nats"
    left = "all that it reads" if end == context else f"of the {context} that it reads"
    left += f" in {_LONG_S:g} s" if end < context and worst <= limit else ""
    detail = f"one text of {end} tokens, {left}: off by at most {worst:.1e}{unit}, limit {limit:g}"
    return verdict("long text", [detail] if worst > limit else [], detail), end


def unswept(reference: TextReference) -> str:
    """Return what the verdict says where not every token was run, nor every row of the head seen in the file."""
    return f"not every one of its {reference.model.config.vocab_size} tokens was run; "


def samples(longest: int, precision: Precision, seed: int, left: str = "") -> Check:
    """Say that this is no proof, what was sampled, and what was ``left`` out; ``longest`` in tokens."""
    return skipped(
        SAMPLES,
        f"others drew this decoder, so it is compared by samples only: {len(_LENGTHS)} lengths and pieces of up to "
        f"{longest} tokens (seed {seed}), at {precision} by the file's own word; {left}what it does elsewhere is not "
        "known",
    )
