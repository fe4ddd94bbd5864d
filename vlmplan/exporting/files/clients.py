"""What else must an export hold? The configuration, processor and tokenizer files by which clients load it.

The layout is that of transformers.js. A LLaVA processor counts an image's tokens as (size / patch)² plus a number it is
told: with a patch as large as the image that is 1 + (V - 1), so that any V is reached through configuration alone.
Idefics3's counts the tiles that it cuts, and its setting is the edge that it scales an image to; InternVL's is the most
tiles.
"""

import json
import math
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import (
    CONTEXT,
    IMAGE_TOKEN,
    MOST_RESIZED,
    TOKEN_NAMES,
    Checkpoint,
    added_tokens,
    fast_tokenizer,
    quiet_transformers,
)
from vlmplan.document import read_plain
from vlmplan.errors import InputError
from vlmplan.exporting.files.chat_templates import OLDER_FILE, TEMPLATE_FILE, chat_template
from vlmplan.exporting.files.gemma import GEMMA3, gemma_texts, said_tokens
from vlmplan.exporting.files.genai import GENAI_CLIENT, genai_texts
from vlmplan.exporting.files.generation import (
    GENERATION_FILE,
    checkpoint_generation,
    ending_tokens,
    model_alone,
    special_tokens,
)
from vlmplan.exporting.files.lfm2 import shape_texts
from vlmplan.exporting.files.pixtral import picture_texts
from vlmplan.exporting.files.qwen_vl import grid_texts
from vlmplan.exporting.manifest import DECODER, EMBED, VISION, ClientLayout
from vlmplan.exporting.tiles import Pictures, Tiling
from vlmplan.panics import panics_refused

# Tokenizer files are handed on as they are; a client reads those it knows.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    TEMPLATE_FILE,
    OLDER_FILE,
    GENERATION_FILE,
)
INTERNVL = "InternVLProcessor"
IDEFICS3 = "Idefics3Processor"  # SmolVLM's own does the same with images, and needs what videos need to be loaded
_AROUND = "<fake_token_around_image>"  # which that processor writes, and adds to a tokenizer that lacks it
_WRITTEN = {"fake_image_token": _AROUND, "image_token": IMAGE_TOKEN, "global_image_token": "<global-img>"}
_WITHOUT_JS = ("internvl",)  # transformers.js 4.3.2 has no class for them (its src/models/registry.js)
_ASKS_TEMPLATE = ("gemma3",)  # whose processor there (src/models/gemma3) opens none without chat_template.jinja
_STACKER = "GotOcr2ImageProcessor"  # which cuts InternVL's tiles
# What the first format's files do not say, beside its tokens' names: its code prompts in ChatML.
_FIRST_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + CONTEXT + "\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Image processors of LLaVA checkpoints that an export's files stand for, pixel by pixel; others flip, shift or scale.
_SQUARES = ("CLIPImageProcessor", "SiglipImageProcessor", "LlavaImageProcessor", "CLIPFeatureExtractor")
_LONGEST_SIDE = math.isqrt(MOST_RESIZED)  # pixels
_IMAGE_KEYS = ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize", "do_convert_rgb", "resample")


def image_token(checkpoint: Checkpoint) -> str:
    """Return the text of the image token. Raises InputError where the tokenizer has none of that number."""
    number = checkpoint.image_token
    if number in (added := added_tokens(checkpoint.folder)):
        return added[number]
    raise InputError(f"{checkpoint.folder}/tokenizer.json: found no added token {number}, the config's image token")


def _image_settings(folder: Path) -> dict[str, Any]:
    """The image processor's settings, from the file that transformers reads first."""
    path = folder / "preprocessor_config.json"
    nested = folder / "processor_config.json"
    inner = read_plain(nested).get("image_processor") if nested.is_file() else None  # which transformers reads first
    settings = inner if inner else read_plain(path) if path.is_file() else {}
    if not isinstance(settings, dict) or not {"image_mean", "image_std"} <= set(settings):
        raise InputError(f"{folder}: expected image_mean and image_std in preprocessor_config.json, found neither")
    return settings


