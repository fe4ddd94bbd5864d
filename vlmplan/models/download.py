"""What does a hub id hold? Its files, from the Hub or from the cache that other tools filled.

(ORG/NAME, patterns of file names) -> the folder they lie in. No code of the repository's is run.
"""

import importlib.util
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

from vlmplan.errors import Unavailable
from vlmplan.secret import hidden, tokens_at_hand

# What says which model a checkpoint is, and what its processor makes of an image: a few kilobytes.
CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json", "hf_quant_config.json")
CONFIGS_S = 60.0  # for all of them; the library itself limits no more than the wait for the next byte
_MOST_BYTES = 2**24  # of a file, as of a server's answer (vlmplan/measuring/endpoint.py)
_MOST_MEMORY_BYTES = 2**30  # of the process that fetches them, with its libraries
_FETCHING = """
import json, logging, sys
try:
    import resource
    for kind, most in zip((resource.RLIMIT_FSIZE, resource.RLIMIT_DATA), map(int, sys.argv[1:3])):
        resource.setrlimit(kind, (most, most))
except (ImportError, OSError, ValueError):
    pass  # a system without such limits; the limit of time stands
from huggingface_hub import snapshot_download
from huggingface_hub.utils import disable_progress_bars
logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
disable_progress_bars()
try:
    found = [snapshot_download(sys.argv[3], allow_patterns=sys.argv[4:]), ""]
except MemoryError:
    found = ["", "its answer takes more memory than such files need"]
except Exception as error:
    found = ["", str(error) or type(error).__name__]
print(json.dumps(found))
"""


def is_hub_id(name: str) -> bool:
    """Whether ``name`` could be a repository's: ORG/NAME."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith((".", "-"))


def downloaded(name: str, patterns: tuple[str, ...]) -> Path:
    """Return the folder of a hub id's files that match ``patterns``. Raises Unavailable."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise Unavailable("huggingface_hub is not installed; pip install 'vlmplan[deploy]'")
    try:
        return Path(_within(CONFIGS_S, name, patterns) if set(patterns) <= set(CONFIGS) else _whole(name, patterns))
    except Exception as error:  # what a server answers makes the library raise what it likes
        reason = hidden(str(error), *tokens_at_hand()).split("\n", maxsplit=1)[0]
        raise Unavailable(f"{name} cannot be downloaded ({reason}); expected a local directory or a network") from None


def _whole(name: str, patterns: tuple[str, ...]) -> str:
    """The folder of files of any size, however long that takes. Raises what the library does."""
    from huggingface_hub import snapshot_download

    # It prints what a server's headers say, as they are.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    return str(snapshot_download(name, allow_patterns=list(patterns)))


def _within(limit_s: float, name: str, patterns: tuple[str, ...]) -> str:
    """The folder of small files. Raises TimeoutError beyond ``limit_s``, and OSError for what the library raises.

    In a process of its own, which can be ended, and bounded: a server that drips would otherwise hold this one for
    ever, and one that sends without end fill the memory.
    """
    limits = (str(_MOST_BYTES), str(_MOST_MEMORY_BYTES))
    command = [sys.executable, "-P", "-c", _FETCHING, *limits, name, *patterns]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"no whole answer within {limit_s:g} s") from None
    if done.returncode:
        raise OSError(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2] or "its library ended")
    folder, fault = json.loads(done.stdout)
    if fault:
        raise OSError(fault)
    return str(folder)
