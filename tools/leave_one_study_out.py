"""What would have been predicted of each study had it not been known? The table of ``docs/evidence.md``.

Each paper is left out whole, constants and all; every score of its series is predicted from that with the most pixels
or tokens. Beside it stand (a) no change and (b) the slopes of ln V that were shipped before, which had seen some of
these papers. Intervals are of 90 % and count the noise of both scores.

    python tools/leave_one_study_out.py [--keep-constants] [--csv FILE] [--out TABLE.md]
"""

import argparse
import csv
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from benchmarks import KIND
from token_curves import (
    Axis,
    Constants,
    Inference,
    Predicted,
    axis_of,
    constants,
    effects,
    fitted,
    of_axis,
    scores_left,
    whole_tokens,
)
from token_studies import Series, series, video_series

from vlmplan.accuracy.published_scores import score_of
from vlmplan.accuracy.reductions import Kind
from vlmplan.models.spec import Reduction

FOLDS = 2  # of papers, each with constants that the others alone gave
_Z = np.linspace(-3.2, 3.2, 65)
_WEIGHT = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_T90 = 2.13  # half of a 90 % interval of Student's t with 4 degrees of freedom, in its scale
_UNREAD = (Kind.READING, Kind.CHARTS)
_SLOPES = tomllib.loads(Path(__file__).with_name("slopes_before.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Left:
    """One score of a study left out, as a share, beside what was predicted of it."""

    kind: str
    reduction: str
    paper: str
    study: str
    checkpoint: str
    benchmark: str
    x: float
    whole_x: float
    whole: float
    share: float
    predicted: float
    low: float
    high: float
    unchanged: float
    by_slope: float
    lowest: bool


def slope_before(one: Series) -> float:
    """Return c of a benchmark and way as it was shipped; of its kind where the benchmark had none."""
    way = str(one.reduction) if str(one.reduction) in _SLOPES else "training-free"
    known = _SLOPES[way]
    alike = [c for name, c in known.items() if (KIND[name] in _UNREAD) == (one.kind in _UNREAD)]
    return float(known.get(one.benchmark, np.mean(alike)))


def _by_slope(one: Series, x: float) -> float:
    if one.kind is Kind.VIDEO:
        return math.nan  # nothing was shipped of videos
    whole_x, whole = one.whole
    bounded = min(0.999, max(0.001, whole))
    tokens = 2 if axis_of(one) is Axis.PIXELS else 1  # an e-fold of the side is two of the tokens
    return score_of(math.log(bounded / (1 - bounded)) + slope_before(one) * tokens * (x - whole_x), 0.0)


def way(one: Series) -> str:
    """Return what a series loses, as tables say it: frames, or a reduction."""
    return str(axis_of(one)) if one.kind is Kind.VIDEO else str(one.reduction)


def predictions(one: Series, scale: Predicted, at: Constants) -> Iterable[Left]:
    """Yield what the scale of a curve says of every reduced score."""
    whole_x, whole = one.whole
    steepness, scales = at.steepness_of(one.benchmark, retrained=one.retrained), scale.mean + scale.sd * _Z
    for x, share in one.reduced:
        scores = scores_left(one, x, scales, steepness)
        order = np.argsort(scores)
        low, middle, high = np.interp((0.05, 0.5, 0.95), np.cumsum(_WEIGHT[order]), scores[order])
        expected = float(_WEIGHT @ scores)
        noise = _T90 * at.noise * math.sqrt(2)
        yield Left(
            kind=str(one.kind), reduction=way(one), paper=one.paper, study=one.study,
            checkpoint=one.checkpoint, benchmark=one.benchmark,
            x=round(math.exp(x), 1), whole_x=round(math.exp(whole_x), 1),
            whole=whole, share=share, predicted=expected,
            low=middle - math.hypot(middle - low, noise), high=middle + math.hypot(high - middle, noise),
            unchanged=whole, by_slope=_by_slope(one, x), lowest=x == one.reduced[0][0],
        )  # fmt: skip


def left_out(found: Sequence[Series], at: Constants, papers: Iterable[str]) -> Iterable[Left]:
    """Leave out each of ``papers`` in turn."""
    for paper in papers:
        known = Inference([one for one in found if one.paper != paper], at)
        for one in found:
            if one.paper == paper:
                scale = known.predict(effects(one, unseen=True), whole_tokens(one))
                yield from predictions(one, scale, at)


def all_left_out(*, keep_constants: bool, video: bool = False) -> list[Left]:
    """Leave out every paper of every axis; constants come from the papers of other folds unless they are kept."""
    rows: list[Left] = []
    for lost, start in constants().items():
        found = of_axis(video_series() if video else series(), lost)
        if not found:
            continue
        papers = sorted({one.paper for one in found}, key=lambda name: (hash_of(name), name))
        for fold in range(FOLDS):
            mine = papers[fold::FOLDS]
            others = [one for one in found if one.paper not in mine]
            at = start if keep_constants else fitted(others, start, 1, lambda _: None)
            rows += left_out(found, at, mine)
    return rows


def hash_of(name: str) -> int:
    """Return a number that deals papers to folds, the same on every machine."""
    return sum((index + 1) * ord(letter) for index, letter in enumerate(name)) % 997


def _line(name: str, way: str, rows: Sequence[Left]) -> str:
    table = np.array([(r.share, r.predicted, r.low, r.high, r.unchanged, r.by_slope, r.lowest) for r in rows])
    share, predicted, low, high, unchanged, by_slope, lowest = table.T
    errors = [100 * float(np.abs(share - guess).mean()) for guess in (unchanged, by_slope, predicted)]
    held = 100 * float(((low <= share) & (share <= high)).mean())
    width = 100 * float(np.median(high - low))
    bias = 100 * float((predicted - share)[lowest == 1].mean())
    papers = len({r.paper for r in rows})
    cells = (
        name,
        way,
        str(papers),
        str(len(rows)),
        *(f"{e:.1f}" for e in errors),
        f"{held:.0f}",
        f"{width:.1f}",
        f"{bias:+.1f}",
    )
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| kind | reduction | papers | scores | no change | slopes before | now | 90 % hold, % | median width "
    "| bias at lowest |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def table(rows: Sequence[Left]) -> str:
    """Return the table in Markdown: mean absolute errors in points, by kind and way."""
    lines = [HEAD]
    ways = sorted({r.reduction for r in rows})
    for kind in (*Kind, None):
        for way in (*ways, None):
            some = [r for r in rows if kind in (None, r.kind) and way in (None, r.reduction)]
            if some:
                lines.append(_line(str(kind or "all"), way or "all", some))
    for name, chosen in (("shrinking", True), ("fewer tokens", False)):
        some = [r for r in rows if (r.reduction == Reduction.IMAGE_SIZE) is chosen]
        lines.append(_line("all", name, some))
    return "\n".join(lines)


HEAD_OF_VIDEOS = (
    "| benchmark | fewer | papers | scores | no change | now | 90 % hold, % | median width | bias at lowest |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|"
)


def table_of_videos(rows: Sequence[Left]) -> str:
    """Return the table of video benchmarks in Markdown: mean absolute errors in points, by what is fewer."""
    lines = [HEAD_OF_VIDEOS]
    for fewer in sorted({r.reduction for r in rows}, reverse=True):
        mine = [r for r in rows if r.reduction == fewer]
        for name in (*sorted({r.benchmark for r in mine}), None):
            cells = _line(name or "all", fewer, [r for r in mine if name in (None, r.benchmark)]).split(" | ")
            lines.append(" | ".join((*cells[:5], *cells[6:])))
    return "\n".join(lines)


def main() -> None:
    """Print the table; write every prediction to a file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep-constants", action="store_true", help="quicker: spreads and steepness of all studies")
    parser.add_argument("--video", action="store_true", help="studies of videos: fewer frames, fewer tokens a frame")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = all_left_out(keep_constants=asked.keep_constants, video=asked.video)
    text = table_of_videos(rows) if asked.video else table(rows)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")
    if asked.csv:
        with asked.csv.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([field.name for field in fields(Left)])
            writer.writerows(astuple(row) for row in rows)


if __name__ == "__main__":
    main()
