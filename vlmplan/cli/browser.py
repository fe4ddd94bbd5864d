"""How is a page shown? By the desktop's own browser; where there is none its place is said, and that is no error."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from vlmplan.cli.output import say
from vlmplan.errors import InputError

OpenOption = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_REDIRECT = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">{0}</a>'


def _has_browser() -> bool:
    """Whether a browser would show on the reader's own screen, and not take over the terminal as text browsers do."""
    if os.environ.get("BROWSER") or any(map(os.environ.get, _DISPLAYS)):
        return True
    return sys.platform in {"darwin", "win32"} and not os.environ.get("SSH_CONNECTION")


def opened(url: str) -> bool:
    """Ask the browser to show an address; whether one was found that would."""
    import webbrowser

    try:
        return _has_browser() and webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False


def show(path: Path) -> None:
    """Show a file in the browser, or say where it is."""
    if not opened(path.resolve().as_uri()):
        say(f"no browser can be opened here; open {path.resolve()} in one")


def _private(text: str, name: str) -> Path:
    """Write a page to a temporary file that only this user reads. Raises InputError."""
    import tempfile

    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name)[:60]
    try:
        handle, path = tempfile.mkstemp(prefix=f"{plain}-", suffix=".html")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(
            f"--open: no temporary file can be written ({error.strerror}); make room, or set TMPDIR"
        ) from None
    return Path(path)


def show_page(text: str, name: str) -> None:
    """Write a page to a temporary file, which stays for the browser to read, and show it."""
    path = _private(text, name)
    say(f"wrote {path}")
    show(path)


def show_address(url: str) -> Path | None:
    """Show an address that has a secret in it, by a file that leads there: others see what processes are called with.

    Returns the file, to be removed at the end; None where no browser can be opened. Raises InputError.
    """
    import threading
    from html import escape

    if not _has_browser():
        return None
    path = _private(_REDIRECT.format(escape(url)), "vlmplan-explore")

    def lead() -> None:
        if not opened(path.as_uri()):
            say("no browser was opened; open the address in one")

    threading.Thread(target=lead, daemon=True).start()  # some browsers are waited for
    return path
