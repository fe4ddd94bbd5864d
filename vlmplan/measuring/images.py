"""How long does this host take to make an image ready for a vision tower? A JPEG decoded, then put through processors.

(a store of times) -> seconds for a pixel as sent and for one that the tower sees. Two processors tell the two apart:
CLIP's, which sees 336 pixels a side of whatever is sent, and Qwen's, which sees nearly all. Both are transformers' own,
with the backend that is installed.
"""

import functools
import io
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vlmplan.checkpoints import as_rgb, quiet_transformers
from vlmplan.hardware import Preprocess
from vlmplan.measuring.timing import Runner, Store

TITLE, PART = "images", "preprocess"
SIZE = (1280, 720)
_SENT_PX = SIZE[0] * SIZE[1]
_FORM_LOG_SD = 0.3  # what nine families' processors are off from two such rates (facts/preprocess.csv)
_QWEN = {"size": {"shortest_edge": 56 * 56, "longest_edge": 12_845_056}, "patch_size": 14}
_CLIP = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
# Processor, its settings, and how many pixels it makes of the picture.
_PROCESSORS: dict[str, tuple[str, Mapping[str, Any], int]] = {
    "image, few pixels seen": ("CLIPImageProcessor", _CLIP, 336 * 336),
    "image, all pixels seen": ("Qwen2VLImageProcessor", _QWEN, 1288 * 728),
}


def picture(width_px: int, height_px: int) -> Any:
    """Return an RGB picture whose amplitudes fall as 1/f, as those of photographs do; the seed is fixed."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    across, down = np.fft.rfftfreq(width_px), np.fft.fftfreq(height_px)
    frequency = np.maximum(np.hypot(down[:, None], across[None, :]), 1 / max(width_px, height_px))
    shape = (3, height_px, len(across))
    phases = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    field = np.fft.irfft2(phases / frequency, s=(height_px, width_px))
    scaled = 128 + 48 * (field - field.mean()) / field.std()
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def stored_picture(kind: str, image: Any, **options: Any) -> bytes:
    """Return the picture as a file of ``kind``."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(stored: bytes) -> Any:
    """Return a stored picture as 8-bit RGB."""
    from PIL import Image

    return as_rgb(Image.open(io.BytesIO(stored)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A JPEG that is decoded and put through a processor."""

    stored: bytes
    processor: Any

    def run(self) -> dict[str, float]:
        """Run once."""
        start = time.perf_counter()
        self.processor(images=decoded(self.stored), return_tensors="pt")
        return {PART: time.perf_counter() - start}


def _made(name: str, settings: Mapping[str, Any]) -> Runner:
    processor = getattr(quiet_transformers(), name)(**settings)
    return _Prepared(stored=stored_picture("jpeg", picture(*SIZE), quality=90), processor=processor)


def image_makers() -> dict[str, Callable[[], Runner]]:
    """Return what makes the runners, by name."""
    return {name: functools.partial(_made, *made[:2]) for name, made in _PROCESSORS.items()}


def preprocess_of(store: Store) -> Preprocess | None:
    """Return what was measured; None for a store that has no images in it."""
    seconds: dict[str, list[float]] = {}
    for one in store.timed:
        if one.part == PART:
            seconds.setdefault(one.name, []).append(one.samples.median_s)
    if set(seconds) != set(_PROCESSORS):
        return None
    (few_s, few_px), (all_s, all_px) = (
        (statistics.median(seconds[name]), made_px) for name, (_, _, made_px) in _PROCESSORS.items()
    )
    seen_px_s = max(0.0, (all_s - few_s) / (all_px - few_px))
    sent_px_s = max(0.0, (few_s - few_px * seen_px_s) / _SENT_PX)
    noise = max(math.log(max(times) / min(times)) for times in seconds.values())
    return Preprocess(
        sent_px_s=float(f"{sent_px_s:.3g}"),
        seen_px_s=float(f"{seen_px_s:.3g}"),
        log_sd=round(math.hypot(_FORM_LOG_SD, noise), 3),
        source=f"a JPEG of {SIZE[0]}x{SIZE[1]} through two processors of transformers, measured on {store.setup.date}",
    )
