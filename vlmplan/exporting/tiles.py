"""How many tiles, and by which setting? What a tiled checkpoint's export asks of its processor.

(checkpoint, image size, visual tokens) -> :class:`Tiling`. The numbers are those of ``vlmplan tokens``.
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.cost import read_model_config
from vlmplan.errors import InputError
from vlmplan.models import ModelSpec, Workload, limit_of, native_visual_tokens

_LONGEST_SIDE = 65_536  # pixels
USUAL_IMAGE = Workload(text_tokens=0).image  # of ``vlmplan tokens``, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """``visual_tokens`` of an image of ``image`` pixels (width, height), in ``views`` of ``view_tokens`` each.

    ``limit`` is the longest edge in pixels that the processor scales to, or the most tiles that it cuts, by its rule;
    None as the checkpoint has it. ``masked`` tiles stand in rows, one a request; others are one list.
    """

    image: tuple[int, int]
    visual_tokens: int
    view_tokens: int
    limit: int | None
    masked: bool

    @property
    def views(self) -> int:
        """Tiles, and the whole image where there are several."""
        return self.visual_tokens // self.view_tokens

    def as_read(self, pixels: Any) -> Any:
        """Return ``pixels [requests, tiles, 3, size, size]`` as the vision encoder reads them."""
        return pixels if self.masked else pixels.reshape(-1, *pixels.shape[2:])


def _spec(checkpoint: Checkpoint) -> ModelSpec:
    """The checkpoint as the planner reads it. Raises InputError for tiles of another size or number of tokens."""
    found = read_model_config(checkpoint.folder)
    view, size = 0 if found.image is None else found.image.view_size, checkpoint.image_size
    if view != size:
        raise InputError(f"{checkpoint.folder}: its processor cuts tiles of {view} pixels, the tower reads {size}")
    tokens = (checkpoint.grid_side // checkpoint.joined_side) ** 2
    if found.image is not None and found.image.tokens_per_view != tokens:
        written = found.image.tokens_per_view
        raise InputError(f"{checkpoint.folder}: its processor writes {written} tokens a tile, the model makes {tokens}")
    return found


def tiling(checkpoint: Checkpoint, image: tuple[int, int], visual_tokens: int | None) -> Tiling:
    """Return the tiling that makes ``visual_tokens`` of an image, or what the checkpoint makes of it unasked.

    Raises InputError, with the numbers that can be had, for another.
    """
    if not all(1 <= side <= _LONGEST_SIDE for side in image):
        raise InputError(f"image: expected a width and a height of 1 to {_LONGEST_SIDE} pixels, found {image}")
    spec = _spec(checkpoint)
    count = native_visual_tokens(spec, image) if visual_tokens is None else visual_tokens
    return Tiling(
        image=image,
        visual_tokens=count,
        view_tokens=(checkpoint.grid_side // checkpoint.joined_side) ** 2,
        limit=limit_of(spec, image, count),
        masked=checkpoint.masked,
    )
