"""What is installed and found -> terminal text."""

from typing import TYPE_CHECKING

from vlmplan.hardware import Folder, FoundMachine
from vlmplan.inventory import Checkup, Finding, State
from vlmplan.units import format_bytes
from vlmplan.views.text import new_console, new_table

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {State.GOOD: "green", State.MISSING: "", State.LOW: "yellow", State.WRONG: "bold red"}


def _machine(machine: FoundMachine) -> str:
    """The processor and its memory in a line."""
    memory = ""
    if machine.memory_bytes:
        free = f" ({format_bytes(machine.free_bytes)} free)" if machine.free_bytes is not None else ""
        limit = ", the container's limit" if machine.limited else ""
        memory = f", {format_bytes(machine.memory_bytes)}{free}{limit}"
    inside = (
        f", in a {machine.inside}" if machine.inside == "container" else f", {machine.inside}" * bool(machine.inside)
    )
    return f"{machine.processor.name}, {machine.processor.threads} threads{memory}{inside}"


def _parts(parts: tuple[Finding, ...]) -> "Table":
    from rich.text import Text

    table = new_table("part", "state", "found", wrap="found")
    for one in parts:
        table.add_row(one.name, Text(one.state, style=_STYLES[one.state]), one.detail)
    return table


def _folder(folder: Folder) -> str:
    """A folder in a line: what it holds, and what its disk has left."""
    if not folder.there:
        holds = "not there yet"
    elif folder.more:
        holds = f"{format_bytes(folder.size_bytes)} at least" if folder.size_bytes else ""
    else:
        holds = format_bytes(folder.size_bytes)
    free = "" if folder.disk_free_bytes is None else f"{format_bytes(folder.disk_free_bytes)} free"
    return f"{folder.name}: {folder.path} ({', '.join(part for part in (holds, free) if part)})"


def print_checkup(checkup: Checkup) -> None:
    """Print the machine, what is installed, what each command lacks, and the lines that mend it."""
    console = new_console()
    console.print(f"vlmplan {checkup.version}, Python {checkup.python}, {checkup.platform}", style="bold")
    console.print(_machine(checkup.machine))
    console.print(f"Planned for: {checkup.plans_for}")
    console.print()
    console.print(_parts((*checkup.parts, *checkup.extras)))
    console.print()
    ready = [command.name for command in checkup.commands if command.state is State.GOOD]
    console.print(f"Ready: {', '.join(ready)}.")
    lacks: dict[str, list[str]] = {}
    for command in checkup.commands:
        if command.state is not State.GOOD:
            lacks.setdefault(command.detail, []).append(command.name)
    for what, names in lacks.items():
        console.print(f"Lack {what}: {', '.join(names)}.")
    for place in checkup.folders:
        console.print(_folder(place), soft_wrap=True)
    if checkup.mends:
        console.print()
        clone = (
            " (in a clone '.[page]' stands for 'vlmplan[page]')"
            if any("vlmplan[" in line for line in checkup.mends)
            else ""
        )
        console.print(f"To mend it{clone}:", style="bold")
        for line in checkup.mends:
            console.print(f"  {line}", soft_wrap=True)
