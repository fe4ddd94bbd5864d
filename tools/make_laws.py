"""Make ``profiles/laws/*.toml`` and ``profiles/evidence.toml`` from ``../shared/facts``.

Laws: the measured grids of arXiv 2411.03312, both forms, the one with the smaller left-out error in use. Evidence: one
estimator per benchmark on published scores. Run: ``python tools/make_laws.py``.
"""

import math
from collections import defaultdict
from dataclasses import replace
from statistics import mean, median, stdev

import numpy as np
from facts import PROFILES, rows

from vlmplan.document import to_toml
from vlmplan.hardware import Precision
from vlmplan.model import Reduction
from vlmplan.ranking import Benchmark, Evidence, Uncertain
from vlmplan.scaling import Form, Point, ScalingLaw, fit

GRID = "accuracy grid behind arXiv 2411.03312: github.com/locuslab/llava-token-compression scaling_law_code/values.py"
D_NOTE = (
    "power: D is not identified by these points (0 to 0.2 fit alike, alpha and beta scale with it); published "
    "exponents do not go with this D"
)
LAWS = {
    "reasoning": ("visual_reasoning_avg9", "mean error over nine visual-reasoning benchmarks", None),
    "ocr": ("ocr_text_avg", "mean error over text-reading benchmarks", (7.0, 576.0)),
}
TASKS = {
    "reasoning": {"MMMU_val": 0.25, "MMBench_EN": 0.25, "AI2D_test": 0.25, "MathVista_mini": 0.25},
    "ocr": {"OCRBench": 0.25, "TextVQA_val": 0.25, "DocVQA": 0.25, "ChartQA_test": 0.25},
    "docvqa": {"DocVQA": 1.0},
    "textvqa": {"TextVQA_val": 1.0},
    "chartqa": {"ChartQA_test": 1.0},
    "ocrbench": {"OCRBench": 1.0},
    "mmmu": {"MMMU_val": 1.0},
    "mmbench": {"MMBench_EN": 1.0},
    "ai2d": {"AI2D_test": 1.0},
    "mathvista": {"MathVista_mini": 1.0},
}
BENCHMARKS = sorted({name for weights in TASKS.values() for name in weights})
READING = {
    "TextVQA_val",
    "TextVQA",
    "DocVQA",
    "DocVQA_val",
    "DocVQA_test",
    "InfoVQA",
    "InfoVQA_val",
    "ChartQA_test",
    "ChartQA average",
    "OCRBench",
    "OCRBench (0-1000)",
    "OCRBench (0-100)",
    "OCR-VQA",
    "ST-VQA_val",
    "OCR-task average accuracy (0-1)",
}
SCALES = {
    "OCRBench": 1000,
    "OCRBench (0-1000)": 1000,
    "MME_sum": 2800,
    "MME_perception": 2000,
    "MME_cognition": 800,
    "nine-task average accuracy (0-1)": 1,
    "OCR-task average accuracy (0-1)": 1,
}
SYNONYMS = {"DocVQA_test": "DocVQA", "DocVQA_val": "DocVQA"}
SHIPPED = {path.stem.replace("--", "/") for path in (PROFILES / "models").glob("*.toml")}
EXCLUDED = ("GPTQ", "AWQ", "thinking mode", "thinking-mode", "fine-tuned")
SCORES = "vlm_scores.csv: published scores, one source each (quantised, thinking-mode and fine-tuned rows left out)"


def logit(share: float) -> float:
    """Return ln(p / (1 - p))."""
    return math.log(share / (1 - share))


def law(name: str) -> ScalingLaw:
    """Fit one law, both forms."""
    metric, what, dropped = LAWS[name]
    points = tuple(
        Point(
            llm_params_b=float(row["llm_params_B"]),
            visual_tokens=float(row["visual_tokens"]),
            error=float(row["error"]),
        )
        for row in rows("facts/accuracy/measured_grid_2411.03312.csv")
        if row["metric"] == metric
        and "HEAD" in row["commit"]
        and "flat list" not in row["where_in_file"]
        and (float(row["llm_params_B"]), float(row["visual_tokens"])) != dropped
    )
    fits = tuple(fit(points, form) for form in Form)
    notes = (what, D_NOTE) + (
        ("the point 7B at 576 tokens is dropped: equal to 4B at 576 to ten digits",) if dropped else ()
    )
    return ScalingLaw(
        name=name,
        form=min(fits, key=lambda found: found.leave_one_llm_out_rmse).form,
        reduction=Reduction.TRAINED,
        fits=fits,
        llm_params_b_range=(min(p.llm_params_b for p in points), max(p.llm_params_b for p in points)),
        visual_tokens_range=(min(p.visual_tokens for p in points), max(p.visual_tokens for p in points)),
        points=points,
        sources=(GRID,),
        notes=notes,
    )


