"""A key that comes back is hidden, however it was spelt on its way."""

import base64
import codecs
import html
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.secret import hidden, proxy_passwords, tokens_at_hand

KEY = "sk-abCD/efGH+ij=='x\""
SPELT = {
    "as it is": KEY,
    "JSON": json.dumps(KEY)[1:-1],
    "PHP's JSON": json.dumps(KEY)[1:-1].replace("/", "\\/"),
    "ASP.NET's JSON": "".join(f"\\u{ord(c):04X}" if c in "+/'\"" else c for c in KEY),
    "an address": quote(KEY, safe=""),
    "an address that keeps slashes": quote(KEY),
    "HTML": html.escape(KEY),
    "HTML in hex": "".join(f"&#x{ord(c):X};" if not c.isalnum() else c for c in KEY),
    "HTML in numbers": "".join(f"&#{ord(c)};" for c in KEY),
    "Python": repr(KEY)[1:-1],
    "JSON in JSON": json.dumps(json.dumps(KEY))[3:-3],
    "base64": base64.b64encode(KEY.encode()).decode(),
    "a header in base64": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
}


@pytest.mark.parametrize("way", SPELT)
def test_a_key_is_hidden_however_it_is_spelt(way: str) -> None:
    told = hidden(f"answered 401 (bad key {SPELT[way]}, try again)", KEY)
    assert "[key]" in told
    assert "abCD" not in told and "efGH" not in told
    assert told.startswith("answered 401 (bad key ") and told.endswith(" try again)")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40))
def test_any_key_is_hidden_in_any_of_the_common_spellings(key: str) -> None:
    for told in (key, json.dumps(key)[1:-1], quote(key), quote(key, safe=""), html.escape(key), repr(key)[1:-1]):
        assert hidden(f"<{told}>", key).replace("\\", "") == "<[key]>"


def test_a_short_key_is_hidden_as_a_word_and_no_key_hides_nothing() -> None:
    assert hidden("the key abc in abcd", "abc") == "the key [key] in abcd"
    assert hidden("nothing", None, "") == "nothing"


LONG = "sk_Secret-KEY+1234567/abc"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


READABLE = {
    "wrapped": f"{LONG[:10]}\n {LONG[10:]}",
    "in two bytes a letter": "\0".join(LONG),
    "with escapes between": "\\x00".join(LONG),
    "unseen spaces": "\u200b".join(LONG),
    "unseen spaces, escaped": "\\u200b".join(LONG),
    "spaced": " ".join(LONG),
    "coloured": "\x1b[0m".join(LONG),
    "base64 after something": _base64(f"x:{LONG}"),
    "base64 of JSON": _base64(f'{{"key": "{LONG}"}}'),
    "base64 of another header": _base64(f"bearer {LONG}"),
    "base64 twice": _base64(_base64(LONG)),
    "base64 in lines": _base64(f"Bearer {LONG}")[:20] + "\n" + _base64(f"Bearer {LONG}")[20:],
    "hex": LONG.encode().hex(),
    "spaced hex": " ".join(f"{byte:02x}" for byte in LONG.encode()),
    "HTML without semicolons": "".join(f"&#{ord(one)}" for one in LONG),
    "HTML by rare names": LONG.replace("_", "&lowbar;").replace("-", "&hyphen;"),
    "octal": "".join(f"\\{ord(one):03o}" for one in LONG),
    "braces": "".join(f"\\u{{{ord(one):x}}}" for one in LONG),
    "a form's blanks": LONG.replace("+", " "),
    "all but its end": LONG[:-1],
    "all but its start": LONG[3:],
    "backwards": LONG[::-1],
    "in two halves": f"part one {LONG[:12]} and part two {LONG[12:]}",
    "after many blanks": " " * 30_000 + " ".join(LONG),
    "backwards after many lines": "\n" * 30_000 + LONG[::-1],
    "in numbered lines": " ".join(f"{number}: {one}" for number, one in enumerate(LONG)),
    "with letters between": "X".join(LONG),
    "each letter twice": "".join(2 * one for one in LONG),
    "in full width": "".join(chr(ord(one) + 0xFEE0) for one in LONG),
    "as numbers": " ".join(str(ord(one)) for one in LONG),
    "in short octal": "".join(f"\\{ord(one):o}" for one in LONG),
    "quoted-printable": "".join(f"={ord(one):02X}" for one in LONG),
    "base32": base64.b32encode(LONG.encode()).decode(),
    "as hexadecimal numbers": " ".join(f"0x{ord(one):02x}" for one in LONG),
    "as octal numbers": " ".join(f"{ord(one):o}" for one in LONG),
    "as bits": " ".join(f"{ord(one):08b}" for one in LONG),
    "as code points": " ".join(f"U+{ord(one):04X}" for one in LONG),
    "in an old browser's address": "".join(f"%u{ord(one):04x}" for one in LONG),
    "in Python's long escapes": "".join(f"\\U{ord(one):08x}" for one in LONG),
    "base64, spaced": " ".join(_base64(LONG)),
    "base64 in escapes": "".join(f"\\u{ord(one):04x}" for one in _base64(LONG)),
    "base64 in an address, spaced": "%20".join(_base64(LONG)),
    "hex in HTML": "".join(f"&#{ord(one)};" for one in LONG.encode().hex()),
    "base64 of two bytes a letter": base64.b64encode(LONG.encode("utf-16-le")).decode(),
    "a list of letters": json.dumps(list(LONG)),
    "spaced in JSON in an address": quote(json.dumps(" ".join(LONG))),
    "rotated": codecs.encode(LONG, "rot13"),
}


