"""How is InternVL's first format read? Its configuration and tensors as transformers' own format has them.

(``config.json`` of ``internvl_chat``, the tokenizer's added tokens) -> a transformers configuration; tensors under its
names, queries, keys and values one by one. No code of the checkpoint's is run: what it would do is in OpenGVLab's
modeling_intern_vit.py and modeling_internvl_chat.py, and transformers' convert_internvl_weights_to_hf.py has the names.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmplan.document import read_plain
from vlmplan.errors import InputError, one_line, unexpected
from vlmplan.panics import panics_refused

FIRST_FORMAT = "internvl_chat"
CONTEXT, START, END = "<IMG_CONTEXT>", "<img>", "</img>"  # of a visual token, and around an image's
# How InternVL's tokenizers call the tokens that its processor writes, and an image's among them.
TOKEN_NAMES = {"context_image_token": CONTEXT, "start_image_token": START, "end_image_token": END,
               "video_token": "<video>"}  # fmt: skip
_RENAMES = (
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^language_model\.model\."), "language_model."),
    (re.compile(r"^mlp1\.0\."), "multi_modal_projector.layer_norm."),
    (re.compile(r"^mlp1\.1\."), "multi_modal_projector.linear_1."),
    (re.compile(r"^mlp1\.3\."), "multi_modal_projector.linear_2."),
    (re.compile(r"^vision_model\.embeddings\.class_embedding$"), "vision_tower.embeddings.cls_token"),
    (re.compile(r"^vision_model\.embeddings\.position_embedding$"), "vision_tower.embeddings.position_embeddings"),
    (
        re.compile(r"^vision_model\.embeddings\.patch_embedding\."),
        "vision_tower.embeddings.patch_embeddings.projection.",
    ),
)
_LAYER = re.compile(r"^vision_model\.encoder\.layers\.(\d+)\.")
_IN_LAYERS = (
    (re.compile(r"^attn\.proj\."), "attention.projection_layer."),
    (re.compile(r"^attn\."), "attention."),
    (re.compile(r"^norm1\."), "layernorm_before."),
    (re.compile(r"^norm2\."), "layernorm_after."),
    (re.compile(r"^ls([12])$"), r"lambda_\1"),
)
_THIRD = re.compile(r"^(vision_tower\.encoder\.layer\.\d+\.attention\.)([qkv])_proj\.(weight|bias)$")
_VISION = {
    "hidden_size": "hidden_size", "num_hidden_layers": "num_hidden_layers", "hidden_act": "hidden_act",
    "num_attention_heads": "num_attention_heads", "intermediate_size": "intermediate_size", "norm_type": "norm_type",
    "layer_norm_eps": "layer_norm_eps", "image_size": "image_size", "patch_size": "patch_size",
    "qk_normalization": "use_qk_norm", "qkv_bias": "attention_bias",
}  # fmt: skip
_QK_EPSILON = 1e-6  # of transformers' norms of queries and keys; the first format's have the tower's


def chat_name(name: str) -> str:
    """Return a tensor's name as transformers' format has it, without the leading ``model.``."""
    if layer := _LAYER.match(name):
        rest = name[layer.end() :]
        for pattern, replacement in _IN_LAYERS:
            rest, count = pattern.subn(replacement, rest)
            if count:
                break
        return f"vision_tower.encoder.layer.{layer[1]}.{rest}"
    for pattern, replacement in _RENAMES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


def third_of(name: str) -> tuple[str, int] | None:
    """Return the tensor of queries, keys and values that a layer's tensor is a third of, and which; None for others."""
    match = _THIRD.match(name)
    return None if match is None else (f"{match[1]}qkv.{match[3]}", "qkv".index(match[2]))


def _table(plain: Mapping[str, Any], key: str, folder: Path) -> dict[str, Any]:
    table = plain.get(key)
    if not isinstance(table, dict):
        raise unexpected(f"{folder}/config.json", f"a table {key}", table)
    return table


