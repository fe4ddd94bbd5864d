"""What else must an export of LFM2-VL hold? Its configuration and processor, as clients load them.

V is set by the most tiles and the tokens of a view, numbers of the processor. Where tokens are pooled the processor's
``downsample_factor`` is larger, by which clients cut pictures and count tokens; that of ``config.json`` is the
projector's, and stays. transformers.js would scale a picture to ``size`` before it is cut, so that ``do_resize`` is off
and there is none: Python's processor looks at neither.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, added_tokens
from vlmplan.document import read_plain
from vlmplan.errors import InputError
from vlmplan.exporting.shapes import Shapes

_PROCESSOR, _IMAGES = "Lfm2VlProcessor", "Lfm2VlImageProcessor"
_WRITTEN = {  # what processors write for and around an image, by what a tokenizer may call it
    "image_token": "<image>",
    "image_start_token": "<|image_start|>",
    "image_end_token": "<|image_end|>",
    "image_thumbnail_token": "<|img_thumbnail|>",
}
_KEPT = ("model_type", "architectures", "text_config", "vision_config", "image_token_id", "downsample_factor",
         "projector_hidden_act", "projector_hidden_size", "projector_bias", "projector_use_layernorm",
         "tie_word_embeddings")  # fmt: skip


def _check_tokens(checkpoint: Checkpoint) -> None:
    """Raise InputError where the tokenizer lacks what is written for and around an image, or calls it otherwise."""
    folder, added = checkpoint.folder, added_tokens(checkpoint.folder)
    image = _WRITTEN["image_token"]
    if (held := added.get(checkpoint.image_token)) != image:
        raise InputError(
            f"{folder}/tokenizer.json: expected the added token {image}, number {checkpoint.image_token}, which "
            f"processors write for an image; found {held or 'none'!r:.40}"
        )
    if missing := [token for token in _WRITTEN.values() if token not in added.values()]:
        raise InputError(f"{folder}/tokenizer.json: found no added token {missing[0]}, which stands around an image")
    path = folder / "tokenizer_config.json"
    told = read_plain(path) if path.is_file() else {}
    extra = told.get("extra_special_tokens")
    told |= extra if isinstance(extra, dict) else {}
    for key, token in _WRITTEN.items():
        if told.get(key, token) != token:
            raise InputError(f"{path}: {key} is {told[key]!r:.40}; expected {token}, which transformers.js writes")


def _check_processor(checkpoint: Checkpoint, settings: dict[str, Any]) -> None:
    """Raise InputError for a processor that makes something else of a picture than an export's."""
    folder = checkpoint.folder
    kind = str(settings.get("image_processor_type", _IMAGES)).removesuffix("Fast").removesuffix("Pil")
    if kind != _IMAGES:
        raise InputError(f"{folder}: its image processor is {kind:.60}, expected {_IMAGES}")
    if settings.get("do_pad", True) is not True:
        raise InputError(f"{folder}: its processor has do_pad off, which no export's files carry over")
    path = folder / "processor_config.json"
    if path.is_file() and read_plain(path).get("use_image_special_tokens", True) is not True:
        raise InputError(f"{path}: use_image_special_tokens is off; expected on, as transformers.js has it")


def shape_texts(
    checkpoint: Checkpoint, shapes: Shapes, settings: dict[str, Any], kept: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return file name -> content of the configuration and the processor.

    ``settings`` are those of the checkpoint for images, ``kept`` the ones that do not change. Raises InputError.
    """
    _check_tokens(checkpoint)
    _check_processor(checkpoint, settings)
    plain = checkpoint.config.to_dict()
    image = {key: settings[key] for key in kept if key in settings} | shapes.settings()
    image |= {"do_resize": False, "do_pad": True, "image_processor_type": _IMAGES}
    kind = {"processor_class": _PROCESSOR}
    return {
        "config.json": {key: plain[key] for key in _KEPT if key in plain},
        "preprocessor_config.json": image | kind,
        "processor_config.json": {"image_processor": image, **kind},
    }
