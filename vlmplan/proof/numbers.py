"""Does the export compute what the checkpoint does? The same inputs through both, token by token.

Tokens that a random or undecided model chooses by a hair say little, so logits are judged first, along a path that both
are forced to walk; a token that differs counts only where the reference's margin is wider than the tolerance.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vlmplan.checkpoints import Checkpoint, rope_type
from vlmplan.errors import InputError
from vlmplan.exporting import (
    Generation,
    Manifest,
    Model,
    Pictures,
    Prompt,
    Shapes,
    Squares,
    Tiling,
    generate,
    joined_positions,
    prompt_embeds,
    question_embedding,
    stepped,
)
from vlmplan.hardware import Precision
from vlmplan.proof.report import Check, failed, passed, skipped, verdict

STEPS = 16
_PADDED_TILES = 2  # of the probe in which one is hidden in part
_BLACK = -1.0  # a tile of zeros is no tile
_UNSEEN = 0.0  # by which a checkpoint's logits move where its text cannot see the image at all
_LONGEST_WINDOW = 512  # tokens of a sliding window that a probe goes beyond
FP32_TOLERANCE = 1e-4  # of logits whose root mean square is 1 or less, in proportion above
FP16_TOLERANCE = 5e-2
VISION_MARGIN = 5  # features are compared at their own scale, and large weights multiply what rounding does
# Mean Kullback-Leibler divergence from fp32, in nats a token, that is let pass unasked: more than twice the worst that
# real weights came to (docs/rounding.md).
DIVERGENCE_LIMITS = {Precision.FP16: 0.005, Precision.INT8: 0.05, Precision.INT4: 1.5}


def _pixels(rng: Any, size: int, shown: int, tiles: Tiling | None, grid: Any | None) -> tuple[Any, Any | None]:
    """A random image of one view, or of ``shown`` tiles, with their mask where they have one.

    Where there are two, the second one's mask hides its right quarter and its lower half: clients may pad a tile.
    """
    import numpy as np

    shape = (1, 3, size, size) if tiles is None else (1, shown, 3, size, size)
    pixels = rng.standard_normal(shape).astype(np.float32)
    if tiles is None or not tiles.masked:
        return (pixels if tiles is None else tiles.as_read(pixels, grid)), None
    mask = np.ones((1, shown, size, size), bool)
    if shown == _PADDED_TILES:
        mask[:, 1, size // 2 :] = mask[:, 1, :, size * 3 // 4 :] = False
    return pixels, mask


_FEWEST = (2, 5)  # rows and columns of squares of the first picture of patches: wider than a window
_PAIR = ((3, 2), (1, 6))  # of the second question's two
_LARGER = (6, 7)  # beside an export's own, where that is smaller than the first


def _grid(squares: Squares, number: int) -> Any:
    """The patches of a question's pictures: one, two of unlike shapes, and the export's own."""
    import numpy as np

    shapes: tuple[tuple[int, int], ...] = ((squares.rows, squares.columns),)
    if number < _PADDED_TILES:
        shapes = ((_FEWEST,), _PAIR)[number]
    elif squares.rows * squares.columns < math.prod(_FEWEST):
        shapes = (*shapes, _LARGER)
    return np.concatenate([squares.grid(1, *shape) for shape in shapes])


_VIEWS = (((2, 5),), ((3, 2), (1, 6)))  # rows and columns of tokens of the first two questions' views
_BESIDE = (4, 3)  # beside an export's own views


def _shapes(shapes: Shapes, number: int) -> Any:
    """The patches of a question's views: one, two of unlike shapes, and the export's own with another."""
    return shapes.patches(1, _VIEWS[number] if number < _PADDED_TILES else (*shapes.views, _BESIDE))


def _longest(shapes: Shapes) -> int:
    """Patches that a question's views are padded to: more than any of them has."""
    return 1 + max(math.prod(view) for view in (*shapes.views, *_VIEWS[0], _BESIDE)) * shapes.merge**2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Random images of a question, as a prompt has them, and how many ``tokens`` they are, if not the export's own."""

    pixels: Any
    mask: Any | None = None
    grid: Any | None = None
    shapes: Any | None = None
    merge: int = 1
    tokens: int | None = None


