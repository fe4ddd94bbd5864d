"""Make ``profiles/evidence.toml``: one estimator per benchmark on published scores, and what fewer tokens cost.

Run: ``python tools/make_evidence.py``; reads ``../shared/facts``.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev

import numpy as np
from facts import PROFILES, rows
from published import BENCHMARKS, READING, TASKS, Studied, logit, scores, sizes, studies

from vlmplan.document import to_toml
from vlmplan.hardware import Precision
from vlmplan.model import Reduction
from vlmplan.ranking import Benchmark, Evidence, Uncertain

SHIPPED = {path.stem.replace("--", "/") for path in (PROFILES / "models").glob("*.toml")}
SCORES = "vlm_scores.csv: published scores, one source each (quantised, thinking-mode and fine-tuned rows left out)"
STUDIES = "token_ablation.csv and the tables of M3, TokenPacker and QueCC: scores at several numbers of visual tokens"


Rows = list[tuple[str, str, float, float]]  # checkpoint, family, ln N, logit(score)


def line(data: Rows) -> tuple[float, dict[str, float], float, float]:
    """Least squares of one slope and an offset per family: (slope, offsets, residual sd, slope sd)."""
    families = sorted({family for _, family, _, _ in data})
    design = np.zeros((len(data), 1 + len(families)))
    for i, (_, family, log_n, _) in enumerate(data):
        design[i, 0], design[i, 1 + families.index(family)] = log_n, 1.0
    target = np.array([value for _, _, _, value in data])
    found = np.linalg.lstsq(design, target, rcond=None)[0]
    residual = target - design @ found
    free = max(1, len(data) - len(found))
    sd = math.sqrt(float(residual @ residual) / free)
    return (
        float(found[0]),
        dict(zip(families, map(float, found[1:]), strict=True)),
        sd,
        sd * math.sqrt(float(np.linalg.pinv(design.T @ design)[0, 0])),
    )


def left_out_points(data: Rows) -> float:
    """Mean absolute error, in points, of checkpoints left out, in families of two or more."""
    misses = []
    for i, (_, family, log_n, value) in enumerate(data):
        others = data[:i] + data[i + 1 :]
        if sum(row[1] == family for row in others):
            slope, offsets, _, _ = line(others)
            misses.append(
                abs(1 / (1 + math.exp(-(offsets[family] + slope * log_n))) - 1 / (1 + math.exp(-value))) * 100
            )
    return mean(misses)


Slopes = dict[tuple[str, Reduction], list[float]]
_UNSEEN_LOGIT_SD = 0.1  # between two studies of one benchmark, where no benchmark has two: an assumption


def study_slopes(found: Sequence[Studied]) -> Slopes:
    """Return (benchmark, reduction) -> the slope of logit(score) on ln V of each study."""
    runs: defaultdict[tuple[str, Reduction, str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in found:
        runs[one.benchmark, one.reduction, one.study, one.checkpoint].append(
            (math.log(one.visual_tokens), logit(one.share))
        )
    slopes: Slopes = defaultdict(list)
    for (benchmark_name, reduction, _, _), points in runs.items():
        x, y = np.array(points).T
        slopes[benchmark_name, reduction].append(float(np.polyfit(x, y, 1)[0]))
    return slopes


def token_slope(name: str, reduction: Reduction, slopes: Slopes) -> Uncertain | None:
    """C of one benchmark: its studies' mean, drawn to that of its kind (reading or not) as far as they scatter.

    The spread is of one more model: what the mean may be off by, and how studies of one benchmark differ.
    """
    kind = {b: found for (b, r), found in slopes.items() if r is reduction and (b in READING) == (name in READING)}
    if not kind:
        return None
    scatter = [stdev(found) for found in kind.values() if len(found) > 1]
    between = math.sqrt(mean(sd**2 for sd in scatter)) if scatter else _UNSEEN_LOGIT_SD
    means = [mean(found) for found in kind.values()]
    centre, apart = mean(means), stdev(means) if len(means) > 1 else between
    mine = kind.get(name, [])
    weights = (len(mine) / between**2, 1 / max(apart, 1e-3) ** 2)
    value = (weights[0] * mean(mine or [0.0]) + weights[1] * centre) / sum(weights)
    return Uncertain(value=round(value, 3), sd=round(math.sqrt(1 / sum(weights) + between**2), 3))


def token_slopes(name: str, slopes: Slopes) -> dict[Reduction, Uncertain]:
    """C of one benchmark by reduction."""
    found = {reduction: token_slope(name, reduction, slopes) for reduction in Reduction}
    return {reduction: one for reduction, one in found.items() if one is not None}


HARNESS_SD = (
    0.09  # two points at a score of 65: MMMU of one model moves four between two harnesses (shared/data/README.md)
)


SHIPPED_FAMILIES = {row["family"] for row in rows("facts/vlms.csv") if row["hf_id"] in SHIPPED}


def inferred_offsets(benchmarks: tuple[Benchmark, ...]) -> tuple[Benchmark, ...]:
    """Give a family without a score on one benchmark an offset from its standing on the others.

    Standing is the mean, over benchmarks, of (offset - mean) / sd between families. The spread of the inference is
    what it misses by on the families whose offset is known. Kept are the families of the models shipped.
    """
    means = {
        b.name: (mean(e.value for e in b.offsets.values()), stdev(e.value for e in b.offsets.values()))
        for b in benchmarks
    }
    standings: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for one in benchmarks:
        for family, offset in one.offsets.items():
            standings[family][one.name] = (offset.value - means[one.name][0]) / means[one.name][1]

    def inferred(family: str, name: str) -> float | None:
        others = [standing for other, standing in standings[family].items() if other != name]
        return means[name][0] + means[name][1] * mean(others) if others else None

    found = []
    for one in benchmarks:
        misses = [e.value - guess for f, e in one.offsets.items() if (guess := inferred(f, one.name)) is not None]
        sd = round(math.sqrt(mean(miss * miss for miss in misses)), 4)
        new = {
            f: Uncertain(value=round(guess, 4), sd=sd)
            for f in sorted(standings)
            if f not in one.offsets and (guess := inferred(f, one.name)) is not None
        }
        kept = {f: e for f, e in {**one.offsets, **new}.items() if f in SHIPPED_FAMILIES}
        found.append(replace(one, offsets=kept, inferred=tuple(f for f in new if f in kept)))
    return tuple(found)


def benchmark(name: str, table: dict[str, float], slopes: Slopes) -> Benchmark:
    """Fit one estimator."""
    known = sizes()
    data = [
        (one, *known[one][:1], math.log(known[one][1]), logit(share))
        for one, share in sorted(table.items())
        if one in known
    ]
    slope, offsets, sd, slope_sd = line(data)
    counts = {family: sum(row[1] == family for row in data) for family in offsets}
    spread = stdev(offsets.values())
    return Benchmark(
        name=name,
        slope=Uncertain(value=round(slope, 4), sd=round(slope_sd, 4)),
        residual_sd=round(sd, 4),
        left_out_points=round(left_out_points(data), 2),
        checkpoints=len(data),
        offsets={f: Uncertain(value=round(v, 4), sd=round(sd / math.sqrt(counts[f]), 4)) for f, v in offsets.items()},
        inferred=(),
        published={one: round(value, 4) for one, _, _, value in data if one in SHIPPED},
        harness_sd=HARNESS_SD,
        other_families=Uncertain(value=round(mean(offsets.values()), 4), sd=round(math.hypot(spread, sd), 4)),
        token_slopes=token_slopes(name, slopes),
        sources=(SCORES, STUDIES),
    )


def precision_offsets() -> dict[Precision, Uncertain]:
    """logit(score) at bf16 less at each precision, over the quantised rows of Qwen2-VL (4 benchmarks x 3 sizes)."""
    base, shifts = {}, defaultdict(list)
    quantised = [row for row in rows("facts/vlm_scores.csv") if "MMBench dev EN, DocVQA val" in row["protocol_note"]]
    for row in quantised:
        if row["protocol_note"].startswith("BF16"):
            base[row["hf_id"], row["benchmark"]] = logit(float(row["score"]) / 100)
    for row in quantised:
        name, _, method = row["hf_id"].partition("-Instruct-")
        if method:
            shift = base[f"{name}-Instruct", row["benchmark"]] - logit(float(row["score"]) / 100)
            shifts[Precision.INT8 if "Int8" in method else Precision.INT4].append(shift)
    found = {p: Uncertain(value=round(mean(s), 4), sd=round(stdev(s), 4)) for p, s in shifts.items()}
    eight = found[Precision.INT8]
    doubled = Uncertain(value=eight.value, sd=round(2 * eight.sd, 4))
    none = dict.fromkeys((Precision.FP32, Precision.FP16, Precision.BF16), Uncertain(value=0.0, sd=0.0))
    return {**none, **found, Precision.FP8: doubled, Precision.INT8_W8A8: doubled}


def main() -> None:
    """Write the evidence, and print how well it predicts what was left out."""
    table, slopes = scores(), study_slopes(studies())
    benchmarks = inferred_offsets(tuple(benchmark(name, table[name], slopes) for name in BENCHMARKS))
    for one in benchmarks:
        print(f"{one.name}: {one.checkpoints} checkpoints, left out {one.left_out_points} points")
        for reduction, slope in one.token_slopes.items():
            studied = len(slopes.get((one.name, reduction), []))
            print(f"  token slope, {reduction}: {slope.value} (sd {slope.sd}), {studied} studies of this benchmark")
    sources = (
        "int8 (GPTQ-Int8) and int4 (GPTQ-Int4, AWQ): Qwen2-VL README, 3 sizes x 4 benchmarks",
        "fp8 and int8-w8a8: no scores at hand; int8's offset with twice its spread, an assumption",
    )
    evidence = Evidence(
        tasks=TASKS, benchmarks=benchmarks, precision_offsets=precision_offsets(), precision_sources=sources
    )
    print(evidence.precision_offsets)
    (PROFILES / "evidence.toml").write_text(to_toml(evidence), encoding="utf-8")


if __name__ == "__main__":
    main()
