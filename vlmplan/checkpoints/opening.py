"""How is a folder's processor or tokenizer opened? By transformers, without code of the folder's own; else one line."""

from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, one_line
from vlmplan.panics import panics_refused


def opened(folder: Path, what: str, kind: Any, **options: Any) -> Any:
    """Return what one of transformers' classes (``kind``) makes of a folder; ``what`` that is, in a message.

    Raises InputError where it cannot be loaded.
    """
    try:
        with panics_refused(str(folder)):
            return kind.from_pretrained(folder, trust_remote_code=False, **options)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises what it likes
        raise InputError(f"{folder}: its {what} cannot be loaded ({one_line(error)})") from None
