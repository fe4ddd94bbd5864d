"""Where does a token stand in time, height and width? Positions of prompts with images for M-RoPE.

(token ids, mask, the squares of each image) -> ``[3, batch, tokens]``, as ``get_rope_index`` of transformers'
``Qwen2VLModel`` has it: text counts on in all three, an image's tokens share the time of its first and stand at their
row and column from there, and what follows goes on after the longer side. Further tokens count on from the last.
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Those of a prompt, ``first [3, batch, tokens]``; ``deltas [batch, 1]`` are what later ones add to the count."""

    first: Any
    deltas: Any

    def of(self, mask: Any, new: int) -> Any:
        """Return ``[3, batch, new]`` of the last ``new`` tokens that ``mask [batch, tokens]`` covers."""
        import numpy as np

        if mask.shape[1] == self.first.shape[2]:
            return self.first[:, :, -new:]
        counted = (mask.cumsum(-1) - 1)[:, -new:] + self.deltas
        return np.repeat(counted[None], 3, axis=0)

    def padded(self, tokens: int) -> "Positions":
        """Return them with padding on the left, up to ``tokens``."""
        import numpy as np

        missing = tokens - self.first.shape[2]
        return Positions(first=np.pad(self.first, ((0, 0), (0, 0), (missing, 0))), deltas=self.deltas)


def joined_positions(parts: list[Positions]) -> Positions:
    """Return several requests' as one batch."""
    import numpy as np

    first = np.concatenate([part.first for part in parts], axis=1)
    return Positions(first=first, deltas=np.concatenate([part.deltas for part in parts]))


def _row(ids: Any, image_token: int, grids: list[tuple[int, int, int]]) -> tuple[Any, list[tuple[int, int, int]]]:
    """Positions ``[3, tokens]`` of one request without its padding, and the images that are left for others."""
    import numpy as np

    parts, at, done = [], 0, 0
    images = (ids == image_token).nonzero()[0]
    while len(images := images[images >= done]):
        text = np.arange(images[0] - done) + at
        parts.append(np.broadcast_to(text, (3, len(text))))
        at += len(text)
        if not grids:
            raise InputError("the prompt has image tokens of more images than it has grids of patches")
        size, grids = grids[0], grids[1:]
        parts.append(np.indices(size).reshape(3, -1) + at)
        at, done = at + max(size[1:]), int(images[0]) + int(np.prod(size))
    text = np.arange(len(ids) - done) + at
    whole = np.concatenate([*parts, np.broadcast_to(text, (3, len(text)))], axis=1)
    if whole.shape[1] != len(ids):
        raise InputError("the prompt ends within an image: its grid has more squares than there are image tokens")
    return whole, grids


def positions_of(input_ids: Any, mask: Any, image_token: int, squares: Any) -> Positions:
    """Return the positions of prompts ``[batch, tokens]``; ``squares [images, 3]`` are each image's in time and space.

    The images of all requests, one after the other. Raises InputError where they do not fit the image tokens.
    """
    import numpy as np

    grids = [(int(frames), int(rows), int(columns)) for frames, rows, columns in squares]
    first = np.zeros((3, *input_ids.shape), np.int64)
    deltas = np.zeros((len(input_ids), 1), np.int64)
    for number, (ids, seen) in enumerate(zip(input_ids, mask.astype(bool), strict=True)):
        places, grids = _row(ids[seen], image_token, grids)
        first[:, number, seen] = places
        deltas[number] = places.max() + 1 - places.shape[1] if places.size else 0
    if grids:
        raise InputError(f"the prompt has grids of {len(grids)} more images than it has image tokens of")
    return Positions(first=first, deltas=deltas)
