"""What does a checkpoint hold? Its configuration, and its tensors, read from safetensors one at a time.

(local directory or hub id) -> :class:`Checkpoint`. Tensor names are those of transformers 5 without the leading
``model.``, whichever release wrote the file. Nothing is unpickled and no code of the checkpoint's is run.
"""

import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints.attention import check_attention, rope_type
from vlmplan.checkpoints.families.gemma import POOLED_TYPES, check_gemma, gemma_limits, pooled_side
from vlmplan.checkpoints.families.internvl_chat import FIRST_FORMAT, chat_config, chat_name
from vlmplan.checkpoints.families.lfm2 import check_counts, view_limits, view_square
from vlmplan.checkpoints.families.pixtral import PICTURED_TYPES, check_pictures
from vlmplan.checkpoints.families.qwen_vl import check_grids, square_side, stacked_layers
from vlmplan.checkpoints.tensors import Tensors, Unjoined, Weights, canonical
from vlmplan.document import read_plain
from vlmplan.errors import InputError
from vlmplan.extras import require
from vlmplan.models import ARCHITECTURES, TEXTS, Compressor, downloaded, is_hub_id, method_of, with_file_beside

MODEL_TYPES = tuple(kind for kind, known in ARCHITECTURES.items() if known.exportable)
# Whose processor cuts tiles that all go through the tower, and whose own connector joins patches.
TILED_TYPES = tuple(kind for kind in MODEL_TYPES if ARCHITECTURES[kind].tiled)
MASKED_TYPES = tuple(kind for kind in TILED_TYPES if ARCHITECTURES[kind].masked)
GRIDDED_TYPES = tuple(kind for kind in TILED_TYPES if ARCHITECTURES[kind].gridded)
SHAPED_TYPES = tuple(kind for kind in TILED_TYPES if ARCHITECTURES[kind].shaped)
LLAVA_TYPES = tuple(kind for kind in MODEL_TYPES if kind not in (*TILED_TYPES, *POOLED_TYPES))
TEXT_TYPES = tuple(kind for kind, known in TEXTS.items() if known.exportable)
TOWER_TYPES = ("clip_vision_model", "siglip_vision_model")
ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")
_ROUNDING = 1e-9  # of a ratio that is written in decimals
_DOWNLOADED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def read_layers(config: Any) -> tuple[int, ...]:
    """Return the hidden states of the tower that the projector reads, counted from 0 (the embeddings)."""
    layers, states = getattr(config, "vision_feature_layer", -1), config.vision_config.num_hidden_layers + 1
    return tuple(layer % states for layer in ([layers] if isinstance(layers, int) else layers))


def class_tokens(config: Any) -> int:
    """Return how many tokens before the patches are cut off: CLIP's class token under the strategy ``default``."""
    return int(getattr(config, "vision_feature_select_strategy", "full") == "default")


def side_of(value: Any) -> Any:
    """Return a side in pixels where a configuration has a pair of equal ones; anything else as it is."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1] else value


def joined_side(config: Any) -> int:
    """Return how many patches of a side the model's own connector joins to a token: 1 where it joins none."""
    if config.model_type in GRIDDED_TYPES:
        return int((config if config.model_type in PICTURED_TYPES else config.vision_config).spatial_merge_size)
    if config.model_type in POOLED_TYPES:
        return pooled_side(config)
    factor = getattr(config, "scale_factor", getattr(config, "downsample_factor", 1))  # Idefics3's, LFM2-VL's
    ratio = getattr(config, "downsample_ratio", None)  # InternVL's; transformers takes its inverse, rounded down
    return int(1 / ratio if ratio else factor)


def image_side(config: Any) -> Any:
    """Return the pixels on a side of what a tower reads: the image, a tile of it, or a square that becomes a token."""
    if config.model_type in PICTURED_TYPES:
        return int(config.vision_config.patch_size * config.spatial_merge_size)
    if config.model_type in GRIDDED_TYPES:
        return square_side(config.vision_config)
    if config.model_type in SHAPED_TYPES:
        return view_square(config)
    return side_of(config.vision_config.image_size)


def image_token_of(config: Any) -> int:
    """Return the number of the token that stands for a visual token, by either of its names."""
    index = getattr(config, "image_token_index", None)
    return int(config.image_token_id if index is None else index)


