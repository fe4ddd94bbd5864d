"""``vlmplan catalogue``: what is shipped."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import JsonOption
from vlmplan.cli.output import deliver
from vlmplan.document import Document
from vlmplan.hardware import HardwareProfile
from vlmplan.inventory import Shelf

READERS: Mapping[Shelf, Callable[[str], Any]] = {
    Shelf.HARDWARE: api.hardware_profile,
    Shelf.MODELS: api.model,
    Shelf.LAWS: api.law,
    Shelf.WORKLOADS: api.workload,
    Shelf.TASKS: api.task,
}


def _show(document: Any) -> None:
    """Print one document; a device with its knees, a task as a line."""
    from vlmplan.views import print_device, print_document, print_shelf

    if isinstance(document, HardwareProfile):
        print_device(document, api.knees(hardware=document))
    elif not isinstance(document, Document):
        print_shelf([document])
    else:
        print_document(document)


def catalogue(
    shelf: Annotated[Shelf, typer.Argument(help="What to list.")],
    name: Annotated[str | None, typer.Argument(help="One of them, in full.", autocompletion=completion.shipped)] = None,
    json: JsonOption = False,
) -> None:
    """List the devices, models, tasks, workloads or laws that are shipped, or show one.

    Example: vlmplan catalogue hardware l4
    """
    from vlmplan.views import print_shelf

    if name is not None:
        document = READERS[shelf](name)
        deliver(document, None, json, lambda: _show(document))
        return
    documents = api.catalogue(shelf)
    deliver(documents, None, json, lambda: print_shelf(documents))
