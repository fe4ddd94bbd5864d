"""How does a picture become views of patches? LFM2-VL's image processor without torchvision, which transformers' needs.

A picture and the processor's settings -> ``pixel_values [views, patches, numbers of a patch]``,
``pixel_attention_mask [views, patches]``, ``spatial_shapes [views, 2]``. How it is cut is what ``vlmplan tokens``
counts by; scaling is Pillow's, bilinear, where transformers' own is torchvision's (antialiased, too).
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmplan.checkpoints.pictures import MOST_RESIZED
from vlmplan.errors import InputError
from vlmplan.models import ImageRule, Rule, adaptive_cut

_USUAL: dict[str, Any] = {  # of transformers' Lfm2VlImageProcessor
    "downsample_factor": 2, "do_image_splitting": True, "min_tiles": 2, "max_tiles": 10, "use_thumbnail": True,
    "min_image_tokens": 64, "max_image_tokens": 256, "encoder_patch_size": 16, "tile_size": 512,
    "max_pixels_tolerance": 2.0, "do_pad": True, "return_row_col_info": False,
}  # fmt: skip


def _rule(settings: dict[str, Any]) -> tuple[ImageRule, int]:
    """How settings cut a picture, and the most tiles."""
    most = settings["max_tiles"] if settings["do_image_splitting"] else 1
    tokens = (settings["tile_size"] // (settings["encoder_patch_size"] * settings["downsample_factor"])) ** 2
    rule = ImageRule(
        rule=Rule.ADAPTIVE, view_size=settings["tile_size"], tokens_per_view=tokens,
        min_views=min(settings["min_tiles"], most), max_views=most, least_tokens=settings["min_image_tokens"],
        default_max_tokens=settings["max_image_tokens"], thumbnail=settings["use_thumbnail"],
        single_view_fraction=float(settings["max_pixels_tolerance"]), trained_min_visual_tokens=1,
        trained_max_visual_tokens=max(tokens, settings["max_image_tokens"]), setting="",
    )  # fmt: skip
    return rule, most


def patches_of(view: Any, patch: int) -> Any:
    """``[channels, height, width] -> [patches, side x side x channels]``, row by row."""
    channels, high, wide = view.shape
    cut = view.reshape(channels, high // patch, patch, wide // patch, patch)
    return cut.transpose(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)


def _longest(settings: dict[str, Any]) -> int:
    """Patches that every view is padded to: as many as these settings can make of one."""
    whole = settings["max_image_tokens"] * settings["downsample_factor"] ** 2
    tile = (settings["tile_size"] // settings["encoder_patch_size"]) ** 2 if settings["do_image_splitting"] else 0
    return int(max(whole, tile))


def _views(
    processor: Any, image: Any, cut: tuple[int, int] | None, size: tuple[int, int], settings: dict[str, Any]
) -> Iterator[Any]:
    """Tiles, row by row, and the whole picture behind several; that alone where it is not cut.

    ``cut`` are columns and rows of tiles, ``size`` height and width of the whole picture in pixels.
    """
    from transformers.image_utils import SizeDict

    def scaled(height: int, width: int) -> Any:
        return processor.resize(image, SizeDict(height=height, width=width), resample=settings["resample"])

    if cut is None:
        yield scaled(*size)
        return
    (columns, rows), tile = cut, settings["tile_size"]
    large = scaled(rows * tile, columns * tile)
    for row in range(rows):
        for column in range(columns):
            yield large[:, row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
    if settings["use_thumbnail"] and columns * rows > 1:
        yield scaled(*size)


def _levelled(processor: Any, view: Any, settings: dict[str, Any]) -> Any:
    """A view's values as the tower reads them."""
    if settings["do_rescale"]:
        view = processor.rescale(view, settings["rescale_factor"])
    return (
        processor.normalize(view, settings["image_mean"], settings["image_std"]) if settings["do_normalize"] else view
    )


