"""What else must an export hold for onnxruntime-genai? ``genai_config.json``, and what its code writes for an image.

Its processors write an image's tokens by numbers of their own: Gemma 3's 256 whatever the file says, Qwen's by the grid
of patches, Mistral 3's by height and width. ``hidden_size`` is to it the width of what goes from graph to graph: so it
carries Gemma 3's channel of images and Qwen3-VL's stacked features, and knows of neither. Keys and operations as
onnxruntime-genai 0.18.0 reads them (src/config.cpp, src/models/*_image_processor.cpp and test/models of
https://github.com/microsoft/onnxruntime-genai, read 2026-11-29); each was run by the released wheel.
"""

from typing import Any

from vlmplan.checkpoints import MARKED_TYPES, Checkpoint, added_tokens, head_dim
from vlmplan.errors import InputError
from vlmplan.exporting.files.genai_images import image_steps
from vlmplan.exporting.files.genai_search import GENAI_CONFIG, search
from vlmplan.exporting.files.generation import GENERATION_FILE, checkpoint_generation, ending_tokens
from vlmplan.exporting.manifest import DECODER, EMBED, VISION
from vlmplan.exporting.tiles import Tiling

GENAI_CLIENT = "onnxruntime-genai"
IMAGES = "vision_processor.json"
TYPES = ("qwen2_5_vl", "qwen3_vl", "gemma3", "mistral3")  # that it runs and vlmplan exports
# What its code looks for in a prompt, and replaces by an image's tokens.
GENAI_MARKS = {"gemma3": "<start_of_image>", "mistral3": "[IMG]"} | dict.fromkeys(
    ("qwen2_5_vl", "qwen3_vl"), "<|vision_start|><|image_pad|><|vision_end|>"
)
_WRITTEN = {
    "gemma3": ("<start_of_image>", "<image_soft_token>", "<end_of_image>"),
    "mistral3": ("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
} | dict.fromkeys(("qwen2_5_vl", "qwen3_vl"), ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>"))
_IMAGE_TOKEN = {"gemma3": 1, "mistral3": 0, "qwen2_5_vl": 1, "qwen3_vl": 1}  # which of them
_GEMMA_TOKENS = 256  # of an image, in its code


def check_runs(model_type: str) -> None:
    """Raise InputError for a type that onnxruntime-genai has no class for, or vlmplan no layout."""
    if model_type not in TYPES:
        raise InputError(
            f"--layout genai: onnxruntime-genai 0.18 has no {model_type} that vlmplan exports; expected one of "
            f"{', '.join(TYPES)}"
        )


def _check_written(checkpoint: Checkpoint, visual_tokens: int) -> None:
    """Raise InputError where onnxruntime-genai would write other tokens for an image than the model replaces."""
    kind, path = checkpoint.config.model_type, checkpoint.folder / "tokenizer.json"
    if kind == "gemma3" and visual_tokens != _GEMMA_TOKENS:
        raise InputError(
            f"--layout genai: onnxruntime-genai writes {_GEMMA_TOKENS} tokens for every image of a gemma3, this export "
            f"makes {visual_tokens}; leave out --visual-tokens and --compressor"
        )
    numbers = {text: number for number, text in added_tokens(checkpoint.folder).items()}
    if missing := [text for text in _WRITTEN[kind] if text not in numbers]:
        raise InputError(
            f"--layout genai: {path} has no added token {missing[0]}, which onnxruntime-genai writes for an image"
        )
    token = _WRITTEN[kind][_IMAGE_TOKEN[kind]]
    if numbers[token] != checkpoint.image_token:
        raise InputError(
            f"--layout genai: onnxruntime-genai writes {token} for an image, number {numbers[token]} in {path}; the "
            f"config's image token is {checkpoint.image_token}"
        )


def _generation(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the checkpoint's ``generate`` goes by; where texts begin from the model's where that does not say it.

    Raises InputError where ``generate`` ends at no token: onnxruntime-genai has to stop at one.
    """
    told = dict(checkpoint_generation(checkpoint))
    for key in ("bos_token_id", "pad_token_id"):
        if told.get(key) is None:
            told[key] = getattr(checkpoint.text, key, None)
    if not ending_tokens(told):
        raise InputError(
            f"--layout genai: {checkpoint.folder}: by {GENERATION_FILE}, or config.json where there is none, its "
            "answers end at no token (eos_token_id), and onnxruntime-genai has to stop at one; say it there"
        )
    return told


def _decoder(checkpoint: Checkpoint, width: int) -> dict[str, Any]:
    """The decoder for ``genai_config.json``: its file, names and sizes."""
    text = checkpoint.text
    return {
        "filename": DECODER,
        "head_size": head_dim(text),
        "hidden_size": width,
        "num_attention_heads": text.num_attention_heads,
        "num_hidden_layers": text.num_hidden_layers,
        "num_key_value_heads": text.num_key_value_heads,
        "session_options": {"log_id": GENAI_CLIENT, "provider_options": []},
        "inputs": {
            "inputs_embeds": "inputs_embeds",
            "attention_mask": "attention_mask",
            "position_ids": "position_ids",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }


def _vision(checkpoint: Checkpoint, tiles: Tiling | None) -> dict[str, Any]:
    """The vision encoder for ``genai_config.json``."""
    encoder: dict[str, Any] = {
        "filename": VISION,
        "config_filename": IMAGES,
        "inputs": {"pixel_values": "pixel_values"},
        "outputs": {"image_features": "image_features"},
    }
    if tiles is not None and (squares := tiles.squares) is not None:
        encoder |= {"spatial_merge_size": squares.merge, "patch_size": squares.patch}
        if checkpoint.config.model_type != "mistral3":
            encoder["inputs"]["image_grid_thw"] = "image_grid_thw"
    return encoder


def genai_texts(
    checkpoint: Checkpoint, images: dict[str, Any], visual_tokens: int, tiles: Tiling | None
) -> dict[str, dict[str, Any]]:
    """Return file name -> content of what onnxruntime-genai looks for beside tokenizer and graphs.

    ``images`` are the settings of the image processor as transformers reads them. Raises InputError for a checkpoint
    whose images it would read or count otherwise.
    """
    check_runs(checkpoint.config.model_type)
    _check_written(checkpoint, visual_tokens)
    config, told = checkpoint.config, _generation(checkpoint)
    width = checkpoint.text.hidden_size * (1 + len(checkpoint.stacked_layers)) + (config.model_type in MARKED_TYPES)
    model = {
        "type": config.model_type,
        "context_length": checkpoint.text.max_position_embeddings,
        "vocab_size": checkpoint.text.vocab_size,
        "image_token_id": checkpoint.image_token,
        "eos_token_id": told["eos_token_id"],
        "decoder": _decoder(checkpoint, width),
        "embedding": {
            "filename": EMBED,
            "inputs": {"input_ids": "input_ids", "image_features": "image_features"},
            "outputs": {"inputs_embeds": "inputs_embeds"},
        },
        "vision": _vision(checkpoint, tiles),
    }
    ends = told["eos_token_id"]
    first = ends[0] if isinstance(ends, list) else ends
    model["pad_token_id"] = first if told["pad_token_id"] is None else told["pad_token_id"]
    if told["bos_token_id"] is not None:
        model["bos_token_id"] = told["bos_token_id"]
    model |= {key: getattr(config, key) for key in ("video_token_id", "vision_start_token_id") if hasattr(config, key)}
    return {
        GENAI_CONFIG: {"model": model, "search": search(checkpoint, told)},
        IMAGES: image_steps(checkpoint, images, tiles),
    }