def _seen(rng: Any, checkpoint: Checkpoint, tiles: Tiling | None, number: int) -> _Seen:
    """The images of question ``number``: one view; of tiles, squares or shapes one, two, and the export's own."""
    if tiles is None:
        return _Seen(pixels=_pixels(rng, checkpoint.image_size, 1, None, None)[0])
    if (cut := tiles.shapes) is not None:
        shapes = _shapes(cut, number)
        pixels, mask = cut.read(rng, shapes, _longest(cut))
        tokens = int(shapes.prod(axis=1).sum()) // cut.merge**2
        return _Seen(pixels=pixels, mask=mask, shapes=shapes, tokens=tokens)
    if (squares := tiles.squares) is not None:
        grid = _grid(squares, number)
        tokens = squares.tokens(grid)
        pixels, _ = _pixels(rng, squares.side, tokens, tiles, grid)
        return _Seen(pixels=pixels, grid=grid, merge=squares.merge, tokens=tokens * tiles.view_tokens)
    shown = (1, _PADDED_TILES, max(tiles.views, _PADDED_TILES + 1))[min(number, 2)]
    pixels, mask = _pixels(rng, checkpoint.image_size, shown, tiles, None)
    return _Seen(pixels=pixels, mask=mask, tokens=shown * tiles.view_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Random images: ``pixels`` and ``grid`` as the vision encoder reads them, ``counts`` of tokens of each."""

    pixels: Any | None
    grid: Any | None
    counts: tuple[int, ...]


def images_of(rng: Any, size: int, count: int, tiles: Tiling | None, number: int) -> Images:
    """Return no, one or two random images (``number``), of unlike shapes where shapes may differ.

    Of views of ``size`` pixels a side and ``count`` tokens, or of squares; not of tiles.
    """
    import numpy as np

    squares = None if tiles is None else tiles.squares
    if squares is None:
        pixels = rng.standard_normal((number, 3, size, size)).astype(np.float32)
        return Images(pixels=pixels if number else None, grid=None, counts=(count,) * number)
    if not number:
        none = None if isinstance(squares, Pictures) else np.zeros((0, 3), np.int64)
        return Images(pixels=None, grid=none, counts=())
    grid = _grid(squares, number - 1)
    own = tuple(squares.tokens(grid[at : at + 1]) for at in range(len(grid)))
    pixels, _ = _pixels(rng, squares.side, sum(own), tiles, grid)
    return Images(pixels=pixels, grid=grid, counts=own)


def probes(manifest: Manifest, checkpoint: Checkpoint, tiles: Tiling | None = None) -> tuple[Prompt, ...]:
    """Return seeded questions of different lengths, the image first, in the middle and last but one.

    One more goes beyond a sliding window, where there is a short one. With ``tiles`` the images are one, two and as
    many as the export's.
    """
    import numpy as np

    vocabulary, image_token = checkpoint.text.vocab_size, checkpoint.image_token
    prompts = []
    window = getattr(checkpoint.text, "sliding_window", None) or _LONGEST_WINDOW + 1
    beyond = ((window + 7, 40),) if window <= _LONGEST_WINDOW else ()
    for seed, (before, after) in enumerate(((1, 12), (9, 30), (21, 2), *beyond)):
        rng = np.random.default_rng(seed)
        text = rng.integers(0, vocabulary, before + after)
        text[text == image_token] = (image_token + 1) % vocabulary
        seen = _seen(rng, checkpoint, tiles, seed)
        count = manifest.visual_tokens if seen.tokens is None else seen.tokens
        ids = [*text[:before].tolist(), *[image_token] * count, *text[before:].tolist()]
        question = text[None, before:] if manifest.reads_question else None
        input_ids = np.array([ids], dtype=np.int64)
        prompts.append(
            Prompt(
                input_ids=input_ids,
                attention_mask=np.ones_like(input_ids),
                pixel_values=seen.pixels,
                pixel_mask=seen.mask,
                grid=seen.grid,
                shapes=seen.shapes,
                merge=seen.merge,
                question_ids=question,
                image_token=image_token,
            )
        )
    return tuple(prompts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One prompt's way through both models: the export's tokens, both sides' logits ``[steps, vocabulary]``."""

    prompt: Prompt
    export: Generation
    reference: Generation

    def _logits(self) -> tuple[Any, Any]:
        import numpy as np

        return np.stack(self.export.logits).astype(np.float64), np.stack(self.reference.logits).astype(np.float64)

    @property
    def largest_difference(self) -> float:
        """The largest absolute difference of a logit; infinite where one is not a number."""
        import numpy as np

        ours, theirs = self._logits()
        largest = np.abs(ours - theirs).max()
        return float(largest) if np.isfinite(largest) else float("inf")

    @property
    def scale(self) -> float:
        """Root mean square of the reference's logits about their mean, at least 1."""
        return max(1.0, float(self._logits()[1].std()))

    @property
    def margins(self) -> tuple[float, ...]:
        """By how much the reference's likeliest token leads, step by step."""
        import numpy as np

        top = np.sort(self._logits()[1], axis=-1)
        return tuple((top[:, -1] - top[:, -2]).tolist())

    def wrong_tokens(self, tolerance: float) -> int:
        """Tokens that differ where the margin is wider than twice the tolerance."""
        pairs = zip(self.export.tokens, self.reference.tokens, self.margins, strict=True)
        return sum(ours != theirs and margin > 2 * tolerance for ours, theirs, margin in pairs)

    @property
    def divergence(self) -> float:
        """Mean Kullback-Leibler divergence of the export's next-token distribution from the reference's, in nats."""
        return divergence_of(*self._logits())


def divergence_of(ours: Any, theirs: Any) -> float:
    """Mean Kullback-Leibler divergence of one model's logits ``[places, vocabulary]`` from the other's, in nats."""
    import numpy as np
    from scipy.special import log_softmax

    actual, want = (log_softmax(logits.astype(np.float64), axis=-1) for logits in (ours, theirs))
    divergence = float((np.exp(want) * (want - actual)).sum(axis=-1).mean())
    return divergence if np.isfinite(divergence) else float("inf")


def walk(export: Model, reference: Model, prompt: Prompt) -> Walk:
    """Let the export decode greedily and the reference follow, each reading the same tokens."""
    ours = generate(export, prompt, STEPS)
    theirs = generate(reference, prompt, STEPS, forced=ours.tokens)
    if ours.logits[0].shape != theirs.logits[0].shape:
        raise InputError(f"expected {theirs.logits[0].size} logits, found {ours.logits[0].size}")
    return Walk(prompt=prompt, export=ours, reference=theirs)


def tolerance(precision: Precision) -> float:
    """Return the largest difference of a logit (of scale 1) that rounding explains."""
    return FP32_TOLERANCE if precision is Precision.FP32 else FP16_TOLERANCE


def vision(export: Model, reference: Model, manifest: Manifest, prompts: tuple[Prompt, ...]) -> Check:
    """The encoder's features, on random images, as a share of the reference's spread."""
    import numpy as np

    worst, limit = 0.0, VISION_MARGIN * tolerance(manifest.base_precision)
    for prompt in prompts:
        query = None if prompt.question_ids is None else question_embedding(reference, prompt.question_ids)
        theirs, ours = (
            model.image_features(prompt.pixel_values, query, prompt.pixel_mask, prompt.layout)
            for model in (reference, export)
        )
        if ours.shape != theirs.shape:
            return failed("vision", f"expected features of shape {list(theirs.shape)}, found {list(ours.shape)}")
        difference = float(np.abs(ours - theirs).max() / max(theirs.std(), 1e-12))
        worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    detail = f"features differ by at most {worst:.1e} of their spread; limit {limit:.0e}"
    return verdict("vision", [detail] if worst > limit else [], detail, largest_difference_fraction=worst)


def logits_and_tokens(walks: tuple[Walk, ...], limit: float) -> Iterator[Check]:
    """fp32: every logit of every step within ``limit``, every token the same but for near ties."""
    worst = max(one.largest_difference / one.scale for one in walks)
    margin = min(min(one.margins) for one in walks)
    steps = sum(len(one.margins) for one in walks)
    detail = (
        f"{steps} teacher-forced steps: logits differ by at most {worst:.1e}, limit {limit:.0e}; smallest top-1 "
        f"margin {margin:.1e}"
    )
    yield verdict("logits", [detail] if worst > limit else [], detail, largest_difference=worst, smallest_margin=margin)
    wrong = sum(one.wrong_tokens(limit * one.scale) for one in walks)
    detail = f"{steps - wrong} of {steps} greedy tokens as PyTorch chooses them"
    yield verdict("tokens", [detail] if wrong else [], detail)


def divergence(walks: tuple[Walk, ...], limit: float) -> Iterator[Check]:
    """Rounded weights: how far the distributions are from fp32, and how often the likeliest token is another."""
    worst = max(one.divergence for one in walks)
    steps = sum(len(one.margins) for one in walks)
    same = sum(
        ours == theirs for one in walks for ours, theirs in zip(one.export.tokens, one.reference.tokens, strict=True)
    )
    detail = f"{worst:.2g} nats a token from fp32, limit {limit:g}; {same} of {steps} likeliest tokens the same"
    yield verdict("divergence", [detail] if worst > limit else [], detail, divergence_nats=worst)


def judged(
    walks: tuple[Walk, ...], precision: Precision, limit: float, nats_of: Callable[[Precision], float]
) -> Iterator[Check]:
    """fp32 by its logits and tokens, rounded weights by how far they are from fp32: ``nats_of`` a precision."""
    if precision is Precision.FP32:
        yield from logits_and_tokens(walks, limit)
    else:
        yield from divergence(walks, nats_of(precision))


def _others(own: Any, theirs: Any) -> Any:
    """Another image of the same shape: of tiles the first, as many as ``own``; of pictures their pixels in a row."""
    import numpy as np

    others = theirs[:, : own.shape[1]] if own.ndim > 4 else theirs[: len(own)]
    return others if others.shape == own.shape else np.resize(theirs, own.shape)


def controls(export: Model, reference: Model, walks: tuple[Walk, ...], limit: float) -> Iterator[Check]:
    """Another image, and a black one, change the first logits: the export does look.

    By more than rounding would, or at least by half of what the checkpoint's change: some images say little.
    """
    from dataclasses import replace

    import numpy as np

    first, other = walks[0], walks[-1]
    own: Any = first.prompt.pixel_values
    images = {"another image": _others(own, other.prompt.pixel_values)}
    images["no image"] = np.full_like(own, 0.0 if first.prompt.pixel_mask is None else _BLACK)
    for what, pixels in images.items():
        prompt = replace(first.prompt, pixel_values=pixels)
        moved, due = (
            float(np.abs(generate(model, prompt, 1).logits[0] - before.logits[0]).max())
            for model, before in ((export, first.export), (reference, first.reference))
        )
        detail = f"{what} moves the logits by {moved:.1e}"
        name = f"control: {what}"
        if moved > limit or moved > due / 2:
            yield passed(name, detail)
        elif due <= _UNSEEN:
            yield skipped(
                name, f"{what} does not move the checkpoint's own logits, so that it says nothing of the export's"
            )
        else:
            yield failed(name, f"{detail}, the checkpoint's by {due:.1e}: not read")


def padding(export: Model, walks: tuple[Walk, ...], limit: float, text: Any) -> Check:
    """A left-padded batch of two gives what its rows give alone, through prefill and three further tokens.

    Not where rotary frequencies grow with the longest row, beyond what the ``text`` model was trained for.

    Padding changes the order of sums, no more. Where activations are rounded to 8 bits that alone moves logits by as
    much as the rounding does, so a quantised ``export`` comes here with its activations unrounded.
    """
    import numpy as np

    prompts, steps = [one.prompt for one in walks[:2]], 4
    tokens = [one.export.tokens[:steps] for one in walks[:2]]
    alone = [generate(export, prompt, steps, forced=forced) for prompt, forced in zip(prompts, tokens, strict=True)]
    embeds = [prompt_embeds(export, prompt) for prompt in prompts]
    longest = max(one.shape[1] for one in embeds)
    if rope_type(text) == "dynamic" and longest + steps > text.max_position_embeddings:
        return skipped(
            "padding", "rows longer than the model was trained for turn the others' positions, too (dynamic)"
        )
    padded = [np.pad(one, ((0, 0), (longest - one.shape[1], 0), (0, 0))) for one in embeds]
    mask = np.stack([np.arange(longest) >= longest - one.shape[1] for one in embeds]).astype(np.int64)
    places = [one.positions.padded(longest) for one in prompts if one.positions is not None]
    positions = joined_positions(places) if places else None
    fed, cache, worst = np.concatenate(padded), None, 0.0
    for step in range(steps):
        logits, _, cache = stepped(export, fed, mask, cache, positions)
        difference = float(np.abs(logits - np.stack([one.logits[step] for one in alone])).max())
        worst = max(worst, difference if np.isfinite(difference) else float("inf"))
        fed = export.embeds(np.array([[forced[step]] for forced in tokens], dtype=np.int64))
        mask = np.concatenate([mask, np.ones((2, 1), dtype=np.int64)], axis=1)
    detail = f"a left-padded batch of two differs from its rows alone by {worst:.1e}, limit {limit:.0e}"
    return verdict("padding", [detail] if worst > limit else [], detail, largest_difference=worst)
