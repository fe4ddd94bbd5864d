"""What a request costs: a model and a workload -> operators -> FLOPs, bytes, seconds, with intervals; the knee."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.cost.estimates import Estimate as Estimate
    from vlmplan.cost.estimates import context_warnings as context_warnings
    from vlmplan.cost.estimates import cost_fields as cost_fields
    from vlmplan.cost.estimates import estimate as estimate
    from vlmplan.cost.estimates import range_warnings as range_warnings
    from vlmplan.cost.knee import TABLE_TEXT_TOKENS as TABLE_TEXT_TOKENS
    from vlmplan.cost.knee import KneeCurve as KneeCurve
    from vlmplan.cost.knee import KneeRow as KneeRow
    from vlmplan.cost.knee import Knees as Knees
    from vlmplan.cost.knee import knee_curve as knee_curve
    from vlmplan.cost.knee import knee_table as knee_table
    from vlmplan.cost.knee import knees as knees
    from vlmplan.cost.knee import with_tokens as with_tokens
    from vlmplan.cost.op import EXPORT_BLOCK as EXPORT_BLOCK
    from vlmplan.cost.op import FOUR_BIT_PARTS as FOUR_BIT_PARTS
    from vlmplan.cost.op import WEIGHT_BYTES as WEIGHT_BYTES
    from vlmplan.cost.op import Op as Op
    from vlmplan.cost.op import Request as Request
    from vlmplan.cost.roofline import Machine as Machine
    from vlmplan.cost.roofline import machine as machine
    from vlmplan.cost.service import BEYOND_S as BEYOND_S
    from vlmplan.cost.service import LEAST_RATE_PER_S as LEAST_RATE_PER_S
    from vlmplan.cost.service import MOST_RATE_PER_S as MOST_RATE_PER_S
    from vlmplan.cost.service import MOST_REPLICAS as MOST_REPLICAS
    from vlmplan.cost.service import FewerTokens as FewerTokens
    from vlmplan.cost.service import LoadAsked as LoadAsked
    from vlmplan.cost.service import LoadPoint as LoadPoint
    from vlmplan.cost.service import PercentileLimit as PercentileLimit
    from vlmplan.cost.service import Percentiles as Percentiles
    from vlmplan.cost.service import Service as Service
    from vlmplan.cost.service import Timed as Timed
    from vlmplan.cost.steps import Step as Step
    from vlmplan.cost.steps import images_s as images_s
    from vlmplan.cost.steps import step_s as step_s
    from vlmplan.cost.stored import model_from_config as model_from_config
    from vlmplan.cost.stored import read_model_config as read_model_config
    from vlmplan.cost.totals import Cost as Cost
    from vlmplan.cost.totals import Flops as Flops
    from vlmplan.cost.totals import MemoryBytes as MemoryBytes
    from vlmplan.cost.totals import Params as Params
    from vlmplan.cost.totals import active_llm_params as active_llm_params
    from vlmplan.cost.totals import by_part_and_op as by_part_and_op
    from vlmplan.cost.totals import cost as cost
    from vlmplan.cost.totals import operators as operators
    from vlmplan.cost.totals import overhead_layers as overhead_layers
    from vlmplan.cost.totals import paper_prefill_flops as paper_prefill_flops
    from vlmplan.cost.totals import preprocess_s as preprocess_s
    from vlmplan.cost.totals import request_of as request_of
    from vlmplan.cost.totals import total_llm_params as total_llm_params
    from vlmplan.cost.totals import total_params as total_params
    from vlmplan.cost.uncertainty import Spread as Spread
    from vlmplan.cost.uncertainty import one_sided as one_sided

__getattr__, __all__ = face(
    __name__,
    {
        "estimates": ("Estimate", "context_warnings", "cost_fields", "estimate", "range_warnings"),
        "knee": (
            "KneeCurve",
            "KneeRow",
            "Knees",
            "TABLE_TEXT_TOKENS",
            "knee_curve",
            "knee_table",
            "knees",
            "with_tokens",
        ),
        "op": ("EXPORT_BLOCK", "FOUR_BIT_PARTS", "Op", "Request", "WEIGHT_BYTES"),
        "roofline": ("Machine", "machine"),
        "service": (
            "BEYOND_S",
            "FewerTokens",
            "LEAST_RATE_PER_S",
            "LoadAsked",
            "LoadPoint",
            "MOST_RATE_PER_S",
            "MOST_REPLICAS",
            "PercentileLimit",
            "Percentiles",
            "Service",
            "Timed",
        ),
        "steps": ("Step", "images_s", "step_s"),
        "stored": ("model_from_config", "read_model_config"),
        "totals": (
            "Cost",
            "Flops",
            "MemoryBytes",
            "Params",
            "active_llm_params",
            "by_part_and_op",
            "cost",
            "operators",
            "overhead_layers",
            "paper_prefill_flops",
            "preprocess_s",
            "request_of",
            "total_llm_params",
            "total_params",
        ),
        "uncertainty": ("Spread", "one_sided"),
    },
)
