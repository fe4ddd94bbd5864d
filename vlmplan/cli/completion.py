"""What does a shell offer for a word half typed? The catalogue's names, and what a word may go on with.

A word half typed -> whole words that begin with it. Names come from the folder's listing and the compiled catalogue, in
milliseconds: nothing is planned. Where anything is wrong a shell is offered nothing, and says nothing.
"""

import os
import re
from collections.abc import Callable, Iterable

import typer

from vlmplan.errors import VlmplanError
from vlmplan.inventory import Shelf, catalogue

_APART = re.compile(r"([^\w./+=,-])")  # what takes a name apart in a shell: families and licences have blanks


def _starting(known: Iterable[str], incomplete: str) -> list[str]:
    """The names that begin so, in whatever case, with what was typed in front: a shell drops any other word.

    Bash takes them as they stand, so that blanks have to be escaped; other shells do that themselves.
    """
    folded, bash = incomplete.casefold(), os.environ.get("_VLMPLAN_COMPLETE", "").endswith("bash")
    rest = (name[len(incomplete) :] for name in known if name.casefold().startswith(folded))
    return [incomplete + (_APART.sub(r"\\\1", one) if bash else one) for one in rest]


def _completer(offered: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        try:
            return offered(incomplete)
        except VlmplanError:
            return []

    return complete


def _of_list(known: Callable[[str], Iterable[str]]) -> Callable[[str], list[str]]:
    """What completes the last item of a comma list with what is not in it yet; ``known`` may go by that item."""

    def offered(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = {item.strip().partition("=")[0].casefold() for item in before.split(",")}
        left = (name for name in known(last) if name.casefold() not in taken)
        return [f"{before}{comma}{name}" for name in _starting(left, last)]

    return _completer(offered)


def _models(incomplete: str) -> list[str]:
    """Hub ids; where none begins so, what follows the organisation, if it is a part of one id alone."""
    known = catalogue.names(Shelf.MODELS)
    short = _starting((name.rpartition("/")[2] for name in known), incomplete)
    alone = [one for one in short if sum(one.casefold() in name.casefold() for name in known) == 1]
    return _starting(known, incomplete) or alone


def _devices(incomplete: str) -> tuple[str, ...]:
    """Devices; once something is typed also without the line of products that their names begin with: ``rtx-4090``."""
    known = catalogue.names(Shelf.HARDWARE)
    lines = ("geforce-", "instinct-", "apple-", "jetson-", "intel-", "amd-")
    short = (name.removeprefix(line) for name in known for line in lines if name.startswith(line))
    return (*known, *short) if incomplete else known


def _tasks() -> list[str]:
    """Tasks, then the benchmarks that they are made of, but for one that a task is named after."""
    evidence = catalogue.evidence()
    tasks = {name.casefold() for name in evidence.tasks}
    return [*evidence.tasks, *(one.name for one in evidence.benchmarks if one.name.casefold() not in tasks)]


def _precisions() -> list[str]:
    from vlmplan.hardware import Precision

    return [one.value for one in Precision]


def _families() -> set[str]:
    return {model.family for model in catalogue.models()}


def _licences() -> set[str]:
    return {model.license for model in catalogue.models() if model.license}


device = _completer(lambda incomplete: _starting(_devices(incomplete), incomplete))
devices = _of_list(lambda last: (*_devices(last), "all"))
model = _completer(_models)
tasks = _of_list(lambda _: _tasks())
precisions = _of_list(lambda _: _precisions())
family = _completer(lambda incomplete: _starting(sorted(_families()), incomplete))
workload = _completer(lambda incomplete: _starting(catalogue.names(Shelf.WORKLOADS), incomplete))
licence = _completer(lambda incomplete: _starting(sorted(_licences()), incomplete))


def shipped(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names on the shelf that was typed before: hardware, models or laws."""
    try:
        return _starting(catalogue.names(Shelf(context.params["shelf"])), incomplete)
    except (VlmplanError, KeyError, ValueError):
        return []
