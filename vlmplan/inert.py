"""Text of others made harmless for where it goes: a terminal or a log, Markdown, JUnit, a page, a shell, a document.

Names, paths, tasks, reasons, a server's words: whoever wrote a file chose them. (text, destination) -> text that says
the same and does nothing: what cannot be seen stands there as an escape, what a reader takes for a command is broken.

GitHub's runner reads ``::`` at the start of a line, blanks aside, and ``##[`` anywhere in one (actions/runner,
``src/Runner.Common/ActionCommand.cs``). Where lines are folded any word may begin one, so ``::`` is broken anywhere.
XML 1.0 has no control characters but tab and line ends (https://www.w3.org/TR/xml/#charsets); they go as escapes, too.
"""

import json
import re
import shlex
from collections.abc import Callable
from html import escape

# Letters that show nothing, yet count as printable: joiners, fillers, variation selectors (Unicode 16,
# DerivedCoreProperties.txt, Default_Ignorable_Code_Point) and the blank pattern of braille.
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
_COMMANDS = re.compile(r"\[[0-9A-Fa-f:.]+\]|::|##\[")  # an address such as [::1] is none
# What formats anywhere in a line; what opens a tag or an entity; what makes links of addresses and pictures of :words:;
# what begins a list (but of numbers), a rule or a quotation.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$@#]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|:(?=//|\w+:)|(?<=www)\.|^[-+=>]", re.ASCII)
_INSTEAD = {"<": "&lt;", "&": "&amp;", "|": "/"}  # no escape keeps a bar out of a table everywhere


def _escape(character: str) -> str:
    """One character as Python writes it in a string."""
    code = ord(character)
    if not character.isprintable():
        return repr(character)[1:-1]
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_seen(character: str) -> bool:
    return character.isprintable() and character not in _UNSEEN


def seen(text: str) -> str:
    """Return ``text`` with escapes for what cannot be seen: controls, line ends, half characters, joiners."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_seen(character) else _escape(character) for character in text)


def _broken(match: re.Match[str]) -> str:
    return {"::": ":\\x3a", "##[": "#\\x23["}.get(match[0], match[0])


def short(text: str, most: int = 200) -> str:
    """Return ``text`` with the middle of every word of more characters left out: a name may be as long as a file."""
    return re.sub(rf"\S{{{most},}}", lambda word: f"{word[0][: most // 2]}...{word[0][-most // 4 :]}", text)


def terminal(text: str) -> str:
    """Return ``text`` on one line, for a terminal or the log of a workflow."""
    return _COMMANDS.sub(_broken, seen(text))


def cell(text: str) -> str:
    """Return ``text`` for a cell of a table that people open in a spreadsheet: none takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def markdown(text: str) -> str:
    """Return ``text`` for a line or a cell of Markdown: no table, link, picture, mention, code or HTML comes of it."""
    shown = _MARKDOWN.sub(lambda match: _INSTEAD.get(match[0], f"\\{match[0]}"), terminal(text).lstrip())
    return re.sub(r"^([0-9]{1,9})([.)])", r"\1\\\2", shown)


def markdown_code(text: str) -> str:
    """Return ``text`` as code in a line of Markdown (no cell), between more backticks than it holds itself."""
    shown = terminal(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if len(fence) > 1 or not shown.strip() else f"{fence}{shown}{fence}"


def junit(text: str) -> str:
    """Return ``text`` for an attribute or the text of JUnit XML, on one line; the XML library escapes its markup."""
    return terminal(text)


def html(text: str) -> str:
    """Return ``text`` for a page's template, which escapes markup itself: one line, nothing unseen or turned about."""
    return terminal(text)


def html_label(text: str) -> str:
    """Return ``text`` for a chart's label, which plotly reads as HTML."""
    return escape(terminal(text))


def argument(text: str) -> str:
    """Return a path or a name as one argument of a command to copy: quoted, and never taken for an option."""
    plain = f"./{text}" if text.startswith("-") else text
    if terminal(plain) == plain:
        return shlex.quote(plain)
    raw = plain.encode("utf-8", "surrogateescape" if not _half(plain) else "surrogatepass")
    return "$'" + "".join(_shell_byte(byte) for byte in raw) + "'"


def _half(text: str) -> bool:
    """Whether half characters are in it that stand for no byte of a file's name."""
    return any("\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff" for character in text)


def _shell_byte(byte: int) -> str:
    """A byte inside bash's ``$'...'``."""
    character = chr(byte)
    return character if 0x20 <= byte < 0x7F and character not in "\\':#" else f"\\x{byte:02x}"


def json_document(text: str) -> str:
    """Return JSON that a log can be sent: the same value, its strings with escapes for what cannot be seen.

    All that is not ASCII, and ``##[``, stands in strings only, in JSON as in TOML.
    """
    return _spelt(text, lambda character: json.dumps(character)[1:-1])


def toml_document(text: str) -> str:
    """Return TOML that a log can be sent, as for JSON."""
    return _spelt(text, lambda character: f"\\U{ord(character):08x}")


def _spelt(text: str, spell: Callable[[str], str]) -> str:
    if not (text.isascii() and text.replace("\n", "").isprintable()):
        text = "".join(one if one == "\n" or _is_seen(one) else spell(one) for one in text)
    return text.replace("##[", "#\\u0023[").replace("\x7f", "\\u007f")
