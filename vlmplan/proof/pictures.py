"""Does an export see pictures as its checkpoint does? Two of awkward shapes, through both image processors.

The files beside an export say how a picture is cut and scaled in other words than the checkpoint's; here it is done.
Where the checkpoint makes several views of a picture and the export one, that one is the whole picture, the first.
"""

from pathlib import Path
from typing import Any

from vlmplan.checkpoints import (
    SHAPED_TYPES,
    Checkpoint,
    opened,
    quiet_transformers,
    stored_type,
    view_processor,
)
from vlmplan.errors import InputError, one_line
from vlmplan.exporting import Parts, Tiling, cut_within
from vlmplan.proof.report import Check, Outcome, failed, passed

_SHAPES = ((37, 131), (143, 29))  # height and width in pixels: neither square nor even
_MOST_OFF = 0.05  # of a pixel that is brought to mean 0 and spread 1: less than two of 255 greys


def _processor(folder: Path) -> Any:
    """A folder's image processor as transformers opens it, or ours in its place. Raises InputError."""
    usual = quiet_transformers().AutoImageProcessor
    return opened(folder, "image processor", view_processor() if stored_type(folder) in SHAPED_TYPES else usual)


def _pixels(processor: Any, picture: Any) -> Any:
    """What a processor makes of a picture: ``[1, 3, size, size]``, or ``[1, views, 3, size, size]``."""
    import numpy as np

    try:
        return np.asarray(processor(images=[picture], return_tensors="np")["pixel_values"])
    except Exception as error:  # settings that fit no picture raise what they like
        raise InputError(f"the image processor makes nothing of a picture ({one_line(error)})") from None


def _compared(ours: Any, theirs: Any) -> tuple[int, float]:
    """How many pictures were compared, and by how much a pixel is off at most, infinity for another shape."""
    import numpy as np
    from PIL import Image

    rng, compared, worst = np.random.default_rng(5), 0, 0.0
    for shape in _SHAPES:
        picture = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        found, want = _pixels(ours, picture), _pixels(theirs, picture)
        if want.ndim == found.ndim + 1:
            want = want[:, 0]
        off = float(np.abs(found - want).max()) if found.shape == want.shape else float("inf")
        compared, worst = compared + 1, max(worst, off if np.isfinite(off) else float("inf"))
    return compared, worst


def _cut_as_asked(processor: Any, checkpoint: Checkpoint, tiles: Tiling) -> None:
    """Set an image processor to cut as the checkpoint's processor asks it to, up to the limit of an export.

    Where tokens are pooled patches come in larger squares.
    """
    if checkpoint.pictured:  # whose own processor sets another size of patches than the file has
        processor.patch_size = dict.fromkeys(("height", "width"), checkpoint.tower.patch_size)
    elif tiles.shapes is not None:
        pass  # whose settings say all
    elif tiles.squares is not None:
        processor.merge_size = tiles.squares.merge
    elif not checkpoint.masked:
        processor.crop_to_patches = True
    if tiles.setting is not None:
        cut_within(processor, tiles.setting, masked=checkpoint.masked)


def pictures(folder: Path, parts: Parts, configured: Check) -> Check:
    """Return the check of the configuration, with what was found of pictures; one that failed as it is.

    A checkpoint of a type that cuts views, with a processor that makes one by a crop, is compared by its files only.
    """
    if configured.outcome is not Outcome.PASSED:
        return configured
    if parts.checkpoint.first_format:
        return passed(configured.name, f"{configured.detail}; pictures not compared: its processor is code, not run")
    try:
        theirs = _processor(parts.checkpoint.folder)
    except InputError as error:
        return passed(configured.name, f"{configured.detail}; pictures not compared: {error}")
    crops = type(theirs).__name__.startswith("CLIP") and theirs.do_center_crop
    if crops and parts.checkpoint.config.model_type != "llava":
        return passed(configured.name, f"{configured.detail}; pictures not compared: its processor cuts no views")
    if parts.tiles is not None:
        _cut_as_asked(theirs, parts.checkpoint, parts.tiles)
    try:
        count, worst = _compared(_processor(folder), theirs)
    except InputError as error:
        return failed(configured.name, str(error))
    if worst > _MOST_OFF:
        return failed(
            configured.name,
            f"pictures are not cut as the checkpoint's {type(theirs).__name__} cuts them: pixels off by {worst:.2g} of "
            f"their spread, limit {_MOST_OFF:g}",
        )
    return passed(configured.name, f"{configured.detail}; {count} pictures cut as its processor cuts them")