def head_dim(config: Any) -> int:
    """Return the width of an attention head of a transformers text configuration."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint. ``name`` is what the user called it, ``config`` a transformers configuration.

    Of InternVL's ``first_format`` it is the one that transformers' own would have; the files keep their keys.
    """

    name: str
    folder: Path
    config: Any
    tensors: Weights
    first_format: bool = False

    @property
    def text(self) -> Any:
        """The LLM's configuration."""
        return self.config.text_config

    @property
    def tower(self) -> Any:
        """The vision tower's configuration."""
        return self.config.vision_config

    @property
    def grid_side(self) -> int:
        """Patches on a side of the image."""
        return int(self.image_size // side_of(self.tower.patch_size))

    @property
    def image_size(self) -> int:
        """Pixels on a side of what the tower reads: the image, a tile of it, or a square that becomes a token."""
        return int(image_side(self.config))

    @property
    def tiled(self) -> bool:
        """Whether an image is as many tiles as its processor cuts, all read by the tower."""
        return self.config.model_type in TILED_TYPES

    @property
    def masked(self) -> bool:
        """Whether tiles stand in rows, one a request, with a mask of what is no padding; else they are one list."""
        return self.config.model_type in MASKED_TYPES

    @property
    def gridded(self) -> bool:
        """Whether tiles are squares of patches, a token each, that come with the grid of their image's patches."""
        return self.config.model_type in GRIDDED_TYPES

    @property
    def shaped(self) -> bool:
        """Whether tiles are views of patches, each in a shape of its own that comes with it."""
        return self.config.model_type in SHAPED_TYPES

    @property
    def pictured(self) -> bool:
        """Whether its squares stand in whole pictures, each with its height and width, and a token ends each row."""
        return self.config.model_type in PICTURED_TYPES

    @property
    def pooled(self) -> bool:
        """Whether it is a Gemma: one view, whose squares of patches are averaged to as few tokens as are asked for."""
        return self.config.model_type in POOLED_TYPES

    @property
    def joined_side(self) -> int:
        """Patches of a side that the checkpoint's own connector joins to a token."""
        return 1 if self.config.model_type in LLAVA_TYPES else joined_side(self.config)

    @property
    def view_tokens(self) -> int:
        """Visual tokens that the checkpoint itself makes of what the tower reads."""
        return (self.grid_side // self.joined_side) ** 2

    @property
    def image_token(self) -> int:
        """Number of the token that stands for a visual token in a prompt."""
        return image_token_of(self.config)

    @property
    def read_layers(self) -> tuple[int, ...]:
        """Hidden states of the tower that the projector reads, counted from 0 (the embeddings)."""
        return read_layers(self.config)

    @property
    def stacked_layers(self) -> tuple[int, ...]:
        """Layers of the tower whose features are added behind the LLM's first ones (DeepStack); none of most types."""
        return stacked_layers(self.tower)

    @property
    def trained(self) -> tuple[Compressor, tuple[int, ...]] | None:
        """The compressor and the numbers of visual tokens that vlmplan trained it for; None for others.

        Raises InputError for an entry that vlmplan did not write.
        """
        entry = getattr(self.config, "vlmplan", None)
        if entry is None:
            return None
        kinds = {kind.value: kind for kind in Compressor}
        counts = entry.get("visual_tokens") if isinstance(entry, dict) else None
        kind = kinds.get(str(entry.get("compressor"))) if isinstance(entry, dict) else None
        if kind is None or not isinstance(counts, list) or not all(type(one) is int and one > 0 for one in counts):
            raise InputError(f"{self.folder}/config.json: vlmplan: expected a compressor and visual_tokens, a list")
        return kind, tuple(sorted(counts, reverse=True))

    @property
    def class_tokens(self) -> int:
        """Tokens before the patches that are cut off: CLIP's class token under the strategy ``default``."""
        return class_tokens(self.config)


@functools.cache
def quiet_transformers() -> Any:
    """Import transformers without its progress bars and advice; return it. Raises Unavailable when not installed."""
    require("transformers", "torch", "safetensors", "onnx", "onnx_ir", "onnxruntime")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)  # what it warns of is reported as a fault
    return transformers


def local_folder(name: str, check: Callable[[Path], object] = lambda _: None) -> Path:
    """Return the directory of a checkpoint, downloading a hub id's. Raises InputError or Unavailable.

    ``check`` sees a directory with ``config.json`` before any weights are downloaded, and raises what is wrong with it.
    """
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own raises for an unknown user
    try:
        if name and folder.is_dir():
            check(folder)
            return folder
        known = folder.exists()
    except (OSError, ValueError):
        known = True
    if known or not is_hub_id(name):
        raise InputError(f"--checkpoint: found '{name}', expected a checkpoint's directory or a hub id ORG/NAME")
    quiet_transformers()
    snapshot = downloaded(name, ("config.json",))
    if stored_type(snapshot) == FIRST_FORMAT:  # whose image token only the tokenizer says
        snapshot = downloaded(name, ("config.json", "tokenizer.json", "tokenizer_config.json"))
    check(snapshot)
    return downloaded(name, _DOWNLOADED)


def stored_type(folder: Path) -> Any:
    """Return the ``model_type`` in a folder's ``config.json``; None where nothing says."""
    path = folder / "config.json"
    return read_plain(path).get("model_type") if path.is_file() else None


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that transformers loads: the single one before those of an index.

    Raises InputError where there are none, or only pickles.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        plain = read_plain(index)
        table = plain.get("weight_map")
        if not isinstance(table, Mapping) or not all(isinstance(file, str) for file in table.values()):
            raise InputError(f"{index}: expected a table 'weight_map' of file names")
        if not isinstance(plain.get("metadata"), Mapping):
            raise InputError(
                f"{index}: expected a table 'metadata', without which transformers does not load the checkpoint; "
                'write "metadata": {} into it'
            )
        files = tuple(folder / Path(file).name for file in sorted(set(table.values())))
    else:
        files = (folder / "model.safetensors",)
    missing = [file.name[:200] for file in files if not os.path.isfile(file)]  # noqa: PTH113 - any name may be asked
    if missing:
        pickles = " (pickles are not read: save it again with safe_serialization)" if any(folder.glob("*.bin")) else ""
        raise InputError(f"{folder}: expected {', '.join(missing)}, found none{pickles}")
    return files


def _checked(config: Any, folder: Path) -> Any:
    """The configuration, or InputError naming the part that cannot be exported."""
    text, tower = config.text_config, config.vision_config
    pictured = config.model_type in PICTURED_TYPES
    if gridded := config.model_type in GRIDDED_TYPES:
        (check_pictures if pictured else check_grids)(config, folder)
    if config.model_type in SHAPED_TYPES:
        check_counts(config, folder)
    image_size, patch_size = image_side(config), side_of(tower.patch_size)
    _check_sizes(config, folder, image_size, patch_size)
    if config.model_type in POOLED_TYPES:
        _check_expected(folder, gemma_limits(config))
        return check_gemma(config, folder)
    if config.model_type in SHAPED_TYPES:
        _check_expected(folder, view_limits(config, ROPE_TYPES))
        return config
    check_attention(text, folder)
    tiled = config.model_type in TILED_TYPES
    stacked = tiled and not gridded and config.model_type not in MASKED_TYPES
    # A tiled type builds its own tower, whatever its table calls itself: hub files say siglip or smolvlm.
    towers = ("pixtral",) if pictured else (tower.model_type,) if tiled else TOWER_TYPES
    limits = (
        ("model_type", config.model_type, MODEL_TYPES),
        ("text_config.model_type", text.model_type, _text_types(config)),
        ("vision_config.model_type", tower.model_type, towers),
        ("text_config.hidden_act", text.hidden_act, ("silu",)),
        ("text_config.rope_parameters.rope_type", rope_type(text), ROPE_TYPES),
        ("vision_feature_select_strategy", getattr(config, "vision_feature_select_strategy", "full"),
         ("default",) if stacked else ("default", "full")),
        ("vision_feature_layer", getattr(config, "vision_feature_layer", -1) if stacked or pictured else -1, (-1,)),
    )  # fmt: skip
    _check_expected(folder, limits)
    if tiled and not gridded:
        _check_joined(config, folder, image_size // patch_size)
    return config


def _check_sizes(config: Any, folder: Path, image_size: Any, patch_size: Any) -> None:
    """Raise InputError for sizes that are no numbers of a model; those of the image and its patches in pixels."""
    text, tower = config.text_config, config.vision_config
    sizes = (
        ("text_config.num_hidden_layers", text.num_hidden_layers, 1000),
        ("vision_config.num_hidden_layers", tower.num_hidden_layers, 1000),
        ("vision_config.image_size", image_size, 100_000),
        ("vision_config.patch_size", patch_size, 10_000),
        ("vision_config.hidden_size", tower.hidden_size, 1_000_000),
        ("text_config.hidden_size", text.hidden_size, 1_000_000),
        ("text_config.vocab_size", text.vocab_size, 10_000_000),
    )
    for key, value, most in sizes:
        if not isinstance(value, int) or not 0 < value <= most:
            raise InputError(f"{folder}: {key} is {value!r}, expected a whole number from 1 to {most}")
    if patch_size > image_size:
        raise InputError(f"{folder}: vision_config.patch_size is {patch_size}, above the image's {image_size}")


def _check_expected(folder: Path, limits: tuple[tuple[str, Any, tuple[Any, ...]], ...]) -> None:
    """Raise InputError for a key whose value is none of those that are exported."""
    for key, value, expected in limits:
        if value not in expected:
            raise InputError(f"{folder}: {key} is {value!r}; vlmplan exports {', '.join(map(str, expected))}")


def _check_joined(config: Any, folder: Path, side: int) -> None:
    """Raise InputError where the connector cannot join the ``side`` patches of a tile's side in squares."""
    shuffled = hasattr(config, "downsample_ratio")
    key, due = ("downsample_ratio", "1 over a divisor") if shuffled else ("scale_factor", "a divisor")
    given = getattr(config, key)
    joined = joined_side(config) if shuffled else given
    exact = abs(joined * given - 1) < _ROUNDING if shuffled else isinstance(given, int)
    if not exact or joined < 1 or side % joined:
        raise InputError(f"{folder}: {key} is {given!r}, expected {due} of the tower's {side} patches of a side")


def _text_types(config: Any) -> tuple[str, ...]:
    """The text types that are drawn of a checkpoint; a family's own names of one of them count."""
    known = ARCHITECTURES.get(config.model_type)
    return (*known.text_names, *TEXT_TYPES) if known and known.text in TEXT_TYPES else TEXT_TYPES


def read_config(folder: Path) -> Any:
    """Return the transformers configuration of a checkpoint. Raises InputError for what cannot be exported."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: found no config.json; expected a checkpoint as save_pretrained writes it")
    plain = read_plain(folder / "config.json")
    if plain.get("model_type") not in MODEL_TYPES:
        raise InputError(
            f"{folder}: model_type is {json.dumps(plain.get('model_type'))}; vlmplan exports {', '.join(MODEL_TYPES)}"
        )
    if method := method_of(with_file_beside(plain, folder), f"{folder}/config.json"):
        raise InputError(
            f"{folder}: found weights quantised by {method}; vlmplan exports and quantises whole ones: expected the "
            "checkpoint it was made from"
        )
    transformers = quiet_transformers()
    with _config_errors(folder):
        if plain["model_type"] == FIRST_FORMAT:
            return _checked(chat_config(plain, folder, transformers), folder)
        return _checked(transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False), folder)


@contextmanager
def _config_errors(folder: Path) -> Iterator[None]:
    """Say in one line what transformers makes of a configuration that it cannot use: it raises what it likes."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{folder}/config.json: transformers cannot use it ({line})") from None


def check_shapes(checkpoint: Checkpoint) -> None:
    """Raise InputError, naming them, where tensors have other shapes than the configuration asks for."""
    import torch

    transformers = quiet_transformers()
    with _config_errors(checkpoint.folder), torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(checkpoint.config)
    wrong = [
        f"{name} is {list(shape)}, expected {list(tensor.shape)}"
        for name, tensor in ((canonical(stored), tensor) for stored, tensor in model.state_dict().items())
        if (shape := checkpoint.tensors.shape(name)) is not None and shape != tuple(tensor.shape)
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise InputError(f"{checkpoint.folder}: {'; '.join(wrong[:3])}{more}; is config.json of this checkpoint?")


def open_checkpoint(name: str, check_type: Callable[[str], object] = lambda _: None) -> Checkpoint:
    """Open a checkpoint by directory or hub id. Raises InputError or Unavailable.

    ``check_type`` sees its ``model_type`` before any weights are downloaded or looked for, and raises what is wrong.
    """
    quiet_transformers()
    folder = local_folder(name, lambda directory: check_type(read_config(directory).model_type))
    config, files = read_config(folder), _weight_files(folder)
    if stored_type(folder) != FIRST_FORMAT:
        return Checkpoint(name=name, folder=folder, config=config, tensors=Tensors(files))
    tensors = Unjoined(stored=Tensors(files, rename=chat_name))
    return Checkpoint(name=name, folder=folder, config=config, tensors=tensors, first_format=True)
