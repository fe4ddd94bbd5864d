"""What of a text is a secret? Keys that a server repeats, however it spells them, are hidden before text is shown.

(text, keys) -> text. A key that comes back as it is, escaped in JSON, an address, HTML or by Python, or in base64 is
taken out. A text that can be read as most of a key in another way (broken up, turned about, in hex, in base64 at
another place, in numbers, one of these within another) is not shown at all. The time grows with the lengths of text
and keys, not with their product.
"""

import base64
import codecs
import contextlib
import html
import html.entities
import os
import re
import unicodedata
import urllib.request
from collections.abc import Iterator
from functools import partial
from urllib.parse import unquote

_SHORT_KEY = 6  # characters; a shorter key is hidden as a word only, since it may be part of one
# Environment variables that hold secrets.
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "JUDGE_API_KEY")
HIDDEN = "[not shown: the key can be read from it]"
_NAMES = {name.lower(): chr(code) for name, code in html.entities.name2codepoint.items() if code < 128} | {"apos": "'"}
_SPELT = re.compile(  # a character as JSON, an address, HTML or Python may write it
    rf"&(?:amp;)*(?:#x0*(?P<hex>[0-9a-f]{{1,6}})|#0*(?P<decimal>[0-9]{{1,7}})|(?P<name>{'|'.join(_NAMES)}));"
    r"|(?<!\\)\\+(?:(?-i:u)(?P<u>[0-9a-f]{4})|u\{0*(?P<braced>[0-9a-f]{1,6})\}|(?-i:U)(?P<wide>[0-9a-f]{8})"
    r"|x(?P<x>[0-9a-f]{2}))"
    r"|%(?:25)*(?P<percent>[0-9a-f]{2})|\\+",
    re.IGNORECASE,
)
_LAYERS = 3  # of one such spelling within another


def _character(spelt: re.Match[str]) -> str:
    """What a spelling stands for; backslashes alone are nothing."""
    kind, digits = spelt.lastgroup, spelt[spelt.lastgroup] if spelt.lastgroup else ""
    if kind is None:
        return ""
    if kind == "name":
        return _NAMES[digits.lower()]
    code = int(digits, 10 if kind == "decimal" else 16)
    return chr(code) if code < 0x110000 else ""


def _plain(text: str) -> tuple[str, list[int], list[int]]:
    """A text with spellings resolved and its letters small; where each character of that began, and where it ended."""
    starts, ends = [*range(len(text))], [*range(1, len(text) + 1)]
    for _ in range(_LAYERS):
        parts, first, last, at = list[str](), list[int](), list[int](), 0
        for spelt in _SPELT.finditer(text):
            made = _character(spelt)
            parts += [text[at : spelt.start()], made]
            first += [*starts[at : spelt.start()], *([starts[spelt.start()]] if made else [])]
            last += [*ends[at : spelt.start()], *([ends[spelt.end() - 1]] if made else [])]
            at = spelt.end()
        if not at:
            break
        text, starts, ends = "".join([*parts, text[at:]]), first + starts[at:], last + ends[at:]
    return "".join(one.lower() if len(one.lower()) == 1 else one for one in text), starts, ends


def _needles(key: str) -> Iterator[str]:
    """What a key is looked for as: itself, and alone and as a header has it in base64, less what padding decides."""
    yield _plain(key)[0]
    if len(key) > _SHORT_KEY:
        for one in (key, f"Bearer {key}"):
            yield _plain(base64.b64encode(one.encode()).decode().rstrip("="))[0]


def _without(text: str, key: str) -> str:
    """A text with ``[key]`` for each spelling of a key, and the backslashes around it."""
    if not key.strip("\\"):
        return re.sub(rf"\\{{{len(key)},}}", "[key]", text)
    before, after = (r"(?<!\w)", r"(?!\w)") if len(key) <= _SHORT_KEY else ("", "")
    for needle in filter(None, _needles(key)):
        plain, starts, ends = _plain(text)
        parts, at = list[str](), 0
        for match in re.finditer(f"{before}{re.escape(needle)}=*{after}", plain):
            parts += [text[at : ends[match.start() - 1] if match.start() else 0], "[key]"]
            at = [*starts, len(text)][match.end()]
        text = "".join([*parts, text[at:]])
    return text


def hidden(text: str, *keys: str | None) -> str:
    """Return ``text`` with every key as ``[key]``; none of it where some of one can still be read from it.

    Blanks in a row are one where there is a key, and what is beyond ``_MOST_READ`` characters is cut off: nothing is
    shown that was not looked through.
    """
    if not any(keys):
        return text
    if len(text) > _LONG_TEXT:
        text = " ".join(text.split())[:_MOST_READ]
    for key in keys:
        if key:
            text = _without(text, key)
    shown = [_bare(reading) for reading in _readings(" ".join(text.split()))]
    if any(key and _betrays(shown, key) for key in keys):
        return HIDDEN
    return text


