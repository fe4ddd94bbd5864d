"""Which Mistral 3 checkpoints are drawn? Pixtral's tower and its merger, as transformers' classes have them.

A transformers configuration -> what cannot be drawn is named. Pictures of any shape come whole, each with its height
and width, since those of a batch are padded to one size; a square of patches is a token.
"""

from pathlib import Path
from typing import Any

from vlmplan.errors import InputError

PICTURED_TYPES = ("mistral3",)  # whose towers read whole pictures of any shape
_MOST = 64  # patches of a side that are joined


def check_pictures(config: Any, folder: Path) -> None:
    """Raise InputError for a tower or a merger that no graph is drawn of."""
    tower, merge = config.vision_config, config.spatial_merge_size
    if type(merge) is not int or not 1 <= merge <= _MOST:
        raise InputError(f"{folder}: spatial_merge_size is {merge!r}, expected a whole number from 1 to {_MOST}")
    if type(tower.patch_size) is not int:
        raise InputError(f"{folder}: vision_config.patch_size is {tower.patch_size!r:.40}, expected a whole number")
    if tower.num_channels != 3:
        raise InputError(f"{folder}: vision_config.num_channels is {tower.num_channels!r:.40}, expected 3")
    if tower.hidden_size % (4 * tower.num_attention_heads):
        raise InputError(
            f"{folder}: the tower's width is {tower.hidden_size}, expected a multiple of 4 x "
            f"{tower.num_attention_heads} heads"
        )
