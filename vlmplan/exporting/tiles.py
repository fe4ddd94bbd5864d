"""How many tiles, and by which setting? What a tiled checkpoint's export asks of its processor.

(checkpoint, image size, visual tokens) -> :class:`Tiling`. The numbers are those of ``vlmplan tokens``.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.cost import read_model_config
from vlmplan.errors import InputError
from vlmplan.exporting.shapes import Shapes, pooled_shapes, shapes_of
from vlmplan.models import (
    Compressor,
    ModelSpec,
    Workload,
    limit_of,
    limits_of,
    native_visual_tokens,
    squares_of,
    unasked_edge,
)

_LONGEST_SIDE = 65_536  # pixels
_MOST_POOLED = 8  # tokens of a side: of a usual image a dozen are left
USUAL_IMAGE = Workload(text_tokens=0).image  # of ``vlmplan tokens``, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Squares:
    """An image in ``rows`` x ``columns`` squares of ``merge`` x ``merge`` patches, each of ``patch`` pixels a side.

    A square becomes a token: the model's own, or ``pooled`` of a side of those, averaged. A patch stands ``frames``
    times, since it could be a video's. The processor scales images to between ``least_pixels`` and ``most_pixels``.
    """

    rows: int
    columns: int
    merge: int
    patch: int
    frames: int
    least_pixels: int
    most_pixels: int
    pooled: int = 1

    @property
    def side(self) -> int:
        """Pixels on a side of a square."""
        return self.merge * self.patch

    def grid(self, images: int = 1, rows: int | None = None, columns: int | None = None) -> Any:
        """Return the grid of patches ``[images, 3]`` in time, height and width; of another shape where one is given."""
        import numpy as np

        high, wide = rows or self.rows, columns or self.columns
        return np.array([[1, high * self.merge, wide * self.merge]] * images, np.int64)

    def tokens(self, grid: Any) -> int:
        """Return how many squares images of a grid of patches have."""
        return int(grid.prod(axis=1).sum()) // self.merge**2

    def read(self, pixels: Any, grid: Any) -> Any:  # noqa: ARG002 - of pictures
        """``pixels [..., 3, side, side]`` of squares as patches in a row, ``[patches, numbers of a patch]``."""
        import numpy as np

        merge, patch = self.merge, self.patch
        cut = pixels.reshape(-1, 3, merge, patch, merge, patch).transpose(0, 2, 4, 1, 3, 5)
        cut = cut.reshape(-1, 3, 1, patch, patch)
        return np.repeat(cut, self.frames, axis=2).reshape(len(cut), -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures(Squares):
    """Squares that stand in whole pictures, scaled to a longest ``edge`` in pixels; a token of text ends each row."""

    edge: int

    def grid(self, images: int = 1, rows: int | None = None, columns: int | None = None) -> Any:
        """Return heights and widths in pixels, ``[images, 2]``; of another shape where one is given."""
        import numpy as np

        high, wide = rows or self.rows, columns or self.columns
        return np.array([[high * self.side, wide * self.side]] * images, np.int64)

    def tokens(self, grid: Any) -> int:
        """Return how many squares pictures of these heights and widths have."""
        return int(grid.prod(axis=1).sum()) // self.side**2

    def read(self, pixels: Any, grid: Any) -> Any:
        """``pixels [..., 3, side, side]`` of squares as pictures ``[images, 3, height, width]``, padded by zeros."""
        import numpy as np

        cut, at = pixels.reshape(-1, 3, self.side, self.side), 0
        pictures = np.zeros((len(grid), 3, *grid.max(axis=0)), pixels.dtype)
        for picture, (high, wide) in zip(pictures, grid, strict=True):
            rows, columns = high // self.side, wide // self.side
            own = cut[at : at + rows * columns].reshape(rows, columns, 3, self.side, self.side)
            picture[:, :high, :wide] = own.transpose(2, 0, 3, 1, 4).reshape(3, high, wide)
            at += rows * columns
        return pictures

    def ended(self, ids: Any, images: int, image_token: int) -> Any:
        """``ids [batch, tokens]`` of prompts that begin with pictures: the last of each row is another token."""
        ended, row = ids.copy(), self.columns + 1
        ended[:, self.columns : images * self.rows * row : row] = image_token + 1
        return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """``visual_tokens`` of an image of ``image`` pixels (width, height), in ``views`` of ``view_tokens`` each.

    ``limit`` is the longest edge in pixels that the processor scales to, the most tiles that it cuts, or the most
    pixels in all, by its rule; None as the checkpoint has it. ``masked`` tiles stand in rows, one a request; others are
    one list. ``squares`` are those of a model whose views are squares of patches, ``shapes`` the views of one whose
    views have shapes of their own.
    """

    image: tuple[int, int]
    visual_tokens: int
    view_tokens: int
    limit: int | None
    masked: bool
    squares: Squares | None = None
    shapes: Shapes | None = None

    @property
    def setting(self) -> "int | Shapes | None":
        """What is asked of the processor: the limit, or all that views of their own shapes go by."""
        return self.shapes or self.limit

    @property
    def views(self) -> int:
        """Tiles, and the whole image where there are several; squares."""
        if self.shapes is not None:
            return len(self.shapes.views)
        if self.squares is not None:
            return self.squares.rows * self.squares.columns
        return self.visual_tokens // self.view_tokens

    def as_read(self, pixels: Any, grid: Any | None = None) -> Any:
        """Return ``pixels [requests, tiles, 3, size, size]`` as the vision encoder reads them; squares with a grid."""
        if self.squares is not None:
            return self.squares.read(pixels, grid)
        return pixels if self.masked else pixels.reshape(-1, *pixels.shape[2:])


def _spec(checkpoint: Checkpoint) -> ModelSpec:
    """The checkpoint as the planner reads it. Raises InputError for tiles of another size or number of tokens."""
    spec = read_model_config(checkpoint.folder)
    if checkpoint.shaped:
        return spec
    view, size = 0 if spec.image is None else spec.image.view_size, checkpoint.image_size
    if view != size:
        raise InputError(f"{checkpoint.folder}: its processor cuts tiles of {view} pixels, the tower reads {size}")
    tokens = (checkpoint.grid_side // checkpoint.joined_side) ** 2
    if spec.image is not None and spec.image.tokens_per_view != tokens:
        written = spec.image.tokens_per_view
        raise InputError(f"{checkpoint.folder}: its processor writes {written} tokens a tile, the model makes {tokens}")
    return spec


def _pooling(spec: ModelSpec, image: tuple[int, int], visual_tokens: int) -> int:
    """How many squares of a side are averaged for so many tokens of an image, all its pixels kept.

    Raises InputError, with the numbers that can be had, for another.
    """
    by_tokens = {math.prod(squares_of(spec, image, pooled=side)): side for side in range(_MOST_POOLED, 1, -1)}
    if visual_tokens not in by_tokens:
        listed = ", ".join(map(str, sorted(by_tokens)))
        raise InputError(
            f"--visual-tokens: found {visual_tokens}; of an image of {image[0]} x {image[1]} squares of 2 to "
            f"{_MOST_POOLED} tokens a side, averaged, leave one of {listed}"
        )
    return by_tokens[visual_tokens]


def _squares(checkpoint: Checkpoint, spec: ModelSpec, image: tuple[int, int], limit: int, pooled: int = 1) -> Squares:
    """The squares of an image within a limit of pixels."""
    columns, rows = squares_of(spec, image, limit, pooled=pooled)
    rule, tower = spec.image, checkpoint.tower
    least = 0 if rule is None else rule.least_pixels or rule.least_tokens * rule.view_size**2
    return Squares(
        rows=rows, columns=columns, merge=tower.spatial_merge_size * pooled, patch=tower.patch_size,
        frames=tower.temporal_patch_size, least_pixels=min(least, limit), most_pixels=limit, pooled=pooled,
    )  # fmt: skip


def _shaped(
    checkpoint: Checkpoint, spec: ModelSpec, image: tuple[int, int], count: int, compressor: Compressor
) -> Tiling:
    """The tiling of views that have shapes of their own."""
    rule = spec.image
    if rule is None:
        raise InputError(f"{checkpoint.folder}: its processor makes no views")
    if compressor is Compressor.AVERAGE_POOL:
        shapes = pooled_shapes(checkpoint, rule, image, count)
    elif (limits := limits_of(spec, image, count)) is None:
        shapes = shapes_of(checkpoint, rule, image, rule.default_max_views or rule.max_views)
    else:
        shapes = shapes_of(checkpoint, replace(rule, default_max_tokens=limits["tokens"]), image, limits["views"])
    return Tiling(image=image, visual_tokens=count, view_tokens=1, limit=None, masked=False, shapes=shapes)


def _pictures(checkpoint: Checkpoint, spec: ModelSpec, image: tuple[int, int], limit: int | None) -> Pictures:
    """The squares of a picture within a longest edge; its processor's own where there is no limit."""
    columns, rows = squares_of(spec, image, limit)
    return Pictures(
        rows=rows, columns=columns, merge=checkpoint.joined_side, patch=checkpoint.tower.patch_size, frames=1,
        least_pixels=0, most_pixels=0, edge=limit or (0 if spec.image is None else unasked_edge(spec.image)),
    )  # fmt: skip


