"""What is asked of which model? The dimensions that decide parameters, FLOPs and bytes, and the workload.

All counts are plain numbers: widths in channels, tokens, layers. Nothing here computes a cost; that is ``totals.py``.
Dimensions come from the checkpoint's published configuration, named in ``sources``.
"""

import enum
import re
import string
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from vlmplan.document import Document, check_counts
from vlmplan.errors import InputError, check_name, check_range, unexpected
from vlmplan.hardware import Engine, Precision
from vlmplan.models.decoder import Decoder
from vlmplan.models.quantisation import Quantisation
from vlmplan.models.tower import Projector, VisionTower
from vlmplan.records import dataclass

# Of the tokens that VisionZip leaves, those that others are merged into: 10 of 64, 20 of 128, 30 of 192 (its README,
# https://github.com/dvlab-research/VisionZip, read 2026-11-28).
MERGED_FRACTION = 10 / 64


class Compressor(enum.StrEnum):
    """How visual tokens are reduced between the vision tower and the LLM; what each is, all code asks here."""

    NONE = "none"
    AVERAGE_POOL = "average-pool"
    PIXEL_SHUFFLE = "pixel-shuffle"
    TOKEN_PACKER = "token-packer"
    QUECC = "quecc"
    DIVPRUNE = "divprune"
    VISIONZIP = "visionzip"

    @property
    def reads_question(self) -> bool:
        """Whether what is kept of an image depends on the question, so that its features cannot be cached."""
        return self is Compressor.QUECC

    @property
    def packs(self) -> bool:
        """Whether coarse tokens gather from the fine ones around them by cross-attention, with weights of its own."""
        return self in (Compressor.TOKEN_PACKER, Compressor.QUECC)

    @property
    def widens(self) -> bool:
        """Whether a region's channels are joined, so that the projector reads wider vectors and is another one."""
        return self is Compressor.PIXEL_SHUFFLE

    @property
    def selects(self) -> bool:
        """Whether it keeps any number of an image's tokens, by a criterion, with nothing to be learned."""
        return self in (Compressor.DIVPRUNE, Compressor.VISIONZIP)

    @property
    def least_tokens(self) -> int:
        """The fewest tokens it leaves: VisionZip's are a class token, one that is kept and one of those merged."""
        return 3 if self is Compressor.VISIONZIP else 1

    @property
    def reads_projected(self) -> bool:
        """Whether it chooses among tokens as the projector makes them, so that this reads every patch."""
        return self is Compressor.DIVPRUNE

    @property
    def trainable(self) -> bool:
        """Whether ``train`` makes it."""
        return not (self.widens or self.selects)


class Reduction(enum.StrEnum):
    """How a checkpoint comes to fewer tokens; the error it costs differs up to tenfold between these.

    ``IMAGE_SIZE`` shows it fewer pixels (a smaller image, fewer tiles). The others leave the pixels as they are and
    reduce what becomes of them: compressors ``TRAINED`` for a number of tokens or ``NESTED`` for several, and without
    training, pooling or pruning by a criterion; ``TRAINING_FREE`` is any of those. ``DIVPRUNE`` and ``VISIONZIP``
    are methods that exports have, of diversity and of attention.
    """

    __hash__ = str.__hash__  # that of enum.Enum is a function in Python, and costs are folded by this
    TRAINED = "trained"
    NESTED = "nested"
    IMAGE_SIZE = "image-size"
    TRAINING_FREE = "training-free"
    AVERAGE_POOL = "average-pool"
    RANDOM = "random"
    SIMILARITY = "similarity"
    ATTENTION = "attention"
    DIVERSITY = "diversity"
    DIVPRUNE = "divprune"
    VISIONZIP = "visionzip"

    @property
    def trained(self) -> bool:
        """Whether the checkpoint was trained for the tokens that it gets."""
        return self in (Reduction.TRAINED, Reduction.NESTED)

    @property
    def criterion(self) -> "Reduction":
        """By what a method prunes; of other ways they themselves."""
        return _CRITERIA.get(self, self)


_CRITERIA = {Reduction.DIVPRUNE: Reduction.DIVERSITY, Reduction.VISIONZIP: Reduction.ATTENTION}


class Route(enum.StrEnum):
    """What has to be done to have the chosen model."""

    EXPORT = "export"
    ENGINE = "engine"
    TRAIN = "train"


