"""How does a command speak? Documents and views to stdout, everything else to stderr, a job's summary to its page."""

import gc
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from vlmplan import inert
from vlmplan.document import append_text, to_json, write_text
from vlmplan.errors import Assumed, InputError


class Reader:
    """Who reads stdout. ``gone`` once the pipe is closed, as ``head`` does: what else was asked is still done."""

    gone = False


def say(text: str) -> None:
    """Print a line on stderr, whatever names are in it; where it cannot be said it is lost (``vlmplan.__main__``)."""
    typer.echo(inert.terminal(text), err=True)


def prepare() -> None:
    """Set the process up for long work: memory is collected, and libraries' advice does not mix with ours."""
    gc.enable()
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", Assumed)


def deliver(document: Any, out: Path | None, as_json: bool, view: Callable[[], None]) -> None:
    """Print ``document`` or its view; then, last and whole, write it where asked.

    A reader that has gone, as head does, ends the printing and not what else was asked.
    """
    text = to_json(document) if as_json or out is not None else ""
    try:
        if as_json:
            typer.echo(text, nl=False)
        else:
            view()
        sys.stdout.flush()
    except BrokenPipeError:
        Reader.gone = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written goes nowhere
    if out is not None:
        write_text(out, text)
        say(f"wrote {out}")


def summarise(text: str) -> None:
    """Add to the summary page of a GitHub job, where there is one; the verdict does not depend on it."""
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            append_text(Path(summary), text)
        except InputError as error:
            say(f"vlmplan: warning: GITHUB_STEP_SUMMARY: {error}")


def tell_request(asked: Mapping[str, Any]) -> None:
    """Say which request was assumed, where nothing is said of it."""
    from vlmplan.accuracy import about_videos
    from vlmplan.planning import INTERACTIVE

    if about_videos(asked.get("task")):  # a clip, which is said where it is taken for one
        return
    if all(asked[name] is None for name in ("workload", "requests", "text_tokens", "output_tokens", "image", "images")):
        request = (
            f"--image 1024x768 --text-tokens {INTERACTIVE.text_tokens} --output-tokens {INTERACTIVE.output_tokens}"
        )
        warnings.warn(f"assumed {request} (--workload)", Assumed, stacklevel=2)
