"""Does a score published at hundreds of frames foretell what others measured at few? A table of checkpoints shipped.

Level and frames are the checkpoint's own, as published, frames beyond those of any study not counted; what fewer leave
is from the studies of all other papers. Parties differ in prompts and decoders, which is no fault of the curve.

    python tools/fewer_frames.py
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import mean

from make_evidence import SHIPPED, believed, most_frames
from published import OF_VIDEOS
from token_curves import Axis, Inference, constants, effects, of_axis, scores_left
from token_studies import Series, video_series

NAMED = {"lmms-lab/llava-onevision-qwen2-7b-ov": "llava-hf/llava-onevision-qwen2-7b-ov-hf"}  # as the catalogue has it


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """What one checkpoint scored at ``frames``, as others measured it, and what its published score foretold."""

    checkpoint: str
    benchmark: str
    paper: str
    frames: int
    measured: float
    published: float
    published_frames: float
    foretold: float


def _expected(one: Series, x: float, known: Inference) -> float:
    """The expected score at x, over the spread of the curve's scale."""
    import numpy as np

    scale, at = known.predict(effects(one, unseen=True)), known.constants
    z = np.linspace(-3.2, 3.2, 65)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    steepness = at.steepness_of(one.benchmark, retrained=False)
    return float(weight @ scores_left(one, x, scale.mean + scale.sd * z, steepness))


def foretold() -> Iterator[Foretold]:
    """Yield every score of a study of frames whose checkpoint has a published score at more of them."""
    found, at = of_axis(video_series(), Axis.FRAMES), constants()[Axis.FRAMES]
    known = {paper: Inference([one for one in found if one.paper != paper], at) for paper in {s.paper for s in found}}
    for one in (series for series in found if series.benchmark in OF_VIDEOS):
        name = NAMED.get(one.checkpoint, one.checkpoint)
        own = believed(one.benchmark).get(name) if name in SHIPPED else None
        if own is None or own.frames is None:
            continue
        most = math.log(min(own.frames, most_frames()))
        for x, share in zip(one.x, one.share, strict=True):
            if x < most - 0.01:
                whole = replace(one, x=(x, most), share=(share, own.share))
                yield Foretold(
                    checkpoint=name.rpartition("/")[2], benchmark=one.benchmark, paper=one.paper,
                    frames=round(math.exp(x)), measured=share, published=own.share, published_frames=own.frames,
                    foretold=_expected(whole, x, known[one.paper]),
                )  # fmt: skip


def main() -> None:
    """Print the table, a line a checkpoint and benchmark, and how far off it is on the mean."""
    rows = sorted(foretold(), key=lambda row: (row.checkpoint, row.benchmark, row.paper, row.frames))
    print("| checkpoint | benchmark | published | measured by | frames: measured (foretold) |\n|---|---|---|---|---|")
    for key in dict.fromkeys((row.checkpoint, row.benchmark, row.paper) for row in rows):
        mine = [row for row in rows if (row.checkpoint, row.benchmark, row.paper) == key]
        cells = ", ".join(f"{row.frames}: {100 * row.measured:.1f} ({100 * row.foretold:.1f})" for row in mine)
        first = mine[0]
        published = f"{100 * first.published:.1f} at {first.published_frames:.0f}"
        print(f"| {key[0]} | {key[1]} | {published} | {key[2]} | {cells} |")
    off = [100 * (row.foretold - row.measured) for row in rows]
    unchanged = [100 * (row.published - row.measured) for row in rows]
    print(
        f"\n{len(rows)} scores: {mean(map(abs, off)):.1f} points off on the mean, bias {mean(off):+.1f}; without a "
        f"curve {mean(map(abs, unchanged)):.1f}, bias {mean(unchanged):+.1f}"
    )


if __name__ == "__main__":
    main()
