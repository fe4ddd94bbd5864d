"""What is known of each benchmark: what its questions need the image for, how large its images are, what guessing scores.

Names are those of ``facts/token_studies.csv``; figures come from ``facts/benchmarks.csv``.
"""

import functools
import math
from collections import defaultdict
from statistics import median

from facts import number, rows
from vlmplan.reductions import Kind

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
        "OmniDocBench Chinese", "OmniDocBench v1.5", "DUDE", "WebSRC", "TextCaps",
    ),
    Kind.CHARTS: ("ChartQA", "PlotQA", "CharXiv", "Chart-to-Table", "OpenCQA"),
    Kind.REASONING: (
        "AI2D", "MMMU", "MMMU-Pro", "MathVista", "MathVerse", "ScienceQA", "MMBench_EN", "MMBench_CN", "MMStar",
        "MM-Vet", "SEED_image", "visual_reasoning_avg9", "A-OKVQA MC", "A-OKVQA DA", "A-OKVQA",
    ),
    Kind.PERCEPTION: (
        "GQA", "VQAv2", "POPE", "MME_sum", "MME_perception", "MME_cognition", "VizWiz", "RealWorldQA", "HallusionBench",
        "OKVQA", "OK-VQA", "NLVR2", "BLINK", "MMVP", "xGQA", "MaRVL", "RSVQA-HR", "RSVQA-LR", "MME-RealWorld",
    ),
    Kind.GROUNDING: (
        "RefCOCO", "RefCOCO+", "RefCOCOg", "CountBench", "TallyQA", "PixMo-Count", "V*Bench", "HR-Bench", "CV-Bench",
        "ScreenSpot", "ScreenSpot-Pro", "ScreenSpot-V2", "VSR", "4KPro", "COCO detection", "DocLayNet detection",
    ),
}  # fmt: skip
KIND = {name: kind for kind, names in KINDS.items() for name in names}
USUAL_SIDE_PX = 640  # of images of benchmarks whose size nobody tells


@functools.cache
def facts() -> dict[str, dict[str, list[float]]]:
    """Return benchmark -> fact -> the figures published of it."""
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("benchmarks.csv"):
        value = number(row["value"])
        if value is not None:
            found[row["benchmark"]][row["fact"]].append(value)
    return {name: dict(told) for name, told in found.items()}


def image(name: str) -> tuple[int, int]:
    """Return the usual width and height of a benchmark's images, in pixels."""
    told = facts().get(name, {})
    sides = [round(median(told[fact])) if fact in told else USUAL_SIDE_PX for fact in ("width_px", "height_px")]
    return sides[0], sides[1]


def side_px(name: str) -> float:
    """Return the side of a square with as many pixels as a benchmark's usual image."""
    width, height = image(name)
    return math.sqrt(width * height)


def chance(name: str) -> float:
    """Return the share that one scores by guessing."""
    told = facts().get(name, {})
    return median(told["chance_percent"]) / 100 if "chance_percent" in told else 0.0


def blind_fraction(name: str, reduction: object) -> float:
    return 0.3
