"""What tensors does a checkpoint hold? Names as its files have them -> names as used here, and arrays, one at a time.

(safetensors files) -> :class:`Weights`, of which graphs are drawn; nothing is unpickled.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vlmplan.checkpoints.families.internvl_chat import third_of
from vlmplan.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_RENAMES = (
    (re.compile(r"^(model\.)?language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^(model\.)?language_model\.(model\.)?"), "language_model."),
    (re.compile(r"^(model\.)?vision_tower\.(vision_model\.)?"), "vision_tower."),
    (re.compile(r"^model\.text_model\."), "language_model."),
    (re.compile(r"^model\.vision_model\."), "vision_tower."),
    (re.compile(r"^(model\.)?visual\."), "vision_tower."),
    (re.compile(r"^model\.(?=(layers|embed_tokens|norm)\.)"), "language_model."),
    (re.compile(r"^model\.(?=multi_modal_projector\.|image_newline|compressor\.|connector\.)"), ""),
)


class Weights(Protocol):
    """Named tensors: what a graph is drawn from."""

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the tensor's shape, or None where there is no such tensor."""

    def array(self, name: str) -> "Array":
        """Return the tensor in fp32."""


def canonical(name: str) -> str:
    """Return a tensor's name as used here: ``language_model.``, ``vision_tower.``, ``multi_modal_projector.``."""
    for pattern, replacement in _RENAMES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


class Tensors:
    """The tensors of one or more safetensors files under canonical names. Raises InputError for a file that is none."""

    def __init__(self, files: tuple[Path, ...], rename: Any = canonical) -> None:
        """Open the files' headers; the tensors stay on disk."""
        from safetensors import SafetensorError, safe_open

        self._place: dict[str, tuple[Any, str]] = {}
        for path in files:
            try:
                opened = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise InputError(f"{path}: expected a safetensors file ({error})") from None
            for name in list(opened.keys()):  # type: ignore[no-untyped-call]
                if (known := rename(name)) in self._place and self._place[known][1] != name:
                    raise InputError(f"{path}: holds {name} and {self._place[known][1]}, one tensor under two names")
                self._place[known] = (opened, name)

    def stored_names(self) -> tuple[str, ...]:
        """Return all names as the files have them."""
        return tuple(stored for _, stored in self._place.values())

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the tensor's shape, or None where there is no such tensor."""
        if name not in self._place:
            return None
        opened, stored = self._place[name]
        return tuple(opened.get_slice(stored).get_shape())

    def array(self, name: str) -> "Array":
        """Return the tensor in fp32. Raises InputError where there is none."""
        if name not in self._place:
            raise InputError(f"no tensor '{name}' in the checkpoint")
        opened, stored = self._place[name]
        array: Array = opened.get_tensor(stored).float().numpy()
        return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjoined:
    """Tensors of InternVL's first format, whose layers hold queries, keys and values in one: each by its own name."""

    stored: Tensors

    def stored_names(self) -> tuple[str, ...]:
        """Return all names as the files have them."""
        return self.stored.stored_names()

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the tensor's shape, or None where there is no such tensor."""
        joint = third_of(name)
        whole = self.stored.shape(name if joint is None else joint[0])
        return whole if joint is None or whole is None or whole[0] % 3 else (whole[0] // 3, *whole[1:])

    def array(self, name: str) -> "Array":
        """Return the tensor in fp32. Raises InputError where there is none."""
        joint = third_of(name)
        whole = self.stored.array(name if joint is None else joint[0])
        rows = len(whole) // 3
        return whole if joint is None else whole[joint[1] * rows : (joint[1] + 1) * rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Several sets of tensors; the first that has a name gives it."""

    parts: tuple[Weights, ...]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the tensor's shape, or None where no part has it."""
        return next((shape for part in self.parts if (shape := part.shape(name)) is not None), None)

    def array(self, name: str) -> "Array":
        """Return the tensor in fp32. Raises InputError where no part has it."""
        for part in self.parts:
            if part.shape(name) is not None:
                return part.array(name)
        raise InputError(f"no tensor '{name}' in the checkpoint")
