"""What of a text is a secret? Keys that a server repeats, however it spells them, are hidden before text is shown.

(text, keys) -> text. A key may come back as it is, escaped in JSON, an address, HTML or by Python, or in base64.
"""

import base64
import html.entities
import os
import re

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
    """Return ``text`` with every key as ``[key]``."""
    for key in keys:
        if key:
            text = pattern(key).sub("[key]", text)
    return text


def tokens_at_hand() -> tuple[str, ...]:
    """Return the secrets that the environment holds, and the token that huggingface_hub would send."""
    found = [os.environ.get(name, "").strip() for name in TOKENS]
    try:
        from huggingface_hub import get_token

        found.append(get_token() or "")
    except ImportError:
        pass
    return tuple(dict.fromkeys(token for token in found if token))
