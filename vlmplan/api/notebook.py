"""How does a document show itself in a notebook? As a view has it, imported when the first is shown."""

from vlmplan.document import Document, shown_in_notebooks


def _html(document: Document) -> str | None:
    from vlmplan.pages import html_of

    return html_of(document)


def register() -> None:
    """Let plans, comparisons, estimates, laws, fits and reports show themselves."""
    shown_in_notebooks(_html)
