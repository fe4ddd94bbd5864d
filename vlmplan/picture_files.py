"""Which files are pictures? Those of formats that Pillow reads by itself; for others (EPS, WMF) it starts programs."""

from typing import Any

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "ICO")


def open_picture(source: Any) -> Any:
    """Open a file or a stream as ``PIL.Image.open`` does, of those formats that this Pillow has.

    Raises what Pillow raises: UnidentifiedImageError for any other file.
    """
    from PIL import Image

    Image.init()
    return Image.open(source, formats=[one for one in FORMATS if one in Image.OPEN])


def turned_size(picture: Any) -> tuple[int, int]:
    """Return width and height as a picture is shown: what a camera held on its side wrote is turned by its EXIF."""
    from PIL import ExifTags

    width, height = picture.size
    on_its_side = picture.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (height, width) if on_its_side else (width, height)
