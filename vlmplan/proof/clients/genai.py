"""Does onnxruntime-genai itself run the export, and say what PyTorch does? The released package, in a process apart.

Random prompts of text alone, of one image and of two go in as tensors; a picture and a sentence go in by its own
processor, whose token ids and pixels are compared with those of the checkpoint's. Only an export in which all else is
proved is handed to it: it opens whatever ``genai_config.json`` names. Its telemetry is switched off.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import added_tokens
from vlmplan.errors import InputError, printable
from vlmplan.exporting import (
    GENAI_CLIENT,
    GENAI_MARKS,
    USUAL_IMAGE,
    Generation,
    Model,
    Parts,
    Pictures,
    Prompt,
    Prompts,
    generate,
)
from vlmplan.extras import installed
from vlmplan.proof.numbers import STEPS, images_of
from vlmplan.proof.report import Check, failed, skipped, verdict

NAME = f"client: {GENAI_CLIENT}"
_LENGTHS = ((9, 12, 7), (1, 12, 7), (14, 3, 5))  # tokens of text before, between and behind images
_SENTENCE = "What does it say? Größe 12,345.67 naïve 漢字"
_MOST_OFF = 1e-3  # of a pixel that is brought to mean 0 and spread 1, in a picture that needs no scaling
# Of the logits' spread, where weights are rounded: kernels then round what they multiply to 8 bits, so that a pixel's
# last digit can move a logit. Seen: 0.0035 of it, an int4 Qwen3-VL's.
ROUNDED_LIMIT = 0.02
_MOST_PIXELS = 2**25  # of a picture of the export's own size; a larger one is not made
_LONGEST_SAID = 300  # characters of an error
_QUIET = {"ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One prompt: as ``ours`` reads it, and as onnxruntime-genai does, as ``tensors`` or as a text with a picture."""

    what: str
    ours: Prompt
    tensors: dict[str, Any] | None = None
    text: str = ""
    picture: Any = None
    answered: bool = True  # else token ids and the number of pixels are compared, and no more


def _prompt(parts: Parts, number: int) -> tuple[Prompt, dict[str, Any]]:
    """Random text with as many images as ``number``; special tokens would end it, or be read otherwise."""
    import numpy as np

    checkpoint, rng = parts.checkpoint, np.random.default_rng(40 + number)
    special = {*added_tokens(checkpoint.folder), checkpoint.image_token}
    plain = np.array([one for one in range(checkpoint.text.vocab_size) if one not in special][: 2**16])
    texts = [rng.choice(plain, length) for length in _LENGTHS[number]]
    seen = images_of(rng, checkpoint.image_size, parts.order.visual_tokens, parts.tiles, number)
    around = [getattr(checkpoint.config, f"vision_{side}_token_id", None) for side in ("start", "end")]
    before, after = ([] if one is None else [one] for one in around)
    ids = list(texts[0])
    for count, text in zip(seen.counts, texts[1:], strict=False):
        ids += [*before, *[checkpoint.image_token] * count, *after, *text]
    inputs: dict[str, Any] = {"input_ids": np.array([ids], np.int32)}
    inputs["num_image_tokens"] = np.array([sum(seen.counts)], np.int64)
    if number:
        inputs["pixel_values"] = seen.pixels
        if parts.tiles is None:
            inputs["num_image_tokens"][0] = seen.counts[0]  # as its processor for views of one size says it, an image's
        else:
            inputs["image_sizes" if checkpoint.pictured else "image_grid_thw"] = seen.grid
    read = np.array([ids], np.int64)
    merge = 1 if parts.tiles is None or parts.tiles.squares is None else parts.tiles.squares.merge
    ours = Prompt(
        input_ids=read, attention_mask=np.ones_like(read), pixel_values=seen.pixels, grid=seen.grid, merge=merge,
        image_token=checkpoint.image_token,
    )  # fmt: skip
    return ours, inputs


def _cases(parts: Parts, folder: Path) -> Iterator[_Case]:
    """Text alone, one image, two images, and a picture's file with a sentence."""
    for number, what in enumerate(("text alone", "one image", "two images")):
        ours, given = _prompt(parts, number)
        yield _Case(what=what, ours=ours, tensors=given)
    text, prompts = f"{GENAI_MARKS[parts.checkpoint.config.model_type]}{_SENTENCE}", Prompts(folder)
    picture = _picture(_scaled_size(parts))
    yield _Case(what="a picture", ours=prompts.written(picture, text), text=text, picture=picture)
    size = USUAL_IMAGE if parts.tiles is None else parts.tiles.image
    if math.prod(size) <= _MOST_PIXELS:
        picture = _picture(size)
        what = f"a picture of {size[0]}x{size[1]}"
        yield _Case(what=what, ours=prompts.written(picture, text), text=text, picture=picture, answered=False)


def _scaled_size(parts: Parts) -> tuple[int, int]:
    """Width and height that the export's images are scaled to."""
    if parts.tiles is None or (squares := parts.tiles.squares) is None:
        return (parts.checkpoint.image_size,) * 2
    return squares.columns * squares.side, squares.rows * squares.side