def _tile_processor(checkpoint: Checkpoint, edge: int | None) -> dict[str, Any]:
    """How an image becomes tiles: as the checkpoint does it, perhaps of another longest edge."""
    folder, size = checkpoint.folder, {"longest_edge": checkpoint.image_size}
    settings = _image_settings(folder)
    if odd := [key for key in ("do_resize", "do_pad") if settings.get(key, True) is not True]:
        raise InputError(f"{folder}: its processor has {odd[0]} {settings[odd[0]]}, which no export's files carry over")
    for key in ("size", "max_image_size"):
        if not isinstance(settings.get(key), dict) or set(settings[key]) != {"longest_edge"}:
            raise InputError(f"{folder}: the processor's {key} is {settings.get(key)!r:.60}; expected longest_edge")
    return {key: settings[key] for key in _IMAGE_KEYS if key in settings} | {
        "do_resize": True,
        "do_pad": True,
        "do_image_splitting": bool(settings.get("do_image_splitting", True)),
        "size": settings["size"] if edge is None else {"longest_edge": edge},
        "max_image_size": size,
        "image_processor_type": "Idefics3ImageProcessor",
    }


def clients(checkpoint: Checkpoint, layout: ClientLayout, *, asks: bool) -> tuple[str, ...]:
    """Return what runs an export unmodified; vlmplan alone one that ``asks`` for the question's embedding."""
    if layout is ClientLayout.GENAI:
        return ("vlmplan", GENAI_CLIENT)
    kind = checkpoint.config.model_type
    alone = asks or kind in _WITHOUT_JS or (kind in _ASKS_TEMPLATE and template_of(checkpoint) is None)
    return ("vlmplan",) if alone else ("vlmplan", "transformers.js")


def _stack_processor(checkpoint: Checkpoint, most: int | None) -> dict[str, Any]:
    """How an image becomes InternVL's tiles: as the checkpoint does it, perhaps at most other tiles."""
    folder, size = checkpoint.folder, checkpoint.image_size
    settings = _image_settings(folder)
    if checkpoint.first_format:
        least, usual = _first_counts(read_plain(folder / "config.json"))
    else:
        if settings.get("do_resize", True) is not True:
            raise InputError(f"{folder}: its processor has do_resize off, which no export's files carry over")
        kind = str(settings.get("image_processor_type", _STACKER)).removesuffix("Fast").removesuffix("Pil")
        if kind != _STACKER:
            raise InputError(f"{folder}: its image processor is {kind:.60}, expected {_STACKER}")
        least, usual = settings.get("min_patches", 1), settings.get("max_patches", 12)
    return {key: settings[key] for key in _IMAGE_KEYS if key in settings} | {
        "do_resize": True,
        "crop_to_patches": True,
        "size": {"height": size, "width": size},
        "image_processor_type": _STACKER,
        "min_patches": least,
        "max_patches": usual if most is None else most,
    }


def _first_counts(config: dict[str, Any]) -> tuple[int, int]:
    """The fewest and the most tiles of the first format, whose limits stand in ``config.json``."""
    if config.get("dynamic_image_size", True) is not True:
        return 1, 1
    return int(config.get("min_dynamic_patch") or 1), int(config.get("max_dynamic_patch") or 12)


def _check_named(checkpoint: Checkpoint) -> None:
    """Raise InputError where the tokenizer does not say which tokens the processor is to write around an image."""
    path = checkpoint.folder / "tokenizer_config.json"
    config = read_plain(path) if path.is_file() else {}
    extra = config.get("extra_special_tokens")
    told = config | (extra if isinstance(extra, dict) else {})
    if missing := [key for key in TOKEN_NAMES if told.get(key) is None]:
        raise InputError(
            f"{path}: expected {', '.join(missing)}, by which InternVL's processor writes images; found none"
        )
    if (context := told["context_image_token"]) != image_token(checkpoint):
        raise InputError(
            f"{path}: context_image_token is {context!r:.40}, the config's image token is {image_token(checkpoint)}"
        )


