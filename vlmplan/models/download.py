"""What does a hub id hold? Its files, from the Hub or from the cache that other tools filled.

(ORG/NAME, patterns of file names) -> the folder they lie in. No code of the repository's is run.
"""

import importlib.util
import logging
import re
from pathlib import Path

from vlmplan.errors import Unavailable
from vlmplan.secret import hidden, tokens_at_hand

# What says which model a checkpoint is, and what its processor makes of an image: a few kilobytes.
CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json", "hf_quant_config.json")


def is_hub_id(name: str) -> bool:
    """Whether ``name`` could be a repository's: ORG/NAME."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith((".", "-"))


def downloaded(name: str, patterns: tuple[str, ...]) -> Path:
    """Return the folder of a hub id's files that match ``patterns``. Raises Unavailable."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise Unavailable("huggingface_hub is not installed; pip install 'vlmplan[deploy]'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    # It prints what a server's headers say, as they are.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    if patterns == CONFIGS:
        disable_progress_bars()
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # what a server answers makes the library raise what it likes
        reason = hidden(str(error), *tokens_at_hand()).split("\n", maxsplit=1)[0]
        raise Unavailable(f"{name} cannot be downloaded ({reason}); expected a local directory or a network") from None