def scores() -> dict[str, dict[str, float]]:
    """Return benchmark -> checkpoint -> score in (0, 1), the median where several are published; test before val."""
    found: defaultdict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("facts/vlm_scores.csv"):
        text = row["hf_id"] + row["protocol_note"].replace("non-thinking mode", "")
        if not any(word in text for word in EXCLUDED):
            share = float(row["score"]) / SCALES.get(row["benchmark"], 100)
            found[SYNONYMS.get(row["benchmark"], row["benchmark"]), row["hf_id"]][row["benchmark"]].append(share)
    table: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (benchmark, checkpoint), by_split in found.items():
        table[benchmark][checkpoint] = median(by_split[max(by_split, key=lambda split: "test" in split)])
    return table


def sizes() -> dict[str, tuple[str, float]]:
    """Return checkpoint -> (family, active LLM parameters with embeddings in billions)."""
    found = {}
    for row in rows("facts/vlms.csv"):
        params = row["llm_params_active"] or row["llm_params_with_embedding"]
        if params:
            found[row["hf_id"]] = (row["family"], float(params) / 1e9)
    return found


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


def token_slopes() -> dict[tuple[bool, Reduction], Uncertain]:
    """C by (reading?, reduction): the median slope of logit(score) on ln V, and the spread between studies."""
    by_run: defaultdict[tuple[bool, Reduction, str, str, str], list[tuple[float, float]]] = defaultdict(list)
    untouched: dict[tuple[str, str], tuple[float, float]] = {}
    for row in rows("facts/token_ablation.csv"):
        reduction = reduction_of(row["setting"])
        share = float(row["score"]) / SCALES.get(row["benchmark"], 100)
        tokens = row["visual_tokens"].removeprefix("about ")
        if not 0 < share < 1 or not tokens.replace(".", "").rstrip("%").isdigit():
            continue
        point = (math.log(float(tokens.rstrip("%"))), logit(share))
        if row["setting"].startswith(("no pruning", "baseline")):
            untouched[row["checkpoint"], row["benchmark"]] = point
        elif reduction:
            by_run[row["benchmark"] in READING, reduction, row["setting"], row["checkpoint"], row["benchmark"]].append(
                point
            )
    slopes: defaultdict[tuple[bool, Reduction], list[float]] = defaultdict(list)
    for (reading, reduction, setting, checkpoint, benchmark), points in by_run.items():
        native = untouched.get((checkpoint, benchmark)) if "training-free" in setting else None
        joined = points + ([native] if native else [])
        if len({x for x, _ in joined}) > 2:
            x, y = np.array(joined).T
            slopes[reading, reduction].append(float(np.polyfit(x, y, 1)[0]))
    # One study cannot tell its own spread: half the value is assumed.
    return {
        key: Uncertain(
            value=round(median(found), 3), sd=round(stdev(found) if len(found) > 1 else abs(found[0]) / 2, 3)
        )
        for key, found in slopes.items()
    }


def reduction_of(setting: str) -> Reduction | None:
    """Classify the setting of a token study."""
    for words, reduction in (
        ("training-free", Reduction.TRAINING_FREE),
        ("trained per token count", Reduction.TRAINED),
        ("one checkpoint", Reduction.NESTED),
        ("same checkpoint, fixed", Reduction.IMAGE_SIZE),
        ("same checkpoint, image resized", Reduction.IMAGE_SIZE),
    ):
        if words in setting:
            return reduction
    return None


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


def benchmark(name: str, table: dict[str, float], slopes: dict[tuple[bool, Reduction], Uncertain]) -> Benchmark:
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
        token_slopes={
            reduction: found for (reading, reduction), found in slopes.items() if reading == (name in READING)
        },
        sources=(SCORES,),
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
    """Write the laws and the evidence, and print how well they predict what was left out."""
    for name in LAWS:
        found = law(name)
        (PROFILES / "laws" / f"{name}.toml").write_text(to_toml(found), encoding="utf-8")
        for one in found.fits:
            values = " ".join(f"{key} {value:.4f}" for key, value in one.coefficients.items())
            print(
                f"{name} {one.form}: {values}; rmse {one.rmse:.5f}, leave-one-out {one.loo_rmse:.5f}, "
                f"leave-one-LLM-out {one.leave_one_llm_out_rmse:.5f}"
            )
    table, slopes = scores(), token_slopes()
    benchmarks = inferred_offsets(tuple(benchmark(name, table[name], slopes) for name in BENCHMARKS))
    for one_benchmark in benchmarks:
        print(
            f"{one_benchmark.name}: {one_benchmark.checkpoints} checkpoints, "
            f"left out {one_benchmark.left_out_points} points"
        )
    for key, slope in sorted(slopes.items(), key=str):
        print(f"token slope, reading={key[0]}, {key[1]}: {slope}")
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
