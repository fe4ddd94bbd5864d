"""``vlmplan catalogue``: what is shipped."""

from typing import Annotated, Any

import typer

from vlmplan.cli.options import JsonOption
from vlmplan.cli.output import deliver
from vlmplan.hardware import HardwareProfile
from vlmplan.planning import Shelf
from vlmplan.planning import catalogue as shelves

# Which LLM the knees are shown for: the backbones of arXiv 2411.03312.
KNEE_MODELS = ("Qwen/Qwen1.5-0.5B", "Qwen/Qwen1.5-1.8B", "Qwen/Qwen1.5-4B", "Qwen/Qwen1.5-7B", "Qwen/Qwen1.5-14B")


def _show(document: Any) -> None:
    """Print one document; a device with its knees."""
    from vlmplan.cost import knee_table
    from vlmplan.views import print_device, print_document

    if isinstance(document, HardwareProfile):
        models = [shelves.model(name) for name in KNEE_MODELS]
        print_device(document, knee_table(document, shelves.typical(), models))
    else:
        print_document(document)


def catalogue(
    shelf: Annotated[Shelf, typer.Argument(help="What to list.")],
    name: Annotated[str | None, typer.Argument(help="One of them, in full.")] = None,
    json: JsonOption = False,
) -> None:
    """List the devices, models or laws that are shipped, or show one.

    Example: vlmplan catalogue hardware l4
    """
    from vlmplan.views import print_shelf

    readers = {Shelf.HARDWARE: shelves.hardware, Shelf.MODELS: shelves.model, Shelf.LAWS: shelves.law}
    if name is not None:
        document = readers[shelf](name)
        deliver(document, None, json, lambda: _show(document))
        return
    documents = [readers[shelf](known) for known in shelves.names(shelf)]
    deliver(documents, None, json, lambda: print_shelf(documents))
