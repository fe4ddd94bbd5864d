"""Where do the two constants of ``published_scores.size_term`` come from? A table of likelihoods and errors left out.

For each exponent and share of total parameters: twice the log-likelihood of all benchmarks together, less the best, and
the mean error in points of checkpoints left out. Run: ``python tools/score_constants.py``; about a minute.
"""

import math
from dataclasses import replace

import numpy as np
from make_evidence import scored
from published import BENCHMARKS, CHANCE, sizes
from score_line import Scored, ScoreLine, left_out, mean_points

from vlmplan.accuracy.published_scores import size_term

EXPONENTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SHARES = (0.0, 0.3, 0.5, 0.7, 1.0)


def resized(name: str, exponent: float, share: float) -> tuple[Scored, ...]:
    """The scores of a benchmark with sizes by other constants, scaled to mean 0 and spread 1."""
    known = sizes()
    rows = scored(name)
    found = [size_term(known[r.checkpoint].active_b, known[r.checkpoint].total_b, exponent, share) for r in rows]
    centre, spread = float(np.mean(found)), float(np.std(found))
    return tuple(replace(row, size=(x - centre) / spread) for row, x in zip(rows, found, strict=True))


def main() -> None:
    """Print the table."""
    likelihoods, errors = {}, {}
    for exponent in EXPONENTS:
        for share in SHARES:
            tables = {name: resized(name, exponent, share) for name in BENCHMARKS}
            lines = [ScoreLine(rows=rows, chance=CHANCE.get(name, 0.0)) for name, rows in tables.items()]
            likelihoods[exponent, share] = math.fsum(line.log_likelihood for line in lines)
            misses = (left_out(rows, CHANCE.get(name, 0.0)) for name, rows in tables.items())
            errors[exponent, share] = float(np.mean([mean_points(found, "predicted_points") for found in misses]))
    best = max(likelihoods.values())
    print("exponent " + "".join(f"   total^{share:<8}" for share in SHARES))
    for exponent in EXPONENTS:
        cells = (f"{likelihoods[exponent, share] - best:7.1f} {errors[exponent, share]:5.2f} " for share in SHARES)
        print(f"{exponent:8} " + "  ".join(cells))


if __name__ == "__main__":
    main()
