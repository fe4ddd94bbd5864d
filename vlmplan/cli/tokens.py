"""``vlmplan tokens``: how many visual tokens an image makes."""

from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import ImageOption, ImagesOption, JsonOption, OutOption
from vlmplan.cli.output import deliver
from vlmplan.document import check_destination


def tokens(
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Hub id, part of one, checkpoint directory or config.json.", autocompletion=completion.model
        ),
    ],
    image: ImageOption = "1024x768",
    images: ImagesOption = 1,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, max=1_000_000, help="Most wanted per image.")
    ] = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Show how many visual tokens an image makes, and what sets another number, engine by engine.

    Example: vlmplan tokens --model Qwen2.5-VL-7B --image 1920x1080 --visual-tokens 256
    """
    from vlmplan.views import print_tokens

    check_destination(out)
    document = api.tokens(model=model, image=image, images=images, visual_tokens=visual_tokens)
    deliver(document, out, json, lambda: print_tokens(document))