@pytest.mark.parametrize("way", READABLE)
def test_a_text_that_a_key_can_be_read_from_is_not_shown(way: str) -> None:
    shown = hidden(f"refused: {READABLE[way]} sorry", None, LONG)
    assert shown in {"[not shown: the key can be read from it]", "refused: [key] sorry"}


@pytest.mark.parametrize(
    "text",
    [
        "the model llava-1.5-7b does not exist; one of qwen2-vl, 0123456789abcdef0123456789abcdef",
        "key of 25 characters refused: sk_... is not known",
        "",
        "secret: abc, 12345",
    ],
)
def test_other_texts_are_shown(text: str) -> None:
    assert hidden(text, LONG) == text


def test_long_texts_are_looked_through_in_a_moment() -> None:
    started = time.monotonic()
    for text in (
        "A" * 50_000 + " deadbeef" * 5_000,
        "\\" * 200_000,
        "&amp;" * 50_000,
        "%25" * 70_000,
        "\\u" + "0" * 99_999,
    ):
        hidden(text, LONG)
    assert time.monotonic() - started < 5


def test_a_key_of_any_length_is_looked_for_in_a_moment() -> None:
    """Four times the length, about four times as long: 8,000 characters took seconds a text."""
    for length in (8_000, 32_000):
        key = "".join(f"{number:x}-%+/" for number in range(length))[:length]
        started = time.monotonic()
        for text in ("answered 401 " * 300, json.dumps(key), quote(key), "A" * 4_000, " ".join(map(str, range(2_000)))):
            assert key[:40] not in hidden(text, key)
        assert time.monotonic() - started < 5


def test_a_proxys_password_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says 407 may repeat what it was sent, and what is no address is told as a port."""
    monkeypatch.setenv("https_proxy", "http://joe:s3cr%40t-Pass@proxy:3128")
    sent = _base64("joe:s3cr@t-Pass")
    for said in (f"407 Basic {sent}", "http://joe:s3cr%40t-Pass@proxy:3128", "joe:s3cr@t-Pass", "s3cr%2540t-Pass"):
        shown = hidden(f"refused: {said} is wrong", *proxy_passwords())
        assert shown.startswith("refused: ") and shown.endswith("[key] is wrong" if "//" not in said else " is wrong")
        assert "Pass" not in shown and sent not in shown
    assert set(proxy_passwords()) <= set(tokens_at_hand())
    monkeypatch.setenv("https_proxy", "http://joe:pass/word@proxy:3128")
    assert hidden("Invalid port: 'pass'", *proxy_passwords()) == "Invalid port: '[key]'"


class _Hub(BaseHTTPRequestHandler):
    """A hub that warns in a header, with commands for a log and the token that it was sent."""

    def do_GET(self) -> None:
        sent, listed = self.headers.get("Authorization", ""), "api/models" in self.path
        found = (
            {"id": "a/b", "sha": 40 * "0", "siblings": [{"rfilename": "config.json"}]} if listed else {"error": sent}
        )
        content = json.dumps(found).encode()
        self.send_response(200 if listed else 404)
        for name in ("X-HF-Warning", "X-Error-Message"):
            self.send_header(name, f"::error::PWN ##[error]x \x1b[31mred {sent}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_what_a_hub_warns_of_is_not_printed(tmp_path: Path) -> None:
    token = "hf_AbCdEfGhIjKlMnOpQrStUvWx"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path), "HF_TOKEN": token}
        command = [sys.executable, "-m", "vlmplan", "tokens", "--model", "someone/something"]
        environment = {**os.environ, **place, "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        server.shutdown()
    assert done.returncode == 2, done.stderr
    assert token not in done.stderr
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("::") or "##[" in line]
