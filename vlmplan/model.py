"""What is asked of which model? The dimensions that decide parameters, FLOPs and bytes, and the workload.

All counts are plain numbers: widths in channels, tokens, layers. Nothing here computes a cost; that is
``operators.py``. Dimensions come from the checkpoint's published configuration, named in ``sources``.
"""

import enum
import functools
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError, check_range


class Compressor(enum.StrEnum):
    """How visual tokens are reduced between the vision tower and the LLM."""

    NONE = "none"
    AVERAGE_POOL = "average-pool"
    PIXEL_SHUFFLE = "pixel-shuffle"
    TOKEN_PACKER = "token-packer"
    QUECC = "quecc"


class Reduction(enum.StrEnum):
    """How a checkpoint comes to fewer tokens; the error it costs differs up to tenfold between these."""

    TRAINED = "trained"
    NESTED = "nested"
    IMAGE_SIZE = "image-size"
    TRAINING_FREE = "training-free"


class Route(enum.StrEnum):
    """What has to be done to have the chosen model."""

    EXPORT = "export"
    ENGINE = "engine"
    TRAIN = "train"


class Rule(enum.StrEnum):
    """How an image becomes visual tokens (``visual_tokens.py``)."""

    FIXED = "fixed"
    AREA = "area"
    TILES = "tiles"
    SPLIT = "split"
    ANYRES = "anyres"
    COMPRESSED = "compressed"


@functools.cache
def _counts(cls: type[Any]) -> tuple[str, ...]:
    """Names of the fields of a dataclass that hold a whole number, or may."""
    return tuple(field.name for field in fields(cls) if field.type in ("int", int, int | None, "int | None"))


