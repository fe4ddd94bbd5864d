"""What do the files beside a ``config.json`` say of its images? The processor's keys, read one by one and remembered.

(``preprocessor_config.json``, ``processor_config.json``, config) -> counts, switches, sizes. The files decide; a bare
config's own keys stand in for them. What is there and was not read is named by ``warnings``.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlmplan.document import read_plain
from vlmplan.errors import InputError, unexpected
from vlmplan.models.configs.keys import FILE, Plain, whole

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
FILES = (PREPROCESSOR, PROCESSOR)
# Colours, file formats and prompts: none changes how many tokens an image makes.
_HARMLESS = {
    "_name_or_path", "_valid_processor_keys", "add_special_token", "audio_ms_per_token", "audio_processor",
    "audio_seq_length", "auto_map", "batch_vision_input", "boi_token", "chat_template", "context_image_token",
    "crop_pct", "data_format", "default_to_square", "device", "disable_grouping", "do_center_crop",
    "do_color_quantize", "do_convert_rgb", "do_flip_channel_order", "do_normalize", "do_pad", "do_rescale",
    "do_sample_frames", "end_image_token", "eoi_token", "fake_image_token", "feature_extractor",
    "feature_extractor_type", "fps", "full_image_token", "ignore_id", "im_end", "im_end_token", "im_id_end",
    "im_id_start", "im_start", "im_start_token", "image_break_token", "image_col_token", "image_end_token",
    "image_ids", "image_mean", "image_patch_token", "image_placeholder", "image_processor",
    "image_processor_type", "image_start_token", "image_std", "image_token", "image_token_id",
    "image_token_index", "input_data_format", "mask_prompt", "max_frames", "min_frames", "model_input_names",
    "norm_mean", "norm_std", "normalize", "num_frames", "num_img_tokens", "pad_size", "pad_token",
    "processor_class", "resample", "rescale_factor", "rescale_offset", "return_metadata", "return_row_col_info",
    "return_tensors", "sft_format", "size_divisor", "slice_end_token", "slice_mode_tokens", "slice_start_token",
    "stack_aspect", "start_image_token", "temporal_patch_size", "tokenizer", "tokenizer_class",
    "transformers_version", "unk_token", "use_col_tokens", "use_fast", "use_image_id",
    "use_image_special_tokens", "version", "video_metadata", "video_processor", "video_token",
    "vision_aspect_ratio",
}  # fmt: skip


class Processor:
    """Keys of an image processor, those of ``config`` where there is no file; each read is remembered.

    ``files`` is the content by file name. Errors name the file and the key.
    """

    def __init__(self, files: Mapping[str, Plain], config: Plain) -> None:
        """A table nested in ``processor_config.json`` (transformers 5) is the preprocessor's, and is read before it."""
        outer, self._config = files.get(PROCESSOR, {}), config
        inner = outer.get("image_processor")
        own = {**files.get(PREPROCESSOR, {}), **(inner if isinstance(inner, dict) else {})}
        self._found: dict[str, tuple[str, Any]] = {}
        for file, table in ((PROCESSOR, outer), (PREPROCESSOR if PREPROCESSOR in files else PROCESSOR, own)):
            self._found |= {key: (file, value) for key, value in table.items() if value is not None}
        self._file = PREPROCESSOR if PREPROCESSOR in files else PROCESSOR if isinstance(inner, dict) else None
        self._read: set[str] = set()
        self._said: list[str] = []

    def has(self, key: str) -> bool:
        """Whether a file beside the config says something of ``key``."""
        return key in self._found

    def value(self, key: str) -> tuple[str, Any]:
        """Where a key stands, and its value; None where nobody says."""
        self._read.add(key)
        if key in self._found:
            file, value = self._found[key]
            return f"{file}.{key}", value
        return f"{FILE}.{key}", self._config.get(key)

    def count(self, key: str, default: int, most: int = 10**9, least: int = 1) -> int:
        """A whole number. Raises InputError for anything else."""
        where, value = self.value(key)
        return default if value is None else whole(value, where, least, most)

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number. Raises InputError for anything else."""
        where, value = self.value(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise unexpected(where, f"a number from {least:g} to {most:g}", value)
        return float(value)

    def on(self, key: str, *, default: bool) -> bool:
        """A switch. Raises InputError for anything but true and false."""
        where, value = self.value(key)
        if value is not None and not isinstance(value, bool):
            raise unexpected(where, "true or false", value)
        return default if value is None else value

    def word(self, key: str, default: str, allowed: Iterable[str]) -> str:
        """One of some words. Raises InputError for another."""
        where, value = self.value(key)
        if value is None:
            return default
        if value not in (known := tuple(allowed)):
            raise InputError(f"{where}: {value!r:.40} is not read; expected one of {', '.join(known)}")
        return str(value)

    def grids(self, key: str, default: tuple[tuple[int, int], ...]) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Where a list of (height, width) pairs stands, and its pairs. Raises InputError for anything else."""
        where, value = self.value(key)
        if value is None:
            return where, default
        if not isinstance(value, list | tuple) or not value or not all(_is_pair(one) for one in value):
            raise unexpected(where, "a list of [height, width] in pixels", value, 60)
        return where, tuple((one[0], one[1]) for one in value)

    def side(self, key: str, default: int, *names: str) -> int:
        """A side in pixels: a number, ``names`` of a table (the first found), or two equal sides. Raises InputError."""
        where, value = self.value(key)
        if isinstance(value, dict):
            sides = [(name, value[name]) for name in names if value.get(name) is not None]
            if not sides and value:
                raise InputError(f"{where}: expected {' or '.join(names)}, found {', '.join(map(str, value))}")
            if {name for name, _ in sides} >= {"height", "width"} and value["height"] != value["width"]:
                raise InputError(f"{where}: expected a square, found {value['height']} x {value['width']}")
            where, value = (f"{where}.{sides[0][0]}", sides[0][1]) if sides else (where, None)
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        return default if value is None else whole(value, where, 1, 65_536)

    def limits(
        self, key: str, least: int, most: int, names: tuple[str, str] = ("min_pixels", "max_pixels")
    ) -> tuple[int, int]:
        """Fewest and most pixels of area: by the keys ``names``, or those of the table ``key``. Raises InputError."""
        where, table = self.value(key)
        table = table if isinstance(table, dict) else {}
        limits, said = [], False
        for old, edge, default in ((names[0], "shortest_edge", least), (names[1], "longest_edge", most)):
            inner = table.get(edge, table.get(old))
            place, value = self.value(old)
            place, value = (place, value) if value is not None else (f"{where}.{edge}", inner)
            said = said or value is not None
            limits.append(default if value is None else whole(value, place, 1, 10**10))
        if not said:
            self.note_silence(f"{key}, {' and '.join(names)}", f"{least} to {most} pixels")
        if limits[0] > limits[1]:
            raise InputError(f"{where}: expected {names[0]} of at most {names[1]}, found {limits[0]} and {limits[1]}")
        return limits[0], limits[1]

    def note(self, text: str) -> None:
        """Say something of what was read."""
        self._said.append(text)

    def note_silence(self, key: str, counted: str) -> None:
        """Say that the processor's file leaves out ``key``, for which transformers' class has a value of its own."""
        if self._file is not None:
            self.note(f"{self._file}: no {key}; counted by {counted}, where transformers takes its class's default")

    def warnings(self) -> tuple[str, ...]:
        """Return what was said of the keys read, and which keys nobody read though they may matter."""
        unread = sorted(key for key in self._found if key not in self._read | _HARMLESS)
        if self._found.get("do_resize", ("", True))[1] is True:
            unread = [key for key in unread if key != "do_resize"]
        by_file: dict[str, list[str]] = {}
        for key in unread:
            by_file.setdefault(self._found[key][0], []).append(key)
        return (
            *self._said,
            *(f"{file}: {', '.join(keys)} not understood; counted as if absent" for file, keys in by_file.items()),
        )


def _is_pair(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and all(type(one) is int and 1 <= one <= 65_536 for one in value)


def read_processor(folder: Path) -> dict[str, Plain]:
    """Read the processor's files of a checkpoint folder, those that are there. Raises InputError."""
    present = (folder / name for name in FILES)
    return {path.name: read_plain(path) for path in present if os.path.isfile(path)}  # noqa: PTH113 - False, not an error