def _stack_texts(checkpoint: Checkpoint, tiles: Tiling, external: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Configuration and processor of tiles that are one list: the checkpoint's, as InternVL's classes read them."""
    if not checkpoint.first_format:
        _check_named(checkpoint)
    plain, image = checkpoint.config.to_dict(), _stack_processor(checkpoint, tiles.limit)
    kept = ("model_type", "architectures", "text_config", "vision_config", "image_token_id", "downsample_ratio",
            "projector_hidden_act", "vision_feature_layer", "vision_feature_select_strategy",
            "tie_word_embeddings")  # fmt: skip
    config = {key: plain[key] for key in kept if key in plain} | {"image_seq_length": tiles.view_tokens}
    return {
        "config.json": config | _external(external),
        "preprocessor_config.json": image | {"processor_class": INTERNVL},
        "processor_config.json": {
            "processor_class": INTERNVL,
            "image_seq_length": tiles.view_tokens,
            "image_processor": image,
        },
    }


def _check_around(checkpoint: Checkpoint) -> None:
    """Raise InputError where SmolVLM's own processor would write other tokens around an image than Idefics3's.

    It goes by what the tokenizer calls them; Idefics3's, in Python and in transformers.js, does not.
    """
    paths = [checkpoint.folder / f"{name}_config.json" for name in ("tokenizer", "preprocessor", "processor")]
    said = [read_plain(path) if path.is_file() else {} for path in paths]
    kind = next((one["processor_class"] for one in reversed(said) if one.get("processor_class")), None)
    if kind == IDEFICS3 or (kind is None and checkpoint.config.model_type != "smolvlm"):
        return
    extra = said[0].get("extra_special_tokens")
    told = said[0] | (extra if isinstance(extra, dict) else {})
    for key, token in _WRITTEN.items():
        entry = told.get(key, token)
        if (entry.get("content") if isinstance(entry, dict) else entry) != token:
            raise InputError(f"{paths[0]}: {key} is {entry!r:.40}; expected {token}, which processors of exports write")


def _tile_texts(checkpoint: Checkpoint, tiles: Tiling, external: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Configuration and processor of a tiled checkpoint: its own, as Idefics3's classes read them."""
    if image_token(checkpoint) != IMAGE_TOKEN or _AROUND not in added_tokens(checkpoint.folder).values():
        raise InputError(
            f"{checkpoint.folder}/tokenizer.json: expected the added tokens {IMAGE_TOKEN}, number "
            f"{checkpoint.image_token}, and {_AROUND}, which processors write around an image"
        )
    _check_around(checkpoint)
    plain, image = checkpoint.config.to_dict(), _tile_processor(checkpoint, tiles.limit)
    kept = ("model_type", "architectures", "text_config", "vision_config", "image_token_id", "scale_factor")
    config = {key: plain[key] for key in kept if key in plain} | _external(external)
    return {
        "config.json": config,
        "preprocessor_config.json": image | {"processor_class": IDEFICS3},
        "processor_config.json": {
            "processor_class": IDEFICS3,
            "image_seq_len": tiles.view_tokens,
            "image_processor": image,
        },
    }


def _image_processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """How one image becomes one square of pixels: LLaVA's crop, or the resize that tiling families give each view."""
    folder, size = checkpoint.folder, checkpoint.image_size
    settings = _image_settings(folder)
    kept = {key: settings[key] for key in _IMAGE_KEYS if key in settings} | {"do_resize": True}
    whole = {"size": {"height": size, "width": size}, "image_processor_type": "SiglipImageProcessor"}
    if checkpoint.config.model_type != "llava":
        return kept | whole
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or _SQUARES[0])
    if (kind := kind.removesuffix("Fast").removesuffix("Pil")) not in _SQUARES:
        raise InputError(
            f"{folder}: its image processor is {kind:.60}, which no export's files carry over; expected one of "
            f"{', '.join(_SQUARES)}"
        )
    # as transformers fills in what is not said
    if kind != "SiglipImageProcessor" and "image_processor_type" in settings:
        settings = {"do_center_crop": True, "crop_size": 224, "size": 224} | settings
    if odd := [key for key, usual in (("do_pad", False), ("do_resize", True)) if settings.get(key, usual) is not usual]:
        raise InputError(f"{folder}: its processor has {odd[0]} {settings[odd[0]]}, which no export's files carry over")
    resized = _sides(settings.get("size", size))
    if not settings.get("do_center_crop"):
        if resized != {"height": size, "width": size}:
            raise InputError(f"{folder}: the processor makes {resized}, the tower reads {size} pixels a side")
        return kept | whole
    cropped = _sides(settings.get("crop_size", size), square=True)
    if cropped != {"height": size, "width": size}:
        raise InputError(f"{folder}: the processor crops to {cropped}, the tower reads {size} pixels a side")
    as_found = {"size": resized, "do_center_crop": True, "crop_size": cropped}
    return kept | as_found | {"image_processor_type": "CLIPImageProcessor"}


