"""May a regular expression of a checkpoint's file be matched? Those that could run for ever are refused.

(expressions, where) -> nothing, or an InputError. Python's ``re`` backtracks: a match may try every way in which
repeats share out a name and alternatives combine. Those ways are counted from the text, and bounded; what real
checkpoints list (``re:.*self_attn.*(q|k|v)_proj$``) stays far below.
"""

import math
import re
from collections.abc import Iterable

from vlmplan.errors import InputError, printable

LONGEST = 4096  # characters of an expression: ranges of layers are written out
MOST_WAYS = 200_000  # over all expressions of a list; about four seconds of matching at worst
_NAME = 70.0  # characters of a module's name
# What may stand in an expression, a piece at a time; a repeat follows the piece that it repeats.
_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?(?:[:=!]|<[=!]|P<\w+>))?|\)|\||[^\\()\[\]|]", re.DOTALL)
_REPEAT = re.compile(r"(\*|\+|\?|\{\d*,?\d*\})[?+]?")


def ways(text: str, characters: float = _NAME) -> float:
    """Return in how many ways an expression may try to match so many characters; infinite for what is not read."""
    open_groups, alternatives, free, optional, place = [0], 1.0, 0, 0, 0
    text = re.sub(r"(?<!\\)\.[*+]\$?$", "", text)  # at the end it takes the rest, and is never tried again
    while place < len(text):
        piece = _PIECE.match(text, place)
        if piece is None or re.fullmatch(r"\\[0-9]", piece[0]):
            return math.inf
        place = piece.end()
        repeat = _REPEAT.match(text, place)
        place = repeat.end() if repeat else place
        if piece[0].startswith("("):
            open_groups.append(1)
        elif piece[0] == "|":
            open_groups[-1] += 1
        elif piece[0] == ")" and len(open_groups) > 1:
            alternatives *= open_groups.pop()
        if repeat and repeat[1] == "?":
            optional += 1
        elif repeat and piece[0] == ")":
            return math.inf  # a repeated group may hold repeats
        elif repeat:
            free += 1
    return alternatives * 2.0 ** min(optional, 64) * characters ** min(free, 64) / math.factorial(min(free, 64))


def check_expressions(texts: Iterable[str], where: str) -> None:
    """Raise InputError where a list of expressions could take too long to match."""
    total = 0.0
    for text in texts:
        if len(text) > LONGEST:
            raise InputError(f"{where}: found an expression of {len(text)} characters, expected at most {LONGEST}")
        total += ways(text)
        if total > MOST_WAYS:
            raise InputError(
                f"{where}: '{printable(text[:60])}' is not matched: it, or the expressions before it, may take for "
                "ever; expected few repeats, and none of a group"
            )