def _read(processor: Any, images: list[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Every view of every picture, and how each picture was cut.

    Raises InputError for a picture that is too long, and for settings that make too much of any.
    """
    import numpy as np

    rule, most = _rule(settings)
    patch, longest = settings["encoder_patch_size"], _longest(settings)
    if (made := (most + 1) * longest * patch**2) > MOST_RESIZED:
        raise InputError(
            f"the processor's tile_size, max_tiles and max_image_tokens make up to {made:.3g} pixels of a picture, at "
            f"most {MOST_RESIZED} are made; mend them in preprocessor_config.json"
        )
    side = patch * settings["downsample_factor"]
    pixels, masks, shapes = [], [], []
    info: dict[str, list[Any]] = {"image_rows": [], "image_cols": [], "image_sizes": []}
    for image in images:
        cut, (wide, high) = adaptive_cut(image.shape[2], image.shape[1], rule, most)
        size = (high * side, wide * side)
        for view in _views(processor, image, cut, size, settings):
            patches = patches_of(_levelled(processor, view, settings), patch).astype(np.float32)
            if len(patches) > longest:  # the limits of tokens are of area, and a side has one token at least
                size_px = f"{image.shape[2]} x {image.shape[1]} pixels"
                raise InputError(f"the picture has {size_px}, too long for views of at most {longest} patches")
            pixels.append(np.pad(patches, ((0, longest - len(patches)), (0, 0))))
            masks.append(np.arange(longest) < len(patches))
            shapes.append((view.shape[1] // patch, view.shape[2] // patch))
        columns, rows = cut or (1, 1)
        for name, value in zip(info, (rows, columns, list(size)), strict=True):
            info[name].append(value)
    arrays: dict[str, Any] = {
        "pixel_values": np.stack(pixels),
        "pixel_attention_mask": np.stack(masks).astype(np.int64),
        "spatial_shapes": np.array(shapes, np.int64),
    }
    return arrays | (info if settings["return_row_col_info"] else {})


@functools.cache
def view_processor() -> Any:
    """Return the class of the image processor. Imports transformers."""
    from transformers.image_processing_backends import PilBackend
    from transformers.image_processing_utils import BatchFeature
    from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling
    from transformers.processing_utils import ImagesKwargs

    class Settings(ImagesKwargs, total=False):  # type: ignore[misc, call-arg]
        """What this processor may be told beside what all are."""

        downsample_factor: int
        do_image_splitting: bool
        min_tiles: int
        max_tiles: int
        use_thumbnail: bool
        min_image_tokens: int
        max_image_tokens: int
        encoder_patch_size: int
        tile_size: int
        max_pixels_tolerance: float
        do_pad: bool
        return_row_col_info: bool

    class Lfm2VlImageProcessorPil(PilBackend):  # type: ignore[misc]
        """Views of patches by Pillow and numpy."""

        valid_kwargs = Settings
        resample = PILImageResampling.BILINEAR
        size = {"height": 512, "width": 512}  # noqa: RUF012 - without which transformers opens none; nothing heeds it
        image_mean, image_std, rescale_factor = IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, 1 / 255
        do_resize = do_rescale = do_normalize = do_convert_rgb = True
        model_input_names = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]  # noqa: RUF012

        def _preprocess(self, images: list[Any], return_tensors: Any, **settings: Any) -> Any:
            return BatchFeature(data=_read(self, images, settings), tensor_type=return_tensors)

    for name, value in _USUAL.items():
        setattr(Lfm2VlImageProcessorPil, name, value)
    return Lfm2VlImageProcessorPil


@functools.cache
def view_prompter() -> Any:
    """Return the class of LFM2-VL's processor, with that image processor. Imports transformers."""
    from transformers import AutoTokenizer, Lfm2VlProcessor

    class OfViews(Lfm2VlProcessor):  # type: ignore[misc]
        """LFM2-VL's processor, whose image processor needs no torchvision."""

        @classmethod
        def _get_arguments_from_pretrained(cls, name: str | Path, processor_dict: Any = None, **options: Any) -> Any:
            del processor_dict
            options.pop("subfolder", None)
            parts = (view_processor(), AutoTokenizer)
            return [part.from_pretrained(name, **options) for part in parts]

    return OfViews
