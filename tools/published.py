"""What was published: scores of checkpoints, their sizes, and studies of fewer tokens, from ``facts/``.

For ``law_points.py`` and ``make_evidence.py``.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from facts import generation, number, rows
from vlmplan.accuracy.tasks import TASKS
from vlmplan.cost.totals import active_llm_params, total_llm_params
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Reduction

WEIGHTS = {name: dict(task.benchmarks) for name, task in TASKS.items()}
BENCHMARKS = sorted({name for weights in WEIGHTS.values() for name in weights})
OF_VIDEOS = sorted(WEIGHTS["video"])
SCALES = {
    "OCRBench": 1000,
    "OCRBench (0-1000)": 1000,
    "MME_sum": 2800,
    "MME_perception": 2000,
    "MME_cognition": 800,
    "nine-task average accuracy (0-1)": 1,
    "OCR-task average accuracy (0-1)": 1,
}
SYNONYMS = {
    "DocVQA_test": "DocVQA",
    "DocVQA_val": "DocVQA",
    "MMBench_EN_v11": "MMBench_EN",
    "OCRBench (0-1000)": "OCRBench",
    "OCRBench (0-100)": "OCRBench",
}
# Scores that one gets by guessing: MMMU's and MathVista's as published with them (arXiv 2311.16502, 2310.02255), one of
# four options in AI2D. MMBench shifts its options and counts a question only if all are answered. Those of videos have
# sources in ``facts/benchmarks.csv``.
CHANCE = {"MMMU_val": 0.22, "AI2D_test": 0.25, "MathVista_mini": 0.18,
          "VideoMME": 0.25, "MVBench": 0.25, "LongVideoBench": 0.2, "MLVU": 0.25}  # fmt: skip
THOUGHT_OVER = ("MMMU_val", "MathVista_mini")  # of InternVL3.5, whose other scores are of plain answers
UNMASKED = ("facebook/Perception-LM", "meta-llama/Llama-3.2")  # their AI2D is the easier one, without the mask
SECOND_HAND = ("third-party", "re-reported", "BF16; MMBench dev", "baseline row")


def logit(share: float) -> float:
    """Return ln(p / (1 - p))."""
    return math.log(share / (1 - share))


@dataclass(frozen=True, kw_only=True)
class Published:
    """The score of one checkpoint on one benchmark; ``revised`` says that the benchmark's later version was scored.

    Of videos it saw so many ``frames``, each as a square of ``frame_side_px``; None where nobody tells.
    """

    share: float
    revised: bool
    note: str
    source: str
    frames: float | None = None
    frame_side_px: float | None = None


def _answers(row: dict[str, str]) -> bool:
    """Whether a row is of the checkpoint as published, answering at once, on the benchmark it names."""
    name, note = row["benchmark"], row["protocol_note"]
    thinks = note == "thinking mode" or (note.startswith("thinking-mode reasoning") and name in THOUGHT_OVER)
    quantised = any(word in row["hf_id"] for word in ("GPTQ", "AWQ"))
    unmasked = name == "AI2D_test" and row["hf_id"].startswith(UNMASKED)
    return not (thinks or quantised or unmasked or "fine-tuned" in note)


@functools.cache
def published() -> dict[str, dict[str, Published]]:
    """Return benchmark -> checkpoint -> its score: MMBench before its revision, test before val, own before others'."""
    found: defaultdict[tuple[str, str], list[tuple[tuple[bool, ...], float, dict[str, str]]]] = defaultdict(list)
    for row in (*rows("vlm_scores.csv"), *rows("video_scores.csv")):
        if _answers(row):
            name, note = row["benchmark"], row["protocol_note"]
            rank = (name.endswith("v11"), name == "DocVQA_val", note.startswith(SECOND_HAND))
            share = float(row["score"]) / SCALES.get(name, 100)
            found[SYNONYMS.get(name, name), row["hf_id"]].append((rank, share, row))
    table: defaultdict[str, dict[str, Published]] = defaultdict(dict)
    for (benchmark, checkpoint), ranked in sorted(found.items()):
        best = min(rank for rank, _, _ in ranked)
        kept = [(share, row) for rank, share, row in ranked if rank == best]
        table[benchmark][checkpoint] = Published(
            share=median(share for share, _ in kept),
            revised=best[0],
            note=kept[0][1]["protocol_note"],
            source=kept[0][1]["source"],
            frames=_told("frames", (row for _, row in kept)),
            frame_side_px=_told("frame_side_px", (row for _, row in kept)),
        )
    return table


