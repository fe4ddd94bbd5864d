"""Does a decoder by others compute what its checkpoint does? By samples, which nobody can know beforehand.

At lengths up to the longest that time allows, at once and in pieces, in batches, and where it takes little time with
every token of the vocabulary. What samples cannot show, the verdict says.
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.errors import InputError
from vlmplan.exporting import Prompt
from vlmplan.hardware import Precision
from vlmplan.proof import numbers as check_numbers
from vlmplan.proof.foreign.decoder import TextDecoder, TextReference
from vlmplan.proof.report import SAMPLES, Check, failed, skipped, verdict

LONGEST_TOKENS = 4096  # of a probe: attention in PyTorch takes its square
_STRATA = 10  # lengths a run, one drawn from each of as many equal parts of the logarithm
_PIECES = ((1, 2, 3), (3, 1, 7, 2, 13), (40, 5, 1, 33), (300, 17, 2, 130), (900, 64, 3, 250))  # about so many tokens
_PIECE = (200, 512)  # tokens of a long text read at once, before each single one
_STEPS = 2  # single tokens after a batch
_LONG_S = 60.0  # for the longest text
_CHUNK = 256  # tokens of one pass over the vocabulary
_SWEEP_FLOPS = 4e12  # above it the vocabulary is run for some time only, where the file's own table shows every row
_SWEEP_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How far logits may be off: a share of their scale, or ``nats`` of divergence; with ``cache`` it is held too."""

    value: float
    nats: bool = False
    cache: bool = False

    def __str__(self) -> str:
        """With its unit."""
        return f"{self.value:.2g}{self.unit}"

    @property
    def unit(self) -> str:
        """What follows a figure."""
        return " nats" if self.nats else ""


def lengths(config: Any, seed: int) -> tuple[int, ...]:
    """Return how long the probes are: of each order of magnitude one, none of a length that could be foreseen.

    Raises InputError for a context that is too short to walk in.
    """
    import numpy as np

    context = min(getattr(config, "max_position_embeddings", LONGEST_TOKENS), LONGEST_TOKENS)
    if context < 2 * check_numbers.STEPS:
        raise InputError(
            f"the checkpoint reads {context} tokens (max_position_embeddings); at least {2 * check_numbers.STEPS} are "
            "needed to compare it"
        )
    most = context - check_numbers.STEPS
    edges = np.geomspace(1, most, _STRATA + 1)
    drawn = np.exp(np.random.default_rng(seed).uniform(np.log(edges[:-1]), np.log(edges[1:])))
    return tuple(sorted({*map(int, drawn), most}))


def walks(model: TextDecoder, reference: TextReference, seed: int) -> tuple[check_numbers.Walk, ...]:
    """One prompt of random tokens a length, followed for some steps by both."""
    import numpy as np

    rng = np.random.default_rng(seed)
    config, walked = reference.model.config, []
    for tokens in lengths(config, seed):
        ids = rng.integers(0, config.vocab_size, (1, tokens))
        prompt = Prompt(input_ids=ids, attention_mask=np.ones_like(ids), pixel_values=None)
        walked.append(check_numbers.walk(model, reference, prompt))
    return tuple(walked)


def is_cheap(reference: TextReference) -> bool:
    """Whether the whole vocabulary can be run in little time."""
    model = reference.model
    return bool(4.0 * model.config.vocab_size * model.num_parameters() <= _SWEEP_FLOPS)


def vocabulary(
    model: TextDecoder, reference: TextReference, limit: Limit, seed: int, *, whole: bool
) -> tuple[Check, int]:
    """Every token run once through both, in an order that cannot be foreseen, and how many were: ``whole`` all of them.

    Logits, and where the limit says so the cache.
    """
    import time

    import numpy as np

    order = np.random.default_rng(seed).permutation(reference.model.config.vocab_size)
    worst, done, started = 0.0, 0, time.monotonic()
    for start in range(0, len(order), _CHUNK):
        ids = np.ascontiguousarray(order[None, start : start + _CHUNK], dtype=np.int64)
        ours = model.whole(ids)
        if ours[0].shape[1] == 1 < ids.shape[1]:  # of the last place only: each token is one text of a batch
            ids = np.ascontiguousarray(ids.T)
            ours = model.whole(ids)
        theirs = reference.whole(ids)
        pairs = [(ours[0], theirs[0]), *(zip(ours[1:], theirs[1:], strict=True) if limit.cache else ())]
        worst = max([worst, *(apart(one, other, limit) for one, other in pairs)])
        done += ids.size
        if worst > limit.value or (not whole and time.monotonic() - started > _SWEEP_S):
            break
    share = f"each of {len(order)} tokens" if done == len(order) else f"{done} of {len(order)} tokens"
    detail = f"{share} run once: off by at most {worst:.1e}{limit.unit}, limit {limit}"
    return verdict("vocabulary", [detail] if worst > limit.value else [], detail), done


