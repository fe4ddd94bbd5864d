"""Make ``tools/points/*.csv``, what the shipped laws are fitted to, from ``facts/``.

``reasoning`` and ``ocr`` are the measured grids of arXiv 2411.03312. A benchmark's points are published scores of
families with several sizes, at the tokens of a 1024 x 1024 image (they say what N does; a family whose checkpoints
differ in tokens is split), and studies of fewer tokens by one reduction (they say what V does). Run:
``python tools/law_points.py``, then ``python tools/make_laws.py``.
"""

import csv
import functools
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from published import WEIGHTS, Studied, scores, sizes, studies

from facts import number, rows
from vlmplan.models.spec import Reduction

POINTS = Path(__file__).with_name("points")
GRIDS = {"reasoning": "visual_reasoning_avg9", "ocr": "ocr_text_avg"}
GRID = "arXiv 2411.03312: github.com/locuslab/llava-token-compression scaling_law_code/values.py"
LEAST_OF_A_STUDY = 3  # numbers of tokens: two points lie on any line
SCORES = "published score (vlm_scores.csv)"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table of points."""

    llm_params_b: float
    visual_tokens: float
    error: float
    family: str = ""
    source: str


def grid(name: str) -> list[Line]:
    """All points of a grid, the suspicious ones, too: ``fit`` finds them."""
    return [
        Line(
            llm_params_b=float(row["llm_params_B"]),
            visual_tokens=float(row["visual_tokens"]),
            error=float(row["error"]),
            source=GRID,
        )
        for row in rows("accuracy/measured_grid_2411.03312.csv")
        if row["metric"] == GRIDS[name] and "HEAD" in row["commit"] and "flat list" not in row["where_in_file"]
    ]


@functools.cache
def own_tokens() -> dict[str, float]:
    """Return checkpoint -> visual tokens of a 1024 x 1024 image, where known."""
    known = {row["hf_id"]: number(row["tokens_1024x1024_default"]) for row in rows("vlms.csv")}
    return {name: tokens for name, tokens in known.items() if tokens}


def checkpoints(benchmark: str) -> list[Line]:
    """Published scores of families with at least two sizes at one number of tokens."""
    tokens, known = own_tokens(), sizes()
    families: defaultdict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
    for name, share in sorted(scores()[benchmark].items()):
        if name in known and name in tokens:
            own = known[name]
            families[own.family, tokens[name]].append((own.active_b, share))
    told = {key: found for key, found in families.items() if len({size for size, _ in found}) > 1}
    times = Counter(family for family, _ in told)
    return [
        Line(
            llm_params_b=size,
            visual_tokens=count,
            error=1 - share,
            family=family if times[family] == 1 else f"{family}, {count:g} tokens",
            source=SCORES,
        )
        for (family, count), found in sorted(told.items())
        for size, share in found
    ]


def studied(benchmark: str, reduction: Reduction, found: tuple[Studied, ...]) -> list[Line]:
    """The studies of one benchmark and reduction; fractions of a checkpoint's own tokens become tokens."""
    tokens, known = own_tokens(), sizes()
    return [
        Line(
            llm_params_b=known[one.checkpoint].active_b,
            visual_tokens=one.visual_tokens * (tokens[one.checkpoint] if one.relative else 1),
            error=1 - one.share,
            family=one.study,
            source=one.source,
        )
        for one in found
        if one.benchmark == benchmark and one.reduction is reduction and one.checkpoint in known
    ]


def write(name: str, lines: list[Line]) -> None:
    """Write one table, and say how large it is."""
    with (POINTS / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("llm_params_b", "visual_tokens", "error", "family", "source"))
        for line in lines:
            size, tokens = f"{line.llm_params_b:.6g}", f"{line.visual_tokens:.6g}"
            table.writerow((size, tokens, f"{line.error:.12g}", line.family, line.source))
    print(f"{name}: {len(lines)} points")


def main() -> None:
    """Write all tables anew."""
    POINTS.mkdir(exist_ok=True)
    for old in POINTS.glob("*.csv"):
        old.unlink()
    for name in GRIDS:
        write(name, grid(name))
    found = studies()
    for task, (benchmark,) in ((task, tuple(weights)) for task, weights in WEIGHTS.items() if len(weights) == 1):
        published = checkpoints(benchmark)
        for reduction in Reduction:
            lines = studied(benchmark, reduction, found)
            if max(Counter(line.family for line in lines).values(), default=0) >= LEAST_OF_A_STUDY:
                write(task if reduction is Reduction.TRAINED else f"{task}-{reduction}", published + lines)


if __name__ == "__main__":
    main()
