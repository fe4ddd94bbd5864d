"""A plan for a small checkpoint on a processor."""

from pathlib import Path

from vlmplan.hardware.runtimes import Runtime
from vlmplan.inventory import catalogue
from vlmplan.inventory.budget import Budget
from vlmplan.models.spec import Workload
from vlmplan.planning.options import Asked
from vlmplan.planning.plan import Plan, recommend
from vlmplan.planning.question import query


def plan_for(checkpoint: Path, limit_s: float, image: tuple[int, int] = (1024, 768)) -> Plan:
    """A plan by the reasoning law."""
    law = catalogue.resolve(catalogue.Shelf.LAWS, "reasoning")
    asked = Asked(hardware="amd-epyc-9654", task=str(law), models=str(checkpoint), runtime=Runtime.ONNXRUNTIME)
    return recommend(
        query(
            asked, Workload(text_tokens=20, output_tokens=8, image=image), Budget(latency_s=limit_s, memory_bytes=64e9)
        )
    )