def apart(one: Any, other: Any, limit: Limit) -> float:
    """How far two arrays are apart at their worst place, infinitely where their shapes are."""
    import numpy as np

    if one.shape != other.shape:
        return float("inf")
    if not limit.nats:
        difference = float(np.abs(one - other).max() / max(1.0, float(other.std())))
        return difference if np.isfinite(difference) else float("inf")
    rows = zip(one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1]), strict=True)
    return max(check_numbers.divergence_of(ours[None], theirs[None]) for ours, theirs in rows)


def batches(model: TextDecoder, alone: TextDecoder | TextReference, limit: Limit, config: Any, seed: int) -> Check:
    """Batches of 2, 3 and 5 texts, padded left and right, give what ``alone`` gives of each.

    The shortest texts as well; and so do two further tokens.
    """
    import numpy as np

    rng = np.random.default_rng(seed + 1)
    first, worst = getattr(config, "bos_token_id", None), 0.0
    even = [(2, 7, True), (3, 1, True), (5, 11, True)]
    for rows, most, alike in (*even, (2, 2, False), (2, 12, False), (3, 9, False), (5, 20, False)):
        cut = [most if alike else int(rng.integers(1, most)) for _ in range(rows - 1)] + [most]
        texts = [rng.integers(0, config.vocab_size, (1, length + _STEPS)) for length in cut]
        if isinstance(first, int) and 0 <= first < config.vocab_size:
            texts[-1][0, 0] = first
        due = np.stack([_steps(alone, one) for one in texts], axis=1)
        for left in (True,) if alike else (False,) if model.counts_padding else (True, False):
            worst = max(worst, _batch_apart(model, texts, due, limit, left=left))
    sides = "right" if model.counts_padding else "left and right"
    detail = f"of 2, 3 and 5 texts, padded {sides}: off by at most {worst:.1e}{limit.unit}, limit {limit}"
    return verdict("batches", [detail] if worst > limit.value else [], detail)


def _steps(model: TextDecoder | TextReference, text: Any) -> Any:
    """Logits ``[steps, vocabulary]`` of a text, the last tokens of which are read one by one."""
    import numpy as np

    cache, by_step, ends = None, [], range(text.shape[1] - _STEPS, text.shape[1] + 1)
    for start, end in zip((0, *ends), ends, strict=False):
        logits, _, cache = model.step(text[:, start:end], np.ones((1, end), np.int64), cache)
        by_step.append(logits[0])
    return np.stack(by_step)


def _batch_apart(model: TextDecoder, texts: list[Any], due: Any, limit: Limit, *, left: bool) -> float:
    """How far a padded batch is from its rows alone, ``due [steps, rows, vocabulary]``."""
    import numpy as np

    lengths = [one.shape[1] - _STEPS for one in texts]
    long = max(lengths)
    padded, mask = np.zeros((len(texts), long), np.int64), np.zeros((len(texts), long), np.int64)
    ends = [long if left else length for length in lengths]
    for row, (one, end, length) in enumerate(zip(texts, ends, lengths, strict=True)):
        padded[row, end - length : end] = one[0, :length]
        mask[row, end - length : end] = 1
    logits = model.whole(padded, mask)[0]
    given = [row for row, end in enumerate(ends) if long - end < logits.shape[1]]
    worst = apart(np.stack([logits[row, ends[row] - long - 1] for row in given]), due[0, given], limit)
    if not left and (model.counts_padding or model.slides):
        return worst  # what counts tokens, or a window of them, cannot read any after a gap
    _, _, cache = model.step(padded, mask, None)
    for more in range(_STEPS):
        fed = np.array([[one[0, length + more]] for one, length in zip(texts, lengths, strict=True)])
        mask = np.concatenate([mask, np.ones((len(texts), 1), np.int64)], axis=1)
        step, _, cache = model.step(fed, mask, cache)
        worst = max(worst, apart(step, due[1 + more], limit))
    return worst