_LONG_TEXT = 2_000  # characters; shorter texts keep their lines
_MOST_READ = 4_000  # characters that are looked through, and shown
_READABLE = 8  # letters and digits of a key in a row
_LEAST_RUN = 12  # characters of what may be an encoding
_DEPTH = 2  # of one reading within another
_MOST_READINGS = 600
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\\x1b\[[0-9;?]*[A-Za-z]")
_ESCAPE = re.compile(
    r"(?<!\\)\\+(?:(?-i:u)(?P<u>[0-9a-f]{4})|u\{0*(?P<braced>[0-9a-f]{1,6})\}|(?-i:U)(?P<wide>[0-9a-f]{8})"
    r"|x(?P<x>[0-9a-f]{2})|(?P<octal>[0-7]{2,3}))"
    r"|%u(?P<percent>[0-9a-f]{4})|(?:U\+(?P<point>[0-9a-f]{4,6})|\b0x(?P<hex>[0-9a-f]{2}))[\s,;]*",
    re.IGNORECASE,
)
_NUMBERS = {  # runs of numbers that may be characters, and their base
    10: re.compile(r"\b([0-9]{2,3})\b[\s,;:]*"),
    8: re.compile(r"\b0?o?([0-7]{2,3})\b[\s,;:]*"),
    2: re.compile(r"\b0?b?([01]{7,8})\b[\s,;:]*"),
}
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{_LEAST_RUN},}}")
_BASE32 = re.compile(rf"[A-Z2-7]{{{_LEAST_RUN},}}")
_HEX = re.compile(rf"(?:[0-9a-f]{{2}}[\s:,-]*){{{_LEAST_RUN // 2},}}", re.IGNORECASE)


def _unescaped(escape: re.Match[str]) -> str:
    code = int(escape[str(escape.lastgroup)], 8 if escape["octal"] else 16)
    return chr(code) if code < 0x110000 else ""


def _numbered(base: int, digits: re.Match[str]) -> str:
    return chr(int(digits[1], base))


def _decoded(text: str) -> Iterator[str]:
    """What runs of a text may encode, broken up or not: base64 from each of four places, base32, hex."""
    text = f"{text} {''.join(text.split())}"
    for run in _BASE64.findall(text):
        plain = run.translate(str.maketrans("-_", "+/"))
        for start in range(4):
            part = plain[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")
    for run in _BASE32.findall(text):
        with contextlib.suppress(ValueError):
            yield base64.b32decode(run + "=" * (-len(run) % 8)).decode("latin-1")
        with contextlib.suppress(ValueError):
            yield base64.b32decode(run[: len(run) // 8 * 8]).decode("latin-1")
    for run in _HEX.findall(text):
        digits = "".join(re.findall(r"[0-9a-fA-F]", run))
        yield bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("latin-1")


def _steps(text: str) -> Iterator[str]:
    """What a text says when it is read in one other way: escapes resolved, turned about, thinned out, decoded."""
    yield html.unescape(html.unescape(text))
    yield unquote(unquote(text))
    yield _ESCAPE.sub(_unescaped, text)
    yield re.sub(r"=([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)
    for base, numbers in _NUMBERS.items():
        yield numbers.sub(partial(_numbered, base), text)
    yield re.sub(r"\b[0-9]+\s*[:.)]\s*", "", text)  # numbered lines
    yield codecs.encode(text, "rot13")
    yield text[::-1]
    letters = "".join(text.split())
    yield letters
    yield re.sub(r"""[\s"',+\[\]]|%20""", "", text)  # what stands in quotes, lists and between pluses
    yield from (letters[start::step] for step in (2, 3) for start in range(step))
    yield from _decoded(text)


def _legible(text: str) -> bool:
    """Whether what was decoded is text, and no chance: nearly all of it can be printed."""
    return sum(map(str.isprintable, text)) >= 0.9 * len(text)


def _readings(text: str) -> Iterator[str]:
    """A text as it may be read, and as what that says may be: without colours, in the usual width, step by step."""
    first = unicodedata.normalize("NFKC", _ANSI.sub("", text))
    seen, layer = {first}, [first]
    yield first
    for _ in range(_DEPTH):
        made = []
        for reading in layer:
            for step in _steps(reading):
                one = step.replace("\0", "")
                if one not in seen and len(seen) < _MOST_READINGS:
                    seen.add(one)
                    yield one
                    if _legible(one):
                        made.append(one)
        layer = made


_NO_LETTERS = re.compile(r"[^a-z0-9]+")


def _bare(text: str) -> str:
    """Letters and digits alone: what is left whatever stands between them."""
    return _NO_LETTERS.sub("", text.casefold())


def _betrays(shown: list[str], key: str) -> bool:
    """Whether a good part of a key can be read from what is shown, forwards or backwards, whatever stands between."""
    bare = _bare(key)
    least = min(_READABLE, max(_SHORT_KEY, 2 * len(bare) // 3))
    parts = {one[at : at + least] for one in (bare, bare[::-1]) for at in range(len(bare) - least + 1)}
    return bool(parts) and any(one[at : at + least] in parts for one in shown for at in range(len(one) - least + 1))


def proxy_passwords() -> Iterator[str]:
    """Yield the passwords of the proxies that requests go through, with their names too, as a header has them.

    Of one that should have been escaped the first part too: it is read as a port, and told.
    """
    for address in urllib.request.getproxies().values():
        name, _, password = (address.partition("://")[2] or address).rpartition("@")[0].partition(":")
        for one in (password, unquote(password), re.split(r"[/?#]", password)[0]):
            if one:
                yield one
                yield f"{unquote(name)}:{one}"


def tokens_at_hand() -> tuple[str, ...]:
    """Return the secrets that the environment holds: keys, proxies' passwords, what huggingface_hub would send."""
    tokens = [os.environ.get(name, "").strip() for name in TOKENS]
    try:
        from huggingface_hub import get_token

        tokens.append(get_token() or "")
    except ImportError:
        pass
    return tuple(dict.fromkeys(token for token in (*tokens, *proxy_passwords()) if token))
