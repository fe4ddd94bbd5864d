"""``vlmplan tokens``: how many visual tokens an image makes."""

from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import JsonOption, OutOption, VerboseOption
from vlmplan.cli.output import deliver
from vlmplan.document import check_apart, check_destination


def tokens(  # noqa: PLR0917 - one parameter an option
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Hub id, part of one, checkpoint directory or config.json.", autocompletion=completion.model
        ),
    ],
    image: Annotated[str, typer.Option("--image", metavar="WxH", help="Image size in pixels.")] = "1024x768",
    images: Annotated[int, typer.Option("--images", help="Images per request.")] = 1,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, max=1_000_000, help="Most wanted per image.")
    ] = None,
    verbose: VerboseOption = False,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Show how many visual tokens an image makes, and what sets another number, engine by engine.

    Example: vlmplan tokens --model Qwen2.5-VL-7B --image 1920x1080 --visual-tokens 256
    """
    from vlmplan.views import print_tokens

    check_destination(out)
    check_apart({"--out": out}, (model,))
    document = api.tokens(model=model, image=image, images=images, visual_tokens=visual_tokens)
    deliver(document, out, json, lambda: print_tokens(document, verbose=verbose))
