"""What else must an export of Gemma 3 or PaliGemma hold? Their configuration and processor, as clients load them.

V is a number in the processor's file, which writes so many placeholders for an image (``image_seq_length``), and of
Gemma 3 in ``config.json`` too (``mm_tokens_per_image``). An image is one view: no crops of it are read (pan and scan).
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, added_tokens
from vlmplan.document import read_plain
from vlmplan.errors import InputError

PALIGEMMA, GEMMA3 = "PaliGemmaProcessor", "Gemma3Processor"
_PLACEHOLDER = "<image>"  # what PaliGemma's processors write, in Python and in transformers.js, whatever the tokenizer
_AROUND = ("boi_token", "eoi_token", "image_token")  # of Gemma 3's tokenizer, by which its processors write images
_KEPT = ("model_type", "architectures", "text_config", "vision_config", "image_token_index", "tie_word_embeddings",
         "boi_token_index", "eoi_token_index", "mm_tokens_per_image", "projection_dim", "hidden_size",
         "vocab_size")  # fmt: skip
_IMAGES = {"gemma3": "Gemma3ImageProcessor", "paligemma": "SiglipImageProcessor"}


def said_tokens(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return by which names Gemma 3's processors ask a tokenizer for tokens. Raises InputError where one is missing.

    transformers.js looks for them at the top of ``tokenizer_config.json``.
    """
    path = checkpoint.folder / "tokenizer_config.json"
    config = read_plain(path) if path.is_file() else {}
    extra = config.get("extra_special_tokens")
    told = (extra if isinstance(extra, dict) else {}) | {key: config[key] for key in _AROUND if key in config}
    if missing := [key for key in _AROUND if not isinstance(told.get(key), str)]:
        raise InputError(
            f"{path}: expected {', '.join(missing)}, by which Gemma 3's processor writes images; found none"
        )
    return {key: told[key] for key in _AROUND}


def _check_tokens(checkpoint: Checkpoint) -> None:
    """Raise InputError where the processor would write other placeholders than the model replaces."""
    expected = _PLACEHOLDER if checkpoint.config.model_type == "paligemma" else said_tokens(checkpoint)["image_token"]
    found = added_tokens(checkpoint.folder).get(checkpoint.image_token)
    if found != expected:
        raise InputError(
            f"{checkpoint.folder}/tokenizer.json: expected the added token {expected}, number "
            f"{checkpoint.image_token}, which processors write for an image; found {found or 'none'!r:.40}"
        )


def _processor(checkpoint: Checkpoint, count: int, found: dict[str, Any], kept: tuple[str, ...]) -> dict[str, Any]:
    """How an image becomes a square of pixels: as the checkpoint does it."""
    folder, size, usual = checkpoint.folder, checkpoint.image_size, _IMAGES[checkpoint.config.model_type]
    if found.get("do_resize", True) is not True:
        raise InputError(f"{folder}: its processor has do_resize off, which no export's files carry over")
    kind = str(found.get("image_processor_type", usual)).removesuffix("Fast").removesuffix("Pil")
    if kind != usual:
        raise InputError(f"{folder}: its image processor is {kind:.60}, expected {usual}")
    if found.get("do_pan_and_scan"):
        raise InputError(
            f"{folder}: its processor has do_pan_and_scan on, which cuts crops that no export reads; switch it off in "
            "the checkpoint's processor files for one view of an image"
        )
    whole = {"height": size, "width": size}
    if (given := found.get("size", whole)) != whole:
        raise InputError(f"{folder}: the processor makes {given!r:.60}, the tower reads {size} pixels a side")
    own = {"do_pan_and_scan": False} if usual == _IMAGES["gemma3"] else {}
    return {key: found[key] for key in kept if key in found} | own | {
        "do_resize": True,
        "size": whole,
        "image_seq_length": count,
        "image_processor_type": usual,
    }  # fmt: skip


def gemma_texts(
    checkpoint: Checkpoint, count: int, found: dict[str, Any], kept: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return file name -> content of the configuration and the processor, for ``count`` visual tokens.

    ``found`` are the checkpoint's settings of images, ``kept`` those that do not change. Raises InputError.
    """
    _check_tokens(checkpoint)
    plain, image = checkpoint.config.to_dict(), _processor(checkpoint, count, found, kept)
    config = {key: plain[key] for key in _KEPT if key in plain}
    if "mm_tokens_per_image" in config:
        config["mm_tokens_per_image"] = count
    marked = checkpoint.config.model_type == "gemma3"
    kind = {"processor_class": GEMMA3 if marked else PALIGEMMA}
    own = {"image_seq_length": count} if marked else {}
    return {
        "config.json": config,
        "preprocessor_config.json": image | kind,
        "processor_config.json": {"image_processor": image, **own, **kind},
    }


def write_placeholders(processor: Any, count: int) -> None:
    """Set a Gemma's processor to write ``count`` placeholders for an image."""
    processor.image_seq_length = count
    if hasattr(processor, "full_image_sequence"):
        said = processor.tokenizer
        around = (said.boi_token, said.image_token * count, said.eoi_token)
        processor.full_image_sequence = f"\n\n{''.join(around)}\n\n"
