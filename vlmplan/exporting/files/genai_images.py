"""How does onnxruntime-genai itself read an image? ``vision_processor.json``, and what it makes of one of a given size.

Its ``Resize`` rounds a side's squares half up, where Python rounds half to even, and cuts sides that it scales to whole
pixels first: so that it may make another number of tokens than the checkpoint's processor. As ``smart_resize`` of
shared/api/image_transforms.hpp has it (https://github.com/microsoft/onnxruntime-extensions, read 2026-11-29), seen in
the released wheel of onnxruntime-genai 0.18.0.
"""

import math
from collections.abc import Iterator
from typing import Any

from vlmplan.checkpoints import Checkpoint
from vlmplan.errors import InputError
from vlmplan.exporting.tiles import Pictures, Squares, Tiling, tiling
from vlmplan.models import Compressor

_ROUNDING = 1e-9
_MORE = 1.0005  # of an area, where sides that are cut to whole pixels miss a square by one
_FILTERS = {1: "LANCZOS", 2: "LINEAR", 3: "CUBIC"}  # Pillow's numbers, as ``resample`` has them
_LONGEST_RATIO = 200  # of sides; it refuses others
_NEAR = (0, -1, 1)  # pixels, of a side that is shown instead
_MOST_SHOWN = 2


def client_squares(image: tuple[int, int], side: int, least_pixels: int, most_pixels: int) -> tuple[int, int] | None:
    """Return the rows and columns that onnxruntime-genai makes of an image (width, height), or None.

    A square has ``side`` pixels a side; an image is scaled to between ``least_pixels`` and ``most_pixels``. None
    stands for an error.
    """
    wide, high = image
    if max(image) / min(image) > _LONGEST_RATIO:
        return None
    rows, columns = (max(1, math.floor(one / side + 0.5)) for one in (high, wide))
    pixels = rows * columns * side**2
    if pixels > most_pixels:
        by = math.sqrt(wide * high / most_pixels)
        rows, columns = (int(one / by) // side for one in (high, wide))
    elif pixels < least_pixels:
        by = math.sqrt(least_pixels / (wide * high))
        rows, columns = (math.ceil(int(one * by) / side) for one in (high, wide))
    return (rows, columns) if rows and columns else None


def _area(pictures: Pictures, image: tuple[int, int]) -> int:
    """The most pixels by which onnxruntime-genai makes so many rows and columns of an image (width, height).

    It scales a Mistral 3's picture to an area, where transformers goes by its longest edge, and rounds sides to whole
    squares, down where it shrinks. Where no area makes as many, one by which an image within the edge is not scaled.
    """
    wide, high = image
    counts = (pictures.rows, pictures.columns)
    whole = max(pictures.edge, pictures.rows * pictures.side, pictures.columns * pictures.side) ** 2
    sides = (high / pictures.side, wide / pictures.side)
    by = min(side / count for side, count in zip(sides, counts, strict=True))
    shrunk = math.ceil(wide * high / by**2 - _ROUNDING)
    areas = (whole, shrunk) if max(image) <= pictures.edge else (shrunk, math.ceil(shrunk * _MORE), whole)
    made = (area for area in areas if client_squares(image, pictures.side, pictures.side**2, area) == counts)
    return next(made, whole)


def _limits(squares: Squares, image: tuple[int, int]) -> tuple[int, int]:
    """The least and the most pixels that an image is scaled to."""
    if isinstance(squares, Pictures):
        return squares.side**2, _area(squares, image)
    return squares.least_pixels, squares.most_pixels


def _agrees(squares: Squares, image: tuple[int, int]) -> bool:
    """Whether onnxruntime-genai makes the rows and columns of an image that the checkpoint's processor makes."""
    return client_squares(image, squares.side, *_limits(squares, image)) == (squares.rows, squares.columns)


def _near(checkpoint: Checkpoint, tiles: Tiling, squares: Squares) -> Iterator[tuple[int, int]]:
    """Sizes of images near this one of which both make as many tokens as asked for."""
    wide, high = tiles.image
    sizes = {(wide + x, high + y) for x in _NEAR for y in _NEAR if wide + x > 0 and high + y > 0}
    sizes.add((squares.columns * squares.side, squares.rows * squares.side))
    compressor = Compressor.AVERAGE_POOL if squares.pooled > 1 else Compressor.NONE
    for size in sorted(sizes, key=lambda size: (math.dist(size, tiles.image), size)):
        try:
            there = tiling(checkpoint, size, tiles.visual_tokens, compressor).squares
        except InputError:
            continue
        if there is not None and there.side == squares.side and _agrees(there, size):
            yield size


def _check_agrees(checkpoint: Checkpoint, tiles: Tiling, squares: Squares) -> None:
    """Raise InputError where onnxruntime-genai makes another number of tokens of the export's own image."""
    if _agrees(squares, tiles.image):
        return
    found = client_squares(tiles.image, squares.side, *_limits(squares, tiles.image))
    theirs = "nothing" if found is None else f"{found[0]}x{found[1]} tokens"
    near = [f"{wide}x{high}" for wide, high in _near(checkpoint, tiles, squares)][:_MOST_SHOWN]
    there = f"--image {' or '.join(near)}" if near else "another --image"
    raise InputError(
        f"--layout genai: of an image of {tiles.image[0]}x{tiles.image[1]} onnxruntime-genai makes {theirs} (rows x "
        f"columns), since it rounds and scales otherwise, and the checkpoint's processor {squares.rows}x"
        f"{squares.columns}; give {there} with --visual-tokens {tiles.visual_tokens}, or another --visual-tokens"
    )


def _step(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    """One of the operations by which an image is read."""
    return {"operation": {"name": name, "type": kind, **({"attrs": settings} if settings else {})}}


def _filter(checkpoint: Checkpoint, settings: dict[str, Any]) -> str:
    """The filter by which images are scaled. Raises InputError for one that onnxruntime-genai does not have."""
    number = settings.get("resample")
    if (name := _FILTERS.get(3 if number is None else number)) is None:
        raise InputError(
            f"--layout genai: {checkpoint.folder}: its processor scales with resample {number}; onnxruntime-genai has "
            f"{', '.join(f'{one} ({name})' for one, name in _FILTERS.items())}"
        )
    return name


def image_steps(checkpoint: Checkpoint, settings: dict[str, Any], tiles: Tiling | None) -> dict[str, Any]:
    """Return how an image becomes what the vision encoder reads; ``settings`` are the processor's for transformers.

    ``DecodeImage`` gives red, green and blue in this order; ``ConvertRGB`` turns them about, and Qwen's ``Normalize``
    turns them back. Raises InputError where onnxruntime-genai would read the export's image otherwise.
    """
    if not all(settings.get(key, True) is True for key in ("do_rescale", "do_normalize", "do_resize")):
        raise InputError(
            f"--layout genai: {checkpoint.folder}: its processor leaves out one of do_resize, do_rescale and "
            "do_normalize, and onnxruntime-genai does all three"
        )
    kind = checkpoint.config.model_type
    colours = {"mean": settings["image_mean"], "std": settings["image_std"]}
    scaled = _step("rescale", "Rescale", rescale_factor=settings.get("rescale_factor", 1 / 255))
    steps = [_step("decode", "DecodeImage", color_space="RGB")]
    filtered = {"interpolation": _filter(checkpoint, settings)}
    if tiles is None or (squares := tiles.squares) is None:
        side = checkpoint.image_size
        size = filtered | {"width": side, "height": side, "keep_aspect_ratio": 0}
        steps += [_step("resize", "Resize", **size), scaled, _step("normalise", "Normalize", **colours)]
        steps += [_step("channels first", "Permute3D", dims=[2, 0, 1])]
        return {"processor": {"name": f"{kind}_images", "transforms": steps}}
    _check_agrees(checkpoint, tiles, squares)
    least, most = _limits(squares, tiles.image)
    size = filtered | {"smart_resize": 1, "patch_size": squares.patch, "merge_size": squares.merge}
    size |= {"width": squares.columns * squares.side, "height": squares.rows * squares.side}
    size |= {"min_pixels": least, "max_pixels": most}
    if kind == "mistral3":
        steps += [_step("resize", "Resize", **size), scaled, _step("normalise", "Normalize", **colours)]
        steps += [_step("channels first", "Permute3D", dims=[2, 0, 1]), _step("sizes", "PixtralImageSizes")]
    else:
        cut = {"patch_size": squares.patch, "temporal_patch_size": squares.frames, "merge_size": squares.merge}
        steps += [_step("colours", "ConvertRGB"), _step("resize", "Resize", **size), scaled]
        steps += [_step("normalise", "Normalize", **colours, **{kind: 1}), _step("patches", "PatchImage", **cut)]
    return {"processor": {"name": f"{kind}_images", "transforms": steps}}
