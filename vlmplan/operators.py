"""Which operators does a request run? The one list that parameters, FLOPs, bytes and seconds are folds over.

request -> operators of the vision tower, the compressor with its projector, the LLM's prefill and its mean decode step.
Left out altogether: sampling, tokenising, decoding the image file, moving data to the device.
"""

from vlmplan.decoder import layer_groups
from vlmplan.llm import decode, prefill
from vlmplan.mixing import cache_bytes
from vlmplan.op import Op, Request
from vlmplan.vision import compressor, vision


def operators(request: Request) -> tuple[Op, ...]:
    """Return every operator of the request; decode is the mean step of tokens 2 to n."""
    return (*vision(request), *compressor(request), *prefill(request), *decode(request))


def kv_cache_bytes(request: Request) -> float:
    """Return the KV cache at the last token, on one GPU: prompt and output of all requests in flight."""
    groups = layer_groups(request.model.llm)
    return request.workload.decoded_together * sum(cache_bytes(request, group) for group in groups)
