"""Compare what transformers.js made of exports with vlmplan's own loop, and whole exports with PyTorch.

    PYTHONPATH=. python tools/compare_transformers_js.py CHECKPOINT DIR

``DIR`` is what ``tools/try_transformers_js.mjs --out DIR`` wrote of exports of ``CHECKPOINT``. Each is fed the very
pixels and token ids of transformers.js; how far those are from the Python processor's own is said beside it. Exits 1
where tokens differ.
"""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vlmplan.checkpoints.checkpoint import LLAVA_TYPES, quiet_transformers
from vlmplan.checkpoints.families.gemma import MARKED_TYPES, POOLED_TYPES
from vlmplan.checkpoints.families.pixtral import PICTURED_TYPES
from vlmplan.exporting.answers import Prompts
from vlmplan.exporting.manifest import read_manifest
from vlmplan.exporting.runner import OnnxModel, Prompt, generate
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Compressor

TILED_HERE = tuple(kind for kind in LLAVA_TYPES if kind != "llava")  # which transformers tiles, and exports do not


def _inputs(found: dict[str, Any]) -> tuple[Any, Any]:
    """Token ids and pixels as transformers.js made them."""
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.float32).reshape(found["dims"])
    return np.array([found["ids"]], np.int64), pixels.copy()


def _shown(shapes: Any, longest: int) -> Any:
    """Which of the patches of views are no padding: ``[views, longest]``."""
    return (np.arange(longest) < shapes.prod(axis=1)[:, None]).astype(np.int64)


def _alike(found: dict[str, Any], ids: Any, pixels: Any) -> str:
    """How far the Python processor of the same folder is from these."""
    from PIL import Image

    processor = Prompts(Path(found["folder"])).processor
    pictures = [Image.open(name).convert("RGB") for name in found["images"]]
    own = processor(images=pictures, text=found["text"], return_tensors="np")
    same = own["input_ids"].tolist() == ids.tolist()
    apart = np.abs(own["pixel_values"] - pixels).max() if own["pixel_values"].shape == pixels.shape else np.inf
    return f"token ids {'equal' if same else 'DIFFERENT'}, pixels apart by at most {apart:.2f}"


def _by_torch(checkpoint: str, prompt: Prompt, count: int) -> list[int]:
    """Transformers' own ``generate``."""
    import torch

    model = quiet_transformers().AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    ids: Any = prompt.input_ids
    given = {"input_ids": torch.from_numpy(ids), "pixel_values": torch.from_numpy(prompt.pixel_values)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    if prompt.grid is not None:
        given["image_grid_thw"] = torch.from_numpy(prompt.grid)
        given["mm_token_type_ids"] = (given["input_ids"] == prompt.image_token).int()
    if prompt.shapes is not None:
        given["spatial_shapes"] = torch.from_numpy(prompt.shapes)
        given["pixel_attention_mask"] = torch.from_numpy(prompt.pixel_mask)
    if model.config.model_type in PICTURED_TYPES:
        given["image_sizes"] = given.pop("image_grid_thw")
        del given["mm_token_type_ids"]
    if model.config.model_type in POOLED_TYPES:  # whose processors say what is an image, or that all is a prefix
        shown = given["input_ids"] == model.config.image_token_index
        given["token_type_ids"] = shown.long() * (model.config.model_type in MARKED_TYPES)
    with torch.inference_mode():
        found = model.generate(**given, max_new_tokens=count, do_sample=False)
    return [int(token) for token in found[0, ids.shape[1] :]]


def compared(path: Path, checkpoint: str) -> tuple[dict[str, bool], str]:
    """Return whether a file's tokens are our own loop's and, of fp32 as it is, PyTorch's; and how inputs differ."""
    found = json.loads(path.read_text(encoding="utf-8"))
    ids, pixels = _inputs(found)
    config = json.loads((Path(found["folder"]) / "config.json").read_text(encoding="utf-8"))
    token = config.get("image_token_index", config.get("image_token_id"))
    sizes = np.array([found["dims"][-2:]], np.int64) if config["model_type"] in PICTURED_TYPES else None
    grid = sizes if found.get("grid") is None else np.array([found["grid"]], np.int64)
    shapes = None if found.get("shapes") is None else np.array(found["shapes"], np.int64).reshape(-1, 2)
    prompt = Prompt(
        input_ids=ids, attention_mask=np.ones_like(ids), pixel_values=pixels, image_token=token, grid=grid,
        shapes=shapes, pixel_mask=None if shapes is None else _shown(shapes, pixels.shape[1]),
        merge=config["vision_config"].get("spatial_merge_size", 1),
    )  # fmt: skip
    theirs = {"own loop": list(generate(OnnxModel(Path(found["folder"])), prompt, len(found["tokens"])).tokens)}
    manifest = read_manifest(Path(found["folder"]))
    whole = manifest.precision is Precision.FP32 and manifest.compressor is Compressor.NONE
    if whole and manifest.architecture not in TILED_HERE:
        theirs["PyTorch"] = _by_torch(checkpoint, prompt, len(found["tokens"]))
    same = {name: tokens == found["tokens"] for name, tokens in theirs.items()}
    return same, f"{len(found['tokens'])} tokens; {_alike(found, ids, pixels)}"


def main() -> None:
    """Compare every file of the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    given, wrong = parser.parse_args(), 0
    for path in sorted(given.folder.glob("*.json")):
        same, beside = compared(path, given.checkpoint)
        wrong += not all(same.values())
        said = ", ".join(f"{name} {'equal' if one else 'DIFFERENT'}" for name, one in same.items())
        print(f"{path.stem}: {said}; {beside}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