def _check_counts(owner: Any, positive: tuple[str, ...]) -> None:
    """Every count of a dataclass lies between 0 and a thousand million, those in ``positive`` from 1."""
    kind: Any = type(owner)
    for name in _counts(kind):
        check_range(name, getattr(owner, name), 1 if name in positive else 0, 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The LLM. ``intermediate`` is the dense MLP's width; ``experts`` = 0 means a dense model.

    ``sliding_layers`` of the ``layers`` attend to at most ``sliding_window`` tokens. ``dense_layers`` come
    before the mixture-of-experts ones. Norms are RMSNorm, ``norms_per_layer`` of them.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied_embeddings: bool
    gated_mlp: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norms_per_layer: int = 2
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_expert_intermediate: int = 0
    dense_layers: int = 0
    sliding_window: int | None = None
    sliding_layers: int = 0
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        """Reject dimensions of zero and combinations that no model has."""
        _check_counts(self, ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "norms_per_layer"))
        if self.heads % self.kv_heads:
            raise InputError(f"heads: expected a multiple of kv_heads = {self.kv_heads}, found {self.heads}")
        if self.experts:
            _check_counts(self, ("experts_per_token", "expert_intermediate"))
            if self.experts_per_token > self.experts:
                raise InputError(f"experts_per_token: expected at most {self.experts}, found {self.experts_per_token}")
        if not self.experts or self.dense_layers:
            _check_counts(self, ("intermediate",))
        if self.sliding_layers and not self.sliding_window:
            raise InputError("sliding_layers needs sliding_window")
        if not 0 <= self.dense_layers <= self.layers or not 0 <= self.sliding_layers <= self.layers:
            raise InputError("dense_layers and sliding_layers must lie between 0 and layers")


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
    ``window_patches`` > 0 limits attention to windows in all but ``full_attention_layers``.
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
    qk_norm: bool = False
    layer_scale: bool = False
    pre_norm: bool = False
    post_norm: bool = True
    window_patches: int = 0
    full_attention_layers: int = 0
    image_size: int | None = None
    stages: tuple[ConvolutionStage, ...] = ()

    def __post_init__(self) -> None:
        """A tower has layers or stages; its dimensions are above zero."""
        _check_counts(self, ("patch", "temporal_patch"))
        if self.stages:
            for stage in self.stages:
                _check_counts(stage, ("blocks", "channels", "stride"))
            return
        _check_counts(self, ("layers", "hidden", "heads", "intermediate", "patch", "temporal_patch"))
        if not 0 < self.layers_used <= self.layers:
            raise InputError(f"layers_used: expected 1 to {self.layers}, found {self.layers_used}")
        check_range("full_attention_layers", self.full_attention_layers, 0, self.layers_used)

    @property
    def output_width(self) -> int:
        """Channels of one patch at the tower's end (FastViTHD doubles its last stage's)."""
        return 2 * self.stages[-1].channels if self.stages else self.hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Projector:
    """Linear layers from vision to LLM width; ``merge`` patches make one token; ``copies`` run side by side.

    ``widths`` are the successive widths, so ``(1024, 4096, 4096)`` is a two-layer MLP. ``norm_params`` and
    ``extra_params`` (an image-newline vector, say) are parameters whose time is negligible.
    """

    widths: tuple[int, ...]
    merge: int = 1
    bias: bool = True
    copies: int = 1
    norm_params: int = 0
    extra_params: int = 0

    def __post_init__(self) -> None:
        """At least one layer, all widths above zero."""
        if len(self.widths) < 2 or not all(0 < width <= 10**9 for width in self.widths):
            raise InputError(f"widths: expected at least two numbers from 1 to 1e+09, found {list(self.widths)}")
        _check_counts(self, ("merge", "copies"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """How a processor turns an image into views and visual tokens, and how one sets their number.

    ``tokens_per_view`` LLM tokens come of each view of ``view_size`` pixels a side; under ``area`` a view is one
    token's square. At most ``max_views`` views, ``max_side_views`` in a row. ``trained_*`` is the range the checkpoint
    was trained for. ``setting`` says how V is set and ``engine`` is vLLM's argument for it, with ``{pixels}``,
    ``{views}`` and ``{edge}`` to fill in.
    """

    rule: Rule
    view_size: int
    tokens_per_view: int
    max_views: int = 1
    max_side_views: int = 1
    trained_min_visual_tokens: int
    trained_max_visual_tokens: int
    allowed_visual_tokens: tuple[int, ...] = ()
    setting: str
    engine: str | None = None

    def __post_init__(self) -> None:
        """Sizes above zero, the trained range in order."""
        _check_counts(self, ("view_size", "tokens_per_view", "max_views", "trained_min_visual_tokens"))
        check_range("max_views", self.max_views, 1, 64)
        check_range("max_side_views", self.max_side_views, 1, 64)
        for tokens in self.allowed_visual_tokens:
            check_range("allowed_visual_tokens", tokens, 1, 10**9)
        for text in (self.setting, self.engine or ""):
            try:
                text.format_map({"pixels": 1, "views": 1, "edge": 1})
            except (KeyError, ValueError, IndexError):
                raise InputError(
                    f"setting or engine: expected at most {{pixels}}, {{views}} and {{edge}} in '{text}'"
                ) from None
        if self.rule is Rule.COMPRESSED and not self.allowed_visual_tokens:
            raise InputError("allowed_visual_tokens: expected at least one number for the rule compressed")
        if self.rule is Rule.ANYRES and min(self.max_views, self.max_side_views) < 2:
            raise InputError("max_views and max_side_views: expected at least 2 for the rule anyres")
        if self.trained_max_visual_tokens < self.trained_min_visual_tokens:
            raise InputError("trained_max_visual_tokens must not be below trained_min_visual_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(Document):
    """One checkpoint or configuration. ``vision`` is None for a text-only model.

    ``nominal_llm_params_b`` is the size in the name, in billions, where the paper's law was fitted on it. ``vllm``
    holds the flags that vLLM needs for it beyond the usual, perhaps none; None where vLLM is not known to serve it.
    """

    SCHEMA: ClassVar[str] = "vlmplan.model/1"

    name: str
    family: str
    architecture: str
    llm: Decoder
    vision: VisionTower | None = None
    projector: Projector | None = None
    image: ImageRule | None = None
    nominal_llm_params_b: float | None = None
    published_params: int | None = None
    unexplained_params_reason: str | None = None
    license: str | None = None
    release_date: str | None = None
    exportable: bool = False
    vllm: str | None = None
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A vision model needs a tower, a projector and a rule; a text model none of them."""
        parts = (self.vision, self.projector, self.image)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InputError("vision, projector and image come together, or none of them for a text-only model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One request, repeated ``batch`` times side by side. ``text_tokens`` includes the prompt's template.

    ``concurrency`` such requests are in flight at any time, one beginning when another ends: they decode together, and
    each waits for the others' prefills.

    ``cached_text_tokens`` of them stand before the image in a prefix cache. With ``cached_images`` the vision
    tower's output is at hand. ``image`` is width and height in pixels.
    """

    text_tokens: int
    output_tokens: int = 1
    cached_text_tokens: int = 0
    images: int = 1
    image: tuple[int, int] = (1024, 768)
    cached_images: bool = False
    batch: int = 1
    concurrency: int = 1

    def __post_init__(self) -> None:
        """Counts in range: something to read, at least one token out, the cache a part of the text."""
        limits = {"text_tokens": 0, "cached_text_tokens": 0, "output_tokens": 1, "images": 1, "batch": 1,
                  "concurrency": 1}  # fmt: skip
        for name, least in limits.items():
            check_range(name, getattr(self, name), least, 10_000_000)
        if self.cached_text_tokens > self.text_tokens:
            raise InputError(
                f"cached_text_tokens: expected at most text_tokens = {self.text_tokens}, "
                f"found {self.cached_text_tokens}"
            )

    @property
    def decoded_together(self) -> int:
        """Requests that take a decode step together."""
        return self.batch * self.concurrency

    @property
    def uncached_text_tokens(self) -> int:
        """Text tokens that prefill must compute."""
        return self.text_tokens - self.cached_text_tokens