class Rule(enum.StrEnum):
    """How an image becomes visual tokens (``grids.py`` says which family does what)."""

    FIXED = "fixed"
    PAN_SCAN = "pan-scan"
    VIEWS = "views"
    AREA = "area"
    PADDED = "padded"
    BUDGET = "budget"
    ROWS = "rows"
    TILES = "tiles"
    CANVAS = "canvas"
    CROSS = "cross"
    COVER = "cover"
    SLICES = "slices"
    FITTED = "fitted"
    HD = "hd"
    DYNAMIC_HD = "dynamic-hd"
    JOINED = "joined"
    SPLIT = "split"
    ANYRES = "anyres"
    OVERLAP = "overlap"
    ADAPTIVE = "adaptive"
    COMPRESSED = "compressed"


# Rules that keep the image's shape in one view, so that its pixels follow its tokens.
SHAPE_KEEPING = (Rule.AREA, Rule.PADDED, Rule.BUDGET, Rule.ROWS)
# Rules whose tiles or squares an export keeps, and what its processor is told: its placeholder in settings.
WHOLE_TILES = {
    Rule.SPLIT: "edge",
    Rule.TILES: "views",
    Rule.AREA: "pixels",
    Rule.ADAPTIVE: "views",
    Rule.ROWS: "edge",
}


# What a setting may leave open: tokens, pixels of area (or twice) and the least of them, patches, views or tiles,
# pixels of the longest edge.
PLACEHOLDERS = (
    "tokens", "pixels", "double_pixels", "least_pixels", "double_least_pixels", "patches", "views", "edge",
)  # fmt: skip


# (field, least, most): generous beside every published processor, and small enough to count with.
_RULE_LIMITS = (
    ("view_size", 2, 65_536),
    ("max_views", 1, 4096),
    ("max_side_views", 1, 64),
    ("edge_step", 0, 65_536),
    ("least_tokens", 1, 1_000_000),
    ("default_max_tokens", 0, 1_000_000),
    ("least_pixels", 0, 10**10),
    ("default_max_pixels", 0, 10**10),
    ("most_aspect", 0, 1_000_000),
    ("min_views", 1, 4096),
    ("default_max_views", 0, 4096),
    ("default_edge", 0, 65_536),
    ("pooled_beyond_views", 0, 64),
    ("base_extra_tokens", -1, 64),
    ("overlap_patches", 0, 64),
    ("single_view_fraction", 0.01, 1000.0),
    ("crop_aspect_fraction", 1.0, 1000.0),
)
_MOST_GRIDS = 1000


