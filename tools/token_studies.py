"""Studies of fewer visual tokens: ``facts/token_studies.csv`` -> series, each of one model, benchmark and way.

A series has scores at several x: the logarithm of the side of the pixels seen (``image-size``), or of the number of
visual tokens (every other reduction). What a benchmark's own images do not have, no setting can show: sides end there.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

from benchmarks import KIND, side_px

from facts import rows
from vlmplan.model import Reduction
from vlmplan.reductions import Kind

SHRINKING = ("image-size", "tiles", "pixels-only")
QWEN_TOKEN_PX = 28  # Qwen2-VL and Qwen2.5-VL: one token a square of 28 pixels
NO_METHOD = ("", "none")
# Model families whose studies tell of the catalogue's own: a part of the checkpoint's name -> family there.
FAMILIES = {
    "qwen2.5-vl": "Qwen2.5-VL", "qwen2-vl": "Qwen2-VL", "llava-1.5": "LLaVA-1.5", "llava-v1.5": "LLaVA-1.5",
    "internvl3.5": "InternVL3.5", "internvl3_5": "InternVL3.5", "internvl3": "InternVL3", "internvl2.5": "InternVL2.5",
    "internvl2_5": "InternVL2.5", "paligemma2": "PaliGemma 2", "paligemma-2": "PaliGemma 2", "paligemma": "PaliGemma",
    "onevision": "LLaVA-OneVision", "llava-ov": "LLaVA-OneVision", "fastvlm": "FastVLM", "fastvithd": "FastVLM",
    "llava-next": "LLaVA-NeXT", "llava-v1.6": "LLaVA-NeXT", "qwen3-vl": "Qwen3-VL", "smolvlm": "SmolVLM",
    "idefics2": "Idefics2", "idefics3": "Idefics3", "deepseek-ocr": "DeepSeek-OCR",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Series:
    """Scores, as shares, of one model on one benchmark at several x (natural logarithms), by one way of reducing.

    ``axis`` is the way in the words of the table; ``paper`` is what it shares errors with.
    """

    paper: str
    study: str
    checkpoint: str
    family: str
    axis: str
    method: str
    benchmark: str
    x: tuple[float, ...]
    share: tuple[float, ...]

    @property
    def kind(self) -> Kind:
        """What the benchmark's questions need the image for."""
        return KIND[self.benchmark]

    @property
    def reduction(self) -> Reduction:
        """The way as plans name it."""
        return Reduction.IMAGE_SIZE if self.axis in SHRINKING else Reduction(self.axis)

    @property
    def whole(self) -> tuple[float, float]:
        """(x, score) of the most pixels or tokens: what the others are predicted from."""
        return max(zip(self.x, self.share, strict=True))

    @property
    def reduced(self) -> tuple[tuple[float, float], ...]:
        """(x, score) of all others, fewest first."""
        most = self.whole[0]
        return tuple(sorted((x, y) for x, y in zip(self.x, self.share, strict=True) if x < most))


def family_of(checkpoint: str) -> str:
    """Return the catalogue's family that a checkpoint of a study belongs to, empty for none."""
    name = checkpoint.casefold()
    return next((family for part, family in FAMILIES.items() if part in name), "")


def _full_tokens(checkpoint: str, benchmark: str) -> float:
    """Tokens of a benchmark's usual image, where a study gives only the share that it kept."""
    pixels, name = side_px(benchmark) ** 2, checkpoint.casefold()
    if "internvl" in name:
        return 256 * (min(12, max(1, round(pixels / 448**2))) + 1)
    if "next" in name or "v1.6" in name:
        return 2880
    if "onevision" in name or "-ov" in name:
        return 729 * (min(9, max(1, round(pixels / 384**2))) + 1)
    if "qwen" in name:
        return pixels / QWEN_TOKEN_PX**2
    return 576


def _x(row: dict[str, str]) -> float | None:
    """Where a row lies on its axis; None where its table does not say."""
    tokens, side, benchmark = row["visual_tokens"], row["image_side_px"], row["benchmark"]
    share = float(tokens.rstrip("%")) / 100 if tokens.endswith("%") else None
    if row["axis"] not in SHRINKING:
        if not tokens:
            return None
        return math.log(float(tokens) if share is None else share * _full_tokens(row["checkpoint"], benchmark))
    own = side_px(benchmark)
    if side:
        return math.log(min(own, float(side)))
    if share is not None:
        return math.log(own * math.sqrt(share))
    if tokens and "qwen" in row["checkpoint"].casefold():
        return math.log(min(own, QWEN_TOKEN_PX * math.sqrt(float(tokens))))
    return None


def _groups() -> Iterator[tuple[tuple[str, ...], list[tuple[float, float]]]]:
    """Rows of one model, benchmark and way; the unreduced one belongs to every method of its table."""
    found: defaultdict[tuple[str, ...], defaultdict[str, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows("token_studies.csv"):
        if row["trust"] != "primary" or row["benchmark"] not in KIND or row["axis"] in ("frames", "frame-tokens"):
            continue
        x = _x(row)
        if x is None:
            continue
        key = (row["paper"], row["study"], f"{row['checkpoint']} {row['llm_params_b']}", row["axis"], row["benchmark"])
        method = "" if row["method"].casefold() in NO_METHOD else row["method"]
        found[key][method].append((x, float(row["score"]) / float(row["score_max"])))
    for key, by_method in found.items():
        whole = by_method.pop("", [])
        for method, points in (by_method or {"": []}).items():
            yield (*key, method), points + whole


@functools.cache
def series() -> tuple[Series, ...]:
    """Return every series of at least two settings."""
    made = []
    for (paper, study, checkpoint, axis, benchmark, method), points in sorted(_groups()):
        by_x: defaultdict[float, list[float]] = defaultdict(list)
        for x, share in points:
            by_x[round(x, 3)].append(share)
        if len(by_x) < 2:
            continue
        xs = sorted(by_x)
        made.append(
            Series(
                paper=paper,
                study=study,
                checkpoint=checkpoint,
                family=family_of(checkpoint),
                axis=axis,
                method=method,
                benchmark=benchmark,
                x=tuple(xs),
                share=tuple(mean(by_x[x]) for x in xs),
            )
        )
    return tuple(made)
