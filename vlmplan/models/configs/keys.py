"""What does one key of a ``config.json`` hold? Readers that refuse what no config means.

(table, key) -> a count, a switch, a table; absent and null are the same. Errors name the key as the file spells it.
"""

from collections.abc import Mapping
from typing import Any

from vlmplan.errors import unexpected

Plain = Mapping[str, Any]
FILE = "config.json"
MOST_MERGED = 64  # patches of a side that become one token; beyond it no model goes


def whole(value: Any, where: str, least: int = 1, most: int = 10**9) -> int:
    """Check a width or a count: a whole number from ``least`` to ``most``. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise unexpected(where, f"a whole number from {least} to {most}", value)
    return value


def count_of(table: Plain, key: str, default: int, most: int = 10**9) -> int:
    """Read a count. Raises InputError."""
    value = table.get(key)
    return default if value is None else whole(value, key, 1, most)


def switch(table: Plain, key: str, where: str = FILE, *, default: bool) -> bool:
    """Read what is on or off. Raises InputError for anything but true and false."""
    value = table.get(key)
    if value is not None and not isinstance(value, bool):
        raise unexpected(f"{where}.{key}", "true or false", value)
    return default if value is None else value


def nested(config: Plain, key: str, where: str = FILE) -> Plain:
    """Read a table inside a table; empty where there is none. Raises InputError."""
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise unexpected(f"{where}.{key}", "a table", value)
    return value or {}


def merge_side(config: Plain) -> int:
    """Read how many patches of a side Qwen2-VL's merger and its successors' join. Raises InputError."""
    return count_of(nested(config, "vision_config"), "spatial_merge_size", 2, MOST_MERGED)


def downsampling(config: Plain) -> int:
    """Read how many patches of a side InternVL's pixel unshuffle joins. Raises InputError."""
    ratio = config.get("downsample_ratio")
    if ratio is None:
        return 2
    if type(ratio) not in (int, float) or not 1 / MOST_MERGED <= ratio <= 1:
        raise unexpected(f"{FILE}.downsample_ratio", f"a number from 1/{MOST_MERGED} to 1", ratio)
    side: float = 1 / ratio
    return round(side)