def tiling(
    checkpoint: Checkpoint, image: tuple[int, int], visual_tokens: int | None, compressor: Compressor = Compressor.NONE
) -> Tiling:
    """Return the tiling that makes ``visual_tokens`` of an image, or what the checkpoint makes of it unasked.

    With average pooling squares are larger and an image keeps its pixels, else there are fewer of those. Raises
    InputError, with the numbers that can be had, for another.
    """
    if not all(1 <= side <= _LONGEST_SIDE for side in image):
        raise InputError(f"image: expected a width and a height of 1 to {_LONGEST_SIDE} pixels, found {image}")
    spec = _spec(checkpoint)
    count = native_visual_tokens(spec, image) if visual_tokens is None else visual_tokens
    if checkpoint.shaped:
        return _shaped(checkpoint, spec, image, count, compressor)
    pooled = _pooling(spec, image, count) if compressor is Compressor.AVERAGE_POOL else 1
    limit = None if pooled > 1 else limit_of(spec, image, count)
    squares: Squares | None = None
    if checkpoint.pictured:
        squares = _pictures(checkpoint, spec, image, limit)
    elif checkpoint.gridded:
        # Unasked a processor keeps millions of pixels of a large picture, whose attention no memory holds.
        limit = limit or count * (checkpoint.image_size * pooled) ** 2
        squares = _squares(checkpoint, spec, image, limit, pooled)
    return Tiling(
        image=image,
        visual_tokens=count,
        view_tokens=(checkpoint.grid_side // checkpoint.joined_side) ** 2,
        limit=limit,
        masked=checkpoint.masked,
        squares=squares,
    )