def _check_setting(text: str) -> None:
    """Raise InputError unless all that a setting leaves open are bare ``PLACEHOLDERS``."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        parts = [("", "unbalanced", "", None)]
    if any(name is not None and (name not in PLACEHOLDERS or form or as_) for _, name, form, as_ in parts):
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise InputError(f"setting or engines: expected at most {known} in '{text}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """How a processor turns an image into views and visual tokens, and how one sets their number.

    ``tokens_per_view`` LLM tokens come of each view of ``view_size`` pixels a side; where the rule keeps the image's
    shape a view is one token's square. At least ``min_views`` and at most ``max_views`` views, ``max_side_views`` in a
    row, or the ``grids`` (columns, rows) that a processor lists, or of ``edge_step`` pixels along an edge; a view of
    the whole beside several tiles only with ``thumbnail``, of ``base_extra_tokens`` more. ``least_tokens`` and
    ``default_max_tokens`` are the processor's own limits of one view, ``least_pixels`` and ``default_max_pixels`` the
    same where pixels do not come to whole tokens, ``default_max_views`` and ``default_edge`` what it does unasked
    where that is not the most it can (0: it is). Images longer than ``most_aspect`` times their width are refused.

    Single rules have more: tiles beyond ``pooled_beyond_views`` are pooled to so many (anyres_max), neighbours share
    ``overlap_patches`` of ``patches_per_side``, a small image takes the ``largest_canvas`` instead of the least, one
    view holds an image up to ``single_view_fraction`` of it, and shapes beyond ``crop_aspect_fraction`` are cropped; a
    token follows each row where it has ``row_ends``.

    ``trained_*`` is the range the checkpoint was trained for. ``setting`` says how V is set in transformers and
    ``engines`` in others, with ``PLACEHOLDERS`` to fill in.
    """

    rule: Rule
    view_size: int
    tokens_per_view: int
    max_views: int = 1
    max_side_views: int = 1
    edge_step: int = 0
    patches_per_side: int = 0
    least_tokens: int = 4
    default_max_tokens: int = 0
    least_pixels: int = 0
    default_max_pixels: int = 0
    most_aspect: int = 0
    min_views: int = 1
    default_max_views: int = 0
    default_edge: int = 0
    grids: tuple[tuple[int, int], ...] = ()
    thumbnail: bool = True
    base_extra_tokens: int = 0
    pooled_beyond_views: int = 0
    overlap_patches: int = 8
    largest_canvas: bool = False
    row_ends: bool = True
    single_view_fraction: float = 2.0
    crop_aspect_fraction: float = 1.2
    trained_min_visual_tokens: int
    trained_max_visual_tokens: int
    allowed_visual_tokens: tuple[int, ...] = ()
    setting: str
    engines: Mapping[Engine, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Sizes above zero and no larger than any model's, limits in order, what the rule needs at hand."""
        check_counts(self, ("trained_min_visual_tokens",))
        for name, least, most in _RULE_LIMITS:
            check_range(name, getattr(self, name), least, most)
        check_range("tokens_per_view", self.tokens_per_view, 1, self.view_size**2)
        for tokens in self.allowed_visual_tokens:
            check_range("allowed_visual_tokens", tokens, 1, 10**9)
        for text in (self.setting, *self.engines.values()):
            _check_setting(text)
        self._check_views()
        self._check_needed()
        most_tokens = self.default_max_tokens or self.trained_max_visual_tokens
        if self.trained_max_visual_tokens < self.trained_min_visual_tokens:
            raise InputError("trained_max_visual_tokens must not be below trained_min_visual_tokens")
        if self.rule in SHAPE_KEEPING and self.least_tokens > most_tokens:
            raise unexpected("least_tokens", f"at most {most_tokens}", self.least_tokens)

    def _check_views(self) -> None:
        """Fewest, unasked and most views in order; grids that can be counted with."""
        if not self.min_views <= (self.default_max_views or self.max_views) <= self.max_views:
            raise InputError(
                f"min_views, default_max_views, max_views: expected them in order, found {self.min_views}, "
                f"{self.default_max_views}, {self.max_views}"
            )
        if len(self.grids) > _MOST_GRIDS:
            raise unexpected("grids", f"at most {_MOST_GRIDS}", len(self.grids))
        for grid in self.grids:
            if not all(1 <= side <= 64 for side in grid):
                raise InputError(f"grids: expected columns and rows from 1 to 64, found {grid[0]} x {grid[1]}")

    @property
    def tile_counts(self) -> tuple[int, ...]:
        """Every number of tiles that a grid may have, fewest first."""
        sides = range(1, self.max_side_views + 1)
        if self.grids:
            counts = {columns * rows for columns, rows in self.grids}
        elif self.max_side_views > 1:
            counts = {i * j for i in sides for j in sides}
        else:
            counts = set(range(1, self.max_views + 1))
        return tuple(count for count in sorted(counts) if self.min_views <= count <= self.max_views)

    def _check_needed(self) -> None:
        """What a rule's arithmetic cannot do without."""
        if self.rule is Rule.COMPRESSED and not self.allowed_visual_tokens:
            raise InputError("allowed_visual_tokens: expected at least one number for the rule compressed")
        if self.rule is Rule.ANYRES and min(self.max_views, self.max_side_views) < 2 and not self.grids:
            raise InputError("max_views and max_side_views: expected at least 2 for the rule anyres, or its grids")
        if self.rule in (Rule.ROWS, Rule.SPLIT) and not self.edge_step:
            raise InputError(f"edge_step: missing; the rule {self.rule} needs it")
        if self.rule is Rule.OVERLAP:
            check_range("patches_per_side", self.patches_per_side, self.overlap_patches + 1, self.view_size)
        if self.rule is Rule.BUDGET and not self.default_max_tokens:
            raise InputError(f"default_max_tokens: missing; the rule {self.rule} needs it")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisedCheckpoint:
    """A published checkpoint of the same model in another precision: its hub id, and how it is quantised."""

    precision: Precision
    checkpoint: str
    method: str

    def __post_init__(self) -> None:
        """Both can be shown."""
        check_name("checkpoint", self.checkpoint)
        check_name("method", self.method)


