"""How high must text be to be read, and how much is read below? ``facts/legibility.csv`` -> pixels, and a curve.

Heights are of capital letters or digits as the model or engine sees them: where a table gives the size of a font or of
its cell, 0.716 of it (Arial's digits). Of each reader and task with several heights, the threshold is where accuracy
comes to nine tenths of its best, by interpolation in the logarithm of the height. Readers weigh the same, whatever was
tried on them. Below it the share of a reader's best is a logistic curve of that logarithm, of one scale for all of
them, by least squares.

    python tools/legibility.py
"""

import itertools
import math
from collections import defaultdict
from statistics import mean, median

from scipy.optimize import minimize_scalar

from facts import number, rows
from vlmplan.accuracy.published_scores import ENOUGH_READ, read_share

LEAST_HEIGHTS = 4
LETTER_HEIGHT_FRACTION = 0.716  # of a font's size


def series() -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return (subject, quantity) -> (height in pixels, accuracy), lowest first, where enough heights were tried."""
    by_task: defaultdict[tuple[str, str], defaultdict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("legibility.csv"):
        height, value = number_or_none(row["text_height_px"]), number_or_none(row["value"])
        if height and value is not None:
            letters = any(word in row["note"] for word in ("capital height", "digit height", "Arial digits"))
            height *= 1.0 if letters else LETTER_HEIGHT_FRACTION
            by_task[row["subject"], row["quantity"]][height].append(value)
    found = {
        key: sorted((height, mean(values)) for height, values in heights.items()) for key, heights in by_task.items()
    }
    return {key: points for key, points in found.items() if len(points) >= LEAST_HEIGHTS}


def thresholds() -> dict[str, float]:
    """Return reader -> height in pixels at which it reads nine tenths of what it reads at best."""
    by_reader: defaultdict[str, list[float]] = defaultdict(list)
    for (subject, _), points in series().items():
        if found := _crossing(points):
            by_reader[reader_of(subject)].append(found)
    return {reader: math.exp(mean(math.log(one) for one in found)) for reader, found in by_reader.items()}


def number_or_none(text: str) -> float | None:
    """Return a cell as a number; None for blanks, ranges and words."""
    try:
        return number(text)
    except ValueError:
        return None


def reader_of(subject: str) -> str:
    """Return the model or engine of a subject: what stands before the words on what it read."""
    return subject.partition(":")[0].partition(",")[0].partition("(")[0].strip()


def _crossing(points: list[tuple[float, float]]) -> float | None:
    """Where accuracy first comes to nine tenths of its best from below; None where it never was below."""
    enough = ENOUGH_READ * max(value for _, value in points)
    for (low, under), (high, over) in itertools.pairwise(points):
        if under < enough <= over:
            share = (enough - under) / (over - under)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return None


def legible_text_px() -> tuple[float, float]:
    """Return (the middle reader's threshold, the standard deviation between readers), in pixels."""
    found = sorted(thresholds().values())
    middle = median(found)
    spread = 1.4826 * median(abs(one - middle) for one in found)
    return middle, spread


def legible_log_sd() -> float:
    """Return the scale of the logistic curve of the share that is read, by the logarithm of height over threshold."""
    shares = [
        (height / enough, accuracy / max(value for _, value in points) / ENOUGH_READ)
        for points in series().values()
        if (enough := _crossing(points))
        for height, accuracy in points
    ]

    def misfit(log_sd: float) -> float:
        return sum((read_share(ratio, 1.0, log_sd) - min(1.0, share)) ** 2 for ratio, share in shares)

    return float(minimize_scalar(misfit, bounds=(0.05, 1.0), method="bounded").x)


def main() -> None:
    """Print every reader's threshold, the middle one, and the scale of the curve below it."""
    for reader, height in sorted(thresholds().items(), key=lambda one: one[1]):
        print(f"{height:5.1f} px  {reader}")
    middle, spread = legible_text_px()
    print(f"{middle:5.1f} px  the middle reader (spread {spread:.1f} px)")
    print(f"{legible_log_sd():5.2f}     the scale of the logistic curve below it")


if __name__ == "__main__":
    main()
