"""What a request costs: a model and a workload -> operators -> FLOPs, bytes, seconds, with intervals; the knee."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.cost.estimates import Estimate as Estimate, context_warnings as context_warnings, cost_fields as cost_fields, estimate as estimate, range_warnings as range_warnings
    from vlmplan.cost.knee import KneeCurve as KneeCurve, KneeRow as KneeRow, Knees as Knees, TABLE_TEXT_TOKENS as TABLE_TEXT_TOKENS, knee_curve as knee_curve, knee_table as knee_table, knees as knees, with_tokens as with_tokens
    from vlmplan.cost.op import EXPORT_BLOCK as EXPORT_BLOCK, FOUR_BIT_PARTS as FOUR_BIT_PARTS, Op as Op, Request as Request, WEIGHT_BYTES as WEIGHT_BYTES
    from vlmplan.cost.operator_list import operators as operators
    from vlmplan.cost.roofline import Machine as Machine, machine as machine
    from vlmplan.cost.service import BEYOND_S as BEYOND_S, FewerTokens as FewerTokens, LEAST_RATE_PER_S as LEAST_RATE_PER_S, LoadAsked as LoadAsked, LoadPoint as LoadPoint, MOST_RATE_PER_S as MOST_RATE_PER_S, MOST_REPLICAS as MOST_REPLICAS, PercentileLimit as PercentileLimit, Percentiles as Percentiles, Service as Service, Timed as Timed
    from vlmplan.cost.spread import Spread as Spread, one_sided as one_sided
    from vlmplan.cost.steps import Step as Step, images_s as images_s, step_s as step_s
    from vlmplan.cost.stored import model_from_config as model_from_config, read_model_config as read_model_config
    from vlmplan.cost.totals import Cost as Cost, Flops as Flops, MemoryBytes as MemoryBytes, Params as Params, active_llm_params as active_llm_params, by_part_and_op as by_part_and_op, cost as cost, overhead_layers as overhead_layers, paper_prefill_flops as paper_prefill_flops, preprocess_s as preprocess_s, request_of as request_of, total_llm_params as total_llm_params, total_params as total_params

__getattr__, __all__ = face(
    __name__,
    {
        'estimates': ('Estimate', 'context_warnings', 'cost_fields', 'estimate', 'range_warnings'),
        'knee': ('KneeCurve', 'KneeRow', 'Knees', 'TABLE_TEXT_TOKENS', 'knee_curve', 'knee_table', 'knees', 'with_tokens'),
        'op': ('EXPORT_BLOCK', 'FOUR_BIT_PARTS', 'Op', 'Request', 'WEIGHT_BYTES'),
        'operator_list': ('operators',),
        'roofline': ('Machine', 'machine'),
        'service': ('BEYOND_S', 'FewerTokens', 'LEAST_RATE_PER_S', 'LoadAsked', 'LoadPoint', 'MOST_RATE_PER_S', 'MOST_REPLICAS', 'PercentileLimit', 'Percentiles', 'Service', 'Timed'),
        'spread': ('Spread', 'one_sided'),
        'steps': ('Step', 'images_s', 'step_s'),
        'stored': ('model_from_config', 'read_model_config'),
        'totals': ('Cost', 'Flops', 'MemoryBytes', 'Params', 'active_llm_params', 'by_part_and_op', 'cost', 'overhead_layers', 'paper_prefill_flops', 'preprocess_s', 'request_of', 'total_llm_params', 'total_params'),
    },
)
