"""Which picture is meant, and how does it look? A row's file below the folder of images; any mode as upright RGB.

(folder, name in a row) -> a file inside; a Pillow image -> 8-bit RGB as a viewer shows it.
"""

import contextlib
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, printable

_SHOWN = 200  # characters of a name in a message
_SIXTEEN_BITS, _EIGHT_BITS = 2**16 - 1, 2**8 - 1
_BRIGHTEST = 2.0  # a float picture whose largest value is no more holds shares of white


def image_file(images: Path, name: str) -> Path:
    """Return the file that a row means by ``name``. Raises InputError for none, and for one outside ``images``.

    A name must not lead outside by itself, from the root or by "..". Links that lie in the folder are the user's own
    and are followed.
    """
    path = images / name
    shown = printable(str(path))
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    try:
        leads_away = Path(name).is_absolute() or ".." in Path(name).parts
        if leads_away and not path.resolve().is_relative_to(images.resolve()):
            raise InputError(f"the image {shown} lies outside the folder of images; expected a name inside it")
        found = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, with a null character, or in a circle of links
        found = False
    if not found:
        raise InputError(f"there is no image {shown}")
    return path


def as_rgb(picture: Any) -> Any:
    """Return a Pillow image as 8-bit RGB: turned as its EXIF data say, wide values scaled, as viewers do.

    Pillow's own conversion cuts all values above 255. Whole numbers of more than 8 bits are taken for 16 bits where
    they fit, floats up to 2 for shares of white (those above 1 are white), up to 255 for 8 bits, beyond for 16.
    """
    from PIL import ImageOps

    sixteen = picture.format == "PPM"  # which Pillow scales to 16 bits, whatever the file's own largest value
    with contextlib.suppress(Exception):  # damaged EXIF data raise what they like; the picture may be whole
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bits(picture, sixteen=sixteen)
    return picture.convert("RGB")


def _eight_bits(picture: Any, *, sixteen: bool) -> Any:
    """A picture of one wide channel as 8-bit grey."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
    most = float(values.max(initial=0.0))
    if picture.mode == "F" and most <= _BRIGHTEST:
        scale = float(_EIGHT_BITS)
    elif sixteen or picture.mode.startswith("I;16") or most > _EIGHT_BITS:
        scale = _EIGHT_BITS / max(_SIXTEEN_BITS, most)
    else:
        scale = 1.0
    return Image.fromarray(np.clip(np.round(values * scale), 0, _EIGHT_BITS).astype(np.uint8))
