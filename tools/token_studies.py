"""Studies of fewer visual tokens: ``facts/token_studies.csv.gz`` -> series, each of one model, benchmark and way.

A series has scores at several x: the logarithm of the side of the pixels seen (``image-size``), or of the number of
visual tokens (every other reduction). What a benchmark's own images do not have, no setting can show: sides end there.
Of videos x is the logarithm of the number of frames, spread evenly, or of the visual tokens that each frame keeps.
"""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import mean

from benchmarks import KIND, side_px

from facts import number, rows
from vlmplan.accuracy.reductions import Kind
from vlmplan.models.spec import Reduction

RELATIVE = "relative-size"
SHRINKING = ("image-size", RELATIVE, "tiles", "pixels-only")
QWEN_TOKEN_PX = 28  # Qwen2-VL and Qwen2.5-VL: one token a square of 28 pixels
FRAMES = "frames"
VIDEO = (FRAMES, "frame-tokens")
NO_METHOD = ("", "none")
EVENLY = (*NO_METHOD, "uniform sampling")  # how frames are chosen without looking at them, or at the question
# Tokens that one frame has unreduced, where a study gives only the share that it kept: LLaVA-OneVision's and
# LLaVA-Video's pooled frames, one view of InternVL's; of others a usual number.
FRAME_TOKENS = {"onevision": 196, "-ov": 196, "llava-video": 169, "internvl": 256}
USUAL_FRAME_TOKENS = 256
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

    ``axis`` is the way in the words of the table; ``paper`` is what it shares errors with. ``tokens`` are visual tokens
    at each x, None where a table of pixels does not tell, and ``llm_params_b`` the LLM's parameters in billions. Models
    ``retrained`` for each setting learn to live with it; one checkpoint run at several does not.
    """

    paper: str
    study: str
    checkpoint: str
    family: str
    axis: str
    method: str
    benchmark: str
    llm_params_b: float | None
    retrained: bool
    x: tuple[float, ...]
    share: tuple[float, ...]
    tokens: tuple[float | None, ...]

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
        if not tokens or not float(tokens.rstrip("%")):
            return None  # none at all is what a benchmark's blind scores are for
        return math.log(float(tokens) if share is None else share * _full_tokens(row["checkpoint"], benchmark))
    own = side_px(benchmark)
    if side:
        return math.log(min(own, float(side)))
    if share is not None:
        return math.log(own * math.sqrt(share))
    if tokens and "qwen" in row["checkpoint"].casefold():
        return math.log(min(own, QWEN_TOKEN_PX * math.sqrt(float(tokens))))
    return None


@dataclass(frozen=True, kw_only=True)
class _Point:
    """One row of a table: where it lies, its score as a share, and its tokens."""

    x: float
    share: float
    tokens: float | None


def _frames(row: dict[str, str]) -> float | None:
    """The frames that a row's note tells."""
    told = re.search(r"(\d+) frames", row["note"])
    return float(told[1]) if told else None


def _video_x(row: dict[str, str]) -> float | None:
    """Where a row of a video benchmark lies: its frames, or the tokens that a frame keeps."""
    if row["axis"] == FRAMES:
        frames = _frames(row) if row["method"].casefold() in EVENLY else None
        return math.log(frames) if frames else None
    tokens, name = row["visual_tokens"], row["checkpoint"].casefold()
    if row["axis"] in (*VIDEO, *SHRINKING) or not tokens:
        return None
    if tokens.endswith("%"):
        whole = next((count for part, count in FRAME_TOKENS.items() if part in name), USUAL_FRAME_TOKENS)
        share = float(tokens.rstrip("%")) / 100
        return math.log(share * whole) if share else None
    frames = _frames(row)
    return math.log(float(tokens) / frames) if frames and float(tokens) else None


Key = tuple[str, ...]
KEY = ("paper", "study", "checkpoint", "llm_params_b", "axis", "benchmark", "trained_each")


def _groups(table: Iterable[dict[str, str]], *, video: bool) -> Iterator[tuple[Key, list[_Point]]]:
    """Rows of one model, benchmark and way; the unreduced one belongs to every method of its table."""
    found: defaultdict[Key, defaultdict[str, list[_Point]]] = defaultdict(lambda: defaultdict(list))
    for row in table:
        if row.get("trust", "primary") != "primary" or row["benchmark"] not in KIND:
            continue
        if (KIND[row["benchmark"]] is Kind.VIDEO) is not video or (row["axis"] in VIDEO and not video):
            continue
        x = _video_x(row) if video else _x(row)
        if x is None:
            continue
        # to a fixed size every image is shrunk as far as it has to be, to a share of its own also the small ones
        axis = RELATIVE if row["axis"] == "image-size" and row["visual_tokens"].endswith("%") else row["axis"]
        key = tuple({**row, "axis": axis}[name] for name in KEY)
        method = "" if row["method"].casefold() in (EVENLY if video else NO_METHOD) else row["method"]
        tokens = None if row["visual_tokens"].endswith("%") else number(row["visual_tokens"])
        share = float(row["score"]) / float(row["score_max"])
        found[key][method].append(_Point(x=round(x, 3), share=share, tokens=tokens))
    for key, by_method in found.items():
        whole = by_method.pop("", [])
        for method, points in (by_method or {"": []}).items():
            yield (*key, method), points + whole


def series_of(table: Iterable[dict[str, str]], *, video: bool = False) -> Iterator[Series]:
    """Yield every series of at least two settings in rows of the form of ``facts/token_studies.csv.gz``.

    Of images, or of ``video``.
    """
    for (paper, study, checkpoint, size, axis, benchmark, retrained, method), points in sorted(
        _groups(table, video=video), key=lambda g: g[0]
    ):
        by_x: defaultdict[float, list[_Point]] = defaultdict(list)
        for point in points:
            by_x[point.x].append(point)
        if len(by_x) < 2:
            continue
        yield Series(
            paper=paper,
            study=study,
            checkpoint=checkpoint,
            family=family_of(checkpoint),
            axis=axis,
            method=method,
            benchmark=benchmark,
            llm_params_b=number(size),
            retrained=retrained == "yes",
            x=tuple(sorted(by_x)),
            share=tuple(mean(point.share for point in by_x[x]) for x in sorted(by_x)),
            tokens=tuple(by_x[x][0].tokens for x in sorted(by_x)),
        )


@functools.cache
def series() -> tuple[Series, ...]:
    """Return every series of the facts that is about images."""
    return tuple(series_of(rows("token_studies.csv.gz")))


@functools.cache
def video_series() -> tuple[Series, ...]:
    """Return every series of the facts that is about videos."""
    return tuple(series_of(rows("token_studies.csv.gz"), video=True))
