"""By which chat template do an export's clients write prompts? By one: that of the checkpoint's own processor.

transformers' processors take the template of ``processor_config.json``, else of ``chat_template.json``, else of
``chat_template.jinja``; the tokenizer's own, of ``tokenizer_config.json``, is the one where no other is. Clients look
in different places, so that an export has the same text wherever one does.
"""

import warnings
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import quiet_transformers
from vlmplan.document import read_plain, read_text
from vlmplan.errors import InputError, one_line

TEMPLATE_FILE = "chat_template.jinja"
OLDER_FILE = "chat_template.json"
_DEFAULT = "default"  # the name of the one that a prompt without tools is written by


def chat_template(folder: Path) -> str | None:
    """Return the template that a checkpoint's prompts are written by; None where it has none.

    Raises InputError for one that cannot be read, and for several of which none is the default.
    """
    quiet_transformers()
    from transformers.processing_utils import ProcessorMixin

    tables = (OLDER_FILE, "processor_config.json", "tokenizer_config.json")
    held = {name: read_plain(folder / name) for name in tables if (folder / name).is_file()}
    if (folder / TEMPLATE_FILE).is_file():
        read_text(folder / TEMPLATE_FILE)
    try:
        with warnings.catch_warnings(action="ignore"):  # it leaves files open
            found = ProcessorMixin.get_processor_dict(folder, local_files_only=True)[0].get("chat_template")
    except Exception as error:  # files that contradict each other raise what they like
        raise InputError(f"{folder}: its chat template cannot be read ({one_line(error)})") from None
    if found is None:
        found = held.get("tokenizer_config.json", {}).get("chat_template")
    return _one(found, folder)


def _one(found: Any, folder: Path) -> str | None:
    """The text of a template, or of the default one of several by name; line ends as Jinja reads them."""
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        found = {one.get("name"): one.get("template") for one in found}
    if isinstance(found, dict):
        if _DEFAULT not in found:
            names = ", ".join(map(str, found)) or "nothing"
            raise InputError(f"{folder}: its chat templates are {names:.80}; expected one of the name {_DEFAULT}")
        found = found[_DEFAULT]
    if found is None or found == "":
        return None
    if not isinstance(found, str):
        raise InputError(f"{folder}: its chat template is {found!r:.60}; expected a text")
    return found.replace("\r\n", "\n").replace("\r", "\n")