def _check_fixed(plain: Mapping[str, Any], vision: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError where the model does what transformers' class of it does not."""
    fixed = [
        ("select_layer", plain.get("select_layer", -1), -1),
        ("ps_version", plain.get("ps_version", "v1"), "v2"),
        ("use_thumbnail", plain.get("use_thumbnail", True), True),
        ("vision_config.num_channels", vision.get("num_channels", 3), 3),
        ("force_image_size", plain.get("force_image_size") or vision["image_size"], vision["image_size"]),
    ]
    if vision["qk_normalization"]:
        fixed.append(("vision_config.layer_norm_eps", vision["layer_norm_eps"], _QK_EPSILON))
    for key, stated, expected in fixed:
        if stated != expected:
            raise InputError(f"{folder}/config.json: {key} is {stated!r:.40}; vlmplan exports {expected!r}")


def added_tokens(folder: Path) -> dict[int, str]:
    """Return the tokens that a folder's tokenizer splits a text at, by number; none where there is no tokenizer."""
    fast, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if fast.is_file():
        listed = [(entry.get("id"), entry.get("content")) for entry in read_plain(fast).get("added_tokens", [])]
        return {number: str(content) for number, content in listed if isinstance(number, int)}
    table = read_plain(config).get("added_tokens_decoder") if config.is_file() else None
    if not isinstance(table, dict):
        return {}
    return {int(number): str(entry.get("content")) for number, entry in table.items() if str(number).isdecimal()}


def fast_tokenizer(folder: Path) -> bytes:
    """Return the ``tokenizer.json`` of a folder, made by transformers of vocabulary and merges where it has none.

    Raises InputError where that cannot be.
    """
    import transformers

    path, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if path.is_file():
        return path.read_bytes()
    kind = str(read_plain(config).get("tokenizer_class")) if config.is_file() else "none"
    if kind.removesuffix("Fast") != "Qwen2Tokenizer" or not (folder / "vocab.json").is_file():
        raise InputError(f"{folder}: found no tokenizer.json; save the tokenizer as a fast one beside the model")
    try:
        with panics_refused(str(folder)):
            made = transformers.Qwen2Tokenizer.from_pretrained(folder)
            numbers = {number: made.convert_tokens_to_ids(text) for number, text in added_tokens(folder).items()}
            written = str(made.backend_tokenizer.to_str()).encode()
    except InputError:
        raise
    except Exception as error:  # a damaged tokenizer raises what it likes
        raise InputError(f"{folder}: no tokenizer.json can be made of its tokenizer ({one_line(error)})") from None
    if moved := [number for number, converted in numbers.items() if number != converted]:
        raise InputError(
            f"{folder}: transformers makes token {numbers[moved[0]]} of the tokenizer's {moved[0]}; save the tokenizer "
            "as a fast one beside the model"
        )
    return written


def _context_token(folder: Path) -> int:
    """The number of the token that stands for a visual token. Raises InputError where the tokenizer has none."""
    for number, text in added_tokens(folder).items():
        if text == CONTEXT:
            return number
    raise InputError(
        f"{folder}: found no tokenizer with the added token {CONTEXT}, by which prompts hold visual tokens"
    )


def chat_config(plain: Mapping[str, Any], folder: Path, transformers: Any) -> Any:
    """Return the transformers configuration of a checkpoint of the first format.

    Raises InputError for what transformers' class does not do; what transformers raises is the caller's to catch.
    """
    vision, text = _table(plain, "vision_config", folder), _table(plain, "llm_config", folder)
    if missing := [key for key in _VISION if vision.get(key) is None]:
        raise InputError(f"{folder}/config.json: vision_config has no {', '.join(missing)}; expected all of a tower")
    _check_fixed(plain, vision, folder)
    kind = text.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        raise InputError(f"{folder}: llm_config.model_type is {kind!r:.40}, which transformers has no class of")
    return transformers.InternVLConfig(
        text_config=transformers.CONFIG_MAPPING[kind].from_dict(dict(text)),
        vision_config={ours: vision[theirs] for theirs, ours in _VISION.items()},
        image_token_id=_context_token(folder),
        downsample_ratio=plain.get("downsample_ratio", 0.5),
        tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
        architectures=["InternVLForConditionalGeneration"],
    )
