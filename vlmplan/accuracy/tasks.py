"""Which tasks are there? Benchmarks with their weights, and what people call each task besides.

A task's error is the mean of its benchmarks' by these weights. ``tools/make_evidence.py`` writes them into
``profiles/evidence.toml``, where plans read them; ``--task`` takes a benchmark's own name, too.
"""

from collections.abc import Mapping

from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a task is made of: ``benchmarks`` with weights that add to 1, and the words it is ``called`` by besides."""

    benchmarks: Mapping[str, float]
    called: tuple[str, ...] = ()


TASKS: Mapping[str, Task] = {
    "reasoning": Task(
        benchmarks={"MMMU_val": 0.25, "MMBench_EN": 0.25, "AI2D_test": 0.25, "MathVista_mini": 0.25},
        called=("vqa", "chat", "questions"),
    ),
    "ocr": Task(
        benchmarks={"OCRBench": 0.25, "TextVQA_val": 0.25, "DocVQA": 0.25, "ChartQA_test": 0.25},
        called=("text", "reading", "screenshots"),
    ),
    "docvqa": Task(benchmarks={"DocVQA": 1.0}, called=("documents", "document", "docs", "invoices", "receipts")),
    "textvqa": Task(benchmarks={"TextVQA_val": 1.0}, called=("signs",)),
    "chartqa": Task(benchmarks={"ChartQA_test": 1.0}, called=("charts", "chart", "plots")),
    "ocrbench": Task(benchmarks={"OCRBench": 1.0}),
    "mmmu": Task(benchmarks={"MMMU_val": 1.0}),
    "mmbench": Task(benchmarks={"MMBench_EN": 1.0}),
    "ai2d": Task(benchmarks={"AI2D_test": 1.0}, called=("diagrams", "diagram")),
    "mathvista": Task(benchmarks={"MathVista_mini": 1.0}, called=("math",)),
    "video": Task(
        benchmarks={"VideoMME": 0.25, "MVBench": 0.25, "LongVideoBench": 0.25, "MLVU": 0.25},
        called=("videos", "clips", "clip"),
    ),
    "videomme": Task(benchmarks={"VideoMME": 1.0}),
    "mvbench": Task(benchmarks={"MVBench": 1.0}),
    "longvideobench": Task(benchmarks={"LongVideoBench": 1.0}),
    "mlvu": Task(benchmarks={"MLVU": 1.0}),
}
CALLED = {word: name for name, task in TASKS.items() for word in task.called}
