"""What is drawn? Scenes of shapes and printed words on a grid of cells, and the pictures of them.

(random numbers, level) -> :class:`Scene` -> a PIL image. Each shape occurs once in a scene and each ink once, so that a
name means one thing.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "bar", "star")
COLOURS = {
    "red": (225, 50, 45),
    "green": (55, 185, 70),
    "blue": (50, 90, 230),
    "yellow": (240, 215, 50),
    "purple": (150, 60, 190),
    "orange": (245, 140, 35),
    "cyan": (60, 205, 220),
    "white": (245, 245, 245),
}
LETTERS = "ABCDEFGHKLMNPRTXYZ"  # none that is easily taken for another or for a digit
CELLS = 4  # on a side: where shapes and words stand
_BACKGROUNDS = ((24, 24, 28), (40, 44, 52), (60, 56, 50))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One notch of the dial: how many shapes and words a scene has, and how long the words are."""

    shapes: int
    words: int
    letters: int


LEVELS = {
    1: Level(shapes=2, words=1, letters=2),
    2: Level(shapes=3, words=1, letters=3),
    3: Level(shapes=5, words=2, letters=3),
    4: Level(shapes=6, words=2, letters=4),
    5: Level(shapes=8, words=3, letters=4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A shape in a cell; ``large`` fills it. Each kind occurs once in a scene, so that its name means one object."""

    name: str
    colour: str
    row: int
    column: int
    large: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A printed word: ``row`` and first ``column`` of the two cells it fills. Each colour of ink occurs once."""

    text: str
    colour: str
    row: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is in a picture."""

    background: tuple[int, int, int]
    shapes: tuple[Shape, ...]
    words: tuple[Word, ...]


def draw_scene(random: Random, level: Level) -> Scene:
    """Return a scene drawn at random: words take two neighbouring cells, shapes one each."""
    free = {(row, column) for row in range(CELLS) for column in range(CELLS)}
    inks = random.sample(sorted(COLOURS), level.words)
    words = []
    for ink in inks:
        starts = sorted((row, column) for row, column in free if (row, column + 1) in free and column % 2 == 0)
        row, column = random.choice(starts)
        free -= {(row, column), (row, column + 1)}
        text = "".join(random.choice(LETTERS) for _ in range(level.letters))
        words.append(Word(text=text, colour=ink, row=row, column=column))
    cells = random.sample(sorted(free), level.shapes)
    names = random.sample(SHAPES, level.shapes)
    shapes = tuple(
        Shape(name=name, colour=random.choice(sorted(COLOURS)), row=row, column=column, large=random.random() < 0.5)
        for name, (row, column) in zip(names, cells, strict=True)
    )
    return Scene(background=random.choice(_BACKGROUNDS), shapes=shapes, words=tuple(words))


def _star(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    import math

    turns = [(math.pi * (corner / 5 - 0.5), radius if corner % 2 == 0 else 0.42 * radius) for corner in range(10)]
    return [(x + length * math.cos(angle), y + length * math.sin(angle)) for angle, length in turns]


def _draw_shape(canvas: Any, shape: Shape, cell: float) -> None:
    """Draw a shape in the middle of its cell, ``cell`` pixels a side."""
    x, y = (shape.column + 0.5) * cell, (shape.row + 0.5) * cell
    radius = cell * (0.44 if shape.large else 0.28)
    fill, box = COLOURS[shape.colour], (x - radius, y - radius, x + radius, y + radius)
    thin = radius * 0.36
    match shape.name:
        case "circle":
            canvas.ellipse(box, fill=fill)
        case "square":
            canvas.rectangle(box, fill=fill)
        case "triangle":
            canvas.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=fill)
        case "diamond":
            canvas.polygon([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], fill=fill)
        case "cross":
            canvas.rectangle((x - thin, y - radius, x + thin, y + radius), fill=fill)
            canvas.rectangle((x - radius, y - thin, x + radius, y + thin), fill=fill)
        case "ring":
            canvas.ellipse(box, outline=fill, width=max(1, round(thin)))
        case "bar":
            canvas.rectangle((x - radius, y - thin, x + radius, y + thin), fill=fill)
        case "star":
            canvas.polygon(_star(x, y, radius), fill=fill)


def _draw_word(canvas: Any, word: Word, cell: float) -> None:
    """Print a word over its two cells, letter by letter, so that its place tells nothing of its text."""
    from PIL import ImageFont

    step = 2 * cell / len(word.text)
    font = ImageFont.load_default(size=min(1.25 * step, 0.95 * cell))
    for index, letter in enumerate(word.text):
        centre = (word.column * cell + (index + 0.5) * step, (word.row + 0.5) * cell)
        canvas.text(centre, letter, fill=COLOURS[word.colour], font=font, anchor="mm")


def render(scene: Scene, size: int) -> Any:
    """Return the scene as a square PIL image of ``size`` pixels a side, drawn four times larger and averaged."""
    from PIL import Image, ImageDraw

    large = 4 * size
    image = Image.new("RGB", (large, large), scene.background)
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        _draw_shape(canvas, shape, large / CELLS)
    for word in scene.words:
        _draw_word(canvas, word, large / CELLS)
    return image.resize((size, size), Image.Resampling.BOX)
