"""Where does a small model's sight come from? A vision tower taught on drawn scenes, and a LLaVA around it.

Stands in for what a real checkpoint brings along. The tower (transformers' CLIP, small) learns to say of every patch
which shape, colour, size or letter is there: labels of drawings cost nothing. The LLM is new; ``sweep`` trains it on
drawn scenes before compressors are compared. Same seed, same weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import SmallModel, quiet_transformers, save_small, small_config, trained_tokenizer
from vlmplan.errors import InputError, check_range
from vlmplan.sweeping.question_sets import SetOrder, scenes
from vlmplan.sweeping.scenes import CELLS, COLOURS, LETTERS, SHAPES, Scene, render

_TEACHING_RATE = 2e-3
_TEACHING_BATCH = 64
# Beside what is drawn, a patch is asked for its own row and column, which attention needs less of.
_PLACE_WEIGHT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A vision tower: ``size`` pixels a side in patches of ``patch``, and how long it is taught."""

    size: int = 72
    patch: int = 6
    width: int = 96
    layers: int = 3
    heads: int = 3
    images: int = 16_000
    steps: int = 500

    def __post_init__(self) -> None:
        """Reject towers that cannot be drawn."""
        check_range("patch", self.patch, 1, self.size)
        check_range("width", self.width, self.heads, 4096)
        if self.size % self.patch or (self.size // self.patch) % CELLS:
            raise InputError(
                f"size, patch: found {self.size} and {self.patch}; expected patches that divide each of {CELLS} x "
                f"{CELLS} cells evenly"
            )

    @property
    def side(self) -> int:
        """Patches on a side."""
        return self.size // self.patch

    @property
    def config(self) -> dict[str, int]:
        """What transformers' CLIP configuration is made of."""
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "image_size": self.size,
            "patch_size": self.patch,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Llm:
    """A small LLM to be trained: transformers' Qwen3."""

    hidden: int
    layers: int
    heads: int = 4

    @property
    def config(self) -> dict[str, Any]:
        """What transformers' configuration is made of."""
        return {
            "hidden_size": self.hidden,
            "intermediate_size": 3 * self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.hidden // self.heads,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
        }


def patch_labels(scene: Scene, side: int) -> Any:
    """``[4, side, side]``: the shape, colour, size and letter of each patch, 0 where there is none."""
    import numpy as np

    labels, patches = np.zeros((4, side, side), np.int64), side // CELLS
    colours = list(COLOURS)
    for shape in scene.shapes:
        rows = slice(shape.row * patches, (shape.row + 1) * patches)
        columns = slice(shape.column * patches, (shape.column + 1) * patches)
        labels[0, rows, columns] = 1 + SHAPES.index(shape.name)
        labels[1, rows, columns] = 1 + colours.index(shape.colour)
        labels[2, rows, columns] = 1 + shape.large
    for word in scene.words:
        rows = slice(word.row * patches, (word.row + 1) * patches)
        for at in range(2 * patches):
            letter = word.text[int((at + 0.5) * len(word.text) / (2 * patches))]
            labels[1, rows, word.column * patches + at] = 1 + colours.index(word.colour)
            labels[3, rows, word.column * patches + at] = 1 + LETTERS.index(letter)
    return labels


def _drawn(sight: Sight, seed: int, image_processor: Any) -> tuple[Any, Any]:
    """Pixels ``[images, 3, size, size]`` and labels ``[images, 4, side²]`` of scenes of all levels."""
    import numpy as np
    import torch

    order = SetOrder(images=sight.images, size=sight.size, level=None, seed=seed)
    drawn = [(render(scene, sight.size), patch_labels(scene, sight.side)) for _, scene, _ in scenes(order)]
    pixels = image_processor([image for image, _ in drawn], return_tensors="pt")["pixel_values"]
    labels = np.stack([label for _, label in drawn]).reshape(len(drawn), 4, -1)
    return pixels, torch.from_numpy(labels)


def _batches(count: int, steps: int, generator: Any) -> Iterator[Any]:
    """Yield indices of ``steps`` batches, pass after pass over all rows."""
    import torch

    left = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(left) < min(_TEACHING_BATCH, count):
            left = torch.cat([left, torch.randperm(count, generator=generator)])
        yield left[:_TEACHING_BATCH]
        left = left[_TEACHING_BATCH:]


def teach(sight: Sight, seed: int, image_processor: Any, progress: Any) -> Any:
    """Return a tower that can tell what every patch shows."""
    import torch
    from torch import nn

    transformers = quiet_transformers()
    torch.manual_seed(seed)
    tower = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**sight.config))
    sizes = (1 + len(SHAPES), 1 + len(COLOURS), 3, 1 + len(LETTERS), sight.side, sight.side)
    heads = nn.ModuleList([nn.Linear(sight.width, size) for size in sizes])
    pixels, labels = _drawn(sight, seed, image_processor)
    row = torch.arange(sight.side).repeat_interleave(sight.side)
    places = torch.stack([row, torch.arange(sight.side).repeat(sight.side)])
    learning = [*tower.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(learning, _TEACHING_RATE, weight_decay=0.01)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, _TEACHING_RATE, total_steps=sight.steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    for step, rows in enumerate(_batches(len(pixels), sight.steps, generator), 1):
        states = tower(pixels[rows], output_hidden_states=True).hidden_states[-1][:, 1:]
        wanted = [*labels[rows].unbind(1), *(place.expand(len(rows), -1) for place in places)]
        losses = [nn.functional.cross_entropy(head(states).mT, due) for head, due in zip(heads, wanted, strict=True)]
        loss = sum(losses[:4]) + _PLACE_WEIGHT * sum(losses[4:])
        optimiser.zero_grad()
        torch.as_tensor(loss).backward()
        optimiser.step()
        pace.step()
        progress("teaching the tower", step, sight.steps)
    return tower.eval()


def _texts() -> list[str]:
    """What a tokenizer for drawn scenes is trained on."""
    order = SetOrder(images=600, level=None, seed=0, questions=2, captions=True)
    return [text for *_, asked in scenes(order) for one in asked for text in (one.text, f" {one.answer}")]


def write_base(llm: Llm, sight: Sight, tower: Any, seed: int, folder: Path) -> Path:
    """Write a LLaVA checkpoint of a taught tower and a new LLM; return ``folder``."""
    transformers = quiet_transformers()
    import torch

    tokenizer = trained_tokenizer(_texts())
    made = SmallModel(llm="qwen3", text=llm.config | {"vocab_size": len(tokenizer)}, vision=sight.config)
    config = small_config(made)
    config.vision_feature_layer = -1  # taught up to its last layer
    config.text_config.tie_word_embeddings = True
    config.tie_word_embeddings = True
    torch.manual_seed(seed)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    save_small(model, config, tokenizer, folder)
    return folder