_LLAVA = ("llava", "llava_next", "llava_onevision")  # whose exports select by the attention of their towers


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(Document):
    """One checkpoint or configuration. ``vision`` is None for a text-only model.

    ``nominal_llm_params_b`` is the size in the name, in billions, where the paper's law was fitted on it. ``serving``
    holds, by engine known to serve it, the flags it needs beyond the usual, perhaps none. ``idle_params`` are loaded
    and not run for an image and a question (an audio tower); ``stored_params`` stand in the published total and are
    not loaded at all (a multi-token prediction layer); ``beside`` says what both are. ``pretrained`` checkpoints
    answer nothing before they are fine-tuned; those that ``thinks`` write a thousand tokens before they answer, and
    their scores count on it. Without ``fp16`` its activations overflow in that precision, and engines refuse it or
    break (``refusals.py``). ``quantisation`` is how a quantised checkpoint stores its weights, ``quantised`` are
    published ones of this model. ``cautions`` are what a checkpoint's files say that was not understood.
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
    idle_params: int = 0
    stored_params: int = 0
    beside: str | None = None
    license: str | None = None
    release_date: str | None = None
    exportable: bool = False
    pretrained: bool = False
    thinks: bool = False
    fp16: bool = True
    quantisation: Quantisation | None = None
    quantised: tuple[QuantisedCheckpoint, ...] | None = None
    serving: Mapping[Engine, str] = field(default_factory=dict, hash=False)
    cautions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def exports_tiles(self) -> bool:
        """Whether an export keeps the processor's tiles and joins no tokens: others are left with one view."""
        return self.exportable and self.image is not None and self.image.rule in WHOLE_TILES

    def exports_selection(self, compressor: Compressor) -> bool:
        """Whether an export may keep some tokens of its one view by ``compressor``; by attention LLaVA's alone."""
        one_view = self.exportable and self.image is not None and not self.exports_tiles
        drawn = compressor.reads_projected or self.architecture in _LLAVA
        return one_view and compressor.selects and drawn

    def __post_init__(self) -> None:
        """A vision model needs a tower, a projector and a rule; a text model none of them."""
        parts = (self.vision, self.projector, self.image)
        if any(part is None for part in parts) and any(part is not None for part in parts):
            raise InputError("vision, projector and image come together, or none of them for a text-only model")
        check_name("name", self.name)
        if self.license is not None:
            check_name("license", self.license)
        if self.release_date is not None and not re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", self.release_date):
            raise InputError(f"release_date: expected a date such as 2025-01-31, found '{self.release_date}'")
        for name in ("idle_params", "stored_params"):
            check_range(name, getattr(self, name), 0, 10**13)
        check_range("published_params", self.published_params, 1, 10**13)
        check_range("nominal_llm_params_b", self.nominal_llm_params_b, 1e-3, 1e5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One request, repeated ``batch`` times side by side. ``text_tokens`` includes the prompt's template.

    ``concurrency`` such requests are in flight at any time, one beginning when another ends: they decode together, and
    each waits for the others' prefills.

    ``cached_text_tokens`` of them stand before the image in a prefix cache. With ``cached_images`` the vision
    tower's output is at hand. ``image`` is width and height in pixels, ``text_height_px`` of its smallest text where
    that is known.
    """

    text_tokens: int
    output_tokens: int = 1
    cached_text_tokens: int = 0
    images: int = 1
    image: tuple[int, int] = (1024, 768)
    text_height_px: float | None = None
    cached_images: bool = False
    batch: int = 1
    concurrency: int = 1

    def __post_init__(self) -> None:
        """Counts in range: something to read, at least one token out, the cache a part of the text."""
        limits = {"text_tokens": 0, "cached_text_tokens": 0, "output_tokens": 1, "images": 1, "batch": 1,
                  "concurrency": 1}  # fmt: skip
        for name, least in limits.items():
            check_range(name, getattr(self, name), least, 10_000_000)
        check_range("text_height_px", self.text_height_px, 0.1, 65_536)
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
