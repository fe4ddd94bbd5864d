"""``vlmplan tokens``: how many visual tokens an image makes."""

from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import ImageOption, ImagesOption, JsonOption, OutOption, VerboseOption, WorkloadOption
from vlmplan.cli.output import deliver
from vlmplan.document import check_apart, check_destination


def tokens(  # noqa: PLR0917 - one parameter an option
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Hub id, part of one, checkpoint directory or config.json.", autocompletion=completion.model
        ),
    ],
    image: ImageOption = None,
    images: ImagesOption = None,
    workload: WorkloadOption = None,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, max=1_000_000, help="Most wanted per image.")
    ] = None,
    verbose: VerboseOption = False,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Show how many visual tokens an image makes, and what sets another number, engine by engine.

    Example: vlmplan tokens --model Qwen2.5-VL-7B --image 1920x1080 --visual-tokens 256

    Example: vlmplan tokens --model Qwen2.5-VL-7B --workload document
    """
    from vlmplan.views import print_tokens

    check_destination(out)
    check_apart({"--out": out}, (model, workload))
    document = api.tokens(model=model, image=image, images=images, workload=workload, visual_tokens=visual_tokens)
    deliver(document, out, json, lambda: print_tokens(document, verbose=verbose))
