"""Does an answer match an expression of the questions' file? (expression, answer) -> yes or no, within a limit of time.

The answer is a server's text, and Python's ``re`` backtracks: ``(a+)+$`` may try for ever. Where the ways of a match,
as ``ways`` counts them, are few, it is made here; else in a process of its own, which can be ended.
"""

import functools
import json
import re
import subprocess
import sys

from vlmplan.errors import InputError, one_line, printable
from vlmplan.models import ways

MATCH_LIMIT_S = 2.0
_MOST_TRIED = 2e7  # ways from every start of an answer; a fifth of a second at worst
_MATCHING = "import json, re, sys; print(int(re.search(*json.load(sys.stdin)) is not None))"


@functools.lru_cache(maxsize=4096)
def matches(expression: str, text: str) -> bool:
    """Return whether ``expression`` is found anywhere in ``text``.

    Raises InputError for what is no expression, and for one that takes more than ``MATCH_LIMIT_S`` seconds.
    """
    try:
        compiled = re.compile(expression)
        if len(text) ** 2 * ways(expression, len(text)) <= _MOST_TRIED:
            return compiled.search(text) is not None
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"expected a regular expression, found {expression[:40]!r} ({one_line(error)})") from None
    command = [sys.executable, "-I", "-S", "-c", _MATCHING]
    try:
        done = subprocess.run(
            command,
            input=json.dumps([expression, text]).encode(),
            capture_output=True,
            timeout=MATCH_LIMIT_S,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise InputError(
            f"expected a regular expression that is matched within {MATCH_LIMIT_S:g} s, found "
            f"'{printable(expression[:40])}' and an answer of {len(text)} characters; expected few repeats, none of "
            "a group"
        ) from None
    return done.stdout.strip() == b"1"
