"""How many tokens is an image, and what sets another number? One model's answer, as a document.

(model, image, number of images) -> every number its processor can make, with the setting in each engine.
"""

from collections.abc import Mapping
from typing import ClassVar

from vlmplan.document import Document
from vlmplan.errors import InputError
from vlmplan.hardware import Engine
from vlmplan.models.spec import ModelSpec, Reduction, Rule
from vlmplan.models.visual_tokens import VisualInput, at_most, beyond_default, options
from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSetting:
    """One number of visual tokens an image, of a request in all, and how it is set."""

    visual_tokens: int
    request_visual_tokens: int
    views: int
    reduction: Reduction
    setting: str
    engines: Mapping[Engine, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens(Document):
    """What a model makes of an image: unasked, as wanted if a number was, and all it can, fewest first.

    ``beyond_default`` are those that settings above its own default make.
    ``in_sequence`` is false where the LLM attends to visual tokens from beside its sequence.
    """

    SCHEMA: ClassVar[str] = "vlmplan.tokens/1"

    model: str
    image: tuple[int, int]
    images: int
    rule: Rule
    in_sequence: bool
    native: TokenSetting
    wanted: TokenSetting | None
    reachable: tuple[TokenSetting, ...]
    beyond_default: tuple[TokenSetting, ...]
    warnings: tuple[str, ...]


def _as_set(visual: VisualInput, images: int) -> TokenSetting:
    return TokenSetting(
        visual_tokens=visual.visual_tokens,
        request_visual_tokens=images * visual.visual_tokens,
        views=visual.views,
        reduction=visual.reduction,
        setting=visual.setting,
        engines=visual.engines,
    )


def tokens_of(model: ModelSpec, image: tuple[int, int], images: int, wanted: int | None = None) -> Tokens:
    """Return the tokens of ``images`` pictures of ``image`` (width, height in pixels); ``wanted`` an image or fewer.

    The setting for a wanted number is that of the most tokens the processor makes without exceeding it. Raises
    InputError for a text model, or where it always makes more.
    """
    if model.image is None:
        raise InputError(f"{model.name} has no vision tower, so an image makes no tokens")
    reachable, chosen, warnings = options(model, image), None, [*model.cautions]
    if wanted is not None:
        chosen = at_most(model, image, wanted)
        if chosen is None:
            raise InputError(
                f"--visual-tokens {wanted}: {model.name} makes at least {reachable[0].visual_tokens} of this image; a "
                "compressor makes fewer (vlmplan export)"
            )
        least = model.image.trained_min_visual_tokens
        if chosen.visual_tokens < min(least, reachable[-1].visual_tokens):
            warnings.append(f"nothing is published of {model.name} below {least} visual tokens")
        if chosen.visual_tokens != wanted:
            warnings.append(f"no setting makes {wanted} of this image; {chosen.visual_tokens} is the next below")
    return Tokens(
        model=model.name,
        image=image,
        images=images,
        rule=model.image.rule,
        in_sequence=model.llm.sees_visual_tokens,
        native=_as_set(reachable[-1], images),
        wanted=_as_set(chosen, images) if chosen else None,
        reachable=tuple(_as_set(one, images) for one in reachable),
        beyond_default=tuple(_as_set(one, images) for one in beyond_default(model, image)),
        warnings=tuple(warnings),
    )
