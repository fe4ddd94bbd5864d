"""What is known of each benchmark: what the image is needed for, how large images are, what guessing scores.

Names are those of ``facts/token_studies.csv.gz``; figures come from ``facts/benchmarks.csv``.
"""

import functools
import math
from collections import defaultdict
from statistics import mean, median

from published import scores

from facts import number, rows
from vlmplan.accuracy.reductions import Kind

# The names that estimators of published scores use, where they differ.
ESTIMATED = {
    "MMMU": "MMMU_val",
    "AI2D": "AI2D_test",
    "MathVista": "MathVista_mini",
    "TextVQA": "TextVQA_val",
    "ChartQA": "ChartQA_test",
}
KINDS = {
    Kind.READING: (
        "DocVQA", "InfoVQA", "TextVQA", "OCRBench", "ST-VQA", "OCR-VQA", "ocr_avg2", "MP-DocVQA", "SROIE", "POIE",
        "DeepForm", "KLC", "WTQ", "TabFact", "VisualMRC", "FUNSD", "Fox OCR English", "OmniDocBench English",
        "OmniDocBench Chinese", "OmniDocBench v1.5", "OmniDocBench", "DUDE", "WebSRC", "TextCaps",
    ),
    Kind.CHARTS: ("ChartQA", "PlotQA", "CharXiv", "Chart-to-Table", "OpenCQA"),
    Kind.REASONING: (
        "AI2D", "MMMU", "MMMU-Pro", "MathVista", "MathVerse", "ScienceQA", "MMBench_EN", "MMBench_CN", "MMStar",
        "SEED_image", "visual_reasoning_avg9", "A-OKVQA MC", "A-OKVQA DA", "A-OKVQA",
    ),
    Kind.PERCEPTION: (
        "GQA", "VQAv2", "POPE", "MME_sum", "MME_perception", "MME_cognition", "VizWiz", "RealWorldQA", "HallusionBench",
        "OKVQA", "OK-VQA", "MM-Vet", "NLVR2", "BLINK", "MMVP", "xGQA", "MaRVL", "RSVQA-HR", "RSVQA-LR", "MME-RealWorld",
    ),
    Kind.GROUNDING: (
        "RefCOCO", "RefCOCO+", "RefCOCOg", "CountBench", "TallyQA", "PixMo-Count", "V*Bench", "HR-Bench", "CV-Bench",
        "ScreenSpot", "ScreenSpot-Pro", "ScreenSpot-V2", "VSR", "4KPro", "COCO detection", "DocLayNet detection",
    ),
    Kind.VIDEO: ("VideoMME", "MVBench", "LongVideoBench", "MLVU", "VideoMME_medium", "VideoMME_long"),
}  # fmt: skip
KIND = {name: kind for kind, names in KINDS.items() for name in names}
USUAL_SIDE_PX = 640  # of images of benchmarks whose size nobody tells
LEAST_ABOVE = 3.0  # points above chance, below which a share of them says nothing
SAME = {"MME_sum": "MME_perception", "MME_cognition": "MME_perception", "MMBench_CN": "MMBench_EN",
        "VideoMME_medium": "VideoMME", "VideoMME_long": "VideoMME"}  # fmt: skip
USUAL_BLIND_FRACTION = 0.2  # of kinds of benchmarks that nobody tried without images


@functools.cache
def facts() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return benchmark -> fact -> of whom -> the figures published of it."""
    found: defaultdict[str, defaultdict[str, defaultdict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows("benchmarks.csv"):
        value = number(row["value"])
        if value is not None:
            found[row["benchmark"]][row["fact"]][row["who"]].append(value)
    return {name: {fact: dict(own) for fact, own in told.items()} for name, told in found.items()}


def _told(name: str, fact: str) -> dict[str, list[float]]:
    """Who published what of a benchmark, or of the one whose facts are its own, too."""
    return facts().get(name, {}).get(fact) or facts().get(SAME.get(name, ""), {}).get(fact, {})


def _median(name: str, fact: str) -> float | None:
    found = [value for values in _told(name, fact).values() for value in values]
    return median(found) if found else None


@functools.cache
def image(name: str) -> tuple[int, int]:
    """Return the usual width and height of a benchmark's images, in pixels."""
    sides = [_median(name, fact) or USUAL_SIDE_PX for fact in ("width_px", "height_px")]
    return round(sides[0]), round(sides[1])


def side_px(name: str) -> float:
    """Return the side of a square with as many pixels as a benchmark's usual image."""
    width, height = image(name)
    return math.sqrt(width * height)


def _of_models(name: str) -> list[float]:
    """Scores of VLMs without the image; what LLMs alone say is often no answer at all."""
    told = _told(name, "blind_percent")
    return [mean(values) for who, values in told.items() if "(LLM)" not in who]


@functools.cache
def chance(name: str) -> float:
    """Return the share that one scores by guessing, or without the image where that is less; 0 where nobody tells."""
    random = [
        value
        for who, values in _told(name, "chance_percent").items()
        if who.startswith("random") or len(_told(name, "chance_percent")) == 1
        for value in values
    ]
    return min([median(random), *([median(_of_models(name))] if _of_models(name) else [])]) / 100 if random else 0.0


@functools.cache
def _usual(name: str) -> float | None:
    """The middle one of all published scores of a benchmark, in per cent; None where nothing was published."""
    published_as = ESTIMATED.get(name, name)
    found = [100 * share for share in scores().get(published_as, {}).values()] or [
        100 * float(row["score"]) / float(row["score_max"])
        for row in rows("party_scores.csv")
        if row["benchmark"] == published_as
    ]
    return median(found) if found else None


def _blind_and_sighted(name: str) -> list[tuple[float, float]]:
    """Scores without the image and with it, in per cent; where the latter is not told, the usual one stands in."""
    sighted, usual = _told(name, "sighted_percent"), _usual(name)
    pairs = [
        (mean(values), mean(sighted[who])) for who, values in _told(name, "blind_percent").items() if who in sighted
    ]
    return pairs or [(blind, usual) for blind in _of_models(name) if usual is not None]


@functools.cache
def blind_fraction(name: str) -> float:
    """Return what of a score above chance is had without the image: the middle model's; of its kind where none is told.

    Of a benchmark whose chance is not told, either, that is what the kind's scores have without the image, chance and
    all.
    """
    floor = 100 * chance(name)
    own = [
        (blind - floor) / (whole - floor) for blind, whole in _blind_and_sighted(name) if whole > floor + LEAST_ABOVE
    ]
    if own:
        return min(1.0, max(0.0, median(own)))
    alike = [
        median(blind / whole for blind, whole in pairs)
        for other, kind in KIND.items()
        if kind is KIND[name] and (pairs := _blind_and_sighted(other))
    ]
    return median(alike) if alike else USUAL_BLIND_FRACTION
