"""What is known of a model family? One record for each of its ``model_type``s, and the parts that are its own.

A family's file in ``families/`` makes a ``Family``; whatever reads a checkpoint starts from its records, and none asks
for a type by name.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from vlmplan.models.configs.image_rules import Made as Rule
from vlmplan.models.configs.keys import Plain
from vlmplan.models.configs.projectors import Made as Maker
from vlmplan.models.configs.text_types import Overflow, TextType
from vlmplan.models.configs.towers import TowerType
from vlmplan.models.settings import Settings


class Tie(enum.Enum):
    """Which of two ``tie_word_embeddings``, the outer table's and the text's, ties the head, as a class reads them.

    Where only one table has it, that one says so, whatever the class: checkpoints are written by many versions.
    """

    OUTER = enum.auto()
    EITHER = enum.auto()
    TEXT = enum.auto()
    NEVER = enum.auto()

    def tied(self, outer: bool | None, text: bool | None, unasked: bool | None) -> bool | None:
        """Whether the head is tied; ``unasked`` where neither table says so."""
        if self is Tie.NEVER:
            return False
        if outer is None or text is None:
            return next((said for said in (outer, text) if said is not None), unasked)
        return {Tie.OUTER: outer, Tie.TEXT: text}.get(self, outer or text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where checkpoints have the tower's layers and the projector; ``model.`` may stand before either.

    ``fused``: one projection makes queries, keys and values in a layer, whatever its path ends in. ``named`` are the
    modules of operators that stand behind the layers.
    """

    tower: tuple[str, ...]
    projector: tuple[str, ...]
    fused: bool = False
    named: Mapping[str, str] = field(default_factory=dict)


CLIP_LAYERS = (
    "vision_tower.encoder.layers",
    "vision_tower.vision_model.encoder.layers",
    "vision_model.encoder.layers",
)
LINEAR = ("multi_modal_projector.linear_1", "multi_modal_projector.linear_2", "multi_modal_projector.linear")
USUAL = Places(tower=CLIP_LAYERS, projector=LINEAR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A vision-language ``model_type``, and all that differs between it and others.

    ``classes`` are the names in ``architectures`` that mean this type, less what they end in; any other is a model of
    its own that borrows the type, unless another type lists it in ``borrows``. ``synonyms`` are other ``model_type``s
    that mean this one.

    ``tower`` and ``text`` are the types meant where the nested table names none (or one that is not known); further
    names that checkpoints give the tower are ``towers`` (``tower_names`` as a ``model_name``), and the LLM
    ``text_names``, and names of its class ``text_classes``. ``text_key`` and ``vision_key`` name the nested tables; a
    type without ``text_key`` has its text fields at the top, of a type that follows from ``versions`` where there are
    any ("" where a file says none); a class in ``text_alone`` is the LLM without the tower. ``vision_defaults`` and
    ``text_defaults`` are dimensions, ``traits`` what the tower has beyond its own type. ``by_tower`` is the type whose
    projector and image rule a tower brings along. ``tied`` is whether the head is tied where no table says so,
    ``tied_by`` which of two that do. With ``newline`` a vector of the LLM's width ends each row of patches.
    ``siglip_head``: a SigLIP tower has its pooling head, which nothing reads, unless its table says no.
    ``exportable``: ``vlmplan export`` draws its graphs; with ``tiled`` its export keeps the processor's tiles, as
    SmolVLM's, and others are left with one view. ``masked`` tiles come with a mask of the pixels that are no padding.
    ``gridded`` ones are squares of patches, a token each, as many as an image of any shape makes, and come with the
    grid of its patches. ``shaped`` ones are views of patches, each in a shape of its own. ``exported_texts`` are the
    LLM types that are drawn for it, where those of most families are not.

    ``projector`` and ``image`` make what stands behind the tower, and the rule of its tokens. ``settings`` is what one
    sets for another number of tokens, None where nothing changes it. ``overflows`` says who does not run it in fp16.
    """

    model_type: str
    classes: tuple[str, ...]
    tower: str
    text: str
    projector: Maker
    image: Rule
    settings: Settings | None
    places: Places
    synonyms: tuple[str, ...] = ()
    borrows: tuple[str, ...] = ()
    text_names: tuple[str, ...] = ()
    text_classes: tuple[str, ...] = ()
    text_alone: tuple[str, ...] = ()
    towers: tuple[str, ...] = ()
    tower_names: tuple[str, ...] = ()
    text_key: str = "text_config"
    vision_key: str = "vision_config"
    vision_defaults: Plain = field(default_factory=dict)
    text_defaults: Plain = field(default_factory=dict)
    traits: Plain = field(default_factory=dict)
    feature_layer: int = -1
    versions: Mapping[str, str] = field(default_factory=dict)
    by_tower: Mapping[str, str] = field(default_factory=dict)
    tied: bool | None = None
    tied_by: Tie = Tie.OUTER
    newline: bool = False
    siglip_head: bool = False
    exportable: bool = False
    tiled: bool = False
    masked: bool = False
    gridded: bool = False
    shaped: bool = False
    exported_texts: tuple[str, ...] = ()
    overflows: tuple[Overflow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The types of a family, and the towers and decoders that came with it."""

    architectures: tuple[Architecture, ...]
    towers: Mapping[str, TowerType] = field(default_factory=dict)
    texts: Mapping[str, TextType] = field(default_factory=dict)