def pieces(model: TextDecoder, reference: TextReference, limit: Limit, seed: int) -> Check:
    """Texts read in pieces, as chunked prefill does, give what each gives at once; in a padded batch of two as well."""
    import numpy as np

    rng = np.random.default_rng(seed + 2)
    most = lengths(reference.model.config, seed)[-1]
    worst, read = 0.0, 0
    for sizes in _PIECES:
        cut = [int(size * rng.uniform(0.7, 1.3)) or 1 for size in sizes]
        if sum(cut) > most:
            continue
        longer = rng.integers(0, reference.model.config.vocab_size, (1, sum(cut)))
        less = 0 if model.counts_padding else int(rng.integers(0, cut[0]))
        rows = [longer, *([longer[:, less:]] if less else [])]
        whole = np.concatenate([np.pad(row, ((0, 0), (longer.shape[1] - row.shape[1], 0))) for row in rows])
        mask = np.stack([np.arange(longer.shape[1]) >= longer.shape[1] - row.shape[1] for row in rows]).astype(np.int64)
        due = [reference.whole(row)[0] for row in rows]
        cache, end = None, 0
        for size in cut:
            start, end = end, end + size
            logits, _, cache = model.step(whole[:, start:end], mask[:, :end], cache)
            wanted = np.concatenate([one[:, end - longer.shape[1] - 1] for one in due])
            worst = max(worst, apart(logits, wanted, limit))
        read += 1
    if not read:
        return skipped("pieces", f"no text of {most} tokens is long enough to be read in pieces")
    detail = f"{read} texts in pieces of 1 to hundreds of tokens: off by at most {worst:.1e}{limit.unit}, limit {limit}"
    return verdict("pieces", [detail] if worst > limit.value else [], detail)


def beyond(model: TextDecoder, reference: TextReference, limit: Limit, seed: int) -> tuple[Check, int]:
    """One text as long as the checkpoint reads, or as far as time allows, and how far that was.

    In pieces of no foreseeable length, after each of which single tokens are read, as decoding does.
    """
    import time

    import numpy as np

    rng = np.random.default_rng(seed + 3)
    config = reference.model.config
    context = int(getattr(config, "max_position_embeddings", LONGEST_TOKENS))
    ids = rng.integers(0, config.vocab_size, (1, context))
    started, ours, theirs, end, worst = time.monotonic(), None, None, 0, 0.0
    while end < context:
        for size in (int(rng.integers(*_PIECE)), 1, 1):
            start, end = end, min(end + size, context)
            if start == end:
                break
            mask = np.ones((1, end), np.int64)
            logits, _, ours = model.step(ids[:, start:end], mask, ours)
            due, _, theirs = reference.step(ids[:, start:end], mask, theirs)
            worst = max(worst, apart(logits, due, limit))
        if worst > limit.value or time.monotonic() - started > _LONG_S:
            break
    left = "all that it reads" if end == context else f"of the {context} that it reads"
    left += f" in {_LONG_S:g} s" if end < context and worst <= limit.value else ""
    detail = f"one text of {end} tokens, {left}: off by at most {worst:.1e}{limit.unit}, limit {limit}"
    return verdict("long text", [detail] if worst > limit.value else [], detail), end


def one_sided(model: TextDecoder) -> str:
    """Return what the verdict says of an operator that cannot tell padding on the left; empty where there is none."""
    return "left padding, which GroupQueryAttention cannot tell, was not run; " if model.counts_padding else ""


def unswept(reference: TextReference, run: int) -> str:
    """Return what the verdict says where not every token was ``run``: what another does with its embedding is open."""
    size = reference.model.config.vocab_size
    return "" if run >= size else f"only {run} of its {size} tokens were run; "


def samples(longest: int, precision: Precision, seed: int, left: str, *, accepted: bool) -> Check:
    """Say that this is no proof, what was sampled, and what was ``left`` out; ``longest`` in tokens.

    Whoever validates has to have ``accepted`` that: a graph of any operators may do otherwise wherever none looked.
    """
    outcome = skipped if accepted else failed
    return outcome(
        SAMPLES,
        f"others drew this decoder, so it is compared by samples only: {_STRATA + 1} lengths and pieces of up to "
        f"{longest} tokens (seed {seed}), at {precision} by the file's own word; {left}what it does elsewhere is not "
        f"known{'' if accepted else '; --by-samples accepts that'}",
    )
