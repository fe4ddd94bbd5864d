"""How long is one step of an engine that batches continuously? Tokens prefilled and sequences decoded -> seconds.

A step multiplies the tokens of all its prefills and one token of every sequence that decodes by the weights at once,
which are read once; each attends by itself. Before a request's first tokens its images go through the vision tower, in
the same step. Sizes are in tokens and sequences. A step that only prefills one request, and one that only decodes, take
what ``totals.py`` prices them at. Left out: padding to the sizes of captured graphs, which is in the calibration.
"""

import math
from dataclasses import replace

from vlmplan.cost.attention import Pass
from vlmplan.cost.op import Op, Request
from vlmplan.cost.roofline import Machine, exposed_s, op_seconds
from vlmplan.cost.totals import front_operators, overhead_layers, pass_operators
from vlmplan.hardware import Part
from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: tokens prefilled, sequences decoded, and the tokens that each of these sees on average."""

    prefill_tokens: int = 0
    decoding: int = 0
    context_tokens: int = 1


def _prefill_pass(request: Request, tokens: int) -> Pass:
    """The prefill of ``tokens``, of as many requests as that takes, each seeing its whole prompt."""
    requests = max(1, math.ceil(tokens / request.prefill_tokens))
    seen = request.visual_tokens * request.workload.images * tokens / request.prefill_tokens
    context = max(1, request.prompt_tokens)
    return Pass(
        part=Part.PREFILL, new_tokens=tokens, batch=requests, contexts=(context, context), visual_tokens=seen, owns=True
    )


def _joined(prefill: Op, decode: Op) -> Op:
    """Two operators that run as one: the work of both, the weights read once."""
    shape = prefill.shape and (prefill.shape[0] + decode.shape[0], *prefill.shape[1:])
    return replace(
        prefill,
        shape=shape,
        flops=prefill.flops + decode.flops,
        moved_bytes=prefill.moved_bytes + decode.moved_bytes,
        weight_bytes=max(prefill.weight_bytes, decode.weight_bytes),
    )


def _operators(request: Request, step: Step) -> tuple[Op, ...]:
    """The operators of a step; attention of prefills and of decoding are two, all else is one."""
    joined: dict[tuple[str, str], Op] = {}
    if step.prefill_tokens:
        for op in pass_operators(request, _prefill_pass(request, step.prefill_tokens)):
            joined[op.name, op.kind] = op
    if step.decoding:
        seen = (step.context_tokens, step.context_tokens)
        decoding = Pass(part=Part.DECODE, new_tokens=step.decoding, batch=step.decoding, contexts=seen)
        for op in pass_operators(request, decoding):
            before = joined.get((op.name, op.kind))
            joined[op.name, op.kind] = op if before is None else _joined(before, op)
    return tuple(joined.values())


def step_s(request: Request, machine: Machine, step: Step) -> float:
    """Return the seconds of one step, the overhead of its one call included."""
    request, base = machine.as_run(request), machine.base
    kernels_s = sum(op_seconds(op, machine.rates(op)) for op in _operators(request, step))
    _, layers = overhead_layers(request)
    call_s = base.overhead_per_call_s + base.overhead_per_layer_s * layers
    return kernels_s + exposed_s(kernels_s, call_s, base.overhead_overlap)


def images_s(request: Request, machine: Machine) -> float:
    """Return the seconds on the device before the LLM's own pass, of one request: tower, compressor, projector."""
    request, base = machine.as_run(request), machine.base
    kernels_s = sum(op_seconds(op, machine.rates(op)) for op in front_operators(request))
    layers, _ = overhead_layers(request)
    return kernels_s + exposed_s(kernels_s, base.overhead_per_layer_s * layers, base.overhead_overlap)
