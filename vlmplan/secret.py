"""What of a text is a secret? Keys that a server repeats, however it spells them, are hidden before text is shown.

(text, keys) -> text. A key that comes back as it is, escaped in JSON, an address, HTML or by Python, or in base64 is
taken out. A text that can be read as most of a key in another way (broken up, turned about, in hex, in base64 at
another place, encoded twice) is not shown at all.
"""

import base64
import codecs
import contextlib
import html
import html.entities
import os
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

_SHORT_KEY = 6  # characters; a shorter key is hidden as a word only, since it may be part of one
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY")  # environment variables that hold secrets


def _spelt(character: str) -> str:
    """A pattern of all that a character is written as."""
    code = ord(character)
    names = [name for name in (html.entities.codepoint2name.get(code), "apos" if character == "'" else None) if name]
    forms = [  # the longest first: an ampersand is also how its own names begin
        rf"&(?:amp;)*#x0*{code:x};",
        rf"&(?:amp;)*#0*{code};",
        *(f"&(?:amp;)*{name};" for name in names),
        rf"\\+u0*{code:x}",
        rf"\\+x0*{code:x}",
        *([f"%(?:25)*{code:02x}"] if code < 128 else []),
        rf"\\*{re.escape(character)}",
    ]
    return f"(?:{'|'.join(forms)})"


def _encoded(key: str) -> list[str]:
    """The key, alone and as a header has it, in base64, less what padding decides."""
    found = (base64.b64encode(one.encode()).decode().rstrip("=") for one in (key, f"Bearer {key}"))
    return [re.escape(one) + "=*" for one in found]


def pattern(key: str) -> re.Pattern[str]:
    """Return what finds a key in a text."""
    found = "|".join(["".join(map(_spelt, key)), *(_encoded(key) if len(key) > _SHORT_KEY else ())])
    return re.compile(found if len(key) > _SHORT_KEY else rf"(?<!\w)(?:{found})(?!\w)", re.IGNORECASE)


def hidden(text: str, *keys: str | None) -> str:
    """Return ``text`` with every key as ``[key]``; none of it where some of one can still be read from it.

    Blanks in a row are one where there is a key, and what is beyond ``_MOST_READ`` characters is cut off: nothing is
    shown that was not looked through.
    """
    if not any(keys):
        return text
    if len(text) > _LONG_TEXT:
        text = " ".join(text.split())[:_MOST_READ]
    text = _RUNS.sub(lambda run: run[0][:_LONGEST_RUN], text)
    for key in keys:
        if key:
            text = pattern(key).sub("[key]", text)
    if any(key and _betrays(" ".join(text.split()), key) for key in keys):
        return "[not shown: the key can be read from it]"
    return text


_LONG_TEXT = 2_000  # characters; shorter texts keep their lines
_MOST_READ = 4_000  # characters that are looked through, and shown
_RUNS = re.compile(r"\\{9,}|0{9,}|(?:amp;){4,}|(?:25){5,}")  # of what escapes may repeat without end
_LONGEST_RUN = 8
_READABLE = 8  # letters and digits of a key in a row
_LEAST_RUN = 12  # characters of what may be an encoding
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\\x1b\[[0-9;?]*[A-Za-z]")
_ESCAPE = re.compile(r"\\+(?:x([0-9a-f]{2})|u([0-9a-f]{4})|u\{([0-9a-f]{2,6})\}|([0-7]{2,3}))", re.IGNORECASE)
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{_LEAST_RUN},}}")
_HEX = re.compile(rf"(?:[0-9a-f]{{2}}[\s:,-]*){{{_LEAST_RUN // 2},}}", re.IGNORECASE)


def _unescaped(found: re.Match[str]) -> str:
    code = int(found[4], 8) if found[4] else int(found[1] or found[2] or found[3], 16)
    return chr(code) if code < 0x110000 else ""


def _decoded(text: str) -> Iterator[str]:
    """What runs of a text may encode: base64 from each of four places, hex."""
    for run in _BASE64.findall(text) + _BASE64.findall("".join(text.split())):
        plain = run.translate(str.maketrans("-_", "+/"))
        for start in range(4):
            part = plain[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")
    for run in re.findall(r"[A-Z2-7]{16,}", text):
        with contextlib.suppress(ValueError):
            yield base64.b32decode(run[: len(run) // 8 * 8]).decode("latin-1")
    for run in _HEX.findall(text):
        digits = "".join(re.findall(r"[0-9a-fA-F]", run))
        yield bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("latin-1")


def _readings(text: str, depth: int = 2) -> Iterator[str]:
    """A text as it may be read: without colours, with its escapes resolved, decoded, and what that decodes to."""
    plain = unicodedata.normalize("NFKC", _ANSI.sub("", text))
    yield plain
    yield codecs.encode(plain, "rot13")
    yield re.sub(r"=([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), plain)
    yield re.sub(r"\b([0-9]{2,3})\b[\s,;:]*", lambda found: chr(int(found[1])), plain)
    yield re.sub(r"\b[0-9]+\s*[:.)]\s*", "", plain)  # numbered lines
    letters = [one for one in plain if not one.isspace()]
    yield from ("".join(letters[start::step]) for step in (2, 3) for start in range(step))
    yield html.unescape(html.unescape(plain))
    yield unquote(unquote(plain))
    yield _ESCAPE.sub(_unescaped, plain)
    if depth:
        for inner in _decoded(plain):
            yield from _readings(inner, depth - 1)


def _bare(text: str) -> str:
    """Letters and digits alone: what is left whatever stands between them."""
    return "".join(character for character in text.casefold() if character.isascii() and character.isalnum())


def _betrays(text: str, key: str) -> bool:
    """Whether a good part of a key can be read from a text, forwards or backwards, whatever stands between."""
    bare = _bare(key)
    least = min(_READABLE, max(_SHORT_KEY, 2 * len(bare) // 3))
    parts = {bare[at : at + least] for at in range(len(bare) - least + 1)}
    parts |= {part[::-1] for part in parts}
    return bool(parts) and any(part in shown for shown in map(_bare, _readings(text)) for part in parts)


def tokens_at_hand() -> tuple[str, ...]:
    """Return the secrets that the environment holds, and the token that huggingface_hub would send."""
    found = [os.environ.get(name, "").strip() for name in TOKENS]
    try:
        from huggingface_hub import get_token

        found.append(get_token() or "")
    except ImportError:
        pass
    return tuple(dict.fromkeys(token for token in found if token))
