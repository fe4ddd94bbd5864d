"""Which picture is meant, and how does it look? A row's file below the folder of images; any mode as upright RGB.

(folder, name in a row) -> a file inside; a Pillow image -> 8-bit RGB as a viewer shows it.
"""

import contextlib
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, printable

_SHOWN = 200  # characters of a name in a message
_SIXTEEN_BITS, _EIGHT_BITS = 2**16 - 1, 2**8 - 1
# Above which Pillow warns of a decompression bomb (Image.MAX_IMAGE_PIXELS of 12.0, read 2026-11-28): 268 MB as RGB.
MOST_PIXELS = 89_478_485
MOST_RESIZED = 2**25  # pixels that a processor may make of a picture: a gigabyte or so on its way to a tensor
_SETTINGS = ("size", "crop_size", "pad_size", "max_image_size")  # of an image processor, in pixels
_BRIGHTEST = 2.0  # a float picture whose largest value is no more holds shares of white


def image_file(images: Path, name: str, *, links: bool = True) -> Path:
    """Return the file that a row means by ``name``. Raises InputError for none, and for one outside ``images``.

    A name must not lead outside by itself, from the root or by "..". Links that lie in the folder are the user's own
    and are followed, but not out of it where ``links`` is false: what is read is then sent to somebody.
    """
    path = images / name
    shown = printable(str(path))
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    try:
        leads_away = not links or Path(name).is_absolute() or ".." in Path(name).parts
        if leads_away and not path.resolve().is_relative_to(images.resolve()):
            raise InputError(f"the image {shown} lies outside the folder of images; expected a name inside it")
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, with a null character, or in a circle of links
        exists = False
    if not exists:
        raise InputError(f"there is no image {shown}")
    return path


def as_rgb(picture: Any) -> Any:
    """Return a Pillow image as 8-bit RGB: turned as its EXIF data say, wide values scaled, as viewers do.

    Pillow's own conversion cuts all values above 255. Whole numbers of more than 8 bits are taken for 16 bits where
    they fit, floats up to 2 for shares of white (those above 1 are white), up to 255 for 8 bits, beyond for 16.
    Raises InputError for more than ``MOST_PIXELS``, before they are decoded.
    """
    from PIL import ImageOps

    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise InputError(f"it has {width} x {height} pixels, at most {MOST_PIXELS} are read; scale it down")
    sixteen = picture.format == "PPM"  # which Pillow scales to 16 bits, whatever the file's own largest value
    with contextlib.suppress(Exception):  # damaged EXIF data raise what they like; the picture may be whole
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bits(picture, sixteen=sixteen)
    return picture.convert("RGB")


def check_resized(size: tuple[int, int], processor: Any) -> None:
    """Raise InputError where an image processor would make more than ``MOST_RESIZED`` pixels of a picture.

    ``size`` is the picture's, width and height in pixels; ``processor`` is one of LLaVA's, Idefics3's or Qwen2-VL's
    kind.
    """
    for name in _SETTINGS:
        given = getattr(processor, name, None) or {}
        table = {} if isinstance(given, int) else dict(given)
        sides = {key: value for key, value in table.items() if isinstance(value, int | float)}
        short, long = sides.get("shortest_edge", 0), sides.get("longest_edge", 0)
        made = max(sides.get("height", 0) * sides.get("width", 0), long**2)
        if hasattr(processor, "merge_size"):  # whose limits are pixels in all
            made = max(short, long)
        elif not long:
            made = max(made, short**2 * max(size) / max(1, min(size)))
        if made > MOST_RESIZED:
            shown = ", ".join(f"{key} {value:g}" for key, value in sides.items())
            raise InputError(
                f"the processor's {name} ({shown}) makes {made:.3g} pixels of a picture of {size[0]} x {size[1]}, at "
                f"most {MOST_RESIZED} are made; mend {name} in preprocessor_config.json, or crop the picture"
            )


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
