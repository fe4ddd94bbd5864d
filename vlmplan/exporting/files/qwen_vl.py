"""What else must an export of Qwen2-VL, Qwen2.5-VL or Qwen3-VL hold? Configuration and processor, as clients load them.

V is set by the most pixels that the processor scales an image to. Python's processors read that from ``size``,
transformers.js and older releases from ``max_pixels``: both are written. transformers.js makes Qwen2-VL's cache of
numbers at the top of ``config.json``, where the first files on the Hub have them. Where tokens are pooled the squares
that become one are larger, and so are ``merge_size`` and ``spatial_merge_size``, by which clients count tokens and
positions.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, added_tokens
from vlmplan.errors import InputError
from vlmplan.exporting.tiles import Squares

PATCHES = "<|image_pad|>"  # what these processors write for each token of an image
_START = "vision_start_token_id"  # by which transformers.js finds images
_PROCESSORS = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
_IMAGES = "Qwen2VLImageProcessor"
_AT_THE_TOP = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
_KEPT = ("model_type", "architectures", "text_config", "vision_config", "image_token_id", "video_token_id", _START,
         "vision_end_token_id", "tie_word_embeddings")  # fmt: skip


def _check_tokens(checkpoint: Checkpoint) -> None:
    """Raise InputError where the tokenizer lacks what is written around and for an image."""
    added, path = added_tokens(checkpoint.folder), checkpoint.folder / "tokenizer.json"
    if added.get(checkpoint.image_token) != PATCHES:
        raise InputError(
            f"{path}: expected the added token {PATCHES}, number {checkpoint.image_token}, which processors write for "
            f"an image; found {added.get(checkpoint.image_token, 'none')!r:.40}"
        )
    if (start := getattr(checkpoint.config, _START)) not in added:
        raise InputError(f"{path}: found no added token {start}, the config's {_START}")


def _processor(
    checkpoint: Checkpoint, squares: Squares, settings: dict[str, Any], kept: tuple[str, ...]
) -> dict[str, Any]:
    """How an image becomes patches: as the checkpoint does it, within the export's limit of pixels."""
    folder, tower = checkpoint.folder, checkpoint.tower
    if settings.get("do_resize", True) is not True:
        raise InputError(f"{folder}: its processor has do_resize off, which no export's files carry over")
    kind = str(settings.get("image_processor_type", _IMAGES)).removesuffix("Fast").removesuffix("Pil")
    if kind != _IMAGES:
        raise InputError(f"{folder}: its image processor is {kind:.60}, expected {_IMAGES}")
    if (frames := settings.get("temporal_patch_size", 2)) != tower.temporal_patch_size:
        raise InputError(
            f"{folder}: its processor's temporal_patch_size is {frames!r:.40}, the tower's {tower.temporal_patch_size}"
        )
    return {key: settings[key] for key in kept if key in settings} | {
        "do_resize": True,
        "size": {"shortest_edge": squares.least_pixels, "longest_edge": squares.most_pixels},
        "min_pixels": squares.least_pixels,
        "max_pixels": squares.most_pixels,
        "patch_size": tower.patch_size,
        "temporal_patch_size": tower.temporal_patch_size,
        "merge_size": squares.merge,
        "image_processor_type": _IMAGES,
    }


def grid_texts(
    checkpoint: Checkpoint, squares: Squares, settings: dict[str, Any], kept: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return file name -> content of the configuration and the processor.

    ``settings`` are those of the checkpoint for images, ``kept`` the ones that do not change. Raises InputError.
    """
    _check_tokens(checkpoint)
    plain, image = checkpoint.config.to_dict(), _processor(checkpoint, squares, settings, kept)
    config = {key: plain[key] for key in _KEPT if key in plain}
    config["vision_config"] = plain["vision_config"] | {"spatial_merge_size": squares.merge}
    if checkpoint.config.model_type == "qwen2_vl":
        config |= {key: plain["text_config"][key] for key in _AT_THE_TOP}
    kind = {"processor_class": _PROCESSORS[checkpoint.config.model_type]}
    return {
        "config.json": config,
        "preprocessor_config.json": image | kind,
        "processor_config.json": {"image_processor": image, **kind},
    }
