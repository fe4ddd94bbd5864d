"""What is timed, and on which models? Sweeps over width, depth, tokens, context, batch, towers and compressors.

(runtime's limits, cache size) -> trials. Decoders have real widths and as few layers as still exceed the processor's
cache, and twice as many: what a layer costs is the difference. Nothing here runs anything.
"""

import enum
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vlmplan.checkpoints import SmallModel, small_config
from vlmplan.cost import WEIGHT_BYTES, Request, model_from_config, request_of
from vlmplan.hardware import Precision
from vlmplan.measuring.observation import Quantity
from vlmplan.models import Compressor, ModelSpec, Workload

Pairs = tuple[tuple[int, int], ...]
PATCH = 14
STEPS = 6  # decode steps of one sample; the first is not counted


class Effort(enum.StrEnum):
    """How much is measured."""

    QUICK = "quick"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """The widths of a decoder layer."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def params(self) -> int:
        """Parameters of one layer's linear parts."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.intermediate


# Real ones, between those that the check uses: Gemma-3-270M (small layers, so many), Qwen2-0.5B and 1.5B (few key-value
# heads), Qwen1.5-1.8B (as many as heads: what reading the cache costs).
WIDTHS = (
    Width(hidden=640, intermediate=2048, heads=4, kv_heads=1, head_dim=256),
    Width(hidden=896, intermediate=4864, heads=14, kv_heads=2, head_dim=64),
    Width(hidden=1536, intermediate=8960, heads=12, kv_heads=2, head_dim=128),
    Width(hidden=2048, intermediate=5504, heads=16, kv_heads=16, head_dim=128),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A vision tower: hidden width, MLP width, heads, layers, patches on a side, and whether it is CLIP's kind."""

    hidden: int
    intermediate: int
    heads: int
    layers: int
    side: int
    clip: bool


# CLIP-L/14-336, SigLIP-B/14-378 and SigLIP-so400m/14-378, few layers of them.
TOWERS = (
    Tower(hidden=1024, intermediate=4096, heads=16, layers=3, side=24, clip=True),
    Tower(hidden=768, intermediate=3072, heads=12, layers=3, side=27, clip=False),
    Tower(hidden=1152, intermediate=4304, heads=16, layers=3, side=27, clip=False),
)
SMALLEST_TOWER = Tower(hidden=64, intermediate=128, heads=2, layers=2, side=2, clip=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model to build: a decoder of ``layers`` and a tower, at a precision, with a compressor."""

    width: Width
    layers: int
    tower: Tower = SMALLEST_TOWER
    vocabulary: int = 4096
    precision: Precision = Precision.FP32
    base_precision: Precision = Precision.FP32
    compressor: Compressor = Compressor.NONE
    visual_tokens: int = 4

    @property
    def made(self) -> SmallModel:
        """The model as transformers' classes name it."""
        width, tower = self.width, self.tower
        vision = {"hidden_size": tower.hidden, "intermediate_size": tower.intermediate, "patch_size": PATCH,
                  "num_hidden_layers": tower.layers, "num_attention_heads": tower.heads,
                  "image_size": tower.side * PATCH}  # fmt: skip
        text = {"hidden_size": width.hidden, "intermediate_size": width.intermediate, "head_dim": width.head_dim,
                "num_hidden_layers": self.layers, "num_attention_heads": width.heads, "tie_word_embeddings": False,
                "num_key_value_heads": width.kv_heads, "vocab_size": self.vocabulary}  # fmt: skip
        kind = "clip_vision_model" if tower.clip else "siglip_vision_model"
        return SmallModel(llm="llama", tower=kind, text=text, vision=vision)

    @property
    def reads_question(self) -> bool:
        """Whether the compressor reads the question (QueCC)."""
        return self.compressor.reads_question

    @property
    def name(self) -> str:
        """Short, and different for different networks."""
        tower = "" if self.tower is SMALLEST_TOWER else f" tower {self.tower.hidden}x{self.tower.layers}"
        tokens = "" if self.tower is SMALLEST_TOWER else f" {self.compressor} {self.visual_tokens}"
        return f"llm {self.width.hidden}x{self.layers}{tower}{tokens} {self.precision}"


def decoder_only(network: Network) -> Network:
    """Return what networks with the same decoder have in common: QueCC's gives its hidden state, too."""
    kind = Compressor.QUECC if network.reads_question else Compressor.NONE
    return replace(network, tower=SMALLEST_TOWER, compressor=kind, visual_tokens=4)  # fmt: skip


@functools.cache
def config_of(network: Network) -> Any:
    """Return the transformers configuration of a network."""
    return small_config(network.made)


@functools.cache
def model_of(network: Network) -> ModelSpec:
    """Return a network as the planner sees it, read from its configuration like any checkpoint's."""
    return model_from_config(config_of(network).to_dict(), "trial", network.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One thing to time: ``tokens`` are the prompt's text for prefill, and the context before the step for decode."""

    network: Network
    quantity: Quantity
    tokens: int = 0
    batch: int = 1
    group: str = ""

    @property
    def name(self) -> str:
        """What is timed on what."""
        return f"{self.network.name}, {self.quantity}, {self.tokens} tokens, batch {self.batch}"

    @property
    def request(self) -> Request:
        """The request whose operators are run."""
        network, vision = self.network, self.quantity is Quantity.VISION
        side = network.tower.side * PATCH
        output = STEPS if self.quantity is Quantity.TPOT else 1
        workload = Workload(text_tokens=max(1, self.tokens), output_tokens=output, batch=self.batch, image=(side, side))
        shown = network.visual_tokens if vision else 0
        compressor = network.compressor if vision else Compressor.NONE
        return request_of(model_of(network), workload, shown, network.precision, compressor)


CACHE_MULTIPLE = 4  # layers measured must not fit the processor's cache: a whole model's do not


def layers_for(width: Width, precision: Precision, cache_bytes: int) -> int:
    """Return the fewest layers whose weights are ``CACHE_MULTIPLE`` times the processor's cache."""
    return max(1, math.ceil(CACHE_MULTIPLE * cache_bytes / (width.params * WEIGHT_BYTES[precision])))


# (batch, tokens) of prefill and (batch, context) of decode, for the shallow network; the deep one takes a few of them.
_PREFILL = ((1, 8), (1, 24), (1, 64), (1, 160), (1, 384), (1, 768), (4, 16), (4, 96))
_DECODE = ((1, 16), (1, 512), (1, 2048), (4, 64), (4, 512))
_DEEP_PREFILL, _DEEP_DECODE = ((1, 24), (1, 160), (1, 384)), ((1, 16), (1, 1024))
_QUICK_PREFILL, _QUICK_DECODE = ((1, 8), (1, 48), (1, 192), (1, 576), (4, 24)), ((1, 16), (1, 1024), (4, 128))


def _decoder_trials(network: Network, prefill: Pairs, decode: Pairs) -> Iterator[Trial]:
    group = f"{network.width.hidden} {network.precision}"
    for quantity, pairs in ((Quantity.PREFILL, prefill), (Quantity.TPOT, decode)):
        for batch, tokens in pairs:
            yield Trial(network=network, quantity=quantity, tokens=tokens, batch=batch, group=group)


def _vision_trials(tower: Tower, kinds: Mapping[Compressor, int], base: Precision) -> Iterator[Trial]:
    """The tower at two depths, and with compressors; ``kinds`` gives the side of a region, 1 for no reduction."""
    for layers, batch in ((tower.layers, 1), (tower.layers, 2), (2 * tower.layers - 1, 1)):
        network = _vision_network(replace(tower, layers=layers), Compressor.NONE, 1, base)
        yield Trial(network=network, quantity=Quantity.VISION, batch=batch, group=f"tower {tower.hidden}")
    for compressor, factor in kinds.items():
        network = _vision_network(tower, compressor, factor, base)
        yield Trial(network=network, quantity=Quantity.VISION, group=f"tower {tower.hidden}")


def _vision_network(tower: Tower, compressor: Compressor, factor: int, base: Precision) -> Network:
    tokens = (tower.side // factor) ** 2
    return Network(width=WIDTHS[1], layers=1, tower=tower, compressor=compressor, visual_tokens=tokens,
                   precision=base, base_precision=base)  # fmt: skip


_COMPRESSORS = {
    Compressor.AVERAGE_POOL: 8,
    Compressor.PIXEL_SHUFFLE: 3,
    Compressor.TOKEN_PACKER: 3,
    Compressor.QUECC: 8,
    Compressor.DIVPRUNE: 3,
    Compressor.VISIONZIP: 3,
}


def sweep(effort: Effort, precisions: tuple[Precision, ...], base: Precision, cache_bytes: int) -> tuple[Trial, ...]:
    """Return all trials. The first precision gets everything, the others (quantised) the decoder alone."""
    trials: list[Trial] = []
    quick = effort is Effort.QUICK
    for precision in precisions:
        plain = precision is precisions[0]
        for width in (WIDTHS[1], WIDTHS[3]) if quick else WIDTHS if plain else WIDTHS[1:3]:
            layers = layers_for(width, precision, cache_bytes)
            shallow = Network(width=width, layers=layers, precision=precision, base_precision=base)
            prefill, decode = (_QUICK_PREFILL, _QUICK_DECODE) if quick else (_PREFILL, _DECODE)
            trials += _decoder_trials(shallow, prefill, decode)
            if plain:
                trials += _decoder_trials(replace(shallow, layers=2 * layers), _DEEP_PREFILL[:2], _DEEP_DECODE)
    for number, tower in enumerate(TOWERS[:1] if quick else TOWERS):
        packed = {} if number or quick else _COMPRESSORS
        trials += _vision_trials(tower, packed, base)
    return tuple(trials)