def _told(column: str, found: Iterable[dict[str, str]]) -> float | None:
    """The middle of what rows tell in a column; None where none does, or has it."""
    values = [value for row in found if (value := number(row.get(column, ""))) is not None]
    return median(values) if values else None


@functools.cache
def scores() -> dict[str, dict[str, float]]:
    """Return benchmark -> checkpoint -> score in (0, 1), of the benchmark's first version."""
    return {
        benchmark: {name: one.share for name, one in found.items() if not one.revised}
        for benchmark, found in published().items()
    }


# A party that misses another by more had its prompt misunderstood: no spread between harnesses (logit).
_MOST_MISS = 0.3
_POOLED_SCORES = 10  # what all benchmarks together count beside one's own


def _party_deviations() -> dict[str, list[float]]:
    """Benchmark -> how far each party's score of a checkpoint lies from the parties' mean, in logit.

    Scores that a party only lists, which are often copied, do not count.
    """
    by_checkpoint: defaultdict[tuple[str, str], defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("party_scores.csv"):
        share = float(row["score"]) / float(row["score_max"])
        if not row["note"].startswith("kind=listed") and 0 < share < 1:
            name = SYNONYMS.get(row["benchmark"], row["benchmark"])
            by_checkpoint[name, row["checkpoint"]][row["party"]].append(logit(share))
    found: defaultdict[str, list[float]] = defaultdict(list)
    for (benchmark, _), by_party in by_checkpoint.items():
        scored = [sum(values) / len(values) for values in by_party.values()]
        if len(scored) > 1:
            middle, unbiased = sum(scored) / len(scored), math.sqrt(len(scored) / (len(scored) - 1))
            found[benchmark] += [unbiased * (one - middle) for one in scored]
    return found


@functools.cache
def party_sd(benchmark: str) -> float:
    """Return how far one party's score of a checkpoint may lie from another's, in logit; drawn to all benchmarks'."""
    deviations = _party_deviations()

    def variance(values: list[float]) -> float:
        return sum(min(_MOST_MISS, abs(one)) ** 2 for one in values) / max(1, len(values))

    own, pooled = deviations.get(benchmark, []), variance([one for found in deviations.values() for one in found])
    return math.sqrt((len(own) * variance(own) + _POOLED_SCORES * pooled) / (len(own) + _POOLED_SCORES))


EPOCH = 2024.5  # the middle of the catalogue's years


@functools.cache
def family_years() -> dict[str, float]:
    """Return family -> when its checkpoints were released, on the mean, in years since ``EPOCH``; where known."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows("vlms.csv"):
        parts = [int(part) for part in row["release_date"].split("-") if part]
        if parts:
            month = parts[1] if len(parts) > 1 else 6.5
            found[generation(row)].append(parts[0] + (month - 0.5) / 12 - EPOCH)
    return {family: sum(years) / len(years) for family, years in found.items()}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A checkpoint's family, and its LLM's active and total parameters with embeddings, in billions."""

    family: str
    active_b: float
    total_b: float


@functools.cache
def sizes() -> dict[str, Size]:
    """Return checkpoint -> size: of shipped models as they are priced, else as the facts have it."""
    shipped = {model.name: model for model in catalogue.models()}
    found = {}
    for row in rows("vlms.csv"):
        name, model = row["hf_id"], shipped.get(row["hf_id"])
        active, total = (row["llm_params_active"], row["llm_params_with_embedding"])
        if model is not None:
            active_b, total_b = active_llm_params(model) / 1e9, total_llm_params(model) / 1e9
        elif active or total:
            active_b, total_b = float(active or total) / 1e9, float(total or active) / 1e9
        else:
            continue
        found[name] = Size(family=generation(row), active_b=active_b, total_b=total_b)
    return found


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


@dataclass(frozen=True, kw_only=True)
class Studied:
    """One score of one model at a number of visual tokens, reached in one way; ``study`` is a method on a checkpoint.

    ``visual_tokens`` is the fraction of the checkpoint's own where ``relative``.
    """

    study: str
    checkpoint: str
    reduction: Reduction
    benchmark: str
    visual_tokens: float
    relative: bool
    share: float
    source: str


def _ablations() -> Iterator[Studied]:
    """``token_ablation.csv``: a pruned checkpoint's study holds its unpruned score, too."""
    untouched: dict[tuple[str, str, bool], tuple[float, float]] = {}
    found = []
    for row in rows("token_ablation.csv"):
        share = float(row["score"]) / SCALES.get(row["benchmark"], 100)
        text = row["visual_tokens"].removeprefix("about ")
        relative = text.endswith("%")
        if not 0 < share < 1 or not text.replace(".", "").rstrip("%").isdigit():
            continue
        tokens = float(text.rstrip("%")) / (100 if relative else 1)
        benchmark = SYNONYMS.get(row["benchmark"], row["benchmark"])
        reduction = reduction_of(row["setting"])
        if row["setting"].startswith(("no pruning", "baseline")) or row["setting"].endswith("native resolution"):
            untouched.setdefault((row["checkpoint"], benchmark, relative), (tokens, share))
        elif reduction and "average accuracy" not in benchmark:
            found.append(
                Studied(
                    study=f"{row['checkpoint'].rpartition('/')[2]}, {row['setting'].rpartition(': ')[2]}",
                    checkpoint=row["checkpoint"],
                    reduction=reduction,
                    benchmark=benchmark,
                    visual_tokens=tokens,
                    relative=relative,
                    share=share,
                    source=row["source"],
                )
            )
    yield from found
    joined = {(one.study, one.benchmark): one for one in found if one.reduction is not Reduction.NESTED}
    for one in joined.values():
        whole = untouched.get((one.checkpoint, one.benchmark, one.relative))
        if whole is not None:
            yield replace(one, visual_tokens=whole[0], share=whole[1])


VICUNA = {"7B": "llava-hf/llava-1.5-7b-hf", "13B": "llava-hf/llava-1.5-13b-hf"}
M3_COLUMNS = {"TextVQA": "TextVQA_val", "AI2D": "AI2D_test", "ChartQA": "ChartQA_test", "DocVQA": "DocVQA",
              "MMBench": "MMBench_EN", "MMMU": "MMMU_val"}  # fmt: skip
NESTED, ONE_SCALE = "LLaVA-NeXT, nested (M3)", "LLaVA-NeXT, one scale"
M3_CELLS = 5  # AnyRes grid cells of an image, at most; the file counts tokens per cell


def _compressors() -> Iterator[Studied]:
    """M3's models trained at one scale and its nested one, TokenPacker and QueCC: tables of their papers."""
    for row in rows("accuracy/m3_llava_next_7b_2405.17430.csv"):
        nested = row["approach"] == "M3"
        for column, benchmark in M3_COLUMNS.items():
            yield Studied(
                study=NESTED if nested else ONE_SCALE,
                checkpoint=VICUNA["7B"],
                reduction=Reduction.NESTED if nested else Reduction.TRAINED,
                benchmark=benchmark,
                visual_tokens=M3_CELLS * float(row["tokens_per_grid"]),
                relative=False,
                share=float(row[column]) / 100,
                source=row["source"],
            )
    tables = [(row, row["llm"][-2:]) for row in rows("accuracy/quecc_table1_2411.03312.csv")]
    tables += [(row, row["llm"].rpartition("-")[2]) for row in rows("accuracy/tokenpacker_7b_13b_grid_2407.02392.csv")]
    for row, size in tables:
        for column, benchmark in {"MMB": "MMBench_EN", "TextVQA": "TextVQA_val"}.items():
            if row["method"] in ("TokenPacker", "QueCC") and row.get(column):
                yield Studied(
                    study=row["method"],
                    checkpoint=VICUNA[size],
                    reduction=Reduction.TRAINED,
                    benchmark=benchmark,
                    visual_tokens=float(row["visual_tokens"]),
                    relative=False,
                    share=float(row[column]) / 100,
                    source=row["source"],
                )


def studies() -> tuple[Studied, ...]:
    """Return every score of a study with at least two numbers of tokens; M3's own table before copies of it."""
    seen: dict[tuple[str, str, str, float], Studied] = {}
    for one in (*_compressors(), *_ablations()):
        if "LLaVA-NeXT-7B M3" not in one.study:
            seen.setdefault((one.study, one.checkpoint, one.benchmark, one.visual_tokens), one)
    counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for one in seen.values():
        counts[one.study, one.checkpoint, one.benchmark] += 1
    return tuple(one for one in seen.values() if counts[one.study, one.checkpoint, one.benchmark] > 1)