def _sides(given: Any, *, square: bool = False) -> dict[str, int]:
    """A processor's size as a table; a number is the shortest edge, or of a crop both. Raises InputError."""
    sides = {"shortest_edge": given} if isinstance(given, int) else given
    if not isinstance(sides, dict) or set(sides) not in ({"shortest_edge"}, {"height", "width"}):
        raise InputError(f"the image processor's size is {given!r:.60}; expected shortest_edge, or height and width")
    if not all(type(side) in (int, float) and 1 <= side <= _LONGEST_SIDE for side in sides.values()):
        raise InputError(f"the image processor's size is {given!r:.60}; expected 1 to {_LONGEST_SIDE} pixels a side")
    sizes = {key: int(value) for key, value in sides.items()}
    return {"height": sizes["shortest_edge"], "width": sizes["shortest_edge"]} if square and len(sizes) == 1 else sizes


def _config(checkpoint: Checkpoint, visual_tokens: int, external: tuple[str, ...]) -> dict[str, Any]:
    """The model's configuration for clients: LLaVA whatever the family, since one view is all that is left."""
    plain = checkpoint.config.to_dict()
    kept = ("text_config", "vision_config", "image_token_index", "projector_hidden_act", "vision_feature_layer")
    config = {key: plain[key] for key in kept} | {
        "model_type": "llava",
        "architectures": ["LlavaForConditionalGeneration"],
        "image_seq_length": visual_tokens,
        "vision_feature_select_strategy": "full",
    }
    return config | _external(external)


def _external(graphs: tuple[str, ...]) -> dict[str, Any]:
    """What transformers.js is told of graphs with a data file."""
    listed = {Path(name).name: True for name in graphs}
    return {"transformers.js_config": {"use_external_data_format": listed}} if graphs else {}


