"""A plan for a small checkpoint on a processor."""

from pathlib import Path

from vlmplan import catalogue
from vlmplan.ask import query
from vlmplan.asked import Asked
from vlmplan.hardware import Runtime
from vlmplan.model import Workload
from vlmplan.plan import Plan, recommend
from vlmplan.search import Budget


def plan_for(checkpoint: Path, limit_s: float) -> Plan:
    """A plan by the reasoning law."""
    law = catalogue.resolve(catalogue.Shelf.LAWS, "reasoning")
    asked = Asked(hardware="amd-epyc-9654", task=str(law), models=str(checkpoint), runtime=Runtime.ONNXRUNTIME)
    return recommend(
        query(asked, Workload(text_tokens=20, output_tokens=8), Budget(latency_s=limit_s, memory_bytes=64e9))
    )
