"""How many views, of which shapes, and by which settings? What an LFM2-VL's export asks of its processor.

(model, image size, visual tokens) -> :class:`Shapes`. The numbers are those of ``vlmplan tokens``. A processor scales a
small image to one view in its own shape, and cuts a larger one into tiles with that view beside them. Where tokens are
pooled, squares of patches are larger for the processor too: its numbers of tokens are of those.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.errors import InputError
from vlmplan.models import ImageRule, adaptive_cut

# A processor enlarges a picture of fewer tokens than the least to whole squares, upwards: where the most is as few,
# that is too many for any view. So the least is at most this part of it, as it is published (64 of 256).
_ENLARGED = 4
_LEAST = 16  # tokens of a whole view at its most: a picture longer than so many times its width fits in none


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The ``views`` that an image becomes, rows and columns of tokens each, by a processor's limits.

    A square of ``merge`` x ``merge`` patches of ``patch`` pixels a side becomes a token: the model's own, or ``pooled``
    of a side of those, averaged. An image is cut into ``least_tiles`` to ``most_tiles`` of ``tile`` pixels a side, or
    not at all where the most is 1; its whole view has ``least_tokens`` to ``most_tokens``.
    """

    views: tuple[tuple[int, int], ...]
    merge: int
    patch: int
    pooled: int
    tile: int
    least_tiles: int
    most_tiles: int
    least_tokens: int
    most_tokens: int
    thumbnail: bool
    single_view_fraction: float

    @property
    def tokens(self) -> int:
        """Visual tokens of the image."""
        return sum(map(math.prod, self.views))

    def settings(self) -> dict[str, Any]:
        """Return what the image processor is told, by its own names."""
        return {
            "downsample_factor": self.merge,
            "do_image_splitting": self.most_tiles > 1,
            "min_tiles": self.least_tiles,
            "max_tiles": self.most_tiles,
            "min_image_tokens": self.least_tokens,
            "max_image_tokens": self.most_tokens,
            "encoder_patch_size": self.patch,
            "tile_size": self.tile,
            "use_thumbnail": self.thumbnail,
            "max_pixels_tolerance": self.single_view_fraction,
        }

    def patches(self, images: int = 1, views: tuple[tuple[int, int], ...] | None = None) -> Any:
        """Return rows and columns of patches ``[views of all images, 2]``; of other ``views`` where they are given."""
        import numpy as np

        return np.array((views or self.views) * images, np.int64) * self.merge

    def read(self, rng: Any, shapes: Any, longest: int) -> tuple[Any, Any]:
        """Random patches ``[views, longest, numbers of a patch]`` of ``shapes [views, 2]``, and what is no padding."""
        import numpy as np

        mask = (np.arange(longest) < shapes.prod(axis=1)[:, None]).astype(np.int64)
        pixels = rng.standard_normal((len(shapes), longest, 3 * self.patch**2)).astype(np.float32)
        return pixels * mask[:, :, None].astype(np.float32), mask


def _pooled_rule(rule: ImageRule, pooled: int) -> ImageRule:
    """The same limits in tokens that are squares of ``pooled`` x ``pooled``: an image keeps its pixels."""
    least, most = rule.least_tokens // pooled**2, rule.default_max_tokens // pooled**2
    return replace(
        rule,
        tokens_per_view=rule.tokens_per_view // pooled**2,
        least_tokens=max(1, least),
        default_max_tokens=max(1, most) if rule.default_max_tokens else 0,
    )


def _views(rule: ImageRule, image: tuple[int, int], limit: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of tokens of each view: tiles, row by row, and the whole image behind several."""
    cut, (columns, rows) = adaptive_cut(*image, rule, limit)
    if cut is None:
        return ((rows, columns),)
    tiles, side = math.prod(cut), math.isqrt(rule.tokens_per_view)
    return ((side, side),) * tiles + ((rows, columns),) * (tiles > 1 and rule.thumbnail)


def _roomy(rule: ImageRule, image: tuple[int, int], limit: int) -> ImageRule:
    """The same limits with room between the least and the most tokens, where ``image`` keeps its views."""
    most = rule.default_max_tokens or rule.tokens_per_view
    roomy = replace(rule, least_tokens=min(rule.least_tokens, max(1, most // _ENLARGED)))
    return roomy if _views(roomy, image, limit) == _views(rule, image, limit) else rule


def shapes_of(checkpoint: Checkpoint, rule: ImageRule, image: tuple[int, int], limit: int, pooled: int = 1) -> Shapes:
    """Return the views of an image by a rule and the most tiles. Raises InputError for a processor of other squares."""
    merge, patch = checkpoint.joined_side, checkpoint.tower.patch_size
    side = math.isqrt(rule.tokens_per_view)
    if rule.view_size != side * merge * patch:
        raise InputError(
            f"{checkpoint.folder}: its processor joins squares of {rule.view_size / side:g} pixels, the model's are of "
            f"{merge * patch}"
        )
    used = _roomy(_pooled_rule(rule, pooled), image, limit)
    return Shapes(
        views=_views(used, image, limit), merge=merge * pooled, patch=patch, pooled=pooled, tile=rule.view_size,
        least_tiles=min(rule.min_views, limit), most_tiles=limit, least_tokens=used.least_tokens,
        most_tokens=used.default_max_tokens or used.tokens_per_view, thumbnail=rule.thumbnail,
        single_view_fraction=rule.single_view_fraction,
    )  # fmt: skip


def pooled_shapes(checkpoint: Checkpoint, rule: ImageRule, image: tuple[int, int], visual_tokens: int) -> Shapes:
    """Return the views of an image whose tokens are averaged in squares until ``visual_tokens`` are left.

    All its pixels are kept. Raises InputError, with the numbers that can be had, for another.
    """
    side, limit = math.isqrt(rule.tokens_per_view), rule.default_max_views or rule.max_views
    most = rule.default_max_tokens or rule.tokens_per_view
    by_tokens: dict[int, Shapes] = {}
    for pooled in (number for number in range(side, 1, -1) if side % number == 0 and most >= _LEAST * number**2):
        made = shapes_of(checkpoint, rule, image, limit, pooled)
        by_tokens[made.tokens] = made
    if visual_tokens not in by_tokens:
        listed = ", ".join(map(str, sorted(by_tokens)))
        raise InputError(
            f"--visual-tokens: found {visual_tokens}; of an image of {image[0]} x {image[1]} squares of tokens, "
            f"averaged, leave one of {listed}"
        )
    return by_tokens[visual_tokens]
