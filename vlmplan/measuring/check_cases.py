"""Which requests is a profile checked on? Whole models of other widths, depths and lengths than profiled.

Nothing here runs anything; the list is the same every time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vlmplan.cost import Request, request_of
from vlmplan.hardware import Precision
from vlmplan.measuring.trials import PATCH, Network, Tower, Width, layers_for, model_of
from vlmplan.models import Compressor, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request to a network; an image always."""

    network: Network
    text_tokens: int
    output_tokens: int
    batch: int

    @property
    def request(self) -> Request:
        """What the planner prices."""
        network = self.network
        side = network.tower.side * PATCH
        workload = Workload(
            text_tokens=self.text_tokens, output_tokens=self.output_tokens, batch=self.batch, image=(side, side)
        )
        return request_of(model_of(network), workload, network.visual_tokens, network.precision, network.compressor)

    @property
    def name(self) -> str:
        """What is asked of what."""
        network = self.network
        return (
            f"{network.width.hidden}x{network.layers} {network.tower.hidden}x{network.tower.layers} "
            f"{network.compressor} V={network.visual_tokens} Q={self.text_tokens} n={self.output_tokens} "
            f"b={self.batch}"
        )


# SmolLM-135M, TinyLlama-like, Qwen1.5-0.5B, Gemma-like, and two between; behind CLIP and SigLIP of other sizes.
_WIDTHS = (
    Width(hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64),
    Width(hidden=768, intermediate=2048, heads=12, kv_heads=4, head_dim=64),
    Width(hidden=1024, intermediate=2816, heads=16, kv_heads=16, head_dim=64),
    Width(hidden=1152, intermediate=6912, heads=4, kv_heads=1, head_dim=256),
    Width(hidden=1280, intermediate=3584, heads=20, kv_heads=4, head_dim=64),
    Width(hidden=1792, intermediate=4864, heads=14, kv_heads=2, head_dim=128),
)
_TOWERS = (
    Tower(hidden=512, intermediate=2048, heads=8, layers=4, side=16, clip=True),
    Tower(hidden=768, intermediate=3072, heads=12, layers=4, side=16, clip=True),
    Tower(hidden=896, intermediate=3584, heads=14, layers=3, side=24, clip=False),
    Tower(hidden=1152, intermediate=4304, heads=16, layers=2, side=27, clip=False),
    Tower(hidden=640, intermediate=2560, heads=10, layers=6, side=24, clip=True),
    Tower(hidden=1280, intermediate=5120, heads=16, layers=2, side=16, clip=True),
)
# What is left of the tower's grid: region side by grid side, and the compressor.
_KINDS = {
    16: ((1, Compressor.NONE), (2, Compressor.PIXEL_SHUFFLE), (4, Compressor.AVERAGE_POOL), (16, Compressor.QUECC)),
    24: ((1, Compressor.NONE), (2, Compressor.AVERAGE_POOL), (4, Compressor.TOKEN_PACKER),
         (24, Compressor.AVERAGE_POOL)),
    27: ((1, Compressor.NONE), (3, Compressor.TOKEN_PACKER), (9, Compressor.AVERAGE_POOL), (27, Compressor.QUECC)),
}  # fmt: skip
# (text tokens, output tokens, batch), three for each number of visual tokens, taken in turn.
_WORK = ((20, 8, 1), (50, 16, 1), (120, 5, 1), (300, 12, 1), (50, 9, 2), (33, 6, 3), (200, 24, 1), (75, 7, 2))


def _networks(base: Precision, cache_bytes: int) -> Iterator[Network]:
    for width, tower in zip(_WIDTHS, _TOWERS, strict=True):
        layers = layers_for(width, base, cache_bytes) + 1
        for factor, compressor in _KINDS[tower.side]:
            yield Network(width=width, layers=layers, tower=tower, compressor=compressor, base_precision=base,
                          visual_tokens=(tower.side // factor) ** 2, precision=base)  # fmt: skip


def cases(base: Precision, cache_bytes: int) -> tuple[Case, ...]:
    """Return the requests, three a network; decoders are deeper by a layer than those profiled need to be."""
    found: list[Case] = []
    for network in _networks(base, cache_bytes):
        for _ in range(3):
            text, output, batch = _WORK[len(found) % len(_WORK)]
            found.append(Case(network=network, text_tokens=text, output_tokens=output, batch=batch))
    return tuple(found)
