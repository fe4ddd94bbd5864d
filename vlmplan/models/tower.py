"""What stands before the LLM? The vision tower, and the projector with what may reduce tokens in it.

All counts are plain numbers: widths in channels, layers, patches. Nothing here computes a cost; that is the room
``cost``.
"""

from vlmplan.document import check_counts
from vlmplan.errors import InputError, check_range, unexpected
from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionStage:
    """A stage of a convolutional tower: ``blocks`` at ``stride`` pixels a position, MLP of 4 x ``channels``."""

    blocks: int
    channels: int
    stride: int
    attention: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionTower:
    """A vision transformer (``layers`` > 0), or a convolutional tower (``stages``).

    ``layers_used`` of the ``layers`` are run (LLaVA reads layer -2); the rest only take memory.
    ``window_patches`` > 0 limits attention to windows in all but ``full_attention_layers``; with ``joint_views`` it
    spans all views of an image. After ``merge_layer`` layers four patches become one by an MLP of
    ``merge_intermediate`` (MiniCPM-V 4.6). ``extra_params`` take no time: tables of tile positions, gates.
    """

    layers: int = 0
    layers_used: int = 0
    hidden: int = 0
    heads: int = 0
    intermediate: int = 0
    patch: int = 14
    temporal_patch: int = 1
    positions: int = 0
    gated_mlp: bool = False
    class_token: bool = False
    patch_bias: bool = True
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True
    norms_per_layer: int = 2
    qk_norm: bool = False
    layer_scale: bool = False
    pre_norm: bool = False
    post_norm: bool = True
    window_patches: int = 0
    full_attention_layers: int = 0
    joint_views: bool = False
    merge_layer: int = 0
    merge_intermediate: int = 0
    extra_params: int = 0
    image_size: int | None = None
    stages: tuple[ConvolutionStage, ...] = ()

    def __post_init__(self) -> None:
        """A tower has layers or stages; its dimensions are above zero."""
        check_counts(self, ("patch", "temporal_patch"))
        if self.stages:
            for stage in self.stages:
                check_counts(stage, ("blocks", "channels", "stride"))
            return
        check_counts(self, ("layers", "hidden", "heads", "intermediate", "patch", "temporal_patch"))
        if not 0 < self.layers_used <= self.layers:
            raise unexpected("layers_used", f"1 to {self.layers}", self.layers_used)
        check_range("full_attention_layers", self.full_attention_layers, 0, self.layers_used)
        check_range("merge_layer", self.merge_layer, 0, self.layers_used)

    @property
    def output_width(self) -> int:
        """Channels of one patch at the tower's end (FastViTHD doubles its last stage's)."""
        return 2 * self.stages[-1].channels if self.stages else self.hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampler:
    """Cross-attention from ``queries`` a view to its patches, ``layers`` times, each with a gated MLP if any.

    Keys and values have ``input_width`` channels in, to which a projection brings the tower's where ``projected``;
    queries have ``query_width``. ``region`` > 0 limits a query to that many patches (attention pooling). ``last`` puts
    it behind the projector (Idefics2) instead of before it.
    """

    queries: int
    layers: int = 1
    input_width: int
    query_width: int
    attention_width: int
    kv_width: int
    output_width: int
    intermediate: int = 0
    region: int = 0
    projected: bool = False
    bias: bool = False
    last: bool = False

    def __post_init__(self) -> None:
        """Widths above zero."""
        check_counts(
            self, ("queries", "layers", "input_width", "query_width", "attention_width", "kv_width", "output_width")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Projector:
    """Linear layers from vision to LLM width; ``merge`` patches make one token; ``copies`` run side by side.

    ``widths`` are the successive widths, so ``(1024, 4096, 4096)`` is a two-layer MLP. A gated MLP of
    ``gated_intermediate`` to ``gated_output`` channels may follow. ``norm_params`` and ``extra_params`` (an
    image-newline vector, say) are parameters whose time is negligible.
    """

    widths: tuple[int, ...]
    merge: int = 1
    bias: bool = True
    copies: int = 1
    gated_intermediate: int = 0
    gated_output: int = 0
    resampler: Resampler | None = None
    norm_params: int = 0
    extra_params: int = 0

    def __post_init__(self) -> None:
        """At least one layer, all widths above zero."""
        least = 1 if self.gated_intermediate else 2
        if len(self.widths) < least or not all(0 < width <= 10**9 for width in self.widths):
            raise InputError(f"widths: expected at least {least} numbers from 1 to 1e+09, found {list(self.widths)}")
        check_counts(self, ("merge", "copies", *(("gated_output",) if self.gated_intermediate else ())))