def _view_texts(checkpoint: Checkpoint, visual_tokens: int, external: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Configuration and processor of one view, as LLaVA's classes read them."""
    image = _image_processor(checkpoint)
    processor = {
        "processor_class": "LlavaProcessor",
        "patch_size": checkpoint.image_size,
        "num_additional_image_tokens": visual_tokens - 1,
        "vision_feature_select_strategy": "full",
        "image_token": image_token(checkpoint),
    }
    return {
        "config.json": _config(checkpoint, visual_tokens, external),
        "preprocessor_config.json": image | {"processor_class": "LlavaProcessor"},
        "processor_config.json": processor | {"image_processor": image},
    }


def _family_texts(checkpoint: Checkpoint, visual_tokens: int, tiles: Tiling | None) -> dict[str, Any] | None:
    """Configuration and processor of a family that has files of its own; None for any other."""
    images = _image_settings(checkpoint.folder)
    if checkpoint.pooled:
        return gemma_texts(checkpoint, visual_tokens, images, _IMAGE_KEYS)
    if tiles is not None and tiles.shapes is not None:
        return shape_texts(checkpoint, tiles.shapes, images, _IMAGE_KEYS)
    if tiles is not None and isinstance(tiles.squares, Pictures):
        return picture_texts(checkpoint, tiles.squares, images, _IMAGE_KEYS)
    if tiles is not None and tiles.squares is not None:
        return grid_texts(checkpoint, tiles.squares, images, _IMAGE_KEYS)
    return None


def texts(
    checkpoint: Checkpoint,
    visual_tokens: int,
    external: tuple[str, ...],
    tiles: Tiling | None = None,
    layout: ClientLayout = ClientLayout.TRANSFORMERS_JS,
) -> dict[str, bytes]:
    """Return file name -> content of everything but graphs and manifest; ``external`` graphs have a data file.

    ``tiles`` are those of a tiled checkpoint, ``layout`` is the client's. Raises InputError for a checkpoint without
    tokenizer or processor.
    """
    folder = checkpoint.folder
    if not (folder / "tokenizer.json").is_file() and not checkpoint.first_format:
        raise InputError(f"{folder}: found no tokenizer.json; save the tokenizer as a fast one beside the model")
    if (own := _family_texts(checkpoint, visual_tokens, tiles)) is not None:
        made = own
        made["config.json"] |= _external(external)
    elif tiles is None:
        made = _view_texts(checkpoint, visual_tokens, external)
    else:
        made = (_tile_texts if checkpoint.masked else _stack_texts)(checkpoint, tiles, external)
    endless = not ending_tokens(checkpoint_generation(checkpoint))
    made["config.json"] = model_alone(made["config.json"] | special_tokens(checkpoint), endless=endless)
    if layout is ClientLayout.GENAI:
        made |= genai_texts(checkpoint, made["preprocessor_config.json"], visual_tokens, tiles)
    copied = {name: _copied(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    if "tokenizer.json" in copied:
        copied["tokenizer.json"] = _as_opened(folder, copied["tokenizer.json"])
    if "tokenizer_config.json" in copied:
        made["tokenizer_config.json"] = read_plain(folder / "tokenizer_config.json")
        if made["processor_config.json"]["processor_class"] == GEMMA3:
            made["tokenizer_config.json"] |= said_tokens(checkpoint)
    if checkpoint.first_format:
        made["tokenizer_config.json"] = _first_tokenizer(folder)
        copied["tokenizer.json"] = fast_tokenizer(folder)
    if GENERATION_FILE not in copied:
        made[GENERATION_FILE] = checkpoint_generation(checkpoint)
    return _with_template(copied | {name: _json(content) for name, content in made.items()}, checkpoint)


def template_of(checkpoint: Checkpoint) -> str | None:
    """Return the chat template of a checkpoint; of the first format the one that its code writes by."""
    return _FIRST_TEMPLATE if checkpoint.first_format else chat_template(checkpoint.folder)


def _with_template(files: dict[str, bytes], checkpoint: Checkpoint) -> dict[str, bytes]:
    """The files of an export with its one chat template in each of the places where clients look, and no other."""
    template, config = template_of(checkpoint), "tokenizer_config.json"
    kept = {name: content for name, content in files.items() if name not in (TEMPLATE_FILE, OLDER_FILE)}
    if config in kept:
        said = json.loads(kept[config])
        said.pop("chat_template", None)
        kept[config] = _json(said | ({} if template is None else {"chat_template": template}))
    return kept if template is None else kept | {TEMPLATE_FILE: template.encode()}


def _first_tokenizer(folder: Path) -> dict[str, Any]:
    """The tokenizer's configuration with what InternVL's processor asks for. Raises InputError where there is none."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        raise InputError(f"{folder}: found no tokenizer_config.json; expected the tokenizer beside the model")
    return read_plain(path) | TOKEN_NAMES


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _copied(path: Path) -> bytes:
    """A tokenizer's file as it is. Raises InputError for JSON that no client could read."""
    if path.suffix == ".json":
        read_plain(path)
    return path.read_bytes()


# Texts by which tokenizers differ: accents as letters of their own, wide and joined letters, blanks, marks, numbers.
_PROBES = (
    "cafe\u0301 nai\u0308ve Gro\u0308\u00dfe A\u030a",
    "\uff41\uff42 \ufb01 \u2460 \u212b \u1100\u1161",
    "  two  blanks, a\ttab\n\nand lines ",
    "It's 12,345.67 I'LL \u200d\u00ad x",
)


def _as_opened(folder: Path, content: bytes) -> bytes:
    """The file of the tokenizer, as transformers' class for the checkpoint's type makes it where that reads otherwise.

    Some classes set a normaliser that a file may lack (Qwen2's joins accents to their letters), and which class is
    taken depends on ``model_type``, which is another one in an export. What cannot be opened is handed on as it is.
    """
    from tokenizers import Tokenizer

    try:
        with panics_refused(str(folder)):
            opened = quiet_transformers().AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
            theirs, ours = Tokenizer.from_str(opened.backend_tokenizer.to_str()), Tokenizer.from_str(content.decode())
            for one in (theirs, ours):
                one.no_truncation()
                one.no_padding()
            pairs = ((ours.encode(text).ids, theirs.encode(text).ids) for text in _PROBES)
            return content if all(one == other for one, other in pairs) else theirs.to_str(pretty=True).encode()
    except Exception:  # a damaged tokenizer raises what it likes, and is told of where it is used
        return content


def part_of(graph: str) -> str:
    """Return what a graph file is, for messages and reports."""
    return {VISION: "vision encoder", EMBED: "embeddings", DECODER: "decoder"}[graph]
