"""How long does a host take to make an image ready for a vision tower? Measured, and ``facts/preprocess.csv`` written.

A picture of natural statistics (amplitude falling with frequency) is stored as JPEG and as PNG, decoded by Pillow, and
put through processors of transformers with their families' settings, in both of its backends: Pillow with NumPy, and
torchvision where it is installed. Processor time of one thread, median of repeats: other work on the machine does not
count. Needs no weights.

    pip install torchvision
    PYTHONPATH=. python tools/measure_preprocess.py [--repeats 5]
"""

import argparse
import csv
import functools
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from facts import FACTS
from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.hardware.profile import Preprocess
from vlmplan.measuring.images import decoded, picture, stored_picture

TABLE = FACTS / "preprocess.csv"
SIZES = ((336, 336), (640, 480), (1280, 720), (1920, 1080), (1680, 2240))
_TILES = {"crop_to_patches": True, "max_patches": 12, "size": {"height": 448, "width": 448}}
_GRIDS = [[384 * down, 384 * across] for down in range(1, 7) for across in range(1, 7)]
_QWEN = {"size": {"shortest_edge": 56 * 56, "longest_edge": 12_845_056}}
# Processor and the settings of its family's best known checkpoint.
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "llava": ("CLIPImageProcessor", {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 384, "width": 384}}),
    "gemma3": ("Gemma3ImageProcessor", {"size": {"height": 896, "width": 896}}),
    "qwen2-vl": ("Qwen2VLImageProcessor", _QWEN | {"patch_size": 14}),
    "qwen3-vl": ("Qwen2VLImageProcessor", _QWEN | {"patch_size": 16}),
    "pixtral": ("PixtralImageProcessor", {"size": {"longest_edge": 1024}, "patch_size": {"height": 16, "width": 16}}),
    "smolvlm": ("SmolVLMImageProcessor", {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}),
    "internvl": ("GotOcr2ImageProcessor", _TILES),
    "onevision": ("LlavaOnevisionImageProcessor", {"image_grid_pinpoints": _GRIDS}),
}


def processor_ms(run: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of ``run`` in ms, after one run that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def _decodes(image: Any, repeats: int) -> Iterator[tuple[str, float]]:
    for kind, options in (("jpeg", {"quality": 90}), ("png", {})):
        stored = stored_picture(kind, image, **options)
        yield kind, processor_ms(functools.partial(decoded, stored), repeats)


def _processors() -> Iterator[tuple[str, str, Any]]:
    transformers = quiet_transformers()
    for family, (name, settings) in PROCESSORS.items():
        yield family, "pil", getattr(transformers, f"{name}Pil")(**settings)
        if find_spec("torchvision"):
            yield family, "torchvision", getattr(transformers, name)(**settings)


def _made_px(made: Any) -> int:
    """Pixels that the tower sees: Qwen's patches hold every one twice, for two frames."""
    values = np.asarray(made["pixel_values"])
    return values.size // (6 if "image_grid_thw" in made else 3)


def measured(repeats: int) -> Iterator[dict[str, object]]:
    """Measure every step at every size."""
    import torch

    torch.set_num_threads(1)
    for width_px, height_px in SIZES:
        image = picture(width_px, height_px)
        size = {"width_px": width_px, "height_px": height_px}
        for kind, took_ms in _decodes(image, repeats):
            yield {"step": "decode", "what": kind, "backend": "pil", **size, "cpu_ms": round(took_ms, 2)}
        for family, backend, processor in _processors():
            made = processor(images=image, return_tensors="np" if backend == "pil" else "pt")
            took_ms = processor_ms(functools.partial(processor, images=image, return_tensors="pt"), repeats)
            one = {"step": "process", "what": family, "backend": backend, **size}
            yield one | {"made_px": _made_px(made), "cpu_ms": round(took_ms, 2)}


IN_PROCESS_LOG_SD = 0.5  # by how much the clients' own hosts differ: an assumption
SOURCE = "transformers' processors and Pillow's JPEG on one core of an AMD EPYC (facts/preprocess.csv)"


@functools.cache
def measured_here(backend: str) -> Preprocess:
    """Return processor seconds for a pixel as sent (a JPEG's decoding with it) and for one that the tower sees.

    Least squares of relative errors over all families and sizes of the table, neither below zero.
    """
    from scipy.optimize import nnls

    with TABLE.open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    seconds = {id(row): float(row["cpu_ms"]) / 1e3 for row in found}
    sent = {id(row): int(row["width_px"]) * int(row["height_px"]) for row in found}
    decoded = statistics.median(seconds[id(row)] / sent[id(row)] for row in found if row["what"] == "jpeg")
    processed = [row for row in found if row["step"] == "process" and row["backend"] == backend]
    relative = [[sent[id(row)] / seconds[id(row)], int(row["made_px"]) / seconds[id(row)]] for row in processed]
    by_sent, by_seen = nnls(np.array(relative), np.ones(len(relative)))[0]
    return Preprocess(
        sent_px_s=decoded + float(by_sent), seen_px_s=float(by_seen), log_sd=IN_PROCESS_LOG_SD, source=SOURCE
    )


COLUMNS = ("step", "what", "backend", "width_px", "height_px", "made_px", "cpu_ms", "host", "versions")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    packages = ("transformers", "torch", "pillow", *(["torchvision"] if find_spec("torchvision") else []))
    where = {
        "host": f"{platform.machine()} {platform.processor() or ''}".strip(),
        "versions": " ".join(f"{name} {version(name)}" for name in packages),
    }
    table = []
    for row in measured(repeats):
        print(row, flush=True)
        table.append(row | where)
    with TABLE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
