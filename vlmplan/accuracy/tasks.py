"""Which tasks are there? Benchmarks with their weights, and what people call each task besides.

A task's error is the mean of its benchmarks' by these weights. ``tools/make_evidence.py`` writes them into
``profiles/evidence.toml``, where plans read them; ``--task`` takes a benchmark's own name, too.
"""

from collections.abc import Mapping

from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a task is made of: ``benchmarks`` with weights that add to 1, and the words it is ``called`` by besides."""

    name: str
    benchmarks: Mapping[str, float]
    called: tuple[str, ...] = ()


def _equal(*benchmarks: str) -> Mapping[str, float]:
    return dict.fromkeys(benchmarks, 1 / len(benchmarks))


TASKS: Mapping[str, Task] = {
    name: Task(name=name, benchmarks=benchmarks, called=tuple(called.split()))
    for name, benchmarks, called in (
        ("reasoning", _equal("MMMU_val", "MMBench_EN", "AI2D_test", "MathVista_mini"), "vqa chat questions general"),
        (
            "ocr",
            _equal("OCRBench", "TextVQA_val", "DocVQA", "ChartQA_test"),
            "text reading screenshots screenshot ui screens",
        ),
        ("docvqa", _equal("DocVQA"), "documents document docs invoices invoice receipts receipt forms pdf pages"),
        ("textvqa", _equal("TextVQA_val"), "signs"),
        ("chartqa", _equal("ChartQA_test"), "charts chart plots graphs"),
        ("ocrbench", _equal("OCRBench"), ""),
        ("mmmu", _equal("MMMU_val"), ""),
        ("mmbench", _equal("MMBench_EN"), "caption captions captioning perception"),
        ("ai2d", _equal("AI2D_test"), "diagrams diagram"),
        ("mathvista", _equal("MathVista_mini"), "math maths"),
        ("video", _equal("VideoMME", "MVBench", "LongVideoBench", "MLVU"), "videos clips clip"),
        ("videomme", _equal("VideoMME"), ""),
        ("mvbench", _equal("MVBench"), ""),
        ("longvideobench", _equal("LongVideoBench"), ""),
        ("mlvu", _equal("MLVU"), ""),
    )
}
CALLED = {word: name for name, task in TASKS.items() for word in task.called}
