"""Draw ``docs/scores.svg``: every checkpoint left out of its benchmark's fit, predicted against published.

Run: ``python tools/plot_scores.py``; reads ``facts/``. It prints the table of docs/evidence/accuracy.md, too.
"""

import matplotlib as mpl
import numpy as np
from make_evidence import scored
from published import BENCHMARKS, CHANCE
from score_line import Miss, held_fraction, left_out, mean_points

from facts import ROOT

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "vlmplan", "svg.fonttype": "none"}  # the same picture twice, text as text
import matplotlib.pyplot as plt  # noqa: E402 - after the backend is chosen

TITLES = {"MMMU_val": "MMMU", "MMBench_EN": "MMBench", "AI2D_test": "AI2D", "MathVista_mini": "MathVista",
          "DocVQA": "DocVQA", "TextVQA_val": "TextVQA", "ChartQA_test": "ChartQA", "OCRBench": "OCRBench",
          "VideoMME": "Video-MME", "MVBench": "MVBench", "LongVideoBench": "LongVideoBench",
          "MLVU": "MLVU"}  # fmt: skip


def draw(misses: dict[str, list[Miss]]) -> None:
    """One panel a benchmark: points on the line are predicted right; hollow ones have no other of their family."""
    figure, panels = plt.subplots(3, 4, figsize=(10, 8.1), constrained_layout=True)
    for panel, (name, found) in zip(panels.flat, misses.items(), strict=True):
        values = [value for miss in found for value in (miss.predicted_points, 100 * miss.row.share)]
        low, high = min(values) - 3, max(values) + 3
        panel.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=0)
        for seen in (True, False):
            some = [miss for miss in found if miss.seen is seen]
            x, y = [miss.predicted_points for miss in some], [100 * miss.row.share for miss in some]
            panel.scatter(x, y, s=14, color="#2266aa" if seen else "none", edgecolor="#2266aa", linewidth=0.8)
        panel.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        panel.set_title(f"{TITLES[name]}: {mean_points(found, 'predicted_points'):.1f} points off", fontsize=9)
        panel.tick_params(labelsize=7)
    figure.supxlabel("predicted with the checkpoint left out, points", fontsize=9)
    figure.supylabel("published, points", fontsize=9)
    figure.savefig(ROOT / "docs" / "scores.svg", metadata={"Date": None})


def main() -> None:
    """Draw, and print the table."""
    misses = {name: left_out(scored(name), CHANCE.get(name, 0.0)) for name in TITLES}
    assert set(misses) == set(BENCHMARKS)
    draw(misses)
    print("| benchmark | checkpoints | vlmplan | nearest size | family's mean | 80 % intervals hold | family unseen |")
    print("|---|---|---|---|---|---|---|")
    for name, found in misses.items():
        unseen = [miss.points(miss.predicted_points) for miss in found if not miss.seen]
        guesses = (mean_points(found, f"{guess}_points") for guess in ("predicted", "nearest", "family_mean"))
        figures = " | ".join(f"{guess:.1f}" for guess in guesses)
        print(
            f"| {TITLES[name]} | {len(found)} | {figures} | {held_fraction(found):.0%} | {np.mean(unseen):.1f} "
            f"({len(unseen)}) |"
        )


if __name__ == "__main__":
    main()
