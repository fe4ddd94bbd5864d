"""Which operators does a request run? The one list that parameters, FLOPs, bytes and seconds are folds over.

request -> operators of the vision tower, the compressor with its projector, the LLM's prefill and its mean decode step.
Left out altogether: sampling, tokenising, decoding the image file, moving data to the device.
"""

from dataclasses import replace

from vlmplan.cost.attention import Pass, cache_bytes
from vlmplan.cost.llm import decode, llm_pass, prefill
from vlmplan.cost.op import WEIGHT_BYTES, Op, Request
from vlmplan.cost.vision import compressor, vision
from vlmplan.hardware import Kind
from vlmplan.models import Quantisation, layer_groups, operator_key


def operators(request: Request) -> tuple[Op, ...]:
    """Return every operator of the request; decode is the mean step of tokens 2 to n."""
    return _stored(request, (*vision(request), *compressor(request), *prefill(request), *decode(request)))


def front_operators(request: Request) -> tuple[Op, ...]:
    """Return the operators before the LLM's own pass: vision tower, compressor, projector."""
    return _stored(request, (*vision(request), *compressor(request)))


def pass_operators(request: Request, step: Pass) -> tuple[Op, ...]:
    """Return the LLM's operators of one pass over any number of new tokens."""
    return _stored(request, tuple(llm_pass(request, step)))


def _stored(request: Request, found: tuple[Op, ...]) -> tuple[Op, ...]:
    """The operators with the bytes that their weights have in the checkpoint."""
    stored = request.model.quantisation
    return found if stored is None else tuple(_as_stored(op, request, stored) for op in found)


def _as_stored(op: Op, request: Request, stored: Quantisation) -> Op:
    """The operator with the bytes that its weights have in the checkpoint, whatever its part has elsewhere."""
    if op.kind is not Kind.LINEAR:
        return op
    base = request.activation_bytes
    size = stored.weight_bytes.get(operator_key(op.part, op.name))
    drawn = WEIGHT_BYTES[request.precision] if op.quantised else base
    factor = (base if size is None else size) / drawn
    return replace(
        op,
        weight_bytes=op.weight_bytes * factor,
        resident_bytes=op.resident_bytes * factor,
        quantised=size is not None,
    )


def kv_cache_bytes(request: Request) -> float:
    """Return the KV cache at the last token, on one GPU: prompt and output of all requests in flight."""
    groups = layer_groups(request.model.llm)
    return request.workload.decoded_together * sum(cache_bytes(request, group) for group in groups)