def _picture(size: tuple[int, int]) -> Any:
    """A random picture of a width and a height."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def _answers(folder: Path, cases: list[_Case], timeout_s: float) -> list[dict[str, Any]]:
    """What onnxruntime-genai makes of each case. Raises InputError, with its own words, where it ends in an error."""
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="vlmplan-genai-") as made:
        job = Path(made)
        listed: list[dict[str, Any] | None] = []
        for number, case in enumerate(cases):
            if case.tensors is not None:
                np.savez(job / f"{number}.npz", **case.tensors)
                listed.append(None)
            else:
                case.picture.save(job / f"{number}.png")
                most = STEPS if case.answered else 0
                listed.append({"prompt": case.text, "pictures": [str(job / f"{number}.png")], "most": most})
        asked = {"export": str(folder.resolve()), "most": STEPS, "cases": listed}
        (job / "job.json").write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, "-m", "vlmplan.exporting.processes.genai_session", str(job)]
        path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=timeout_s, check=False,
                env=os.environ | _QUIET | {"PYTHONPATH": path},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InputError(f"{GENAI_CLIENT} was not done after {timeout_s:g} s; give --timeout") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise InputError(f"{GENAI_CLIENT} cannot run it ({printable(said[-1][:_LONGEST_SAID])})")
        return [dict(np.load(job / f"{number}.answer.npz")) for number in range(len(cases))]


def _told_apart(case: _Case, answer: dict[str, Any]) -> str | None:
    """How its processor reads a picture and a sentence otherwise than the checkpoint's; None where it does not."""
    import numpy as np

    ids: Any = case.ours.input_ids
    pixels: Any = case.ours.pixel_values
    if ids.shape != answer["input_ids"].shape or (ids != answer["input_ids"]).any():
        return f"its processor writes other token ids for a picture with {_SENTENCE!r}"
    theirs: Any = answer["pixel_values"]
    off = float(np.abs(pixels.ravel() - theirs.ravel()).max()) if pixels.size == theirs.size else float("inf")
    if not case.answered and off < float("inf"):
        return (
            None  # Pillow 13 may scale heights first, so that the last digits of what is scaled depend on its version
        )
    return None if off <= _MOST_OFF else f"its processor makes other pixels of a picture, off by {off:.2g}"


def _unlike(tokens: list[int], want: Generation, limit: float) -> bool:
    """Whether tokens part from those due where the choice between them was no near tie."""
    margins = want.margins("the reference")
    for one, due, margin in zip(tokens, want.tokens, margins, strict=False):
        if one != due:
            return margin > 2 * limit
    return len(tokens) != len(want.tokens)


def client(folder: Path, parts: Parts, followed: Model, limit: float, timeout_s: float) -> Check:
    """onnxruntime-genai's greedy tokens are those of ``followed``, but for ties nearer than ``limit`` logits."""
    if not installed("onnxruntime_genai"):
        return skipped(NAME, f"not run: {GENAI_CLIENT} is not installed (pip install {GENAI_CLIENT})")
    cases = list(_cases(parts, folder))
    stop = _stops(folder)
    try:
        answers = _answers(folder, cases, timeout_s)
    except InputError as error:
        return failed(NAME, str(error))
    faults, count = [], 0
    for case, answer in zip(cases, answers, strict=True):
        if case.tensors is None and (unlike := _told_apart(case, answer)):
            faults.append(f"{case.what}: {unlike}")
            continue
        if not case.answered:
            continue
        due = generate(followed, case.ours, STEPS, stop)
        scale = max(1.0, float(due.logits[0].std()))
        count += len(due.tokens)
        if _unlike(answer["tokens"].tolist(), due, limit * scale):
            faults.append(f"{case.what}: tokens {answer['tokens'].tolist()}, expected {list(due.tokens)}")
    from importlib.metadata import version

    good = f"{GENAI_CLIENT} {version(GENAI_CLIENT)} makes the {count} tokens due, of text alone, one image, two, and a "
    good += "picture by its own processor, ids and pixels as the checkpoint's"
    good += "" if cases[-1].answered else f"; of {cases[-1].what} it makes the checkpoint's ids"
    return verdict(NAME, faults, good + _otherwise(parts))


def _otherwise(parts: Parts) -> str:
    """Of which pictures its processor makes other numbers of tokens than the checkpoint's; nothing where of none."""
    if parts.tiles is None or (squares := parts.tiles.squares) is None:
        return ""
    if isinstance(squares, Pictures):
        return (
            f"; it rounds sides to the nearer {squares.side} pixels and scales by area, the checkpoint's processor "
            "rounds up and scales by the longest edge: of other sizes it may make other numbers of tokens"
        )
    side = squares.side
    return (
        f"; of pictures with a side that ties (pixels mod {2 * side} = {side // 2}) it may make other numbers of "
        "tokens, since it rounds half up and Python to even, and of small or narrow ones that are enlarged"
    )


def _stops(folder: Path) -> frozenset[int]:
    """The tokens at which onnxruntime-genai stops."""
    ends = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]["eos_token_id"]
    return frozenset(ends if isinstance(ends, list) else [ends])


def merging(model: Any, prompts: tuple[Prompt, ...]) -> Check:
    """The graph of embeddings puts image features in their places, bit for bit, and text stays where there are none."""
    import numpy as np

    faults = []
    for number, prompt in enumerate(prompts):
        features = model.image_features(prompt.pixel_values, None, prompt.pixel_mask, prompt.layout)
        places = prompt.input_ids == prompt.image_token
        want = model.embeds(prompt.input_ids).copy()
        want[places] = features.reshape(-1, features.shape[-1])
        merged = model.merged(prompt.input_ids, features)
        if not np.array_equal(want, merged):
            faults.append(f"prompt {number}: {int((want != merged).sum())} numbers are not those of text and image")
    return verdict("merging", faults, "embeddings hold the features of images in their places, bit for bit")
