"""The app, for typer's generator of documentation, which ``tools/docs_site.py`` calls."""

from vlmplan.cli.app import app

__all__ = ["app"]
